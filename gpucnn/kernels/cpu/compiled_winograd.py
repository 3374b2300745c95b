"""`winograd_tiles`, its sums of pixels and of products compiled by numba: what a tile needs never leaves the cache.

What a tile sees of some images is summed, channel by channel; then come the products; then the sums of products that
are the outputs. Nothing else is written to memory, and no image is copied. The matrices of the sums are constants of
the compiled loops, so that their zeros cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ...ops.window import Window
from ..memory import CACHED, empty
from . import winograd_tiles
from .depthwise import Way
from .exact_zeros import occupied, restore
from .rows import Image, whole
from .winograd import transforms
from .winograd_tiles import Grid, gradient_of_kernel, grid_of, sums_of_kernel

Array = np.ndarray

FEW, MANY = 32, 128  # images of a tile at a time: fewer make slow products
BUDGET = 3 * CACHED  # bytes of a tile's sums

compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
unsigned = np.uint64  # an index that cannot be negative: numba counts such from the end, and then loops have no vectors


class _Residual(NamedTuple):
    """What `correlate` keeps for `gradients`: the image, and the kernel's sums (n m, K, C)."""

    x: Array
    kernels: Array
    window: Window


class _Loops(NamedTuple):
    """Over one tile. see: pixels -> their sums; make: sums of products -> outputs; unmake: the gradient of `make`;
    unsee: that of `see`, which is added to the pixels'.
    """

    see: Any
    make: Any
    unmake: Any
    unsee: Any


def _loops_of(grid: Grid) -> _Loops:
    return _loops(grid.R, grid.of_rows[1].shape[1], grid.S, grid.of_columns[1].shape[1], grid.of_rows[0].dtype)


@lru_cache(maxsize=64)
def _loops(R: int, I: int, S: int, J: int, dtype: Any) -> _Loops:
    (rows, _, of_rows), (columns, _, of_columns) = transforms(R, I, dtype), transforms(S, J, dtype)
    see, unmake = _gathering(rows, columns), _gathering(_transposed(of_rows), _transposed(of_columns))
    make = _scattering(of_rows, of_columns)
    return _Loops(see, make, unmake, _scattering(_transposed(rows), _transposed(columns)))


def _transposed(matrix: Array) -> Array:
    return np.ascontiguousarray(matrix.T)


def correlate(x: Array, w: Array, window: Window, large: int | None = None) -> tuple[Image, Any]:
    """x (H, C, W, N), w (I, J, C, K) -> y (P, K, Q, N). For a pool, and for few images, as `winograd_tiles` does."""
    if large is not None or x.shape[3] < FEW:
        return winograd_tiles.correlate(x, w, window, large)
    (P, Q), (C, K), N = window.outputs(x.shape[0], x.shape[2]), w.shape[2:], x.shape[3]
    grid, (top, left) = grid_of(P, Q, window, x.dtype), (padding[0] for padding in window.padding)
    points, loops = grid.n * grid.m, _loops_of(grid)
    kernels = np.ascontiguousarray(sums_of_kernel(w, grid).reshape(points, C, K).swapaxes(1, 2))
    y = empty((P, K, Q, N), x.dtype)
    for images in _images(grid, C + K, N, x.itemsize):
        count = images.stop - images.start
        sums, products = empty((points, C, count), x.dtype), empty((points, K, count), x.dtype)
        for row, column in _tiles(grid):
            loops.see(x, row - top, column - left, images.start, sums)
            np.matmul(kernels, sums, out=products)
            loops.make(products, y, row, column, images.start, 0, 0)
    return y, _Residual(x, kernels, window)


def gradients(residual: Any, w: Array, dy: Image, need_dx: bool) -> tuple[Array | None, Array]:
    """`correlate` transposed, step by step: dx (H, C, W, N) or None, and dw as w. dy (P, K, Q, N)."""
    if not isinstance(residual, _Residual):
        return winograd_tiles.gradients(residual, w, dy, need_dx)
    (x, kernels, window), d_outputs = residual, whole(dy)
    (P, K, Q, N), C = d_outputs.shape, x.shape[1]
    grid, (top, left) = grid_of(P, Q, window, x.dtype), (padding[0] for padding in window.padding)
    points, loops = grid.n * grid.m, _loops_of(grid)
    d_kernels, dx = np.zeros(kernels.shape, dy.dtype), empty(x.shape, dy.dtype) if need_dx else None
    above, before = grid.n - grid.R, grid.m - grid.S  # what neighbouring tiles see in common
    of_tile = empty(kernels.shape, dy.dtype)
    for images in _images(grid, C + K, N, x.itemsize):
        count = images.stop - images.start
        sums, d_products = empty((points, C, count), x.dtype), empty((points, K, count), x.dtype)
        for row, column in _tiles(grid):
            loops.unmake(d_outputs, row, column, images.start, d_products)
            loops.see(x, row - top, column - left, images.start, sums)
            d_kernels += np.matmul(d_products, sums.swapaxes(1, 2), out=of_tile)
            if dx is not None:
                np.matmul(kernels.swapaxes(1, 2), d_products, out=sums)
                in_common = above if row else 0, before if column else 0
                loops.unsee(sums, dx, row - top, column - left, images.start, *in_common)
    dw = gradient_of_kernel(d_kernels.reshape(grid.n, grid.m, K, C), grid)
    restore(dw, dx, occupied(x, columns=True), occupied(d_outputs, columns=True), window)
    return dx, dw


def _images(grid: Grid, channels: int, N: int, itemsize: int) -> list[slice]:
    """The images in parts, as many at a time as lets the sums of a tile stay in the cache."""
    count, of_one = MANY, grid.n * grid.m * channels * itemsize
    while count > FEW and count * of_one > BUDGET:
        count //= 2
    return [slice(start, min(start + count, N)) for start in range(0, N, count)]


def _tiles(grid: Grid) -> Iterator[tuple[int, int]]:
    """The first row and column of each tile of outputs, row by row."""
    return ((grid.R * th, grid.S * tw) for th in range(grid.TH) for tw in range(grid.TW))


def _gathering(of_rows: Array, of_columns: Array) -> Any:
    """The compiled loop that multiplies tiles of an image by the matrices (n, rows) and (m, columns)."""
    (n, rows), (m, columns) = of_rows.shape, of_columns.shape
    zero, one = of_rows.dtype.type(0), of_rows.dtype.type(1)

    @compiled
    def gather(x: Array, h: int, w: int, start: int, sums: Array) -> None:
        """x (H, C, W, N) -> sums (n m, C, images) of the tile at row h and column w, of some images from `start` on.

        Beyond its borders x is 0.
        """
        H, C, W, N = x.shape
        count = sums.shape[2]
        pixels, out = x.reshape(-1), sums.reshape(-1)
        row, point = C * W * N, C * count
        room = np.empty((n * columns + m) * MANY, x.dtype)
        last = n * columns * MANY
        inside = h >= 0 and h + rows <= H
        for c in range(C):
            for j in range(columns):
                if w + j < 0 or w + j >= W:
                    for a in range(n):
                        for k in range(count):
                            room[unsigned((a * columns + j) * MANY + k)] = zero
                    continue
                first = (c * W + w + j) * N + start
                if inside:
                    for k in range(count):
                        for a in range(n):
                            total = zero
                            for i in range(rows):
                                if of_rows[a, i] != 0:
                                    total += of_rows[a, i] * pixels[unsigned(first + (h + i) * row + k)]
                            room[unsigned((a * columns + j) * MANY + k)] = total
                else:  # a pixel outside is 0 times one of the tile
                    for k in range(count):
                        for a in range(n):
                            total = zero
                            for i in range(rows):
                                if of_rows[a, i] != 0:
                                    nearest = min(max(h + i, 0), H - 1)
                                    factor = of_rows[a, i] * (one if nearest == h + i else zero)
                                    total += factor * pixels[unsigned(first + nearest * row + k)]
                            room[unsigned((a * columns + j) * MANY + k)] = total
            for a in range(n):
                for k in range(count):
                    for b in range(m):
                        total = zero
                        for j in range(columns):
                            if of_columns[b, j] != 0:
                                total += of_columns[b, j] * room[unsigned((a * columns + j) * MANY + k)]
                        room[unsigned(last + b * MANY + k)] = total
                for b in range(m):
                    place = (a * m + b) * point + c * count
                    for k in range(count):
                        out[unsigned(place + k)] = room[unsigned(last + b * MANY + k)]

    return gather


def _scattering(of_rows: Array, of_columns: Array) -> Any:
    """The compiled loop that multiplies sums by the matrices (rows, n) and (columns, m)."""
    (rows, n), (columns, m) = of_rows.shape, of_columns.shape
    zero = of_rows.dtype.type(0)

    @compiled
    def scatter(sums: Array, y: Array, h: int, w: int, start: int, above: int, left: int) -> None:
        """sums (n m, K, images) -> y (P, K, Q, N): the tile at row h and column w, as far as it lies in the image.

        above, left: how many of its rows, and of its columns, are added to what stands there.
        """
        P, K, Q, N = y.shape
        count = sums.shape[2]
        given, pixels = sums.reshape(-1), y.reshape(-1)
        row, point = K * Q * N, K * count
        room = np.empty((rows * m + columns) * MANY, y.dtype)
        last = rows * m * MANY
        for c in range(K):
            for b in range(m):
                first = b * point + c * count
                for k in range(count):
                    for i in range(rows):
                        total = zero
                        for a in range(n):
                            if of_rows[i, a] != 0:
                                total += of_rows[i, a] * given[unsigned(first + a * m * point + k)]
                        room[unsigned((i * m + b) * MANY + k)] = total
            for i in range(max(0, -h), min(rows, P - h)):
                for k in range(count):
                    for j in range(columns):
                        total = zero
                        for b in range(m):
                            if of_columns[j, b] != 0:
                                total += of_columns[j, b] * room[unsigned((i * m + b) * MANY + k)]
                        room[unsigned(last + j * MANY + k)] = total
                for j in range(max(0, -w), min(columns, Q - w)):
                    place = (h + i) * row + (c * Q + w + j) * N + start
                    if i < above or j < left:
                        for k in range(count):
                            pixels[unsigned(place + k)] += room[unsigned(last + j * MANY + k)]
                    else:
                        for k in range(count):
                            pixels[unsigned(place + k)] = room[unsigned(last + j * MANY + k)]

    return scatter


COMPILED_TILES = Way(correlate, gradients)
