// Activations and their derivatives; the CPU versions are in activation.rs, the numbering in
// affine.rs.

#pragma once
#include "grid.h"

enum Activation { NONE, RELU, RELU6, SILU, HARD_SWISH, GELU, QUICK_GELU, SIGMOID, HARD_SIGMOID };

DEVICE float between(float x, float low, float high) { return x < low ? low : (x > high ? high : x); }

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// x sigmoid(x); the limit at minus infinity is 0, so x is clamped there.
DEVICE float silu(float x) { return (x < -87.0f ? -87.0f : x) * sigmoid(x); }

DEVICE float silu_slope(float x) {
    float near = between(x, -87.0f, 87.0f);
    float power = expf(-near), s = 1.0f / (1.0f + power);
    return s * (power * s * near + 1.0f);
}

// The standard normal distribution function.
DEVICE float normal(float x) { return 0.5f * erfcf(x * -0.70710678f); }

DEVICE float activate(int activation, float x) {
    switch (activation) {
        case RELU: return x > 0.0f || x != x ? x : 0.0f;
        case RELU6: return x != x ? x : between(x, 0.0f, 6.0f);
        case SILU: return silu(x);
        case HARD_SWISH: return (x < -3.0f ? -3.0f : x) * (between(x + 3.0f, 0.0f, 6.0f) / 6.0f);
        case GELU: return (x < -12.5f ? -12.5f : x) * normal(x);
        case QUICK_GELU: return (x < -51.0f ? -51.0f : x) * sigmoid(1.702f * x);
        case SIGMOID: return sigmoid(x);
        case HARD_SIGMOID: return x != x ? x : between(x + 3.0f, 0.0f, 6.0f) / 6.0f;
        default: return x;
    }
}

// The derivative at x. At corners it is that of the flat side, except for hard swish at 3, where it
// is 1.
DEVICE float slope(int activation, float x) {
    switch (activation) {
        case RELU: return x > 0.0f ? 1.0f : 0.0f;
        case RELU6: return x > 0.0f && x < 6.0f ? 1.0f : 0.0f;
        case SILU: return silu_slope(x);
        case HARD_SWISH: return x >= 3.0f ? 1.0f : (x > -3.0f ? x / 3.0f + 0.5f : 0.0f);
        case GELU: {
            float near = between(x, -12.5f, 12.5f);
            return normal(x) + near * 0.39894228f * expf(-0.5f * near * near);
        }
        case QUICK_GELU: return silu_slope(1.702f * x);
        case SIGMOID: {
            float s = sigmoid(x);
            return s * (1.0f - s);
        }
        case HARD_SIGMOID: return x > -3.0f && x < 3.0f ? 1.0f / 6.0f : 0.0f;
        default: return 1.0f;
    }
}
