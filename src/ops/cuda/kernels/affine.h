// The operations after a convolution: a norm with given statistics (running ones, or the batch's)
// or a bias, then residual and activation; and their gradients. Tensors are [pixels, channels]. The
// CPU versions are in batch_norm.rs and in the epilogue of correlate.rs.
//
//   u = (x + before - mean) gamma factor / sqrt(variance + epsilon) + beta + residual,  y = act(u)
//
// where before, mean, variance, gamma, beta hold one value per channel, or are null.

#pragma once
#include "activation.h"

// The per-channel terms of the formula, without beta and residual.
struct Channel {
    float before, mean, inverse, scale;
};

DEVICE float inverse_deviation(const float *variance, unsigned channel, double epsilon) {
    return variance ? (float)(1.0 / sqrt((double)variance[channel] + epsilon)) : 1.0f;
}

DEVICE Channel channel_of(const float *before, const float *mean, float inverse, const float *gamma,
                          double factor, unsigned channel) {
    Channel found;
    found.before = before ? before[channel] : 0.0f;
    found.mean = mean ? mean[channel] : 0.0f;
    found.inverse = inverse;
    found.scale = inverse * (gamma ? gamma[channel] : 1.0f) * (float)factor;
    return found;
}

DEVICE float centred(const Channel &c, float x) { return (x + c.before) - c.mean; }

// places: x, residual, before, mean, inverse, gamma, beta -> y
// counts: elements, channels, activation; reals: factor
KERNEL affine_forward(Arguments a) {
    const float *x = read(a, 0), *residual = read(a, 1), *before = read(a, 2), *mean = read(a, 3);
    const float *inverse = read(a, 4), *gamma = read(a, 5), *beta = read(a, 6);
    float *y = write(a, 7);
    unsigned channels = (unsigned)a.count[1];
    PHASE(t) {
        EACH(i, t, a.count[0]) {
            unsigned channel = i % channels;
            float inv = inverse ? inverse[channel] : 1.0f;
            Channel c = channel_of(before, mean, inv, gamma, a.real[0], channel);
            float u = centred(c, x[i]) * c.scale + (beta ? beta[channel] : 0.0f);
            if (residual) u += residual[i];
            y[i] = activate((int)a.count[2], u);
        }
    }
}

// Computes the gradient of u from that of y and, if requested, of x with given statistics. The
// derivative of the activation is recomputed from the inputs.
// places: x, residual, before, mean, inverse, gamma, beta, gradient of y -> of u, of x
// counts: elements, channels, activation; reals: factor
KERNEL affine_mask(Arguments a) {
    const float *x = read(a, 0), *residual = read(a, 1), *before = read(a, 2), *mean = read(a, 3);
    const float *inverse = read(a, 4), *gamma = read(a, 5), *beta = read(a, 6);
    const float *gradient = read(a, 7);
    float *masked = write(a, 8), *of_x = write(a, 9);
    unsigned channels = (unsigned)a.count[1];
    PHASE(t) {
        EACH(i, t, a.count[0]) {
            unsigned channel = i % channels;
            float inv = inverse ? inverse[channel] : 1.0f;
            Channel c = channel_of(before, mean, inv, gamma, a.real[0], channel);
            float u = centred(c, x[i]) * c.scale + (beta ? beta[channel] : 0.0f);
            if (residual) u += residual[i];
            float g = gradient[i] * slope((int)a.count[2], u);
            masked[i] = g;
            if (of_x) of_x[i] = g * c.scale;
        }
    }
}

// Sums g (the gradient of u) and g (x + before - mean) over the pixels of a part, for each channel.
// blocks: groups of LANES channels, by parts
// places: x, before, mean, g -> sums [parts, channels], moments [parts, channels]
// counts: pixels, channels, parts
KERNEL affine_sums(Arguments a) {
    const float *x = read(a, 0), *before = read(a, 1), *mean = read(a, 2), *g = read(a, 3);
    float *sums = write(a, 4), *moments = write(a, 5);
    unsigned channels = (unsigned)a.count[1], groups = (channels + LANES - 1) / LANES;
    unsigned group = block_index() % groups, part = block_index() / groups;
    Range range = share(a.count[0], part, a.count[2]);
    SHARED float sum[THREADS];
    SHARED float moment[THREADS];
    PHASE(t) {
        unsigned channel = group * LANES + t % LANES;
        float s = 0.0f, m = 0.0f;
        if (channel < channels) {
            Channel c = channel_of(before, mean, 1.0f, nullptr, 1.0, channel);
            for (long long pixel = range.first + t / LANES; pixel < range.end; pixel += TURNS) {
                long long i = pixel * channels + channel;
                s += g[i];
                m += g[i] * centred(c, x[i]);
            }
        }
        sum[t] = s;
        moment[t] = m;
    }
    tree_sum(sum, LANES);
    tree_sum(moment, LANES);
    PHASE(t) {
        unsigned channel = group * LANES + t;
        if (t < LANES && channel < channels) {
            sums[(long long)part * channels + channel] = sum[t];
            moments[(long long)part * channels + channel] = moment[t];
        }
    }
}

// Adds the parts of sums and moments, in order, and computes the gradients of the channel's
// parameters.
// places: sums, moments, inverse, gamma -> of shift, of gamma, sum, moment
// counts: channels, parts, whether the shift is added before the scale; reals: factor
KERNEL affine_parameters(Arguments a) {
    const float *sums = read(a, 0), *moments = read(a, 1), *inverse = read(a, 2), *gamma = read(a, 3);
    float *of_shift = write(a, 4), *of_gamma = write(a, 5), *sum = write(a, 6), *moment = write(a, 7);
    unsigned channels = (unsigned)a.count[0];
    PHASE(t) {
        EACH(channel, t, channels) {
            double s = 0.0, m = 0.0;
            for (long long part = 0; part < a.count[1]; ++part) {
                s += sums[part * channels + channel];
                m += moments[part * channels + channel];
            }
            float inv = inverse ? inverse[channel] : 1.0f;
            double before = a.count[2] ? (gamma ? gamma[channel] : 1.0f) * a.real[0] : 1.0;
            if (of_shift) of_shift[channel] = (float)(s * before);
            if (of_gamma) of_gamma[channel] = (float)(m * inv);
            sum[channel] = (float)s;
            moment[channel] = (float)m;
        }
    }
}

// Computes the gradient of x from that of u through the batch's own statistics, using their sums
// and moments.
// places: x, mean, inverse, gamma, g, sum, moment -> gradient of x
// counts: elements, channels, pixels; reals: factor
KERNEL affine_input(Arguments a) {
    const float *x = read(a, 0), *mean = read(a, 1), *inverse = read(a, 2), *gamma = read(a, 3);
    const float *g = read(a, 4), *sum = read(a, 5), *moment = read(a, 6);
    float *of_x = write(a, 7);
    unsigned channels = (unsigned)a.count[1];
    PHASE(t) {
        EACH(i, t, a.count[0]) {
            unsigned channel = i % channels;
            float inv = inverse ? inverse[channel] : 1.0f;
            Channel c = channel_of(nullptr, mean, inv, gamma, a.real[0], channel);
            float part = 1.0f / (float)a.count[2];
            float fall = centred(c, x[i]) * (inv * inv) * (part * moment[channel]);
            of_x[i] = c.scale * (g[i] - part * sum[channel] - fall);
        }
    }
}

// Computes mean, sum of deviations and sum of squared deviations over the pixels of a part, for
// each channel: the mean is computed first, to avoid cancellation.
// blocks: groups of LANES channels, by parts
// places: x -> means, rests, squares, each [parts, channels]; counts: pixels, channels, parts
KERNEL moments_part(Arguments a) {
    const float *x = read(a, 0);
    float *means = write(a, 1), *rests = write(a, 2), *squares = write(a, 3);
    unsigned channels = (unsigned)a.count[1], groups = (channels + LANES - 1) / LANES;
    unsigned group = block_index() % groups, part = block_index() / groups;
    Range range = share(a.count[0], part, a.count[2]);
    float pixels = (float)(range.end - range.first);
    SHARED float sum[THREADS];
    SHARED float rest[THREADS];
    SHARED float mean[LANES];
    PHASE(t) {
        unsigned channel = group * LANES + t % LANES;
        float s = 0.0f;
        for (long long pixel = range.first + t / LANES; pixel < range.end; pixel += TURNS) {
            if (channel < channels) s += x[pixel * channels + channel];
        }
        sum[t] = s;
    }
    tree_sum(sum, LANES);
    PHASE(t) {
        if (t < LANES) mean[t] = sum[t] / pixels;
    }
    PHASE(t) {
        unsigned channel = group * LANES + t % LANES;
        float s = 0.0f, r = 0.0f;
        for (long long pixel = range.first + t / LANES; pixel < range.end; pixel += TURNS) {
            if (channel >= channels) continue;
            float deviation = x[pixel * channels + channel] - mean[t % LANES];
            r += deviation;
            s += deviation * deviation;
        }
        sum[t] = s;
        rest[t] = r;
    }
    tree_sum(sum, LANES);
    tree_sum(rest, LANES);
    PHASE(t) {
        unsigned channel = group * LANES + t;
        if (t < LANES && channel < channels) {
            long long place = (long long)part * channels + channel;
            means[place] = mean[t];
            rests[place] = rest[t];
            squares[place] = sum[t];
        }
    }
}

// Combines the moments of all parts, in order and in double precision (Chan, Golub and LeVeque,
// 1979).
// places: means, rests, squares -> mean, variance (biased), inverse deviation
// counts: pixels, channels, parts; reals: epsilon
KERNEL moments_combine(Arguments a) {
    const float *means = read(a, 0), *rests = read(a, 1), *squares = read(a, 2);
    float *mean = write(a, 3), *variance = write(a, 4), *inverse = write(a, 5);
    unsigned channels = (unsigned)a.count[1];
    PHASE(t) {
        EACH(channel, t, channels) {
            double middle = 0.0, square = 0.0, seen = 0.0;
            for (long long part = 0; part < a.count[2]; ++part) {
                Range range = share(a.count[0], part, a.count[2]);
                double count = (double)(range.end - range.first);
                long long place = part * channels + channel;
                double rest = rests[place] / count, total = seen + count;
                double delta = means[place] + rest - middle;
                middle += delta * count / total;
                square += squares[place] - count * rest * rest + delta * delta * seen * count / total;
                seen = total;
            }
            float found = square < 0.0 ? 0.0f : (float)(square / seen);
            mean[channel] = (float)middle;
            variance[channel] = found;
            inverse[channel] = (float)(1.0 / sqrt((double)found + a.real[0]));
        }
    }
}

// 1 / sqrt(variance + epsilon), for running statistics.
// places: variance -> inverse; counts: channels; reals: epsilon
KERNEL deviation(Arguments a) {
    PHASE(t) {
        EACH(channel, t, a.count[0]) {
            write(a, 1)[channel] = inverse_deviation(read(a, 0), channel, a.real[0]);
        }
    }
}
