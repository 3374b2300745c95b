// Lets a C++ compiler compile the CUDA kernels and run them on the CPU, block after block. Where threads share nothing,
// they run one after the other. The threads of a BLOCK_KERNEL run in turn, each from one barrier to the next; shared
// memory holds NaN when a block begins, and a barrier that not all threads reach ends the process with a message.
#undef _FORTIFY_SOURCE  // it takes a jump from one thread's stack to another's for a mistake
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

// <cmath> takes longer to compile than the kernels. exp of a float is a float's, as in CUDA.
#define OF_FLOAT_AND_DOUBLE(name)                                             \
    static inline float name##_of(float x) { return __builtin_##name##f(x); } \
    static inline double name##_of(double x) { return __builtin_##name(x); }
OF_FLOAT_AND_DOUBLE(erfc)
OF_FLOAT_AND_DOUBLE(exp)
OF_FLOAT_AND_DOUBLE(expm1)
OF_FLOAT_AND_DOUBLE(fabs)
OF_FLOAT_AND_DOUBLE(log)
OF_FLOAT_AND_DOUBLE(log1p)
OF_FLOAT_AND_DOUBLE(sqrt)
OF_FLOAT_AND_DOUBLE(tanh)
#define erfc erfc_of
#define exp exp_of
#define expm1 expm1_of
#define fabs fabs_of
#define log log_of
#define log1p log1p_of
#define sqrt sqrt_of
#define tanh tanh_of
#define cos __builtin_cos
#define pow __builtin_pow
#define rint __builtin_rint
#define sin __builtin_sin

#define __global__
#define __device__
#define __launch_bounds__(threads, blocks)
#define __restrict__ __restrict
#define __shared__ static __attribute__((section("shared_memory")))

struct Place {
    unsigned x;
};

static thread_local Place threadIdx, blockIdx, blockDim, gridDim;

template <typename Work>
static void launch(unsigned grid, unsigned block, Work work) {
    gridDim.x = grid;
    blockDim.x = block;
    for (unsigned b = 0; b < grid; b++)
        for (unsigned t = 0; t < block; t++) {
            blockIdx.x = b;
            threadIdx.x = t;
            work();
        }
}

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct OneThread {
    ucontext_t begin;
    jmp_buf at;
    State state;
    bool begun;
};

extern char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));

static const unsigned MOST_THREADS = 1024, THREADS_OF_WARP = 32, STACK = 1 << 16;
static OneThread all_threads[MOST_THREADS];
static OneThread* running;
static jmp_buf scheduler;
static void (*body)(void*);
static void* body_data;
static unsigned char exchanged[MOST_THREADS][8];
static pthread_mutex_t one_launch = PTHREAD_MUTEX_INITIALIZER;

__attribute__((noinline)) static void pause_as(State state) {
    running->state = state;
    if (!_setjmp(running->at)) _longjmp(scheduler, 1);
}

static void live() {
    for (;;) {
        body(body_data);
        pause_as(DONE);
    }
}

static void wait_at(State barrier) {
    asm volatile("" ::: "memory");
    pause_as(barrier);
    asm volatile("" ::: "memory");
}

__attribute__((noinline)) static void go_on(OneThread& thread) {
    running = &thread;
    if (_setjmp(scheduler)) return;
    if (thread.begun) _longjmp(thread.at, 1);
    thread.begun = true;
    getcontext(&thread.begin);
    thread.begin.uc_stack.ss_sp = malloc(STACK);
    thread.begin.uc_stack.ss_size = STACK;
    thread.begin.uc_link = nullptr;
    makecontext(&thread.begin, live, 0);
    setcontext(&thread.begin);
}

// Whether all of these threads wait there; then they are ready again.
static bool released(unsigned from, unsigned to, State barrier) {
    for (unsigned t = from; t < to; t++)
        if (all_threads[t].state != barrier) return false;
    for (unsigned t = from; t < to; t++) all_threads[t].state = READY;
    return true;
}

static void run_block(unsigned block) {
    for (unsigned t = 0; t < block; t++) all_threads[t].state = READY;
    for (unsigned done = 0; done < block;) {
        for (unsigned t = 0; t < block; t++) {
            if (all_threads[t].state != READY) continue;
            threadIdx.x = t;
            go_on(all_threads[t]);
            done += all_threads[t].state == DONE;
        }
        bool moved = released(0, block, AT_BLOCK_BARRIER);
        for (unsigned t = 0; t < block; t += THREADS_OF_WARP) moved |= released(t, t + THREADS_OF_WARP, AT_WARP_BARRIER);
        if (!moved && done < block) {
            fprintf(stderr, "a barrier of block %u is not reached by all of its threads\n", blockIdx.x);
            abort();
        }
    }
}

template <typename Work>
static void launch_together(unsigned grid, unsigned block, Work work) {
    if (block % THREADS_OF_WARP || block > MOST_THREADS) abort();
    pthread_mutex_lock(&one_launch);
    gridDim.x = grid;
    blockDim.x = block;
    body = [](void* data) { (*(Work*)data)(); };
    body_data = &work;
    for (unsigned b = 0; b < grid; b++) {
        blockIdx.x = b;
        memset(__start_shared_memory, 0xFF, __stop_shared_memory - __start_shared_memory);
        run_block(block);
    }
    pthread_mutex_unlock(&one_launch);
}

static inline void __syncthreads() { wait_at(AT_BLOCK_BARRIER); }

template <typename Number>
static Number __shfl_xor_sync(unsigned mask, Number value, int lanes) {
    if (mask != 0xFFFFFFFF) abort();
    memcpy(exchanged[threadIdx.x], &value, sizeof value);
    wait_at(AT_WARP_BARRIER);
    memcpy(&value, exchanged[threadIdx.x ^ lanes], sizeof value);
    wait_at(AT_WARP_BARRIER);
    return value;
}
