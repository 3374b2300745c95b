"""Columns of images stored (H, C, W, N): shifted copies of them, even and odd ones apart, and sums of shifted ones.

The ways to correlate share this. In halves, an image's even columns come before its odd ones: (2, H, C, W // 2, N).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ...ops.window import Window
from ..memory import copy, empty, same_zeros

Array = np.ndarray


def output_shape(x_shape: tuple[int, ...], window: Window, K: int, halves: bool) -> tuple[int, ...]:
    """(P, K, Q, N), or in halves (2, P, K, Q // 2, N), for images (H, C, W, N)."""
    H, _, width, N = x_shape
    P, _, columns = outputs_of(H, width, window, halves)
    return (*(2,) * halves, P, K, columns, N)


def parities_of(image: Array) -> int:
    """2 for an image in halves, else 1."""
    return 2 if image.ndim == 5 else 1


@lru_cache(maxsize=256)
def outputs_of(H: int, width: int, window: Window, halves: bool) -> tuple[int, int, int]:
    """(P, 1, Q), or in halves (P, 2, Q // 2)."""
    P, Q = window.outputs(H, width)
    return (P, 2, Q // 2) if halves else (P, 1, Q)


def shifted_columns(x: Array, window: Window, halves: bool, count: int | None = None, above: int = 0) -> Array:
    """copies[above + h, j, c, q, n] = x[h, c, t q + j - left, n], zeros outside the image; `count` rows in all.

    x is contiguous, or some rows of an array that is. halves: (..., c, 2, q // 2, n), even q and then odd ones.
    """
    H, C, width, N = x.shape
    count = H if count is None else count
    J, (_, *columns) = window.size[1], outputs_of(H, width, window, halves)
    if J == 1 and columns == [1, width] and count == H and not any(window.padding[1]):
        return x[:, None]
    copies = empty((count, J, C, *columns, N), x.dtype)
    if count > H:
        copies[:above] = 0
        copies[above + H :] = 0
    left, right = window.padding[1]
    padded = with_zeros(x, 2, left, left + width + right)
    pixel, channel = N * x.itemsize, padded.shape[2] * N * x.itemsize
    step = window.stride[1] * pixel
    runs, strides = [*columns, N], [step, step * columns[0], x.itemsize]
    if columns[0] == window.stride[1] == 1:  # whole rows lie side by side
        runs, strides = [columns[1] * N], [x.itemsize]
    seen = np.ndarray((H, J, C, *runs), x.dtype, padded, 0, (C * channel, pixel, channel, *strides))
    copy(seen, copies[above : above + H].reshape(seen.shape))
    return copies


def with_zeros(x: Array, axis: int, before: int, count: int) -> Array:
    """x with zeros before and after it along an axis, `count` places in all; x itself where it has as many."""
    if x.shape[axis] == count:
        return x
    padded = empty((*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)
    others, after = (slice(None),) * axis, before + x.shape[axis]
    padded[(*others, slice(before))] = 0
    padded[(*others, slice(before, after))] = x
    padded[(*others, slice(after, None))] = 0
    return padded


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
