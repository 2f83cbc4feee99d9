// Foreground of a volume as bits, 32 planes to a word.
//
//   bit z % 32 of bits[z / 32][y][x] = value >= threshold      (-DVALUE=float; or |value| >= threshold)
//                                    = value != 0              (-DVALUE=bool)
//
//   values      (nz, ny, nx), C order
//   bits        (ceil(nz / 32), ny, pitch) words; pitch = nx rounded up to 64; zero beyond the volume
//   occupancy   (ceil(nz / 32), ny, pitch / 32) bytes, one a word of 32 neighbours in x: 1 = some foreground,
//               2 = some background, 3 = both, 0 = outside the volume
//   inverted    ~0 for the background's bits (erosion), else 0; what is outside the volume stays 0
//
// Bytes per voxel: sizeof(VALUE) read, 1/8 + 1/1024 written.
//
// Source: bit packing by warp votes is common; here the bits run along z. Neighbouring threads then read
// neighbouring values with no vote, no shuffle and no padding of rows, distance.cu can begin with z, and planes that
// arrive in chunks of 32 fill whole words.

#ifndef LOADS
#define LOADS 16  // reads in flight a thread: 16 x 4 B x 2048 threads is several times what hides the latency
#endif
#define THREADS 128

#include "ordered.cuh"

extern "C" __global__ void __launch_bounds__(THREADS) pack(
    const VALUE *values, unsigned int *bits, unsigned char *occupancy, int nz, int ny, int nx, int pitch,
    unsigned int inverted
#if THRESHOLD
    ,
    int lowest, unsigned int span, unsigned int kept
#endif
)
{
    const int lane = threadIdx.x % 32;
    const int runs = pitch / 32;
    const int run = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;  // 32 neighbours in x, 32 planes deep
    const int x = run % runs * 32 + lane;
    const int row = run / runs;  // word * ny + y
    const int y = row % ny;
    const int first = row / ny * 32;
    if (first >= nz)
        return;

    const int depth = min(32, nz - first);
    const unsigned int valid = x < nx ? ~0u >> (32 - depth) : 0;
    unsigned int word = 0;
    if (x < nx) {
        const size_t plane = (size_t)ny * nx;
        const VALUE *column = values + (first * plane + (size_t)y * nx + x);
#pragma unroll LOADS
        for (int z = 0; z < depth; z++) {
#if THRESHOLD
            word |= (unsigned int)reached(column[z * plane], lowest, span, kept) << z;
#else
            word |= (unsigned int)(column[z * plane] != 0) << z;
#endif
        }
    }
    word = (word ^ inverted) & valid;
    bits[(size_t)row * pitch + x] = word;
    const bool foreground = __any_sync(~0u, word != 0);
    const bool background = __any_sync(~0u, word != valid);
    if (lane == 0)
        occupancy[run] = foreground | background << 1;
}
