"""Pooling on images stored (H, C, W, N)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...ops.pooling import is_divided_evenly
from ...ops.window import Window
from ..memory import copy, empty
from .layout import real
from .rows import Image, LazyImage, steps

Array = np.ndarray


class Winners(NamedTuple):
    """The residual of 2 x 2 windows: in every pair of columns, then of rows, whether the first is at least as large.

    step: how many rows of the gradient to make at a time, or None: all at once. seen: where the largest is not NaN, or
    None: everywhere, as is usual.
    """

    left: Array
    upper: Array
    x_shape: tuple[int, ...]
    step: int | None
    seen: Array | None = None


def is_of_four(window: Window, ties: str) -> bool:
    """Whether windows are 2 x 2 and tile the image, and the first of ties wins: the fast way."""
    plain = not window.is_padded and not window.is_dilated
    return ties == "first" and window.size == window.stride == (2, 2) and plain


def is_tiling(window: Window, x_shape: tuple[int, ...]) -> bool:
    """Whether every pixel is in exactly one window, and windows see nothing else."""
    fits = x_shape[0] % window.size[0] == x_shape[2] % window.size[1] == 0
    return fits and window.size == window.stride and not window.is_padded and not window.is_dilated


def max_pool(x: Image, window: Window, ties: str, *, backward: bool = True) -> tuple[Array, Any]:
    """x may be in halves where `is_of_four`. backward: whether the residual must serve for `max_pool_backward`."""
    y, residual = largest(real(x) if isinstance(x, np.ndarray) else x, window, ties, backward)
    if isinstance(residual, Winners) and (nobody := np.isnan(y)).any():
        residual = residual._replace(seen=~nobody)
    return y, residual


def largest(x: Image, window: Window, ties: str, backward: bool) -> tuple[Array, Any]:
    """`max_pool` for who multiplies dy by 0 where the largest is NaN."""
    if is_of_four(window, ties):
        return _max_of_four(x, backward)
    assert isinstance(x, np.ndarray)
    H, C, width, N = x.shape
    P, Q = window.outputs(H, width)
    y = empty((P, C, Q, N), x.dtype)
    y[...] = -math.inf
    for outputs, pixels in _looks(window, x.shape):
        np.maximum(y[outputs], x[pixels], out=y[outputs])
    return y, (x, y.copy() if ties == "first" else y, window, ties)


def max_pool_backward(residual: Any, dy: Array) -> Image:
    """dx, made row by row where x was given so."""
    if isinstance(residual, Winners):
        return _max_of_four_backward(residual, dy)
    x, y, window, ties = residual
    dx = empty(x.shape, dy.dtype)
    dx[...] = 0
    undecided = np.ones(y.shape, bool)
    for outputs, pixels in _looks(window, x.shape):
        won = x[pixels] == y[outputs]
        if ties == "first":
            won &= undecided[outputs]
            undecided[outputs] ^= won
        dx[pixels] += dy[outputs] * won
    return dx


def first_pixel_won(residual: Any) -> Array:
    """For every window, whether its first pixel, padding left out, is a largest one."""
    if isinstance(residual, Winners):
        return residual.left[0::2] & residual.upper
    x, y, window, _ = residual
    won, unseen = np.zeros(y.shape, bool), np.ones(y.shape, bool)
    for outputs, pixels in _looks(window, x.shape):
        won[outputs] |= unseen[outputs] & (x[pixels] == y[outputs])
        unseen[outputs] = False
    return won


def _max_of_four(x: Image, backward: bool) -> tuple[Array, Winners | None]:
    """2 x 2 windows as two rounds, columns and then rows.

    Where the first of a pair wins ties, the first of all four does.
    """
    P, *row = _shape_of_four(x.shape)
    y, step = empty((P, *row), x.dtype), x.step if isinstance(x, LazyImage) else None
    winners = Winners(empty((2 * P, *row), bool), empty((P, *row), bool), x.shape, step) if backward else None
    if not isinstance(x, LazyImage):
        _pool(x, y, winners and winners[:2])
    else:
        for rows in steps(x, 2 * P):
            pairs = slice(rows.start // 2, rows.stop // 2)
            _pool(x[rows], y[pairs], winners and (winners.left[rows], winners.upper[pairs]))
    return y, winners


def _pool(x: Array, y: Array, winners: tuple[Array, Array] | None) -> None:
    """winners: where to write down which of two columns, and then of two rows, has the larger pixel."""
    first, second = _halves(x)
    if winners is not None:
        np.greater_equal(first, second, out=winners[0])
    best = np.maximum(first, second, out=empty(first.shape, x.dtype))
    above, below = best[0::2], best[1::2]
    if winners is not None:
        np.greater_equal(above, below, out=winners[1])
    np.maximum(above, below, out=y)


def _shape_of_four(x_shape: tuple[int, ...]) -> tuple[int, ...]:
    """(P, C, Q, N), the shape of the largest of four, of an image or one in halves."""
    *parities, H, C, width, N = x_shape
    return H // 2, C, width if parities else width // 2, N


def _halves(x: Array) -> tuple[Array, Array]:
    """The even columns of x and as many odd ones, (H, C, W // 2, N), views; an odd last row is left out."""
    x = x[..., : 2 * (x.shape[-4] // 2), :, :, :]
    if x.ndim == 5:
        return x[0], x[1]
    even = 2 * (x.shape[2] // 2)
    return x[:, :, 0:even:2], x[:, :, 1:even:2]


def _max_of_four_backward(winners: Winners, dy: Array) -> Image:
    left, upper, x_shape, step, seen = winners
    if seen is not None:
        dy = dy * seen
    if step is None:
        dx = empty(x_shape, dy.dtype)
        _unpool(dy, left, upper, dx)
        return dx

    def fill(start: int, stop: int, out: Array) -> None:
        pairs = slice(start // 2, stop // 2)
        _unpool(dy[pairs], left[start:stop], upper[pairs], out)

    return LazyImage(x_shape, dy.dtype, step, fill)


def _unpool(dy: Array, left: Array, upper: Array, dx: Array) -> None:
    """The gradient of `_pool`. dx may have one row more, and one column."""
    if dx.shape[-4] > len(left):
        dx[..., len(left) :, :, :, :] = 0
    if dx.ndim == 4:
        dx[:, :, 2 * dy.shape[2] :] = 0
    even, odd = _halves(dx)
    best = empty(left.shape, dy.dtype)
    above, below = best[0::2], best[1::2]
    np.multiply(dy, upper, out=above)
    np.subtract(dy, above, out=below)
    np.multiply(best, left, out=even)
    np.subtract(best, even, out=odd)


def average_pool(x: Array, window: Window, count_padding: bool) -> tuple[Array, Any]:
    """Sums over rows, then over columns."""
    x = real(x)
    P, Q = window.outputs(x.shape[0], x.shape[2])
    rows = _sum_of_looks(x, window, 0, P)
    y = _sum_of_looks(rows, window, 1, Q)
    y *= share_of(window, x.shape, count_padding, x.dtype)
    return y, (x.shape, window, count_padding)


def average_pool_backward(residual: Any, dy: Array) -> Array:
    x_shape, window, count_padding = residual
    share = np.multiply(dy, share_of(window, x_shape, count_padding, dy.dtype), out=empty(dy.shape, dy.dtype))
    if is_tiling(window, x_shape):
        (P, C, Q, N), (I, J), dx = dy.shape, window.size, empty(x_shape, dy.dtype)
        row, channel, pixel, item = share.strides
        repeated = np.ndarray((P, I, C, Q, J, N), dy.dtype, share, 0, (row, 0, channel, pixel, 0, item))
        copy(repeated, dx.reshape(repeated.shape))
        return dx
    return _spread_looks(_spread_looks(share, window, 1, x_shape[2]), window, 0, x_shape[0])


def _sum_of_looks(x: Array, window: Window, axis: int, count: int) -> Array:
    """Along rows (axis 0) or columns (1): every output's sum of the pixels it sees."""
    place = 2 * axis
    y = empty((*x.shape[:place], count, *x.shape[place + 1 :]), x.dtype)
    looks = _looks_along(window, axis, x.shape[place])
    if len(looks) > 1 and looks[0][0][-1] == looks[1][0][-1] == slice(0, count):
        np.add(x[looks[0][1]], x[looks[1][1]], out=y)
        looks = looks[2:]
    else:
        y[...] = 0
    for outputs, pixels in looks:
        y[outputs] += x[pixels]
    return y


def _spread_looks(dy: Array, window: Window, axis: int, length: int) -> Array:
    """The gradient of `_sum_of_looks`: every pixel gets the sum of the outputs that saw it."""
    place = 2 * axis
    dx = empty((*dy.shape[:place], length, *dy.shape[place + 1 :]), dy.dtype)
    dx[...] = 0
    for outputs, pixels in _looks_along(window, axis, length):
        dx[pixels] += dy[outputs]
    return dx


@lru_cache(maxsize=256)
def _looks_along(window: Window, axis: int, length: int) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """For every window offset along an axis: the index of the outputs, and of the pixels that they see there."""
    before = (slice(None),) * (2 * axis)
    reached = (window.reach(axis, offset, length) for offset in range(window.size[axis]))
    return [((*before, outputs), (*before, pixels)) for outputs, pixels in reached]


def share_of(window: Window, x_shape: tuple[int, ...], count_padding: bool, dtype: Any) -> Any:
    """What a window's sum is multiplied by: one number, or (P, 1, Q, 1) where borders count less."""
    if is_divided_evenly(window, count_padding):
        return dtype.type(1 / math.prod(window.size))
    rows, columns = (
        np.asarray(window.places_counted(axis, x_shape[2 * axis], count_padding), dtype) for axis in (0, 1)
    )
    return 1 / (rows[:, None, None, None] * columns[:, None])


def _looks(window: Window, x_shape: tuple[int, ...]) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """For every window offset, row by row: the index of the outputs, and of the pixels that they see there."""
    for _, (_, rows_out, columns_out, _), (_, rows_in, columns_in, _) in window.looks(x_shape[0], x_shape[2]):
        yield (rows_out, slice(None), columns_out), (rows_in, slice(None), columns_in)
