// Squared distance in voxels to the nearest foreground voxel, bounded by 63, and the soft mask read from it.
//
//   d2(z, y, x) = min over dz, dy, dx of dz^2 + dy^2 + dx^2 to a foreground voxel; out = min(d2, cap), or
//   out = table[min(d2, cap)] (-DTABLE), one axis after the other:
//   distance_zy   f = dz^2 from the bits of a column; g = min over dy of f + dy^2
//   distance_x    min over dx of g + dx^2; the result
//
//   bits, occupancy   as threshold.cu writes them
//   states            (ceil(nz / SLAB), ceil(ny / ROWS), pitch / 64) bytes, one a tile: see State
//   g                 (nz, ny, pitch) uint16; written only in tiles that are STORED, read only there
//   out               (nz, ny, nx) uint16, or float32 with TABLE; table: cap + 1 float32
//   halo              steps to look along an axis: the reach rounded up to a multiple of CHECK, at most 64
//   cap <= (reach + 1)^2, so that steps beyond the reach, which are taken where that is simpler, change nothing.
//   -DWINDOW=32 looks 31 steps along z, 64 looks 63.
//
// Bytes per voxel, of which a share a lies in tiles that are STORED: 1/8 read + 2 a written, 2 a read + 4 written
// (2 without TABLE). With 4 + 1/8 for the threshold of a float32 map: 8.25 + 4 a.
//
// Source: separable minima of parabolas (Saito & Toriwaki 1994; Meijster et al. 2000). What differs: the distance is
// bounded, so that the first axis is one count of leading zeros in a window of bits, the others are windowed minima
// with two 16-bit voxels to a register, and tiles without foreground in reach cost a few bytes.

#include "packed.cuh"

// Tiles. Larger ROWS: fewer rows of f computed twice, (ROWS + 2 halo) / ROWS of them, but larger tiles to be active.
#ifndef CHECK
#define CHECK 4  // steps between two looks at whether any voxel can still be improved
#endif
#define WIDTH 64                       // x of a tile
#define RUN 256                        // x of a block of distance_x
#define GROUPS 4                       // groups of 8 rows of a block of distance_x
#define ZY_THREADS (ROWS * 2)          // a thread owns 8 x and 4 y
#define X_THREADS (GROUPS * RUN / 4)   // a thread owns 8 y and 4 x
#define FAR both(WINDOW * WINDOW)      // no foreground in the window: at least (reach + 1)^2

enum State { EMPTY, STORED, FULL };  // no foreground in reach along z and y; g is there; nothing but foreground

struct Best { Pair pair[4][4]; };  // 4 neighbours along the axis of the minimum, each 8 voxels across

static __device__ __forceinline__ void improve(Pair (&best)[4], const uint4 f, Pair cost)
{
    best[0] = tap(f.x, cost, best[0]);
    best[1] = tap(f.y, cost, best[1]);
    best[2] = tap(f.z, cost, best[2]);
    best[3] = tap(f.w, cost, best[3]);
}

static __device__ __forceinline__ int largest(const Best &best)
{
    Pair most = 0;
#pragma unroll
    for (int i = 0; i < 16; i++)
        most = larger(most, best.pair[i / 4][i % 4]);
    return (int)max(most & 0xffff, most >> 16);
}

// Minimum over k of at(k) + k^2 for the neighbours at 0, 1, 2, 3, where at(k) is valid for -halo <= k <= halo + 3.
// Goes outward, and no further once a step costs more than the worst voxel of the warp has.
template <class At> static __device__ __forceinline__ Best minimum(const At at, int halo)
{
    Best best;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            best.pair[i][j] = FAR;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const uint4 f = at(k);
#pragma unroll
        for (int i = 0; i < 4; i++)
            improve(best.pair[i], f, both((i - k) * (i - k)));
    }
    for (int first = 1; first <= halo; first += CHECK) {
        if (!__any_sync(~0u, largest(best) > first * first))
            break;
#pragma unroll
        for (int k = first; k < first + CHECK; k++) {
            const uint4 before = at(-k);
            const uint4 behind = at(3 + k);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const Pair cost = both((k + i) * (k + i));
                improve(best.pair[i], before, cost);
                improve(best.pair[3 - i], behind, cost);
            }
        }
    }
    return best;
}

// Squared steps along z from bit `bit` of `here` to the nearest set bit of the column; WINDOW^2 if there is none.
// Bits below and, mirrored, above are laid over each other: one count of leading zeros serves both directions.
static __device__ __forceinline__ unsigned int squared_steps(const unsigned int (&word)[5], int bit)
{
    unsigned int near = __funnelshift_l(word[1], word[2], 31 - bit) | __brev(__funnelshift_r(word[2], word[3], bit));
    int steps = 0;
#if WINDOW == 64
    if (near == 0) {
        near = __funnelshift_l(word[0], word[1], 31 - bit) | __brev(__funnelshift_r(word[3], word[4], bit));
        steps = 32;
    }
#endif
    steps += __clz(near);
    return steps * steps;
}

extern "C" __global__ void __launch_bounds__(ZY_THREADS) distance_zy(
    const unsigned int *bits, const unsigned char *occupancy, unsigned char *states, unsigned short *g,
    int nz, int ny, int pitch, int halo)
{
    extern __shared__ uint4 tile[];  // f: ROWS + 2 halo rows of WIDTH uint16
    const int thread = threadIdx.x;
    const int x_tiles = pitch / WIDTH;
    const int y_tiles = (ny + ROWS - 1) / ROWS;
    const int x0 = blockIdx.x % x_tiles * WIDTH;
    const int y0 = blockIdx.x / x_tiles % y_tiles * ROWS;
    const int z0 = blockIdx.x / x_tiles / y_tiles * SLAB;
    const int word = z0 / 32;
    const int words = (nz + 31) / 32;

    const int first_row = max(y0 - halo, 0);
    const int rows = min(y0 + ROWS + halo, ny) - first_row;
    const int first_word = max(z0 - halo, 0) / 32;
    const int last_word = min(z0 + SLAB - 1 + halo, nz - 1) / 32;
    bool foreground = false, background = false;
    for (int i = thread; i < rows * (last_word - first_word + 1); i += ZY_THREADS) {
        const int y = first_row + i % rows;
        const int w = first_word + i / rows;
        const unsigned char *pair = occupancy + (((size_t)w * ny + y) * pitch + x0) / 32;
        const int seen = pair[0] | pair[1];
        foreground |= seen & 1;
        background |= (seen & 2) && w == word && y >= y0 && y < y0 + ROWS;
    }
    foreground = __syncthreads_or(foreground);
    background = __syncthreads_or(background);
    if (thread == 0)
        states[blockIdx.x] = !foreground ? EMPTY : background ? STORED : FULL;
    if (!foreground || !background)
        return;

    for (int z = z0; z < min(z0 + SLAB, nz); z++) {
        __syncthreads();  // all have read the plane before
        for (int i = thread; i < (ROWS + 2 * halo) * (WIDTH / 2); i += ZY_THREADS) {
            const int y = y0 - halo + i / (WIDTH / 2);
            Pair f = FAR;
            if (y >= 0 && y < ny) {
                unsigned int left[5], right[5];
#pragma unroll
                for (int k = 2 - WINDOW / 32; k <= 2 + WINDOW / 32; k++) {
                    const int w = word + k - 2;
                    uint2 two = make_uint2(0, 0);
                    if (w >= 0 && w < words)
                        two = *reinterpret_cast<const uint2 *>(
                            bits + (((size_t)w * ny + y) * pitch + x0 + i % (WIDTH / 2) * 2));
                    left[k] = two.x;
                    right[k] = two.y;
                }
                f = squared_steps(left, z % 32) | squared_steps(right, z % 32) << 16;
            }
            reinterpret_cast<Pair *>(tile)[i] = f;
        }
        __syncthreads();

        const int across = thread % (WIDTH / 8);
        const int down = thread / (WIDTH / 8) * 4;
        const uint4 *mine = tile + ((halo + down) * (WIDTH / 8) + across);
        const Best best = minimum([=](int k) { return mine[k * (WIDTH / 8)]; }, halo);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int y = y0 + down + i;
            if (y < ny)
                *reinterpret_cast<uint4 *>(g + (((size_t)z * ny + y) * pitch + x0 + across * 8)) =
                    make_uint4(best.pair[i][0], best.pair[i][1], best.pair[i][2], best.pair[i][3]);
        }
    }
}

// Where x lies in shared memory, which holds 8 y of one x in 16 bytes. One slot in nine stays free, so that threads
// that read every fourth x meet different banks.
static __device__ __forceinline__ int slot(int x) { return x + (x >> 3); }

// Low halves, or high halves, of two words.
static __device__ __forceinline__ Pair low(Pair a, Pair b) { return __byte_perm(a, b, 0x5410); }
static __device__ __forceinline__ Pair high(Pair a, Pair b) { return __byte_perm(a, b, 0x7632); }

#if TABLE
typedef float Out;
#else
typedef unsigned short Out;
#endif

extern "C" __global__ void __launch_bounds__(X_THREADS, 3) distance_x(
    const unsigned char *states, const unsigned short *g, Out *out, int nz, int ny, int nx, int pitch, int halo, int cap
#if TABLE
    ,
    const float *table
#endif
)
{
    extern __shared__ uint4 tile[];  // for each group slot(RUN + 2 halo) of 8 uint16, then the table
    const int runs = (nx + RUN - 1) / RUN;
    const int blocks_y = (ny + GROUPS * 8 - 1) / (GROUPS * 8);
    const int group = threadIdx.x / (RUN / 4);
    const int thread = threadIdx.x % (RUN / 4);
    const int x0 = blockIdx.x % runs * RUN;
    const int block_y = blockIdx.x / runs % blocks_y * (GROUPS * 8);
    const int slab = blockIdx.x / runs / blocks_y;
    const int y0 = block_y + group * 8;
    const int z1 = min((slab + 1) * SLAB, nz);

    // Tiles of this slab and these rows, from those of x0 - halo to those of x0 + RUN + halo.
    const unsigned char *state = states + ((size_t)slab * ((ny + ROWS - 1) / ROWS) + block_y / ROWS) * (pitch / WIDTH);
    bool empty = true, full = true;
    for (int x = max(x0 - halo, 0) / WIDTH; x <= (min(x0 + RUN + halo, nx) - 1) / WIDTH; x++) {
        empty &= state[x] == EMPTY;
        full &= state[x] == FULL || x * WIDTH < x0 || x * WIDTH >= x0 + RUN;
    }

    if (empty || full) {
#if TABLE
        const Out constant = table[empty ? cap : 0];
#else
        const Out constant = empty ? cap : 0;
#endif
        for (int z = slab * SLAB; z < z1; z++)
            for (int y = y0; y < min(y0 + 8, ny); y++)
                for (int x = x0 + thread; x < min(x0 + RUN, nx); x += RUN / 4)
                    out[((size_t)z * ny + y) * nx + x] = constant;
        return;
    }

    const int group_slots = slot(RUN + 2 * halo);
#if TABLE
    float *values = reinterpret_cast<float *>(tile + GROUPS * group_slots);
    for (int i = threadIdx.x; i <= cap; i += X_THREADS)
        values[i] = table[i];
#endif

    uint4 *mine = tile + group * group_slots;
    for (int z = slab * SLAB; z < z1; z++) {
        // Two neighbours in x of 8 rows, turned so that the rows of one x lie together.
        for (int i = thread; i < RUN / 2 + halo; i += RUN / 4) {
            const int x = x0 - halo + 2 * i;
            const int kind = x >= 0 && x < nx ? state[x / WIDTH] : EMPTY;
            Pair row[8];
#pragma unroll
            for (int j = 0; j < 8; j++) {
                row[j] = FAR;
                if (kind == STORED && y0 + j < ny)
                    row[j] = *reinterpret_cast<const Pair *>(g + (((size_t)z * ny + y0 + j) * pitch + x));
                else if (kind == FULL)
                    row[j] = 0;
            }
            mine[slot(2 * i)] =
                make_uint4(low(row[0], row[1]), low(row[2], row[3]), low(row[4], row[5]), low(row[6], row[7]));
            mine[slot(2 * i + 1)] =
                make_uint4(high(row[0], row[1]), high(row[2], row[3]), high(row[4], row[5]), high(row[6], row[7]));
        }
        __syncthreads();
        const int first = halo + 4 * thread;
        const bool outside = x0 + thread / 32 * 128 >= nx || y0 >= ny;  // all of this warp: no voxel to improve
        const Best best = minimum([=](int k) { return mine[slot(first + k)]; }, outside ? 0 : halo);
        __syncthreads();

        // Turned back through shared memory, so that neighbouring threads write neighbouring voxels.
        uint2 *turned = reinterpret_cast<uint2 *>(mine);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const Pair a = best.pair[0][j], b = best.pair[1][j], c = best.pair[2][j], d = best.pair[3][j];
            turned[(2 * j) * (RUN / 4) + thread] = make_uint2(low(a, b), low(c, d));
            turned[(2 * j + 1) * (RUN / 4) + thread] = make_uint2(high(a, b), high(c, d));
        }
        __syncthreads();
        const unsigned short *d2 = reinterpret_cast<const unsigned short *>(mine);
        for (int y = y0; y < min(y0 + 8, ny); y++)
#pragma unroll
            for (int x = thread; x < RUN; x += RUN / 4)
                if (x0 + x < nx) {
                    const int result = min((int)d2[(y - y0) * RUN + x], cap);
#if TABLE
                    out[((size_t)z * ny + y) * nx + x0 + x] = values[result];
#else
                    out[((size_t)z * ny + y) * nx + x0 + x] = result;
#endif
                }
        __syncthreads();
    }
}
