// Element-wise losses with dual numbers: value and derivative with respect to the logit, in double
// precision. The CPU versions are in src/loss: dual.rs, kernel.rs, elementwise.rs, formula by
// formula.

#pragma once
#include "grid.h"

struct Dual {
    double value, derivative;
};

DEVICE Dual constant(double value) { return {value, 0.0}; }
DEVICE Dual operator+(Dual a, Dual b) { return {a.value + b.value, a.derivative + b.derivative}; }
DEVICE Dual operator+(Dual a, double b) { return {a.value + b, a.derivative}; }
DEVICE Dual operator*(Dual a, Dual b) {
    return {a.value * b.value, a.value * b.derivative + a.derivative * b.value};
}
DEVICE Dual operator*(Dual a, double b) { return {a.value * b, a.derivative * b}; }
DEVICE Dual operator-(Dual a) { return a * -1.0; }

DEVICE double sigmoid(double x) {
    double e = exp(-fabs(x));
    return (x >= 0.0 ? 1.0 : e) / (1.0 + e);
}
DEVICE double softplus(double x) { return fmax(x, 0.0) + log1p(exp(-fabs(x))); }

DEVICE Dual softplus(Dual x) { return {softplus(x.value), sigmoid(x.value) * x.derivative}; }
DEVICE Dual sigmoid(Dual x) {
    double s = sigmoid(x.value);
    return {s, s * sigmoid(-x.value) * x.derivative};
}

// sigmoid(x)^exponent, computed through its logarithm.
DEVICE Dual sigmoid_power(Dual x, double exponent) {
    if (exponent == 0.0) return constant(1.0);
    double value = exponent == 1.0 ? sigmoid(x.value) : exp(-exponent * softplus(-x.value));
    return {value, exponent * sigmoid(-x.value) * value * x.derivative};
}

DEVICE Dual ln_floored(Dual x, double floor) {
    if (x.value < floor) return constant(log(floor));
    return {log(x.value), x.derivative / x.value};
}

DEVICE Dual power(Dual x, double exponent) {
    if (exponent == 0.0) return constant(1.0);
    if (x.value <= 0.0) return constant(0.0);
    double value = pow(x.value, exponent);
    return {value, exponent * value / x.value * x.derivative};
}

DEVICE Dual at_most(Dual x, double upper) { return x.value > upper ? constant(upper) : x; }

DEVICE Dual cross_entropy(Dual z, bool positive) { return softplus(positive ? -z : z); }

DEVICE Dual log_sigmoid(Dual z, double eps) {
    Dual found = -softplus(-z);
    return eps > 0.0 && found.value < log(eps) ? constant(log(eps)) : found;
}

// With a floor, 1 - p is rounded like single precision: see kernel.rs.
DEVICE Dual log_complement(Dual z, double eps) {
    if (eps == 0.0) return log_sigmoid(-z, eps);
    float p = 1.0f / (1.0f + (float)exp(-z.value));
    double complement = (double)(1.0f - p);
    if (complement < eps) return constant(log(eps));
    return {log(complement), log_sigmoid(-z, 0.0).derivative};
}

// The loss's settings; `Settings` in loss.rs of the plans.
// reals: scale, scale of negatives, factor of negatives, relabel above, focal exponent, focal balance,
//        then those of the kernel: asymmetric gamma of negatives, of positives, clip, first order,
//        second order, eps; or Hill's limit, gamma
enum Kernel { CROSS_ENTROPY, ASYMMETRIC, HILL };

DEVICE Dual kernel_loss(const Arguments &a, Dual z, bool positive) {
    switch ((int)a.count[2]) {
        case ASYMMETRIC: {
            Dual focusing, loss;
            double gamma = a.real[6], clip = a.real[8], eps = a.real[11];
            if (positive) {
                Dual miss = sigmoid(-z);
                Dual polynomial = miss * a.real[9] + miss * miss * (0.5 * a.real[10]);
                focusing = sigmoid_power(-z, a.real[7]);
                loss = -(log_sigmoid(z, eps) + polynomial);
            } else if (clip > 0.0) {
                Dual kept = at_most(sigmoid(-z) + clip, 1.0);
                focusing = power(-kept + 1.0, gamma);
                loss = -ln_floored(kept, eps);
            } else {
                focusing = sigmoid_power(z, gamma);
                loss = -log_complement(z, eps);
            }
            if (a.count[3]) focusing = constant(focusing.value);
            return focusing * loss;
        }
        case HILL: {
            if (positive) return sigmoid_power(-z, a.real[7]) * cross_entropy(z, true);
            Dual p = sigmoid(z);
            return (-p + a.real[6]) * p * p;
        }
        default: return cross_entropy(z, positive);
    }
}

// The loss of a logit as a positive or a negative, without weight and reduction.
// counts from 4 on: whether negatives are relabelled, whether there is a focal factor
DEVICE Dual element(const Arguments &a, double logit, const double *classes, long long width,
                    bool positive) {
    Dual z = {logit, 1.0};
    double shift = positive ? classes[0] : classes[width];
    double scale = positive ? classes[2 * width] : a.real[1];
    Dual u = (z + shift) * scale;
    double factor = (positive ? 1.0 : a.real[2]) * a.real[0];
    if (a.count[4] && !positive && sigmoid(u.value) > a.real[3]) positive = true;
    Dual loss = kernel_loss(a, u, positive);
    if (a.count[5]) {
        loss = loss * sigmoid_power(positive ? -u : u, a.real[4]);
        factor *= a.real[5];
    }
    return loss * factor;
}

// Computes a part of the batch's loss, and the gradient of its logits.
// places: logits (f32), table (f64: weights and targets of the elements; shifts of positives and of
//         negatives and scales of positives by class) -> gradient (f32), parts (f64, one a block)
// counts: elements, classes, kernel, hold the focusing constant, relabel, focal; real 15: divisor
KERNEL loss_elements(Arguments a) {
    const float *logits = read(a, 0);
    const double *weights = (const double *)a.place[1], *targets = weights + a.count[0];
    const double *classes = targets + a.count[0];
    float *gradient = write(a, 2);
    SHARED double sum[THREADS];
    PHASE(t) {
        double s = 0.0;
        EACH(i, t, a.count[0]) {
            const double *of_class = classes + i % a.count[1];
            double part = targets[i];
            Dual loss;
            if (part == 0.0 || part == 1.0) {
                loss = element(a, logits[i], of_class, a.count[1], part == 1.0);
            } else {
                loss = element(a, logits[i], of_class, a.count[1], true) * part +
                       element(a, logits[i], of_class, a.count[1], false) * (1.0 - part);
            }
            s += weights[i] * loss.value / a.real[15];
            gradient[i] = (float)(weights[i] * loss.derivative / a.real[15]);
        }
        sum[t] = s;
    }
    tree_sum(sum, 1);
    PHASE(t) {
        if (t == 0) ((double *)a.place[3])[block_index()] = sum[0];
    }
}

// Writes the loss as one f32. places: parts (f64) -> loss; counts: number of parts
KERNEL loss_value(Arguments a) {
    const double *parts = (const double *)a.place[0];
    PHASE(t) {
        if (t == 0) {
            double sum = 0.0;
            for (long long i = 0; i < a.count[0]; ++i) sum += parts[i];
            write(a, 1)[0] = (float)sum;
        }
    }
}
