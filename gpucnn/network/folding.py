"""Batch normalisation folded into the convolution or dense layer in front of it, for inference.

The running mean and variance are numbers like the parameters then, and a factor and a term for each channel are no more
than other weights and another bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..layers import BatchNorm, Conv2D, Dense, DepthwiseConv2D
from ..namespace import array_namespace
from . import Network

Array = Any


def folds(layer: Any, behind: Any) -> bool:
    """Whether `behind` is a BatchNorm that folds into the layer; classes derived from these may compute otherwise."""
    return type(layer) in (Conv2D, DepthwiseConv2D, Dense) and type(behind) is BatchNorm


def with_bias(layer: Conv2D | DepthwiseConv2D | Dense) -> Conv2D | DepthwiseConv2D | Dense:
    """The layer, with a bias to take the norm's."""
    if isinstance(layer, Conv2D | DepthwiseConv2D):
        return replace(layer, bias=layer.bias or "tied")
    return replace(layer, bias=True)


def fold(of_layer: Mapping[str, Array], norm: BatchNorm, of_norm: Mapping[str, Array], state: Any) -> dict[str, Array]:
    """The parameters of `with_bias` of the layer: with s = scale / sqrt(variance + epsilon), kernel s and
    (bias - mean) s + the norm's bias, channel by channel, where what is not there counts as 1 or 0.

    state: of the norm.
    """
    (name, kernel), *_ = of_layer.items()  # "kernel" or "weights", whose last axis are the channels
    xp = array_namespace(kernel)
    scale = 1 / xp.sqrt(state["variance"] + norm.epsilon)
    if norm.scale:
        scale = scale * of_norm["scale"]
    bias = (of_layer["bias"] - state["mean"] if "bias" in of_layer else -state["mean"]) * scale
    return {name: kernel * scale, "bias": bias + of_norm["bias"] if norm.bias else bias}


def folded(network: Network, params: Any, state: Any) -> tuple[Network, dict[str, Any], dict[str, Any]]:
    """The network without the norms that fold, with its parameters and what is left of its state, by path.

    It gives in inference what the network gives, to rounding. A norm that stands behind another layer stays. Networks
    inside are folded, too; other layers that hold layers stay as they are.
    """
    layers: list[Any] = []
    left: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    k = 0
    while k < len(network.layers):
        layer, (of_layer, of_state) = network.layers[k], ((each or {}).get(str(k), {}) for each in (params, state))
        number, length = str(len(layers)), 1
        if k + 1 < len(network.layers) and folds(layer, network.layers[k + 1]):
            norm, behind = network.layers[k + 1], str(k + 1)
            of_layer, length = fold(of_layer, norm, params.get(behind, {}), state[behind]), 2  # type: ignore[arg-type]
            layer = with_bias(layer)  # type: ignore[arg-type]
        elif type(layer) is Network:
            layer, of_layer, of_state = folded(layer, of_layer, of_state)
        layers.append(layer)
        for kept, of_kind in zip(left, (of_layer, of_state)):
            if of_kind:
                kept[number] = of_kind
        k += length
    return replace(network, layers=tuple(layers)), *left
