// Squared distance to the nearest foreground voxel for any reach and any cost of a step.
//
//   out = min(cap, min over dz, dy, dx of (costs_z[|dz|] + costs_y[|dy|]) + costs_x[|dx|]) to a foreground voxel,
//   added in that order, so that float64 is defined to the bit; or table[out] (-DTABLE)
//
//   bits          as threshold.cu writes them
//   costs         costs[k], k = 0 .. reach: squared length of k steps along the axis, increasing from 0
//   in, out       (nz, ny, nx) COST: unsigned short, unsigned int or double; cap + costs[reach] must not overflow
//                 unsigned int. The last kernel writes float32 with TABLE
//   table         cap + 1 float32
//
// Bytes per voxel: with s = sizeof(COST), 1/8 read + s written; s + s; s + s (or 4).
//
// Source: as distance.cu, of which this is the plain form: for a reach beyond 63, voxels that are not cubes, or a cap
// that steps beyond the reach could still improve. One thread a voxel; its window is read through L1.

#define THREADS 128

struct Place { int z, y, x; };

// The voxel of this thread; a block has THREADS neighbours of one row.
static __device__ __forceinline__ Place place(int ny, int nx)
{
    const int runs = (nx + THREADS - 1) / THREADS;
    const int row = blockIdx.x / runs;
    return {row / ny, row % ny, (int)(blockIdx.x % runs * THREADS + threadIdx.x)};
}

extern "C" __global__ void __launch_bounds__(THREADS) distance_z(
    const unsigned int *bits, const COST *costs, COST cap, int reach, COST *out, int nz, int ny, int nx, int pitch)
{
    const Place at = place(ny, nx);
    if (at.x >= nx)
        return;
    const unsigned int *column = bits + ((size_t)at.y * pitch + at.x);
    const size_t next = (size_t)ny * pitch;
    const int word = at.z / 32, bit = at.z % 32;
    int steps = reach + 1;
    for (int w = word; w >= max(at.z - reach, 0) / 32; w--) {
        const unsigned int below = column[w * next] & (w == word ? ~0u >> (31 - bit) : ~0u);
        if (below) {
            steps = min(steps, at.z - (32 * w + 31 - __clz(below)));
            break;
        }
    }
    for (int w = word; w <= min(at.z + reach, nz - 1) / 32; w++) {
        const unsigned int above = column[w * next] & (w == word ? ~0u << bit : ~0u);
        if (above) {
            steps = min(steps, 32 * w + __ffs(above) - 1 - at.z);
            break;
        }
    }
    out[((size_t)at.z * ny + at.y) * nx + at.x] = steps <= reach ? min(costs[steps], cap) : cap;
}

// Minimum over k of in[p + k * stride] + costs[|k|] for the voxel `index` of `length`, going outward.
static __device__ __forceinline__ COST minimum(
    const COST *in, size_t p, size_t stride, int index, int length, const COST *costs, int reach)
{
    COST best = in[p];
    for (int k = 1; k <= reach; k++) {
        const COST cost = costs[k];
        if (cost >= best)
            break;
        if (k <= index && in[p - k * stride] + cost < best)
            best = in[p - k * stride] + cost;
        if (k < length - index && in[p + k * stride] + cost < best)
            best = in[p + k * stride] + cost;
    }
    return best;
}

extern "C" __global__ void __launch_bounds__(THREADS) distance_y(
    const COST *in, const COST *costs, int reach, COST *out, int ny, int nx)
{
    const Place at = place(ny, nx);
    if (at.x >= nx)
        return;
    const size_t p = ((size_t)at.z * ny + at.y) * nx + at.x;
    out[p] = minimum(in, p, nx, at.y, ny, costs, reach);
}

extern "C" __global__ void __launch_bounds__(THREADS) distance_x(
    const COST *in, const COST *costs, int reach,
#if TABLE
    float *out, const float *table,
#else
    COST *out,
#endif
    int ny, int nx)
{
    const Place at = place(ny, nx);
    if (at.x >= nx)
        return;
    const size_t p = ((size_t)at.z * ny + at.y) * nx + at.x;
    const COST best = minimum(in, p, 1, at.x, nx, costs, reach);
#if TABLE
    out[p] = table[best];
#else
    out[p] = best;
#endif
}
