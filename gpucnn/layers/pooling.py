"""Pooling layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import SettingError, ShapeError
from ..kernels import Context
from ..ops.window import Padding, Window, padding_of, pair, pooling_window
from .base import Layer

_window = lru_cache(maxsize=1024)(pooling_window)  # of arguments that _check has seen


def _pooled_shape(layer: MaxPool2D | AvgPool2D, in_shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(in_shape) != 3:
        raise ShapeError(f"input has shape {in_shape}, an image (H, W, C) was expected; put pooling before Flatten()")
    return (*layer.geometry(in_shape).outputs(in_shape[0], in_shape[1]), in_shape[2])


def _check(layer: MaxPool2D | AvgPool2D) -> None:
    """Give window, stride and padding their canonical forms, so that equal layers compare equal."""
    object.__setattr__(layer, "window", pair(layer.window, "window"))
    if layer.stride is not None:
        stride = pair(layer.stride, "stride")
        object.__setattr__(layer, "stride", None if stride == layer.window else stride)
    object.__setattr__(layer, "padding", padding_of(layer.padding))


@dataclass(frozen=True)
class MaxPool2D(Layer):
    """The largest value of every window. The stride defaults to the window; padding never wins.

    ties: who gets the gradient: "first", the first largest row by row (single-filter), or "all", each of them
    undivided (layered eq. (19)).
    """

    window: int | tuple[int, int] = 2
    stride: int | tuple[int, int] | None = None
    padding: Padding = "valid"
    ties: str = "first"

    def __post_init__(self) -> None:
        _check(self)
        if self.ties not in ("first", "all"):
            raise SettingError(f'MaxPool2D: ties={self.ties!r}: "first" or "all" was expected')

    def geometry(self, in_shape: tuple[int, ...]) -> Window:
        return _window(self.window, self.stride, self.padding, in_shape[0], in_shape[1])

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(H, W, C) -> (P, Q, C)."""
        return _pooled_shape(self, in_shape)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        kernels = context.kernels
        return kernels.max_pool.forward(x, self.geometry(kernels.image_shape(x)), self.ties)

    def backward(
        self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True
    ) -> tuple[Any, Any]:
        return context.kernels.max_pool.backward(residual, dy), {}


@dataclass(frozen=True)
class AvgPool2D(Layer):
    """The mean of every window. The stride defaults to the window; padding counts as zeros only with count_padding.

    avgpool-96.
    """

    window: int | tuple[int, int] = 2
    stride: int | tuple[int, int] | None = None
    padding: Padding = "valid"
    count_padding: bool = False

    def __post_init__(self) -> None:
        _check(self)

    def geometry(self, in_shape: tuple[int, ...]) -> Window:
        return _window(self.window, self.stride, self.padding, in_shape[0], in_shape[1])

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(H, W, C) -> (P, Q, C)."""
        return _pooled_shape(self, in_shape)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        kernels = context.kernels
        return kernels.average_pool.forward(x, self.geometry(kernels.image_shape(x)), self.count_padding)

    def backward(
        self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True
    ) -> tuple[Any, Any]:
        return context.kernels.average_pool.backward(residual, dy), {}
