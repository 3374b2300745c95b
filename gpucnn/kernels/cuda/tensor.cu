// Convolutions as products on tensor cores, straight from the image: each block copies the pixels that its outputs see
// into shared memory, tap after tap, so that no columns are written. REAL is float. common.cu stands before them, and the
// constants H, W, C, P, Q, I, J, s, t, top, left, d, e and K as columns.cu has them;
//   turned: whether the kernel is read, or its gradient written, turned by 180 degrees;
//   swapped: whether the kernel is stored (I, J, K, C);
//   factors: 2 for products of float32 numbers, each the sum of two of TF32, of whose products the smallest is left out;
//       1 for numbers rounded to TF32, 0 for bfloat16;
//   columns: filters that a block computes, 32 or 64; threads: of a block.
// C and K are multiples of 4; images and gradients begin where four numbers can be read at once, kernels need not.
// A tap is a triple (i, j, c). A warp computes 32 x 32 numbers; instructions of a tensor core take 16 x 8 of them, and
// depth 8. Sums on tensor cores are rounded towards zero: of float32 numbers, they are of 16 taps each, and added outside.
// Which of its rows, columns and depths an instruction takes for which is free, and such that a thread reads four numbers
// at once: it has those of rows 4 g .. 4 g + 3 and columns 8 l .. 8 l + 7, where 4 g + l counts it in its warp.

#undef RESIDENT
#define RESIDENT (factors == 2 && threads == 128 ? 3 : 512 / threads) // as many as leave each thread the registers it needs

enum : INDEX {
    taps = I * J * C,
    rows = 128,  // outputs that a block computes, or taps of the kernel's gradient
    depth = 16,  // of a chunk in shared memory
    side = 32,   // of what a warp computes
    lefts = rows * depth / 4 / threads,
    rights = columns * depth / 4 / threads,
    column_blocks = (K + columns - 1) / columns,
    left_by_depth = rows + 8,  // distances in shared memory that let a warp read without conflicts
    right_by_depth = columns + 8,
};

struct alignas(16) Four {
    float at[4];
};

struct alignas(8) Two {
    float at[2];
};

__device__ inline Four read(IN from) { return *(const Four*)from; }

__device__ inline Four read_one_by_one(IN from) { return {{from[0], from[1], from[2], from[3]}}; }

#ifdef __CUDACC__
// Two numbers rounded to bfloat16.
__device__ inline unsigned packed(float low, float high) {
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

__device__ inline unsigned bits_of(float x) { return __float_as_uint(x); }

__device__ inline float number_of(unsigned bits) { return __uint_as_float(bits); }

// blockIdx.x, read anew: what is made of it need not be kept in registers until then.
__device__ inline INDEX block_read_anew() {
    unsigned block;
    asm volatile("mov.u32 %0, %ctaid.x;" : "=r"(block));
    return block;
}

// sums += a b, 16 x 8 numbers, depth 8: a thread holds what NVIDIA's PTX manual says of mma.m16n8k8. volatile: all
// threads of a warp must come to it, so that a compiler must not move it into a branch.
__device__ inline void multiply_tf32(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same of bfloat16 numbers, depth 16, two of them in 32 bits: m16n8k16.
__device__ inline void multiply_bfloat16(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

typedef float Sums[2][4][4];  // of a warp, that a thread has: by instructions, 16 rows and 8 columns each

// What a tensor core reads as x rounded to TF32, 10 bits after the point: it leaves out the last 13 bits. NaN may be lost.
__device__ inline unsigned rounded(float x) { return bits_of(x) + 0x1000; }

// What is kept of numbers in shared memory: of a NaN, bits that `rounded` does not lose.
__device__ inline Four kept(Four x) {
    if constexpr (factors == 1)
#pragma unroll
        for (INDEX k = 0; k < 4; k++) x.at[k] = x.at[k] != x.at[k] ? number_of(0x7FC00000) : x.at[k];
    return x;
}

// x as high + low, each of which a tensor core reads as TF32. A NaN that is lost in high is in low.
__device__ inline void split(float x, unsigned& high, unsigned& low) {
    high = rounded(x);
    low = bits_of(x - number_of(high & 0xFFFFE000));
}

// A factor's chunk in shared memory is stored by depth, its numbers after one another, or the left one by number, in two
// halves of 8 depths each: of each 32 rows, row 4 g + i then stands in place 8 i + g, and of each 8 depths of the right
// factor, depth 2 l + j in place 4 j + l.
enum : INDEX { half = rows * 8 + 16 };
__device__ inline INDEX number_at(INDEX place) { return place / 32 * 32 + place % 8 * 4 + place % 32 / 8; }
__device__ inline INDEX place_of_depth(INDEX k) { return k / 8 * 8 + k % 2 * 4 + k % 8 / 2; }

// What a thread needs of half a chunk, from number `first` of its warp on: numbers i = 0 .. 3 at the depths j = 0, 1.
template <bool along_depth, INDEX step>
struct Half {
    float of[4][2];

    __device__ inline Half(const Four* from, INDEX first, INDEX which) {
        const INDEX group = threadIdx.x % 32 / 4, lane = threadIdx.x % 4;
        if constexpr (along_depth) {
#pragma unroll
            for (INDEX j = 0; j < 2; j++) {
                const Four numbers = from[(8 * which + 4 * j + lane) * (step / 4) + first / 4 + group];
#pragma unroll
                for (INDEX i = 0; i < 4; i++) of[i][j] = numbers.at[i];
            }
        } else {
#pragma unroll
            for (INDEX i = 0; i < 4; i++) {
                const Two numbers = ((const Two*)from)[which * (half / 2) + (first + 8 * i + group) * 4 + lane];
                of[i][0] = numbers.at[0];
                of[i][1] = numbers.at[1];
            }
        }
    }
};

__device__ inline INDEX first_row_of_warp() { return threadIdx.x / 32 / (columns / side) * side; }
__device__ inline INDEX first_column_of_warp() { return threadIdx.x / 32 % (columns / side) * side; }

// sums += half a chunk of the left factor times one of the right, of float32 numbers.
template <typename Left, typename Right>
__device__ inline void multiply_split(Sums& sums, const Left& a, const Right& b) {
    unsigned high[4][2], low[4][2];
#pragma unroll
    for (INDEX v = 0; v < 4; v++)
#pragma unroll
        for (INDEX j = 0; j < 2; j++) split(b.of[v][j], high[v][j], low[v][j]);
#pragma unroll
    for (INDEX u = 0; u < 2; u++) {
        unsigned left_high[4], left_low[4];
#pragma unroll
        for (INDEX m = 0; m < 4; m++) split(a.of[2 * u + m % 2][m / 2], left_high[m], left_low[m]);
#pragma unroll
        for (INDEX v = 0; v < 4; v++) multiply_tf32(sums[u][v], left_low, high[v]);
#pragma unroll
        for (INDEX v = 0; v < 4; v++) multiply_tf32(sums[u][v], left_high, low[v]);
#pragma unroll
        for (INDEX v = 0; v < 4; v++) multiply_tf32(sums[u][v], left_high, high[v]);
    }
}

// The same of numbers rounded to TF32.
template <typename Left, typename Right>
__device__ inline void multiply_rounded(Sums& sums, const Left& a, const Right& b) {
    unsigned right[4][2];
#pragma unroll
    for (INDEX v = 0; v < 4; v++)
#pragma unroll
        for (INDEX j = 0; j < 2; j++) right[v][j] = rounded(b.of[v][j]);
#pragma unroll
    for (INDEX u = 0; u < 2; u++) {
        unsigned left[4];
#pragma unroll
        for (INDEX m = 0; m < 4; m++) left[m] = rounded(a.of[2 * u + m % 2][m / 2]);
#pragma unroll
        for (INDEX v = 0; v < 4; v++) multiply_tf32(sums[u][v], left, right[v]);
    }
}

// sums += a whole chunk, of numbers rounded to bfloat16. Halves are what an instruction has of 16 depths.
template <typename Left, typename Right>
__device__ inline void multiply_packed(Sums& sums, const Left (&a)[2], const Right (&b)[2]) {
    unsigned right[4][2];
#pragma unroll
    for (INDEX v = 0; v < 4; v++)
#pragma unroll
        for (INDEX k = 0; k < 2; k++) right[v][k] = packed(b[k].of[v][0], b[k].of[v][1]);
#pragma unroll
    for (INDEX u = 0; u < 2; u++) {
        unsigned left[4];
#pragma unroll
        for (INDEX m = 0; m < 4; m++) left[m] = packed(a[m / 2].of[2 * u + m % 2][0], a[m / 2].of[2 * u + m % 2][1]);
#pragma unroll
        for (INDEX v = 0; v < 4; v++) multiply_bfloat16(sums[u][v], left, right[v]);
    }
}

// sums += a chunk of the left factor times one of the right; between() is done half way.
template <bool left_along_depth, typename Between>
__device__ inline void multiply_chunk(Sums& sums, const Four* left, const Four* right, Between between) {
    typedef Half<left_along_depth, left_by_depth> Left;
    typedef Half<true, right_by_depth> Right;
    const INDEX row = first_row_of_warp(), column = first_column_of_warp();
    if constexpr (factors == 0) {
        between();
        const Left a[2] = {Left(left, row, 0), Left(left, row, 1)};
        const Right b[2] = {Right(right, column, 0), Right(right, column, 1)};
        multiply_packed(sums, a, b);
        return;
    }
    Sums of_chunk = {};
#pragma unroll
    for (INDEX k = 0; k < 2; k++) {
        if (k == (factors == 2)) between();
        const Left a(left, row, k);
        const Right b(right, column, k);
        if constexpr (factors == 2)
            multiply_split(of_chunk, a, b);
        else
            multiply_rounded(sums, a, b);
    }
    if constexpr (factors == 2)
#pragma unroll
        for (INDEX u = 0; u < 2; u++)
#pragma unroll
            for (INDEX v = 0; v < 4; v++)
#pragma unroll
                for (INDEX m = 0; m < 4; m++) sums[u][v][m] += of_chunk[u][v][m];
}

// The first of four rows, and of eight columns, that a thread has in the end, counted from its block's first.
__device__ inline INDEX row_of_thread() { return first_row_of_warp() + threadIdx.x % 32 / 4 * 4; }
__device__ inline INDEX column_of_thread() { return first_column_of_warp() + threadIdx.x % 4 * 8; }

// Its numbers in row i, in columns 4 h .. 4 h + 3.
__device__ inline Four found(const Sums& sums, INDEX i, INDEX h) {
    Four numbers;
#pragma unroll
    for (INDEX v = 0; v < 4; v++) numbers.at[v] = sums[i / 2][v][i % 2 * 2 + h];
    return numbers;
}

// Filters beyond the last are computed with its numbers, and left out.
__device__ inline INDEX at_most(INDEX filter, INDEX last) { return K % columns == 0 || filter < last ? filter : last; }

// Which tap of the kernel as it is stored is tap `tap` of what is computed.
__device__ inline INDEX stored(INDEX tap) { return turned ? (I * J - 1 - tap / C) * C + tap % C : tap; }

// What an output sees: bit i, or 16 + j, of inside is whether row i, or column j, of its window is within the image; x[at]
// would be the window's first number.
struct alignas(2 * sizeof(INDEX)) Seen {
    unsigned inside;
    INDEX at;
};

// A bit for each of `count` places, from `first` on, every `step`, that is within an axis of that length.
__device__ inline unsigned within(INDEX first, INDEX step, INDEX count, INDEX length) {
    const INDEX from = first < 0 ? (step - 1 - first) / step : 0, to = first < length ? (length - first + step - 1) / step : 0;
    return from < to ? (1u << (to < count ? to : count)) - (1u << (from < count ? from : count)) : 0u;
}

__device__ inline Seen seen_by(INDEX output) {
    INDEX n = output;
    const INDEX q = pop_axis(n, Q), p = pop_axis(n, P), row = s * p - top, column = t * q - left;
    return {within(row, d, I, H) | within(column, e, J, W) << 16, ((n * H + row) * W + column) * C};
}

// The same of one tap: the bits that it needs, all where there is no such tap, and where its number is from x[at] on.
// known: whether there is one.
__device__ inline Seen seen_as(INDEX tap, bool known) {
    const INDEX c = tap % C, j = tap / C % J, i = tap / (C * J);
    return {known || tap < taps ? 1u << i | 1u << (16 + j) : ~0u, (d * i * W + e * j) * C + c};
}

// The four channels that tap `as` of output `by` sees, 0 outside the image.
__device__ inline Four seen(IN x, Seen by, Seen as) {
    return (by.inside & as.inside) == as.inside ? read(x + (by.at + as.at)) : Four{};
}

// sums = all chunks of the left factor, taken one after the other by load, times those of the right. load(chunk) reads
// both from global memory, while the chunk before is multiplied; keep(buffer) writes what it read to shared memory.
template <bool left_along_depth, INDEX left_size, INDEX right_size, typename Load, typename Keep>
__device__ inline void multiply_all(Sums& sums, INDEX chunks, const Four (&left)[2][left_size],
                                    const Four (&right)[2][right_size], Load load, Keep keep) {
    load(0);
    keep(0);
    __syncthreads();
    for (INDEX chunk = 0; chunk < chunks; chunk++) {
        const INDEX buffer = chunk % 2;
        multiply_chunk<left_along_depth>(sums, left[buffer], right[buffer], [&]() {
            if (chunk + 1 < chunks) load(chunk + 1);
        });
        if (chunk + 1 < chunks) keep(1 - buffer);
        __syncthreads();
    }
}
