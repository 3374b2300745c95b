"""Normalisation over the batch by numba: each verb one pass over memory, of the rows of `normalization`.

What is kept for backward is the input alone; whether a ReLU let it through is computed again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .. import Kernels
from .layout import real
from .normalization import like, moments_of, rows_of

Array = np.ndarray

summing = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc"})  # sums of several numbers at a time
plain = njit(nogil=True, cache=True, error_model="numpy")


class _Scaled(NamedTuple):
    """The residual of `scaled`; rectified: whether there is a ReLU behind it."""

    d: Array
    scale: Array
    shift: Array
    rectified: bool
    slope_at_zero: float


def centred(
    x: Array, centre: Array | None = None, *, overwrite: bool = False
) -> tuple[Array, tuple[Array, Array, Array] | None]:
    x = real(x, centre)
    d = x if overwrite else like(x)
    rows, of_d = rows_of(x), rows_of(d)
    if centre is not None:
        _centred(rows, centre.astype(x.dtype), of_d, np.zeros((2, rows.shape[1])))
        return d, None
    found, sums = _first_means(rows), np.zeros((2, rows.shape[1]))
    _centred(rows, found, of_d, sums)
    return d, moments_of(found, rows, *sums)


def _first_means(rows: Array) -> Array:
    """The means of the first row."""
    return rows[0].mean(axis=1) if rows.size else np.zeros(rows.shape[1], rows.dtype)


def scaled(d: Array, scale: Array, shift: Array, slope_at_zero: float | None = None) -> tuple[Array, _Scaled]:
    y, seen = like(d), _Scaled(d, scale, shift, slope_at_zero is not None, d.dtype.type(slope_at_zero or 0))
    _scaled(rows_of(d), scale, shift, seen.rectified, rows_of(y))
    return y, seen


def scaled_sums(seen: _Scaled, dy: Array) -> tuple[Array, Array, tuple[_Scaled, Array]]:
    d, scale, shift, rectified, slope = seen
    sums = np.zeros((2, len(scale)))
    _scaled_sums(rows_of(d), scale, shift, rows_of(dy), rectified, slope, sums)
    of_dy, of_products = sums.astype(dy.dtype)
    return of_dy, of_products, (seen, dy)


def scaled_backward(residual: tuple[_Scaled, Array], factors: tuple[Array, Array, Array]) -> Array:
    (d, scale, shift, rectified, slope), dy = residual
    dx = like(d, dy.dtype)
    a, b, c = factors
    _scaled_backward(rows_of(d), scale, shift, rows_of(dy), rectified, slope, a, b, c, rows_of(dx))
    return dx


@summing
def _centred(x: Array, centre: Array, d: Array, sums: Array) -> None:
    """d = x - centre; to sums are added that of d and that of d d, of each channel."""
    H, C, L = x.shape
    for h in range(H):
        for c in range(C):
            of_row, squares = x.dtype.type(0), x.dtype.type(0)
            for m in range(L):
                number = x[h, c, m] - centre[c]
                d[h, c, m] = number
                of_row += number
                squares += number * number
            sums[0, c] += of_row
            sums[1, c] += squares


@plain
def _scaled(d: Array, scale: Array, shift: Array, rectified: bool, y: Array) -> None:
    H, C, L = d.shape
    zero = d.dtype.type(0)
    for h in range(H):
        for c in range(C):
            if rectified:
                for m in range(L):
                    number = d[h, c, m] * scale[c] + shift[c]
                    y[h, c, m] = zero if number <= 0 else number  # NaN stays NaN
            else:
                for m in range(L):
                    y[h, c, m] = d[h, c, m] * scale[c] + shift[c]


@summing
def _scaled_sums(
    d: Array, scale: Array, shift: Array, dy: Array, rectified: bool, slope_at_zero: float, sums: Array
) -> None:
    H, C, L = d.shape
    zero, one = d.dtype.type(0), d.dtype.type(1)
    for h in range(H):
        for c in range(C):
            of_row, products = zero, zero
            for m in range(L):
                slope = one
                if rectified:
                    number = d[h, c, m] * scale[c] + shift[c]
                    slope = one if number > 0 else slope_at_zero if number == 0 else zero
                g = dy[h, c, m] * slope
                of_row += g
                products += g * d[h, c, m]
            sums[0, c] += of_row
            sums[1, c] += products


@plain
def _scaled_backward(
    d: Array,
    scale: Array,
    shift: Array,
    dy: Array,
    rectified: bool,
    slope_at_zero: float,
    a: Array,
    b: Array,
    c: Array,
    dx: Array,
) -> None:
    H, C, L = d.shape
    zero, one = d.dtype.type(0), d.dtype.type(1)
    for h in range(H):
        for k in range(C):
            for m in range(L):
                slope = one
                if rectified:
                    number = d[h, k, m] * scale[k] + shift[k]
                    slope = one if number > 0 else slope_at_zero if number == 0 else zero
                dx[h, k, m] = a[k] * (dy[h, k, m] * slope) + (b[k] * d[h, k, m] + c[k])


def with_norms(table: Kernels, **more: Any) -> Kernels:
    """The table with these verbs."""
    return replace(
        table, centred=centred, scaled=scaled, scaled_sums=scaled_sums, scaled_backward=scaled_backward, **more
    )
