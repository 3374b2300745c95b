"""Correlation of each channel by itself, on images stored (H, C, W, N): products added up over long contiguous rows.

A few channels at a time are copied into a frame of zeros that stays in the cache. There every kernel offset is a view,
and one sum runs over all of them: `einsum` multiplies and adds in one pass. It adds offset by offset, so that outputs
with equal surroundings are equal to the last bit. Axes as elsewhere; M is the multiplier: K = C M.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...ops.window import Window
from ..memory import CACHED, copy, empty, parts
from .rows import Image, whole

Array = np.ndarray


class Residual(NamedTuple):
    """What `correlate` keeps for `gradients`. x is contiguous."""

    x: Array
    window: Window


def correlate(x: Array, w: Array, window: Window, *for_pool: object) -> tuple[Array, Residual]:
    """x (H, C, W, N), w (I, J, 1, C M) -> y (P, C M, Q, N). for_pool changes nothing here."""
    H, C, width, N = x.shape
    P, Q = window.outputs(H, width)
    y = empty((P, w.shape[3], Q, N), x.dtype)
    kernels, outputs = w.reshape(*w.shape[:2], C, -1), y.reshape(P, C, -1, Q * N)
    for some, seen in _seen_by_outputs(x, window):
        np.einsum("picjl,ijcm->pcml", seen, kernels[:, :, some], out=outputs[:, some])
    return y, Residual(x, window)


def residual(x: Array, w_shape: tuple[int, ...], window: Window) -> Residual:
    """What `correlate` keeps, where only `kernel_gradient` is wanted."""
    return Residual(x, window)


def gradients(residual: Residual, w: Array, dy: Image, need_dx: bool) -> tuple[Array | None, Array]:
    """dx as x, or None, and dw as w. dy as y was."""
    dy = whole(dy)
    dx = image_gradient(residual.x.shape, w, dy, residual.window) if need_dx else None
    return dx, kernel_gradient(residual, w, dy)


def kernel_gradient(residual: Residual, w: Array, dy: Array) -> Array:
    """dw[i,j,0, c M + m] = sum over p,q,n of x[s p + d i - top, c, t q + e j - left, n] dy[p, c M + m, q, n]."""
    x, (I, J, _, K) = residual.x, w.shape
    (P, _, Q, N), C = dy.shape, x.shape[1]
    dw = np.zeros((I, J, C, K // C), dy.dtype)
    d_outputs = dy.reshape(P, 1, 1, C, K // C, Q * N)
    for some, seen in _seen_by_outputs(x, residual.window):
        of_rows = np.vecdot(seen.transpose(0, 1, 3, 2, 4)[..., None, :], d_outputs[:, :, :, some])
        np.add.reduce(of_rows, axis=0, out=dw[:, :, some])
    return dw.reshape(w.shape)


def image_gradient(x_shape: tuple[int, ...], w: Array, dy: Array, window: Window) -> Array:
    """dx (H, C, W, N) = x_shape: for each phase of the strides, the correlation of dy with the kernel's numbers of it.

    dx[h, c, u, n] = sum over i,j,m with s p + d i - top = h, t q + e j - left = u of w[i,j,0, c M + m] dy[p, c M + m,
    q, n].
    """
    H, C, width, N = x_shape
    P, K, Q, _ = dy.shape
    kernels, dx = w.reshape(*w.shape[:2], C, K // C), empty(x_shape, dy.dtype)
    rows, columns = _phases(window, 0, H), _phases(window, 1, width)
    low, high = _reach(rows)
    left, right = _reach(columns)
    for some in parts(C, (high - low) * (right - left) * N * K // C * dy.itemsize, CACHED):
        frame = _framed(dy.reshape(P, C, K // C, Q, N)[:, some], low, high - low, left, right - left)
        for down in rows:
            for across in columns:
                taps, phase = kernels[down.taps, across.taps, some], dx[down.pixels, some, across.pixels]
                seen = _seen_by_pixels(frame, taps.shape, down, across, down.first - low, across.first - left)
                _add_up(seen, taps, phase)
    return dx


class _Phase(NamedTuple):
    """The pixels along an axis that the same kernel offsets meet. pixels, taps: which they are, taps counting down.

    first: the output that meets the first of these pixels through the first of these taps; gap: outputs between those
    of two neighbouring taps; end: behind the last output that meets any; length: how many pixels.
    """

    pixels: slice
    taps: slice
    first: int = 0
    gap: int = 0
    end: int = 0
    length: int = 0


@lru_cache(maxsize=256)
def _phases(window: Window, axis: int, length: int) -> list[_Phase]:
    """Output p saw pixel s p + d i - before through tap i: pixels of a phase are s apart, and have the same taps."""
    step, dilation, before = window.stride[axis], window.dilation[axis], window.padding[axis][0]
    found = []
    for phase in range(min(step, length)):
        taps = [i for i in range(window.size[axis]) if (dilation * i - before - phase) % step == 0]
        pixels = slice(phase, None, step)
        if not taps:
            found.append(_Phase(pixels, slice(0, 0)))
            continue
        first, last = ((phase + before - dilation * i) // step for i in (taps[-1], taps[0]))
        apart, gap = taps[1] - taps[0] if len(taps) > 1 else 1, (last - first) // max(1, len(taps) - 1)
        counting_down, number = slice(taps[-1], taps[0] - 1 if taps[0] else None, -apart), len(range(length)[pixels])
        found.append(_Phase(pixels, counting_down, first, gap, last + number, number))
    return found


def _reach(phases: list[_Phase]) -> tuple[int, int]:
    """From which output to which, the end not counted, the phases see; padding is counted on."""
    seeing = [each for each in phases if each.length]
    return min((each.first for each in seeing), default=0), max((each.end for each in seeing), default=0)


def _seen_by_pixels(
    frame: Array, taps_shape: tuple[int, ...], down: _Phase, across: _Phase, row: int, column: int
) -> Array:
    """What pixels of a phase meet from a row and a column of the frame (rows, C, M, columns, N) on: (rows, I, C, M, J,
    columns N), a view."""
    I, J, C, M = taps_shape
    rows, channels, kernels, columns, item = frame.strides
    shape = down.length, I, C, M, J, across.length * frame.shape[4]
    strides = rows, rows * down.gap, channels, kernels, columns * across.gap, item
    return _view(frame, row * rows + column * columns, shape, strides) if I * J else frame


def _add_up(seen: Array, taps: Array, dx: Array) -> None:
    """Write dx (rows, C, columns, N), a view: the sum over taps (I, J, C, M) of what was seen times them."""
    if not taps.size:
        dx[...] = 0
        return
    rows, C, columns, N = dx.shape
    dense = dx.strides[2] == N * dx.itemsize
    some = dx if dense else empty(dx.shape, dx.dtype)
    np.einsum("picmjl,ijcm->pcl", seen, taps, out=some.reshape(rows, C, columns * N))
    if not dense:
        copy(some, dx)


def _seen_by_outputs(x: Array, window: Window) -> Iterator[tuple[slice, Array]]:
    """Some channels, and what outputs see of them: (P, I, channels, J, Q N), a view of memory that is written again."""
    H, C, width, N = x.shape
    (I, J), (s, t), (d, e) = window.size, window.stride, window.dilation
    P, Q = window.outputs(H, width)
    (top, _), (left, _) = window.padding
    rows, columns = s * (P - 1) + window.span(0), (Q + e * (J - 1)) if t == 1 else J * Q
    is_whole = t == 1 and (top, left, rows, columns) == (0, 0, H, width)
    for some in parts(C, rows * columns * N * x.itemsize, CACHED):
        if is_whole:
            frame, first = x[:, :, None], some.start * x.strides[1]
        elif t == 1:
            frame, first = _framed(x[:, some, None], -top, rows, -left, columns), 0
        else:
            frame, first = _shifted(x[:, some], window, rows, Q), 0
        row, channel, _, pixel, item = frame.strides
        shape, apart = (P, I, some.stop - some.start, J, Q * N), pixel * (e if t == 1 else Q)
        yield some, _view(frame, first, shape, (s * row, d * row, channel, apart, item))


def _framed(image: Array, top: int, rows: int, left: int, columns: int) -> Array:
    """A copy of image[top : top + rows, ..., left : left + columns, :], (H, C, M, W, N), zeros outside the image."""
    H, C, M, width, N = image.shape
    frame = empty((rows, C, M, columns, N), image.dtype)
    (a, b), (u, v) = _inside(top, rows, H), _inside(left, columns, width)
    frame[:a], frame[b:] = 0, 0
    frame[a:b, :, :, :u], frame[a:b, :, :, v:] = 0, 0
    frame[a:b, :, :, u:v] = image[a + top : b + top, :, :, u + left : v + left]
    return frame


def _inside(first: int, count: int, length: int) -> tuple[int, int]:
    """Which of `count` places from `first` on lie in 0 .. length - 1: from which to which."""
    start = min(max(0, -first), count)
    return start, max(start, min(count, length - first))


def _shifted(image: Array, window: Window, rows: int, Q: int) -> Array:
    """(rows, C, 1, J Q, N): for each column of the kernel, the columns of the image that outputs see through it."""
    H, C, width, N = image.shape
    frame, (top, _) = empty((rows, C, window.size[1], Q, N), image.dtype), window.padding[0]
    a, b = _inside(-top, rows, H)
    frame[:a], frame[b:] = 0, 0
    for j in range(window.size[1]):
        outputs, pixels = window.reach(1, j, width)
        frame[a:b, :, j, : outputs.start], frame[a:b, :, j, outputs.stop :] = 0, 0
        copy(image[a - top : b - top, :, pixels], frame[a:b, :, j, outputs])
    return frame.reshape(rows, C, 1, -1, N)


def _view(array: Array, first: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """A view of a contiguous array from byte `first` on: `as_strided` takes longer than a small sum."""
    return np.ndarray(shape, array.dtype, array, first, strides)


class Way(NamedTuple):
    """The verb as one value, which can be pickled: a table that correlates channels otherwise has another one."""

    correlate: Callable[..., Any] = correlate
    gradients: Callable[..., Any] = gradients


NUMPY_WAY = Way()
