"""Normalisation over the batch, in parts that stay in the cache: all passes over a part, then the next part.

Images are seen as (H, C, W N), vectors as (1, C, N): rows, channels, and what lies side by side.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..memory import CACHED, empty, ones, parts
from .layout import real

Array = np.ndarray


class Scaled(NamedTuple):
    """The residual of `scaled`: its input; with a ReLU, where the output is positive, and where it was 0.

    at_zero: by the first row of a part, for parts that have such places, which is rare.
    """

    d: Array
    positive: Array | None
    at_zero: dict[int, Array]
    slope_at_zero: float


def rows_of(x: Array) -> Array:
    """(H, C, W, N) -> (H, C, W N), or (N, C) -> (1, C, N): a view where x is stored so."""
    return x.T[None] if x.ndim == 2 else x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def _parts(rows: Array) -> tuple[slice, ...]:
    """The rows in parts, of a size that lets what a pass reads and writes stay in the cache."""
    return _parts_of(rows.shape, rows.itemsize)


@lru_cache(maxsize=256)
def _parts_of(shape: tuple[int, ...], itemsize: int) -> tuple[slice, ...]:
    return tuple(parts(shape[0], math.prod(shape[1:]) * itemsize, CACHED // 4))


def _largest(rows: Array) -> tuple[int, ...]:
    """The shape of the largest part."""
    return (max((some.stop - some.start for some in _parts(rows)), default=0), *rows.shape[1:])


@lru_cache(maxsize=64)
def _zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """To be read only: the maximum with a number takes three times as long as with an array."""
    return np.zeros(shape, dtype)


def like(x: Array, dtype: Any = None) -> Array:
    """An empty array of the shape of x, in the table's memory order."""
    dtype = dtype or x.dtype
    return empty(x.shape[::-1], dtype).T if x.ndim == 2 else empty(x.shape, dtype)


def _repeated(values: Array, rows: Array) -> Array:
    """(C,) -> (C, L): NumPy takes half as long for two arrays of one shape as for a number per row."""
    made = empty(rows.shape[1:], rows.dtype)
    made[...] = values[:, None]
    return made


class _Sums:
    """Sums of rows (H, C, L) over all but C, and of their products with others: by row, and then of all rows in
    float64.
    """

    def __init__(self, rows: Array) -> None:
        self._sums, self._products = (np.empty(rows.shape[:2], rows.dtype) for _ in range(2))
        self._ones = ones(rows.shape[2], rows.dtype)

    def take(self, some: slice, rows: Array, others: Array) -> None:
        """Some rows (h, C, L); a product with ones is the fastest sum."""
        np.matmul(rows, self._ones, out=self._sums[some])
        np.vecdot(rows, others, out=self._products[some])

    def found(self) -> tuple[Array, Array]:
        """The sums of the rows and of the products, (C,) each."""
        return self._total(self._sums), self._total(self._products)

    @staticmethod
    def _total(of_rows: Array) -> Array:
        return np.add.reduce(of_rows, axis=0, dtype=np.float64)


def channel_sums(x: Array) -> Array:
    """An image or (N, C) -> (C,)."""
    x = real(x)
    if x.ndim == 2:
        return np.matmul(rows_of(x), ones(len(x), x.dtype))[0]
    of_pixels = np.matmul(x, ones(x.shape[3], x.dtype))
    return np.add.reduce(of_pixels, axis=(0, 2), dtype=np.float64).astype(x.dtype)


def centred(
    x: Array, centre: Array | None = None, *, overwrite: bool = False
) -> tuple[Array, tuple[Array, Array, Array] | None]:
    """`ops.centred` in one pass over memory; the centre is the mean of the first row."""
    x = real(x, centre)
    rows, d = rows_of(x), x if overwrite else like(x)
    H, C, L = rows.shape
    of_d = rows_of(d)
    asked = centre is None
    if centre is None:
        centre = np.matmul(rows[0], ones(L, x.dtype)) / x.dtype.type(max(1, L)) if H else np.zeros(C, x.dtype)
    sums, repeated = _Sums(rows), _repeated(centre, rows)
    for some in _parts(rows):
        part = np.subtract(rows[some], repeated, out=of_d[some])
        if asked:
            sums.take(some, part, part)
    return d, (moments_of(centre, rows, *sums.found()) if asked else None)


def moments_of(centre: Array, rows: Array, total: Array, squares: Array) -> tuple[Array, Array, Array]:
    """Centre, rest and squares as `ops.centred` gives them, of the sums of d and of d d, in float64.

    (sum of d^2) - (sum of d)^2 / n loses digits where the mean of d is large beside its deviations: at most a factor of
    the number of rows, since a first row so far away is itself a deviation.
    """
    rest = total / max(1, rows.size // max(1, rows.shape[1]))
    around = np.maximum(squares - total * rest, 0)
    return centre, rest.astype(rows.dtype), around.astype(rows.dtype)


def scaled(d: Array, scale: Array, shift: Array, slope_at_zero: float | None = None) -> tuple[Array, Scaled]:
    rows, y = rows_of(d), like(d)
    of_y, repeated, shifts = rows_of(y), _repeated(scale, rows), _repeated(shift, rows)
    positive = None if slope_at_zero is None else empty(rows.shape, np.bool_)
    at_zero: dict[int, Array] = {}
    zeros = _zeros(_largest(rows), d.dtype)
    for some in _parts(rows):
        out = np.multiply(rows[some], repeated, out=of_y[some])
        out += shifts
        if positive is not None:
            np.greater(out, 0, out=positive[some])
            if slope_at_zero:
                here = np.equal(out, 0)
                if np.count_nonzero(here):
                    at_zero[some.start] = here
            np.maximum(out, zeros[: len(out)], out=out)
    return y, Scaled(d, positive, at_zero, slope_at_zero or 0.0)


def scaled_sums(residual: Scaled, dy: Array) -> tuple[Array, Array, tuple[Array, Array]]:
    """Through the ReLU on the way, if there is one."""
    d, positive, at_zero, slope_at_zero = residual
    rows, of_dy, through = rows_of(d), rows_of(dy), dy if positive is None else like(d, dy.dtype)
    of_through, sums = rows_of(through), _Sums(of_dy)
    for some in _parts(rows):
        if positive is not None:
            np.multiply(of_dy[some], positive[some], out=of_through[some])
            if some.start in at_zero:
                of_through[some] += slope_at_zero * of_dy[some] * at_zero[some.start]
        sums.take(some, of_through[some], rows[some])
    of_dys, of_products = sums.found()
    return of_dys.astype(dy.dtype), of_products.astype(dy.dtype), (d, through)


def scaled_backward(residual: tuple[Array, Array], factors: tuple[Array, Array, Array]) -> Array:
    d, dy = residual
    rows, of_dy, dx = rows_of(d), rows_of(dy), like(d, dy.dtype)
    of_dx, (a, b, c) = rows_of(dx), (_repeated(factor, rows) for factor in factors)
    room = empty(_largest(rows), dy.dtype)
    for some in _parts(rows):
        out = np.multiply(rows[some], b, out=of_dx[some])
        out += c
        out += np.multiply(of_dy[some], a, out=room[: len(out)])
    return dx
