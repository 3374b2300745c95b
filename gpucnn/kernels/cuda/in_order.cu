// Correlation where outputs with equal surroundings are equal to the last bit. common.cu stands before it.

// y[n,p,q,k] = the sum over i, j and c of x[n, s p + d i - top, t q + e j - left, first + c] w[i,j,c,k], where c counts
// the G channels of C that k's group sees, and first is the group's first one. Every thread adds in the same order.
KERNEL correlate_in_order(INDEX count, IN x, IN w, INDEX H, INDEX W, INDEX C, INDEX P, INDEX Q, INDEX I, INDEX J,
                          INDEX s, INDEX t, INDEX top, INDEX left, INDEX d, INDEX e, INDEX G, INDEX K, OUT y) {
    THREAD_OR_RETURN(at, count);
    INDEX n = at;
    const INDEX k = pop_axis(n, K), q = pop_axis(n, Q), p = pop_axis(n, P), first = k / (K / (C / G)) * G;
    REAL sum = 0;
    for (INDEX i = 0; i < I; i++) {
        const INDEX h = s * p + d * i - top;
        if (h < 0 || h >= H) continue;
        for (INDEX j = 0; j < J; j++) {
            const INDEX v = t * q + e * j - left;
            if (v < 0 || v >= W) continue;
            for (INDEX c = 0; c < G; c++)
                sum += x[((n * H + h) * W + v) * C + first + c] * w[((i * J + j) * G + c) * K + k];
        }
    }
    y[at] = sum;
}
