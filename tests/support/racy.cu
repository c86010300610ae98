// Kernels that are wrong on purpose, each in one way that the emulation must catch. One block of THREADS threads.
#include "gpu/device.cuh"

// out[i] = x[THREADS - 1 - i] by way of shared memory: right with the barrier, a race without.
template <bool BARRIER> __global__ void turn(const float* x, float* out) {
    SHARED(float, kept, THREADS);
    kept[threadIdx.x] = x[threadIdx.x];
    if (BARRIER) __syncthreads();
    out[threadIdx.x] = kept[THREADS - 1 - threadIdx.x];
}

// out[i] = the sum over rounds r of r * x[i + DISTANCE]: without the second barrier the buffer is overwritten early.
template <bool BARRIER, int DISTANCE> __global__ void rounds(const float* x, float* out) {
    SHARED(float, kept, THREADS);
    float sum = 0.f;
    for (int r = 1; r < 4; ++r) {
        kept[threadIdx.x] = r * x[threadIdx.x];
        __syncthreads();
        sum += kept[(threadIdx.x + DISTANCE) % THREADS];
        if (BARRIER) __syncthreads();
    }
    out[threadIdx.x] = sum;
}

// A barrier that only half of the threads reach.
__global__ void halfway(const float* x, float* out) {
    if (threadIdx.x < THREADS / 2) __syncthreads();
    out[threadIdx.x] = x[threadIdx.x];
}

// A shuffle whose mask names lanes that have left.
__global__ void left(const float* x, float* out) {
    if (threadIdx.x % 32 == 5) return;
    out[threadIdx.x] = __shfl_xor_sync(ALL_LANES, x[threadIdx.x], 1);
}

// Reads of four values, of which those of the last thread end behind the tensor; moved by one, they are not aligned.
template <int OFFSET> __global__ void wide(const float* x, float* out) {
    out[threadIdx.x] = read<4>(x + 4 * threadIdx.x + OFFSET).x[0];
}

// Two blocks write one place.
__global__ void twice(const float* x, float* out) { out[threadIdx.x] = x[threadIdx.x] * blockIdx.x; }
