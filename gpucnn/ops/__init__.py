"""The equations of the source documents: pure functions on any array library, each gradient below its function.

`EQUATIONS` lists every equation of the five documents with its function; `equation("two-conv", 16)` is one row of it.
An equation from elsewhere has its home here too; it cites its paper by authors and year: "Maas, Hannun and Ng, 2013".
"""

from .activation import relu, relu_backward, sigmoid, sigmoid_backward, softmax, softmax_backward, tanh, tanh_backward
from .convolution import (
    add_bias,
    add_bias_backward,
    convolve,
    convolve_backward,
    correlate,
    correlate_backward,
    rotate180,
)
from .index import EQUATIONS, equation
from .linear import dense, dense_backward, flatten, flatten_backward, reshape
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_backward,
    cross_entropy,
    cross_entropy_backward,
    focal_cross_entropy,
    hinge,
    huber,
    mean_squared_error,
    one_hot,
    sigmoid_cross_entropy,
    smoothed,
    softmax_cross_entropy,
    weighted_cross_entropy,
)
from .normalization import (
    batch_norm_backward,
    moments,
    scaled,
    scaled_backward,
    scaled_sums,
    standardize,
    standardize_backward,
)
from .pooling import average_pool, average_pool_backward, back_fill, max_pool, max_pool_backward, max_pool_with_indices
from .window import Window, convolution_window, pooling_window

__all__ = [
    "EQUATIONS",
    "Window",
    "add_bias",
    "add_bias_backward",
    "average_pool",
    "average_pool_backward",
    "back_fill",
    "batch_norm_backward",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "convolution_window",
    "convolve",
    "convolve_backward",
    "correlate",
    "correlate_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "dense",
    "dense_backward",
    "equation",
    "flatten",
    "flatten_backward",
    "focal_cross_entropy",
    "hinge",
    "huber",
    "max_pool",
    "max_pool_backward",
    "max_pool_with_indices",
    "moments",
    "mean_squared_error",
    "one_hot",
    "pooling_window",
    "relu",
    "relu_backward",
    "reshape",
    "rotate180",
    "scaled",
    "scaled_backward",
    "scaled_sums",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_cross_entropy",
    "smoothed",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "standardize",
    "standardize_backward",
    "tanh",
    "tanh_backward",
    "weighted_cross_entropy",
]
