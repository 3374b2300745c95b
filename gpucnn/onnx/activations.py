"""Activations as nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..layers import ELU, GELU, LeakyReLU, PReLU, SiLU, Softmax
from .graph import Graph

Numbers = Mapping[str, np.ndarray]


def one_node(operator: str) -> Any:
    """The writer of a layer that is one operator without settings."""

    def write(graph: Graph, layer: Any, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
        return graph.add(operator, x)

    return write


def leaky_relu(graph: Graph, layer: LeakyReLU, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """LeakyRelu."""
    return graph.add("LeakyRelu", x, alpha=float(layer.slope))


def prelu(graph: Graph, layer: PReLU, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """PRelu, with a slope for each channel or one for all."""
    return graph.add("PRelu", x, graph.per_channel("slope", numbers["slope"], shape))


def elu(graph: Graph, layer: ELU, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Elu."""
    return graph.add("Elu", x, alpha=float(layer.alpha))


def gelu(graph: Graph, layer: GELU, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """x (1 + erf(x / sqrt(2))) / 2; approximate: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    if layer.approximate:
        cube = graph.add("Mul", x, graph.add("Mul", x, x))
        inner = graph.add("Add", x, graph.add("Mul", cube, graph.constant("cubic", 0.044715)))
        curve = graph.add("Tanh", graph.add("Mul", inner, graph.constant("factor", math.sqrt(2 / math.pi))))
    else:
        curve = graph.add("Erf", graph.add("Mul", x, graph.constant("factor", math.sqrt(0.5))))
    half = graph.add("Mul", x, graph.constant("half", 0.5))
    return graph.add("Mul", half, graph.add("Add", curve, graph.constant("one", 1.0)))


def silu(graph: Graph, layer: SiLU, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """x sigmoid(x)."""
    return graph.add("Mul", x, graph.add("Sigmoid", x))


def softmax(graph: Graph, layer: Softmax, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Softmax, of vectors."""
    return graph.add("Softmax", x, axis=1)
