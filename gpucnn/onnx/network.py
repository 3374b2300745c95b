"""Layers, and those that hold layers, one behind the other as nodes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .. import layers as own_layers
from ..errors import SettingError
from ..layers import Parallel, Residual
from ..layers.base import is_own
from ..layers.chain import Chain, inside
from ..network import Network
from ..network.own import explained
from . import activations, convolutions, geometry, normalization, pooling
from .graph import Graph

WRITERS: dict[type, Callable[..., str]] = {
    own_layers.AvgPool2D: pooling.average_pool,
    own_layers.BatchNorm: normalization.batch_norm,
    own_layers.Conv2D: convolutions.convolution,
    own_layers.ConvTranspose2D: convolutions.transposed,
    own_layers.Crop2D: geometry.part,
    own_layers.Dense: convolutions.dense,
    own_layers.DepthwiseConv2D: convolutions.depthwise,
    own_layers.Dropout: geometry.nothing,
    own_layers.ELU: activations.elu,
    own_layers.Flatten: geometry.flatten,
    own_layers.GELU: activations.gelu,
    own_layers.GlobalAvgPool2D: pooling.global_average_pool,
    own_layers.GlobalMaxPool2D: pooling.global_max_pool,
    own_layers.GroupNorm: normalization.grouped_norm,
    own_layers.Hardswish: activations.one_node("HardSwish"),
    own_layers.InstanceNorm: normalization.grouped_norm,
    own_layers.LayerNorm: normalization.grouped_norm,
    own_layers.LeakyReLU: activations.leaky_relu,
    own_layers.MaxPool2D: pooling.max_pool,
    own_layers.PadChannels: geometry.pad_channels,
    own_layers.PReLU: activations.prelu,
    own_layers.ReLU: activations.one_node("Relu"),
    own_layers.Reshape: geometry.reshape,
    own_layers.SeparableConv2D: convolutions.separable,
    own_layers.Sigmoid: activations.one_node("Sigmoid"),
    own_layers.SiLU: activations.silu,
    own_layers.Softmax: activations.softmax,
    own_layers.Softplus: activations.one_node("Softplus"),
    own_layers.SpatialDropout2D: geometry.nothing,
    own_layers.Subsample2D: geometry.part,
    own_layers.Tanh: activations.one_node("Tanh"),
    own_layers.Upsample2D: geometry.upsample,
    own_layers.ZeroPad2D: geometry.zero_pad,
}


def chain(graph: Graph, layers: tuple[Any, ...], params: Any, state: Any, x: str, in_shape: tuple[int, ...]) -> str:
    """Layers one behind the other. params, state: as a `Network` has them, as NumPy arrays -> the output's name."""
    for k, (each, shape) in enumerate(zip(layers, Chain(layers).shapes_from(in_shape))):
        key = str(k)
        with graph.inside(key):
            x = layer(graph, each, params.get(key, {}), state.get(key, {}), x, shape)
    return x


def layer(graph: Graph, layer: Any, params: Any, state: Any, x: str, shape: tuple[int, ...]) -> str:
    """One layer, which may hold others.

    A layer of one's own has a method to_onnx(graph, numbers, x, in_shape), which adds nodes to the `Graph` and returns
    the name of its output. numbers: its parameters and its running state by their names; x: the name of its input;
    in_shape: (H, W, C), an image being (N, C, H, W) in the graph, or (features,). Raises SettingError for a layer that
    has none.
    """
    if (write := WRITERS.get(type(layer))) is not None:
        return write(graph, layer, {**params, **state}, x, shape)
    if chains := inside(layer):
        return _nest(graph, layer, chains, params, state, x, shape)
    name = f"layer {graph.at} ({type(layer).__name__})"
    if is_own(layer) or not hasattr(layer, "to_onnx"):
        raise SettingError(
            f"{name} is none that gpucnn knows how to write as ONNX; give its class a method to_onnx(self, graph, "
            'numbers, x, in_shape) that adds nodes, such as graph.add("Relu", x), and returns the name of the last '
            "one's output: see help(gpucnn.onnx.network.layer)"
        )
    with explained(f"{name}: to_onnx"):
        y = layer.to_onnx(graph, {**params, **state}, x, shape)
    if not isinstance(y, str) or y not in graph.names:
        raise SettingError(f"{name}: to_onnx gives {y!r}; the name of an array was expected, as graph.add returns it")
    return y


def _nest(graph: Graph, nest: Any, chains: Any, params: Any, state: Any, x: str, shape: tuple[int, ...]) -> str:
    """Chains that all get x, and what they make as one."""
    if isinstance(nest, Network):
        return chain(graph, nest.layers, params, state, x, shape)
    ys = []
    for name, held in chains.items():
        with graph.inside(name):
            ys.append(chain(graph, held, params.get(name, {}), state.get(name, {}), x, shape))
    if isinstance(nest, Parallel) and nest.merge == "concat":
        return graph.add("Concat", *ys, axis=1)
    if isinstance(nest, Parallel | Residual):
        return functools.reduce(functools.partial(graph.add, "Add"), ys)
    (y,) = ys
    return y
