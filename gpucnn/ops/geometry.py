"""Where pixels go: parts of images, images among zeros, enlarged images. Images are (N, H, W, C)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import SettingError, ShapeError, check_shape
from ..namespace import array_namespace, real_arrays

Array = Any
Places = tuple[slice, slice, slice]


def part(x: Array, places: Places) -> Array:
    """y[n,p,q,c] = x[n, rows_p, columns_q, channels_c]: what lies at these places.

    places: slices of rows, columns and channels, with steps of at least 1. x (N, H, W, C) -> y (N, P, Q, K). Crops, and
    every second pixel as in the shortcuts of He, Zhang, Ren and Sun, 2016, option A.
    """
    _, x = real_arrays(x)
    rows, columns, channels = places
    return x[:, rows, columns, channels]


def part_backward(dy: Array, places: Places, image_shape: tuple[int, int, int]) -> Array:
    """dx is dy at these places, and 0 elsewhere: `place`."""
    return place(dy, places, image_shape)


def place(x: Array, places: Places, image_shape: tuple[int, int, int]) -> Array:
    """y[n, rows_p, columns_q, channels_c] = x[n,p,q,c], and 0 elsewhere.

    x (N, P, Q, K), image_shape (H, W, C) -> y (N, H, W, C). Borders of zeros, and further channels of zeros as in the
    shortcuts of He, Zhang, Ren and Sun, 2016, option A.
    """
    xp, x = real_arrays(x)
    y = xp.zeros((x.shape[0], *image_shape), dtype=x.dtype, device=x.device)
    rows, columns, channels = places
    check_shape("an image to be placed", x, y[:, rows, columns, channels].shape)
    y[:, rows, columns, channels] = x
    return y


def place_backward(dy: Array, places: Places) -> Array:
    """dx is what lies at these places: `part`."""
    return part(dy, places)


def upsample(x: Array, factor: tuple[int, int], kind: str, axes: Sequence[int] = (1, 2)) -> Array:
    """factor times as many rows and columns: "nearest" or "bilinear", along rows and then along columns.

    Output i = f h + r, with r in 0 .. f - 1, has its centre at h + d in pixels of the input, d = (r + 1/2) / f - 1/2.
    nearest: y_i = x_h. bilinear: y_i = (1 - |d|) x_h + |d| x_k, k = h - 1 where d < 0, else h + 1; at the border, where
    there is no pixel k, x_h takes its place.

    x (N, H, W, C) -> (N, f H, g W, C). axes: where rows and columns are in x. Odena, Dumoulin and Olah, 2016, before a
    convolution; Long, Shelhamer and Darrell, 2015, with bilinear weights to start from.
    """
    _, x = real_arrays(x)
    for axis, times in zip(axes, factor):
        if times > 1:
            x = _enlarged(x, axis, times, kind)
    return x


def upsample_backward(dy: Array, factor: tuple[int, int], kind: str, axes: Sequence[int] = (1, 2)) -> Array:
    """dx_h = sum over the outputs of dy times their weight of x_h in `upsample`. (N, f H, g W, C) -> (N, H, W, C)."""
    _, dy = real_arrays(dy)
    for axis, times in zip(axes, factor):
        if dy.ndim != 4 or dy.shape[axis] % times:
            raise ShapeError(f"dy has shape {tuple(dy.shape)}, which is no image batch enlarged by {tuple(factor)}")
        if times > 1:
            dy = _gathered(dy, axis, times, kind)
    return dy


def _enlarged(x: Array, axis: int, times: int, kind: str) -> Array:
    xp = array_namespace(x)
    shape = (*x.shape[:axis], times * x.shape[axis], *x.shape[axis + 1 :])
    y = xp.empty(shape, dtype=x.dtype, device=x.device)
    for r, d in enumerate(_centres(times, kind)):
        y[_along(axis, slice(r, None, times))] = x if d == 0 else (1 - abs(d)) * x + abs(d) * _neighbour(x, axis, d)
    return y


def _gathered(dy: Array, axis: int, times: int, kind: str) -> Array:
    xp, length = array_namespace(dy), dy.shape[axis] // times
    dx = xp.zeros((*dy.shape[:axis], length, *dy.shape[axis + 1 :]), dtype=dy.dtype, device=dy.device)
    for r, d in enumerate(_centres(times, kind)):
        share = dy[_along(axis, slice(r, None, times))]
        dx += share if d == 0 else (1 - abs(d)) * share
        if d:
            share = abs(d) * share
            border, inner = (slice(0, 1), slice(1, None)) if d < 0 else (slice(length - 1, None), slice(0, length - 1))
            seen = slice(0, length - 1) if d < 0 else slice(1, None)
            dx[_along(axis, border)] += share[_along(axis, border)]
            dx[_along(axis, seen)] += share[_along(axis, inner)]
    return dx


def _centres(times: int, kind: str) -> list[float]:
    """d for each r. Raises SettingError for another kind."""
    if kind not in ("nearest", "bilinear"):
        raise SettingError(f'upsample: kind={kind!r}: "nearest" or "bilinear" was expected')
    return [0.0 if kind == "nearest" else (r + 0.5) / times - 0.5 for r in range(times)]


def _neighbour(x: Array, axis: int, d: float) -> Array:
    """The pixel before each where d < 0, else the one behind; itself where there is none."""
    first, last = x[_along(axis, slice(0, 1))], x[_along(axis, slice(x.shape[axis] - 1, None))]
    parts = (first, x[_along(axis, slice(0, x.shape[axis] - 1))]) if d < 0 else (x[_along(axis, slice(1, None))], last)
    return array_namespace(x).concat(parts, axis=axis)


def _along(axis: int, places: slice) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, places, ...)
