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

#undef RESIDENT
#define RESIDENT (512 / threads)

enum : INDEX {
    taps = I * J * C,
    rows = 128,  // outputs that a block computes, or taps of the kernel's gradient
    depth = 16,  // of a chunk in shared memory
    side = 32,   // of what a warp computes
    lefts = rows * depth / 4 / threads,
    rights = columns * depth / 4 / threads,
    column_blocks = (K + columns - 1) / columns,
    by_number = depth + 4,  // distances in shared memory that let a warp read without conflicts
    left_by_depth = rows + 8,
    right_by_depth = columns + 8,
    right_size = swapped ? columns * by_number : depth * right_by_depth,
};

struct alignas(16) Four {
    float at[4];
};

__device__ inline Four read(IN from) { return *(const Four*)from; }

__device__ inline Four read_one_by_one(IN from) { return {{from[0], from[1], from[2], from[3]}}; }

#ifdef __CUDACC__
// A number rounded to TF32, 10 bits after the point.
__device__ inline unsigned rounded(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

// Two numbers rounded to bfloat16.
__device__ inline unsigned packed(float low, float high) {
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

__device__ inline unsigned bits_of(float x) { return __float_as_uint(x); }

__device__ inline float number_of(unsigned bits) { return __uint_as_float(bits); }

// sums += a b, 16 x 8 numbers, depth 8: a thread holds what NVIDIA's PTX manual says of mma.m16n8k8. volatile: all
// threads of a warp must come to it, so that a compiler must not move it into a branch.
__device__ inline void multiply_tf32(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void multiply_bfloat16(float (&sums)[4], const unsigned (&a)[2], unsigned b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(b));
}
#endif

// What a thread holds of 32 x 8 numbers on the left, by pairs of rows 8 apart, or of 8 x 32 on the right.
typedef float Sums[2][4][4];
typedef float Left[2][4];
typedef float Right[4][2];

// sums += a b, each factor being rounded.
__device__ inline void multiply_rounded(Sums& sums, const Left& a, const Right& b) {
    unsigned right[4][2];
#pragma unroll
    for (INDEX v = 0; v < 4; v++)
        if constexpr (factors > 0) {
            right[v][0] = rounded(b[v][0]);
            right[v][1] = rounded(b[v][1]);
        } else {  // which of the depth's numbers are a pair is the same on both sides
            right[v][0] = packed(b[v][0], b[v][1]);
        }
#pragma unroll
    for (INDEX u = 0; u < 2; u++)
        if constexpr (factors > 0) {
            const unsigned left[4] = {rounded(a[u][0]), rounded(a[u][1]), rounded(a[u][2]), rounded(a[u][3])};
#pragma unroll
            for (INDEX v = 0; v < 4; v++) multiply_tf32(sums[u][v], left, right[v]);
        } else {
            const unsigned left[2] = {packed(a[u][0], a[u][2]), packed(a[u][1], a[u][3])};
#pragma unroll
            for (INDEX v = 0; v < 4; v++) multiply_bfloat16(sums[u][v], left, right[v][0]);
        }
}

// x as high + low, each of which a tensor core reads as TF32, without its last 13 bits. high is rounded to 10 bits after
// the point; NaN may be lost there, and is in low.
__device__ inline void split(float x, unsigned& high, unsigned& low) {
    high = bits_of(x) + 0x1000;
    low = bits_of(x - number_of(high & 0xFFFFE000));
}

// sums += a b, of float32 numbers.
__device__ inline void multiply_split(Sums& sums, const Left& a, const Right& b) {
    unsigned high[4][2], low[4][2];
#pragma unroll
    for (INDEX v = 0; v < 4; v++)
#pragma unroll
        for (INDEX k = 0; k < 2; k++) split(b[v][k], high[v][k], low[v][k]);
#pragma unroll
    for (INDEX u = 0; u < 2; u++) {
        unsigned left_high[4], left_low[4];
#pragma unroll
        for (INDEX k = 0; k < 4; k++) split(a[u][k], left_high[k], left_low[k]);
#pragma unroll
        for (INDEX v = 0; v < 4; v++) multiply_tf32(sums[u][v], left_low, high[v]);
#pragma unroll
        for (INDEX v = 0; v < 4; v++) multiply_tf32(sums[u][v], left_high, low[v]);
#pragma unroll
        for (INDEX v = 0; v < 4; v++) multiply_tf32(sums[u][v], left_high, high[v]);
    }
}

// Where a number of the left factor stands in shared memory, by its row and its place along the depth, or one of the
// right factor, by its column.
template <bool along_depth, INDEX step>
__device__ inline INDEX place(INDEX row, INDEX k) {
    return along_depth ? k * step + row : row * step + k;
}

// sums += a chunk of the left factor times one of the right.
template <bool left_along_depth, bool right_along_depth>
__device__ inline void multiply_chunk(Sums& sums, const float* left, const float* right) {
    const INDEX warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4, lane = threadIdx.x % 4;
    const INDEX row = warp / (columns / side) * side + group, column = warp % (columns / side) * side + group;
    Sums of_chunk = {};
#pragma unroll
    for (INDEX k = 0; k < depth; k += 8) {
        Left a;
        Right b;
#pragma unroll
        for (INDEX u = 0; u < 2; u++)
#pragma unroll
            for (INDEX m = 0; m < 4; m++)
                a[u][m] = left[place<left_along_depth, left_along_depth ? left_by_depth : by_number>(
                    row + 16 * u + m % 2 * 8, k + lane + m / 2 * 4)];
#pragma unroll
        for (INDEX v = 0; v < 4; v++)
#pragma unroll
            for (INDEX m = 0; m < 2; m++)
                b[v][m] = right[place<right_along_depth, right_along_depth ? right_by_depth : by_number>(
                    column + 8 * v, k + lane + 4 * m)];
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

// work(row, column, numbers): for each two numbers side by side that this thread has, counted from the block's first.
template <typename Work>
__device__ inline void for_each_pair(const Sums& sums, Work work) {
    const INDEX warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4, lane = threadIdx.x % 4;
    const INDEX row = warp / (columns / side) * side + group, column = warp % (columns / side) * side + 2 * lane;
#pragma unroll
    for (INDEX u = 0; u < 2; u++)
#pragma unroll
        for (INDEX v = 0; v < 4; v++)
#pragma unroll
            for (INDEX half = 0; half < 2; half++)
                work(row + 16 * u + 8 * half, column + 8 * v, &sums[u][v][2 * half]);
}

struct alignas(8) Two {
    float at[2];
};

// Which tap of the kernel as it is stored is tap `tap` of what is computed.
__device__ inline INDEX stored(INDEX tap) { return turned ? (I * J - 1 - tap / C) * C + tap % C : tap; }

// Where an output's window begins: its first row and column, padding not counted, and the number in x that would be there.
struct Corner {
    INDEX row, column, at;
};

__device__ inline Corner corner_of(INDEX output) {
    INDEX n = output;
    const INDEX q = pop_axis(n, Q), p = pop_axis(n, P), row = s * p - top, column = t * q - left;
    return {row, column, ((n * H + row) * W + column) * C};
}

// The four channels that tap `tap` of an output sees, 0 outside the image.
__device__ inline Four seen(IN x, Corner from, INDEX tap) {
    const INDEX c = tap % C, j = tap / C % J, i = tap / (C * J), h = from.row + d * i, w = from.column + e * j;
    if (h < 0 || h >= H || w < 0 || w >= W) return {};
    return read(x + (from.at + (d * i * W + e * j) * C + c));
}

// sums = all chunks of the left factor, taken one after the other by load, times those of the right. load(chunk) reads
// both from global memory, while the chunk before is multiplied; keep(buffer) writes what it read to shared memory.
template <bool left_along_depth, bool right_along_depth, INDEX left_size, INDEX right_size, typename Load, typename Keep>
__device__ inline void multiply_all(Sums& sums, INDEX chunks, const Four (&left)[2][left_size],
                                    const Four (&right)[2][right_size], Load load, Keep keep) {
    load(0);
    keep(0);
    __syncthreads();
    for (INDEX chunk = 0; chunk < chunks; chunk++) {
        const INDEX buffer = chunk % 2;
        if (chunk + 1 < chunks) load(chunk + 1);
        multiply_chunk<left_along_depth, right_along_depth>(sums, left[buffer][0].at, right[buffer][0].at);
        if (chunk + 1 < chunks) keep(1 - buffer);
        __syncthreads();
    }
}
