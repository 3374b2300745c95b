// The gradient of kernel and bias, through the pixel that won each cell: behind a max pool only that pixel has a gradient,
// so that of a window of 2 x 2 a quarter of the multiplications is left. single-filter, "Back fill_map()" and "fill_dw":
// the gradient goes to the recorded index, and from there to the filter. direct.cu stands before it, and the constant
// chunk, the cells of all filters that are in shared memory at once.

constexpr INDEX WARP = 32, warps = threads / WARP;
constexpr INDEX shares = K < warps ? warps / K : 1;           // warps that share the cells of a filter
constexpr INDEX filters = (K + warps - 1) / warps;            // filters of a warp
constexpr INDEX taps_of_lane = (taps + 1 + WARP - 1) / WARP;  // the last tap is the bias, which sees a 1
constexpr INDEX padded_rows = s * (P - 1) + d * (I - 1) + 1, padded_columns = t * (Q - 1) + e * (J - 1) + 1;

constexpr INDEX at_once = taps_of_lane < 4 ? 4 : 1;  // cells, whose reads of memory then overlap

// parts[g, tap, k] = the sum over part g of the images, `length` of them at most, and over cells, of g times what the
// winner sees at the tap; tap = (i J + j) C + c as kernels are stored, and I J C for the bias. A warp takes a filter, or
// several, its lanes the taps.
BLOCK_KERNEL kernel_gradient(IN x, IN dy, BYTES codes, REAL slope_at_zero, INDEX N, INDEX length, OUT parts) {
    __shared__ REAL image[padded_rows * padded_columns * C];
    __shared__ Winner winners[chunk * K];
    __shared__ int spoilt;  // whether a pixel is not finite: a product with all pixels would not be, either
    __shared__ REAL of_shares[shares > 1 ? shares * K * (taps + 1) : 1];
    const INDEX warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, share = warp / K;
    INDEX seen[taps_of_lane];
#pragma unroll
    for (INDEX m = 0; m < taps_of_lane; m++) {
        const INDEX tap = lane + WARP * m, c = tap % C, j = turned(tap / C % J, J), i = turned(tap / (C * J), I);
        seen[m] = tap < taps ? (d * i * padded_columns + e * j) * C + c : 0;
    }
    if (threadIdx.x == 0) spoilt = 0;
    REAL sums[filters][taps_of_lane] = {};
    const INDEX first = blockIdx.x * length, last = length < N - first ? first + length : N;
    for (INDEX n = first; n < last; n++) {
        for (INDEX from = 0; from < cells; from += chunk) {
            const INDEX count = chunk < cells - from ? chunk : cells - from;
            __syncthreads();
            if (from == 0 && !load_image<padded_rows, padded_columns, false>(x, n, 0, image)) spoilt = 1;
            for (INDEX k = threadIdx.x; k < count * K; k += threads) {
                Winner won = winner_of(dy, codes, slope_at_zero, n, from + k / K, k % K);
                won.at = (int)((s * row_of(won) * padded_columns + t * column_of(won)) * C);
                winners[k] = won;
            }
            __syncthreads();
#pragma unroll
            for (INDEX f = 0; f < filters; f++) {
                const INDEX k = shares > 1 ? warp % K : warp + f * warps;
                if (k >= K || share >= shares) continue;
#pragma unroll at_once
                for (INDEX cell = share; cell < count; cell += shares) {
                    const Winner won = winners[cell * K + k];
#pragma unroll
                    for (INDEX m = 0; m < taps_of_lane; m++) {
                        const REAL pixel = image[won.at + seen[m]];
                        sums[f][m] += won.g * (lane + WARP * m == taps ? (REAL)1 : pixel);
                    }
                }
            }
        }
    }
    const REAL nothing = spoilt ? sqrt((REAL)-1) : (REAL)0;
#pragma unroll
    for (INDEX f = 0; f < filters; f++) {
        const INDEX k = shares > 1 ? warp % K : warp + f * warps;
#pragma unroll
        for (INDEX m = 0; m < taps_of_lane; m++) {
            const INDEX tap = lane + WARP * m;
            if (tap < taps) sums[f][m] += nothing;
            if (k >= K || share >= shares || tap > taps) continue;
            if (shares > 1)
                of_shares[(share * K + k) * (taps + 1) + tap] = sums[f][m];
            else
                parts[(blockIdx.x * (taps + 1) + tap) * K + k] = sums[f][m];
        }
    }
    if (shares == 1) return;
    __syncthreads();
    for (INDEX k = threadIdx.x; k < K * (taps + 1); k += threads) {
        REAL sum = 0;
        for (INDEX one = 0; one < shares; one++) sum += of_shares[one * K * (taps + 1) + k];
        parts[(blockIdx.x * (taps + 1) + k % (taps + 1)) * K + k / (taps + 1)] = sum;
    }
}
