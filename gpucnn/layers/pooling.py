"""Pooling layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import SettingError, ShapeError
from ..kernels import Context, Kernels, Pair
from ..namespace import as_python
from ..ops.window import Padding, Window, padding_of, pair, pooling_window
from .base import Gradients, Layer

_window = lru_cache(maxsize=1024)(pooling_window)  # of arguments that _check has seen


@dataclass(frozen=True)
class _Pool(Layer):
    """What pools have in common. The stride defaults to the window; dilation, ceil_mode: fields of those below."""

    window: int | tuple[int, int] = 2
    stride: int | tuple[int, int] | None = None
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        """Give window, stride and padding their canonical forms, so that equal layers compare equal."""
        as_python(self)
        object.__setattr__(self, "window", pair(self.window, "window"))
        if self.stride is not None:
            stride = pair(self.stride, "stride")
            object.__setattr__(self, "stride", None if stride == self.window else stride)
        object.__setattr__(self, "padding", padding_of(self.padding))
        object.__setattr__(self, "dilation", pair(self.dilation, "dilation"))  # type: ignore[attr-defined]

    def window_of(self, in_shape: tuple[int, ...]) -> Window:
        """The window on an input of that shape, with its stride and padding in pixels."""
        more = self.dilation, self.ceil_mode  # type: ignore[attr-defined]
        return _window(self.window, self.stride, self.padding, in_shape[0], in_shape[1], *more)

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

    Shape: (N, H, W, C) -> (N, P, Q, C).

    dilation: pixels from one that a window sees to the next. ceil_mode: the last pixels of an axis get one more window
    where they are in no other, which may reach past the image and its padding; not, as in PyTorch, where it would begin
    behind the image.

    ties: who gets the gradient: "first", the first largest row by row (single-filter), or "all", each of them
    undivided (layered eq. (19)). Networks with a pool of the second kind are computed by tables with exact ties, see
    `kernels.Kernels`.
    """

    ties: str = "first"
    dilation: int | tuple[int, int] = 1
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_ties(self)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        kernels = context.kernels
        return kernels.max_pool.forward(x, self.window_of(kernels.image_shape(x)), self.ties)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.max_pool.backward(residual, dy), {}


@dataclass(frozen=True)
class AvgPool2D(_Pool):
    """The mean of every window. The stride defaults to the window; padding counts as zeros only with count_padding.

    Shape: (N, H, W, C) -> (N, P, Q, C).

    dilation, ceil_mode: as of MaxPool2D. What a window sees past the padding is never counted. avgpool-96.
    """

    count_padding: bool = False
    dilation: int | tuple[int, int] = 1
    ceil_mode: bool = False

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        kernels = context.kernels
        return kernels.average_pool.forward(x, self.window_of(kernels.image_shape(x)), self.count_padding)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.average_pool.backward(residual, dy), {}


class _Global(Layer):
    """A pool whose window is the whole image: (H, W, C) -> (C,)."""

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(in_shape) != 3:
            raise ShapeError(f"input has shape {in_shape}, an image (H, W, C) was expected; leave out Flatten()")
        return in_shape[2:]

    def _pool(self, kernels: Kernels) -> tuple[Pair, Any]:
        """The verb, and what it takes beside image and window."""
        raise NotImplementedError

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        H, W, C = context.kernels.image_shape(x)
        pool, setting = self._pool(context.kernels)
        y, seen = pool.forward(x, Window((H, W), (H, W)), setting)
        y, reshaped = context.kernels.reshape.forward(y, (C,))
        return y, (seen, reshaped)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        seen, reshaped = residual
        dy = context.kernels.reshape.backward(reshaped, dy)
        return self._pool(context.kernels)[0].backward(seen, dy), {}


@dataclass(frozen=True)
class GlobalAvgPool2D(_Global):
    """The mean of each channel over the image, as a vector (C,). Lin, Chen and Yan, 2014.

    Shape: (N, H, W, C) -> (N, C).
    """

    def _pool(self, kernels: Kernels) -> tuple[Pair, Any]:
        return kernels.average_pool, False


@dataclass(frozen=True)
class GlobalMaxPool2D(_Global):
    """The largest value of each channel over the image, as a vector (C,). ties: as of MaxPool2D.

    Shape: (N, H, W, C) -> (N, C).
    """

    ties: str = "first"

    def __post_init__(self) -> None:
        _check_ties(self)

    def _pool(self, kernels: Kernels) -> tuple[Pair, Any]:
        return kernels.max_pool, self.ties


def _check_ties(layer: MaxPool2D | GlobalMaxPool2D) -> None:
    if layer.ties not in ("first", "all"):
        raise SettingError(f'{type(layer).__name__}: ties={layer.ties!r}: "first" or "all" was expected')
