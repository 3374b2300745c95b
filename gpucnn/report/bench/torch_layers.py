"""gpucnn's layers as PyTorch's modules, of (N, C, H, W); what is not here is not compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...errors import SettingError
from ...layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Crop2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    MaxPool2D,
    PadChannels,
    Parallel,
    ReLU,
    Residual,
    SeparableConv2D,
    Shared,
    Sigmoid,
    Subsample2D,
    Tanh,
)
from ...network import Network, describe
from ...network.layout import at
from ...ops.window import Window


def modules(layers: Iterable[Any], in_shape: tuple[int, ...], shared: dict[str, Any]) -> Any:
    """The layers, one behind the other, as one module. shared: those of `Shared`, by name, as far as they are made.

    Ties in a max pool always go to one pixel there. Raises SettingError for a layer that has no equal.
    """
    made: list[Any] = []
    layers = tuple(layers)
    for k, layer in enumerate(layers):
        if type(layer) is Flatten and len(in_shape) == 3 and _dense_behind(layers, k) is None:
            made.append(Computed(lambda x: x.permute(0, 2, 3, 1).flatten(1)))
        elif type(layer) in NESTS:
            made.append(NESTS[type(layer)](layer, in_shape, shared))
        elif type(layer) in EQUALS:
            made += EQUALS[type(layer)](layer, in_shape)
        else:
            raise SettingError(f"layer {k}: {describe(layer)} has no equal in PyTorch here")
        in_shape = layer.out_shape(in_shape)
    return nn.Sequential(*made)


def _dense_behind(layers: tuple[Any, ...], k: int) -> int | None:
    """Which dense layer takes what Flatten, layer k, gives, through such as treat all features alike, if one does.

    gpucnn flattens (H, W, C), PyTorch (C, H, W): that layer's weights are turned then, which takes no time.
    """
    for further, layer in enumerate(layers[k + 1 :], k + 1):
        if type(layer) not in (ReLU, Sigmoid, Tanh, Dropout):
            return further if type(layer) is Dense else None
    return None


def _convolution(layer: Conv2D, in_shape: tuple[int, ...]) -> list[Any]:
    window = layer.window_of(in_shape)
    padded, padding = _padded(window, 0.0)
    how = window.size, window.stride, padding, window.dilation, layer.groups, layer.bias == "tied"
    untied = [UntiedBias(layer.out_shape(in_shape))] if layer.bias == "untied" else []
    return [*padded, nn.Conv2d(in_shape[2], layer.filters, *how), *untied]


def _depthwise(layer: DepthwiseConv2D, in_shape: tuple[int, ...]) -> list[Any]:
    return _convolution(layer.convolution(in_shape), in_shape)


def _separable(layer: SeparableConv2D, in_shape: tuple[int, ...]) -> list[Any]:
    between = layer.depthwise.out_shape(in_shape)
    return [*_depthwise(layer.depthwise, in_shape), *_convolution(layer.pointwise, between)]


def _transposed(layer: ConvTranspose2D, in_shape: tuple[int, ...]) -> list[Any]:
    window, size = layer.place(in_shape)
    (top, bottom), (left, right) = window.padding
    if top != bottom or left != right:
        raise SettingError(f"{describe(layer)}: PyTorch cuts off as much on both sides")
    down, right = (
        size[axis] - (in_shape[axis] - 1) * window.stride[axis] - window.span(axis) + sum(window.padding[axis])
        for axis in (0, 1)
    )
    how = window.size, window.stride, (top, left), (down, right), layer.groups, bool(layer.bias), window.dilation
    return [nn.ConvTranspose2d(in_shape[2], layer.filters, *how)]


def _max_pool(layer: MaxPool2D, in_shape: tuple[int, ...]) -> list[Any]:
    window = layer.window_of(in_shape)
    padded, padding = _padded(window, -math.inf, most=2)
    return [*padded, nn.MaxPool2d(window.size, window.stride, padding, window.dilation)]


def _average_pool(layer: AvgPool2D, in_shape: tuple[int, ...]) -> list[Any]:
    window = layer.window_of(in_shape)
    padded, padding = _padded(window, 0.0, most=2)
    if window.is_dilated:
        raise SettingError(f"{describe(layer)}: PyTorch's average pools see pixels side by side")
    if any(window.beyond) if layer.count_padding else padded:
        raise SettingError(f"{describe(layer)}: PyTorch cannot leave this padding out of the mean")
    return [*padded, nn.AvgPool2d(window.size, window.stride, padding, count_include_pad=layer.count_padding)]


def _padded(window: Window, value: float, most: int = 0) -> tuple[list[Any], tuple[int, int]]:
    """A padding layer where the sides differ (or exceed size / most), else the padding of the layer itself."""
    (top, bottom), (left, right) = window.padding
    within = not most or (top <= window.size[0] // most and left <= window.size[1] // most)
    if top == bottom and left == right and within:
        return [], (top, left)
    return [nn.ConstantPad2d((left, right, top, bottom), value)], (0, 0)


def _batch_norm(layer: BatchNorm, in_shape: tuple[int, ...]) -> list[Any]:
    if layer.scale != layer.bias:
        raise SettingError(f"{describe(layer)}: PyTorch has both parameters or none")
    kind = nn.BatchNorm2d if len(in_shape) == 3 else nn.BatchNorm1d
    return [kind(in_shape[-1], layer.epsilon, 1 - layer.momentum, layer.scale)]


class UntiedBias(nn.Module):
    """Adds one number per output position. shape: of the output, (H, W, C)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape[2], shape[0], shape[1]))

    def forward(self, x: Any) -> Any:
        return x + self.bias


class Computed(nn.Module):
    """What a function computes."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


class Merged(nn.Module):
    """Branches that all get the input, added or beside one another."""

    def __init__(self, branches: Iterable[Any], merge: str) -> None:
        super().__init__()
        self.branches, self.merge = nn.ModuleList(branches), merge

    def forward(self, x: Any) -> Any:
        first, *others = [branch(x) for branch in self.branches]
        if self.merge == "concat":
            return torch.cat([first, *others], 1)
        for other in others:
            first = first + other
        return first


def _branches(layer: Any, in_shape: tuple[int, ...], shared: dict[str, Any]) -> Any:
    branches = [modules(each, in_shape, shared) for each in layer.nested().values()]
    return Merged(branches, getattr(layer, "merge", "add"))


def _shared(layer: Shared, in_shape: tuple[int, ...], shared: dict[str, Any]) -> Any:
    if layer.name not in shared:
        shared[layer.name] = layer, modules(layer.layers, in_shape, shared)
    if shared[layer.name][0] != layer:
        raise SettingError(f"{describe(layer)}: PyTorch shares whole layers, and these differ from place to place")
    return shared[layer.name][1]


NESTS: dict[type, Any] = {
    Parallel: _branches,
    Residual: _branches,
    Shared: _shared,
    Network: lambda layer, in_shape, shared: modules(layer.layers, in_shape, shared),
}

# by a layer's class, what makes its modules of the layer and the shape of its input
EQUALS: dict[type, Any] = {
    Conv2D: _convolution,
    DepthwiseConv2D: _depthwise,
    SeparableConv2D: _separable,
    ConvTranspose2D: _transposed,
    MaxPool2D: _max_pool,
    AvgPool2D: _average_pool,
    GlobalAvgPool2D: lambda layer, _: [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    BatchNorm: _batch_norm,
    Dropout: lambda layer, _: [nn.Dropout(layer.rate)],
    Dense: lambda layer, in_shape: [nn.Linear(in_shape[0], layer.units, layer.bias)],
    Crop2D: lambda layer, _: [Computed(lambda x: x[:, :, *layer.places_of(x.shape[2:])[:2]])],
    PadChannels: lambda layer, _: [Computed(lambda x: F.pad(x, (0, 0, 0, 0, *layer.channels)))],
    Subsample2D: lambda layer, _: [Computed(lambda x: x[:, :, :: layer.stride[0], :: layer.stride[1]])],
    **{kind: lambda layer, _: [getattr(nn, type(layer).__name__)()] for kind in (ReLU, Sigmoid, Tanh, Flatten)},
}


def arrays(network: Network, params: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """params, as `Network.init` gives them, in the order, orientation and axes of the translation's parameters()."""
    names, places = network.parameter_shapes(), [*network.walk()]
    turned: dict[str, tuple[int, ...]] = {}  # dense layers by their paths, and the images that were flattened for them
    for place in places:
        layer, shape = place.layer, place.shape
        if isinstance(layer, Flatten) and len(shape) == 3:
            beside = tuple(each.layer for each in places if each.path[:-1] == place.path[:-1])
            if (dense := _dense_behind(beside, int(place.path[-1]))) is not None:
                turned["/".join((*place.path[:-1], str(dense)))] = shape
        if not any(name.startswith(f"{place.name}/") for name in names) or type(layer) not in EQUALS:
            continue
        of_layer = at(params, place.path)
        if isinstance(layer, SeparableConv2D):
            kernel = of_layer["depthwise"]
            yield (kernel[::-1, ::-1] if layer.flip else kernel).transpose(3, 2, 0, 1)
            yield of_layer["pointwise"].transpose(3, 2, 0, 1)
        elif isinstance(layer, Conv2D | DepthwiseConv2D | ConvTranspose2D):
            kernel = of_layer["kernel"]
            yield (kernel[::-1, ::-1] if layer.flip else kernel).transpose(3, 2, 0, 1)
        elif isinstance(layer, Dense):
            weights = of_layer["weights"]
            if place.name in turned:
                weights = weights.reshape(*turned[place.name], -1).transpose(2, 0, 1, 3).reshape(weights.shape)
            yield weights.T
        elif "scale" in of_layer:
            yield of_layer["scale"]
        if "bias" in of_layer:
            bias = of_layer["bias"]
            yield bias.transpose(2, 0, 1) if bias.ndim == 3 else bias
