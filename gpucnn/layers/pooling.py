"""Pooling layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import SettingError, ShapeError
from ..kernels import Context
from ..ops.window import Padding, Window, padding_of, pair, pooling_window
from .base import Gradients, Layer

_window = lru_cache(maxsize=1024)(pooling_window)  # of arguments that _check has seen


@dataclass(frozen=True)
class _Pool(Layer):
    """What pools have in common. The stride defaults to the window."""

    window: int | tuple[int, int] = 2
    stride: int | tuple[int, int] | None = None
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        """Give window, stride and padding their canonical forms, so that equal layers compare equal."""
        object.__setattr__(self, "window", pair(self.window, "window"))
        if self.stride is not None:
            stride = pair(self.stride, "stride")
            object.__setattr__(self, "stride", None if stride == self.window else stride)
        object.__setattr__(self, "padding", padding_of(self.padding))

    def window_of(self, in_shape: tuple[int, ...]) -> Window:
        """The window on an input of that shape, with its stride and padding in pixels."""
        return _window(self.window, self.stride, self.padding, in_shape[0], in_shape[1])

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """(H, W, C) -> (P, Q, C)."""
        if len(in_shape) != 3:
            raise ShapeError(
                f"input has shape {in_shape}, an image (H, W, C) was expected; put pooling before Flatten()"
            )
        return (*self.window_of(in_shape).outputs(in_shape[0], in_shape[1]), in_shape[2])


@dataclass(frozen=True)
class MaxPool2D(_Pool):
    """The largest value of every window. The stride defaults to the window; padding never wins.

    ties: who gets the gradient: "first", the first largest row by row (single-filter), or "all", each of them
    undivided (layered eq. (19)). Networks with a pool of the second kind are computed by tables with exact ties, see
    `kernels.Kernels`.
    """

    ties: str = "first"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ties not in ("first", "all"):
            raise SettingError(f'MaxPool2D: ties={self.ties!r}: "first" or "all" was expected')

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        kernels = context.kernels
        return kernels.max_pool.forward(x, self.window_of(kernels.image_shape(x)), self.ties)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.max_pool.backward(residual, dy), {}


@dataclass(frozen=True)
class AvgPool2D(_Pool):
    """The mean of every window. The stride defaults to the window; padding counts as zeros only with count_padding.

    avgpool-96.
    """

    count_padding: bool = False

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        kernels = context.kernels
        return kernels.average_pool.forward(x, self.window_of(kernels.image_shape(x)), self.count_padding)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.average_pool.backward(residual, dy), {}
