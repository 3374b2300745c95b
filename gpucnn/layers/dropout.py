"""Layers that leave a part of their input out, in training only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..kernels import Context
from ..namespace import as_python
from .base import Gradients, Layer, check_number
from .geometry import image


@dataclass(frozen=True)
class Dropout(Layer):
    """Each number becomes 0 with probability rate, else it is divided by 1 - rate; the mean stays.

    Shape: (N, ...) -> the same.

    In training only: without examples the input passes through. What is left out depends on the seed of `fit`, the
    layer, the update and the example, and is the same on every device and for every number of workers: element k of an
    example, in the order of (H, W, C), is kept where 32 random bits are at least rate 2^32. A dropped NaN stays NaN.

    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014.
    """

    rate: float = 0.5

    has_place = True
    _whole_channels = False

    def __post_init__(self) -> None:
        as_python(self)
        check_number(self, "rate", lambda rate: 0 <= rate < 1, "a number of at least 0, below 1,")

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        if not self.rate or not context.training or context.examples is None:
            return x, None
        return context.kernels.dropout.forward(x, self.rate, self._whole_channels, context)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        if residual is None:
            return dy, {}
        return (context.kernels.dropout.backward(residual, dy) if need_dx else None), {}


@dataclass(frozen=True)
class SpatialDropout2D(Dropout):
    """Dropout of whole channels: all pixels of a channel of one image share a fate.

    Shape: (N, H, W, C) -> the same.

    Tompson, Goroshin, Jain, LeCun and Bregler, 2015.
    """

    _whole_channels = True

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return image(in_shape, "SpatialDropout2D")
