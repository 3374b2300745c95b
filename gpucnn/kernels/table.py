"""The table: who carries out the verbs that layers are written in, and what a training step asks beside them.

A table is coherent: it owns the memory layout of spatial arrays between `enter` and `leave`, and its pairs are swapped
whole. An "image" below is such an array: four axes in an order that only the table knows. Everything else has one
documented shape on every table: 2-D arrays are (N, features), kernels (I, J, C / groups, K), tied biases (K,), untied
biases (P, Q, K). The memory order of a 2-D array is the table's affair too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from .. import ops
from ..namespace import array_namespace
from . import reference


class Pair(NamedTuple):
    """An equation and its gradient: forward(...) -> result, residual; backward(residual, ...) -> gradients.

    Only the backward of the same pair can read the residual, and it may read it any number of times.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]


@dataclass(frozen=True)
class Moment:
    """What changes from one update to the next.

    order: the batch's examples, as indices (n,) of the arrays at hand; lr: the learning rate; step: the update's
    number, from 1. examples: their indices in the data set, where the arrays at hand are a part of it.
    """

    order: Any
    lr: float
    step: int
    examples: Any = None

    @property
    def identity(self) -> Any:
        """The batch's examples as indices (n,) in the data set, from which random numbers are made."""
        return self.order if self.examples is None else self.examples

    @property
    def number(self) -> Any:
        """The update's number as layers and augmentations take it: an int, or an int64 array on the device."""
        return self.step

    @property
    def rate(self) -> Any:
        """The learning rate as optimisers without a kernel take it: a float, or a float64 array (1,) on the device."""
        return self.lr


@dataclass(frozen=True, repr=False)
class Kernels:
    """One coherent table; the defaults are the equations of `ops`, on any array library. Arguments, in order:

    enter, leave          (N, H, W, C) -> image; image -> (N, H, W, C). Arrays of two axes pass through both.
    pixels                (uint8 (N, H, W, C), dtype, scale, shift) -> image, pixel * scale + shift
    image_shape           image -> (H, W, C)
    spread                (values (C,) or (N, C), array) -> values as a view that broadcasts against the array: an image
                          or (N, C)
    channel_sums          image or (N, C) -> (C,), summed over all else
    pixel_sums            image -> (N, C), summed over H and W
    axes                  array -> where N, H, W and C, or N and C, stand among its axes
    centred               (array, centre (C,) or None, overwrite=whether it may be overwritten) -> array minus a centre,
                          as something that only `scaled` reads; and None or, where there was no centre, one near the
                          mean, what the mean is more, and the sum of squares of what the numbers differ from the mean
                          by, (C,) each
    scaled                (what `centred` made, scale (C,), shift (C,), slope_at_zero of a ReLU behind it, or None) ->
                          array, residual
    scaled_sums           (residual, dy) -> with d for what `centred` made, and dy in front of the ReLU, the sums of dy
                          and of dy d over each channel; and what `scaled_backward` needs
    scaled_backward       (that, (a, b, c)) -> a dy + b d + c, all (C,)
    batch_norm            `ops.batch_norm` and `ops.batch_norm_backward`, of numbers (C,)
    add                   (array, array of the same shape) -> their sum, a new array: others may still read both
    concatenate           (arrays), images that differ in channels or (N, C); (residual, dy) -> their gradients
    correlation           (image, kernel, window, groups);       (residual, kernel, dy, need_dx) -> dx or None, dkernel
    correlation_for_pool  (image, kernel, window, groups, pool's window, ties): the forward of correlation for
                          max_pool or bias_relu_max_pool; the image's columns may be in any order that these agree on,
                          and its rows may be made while these look at them
    transposed            (image, kernel, window, groups, (H, W)), the gradient of an image (H, W) by correlation, whose
                          dy is the image given; (residual, kernel, dy, need_dx) -> dx or None, dkernel
    bias                  (array, b), may overwrite the array;   (residual, dy) -> db
    relu                  (array, slope_at_zero);                (residual, dy) -> dx
    sigmoid, tanh         (array);                               (residual, dy) -> dx
    curve                 (array, name, settings): the function of `ops` with that name, number by number;
                          (residual, dy) -> dx
    max_pool              (image, window, ties), and with ties "first" the result may be overwritten;
                          (residual, dy) -> dx
    average_pool          (image, window, count_padding);        (residual, dy) -> dx
    bias_relu_max_pool    (image, b, slope_at_zero, window, ties), may overwrite the image; (residual, dy) -> dx, db
    reshape               (array, shape without the batch);      (residual, dy) -> dx
    part                  (image, places): the image at slices of rows, columns and channels, whose steps are at least 1
    place                 (image, places, (H, W, C)): zeros with the image at these slices; the gradient of part, and
                          part is its gradient
    upsample              (image, factor, kind);                 (residual, dy) -> dx
    dropout               (array, rate, whole channels?, context with examples); (residual, dy) -> dx
    matmul                (a, b): the product of two 2-D arrays, in the memory order of a
    losses                by the class of a loss, what computes it here with its usual settings, of classes (N,):
                          (logits, labels) -> losses, d_logits; `loss` asks for it where it serves
    updates               by the class of an optimiser, what writes theta here: (optimizer, theta, g, state, mean,
                          moment), g being mean times too large

    exact_ties            whether outputs of a convolution with equal surroundings are equal to the last bit, because a
                          pool sends the gradient to all that are (`MaxPool2D(ties="all")`)
    joins_bias_and_relu   whether `bias_relu` takes fewer passes than its two verbs
    takes_factors         whether `collect` takes gradients as Factors, which it multiplies where they belong

    What is made of other verbs, and what a training step asks beside its layers, is a method: `pooled_correlation`,
    `rectified_correlation`, `bias_relu`, `biased_product`, `rectified_product`; `ahead`, `begin`, `of_rule`, `gather`,
    `loss`, `collect`.
    """

    name: str = "reference"
    exact_ties: bool = False
    enter: Callable[[Any], Any] = reference.keep
    leave: Callable[[Any], Any] = reference.keep
    pixels: Callable[..., Any] = reference.pixels
    image_shape: Callable[[Any], tuple[int, int, int]] = reference.image_shape
    spread: Callable[[Any, Any], Any] = reference.spread
    channel_sums: Callable[[Any], Any] = reference.channel_sums
    pixel_sums: Callable[[Any], Any] = reference.pixel_sums
    axes: Callable[[Any], tuple[int, ...]] = reference.axes
    centred: Callable[..., tuple[Any, Any]] = reference.centred
    scaled: Callable[..., tuple[Any, Any]] = reference.scaled
    scaled_sums: Callable[[Any, Any], tuple[Any, Any, Any]] = reference.scaled_sums
    scaled_backward: Callable[[Any, Any], Any] = reference.scaled_backward
    batch_norm: Pair = Pair(ops.batch_norm, ops.batch_norm_backward)
    add: Callable[[Any, Any], Any] = reference.add
    concatenate: Pair = Pair(reference.concatenate, reference.concatenate_backward)
    correlation: Pair = Pair(reference.correlate, reference.correlate_backward)
    correlation_for_pool: Callable[..., Any] = reference.correlate
    transposed: Pair = Pair(reference.transposed, reference.transposed_backward)
    bias: Pair = Pair(reference.add_bias, reference.add_bias_backward)
    relu: Pair = Pair(reference.relu, reference.relu_backward)
    sigmoid: Pair = Pair(reference.sigmoid, ops.sigmoid_backward)
    tanh: Pair = Pair(reference.tanh, ops.tanh_backward)
    curve: Pair = Pair(reference.curve, reference.curve_backward)
    max_pool: Pair = Pair(reference.max_pool, reference.max_pool_backward)
    average_pool: Pair = Pair(reference.average_pool, reference.average_pool_backward)
    bias_relu_max_pool: Pair = Pair(reference.bias_relu_max_pool, reference.bias_relu_max_pool_backward)
    reshape: Pair = Pair(reference.reshape, reference.reshape_backward)
    part: Callable[..., Any] = ops.part
    place: Callable[..., Any] = ops.place
    upsample: Pair = Pair(reference.upsample, reference.upsample_backward)
    dropout: Pair = Pair(reference.dropout, reference.dropout_backward)
    matmul: Callable[[Any, Any], Any] = reference.matmul
    losses: Mapping[type, Callable[[Any, Any], tuple[Any, Any]]] = field(default_factory=dict)
    updates: Mapping[type, Callable[..., None]] = field(default_factory=dict)
    joins_bias_and_relu: bool = False
    takes_factors: bool = False

    def pooled_correlation(
        self, x: Any, w: Any, b: Any, window: Any, groups: int, slope_at_zero: float | None, pool: Any, ties: str
    ) -> tuple[Any, Any]:
        """correlation, bias (K,), ReLU and max pool, whose window is not padded, as one -> image, residual.

        slope_at_zero None: no ReLU; then ties are "first", because the bias is added to the maxima alone.
        """
        y, seen = self.correlation_for_pool(x, w, window, groups, pool, ties)
        if slope_at_zero is not None:
            y, pooled = self.bias_relu_max_pool.forward(y, b, slope_at_zero, pool, ties)
            return y, (seen, pooled, None)
        y, pooled = self.max_pool.forward(y, pool, ties)
        y, added = self.bias.forward(y, b)
        return y, (seen, pooled, (added,))

    def pooled_correlation_backward(self, residual: Any, w: Any, dy: Any, need_dx: bool) -> tuple[Any, Any, Any]:
        """dx or None, dkernel, db."""
        seen, pooled, added = residual
        if added is None:
            dy, db = self.bias_relu_max_pool.backward(pooled, dy)
        else:
            db = self.bias.backward(added[0], dy)
            dy = self.max_pool.backward(pooled, dy)
        return *self.correlation.backward(seen, w, dy, need_dx), db

    def rectified_correlation(
        self, x: Any, w: Any, b: Any, window: Any, groups: int, slope_at_zero: float
    ) -> tuple[Any, Any]:
        """correlation, bias (K,) or None, and ReLU as one -> image, residual."""
        y, seen = self.correlation.forward(x, w, window, groups)
        return self.rectified(y, seen, b, slope_at_zero)

    def rectified(self, y: Any, seen: Any, b: Any, slope_at_zero: float) -> tuple[Any, Any]:
        """What is behind the correlation there, whose residual is `seen`."""
        y, joined = self.relu.forward(y, slope_at_zero) if b is None else self.bias_relu(y, b, slope_at_zero)
        return y, (seen, joined, b is not None)

    def rectified_correlation_backward(self, residual: Any, w: Any, dy: Any, need_dx: bool) -> tuple[Any, Any, Any]:
        """dx or None, dkernel, db or None."""
        (seen, rectified, biased), db = residual, None
        if biased:
            dy, db = self.bias_relu_backward(rectified, dy)
        else:
            dy = self.relu.backward(rectified, dy)
        return *self.correlation.backward(seen, w, dy, need_dx), db

    def biased_product(self, x: Any, w: Any, b: Any) -> tuple[Any, Any]:
        """matmul and bias (K,) as one -> (N, K), residual of bias."""
        return self.bias.forward(self.matmul(x, w), b)

    def rectified_product(self, x: Any, w: Any, b: Any, slope_at_zero: float) -> tuple[Any, Any]:
        """matmul, bias (K,) and ReLU as one -> (N, K), residual of `bias_relu`."""
        return self.bias_relu(self.matmul(x, w), b, slope_at_zero)

    def bias_relu(self, y: Any, b: Any, slope_at_zero: float) -> tuple[Any, Any]:
        """bias (K,), which may overwrite the array, and ReLU as one -> array, residual."""
        y, added = self.bias.forward(y, b)
        y, seen = self.relu.forward(y, slope_at_zero)
        return y, (added, seen)

    def bias_relu_backward(self, residual: Any, dy: Any) -> tuple[Any, Any]:
        """dx, db."""
        added, seen = residual
        dy = self.relu.backward(seen, dy)
        return dy, self.bias.backward(added, dy)

    def __repr__(self) -> str:
        return f"<the kernels {self.name}>"

    def ahead(self, work: Callable[[], Any]) -> None:
        """Prepare for work that is to come, which may be called once to see what it asks of the table: its arrays then
        hold nothing of use, and what it writes must not be of use to others."""

    def begin(self, batch: Any, lr: float, step: int, optimizer: Any, held: Moment | None = None) -> Moment:
        """The moment of update number `step`, from 1, by the examples `batch` (indices).

        held: an earlier moment of as many examples, whose arrays are written again, so that a recorded step sees it.
        """
        return Moment(batch, lr, step)

    def of_rule(self, moment: Moment, rule: Any, rate: float) -> Moment:
        """The moment for an optimiser that updates a part of theta, at `rate` times the learning rate."""
        return replace(moment, lr=rate * moment.lr)

    def gather(
        self, images: Any, moment: Moment, dtype: Any, scaling: Any, augmentation: Any, mixture: Any = None
    ) -> Any:
        """The moment's images of (N, H, W, C), changed by the augmentation, if any, and scaled -> image.

        mixture: how the augmentation mixes them with one another, if it does.
        """
        taken = self.changed(images, moment, augmentation)
        if mixture is not None:
            taken = mixture(taken, array_namespace(taken).take(taken, mixture.partners, axis=0))
        return scaling(taken, dtype, self)

    def changed(self, images: Any, moment: Moment, augmentation: Any) -> Any:
        """The moment's images of (N, H, W, C), each changed by the augmentation, if any: (n, H, W, C)."""
        taken = array_namespace(images).take(images, moment.order, axis=0)
        return taken if augmentation is None else augmentation(taken, moment.identity, moment.number)

    def take(self, targets: Any, moment: Moment) -> Any:
        """The moment's targets, or weights: (N, ...) -> (n, ...)."""
        return array_namespace(targets).take(targets, moment.order, axis=0)

    def loss(self, loss: Any, logits: Any, targets: Any) -> tuple[Any, Any]:
        """losses (N,) and d_logits (N, K), by this table where it has an entry for this loss as it is."""
        fast = self.losses.get(type(loss)) if targets.ndim == 1 else None
        return loss(logits, targets) if fast is None or not loss.is_usual else fast(logits, targets)

    def collect(self, layout: Any, dparams: Any, g: Any) -> None:
        """Write the gradients of named parameters into the flat vector g."""
        layout.pack(dparams, g)


REFERENCE = Kernels()
EXACT_REFERENCE = Kernels(
    exact_ties=True,
    correlation=Pair(partial(reference.correlate, in_order=True), reference.correlate_backward),
    correlation_for_pool=partial(reference.correlate, in_order=True),
)
