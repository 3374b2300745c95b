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
    transposed_correlate,
    transposed_correlate_backward,
)
from .depthwise import depthwise_correlate, depthwise_correlate_backward
from .index import EQUATIONS, equation
from .linear import dense, dense_backward, flatten, flatten_backward, reshape
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_backward,
    cross_entropy,
    cross_entropy_backward,
    one_hot,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
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
    "depthwise_correlate",
    "depthwise_correlate_backward",
    "equation",
    "flatten",
    "flatten_backward",
    "max_pool",
    "max_pool_backward",
    "max_pool_with_indices",
    "one_hot",
    "pooling_window",
    "relu",
    "relu_backward",
    "reshape",
    "rotate180",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "tanh",
    "tanh_backward",
    "transposed_correlate",
    "transposed_correlate_backward",
]
