"""Correlation for pools that share gradients among ties: outputs with equal surroundings are equal to the last bit.

cuBLAS and cuDNN add up each element of a product in an order that may depend on its place. Here a thread adds up each
output, all in the same order, and in float32 whatever the precision of products is.
"""

from __future__ import annotations

from typing import Any

from ...ops.window import Window
from .. import reference

Array = Any


class InOrder:
    """The forward of the verb `correlation`; others compute the gradient. gpu: cuda.Gpu.

    residual: their function of (x, window, groups), x being dense.
    """

    def __init__(self, gpu: Any, residual: Any) -> None:
        self.gpu, self.residual = gpu, residual

    def correlate(self, x: Array, w: Array, window: Window, groups: int, *for_pool: Any) -> tuple[Array, Any]:
        """for_pool: the pool's window and ties, where one follows; they change nothing here."""
        if x.shape[3] != w.shape[2] * groups or w.shape[3] % groups:
            return reference.correlate(x, w, window, groups)  # raises the error that says what does not fit
        x, w = self.gpu.dense(x), self.gpu.dense(w, x.dtype)
        image, outputs, (top, _), (left, _) = x.shape[1:], window.outputs(*x.shape[1:3]), *window.padding
        y = self.gpu.empty((x.shape[0], *outputs, w.shape[3]), x.dtype)
        sizes = *image, *outputs, *window.size, *window.stride, top, left, *window.dilation, *w.shape[2:]
        self.gpu.launch("correlate_in_order", x.dtype, y.size, x, w, *map(int, sizes), y)
        return y, self.residual(x, window, groups)
