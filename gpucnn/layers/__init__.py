"""Layers: frozen dataclasses of hyperparameters. Parameters and residuals pass through; the kernel table computes.

To add one, write a class that derives from `Layer` in a file of its own, export it here, and give it a line in
tests/cases.py. One that stays in your own code needs none of this: `gpucnn check` says whether its gradient is right.
"""

from __future__ import annotations

from ..names import explain as _explain
from .activation import ELU as ELU
from .activation import GELU as GELU
from .activation import Hardswish as Hardswish
from .activation import LeakyReLU as LeakyReLU
from .activation import PReLU as PReLU
from .activation import ReLU as ReLU
from .activation import Sigmoid as Sigmoid
from .activation import SiLU as SiLU
from .activation import Softmax as Softmax
from .activation import Softplus as Softplus
from .activation import Tanh as Tanh
from .base import Layer as Layer
from .batch_norm import BatchNorm as BatchNorm
from .convolution import Conv2D as Conv2D
from .depthwise import DepthwiseConv2D as DepthwiseConv2D
from .depthwise import SeparableConv2D as SeparableConv2D
from .dropout import Dropout as Dropout
from .dropout import SpatialDropout2D as SpatialDropout2D
from .geometry import Crop2D as Crop2D
from .geometry import PadChannels as PadChannels
from .geometry import Subsample2D as Subsample2D
from .geometry import Upsample2D as Upsample2D
from .geometry import ZeroPad2D as ZeroPad2D
from .linear import Dense as Dense
from .linear import Flatten as Flatten
from .linear import Reshape as Reshape
from .nests import Parallel as Parallel
from .nests import Residual as Residual
from .nests import Shared as Shared
from .normalization import GroupNorm as GroupNorm
from .normalization import InstanceNorm as InstanceNorm
from .normalization import LayerNorm as LayerNorm
from .pooling import AvgPool2D as AvgPool2D
from .pooling import GlobalAvgPool2D as GlobalAvgPool2D
from .pooling import GlobalMaxPool2D as GlobalMaxPool2D
from .pooling import MaxPool2D as MaxPool2D
from .transposed import ConvTranspose2D as ConvTranspose2D

_explain(__name__)

REGISTRY: dict[str, type] = {
    name: value
    for name, value in dict(globals()).items()
    if isinstance(value, type) and issubclass(value, Layer) and value is not Layer
}
