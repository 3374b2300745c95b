"""Correlation of each channel by itself, and its gradient: `correlate` with as many groups as channels, without loops.

Axes as in `convolution`; M is the multiplier: channel c makes the outputs c M .. c M + M - 1.
"""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError, check_shape
from ..namespace import real_arrays
from .convolution import fitted
from .window import FORWARDS, Padding, Window

Array = Any


def depthwise_correlate(x: Array, w: Array, *, stride: Any = 1, padding: Padding = "valid", dilation: Any = 1) -> Array:
    """y[n,p,q, c M + m] = sum over i,j of x[n, s p + d i - top, t q + e j - left, c] w[i,j,0, c M + m].

    x (N, H, W, C), w (I, J, 1, C M) -> y (N, P, Q, C M). Offset by offset: outputs with equal surroundings are equal
    to the last bit.

    Howard et al., 2017, section 3.1, the third display, with M = 1; Chollet, 2017.
    Raises ShapeError when channels or sizes do not fit.
    """
    xp, x, w = real_arrays(x, w)
    window, M = _fitted(x, w, stride, padding, dilation)
    (N, H, W, C), (P, Q) = x.shape, window.outputs(x.shape[1], x.shape[2])
    y = xp.zeros((N, P, Q, C, M), dtype=xp.result_type(x, w), device=x.device)
    for (i, j), outputs, pixels in window.looks(H, W):
        y[(*outputs, slice(None))] += x[pixels][..., None] * xp.reshape(w[i, j, 0, :], (C, M))
    return xp.reshape(y, (N, P, Q, C * M))


def depthwise_correlate_backward(
    x: Array,
    w: Array,
    dy: Array,
    *,
    stride: Any = 1,
    padding: Padding = "valid",
    dilation: Any = 1,
    need_dx: bool = True,
) -> tuple[Array | None, Array]:
    """The gradient of `depthwise_correlate`: every term of its sum, read backwards.

    dw[i,j,0, c M + m] = sum over n,p,q of x[n, s p + d i - top, t q + e j - left, c] dy[n,p,q, c M + m]
    dx[n, s p + d i - top, t q + e j - left, c] gains the sum over m of w[i,j,0, c M + m] dy[n,p,q, c M + m].

    dy (N, P, Q, C M) -> dx (N, H, W, C), or None without need_dx; dw (I, J, 1, C M).
    """
    xp, x, w, dy = real_arrays(x, w, dy)
    window, M = _fitted(x, w, stride, padding, dilation)
    (N, H, W, C), (P, Q) = x.shape, window.outputs(x.shape[1], x.shape[2])
    check_shape("dy", dy, (N, P, Q, C * M), FORWARDS)
    dy = xp.reshape(dy, (N, P, Q, C, M))
    dw = xp.zeros_like(w)
    dx = xp.zeros_like(x) if need_dx else None
    for (i, j), outputs, pixels in window.looks(H, W):
        d = dy[(*outputs, slice(None))]
        terms = x[pixels][..., None] * d
        dw[i, j, 0, :] = xp.reshape(xp.sum(xp.sum(terms, axis=(1, 2)), axis=0), (C * M,))
        if dx is not None:
            dx[pixels] += xp.sum(d * xp.reshape(w[i, j, 0, :], (C, M)), axis=-1)
    return dx, dw


def _fitted(x: Array, w: Array, stride: Any, padding: Padding, dilation: Any) -> tuple[Window, int]:
    """The window, and the multiplier; or a ShapeError that names what does not fit."""
    if w.ndim == 4 and w.shape[2] != 1:
        raise ShapeError(f"a kernel (I, J, 1, C * multiplier) was expected, found shape {tuple(w.shape)}")
    window = fitted(x, w, stride, padding, dilation, x.shape[-1])
    return window, w.shape[3] // x.shape[3]
