"""Activation functions and their gradients: each backward takes what its forward made, and dL/dy."""

from __future__ import annotations

from typing import Any

from ..namespace import real_arrays

Array = Any


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
    xp, dy, x = real_arrays(dy, x)
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
    _, dy, y = real_arrays(dy, y)
    return dy * y * (1 - y)


def tanh(x: Array) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)). Any shape. One choice for avgpool-96's f."""
    xp, x = real_arrays(x)
    return xp.tanh(x)


def tanh_backward(y: Array, dy: Array) -> Array:
    """dx = dy (1 - y y), from the output y. avgpool-96, "delta_1": its "derivative of activation function"."""
    _, dy, y = real_arrays(dy, y)
    return dy * (1 - y * y)


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
    return s * (ds - xp.sum(ds * s, axis=-1, keepdims=True))
