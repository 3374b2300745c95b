"""Normalisation over the batch, in parts that stay in the cache: all passes over a part, then the next part.

Images are seen as (H, C, W N), vectors as (1, C, N): rows, channels, and what lies side by side.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..memory import CACHED, empty, ones, parts
from .layout import real

Array = np.ndarray


class Scaled(NamedTuple):
    """The residual of `scaled`: its input and centre; with a ReLU, where the output is positive, and where it was 0.

    at_zero: by the first row of a part, for parts that have such places, which is rare.
    """

    x: Array
    centre: Array
    positive: Array | None = None
    at_zero: dict[int, Array] | None = None
    slope_at_zero: float = 0.0


def _rows(x: Array) -> Array:
    """(H, C, W, N) -> (H, C, W N), or (N, C) -> (1, C, N): a view where x is stored so."""
    return x.T[None] if x.ndim == 2 else x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def _parts(rows: Array) -> list[slice]:
    """Of which half stays in the cache, since a pass reads one array and writes another."""
    return list(parts(len(rows), math.prod(rows.shape[1:]) * rows.itemsize, CACHED // 2))


def _like(x: Array, dtype: Any = None) -> Array:
    """An empty array of the shape of x, in the table's memory order."""
    dtype = dtype or x.dtype
    return empty(x.shape[::-1], dtype).T if x.ndim == 2 else empty(x.shape, dtype)


def _sums(rows: Array) -> Array:
    """(h, C, L) -> (C,), in float64; a product with ones is the fastest sum."""
    return np.add.reduce(np.matmul(rows, ones(rows.shape[2], rows.dtype)), axis=0, dtype=np.float64)


def _sums_of_products(a: Array, b: Array) -> Array:
    return np.add.reduce(np.vecdot(a, b), axis=0, dtype=np.float64)


def moments(x: Array) -> tuple[Array, Array, Array]:
    """`ops.moments` in one pass over memory: of numbers minus the mean of the first row.

    (sum of d^2) - (sum of d)^2 / n loses digits where the mean of d is large beside its deviations: at most a factor of
    the number of rows, since a first row so far away is itself a deviation.
    """
    x = real(x)
    rows = _rows(x)
    H, C, L = rows.shape
    count = max(1, H * L)
    first = np.matmul(rows[0], ones(L, x.dtype)) / x.dtype.type(max(1, L)) if H else np.zeros(C, x.dtype)
    total, squares = np.zeros(C), np.zeros(C)
    for some in _parts(rows):
        d = np.subtract(rows[some], first[:, None], out=empty(rows[some].shape, x.dtype))
        total += _sums(d)
        squares += _sums_of_products(d, d)
    mean = first + total / count
    centre = mean.astype(x.dtype)
    squares -= total * (total / count)
    return centre, (mean - centre).astype(x.dtype), np.maximum(squares, 0).astype(x.dtype)


def scaled(
    x: Array, centre: Array, scale: Array, shift: Array, slope_at_zero: float | None = None
) -> tuple[Array, Scaled]:
    x = real(x, centre)
    rows, y = _rows(x), _like(x)
    of_y = _rows(y)
    centre, scale, shift = centre[:, None], scale[:, None], shift[:, None]
    positive = None if slope_at_zero is None else empty(rows.shape, np.bool_)
    at_zero: dict[int, Array] = {}
    for some in _parts(rows):
        out = of_y[some]
        np.subtract(rows[some], centre, out=out)
        out *= scale
        out += shift
        if positive is not None:
            np.greater(out, 0, out=positive[some])
            if slope_at_zero:
                zeros = np.equal(out, 0)
                if np.count_nonzero(zeros):
                    at_zero[some.start] = zeros
            np.maximum(out, _zeros(out), out=out)
    return y, Scaled(x, centre[:, 0], positive, at_zero, slope_at_zero or 0.0)


def _zeros(rows: Array) -> Array:
    # an array of zeros: maximum with a number is 2.5 times slower
    return np.zeros(rows.shape[2], rows.dtype)


def _through_relu(residual: Scaled, some: slice, dy: Array, out: Array) -> Array:
    """The rows of dy in front of the ReLU, written to out; dy itself where there is none."""
    if residual.positive is None:
        return dy
    np.multiply(dy, residual.positive[some], out=out)
    if residual.at_zero and some.start in residual.at_zero:
        out += residual.slope_at_zero * dy * residual.at_zero[some.start]
    return out


def scaled_sums(residual: Scaled, dy: Array) -> tuple[Array, Array]:
    rows, of_dy, centre = _rows(residual.x), _rows(dy), residual.centre[:, None]
    of_dys, of_products = np.zeros(len(centre)), np.zeros(len(centre))
    for some in _parts(rows):
        room = empty((2, *rows[some].shape), dy.dtype)
        g = _through_relu(residual, some, of_dy[some], room[0])
        of_dys += _sums(g)
        of_products += _sums_of_products(g, np.subtract(rows[some], centre, out=room[1]))
    return of_dys.astype(dy.dtype), of_products.astype(dy.dtype)


def scaled_backward(residual: Scaled, dy: Array, factors: tuple[Array, Array, Array]) -> Array:
    a, b, c = (factor[:, None] for factor in factors)
    x, dx = residual.x, _like(residual.x, dy.dtype)
    rows, of_dy, of_dx, centre = _rows(x), _rows(dy), _rows(dx), residual.centre[:, None]
    for some in _parts(rows):
        room = empty(rows[some].shape, dy.dtype)
        out = of_dx[some]
        np.subtract(rows[some], centre, out=out)
        out *= b
        out += c
        g = _through_relu(residual, some, of_dy[some], room)
        out += np.multiply(g, a, out=room)
    return dx
