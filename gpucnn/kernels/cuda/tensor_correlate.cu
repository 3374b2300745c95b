// The convolution itself, or the image's gradient as one. tensor.cu stands before it, and the constants with_relu and
// with_pool: whether a ReLU and a max pool of 2 x 2 pixels follow; then there is a bias b (K), too.

struct alignas(4) Codes {
    byte at[4];
};

// Which output a row is: the four pixels of a pool's cell are rows side by side.
__device__ inline INDEX output_of(INDEX row) {
    if constexpr (!with_pool) return row;
    INDEX n = row / 4;
    const INDEX q = pop_axis(n, Q / 2), p = pop_axis(n, P / 2), offset = row % 4;
    return (n * P + 2 * p + offset / 2) * Q + 2 * q + offset % 2;
}

constexpr bool is_whole = taps % depth == 0;  // each chunk

// y (N, P, Q, K) of x (N, H, W, C) and w; count: N P Q. A block computes `rows` outputs of `columns` filters. With a ReLU,
// y with its bias, and activated, what the ReLU makes of it. With a pool, count is 4 times the number of its cells, and y
// (N, P / 2, Q / 2, K) and codes what it makes of that, as bias_relu_max_pool, or max_pool and a bias.
BLOCK_KERNEL correlate_tensor(INDEX count, IN x, IN w, IN b, OUT activated, byte* __restrict__ codes, OUT y) {
    __shared__ Four left[2][half / 2], right[2][depth * right_by_depth / 4];
    __shared__ Seen windows[rows];
    const INDEX first_row = blockIdx.x / column_blocks * rows, first = blockIdx.x % column_blocks * columns;
    const INDEX part = threadIdx.x % 4 * 4;  // of the left chunk: a thread reads 4 taps of a row
    for (INDEX n = threadIdx.x; n < rows; n += threads) {  // as the left chunk has them
        const INDEX row = first_row + number_at(n);
        windows[n] = row < count ? seen_by(output_of(row)) : Seen{};
    }
    __syncthreads();
    Four of_left[lefts], of_right[rights];
    auto load = [&](INDEX chunk) {
        const INDEX tap = chunk * depth + part;
        const Seen as = seen_as(tap, is_whole);
#pragma unroll
        for (INDEX k = 0; k < lefts; k++) of_left[k] = seen(x, windows[threadIdx.x / 4 + k * (threads / 4)], as);
#pragma unroll
        for (INDEX k = 0; k < rights; k++) {
            const INDEX item = threadIdx.x + k * threads;
            if constexpr (swapped) {  // 4 taps of a filter
                const INDEX filter = at_most(first + item / 4, K - 1);
                const REAL* from = w + (stored(tap) / C * K + filter) * C + tap % C;
                of_right[k] = is_whole || tap < taps ? read_one_by_one(from) : Four{};
            } else {  // 4 filters of a tap
                const INDEX filter = at_most(first + item % (columns / 4) * 4, K - 4);
                const INDEX at = chunk * depth + item / (columns / 4);
                of_right[k] = is_whole || at < taps ? read_one_by_one(w + stored(at) * K + filter) : Four{};
            }
        }
    };
    auto keep = [&](INDEX buffer) {
#pragma unroll
        for (INDEX k = 0; k < lefts; k++)
            left[buffer][part / 8 * (half / 4) + (threadIdx.x / 4 + k * (threads / 4)) * 2 + part % 8 / 4] = kept(of_left[k]);
#pragma unroll
        for (INDEX k = 0; k < rights; k++) {
            const INDEX item = threadIdx.x + k * threads;
            if constexpr (swapped) {
#pragma unroll
                for (INDEX m = 0; m < 4; m++) {
                    const INDEX at = place_of_depth(item % 4 * 4 + m) * right_by_depth + item / 4;
                    ((float*)right[buffer])[at] = kept(of_right[k]).at[m];
                }
            } else {
                const INDEX at = place_of_depth(item / (columns / 4)) * (right_by_depth / 4) + item % (columns / 4);
                right[buffer][at] = kept(of_right[k]);
            }
        }
    };
    Sums sums = {};
    const INDEX chunks = (taps + depth - 1) / depth;
    multiply_all<false>(sums, chunks, left, right, load, keep);
    const INDEX again = block_read_anew();
    const INDEX row = again / column_blocks * rows + row_of_thread();
#pragma unroll
    for (INDEX h = 0; h < 2; h++) {
        const INDEX column = again % column_blocks * columns + column_of_thread() + 4 * h;
        if (column >= K) continue;
        const Four bias = with_relu || with_pool ? read_one_by_one(b + column) : Four{};
        if constexpr (with_pool) {  // a thread's four rows are a cell
            if (row >= count) continue;
            Four made;
            Codes won;
#pragma unroll
            for (INDEX m = 0; m < 4; m++) {
                const float pixels[4] = {found(sums, 0, h).at[m], found(sums, 1, h).at[m], found(sums, 2, h).at[m],
                                         found(sums, 3, h).at[m]};
                made.at[m] = cell_of<with_relu, true, 4, 1>(pixels, bias.at[m], won.at[m]);
            }
            *(Four*)(y + row / 4 * K + column) = made;
            *(Codes*)(codes + row / 4 * K + column) = won;
        } else {
#pragma unroll
            for (INDEX i = 0; i < 4; i++) {
                Four made = found(sums, i, h), positive;
                if (row + i >= count) continue;
                if constexpr (with_relu) {
#pragma unroll
                    for (INDEX m = 0; m < 4; m++) {
                        made.at[m] += bias.at[m];
                        positive.at[m] = rectified(made.at[m]);
                    }
                    *(Four*)(activated + (row + i) * K + column) = positive;
                }
                *(Four*)(y + (row + i) * K + column) = made;
            }
        }
    }
}
