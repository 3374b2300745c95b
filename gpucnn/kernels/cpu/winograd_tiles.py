"""Correlation with still fewer multiplications, for very many channels: Winograd's filtering along rows and columns.

A tile of R x S outputs sees n x m pixels, n = R + I - 1 and m = S + J - 1. Pixels become n m sums of theirs, the kernel
as many; of each pair one product over channels; and sums of the products are the tile: for 5 x 5 kernels and tiles of
4 x 4 that is 64 products instead of 400. All these sums are matrix products too, over long contiguous runs, because in
this file columns stand outside channels: (H, W, C, N).

In single precision the errors are about five times those of the direct sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...ops.window import Window
from ..memory import CACHED, LINE, copy, empty, parts
from .exact_zeros import occupied, restore, together
from .products import multiplied
from .rows import Image, LazyImage, some_rows, whole
from .winograd import POINTS, applies, tile, transforms

Array = np.ndarray

# OpenBLAS is up to twice as slow where both factors of a product end in N. Between these bounds an image is not turned.
LONG_RUNS, WIDE = 64, 64  # images at least, and channels less than that


class Grid(NamedTuple):
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
def grid_of(P: int, Q: int, window: Window, dtype: Any) -> Grid:
    (I, J), R, S = window.size, tile(P, window.size[0]), tile(Q, window.size[1])
    TH, TW = -(-P // R), -(-Q // S)
    height, width = R * TH + I - 1, S * TW + J - 1
    return Grid(TH, TW, R, S, R + I - 1, S + J - 1, height, width, transforms(R, I, dtype), transforms(S, J, dtype))


def is_worthwhile(height: int, width: int, kernel: tuple[int, ...], window: Window, channels: int) -> bool:
    """Whether this saves two thirds of the products, of an image (height, width) and a kernel (I, J, C, K).

    C and K must be at least `channels`.
    """
    if not applies(kernel, window, channels):
        return False
    (I, J), (P, Q) = window.size, window.outputs(height, width)
    R, S = tile(P, I), tile(Q, J)
    n, m = R + I - 1, S + J - 1
    return max(n, m) <= len(POINTS) + 1 and 3 * -(-P // R) * n * -(-Q // S) * m <= P * I * Q * J


class Residual(NamedTuple):
    """What `correlate` keeps for `gradients`.

    image: with its border, (height, width, C, N); kernels: their sums, (n, 1, m, K, C).
    """

    image: Array
    kernels: Array
    grid: Grid
    x_shape: tuple[int, ...]
    window: Window


def correlate(x: Array, w: Array, window: Window, large: int | None = None) -> tuple[Image, Residual]:
    """x (H, C, W, N), w (I, J, C, K) -> y (P, K, Q, N).

    large: for a pool that looks at pairs of rows, y is (2, P, K, Q // 2, N) in halves instead, and where tiles have an
    even number of rows these are made while they are looked at.
    """
    residual = _residual(x, w, window)
    (P, Q), R = window.outputs(x.shape[0], x.shape[2]), residual.grid.R
    if large is None:
        y = empty((P, w.shape[3], Q, x.shape[3]), x.dtype)
        for th in range(residual.grid.TH):
            _correlate_tiles(residual, th, y[R * th : R * (th + 1)])
        return y, residual

    def fill(start: int, stop: int, out: Array) -> None:
        _correlate_tiles(residual, start // R, out)

    by_rows = LazyImage((2, P, w.shape[3], Q // 2, x.shape[3]), x.dtype, R, fill)
    return (whole(by_rows) if R % 2 else by_rows), residual


def _residual(x: Array, w: Array, window: Window) -> Residual:
    P, Q = window.outputs(x.shape[0], x.shape[2])
    grid = grid_of(P, Q, window, x.dtype)
    image = _with_border(x, window.padding[0][0], window.padding[1][0], grid.height, grid.width)
    return Residual(image, np.ascontiguousarray(sums_of_kernel(w, grid).swapaxes(-1, -2)), grid, x.shape, window)


def _correlate_tiles(residual: Residual, th: int, y: Array) -> None:
    """The outputs of the tiles of row th, or the first rows of them."""
    grid, kernels, (K, C), N = residual.grid, residual.kernels, residual.kernels.shape[-2:], residual.x_shape[3]
    of_rows = _sums_of_rows(residual.image, grid, th)
    rows = empty((grid.n, grid.TW, grid.S, K * N), y.dtype)
    for some in _few(grid, C, K, N, y.itemsize):
        sums = _sums_of_columns(of_rows[some], grid)
        products = empty((*sums.shape[:3], K, N), y.dtype)
        np.matmul(kernels[some], sums.reshape(*sums.shape[:3], C, N), out=products)
        multiplied(grid.of_columns[2], products.reshape(*sums.shape[:3], K * N), rows[some])
        del sums, products  # so that the next ones lie where these are
    tiles = multiplied(grid.of_rows[2], rows.reshape(grid.n, -1)).reshape(grid.R, grid.TW * grid.S, K, N)
    for out, columns in _columns_of(y):
        copy(tiles[: len(out), columns].swapaxes(1, 2), out)


def gradients(residual: Residual, w: Array, dy: Image, need_dx: bool) -> tuple[Array | None, Array]:
    """`correlate` transposed, step by step: dx (H, C, W, N) or None, and dw as w. dy (P, K, Q, N), or in halves."""
    (H, C, width, N), K, grid = residual.x_shape, w.shape[3], residual.grid
    (top, _), (left, _) = residual.window.padding
    n, m, R, S = grid.n, grid.m, grid.R, grid.S
    image = residual.image
    if N < LONG_RUNS or max(C, K) >= WIDE:
        turned = empty((*image.shape[:2], N, C), image.dtype)
        turned[...] = image.swapaxes(2, 3)
        image = turned.swapaxes(2, 3)
    d_kernels, dx = empty((n, m, K, C), dy.dtype), empty(residual.x_shape, dy.dtype) if need_dx else None
    d_kernels[...] = 0
    seen = [] if isinstance(dy, LazyImage) else [occupied(dy, columns=True)]
    above: Array | None = None  # what the tiles above have for rows of these
    for th in range(grid.TH):
        d_rows = some_rows(dy, slice(R * th, min(R * (th + 1), dy.shape[-4])))
        if isinstance(dy, LazyImage):
            seen.append(occupied(d_rows, columns=True))
        d_outputs = _with_border(d_rows, 0, 0, R, S * grid.TW)
        del d_rows
        d_tiles = empty((n, (grid.TW + (m - 1) // S) * S * C * N), dy.dtype) if need_dx else None
        _gradients_of_tiles(residual, image, th, d_outputs, d_kernels, d_tiles)
        if dx is None or d_tiles is None:
            continue
        if above is not None:
            d_tiles[: n - R] += above
        above, start = d_tiles[R:], R * th - top
        done = slice(max(0, start), H if th == grid.TH - 1 else max(0, min(H, start + R)))
        of_image = d_tiles.reshape(n, -1, C, N)[done.start - start : done.stop - start, left : left + width]
        copy(of_image.swapaxes(1, 2), dx[done])
    dw = gradient_of_kernel(d_kernels, grid)
    pixels = residual.image[top : top + H, left : left + width].swapaxes(1, 2)
    restore(dw, dx, occupied(pixels, columns=True), together(seen), residual.window)
    return dx, dw


def _gradients_of_tiles(
    residual: Residual, image: Array, th: int, d_outputs: Array, d_kernels: Array, d_tiles: Array | None
) -> None:
    """What the tiles of row th add to d_kernels (n, m, K, C), and d_tiles (n, columns C N) of the rows they saw.

    image (height, width, C, N), or a view of one stored as (height, width, N, C); d_outputs (R, S TW, K, N).
    """
    grid, (C, N), K = residual.grid, image.shape[2:], d_outputs.shape[2]
    ends_in_images = image.flags.c_contiguous
    image = image if ends_in_images else image.swapaxes(2, 3)
    n, m, TW, S = grid.n, grid.m, grid.TW, grid.S
    d_rows = multiplied(grid.of_rows[2].T, d_outputs.reshape(grid.R, -1)).reshape(n, TW, S, K * N)
    of_rows = _sums_of_rows(image, grid, th)
    if d_tiles is not None:
        d_columns = empty((n, TW + (m - 1) // S, m, C * N), d_tiles.dtype)
    for some in _few(grid, C, K, N, d_outputs.itemsize):
        d_products = multiplied(grid.of_columns[2].T, d_rows[some]).reshape(-1, TW, m, K, N)
        if d_tiles is not None:
            d_sums = empty((len(d_products), TW, m, C, N), d_products.dtype)
            np.matmul(residual.kernels[some].swapaxes(-1, -2), d_products, out=d_sums)
            multiplied(grid.of_columns[0].T, d_sums.reshape(-1, TW, m, C * N), d_columns[some, :TW])
            _add_overlaps(d_columns[some], S)
            del d_sums  # so that the sums of pixels lie where these are
        of_tiles = empty((len(d_products), TW, m, K, C), d_products.dtype)
        sums = _sums_of_columns(of_rows[some], grid).reshape(-1, TW, m, *image.shape[2:])
        np.matmul(d_products, sums.swapaxes(-1, -2) if ends_in_images else sums, out=of_tiles)
        d_kernels[some] += np.add.reduce(of_tiles, axis=1)
        del d_products, sums, of_tiles
    if d_tiles is not None:
        columns = d_columns[:, :, :S].reshape(*d_columns.shape[:2], -1)
        if n > 6 or columns[0, 0].nbytes % LINE:  # then OpenBLAS rounds another way where a row ends: one row, copied
            columns = columns.reshape(n, 1, -1)
        multiplied(grid.of_rows[0].T, columns.swapaxes(0, 1), d_tiles.reshape(columns.shape).swapaxes(0, 1))


def _add_overlaps(tiles: Array, S: int) -> None:
    """Add to the first S columns of each tile what those before it have for them. tiles (rows, count, m, L), each S
    columns behind the one before; the last (m - 1) // S are not written yet.
    """
    count, m = tiles.shape[1:3]
    TW = count - (m - 1) // S
    tiles[:, TW:, :S] = 0
    for start in range(S, m, S):
        later, first = tiles[:, :TW, start : start + S], start // S
        tiles[:, first : first + TW, : later.shape[2]] += later


def _few(grid: Grid, C: int, K: int, N: int, itemsize: int) -> Iterator[slice]:
    """The n sums of rows, a few at a time: all that comes of them stays in the cache until it is added up."""
    return parts(grid.n, grid.TW * grid.m * (C + K) * N * itemsize, 3 * CACHED)


def sums_of_kernel(w: Array, grid: Grid) -> Array:
    """(n, 1, m, C, K)."""
    I, J, C, K = w.shape
    of_rows = multiplied(grid.of_rows[1], w.reshape(I, -1)).reshape(grid.n, J, C * K)
    return multiplied(grid.of_columns[1], of_rows).reshape(grid.n, 1, grid.m, C, K)


def gradient_of_kernel(d_kernels: Array, grid: Grid) -> Array:
    """dw (I, J, C, K) of d_kernels (n, m, K, C)."""
    (n, m, K, C), (of_rows, of_columns) = d_kernels.shape, (grid.of_rows[1], grid.of_columns[1])
    along_columns = multiplied(of_columns.T, d_kernels.reshape(n, m, K * C))
    return multiplied(of_rows.T, along_columns.reshape(n, -1)).reshape(-1, of_columns.shape[1], K, C).swapaxes(2, 3)


def _sums_of_rows(image: Array, grid: Grid, th: int) -> Array:
    """What the tiles of row th see: (n, width, ...) for image (height, width, ...)."""
    row = image[0].size
    rows = multiplied(grid.of_rows[0], image[grid.R * th : grid.R * th + grid.n].reshape(grid.n, row))
    return rows.reshape(grid.n, *image.shape[1:])


def _sums_of_columns(rows: Array, grid: Grid) -> Array:
    """What those tiles multiply: (n, TW, m, size) for rows (n, width, ...)."""
    size, row = math.prod(rows.shape[2:]), rows[0].size
    strides = (row, grid.S * size, size, 1)
    overlapping = np.ndarray(
        (len(rows), grid.TW, grid.m, size), rows.dtype, rows, 0, [rows.itemsize * step for step in strides]
    )
    return multiplied(grid.of_columns[0], overlapping)


def _with_border(x: Array, above: int, left: int, height: int, width: int) -> Array:
    """x (H, C, W, N), or in halves -> (height, width, C, N), zeros where it has no pixels."""
    parts = _columns_of(x)
    H, C, N, W = x.shape[-4], x.shape[-3], x.shape[-1], parts[-1][1].stop
    image = empty((height, width, C, N), x.dtype)
    image[:above] = 0
    image[above + H :] = 0
    rows = image[above : above + H]
    rows[:, :left] = 0
    rows[:, left + W :] = 0
    for pixels, columns in parts:
        copy(pixels.swapaxes(1, 2), rows[:, left : left + W][:, columns])
    return image


def _columns_of(y: Array) -> list[tuple[Array, slice]]:
    """The parts of y, whole or in halves, that are (P, K, some columns, N), and which columns."""
    if y.ndim == 4:
        return [(y, slice(0, y.shape[2]))]
    return [(y[parity], slice(parity, 2 * y.shape[3], 2)) for parity in (0, 1)]
