"""The reference table's pairs: the equations of `ops` with their residuals, on any array library.

Images are (N, H, W, C).

Each forward returns (result, residual); the residual is what its own backward needs, and nobody else reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..namespace import array_namespace, real_arrays, summed
from ..ops.window import Window
from . import random

Array = Any


def keep(x: Array) -> Array:
    """x as it is: images of this table are (N, H, W, C) already."""
    return x


def pixels(images: Array, dtype: Any, scale: float, shift: float) -> Array:
    """uint8 (N, H, W, C) -> the same in dtype, pixel * scale + shift."""
    x = array_namespace(images).astype(images, dtype)
    x *= scale
    if shift:
        x += shift
    return x


def image_shape(x: Array) -> tuple[int, int, int]:
    return tuple(x.shape[1:])


def spread(values: Array, x: Array) -> Array:
    """values (C,) or (N, C) -> a view that broadcasts against x, (N, H, W, C) or (N, C)."""
    return values[:, None, None, :] if values.ndim == 2 and x.ndim == 4 else values


def channel_sums(x: Array) -> Array:
    """(N, H, W, C) or (N, C) -> (C,)."""
    return summed(x, tuple(range(x.ndim - 1)))


def pixel_sums(x: Array) -> Array:
    """(N, H, W, C) -> (N, C)."""
    return array_namespace(x).sum(x, axis=(1, 2))


def axes(x: Array) -> tuple[int, ...]:
    """Where N, H, W and C, or N and C, stand among the axes of x."""
    return tuple(range(x.ndim))


def add(a: Array, b: Array) -> Array:
    """a + b, a new array; bytes are added as real numbers."""
    _, a, b = real_arrays(a, b)
    return a + b


def concatenate(arrays: Sequence[Array]) -> tuple[Array, Any]:
    return ops.concatenate(arrays), [each.shape[-1] for each in arrays]


def concatenate_backward(channels: Any, dy: Array) -> list[Array]:
    return ops.concatenate_backward(dy, channels)


def _placing(window: Window) -> dict[str, Any]:
    """The arguments that say where a window lies."""
    return {"stride": window.stride, "padding": window.padding}


def correlate(
    x: Array, w: Array, window: Window, groups: int, *for_pool: Any, in_order: bool = False
) -> tuple[Array, Any]:
    """for_pool: the pool's window and ties, where one follows; they change nothing here."""
    how = _placing(window) | {"dilation": window.dilation}
    if is_depthwise(w, groups):
        return ops.depthwise_correlate(x, w, **how), (x, window, groups)
    return ops.correlate(x, w, groups=groups, in_order=in_order, **how), (x, window, groups)


def correlate_backward(residual: Any, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
    x, window, groups = residual
    how = _placing(window) | {"dilation": window.dilation, "need_dx": need_dx}
    if is_depthwise(w, groups):
        return ops.depthwise_correlate_backward(x, w, dy, **how)
    return ops.correlate_backward(x, w, dy, groups=groups, **how)


def is_depthwise(w: Array, groups: int) -> bool:
    """Whether each channel is correlated by itself."""
    return groups > 1 and w.shape[2] == 1


def transposed(x: Array, w: Array, window: Window, groups: int, size: tuple[int, int]) -> tuple[Array, Any]:
    y = ops.transposed_correlate(x, w, size, dilation=window.dilation, groups=groups, **_placing(window))
    return y, (x, window, groups)


def transposed_backward(residual: Any, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
    x, window, groups = residual
    options = {"dilation": window.dilation, "groups": groups, "need_dx": need_dx}
    return ops.transposed_correlate_backward(x, w, dy, **_placing(window), **options)


def add_bias(y: Array, b: Array) -> tuple[Array, Any]:
    return ops.add_bias(y, b), b.ndim


def add_bias_backward(bias_ndim: int, dy: Array) -> Array:
    return ops.add_bias_backward(dy, bias_ndim)


def relu(x: Array, slope_at_zero: float) -> tuple[Array, Any]:
    return ops.relu(x), (x, slope_at_zero)


def relu_backward(residual: Any, dy: Array) -> Array:
    x, slope_at_zero = residual
    return ops.relu_backward(x, dy, slope_at_zero)


def sigmoid(x: Array) -> tuple[Array, Any]:
    y = ops.sigmoid(x)
    return y, y


def tanh(x: Array) -> tuple[Array, Any]:
    y = ops.tanh(x)
    return y, y


def centred(x: Array, centre: Array | None = None, *, overwrite: bool = False) -> tuple[Array, Any]:
    if centre is not None:
        return x - centre, None
    d, *moments = ops.centred(x)
    return d, tuple(moments)


def scaled(d: Array, scale: Array, shift: Array, slope_at_zero: float | None = None) -> tuple[Array, Any]:
    y = ops.scaled(d, scale, shift)
    return (y, (d, None)) if slope_at_zero is None else (ops.relu(y), (d, (y, slope_at_zero)))


def scaled_sums(residual: Any, dy: Array) -> tuple[Array, Array, Any]:
    d, seen = residual
    dy = dy if seen is None else relu_backward(seen, dy)
    return *ops.scaled_sums(d, dy), (d, dy)


def scaled_backward(residual: Any, factors: tuple[Array, Array, Array]) -> Array:
    d, dy = residual
    return ops.scaled_backward(d, dy, factors)


def curve(x: Array, name: str, *settings: float) -> tuple[Array, Any]:
    return getattr(ops, name)(x, *settings), (x, name, settings)


def curve_backward(residual: Any, dy: Array) -> Array:
    x, name, settings = residual
    return getattr(ops, f"{name}_backward")(x, dy, *settings)


def max_pool(x: Array, window: Window, ties: str) -> tuple[Array, Any]:
    y = ops.max_pool(x, window)
    return y, (x, y, window, ties)


def max_pool_backward(residual: Any, dy: Array) -> Array:
    x, y, window, ties = residual
    return ops.max_pool_backward(x, y, dy, window, ties=ties)


def average_pool(x: Array, window: Window, count_padding: bool) -> tuple[Array, Any]:
    y = ops.average_pool(x, window, count_padding=count_padding)
    return y, (image_shape(x)[:2], window, count_padding)


def average_pool_backward(residual: Any, dy: Array) -> Array:
    shape, window, count_padding = residual
    return ops.average_pool_backward(dy, shape, window, count_padding=count_padding)


def bias_relu_max_pool(y: Array, b: Array, slope_at_zero: float, window: Window, ties: str) -> tuple[Array, Any]:
    y, for_bias = add_bias(y, b)
    y, for_relu = relu(y, slope_at_zero)
    y, for_pool = max_pool(y, window, ties)
    return y, (for_bias, for_relu, for_pool)


def bias_relu_max_pool_backward(residual: Any, dy: Array) -> tuple[Array, Array]:
    for_bias, for_relu, for_pool = residual
    dy = relu_backward(for_relu, max_pool_backward(for_pool, dy))
    return dy, ops.add_bias_backward(dy, for_bias)


def reshape(x: Array, shape: tuple[int, ...]) -> tuple[Array, Any]:
    return ops.reshape(x, shape), tuple(x.shape[1:])


def reshape_backward(shape: tuple[int, ...], dy: Array) -> Array:
    return ops.reshape(dy, shape)


def upsample(x: Array, factor: tuple[int, int], kind: str) -> tuple[Array, Any]:
    return ops.upsample(x, factor, kind), (factor, kind)


def upsample_backward(residual: Any, dy: Array) -> Array:
    return ops.upsample_backward(dy, *residual)


def dropout(x: Array, rate: float, whole_channels: bool, context: Any) -> tuple[Array, Array]:
    """What is kept, divided by 1 - rate. The residual is each element's factor."""
    xp, x = real_arrays(x)
    drawn = context.bits((1, 1, x.shape[-1]) if whole_channels else tuple(x.shape[1:]))
    factors = xp.astype(drawn >= random.threshold(rate), x.dtype) * (1 / (1 - rate))
    return x * factors, factors


def dropout_backward(factors: Array, dy: Array) -> Array:
    return dy * factors


def matmul(a: Array, b: Array) -> Array:
    """a (M, K) times b (K, N)."""
    return ops.dense(a, b)
