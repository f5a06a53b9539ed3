// What lets one source be a CUDA kernel and, for the tests, plain C++ that runs on the host.
//
// A kernel works in phases, each a block `PHASE(t) { ... }` that every thread t runs once. A phase
// begins with a barrier, so it sees all that the phases before it wrote; within a phase no thread may
// read what another writes. The host runs the threads of a phase one after the other, in an order that
// the tests change: a kernel that breaks the rule gives other results then. Phases stand only where
// all threads of a block come by. What lives longer than a phase is SHARED, or worked out anew.
//
// Nothing is added by atomics: sums have a form that depends on the shape alone.

#pragma once

// Threads of every block; `THREADS` in plan.rs.
static constexpr int THREADS = 256;
// Channels side by side in a sum over pixels, and the rows of threads that take turns.
static constexpr int LANES = 32;
static constexpr int TURNS = THREADS / LANES;

// What a kernel gets; `Arguments` in plan.rs. Places that are not used are null.
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

// The thread that runs as number n: forwards, backwards, or in a shuffled order (an odd factor goes
// once round a power of two).
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

// The sum of what the threads put into `values`, into the first `width` of them: of every `width`-th
// value where that is more than 1.
template <class T> DEVICE void tree_sum(T *values, int width) {
    for (int half = THREADS / 2; half >= width; half /= 2) {
        PHASE(t) {
            if (t < half) values[t] += values[t + half];
        }
    }
}

// The largest of them, into the first; a NaN wins.
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

// The elements from `t` on that a thread takes, in steps of all threads of all blocks.
#define EACH(i, t, length)                                                                         \
    for (unsigned i = (unsigned)block_index() * THREADS + t; i < (unsigned)(length);               \
         i += (unsigned)block_count() * THREADS)

// Part number `part` of `parts` of `total` things: from `first` to before `end`.
struct Range {
    long long first, end;
};
DEVICE Range share(long long total, long long part, long long parts) {
    return {total * part / parts, total * (part + 1) / parts};
}
