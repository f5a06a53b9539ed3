// Dropout, the norm of all gradients, and the update of all parameters. The CPU versions are in
// dropout.rs, lazy.rs, sgd.rs and adamw.rs.

#pragma once
#include "grid.h"

DEVICE unsigned rotated(unsigned x, int by) { return x << by | x >> (32 - by); }

DEVICE void quarter_round(unsigned *s, int a, int b, int c, int d) {
    s[a] += s[b], s[d] = rotated(s[d] ^ s[a], 16);
    s[c] += s[d], s[b] = rotated(s[b] ^ s[c], 12);
    s[a] += s[b], s[d] = rotated(s[d] ^ s[a], 8);
    s[c] += s[d], s[b] = rotated(s[b] ^ s[c], 7);
}

// Computes block number `counter` of a ChaCha stream with 8 rounds: 16 words, which make 8 draws.
DEVICE void chacha(const Arguments &a, unsigned long long counter, unsigned *words) {
    unsigned state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (int i = 0; i < 8; ++i) state[4 + i] = (unsigned)a.real[1 + i];
    state[12] = (unsigned)counter, state[13] = (unsigned)(counter >> 32);
    state[14] = state[15] = 0;
    for (int i = 0; i < 16; ++i) words[i] = state[i];
    for (int round = 0; round < 8; round += 2) {
        quarter_round(words, 0, 4, 8, 12), quarter_round(words, 1, 5, 9, 13);
        quarter_round(words, 2, 6, 10, 14), quarter_round(words, 3, 7, 11, 15);
        quarter_round(words, 0, 5, 10, 15), quarter_round(words, 1, 6, 11, 12);
        quarter_round(words, 2, 7, 8, 13), quarter_round(words, 3, 4, 9, 14);
    }
    for (int i = 0; i < 16; ++i) words[i] += state[i];
}

// Writes a dropout mask from the draws of a named stream, starting with number `first`: 0 where the
// draw is below the probability, otherwise 1 / (1 - probability).
// places: -> mask; counts: first, elements; reals: probability, key (8 words)
KERNEL dropout_mask(Arguments a) {
    float *mask = write(a, 0), kept = (float)(1.0 / (1.0 - a.real[0]));
    unsigned long long first = (unsigned long long)a.count[0], end = first + a.count[1];
    unsigned blocks = (unsigned)((end + 7) / 8 - first / 8);
    PHASE(t) {
        EACH(i, t, blocks) {
            unsigned long long counter = first / 8 + i;
            unsigned words[16];
            chacha(a, counter, words);
            for (int n = 0; n < 8; ++n) {
                unsigned long long draw = counter * 8 + n;
                if (draw < first || draw >= end) continue;
                unsigned long long bits = (unsigned long long)words[2 * n + 1] << 32 | words[2 * n];
                double uniform = (double)(bits >> 11) / 9007199254740992.0;
                mask[draw - first] = uniform < a.real[0] ? 0.0f : kept;
            }
        }
    }
}

// A piece of a parameter with its gradient and optimiser state: a row of the table of all pieces.
struct Piece {
    float *parameter, *first, *second;
    const float *gradient;
    long long length;
    double rate, decay;
    long long unused;
};

// Sums the squares of a piece of a gradient. blocks: pieces
// places: table -> sums (f64, one a piece)
KERNEL squares(Arguments a) {
    const Piece piece = ((const Piece *)a.place[0])[block_index()];
    SHARED double sum[THREADS];
    PHASE(t) {
        double s = 0.0;
        for (long long i = t; i < piece.length; i += THREADS) {
            s += (double)piece.gradient[i] * (double)piece.gradient[i];
        }
        sum[t] = s;
    }
    tree_sum(sum, 1);
    PHASE(t) {
        if (t == 0) ((double *)a.place[1])[block_index()] = sum[0];
    }
}

// Adds all sums, in one block. places: sums (f64) -> sum (f64); counts: number of sums
KERNEL sum_all(Arguments a) {
    const double *values = (const double *)a.place[0];
    SHARED double sum[THREADS];
    PHASE(t) {
        double s = 0.0;
        for (long long i = t; i < a.count[0]; i += THREADS) s += values[i];
        sum[t] = s;
    }
    tree_sum(sum, 1);
    PHASE(t) {
        if (t == 0) *(double *)a.place[1] = sum[0];
    }
}

// blocks: pieces; places: table; counts: whether to use Nesterov momentum; reals: momentum, weight
// decay, factor
KERNEL sgd(Arguments a) {
    const Piece piece = ((const Piece *)a.place[0])[block_index()];
    float momentum = (float)a.real[0], rate = (float)piece.rate, factor = (float)a.real[2];
    float decay = (float)(a.real[1] * piece.decay);
    PHASE(t) {
        for (long long i = t; i < piece.length; i += THREADS) {
            float g = factor * piece.gradient[i] + decay * piece.parameter[i];
            float v = momentum * piece.first[i] + g;
            piece.first[i] = v;
            piece.parameter[i] -= rate * (a.count[0] ? g + momentum * v : v);
        }
    }
}

// blocks: pieces; places: table
// reals: beta 1, beta 2, epsilon, weight decay, factor, the bias corrections of the two moments
KERNEL adamw(Arguments a) {
    const Piece piece = ((const Piece *)a.place[0])[block_index()];
    float beta = (float)a.real[1], epsilon = (float)a.real[2], factor = (float)a.real[4];
    float new_1 = (float)(1.0 - a.real[0]), new_2 = (float)(1.0 - a.real[1]);
    float rate = (float)(piece.rate / a.real[5]), root = (float)sqrt(a.real[6]);
    float decay = (float)(piece.rate * a.real[3] * piece.decay);
    PHASE(t) {
        for (long long i = t; i < piece.length; i += THREADS) {
            float g = factor * piece.gradient[i], p = piece.parameter[i];
            float m = piece.first[i] + new_1 * (g - piece.first[i]);
            float v = beta * piece.second[i] + new_2 * g * g;
            piece.first[i] = m;
            piece.second[i] = v;
            piece.parameter[i] = p - (decay * p + rate * m / (sqrtf(v) / root + epsilon));
        }
    }
}
