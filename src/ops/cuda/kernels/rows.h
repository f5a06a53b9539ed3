// Layer norm and softmax, with one block per row of [rows, columns]. The CPU versions are in
// layer_norm.rs and attention/softmax.rs.

#pragma once
#include "grid.h"

// places: x, gamma, beta -> y, statistics [rows, 2]: mean, 1 / sqrt(variance + epsilon)
// counts: columns; reals: epsilon
KERNEL layer_norm_forward(Arguments a) {
    unsigned columns = (unsigned)a.count[0];
    long long row = block_index();
    const float *x = read(a, 0) + row * columns, *gamma = read(a, 1), *beta = read(a, 2);
    float *y = write(a, 3) + row * columns, *statistics = write(a, 4) + row * 2;
    SHARED float sum[THREADS];
    SHARED float mean[1];
    SHARED float inverse[1];
    PHASE(t) {
        float s = 0.0f;
        for (unsigned i = t; i < columns; i += THREADS) s += x[i];
        sum[t] = s;
    }
    tree_sum(sum, 1);
    PHASE(t) {
        if (t == 0) mean[0] = sum[0] / (float)columns;
    }
    // Corrects the rounding error of the mean: the deviations do not quite sum to 0.
    PHASE(t) {
        float s = 0.0f;
        for (unsigned i = t; i < columns; i += THREADS) s += x[i] - mean[0];
        sum[t] = s;
    }
    tree_sum(sum, 1);
    PHASE(t) {
        if (t == 0) mean[0] += sum[0] / (float)columns;
    }
    PHASE(t) {
        float s = 0.0f;
        for (unsigned i = t; i < columns; i += THREADS) s += (x[i] - mean[0]) * (x[i] - mean[0]);
        sum[t] = s;
    }
    tree_sum(sum, 1);
    PHASE(t) {
        if (t == 0) {
            inverse[0] = 1.0f / sqrtf(sum[0] / (float)columns + (float)a.real[0]);
            statistics[0] = mean[0];
            statistics[1] = inverse[0];
        }
    }
    PHASE(t) {
        for (unsigned i = t; i < columns; i += THREADS) {
            y[i] = (x[i] - mean[0]) * inverse[0] * gamma[i] + beta[i];
        }
    }
}

// With n = (x - mean) inverse and s = g gamma: inverse (s - mean(s) - n mean(s n)).
// places: x, gamma, statistics, gradient of y -> of x; counts: columns
KERNEL layer_norm_input(Arguments a) {
    unsigned columns = (unsigned)a.count[0];
    long long row = block_index();
    const float *x = read(a, 0) + row * columns, *gamma = read(a, 1);
    const float *statistics = read(a, 2) + row * 2, *g = read(a, 3) + row * columns;
    float *of_x = write(a, 4) + row * columns;
    SHARED float sum[THREADS];
    SHARED float moment[THREADS];
    PHASE(t) {
        float s = 0.0f, m = 0.0f;
        for (unsigned i = t; i < columns; i += THREADS) {
            s += g[i] * gamma[i];
            m += g[i] * gamma[i] * (x[i] - statistics[0]);
        }
        sum[t] = s;
        moment[t] = m;
    }
    tree_sum(sum, 1);
    tree_sum(moment, 1);
    PHASE(t) {
        float inverse = statistics[1], average = sum[0] / (float)columns;
        float fall = inverse * inverse * (moment[0] / (float)columns);
        for (unsigned i = t; i < columns; i += THREADS) {
            of_x[i] = inverse * (g[i] * gamma[i] - average - (x[i] - statistics[0]) * fall);
        }
    }
}

// Sums g n and g over a part of the rows, for each column.
// blocks: groups of LANES columns, by parts
// places: x, statistics, gradient of y -> sums [parts, 2, columns]: of gamma, of beta
// counts: rows, columns, parts
KERNEL layer_norm_sums(Arguments a) {
    const float *x = read(a, 0), *statistics = read(a, 1), *g = read(a, 2);
    unsigned columns = (unsigned)a.count[1], groups = (columns + LANES - 1) / LANES;
    unsigned group = block_index() % groups, part = block_index() / groups;
    float *sums = write(a, 3) + (long long)part * 2 * columns;
    Range range = share(a.count[0], part, a.count[2]);
    SHARED float of_gamma[THREADS];
    SHARED float of_beta[THREADS];
    PHASE(t) {
        unsigned column = group * LANES + t % LANES;
        float gamma = 0.0f, beta = 0.0f;
        for (long long row = range.first + t / LANES; row < range.end; row += TURNS) {
            if (column >= columns) continue;
            long long i = row * columns + column;
            gamma += g[i] * ((x[i] - statistics[row * 2]) * statistics[row * 2 + 1]);
            beta += g[i];
        }
        of_gamma[t] = gamma;
        of_beta[t] = beta;
    }
    tree_sum(of_gamma, LANES);
    tree_sum(of_beta, LANES);
    PHASE(t) {
        unsigned column = group * LANES + t;
        if (t < LANES && column < columns) {
            sums[column] = of_gamma[t];
            sums[columns + column] = of_beta[t];
        }
    }
}

// Adds the parts, in order and in double precision.
// places: parts [parts, length] -> whole [length]; counts: length, parts
KERNEL sum_parts(Arguments a) {
    PHASE(t) {
        EACH(i, t, a.count[0]) {
            double sum = 0.0;
            for (long long part = 0; part < a.count[1]; ++part) {
                sum += read(a, 0)[part * a.count[0] + i];
            }
            write(a, 1)[i] = (float)sum;
        }
    }
}

// Softmax of scale times x. places: x -> y; counts: columns; reals: scale
KERNEL softmax_forward(Arguments a) {
    unsigned columns = (unsigned)a.count[0];
    const float *x = read(a, 0) + (long long)block_index() * columns;
    float *y = write(a, 1) + (long long)block_index() * columns;
    float scale = (float)a.real[0];
    SHARED float largest[THREADS];
    SHARED float sum[THREADS];
    PHASE(t) {
        float found = -INFINITY;
        for (unsigned i = t; i < columns; i += THREADS) {
            float value = scale * x[i];
            if (value > found || value != value) found = value;
        }
        largest[t] = found;
    }
    tree_max(largest);
    PHASE(t) {
        float s = 0.0f;
        for (unsigned i = t; i < columns; i += THREADS) {
            y[i] = expf(scale * x[i] - largest[0]);
            s += y[i];
        }
        sum[t] = s;
    }
    tree_sum(sum, 1);
    PHASE(t) {
        for (unsigned i = t; i < columns; i += THREADS) y[i] *= 1.0f / sum[0];
    }
}

// places: y, gradient of y -> of x; counts: columns; reals: scale
KERNEL softmax_input(Arguments a) {
    unsigned columns = (unsigned)a.count[0];
    long long from = (long long)block_index() * columns;
    const float *y = read(a, 0) + from, *g = read(a, 1) + from;
    float *of_x = write(a, 2) + from;
    SHARED float sum[THREADS];
    PHASE(t) {
        float s = 0.0f;
        for (unsigned i = t; i < columns; i += THREADS) s += g[i] * y[i];
        sum[t] = s;
    }
    tree_sum(sum, 1);
    PHASE(t) {
        for (unsigned i = t; i < columns; i += THREADS) {
            of_x[i] = (g[i] - sum[0]) * (y[i] * (float)a.real[0]);
        }
    }
}
