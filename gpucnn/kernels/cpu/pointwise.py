"""Biases, activations, the two behind a max pool, and a loss: passes over memory, as few as NumPy allows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ...ops.window import Window
from ..memory import CACHED, empty, ones, parts
from . import pooling
from .layout import real
from .rows import Image, whole

Array = np.ndarray


def add_bias(y: Array, b: Array) -> tuple[Array, int]:
    """Adds in place: whoever calls has just made y, and keeps no other use of it."""
    y = real(y, b)
    if y.ndim == 4:
        y += b[:, None, None] if b.ndim == 1 else b.transpose(0, 2, 1)[..., None]
    else:
        y += b
    return y, b.ndim


def add_bias_backward(bias_ndim: int, dy: Array) -> Array:
    """Sums as products with ones: several times faster."""
    if dy.ndim == 2:
        return ones(len(dy), dy.dtype).dot(dy)
    if bias_ndim == 3:
        return dy.sum(axis=3).transpose(0, 2, 1)
    K, L = dy.shape[-3], dy.shape[-2] * dy.shape[-1]
    of_rows = np.matmul(dy.reshape(math.prod(dy.shape[:-3]), K, L), ones(L, dy.dtype))
    return ones(len(of_rows), dy.dtype).dot(of_rows)


def add(a: Array, b: Array) -> Array:
    a, b = real(a, b), real(b, a)
    return np.add(a, b, out=like(a)) if a.shape == b.shape and a.dtype == b.dtype else a + b


def relu(x: Array, slope_at_zero: float) -> tuple[Array, Any]:
    x = real(x)
    return _positive_part(x), (x, slope_at_zero)


def relu_backward(residual: Any, dy: Array) -> Array:
    x, slope_at_zero = residual
    dx = np.multiply(dy, x > 0, out=like(x, dy.dtype))
    zeros = _where_zero(x) if slope_at_zero else None  # a look costs less than two more passes
    if zeros is not None:
        dx += slope_at_zero * dy * zeros
    return dx


def bias_relu(y: Array, b: Array, slope_at_zero: float, *, backward: bool = True) -> tuple[Array, Any]:
    """Add b (K,) to y and apply ReLU, both in place, to parts that stay in the cache. The caller has just made y.

    backward: whether `bias_relu_backward` may be called.
    """
    y, at_zero = real(y, b), None
    for of_y, zeros, biases, here in _with_biases(y, b):
        of_y += biases
        if backward and slope_at_zero:
            found = _where_zero(of_y)
            if found is not None:
                at_zero = np.zeros(y.shape, np.bool_) if at_zero is None else at_zero
                at_zero[here] = found.reshape(at_zero[here].shape)
        np.maximum(of_y, zeros, out=of_y)
    return y, (y, at_zero, slope_at_zero)


def _with_biases(y: Array, b: Array) -> Iterator[tuple[Array, Array, Array, Any]]:
    """Parts of y, zeros and biases that fit them, and which parts they are. Arrays of one shape take half the time."""
    if y.ndim != 4 or not y.flags.c_contiguous:
        yield y, _zeros_as(y), b if y.ndim == 2 else b[:, None, None], ...
        return
    rows = y.reshape(y.shape[0], y.shape[1], y.shape[2] * y.shape[3])
    biases = empty(rows.shape[1:], y.dtype)
    biases[...] = b[:, None]
    for some in parts(len(rows), biases.nbytes, CACHED // 4):
        yield rows[some], _zeros(biases.shape, y.dtype), biases, some


def bias_relu_backward(residual: Any, dy: Array) -> tuple[Array, Array]:
    y, at_zero, slope_at_zero = residual
    dx = np.multiply(dy, y > 0, out=like(y, dy.dtype))
    if at_zero is not None:
        dx += slope_at_zero * dy * at_zero
    return dx, add_bias_backward(1, dx)


def sigmoid(x: Array) -> tuple[Array, Array]:
    x = real(x)
    y = np.multiply(x, x.dtype.type(0.5), out=like(x))
    np.tanh(y, out=y)
    y *= 0.5
    y += 0.5
    return y, y


def sigmoid_backward(y: Array, dy: Array) -> Array:
    dx = np.subtract(y.dtype.type(1), y, out=like(y))
    dx *= y
    dx *= dy
    return dx


def tanh(x: Array) -> tuple[Array, Array]:
    x = real(x)
    y = np.tanh(x, out=like(x))
    return y, y


def tanh_backward(y: Array, dy: Array) -> Array:
    dx = np.multiply(y, y, out=like(y))
    np.subtract(y.dtype.type(1), dx, out=dx)
    dx *= dy
    return dx


def bias_relu_max_pool(
    x: Image, b: Array, slope_at_zero: float, window: Window, ties: str, *, backward: bool = True
) -> tuple[Array, Any]:
    """b is tied, (K,). Pool first: max commutes with bias and ReLU, and leaves fewer elements to them."""
    pooled, for_pool = pooling.largest(x, window, ties, backward)
    y = np.add(pooled, b[:, None, None], out=pooled if ties == "first" else None)
    at_zero = _where_zero(y) if backward and slope_at_zero else None
    _positive_part(y, y)
    return y, (for_pool, y, at_zero, slope_at_zero, ties)


def bias_relu_max_pool_backward(residual: Any, dy: Array) -> tuple[Image, Array]:
    for_pool, y, at_zero, slope_at_zero, ties = residual
    d_pooled = np.multiply(dy, y > 0, out=like(y, dy.dtype))
    if at_zero is not None:
        # After ReLU such a window is all zeros: its first pixel wins, and has a slope only if it was 0 before too.
        if ties == "first":
            at_zero = at_zero & pooling.first_pixel_won(for_pool)
        d_pooled += slope_at_zero * dy * at_zero
    dx = pooling.max_pool_backward(for_pool, d_pooled)
    return dx, add_bias_backward(1, d_pooled if ties == "first" else whole(dx))


def _where_zero(x: Array) -> Array | None:
    """Where x is 0; None: nowhere, as is usual."""
    zeros = x == 0
    return zeros if np.count_nonzero(zeros) else None


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """`ops.softmax_cross_entropy` of labels (N,): where y is 1 is looked up, instead of summed over."""
    count, logits = len(labels), real(logits)
    of_label = np.multiply(labels, count, dtype=np.intp) + np.arange(count)
    x = np.subtract(logits.T, np.maximum.reduce(logits, axis=1), order="C")
    flat = x.reshape(-1)
    losses = -flat[of_label]
    np.exp(x, out=x)
    total = ones(len(x), x.dtype).dot(x)
    losses += np.log(total)
    x /= total
    flat[of_label] -= 1
    return losses, x.T


def like(x: Array, dtype: Any = None) -> Array:
    """An empty array of the shape and memory order of x."""
    dtype = dtype or x.dtype
    return empty(x.shape[::-1], dtype).T if x.ndim == 2 and x.flags.f_contiguous else empty(x.shape, dtype)


def _positive_part(x: Array, out: Array | None = None) -> Array:
    return np.maximum(x, _zeros_as(x), out=like(x) if out is None else out)


def _zeros_as(x: Array) -> Array:
    """Zeros that broadcast against x, to be read only: maximum with a number is 2.5 times slower."""
    if x.ndim == 4:
        return _zeros(x.shape[-2:], x.dtype)
    return np.zeros(x.shape[::-1], x.dtype).T if x.flags.f_contiguous else np.zeros(x.shape, x.dtype)


@lru_cache(maxsize=256)
def _zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    return np.zeros(shape, dtype)
