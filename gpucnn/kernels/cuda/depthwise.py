"""Convolutions of each channel by itself: no columns, and no product of one row. Images are (N, H, W, C), dense.

`gpu` is cuda.Gpu: empty, dense, launch, launch_blocks.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...ops.window import Window
from .sizes import BLOCK, Sizes, cached, placed

Array = Any

TAPS = 49  # I J, of which each is a sum in registers
SIDE = 32  # channels that one block sums: a warp reads them together
PARTS = 256  # of the outputs, whose kernel gradients are added up in the end, at most
SUMMED = 64  # outputs that one lane of a block adds up at least


class Residual(NamedTuple):
    """What a depthwise convolution keeps. sizes: of its kernels; x is dense; outputs: P, Q."""

    x: Array
    sizes: Sizes
    outputs: tuple[int, int]


class Depthwise:
    """The verb `correlation`: channels by themselves are computed here, all else by `others`, which have the same verb.

    So is what a compiler or a driver refuses, with a warning.

    gpu: cuda.Gpu; total: sums rows, `layers.Layers.sum`.
    """

    def __init__(self, gpu: Any, others: Any, total: Any) -> None:
        self.gpu, self.others, self.total = gpu, others, total

    def correlate(self, x: Array, w: Array, window: Window, groups: int, *for_pool: Any) -> tuple[Array, Any]:
        """for_pool: the pool's window and ties, where one follows; they change nothing here."""
        fits = groups > 1 and x.shape[3] == groups and w.shape[2] == 1 and w.shape[3] % groups == 0
        if not fits or math.prod(window.size) > TAPS or not x.size:
            return self.others.correlate(x, w, window, groups, *for_pool)
        x, sizes = self.gpu.dense(x), sizes_of(window, tuple(x.shape[1:]), w.shape[3])
        if not self.gpu.starts("depthwise", x.dtype, sizes):
            return self.others.correlate(x, w, window, groups, *for_pool)
        P, Q = window.outputs(*x.shape[1:3])
        y = self.gpu.empty((x.shape[0], P, Q, w.shape[3]), x.dtype)
        self.gpu.launch("depthwise", x.dtype, y.size, x, self.gpu.dense(w, x.dtype), y, sizes=sizes)
        return y, Residual(x, sizes, (P, Q))

    def correlate_backward(self, residual: Any, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
        if not isinstance(residual, Residual):
            return self.others.correlate_backward(residual, w, dy, need_dx)
        x, sizes, _ = residual
        w, dy, dx = self.gpu.dense(w, x.dtype), self.gpu.dense(dy, x.dtype), None
        if need_dx:
            dx = self.gpu.empty(x.shape, x.dtype)
            self.gpu.launch("depthwise_image_gradient", x.dtype, dx.size, w, dy, dx, sizes=sizes)
        return dx, self._kernel_gradient(residual, w.shape, dy)

    def _kernel_gradient(self, residual: Residual, shape: tuple[int, ...], dy: Array) -> Array:
        """Parts of all outputs first, then their sum, in order."""
        x, sizes, (P, Q) = residual
        outputs, size, constants = x.shape[0] * P * Q, math.prod(shape), dict(sizes.constants)
        length = max(-(-outputs // PARTS), SUMMED * constants["lanes"])
        parts = self.gpu.empty((-(-outputs // length), size), x.dtype)
        blocks = parts.shape[0] * -(-shape[3] // constants["columns"])
        arrays = x, dy, outputs, length, parts
        self.gpu.launch_blocks("depthwise_kernel_gradient", x.dtype, blocks, BLOCK, *arrays, sizes=sizes)
        return self.total(parts, size).reshape(shape)


@cached
def sizes_of(window: Window, image: tuple[int, ...], filters: int) -> Sizes:
    """image: H, W, C; filters: C M"""
    columns = min(filters, SIDE)
    more = {
        **dict(zip("de", window.dilation)),
        "M": filters // image[2],
        "threads": BLOCK,
        "columns": columns,
        "lanes": 1 << (BLOCK // columns).bit_length() - 1,
    }
    return Sizes(("depthwise.cu",), (*placed(window, image), *more.items()))
