// Convolutions by Winograd's minimal filtering: sums of pixels, and of a kernel, whose products over channels, one for
// each of n x m points, are sums that make up tiles of R x S outputs. Lavin and Gray, 2016. common.cu stands before them,
// and the constants H, W, C, P, Q, I, J, top and left as columns.cu has them, K, R and S; flipped, for kernels that are
// stored turned by 180 degrees; and the matrices rows_of_pixels (n x n), rows_of_kernel (n x I), rows_of_products (R x n),
// and for columns those of m, J and S. A thread has one tile and one channel, or one channel and one filter; tiles are counted image
// after image, row after row.

enum : INDEX { n = R + I - 1, m = S + J - 1, tile_rows = (P + R - 1) / R, tile_columns = (Q + S - 1) / S };

// out = a b, or a times b transposed; one of them is a matrix of constants, whose zeros cost nothing.
template <INDEX rows, INDEX inner, INDEX columns>
__device__ inline void from_left(const REAL (&a)[rows][inner], const REAL (&b)[inner][columns],
                                 REAL (&out)[rows][columns]) {
#pragma unroll
    for (INDEX i = 0; i < rows; i++)
#pragma unroll
        for (INDEX j = 0; j < columns; j++) {
            REAL sum = 0;
#pragma unroll
            for (INDEX k = 0; k < inner; k++)
                if (a[i][k] != 0) sum += a[i][k] * b[k][j];
            out[i][j] = sum;
        }
}

template <INDEX rows, INDEX inner, INDEX columns>
__device__ inline void from_right(const REAL (&a)[rows][inner], const REAL (&b)[columns][inner],
                                  REAL (&out)[rows][columns]) {
#pragma unroll
    for (INDEX i = 0; i < rows; i++)
#pragma unroll
        for (INDEX j = 0; j < columns; j++) {
            REAL sum = 0;
#pragma unroll
            for (INDEX k = 0; k < inner; k++)
                if (b[j][k] != 0) sum += b[j][k] * a[i][k];
            out[i][j] = sum;
        }
}

// The same with the matrix of constants transposed.
template <INDEX rows, INDEX inner, INDEX columns>
__device__ inline void from_left_transposed(const REAL (&a)[inner][rows], const REAL (&b)[inner][columns],
                                            REAL (&out)[rows][columns]) {
#pragma unroll
    for (INDEX i = 0; i < rows; i++)
#pragma unroll
        for (INDEX j = 0; j < columns; j++) {
            REAL sum = 0;
#pragma unroll
            for (INDEX k = 0; k < inner; k++)
                if (a[k][i] != 0) sum += a[k][i] * b[k][j];
            out[i][j] = sum;
        }
}

template <INDEX rows, INDEX inner, INDEX columns>
__device__ inline void from_right_transposed(const REAL (&a)[rows][inner], const REAL (&b)[inner][columns],
                                             REAL (&out)[rows][columns]) {
#pragma unroll
    for (INDEX i = 0; i < rows; i++)
#pragma unroll
        for (INDEX j = 0; j < columns; j++) {
            REAL sum = 0;
#pragma unroll
            for (INDEX k = 0; k < inner; k++)
                if (b[k][j] != 0) sum += b[k][j] * a[i][k];
            out[i][j] = sum;
        }
}

// out[i][j] at every `step`-th number from `out` on.
template <INDEX rows, INDEX columns>
__device__ inline void store(const REAL (&sums)[rows][columns], OUT out, INDEX step) {
#pragma unroll
    for (INDEX i = 0; i < rows; i++)
#pragma unroll
        for (INDEX j = 0; j < columns; j++) out[(i * columns + j) * step] = sums[i][j];
}

template <INDEX rows, INDEX columns>
__device__ inline void load(IN in, INDEX step, REAL (&sums)[rows][columns]) {
#pragma unroll
    for (INDEX i = 0; i < rows; i++)
#pragma unroll
        for (INDEX j = 0; j < columns; j++) sums[i][j] = in[(i * columns + j) * step];
}

// sums (n m, tiles, C) of x (N, H, W, C); count: tiles C.
KERNEL winograd_of_image(INDEX count, IN x, OUT sums) {
    THREAD_OR_RETURN(at, count);
    INDEX image = at;
    const INDEX c = pop_axis(image, C), column = S * pop_axis(image, tile_columns) - left;
    const INDEX row = R * pop_axis(image, tile_rows) - top;
    REAL pixels[n][m], halves[n][m];
#pragma unroll
    for (INDEX i = 0; i < n; i++)
#pragma unroll
        for (INDEX j = 0; j < m; j++) {
            const INDEX h = row + i, w = column + j;
            const bool inside = h >= 0 && h < H && w >= 0 && w < W;
            pixels[i][j] = inside ? x[((image * H + h) * W + w) * C + c] : (REAL)0;
        }
    from_left(rows_of_pixels, pixels, halves);
    from_right(halves, columns_of_pixels, pixels);
    store(pixels, sums + at, count);
}

// sums (n m, C, K) of w (I, J, C, K); count: C K. turned: of the kernel turned by 180 degrees.
KERNEL winograd_of_kernel(INDEX count, IN w, INDEX turned, OUT sums) {
    THREAD_OR_RETURN(at, count);
    REAL taps[I][J], halves[n][J], made[n][m];
#pragma unroll
    for (INDEX i = 0; i < I; i++)
#pragma unroll
        for (INDEX j = 0; j < J; j++)
            taps[i][j] = w[((turned ? I - 1 - i : i) * J + (turned ? J - 1 - j : j)) * count + at];
    from_left(rows_of_kernel, taps, halves);
    from_right(halves, columns_of_kernel, made);
    store(made, sums + at, count);
}

// y (N, P, Q, K) of products (n m, tiles, K); count: tiles K.
KERNEL winograd_outputs(INDEX count, IN products, OUT y) {
    THREAD_OR_RETURN(at, count);
    INDEX image = at;
    const INDEX k = pop_axis(image, K), q = S * pop_axis(image, tile_columns), p = R * pop_axis(image, tile_rows);
    REAL loaded[n][m], halves[R][m], made[R][S];
    load(products + at, count, loaded);
    from_left(rows_of_products, loaded, halves);
    from_right(halves, columns_of_products, made);
#pragma unroll
    for (INDEX i = 0; i < R; i++)
#pragma unroll
        for (INDEX j = 0; j < S; j++)
            if (p + i < P && q + j < Q) y[((image * P + p + i) * Q + q + j) * K + k] = made[i][j];
}

// The gradient of winograd_outputs: sums (n m, tiles, K) of dy (N, P, Q, K); count: tiles K.
KERNEL winograd_of_gradient(INDEX count, IN dy, OUT sums) {
    THREAD_OR_RETURN(at, count);
    INDEX image = at;
    const INDEX k = pop_axis(image, K), q = S * pop_axis(image, tile_columns), p = R * pop_axis(image, tile_rows);
    REAL loaded[R][S], halves[n][S], made[n][m];
#pragma unroll
    for (INDEX i = 0; i < R; i++)
#pragma unroll
        for (INDEX j = 0; j < S; j++) {
            const bool inside = p + i < P && q + j < Q;
            loaded[i][j] = inside ? dy[((image * P + p + i) * Q + q + j) * K + k] : (REAL)0;
        }
    from_left_transposed(rows_of_products, loaded, halves);
    from_right_transposed(halves, columns_of_products, made);
    store(made, sums + at, count);
}

// dw (I, J, C, K), as w is stored, of the gradients of the kernel's sums: (n m, parts, C, K), added up in order;
// count: C K.
KERNEL winograd_kernel_gradient(INDEX count, IN sums, INDEX parts, OUT dw) {
    THREAD_OR_RETURN(at, count);
    REAL added[n][m], halves[I][m], made[I][J];
#pragma unroll
    for (INDEX i = 0; i < n; i++)
#pragma unroll
        for (INDEX j = 0; j < m; j++) added[i][j] = 0;
    for (INDEX part = 0; part < parts; part++)
#pragma unroll
        for (INDEX i = 0; i < n; i++)
#pragma unroll
            for (INDEX j = 0; j < m; j++) added[i][j] += sums[((i * m + j) * parts + part) * count + at];
    from_left_transposed(rows_of_kernel, added, halves);
    from_right_transposed(halves, columns_of_kernel, made);
#pragma unroll
    for (INDEX i = 0; i < I; i++)
#pragma unroll
        for (INDEX j = 0; j < J; j++)
            dw[((flipped ? I - 1 - i : i) * J + (flipped ? J - 1 - j : j)) * count + at] = made[i][j];
}
