"""Correlation with fewer multiplications, for many channels: Winograd's minimal filtering, along rows only.

R output rows of a kernel of I rows need n = R + I - 1 products instead of R I, of sums of rows of the image with sums
of rows of the kernel: for 3 rows 2 times fewer, for 5 rows 2.5 times. Rows are the outermost axis of (H, C, W, N), so
these sums are small matrix products over long contiguous runs. Columns are correlated directly.

In single precision the errors are about twice those of the direct sum. But outputs that are equal because their
surroundings are equal may differ in the last bit, since they are not the same sum, and NaN or an infinity in one pixel
reaches all that share a tile with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...ops.window import Window
from ..memory import CACHED, empty, parts
from .columns import Spread, output_shape, parities_of, shifted_columns, whole_rows, with_zeros
from .correlation import BLOCK
from .exact_zeros import occupied, restore
from .products import column_blocks, multiplied
from .rows import some_rows

Array = np.ndarray

LONG = 64  # rows of a product's factor from which on OpenBLAS is half as fast where the other one is transposed

# Where polynomials are evaluated, beside infinity: the best conditioned first. A further one would cost a digit.
POINTS = (0, 1, -1, 2, -1 / 2, 1 / 2, -2)


def is_worthwhile(height: int, kernel: tuple[int, ...], window: Window, channels: int) -> bool:
    """Whether this saves a fourth of the products: height, of the image; kernel, (I, J, C, K); C and K >= channels."""
    if not applies(kernel, window, channels):
        return False
    I, P = kernel[0], window.outputs(height, window.size[1])[0]
    R = tile(P, I)
    return -(-P // R) * (R + I - 1) < 0.75 * P * I


def applies(kernel: tuple[int, ...], window: Window, channels: int) -> bool:
    """Whether outputs are one pixel apart, each sees part of the image, and C and K of (I, J, C, K) are >= channels."""
    padding_fits = all(max(window.padding[axis]) < window.size[axis] for axis in (0, 1))
    return window.stride == (1, 1) and padding_fits and min(kernel[2:]) >= channels


class Residual(NamedTuple):
    """What `correlate` keeps for `gradients`.

    kernels: sums of their rows, (n, J C, K); columns: of the image, if they were made at once.
    """

    x: Array
    window: Window
    kernels: Array
    columns: Array | None


def correlate(x: Array, w: Array, window: Window, large: int | None = None) -> tuple[Array, Residual]:
    """x (H, C, W, N), w (I, J, C, K) -> y (P, K, Q, N); for a pool, large is given: (2, P, K, Q // 2, N) in halves."""
    (I, J, C, K), halves = w.shape, large is not None
    y = empty(output_shape(x.shape, window, K, halves), x.dtype)
    P = y.shape[-4]
    R = tile(P, I)
    of_image, of_kernel, of_output = transforms(R, I, x.dtype)
    kernels = multiplied(of_kernel, w.reshape(I, -1)).reshape(-1, J * C, K)
    tiles = _tiles(x, I, window.padding[0][0], R, P)
    for block, columns in _columns(of_image, tiles, x.shape, window, halves):
        products = empty((*columns.shape[:3], K, columns.shape[4]), x.dtype)
        np.matmul(kernels.transpose(0, 2, 1)[:, None], columns, out=products)
        _sum(of_output, products.reshape(*products.shape[:2], -1), some_rows(y, slice(R * block.start, R * block.stop)))
    return y, Residual(x, window, kernels, columns if len(columns) == len(tiles) else None)


def _sum(of_output: Array, products: Array, y: Array) -> None:
    """y, whole or in halves: R rows for every tile of products (tiles, n, L), fewer for a last one that has no more."""
    R, P = len(of_output), y.shape[-4]
    full, rest = divmod(P, R)
    tiles = column_blocks(products, parities_of(y))
    np.matmul(of_output, tiles[:full], out=_in_tiles(some_rows(y, slice(0, R * full)), R))
    if rest:
        np.matmul(of_output[:rest], tiles[full:], out=_in_tiles(some_rows(y, slice(R * full, P)), rest))


def _in_tiles(y: Array, R: int) -> Array:
    """(tiles, 1, R, K Q N), or in halves (tiles, 2, R, K Q // 2 N). A view."""
    return y.reshape(parities_of(y), y.shape[-4] // R, R, math.prod(y.shape[-3:])).swapaxes(0, 1)


def gradients(residual: Residual, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
    """`correlate` transposed, step by step: dx as x, or None, and dw as w. dy as y was."""
    (x, window, kernels, kept), (I, J, C, K) = residual, w.shape
    (H, _, width, N), top = x.shape, window.padding[0][0]
    P, Q = window.outputs(H, width)
    R = tile(P, I)
    of_image, of_kernel, of_output = transforms(R, I, x.dtype)
    n = len(of_image)
    tiles, d_kernels = _tiles(x, I, top, R, P), np.zeros((n, J * C, K), dy.dtype)
    d_tiles = _in_tiles(with_zeros(dy, dy.ndim - 4, 0, R * len(tiles)), R)
    halves = dy.ndim == 5
    if need_dx:
        dx_tiles = empty(tiles.shape, dy.dtype)
    made = _columns(of_image, tiles, x.shape, window, halves) if kept is None else [(slice(None), kept)]
    for block, columns in made:
        d_sums = empty((len(columns), n, d_tiles.shape[1] * d_tiles.shape[3]), dy.dtype)
        multiplied(of_output.T, d_tiles[block], column_blocks(d_sums, d_tiles.shape[1]))
        d_products = d_sums.reshape(*columns.shape[:3], K, -1).swapaxes(-1, -2)
        if J * C >= LONG:
            d_products = np.ascontiguousarray(d_products)
        of_tiles = empty((*columns.shape[:4], K), dy.dtype)
        np.matmul(columns, d_products, out=of_tiles)
        d_kernels += np.add.reduce(of_tiles, axis=(0, 2))
        if need_dx:
            in_order = whole_rows(d_sums.reshape(-1, 2, K, Q // 2, N).swapaxes(0, 1), Q) if halves else d_sums
            d_rows = empty((len(columns), n, C, width, N), dy.dtype)
            _sum_columns(kernels, in_order.reshape(-1, n, K, Q * N), window, d_rows)
            np.matmul(of_image.T, d_rows.reshape(-1, n, C * width * N), out=dx_tiles[block])
    dw = multiplied(of_kernel.T, d_kernels.reshape(n, -1)).reshape(w.shape)
    dx = added_up(dx_tiles, R)[top : top + H].reshape(x.shape) if need_dx else None
    restore(dw, dx, occupied(x, columns=False), occupied(dy, columns=False), window)
    return dx, dw


def _sum_columns(kernels: Array, d_products: Array, window: Window, d_rows: Array) -> None:
    """d_rows (tiles, n, C, W, N), from d_products (tiles, n, K, Q N): a few rows at a time, which stay in the cache."""
    (tiles, n, C, _, N), J = d_rows.shape, window.size[1]
    Q = d_products.shape[3] // N
    for t in range(tiles):
        for some in parts(n, J * C * (Q + J - 1) * N * d_rows.itemsize, CACHED):
            spread = Spread(some.stop - some.start, J, Q, window, d_rows.shape[1:], d_rows.dtype)
            np.matmul(kernels[some], d_products[t, some], out=spread.products)
            spread.sum(d_rows[t, some])


def added_up(parts: Array, step: int) -> Array:
    """(..., count, n, L) -> (..., at least step (count - 1) + n, L): part k added where it begins, at k step."""
    *before, count, n, L = parts.shape
    total = empty((*before, count + (n - 1) // step, step, L), parts.dtype)
    total[..., count:, :, :] = 0
    total[..., :count, :, :] = parts[..., :step, :]
    for start in range(step, n, step):
        later, first = parts[..., start : start + step, :], start // step
        total[..., first : first + count, : later.shape[-2], :] += later
    return total.reshape(*before, -1, L)


def tile(P: int, I: int) -> int:
    """How many output rows to make at a time, so that P of them need the fewest products."""
    return min(range(1, max(2, len(POINTS) + 3 - I)), key=lambda R: (-(-P // R) * (R + I - 1), R))


@lru_cache(maxsize=64)
def transforms(R: int, I: int, dtype: Any) -> tuple[Array, Array, Array]:
    """(n, n) for n image rows, (n, I) for kernel rows, (R, n) for products.

    Polynomials of R and of I coefficients are multiplied by multiplying their values at n points; read backwards,
    transposed, that is a correlation.
    """
    n = R + I - 1
    of_image, of_kernel, of_output = np.linalg.inv(_values(n, n)).T, _values(n, I), _values(n, R).T
    balance = np.sqrt(np.abs(of_kernel).sum(axis=1) / np.abs(of_image).sum(axis=1))[:, None]  # smallest rounding errors
    made = of_image * balance, of_kernel / balance, of_output
    return tuple(np.ascontiguousarray(a.astype(dtype)) for a in made)  # type: ignore[return-value]


def _values(n: int, coefficients: int) -> Array:
    """(n, coefficients): times a polynomial's coefficients, its values at n - 1 points and at infinity."""
    powers = np.vander(np.asarray(POINTS[: n - 1], float), coefficients, increasing=True)
    return np.vstack([powers, np.eye(coefficients)[-1:]])


def _tiles(x: Array, I: int, above: int, R: int, P: int) -> Array:
    """Overlapping views of x below rows of zeros: (tiles, n, C W N), one tile for every R of P output rows."""
    count = -(-P // R)
    padded = with_zeros(x, 0, above, R * count + I - 1)
    row = x[0].size
    strides = (R * row * x.itemsize, row * x.itemsize, x.itemsize)
    return np.ndarray((count, R + I - 1, row), x.dtype, padded, 0, strides)


def _columns(
    of_image: Array, tiles: Array, x_shape: tuple[int, ...], window: Window, halves: bool
) -> Iterator[tuple[slice, Array]]:
    """A few tiles at a time: which, and J copies of their transformed rows, shifted by a column.

    (tiles, n, 1, J C, Q N), or in halves (tiles, n, 2, J C, Q // 2 N).
    """
    _, C, width, N = x_shape
    n, features = tiles.shape[1], window.size[1] * C
    for block in parts(len(tiles), n * window.size[1] * tiles[0, 0].nbytes, BLOCK):
        rows = multiplied(of_image, tiles[block]).reshape(-1, C, width, N)
        copies = shifted_columns(rows, window, halves).reshape(len(rows) // n, n, features, -1)
        yield block, column_blocks(copies, 2 if halves else 1)
