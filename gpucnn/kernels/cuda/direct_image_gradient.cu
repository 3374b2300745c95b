// The gradient of the image, through the pixel that won each cell, as in direct_kernel_gradient.cu. direct.cu stands before
// it, and the constant D, the channels of which a thread computes a pixel's.

// floor(a / b), for b > 0
__device__ inline INDEX floor_of(INDEX a, INDEX b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// The first and the last cell along an axis of which a pixel may have the winner: `place` is the pixel's, padding counted.
__device__ inline INDEX first_cell(INDEX place, INDEX reach, INDEX step, INDEX size, INDEX stride) {
    const INDEX output = floor_of(place - reach + step - 1, step), cell = floor_of(output - size + stride, stride);
    return cell > 0 ? cell : 0;
}

__device__ inline INDEX last_cell(INDEX place, INDEX step, INDEX stride, INDEX length) {
    const INDEX cell = place / step / stride;
    return cell < length ? cell : length - 1;
}

struct alignas(D * sizeof(REAL) < 16 ? D * sizeof(REAL) : 16) Channels {
    REAL at[D];
};

// dx: every pixel asks the cells whose winner may have seen it. A block takes an image, a thread a pixel's D channels.
BLOCK_KERNEL image_gradient(IN w, IN dy, BYTES codes, REAL slope_at_zero, OUT dx) {
    __shared__ Channels kernel[K * I * J * (C / D)];
    __shared__ Winner winners[cells * K];
    const INDEX n = blockIdx.x;
    for (INDEX k = threadIdx.x; k < K * taps; k += threads) {
        const INDEX filter = k % K, c = k / K % C, j = turned(k / (K * C) % J, J), i = turned(k / (K * C * J), I);
        const INDEX to = ((filter * I + i) * J + j) * C + c;
        kernel[to / D].at[to % D] = w[k];
    }
    for (INDEX k = threadIdx.x; k < cells * K; k += threads)
        winners[k] = winner_of(dy, codes, slope_at_zero, n, k / K, k % K);
    __syncthreads();
    for (INDEX item = threadIdx.x; item < H * W * (C / D); item += threads) {
        const INDEX c = item % (C / D), column = item / (C / D) % W, row = item / (C / D * W);
        const INDEX h = row + top, v = column + left;
        Channels sum = {};
        const INDEX last_row = last_cell(h, s, pool_down, cell_rows), last_column = last_cell(v, t, pool_right, cell_columns);
        for (INDEX p = first_cell(h, d * (I - 1), s, pool_rows, pool_down); p <= last_row; p++) {
            for (INDEX q = first_cell(v, e * (J - 1), t, pool_columns, pool_right); q <= last_column; q++) {
                const Winner* of_cell = winners + (p * cell_columns + q) * K;
#pragma unroll 4
                for (INDEX k = 0; k < K; k++) {
                    const Winner won = of_cell[k];
                    const INDEX down = h - s * row_of(won), right = v - t * column_of(won), i = down / d, j = right / e;
                    if (down < 0 || right < 0 || i >= I || j >= J || down % d || right % e) continue;
                    const Channels weights = kernel[((k * I + i) * J + j) * (C / D) + c];
#pragma unroll
                    for (INDEX f = 0; f < D; f++) sum.at[f] += won.g * weights.at[f];
                }
            }
        }
        *(Channels*)(dx + ((n * H + row) * W + column) * C + c * D) = sum;
    }
}
