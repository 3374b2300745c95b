"""Networks of well-known papers, as far as their layers are gpucnn's; each says what differs."""

from __future__ import annotations

import functools

from ..layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    PadChannels,
    ReLU,
    Residual,
    Subsample2D,
    Tanh,
)
from ..network import Network
from . import checks

Shape = tuple[int, ...]


def lenet5(input_shape: Shape = (28, 28, 1), classes: int = 10) -> Network:
    """LeNet-5 as commonly understood: conv 6@5x5, 16@5x5, each with tanh and 2x2 average pooling, 120, 84, 10.

    LeCun, Bottou, Bengio and Haffner, 1998, "Gradient-based learning applied to document recognition". 61,706
    parameters for 28x28x1; the paper's network has 60,000. There, each of the 16 filters sees some of the 6 maps only,
    a pool's mean is multiplied by a coefficient, gets a bias and goes through the tanh, which is 1.7159 tanh(2 x / 3),
    and the outputs are distances from given bitmaps. Here same padding stands for its images of 32x32.
    """
    blocks = Conv2D(6, 5, padding="same"), Tanh(), AvgPool2D(2), Conv2D(16, 5), Tanh(), AvgPool2D(2)
    return Network(input_shape, (*blocks, Flatten(), Dense(120), Tanh(), Dense(84), Tanh(), Dense(classes)))


def resnet20(input_shape: Shape = (32, 32, 3), classes: int = 10, *, blocks: int = 3) -> Network:
    """For 32x32x3: conv 16@3x3, then three residual blocks each of 16, 32 and 64 filters, global average pool, 10.

    He, Zhang, Ren and Sun, 2015, "Deep residual learning for image recognition", 4.2, n = 3: 6 n + 2 = 20 layers with
    weights; blocks=5, 7, 9 are its deeper ones. 269,722 parameters, "0.27M" there. A block is conv, batch
    normalisation, ReLU, conv, batch normalisation, plus the shortcut, and ReLU; the shortcut is the input or, where the
    shape changes, every second pixel with channels of zeros: option A. The paper does not say which of the channels
    are zeros; half of them stand before the image's own here.

    Its recipe on CIFAR-10, 182 epochs of 45,000 images with shifts by up to 4 pixels and flips, --augment shift=4,flip,
    reached 91.25 % there; accuracy not measured here.
    """
    checks.whole("resnet20", "blocks", blocks)
    conv = functools.partial(Conv2D, kernel=3, padding=1, bias=None, initializer="he_normal")
    layers: list[Layer] = [conv(16), BatchNorm(), ReLU()]
    for filters in (16, 32, 64):
        for k in range(blocks):
            narrows = k == 0 and filters > 16
            body = conv(filters, stride=1 + narrows), BatchNorm(), ReLU(), conv(filters), BatchNorm()
            shortcut = (Subsample2D(2), PadChannels(filters // 2)) if narrows else None
            layers += [Residual(body, shortcut), ReLU()]
    return Network(input_shape, (*layers, GlobalAvgPool2D(), Dense(classes)))


def allcnn(input_shape: Shape = (32, 32, 3), classes: int = 10) -> Network:
    """For 32x32x3: All-CNN-C, convolutions alone: 96@3x3 three times, 192@3x3 four times, 192@1x1, 10@1x1, mean.

    Springenberg, Dosovitskiy, Brox and Riedmiller, 2015, "Striving for simplicity: the all convolutional net". The
    third of each three has stride 2 in the place of a pool; dropout of 0.2 on the images and 0.5 behind these; a ReLU
    behind every convolution, the last one, too. 1,369,738 parameters, "1.3M" there.

    Its recipe on CIFAR-10, 350 epochs, the rate divided by 10 after 200, 250 and 300 of them (here after 175 and 262),
    reached 90.92 % there without augmentation; accuracy not measured here.
    """
    conv = functools.partial(Conv2D, kernel=3, padding="same", initializer="he_normal")
    layers: list[Layer] = [Dropout(0.2)]
    for filters in (96, 192):
        layers += [conv(filters), ReLU(), conv(filters), ReLU(), conv(filters, stride=2), ReLU(), Dropout(0.5)]
    layers += [conv(192, padding="valid"), ReLU(), conv(192, kernel=1), ReLU(), conv(classes, kernel=1), ReLU()]
    return Network(input_shape, (*layers, GlobalAvgPool2D()))
