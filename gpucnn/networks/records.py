"""Networks that were made to reach an accuracy on MNIST: with few parameters, or as high as can be in some minutes."""

from __future__ import annotations

import functools

from ..layers import (
    BatchNorm,
    Conv2D,
    Crop2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    Shared,
)
from ..network import Network
from . import checks

Shape = tuple[int, ...]

conv = functools.partial(Conv2D, padding="same", bias=None, initializer="he_normal")


def tiny_99(
    input_shape: Shape = (28, 28, 1),
    classes: int = 10,
    *,
    filters: int = 12,
    uses: tuple[int, ...] = (2, 2, 1),
) -> Network:
    """1,786 parameters that reach 99 % on MNIST: one 3x3 convolution, used five times in residual blocks.

    The middle 24x24 pixels, conv 12@3x3, pool; then 12x12, 6x6 and 3x3 pixels with a pool between, and on each as many
    residual blocks as `uses` says, x + normalised(conv(x)) and ReLU. All of them have the same 1,296 weights, and a
    batch normalisation of their own: Liao and Poggio, 2016, "Bridging the gaps between residual learning, recurrent
    neural networks and visual cortex". At last a depthwise 3x3 convolution, one weight for each place and channel, in
    the place of a mean: Chen, Liu, Gao and Han, 2018, "MobileFaceNets".
    """
    checks.whole("tiny-99", "filters", filters)
    uses = checks.wholes("tiny-99", "uses", uses, (2, 2, 1), least=0)
    block = Residual((Shared("block", (conv(filters, 3),)), BatchNorm())), ReLU()
    layers: list[Layer] = [Crop2D(2), conv(filters, 3), MaxPool2D(2), BatchNorm(), ReLU()]
    for k, count in enumerate(uses):
        layers += [MaxPool2D(2)] * bool(k) + [*block] * count
    last = DepthwiseConv2D(3, bias=None, initializer="he_normal"), Flatten(), Dense(classes)
    return Network(input_shape, (*layers, *last))


def record(
    input_shape: Shape = (28, 28, 1), classes: int = 10, *, filters: tuple[int, int, int] = (48, 96, 192)
) -> Network:
    """The middle 24x24 pixels, convolutions 48@5x5, 96@3x3 and 192@3x3, each with pool, batch norm and ReLU, and 10.

    216,922 parameters. Images that are shifted, rotated and zoomed, Simard, Steinkraus and Platt, 2003, batch
    normalisation, Ioffe and Szegedy, 2015, and label smoothing, Szegedy et al., 2016, take it as far as it comes in
    12 epochs.
    """
    first, second, third = checks.wholes("record", "filters", filters, (48, 96, 192), count=3)
    layers: list[Layer] = [Crop2D(2)]
    for each in (conv(first, 5, padding="valid"), conv(second, 3), conv(third, 3)):
        layers += [each, MaxPool2D(2), BatchNorm(), ReLU()]
    return Network(input_shape, (*layers, Flatten(), Dense(classes)))


def record_long(
    input_shape: Shape = (28, 28, 1), classes: int = 10, *, filters: tuple[int, int, int] = (48, 96, 192)
) -> Network:
    """The network `record`, for a recipe that is three times as long."""
    return record(input_shape, classes, filters=filters)
