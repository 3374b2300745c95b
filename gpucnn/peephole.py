"""Rewrite a network into an equal one with fewer passes over memory: same theta, same numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .kernels import Context
from .layers import Conv2D, Layer, MaxPool2D, ReLU
from .network import Network


@dataclass(frozen=True)
class ConvReLUMaxPool:
    """The three layers as one. Its parameters are those of the convolution, so theta does not change."""

    convolution: Conv2D
    activation: ReLU
    pool: MaxPool2D

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.pool.out_shape(self.convolution.out_shape(in_shape))

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return self.convolution.init(in_shape, rng)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        return self.convolution.multiply_adds(in_shape)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        kernels = context.kernels
        window = self.pool.geometry(self.convolution.out_shape(kernels.image_shape(x)))
        y, seen = self.convolution.correlate_for_pool(params, x, context, window, self.pool.ties)
        y, pooled = kernels.bias_relu_max_pool.forward(
            y, params["bias"], self.activation.slope_at_zero, window, self.pool.ties
        )
        return y, (seen, pooled)

    def backward(
        self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True
    ) -> tuple[Any, Any]:
        seen, pooled = residual
        dy, db = context.kernels.bias_relu_max_pool.backward(pooled, dy)
        dx, dparams = self.convolution.correlate_backward(params, seen, dy, context, need_dx=need_dx)
        return dx, dparams | {"bias": db}


def fuse(network: Network) -> Network:
    """Conv2D, ReLU, MaxPool2D become one block where max commutes with the bias and the ReLU; nested networks too.

    The result takes the same theta: its parameters stand in the same order, under paths with other layer numbers.
    Left alone: untied biases (they differ inside a window) and padded pools.
    """
    layers: list[Layer] = []
    k = 0
    while k < len(network.layers):
        block = _block(network.layers[k : k + 3], network.shapes()[k])
        layers.append(block or _fused_inside(network.layers[k]))
        k += 3 if block else 1
    return replace(network, layers=tuple(layers))


def _block(layers: tuple[Layer, ...], in_shape: tuple[int, ...]) -> ConvReLUMaxPool | None:
    if tuple(map(type, layers)) != (Conv2D, ReLU, MaxPool2D):
        return None  # a class derived from one of these may compute something else
    match layers:
        case (Conv2D(bias="tied") as convolution, ReLU() as activation, MaxPool2D() as pool):
            if not pool.geometry(convolution.out_shape(in_shape)).is_padded:
                return ConvReLUMaxPool(convolution, activation, pool)
    return None


def _fused_inside(layer: Layer) -> Layer:
    return fuse(layer) if isinstance(layer, Network) else layer
