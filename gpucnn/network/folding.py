"""Batch normalisation folded into the convolution or dense layer in front of it, for inference.

The running mean and variance are numbers like the parameters then, and a factor and a term for each channel are no more
than another kernel and another bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..layers import BatchNorm, Conv2D, ConvTranspose2D, Dense, DepthwiseConv2D, SeparableConv2D, Shared
from ..layers.chain import inside
from ..namespace import array_namespace
from . import Network
from .layout import Layout, at

Array = Any

# the parameter that makes the channels; classes derived from these may compute otherwise
KERNELS: dict[type, str] = {
    Conv2D: "kernel",
    ConvTranspose2D: "kernel",
    Dense: "weights",
    DepthwiseConv2D: "kernel",
    SeparableConv2D: "pointwise",
}


def folds(layer: Any, behind: Any) -> bool:
    """Whether `behind` is a BatchNorm that folds into the layer."""
    return type(layer) in KERNELS and type(behind) is BatchNorm


def with_bias(layer: Any) -> Any:
    """The layer, with a bias to take the norm's."""
    return replace(layer, bias=True if isinstance(layer, Dense) else layer.bias or "tied")


def fold(
    layer: Any, of_layer: Mapping[str, Array], norm: BatchNorm, of_norm: Mapping[str, Array], state: Any
) -> dict[str, Array]:
    """The parameters of `with_bias(layer)`: with s = scale / sqrt(variance + epsilon), kernel s and
    (bias - mean) s + the norm's bias, channel by channel, where what is not there counts as 1 or 0.

    state: of the norm.
    """
    name = KERNELS[type(layer)]
    scale = 1 / array_namespace(of_layer[name]).sqrt(state["variance"] + norm.epsilon)
    if norm.scale:
        scale = scale * of_norm["scale"]
    bias = (of_layer["bias"] - state["mean"] if "bias" in of_layer else -state["mean"]) * scale
    changed = {name: _scaled(layer, of_layer[name], scale), "bias": bias + of_norm["bias"] if norm.bias else bias}
    return dict(of_layer) | changed


def _scaled(layer: Any, kernel: Array, scale: Array) -> Array:
    """The kernel with each channel that it makes times its scale. These channels are the last axis but for
    ConvTranspose2D, whose kernel (I, J, K / groups, C) has those of all groups on one axis, and for each channel of x,
    on the last one, only those of its group.
    """
    if type(layer) is not ConvTranspose2D:
        return kernel * scale
    xp, groups = array_namespace(kernel), layer.groups
    I, J, made, channels = kernel.shape
    cut = xp.reshape(kernel, (I, J, made, groups, channels // groups))
    of_groups = xp.permute_dims(xp.reshape(scale, (groups, made)), (1, 0))
    return xp.reshape(cut * of_groups[:, :, None], kernel.shape)


def folded(network: Network, params: Any, state: Any) -> tuple[Network, dict[str, Any], dict[str, Any]]:
    """The network without the norms that fold, with its parameters and what is left of its state.

    It gives in inference what the network gives, to rounding. A norm behind another layer stays, and those inside of
    `Shared`, whose places have one kernel and running numbers of their own. params and state are dicts by path, as
    `Model.parameters` and `Model.state` are, or nested, as `Network.init` gives them; so are those that are given back.
    """
    by_path = any("/" in name for name in (*params, *state))
    if by_path:
        params, state = _nested(params), _nested(state)
    layers, *left = _folded(network.layers, params, state)
    if by_path:
        left = [{slot.name: at(each, slot.path) for slot in Layout(each).slots} for each in left]
    return replace(network, layers=layers), *left  # type: ignore[return-value]


def _nested(by_path: Mapping[str, Array]) -> dict[str, Any]:
    """{"0/kernel": ...} as {"0": {"kernel": ...}}."""
    found: dict[str, Any] = {}
    for name, array in by_path.items():
        *path, last = name.split("/")
        inner = found
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = array
    return found


def _folded(layers: tuple[Any, ...], params: Any, state: Any) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    made: list[Any] = []
    left: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    k = 0
    while k < len(layers):
        layer, length = layers[k], 1
        own = _of(params, str(k)), _of(state, str(k))
        if k + 1 < len(layers) and folds(layer, layers[k + 1]):
            behind, length = str(k + 1), 2
            own = fold(layer, own[0], layers[k + 1], _of(params, behind), state[behind]), {}
            layer = with_bias(layer)
        elif (chains := inside(layer)) and not isinstance(layer, Shared):
            layer, *own = _folded_inside(layer, chains, *own)  # type: ignore[assignment]
        for kept, of_kind in zip(left, own):
            if of_kind:
                kept[str(len(made))] = of_kind
        made.append(layer)
        k += length
    return tuple(made), *left


def _folded_inside(layer: Any, chains: dict[str, tuple[Any, ...]], params: Any, state: Any) -> tuple[Any, Any, Any]:
    """A layer that holds layers; those of the chain without a name have their parameters among its own."""
    held, left = {}, ({}, {})  # type: ignore[var-annotated]
    for name, chain in chains.items():
        held[name], *own = _folded(chain, *(_of(each, name) if name else each for each in (params, state)))
        for kept, of_chain in zip(left, own):
            kept.update({name: of_chain} if name and of_chain else of_chain)
    return layer.renested(held), *left


def _of(values: Any, name: str) -> Any:
    """What stands there, if anything."""
    return values.get(name, {}) if values else {}
