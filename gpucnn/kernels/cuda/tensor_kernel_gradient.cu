// The gradient of the kernel. tensor.cu stands before it; the kernel is not swapped.

// dw (parts, taps, K), as w is stored, of x and dy (N, P, Q, K); count: N P Q. Each part is the sum over `length` outputs,
// a multiple of `depth`. A block computes `rows` taps of `columns` filters of a part.
BLOCK_KERNEL tensor_kernel_gradient(INDEX count, IN x, IN dy, INDEX length, OUT dw) {
    enum : INDEX { tap_blocks = (taps + rows - 1) / rows, blocks = tap_blocks * column_blocks };
    __shared__ Four left[2][depth * left_by_depth / 4], right[2][depth * right_by_depth / 4];
    __shared__ Seen windows[2][depth];  // of a chunk's outputs, and of the next one's
    const INDEX of_part = blockIdx.x / blocks, block = blockIdx.x % blocks;
    const INDEX first_tap = block / column_blocks * rows, first = block % column_blocks * columns;
    const INDEX begin = of_part * length, end = begin + length < count ? begin + length : count;
    const INDEX tap = first_tap + threadIdx.x % (rows / 4) * 4, filter = at_most(first + threadIdx.x % (columns / 4) * 4, K - 4);
    const Seen as = seen_as(tap, taps % rows == 0);
    auto note = [&](INDEX chunk) {
        const INDEX output = begin + chunk * depth + threadIdx.x;
        if (threadIdx.x < depth) windows[chunk % 2][threadIdx.x] = output < end ? seen_by(output) : Seen{};
    };
    note(0);
    __syncthreads();
    Four of_left[lefts], of_right[rights];
    auto load = [&](INDEX chunk) {
        note(chunk + 1);
#pragma unroll
        for (INDEX k = 0; k < lefts; k++)
            of_left[k] = seen(x, windows[chunk % 2][threadIdx.x / (rows / 4) + k * (threads / (rows / 4))], as);
#pragma unroll
        for (INDEX k = 0; k < rights; k++) {
            const INDEX output = begin + chunk * depth + threadIdx.x / (columns / 4) + k * (threads / (columns / 4));
            of_right[k] = output < end ? read(dy + output * K + filter) : Four{};
        }
    };
    auto keep = [&](INDEX buffer) {
#pragma unroll
        for (INDEX k = 0; k < lefts; k++) {
            const INDEX at = threadIdx.x / (rows / 4) + k * (threads / (rows / 4));
            left[buffer][at * (left_by_depth / 4) + threadIdx.x % (rows / 4)] = kept(of_left[k]);
        }
#pragma unroll
        for (INDEX k = 0; k < rights; k++) {
            const INDEX at = threadIdx.x / (columns / 4) + k * (threads / (columns / 4));
            right[buffer][at * (right_by_depth / 4) + threadIdx.x % (columns / 4)] = kept(of_right[k]);
        }
    };
    Sums sums = {};
    const INDEX chunks = (end - begin + depth - 1) / depth;
    multiply_all<true>(sums, chunks, left, right, load, keep);
    const INDEX again = block_read_anew(), part = again / blocks, in_part = again % blocks;
    const INDEX row = in_part / column_blocks * rows + row_of_thread();
#pragma unroll
    for (INDEX h = 0; h < 2; h++) {
        const INDEX column = in_part % column_blocks * columns + column_of_thread() + 4 * h;
        if (row >= taps || column >= K) continue;  // taps are a multiple of 4
#pragma unroll
        for (INDEX i = 0; i < 4; i++) *(Four*)(dw + (part * taps + stored(row + i)) * K + column) = found(sums, i, h);
    }
}
