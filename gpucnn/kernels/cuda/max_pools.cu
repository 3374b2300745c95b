// Max pools. common.cu stands before them, and the constants H, W, C, P, Q, I, J, s, t, top, left, d and e.

// The largest pixel of each window, and the offset of the first one that equals it. NaN wins, and equals nobody.
KERNEL max_pool(INDEX count, IN x, OUT y, byte* __restrict__ codes) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), q = pop_axis(n, Q), p = pop_axis(n, P);
    bool unseen = true;
    REAL best = 0;
    INDEX winner = NOBODY;
    for (INDEX i = 0; i < I; i++) {
        const INDEX h = s * p + d * i - top;
        if (h < 0 || h >= H) continue;
        for (INDEX j = 0; j < J; j++) {
            const INDEX w = t * q + e * j - left;
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
KERNEL max_pool_backward(INDEX count, IN dy, BYTES codes, REAL slope_at_zero, OUT dx) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), w = pop_axis(n, W), h = pop_axis(n, H);
    REAL sum = 0;
    EACH_WINDOW_THAT_SEES(h + top, w + left) {
        const INDEX at = ((n * P + p) * Q + q) * C + c;
        const INDEX offset = (h + top - s * p) / d * J + (w + left - t * q) / e;
        const byte code = codes[at];
        const bool won = code == offset || (code == FIRST_AT_ZERO && offset == 0);
        sum += dy[at] * (won ? slope_of(code, slope_at_zero) : (REAL)0);
    }
    dx[k] = sum;
}

// dx where every pixel that equals its window's maximum y gets dy, undivided.
KERNEL max_pool_all_backward(INDEX count, IN x, IN y, IN dy, OUT dx) {
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
KERNEL bias_relu_max_pool(INDEX count, IN x, IN b, OUT y, byte* __restrict__ codes) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), q = pop_axis(n, Q), p = pop_axis(n, P);
    const INDEX corner = ((n * H + s * p) * W + t * q) * C + c;
    REAL best = 0;
    INDEX winner = x[corner] + b[c] == 0 ? FIRST_AT_ZERO : NOBODY;  // a window of zeros goes to its first pixel
    for (INDEX i = 0; i < I; i++) {
        for (INDEX j = 0; j < J; j++) {
            const REAL v = x[corner + (d * i * W + e * j) * C] + b[c];
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
KERNEL bias_relu_max_pool_all_backward(INDEX count, IN x, IN b, IN y, IN dy, REAL slope_at_zero, OUT dx) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = pop_axis(n, C), w = pop_axis(n, W), h = pop_axis(n, H);
    const REAL v = x[k] + b[c], after = rectified(v);
    REAL sum = 0;
    EACH_WINDOW_THAT_SEES(h + top, w + left) {
        const INDEX at = ((n * P + p) * Q + q) * C + c;
        sum += dy[at] * (REAL)(after == y[at]);
    }
    dx[k] = sum * relu_slope(v, slope_at_zero);
}
