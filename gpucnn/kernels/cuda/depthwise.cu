// Correlation of each channel by itself, with M kernels each: K = C M. common.cu stands before it, and the constants H, W,
// C, P, Q, I, J, s, t, top, left, d, e and M, and threads, columns and lanes of depthwise_kernel_gradient.

// Every sum is in the order of the kernel's offsets, so that outputs with equal surroundings are equal to the last bit.
KERNEL depthwise(INDEX count, IN x, IN kernel, OUT y) {
    THREAD_OR_RETURN(o, count);
    INDEX n = o;
    const INDEX k = pop_axis(n, C * M), q = pop_axis(n, Q), p = pop_axis(n, P), c = k / M;
    REAL sum = 0;
#pragma unroll
    for (INDEX i = 0; i < I; i++) {
        const INDEX h = s * p + d * i - top;
        if (h < 0 || h >= H) continue;
#pragma unroll
        for (INDEX j = 0; j < J; j++) {
            const INDEX w = t * q + e * j - left;
            if (w >= 0 && w < W) sum += x[((n * H + h) * W + w) * C + c] * kernel[(i * J + j) * C * M + k];
        }
    }
    y[o] = sum;
}

// For every pixel, the outputs that saw it through each offset, and through each of its channel's kernels.
KERNEL depthwise_image_gradient(INDEX count, IN kernel, IN dy, OUT dx) {
    THREAD_OR_RETURN(o, count);
    INDEX n = o;
    const INDEX c = pop_axis(n, C), w = pop_axis(n, W), h = pop_axis(n, H);
    REAL sum = 0;
#pragma unroll
    for (INDEX i = 0; i < I; i++) {
        const INDEX down = h + top - d * i, p = down / s;
        if (down < 0 || down % s || p >= P) continue;
#pragma unroll
        for (INDEX j = 0; j < J; j++) {
            const INDEX right = w + left - e * j, q = right / t;
            if (right < 0 || right % t || q >= Q) continue;
            for (INDEX m = 0; m < M; m++) {
                const INDEX k = c * M + m;
                sum += dy[((n * P + p) * Q + q) * C * M + k] * kernel[(i * J + j) * C * M + k];
            }
        }
    }
    dx[o] = sum;
}

// parts[g, i J + j, k] = the sum over the outputs r = (n P + p) Q + q of part g, `length` of them at most, of dy[r, k] times
// what it saw at the offset. A block adds up one part for `columns` neighbouring k: each of its `lanes` every so many
// outputs, with a sum in registers for each offset; then, offset by offset, half of the lanes the other half's sums.
// lanes is a power of 2.
BLOCK_KERNEL depthwise_kernel_gradient(IN x, IN dy, INDEX outputs, INDEX length, OUT parts) {
    __shared__ REAL shared_sums[threads];
    constexpr INDEX K = C * M, tiles = (K + columns - 1) / columns;
    const INDEX g = blockIdx.x / tiles, first = g * length, last = length < outputs - first ? first + length : outputs;
    const INDEX lane = threadIdx.x / columns, k = blockIdx.x % tiles * columns + threadIdx.x % columns, c = k / M;
    REAL sums[I * J] = {};
    if (lane < lanes && k < K)
        for (INDEX r = first + lane; r < last; r += lanes) {
            INDEX n = r;
            const INDEX q = pop_axis(n, Q), p = pop_axis(n, P);
            const REAL of_output = dy[r * K + k];
#pragma unroll
            for (INDEX i = 0; i < I; i++) {
                const INDEX h = s * p + d * i - top;
#pragma unroll
                for (INDEX j = 0; j < J; j++) {
                    const INDEX w = t * q + e * j - left;
                    if (h >= 0 && h < H && w >= 0 && w < W)
                        sums[i * J + j] += of_output * x[((n * H + h) * W + w) * C + c];
                }
            }
        }
#pragma unroll
    for (INDEX tap = 0; tap < I * J; tap++) {
        __syncthreads();
        shared_sums[threadIdx.x] = sums[tap];
        __syncthreads();
        for (INDEX half = lanes / 2; half > 0; half /= 2) {
            if (lane < half) shared_sums[threadIdx.x] += shared_sums[threadIdx.x + half * columns];
            __syncthreads();
        }
        if (lane == 0 && k < K) parts[(g * I * J + tap) * K + k] = shared_sums[threadIdx.x];
    }
}
