"""The verbs that layers are written in, and the table that says who carries them out.

A table is coherent: it owns the memory layout of spatial arrays between `enter` and `leave`, and its pairs are swapped
whole. An "image" below is such an array: four axes in an order that only the table knows. Everything else has one
documented shape on every table: 2-D arrays are (N, features), kernels (I, J, C / groups, K), tied biases (K,), untied
biases (P, Q, K). The memory order of a 2-D array is the table's affair too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .. import ops
from . import reference


class Pair(NamedTuple):
    """An equation and its gradient: forward(...) -> result, residual; backward(residual, ...) -> gradients.

    Only the backward of the same pair can read the residual, and it may read it any number of times.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]


@dataclass(frozen=True)
class Kernels:
    """One coherent table; the defaults are the equations of `ops`, on any array library. Arguments, in order:

    enter, leave          (N, H, W, C) -> image; image -> (N, H, W, C). Arrays of two axes pass through both.
    pixels                (uint8 (N, H, W, C), dtype, scale, shift) -> image, pixel * scale + shift
    image_shape           image -> (H, W, C)
    correlation           (image, kernel, window, groups);       (residual, kernel, dy, need_dx) -> dx or None, dkernel
    correlation_for_pool  (image, kernel, window, groups, pool's window, ties): the forward of correlation for
                          max_pool or bias_relu_max_pool; the image's columns may be in any order that these agree on,
                          and its rows may be made while these look at them
    bias                  (array, b), may overwrite the array;   (residual, dy) -> db
    relu                  (array, slope_at_zero);                (residual, dy) -> dx
    sigmoid, tanh         (array);                               (residual, dy) -> dx
    max_pool              (image, window, ties), and with ties "first" the result may be overwritten;
                          (residual, dy) -> dx
    average_pool          (image, window, count_padding);        (residual, dy) -> dx
    bias_relu_max_pool    (image, b, slope_at_zero, window, ties), may overwrite the image; (residual, dy) -> dx, db
    reshape               (array, shape without the batch);      (residual, dy) -> dx
    matmul                (a, b): the product of two 2-D arrays, in the memory order of a
    losses                by the class of a loss, what computes it here: (logits, labels) -> losses, d_logits
    """

    name: str = "reference"
    enter: Callable[[Any], Any] = reference.keep
    leave: Callable[[Any], Any] = reference.keep
    pixels: Callable[..., Any] = reference.pixels
    image_shape: Callable[[Any], tuple[int, int, int]] = reference.image_shape
    correlation: Pair = Pair(reference.correlate, reference.correlate_backward)
    correlation_for_pool: Callable[..., Any] = reference.correlate_for_pool
    bias: Pair = Pair(reference.add_bias, reference.add_bias_backward)
    relu: Pair = Pair(reference.relu, reference.relu_backward)
    sigmoid: Pair = Pair(reference.sigmoid, ops.sigmoid_backward)
    tanh: Pair = Pair(reference.tanh, ops.tanh_backward)
    max_pool: Pair = Pair(reference.max_pool, reference.max_pool_backward)
    average_pool: Pair = Pair(reference.average_pool, reference.average_pool_backward)
    bias_relu_max_pool: Pair = Pair(reference.bias_relu_max_pool, reference.bias_relu_max_pool_backward)
    reshape: Pair = Pair(reference.reshape, reference.reshape_backward)
    matmul: Callable[[Any, Any], Any] = reference.matmul
    losses: Mapping[type, Callable[[Any, Any], tuple[Any, Any]]] = field(default_factory=dict)


REFERENCE = Kernels()
CPU_TABLES = ("numpy", "numba")  # their steps are made of shards of the batch


class Factors(NamedTuple):
    """A gradient (I, J) that is still to be multiplied: the sum over n of x[n,i] dy[n,j]. x (N, I), dy (N, J)."""

    x: Any
    dy: Any


@dataclass(frozen=True)
class Context:
    """What a layer is told beside its data.

    kernels: who computes; training: False for inference; factored: numbers of a gradient (I, J) from which on whoever
    asks for it wants its factors.
    """

    kernels: Kernels = REFERENCE
    training: bool = True
    factored: float = math.inf

    def sum_of_products(self, x: Any, dy: Any) -> Any:
        """x (N, I), dy (N, J) -> the sum over n of x[n,i] dy[n,j], (I, J), or Factors where these are wanted."""
        if x.shape[1] * dy.shape[1] >= self.factored:
            return Factors(x, dy)
        return self.kernels.matmul(x.T, dy)


def choose(kind: str, *, exact_ties: bool = False) -> Kernels:
    """The table for a kind of device, "cpu" or "cuda".

    exact_ties: outputs of a convolution with equal surroundings must be equal to the last bit, because a pool sends
    the gradient to all that are (`MaxPool2D(ties="all")`). The reference is always so.
    """
    if kind == "cpu":
        from .cpu import EXACT_TIES, NUMPY

        return EXACT_TIES if exact_ties else NUMPY
    return REFERENCE


def for_inference(table: Kernels) -> Kernels:
    """The same numbers where nobody will ask for gradients: residuals that cost time may be missing."""
    if table.name == "numpy":
        from .cpu import without_winners

        return without_winners(table)
    return table
