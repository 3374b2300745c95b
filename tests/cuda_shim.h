// Lets a C++ compiler compile the CUDA kernels and run them on the CPU, block after block. Where threads share nothing,
// they run one after the other. The threads of a BLOCK_KERNEL run in turn, each from one barrier to the next; shared
// memory holds NaN when a block begins, and a barrier that not all threads reach ends the process with a message.
// Neither blocks nor threads have an order on a GPU: here blocks run from the last to the first, and threads now in one
// direction and now in the other, so that what one reads before a barrier that another writes differs.
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

static inline unsigned in_turn(unsigned k, unsigned count, bool backwards) { return backwards ? count - 1 - k : k; }

template <typename Work>
static void launch(unsigned grid, unsigned block, Work work) {
    gridDim.x = grid;
    blockDim.x = block;
    for (unsigned b = grid; b-- > 0;)
        for (unsigned t = 0; t < block; t++) {
            blockIdx.x = b;
            threadIdx.x = in_turn(t, block, b % 2);
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
    bool backwards = blockIdx.x % 2;
    for (unsigned done = 0; done < block; backwards = !backwards) {
        for (unsigned k = 0; k < block; k++) {
            const unsigned t = in_turn(k, block, backwards);
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
    for (unsigned b = grid; b-- > 0;) {
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

// Tensor cores, as tensor.cu asks them: what a thread holds of the factors is what NVIDIA's PTX manual says. Four products
// at a time are exact, and are added to the number before with as many bits as those of compute capability 8.0 keep, the
// fewest of all: 24 after the point of the largest term, the rest being cut off, and the result is rounded towards zero
// (Xie et al., MMA-Sim, 2025). The threads of a warp give what they hold, and the first that goes on multiplies for all.
// What they give next goes elsewhere, for the others may be behind.
struct Multiplied {
    double left[16][8], right[8][8];
    int left_exponents[16][8], right_exponents[8][8];
    float sums[16][8];
    bool done;
};

static Multiplied of_warp[MOST_THREADS / THREADS_OF_WARP][2];
static unsigned char multiplied[MOST_THREADS];  // products that a thread took part in, modulo 2

static inline unsigned block_read_anew() { return blockIdx.x; }

static inline unsigned bits_of(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float number_of(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// bfloat16: 7 bits after the point, halves rounded to even.
static inline unsigned packed(float low, float high) {
    const float of[2] = {low, high};
    unsigned made[2];
    for (int k = 0; k < 2; k++) {
        const unsigned bits = bits_of(of[k]);
        made[k] = of[k] != of[k] ? 0x7FFF : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    }
    return made[1] << 16 | made[0];
}

static inline float towards_zero(double x) {
    const float near = (float)x;
    const bool is_beyond = x - x == 0 && (x > 0 ? near > x : near < x);
    return is_beyond ? number_of(bits_of(near) - 1) : near;
}

static inline int exponent_of(float x) {
    const int biased = bits_of(x) >> 23 & 0xFF;
    return (biased ? biased : 1) - 127;
}

static inline double power_of_two(int exponent) {
    const long long bits = (long long)(1023 + exponent) << 52;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float added(const Multiplied& all, int row, int column, int first, float before) {
    double sum = before;
    int most = exponent_of(before);
    for (int k = first; k < first + 4; k++) {
        const int exponent = all.left_exponents[row][k] + all.right_exponents[k][column];
        most = exponent > most ? exponent : most;
        sum += all.left[row][k] * all.right[k][column];
    }
    if (sum - sum != 0) return (float)sum;
    const double scale = power_of_two(24 - most);
    long long kept = (long long)(before * scale);
    for (int k = first; k < first + 4; k++) kept += (long long)(all.left[row][k] * all.right[k][column] * scale);
    return towards_zero((double)kept / scale);
}

static void multiply_as_warp(Multiplied& all, float (&sums)[4]) {
    const int row = threadIdx.x % THREADS_OF_WARP / 4, column = threadIdx.x % 4 * 2;
    for (int m = 0; m < 4; m++) all.sums[row + m / 2 * 8][column + m % 2] = sums[m];
    all.done = false;
    wait_at(AT_WARP_BARRIER);
    if (!all.done)
        for (int r = 0; r < 16; r++)
            for (int c = 0; c < 8; c++) all.sums[r][c] = added(all, r, c, 4, added(all, r, c, 0, all.sums[r][c]));
    all.done = true;
    for (int m = 0; m < 4; m++) sums[m] = all.sums[row + m / 2 * 8][column + m % 2];
}

static inline void give(Multiplied& all, bool left, int row, int column, float x) {
    (left ? all.left[row] : all.right[row])[column] = x;
    (left ? all.left_exponents[row] : all.right_exponents[row])[column] = exponent_of(x);
}

static inline Multiplied& next_product() {
    return of_warp[threadIdx.x / THREADS_OF_WARP][multiplied[threadIdx.x]++ % 2];
}

static inline void multiply_tf32(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    Multiplied& all = next_product();
    const int group = threadIdx.x % THREADS_OF_WARP / 4, lane = threadIdx.x % 4;
    for (int m = 0; m < 4; m++) give(all, true, group + m % 2 * 8, lane + m / 2 * 4, number_of(a[m] & 0xFFFFE000));
    for (int m = 0; m < 2; m++) give(all, false, lane + 4 * m, group, number_of(b[m] & 0xFFFFE000));
    multiply_as_warp(all, sums);
}

static inline void multiply_bfloat16(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    const int group = threadIdx.x % THREADS_OF_WARP / 4, lane = threadIdx.x % 4;
    for (int k = 0; k < 2; k++) {  // of depth 8 each
        Multiplied& all = next_product();
        for (int half = 0; half < 2; half++) {
            auto number = [=](unsigned bits) { return number_of(half ? bits & 0xFFFF0000 : bits << 16); };
            for (int m = 0; m < 2; m++) give(all, true, group + 8 * m, 2 * lane + half, number(a[2 * k + m]));
            give(all, false, 2 * lane + half, group, number(b[k]));
        }
        multiply_as_warp(all, sums);
    }
}
