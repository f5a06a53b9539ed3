// Allows one source to be compiled as CUDA kernels and, for the tests, as plain C++ that runs on
// the host.
//
// A kernel works in phases, each a block `PHASE(t) { ... }` that every thread t runs once. A phase
// begins with a barrier, so it sees everything that earlier phases wrote; within a phase no thread
// may read what another one writes. The host runs the threads of a phase one after the other, in an
// order that the tests vary: a kernel that breaks the rule then gives different results. All
// threads of a block must reach every phase. Values that outlive a phase are SHARED or recomputed.
//
// There are no atomic additions: sums have a structure that depends on the shape alone.

#pragma once

// Number of threads of every block; `THREADS` in plan.rs.
static constexpr int THREADS = 256;
// Number of adjacent channels in a sum over pixels, and of rows of threads that take turns.
static constexpr int LANES = 32;
static constexpr int TURNS = THREADS / LANES;

// The arguments of a kernel; `Arguments` in plan.rs. Unused places are null.
struct Arguments {
    void *place[16];
    long long count[16];
    double real[16];
};

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define SHARED __shared__
#define PHASE(t) for (int t = (__syncthreads(), (int)threadIdx.x), once_##t = 1; once_##t; once_##t = 0)
DEVICE int block_index() { return (int)blockIdx.x; }
DEVICE int block_count() { return (int)gridDim.x; }

#else

#include <cmath>
#include <cstdint>

#define DEVICE static inline
#define KERNEL extern "C" void
#define SHARED
#define PHASE(t) for (int n_##t = 0, t; n_##t < THREADS && (t = host_thread(n_##t), true); ++n_##t)

static int host_block, host_blocks, host_order;

extern "C" void host_set(int block, int blocks, int order) {
    host_block = block;
    host_blocks = blocks;
    host_order = order;
}

// The thread that runs in turn n: forwards, backwards, or in a shuffled order (multiplication by an
// odd factor permutes the residues of a power of two).
DEVICE int host_thread(int n) {
    if (host_order == 0) return n;
    if (host_order == 1) return THREADS - 1 - n;
    return (n * 91 + 17) % THREADS;
}
DEVICE int block_index() { return host_block; }
DEVICE int block_count() { return host_blocks; }

#endif

DEVICE const float *read(const Arguments &a, int index) { return (const float *)a.place[index]; }
DEVICE float *write(const Arguments &a, int index) { return (float *)a.place[index]; }

// Sums the values that the threads put into `values`. The sums end up in the first `width` values,
// each over every `width`-th value.
template <class T> DEVICE void tree_sum(T *values, int width) {
    for (int half = THREADS / 2; half >= width; half /= 2) {
        PHASE(t) {
            if (t < half) values[t] += values[t + half];
        }
    }
}

// Puts the largest of the values into the first; a NaN wins.
DEVICE void tree_max(float *values) {
    for (int half = THREADS / 2; half >= 1; half /= 2) {
        PHASE(t) {
            if (t < half) {
                float other = values[t + half];
                if (other > values[t] || other != other) values[t] = other;
            }
        }
    }
}

// Iterates over the elements of a thread: from `t` on, in steps of the number of threads of all
// blocks.
#define EACH(i, t, length)                                                                         \
    for (unsigned i = (unsigned)block_index() * THREADS + t; i < (unsigned)(length);               \
         i += (unsigned)block_count() * THREADS)

// Part number `part` of `parts` of a range of length `total`: from `first` to before `end`.
struct Range {
    long long first, end;
};
DEVICE Range share(long long total, long long part, long long parts) {
    return {total * part / parts, total * (part + 1) / parts};
}
