// Max pooling, means over pixels, and convolutions as products with im2col columns or computed
// directly. Pictures are [batch, height, width, channels]. The CPU versions are in pool.rs,
// conv.rs, grouped.rs and depthwise/.

#pragma once
#include "grid.h"

// A window that slides over pictures: counts 0 to 8 of every kernel that has a window.
struct Window {
    int height, width, channels, rows, columns, kernel, stride, top, left;
};

// counts: height, width, channels, rows, columns, kernel, stride, zeros above, zeros to the left
DEVICE Window window_of(const Arguments &a) {
    return {(int)a.count[0], (int)a.count[1], (int)a.count[2], (int)a.count[3], (int)a.count[4],
            (int)a.count[5], (int)a.count[6], (int)a.count[7], (int)a.count[8]};
}

// Returns whether a tap of the window at (row, column) lies in the picture and, if so, sets its
// location.
DEVICE bool inside(const Window &w, int row, int column, int tap, int &y, int &x) {
    y = row * w.stride + tap / w.kernel - w.top;
    x = column * w.stride + tap % w.kernel - w.left;
    return y >= 0 && y < w.height && x >= 0 && x < w.width;
}

// Returns whether a window reaches pixel (y, x) with this tap and, if so, sets its row and column.
DEVICE bool seen_by(const Window &w, int y, int x, int tap, int &row, int &column) {
    int down = y + w.top - tap / w.kernel, right = x + w.left - tap % w.kernel;
    if (down < 0 || right < 0 || down % w.stride || right % w.stride) return false;
    row = down / w.stride;
    column = right / w.stride;
    return row < w.rows && column < w.columns;
}

DEVICE long long pixel_place(const Window &w, long long picture, int y, int x, int channel) {
    return ((picture * w.height + y) * w.width + x) * w.channels + channel;
}

// places: x -> y, winners (the first tap with the maximum); counts: window, outputs
KERNEL max_pool_forward(Arguments a) {
    Window w = window_of(a);
    const float *x = read(a, 0);
    float *y = write(a, 1);
    unsigned *winners = (unsigned *)a.place[2];
    PHASE(t) {
        EACH(i, t, a.count[9]) {
            int channel = i % w.channels, column = i / w.channels % w.columns;
            int row = i / w.channels / w.columns % w.rows;
            long long picture = i / w.channels / w.columns / w.rows;
            float best = -INFINITY;
            unsigned winner = 0;
            for (int tap = 0; tap < w.kernel * w.kernel; ++tap) {
                int down, right;
                if (!inside(w, row, column, tap, down, right)) continue;
                float value = x[pixel_place(w, picture, down, right, channel)];
                if (value > best || value != value) {
                    best = value;
                    winner = tap;
                }
            }
            y[i] = best;
            if (winners) winners[i] = winner;
        }
    }
}

// Gathers, for each pixel, from the windows in which it is the maximum.
// places: gradient of y, winners -> of x; counts: window, pixels x channels
KERNEL max_pool_input(Arguments a) {
    Window w = window_of(a);
    const float *g = read(a, 0);
    const unsigned *winners = (const unsigned *)a.place[1];
    PHASE(t) {
        EACH(i, t, a.count[9]) {
            int channel = i % w.channels, x = i / w.channels % w.width;
            int y = i / w.channels / w.width % w.height;
            long long picture = i / w.channels / w.width / w.height;
            float sum = 0.0f;
            for (int tap = w.kernel * w.kernel - 1; tap >= 0; --tap) {
                int row, column;
                if (!seen_by(w, y, x, tap, row, column)) continue;
                long long place = ((picture * w.rows + row) * w.columns + column) * w.channels;
                if (winners[place + channel] == (unsigned)tap) sum += g[place + channel];
            }
            write(a, 2)[i] = sum;
        }
    }
}

// Computes the mean over the pixels of each picture. blocks: groups of LANES channels, by pictures
// places: x [pictures, pixels, channels] -> y [pictures, channels]; counts: pixels, channels
KERNEL average_forward(Arguments a) {
    unsigned channels = (unsigned)a.count[1], groups = (channels + LANES - 1) / LANES;
    unsigned group = block_index() % groups;
    long long picture = block_index() / groups;
    const float *x = read(a, 0) + picture * a.count[0] * channels;
    SHARED float sum[THREADS];
    PHASE(t) {
        unsigned channel = group * LANES + t % LANES;
        float s = 0.0f;
        for (long long pixel = t / LANES; pixel < a.count[0]; pixel += TURNS) {
            if (channel < channels) s += x[pixel * channels + channel];
        }
        sum[t] = s;
    }
    tree_sum(sum, LANES);
    PHASE(t) {
        unsigned channel = group * LANES + t;
        if (t < LANES && channel < channels) {
            write(a, 1)[picture * channels + channel] = sum[t] / (float)a.count[0];
        }
    }
}

// places: gradient of y -> of x; counts: pixels, channels, elements of x
KERNEL average_input(Arguments a) {
    PHASE(t) {
        EACH(i, t, a.count[2]) {
            long long picture = i / a.count[1] / a.count[0];
            float g = read(a, 0)[picture * a.count[1] + i % a.count[1]];
            write(a, 1)[i] = g / (float)a.count[0];
        }
    }
}

// Copies the inputs of the output pixels from number `first` on: rows of [taps, channels].
// places: x -> columns; counts: window, elements of columns, first
KERNEL columns_forward(Arguments a) {
    Window w = window_of(a);
    int depth = w.kernel * w.kernel * w.channels;
    PHASE(t) {
        EACH(i, t, a.count[9]) {
            int channel = i % w.channels, tap = i % depth / w.channels;
            long long pixel = a.count[10] + i / depth;
            int column = pixel % w.columns, row = pixel / w.columns % w.rows, y, x;
            bool found = inside(w, row, column, tap, y, x);
            long long picture = pixel / w.columns / w.rows;
            write(a, 1)[i] = found ? read(a, 0)[pixel_place(w, picture, y, x, channel)] : 0.0f;
        }
    }
}

// Adds up what the columns of output pixels from `first` to before `end` contribute to each pixel,
// starting from the result of earlier columns, if any.
// places: columns, before -> x; counts: window, elements of x, first, end
KERNEL columns_input(Arguments a) {
    Window w = window_of(a);
    int depth = w.kernel * w.kernel * w.channels;
    PHASE(t) {
        EACH(i, t, a.count[9]) {
            int channel = i % w.channels, x = i / w.channels % w.width;
            int y = i / w.channels / w.width % w.height;
            long long picture = i / w.channels / w.width / w.height;
            float sum = read(a, 1) ? read(a, 1)[i] : 0.0f;
            for (int tap = 0; tap < w.kernel * w.kernel; ++tap) {
                int row, column;
                if (!seen_by(w, y, x, tap, row, column)) continue;
                long long pixel = (picture * w.rows + row) * w.columns + column;
                if (pixel < a.count[10] || pixel >= a.count[11]) continue;
                sum += read(a, 0)[(pixel - a.count[10]) * depth + tap * w.channels + channel];
            }
            write(a, 2)[i] = sum;
        }
    }
}

// Grouped convolution, computed directly; weights are [outputs, taps, channels / groups].
// places: x, weights -> y; counts: window, elements of y, outputs, groups
KERNEL grouped_forward(Arguments a) {
    Window w = window_of(a);
    int outputs = (int)a.count[10], groups = (int)a.count[11];
    int inner = w.channels / groups, taps = w.kernel * w.kernel;
    PHASE(t) {
        EACH(i, t, a.count[9]) {
            int output = i % outputs, column = i / outputs % w.columns;
            int row = i / outputs / w.columns % w.rows;
            long long picture = i / outputs / w.columns / w.rows;
            int first = output / (outputs / groups) * inner;
            float sum = 0.0f;
            for (int tap = 0; tap < taps; ++tap) {
                int y, x;
                if (!inside(w, row, column, tap, y, x)) continue;
                const float *pixel = read(a, 0) + pixel_place(w, picture, y, x, first);
                const float *weights = read(a, 1) + ((long long)output * taps + tap) * inner;
                for (int c = 0; c < inner; ++c) sum += pixel[c] * weights[c];
            }
            write(a, 2)[i] = sum;
        }
    }
}

// places: gradient of y, weights -> of x; counts: window, elements of x, outputs, groups
KERNEL grouped_input(Arguments a) {
    Window w = window_of(a);
    int outputs = (int)a.count[10], groups = (int)a.count[11];
    int inner = w.channels / groups, outer = outputs / groups, taps = w.kernel * w.kernel;
    PHASE(t) {
        EACH(i, t, a.count[9]) {
            int channel = i % w.channels, x = i / w.channels % w.width;
            int y = i / w.channels / w.width % w.height;
            long long picture = i / w.channels / w.width / w.height;
            int first = channel / inner * outer;
            float sum = 0.0f;
            for (int tap = 0; tap < taps; ++tap) {
                int row, column;
                if (!seen_by(w, y, x, tap, row, column)) continue;
                long long pixel = (picture * w.rows + row) * w.columns + column;
                for (int o = first; o < first + outer; ++o) {
                    long long weight = ((long long)o * taps + tap) * inner + channel % inner;
                    sum += read(a, 0)[pixel * outputs + o] * read(a, 1)[weight];
                }
            }
            write(a, 2)[i] = sum;
        }
    }
}

// Computes the gradient of weight (output, tap, channel) over a part of the output pixels.
// blocks: groups of LANES outputs, by taps x channels of a group, by parts
// places: x, gradient of y -> sums [parts, outputs, taps, channels / groups]
// counts: window, output pixels of all pictures, outputs, groups, parts
KERNEL grouped_weights(Arguments a) {
    Window w = window_of(a);
    int outputs = (int)a.count[10], inner = w.channels / (int)a.count[11];
    int outer = outputs / (int)a.count[11], taps = w.kernel * w.kernel;
    int lanes = (outputs + LANES - 1) / LANES;
    int lane = block_index() % lanes, entry = block_index() / lanes % (taps * inner);
    long long part = block_index() / lanes / (taps * inner);
    Range range = share(a.count[9], part, a.count[12]);
    SHARED float sum[THREADS];
    PHASE(t) {
        int output = lane * LANES + t % LANES;
        float s = 0.0f;
        for (long long pixel = range.first + t / LANES; pixel < range.end; pixel += TURNS) {
            if (output >= outputs) continue;
            int column = pixel % w.columns, row = pixel / w.columns % w.rows, y, x;
            if (!inside(w, row, column, entry / inner, y, x)) continue;
            long long picture = pixel / w.columns / w.rows;
            int channel = output / outer * inner + entry % inner;
            s += read(a, 1)[pixel * outputs + output] *
                 read(a, 0)[pixel_place(w, picture, y, x, channel)];
        }
        sum[t] = s;
    }
    tree_sum(sum, LANES);
    PHASE(t) {
        int output = lane * LANES + t;
        if (t < LANES && output < outputs) {
            write(a, 2)[(part * outputs + output) * taps * inner + entry] = sum[t];
        }
    }
}
