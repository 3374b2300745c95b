"""Layers that normalise each example by itself: all of it, its pixels, or groups of its channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .. import ops
from ..errors import SettingError, ShapeError
from ..kernels import Context
from ..namespace import array_namespace, as_python, real_arrays
from ..ops.window import positive
from .base import Gradients, Layer, check_number
from .initializers import ones, zeros

Array = Any


def check_epsilon(layer: Any) -> None:
    """Raises SettingError where the layer's epsilon is not positive."""
    check_number(layer, "epsilon", lambda epsilon: 0 < epsilon < math.inf, "a positive number")


def affine(layer: Any, shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
    """scale and bias of that shape, where the layer has them."""
    return ({"scale": ones(rng, shape)} if layer.scale else {}) | ({"bias": zeros(rng, shape)} if layer.bias else {})


class _Grouped(Layer):
    """A layer that makes mean 0 and variance 1 of parts of each example, in training and in inference alike."""

    epsilon: float
    scale: bool
    bias: bool

    def groups_of(self, channels: int) -> int:
        """Into how many parts the channels are cut. Raises ShapeError where that cannot be."""
        return 1

    @property
    def _over_channels(self) -> bool:
        """Whether the numbers of each pixel are a part by themselves."""
        return False

    @property
    def _by_element(self) -> bool:
        """Whether scale and bias have a number for each element, and not for each channel."""
        return False

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        together = in_shape[-1] if self._over_channels else math.prod(in_shape) // self.groups_of(in_shape[-1])
        if together == 1:
            raise ShapeError(
                f"input has shape {in_shape}, and {self!r} would normalise each number by itself, which makes 0 of it"
            )
        return in_shape

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return affine(self, in_shape if self._by_element else in_shape[-1:], rng)

    def _parts(self, x: Array, context: Context) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """A shape of x in which the axes of a part stand by themselves, and these axes."""
        _, *pixels, channels = context.kernels.axes(x)
        shape = tuple(x.shape)
        if self._over_channels:
            return shape, (channels,)
        groups = self.groups_of(shape[channels])
        cut = (*shape[:channels], groups, shape[channels] // groups, *shape[channels + 1 :])
        return cut, (*(axis + (axis > channels) for axis in pixels), channels + 1)

    def _spread(self, values: Array, x: Array, context: Context) -> Array:
        return context.kernels.enter(values[None, ...]) if self._by_element else context.kernels.spread(values, x)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        xp, x, *_ = real_arrays(x, *params.values())
        shape, axes = self._parts(x, context)
        u, inverse = ops.standardize(xp.reshape(x, shape), axes, self.epsilon)
        y = u = xp.reshape(u, tuple(x.shape))
        if self.scale:
            y = y * self._spread(params["scale"], x, context)
        if self.bias:
            y = y + self._spread(params["bias"], x, context)
        return y, (u, inverse)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        xp, (u, inverse) = array_namespace(dy), residual
        dparams = {"scale": self._sums(dy * u, context)} if self.scale else {}
        dparams |= {"bias": self._sums(dy, context)} if self.bias else {}
        if not need_dx:
            return None, dparams
        shape, axes = self._parts(u, context)
        du = dy * self._spread(params["scale"], u, context) if self.scale else dy
        dx = ops.standardize_backward(xp.reshape(u, shape), inverse, xp.reshape(du, shape), axes)
        return xp.reshape(dx, tuple(u.shape)), dparams

    def _sums(self, x: Array, context: Context) -> Array:
        """x summed to the shape of the parameters."""
        if not self._by_element:
            return context.kernels.channel_sums(x)
        return array_namespace(x).sum(context.kernels.leave(x), axis=0)


@dataclass(frozen=True)
class LayerNorm(_Grouped):
    """Each example: (x - mean) / sqrt(variance + epsilon), times scale, plus bias, with its own mean and variance.

    Shape: (N, H, W, C) or (N, features) -> the same.

    over: "all", mean and variance of all H W C numbers of an image, and a scale and a bias for each of them, as
    PyTorch's LayerNorm((C, H, W)); or "channels", those of the C numbers of each pixel, and a scale and a bias for each
    channel, as Keras's LayerNormalization() and PyTorch's LayerNorm(C) on images with channels last. Both are the same
    for vectors. Keras's epsilon is 1e-3.

    scale, bias: whether there are such parameters, 1 and 0 at first. Ba, Kiros and Hinton, 2016.
    """

    over: str = "all"
    epsilon: float = 1e-5
    scale: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        as_python(self)
        if self.over not in ("all", "channels"):
            raise SettingError(f'LayerNorm: over={self.over!r}: "all" or "channels" was expected')
        check_epsilon(self)

    @property
    def _over_channels(self) -> bool:
        return self.over == "channels"

    @property
    def _by_element(self) -> bool:
        return self.over == "all"


@dataclass(frozen=True)
class GroupNorm(_Grouped):
    """The channels in `groups` parts of neighbours: each part of each example gets mean 0 and variance 1.

    Shape: (N, H, W, C) or (N, features) -> the same.

    Then times scale, plus bias, (C,) each, 1 and 0 at first, where there are such parameters. epsilon is added to the
    variance; Keras's is 1e-3. One group is LayerNorm over all, but for the shape of its parameters; as many as channels
    are `InstanceNorm`. Wu and He, 2018.
    """

    groups: int
    epsilon: float = 1e-5
    scale: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        as_python(self)
        positive(self.groups, "GroupNorm: groups")
        check_epsilon(self)

    def groups_of(self, channels: int) -> int:
        if channels % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide the input's {channels} channels")
        return self.groups


@dataclass(frozen=True)
class InstanceNorm(_Grouped):
    """`GroupNorm` with a group for each channel: each channel of each image gets mean 0 and variance 1.

    Shape: (N, H, W, C) -> the same.

    Without scale and bias it is PyTorch's InstanceNorm2d, whose default that is. Ulyanov et al., 2016.
    """

    epsilon: float = 1e-5
    scale: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        as_python(self)
        check_epsilon(self)

    def groups_of(self, channels: int) -> int:
        return channels
