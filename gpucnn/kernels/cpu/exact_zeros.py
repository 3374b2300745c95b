"""Gradients that are exactly 0 by Winograd's sums, too.

A gradient whose terms are all 0 is 0 as a direct sum, but Winograd's sums share terms among neighbours and leave a
rounding error of them, about 1e-7 in float32, which an optimiser that divides by the gradient's size, such as Adam,
turns into a full step. Rows and columns that are 0 in all channels are looked at here, and a kernel's numbers that see
nothing but padding: what has no term but zeros for another reason, pixel by pixel, keeps its rounding error.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...ops.window import Window

Array = np.ndarray


class Occupied(NamedTuple):
    """Where an image has a number that is not 0, or NaN: rows (H,) and, where asked for, columns (W,)."""

    rows: Array
    columns: Array | None


def occupied(image: Array, *, columns: bool) -> Occupied:
    """Where an image (H, C, W, N), or one in halves (2, H, C, W // 2, N), has numbers that are not 0."""
    halves = image if image.ndim == 5 else image[None]
    parities, H, C, half, _ = halves.shape
    if C > 1 and halves.size:  # along a diagonal the first channel often has such numbers, in all rows and columns
        rows, across = _diagonal(H, parities * half)
        if halves[across % parities, rows, 0, across // parities].any(axis=1).all():
            return Occupied(np.ones(H, np.bool_), np.ones(parities * half, np.bool_) if columns else None)
        first = occupied(halves[:, :, :1], columns=columns)
        if first.rows.all() and (first.columns is None or first.columns.all()):
            return first
    bits, either = halves.view(f"u{image.itemsize}"), np.bitwise_or.reduce  # several times faster than any(x != 0)
    pixels_lie_side_by_side = bits.strides[3] == bits.shape[4] * bits.itemsize
    of_rows = either(bits, axis=(3, 4)) if pixels_lie_side_by_side else either(either(bits, axis=3), axis=3)
    rows = (of_rows.view(image.dtype) != 0).any(axis=(0, 2))
    if not columns:
        return Occupied(rows, None)
    even_and_odd = (either(either(bits, axis=1), axis=3).view(image.dtype) != 0).any(axis=1)
    return Occupied(rows, even_and_odd.T.reshape(-1))


@lru_cache(maxsize=64)
def _diagonal(H: int, W: int) -> tuple[Array, Array]:
    """Rows and columns of pixels that are in all rows and in all columns. To be read only."""
    steps = np.arange(max(H, W))
    return steps % H, steps % W


def together(parts: list[Occupied]) -> Occupied:
    """`occupied` of a whole image, with columns, from that of its parts, some rows each."""
    columns = np.logical_or.reduce([part.columns for part in parts if part.columns is not None])
    return Occupied(np.concatenate([part.rows for part in parts]), columns)


def restore(dw: Array, dx: Array | None, x: Occupied, dy: Occupied, window: Window) -> None:
    """Write the zeros of dw (I, J, C, K) and of dx (H, C, W, N), of a window without strides.

    A kernel's number is 0 where no row of the image, or no column, meets one of dy through it; a pixel is, where all
    rows, or all columns, of dy that saw it are 0.
    """
    for axis, (of_x, of_dy) in enumerate(zip(x, dy)):
        if of_x is None or of_dy is None:
            continue
        before, size = window.padding[axis][0], window.size[axis]
        if len(of_x) >= size and of_x.all() and of_dy.all():
            continue
        saw = np.convolve(of_dy, np.ones(size))[before:][: len(of_x)] > 0
        for offset in range(size):
            outputs, pixels = window.reach(axis, offset, len(of_x))
            from_there = of_dy[outputs]  # in halves the last of an odd number of columns is 0, and left out
            if not (of_x[pixels][: len(from_there)] & from_there).any():
                here = dw[(slice(None),) * axis + (offset,)]
                here[np.isfinite(here)] = 0
        if dx is not None and not saw.all():
            dx[(slice(None),) * (2 * axis) + (np.flatnonzero(~saw),)] = 0
