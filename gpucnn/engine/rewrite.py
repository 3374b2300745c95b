"""Rewrite a network into an equal one for a kernel table: same theta, same numbers.

Layers of gpucnn's own become blocks with fewer passes over memory; layers from elsewhere get the arrays they expect.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..kernels import REFERENCE, Context, Kernels
from ..layers import BatchNorm, Conv2D, Dense, DepthwiseConv2D, Layer, MaxPool2D, ReLU
from ..layers.base import Around, Gradients, is_own
from ..layers.chain import inside
from ..network import Network
from ..network.folding import fold, folds, with_bias
from .converted import Converted


class _Block(Layer):
    """What blocks of a convolution have in common. Parameters are the convolution's, so theta does not change."""

    convolution: Conv2D

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.convolution.out_shape(in_shape)

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return self.convolution.init(in_shape, rng)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        return self.convolution.multiply_adds(in_shape)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        kernel = self.convolution.oriented(params["kernel"])
        dx, dkernel, db = self._gradients(residual, kernel, dy, need_dx, context.kernels)
        dparams = {"kernel": self.convolution.oriented(dkernel)}
        return dx, dparams if db is None else dparams | {"bias": db}

    def _gradients(self, residual: Any, kernel: Any, dy: Any, need_dx: bool, kernels: Kernels) -> tuple[Any, Any, Any]:
        """dx or None, dkernel, db or None."""
        raise NotImplementedError


class _Pooled(_Block):
    """A block that ends in a max pool."""

    pool: MaxPool2D

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.pool.out_shape(self.convolution.out_shape(in_shape))

    def _forward(self, params: Any, x: Any, slope_at_zero: float | None, context: Context) -> tuple[Any, Any]:
        convolution, kernels = self.convolution, context.kernels
        window = convolution.window_of(kernels.image_shape(x))
        pool = self.pool.window_of(convolution.out_shape(kernels.image_shape(x)))
        settings = window, convolution.groups, slope_at_zero, pool, self.pool.ties
        return kernels.pooled_correlation(x, convolution.oriented(params["kernel"]), params["bias"], *settings)

    def _gradients(self, residual: Any, kernel: Any, dy: Any, need_dx: bool, kernels: Kernels) -> tuple[Any, Any, Any]:
        return kernels.pooled_correlation_backward(residual, kernel, dy, need_dx)


@dataclass(frozen=True)
class ConvReLUMaxPool(_Pooled):
    """The three layers as one."""

    convolution: Conv2D
    activation: ReLU
    pool: MaxPool2D

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return self._forward(params, x, self.activation.slope_at_zero, context)


@dataclass(frozen=True)
class ConvMaxPool(_Pooled):
    """The two layers as one, where the first of ties wins: the bias is added to the maxima alone, which are fewer."""

    convolution: Conv2D
    pool: MaxPool2D

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return self._forward(params, x, None, context)


@dataclass(frozen=True)
class ConvReLU(_Block):
    """A convolution with a bias for each channel, or none, and a ReLU."""

    convolution: Conv2D
    activation: ReLU

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        convolution, kernels = self.convolution, context.kernels
        window = convolution.window_of(kernels.image_shape(x))
        settings = window, convolution.groups, self.activation.slope_at_zero
        kernel, b = convolution.oriented(params["kernel"]), params.get("bias")
        return kernels.rectified_correlation(x, kernel, b, *settings)

    def _gradients(self, residual: Any, kernel: Any, dy: Any, need_dx: bool, kernels: Kernels) -> tuple[Any, Any, Any]:
        return kernels.rectified_correlation_backward(residual, kernel, dy, need_dx)


@dataclass(frozen=True)
class BiasReLU(Layer):
    """A dense layer or a depthwise convolution, whose bias is added together with the ReLU behind it."""

    layer: DepthwiseConv2D | Dense
    activation: ReLU

    @cached_property
    def _product(self) -> Layer:
        """The layer without its bias."""
        return replace(self.layer, bias=False) if isinstance(self.layer, Dense) else replace(self.layer, bias=None)

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.layer.out_shape(in_shape)

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return self.layer.init(in_shape, rng)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        return self.layer.multiply_adds(in_shape)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        if isinstance(self.layer, Dense):
            settings = params["weights"], params["bias"], self.activation.slope_at_zero
            y, joined = context.kernels.rectified_product(x, *settings)
            return y, ((x, None), joined)  # as the layer without its bias has it
        y, seen = self._product.forward(params, x, context)
        y, joined = context.kernels.bias_relu(y, params["bias"], self.activation.slope_at_zero)
        return y, (seen, joined)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        seen, joined = residual
        dy, db = context.kernels.bias_relu_backward(joined, dy)
        dx, dparams = self._product.backward(params, seen, dy, context, need_dx=need_dx)
        return dx, dparams | {"bias": db}


@dataclass(frozen=True)
class NormReLU(Around):
    """A BatchNorm and the ReLU behind it, if any, which adds no pass over memory.

    overwrite: whether the input is only this layer's, because the one in front of it keeps no use of what it made.
    """

    layer: BatchNorm
    activation: ReLU | None
    overwrite: bool = False

    mixes = True

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        slope = None if self.activation is None else self.activation.slope_at_zero
        return self.layer.with_relu(params, x, slope, context, overwrite=self.overwrite)


@dataclass(frozen=True)
class FoldedNorm(Around):
    """A convolution or dense layer, the BatchNorm behind it, and what makes a block with them.

    layer: these, as they are trained. inference: the same without the norm, which is folded into the first of them.
    """

    layer: Network
    inference: Network
    norm: BatchNorm

    mixes = True

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        if context.training:
            return self.layer.forward(params, x, context)
        product = fold(self.layer.layers[0], params["0"], self.norm, params.get("1", {}), context.state["1"])
        return self.inference.outputs({"0": product}, x, context), None


def rewritten(network: Network, kernels: Kernels, *, blocks: bool = True, path: tuple[str, ...] = ()) -> Network:
    """The network as that table runs it. The result takes the same theta: parameters stand in the same order, under
    paths with other layer numbers. Nested networks are rewritten too. blocks=False leaves each layer by itself.
    path: of the network, where it stands in another.
    """
    if type(network) is not Network:  # a class derived from it may compute something else
        return Network(network.input_shape, (Converted(network),))
    layers: list[Layer] = []
    shapes, k = network.shapes(), 0
    while k < len(network.layers):
        layer = network.layers[k]
        fused = blocks and kernels.name != REFERENCE.name
        block, length = _normalised(network.layers[k : k + 4], shapes[k], kernels) if fused else (None, 1)
        if block is None and fused:
            block, length = _block(network.layers[k : k + 3], shapes[k])
        if block is None and fused and kernels.joins_bias_and_relu:
            block, length = _joined(network.layers[k : k + 2])
        if block is None:
            speaks = is_own(layer) or getattr(layer, "speaks_table", False)
            at = *path, str(k)
            block = _nested(layer, shapes[k], kernels, blocks, at) if speaks else Converted(layer, at)
        layers.append(block)
        k += length
    return replace(network, layers=tuple(layers))


def _nested(layer: Any, in_shape: tuple[int, ...], kernels: Kernels, blocks: bool, path: tuple[str, ...]) -> Layer:
    """The layer with the layers that it holds, if any, rewritten."""
    chains = inside(layer)
    held = {
        name: rewritten(Network(in_shape, each), kernels, blocks=blocks, path=(*path, name) if name else path)
        for name, each in chains.items()
    }
    return layer.renested({name: network.layers for name, network in held.items()}) if chains else layer


def _block(layers: tuple[Layer, ...], in_shape: tuple[int, ...]) -> tuple[Layer | None, int]:
    """A block for the first layers, or None; and how many layers it stands for.

    Conv2D and MaxPool2D, with a ReLU between them or none, become one block: max commutes with bias and ReLU. Left
    alone: untied biases (they differ inside a window), padded pools, and without a ReLU pools that share gradients
    among ties, since each share has the bias. Who wins is decided before the bias is added, whose rounding may make a
    tie of what differs.
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


def _joined(layers: tuple[Layer, ...]) -> tuple[Layer | None, int]:
    """As `_block`, for a layer with one bias for each channel, or unit, and a ReLU; a convolution may have no bias."""
    kinds, bias = tuple(map(type, layers)), getattr(layers[0], "bias", None)
    if kinds == (Conv2D, ReLU) and bias in ("tied", None):
        return ConvReLU(*layers), 2  # type: ignore[arg-type]
    biased = (kinds == (Dense, ReLU) and bias) or (kinds == (DepthwiseConv2D, ReLU) and bias == "tied")
    return (BiasReLU(*layers), 2) if biased else (None, 1)  # type: ignore[arg-type]


def _normalised(layers: tuple[Layer, ...], in_shape: tuple[int, ...], kernels: Kernels) -> tuple[Layer | None, int]:
    """As `_block`, for a BatchNorm: with the layer in front if it folds into that, and a ReLU and a max pool behind."""
    first = int(len(layers) > 1 and folds(*layers[:2]))
    norm, behind = layers[first], layers[first + 1 :]
    if type(norm) is not BatchNorm:
        return None, 1
    relu = behind[:1] if behind and type(behind[0]) is ReLU else ()
    if not first:
        return (NormReLU(norm, *relu), 2) if relu else (None, 1)  # type: ignore[arg-type]
    trained = NormReLU(norm, relu[0] if relu else None, overwrite=True)  # type: ignore[arg-type]
    pool = behind[len(relu) : len(relu) + 1]
    pool = pool if pool and type(pool[0]) is MaxPool2D else ()
    in_inference = with_bias(layers[0]), *relu, *pool
    both = Network(in_shape, (layers[0], trained, *pool)), rewritten(Network(in_shape, in_inference), kernels)
    return FoldedNorm(*both, norm), 2 + len(relu) + len(pool)
