"""Correlation on images stored (H, C, W, N), as matrix products of a few output rows at a time.

J copies of the image, each shifted by one column, are all that has to be copied, not I J patches: I consecutive rows of
the copies already are the operand of a matrix product, seen through an overlapping view. Large copies are made some
rows at a time, and made again for the gradient: that costs less than the memory to keep them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...ops.window import Window
from ..memory import LINE, empty, ones, parts
from .columns import Spread, output_shape, parities_of, shifted_columns, whole_rows, with_zeros
from .products import column_blocks, multiplied, pieces_of
from .rows import Image, LazyImage, pairs_of_rows, some_rows, steps, whole

Array = np.ndarray

BLOCK = 1 << 22  # bytes of shifted copies made at a time
ONE_PIXEL = Window((1, 1))


class _Blocking(NamedTuple):
    """What follows from the shapes: looked up, since to work it out takes as long as a small product.

    y_shape: of the output; blocks: output rows whose shifted copies are made at a time; parities: 2 in halves;
    pieces: into how many to cut the columns of a product.
    """

    y_shape: tuple[int, ...]
    blocks: list[slice]
    parities: int
    pieces: int


@lru_cache(maxsize=256)
def _blocking(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], window: Window, halves: bool, itemsize: int, block: int
) -> _Blocking:
    _, J, C, K = w_shape
    y_shape, parities = output_shape(x_shape, window, K, halves), 1 + halves
    P, _, *columns = y_shape[-4:]
    blocks = list(parts(P, J * C * parities * math.prod(columns) * itemsize, block))
    return _Blocking(y_shape, blocks, parities, pieces_of(math.prod(w_shape), math.prod(columns)))


class Residual(NamedTuple):
    """What `correlate` keeps for `gradients`: the image, and what `_stack` made of it if that was made at once."""

    x: Array
    window: Window
    blocking: _Blocking
    stack: Array | None


def correlate(x: Array, w: Array, window: Window, large: int | None = None) -> tuple[Image, Residual]:
    """x (H, C, W, N), w (I, J, C, K) -> y (P, K, Q, N).

    large: for a pool that looks at pairs of rows, y is (2, P, K, Q // 2, N) instead, even columns and then odd ones;
    the last of an odd number is left out. From `large` bytes on its rows are made while they are looked at.
    """
    blocking = _blocking(x.shape, w.shape, window, large is not None, x.itemsize, BLOCK)
    kernel = np.ascontiguousarray(w.reshape(-1, w.shape[3]).T)
    if large is not None and math.prod(blocking.y_shape) * x.itemsize >= large:
        return _by_rows(x, kernel, window, blocking)
    y = empty(blocking.y_shape, x.dtype)
    for rows in blocking.blocks:
        stack = _stack(x, window, rows, blocking)
        np.matmul(kernel, stack, out=_matrices(some_rows(y, rows), blocking.pieces))
    return y, Residual(x, window, blocking, stack if len(blocking.blocks) == 1 else None)


def residual(x: Array, w_shape: tuple[int, ...], window: Window) -> Residual:
    """What `correlate` keeps, where only `kernel_gradient` is wanted."""
    return Residual(x, window, _blocking(x.shape, w_shape, window, False, x.itemsize, BLOCK), None)


def correlate_in_order(x: Array, w: Array, window: Window) -> tuple[Array, Residual]:
    """`correlate` by a product for every output pixel, so that outputs with equal surroundings get equal bits.

    BLAS adds the terms of an element in an order that depends on where in the product it stands, and on the product's
    sizes, strides and, some, its place in memory beside cache lines. Here all of these are the same for all pixels.
    """
    N, line = x.shape[3], LINE // x.itemsize
    if N % line:
        y, _ = correlate_in_order(with_zeros(x, 3, 0, -(-N // line) * line), w, window)
        blocking = _blocking(x.shape, w.shape, window, False, x.itemsize, BLOCK)
        return np.ascontiguousarray(y[..., :N]), Residual(x, window, blocking, None)
    blocking = _blocking(x.shape, w.shape, window, False, x.itemsize, BLOCK)
    kernel = np.ascontiguousarray(w.reshape(-1, w.shape[3]).T)
    y = empty(blocking.y_shape, x.dtype)
    for rows in blocking.blocks:
        copies = _seen_columns(x, window, rows, False)
        pixels = _stack_rows(copies, window.size[0], window.stride[0], 1, y.shape[2])
        np.matmul(kernel, pixels, out=_matrices(y[rows], y.shape[2]))
    whole = len(blocking.blocks) == 1
    stack = _stack_rows(copies, window.size[0], window.stride[0], 1, blocking.pieces) if whole else None
    return y, Residual(x, window, blocking, stack)


def _by_rows(x: Array, kernel: Array, window: Window, blocking: _Blocking) -> tuple[LazyImage, Residual]:
    P = blocking.y_shape[1]
    stack = _stack(x, window, slice(0, P), blocking) if len(blocking.blocks) == 1 else None

    def fill(start: int, stop: int, out: Array) -> None:
        rows = slice(start, stop)
        seen = _stack(x, window, rows, blocking) if stack is None else stack[rows]
        np.matmul(kernel, seen, out=_matrices(out, blocking.pieces))

    step = pairs_of_rows(math.prod(blocking.y_shape) * x.itemsize // P)
    if stack is None:  # neighbours see rows in common, which are copied for each: for few rows that would cost too much
        step = max(step, 2 * window.size[0])
    return LazyImage(blocking.y_shape, x.dtype, step, fill), Residual(x, window, blocking, stack)


def _stack(x: Array, window: Window, rows: slice, blocking: _Blocking) -> Array:
    """What some output rows see: (rows, parities, pieces, I J C, columns of a piece)."""
    copies = _seen_columns(x, window, rows, blocking.parities == 2)
    return _stack_rows(copies, window.size[0], window.stride[0], blocking.parities, blocking.pieces)


def _matrices(y: Array, pieces: int) -> Array:
    """(P, K, Q, N), or in halves -> (P, parities, pieces, K, columns of a piece), a view."""
    P, K, columns, N = y.shape[-4:]
    return column_blocks(y.reshape(parities_of(y), P, K, columns * N).swapaxes(0, 1), pieces)


def gradients(residual: Residual, w: Array, dy: Image, need_dx: bool) -> tuple[Array | None, Array]:
    """dx as x, or None, and dw as w. dy (P, K, Q, N), or in halves."""
    if not need_dx:
        return None, kernel_gradient(residual, w, dy)
    x, window = residual.x, residual.window
    d_outputs = whole(dy)
    dw = kernel_gradient(residual, w, d_outputs)
    return image_gradient(x.shape, w, whole_rows(d_outputs, window.outputs(len(x), x.shape[2])[1]), window), dw


def kernel_gradient(residual: Residual, w: Array, dy: Image) -> Array:
    """dw[i,j,c,k] = sum over p,q,n of x[s p + i - top, c, t q + j - left, n] dy[p,k,q,n].

    dy may be in halves.
    """
    (x, window, blocking, kept), K = residual, w.shape[3]
    dw = np.zeros(w.size, dy.dtype)
    for rows in steps(dy, dy.shape[-4]) if kept is None and isinstance(dy, LazyImage) else blocking.blocks:
        pixels = _stack(x, window, rows, blocking) if kept is None else kept
        products = empty((*pixels.shape[:-1], K), dy.dtype)
        d_outputs = some_rows(dy, rows) if kept is None else dy
        for some in steps(d_outputs, len(pixels)):
            d_rows = _matrices(some_rows(d_outputs, some), blocking.pieces)
            np.matmul(pixels[some], d_rows.swapaxes(-1, -2), out=products[some])
            del d_rows
        products = products.reshape(-1, dw.size)
        dw += ones(len(products), dw.dtype).dot(products)
    return dw.reshape(w.shape)


def image_gradient(x_shape: tuple[int, ...], w: Array, dy: Array, window: Window) -> Array:
    """dx (H, C, W, N) = x_shape: for some image rows all that the output rows saw of them, then J shifted sums."""
    _, J, C, K = w.shape
    P, _, Q, N = dy.shape
    dx = empty(x_shape, dy.dtype)
    if window == ONE_PIXEL:
        multiplied(w.reshape(C, K), dy.reshape(P, K, Q * N), dx.reshape(P, C, Q * N))
        return dx
    most = max(1, BLOCK // (J * C * Q * N * dy.itemsize))
    step = window.stride[0]
    kernels = [w[phase::step][::-1].transpose(1, 2, 0, 3).reshape(J * C, -1) for phase in range(step)]
    for rows, seen_by, phase, taps in _rows_seen(x_shape[0], P, window, most):
        if taps.stop == taps.start:
            dx[rows] = 0
            continue
        seen = _stack_rows(dy[seen_by, None], taps.stop - taps.start, 1, 1, 1)[:, 0, 0]
        spread = Spread(len(seen), J, Q, window, x_shape, dx.dtype)
        multiplied(kernels[phase][:, K * taps.start : K * taps.stop], seen, spread.products)
        spread.sum(dx[rows])
    return dx


def _seen_columns(x: Array, window: Window, rows: slice, halves: bool) -> Array:
    """`shifted_columns` of the image rows that the output rows see, zeros where they see padding."""
    H = x.shape[0]
    step, top = window.stride[0], window.padding[0][0]
    first, stop = step * rows.start - top, step * (rows.stop - 1) + window.size[0] - top
    low, high = min(max(first, 0), H), max(min(stop, H), 0)
    if (low, high) == (first, stop):
        return shifted_columns(x[low:high], window, halves)
    return shifted_columns(x[low:high], window, halves, stop - first, max(low - first, 0))


def _stack_rows(a: Array, height: int, step: int, parities: int, pieces: int) -> Array:
    """View every `height` consecutive rows of a, `step` apart, as matrices: (rows, parities, pieces, features, L).

    a is contiguous, (rows, J, C, parities pieces L) or more axes for these.
    """
    count, J, C, *columns = a.shape
    line = math.prod(columns) * a.itemsize
    half = line // parities
    piece = half // pieces
    shape = (count - height) // step + 1, parities, pieces, height * J * C, piece // a.itemsize
    return np.ndarray(shape, a.dtype, a, 0, (step * J * C * line, half, piece, line, a.itemsize))


@lru_cache(maxsize=256)
def _rows_seen(H: int, P: int, window: Window, most: int) -> list[tuple[slice, slice, int, slice]]:
    """Image rows in groups that the same kernel rows saw: those rows, the output rows, the phase, the kernel rows.

    Output row p saw image row h = s p + i - top through kernel row i: phase is i modulo the stride s. The kernel rows
    of one phase count backwards, since the next output row saw h through the one before. Rows at the borders were seen
    by fewer, and get smaller products. A group has at most `most` rows.
    """
    step, top, I = window.stride[0], window.padding[0][0], window.size[0]
    groups: list[tuple[slice, slice, int, slice]] = []
    for h in sorted(range(H), key=lambda h: (h + top) % step):
        phase = (h + top) % step
        last = (h + top) // step  # the output row that saw h through the first kernel row of its phase
        count = len(range(phase, I, step))
        first = last + 1 - count
        start, stop = max(0, first), min(P, last + 1)
        taps = slice(start - first, max(start, stop) - first)
        if groups and groups[-1][2:] == (phase, taps) and len(range(H)[groups[-1][0]]) < most:
            rows, seen_by, _, _ = groups[-1]
            groups[-1] = slice(rows.start, h + 1, step), slice(seen_by.start, seen_by.stop + 1), phase, taps
        else:
            groups.append((slice(h, h + 1, step), slice(start, max(start, stop)), phase, taps))
    return groups
