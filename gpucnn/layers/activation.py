"""Activation layers: any shape in, the same shape out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import ops
from ..errors import ShapeError
from ..kernels import Context
from .base import Gradients, Layer


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0), with the slope at 0 that two-conv eq. (10) and layered eq. (21) give it: 1/2."""

    slope_at_zero: float = 0.5

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return context.kernels.relu.forward(x, self.slope_at_zero)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.relu.backward(residual, dy), {}


@dataclass(frozen=True)
class Sigmoid(Layer):
    """1 / (1 + exp(-x)). binary-sigmoid, "5) Sigmoid Activation"."""

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return context.kernels.sigmoid.forward(x)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.sigmoid.backward(residual, dy), {}


@dataclass(frozen=True)
class Tanh(Layer):
    """The hyperbolic tangent, one choice for avgpool-96's f."""

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return context.kernels.tanh.forward(x)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.tanh.backward(residual, dy), {}


@dataclass(frozen=True)
class Softmax(Layer):
    """exp(z_i) / sum of exp(z), for vectors inside a network. two-conv eq. (11), layered eq. (22), (23).

    Networks end in logits, and their loss applies the softmax: this layer is not for the end of one.
    """

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(in_shape) != 1:
            raise ShapeError(
                f"input has shape {in_shape}, one vector per example was expected; put Flatten() before it"
            )
        return in_shape

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        y = ops.softmax(x)
        return y, y

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return ops.softmax_backward(residual, dy), {}
