"""Convolutions that see one channel at a time, and those that mix channels pixel by pixel behind them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..kernels import Context
from ..namespace import as_python
from ..ops.window import Padding, positive
from .base import Gradients, Layer
from .convolution import Conv2D


@dataclass(frozen=True)
class DepthwiseConv2D(Layer):
    """Each channel cross-correlated with `multiplier` kernels of its own, plus a bias: M = multiplier, K = C M.

    Shape: (N, H, W, C) -> (N, P, Q, K).

    y[n,p,q, c M + m] = sum over i,j of x[n, s p + d i - top, t q + e j - left, c] w[i,j,0, c M + m] + b[c M + m].

    It is Conv2D(C M, kernel, groups=C) without naming C. kernel, stride, padding, dilation, bias, flip: as there.
    Parameters: kernel (I, J, 1, C M); bias (C M,) or (P, Q, C M), zeros at first.

    Howard et al., 2017, section 3.1.
    """

    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: Padding = "valid"
    multiplier: int = 1
    dilation: int | tuple[int, int] = 1
    bias: str | bool | None = "tied"
    flip: bool = False
    initializer: str = "glorot_uniform"

    def __post_init__(self) -> None:
        as_python(self)
        positive(self.multiplier, "DepthwiseConv2D: multiplier")
        checked = convolution_of.__wrapped__(self, 1)  # a list has no hash
        for name in ("kernel", "stride", "padding", "dilation", "bias"):
            object.__setattr__(self, name, getattr(checked, name))

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(H, W, C) -> (P, Q, C M)."""
        return self.convolution(in_shape).out_shape(in_shape)

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        """Fans are I J and I J M: the numbers that one output sees, and the outputs that see one number."""
        return self.convolution(in_shape).init(in_shape, rng)

    def parameter_shapes(self, in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Of what `init` draws."""
        return self.convolution(in_shape).parameter_shapes(in_shape)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        return self.convolution(in_shape).multiply_adds(in_shape)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return self.convolution(context.kernels.image_shape(x)).forward(params, x, context)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        channels = params["kernel"].shape[3] // self.multiplier
        return convolution_of(self, channels).backward(params, residual, dy, context, need_dx=need_dx)

    def convolution(self, in_shape: tuple[int, ...]) -> Conv2D:
        """The equal convolution with a group for each channel of an input."""
        return convolution_of(self, in_shape[-1])


@lru_cache(maxsize=1024)
def convolution_of(layer: DepthwiseConv2D, channels: int) -> Conv2D:
    """The equal convolution with a group for each of so many channels."""
    return Conv2D(
        channels * layer.multiplier,
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.dilation,
        channels,
        layer.bias,
        layer.flip,
        layer.initializer,
    )


@dataclass(frozen=True)
class SeparableConv2D(Layer):
    """DepthwiseConv2D, then Conv2D of one pixel that mixes its channels into `filters`, and one bias behind both.

    Shape: (N, H, W, C) -> (N, P, Q, filters).

    kernel, stride, padding, multiplier, dilation and flip are the depthwise part's, whose M = multiplier; bias is the
    pointwise part's. There is nothing between the two: with a normalisation or an activation there, as in MobileNet,
    write the two layers.
    Parameters: depthwise (I, J, 1, C M); pointwise (1, 1, C M, K); bias (K,) or (P, Q, K), zeros at first.

    Chollet, 2017, section 1; Howard et al., 2017, section 3.1.
    """

    filters: int
    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: Padding = "valid"
    multiplier: int = 1
    dilation: int | tuple[int, int] = 1
    bias: str | bool | None = "tied"
    flip: bool = False
    initializer: str = "glorot_uniform"

    def __post_init__(self) -> None:
        as_python(self)
        for name in ("kernel", "stride", "padding", "dilation"):
            object.__setattr__(self, name, getattr(self.depthwise, name))
        object.__setattr__(self, "bias", self.pointwise.bias)  # what is wrong is said where the layer is made

    @property
    def depthwise(self) -> DepthwiseConv2D:
        """The part that sees one channel at a time."""
        how = self.kernel, self.stride, self.padding, self.multiplier, self.dilation, None, self.flip
        return DepthwiseConv2D(*how, self.initializer)

    @property
    def pointwise(self) -> Conv2D:
        """The part that sees one pixel at a time."""
        return Conv2D(self.filters, 1, bias=self.bias, initializer=self.initializer)

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(H, W, C) -> (P, Q, K)."""
        return self.pointwise.out_shape(self.depthwise.out_shape(in_shape))

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        """The depthwise kernel is drawn first. Each part has its own fans."""
        first = self.depthwise.init(in_shape, rng)
        second = self.pointwise.init(self.depthwise.out_shape(in_shape), rng)
        return _named(first["kernel"], second)

    def parameter_shapes(self, in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Of what `init` draws."""
        first = self.depthwise.parameter_shapes(in_shape)
        return _named(first["kernel"], self.pointwise.parameter_shapes(self.depthwise.out_shape(in_shape)))

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        between = self.depthwise.out_shape(in_shape)
        return self.depthwise.multiply_adds(in_shape) + self.pointwise.multiply_adds(between)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        x, first = self.depthwise.forward({"kernel": params["depthwise"]}, x, context)
        y, second = self.pointwise.forward(_of_pointwise(params), x, context)
        return y, (first, second)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        first, second = residual
        dy, of_second = self.pointwise.backward(_of_pointwise(params), second, dy, context)
        of_depthwise = {"kernel": params["depthwise"]}
        dx, of_first = self.depthwise.backward(of_depthwise, first, dy, context, need_dx=need_dx)
        return dx, _named(of_first["kernel"], of_second)


def _named(depthwise: Any, of_pointwise: dict[str, Any]) -> dict[str, Any]:
    """The layer's names for its parts' parameters."""
    named = {"depthwise": depthwise, "pointwise": of_pointwise["kernel"]}
    return named | ({"bias": of_pointwise["bias"]} if "bias" in of_pointwise else {})


def _of_pointwise(params: Any) -> dict[str, Any]:
    return {"kernel": params["pointwise"]} | ({"bias": params["bias"]} if "bias" in params else {})
