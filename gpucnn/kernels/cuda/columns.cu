// Columns of a convolution: what each output sees, side by side. common.cu stands before them, and the constants
// H, W, C, P, Q, I, J, s, t, top, left, d and e; G, the channels that one group sees; flipped, for kernels that are
// stored turned by 180 degrees; and V, the neighbouring channels that one thread copies, which divides C and G.

struct alignas(V * sizeof(REAL)) Channels {
    REAL at[V];
};

// columns[(n, p, q), (i, j, c)] = x[n, s p + d i - top, t q + e j - left, first + c], 0 outside the image; c < G of C.
// flipped: the same with I - 1 - i and J - 1 - j on the right. count: elements / V.
KERNEL columns_of_image(INDEX count, IN x, INDEX first, OUT columns) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = V * pop_axis(n, G / V), j = pop_axis(n, J), i = pop_axis(n, I), q = pop_axis(n, Q);
    const INDEX p = pop_axis(n, P);
    const INDEX h = s * p + d * (flipped ? I - 1 - i : i) - top, w = t * q + e * (flipped ? J - 1 - j : j) - left;
    Channels seen = {};
    if (h >= 0 && h < H && w >= 0 && w < W) seen = *(const Channels*)(x + ((n * H + h) * W + w) * C + first + c);
    *(Channels*)(columns + V * k) = seen;
}

// The gradient of columns_of_image: every pixel sums the columns that saw it, row by row of the window.
KERNEL image_of_columns(INDEX count, IN columns, INDEX first, OUT dx) {
    THREAD_OR_RETURN(k, count);
    INDEX n = k;
    const INDEX c = V * pop_axis(n, G / V), w = pop_axis(n, W), h = pop_axis(n, H);
    Channels sum = {};
    for (INDEX i = 0; i < I; i++) {
        const INDEX row = h + top - d * i;
        if (row < 0 || row % s || row / s >= P) continue;
        for (INDEX j = 0; j < J; j++) {
            const INDEX column = w + left - e * j;
            if (column < 0 || column % t || column / t >= Q) continue;
            const INDEX output = (n * P + row / s) * Q + column / t;
            const INDEX tap = (flipped ? I - 1 - i : i) * J + (flipped ? J - 1 - j : j);
            const Channels seen = *(const Channels*)(columns + (output * (I * J) + tap) * G + c);
            for (INDEX v = 0; v < V; v++) sum.at[v] += seen.at[v];
        }
    }
    *(Channels*)(dx + ((n * H + h) * W + w) * C + first + c) = sum;
}
