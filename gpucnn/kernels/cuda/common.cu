// What all kernels of the CUDA table begin with. No atomics, so that every sum has one fixed order. Images are
// (N, H, W, C), contiguous.
//
// REAL is float or double, INDEX int where every array and count fits it, else long long.
// Axes: N batch, H W image, I J window, P Q output, C channels, K filters or classes. (s, t) stride, (d, e) dilation,
// top and left padding. IN and OUT are arrays of REAL that are read and written. The sizes of a layer are constants of
// the file that uses them, so that divisions by them are multiplications and loops over them unroll; the batch is none.
//
// KERNEL: one thread per element of the result, `count` of them, that share nothing. BLOCK_KERNEL: the threads of a block
// work together, and all of them come to every barrier; `threads`, a constant of its file, says how many there are.

typedef unsigned char byte;

#define KERNEL extern "C" __global__ void
#define BLOCK_KERNEL extern "C" __global__ void __launch_bounds__(threads, RESIDENT)
#define RESIDENT 1  // blocks that a processor holds at once
#define IN const REAL* __restrict__
#define OUT REAL* __restrict__
#define BYTES const byte* __restrict__
#define INTEGERS const long long* __restrict__
#define NUMBERS const double* __restrict__
#define THREAD_OR_RETURN(i, count)                                   \
    const INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x;    \
    if (i >= (count)) return

__device__ inline REAL relu_slope(REAL x, REAL slope_at_zero) {
    return x > 0 ? (REAL)1 : x == 0 ? slope_at_zero : (REAL)0;
}

// random.py: 32 bits that depend on a key and on counters alone.
__device__ inline unsigned int mixed(unsigned int x) {
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}

// 0 .. n - 1, of 32 random bits.
__device__ inline INDEX below(INDEX n, unsigned int drawn) {
    return (INDEX)((unsigned long long)drawn * (unsigned long long)n >> 32);
}

// What a max pool writes down of each window: the offset i * J + j of its winner, or one of these.
#define NOBODY 255         // no pixel equals the maximum (it is NaN), or the winner's slope is 0
#define FIRST_AT_ZERO 254  // the window's first pixel won, and was exactly 0 before the ReLU

__device__ inline REAL slope_of(byte code, REAL slope_at_zero) {
    return code == NOBODY ? (REAL)0 : code == FIRST_AT_ZERO ? slope_at_zero : (REAL)1;
}

__device__ inline REAL rectified(REAL x) { return x <= 0 ? (REAL)0 : x; }  // NaN stays NaN

// What a max pool makes of a window, from what a convolution is at its pixels, every `step` numbers, and the code; with a
// bias and ReLU before it, as bias_relu_max_pool, or a bias behind it, as max_pool.
template <bool with_relu, bool with_bias, INDEX window, INDEX step>
__device__ inline REAL cell_of(const REAL* pixels, REAL bias, byte& code) {
    if (with_relu) {
        REAL best = 0;
        code = pixels[0] + bias == 0 ? FIRST_AT_ZERO : NOBODY;
#pragma unroll
        for (INDEX k = 0; k < window; k++) {
            const REAL v = pixels[k * step] + bias;
            if (v > best || v != v) {
                best = v;
                code = v == v ? (byte)k : NOBODY;
            }
        }
        return best;
    }
    REAL best = pixels[0];
    code = best == best ? 0 : NOBODY;
#pragma unroll
    for (INDEX k = 1; k < window; k++) {
        const REAL v = pixels[k * step];
        if (v > best || v != v) {
            best = v;
            code = v == v ? (byte)k : NOBODY;
        }
    }
    return with_bias ? best + bias : best;
}

// Where `rest`, which counts elements, stands along their last axis, of this length; it then counts along the others.
__device__ inline INDEX pop_axis(INDEX& rest, INDEX length) {
    if (rest < 0) __builtin_unreachable();  // a compiler divides natural numbers faster
    const INDEX place = rest % length;
    rest /= length;
    return place;
}

// The last output whose window reaches place `a` (padding counted in), at most `outputs` - 1.
__device__ inline INDEX last_output(INDEX a, INDEX step, INDEX outputs) {
    return a / step < outputs ? a / step : outputs - 1;
}

// For the windows (p, q) that see the pixel in row a and column b, padding counted in, from the last to the first.
#define EACH_WINDOW_THAT_SEES(a, b)                                                    \
    for (INDEX p = last_output(a, s, P); p >= 0 && (a) - s * p <= d * (I - 1); p--)    \
        for (INDEX q = last_output(b, t, Q); q >= 0 && (b) - t * q <= e * (J - 1); q--) \
            if (((a) - s * p) % d == 0 && ((b) - t * q) % e == 0)
