"""Max and average pooling. Images are (N, H, W, C); windows, strides and padding are pixels along (rows, columns)."""

from __future__ import annotations

import math
from typing import Any

from ..errors import SettingError, ShapeError, check_shape
from ..namespace import array_namespace, real_arrays
from .window import FORWARDS, Padding, Window, pooling_window

Array = Any


def max_pool(x: Array, window: Any = 2, *, stride: Any = None, padding: Padding = "valid", **more: Any) -> Array:
    """y[n,p,q,c] = max over i,j of x[n, s p + d i - top, t q + e j - left, c]; padding never wins: it counts as -inf.

    The largest of a window that has a NaN is NaN. x (N, H, W, C) -> y (N, P, Q, C). The stride defaults to the window.
    more: dilation and ceil_mode, as `pooling_window` takes them. window may be what that makes; the others are not
    looked at then.

    two-conv eq. (4), layered eq. (18), single-filter, "p[i, j]".
    Raises ShapeError when the window does not fit, or the padding is as large as the window.
    """
    xp, x = real_arrays(x)
    fitted = _fit(x, window, stride, padding, more)
    P, Q = fitted.outputs(x.shape[1], x.shape[2])
    y = xp.full((x.shape[0], P, Q, x.shape[3]), -math.inf, dtype=x.dtype, device=x.device)
    for _, outputs, pixels in fitted.looks(x.shape[1], x.shape[2]):
        y[outputs] = xp.maximum(y[outputs], x[pixels])
    return y


def max_pool_backward(
    x: Array,
    y: Array,
    dy: Array,
    window: Any = 2,
    *,
    stride: Any = None,
    padding: Padding = "valid",
    ties: str = "first",
    **more: Any,
) -> Array:
    """dx[n,h,w,c] = sum of dy[n,p,q,c] over the windows whose maximum y[n,p,q,c] is x[n,h,w,c].

    ties="first": only the first largest pixel of a window, row by row, gets its dy (single-filter's argmax).
    ties="all": every pixel equal to the maximum gets dy, undivided. layered eq. (19) as it is meant: dx_tu gets
    dJ/dz_ij where (t, u) lies in window (i, j) and x_tu = P_ij, not only where t = i and u = j.
    A maximum of NaN equals no pixel, and its dy goes nowhere.

    x (N, H, W, C), y and dy (N, P, Q, C) -> dx (N, H, W, C). Raises SettingError for another name in ties,
    ShapeError as `max_pool` and for a y or dy of another shape.
    """
    if ties not in ("first", "all"):
        raise SettingError(f'ties={ties!r}: "first" or "all" was expected')
    xp, x, y = real_arrays(x, y)
    _, dy = real_arrays(dy)
    fitted = _fit(x, window, stride, padding, more)
    for what, array in (("y", y), ("dy", dy)):
        _check_outputs(what, array, fitted, x.shape)
    dx = xp.zeros(x.shape, dtype=dy.dtype, device=x.device)
    undecided = xp.ones(y.shape, dtype=xp.bool, device=x.device)
    for _, outputs, pixels in fitted.looks(x.shape[1], x.shape[2]):
        won = undecided[outputs] & (x[pixels] == y[outputs])
        dx[pixels] += dy[outputs] * xp.astype(won, dy.dtype)
        if ties == "first":
            undecided[outputs] = undecided[outputs] & ~won
    return dx


def max_pool_with_indices(
    x: Array, window: Any = 2, *, stride: Any = None, padding: Padding = "valid", **more: Any
) -> tuple[Array, Array]:
    """`max_pool`, and where each maximum stands in its image: row * W + column of the first largest pixel.

    x (N, H, W, C) -> y (N, P, Q, C), indices (N, P, Q, C) int64; -1 where the maximum is NaN.

    single-filter, "Pooling - Indices", which stores pairs (i_start + i_dash, j_start + j_dash) and means
    indices[i, j] where it prints indices[i_start, j_start].
    """
    xp, x = real_arrays(x)
    H, W = x.shape[1], x.shape[2]
    y = max_pool(x, window, stride=stride, padding=padding, **more)
    indices = xp.full(y.shape, -1, dtype=xp.int64, device=x.device)
    pixel = xp.reshape(xp.arange(H * W, dtype=xp.int64, device=x.device), (1, H, W, 1))
    for _, outputs, pixels in _fit(x, window, stride, padding, more).looks(H, W):
        won = (indices[outputs] < 0) & (x[pixels] == y[outputs])
        indices[outputs] = xp.where(won, pixel[pixels], indices[outputs])
    return y, indices


def back_fill(
    indices: Array,
    dy: Array,
    image_shape: tuple[int, int],
    window: Any = 2,
    *,
    stride: Any = None,
    padding: Padding = "valid",
    **more: Any,
) -> Array:
    """new_map[indices[p, q]] += dy[p, q]: the gradient goes back to where each maximum stood.

    indices, dy (N, P, Q, C), image_shape (H, W) -> (N, H, W, C). more: as of `max_pool`.

    single-filter, "Back fill_map()"; its new_map has the shape of the feature map, 26 x 26 (28 x 28 is printed).
    A gather over window offsets, not a scatter: repeatable on every device.
    """
    xp, dy = real_arrays(dy)
    _check_image(dy)
    H, W = image_shape
    new_map = xp.zeros((dy.shape[0], H, W, dy.shape[3]), dtype=dy.dtype, device=dy.device)
    pixel = xp.reshape(xp.arange(H * W, dtype=indices.dtype, device=dy.device), (1, H, W, 1))
    fitted = _fit(new_map, window, stride, padding, more)
    for what, array in (("indices", indices), ("dy", dy)):
        _check_outputs(what, array, fitted, new_map.shape)
    for _, outputs, pixels in fitted.looks(H, W):
        new_map[pixels] += dy[outputs] * xp.astype(indices[outputs] == pixel[pixels], dy.dtype)
    return new_map


def average_pool(
    x: Array,
    window: Any = 2,
    *,
    stride: Any = None,
    padding: Padding = "valid",
    count_padding: bool = False,
    **more: Any,
) -> Array:
    """y[n,p,q,c] = mean over the window's pixels of x; padding is left out of the mean, or counted as zeros.

    What a window of ceil_mode sees past the padding is never counted, as in PyTorch. more: as of `max_pool`.
    x (N, H, W, C) -> y (N, P, Q, C).

    avgpool-96, "CP_m(i, j)" and "CP^2_n(i, j)". Raises ShapeError as `max_pool`.
    """
    xp, x = real_arrays(x)
    fitted = _fit(x, window, stride, padding, more)
    P, Q = fitted.outputs(x.shape[1], x.shape[2])
    y = xp.zeros((x.shape[0], P, Q, x.shape[3]), dtype=x.dtype, device=x.device)
    for _, outputs, pixels in fitted.looks(x.shape[1], x.shape[2]):
        y[outputs] += x[pixels]
    return y / _divisor(x, fitted, x.shape[1:3], count_padding)


def average_pool_backward(
    dy: Array,
    image_shape: tuple[int, int],
    window: Any = 2,
    *,
    stride: Any = None,
    padding: Padding = "valid",
    count_padding: bool = False,
    **more: Any,
) -> Array:
    """Every pixel of a window gets an equal share of its dy: dy / (pixels in the mean).

    dy (N, P, Q, C), image_shape (H, W) -> dx (N, H, W, C).

    avgpool-96, "delta C^2_n(i, j)" and "delta C_m(i, j)", apart from f'.
    """
    xp, dy = real_arrays(dy)
    _check_image(dy)
    H, W = image_shape
    dx = xp.zeros((dy.shape[0], H, W, dy.shape[3]), dtype=dy.dtype, device=dy.device)
    fitted = _fit(dx, window, stride, padding, more)
    _check_outputs("dy", dy, fitted, dx.shape)
    share = dy / _divisor(dy, fitted, image_shape, count_padding)
    for _, outputs, pixels in fitted.looks(H, W):
        dx[pixels] += share[outputs]
    return dx


def is_divided_evenly(window: Window, count_padding: bool) -> bool:
    """Whether the sums of all windows are divided by the same number."""
    return not any(window.beyond) if count_padding else not window.is_padded


def _divisor(like: Array, window: Window, image_shape: tuple[int, ...], count_padding: bool) -> Any:
    """What a sum over each window is divided by: one number, or (1, P, Q, 1) where borders count less."""
    if is_divided_evenly(window, count_padding):
        return float(math.prod(window.size))
    xp = array_namespace(like)
    rows, columns = (
        xp.asarray(window.places_counted(axis, image_shape[axis], count_padding), dtype=like.dtype, device=like.device)
        for axis in (0, 1)
    )
    return xp.reshape(rows, (1, -1, 1, 1)) * xp.reshape(columns, (1, 1, -1, 1))


def _check_outputs(what: str, array: Array, window: Window, image_shape: tuple[int, ...]) -> None:
    """Raises ShapeError unless the array has the shape of a pool's outputs of images of that shape, (N, H, W, C)."""
    N, H, W, C = image_shape
    check_shape(what, array, (N, *window.outputs(H, W), C), FORWARDS)


def _fit(x: Array, window: Any, stride: Any, padding: Padding, more: dict[str, Any]) -> Window:
    _check_image(x)
    if isinstance(window, Window):
        return window
    return pooling_window(window, stride, padding, x.shape[1], x.shape[2], **more)


def _check_image(x: Array) -> None:
    if x.ndim != 4:
        raise ShapeError(f"an image batch (N, H, W, C) was expected, found shape {tuple(x.shape)}")
