"""Dropout on a GPU: forward and backward draw the same bits, so that nothing but the numbers of examples is kept.

`gpu` is cuda.Gpu: dense, empty, launch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random

Array = Any


class Dropout:
    """The verb's pair, as a table of kernels has it. gpu: cuda.Gpu."""

    def __init__(self, gpu: Any) -> None:
        self.gpu = gpu

    def forward(self, x: Array, rate: float, whole_channels: bool, context: Any) -> tuple[Array, Any]:
        examples, update = self.gpu.dense(context.examples, np.int64), context.update
        counted = hasattr(update, "shape")  # on the device, where a recorded step finds its number
        state = random.bits(context.key) if counted else random.bits(context.key, update)
        size = math.prod(x.shape[1:])
        arguments = (examples, update if counted else examples, int(counted), np.int64(state), size)
        different = x.shape[-1] if whole_channels else size
        residual = (*arguments, different, np.int64(random.threshold(rate)), 1 / (1 - rate))
        return self.backward(residual, x), residual

    def backward(self, residual: Any, dy: Array) -> Array:
        dy = self.gpu.dense(dy)
        dx = self.gpu.empty(dy.shape, dy.dtype)
        self.gpu.launch("dropout", dy.dtype, dx.size, dy, *residual, dx)
        return dx
