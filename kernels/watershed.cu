// Regions of steepest ascent: where each foreground voxel ends that goes to the highest of its 26 neighbours, and on.
//
//   climb      parent[i] = the highest neighbour of i, the first in scan order of equal ones, if it is higher than i;
//                          i where none is (i is flat); -1 in the background
//              first[i]  = i where i is flat
//              tied      = 1 if a flat voxel has an equal neighbour: only then are the next three of use
//   join       flat voxels that touch and are equal: the trees of a union-find, whose roots are the least voxels
//   flatten    parent[i] = the root of a flat i; NONE for a root
//   leave      parent[root] = the first voxel in scan order that climbs and is an equal neighbour of the plateau
//   collapse   parent[i] = the maximum at which i ends; first[maximum] = the first voxel that ends there
//   mark       starts[first[maximum]] = 1
//   number     labels[i] = numbers[first[parent[i]]], the running sum of `starts` up to there; 0 in the background
//
//   values              (nz, ny, nx) float32, C order, no NaN
//   foreground          bool; with a voxel all that are as high as it
//   parent, first       Index, -DINDEX=int below 2^31 voxels, else "long long"
//   tied                one int32, 0 before climb
//   starts, numbers     bool, zero before mark; int32
//   labels              int32
//
// What threads change under each other is read past the first-level cache, and every change is a minimum or a step
// further along one path: the result does not depend on their order.
//
// Bytes per voxel, of which b is the share in the foreground, with 4-byte indices and without ties, counted:
// climb 5 + 4, collapse 4 + 4 b, mark 4, running sum 1 + 1 + 4, number 4 + 8 b + 4: 31 + 12 b. With ties 4 more for
// join, flatten and leave each, and as much again as they touch.
//
// Source: own. Union-find by atomicMin as in Playne and Hawick, IEEE Trans. Parallel Distrib. Syst. 29 (2018) 1217.

#define THREADS 256

typedef INDEX Index;

#define NONE ((Index)(~0ull >> (65 - 8 * sizeof(Index))))

// Integers that order as the values do: -ftz=true, which CuPy adds, would take subnormal values for equal.
static __device__ __forceinline__ int height_of(float value)
{
    const int bits = __float_as_int(value);
    const int ordered = bits ^ (bits >> 31 & 0x7fffffff);
    return ordered == -1 ? 0 : ordered;  // -0 is 0
}

static __device__ __forceinline__ Index this_voxel() { return (Index)blockIdx.x * THREADS + threadIdx.x; }

static __device__ __forceinline__ bool higher(const float *values, Index a, Index b)
{
    return height_of(values[a]) > height_of(values[b]);
}

static __device__ __forceinline__ bool climbs(const float *values, const Index *parent, Index i)
{
    const Index to = __ldcg(parent + i);
    return to != NONE && higher(values, to, i);
}

// The end of the path from `i` through flat voxels, while others shorten it.
static __device__ __forceinline__ Index root_of(const Index *parent, Index i)
{
    for (;;) {
        const Index to = __ldcg(parent + i);
        if (to == i || to == NONE)
            return i;
        i = to;
    }
}

// Calls visit(j) for the neighbours j of voxel i in scan order, 26 of them or those before i.
template <class Visit>
static __device__ __forceinline__ void neighbours(Index i, int nz, int ny, int nx, bool before, Visit visit)
{
    const int x = (int)(i % nx);
    const Index row = i / nx;
    const int y = (int)(row % ny), z = (int)(row / ny);
#pragma unroll
    for (int k = 0; k < 27; k++) {
        const int dz = k / 9 - 1, dy = k / 3 % 3 - 1, dx = k % 3 - 1;
        const bool inside = z + dz >= 0 && z + dz < nz && y + dy >= 0 && y + dy < ny && x + dx >= 0 && x + dx < nx;
        if (k != 13 && !(before && k > 13) && inside)
            visit(i + ((Index)dz * ny + dy) * nx + dx);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) climb(
    const float *values, const bool *foreground, Index *parent, Index *first, int *tied, Index count,
    int nz, int ny, int nx)
{
    const Index i = this_voxel();
    if (i >= count)
        return;
    if (!foreground[i]) {
        parent[i] = -1;
        return;
    }
    const int height = height_of(values[i]);
    int highest = height;
    Index target = i;
    bool equal = false;
    neighbours(i, nz, ny, nx, false, [&](Index j) {
        const int there = height_of(values[j]);
        equal |= there == height;
        if (there > highest) {
            highest = there;
            target = j;
        }
    });
    parent[i] = target;
    if (target == i) {
        first[i] = i;
        if (equal)
            __stcg(tied, 1);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) join(
    const float *values, Index *parent, Index count, int nz, int ny, int nx)
{
    const Index i = this_voxel();
    if (i >= count || __ldcg(parent + i) < 0 || climbs(values, parent, i))
        return;
    const int height = height_of(values[i]);
    neighbours(i, nz, ny, nx, true, [&](Index j) {
        if (height_of(values[j]) != height || climbs(values, parent, j))
            return;
        Index a = root_of(parent, i), b = root_of(parent, j);
        while (a != b) {
            const Index high = max(a, b), low = min(a, b);
            const Index old = atomicMin(parent + high, low);
            if (old == high)
                break;
            a = root_of(parent, old);  // `high` was no root any more: what it led to is to be joined with `low`
            b = root_of(parent, low);
        }
    });
}

extern "C" __global__ void __launch_bounds__(THREADS) flatten(const float *values, Index *parent, Index count)
{
    const Index i = this_voxel();
    if (i >= count || __ldcg(parent + i) < 0 || climbs(values, parent, i))
        return;
    const Index root = root_of(parent, i);
    __stcg(parent + i, root == i ? NONE : root);
}

extern "C" __global__ void __launch_bounds__(THREADS) leave(
    const float *values, Index *parent, Index count, int nz, int ny, int nx)
{
    const Index i = this_voxel();
    if (i >= count)
        return;
    const Index to = __ldcg(parent + i);
    if (to < 0 || climbs(values, parent, i))
        return;
    const Index root = to == NONE || climbs(values, parent, to) ? i : to;
    const int height = height_of(values[i]);
    Index goal = NONE;
    neighbours(i, nz, ny, nx, false, [&](Index j) {
        if (goal == NONE && height_of(values[j]) == height && climbs(values, parent, j))
            goal = j;
    });
    if (goal != NONE)
        atomicMin(parent + root, goal);
}

extern "C" __global__ void __launch_bounds__(THREADS) collapse(Index *parent, Index *first, Index count)
{
    const Index i = this_voxel();
    if (i >= count || __ldcg(parent + i) < 0)
        return;
    Index end = i;
    for (;;) {
        const Index to = __ldcg(parent + end);
        if (to == end || to == NONE)
            break;
        end = to;
        __stcg(parent + i, end);  // whoever comes through i takes the shorter way
    }
    if (end == i)
        __stcg(parent + i, i);
    if (__ldcg(first + end) > i)
        atomicMin(first + end, i);
}

extern "C" __global__ void __launch_bounds__(THREADS) mark(
    const Index *parent, const Index *first, bool *starts, Index count)
{
    const Index i = this_voxel();
    if (i < count && parent[i] == i)
        starts[first[i]] = true;
}

extern "C" __global__ void __launch_bounds__(THREADS) number(
    const Index *parent, const Index *first, const int *numbers, int *labels, Index count)
{
    const Index i = this_voxel();
    if (i < count)
        labels[i] = parent[i] < 0 ? 0 : numbers[first[parent[i]]];
}
