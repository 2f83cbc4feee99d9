// Sums over shells of a half transform, in float64, in a fixed order.
//
//   out[s] = sum of weights[x] * Re(a[z][y][x] * conj(b[z][y][x])) over all z, y, x with
//            (int)(sqrt((squares_y[y] + squares_x[x]) + squares_z[z]) + 0.5) = s
//
//   a, b       (planes, ny, nxh) complex64, C order, or complex128 with -DDOUBLE; with -DTRANSPOSED (planes, nxh, ny).
//              With -DPOWER b is not read: a stands for both.
//   squares    float64: squared frequency in shell widths. Along y they are those of a whole transform, the same for y
//              and ny - y and growing to the middle; along x they grow: equal shells are neighbours in both.
//   weights    nxh float64, powers of two (multiplicity of a coefficient that stands for its Hermitian mate)
//   windows    blocks * span float64 and first, blocks int32: sums of the shells first[block] ... + span - 1 of a block
//   partial    (planes, count) float64, what `join` gives; the host adds the planes in order
//
// Bytes per voxel: 4 read for each complex64 array, since the transform is half the box (8 a coefficient), 8 for each
// of complex128; windows add 8 span / (64 band) a coefficient, written and read once: 3 % with bands of 128 rows and a
// span of 135.
//
// A block takes one plane, 32 columns and a band of rows: by the triangle inequality its shells are few, whatever their
// number in the box. The rows of y and ny - y are added up first, being of one shell. A warp takes every eighth row;
// its runs of one shell are summed by a segmented scan, as long as the longest run needs, and the last lane of a run
// adds to the warp's own shells in shared memory. Nobody else writes there: no atomics, one order, the same bytes each
// time.
// Products are those of _cpu/shell_sums.py to the bit (-fmad=false; a subnormal float32 is flushed by -ftz=true, which
// CuPy adds); their order of addition is not.
//
// Source: own. A segmented scan before a histogram is known (Sengupta et al. 2007); the usual way is atomics, or an
// array of indices and a sort, neither of which is deterministic in float64 at one read of the data.

#define COLUMNS 32
#define WARPS 8
#define THREADS (32 * WARPS)
#ifndef LOADS
#define LOADS 4  // rows of a warp in flight, each with its mate: 8 or 16 reads a lane
#endif

#if DOUBLE
typedef double Real;
#else
typedef float Real;
#endif
struct __align__(2 * sizeof(Real)) Complex { Real real, imaginary; };

static __device__ __forceinline__ double product(const Complex *a, const Complex *b, long long i)
{
    const Complex here = a[i];
#if POWER
    const Complex there = here;
#else
    const Complex there = b[i];
#endif
    return (double)here.real * (double)there.real + (double)here.imaginary * (double)there.imaginary;
}

static __device__ __forceinline__ int shell_of(double z, double y, double x)
{
    return (int)(sqrt((y + x) + z) + 0.5);
}

// The grid is (planes, bands, runs, passes): a pass takes `span` shells of a block's, and one is the rule.
extern "C" __global__ void __launch_bounds__(THREADS, 4) shell_sums(
    const Complex *a, const Complex *b, const double *squares_z, const double *squares_y, const double *squares_x,
    const double *weights, double *windows, int *first, int ny, int nxh, int band, int bands, int runs, int passes,
    int span)
{
    extern __shared__ uint4 tile[];
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    double *const sums = reinterpret_cast<double *>(tile) + warp * span;  // of this warp
    for (int i = lane; i < span; i += 32)
        sums[i] = 0;
    __syncwarp();

    const int half = ny / 2 + 1;
#if TRANSPOSED
    const int rows = nxh, columns = half;
#else
    const int rows = half, columns = nxh;
#endif
    const int pass = blockIdx.x % passes;
    const int column0 = blockIdx.x / passes % runs * COLUMNS;
    const int row0 = blockIdx.x / passes / runs % bands * band;
    const int plane = blockIdx.x / passes / runs / bands;
    const int end = min(row0 + band, rows);
    const int column = column0 + lane;
    const bool inside = column < columns;
    const double square_z = squares_z[plane];
#if TRANSPOSED
    const int lowest = shell_of(square_z, squares_y[column0], squares_x[row0]);
    const double square_column = inside ? squares_y[column] : 0;
#else
    const int lowest = shell_of(square_z, squares_y[row0], squares_x[column0]);
    const double square_column = inside ? squares_x[column] : 0;
    const double weight = inside ? weights[column] : 0;
#endif
    const int base = lowest + pass * span;
    if (threadIdx.x == 0)
        first[blockIdx.x] = base;

    const long long origin = (long long)plane * ny * nxh;
    for (int row = row0 + warp; row < end; row += WARPS * LOADS) {
        double values[LOADS];
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            values[i] = 0;
            const int own = row + i * WARPS;
            if (!inside || own >= end)
                continue;
#if TRANSPOSED
            const int y = column, mate = ny - column;
            const long long start = origin + (long long)own * ny, step = 1;
#else
            const int y = own, mate = ny - own;
            const long long start = origin + column, step = nxh;
#endif
            values[i] = product(a, b, start + y * step);
            if (mate < ny && mate != y)
                values[i] += product(a, b, start + mate * step);
        }
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            const int own = row + i * WARPS;
            if (own >= end)
                break;
#if TRANSPOSED
            double value = values[i] * weights[own];
            const int shell = inside ? shell_of(square_z, square_column, squares_x[own]) : -1;
#else
            double value = values[i] * weight;
            const int shell = inside ? shell_of(square_z, squares_y[own], square_column) : -1;
#endif
            const int before = __shfl_up_sync(~0u, shell, 1);
            const unsigned int heads = __ballot_sync(~0u, lane == 0 || shell != before);
            const int start = 31 - __clz(heads & ~0u >> (31 - lane));  // of this lane's run
            // Bit i of `gaps`: lane i has at least `offset` lanes before it in its run.
            unsigned int gaps = ~heads;
            for (int offset = 1; gaps; offset *= 2) {
                const double other = __shfl_up_sync(~0u, value, offset);
                if (lane - offset >= start)
                    value += other;
                gaps &= gaps << offset;
            }
            const bool last = lane == 31 || heads >> (lane + 1) & 1;
            if (last && inside && shell >= base && shell < base + span)
                sums[shell - base] += value;
            __syncwarp();
        }
    }

    __syncthreads();
    const double *const all = reinterpret_cast<const double *>(tile);
    for (int i = threadIdx.x; i < span; i += THREADS) {
        double sum = 0;
        for (int w = 0; w < WARPS; w++)
            sum += all[w * span + i];
        windows[(long long)blockIdx.x * span + i] = sum;
    }
}

// The windows of a plane as one row of `partial`, in order of blocks: a block for each plane.
extern "C" __global__ void __launch_bounds__(THREADS) join(
    const double *windows, const int *first, double *partial, int count, int blocks, int span)
{
    const long long start = (long long)blockIdx.x * blocks;
    for (int shell = threadIdx.x; shell < count; shell += THREADS) {
        double sum = 0;
        for (long long block = start; block < start + blocks; block++) {
            const int i = shell - first[block];
            if (i >= 0 && i < span)
                sum += windows[block * span + i];
        }
        partial[(long long)blockIdx.x * count + shell] = sum;
    }
}
