// Normalisation over the batch. common.cu stands before it. x is (rows, K), K channels; d is x - centre.

constexpr int threads = 256;  // of a block

// The sum of value(r) over the rows from `first` to `last` for the thread's column, told to all threads of that column:
// each of the `lanes` adds up every so many rows, then half of the lanes the other half's sums. lanes is a power of 2.
template <typename Value>
__device__ inline REAL sum_of_column(Value value, INDEX first, INDEX last, INDEX columns, INDEX lanes, REAL* sums) {
    const INDEX t = threadIdx.x, lane = t / columns;
    REAL sum = 0;
    if (lane < lanes)
        for (INDEX r = first + lane; r < last; r += lanes) sum += value(r);
    __syncthreads();  // until here, others may read the sums before these
    sums[t] = sum;
    __syncthreads();
    for (INDEX half = lanes / 2; half > 0; half /= 2) {
        if (lane < half) sums[t] += sums[t + half * columns];
        __syncthreads();
    }
    return sums[t % columns];
}

// Of part g, `length` rows of x at most: out[g, 0, k] = the mean of x[:, k] - x[0, k], and out[g, 1, k] = the sum of
// squares of what the numbers differ from their mean by. Blocks, columns and lanes are as in sum_rows. A thread whose
// column does not exist takes the last one, and writes nothing.
BLOCK_KERNEL moments_of_parts(IN x, INDEX rows, INDEX K, INDEX length, INDEX columns, INDEX lanes, OUT out) {
    __shared__ REAL sums[threads];
    const INDEX tiles = (K + columns - 1) / columns, g = blockIdx.x / tiles, first = g * length;
    const INDEX last = length < rows - first ? first + length : rows;
    const INDEX column = blockIdx.x % tiles * columns + threadIdx.x % columns, k = column < K ? column : K - 1;
    const REAL n = last > first ? (REAL)(last - first) : (REAL)1, origin = rows > 0 ? x[k] : (REAL)0;
    const REAL mean =
        sum_of_column([&](INDEX r) { return x[r * K + k] - origin; }, first, last, columns, lanes, sums) / n;
    const auto differs = [&](INDEX r) { return x[r * K + k] - origin - mean; };
    const REAL rest = sum_of_column(differs, first, last, columns, lanes, sums);
    const REAL squares =
        sum_of_column([&](INDEX r) { return differs(r) * differs(r); }, first, last, columns, lanes, sums);
    if (threadIdx.x < (unsigned)columns && column < K) {
        out[2 * g * K + k] = mean + rest / n;
        out[(2 * g + 1) * K + k] = squares - rest * (rest / n);
    }
}

// Of all parts: out[0] = a centre, out[1] = what the mean is more, out[2] = the sum of squares around the mean.
BLOCK_KERNEL moments_of_all(IN x, IN of_parts, INDEX rows, INDEX K, INDEX length, INDEX parts, INDEX columns, INDEX lanes,
                            OUT out) {
    __shared__ REAL sums[threads];
    const INDEX column = blockIdx.x * columns + threadIdx.x % columns, k = column < K ? column : K - 1;
    const auto size = [&](INDEX g) { return (REAL)(length < rows - g * length ? length : rows - g * length); };
    const auto mean_of = [&](INDEX g) { return of_parts[2 * g * K + k]; };
    const REAL n = rows > 0 ? (REAL)rows : (REAL)1, origin = rows > 0 ? x[k] : (REAL)0;
    const REAL mean =
        sum_of_column([&](INDEX g) { return size(g) * mean_of(g); }, 0, parts, columns, lanes, sums) / n;
    const auto around = [&](INDEX g) {
        const REAL away = mean_of(g) - mean;
        return of_parts[(2 * g + 1) * K + k] + size(g) * away * away;
    };
    const REAL squares = sum_of_column(around, 0, parts, columns, lanes, sums);
    if (threadIdx.x < (unsigned)columns && column < K) {
        const REAL centre = origin + mean;
        out[k] = centre;
        out[K + k] = mean - (centre - origin);
        out[2 * K + k] = squares;
    }
}

// y = d scale + shift, and its ReLU where `rectified` is not 0.
KERNEL scaled(INDEX count, IN x, IN centre, IN scale, IN shift, INDEX K, INDEX rectified, OUT y) {
    THREAD_OR_RETURN(i, count);
    const INDEX k = i % K;
    const REAL v = (x[i] - centre[k]) * scale[k] + shift[k];
    y[i] = rectified && v <= 0 ? (REAL)0 : v;
}

// dy in front of the ReLU, if there is one.
__device__ inline REAL in_front(REAL d, REAL scale, REAL shift, REAL dy, INDEX rectified, REAL slope_at_zero) {
    return rectified ? dy * relu_slope(d * scale + shift, slope_at_zero) : dy;
}

// Of part g: out[g, 0, k] = the sum of dy, and out[g, 1, k] that of dy d. As sum_rows.
BLOCK_KERNEL scaled_sums(IN x, IN centre, IN scale, IN shift, IN dy, INDEX rectified, REAL slope_at_zero, INDEX rows,
                         INDEX K, INDEX length, INDEX columns, INDEX lanes, OUT out) {
    __shared__ REAL sums[threads];
    const INDEX tiles = (K + columns - 1) / columns, g = blockIdx.x / tiles, first = g * length;
    const INDEX last = length < rows - first ? first + length : rows;
    const INDEX column = blockIdx.x % tiles * columns + threadIdx.x % columns, k = column < K ? column : K - 1;
    const REAL c = centre[k], s = scale[k], b = shift[k];
    const auto value = [&](INDEX r) {
        return in_front(x[r * K + k] - c, s, b, dy[r * K + k], rectified, slope_at_zero);
    };
    const REAL of_dy = sum_of_column(value, first, last, columns, lanes, sums);
    const REAL of_products =
        sum_of_column([&](INDEX r) { return value(r) * (x[r * K + k] - c); }, first, last, columns, lanes, sums);
    if (threadIdx.x < (unsigned)columns && column < K) {
        out[2 * g * K + k] = of_dy;
        out[(2 * g + 1) * K + k] = of_products;
    }
}

// Of each of K channels: out[0] = scale, out[1] = shift, out[2] = 1 / sqrt(variance + epsilon). gamma and beta are 1 and
// 0 where there are none.
KERNEL norm_factors(INDEX K, IN rest, IN variance, IN gamma, INDEX has_gamma, IN beta, INDEX has_beta, REAL epsilon,
                    OUT out) {
    THREAD_OR_RETURN(k, K);
    const REAL inverse = 1 / sqrt(variance[k] + epsilon), scale = has_gamma ? gamma[k] * inverse : inverse;
    out[k] = scale;
    out[K + k] = (has_beta ? beta[k] : (REAL)0) - rest[k] * scale;
    out[2 * K + k] = inverse;
}

// The factors of scaled_backward: out[0] = a, out[1] = b, out[2] = c. numbers: how many a channel has.
KERNEL norm_gradient(INDEX K, IN of_dy, IN of_products, IN rest, IN inverse, IN gamma, INDEX has_gamma, IN numbers,
                     OUT out) {
    THREAD_OR_RETURN(k, K);
    const REAL r = inverse[k], a = has_gamma ? gamma[k] * r : r, b = -a * r * r * of_products[k] / numbers[k];
    out[k] = a;
    out[K + k] = b;
    out[2 * K + k] = -a * of_dy[k] / numbers[k] - b * rest[k];
}

// dx = a dy + b d + c.
KERNEL scaled_backward(INDEX count, IN x, IN centre, IN scale, IN shift, IN dy, INDEX K, INDEX rectified,
                       REAL slope_at_zero, IN a, IN b, IN c, OUT dx) {
    THREAD_OR_RETURN(i, count);
    const INDEX k = i % K;
    const REAL d = x[i] - centre[k];
    const REAL g = in_front(d, scale[k], shift[k], dy[i], rectified, slope_at_zero);
    dx[i] = a[k] * g + (b[k] * d + c[k]);
}
