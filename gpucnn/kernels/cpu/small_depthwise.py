"""Correlation of each channel of small images by itself: all pixels of a channel times a matrix of their own.

The matrix (P Q, H W) has the kernel's numbers where an output sees a pixel, and zeros elsewhere. With few pixels its
products take a third of the time of sums offset by offset. Images lie as (C, H W, N) here, so that they are one batch
of matrices. Zero times NaN or an infinity is no zero: where a result is not finite, the sums of `depthwise` take over.
Axes as elsewhere; every channel has one kernel.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...ops.window import Window
from ..memory import copy, empty
from . import depthwise
from .rows import Image, whole

Array = np.ndarray

PAIRS = 1024  # of outputs and pixels, to which the products cost less than the sums


def is_worthwhile(x_shape: tuple[int, ...], w_shape: tuple[int, ...], window: Window) -> bool:
    """Not of a single output, whose sum has no terms in common with others."""
    (H, C, width, _), (P, Q) = x_shape, window.outputs(x_shape[0], x_shape[2])
    return w_shape[3] == C and P * Q > 1 and H * width * P * Q <= PAIRS


class Residual(NamedTuple):
    """What `correlate` keeps for `gradients`: pixels (C, H W, N) and matrices (C, P Q, H W)."""

    pixels: Array
    matrices: Array
    x_shape: tuple[int, ...]
    window: Window


def correlate(x: Array, w: Array, window: Window, *for_pool: object) -> tuple[Array, Any]:
    """x (H, C, W, N), w (I, J, 1, C) -> y (P, C, Q, N). for_pool changes nothing here."""
    H, C, width, N = x.shape
    P, Q = window.outputs(H, width)
    seen = _seen(window, H, width, w.dtype)
    matrices = (w.reshape(-1, C).T @ seen).reshape(C, P * Q, H * width)
    pixels = _by_channels(x)
    outputs = empty((C, P * Q, N), x.dtype)
    with np.errstate(invalid="ignore"):
        np.matmul(matrices, pixels, out=outputs)
    if not _is_finite(outputs):
        return depthwise.correlate(x, w, window)
    return _by_rows(outputs, (P, C, Q, N)), Residual(pixels, matrices, x.shape, window)


def gradients(residual: Any, w: Array, dy: Image, need_dx: bool) -> tuple[Array | None, Array]:
    """dx as x, or None, and dw as w. dy as y was."""
    if not isinstance(residual, Residual):
        return depthwise.gradients(residual, w, dy, need_dx)
    (pixels, matrices, x_shape, window), dy = residual, whole(dy)
    d_outputs = _by_channels(dy)
    if not _is_finite(d_outputs):
        x = _by_rows(pixels, x_shape)
        return depthwise.gradients(depthwise.residual(x, w.shape, window), w, dy, need_dx)
    seen = _seen(window, x_shape[0], x_shape[2], dy.dtype)
    of_pairs = np.matmul(d_outputs, pixels.swapaxes(1, 2)).reshape(len(pixels), -1)
    dw = np.ascontiguousarray((of_pairs @ seen.T).T).reshape(w.shape)
    if not need_dx:
        return None, dw
    return _by_rows(np.matmul(matrices.swapaxes(1, 2), d_outputs, out=empty(pixels.shape, dy.dtype)), x_shape), dw


def _is_finite(x: Array) -> bool:
    """Whether the sum of squares is."""
    flat = x.reshape(-1)
    return math.isfinite(np.dot(flat, flat))


@lru_cache(maxsize=64)
def _seen(window: Window, H: int, width: int, dtype: Any) -> Array:
    """(I J, P Q H W): 1 where an output sees a pixel through a kernel's offset, else 0. To be read only."""
    (I, J), (P, Q) = window.size, window.outputs(H, width)
    seen = np.zeros((I, J, P, Q, H, width), dtype)
    (p, q), (h, u) = np.indices((P, Q)), np.indices((H, width))
    for i in range(I):
        for j in range(J):
            rows = window.stride[0] * p + window.dilation[0] * i - window.padding[0][0]
            columns = window.stride[1] * q + window.dilation[1] * j - window.padding[1][0]
            seen[i, j] = (rows[..., None, None] == h) & (columns[..., None, None] == u)
    return seen.reshape(I * J, -1)


def _by_channels(x: Array) -> Array:
    """(H, C, W, N) -> (C, H W, N)."""
    H, C, width, N = x.shape
    made = empty((C, H, width * N), x.dtype)
    copy(np.ascontiguousarray(x).reshape(H, C, width * N).swapaxes(0, 1), made)
    return made.reshape(C, H * width, N)


def _by_rows(x: Array, shape: tuple[int, ...]) -> Array:
    """(C, H W, N) -> (H, C, W, N), the shape given."""
    H, C, width, N = shape
    made = empty((H, C, width * N), x.dtype)
    copy(x.reshape(C, H, width * N).swapaxes(0, 1), made)
    return made.reshape(shape)
