// Average pools. common.cu stands before them, and the constants H, W, C, P, Q, I, J, s, t, top, left and
// count_padding.

// How many of `size` places from `first` on lie in 0 .. length - 1.
__device__ inline INDEX inside(INDEX first, INDEX size, INDEX length) {
    const INDEX from = first > 0 ? first : 0, to = first + size < length ? first + size : length;
    return to - from;
}

// The mean of each window: of its pixels, or of its I J places with padding counted as zeros.
KERNEL average_pool(INDEX count, IN x, OUT y) {
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

KERNEL average_pool_backward(INDEX count, IN dy, OUT dx) {
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
