// Average pools. common.cu stands before them, and the constants H, W, C, P, Q, I, J, s, t, top, left, d, e,
// count_padding, and bottom and right: the padding there that count_padding means.

// How many of `size` places, `apart` from one to the next, from `first` on lie in 0 .. length - 1.
__device__ inline INDEX inside(INDEX first, INDEX size, INDEX apart, INDEX length) {
    const INDEX from = first > 0 ? 0 : (apart - 1 - first) / apart, most = (length - 1 - first) / apart + 1;
    return (first < length ? most < size ? most : size : 0) - from;
}

// What the sum over window (p, q) is divided by.
__device__ inline REAL places(INDEX p, INDEX q) {
    const INDEX before = count_padding ? top : 0, ahead = count_padding ? left : 0;
    const INDEX rows = inside(s * p - top + before, I, d, H + before + (count_padding ? bottom : 0));
    return (REAL)(rows * inside(t * q - left + ahead, J, e, W + ahead + (count_padding ? right : 0)));
}

// The mean of each window: of its pixels, or of its I J places with padding counted as zeros.
KERNEL average_pool(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), q = pop_axis(n, Q), p = pop_axis(n, P);
    const INDEX first_row = s * p - top, first_column = t * q - left;
    REAL sum = 0;
    for (INDEX h = first_row; h < first_row + d * I; h += d) {
        if (h < 0 || h >= H) continue;
        for (INDEX w = first_column; w < first_column + e * J; w += e) {
            if (w < 0 || w >= W) continue;
            sum += x[((n * H + h) * W + w) * C + c];
        }
    }
    y[k] = sum / places(p, q);
}

KERNEL average_pool_backward(INDEX count, IN dy, OUT dx) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), w = pop_axis(n, W), h = pop_axis(n, H);
    REAL sum = 0;
    EACH_WINDOW_THAT_SEES(h + top, w + left) {
        sum += dy[((n * P + p) * Q + q) * C + c] / places(p, q);
    }
    dx[k] = sum;
}
