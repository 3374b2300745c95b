"""Rewrite a network into an equal one for a kernel table: same theta, same numbers.

Layers of gpucnn's own become blocks with fewer passes over memory; layers from elsewhere get the arrays they expect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ShapeError
from ..kernels import REFERENCE, Context, Kernels
from ..layers import Conv2D, Layer, MaxPool2D, ReLU
from ..layers.base import Gradients, initial_state, is_own
from ..namespace import array_namespace
from ..network import Network
from ..ops.window import Window


class _Block(Layer):
    """What blocks have in common. Parameters are those of the convolution, so theta does not change."""

    convolution: Conv2D
    pool: MaxPool2D

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.pool.out_shape(self.convolution.out_shape(in_shape))

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return self.convolution.init(in_shape, rng)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        return self.convolution.multiply_adds(in_shape)

    def _correlate(self, params: Any, x: Any, context: Context) -> tuple[Any, Any, Window]:
        window = self.pool.window_of(self.convolution.out_shape(context.kernels.image_shape(x)))
        return *self.convolution.correlate_for_pool(params, x, context, window, self.pool.ties), window


@dataclass(frozen=True)
class ConvReLUMaxPool(_Block):
    """The three layers as one."""

    convolution: Conv2D
    activation: ReLU
    pool: MaxPool2D

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        y, seen, window = self._correlate(params, x, context)
        y, pooled = context.kernels.bias_relu_max_pool.forward(
            y, params["bias"], self.activation.slope_at_zero, window, self.pool.ties
        )
        return y, (seen, pooled)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        seen, pooled = residual
        dy, db = context.kernels.bias_relu_max_pool.backward(pooled, dy)
        dx, dparams = self.convolution.correlate_backward(params, seen, dy, context, need_dx=need_dx)
        return dx, dparams | {"bias": db}


@dataclass(frozen=True)
class ConvMaxPool(_Block):
    """The two layers as one, where the first of ties wins: the bias is added to the maxima alone, which are fewer."""

    convolution: Conv2D
    pool: MaxPool2D

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        y, seen, window = self._correlate(params, x, context)
        y, pooled = context.kernels.max_pool.forward(y, window, self.pool.ties)
        y, added = context.kernels.bias.forward(y, params["bias"])
        return y, (seen, pooled, added)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        seen, pooled, added = residual
        db = context.kernels.bias.backward(added, dy)
        dy = context.kernels.max_pool.backward(pooled, dy)
        dx, dparams = self.convolution.correlate_backward(params, seen, dy, context, need_dx=need_dx)
        return dx, dparams | {"bias": db}


@dataclass(frozen=True)
class Converted(Layer):
    """A layer from elsewhere: it meets (N, H, W, C) and the reference table, whatever the layers around it use."""

    layer: Any
    has_place = True

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.layer.out_shape(in_shape)

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return self.layer.init(in_shape, rng)

    def init_state(self, in_shape: tuple[int, ...]) -> dict[str, Any]:
        return initial_state(self.layer, in_shape)

    def next_state(self, state: Any, residual: Any) -> dict[str, Any]:
        return self.layer.next_state(state, residual)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        return self.layer.multiply_adds(in_shape) if hasattr(self.layer, "multiply_adds") else 0

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        kernels = context.kernels
        x = kernels.leave(x)
        y, residual = self.layer.forward(params, x, _plain(context))
        y = _of_type(x.dtype, y)
        if y.ndim == 2 and context.factored < math.inf:
            y = y.copy()  # a layer behind may keep it longer than until this one's backward, which may write into it
        return kernels.enter(y), residual

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        kernels = context.kernels
        dy = kernels.leave(dy)
        dx, dparams = self.layer.backward(params, residual, dy, _plain(context), need_dx=need_dx)
        _check_gradients(type(self.layer).__name__, params, dparams)
        if not need_dx:
            return None, dparams
        if dx is None:
            raise ShapeError(f"{type(self.layer).__name__}: backward gives no dx, though need_dx is true")
        return kernels.enter(_of_type(dy.dtype, dx)), dparams


def _check_gradients(name: str, params: Any, dparams: Any) -> None:
    """Raises ShapeError where a layer from elsewhere does not give each parameter a gradient of its shape."""
    if not isinstance(dparams, Mapping) or dparams.keys() != params.keys():
        found = sorted(dparams) if isinstance(dparams, Mapping) else repr(dparams)
        raise ShapeError(f"{name}: backward: dparams has {found}, a dict with {sorted(params)} was expected")
    for key, value in params.items():
        if isinstance(value, Mapping):
            _check_gradients(f"{name}: {key}", value, dparams[key])
        elif getattr(dparams[key], "shape", None) != value.shape:
            found = getattr(dparams[key], "shape", repr(dparams[key]))
            raise ShapeError(f"{name}: backward: the gradient of {key} is {found}, shape {value.shape} was expected")


def _of_type(dtype: Any, x: Any) -> Any:
    """x in the type of the numbers around it: a constant may have made float64 of float32."""
    return x if x.dtype == dtype else array_namespace(x).astype(x, dtype)


def _plain(context: Context) -> Context:
    return replace(context, kernels=REFERENCE, factored=math.inf)


def rewritten(network: Network, kernels: Kernels, *, blocks: bool = True) -> Network:
    """The network as that table runs it. The result takes the same theta: parameters stand in the same order, under
    paths with other layer numbers. Nested networks are rewritten too. blocks=False leaves each layer by itself.
    """
    if type(network) is not Network:  # a class derived from it may compute something else
        return Network(network.input_shape, (Converted(network),))
    layers: list[Layer] = []
    k = 0
    while k < len(network.layers):
        layer = network.layers[k]
        fused = blocks and kernels is not REFERENCE
        block, length = _block(network.layers[k : k + 3], network.shapes()[k]) if fused else (None, 1)
        if block is None:
            speaks = is_own(layer) or getattr(layer, "speaks_table", False)
            inner = rewritten(layer, kernels, blocks=blocks) if type(layer) is Network else layer
            block = inner if speaks else Converted(layer)
        layers.append(block)
        k += length
    return replace(network, layers=tuple(layers))


def _block(layers: tuple[Layer, ...], in_shape: tuple[int, ...]) -> tuple[Layer | None, int]:
    """A block for the first layers, or None; and how many layers it stands for.

    Conv2D and MaxPool2D, with a ReLU between them or none, become one block: max commutes with bias and ReLU. Left
    alone: untied biases (they differ inside a window), padded pools, and without a ReLU pools that share gradients
    among ties, since each share has the bias.
    """
    kinds = tuple(map(type, layers))  # exactly: a class derived from one of these may compute something else
    block: Layer
    if kinds == (Conv2D, ReLU, MaxPool2D):
        block, length = ConvReLUMaxPool(*layers), 3  # type: ignore[arg-type]
    elif kinds[:2] == (Conv2D, MaxPool2D) and layers[1].ties == "first":  # type: ignore[attr-defined]
        block, length = ConvMaxPool(*layers[:2]), 2  # type: ignore[arg-type]
    else:
        return None, 1
    padded = block.pool.window_of(block.convolution.out_shape(in_shape)).is_padded
    return (block, length) if block.convolution.bias == "tied" and not padded else (None, 1)
