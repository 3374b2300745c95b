// The convolution itself, or the image's gradient as one. tensor.cu stands before it.

// y (N, P, Q, K) of x (N, H, W, C) and w; count: N P Q. A block computes `rows` outputs of `columns` filters.
BLOCK_KERNEL correlate_tensor(INDEX count, IN x, IN w, OUT y) {
    __shared__ Four left[2][rows * by_number / 4], right[2][right_size / 4];
    const INDEX first_row = blockIdx.x / column_blocks * rows, first = blockIdx.x % column_blocks * columns;
    const INDEX part = threadIdx.x % 4 * 4, row = threadIdx.x / 4;  // of the left chunk: a thread reads 4 taps of a row
    Corner corners[lefts];
#pragma unroll
    for (INDEX k = 0; k < lefts; k++) corners[k] = corner_of(first_row + row + k * (threads / 4));
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
        if (first_row + row < count && first + column < K)
            *(Two*)(y + (first_row + row) * K + first + column) = {{found[0], found[1]}};
    });
}
