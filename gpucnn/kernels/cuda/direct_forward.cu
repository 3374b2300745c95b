// The convolution itself. direct.cu stands before it, and the constants F, the filters of which a thread computes a cell,
// and band, the rows of cells that a block takes.

constexpr INDEX filter_groups = (K + F - 1) / F, bands = (cell_rows + band - 1) / band;
constexpr INDEX tile_rows = s * (pool_down * (band - 1) + pool_rows - 1) + d * (I - 1) + 1;
constexpr INDEX tile_columns = t * (pool_right * (cell_columns - 1) + pool_columns - 1) + e * (J - 1) + 1;
constexpr INDEX unrolled_rows = I * J * window * F <= 1024 ? I : 1;

struct alignas(F * sizeof(REAL) < 16 ? F * sizeof(REAL) : 16) Filters {
    REAL at[F];
};

struct alignas(F) Codes {
    byte at[F];
};

// y[n, p, q, k] = the maximum over a pool's window, or the one pixel, of the convolution. A block takes `band` rows of
// cells, a thread one cell of F filters: the pixels of its window times F are sums in its registers.
BLOCK_KERNEL correlate_direct(IN x, IN w, IN b, OUT y, byte* __restrict__ codes) {
    __shared__ Filters kernel[taps * filter_groups];
    __shared__ REAL image[C * tile_rows * tile_columns];
    const INDEX n = blockIdx.x / bands, first = blockIdx.x % bands * band;
    for (INDEX k = threadIdx.x; k < taps * filter_groups * F; k += threads) {
        const INDEX filter = k % (filter_groups * F), tap = k / (filter_groups * F);
        const INDEX j = tap % J, i = tap / J % I, c = tap / (I * J);
        kernel[k / F].at[k % F] = filter < K ? w[((turned(i, I) * J + turned(j, J)) * C + c) * K + filter] : (REAL)0;
    }
    load_image<tile_rows, tile_columns, true>(x, n, s * pool_down * first, image);
    __syncthreads();
    for (INDEX item = threadIdx.x; item < band * cell_columns * filter_groups; item += threads) {
        const INDEX group = item / (band * cell_columns), q = item % cell_columns, r = item / cell_columns % band;
        if (first + r >= cell_rows) continue;
        REAL sums[window * F] = {};
        const REAL* corner = image + s * pool_down * r * tile_columns + t * pool_right * q;
        const Filters* of_group = kernel + group;
#pragma unroll 1
        for (INDEX c = 0; c < C; c++, corner += tile_rows * tile_columns, of_group += I * J * filter_groups) {
#pragma unroll unrolled_rows
            for (INDEX i = 0; i < I; i++) {
#pragma unroll
                for (INDEX j = 0; j < J; j++) {
                    const Filters weights = of_group[(i * J + j) * filter_groups];
#pragma unroll
                    for (INDEX pixel = 0; pixel < window; pixel++) {
                        const INDEX row = s * (pixel / pool_columns) + d * i, column = t * (pixel % pool_columns) + e * j;
                        const REAL v = corner[row * tile_columns + column];
#pragma unroll
                        for (INDEX f = 0; f < F; f++) sums[pixel * F + f] += v * weights.at[f];
                    }
                }
            }
        }
        const INDEX at = ((n * cell_rows + first + r) * cell_columns + q) * K + group * F;
        Filters found;
        Codes winners;
#pragma unroll
        for (INDEX f = 0; f < F; f++) {
            const REAL bias = with_bias && group * F + f < K ? b[group * F + f] : (REAL)0;
            found.at[f] = cell_of<with_relu, with_bias, window, F>(sums + f, bias, winners.at[f]);
        }
        if constexpr (K % F == 0) {
            *(Filters*)(y + at) = found;
            if (with_pool) *(Codes*)(codes + at) = winners;
        } else {
#pragma unroll
            for (INDEX f = 0; f < F; f++) {
                if (group * F + f >= K) continue;
                y[at + f] = found.at[f];
                if (with_pool) codes[at + f] = winners.at[f];
            }
        }
    }
}
