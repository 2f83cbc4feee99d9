// CUDA on the host: enough of the language to run our kernels under g++ and its sanitizers.
//
// A block runs on one operating-system thread with a fiber for each CUDA thread; blocks run in parallel over OpenMP.
// With -DTHREADS_AS_THREADS a CUDA thread is a std::thread and blocks follow each other: what ThreadSanitizer needs.
// Grids and blocks have one dimension. Shared memory is dynamic, or a variable inside a kernel (fibers only).
#pragma once

#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#ifdef THREADS_AS_THREADS
#include <atomic>
#include <mutex>
#include <thread>
#else
#include <omp.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_host {

constexpr size_t SHARED_BYTES = 48 * 1024;  // what every device gives a block without being asked
constexpr int WARP = 32;

struct Index { unsigned x; };

struct Thread;
#ifdef THREADS_AS_THREADS
#define SHARED_STORAGE
using Lock = std::mutex;
using Round = std::atomic<unsigned>;
inline Index block_index, block_dim, grid_dim;
inline thread_local Thread *current;
inline void wait_while(const Round &round, unsigned old) { round.wait(old); }
inline void tell(Round &round) { round.notify_all(); }
#else
#define SHARED_STORAGE thread_local
struct Lock {
    void lock() {}
    void unlock() {}
};
using Round = unsigned;
inline thread_local Index block_index, block_dim, grid_dim;
inline thread_local Thread *current;
inline thread_local bool progress;  // some meeting ended, or some thread, since the scheduler last looked
void yield();
inline void wait_while(const Round &round, unsigned old)
{
    while (round == old)
        yield();
}
inline void tell(Round &) { progress = true; }
#endif

// Threads that meet: each leaves a vote, and none goes on before the last has come. Who has ended is not waited for.
struct Meeting {
    Lock lock;
    Round round{0};
    unsigned members = 0, arrived = 0, votes = 0;
    unsigned result = 0;  // the bitwise or of the votes of the last round
    uint64_t shown[WARP];  // what each lane of a warp shows the others

    unsigned attend(unsigned vote)
    {
        lock.lock();
        const unsigned now = round;
        votes |= vote;
        arrived++;
        const bool last = finished();
        lock.unlock();
        if (last)
            tell(round);
        else
            wait_while(round, now);
        return result;
    }

    void leave()
    {
        lock.lock();
        members--;
        finished();
        lock.unlock();
        tell(round);
    }

private:
    bool finished()
    {
        if (arrived == 0 || arrived != members)
            return false;
        result = votes;
        arrived = votes = 0;
        round++;
        return true;
    }
};

struct Thread {
    Index index;
    unsigned lane;
    Meeting *block, *warp;
};

struct Launch {
    unsigned threads;
    Index grid;
    size_t shared;
};

}  // namespace cuda_host

#define __global__
#define __device__
#define __forceinline__ inline
#define __align__(bytes) alignas(bytes)
#define __launch_bounds__(...)
#define __shared__ SHARED_STORAGE
#define threadIdx (cuda_host::current->index)
#define blockIdx cuda_host::block_index
#define blockDim cuda_host::block_dim
#define gridDim cuda_host::grid_dim

struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// Every kernel calls its dynamic shared memory `tile`.
SHARED_STORAGE uint4 tile[cuda_host::SHARED_BYTES / sizeof(uint4)];

inline int min(int a, int b) { return a < b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline double min(double a, double b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }

// What threads may do to memory that others use. After a read the other threads of the block come first, so that what
// was read is as old as it can be.
template <class T> inline T __ldcg(const T *from)
{
    const T value = __atomic_load_n(from, __ATOMIC_RELAXED);
#ifndef THREADS_AS_THREADS
    cuda_host::progress = true;
    cuda_host::yield();
#endif
    return value;
}
template <class T> inline void __stcg(T *to, T value) { __atomic_store_n(to, value, __ATOMIC_RELAXED); }
template <class T> inline T atomicMin(T *to, T value)
{
    T old = __atomic_load_n(to, __ATOMIC_RELAXED);
    while (value < old && !__atomic_compare_exchange_n(to, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    return old;
}

template <class To, class From> inline To same_bits(From value)
{
    To bits;
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline int __float_as_int(float value) { return same_bits<int>(value); }
inline float __int_as_float(int bits) { return same_bits<float>(bits); }
inline long long __double_as_longlong(double value) { return same_bits<long long>(value); }
inline double __longlong_as_double(long long bits) { return same_bits<double>(bits); }

inline void __syncthreads() { cuda_host::current->block->attend(0); }
inline int __syncthreads_or(int predicate) { return cuda_host::current->block->attend(predicate != 0); }
inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    assert(mask == ~0u);
    return cuda_host::current->warp->attend((unsigned)(predicate != 0) << cuda_host::current->lane);
}
inline void __syncwarp() { cuda_host::current->warp->attend(0); }
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned lanes)
{
    assert(mask == ~0u);
    const unsigned lane = cuda_host::current->lane;
    cuda_host::Meeting &warp = *cuda_host::current->warp;
    memcpy(&warp.shown[lane], &value, sizeof value);
    warp.attend(0);
    if (lane >= lanes)
        memcpy(&value, &warp.shown[lane - lanes], sizeof value);
    warp.attend(0);
    return value;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }

inline int __clz(int value) { return value ? __builtin_clz(value) : 32; }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline unsigned __brev(unsigned value)
{
    unsigned reversed = 0;
    for (int bit = 0; bit < 32; bit++)
        reversed |= (value >> bit & 1) << (31 - bit);
    return reversed;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return (((uint64_t)high << 32 | low) << (shift & 31)) >> 32;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return ((uint64_t)high << 32 | low) >> (shift & 31);
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector)
{
    const uint64_t bytes = (uint64_t)high << 32 | low;
    unsigned result = 0;
    for (int i = 0; i < 4; i++)
        result |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return result;
}

template <class Combine> inline unsigned halves(unsigned a, unsigned b, Combine combine)
{
    return (combine(a >> 16, b >> 16) & 0xffff) << 16 | (combine(a & 0xffff, b & 0xffff) & 0xffff);
}
inline unsigned smaller(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned greater(unsigned a, unsigned b) { return a > b ? a : b; }
inline unsigned sum(unsigned a, unsigned b) { return a + b; }
inline unsigned __vmaxu2(unsigned a, unsigned b) { return halves(a, b, greater); }
inline unsigned __viaddmin_u16x2(unsigned a, unsigned b, unsigned c) { return halves(halves(a, b, sum), c, smaller); }

// Finite positive half-precision numbers order as their bits do; what is not one must not come here.
inline unsigned finite(unsigned bits) { assert(bits < 0x7c00); return bits; }
inline unsigned half_minimum(unsigned a, unsigned b)
{
    return halves(a, b, [](unsigned u, unsigned v) { return smaller(finite(u), finite(v)); });
}
inline unsigned half_maximum(unsigned a, unsigned b)
{
    return halves(a, b, [](unsigned u, unsigned v) { return greater(finite(u), finite(v)); });
}

namespace cuda_host {

// The threads of a block and their meetings.
struct Block {
    std::vector<Thread> threads;
    std::vector<Meeting> warps;
    Meeting all;

    explicit Block(unsigned count) : threads(count), warps((count + WARP - 1) / WARP)
    {
        all.members = count;
        for (unsigned i = 0; i < count; i++) {
            threads[i] = {{i}, i % WARP, &all, &warps[i / WARP]};
            warps[i / WARP].members++;
        }
    }
};

#ifdef THREADS_AS_THREADS

template <class Kernel> void run_block(unsigned count, const Kernel &kernel)
{
    Block block(count);
    std::vector<std::thread> threads;
    for (Thread &thread : block.threads)
        threads.emplace_back([&kernel, &thread] {
            current = &thread;
            kernel();
            thread.warp->leave();
            thread.block->leave();
        });
    for (std::thread &thread : threads)
        thread.join();
}

#else

#ifdef __SANITIZE_ADDRESS__
constexpr size_t STACK_BYTES = 256 * 1024;
#else
constexpr size_t STACK_BYTES = 64 * 1024;
#endif

#ifdef __x86_64__
// Saves the registers that a call preserves, swaps stacks, restores. swapcontext() would make two system calls.
extern "C" void cuda_host_switch(void **from, void *to);
asm(R"(
.pushsection .text
.hidden cuda_host_switch
cuda_host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.popsection
)");
struct Context {
    void *pointer;
    void prepare(char *stack, void (*entry)())
    {
        void **top = reinterpret_cast<void **>(stack + STACK_BYTES) - 2;  // aligned as after a call of entry
        *top = reinterpret_cast<void *>(entry);
        pointer = top - 6;
        memset(pointer, 0, 6 * sizeof(void *));
    }
    static void change(Context &from, Context &to) { cuda_host_switch(&from.pointer, to.pointer); }
};
#else
struct Context {
    ucontext_t context;
    void prepare(char *stack, void (*entry)())
    {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = STACK_BYTES;
        makecontext(&context, entry, 0);
    }
    static void change(Context &from, Context &to) { swapcontext(&from.context, &to.context); }
};
#endif

struct Fiber {
    Context context;
    char *stack;
    bool ended;
};

// The scheduler of one operating-system thread: its own context and the fiber that runs.
struct Scheduler {
    Context context;
    Fiber *running;
    void (*call)(const void *);
    const void *kernel;
    const void *stack;  // of the scheduler, as AddressSanitizer wants to know it
    size_t stack_size;
};
inline thread_local Scheduler scheduler;

inline void to_fiber(Fiber &fiber)
{
    scheduler.running = &fiber;
#ifdef __SANITIZE_ADDRESS__
    void *fake;
    __sanitizer_start_switch_fiber(&fake, fiber.stack, STACK_BYTES);
#endif
    Context::change(scheduler.context, fiber.context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

inline void to_scheduler(Fiber &fiber)
{
#ifdef __SANITIZE_ADDRESS__
    void *fake;
    __sanitizer_start_switch_fiber(fiber.ended ? nullptr : &fake, scheduler.stack, scheduler.stack_size);
#endif
    Context::change(fiber.context, scheduler.context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

inline void yield() { to_scheduler(*scheduler.running); }

inline void enter()
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &scheduler.stack, &scheduler.stack_size);
#endif
    scheduler.call(scheduler.kernel);
    current->warp->leave();
    current->block->leave();
    scheduler.running->ended = true;
    to_scheduler(*scheduler.running);
}

// The stacks of this operating-system thread, kept from block to block.
inline char *stack_of(unsigned fiber)
{
    struct Stacks {
        std::vector<char *> all;
        ~Stacks()
        {
            for (char *stack : all)
                free(stack);
        }
    };
    static thread_local Stacks stacks;
    while (stacks.all.size() <= fiber)
        stacks.all.push_back(static_cast<char *>(aligned_alloc(64, STACK_BYTES)));
    return stacks.all[fiber];
}

template <class Kernel> void run_block(unsigned count, const Kernel &kernel)
{
    Block block(count);
    std::vector<Fiber> fibers(count);
    scheduler.call = [](const void *call) { (*static_cast<const Kernel *>(call))(); };
    scheduler.kernel = &kernel;
    for (unsigned i = 0; i < count; i++) {
        fibers[i].stack = stack_of(i);
        fibers[i].ended = false;
        fibers[i].context.prepare(fibers[i].stack, enter);
    }
    for (unsigned alive = count; alive;) {
        progress = false;
        for (unsigned i = 0; i < count; i++) {
            if (fibers[i].ended)
                continue;
            current = &block.threads[i];
            to_fiber(fibers[i]);
            alive -= fibers[i].ended;
        }
        if (!progress) {
            fprintf(stderr, "the threads of block %u wait for each other at different barriers\n", block_index.x);
            abort();
        }
    }
}

#endif

template <class... A, size_t... I>
void launch(void (*kernel)(A...), const Launch &launch, unsigned first, unsigned last, void **arguments,
            std::index_sequence<I...>)
{
    const auto call = [=] { kernel(*static_cast<A *>(arguments[I])...); };
    const auto block = [&](unsigned index) {
        block_index = {index};
        block_dim = {launch.threads};
        grid_dim = launch.grid;
        memset(tile, 0xcd, launch.shared);
#ifdef __SANITIZE_ADDRESS__
        char *const shared = reinterpret_cast<char *>(tile);
        __asan_poison_memory_region(shared + launch.shared, SHARED_BYTES - launch.shared);
#endif
        run_block(launch.threads, call);
#ifdef __SANITIZE_ADDRESS__
        __asan_unpoison_memory_region(shared, SHARED_BYTES);
#endif
    };
#ifndef THREADS_AS_THREADS
#pragma omp parallel for schedule(dynamic)
#endif
    for (unsigned index = first; index < last; index++)
        block(index);
}

template <class A> struct Size { static constexpr int value = sizeof(A); };
template <class A> struct Size<A *> { static constexpr int value = 0; };  // 0 says: a pointer

}  // namespace cuda_host

// For a kernel: launch_NAME, and argument_sizes_NAME, which ends with -1.
template <class... A> struct Sizes { static constexpr int value[] = {cuda_host::Size<A>::value..., -1}; };
template <class... A> constexpr const int *sizes_of(void (*)(A...)) { return Sizes<A...>::value; }
template <class... A> auto indices_of(void (*)(A...)) { return std::index_sequence_for<A...>(); }
#define EXPORT(name)                                                                                                 \
    extern "C" const int *argument_sizes_##name() { return sizes_of(name); }                                         \
    extern "C" void launch_##name(unsigned grid, unsigned threads, size_t shared, unsigned first, unsigned last,     \
                                  void **arguments)                                                                  \
    {                                                                                                                \
        cuda_host::launch(name, {threads, {grid}, shared}, first, last, arguments, indices_of(name));                \
    }
