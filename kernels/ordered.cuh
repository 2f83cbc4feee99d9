// Floats compared as integers, because -ftz=true, which CuPy adds, would flush subnormal values.
//
//   lowest   the threshold as an integer that orders like the float
//   span     how far above it infinity is: one unsigned comparison then makes NaN background
//   kept     which bits of a value count: all, or all but the sign for |value|

static __device__ __forceinline__ bool reached(float value, int lowest, unsigned int span, unsigned int kept)
{
    const int bits = __float_as_int(value) & kept;
    const int ordered = bits ^ (bits >> 31 & 0x7fffffff);
    return (unsigned int)ordered - (unsigned int)lowest <= span;
}
