"""The NumPy table: the reference equations on images stored (H, C, W, N), the batch innermost.

In this layout a convolution copies J shifted images instead of I J patches, its matrix products need no transposes, and
all other work runs over long contiguous rows. A 2-D array is (N, features) in shape and feature-major in memory, so
that flatten only exchanges C and W.
Axes: N batch, H W image, I J kernel, P Q output, C K channels in and out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ... import ops
from ...losses import SoftmaxCrossEntropy
from ...ops.window import Window
from .. import Kernels, Pair, reference
from ..memory import empty, ones
from . import correlation as cpu_correlation
from . import pooling as cpu_pooling
from . import winograd, winograd_tiles
from .columns import SMALL_PRODUCT
from .rows import LARGE, LARGE_ONCE, Rows, whole

Array = np.ndarray

CHANNELS = 4  # in and out, from which on Winograd's sums cost less than the products they save
CHANNELS_TILES = 16  # in and out, from which on tiles of rows and columns cost less than tiles of rows
NEVER = 1 << 62


def enter(x: Array) -> Array:
    """(N, H, W, C) -> (H, C, W, N). Arrays of two axes become feature-major."""
    return np.ascontiguousarray(x.transpose(1, 3, 2, 0)) if x.ndim == 4 else np.asfortranarray(x)


def leave(x: Array) -> Array:
    """(H, C, W, N) -> (N, H, W, C). Arrays of two axes stay what they are."""
    return np.ascontiguousarray(x.transpose(3, 0, 2, 1)) if x.ndim == 4 else x


def pixels(images: Array, dtype: Any, scale: float, shift: float) -> Array:
    """uint8 (N, H, W, C) -> images of dtype: bytes are moved, and become numbers where they stay."""
    stored = enter(images)
    x = empty(stored.shape, dtype)
    x[...] = stored
    x *= x.dtype.type(scale)
    if shift:
        x += x.dtype.type(shift)
    return x


def image_shape(x: Array) -> tuple[int, int, int]:
    *parities, H, C, width, _ = x.shape
    return H, width * math.prod(parities), C


def matmul(a: Array, b: Array) -> Array:
    """a (M, K) times b (K, N), in the memory order of a: activations stay feature-major, weight gradients row-major."""
    if a.flags.f_contiguous:
        return _row_major(b.T, a.T).T
    return _row_major(a, b)


def _row_major(a: Array, b: Array) -> Array:
    """a (M, K) times b (K, N), rows of N."""
    (M, K), N = a.shape, b.shape[1]
    out = empty((M, N), a.dtype)
    rows = _rows_at_a_time(M, K * N) if a.flags.c_contiguous else 0
    if not rows:
        return np.matmul(a, b, out=out)
    np.matmul(a.reshape(-1, rows, K), np.ascontiguousarray(b), out=out.reshape(-1, rows, N))
    return out


@lru_cache(maxsize=256)
def _rows_at_a_time(M: int, size: int) -> int:
    """Into how many rows to cut a long factor, the other being of `size` numbers; 0: leave it whole.

    OpenBLAS takes small products as they are, and copies both factors of larger ones first.
    """
    fitting = (2**k for k in range(3, 8) if M % 2**k == 0 and 2**k * size <= SMALL_PRODUCT < M * size)
    return max(fitting, default=0)


class _Seen(NamedTuple):
    """The residual of a correlation on a fast way; other geometries keep the reference's. kept: for that way."""

    way: ModuleType
    kept: Any


@lru_cache(maxsize=256)
def _way(x_shape: tuple[int, ...], w_shape: tuple[int, ...], window: Window, least: int, tiles: int) -> ModuleType:
    """Who correlates images of x_shape. least, tiles: channels from which on each of Winograd's ways is taken."""
    if winograd_tiles.is_worthwhile(x_shape[0], x_shape[2], w_shape, window, max(least, tiles)):
        return winograd_tiles
    return winograd if winograd.is_worthwhile(x_shape[0], w_shape, window, least) else cpu_correlation


def correlate(x: Array, w: Array, window: Window, groups: int, least: int = CHANNELS) -> tuple[Array, Any]:
    """least: channels from which on Winograd's ways are taken."""
    if not cpu_correlation.is_fast(window, groups):
        y, residual = reference.correlate(leave(x), w, window, groups)
        return enter(y), residual
    way = _way(x.shape, w.shape, window, least, CHANNELS_TILES)
    y, kept = way.correlate(np.ascontiguousarray(x), w, window)
    return y, _Seen(way, kept)


def correlate_for_pool(
    x: Array,
    w: Array,
    window: Window,
    groups: int,
    pool: Window,
    ties: str,
    least: int = CHANNELS,
    large: int = LARGE,
) -> tuple[Array | Rows, Any]:
    """`correlate`, with columns in the order that makes the pool's loops long; `correlate_backward` takes it too.

    Its rows may be made while the pool looks at them: where columns are correlated directly, from `large` bytes on.
    """
    if not (cpu_pooling.is_of_four(pool, ties) and cpu_correlation.is_fast(window, groups)):
        return correlate(x, w, window, groups, least)
    way = _way(x.shape, w.shape, window, least, CHANNELS_TILES)
    y, kept = way.correlate_for_pool(np.ascontiguousarray(x), w, window, large)
    return y, _Seen(way, kept)


def correlate_backward(residual: Any, w: Array, dy: Array | Rows, need_dx: bool) -> tuple[Array | None, Array]:
    if not isinstance(residual, _Seen):
        assert isinstance(dy, np.ndarray)  # Rows are for the ways here alone
        dx, dw = reference.correlate_backward(residual, w, leave(dy), need_dx)
        return (enter(dx) if dx is not None else None), dw
    return residual.way.gradients(residual.kept, w, dy if isinstance(dy, Rows) else np.ascontiguousarray(dy), need_dx)


def add_bias(y: Array, b: Array) -> tuple[Array, int]:
    """Adds in place: whoever calls has just made y, and keeps no other use of it."""
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
    of_rows = np.matmul(dy.reshape(-1, K, L), ones(L, dy.dtype))
    return ones(len(of_rows), dy.dtype).dot(of_rows)


def relu(x: Array, slope_at_zero: float) -> tuple[Array, Any]:
    return _positive_part(x), (x, slope_at_zero)


def relu_backward(residual: Any, dy: Array) -> Array:
    x, slope_at_zero = residual
    dx = np.multiply(dy, x > 0, out=_like(x, dy.dtype))
    zeros = _where_zero(x) if slope_at_zero else None  # a look costs less than two more passes
    if zeros is not None:
        dx += slope_at_zero * dy * zeros
    return dx


def sigmoid(x: Array) -> tuple[Array, Array]:
    y = np.multiply(x, x.dtype.type(0.5), out=_like(x))
    np.tanh(y, out=y)
    y *= 0.5
    y += 0.5
    return y, y


def sigmoid_backward(y: Array, dy: Array) -> Array:
    dx = np.subtract(y.dtype.type(1), y, out=_like(y))
    dx *= y
    dx *= dy
    return dx


def tanh(x: Array) -> tuple[Array, Array]:
    y = np.tanh(x, out=_like(x))
    return y, y


def tanh_backward(y: Array, dy: Array) -> Array:
    dx = np.multiply(y, y, out=_like(y))
    np.subtract(y.dtype.type(1), dx, out=dx)
    dx *= dy
    return dx


def bias_relu_max_pool(
    x: Array | Rows, b: Array, slope_at_zero: float, window: Window, ties: str, *, backward: bool = True
) -> tuple[Array, Any]:
    """b is tied, (K,). Pool first: max commutes with bias and ReLU, and leaves fewer elements to them."""
    pooled, for_pool = cpu_pooling.max_pool(x, window, ties, backward=backward)
    y = np.add(pooled, b[:, None, None], out=pooled if ties == "first" else None)
    at_zero = _where_zero(y) if backward and slope_at_zero else None
    _positive_part(y, y)
    return y, (for_pool, y, at_zero, slope_at_zero, ties)


def bias_relu_max_pool_backward(residual: Any, dy: Array) -> tuple[Array | Rows, Array]:
    for_pool, y, at_zero, slope_at_zero, ties = residual
    d_pooled = np.multiply(dy, y > 0, out=_like(y, dy.dtype))
    if at_zero is not None:
        # After ReLU such a window is all zeros: its first pixel wins, and has a slope only if it was 0 before too.
        if ties == "first":
            at_zero = at_zero & cpu_pooling.first_pixel_won(for_pool)
        d_pooled += slope_at_zero * dy * at_zero
    dx = cpu_pooling.max_pool_backward(for_pool, d_pooled)
    return dx, add_bias_backward(1, d_pooled if ties == "first" else whole(dx))


def _where_zero(x: Array) -> Array | None:
    """Where x is 0; None: nowhere, as is usual."""
    zeros = x == 0
    return zeros if np.count_nonzero(zeros) else None


def reshape(x: Array, shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """Elements keep the order of (N, H, W, C); from image to vector and back whole runs of N are copied."""
    before = image_shape(x) if x.ndim == 4 else x.shape[1:]
    if math.prod(before) != math.prod(shape):
        ops.reshape(leave(x), shape)  # raises the error that says so
    if len(before) == len(shape) == 3:
        return enter(ops.reshape(leave(x), shape)), before
    if len(before) == 3:
        return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(-1, x.shape[3]).T, before
    if len(shape) == 3:
        H, width, C = shape
        return np.ascontiguousarray(x.T.reshape(H, width, C, x.shape[0]).transpose(0, 2, 1, 3)), before
    return x, before


def reshape_backward(before: tuple[int, ...], dy: Array) -> Array:
    return reshape(dy, before)[0]


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """`ops.softmax_cross_entropy` of labels (N,): where y is 1 is looked up, instead of summed over."""
    count = len(labels)
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


def _like(x: Array, dtype: Any = None) -> Array:
    """An empty array of the shape and memory order of x."""
    dtype = dtype or x.dtype
    return empty(x.shape[::-1], dtype).T if x.ndim == 2 and x.flags.f_contiguous else empty(x.shape, dtype)


def _positive_part(x: Array, out: Array | None = None) -> Array:
    # an array of zeros: maximum with a number is 2.5 times slower
    if x.ndim == 4:
        zeros = _zeros(x.shape[-2:], x.dtype)
    else:
        zeros = np.zeros(x.shape[::-1], x.dtype).T if x.flags.f_contiguous else np.zeros(x.shape, x.dtype)
    return np.maximum(x, zeros, out=_like(x) if out is None else out)


@lru_cache(maxsize=256)
def _zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    return np.zeros(shape, dtype)


NUMPY = Kernels(
    name="numpy",
    enter=enter,
    leave=leave,
    pixels=pixels,
    image_shape=image_shape,
    correlation=Pair(correlate, correlate_backward),
    correlation_for_pool=correlate_for_pool,
    bias=Pair(add_bias, add_bias_backward),
    relu=Pair(relu, relu_backward),
    sigmoid=Pair(sigmoid, sigmoid_backward),
    tanh=Pair(tanh, tanh_backward),
    max_pool=Pair(cpu_pooling.max_pool, cpu_pooling.max_pool_backward),
    average_pool=Pair(cpu_pooling.average_pool, cpu_pooling.average_pool_backward),
    bias_relu_max_pool=Pair(bias_relu_max_pool, bias_relu_max_pool_backward),
    reshape=Pair(reshape, reshape_backward),
    matmul=matmul,
    losses={SoftmaxCrossEntropy: softmax_cross_entropy},
)

# Outputs with equal surroundings are equal to the last bit here: a pool that shares gradients among ties needs that.
EXACT_TIES = replace(
    NUMPY,
    correlation=Pair(partial(correlate, least=NEVER), correlate_backward),
    correlation_for_pool=partial(correlate_for_pool, least=NEVER),
)


def without_winners(table: Kernels) -> Kernels:
    """A table of this file whose pools leave no residual, so that their `backward` may not be called."""
    return replace(
        table,
        correlation_for_pool=partial(table.correlation_for_pool, large=LARGE_ONCE),
        max_pool=Pair(partial(cpu_pooling.max_pool, backward=False), cpu_pooling.max_pool_backward),
        bias_relu_max_pool=Pair(partial(bias_relu_max_pool, backward=False), bias_relu_max_pool_backward),
    )
