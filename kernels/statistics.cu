// Sums in float64 in a fixed order, minimum and maximum.
//
//   sums         partial[c] = values[c] + values[c + COLUMNS] + values[c + 2 COLUMNS] + ..., from the left;
//                low[c], high[c] = least and greatest of the same values (-0 before +0; NaN beyond infinity)
//   deviations   partial[c] = the same sum of (value - centre)^2
//
//   values   count numbers, -DVALUE=float or double
//   partial  columns = min(COLUMNS, count) float64; low, high: as many VALUE
//   The host joins the partial sums exactly (math.fsum): the order of _cpu/statistics.py, and its result to the bit.
//   Compile without contraction (-fmad=false): a fused multiply-add rounds once where numpy rounds twice.
//
// Bytes per voxel: sizeof(VALUE) read by each kernel.
//
// Source: own. The usual tree of a reduction depends on the launch; here a thread is a column, whatever the device.

#ifndef LOADS
#define LOADS 16  // reads in flight a thread: 65536 threads alone are too few to hide the latency
#endif
#define THREADS 128

#if DOUBLE
typedef double Value;
typedef long long Bits;
#define INFINITY_BITS 0x7ff0000000000000ll
#define bits_of __double_as_longlong
#define value_of __longlong_as_double
static __device__ __forceinline__ double widened(double value) { return value; }
#else
typedef float Value;
typedef int Bits;
#define bits_of __float_as_int
#define value_of __int_as_float
// The value in float64, made from its bits, since a conversion would flush subnormal floats under -ftz=true, which
// CuPy adds. Exponent 0 is read as 1 with a leading one too many, which the exact subtraction of 2^-126 takes away.
static __device__ __forceinline__ double widened(float value)
{
    const int bits = __float_as_int(value);
    const int magnitude = bits & 0x7fffffff;
    const bool subnormal = magnitude < 0x00800000;
    const int rebased = subnormal ? magnitude | 0x00800000 : magnitude;
    const long long exponent = magnitude >= 0x7f800000 ? 2047 - 255 : 1023 - 127;
    const double absolute = __longlong_as_double((exponent << 52) + ((long long)rebased << 29))
        - (subnormal ? 1.1754943508222875e-38 : 0);
    return __longlong_as_double(__double_as_longlong(absolute) | (long long)(bits & 0x80000000) << 32);
}
#endif

// Bits that order as integers as the values do; its own inverse.
static __device__ __forceinline__ Bits ordered(Bits bits)
{
    const Bits greatest = (Bits)(~0ull >> (65 - 8 * sizeof(Bits)));
    return bits ^ (bits >> (8 * sizeof(Bits) - 1) & greatest);
}

extern "C" __global__ void __launch_bounds__(THREADS) sums(
    const Value *values, long long count, double *partial, Value *low, Value *high)
{
    const int column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= COLUMNS || column >= count)
        return;
    double sum = 0;
    Bits least = ordered(bits_of(values[column])), greatest = least;
#pragma unroll LOADS
    for (long long i = column; i < count; i += COLUMNS) {
        const Value value = values[i];
        const Bits order = ordered(bits_of(value));
        sum += widened(value);
        least = min(least, order);
        greatest = max(greatest, order);
    }
    partial[column] = sum;
    low[column] = value_of(ordered(least));
    high[column] = value_of(ordered(greatest));
}

extern "C" __global__ void __launch_bounds__(THREADS) deviations(
    const Value *values, long long count, double centre, double *partial)
{
    const int column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= COLUMNS || column >= count)
        return;
    double sum = 0;
#pragma unroll LOADS
    for (long long i = column; i < count; i += COLUMNS) {
        const double deviation = widened(values[i]) - centre;
        sum += deviation * deviation;
    }
    partial[column] = sum;
}
