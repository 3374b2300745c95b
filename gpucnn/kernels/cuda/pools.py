"""The pools' verbs on a GPU. `gpu` is cuda.Gpu: empty, dense, launch. Images are (N, H, W, C), dense."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...ops.window import Window
from .. import reference
from .sizes import Sizes, placed

Array = Any

CODES = 254  # offsets in a pool's window that a byte can name beside NOBODY and FIRST_AT_ZERO


class Pooled(NamedTuple):
    """A max pool's residual. sizes: of its kernels; codes: who won each window; b: the fused form's bias.

    x, y: the input and output, kept only where all ties get the gradient.
    """

    shape: tuple[int, ...]
    sizes: Sizes
    codes: Array
    x: Array = None
    y: Array = None
    b: Array = None
    slope_at_zero: float = 1.0


class Pools:
    """The verbs by name, as a table of kernels has them. gpu: cuda.Gpu; total: sums rows, `layers.Layers.sum`."""

    def __init__(self, gpu: Any, total: Any) -> None:
        self.gpu, self.total = gpu, total

    def max_pool(self, x: Array, window: Window, ties: str) -> tuple[Array, Any]:
        if math.prod(window.size) > CODES:
            y, residual = reference.max_pool(x, window, ties)
            return y.copy() if ties == "first" else y, residual  # the result may be overwritten
        x = self.gpu.dense(x)
        y, codes = self._outputs(x, window)
        sizes = max_pool_sizes(window, x.shape[1:])
        self.gpu.launch("max_pool", x.dtype, y.size, x, y, codes, sizes=sizes)
        return y, Pooled(x.shape, sizes, codes, *((x, y) if ties == "all" else ()))

    def max_pool_backward(self, pooled: Any, dy: Array) -> Array:
        if not isinstance(pooled, Pooled):
            return reference.max_pool_backward(pooled, dy)
        return self._unpooled(pooled, self.gpu.dense(dy))

    def bias_relu_max_pool(
        self, x: Array, b: Array, slope_at_zero: float, window: Window, ties: str
    ) -> tuple[Array, Any]:
        """b is tied, (C,). For ties="first" a byte for each window is all that the gradient needs."""
        if window.is_padded or math.prod(window.size) > CODES - 1:
            return reference.bias_relu_max_pool(x, b, slope_at_zero, window, ties)
        x, b, sizes = self.gpu.dense(x), self.gpu.dense(b, x.dtype), max_pool_sizes(window, x.shape[1:])
        y, codes = self._outputs(x, window)
        self.gpu.launch("bias_relu_max_pool", x.dtype, y.size, x, b, y, codes, sizes=sizes)
        pooled = Pooled(x.shape, sizes, codes, slope_at_zero=float(slope_at_zero))
        return y, pooled._replace(x=x, y=y, b=b) if ties == "all" else pooled

    def bias_relu_max_pool_backward(self, pooled: Any, dy: Array) -> tuple[Array, Array]:
        if not isinstance(pooled, Pooled):
            return reference.bias_relu_max_pool_backward(pooled, dy)
        dy, C = self.gpu.dense(dy), pooled.shape[3]
        dx = self._unpooled(pooled, dy)
        return dx, self.total(dy, C, pooled.codes, pooled.slope_at_zero) if pooled.x is None else self.total(dx, C)

    def _outputs(self, x: Array, window: Window) -> tuple[Array, Array]:
        shape = (x.shape[0], *window.outputs(*x.shape[1:3]), x.shape[3])
        return self.gpu.empty(shape, x.dtype), self.gpu.empty(shape, "uint8")

    def _unpooled(self, pooled: Pooled, dy: Array) -> Array:
        """The gradient of the image: to winners that were written down, or to all that equal y."""
        name, arrays = "max_pool_backward", [dy, pooled.codes, pooled.slope_at_zero]
        if pooled.x is not None:
            dy = self.gpu.dense(dy, pooled.x.dtype)
            name, arrays = "max_pool_all_backward", [pooled.x, pooled.y, dy]
        if pooled.b is not None:
            name, arrays = "bias_relu_max_pool_all_backward", [pooled.x, pooled.b, pooled.y, dy, pooled.slope_at_zero]
        dx = self.gpu.empty(pooled.shape, dy.dtype)
        self.gpu.launch(name, dy.dtype, dx.size, *arrays, dx, sizes=pooled.sizes)
        return dx

    def average_pool(self, x: Array, window: Window, count_padding: bool) -> tuple[Array, Any]:
        x = self.gpu.dense(x)
        y = self.gpu.empty((x.shape[0], *window.outputs(*x.shape[1:3]), x.shape[3]), x.dtype)
        (_, bottom), (_, right) = window.padding
        counted = (
            ("count_padding", count_padding),
            ("bottom", bottom - window.beyond[0]),
            ("right", right - window.beyond[1]),
        )
        constants = *pool_constants(window, x.shape[1:]), *((name, int(value)) for name, value in counted)
        sizes = Sizes(("average_pools.cu",), constants)
        self.gpu.launch("average_pool", x.dtype, y.size, x, y, sizes=sizes)
        return y, (x.shape, sizes)

    def average_pool_backward(self, residual: Any, dy: Array) -> Array:
        shape, sizes = residual
        dy, dx = self.gpu.dense(dy), self.gpu.empty(shape, dy.dtype)
        self.gpu.launch("average_pool_backward", dy.dtype, dx.size, dy, dx, sizes=sizes)
        return dx


def max_pool_sizes(window: Window, image: tuple[int, ...]) -> Sizes:
    """image: H, W, C"""
    return Sizes(("max_pools.cu",), pool_constants(window, image))


def pool_constants(window: Window, image: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """What all kernels of pools are compiled with; image: H, W, C."""
    return *placed(window, image), ("d", window.dilation[0]), ("e", window.dilation[1])
