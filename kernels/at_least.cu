// Which values reach a threshold: out = value >= threshold, or |value| >= threshold.
//
//   values, out          count float32, count bool
//   lowest, span, kept   see ordered.cuh
//
// Bytes per voxel: 4 read + 1 written.
//
// Source: own.

#include "ordered.cuh"

#define THREADS 128

extern "C" __global__ void __launch_bounds__(THREADS) at_least(
    const float *values, bool *out, long long count, int lowest, unsigned int span, unsigned int kept)
{
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (i < count)
        out[i] = reached(values[i], lowest, span, kept);
}
