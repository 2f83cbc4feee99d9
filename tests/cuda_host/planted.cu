// Faults that the checkers must find. Reverses 64 values through shared memory.
//   -DBARRIER=0   no barrier between writing and reading shared memory
//   -DPAST=1      the last thread writes past the end of `out`
extern "C" __global__ void reverse(const float *values, float *out)
{
    extern __shared__ uint4 tile[];
    float *shared = reinterpret_cast<float *>(tile);
    shared[threadIdx.x] = values[threadIdx.x];
#if BARRIER
    __syncthreads();
#endif
    out[threadIdx.x + PAST] = shared[63 - threadIdx.x];
}
