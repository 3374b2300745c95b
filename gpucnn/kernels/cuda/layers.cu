// The layers' kernels: columns of a convolution, biases, activations, pools. common.cu stands before them.

// What a max pool writes down of each window: the offset i * J + j of its winner, or one of these.
#define NOBODY 255         // no pixel equals the maximum (it is NaN), or the winner's slope is 0
#define FIRST_AT_ZERO 254  // the window's first pixel won, and was exactly 0 before the ReLU

// Where `rest`, which counts elements, stands along their last axis, of this length; it then counts along the others.
__device__ inline INDEX pop_axis(INDEX& rest, INDEX length) {
    const INDEX place = rest % length;
    rest /= length;
    return place;
}

// columns[(n, p, q), (i, j, c)] = x[n, s p + d i - top, t q + e j - left, first + c], 0 outside the image; c < G of C.
// flipped: the same with I - 1 - i and J - 1 - j on the right, for kernels that are stored turned by 180 degrees.
KERNEL columns_of_image(INDEX count, IN x, WINDOW, INDEX d, INDEX e, INDEX first, INDEX G, INDEX flipped, OUT columns) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, G), j = pop_axis(n, J), i = pop_axis(n, I), q = pop_axis(n, Q), p = pop_axis(n, P);
    const INDEX h = s * p + d * (flipped ? I - 1 - i : i) - top, w = t * q + e * (flipped ? J - 1 - j : j) - left;
    const bool inside = h >= 0 && h < H && w >= 0 && w < W;
    columns[k] = inside ? x[((n * H + h) * W + w) * C + first + c] : (REAL)0;
}

// The gradient of columns_of_image: every pixel sums the columns that saw it, row by row of the window.
KERNEL image_of_columns(INDEX count, IN columns, WINDOW, INDEX d, INDEX e, INDEX first, INDEX G, INDEX flipped,
                        OUT dx) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, G), w = pop_axis(n, W), h = pop_axis(n, H);
    REAL sum = 0;
    for (INDEX i = 0; i < I; i++) {
        const INDEX row = h + top - d * i;
        if (row < 0 || row % s || row / s >= P) continue;
        for (INDEX j = 0; j < J; j++) {
            const INDEX column = w + left - e * j;
            if (column < 0 || column % t || column / t >= Q) continue;
            const INDEX output = (n * P + row / s) * Q + column / t;
            sum += columns[((output * I + (flipped ? I - 1 - i : i)) * J + (flipped ? J - 1 - j : j)) * G + c];
        }
    }
    dx[((n * H + h) * W + w) * C + first + c] = sum;
}

// y[i] += b[i mod size]: tied, untied and dense biases alike.
KERNEL add_bias(INDEX count, OUT y, IN b, INDEX size) {
    THREAD_OR_RETURN(i, count);
    y[i] += b[i % size];
}

// out[g, k] = sum of x[r, k] over the rows r of part g, `length` of them at most.
KERNEL sum_rows(INDEX count, IN x, INDEX rows, INDEX K, INDEX length, OUT out) {
    THREAD_OR_RETURN(i, count);
    const INDEX k = i % K, first = i / K * length;
    const INDEX last = length < rows - first ? first + length : rows;  // in this order nothing overflows
    REAL sum = 0;
    for (INDEX r = first; r < last; r++) sum += x[r * K + k];
    out[i] = sum;
}

__device__ inline REAL slope_of(byte code, REAL slope_at_zero) {
    return code == NOBODY ? (REAL)0 : code == FIRST_AT_ZERO ? slope_at_zero : (REAL)1;
}

// The same of dy times the slope that the pool wrote down.
KERNEL sum_rows_pooled(INDEX count, IN dy, BYTES codes, REAL slope_at_zero, INDEX rows, INDEX K, INDEX length,
                       OUT out) {
    THREAD_OR_RETURN(i, count);
    const INDEX k = i % K, first = i / K * length;
    const INDEX last = length < rows - first ? first + length : rows;  // in this order nothing overflows
    REAL sum = 0;
    for (INDEX r = first; r < last; r++) sum += dy[r * K + k] * slope_of(codes[r * K + k], slope_at_zero);
    out[i] = sum;
}

KERNEL relu(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = x[i] <= 0 ? (REAL)0 : x[i];  // NaN stays NaN
}

__device__ inline REAL relu_slope(REAL x, REAL slope_at_zero) {
    return x > 0 ? (REAL)1 : x == 0 ? slope_at_zero : (REAL)0;
}

KERNEL relu_backward(INDEX count, IN x, IN dy, REAL slope_at_zero, OUT dx) {
    THREAD_OR_RETURN(i, count);
    dx[i] = dy[i] * relu_slope(x[i], slope_at_zero);
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

// The last output whose window reaches place `a` (padding counted in), at most `outputs` - 1.
__device__ inline INDEX last_output(INDEX a, INDEX step, INDEX outputs) {
    return a / step < outputs ? a / step : outputs - 1;
}

// For the windows (p, q) that see the pixel in row a and column b, padding counted in, from the last to the first.
#define EACH_WINDOW_THAT_SEES(a, b)                                      \
    for (INDEX p = last_output(a, s, P); p >= 0 && (a) - s * p < I; p--) \
        for (INDEX q = last_output(b, t, Q); q >= 0 && (b) - t * q < J; q--)

// The largest pixel of each window, and the offset of the first one that equals it. NaN wins, and equals nobody.
KERNEL max_pool(INDEX count, IN x, WINDOW, OUT y, byte* __restrict__ codes) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), q = pop_axis(n, Q), p = pop_axis(n, P);
    bool unseen = true;
    REAL best = 0;
    INDEX winner = NOBODY;
    for (INDEX i = 0; i < I; i++) {
        const INDEX h = s * p + i - top;
        if (h < 0 || h >= H) continue;
        for (INDEX j = 0; j < J; j++) {
            const INDEX w = t * q + j - left;
            if (w < 0 || w >= W) continue;
            const REAL v = x[((n * H + h) * W + w) * C + c];
            if (unseen || v > best || v != v) {
                best = v;
                winner = v == v ? i * J + j : NOBODY;
                unseen = false;
            }
        }
    }
    y[k] = best;
    codes[k] = (byte)winner;
}

// dx of the pools that wrote their winners down: every pixel asks the windows that see it, in the order of offsets.
KERNEL max_pool_backward(INDEX count, IN dy, BYTES codes, REAL slope_at_zero, WINDOW, OUT dx) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), w = pop_axis(n, W), h = pop_axis(n, H);
    REAL sum = 0;
    EACH_WINDOW_THAT_SEES(h + top, w + left) {
        const INDEX at = ((n * P + p) * Q + q) * C + c, offset = (h + top - s * p) * J + w + left - t * q;
        const byte code = codes[at];
        const bool won = code == offset || (code == FIRST_AT_ZERO && offset == 0);
        sum += dy[at] * (won ? slope_of(code, slope_at_zero) : (REAL)0);
    }
    dx[k] = sum;
}

// dx where every pixel that equals its window's maximum y gets dy, undivided.
KERNEL max_pool_all_backward(INDEX count, IN x, IN y, IN dy, WINDOW, OUT dx) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), w = pop_axis(n, W), h = pop_axis(n, H);
    REAL sum = 0;
    EACH_WINDOW_THAT_SEES(h + top, w + left) {
        const INDEX at = ((n * P + p) * Q + q) * C + c;
        sum += dy[at] * (REAL)(x[k] == y[at]);
    }
    dx[k] = sum;
}

// max over each window of relu(x + b), and who gets the gradient: the first largest after the ReLU. Without padding.
// NaN wins, and equals nobody.
KERNEL bias_relu_max_pool(INDEX count, IN x, IN b, WINDOW, OUT y, byte* __restrict__ codes) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), q = pop_axis(n, Q), p = pop_axis(n, P);
    const INDEX corner = ((n * H + s * p) * W + t * q) * C + c;
    REAL best = 0;
    INDEX winner = x[corner] + b[c] == 0 ? FIRST_AT_ZERO : NOBODY;  // a window of zeros goes to its first pixel
    for (INDEX i = 0; i < I; i++) {
        for (INDEX j = 0; j < J; j++) {
            const REAL v = x[corner + (i * W + j) * C] + b[c];
            if (v > best || v != v) {
                best = v;
                winner = v == v ? i * J + j : NOBODY;
            }
        }
    }
    y[k] = best;
    codes[k] = (byte)winner;
}

// Its gradient where all ties get dy: those equal after the ReLU, each with its own slope before it.
KERNEL bias_relu_max_pool_all_backward(INDEX count, IN x, IN b, IN y, IN dy, REAL slope_at_zero, WINDOW, OUT dx) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), w = pop_axis(n, W), h = pop_axis(n, H);
    const REAL v = x[k] + b[c], after = v <= 0 ? (REAL)0 : v;
    REAL sum = 0;
    EACH_WINDOW_THAT_SEES(h + top, w + left) {
        const INDEX at = ((n * P + p) * Q + q) * C + c;
        sum += dy[at] * (REAL)(after == y[at]);
    }
    dx[k] = sum * relu_slope(v, slope_at_zero);
}

// How many of `size` places from `first` on lie in 0 .. length - 1.
__device__ inline INDEX inside(INDEX first, INDEX size, INDEX length) {
    const INDEX from = first > 0 ? first : 0, to = first + size < length ? first + size : length;
    return to - from;
}

// The mean of each window: of its pixels, or of its I J places with padding counted as zeros.
KERNEL average_pool(INDEX count, IN x, WINDOW, INDEX count_padding, OUT y) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), q = pop_axis(n, Q), p = pop_axis(n, P);
    const INDEX first_row = s * p - top, first_column = t * q - left;
    REAL sum = 0;
    for (INDEX h = first_row; h < first_row + I; h++) {
        if (h < 0 || h >= H) continue;
        for (INDEX w = first_column; w < first_column + J; w++) {
            if (w < 0 || w >= W) continue;
            sum += x[((n * H + h) * W + w) * C + c];
        }
    }
    y[k] = sum / (REAL)(count_padding ? I * J : inside(first_row, I, H) * inside(first_column, J, W));
}

KERNEL average_pool_backward(INDEX count, IN dy, WINDOW, INDEX count_padding, OUT dx) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), w = pop_axis(n, W), h = pop_axis(n, H);
    REAL sum = 0;
    EACH_WINDOW_THAT_SEES(h + top, w + left) {
        const INDEX pixels_seen = inside(s * p - top, I, H) * inside(t * q - left, J, W);
        sum += dy[((n * P + p) * Q + q) * C + c] / (REAL)(count_padding ? I * J : pixels_seen);
    }
    dx[k] = sum;
}
