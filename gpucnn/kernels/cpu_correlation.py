"""Correlation on images stored (H, C, W, N), as matrix products of a few output rows at a time.

J copies of the image, each shifted by one column, are all that has to be copied, not I J patches: I consecutive rows of
the copies already are the operand of a matrix product, seen through an overlapping view. The copies of a few rows fit
the cache, and are made again for the gradient: that costs less than to keep them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..ops.window import Window
from .memory import empty

Array = np.ndarray

SMALL_PRODUCT = 1_000_000  # multiplications; above this OpenBLAS copies its operands before it starts
BLOCK = 1 << 22  # bytes of shifted copies made at a time


def is_fast(window: Window, groups: int) -> bool:
    """Whether `correlate` takes this geometry: one group, no gaps inside the kernel."""
    return groups == 1 and not window.is_dilated


def correlate(x: Array, w: Array, window: Window) -> Array:
    """x (H, C, W, N), w (I, J, C, K) -> y (P, K, Q, N)."""
    I, J, C, K = w.shape
    P, Q = window.outputs(x.shape[0], x.shape[2])
    L = Q * x.shape[3]
    y = empty((P, K, Q, x.shape[3]), x.dtype)
    kernel = np.ascontiguousarray(w.reshape(I * J * C, K).T)
    for rows in blocks(P, J * C * L * x.itemsize, BLOCK):
        seen = _stack_rows(_seen_columns(x, window, rows), I, window.stride[0])
        _multiply(kernel, seen, y[rows].reshape(-1, K, L))
    return y


def kernel_gradient(x: Array, w: Array, dy: Array, window: Window) -> Array:
    """dw[i,j,c,k] = sum over p,q,n of x[s p + i - top, c, t q + j - left, n] dy[p,k,q,n]."""
    I, J, C, K = w.shape
    P, _, Q, N = dy.shape
    dw = np.zeros((I * J * C, K), dy.dtype)
    for rows in blocks(P, J * C * Q * N * x.itemsize, BLOCK):
        seen = _stack_rows(_seen_columns(x, window, rows), I, window.stride[0])
        parts = empty((seen.shape[0], I * J * C, K), dy.dtype)
        np.matmul(seen, dy[rows].reshape(-1, K, Q * N).transpose(0, 2, 1), out=parts)
        dw += parts.sum(axis=0)
    return dw.reshape(w.shape)


def image_gradient(x_shape: tuple[int, ...], w: Array, dy: Array, window: Window) -> Array:
    """dx (H, C, W, N) = x_shape: for some image rows all that the output rows saw of them, then J shifted sums."""
    I, J, C, K = w.shape
    H, _, _, N = x_shape
    P, _, Q, _ = dy.shape
    dx = empty(x_shape, dy.dtype)
    most = max(1, BLOCK // (J * C * Q * N * dy.itemsize))
    for rows, seen_by, offsets in _rows_seen(H, P, window, most):
        if not offsets:
            dx[rows] = 0
            continue
        kernel = w[list(offsets)].transpose(1, 2, 0, 3).reshape(J * C, len(offsets) * K)
        seen = _stack_rows(dy[seen_by], len(offsets))
        spread = empty((len(seen), J, C, Q, N), dy.dtype)
        _multiply(kernel, seen, spread.reshape(len(seen), J * C, Q * N))
        _sum_shifted(spread, window, dx[rows])
    return dx


def _seen_columns(x: Array, window: Window, rows: slice) -> Array:
    """`shifted_columns` of the image rows that the output rows see, zeros where they see padding."""
    H = x.shape[0]
    step, top = window.stride[0], window.padding[0][0]
    first, stop = step * rows.start - top, step * (rows.stop - 1) + window.size[0] - top
    low, high = min(max(first, 0), H), max(min(stop, H), 0)
    if (low, high) == (first, stop):
        return shifted_columns(x[low:high], window)
    return shifted_columns(x[low:high], window, stop - first, max(low - first, 0))


def shifted_columns(x: Array, window: Window, count: int | None = None, above: int = 0) -> Array:
    """copies[above + h, j, c, q, n] = x[h, c, t q + j - left, n], zeros outside the image; `count` rows in all."""
    H, C, width, N = x.shape
    count = H if count is None else count
    J, Q = window.size[1], window.outputs(window.size[0], width)[1]
    if J == 1 and width == Q and count == H and not any(window.padding[1]):
        return x[:, None]
    copies = empty((count, J, C, Q, N), x.dtype)
    copies[:above] = 0
    copies[above + H :] = 0
    of_image = copies[above : above + H]
    for j in range(J):
        seen, pixels = window.reach(1, j, width)
        of_image[:, j, :, : seen.start] = 0
        of_image[:, j, :, seen.stop :] = 0
        of_image[:, j, :, seen] = x[:, :, pixels]
    return copies


def _stack_rows(a: Array, height: int, step: int = 1) -> Array:
    """View every `height` consecutive rows of a, `step` apart, as one matrix: (rows, features, L).

    a is contiguous, (rows, ..., width, N); L = width N. Strides come from shapes: those of an axis of length 1, and so
    those of a batch of 1, may be anything.
    """
    L = a.shape[-2] * a.shape[-1]
    features = a.size // (a.shape[0] * L)
    count = (a.shape[0] - height) // step + 1
    line = L * a.itemsize
    return as_strided(a, (count, height * features, L), (step * features * line, line, a.itemsize), writeable=False)


def _multiply(a: Array, stack: Array, out: Array) -> None:
    """out (rows, M, L) = a (M, K) times every matrix of stack (rows, K, L).

    Columns go in blocks that OpenBLAS multiplies without packing them first: M K L under a million.
    """
    L = stack.shape[2]
    blocks = 1
    while a.size * L > SMALL_PRODUCT * blocks and L % (2 * blocks) == 0 and L // blocks >= 256:
        blocks *= 2
    if a.size * L > SMALL_PRODUCT * blocks:
        blocks = 1
    np.matmul(a, _column_blocks(stack, blocks), out=_column_blocks(out, blocks))


def _column_blocks(stack: Array, blocks: int) -> Array:
    """(rows, K, L) -> (rows, blocks, K, L / blocks), a view."""
    if blocks == 1:
        return stack
    rows, K, L = stack.shape
    return stack.reshape(rows, K, blocks, L // blocks).transpose(0, 2, 1, 3)


def _sum_shifted(spread: Array, window: Window, dx: Array) -> None:
    """dx[h, c, t q + j - left, n] = sum over j of spread[h, j, c, q, n]."""
    width = dx.shape[2]
    reaches = [(j, *window.reach(1, j, width)) for j in range(window.size[1])]
    reaches.sort(key=lambda reach: reach[1].start - reach[1].stop)  # a shift that writes every pixel saves the zeros
    if window.stride[1] > 1 or reaches[0][2] != slice(0, width, 1):
        dx[...] = 0
    else:
        j, seen, _ = reaches.pop(0)
        dx[...] = spread[:, j, :, seen]
    for j, seen, pixels in reaches:
        dx[:, :, pixels] += spread[:, j, :, seen]


def blocks(count: int, item_bytes: int, most_bytes: int) -> Iterator[slice]:
    """`count` items in equal parts of at most `most_bytes`, or one by one."""
    parts = -(-count // max(1, most_bytes // item_bytes))
    for k in range(parts):
        yield slice(count * k // parts, count * (k + 1) // parts)


@lru_cache(maxsize=256)
def _rows_seen(H: int, P: int, window: Window, most: int) -> list[tuple[slice, slice, tuple[int, ...]]]:
    """Image rows in groups of at most `most` that the same kernel rows saw; the output rows that saw them; those kernel rows.

    Image row h was seen by output row p through kernel row i = h + top - s p: by consecutive output rows, the first
    through the last kernel row. Rows at the borders were seen by fewer, and get smaller products.
    """
    step, top, I = window.stride[0], window.padding[0][0], window.size[0]
    groups: list[tuple[slice, slice, tuple[int, ...]]] = []
    for phase in range(step):
        fresh = True
        for h in range((phase - top) % step, H, step):
            last = (h + top - phase) // step
            first = max(0, last + 1 - len(range(phase, I, step)))
            offsets = tuple(h + top - step * p for p in range(first, min(P, last + 1)))
            if not fresh and groups[-1][2] == offsets and len(range(H)[groups[-1][0]]) < most:
                rows, seen_by, _ = groups[-1]
                groups[-1] = slice(rows.start, h + 1, step), slice(seen_by.start, seen_by.stop + 1), offsets
            else:
                groups.append((slice(h, h + 1, step), slice(first, first + len(offsets)), offsets))
                fresh = False
    return groups
