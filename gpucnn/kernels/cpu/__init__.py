"""The NumPy table: the reference equations on images stored (H, C, W, N), the batch innermost.

In this layout a convolution copies J shifted images instead of I J patches, its matrix products need no transposes, and
all other work runs over long contiguous rows. A 2-D array is (N, features) in shape and feature-major in memory, so
that flatten only exchanges C and W.
Axes: N batch, H W image, I J kernel, P Q output, C K channels in and out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from ...losses import SoftmaxCrossEntropy
from ...ops.window import Window
from .. import Kernels, Pair, reference
from . import correlation as direct
from . import (
    curves,
    depthwise,
    dropout,
    geometry,
    grouped,
    layout,
    normalization,
    pointwise,
    pooling,
    small_depthwise,
    winograd,
    winograd_tiles,
)
from .depthwise import NUMPY_WAY, Way
from .layout import enter, leave
from .products import matmul
from .rows import LARGE, LARGE_ONCE, Image, LazyImage, whole

Array = np.ndarray

CHANNELS = 4  # in and out, from which on Winograd's sums cost less than the products they save
CHANNELS_TILES = 16  # in and out, from which on tiles of rows and columns cost less than tiles of rows


class _Correlated(NamedTuple):
    """The residual of a correlation on a fast way: which one, and the residual it left. Others are the reference's."""

    way: Any
    residual: Any


@lru_cache(maxsize=256)
def _way(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    alone: Way = NUMPY_WAY,
    tiles: Any = winograd_tiles,
) -> Any:
    """The module that correlates images of x_shape, or None where only the reference can.

    alone: the one for channels by themselves; tiles: the one for tiles of rows and columns.
    """
    if not x_shape[3]:  # a batch of nothing has no rows to be cut into
        return None
    if groups > 1 and (groups, 1) == (x_shape[1], w_shape[2]):
        return alone
    if window.is_dilated:
        return None
    if groups > 1:
        return grouped if (groups * w_shape[2], w_shape[3] % groups) == (x_shape[1], 0) else None
    if winograd_tiles.is_worthwhile(x_shape[0], x_shape[2], w_shape, window, CHANNELS_TILES):
        return tiles
    return winograd if winograd.is_worthwhile(x_shape[0], w_shape, window, CHANNELS) else direct


def correlate(
    x: Array,
    w: Array,
    window: Window,
    groups: int,
    large: int | None = None,
    *,
    alone: Way = NUMPY_WAY,
    tiles: Any = winograd_tiles,
) -> tuple[Image, Any]:
    """large: see `correlate_for_pool`; alone, tiles: see `_way`."""
    x = layout.real(x, w)
    way = _way(x.shape, w.shape, window, groups, alone, tiles)
    if way is NUMPY_WAY and small_depthwise.is_worthwhile(x.shape, w.shape, window):
        way = small_depthwise
    if way is None:
        y, residual = reference.correlate(leave(x), w, window, groups)
        return enter(y), residual
    if way is grouped:
        y, residual = grouped.correlate(x, w, groups, partial(correlate, window=window, groups=1))
    else:
        y, residual = way.correlate(np.ascontiguousarray(x), w, window, large)
    return y, _Correlated(way, residual)


def correlate_for_pool(
    x: Array,
    w: Array,
    window: Window,
    groups: int,
    pool: Window,
    ties: str,
    large: int = LARGE,
    alone: Way = NUMPY_WAY,
) -> tuple[Image, Any]:
    """`correlate`, with columns in the order that makes the pool's loops long; `correlate_backward` takes it too.

    Its rows may be made while the pool looks at them: where columns are correlated directly, from `large` bytes on.
    """
    return correlate(x, w, window, groups, large if pooling.is_of_four(pool, ties) else None, alone=alone)


def correlate_in_order(
    x: Array, w: Array, window: Window, groups: int, *for_pool: Any, large: int | None = None, alone: Way = NUMPY_WAY
) -> tuple[Array, Any]:
    """`correlate` where outputs with equal surroundings are equal to the last bit.

    for_pool, large: see `correlate_for_pool`; they change nothing here. alone: see `_way`.
    """
    x = layout.real(x, w)
    way = _way(x.shape, w.shape, window, groups, alone)
    if way is None:
        y, residual = reference.correlate(leave(x), w, window, groups, in_order=True)
        return enter(y), residual
    if way is grouped:
        y, residual = grouped.correlate(x, w, groups, partial(correlate_in_order, window=window, groups=1))
        return y, _Correlated(way, residual)
    if isinstance(way, Way):
        y, residual = way.correlate(np.ascontiguousarray(x), w, window)
        return y, _Correlated(way, residual)
    y, residual = direct.correlate_in_order(np.ascontiguousarray(x), w, window)
    return y, _Correlated(direct, residual)


def correlate_backward(residual: Any, w: Array, dy: Image, need_dx: bool) -> tuple[Array | None, Array]:
    if not isinstance(residual, _Correlated):
        assert isinstance(dy, np.ndarray)  # only the ways here make images by rows
        dx, dw = reference.correlate_backward(residual, w, leave(dy), need_dx)
        return (enter(dx) if dx is not None else None), dw
    if residual.way is grouped:
        return grouped.gradients(residual.residual, w, whole(dy), need_dx, correlate_backward)
    return residual.way.gradients(
        residual.residual, w, dy if isinstance(dy, LazyImage) else np.ascontiguousarray(dy), need_dx
    )


def transposed(x: Array, w: Array, window: Window, groups: int, size: tuple[int, int]) -> tuple[Array, Any]:
    """The gradient of an image (H, W) = size by a correlation, x being its dy."""
    x = layout.real(x, w)
    shape = size[0], w.shape[2] * groups, size[1], x.shape[3]
    way = _way(shape, w.shape, window, groups)
    if way in (None, grouped):
        y, residual = reference.transposed(leave(x), w, window, groups, size)
        return enter(y), residual
    way, x = depthwise if way is NUMPY_WAY else direct, np.ascontiguousarray(x)
    return way.image_gradient(shape, w, x, window), _Correlated(way, (x, window))


def transposed_backward(residual: Any, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
    if not isinstance(residual, _Correlated):
        dx, dw = reference.transposed_backward(residual, w, leave(dy), need_dx)
        return (enter(dx) if dx is not None else None), dw
    way, (x, window), dy = residual.way, residual.residual, np.ascontiguousarray(dy)
    dx, seen = way.correlate(dy, w, window) if need_dx else (None, way.residual(dy, w.shape, window))
    return dx, way.kernel_gradient(seen, w, x)


@dataclass(frozen=True)
class NumPyKernels(Kernels):
    """backward: whether the backward of `bias_relu` may be called."""

    backward: bool = True

    def bias_relu(self, y: Array, b: Array, slope_at_zero: float) -> tuple[Array, Any]:
        return pointwise.bias_relu(y, b, slope_at_zero, backward=self.backward)

    def bias_relu_backward(self, residual: Any, dy: Array) -> tuple[Array, Array]:
        return pointwise.bias_relu_backward(residual, dy)


NUMPY = NumPyKernels(
    name="numpy",
    enter=enter,
    leave=leave,
    pixels=layout.pixels,
    image_shape=layout.image_shape,
    spread=layout.spread,
    channel_sums=normalization.channel_sums,
    pixel_sums=layout.pixel_sums,
    axes=layout.axes,
    centred=normalization.centred,
    scaled=normalization.scaled,
    scaled_sums=normalization.scaled_sums,
    scaled_backward=normalization.scaled_backward,
    add=pointwise.add,
    concatenate=Pair(layout.concatenate, layout.concatenate_backward),
    correlation=Pair(correlate, correlate_backward),
    correlation_for_pool=correlate_for_pool,
    transposed=Pair(transposed, transposed_backward),
    bias=Pair(pointwise.add_bias, pointwise.add_bias_backward),
    relu=Pair(pointwise.relu, pointwise.relu_backward),
    sigmoid=Pair(pointwise.sigmoid, pointwise.sigmoid_backward),
    tanh=Pair(pointwise.tanh, pointwise.tanh_backward),
    curve=Pair(curves.curve, curves.curve_backward),
    max_pool=Pair(pooling.max_pool, pooling.max_pool_backward),
    average_pool=Pair(pooling.average_pool, pooling.average_pool_backward),
    bias_relu_max_pool=Pair(pointwise.bias_relu_max_pool, pointwise.bias_relu_max_pool_backward),
    reshape=Pair(layout.reshape, layout.reshape_backward),
    part=geometry.part,
    place=geometry.place,
    upsample=Pair(geometry.upsample, geometry.upsample_backward),
    dropout=Pair(dropout.dropout, dropout.dropout_backward),
    matmul=matmul,
    losses={SoftmaxCrossEntropy: pointwise.softmax_cross_entropy},
    joins_bias_and_relu=True,
)

EXACT_TIES = replace(
    NUMPY,
    exact_ties=True,
    correlation=Pair(correlate_in_order, correlate_backward),
    correlation_for_pool=correlate_in_order,
)


def without_winners(table: Kernels) -> Kernels:
    """A table of this file whose pools leave no residual, so that their `backward` may not be called."""
    return replace(
        without_zeros(table),
        correlation_for_pool=partial(table.correlation_for_pool, large=LARGE_ONCE),
        max_pool=Pair(partial(pooling.max_pool, backward=False), pooling.max_pool_backward),
        bias_relu_max_pool=Pair(
            partial(pointwise.bias_relu_max_pool, backward=False), pointwise.bias_relu_max_pool_backward
        ),
    )


def without_zeros(table: Kernels) -> Kernels:
    """A table whose `bias_relu` does not look where there are zeros, so that its backward may not be called."""
    return replace(table, backward=False)  # type: ignore[call-arg]  # all tables that run here are NumPyKernels
