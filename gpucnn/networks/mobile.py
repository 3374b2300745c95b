"""MobileNet: convolutions of each channel by itself, and of each pixel by itself, in turn."""

from __future__ import annotations

import functools

from ..layers import BatchNorm, Conv2D, Dense, DepthwiseConv2D, GlobalAvgPool2D, Layer, ReLU
from ..network import Network
from . import checks

Shape = tuple[int, ...]

# Howard et al., 2017, table 1: the filters of each pointwise convolution, and the stride of the depthwise one before it
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


def mobile_small(input_shape: Shape = (32, 32, 3), classes: int = 10, *, width: float = 0.25) -> Network:
    """MobileNet v1 for 32x32x3 at a quarter of its width: conv 8@3x3, 13 times depthwise 3x3 and pointwise, mean, 10.

    Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto and Adam, 2017, "MobileNets: efficient convolutional neural
    networks for mobile vision applications", table 1. Batch normalisation and ReLU stand behind every convolution, none
    of which has a bias; padding is one pixel on each side. width: the paper's multiplier of all filters.

    Strides: of the paper's five strides of 2, for 224x224, the first convolution's is dropped; those of the depthwise
    convolutions 2, 4, 6 and 12 stay, and the 13th, where table 1 prints 2 beside an output of the same size, has 1. So
    the images are 32x32, 16x16, 8x8, 4x4 and, for the last two blocks, 2x2. 215,642 parameters.

    The paper trains on ImageNet, by RMSprop, and has no figures for images of this size; the recipe is vgg-small's;
    accuracy not measured here.
    """
    checks.factor("mobile-small", "width", width)
    plain = functools.partial(Conv2D, bias=None, initializer="he_normal")
    layers: list[Layer] = [plain(_narrowed(32, width), 3, padding=1), BatchNorm(), ReLU()]
    for filters, stride in BLOCKS:
        depthwise = DepthwiseConv2D(3, stride, 1, bias=None, initializer="he_normal")
        layers += [depthwise, BatchNorm(), ReLU(), plain(_narrowed(filters, width), 1), BatchNorm(), ReLU()]
    return Network(input_shape, (*layers, GlobalAvgPool2D(), Dense(classes)))


def _narrowed(filters: int, width: float) -> int:
    return max(1, int(filters * width))
