"""Correlation with still fewer multiplications, for very many channels: Winograd's filtering along rows and columns.

A tile of R x S outputs sees n x m pixels, n = R + I - 1 and m = S + J - 1. Pixels become n m sums of theirs, the kernel
as many; of each pair one product over channels; and sums of the products are the tile: for 5 x 5 kernels and tiles of
4 x 4 that is 64 products instead of 400. All these sums are matrix products too, over long contiguous runs, because in
this file columns stand outside channels: (H, W, C, N).

In single precision the errors are about five times those of the direct sum.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..ops.window import Window
from .cpu_correlation import multiplied
from .memory import empty
from .winograd import tile, transforms

Array = np.ndarray


class _Grid(NamedTuple):
    """TH x TW tiles of R x S outputs that see n x m pixels each, and height x width together.

    of_rows, of_columns: sums of pixels (n, n), of kernel rows (n, I), of products (R, n).
    """

    TH: int
    TW: int
    R: int
    S: int
    n: int
    m: int
    height: int
    width: int
    of_rows: tuple[Array, Array, Array]
    of_columns: tuple[Array, Array, Array]


@lru_cache(maxsize=256)
def _grid(P: int, Q: int, window: Window, dtype: Any) -> _Grid:
    (I, J), R, S = window.size, tile(P, window.size[0]), tile(Q, window.size[1])
    TH, TW = -(-P // R), -(-Q // S)
    height, width = R * TH + I - 1, S * TW + J - 1
    return _Grid(TH, TW, R, S, R + I - 1, S + J - 1, height, width, transforms(R, I, dtype), transforms(S, J, dtype))


@lru_cache(maxsize=256)
def is_worthwhile(height: int, width: int, kernel: tuple[int, ...], window: Window, channels: int) -> bool:
    """Whether this saves two thirds of the products, of an image (height, width) and a kernel (I, J, C, K).

    C and K must be at least `channels`.
    """
    I, J, C, K = kernel
    padding_fits = all(max(window.padding[axis]) < window.size[axis] for axis in (0, 1))
    if window.stride != (1, 1) or not padding_fits or min(C, K) < channels:
        return False
    P, Q = window.outputs(height, width)
    grid = _grid(P, Q, window, np.dtype(np.float32))
    return 3 * grid.TH * grid.n * grid.TW * grid.m <= P * I * Q * J


class Seen(NamedTuple):
    """What `correlate` keeps for `kernel_gradient`: the image with its border, (height, width, C, N)."""

    image: Array
    grid: _Grid


def correlate(x: Array, w: Array, window: Window, halves: bool = False) -> tuple[Array, Seen]:
    """x (H, C, W, N), w (I, J, C, K) -> y (P, K, Q, N). x may be in halves; y is, if asked for."""
    I, J, C, K = w.shape
    N, (P, Q) = x.shape[-1], window.outputs(len(x), _width(x))
    grid = _grid(P, Q, window, x.dtype)
    image = _with_border(x, window.padding[0][0], window.padding[1][0], grid.height, grid.width)
    of_kernel = multiplied(grid.of_columns[1], multiplied(grid.of_rows[1], w.reshape(I, -1)).reshape(grid.n, J, C * K))
    kernels = np.ascontiguousarray(of_kernel.reshape(grid.n, 1, grid.m, C, K).swapaxes(-1, -2))
    y = empty((P, 2, K, Q // 2, N) if halves else (P, K, Q, N), x.dtype)
    for th in range(grid.TH):
        products = empty((grid.n, grid.TW, grid.m, K, N), x.dtype)
        np.matmul(kernels, _sums_of_pixels(image, grid, th), out=products)
        rows = multiplied(grid.of_columns[2], products.reshape(grid.n, grid.TW, grid.m, K * N))
        tiles = multiplied(grid.of_rows[2], rows.reshape(grid.n, -1)).reshape(grid.R, grid.TW * grid.S, K, N)
        here = y[grid.R * th : grid.R * (th + 1)]
        for out, columns in _columns_of(here):
            out[...] = tiles[: len(here), columns].swapaxes(1, 2)
    return y, Seen(image, grid)


def kernel_gradient(seen: Seen, w: Array, dy: Array, window: Window) -> Array:
    """The sums of `correlate`, transposed: sums of pixels times sums of dy, over tiles and batch.

    dy may be in halves: a last column without a pair is zero.
    """
    I, J, C, K = w.shape
    grid, N = seen.grid, dy.shape[-1]
    image = np.ascontiguousarray(seen.image.swapaxes(2, 3))  # OpenBLAS is twice as slow with both factors in rows of N
    dy = _with_border(dy, 0, 0, grid.R * grid.TH, grid.S * grid.TW)
    d_kernels = np.zeros((grid.n, grid.m, K, C), dy.dtype)
    for th in range(grid.TH):
        of_rows = multiplied(grid.of_rows[2].T, dy[grid.R * th : grid.R * (th + 1)].reshape(grid.R, -1))
        d_products = multiplied(grid.of_columns[2].T, of_rows.reshape(grid.n, grid.TW, grid.S, K * N))
        of_tiles = empty((grid.n, grid.TW, grid.m, K, C), dy.dtype)
        np.matmul(d_products.reshape(grid.n, grid.TW, grid.m, K, N), _sums_of_pixels(image, grid, th), out=of_tiles)
        d_kernels += np.add.reduce(of_tiles, axis=1)
    of_columns = multiplied(grid.of_columns[1].T, d_kernels.reshape(grid.n, grid.m, K * C))
    dw = multiplied(grid.of_rows[1].T, of_columns.reshape(grid.n, -1))
    return dw.reshape(I, J, K, C).swapaxes(2, 3)


def image_gradient(x_shape: tuple[int, ...], w: Array, dy: Array, window: Window) -> Array:
    """A correlation of dy with the kernel upside down. dy may be in halves: a last column without a pair is zero."""
    (I, J), (top, bottom), (left, right) = window.size, *window.padding
    missing = window.outputs(x_shape[0], x_shape[2])[1] - _width(dy)
    padding = (I - 1 - top, I - 1 - bottom), (J - 1 - left, J - 1 - right + missing)
    return correlate(dy, w[::-1, ::-1].swapaxes(2, 3), Window(window.size, padding=padding))[0]


def _sums_of_pixels(image: Array, grid: _Grid, th: int) -> Array:
    """What the tiles of row th multiply: (n, TW, m, ...) for image (height, width, ...)."""
    shape, size, row = image.shape[2:], math.prod(image.shape[2:]), image[0].size
    rows = multiplied(grid.of_rows[0], image[grid.R * th : grid.R * th + grid.n].reshape(grid.n, row))
    strides = (row, grid.S * size, size, 1)
    overlapping = np.ndarray(
        (grid.n, grid.TW, grid.m, size), image.dtype, rows, 0, [image.itemsize * step for step in strides]
    )
    return multiplied(grid.of_columns[0], overlapping).reshape(grid.n, grid.TW, grid.m, *shape)


def _with_border(x: Array, above: int, left: int, height: int, width: int) -> Array:
    """x (H, C, W, N) or in halves -> (height, width, C, N), zeros where it has no pixels."""
    H, W, C, N = len(x), _width(x), x.shape[-3], x.shape[-1]
    image = empty((height, width, C, N), x.dtype)
    image[:above] = 0
    image[above + H :] = 0
    rows = image[above : above + H]
    rows[:, :left] = 0
    rows[:, left + W :] = 0
    for pixels, columns in _columns_of(x):
        rows[:, left : left + W][:, columns] = pixels.swapaxes(1, 2)
    return image


def _width(x: Array) -> int:
    return 2 * x.shape[3] if x.ndim == 5 else x.shape[2]


def _columns_of(x: Array) -> list[tuple[Array, slice]]:
    """The parts of x that are (H, C, some columns, N), and which columns."""
    if x.ndim == 4:
        return [(x, slice(0, x.shape[2]))]
    return [(x[:, parity], slice(parity, 2 * x.shape[3], 2)) for parity in (0, 1)]
