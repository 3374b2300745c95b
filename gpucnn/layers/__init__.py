"""Layers: frozen dataclasses of hyperparameters. Parameters and residuals pass through; the kernel table computes.

To add one, write a class that derives from `Layer` in a file of its own, export it here, and give it a line in
tests/cases.py. One that stays in your own code needs none of this: `gpucnn check` says whether its gradient is right.
"""

from __future__ import annotations

from .activation import ReLU as ReLU
from .activation import Sigmoid as Sigmoid
from .activation import Softmax as Softmax
from .activation import Tanh as Tanh
from .base import Layer as Layer
from .convolution import Conv2D as Conv2D
from .depthwise import DepthwiseConv2D as DepthwiseConv2D
from .depthwise import SeparableConv2D as SeparableConv2D
from .leaky_relu import LeakyReLU as LeakyReLU
from .linear import Dense as Dense
from .linear import Flatten as Flatten
from .linear import Reshape as Reshape
from .pooling import AvgPool2D as AvgPool2D
from .pooling import MaxPool2D as MaxPool2D
from .transposed import ConvTranspose2D as ConvTranspose2D

REGISTRY: dict[str, type] = {
    name: value
    for name, value in dict(globals()).items()
    if isinstance(value, type) and issubclass(value, Layer) and value is not Layer
}
