"""Norms as nodes. A BatchNorm behind a convolution or dense layer is a part of it by then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from .graph import Graph

Numbers = Mapping[str, np.ndarray]


def batch_norm(graph: Graph, layer: BatchNorm, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """BatchNormalization, by the running mean and variance."""
    usual = {"scale": np.ones(shape[-1]), "bias": np.zeros(shape[-1])}
    given = (graph.constant(name, (usual | dict(numbers))[name]) for name in ("scale", "bias", "mean", "variance"))
    return graph.add("BatchNormalization", x, *given, epsilon=layer.epsilon)


def grouped_norm(
    graph: Graph, layer: LayerNorm | GroupNorm | InstanceNorm, numbers: Numbers, x: str, shape: tuple[int, ...]
) -> str:
    """InstanceNormalization of (N, parts, numbers of a part), then the scale and the bias."""
    if isinstance(layer, LayerNorm) and layer.over == "channels" and len(shape) == 3:
        y = _standardised(graph, layer.epsilon, graph.channels_last(x), shape[0] * shape[1], shape[2])
        y = graph.channels_first(graph.reshaped(y, *shape))
    else:
        parts = layer.groups_of(shape[-1])
        y = _standardised(graph, layer.epsilon, x, parts, math.prod(shape) // parts)
        y = graph.reshaped(y, *shape[2:], *shape[:2]) if len(shape) == 3 else graph.reshaped(y, *shape)
    for operator, name in (("Mul", "scale"), ("Add", "bias")):
        if name in numbers:
            y = graph.add(operator, y, _spread(graph, name, numbers[name], shape))
    return y


def _standardised(graph: Graph, epsilon: float, x: str, parts: int, numbers: int) -> str:
    y = graph.reshaped(x, parts, numbers)
    ones, zeros = graph.constant("ones", np.ones(parts)), graph.constant("zeros", np.zeros(parts))
    return graph.add("InstanceNormalization", y, ones, zeros, epsilon=epsilon)


def _spread(graph: Graph, name: str, values: Any, shape: tuple[int, ...]) -> str:
    """A number for each channel, or one for each number of an image (H, W, C)."""
    is_by_number = values.ndim == 3
    return graph.constant(name, values.transpose(2, 0, 1)) if is_by_number else graph.per_channel(name, values, shape)
