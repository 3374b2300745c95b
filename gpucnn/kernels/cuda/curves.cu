// Activations other than ReLU, sigmoid and tanh: ops/activation.py has their equations. common.cu stands before them.

constexpr REAL far = 40;  // where a normal density is 0, and tanh of the cubic 1

__device__ inline REAL between(REAL low, REAL x, REAL high) { return x < low ? low : x > high ? high : x; }

__device__ inline REAL sigmoid_of(REAL x) { return (REAL)0.5 * tanh((REAL)0.5 * x) + (REAL)0.5; }

// P(X <= x) for a standard normal X.
__device__ inline REAL normal(REAL x) { return (REAL)0.5 * erfc((REAL)-0.70710678118654752 * between(-far, x, far)); }

// t of gelu_tanh, of an x between -far and far.
__device__ inline REAL tanh_of_cubic(REAL x) {
    return tanh((REAL)0.79788456080286536 * x * (1 + (REAL)0.044715 * x * x));
}

KERNEL leaky_relu(INDEX count, IN x, REAL slope, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = x[i] > 0 ? x[i] : slope * x[i];
}

KERNEL leaky_relu_backward(INDEX count, IN x, IN dy, REAL slope, OUT dx) {
    THREAD_OR_RETURN(i, count);
    dx[i] = x[i] > 0 ? dy[i] : slope * dy[i];
}

KERNEL elu(INDEX count, IN x, REAL alpha, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = x[i] > 0 ? x[i] : alpha * expm1(x[i]);
}

KERNEL elu_backward(INDEX count, IN x, IN dy, REAL alpha, OUT dx) {
    THREAD_OR_RETURN(i, count);
    dx[i] = x[i] > 0 ? dy[i] : dy[i] * (alpha * exp(x[i]));
}

KERNEL gelu(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = x[i] * normal(x[i]);
}

KERNEL gelu_backward(INDEX count, IN x, IN dy, OUT dx) {
    THREAD_OR_RETURN(i, count);
    const REAL v = between(-far, x[i], far);
    dx[i] = dy[i] * (normal(v) + v * ((REAL)0.39894228040143268 * exp((REAL)-0.5 * v * v)));
}

KERNEL gelu_tanh(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = x[i] * ((REAL)0.5 * tanh_of_cubic(between(-far, x[i], far)) + (REAL)0.5);
}

KERNEL gelu_tanh_backward(INDEX count, IN x, IN dy, OUT dx) {
    THREAD_OR_RETURN(i, count);
    const REAL v = between(-far, x[i], far), t = tanh_of_cubic(v);
    const REAL du = (REAL)0.79788456080286536 * (1 + 3 * (REAL)0.044715 * v * v);
    dx[i] = dy[i] * ((REAL)0.5 * t + (REAL)0.5 + (REAL)0.5 * v * (1 - t * t) * du);
}

KERNEL silu(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = x[i] * sigmoid_of(x[i]);
}

KERNEL silu_backward(INDEX count, IN x, IN dy, OUT dx) {
    THREAD_OR_RETURN(i, count);
    const REAL s = sigmoid_of(x[i]);
    dx[i] = dy[i] * (s * (1 + x[i] * (1 - s)));
}

KERNEL softplus(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = (x[i] < 0 ? (REAL)0 : x[i]) + log1p(exp(-fabs(x[i])));  // NaN stays NaN
}

KERNEL softplus_backward(INDEX count, IN x, IN dy, OUT dx) {
    THREAD_OR_RETURN(i, count);
    dx[i] = dy[i] * sigmoid_of(x[i]);
}

KERNEL hardswish(INDEX count, IN x, OUT y) {
    THREAD_OR_RETURN(i, count);
    y[i] = x[i] * (between(0, x[i] + 3, 6) * (REAL)(1.0 / 6));
}

KERNEL hardswish_backward(INDEX count, IN x, IN dy, OUT dx) {
    THREAD_OR_RETURN(i, count);
    const REAL slope = x[i] <= -3 ? (REAL)0 : x[i] >= 3 ? (REAL)1 : x[i] * (REAL)(1.0 / 3) + (REAL)0.5;
    dx[i] = dy[i] * slope;
}
