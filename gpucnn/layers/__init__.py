"""Layers: frozen dataclasses of hyperparameters. Parameters and residuals pass through; the kernel table computes.

To add one, write a class with the four methods of `Layer` in a file of its own, export it here, add it to REGISTRY (or
hand it to `gpucnn.load(path, layers=...)`), and give it a line in tests/cases.py.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..kernels import Context
from .activation import ReLU, Sigmoid, Softmax, Tanh
from .convolution import Conv2D
from .linear import Dense, Flatten, Reshape
from .pooling import AvgPool2D, MaxPool2D


class Layer(Protocol):
    """What a network asks of a layer. Shapes leave the batch out: an image is (H, W, C), a vector (features,)."""

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The output's shape. Raises ShapeError when the input does not fit."""

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        """Initial parameters: host arrays by name, drawn from a numpy.random.Generator."""

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        """-> y, residual. x and y are in the layout of context.kernels."""

    def backward(
        self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True
    ) -> tuple[Any, Any]:
        """-> dx (or None without need_dx), dparams with the keys of params. dy is dL/dy."""


REGISTRY: dict[str, type] = {
    layer.__name__: layer
    for layer in (AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Reshape, Sigmoid, Softmax, Tanh)
}

__all__ = [
    "REGISTRY",
    "AvgPool2D",
    "Conv2D",
    "Dense",
    "Flatten",
    "Layer",
    "MaxPool2D",
    "ReLU",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
