// What a training step does around its layers: batch, loss, flat gradient, optimisers. common.cu and layers.cu stand before.

// out[k, ...] = images[order[k], ...] * scale + shift; without an order (has_order 0) the images as they stand.
KERNEL pixels(INDEX count, BYTES images, INTEGERS order, INDEX has_order, INDEX per_image, REAL scale, REAL shift,
              OUT out) {
    THREAD_OR_RETURN(i, count);
    INDEX from = i;
    if (has_order) from = (INDEX)order[i / per_image] * per_image + i % per_image;
    out[i] = (REAL)images[from] * scale + shift;
}

// `pixels` of order, each image moved by up to `most` pixels both ways and, with `flip`, mirrored in half of all cases.
// augmentation.py says how; examples: what the images are numbered by; numbers[3] is the update's number.
KERNEL augmented_pixels(INDEX count, BYTES images, INTEGERS order, INTEGERS examples, INDEX H, INDEX W, INDEX C,
                        INDEX most, INDEX flip, long long key, NUMBERS numbers, REAL scale, REAL shift, OUT out) {
    THREAD_OR_RETURN(i, count);
    const INDEX k = i / (H * W * C), h = i / (W * C) % H, w = i / C % W;
    const unsigned int update = mixed(mixed((unsigned int)key) ^ (unsigned int)(long long)numbers[3]);
    const unsigned int image = mixed(update ^ (unsigned int)examples[k]);
    const INDEX row = h - (below(2 * most + 1, mixed(image ^ 1u)) - most);
    INDEX column = w - (below(2 * most + 1, mixed(image ^ 2u)) - most);
    if (flip && mixed(image ^ 3u) >> 31) column = W - 1 - column;
    const bool inside = row >= 0 && row < H && column >= 0 && column < W;
    const INDEX from = (((INDEX)order[k] * H + row) * W + column) * C + i % C;
    out[i] = (inside ? (REAL)images[from] : (REAL)0) * scale + shift;
}

// out[k] = labels[order[k]]
KERNEL take_labels(INDEX count, INTEGERS labels, INTEGERS order, long long* __restrict__ out) {
    THREAD_OR_RETURN(i, count);
    out[i] = labels[order[i]];
}

#define WARP 32

// The sum over a warp's threads, the same bits for each of them.
__device__ inline REAL sum_of_warp(REAL value) {
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xFFFFFFFF, value, lanes);
    return value;
}

#define ROW_OF_WARP(n, N)                                                            \
    const INDEX n = (INDEX)blockIdx.x * (threads / WARP) + threadIdx.x / WARP;       \
    if (n >= (N)) return

// One row of logits per warp: its loss, and the gradient softmax(z) - y. A label outside 0 .. K - 1 is no class.
BLOCK_KERNEL softmax_cross_entropy(IN z, INTEGERS labels, INDEX N, INDEX K, OUT losses, OUT dz) {
    ROW_OF_WARP(n, N);
    const REAL* row = z + n * K;
    const INDEX lane = threadIdx.x % WARP;
    REAL most = row[0], largest = 0, others = 0, at_label = 0;
    for (INDEX k = lane; k < K; k += WARP) most = row[k] > most || row[k] != row[k] ? row[k] : most;
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2) {
        const REAL other = __shfl_xor_sync(0xFFFFFFFF, most, lanes);
        most = other > most || other != other ? other : most;
    }
    for (INDEX k = lane; k < K; k += WARP) {
        const REAL e = exp(row[k] - most);
        dz[n * K + k] = e;
        (row[k] < most ? others : largest) += e;
        if (k == labels[n]) at_label = row[k] - most;  // a class that is ruled out is at -inf
    }
    largest = sum_of_warp(largest);  // 1 each, or NaN
    others = sum_of_warp(others);
    at_label = sum_of_warp(at_label);
    const REAL total = largest + others;
    if (lane == 0) losses[n] = log1p(largest - 1 + others) - at_label;  // exact where the loss is small, too
    for (INDEX k = lane; k < K; k += WARP) dz[n * K + k] = dz[n * K + k] / total - (REAL)(k == labels[n]);
}

// What row n of targets says of class k: a row of y or, where has_labels, 1 for the label; then a part `smoothing` of it
// is shared among all classes, and it counts by the class's weight. Nothing, where the label is the ignored one.
__device__ inline REAL target(IN y, INTEGERS labels, INDEX has_labels, IN weights, INDEX has_weights, REAL smoothing,
                              long long ignored, INDEX has_ignored, INDEX n, INDEX k, INDEX K) {
    if (has_labels && has_ignored && labels[n] == ignored) return 0;
    const REAL given = has_labels ? (REAL)(k == labels[n]) : y[n * K + k];
    const REAL shared = smoothing > 0 ? (1 - smoothing) * given + smoothing / K : given;
    return has_weights ? shared * weights[k] : shared;
}

#define TARGET(k) target(y, labels, has_labels, weights, has_weights, smoothing, ignored, has_ignored, n, k, K)

// softmax_cross_entropy of rows of targets with any sum s: s log(sum of exp z) - sum of y z, and s softmax(z) - y.
BLOCK_KERNEL weighted_cross_entropy(IN z, IN y, INTEGERS labels, INDEX has_labels, IN weights, INDEX has_weights,
                                    REAL smoothing, long long ignored, INDEX has_ignored, INDEX N, INDEX K, OUT losses,
                                    OUT dz) {
    ROW_OF_WARP(n, N);
    const REAL* row = z + n * K;
    const INDEX lane = threadIdx.x % WARP;
    REAL most = row[0], largest = 0, others = 0, at_targets = 0, sum = 0;
    for (INDEX k = lane; k < K; k += WARP) {
        most = row[k] > most || row[k] != row[k] ? row[k] : most;
        sum += TARGET(k);
    }
    sum = sum_of_warp(sum);
    if (!(sum > 0)) {  // it does not count, whatever its logits are
        if (lane == 0) losses[n] = 0;
        for (INDEX k = lane; k < K; k += WARP) dz[n * K + k] = 0;
        return;
    }
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2) {
        const REAL other = __shfl_xor_sync(0xFFFFFFFF, most, lanes);
        most = other > most || other != other ? other : most;
    }
    for (INDEX k = lane; k < K; k += WARP) {
        const REAL e = exp(row[k] - most), here = TARGET(k);
        dz[n * K + k] = e;
        (row[k] < most ? others : largest) += e;
        if (here != 0) at_targets += here * (row[k] - most);  // a class that is ruled out is at -inf
    }
    largest = sum_of_warp(largest);
    others = sum_of_warp(others);
    at_targets = sum_of_warp(at_targets);
    if (lane == 0) losses[n] = sum * log1p(largest - 1 + others) - at_targets;
    const REAL scale = sum / (largest + others);
    for (INDEX k = lane; k < K; k += WARP) dz[n * K + k] = dz[n * K + k] * scale - TARGET(k);
}

// The mean over K of max(z, 0) - z y + log(1 + exp(-|z|)), with y 0 or 1, and (sigmoid(z) - y) / K.
BLOCK_KERNEL sigmoid_cross_entropy(IN z, INTEGERS labels, INDEX N, INDEX K, OUT losses, OUT dz) {
    ROW_OF_WARP(n, N);
    const INDEX lane = threadIdx.x % WARP;
    REAL sum = 0;
    for (INDEX k = lane; k < K; k += WARP) {
        const REAL v = z[n * K + k], y = (REAL)(k == labels[n]);
        const REAL wrong = y == 1 ? -v : v;  // infinite ones cost nothing on the right side
        sum += (wrong < 0 ? (REAL)0 : wrong) + log1p(exp(-fabs(v)));
        dz[n * K + k] = ((REAL)0.5 * tanh((REAL)0.5 * v) + (REAL)0.5 - y) / K;
    }
    sum = sum_of_warp(sum);
    if (lane == 0) losses[n] = sum / K;
}

// What optimisers need of lr and of step: lr, 1 / sqrt(1 - beta2^step), lr / (1 - beta1^step), step.
__device__ inline void write_numbers(double lr, double step, double beta1, double beta2, double* numbers) {
    numbers[0] = lr;
    numbers[1] = 1 / sqrt(1 - pow(beta2, step));
    numbers[2] = lr / (1 - pow(beta1, step));
    numbers[3] = step;
}

// Before each step: what changes from one to the next, to where a recorded step reads it. One launch for both.
KERNEL prepare(INDEX count, INTEGERS batch, long long* __restrict__ order, double lr, double step, double beta1,
               double beta2, double* __restrict__ numbers) {
    THREAD_OR_RETURN(i, count);
    order[i] = batch[i];
    if (i == 0) write_numbers(lr, step, beta1, beta2, numbers);
}

// The same before ten steps, the first of which is number `step`; numbers (10, 4). There are at least ten threads.
KERNEL prepare_ten(INDEX count, INTEGERS batches, long long* __restrict__ order, double step, double beta1,
                   double beta2, double lr0, double lr1, double lr2, double lr3, double lr4, double lr5, double lr6,
                   double lr7, double lr8, double lr9, double* __restrict__ numbers) {
    THREAD_OR_RETURN(i, count);
    order[i] = batches[i];
    if (i >= 10) return;
    const double first = i < 1 ? lr0 : i < 2 ? lr1 : i < 3 ? lr2 : i < 4 ? lr3 : lr4;
    const double last = i < 6 ? lr5 : i < 7 ? lr6 : i < 8 ? lr7 : i < 9 ? lr8 : lr9;
    write_numbers(i < 5 ? first : last, step + i, beta1, beta2, numbers + 4 * i);
}

// The same for a rule with other betas, at `rate` times the learning rate.
KERNEL numbers_of_rule(INDEX count, NUMBERS given, double rate, double beta1, double beta2,
                       double* __restrict__ numbers) {
    THREAD_OR_RETURN(i, count);
    write_numbers(rate * given[0], given[3], beta1, beta2, numbers);
}

// Eight gradients to their places in the flat vector g: numbers ends[k - 1] .. ends[k] - 1 of all go where part k begins.
KERNEL pack(INDEX count, OUT g, IN a0, INDEX s0, INDEX e0, IN a1, INDEX s1, INDEX e1, IN a2, INDEX s2, INDEX e2, IN a3,
            INDEX s3, INDEX e3, IN a4, INDEX s4, INDEX e4, IN a5, INDEX s5, INDEX e5, IN a6, INDEX s6, INDEX e6, IN a7,
            INDEX s7) {
    THREAD_OR_RETURN(i, count);
    if (i < e0) g[s0 + i] = a0[i];
    else if (i < e1) g[s1 + i - e0] = a1[i - e0];
    else if (i < e2) g[s2 + i - e1] = a2[i - e1];
    else if (i < e3) g[s3 + i - e2] = a3[i - e2];
    else if (i < e4) g[s4 + i - e3] = a4[i - e3];
    else if (i < e5) g[s5 + i - e4] = a5[i - e4];
    else if (i < e6) g[s6 + i - e5] = a6[i - e5];
    else g[s7 + i - e6] = a7[i - e6];
}

// theta -= lr step, with g the sum over examples and `mean` one over their number.
KERNEL sgd(INDEX count, OUT theta, IN g, REAL mean, REAL weight_decay, NUMBERS numbers) {
    THREAD_OR_RETURN(i, count);
    theta[i] -= (REAL)numbers[0] * (g[i] * mean + weight_decay * theta[i]);
}

KERNEL momentum(INDEX count, OUT theta, IN g, OUT velocity, REAL mean, REAL weight_decay, REAL m, INDEX nesterov,
                NUMBERS numbers) {
    THREAD_OR_RETURN(i, count);
    const REAL gradient = g[i] * mean + weight_decay * theta[i];
    const REAL v = m * velocity[i] + gradient;
    velocity[i] = v;
    theta[i] -= (REAL)numbers[0] * (nesterov ? gradient + m * v : v);
}

KERNEL adam(INDEX count, OUT theta, IN g, OUT first, OUT second, REAL mean, REAL weight_decay, INDEX decoupled,
            REAL beta1, REAL rest1, REAL beta2, REAL rest2, REAL epsilon, NUMBERS numbers) {
    THREAD_OR_RETURN(i, count);
    REAL value = theta[i], gradient = g[i] * mean;
    if (decoupled)
        value *= (REAL)(1 - numbers[0] * weight_decay);
    else
        gradient += weight_decay * value;
    const REAL m = beta1 * first[i] + rest1 * gradient;
    const REAL v = beta2 * second[i] + gradient * gradient * rest2;
    first[i] = m;
    second[i] = v;
    theta[i] = value - (REAL)numbers[2] * m / (sqrt(v) * (REAL)numbers[1] + epsilon);
}

// velocity only with momentum, first only where centered: elsewhere they are theta, so nothing is promised of aliases.
KERNEL rmsprop(INDEX count, REAL* theta, IN g, OUT second, REAL* first, REAL* velocity, REAL mean, REAL weight_decay,
               REAL alpha, REAL rest, REAL epsilon, INDEX centered, REAL momentum, NUMBERS numbers) {
    THREAD_OR_RETURN(i, count);
    const REAL value = theta[i], gradient = g[i] * mean + weight_decay * value;
    REAL s = alpha * second[i] + gradient * gradient * rest;
    second[i] = s;
    if (centered) {
        const REAL m = first[i] + rest * (gradient - first[i]);
        first[i] = m;
        s -= m * m;
        s = s < 0 ? (REAL)0 : s;
    }
    REAL step = gradient / (sqrt(s) + epsilon);
    if (momentum != 0) {
        step += momentum * velocity[i];
        velocity[i] = step;
    }
    theta[i] = value - (REAL)numbers[0] * step;
}

KERNEL lion(INDEX count, OUT theta, IN g, OUT first, REAL mean, REAL weight_decay, REAL beta1, REAL rest1, REAL beta2,
            REAL rest2, NUMBERS numbers) {
    THREAD_OR_RETURN(i, count);
    const REAL gradient = g[i] * mean, m = first[i], along = beta1 * m + rest1 * gradient;
    const REAL sign = along > 0 ? (REAL)1 : along < 0 ? (REAL)-1 : along;
    theta[i] = theta[i] * (REAL)(1 - numbers[0] * weight_decay) - (REAL)numbers[0] * sign;
    first[i] = beta2 * m + rest2 * gradient;
}
