"""Correlation on images stored (H, C, W, N), as matrix products of a few output rows at a time.

J copies of the image, each shifted by one column, are all that has to be copied, not I J patches: I consecutive rows of
the copies already are the operand of a matrix product, seen through an overlapping view. Large copies are made some
rows at a time, and made again for the gradient: that costs less than the memory to keep them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..ops.window import Window
from .memory import copy, empty, ones, parts, same_zeros
from .rows import Rows, pairs_of_rows, some_rows, steps, whole

Array = np.ndarray

SMALL_PRODUCT = 1_000_000  # multiplications; above this OpenBLAS copies its operands before it starts
BLOCK = 1 << 22  # bytes of shifted copies made at a time


def is_fast(window: Window, groups: int) -> bool:
    """Whether `correlate` takes this geometry: one group, no gaps inside the kernel."""
    return groups == 1 and not window.is_dilated


class _Plan(NamedTuple):
    """What follows from the shapes: looked up, since to work it out takes as long as a small product.

    y_shape: of the output; blocks: output rows whose shifted copies are made at a time; parities: 2 in halves;
    pieces: into how many to cut the columns of a product.
    """

    y_shape: tuple[int, ...]
    blocks: list[slice]
    parities: int
    pieces: int


@lru_cache(maxsize=256)
def _plan(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], window: Window, halves: bool, itemsize: int, block: int
) -> _Plan:
    H, _, width, N = x_shape
    (P, parities, Q), (_, J, C, K) = _outputs(H, width, window, halves), w_shape
    y_shape = (P, K, Q, N) if parities == 1 else (2, P, K, Q, N)
    blocks = list(parts(P, J * C * parities * Q * N * itemsize, block))
    return _Plan(y_shape, blocks, parities, _pieces(math.prod(w_shape), Q * N))


class Seen(NamedTuple):
    """What `correlate` keeps for `gradients`: the image, and what `_stack` made of it if that was made at once."""

    x: Array
    window: Window
    plan: _Plan
    stack: Array | None


def correlate(x: Array, w: Array, window: Window, halves: bool = False) -> tuple[Array, Seen]:
    """x (H, C, W, N), w (I, J, C, K) -> y (P, K, Q, N).

    halves: y (2, P, K, Q // 2, N) instead, even columns and then odd ones; the last of an odd number is left out.
    """
    plan = _plan(x.shape, w.shape, window, halves, x.itemsize, BLOCK)
    y = empty(plan.y_shape, x.dtype)
    kernel = _matrix(w)
    for rows in plan.blocks:
        stack = _stack(x, window, rows, plan)
        np.matmul(kernel, stack, out=_matrices(some_rows(y, rows), plan.pieces))
    return y, Seen(x, window, plan, stack if len(plan.blocks) == 1 else None)


def correlate_for_pool(x: Array, w: Array, window: Window, large: int) -> tuple[Array | Rows, Seen]:
    """`correlate` in halves for one who looks at pairs of rows; from `large` bytes on the result is made meanwhile."""
    plan = _plan(x.shape, w.shape, window, True, x.itemsize, BLOCK)
    size = math.prod(plan.y_shape) * x.itemsize
    if size < large or len(plan.blocks) > 1:
        return correlate(x, w, window, True)
    P = plan.y_shape[1]
    kernel, stack = _matrix(w), _stack(x, window, slice(0, P), plan)

    def fill(start: int, stop: int, out: Array) -> None:
        np.matmul(kernel, stack[start:stop], out=_matrices(out, plan.pieces))

    return Rows(plan.y_shape, x.dtype, pairs_of_rows(size // P), fill), Seen(x, window, plan, stack)


def _matrix(w: Array) -> Array:
    """(I, J, C, K) -> (K, I J C)."""
    return np.ascontiguousarray(w.reshape(-1, w.shape[3]).T)


def _stack(x: Array, window: Window, rows: slice, plan: _Plan) -> Array:
    """What some output rows see: (rows, parities, pieces, I J C, columns of a piece)."""
    copies = _seen_columns(x, window, rows, plan.parities == 2)
    return _stack_rows(copies, window.size[0], window.stride[0], plan.parities, plan.pieces)


def _matrices(y: Array, pieces: int) -> Array:
    """(P, K, Q, N), or in halves -> (P, parities, pieces, K, columns of a piece), a view."""
    P, K, columns, N = y.shape[-4:]
    return column_blocks(y.reshape(-1, P, K, columns * N).swapaxes(0, 1), pieces)


def gradients(seen: Seen, w: Array, dy: Array | Rows, need_dx: bool) -> tuple[Array | None, Array]:
    """dx as x, or None, and dw as w. dy (P, K, Q, N), or in halves."""
    if not need_dx:
        return None, kernel_gradient(seen, w, whole(dy) if seen.stack is None else dy)
    x, window = seen.x, seen.window
    d_outputs = whole(dy)
    dw = kernel_gradient(seen, w, d_outputs)
    return image_gradient(x.shape, w, whole_rows(d_outputs, window.outputs(len(x), x.shape[2])[1]), window), dw


def kernel_gradient(seen: Seen, w: Array, dy: Array | Rows) -> Array:
    """dw[i,j,c,k] = sum over p,q,n of x[s p + i - top, c, t q + j - left, n] dy[p,k,q,n].

    dy may be in halves.
    """
    (x, window, plan, kept), K = seen, w.shape[3]
    dw = np.zeros(w.size, dy.dtype)
    for rows in plan.blocks:
        pixels = _stack(x, window, rows, plan) if kept is None else kept
        products = empty((*pixels.shape[:-1], K), dy.dtype)
        d_outputs = dy if isinstance(dy, Rows) else some_rows(dy, rows)
        for some in steps(d_outputs, len(pixels)):
            d_rows = _matrices(some_rows(d_outputs, some), plan.pieces)
            np.matmul(pixels[some], d_rows.swapaxes(-1, -2), out=products[some])
        products = products.reshape(-1, dw.size)
        dw += ones(len(products), dw.dtype).dot(products)
    return dw.reshape(w.shape)


def image_gradient(x_shape: tuple[int, ...], w: Array, dy: Array, window: Window) -> Array:
    """dx (H, C, W, N) = x_shape: for some image rows all that the output rows saw of them, then J shifted sums."""
    _, J, C, K = w.shape
    P, _, Q, N = dy.shape
    dx = empty(x_shape, dy.dtype)
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


def output_shape(x: Array, window: Window, K: int, halves: bool) -> tuple[int, ...]:
    """(P, K, Q, N), or in halves (2, P, K, Q // 2, N), for x (H, C, W, N)."""
    P, _, columns = _outputs(x.shape[0], x.shape[2], window, halves)
    return (*(2,) * halves, P, K, columns, x.shape[3])


@lru_cache(maxsize=256)
def _outputs(H: int, width: int, window: Window, halves: bool) -> tuple[int, int, int]:
    """(P, 1, Q), or in halves (P, 2, Q // 2)."""
    P, Q = window.outputs(H, width)
    return (P, 2, Q // 2) if halves else (P, 1, Q)


def _seen_columns(x: Array, window: Window, rows: slice, halves: bool) -> Array:
    """`shifted_columns` of the image rows that the output rows see, zeros where they see padding."""
    H = x.shape[0]
    step, top = window.stride[0], window.padding[0][0]
    first, stop = step * rows.start - top, step * (rows.stop - 1) + window.size[0] - top
    low, high = min(max(first, 0), H), max(min(stop, H), 0)
    if (low, high) == (first, stop):
        return shifted_columns(x[low:high], window, halves)
    return shifted_columns(x[low:high], window, halves, stop - first, max(low - first, 0))


def shifted_columns(x: Array, window: Window, halves: bool, count: int | None = None, above: int = 0) -> Array:
    """copies[above + h, j, c, q, n] = x[h, c, t q + j - left, n], zeros outside the image; `count` rows in all.

    x is contiguous, or some rows of an array that is. halves: (..., c, 2, q // 2, n), even q and then odd ones.
    """
    H, C, width, N = x.shape
    count = H if count is None else count
    J, (_, *columns) = window.size[1], _outputs(H, width, window, halves)
    if J == 1 and columns == [1, width] and count == H and not any(window.padding[1]):
        return x[:, None]
    copies = empty((count, J, C, *columns, N), x.dtype)
    if count > H:
        copies[:above] = 0
        copies[above + H :] = 0
    padded = _with_columns(x, window.padding[1])
    pixel, channel = N * x.itemsize, padded.shape[2] * N * x.itemsize
    step = window.stride[1] * pixel
    runs, strides = [*columns, N], [step, step * columns[0], x.itemsize]
    if columns[0] == window.stride[1] == 1:  # whole rows lie side by side
        runs, strides = [columns[1] * N], [x.itemsize]
    seen = np.ndarray((H, J, C, *runs), x.dtype, padded, 0, (C * channel, pixel, channel, *strides))
    copy(seen, copies[above : above + H].reshape(seen.shape))
    return copies


def _with_columns(x: Array, padding: tuple[int, int]) -> Array:
    """x with columns of zeros on the left and on the right."""
    left, right = padding
    if not left + right:
        return x
    H, C, width, N = x.shape
    padded = empty((H, C, left + width + right, N), x.dtype)
    padded[:, :, :left] = 0
    padded[:, :, left : left + width] = x
    padded[:, :, left + width :] = 0
    return padded


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


def multiplied(a: Array, stack: Array, out: Array | None = None) -> Array:
    """a (M, K) times every matrix of stack (..., K, L): (..., M, L)."""
    if out is None:
        out = empty((*stack.shape[:-2], len(a), stack.shape[-1]), stack.dtype)
    pieces = _pieces(a.size, stack.shape[-1])
    np.matmul(a, column_blocks(stack, pieces), out=column_blocks(out, pieces))
    return out


@lru_cache(maxsize=256)
def _pieces(size: int, L: int) -> int:
    """Into how many pieces to cut L columns, for products of size * L / pieces multiplications.

    OpenBLAS copies the operands of products of more than a million before it starts, and then is up to twice as slow.
    """
    pieces = 1
    while size * L > SMALL_PRODUCT * pieces and L % (2 * pieces) == 0 and L // pieces >= 256:
        pieces *= 2
    return pieces if size * L <= SMALL_PRODUCT * pieces else 1


def column_blocks(stack: Array, blocks: int) -> Array:
    """(..., K, L) -> (..., blocks, K, L / blocks), a view."""
    if blocks == 1:
        return stack[..., None, :, :]
    *rows, K, L = stack.shape
    return stack.reshape(*rows, K, blocks, L // blocks).swapaxes(-2, -3)


def whole_rows(halves: Array, Q: int) -> Array:
    """(2, P, K, Q // 2, N), even columns and then odd ones -> (P, K, Q, N); a last column that has no pair is zero."""
    if halves.ndim == 4:
        return halves
    _, P, K, half, N = halves.shape
    columns = empty((P, K, Q, N), halves.dtype)
    columns[:, :, 2 * half :] = 0
    copy(halves.transpose(1, 2, 3, 0, 4), columns[:, :, : 2 * half].reshape(P, K, half, 2, N))
    return columns


class Spread:
    """What every output row contributes to image rows: J sums of columns, before they are shifted and added up.

    products (rows, J C, Q N) is where to write them. With columns one apart, each row of products ends in J - 1 columns
    of zeros, so that a shifted row reads zeros wherever it leaves the image: then one call adds up all J. A thread may
    have one at a time: the memory is the same, so that the zeros need not be written again.
    """

    def __init__(self, rows: int, J: int, Q: int, window: Window, x_shape: tuple[int, ...], dtype: Any) -> None:
        _, C, width, N = x_shape
        left = window.padding[1][0]
        self.window, self.width = window, width
        self.aligned = window.stride[1] == 1 and left < J
        pitch = (Q + J - 1) * N if self.aligned else Q * N
        before = (J - 1) * N  # the first row's zeros
        memory = same_zeros((before + rows * J * C * pitch,), dtype, (pitch, Q * N))
        every = memory[before:].reshape(rows, J * C, pitch)
        self.products = every[:, :, : Q * N]
        self._columns = every.reshape(rows, J, C, -1, N)
        if self.aligned:
            item = memory.itemsize
            strides = (J * C * pitch * item, (C * pitch - N) * item, pitch * item, N * item, item)
            shifted = (before + left * N) * item
            self._shifted = np.ndarray((rows, J, C, width, N), dtype, memory, shifted, strides)

    def sum(self, dx: Array) -> None:
        """dx[h, c, t q + j - left, n] = sum over j of products[h, j c, q n]."""
        if self.aligned:
            np.add.reduce(self._shifted, axis=1, out=dx)
            return
        dx[...] = 0
        for j in range(self.window.size[1]):
            seen, pixels = self.window.reach(1, j, self.width)
            dx[:, :, pixels] += self._columns[:, j, :, seen]


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
