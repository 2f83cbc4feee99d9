// Two 16-bit values in a 32-bit word, each below 0x7c00: minimum, maximum, and the tap min(f + cost, best).
//
// TAP chooses the instructions:
//   2  __viaddmin_u16x2, one instruction a tap (sm_90, sm_100; two on sm_120)
//   1  an integer addition, which cannot carry between the halves, and a half-precision minimum, which orders
//      finite positive numbers as it orders their bits: two instructions a tap (from sm_80 on)
//   0  integer arithmetic within the word, about eight instructions a tap, on anything
// Prediction: 2 is fastest on sm_90 unless packed DPX runs at quarter rate there; then 1 is.

#ifndef TAP
#if __CUDA_ARCH__ >= 900
#define TAP 2
#elif __CUDA_ARCH__ >= 800
#define TAP 1
#else
#define TAP 0
#endif
#endif

typedef unsigned int Pair;

static __device__ __forceinline__ Pair both(unsigned int value) { return value * 0x10001u; }

#if TAP == 2

static __device__ __forceinline__ Pair larger(Pair a, Pair b) { return __vmaxu2(a, b); }
static __device__ __forceinline__ Pair tap(Pair f, Pair cost, Pair best) { return __viaddmin_u16x2(f, cost, best); }

#elif TAP == 1

#ifdef __CUDA_ARCH__  // on the host tests bring their own
static __device__ __forceinline__ Pair half_minimum(Pair a, Pair b)
{
    Pair smaller;
    asm("min.f16x2 %0, %1, %2;" : "=r"(smaller) : "r"(a), "r"(b));
    return smaller;
}
static __device__ __forceinline__ Pair half_maximum(Pair a, Pair b)
{
    Pair larger;
    asm("max.f16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
    return larger;
}
#endif
static __device__ __forceinline__ Pair larger(Pair a, Pair b) { return half_maximum(a, b); }
static __device__ __forceinline__ Pair tap(Pair f, Pair cost, Pair best) { return half_minimum(f + cost, best); }

#else

static __device__ __forceinline__ Pair at_least(Pair a, Pair b)  // ones in each half where a >= b
{
    const Pair top = ((a | 0x80008000u) - b) & 0x80008000u;
    return top | (top - (top >> 15));
}
static __device__ __forceinline__ Pair larger(Pair a, Pair b) { return b ^ ((a ^ b) & at_least(a, b)); }
static __device__ __forceinline__ Pair tap(Pair f, Pair cost, Pair best)
{
    const Pair sum = f + cost;
    return sum ^ ((sum ^ best) & at_least(sum, best));
}

#endif
