// The convolution itself, or the image's gradient as one. tensor.cu stands before it, and the constants with_relu and
// with_pool: whether a ReLU and a max pool of 2 x 2 pixels follow; then there is a bias b (K), too.

constexpr INDEX window = with_pool ? 4 : 1;  // pixels of a cell of the pool, which are computed side by side

struct alignas(2) Pair {
    byte at[2];
};

// Which output a block's row is.
__device__ inline INDEX output_of(INDEX row) {
    if constexpr (!with_pool) return row;
    INDEX n = row / window;
    const INDEX q = pop_axis(n, Q / 2), p = pop_axis(n, P / 2), offset = row % window;
    return (n * P + 2 * p + offset / 2) * Q + 2 * q + offset % 2;
}

// y (N, P, Q, K) of x (N, H, W, C) and w; count: N P Q. A block computes `rows` outputs of `columns` filters. With a ReLU,
// y with its bias, and activated, what the ReLU makes of it. With a pool, count is 4 times the number of its cells, and y
// (N, P / 2, Q / 2, K) and codes what it makes of that, as bias_relu_max_pool, or max_pool and a bias.
BLOCK_KERNEL correlate_tensor(INDEX count, IN x, IN w, IN b, OUT activated, byte* __restrict__ codes, OUT y) {
    __shared__ Four left[2][rows * by_number / 4], right[2][right_size / 4];
    const INDEX first_row = blockIdx.x / column_blocks * rows, first = blockIdx.x % column_blocks * columns;
    const INDEX part = threadIdx.x % 4 * 4, row = threadIdx.x / 4;  // of the left chunk: a thread reads 4 taps of a row
    Corner corners[lefts];
#pragma unroll
    for (INDEX k = 0; k < lefts; k++) corners[k] = corner_of(output_of(first_row + row + k * (threads / 4)));
    Four of_left[lefts], of_right[rights];
    auto load = [&](INDEX chunk) {
        const INDEX tap = chunk * depth + part;
#pragma unroll
        for (INDEX k = 0; k < lefts; k++) {
            const bool inside = tap < taps && first_row + row + k * (threads / 4) < count;
            of_left[k] = inside ? seen(x, corners[k], tap) : Four{};
        }
#pragma unroll
        for (INDEX k = 0; k < rights; k++) {
            const INDEX item = threadIdx.x + k * threads;
            if constexpr (swapped) {  // 4 taps of a filter
                const INDEX filter = first + item / 4;
                const bool inside = tap < taps && filter < K;
                of_right[k] = inside ? read_one_by_one(w + (stored(tap) / C * K + filter) * C + tap % C) : Four{};
            } else {  // 4 filters of a tap
                const INDEX filter = first + item % (columns / 4) * 4, at = chunk * depth + item / (columns / 4);
                const bool inside = at < taps && filter < K;
                of_right[k] = inside ? read_one_by_one(w + stored(at) * K + filter) : Four{};
            }
        }
    };
    auto keep = [&](INDEX buffer) {
#pragma unroll
        for (INDEX k = 0; k < lefts; k++)
            left[buffer][((row + k * (threads / 4)) * by_number + part) / 4] = of_left[k];
#pragma unroll
        for (INDEX k = 0; k < rights; k++) {
            const INDEX item = threadIdx.x + k * threads;
            const INDEX at = swapped ? item / 4 * by_number + item % 4 * 4
                                     : item / (columns / 4) * right_by_depth + item % (columns / 4) * 4;
            right[buffer][at / 4] = of_right[k];
        }
    };
    Sums sums = {};
    const INDEX chunks = (taps + depth - 1) / depth;
    multiply_all<false, !swapped>(sums, chunks, left, right, load, keep);
    for_each_pair(sums, [&](INDEX row, INDEX column, const float* found) {
        const bool inside = first_row + row < count && first + column < K;
        const INDEX at = (first_row + row) / window * K + first + column;
        Two bias = {}, made = {{found[0], found[1]}};
        if ((with_relu || with_pool) && inside) bias = {{b[first + column], b[first + column + 1]}};
        if constexpr (with_pool) {  // a cell's pixels are with four threads, in the places of each other's row
            Pair won;
#pragma unroll
            for (INDEX m = 0; m < 2; m++) {
                float pixels[window];
#pragma unroll
                for (INDEX k = 0; k < window; k++)
                    pixels[k] = __shfl_sync(0xFFFFFFFF, found[m], (int)((threadIdx.x & 19) + 4 * k));
                made.at[m] = cell_of<with_relu, true, window, 1>(pixels, bias.at[m], won.at[m]);
            }
            if (!inside || row % window) return;
            *(Pair*)(codes + at) = won;
        } else if constexpr (with_relu) {
            made = {{found[0] + bias.at[0], found[1] + bias.at[1]}};
            if (inside) *(Two*)(activated + at) = {{rectified(made.at[0]), rectified(made.at[1])}};
        }
        if (inside) *(Two*)(y + at) = made;
    });
}
