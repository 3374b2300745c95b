// Convolutions of few filters, straight from the image, with what follows them: bias, ReLU and max pool. common.cu stands
// before them, and the constants
//   H, W, C, P, Q, I, J, s, t, top, left, d, e, flipped and K of the convolution, as columns.cu and common.cu say;
//   pool_rows, pool_columns, pool_down, pool_right of the pool, its window and its stride; one pixel where there is none;
//   cell_rows, cell_columns of its output, whose pixels are called cells;
//   with_pool, with_relu, with_bias;
//   threads, of a block; and what the kernels' own file says.

enum : INDEX { taps = I * J * C, cells = cell_rows * cell_columns, window = pool_rows * pool_columns };

// The kernel's row, or column, that is stored at place i of `length`.
__device__ inline INDEX turned(INDEX i, INDEX length) { return flipped ? length - 1 - i : i; }

// A part of an image with its padding, in shared memory: from padded row `first` on. by_channel: (C, rows, columns),
// else (rows, columns, C). Returns whether all that this thread loaded is finite.
template <INDEX rows, INDEX columns, bool by_channel>
__device__ inline bool load_image(IN x, INDEX n, INDEX first, REAL* image) {
    bool finite = true;
    for (INDEX k = threadIdx.x; k < rows * columns * C; k += threads) {
        const INDEX c = k % C, column = k / C % columns, row = k / (C * columns);
        const INDEX h = first + row - top, w = column - left;
        const bool inside = h >= 0 && h < H && w >= 0 && w < W;
        const REAL v = inside ? x[((n * H + h) * W + w) * C + c] : (REAL)0;
        finite &= v - v == 0;
        image[by_channel ? (c * rows + row) * columns + column : k] = v;
    }
    return finite;
}

// The gradient of a cell, and where its winner lies in the convolution's result: row and column, of 16 bits each.
struct Winner {
    REAL g;
    int at;
};

__device__ inline INDEX row_of(Winner won) { return won.at >> 16; }
__device__ inline INDEX column_of(Winner won) { return won.at & 0xFFFF; }

__device__ inline Winner winner_of(IN dy, BYTES codes, REAL slope_at_zero, INDEX n, INDEX cell, INDEX k) {
    const INDEX from = (n * cells + cell) * K + k;
    const byte code = with_pool ? codes[from] : (byte)0;
    const INDEX offset = code < FIRST_AT_ZERO ? code : 0;
    const INDEX p = pool_down * (cell / cell_columns) + offset / pool_columns;
    const INDEX q = pool_right * (cell % cell_columns) + offset % pool_columns;
    return {dy[from] * slope_of(code, slope_at_zero), (int)(p << 16 | q)};
}
