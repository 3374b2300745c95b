// The layers' kernels that need no windows: biases, activations. common.cu stands before them.

constexpr int threads = 256;  // of a block

constexpr int side = 16, depth = 64;  // of small_product: rows and columns of a block's tile; numbers of its sums at once

// out (M, N) = a (M, K) times b (K, N); a[m, k] is at a_down m + a_right k, and so b. A block takes side x side sums, a
// thread one, and loads neighbouring threads neighbouring numbers. with_bias: bias (N,) is added to each row; with_relu:
// activated is what a ReLU makes of out.
BLOCK_KERNEL small_product(IN a, INDEX a_down, INDEX a_right, IN b, INDEX b_down, INDEX b_right, INDEX M, INDEX K,
                           INDEX N, IN bias, INDEX with_bias, INDEX with_relu, OUT activated, OUT out) {
    __shared__ REAL left[side][depth + 1];
    __shared__ REAL right[depth][side + 1];
    const INDEX tiles = (N + side - 1) / side, first_row = blockIdx.x / tiles * side;
    const INDEX first_column = blockIdx.x % tiles * side, row = threadIdx.x / side, column = threadIdx.x % side;
    REAL sum = 0;
    for (INDEX first = 0; first < K; first += depth) {
        const INDEX count = depth < K - first ? depth : K - first;
        __syncthreads();
        for (int i = threadIdx.x; i < side * depth; i += threads) {
            const INDEX m = a_right == 1 ? i / depth : i % side, k = a_right == 1 ? i % depth : i / side;
            const bool inside = first_row + m < M && k < count;
            left[m][k] = inside ? a[(first_row + m) * a_down + (first + k) * a_right] : (REAL)0;
        }
        for (int i = threadIdx.x; i < side * depth; i += threads) {
            const INDEX n = b_right == 1 ? i % side : i / depth, k = b_right == 1 ? i / side : i % depth;
            const bool inside = first_column + n < N && k < count;
            right[k][n] = inside ? b[(first + k) * b_down + (first_column + n) * b_right] : (REAL)0;
        }
        __syncthreads();
#pragma unroll 8
        for (INDEX k = 0; k < count; k++) sum += left[row][k] * right[k][column];
    }
    if (first_row + row >= M || first_column + column >= N) return;
    const INDEX at = (first_row + row) * N + first_column + column;
    if (with_bias) sum += bias[first_column + column];
    out[at] = sum;
    if (with_relu) activated[at] = rectified(sum);
}

// y[i] += b[i mod size]: tied, untied and dense biases alike.
KERNEL add_bias(INDEX count, OUT y, IN b, INDEX size) {
    THREAD_OR_RETURN(i, count);
    y[i] += b[i % size];
}

// out[g, k] = the sum over the rows r of part g, `length` of them at most, of value(r * K + k). A block adds up one part
// for `columns` neighbouring k: each of its `lanes` every so many rows, then half of the lanes the other half's sums.
// lanes is a power of 2; sums has room for a number of each thread.
template <typename Value>
__device__ inline void sum_of_rows(Value value, INDEX rows, INDEX K, INDEX length, INDEX columns, INDEX lanes,
                                   REAL* sums, OUT out) {
    const INDEX tiles = (K + columns - 1) / columns, g = blockIdx.x / tiles, first = g * length;
    const INDEX last = length < rows - first ? first + length : rows;  // in this order nothing overflows
    const INDEX t = threadIdx.x, lane = t / columns, k = blockIdx.x % tiles * columns + t % columns;
    REAL sum = 0;
    if (lane < lanes && k < K)
        for (INDEX r = first + lane; r < last; r += lanes) sum += value(r * K + k);
    sums[t] = sum;
    __syncthreads();
    for (INDEX half = lanes / 2; half > 0; half /= 2) {
        if (lane < half) sums[t] += sums[t + half * columns];
        __syncthreads();
    }
    if (lane == 0 && k < K) out[g * K + k] = sums[t];
}

BLOCK_KERNEL sum_rows(IN x, INDEX rows, INDEX K, INDEX length, INDEX columns, INDEX lanes, OUT out) {
    __shared__ REAL sums[threads];
    sum_of_rows([&](INDEX i) { return x[i]; }, rows, K, length, columns, lanes, sums, out);
}

// The same of dy times the slope that the pool wrote down.
BLOCK_KERNEL sum_rows_pooled(IN dy, BYTES codes, REAL slope_at_zero, INDEX rows, INDEX K, INDEX length, INDEX columns,
                             INDEX lanes, OUT out) {
    __shared__ REAL sums[threads];
    sum_of_rows([&](INDEX i) { return dy[i] * slope_of(codes[i], slope_at_zero); }, rows, K, length, columns, lanes, sums,
                out);
}

KERNEL relu(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = rectified(x[i]);
}

KERNEL relu_backward(INDEX count, IN x, IN dy, REAL slope_at_zero, OUT dx) {
    THREAD_OR_RETURN(i, count);
    dx[i] = dy[i] * relu_slope(x[i], slope_at_zero);
}

// y[i] += b[i mod size], and its ReLU.
KERNEL bias_relu(INDEX count, OUT y, IN b, INDEX size, OUT activated) {
    THREAD_OR_RETURN(i, count);
    const REAL v = y[i] + b[i % size];
    y[i] = v;
    activated[i] = rectified(v);
}

// The gradient of both: dx, and the sums of its rows, as sum_rows has them.
BLOCK_KERNEL bias_relu_backward(IN x, IN dy, REAL slope_at_zero, OUT dx, INDEX rows, INDEX K, INDEX length,
                                INDEX columns, INDEX lanes, OUT out) {
    __shared__ REAL sums[threads];
    const auto gradient = [&](INDEX i) { return dx[i] = dy[i] * relu_slope(x[i], slope_at_zero); };
    sum_of_rows(gradient, rows, K, length, columns, lanes, sums, out);
}

KERNEL sigmoid(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = (REAL)0.5 * tanh((REAL)0.5 * x[i]) + (REAL)0.5;
}

KERNEL sigmoid_backward(INDEX count, IN y, IN dy, OUT dx) {
    THREAD_OR_RETURN(i, count);
    dx[i] = dy[i] * y[i] * (1 - y[i]);
}

KERNEL hyperbolic_tangent(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = tanh(x[i]);
}

KERNEL tanh_backward(INDEX count, IN y, IN dy, OUT dx) {
    THREAD_OR_RETURN(i, count);
    dx[i] = dy[i] * (1 - y[i] * y[i]);
}

