// Convolutions by Winograd's minimal filtering: sums of pixels, and of a kernel, whose products over channels, one for
// each of n x n points, are sums that make up tiles of R x R outputs. Lavin and Gray, 2016. common.cu stands before them,
// and the constants H, W, C, P, Q, I, J (which are equal), top and left as columns.cu has them, K and R; flipped, for
// kernels that are stored turned by 180 degrees; and the matrices of_pixels (n x n), of_kernel (n x I) and of_products
// (R x n), for rows and columns alike. A thread has one tile and one channel, or one channel and one filter; tiles are
// counted image after image, row after row.

enum : INDEX { n = R + I - 1, tile_rows = (P + R - 1) / R, tile_columns = (Q + R - 1) / R };

// out[i][j] = the sum over k of constant(i, j, k) number(i, j, k). Constants of 0 cost nothing.
template <INDEX inner, INDEX rows, INDEX columns, typename Constant, typename Number>
__device__ inline void add_up(Constant constant, Number number, REAL (&out)[rows][columns]) {
#pragma unroll
    for (INDEX i = 0; i < rows; i++)
#pragma unroll
        for (INDEX j = 0; j < columns; j++) {
            REAL sum = 0;
#pragma unroll
            for (INDEX k = 0; k < inner; k++)
                if (constant(i, j, k) != 0) sum += constant(i, j, k) * number(i, j, k);
            out[i][j] = sum;
        }
}

// out = matrix a, times matrix transposed.
template <INDEX rows, INDEX inner>
__device__ inline void transform(const REAL (&matrix)[rows][inner], const REAL (&a)[inner][inner],
                                 REAL (&out)[rows][rows]) {
    REAL half[rows][inner];
    add_up<inner>([&](INDEX i, INDEX, INDEX k) { return matrix[i][k]; },
                  [&](INDEX, INDEX j, INDEX k) { return a[k][j]; }, half);
    add_up<inner>([&](INDEX, INDEX j, INDEX k) { return matrix[j][k]; },
                  [&](INDEX i, INDEX, INDEX k) { return half[i][k]; }, out);
}

// The gradient of transform: out = matrix transposed a, times matrix.
template <INDEX inner, INDEX rows>
__device__ inline void transform_backward(const REAL (&matrix)[inner][rows], const REAL (&a)[inner][inner],
                                          REAL (&out)[rows][rows]) {
    REAL half[rows][inner];
    add_up<inner>([&](INDEX i, INDEX, INDEX k) { return matrix[k][i]; },
                  [&](INDEX, INDEX j, INDEX k) { return a[k][j]; }, half);
    add_up<inner>([&](INDEX, INDEX j, INDEX k) { return matrix[k][j]; },
                  [&](INDEX i, INDEX, INDEX k) { return half[i][k]; }, out);
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

// sums (n n, tiles, C) of x (N, H, W, C); count: tiles C.
KERNEL winograd_of_image(INDEX count, IN x, OUT sums) {
    THREAD_OR_RETURN(at, count);
    INDEX image = at;
    const INDEX c = pop_axis(image, C), column = R * pop_axis(image, tile_columns) - left;
    const INDEX row = R * pop_axis(image, tile_rows) - top;
    REAL pixels[n][n], made[n][n];
#pragma unroll
    for (INDEX i = 0; i < n; i++)
#pragma unroll
        for (INDEX j = 0; j < n; j++) {
            const INDEX h = row + i, w = column + j;
            const bool inside = h >= 0 && h < H && w >= 0 && w < W;
            pixels[i][j] = inside ? x[((image * H + h) * W + w) * C + c] : (REAL)0;
        }
    transform(of_pixels, pixels, made);
    store(made, sums + at, count);
}

// sums (n n, C, K) of w (I, J, C, K); count: C K. turned: of the kernel turned by 180 degrees.
KERNEL winograd_of_kernel(INDEX count, IN w, INDEX turned, OUT sums) {
    THREAD_OR_RETURN(at, count);
    REAL taps[I][J], made[n][n];
#pragma unroll
    for (INDEX i = 0; i < I; i++)
#pragma unroll
        for (INDEX j = 0; j < J; j++)
            taps[i][j] = w[((turned ? I - 1 - i : i) * J + (turned ? J - 1 - j : j)) * count + at];
    transform(of_kernel, taps, made);
    store(made, sums + at, count);
}

// y (N, P, Q, K) of products (n n, tiles, K); count: tiles K.
KERNEL winograd_outputs(INDEX count, IN products, OUT y) {
    THREAD_OR_RETURN(at, count);
    INDEX image = at;
    const INDEX k = pop_axis(image, K), q = R * pop_axis(image, tile_columns), p = R * pop_axis(image, tile_rows);
    REAL loaded[n][n], made[R][R];
    load(products + at, count, loaded);
    transform(of_products, loaded, made);
#pragma unroll
    for (INDEX i = 0; i < R; i++)
#pragma unroll
        for (INDEX j = 0; j < R; j++)
            if (p + i < P && q + j < Q) y[((image * P + p + i) * Q + q + j) * K + k] = made[i][j];
}

// The gradient of winograd_outputs: sums (n n, tiles, K) of dy (N, P, Q, K); count: tiles K.
KERNEL winograd_of_gradient(INDEX count, IN dy, OUT sums) {
    THREAD_OR_RETURN(at, count);
    INDEX image = at;
    const INDEX k = pop_axis(image, K), q = R * pop_axis(image, tile_columns), p = R * pop_axis(image, tile_rows);
    REAL loaded[R][R], made[n][n];
#pragma unroll
    for (INDEX i = 0; i < R; i++)
#pragma unroll
        for (INDEX j = 0; j < R; j++) {
            const bool inside = p + i < P && q + j < Q;
            loaded[i][j] = inside ? dy[((image * P + p + i) * Q + q + j) * K + k] : (REAL)0;
        }
    transform_backward(of_products, loaded, made);
    store(made, sums + at, count);
}

// dw (I, J, C, K), as w is stored, of the gradients of the kernel's sums: (n n, parts, C, K), added up in order;
// count: C K.
KERNEL winograd_kernel_gradient(INDEX count, IN sums, INDEX parts, OUT dw) {
    THREAD_OR_RETURN(at, count);
    REAL added[n][n], made[I][J];
#pragma unroll
    for (INDEX i = 0; i < n; i++)
#pragma unroll
        for (INDEX j = 0; j < n; j++) added[i][j] = 0;
    for (INDEX part = 0; part < parts; part++)
#pragma unroll
        for (INDEX i = 0; i < n; i++)
#pragma unroll
            for (INDEX j = 0; j < n; j++) added[i][j] += sums[((i * n + j) * parts + part) * count + at];
    transform_backward(of_kernel, added, made);
#pragma unroll
    for (INDEX i = 0; i < I; i++)
#pragma unroll
        for (INDEX j = 0; j < J; j++)
            dw[((flipped ? I - 1 - i : i) * J + (flipped ? J - 1 - j : j)) * count + at] = made[i][j];
}
