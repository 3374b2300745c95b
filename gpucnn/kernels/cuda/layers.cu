// The layers' kernels that need no windows: biases, activations. common.cu stands before them.

// y[i] += b[i mod size]: tied, untied and dense biases alike.
KERNEL add_bias(INDEX count, OUT y, IN b, INDEX size) {
    THREAD_OR_RETURN(i, count);
    y[i] += b[i % size];
}

// out[g, k] = sum of x[r, k] over the rows r of part g, `length` of them at most.
KERNEL sum_rows(INDEX count, IN x, INDEX rows, INDEX K, INDEX length, OUT out) {
    THREAD_OR_RETURN(i, count);
    const INDEX k = i % K, first = i / K * length;
    const INDEX last = length < rows - first ? first + length : rows;  // in this order nothing overflows
    REAL sum = 0;
    for (INDEX r = first; r < last; r++) sum += x[r * K + k];
    out[i] = sum;
}

// The same of dy times the slope that the pool wrote down.
KERNEL sum_rows_pooled(INDEX count, IN dy, BYTES codes, REAL slope_at_zero, INDEX rows, INDEX K, INDEX length,
                       OUT out) {
    THREAD_OR_RETURN(i, count);
    const INDEX k = i % K, first = i / K * length;
    const INDEX last = length < rows - first ? first + length : rows;  // in this order nothing overflows
    REAL sum = 0;
    for (INDEX r = first; r < last; r++) sum += dy[r * K + k] * slope_of(codes[r * K + k], slope_at_zero);
    out[i] = sum;
}

KERNEL relu(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = x[i] <= 0 ? (REAL)0 : x[i];  // NaN stays NaN
}

KERNEL relu_backward(INDEX count, IN x, IN dy, REAL slope_at_zero, OUT dx) {
    THREAD_OR_RETURN(i, count);
    dx[i] = dy[i] * relu_slope(x[i], slope_at_zero);
}

KERNEL sigmoid(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = (REAL)0.5 * tanh((REAL)0.5 * x[i]) + (REAL)0.5;
}

KERNEL sigmoid_backward(INDEX count, IN y, IN dy, OUT dx) {
    THREAD_OR_RETURN(i, count);
    dx[i] = dy[i] * y[i] * (1 - y[i]);
}

KERNEL hyperbolic_tangent(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = tanh(x[i]);
}

KERNEL tanh_backward(INDEX count, IN y, IN dy, OUT dx) {
    THREAD_OR_RETURN(i, count);
    dx[i] = dy[i] * (1 - y[i] * y[i]);
}

