"""Activation functions and their gradients: each backward takes what its forward made, and dL/dy."""

from __future__ import annotations

import math
from typing import Any

from ..errors import check_shape
from ..namespace import array_namespace, clipped, real_arrays
from .normal import FAR, normal

Array = Any

CUBIC, CUBIC_SLOPE = 0.044715, math.sqrt(2 / math.pi)  # of the tanh form of GELU


def _both(dy: Array, seen: Array) -> tuple[Any, Array, Array]:
    """`real_arrays` of a gradient and of what its forward made. Raises ShapeError where their shapes differ."""
    array_namespace(dy, seen)
    check_shape("dy", dy, seen.shape)
    return real_arrays(dy, seen)


def relu(x: Array) -> Array:
    """R(x) = x where x >= 0, else 0; NaN stays NaN. Any shape.

    two-conv eq. (9), layered eq. (20), single-filter, "Feature Map = ReLU(Feature Map)".
    """
    xp, x = real_arrays(x)
    return xp.where(x <= 0, xp.zeros_like(x), x)


def relu_backward(x: Array, dy: Array, slope_at_zero: float = 0.5) -> Array:
    """dx = dy where x > 0, slope_at_zero * dy where x = 0, else 0, where x is NaN, too.

    two-conv eq. (10), layered eq. (21): 1/2 at 0; single-filter, "dc/dz^1" and "new_map_relu_prime".
    """
    xp, dy, x = _both(dy, x)
    slope = xp.astype(x > 0, dy.dtype)
    if slope_at_zero:
        slope = slope + slope_at_zero * xp.astype(x == 0, dy.dtype)
    return dy * slope


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), computed as (1 + tanh(x / 2)) / 2, which never overflows. Any shape.

    binary-sigmoid, "Sigmoid Function".
    """
    xp, x = real_arrays(x)
    return 0.5 * xp.tanh(0.5 * x) + 0.5


def sigmoid_backward(y: Array, dy: Array) -> Array:
    """dx = dy y (1 - y), from the output y. binary-sigmoid, "Sigmoid Derivative"."""
    _, dy, y = _both(dy, y)
    return dy * y * (1 - y)


def tanh(x: Array) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)). Any shape. One choice for avgpool-96's f."""
    xp, x = real_arrays(x)
    return xp.tanh(x)


def tanh_backward(y: Array, dy: Array) -> Array:
    """dx = dy (1 - y y), from the output y. avgpool-96, "delta_1": its "derivative of activation function"."""
    _, dy, y = _both(dy, y)
    return dy * (1 - y * y)


def leaky_relu(x: Array, slope: float = 0.01) -> Array:
    """x where x > 0, else slope times x. Any shape. Maas, Hannun and Ng, 2013."""
    return _both_sides(x, slope)


def leaky_relu_backward(x: Array, dy: Array, slope: float = 0.01) -> Array:
    """dx = dy where x > 0, else slope dy: at 0 as in PyTorch. `leaky_relu`."""
    _, dy, x = _both(dy, x)
    positive = _is_positive(x, dy.dtype)
    return dy * (positive + slope * (1 - positive))


def prelu(x: Array, slope: Array) -> Array:
    """x where x > 0, else a x, where a is learnt. x of any shape, slope an array that broadcasts against it.

    He, Zhang, Ren and Sun, 2015.
    """
    return _both_sides(x, slope)


def prelu_backward(x: Array, dy: Array, slope: Array) -> tuple[Array, Array]:
    """dx = dy where x > 0, else a dy; da = the sum of dy x where x <= 0, here the terms of it, in the shape of x.

    He, Zhang, Ren and Sun, 2015, "(2)" and "(3)"; at 0 as in PyTorch.
    """
    xp, dy, x = _both(dy, x)
    positive = _is_positive(x, dy.dtype)
    return dy * (positive + slope * (1 - positive)), dy * xp.minimum(x, xp.zeros_like(x))


def _both_sides(x: Array, slope: Any) -> Array:
    """x where x > 0, else slope x: a choice number by number costs more, for no processor can foretell it."""
    xp, x = real_arrays(x)
    zeros = xp.zeros_like(x)  # not `clip`, which asks CuPy's arrays for values on the host
    return xp.maximum(x, zeros) + slope * xp.minimum(x, zeros)


def _is_positive(x: Array, dtype: Any) -> Array:
    """1 where x > 0, else 0, where x is NaN, too."""
    return array_namespace(x).astype(x > 0, dtype)


def elu(x: Array, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha (exp(x) - 1). Any shape. Clevert, Unterthiner and Hochreiter, 2016."""
    xp, x = real_arrays(x)
    return clipped(x, 0.0, None) + alpha * xp.expm1(clipped(x, None, 0.0))


def elu_backward(x: Array, dy: Array, alpha: float = 1.0) -> Array:
    """dx = dy where x > 0, else alpha exp(x) dy: at 0 alpha, as in PyTorch. `elu`."""
    xp, dy, x = _both(dy, x)
    positive = _is_positive(x, dy.dtype)
    return dy * (positive + (1 - positive) * (alpha * xp.exp(clipped(x, None, 0.0))))


def gelu(x: Array) -> Array:
    """x P(X <= x) for a standard normal X. Any shape. Hendrycks and Gimpel, 2016."""
    _, x = real_arrays(x)
    return x * normal(x)[0]


def gelu_backward(x: Array, dy: Array) -> Array:
    """dx = dy (P(X <= x) + x p(x)), p the density. `gelu`."""
    _, dy, x = _both(dy, x)
    below, density = normal(x)
    return dy * (below + clipped(x, -FAR, FAR) * density)


def gelu_tanh(x: Array) -> Array:
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, close to `gelu`. Any shape. Hendrycks and Gimpel, 2016."""
    _, x = real_arrays(x)
    return x * (0.5 * _tanh_of_cubic(x)[0] + 0.5)


def gelu_tanh_backward(x: Array, dy: Array) -> Array:
    """dx = dy ((1 + t) / 2 + x (1 - t^2) u' / 2), t = tanh(u), u' = sqrt(2 / pi) (1 + 3 0.044715 x^2). `gelu_tanh`."""
    _, dy, x = _both(dy, x)
    t, near, squared = _tanh_of_cubic(x)
    du = CUBIC_SLOPE * (1 + 3 * CUBIC * squared)
    return dy * (0.5 * t + 0.5 + 0.5 * near * (1 - t * t) * du)


def _tanh_of_cubic(x: Array) -> tuple[Array, Array, Array]:
    """t, and x and its square, of an x in a range where t is 1 or -1 at the ends: nothing overflows."""
    xp = array_namespace(x)
    near = clipped(x, -FAR, FAR)
    squared = near * near
    return xp.tanh(CUBIC_SLOPE * near * (1 + CUBIC * squared)), near, squared


def silu(x: Array) -> Array:
    """x sigmoid(x). Any shape. Elfwing, Uchibe and Doya, 2018; "swish" of Ramachandran, Zoph and Le, 2017."""
    _, x = real_arrays(x)
    return x * sigmoid(x)


def silu_backward(x: Array, dy: Array) -> Array:
    """dx = dy s (1 + x (1 - s)), s = sigmoid(x). `silu`."""
    _, dy, x = _both(dy, x)
    s = sigmoid(x)
    return dy * (s * (1 + x * (1 - s)))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), which never overflows. Any shape.

    Dugas, Bengio, Belisle, Nadeau and Garcia, 2001.
    """
    xp, x = real_arrays(x)
    return clipped(x, 0.0, None) + xp.log1p(xp.exp(-xp.abs(x)))


def softplus_backward(x: Array, dy: Array) -> Array:
    """dx = dy sigmoid(x). `softplus`."""
    _, dy, x = _both(dy, x)
    return dy * sigmoid(x)


def hardswish(x: Array) -> Array:
    """x min(max(x + 3, 0), 6) / 6. Any shape. Howard et al., 2019."""
    _, x = real_arrays(x)
    return x * (clipped(x + 3, 0.0, 6.0) * (1 / 6))


def hardswish_backward(x: Array, dy: Array) -> Array:
    """dx = 0 where x <= -3, dy where x >= 3, else dy (x / 3 + 1 / 2): at the kinks as in PyTorch. `hardswish`."""
    xp, dy, x = _both(dy, x)
    inner, above = xp.astype((x > -3) & (x < 3), dy.dtype), xp.astype(x >= 3, dy.dtype)
    return dy * ((clipped(x, -3.0, 3.0) * (1 / 3) + 0.5) * inner + above)


def softmax(z: Array) -> Array:
    """S_i = exp(z_i) / sum over k of exp(z_k), over the last axis; the largest z is subtracted first, for range.

    z (..., K) -> (..., K). two-conv eq. (11), layered eq. (22); single-filter, "L_3"; avgpool-96, "a_2".
    """
    xp, z = real_arrays(z)
    e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def softmax_backward(s: Array, ds: Array) -> Array:
    """dz_j = S_j (g_j - sum over i of g_i S_i): the whole Jacobian S_i (delta_ij - S_j), contracted with g = dL/dS.

    s, ds (..., K) -> (..., K). two-conv eq. (12); layered eq. (23), whose backward form lacks the sum.
    """
    xp, s, ds = real_arrays(s, ds)
    check_shape("ds", ds, s.shape)
    return s * (ds - xp.sum(ds * s, axis=-1, keepdims=True))
