"""Losses: each applies its output function, such as softmax, itself, so networks end in logits.

A loss gives one number per example. A training step divides the gradient of their sum by the number of the batch's
examples, so that parts of a batch, computed apart, add up exactly; weights of classes or examples and ignored examples
do not change that divisor. PyTorch's mean divides by the sum of the batch's weights, which a part of the batch would
not know. Both are alike on average over a data set whose weights have the mean 1, as those of `balanced`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..errors import SettingError, nearest
from ..names import explain
from ..namespace import array_namespace, as_python
from ..network import own as _own
from .base import Loss as Loss
from .weights import balanced as balanced
from .weights import balanced_labels as balanced_labels
from .weights import check_length as _check_length
from .weights import check_number as _check_number
from .weights import factors as _factors

explain(__name__)

Array = Any


@dataclass(frozen=True, kw_only=True)
class SoftmaxCrossEntropy(Loss):
    """-log of the probability that softmax gives the right class; where the gradient starts.

    Targets are classes (N,), or shares (N, K) of the classes in an example. label_smoothing: the part of each example
    that is shared among all classes. class_weights: a factor for each class, by which its part of the loss counts;
    `balanced` makes such. ignore_index: the label of examples that do not count, in accuracy either.
    With class weights the loss is -sum over i of w_i y_i log x_i, after smoothing, as in PyTorch.

    two-conv eq. (19), layered eq. (4), avgpool-96, "delta_i", without -eta.
    """

    soft: ClassVar[bool] = True
    is_shared: ClassVar[bool] = True
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        as_python(self)
        smoothing, ignored = self.label_smoothing, self.ignore_index
        if isinstance(smoothing, bool) or not isinstance(smoothing, (int, float)) or not 0 <= smoothing < 1:
            raise SettingError(f"label_smoothing={smoothing!r}: 0, or a part of 1 such as 0.1, was expected")
        if ignored is not None and (isinstance(ignored, bool) or not isinstance(ignored, (int, np.integer))):
            raise SettingError(f"ignore_index={ignored!r}: a label, such as -1, or None was expected")
        object.__setattr__(self, "class_weights", _factors("class_weights", self.class_weights))

    def check(self, outputs: int) -> None:
        _check_length("class_weights", self.class_weights, outputs)

    def __call__(self, logits: Array, targets: Array) -> tuple[Array, Array]:
        if targets.ndim == 1 and (self.label_smoothing, self.class_weights, self.ignore_index) == (0, None, None):
            return ops.softmax_cross_entropy(logits, ops.one_hot(targets, logits.shape[1], logits.dtype))
        return ops.weighted_cross_entropy(logits, self.rows(logits, targets))

    def rows(self, logits: Array, targets: Array) -> Array:
        """The targets as rows y (N, K) of `ops.weighted_cross_entropy`, smoothed and weighted."""
        y = ops.one_hot(targets, logits.shape[1], logits.dtype) if targets.ndim == 1 else targets
        if self.label_smoothing:
            y = ops.smoothed(y, self.label_smoothing)
        if self.class_weights is not None:
            y = y * self.beside(logits, self.class_weights)[None, :]
        if self.ignore_index is not None and targets.ndim == 1:
            xp = array_namespace(y)
            y = xp.where((targets == self.ignore_index)[:, None], xp.zeros_like(y), y)
        return y

    def probabilities(self, logits: Array) -> Array:
        return ops.softmax(logits)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """The mean over outputs of the binary cross-entropy of each sigmoid with 1 for the right class, 0 for the others.

    binary-sigmoid, "4) Binary Cross Entropy Loss". The class is the largest output; the outputs need not add up to 1.
    Targets are classes (N,), or parts (N, K) of each class in an example.
    """

    soft: ClassVar[bool] = True

    def __call__(self, logits: Array, targets: Array) -> tuple[Array, Array]:
        y = ops.one_hot(targets, logits.shape[1], logits.dtype) if targets.ndim == 1 else targets
        return ops.sigmoid_cross_entropy(logits, y)

    def probabilities(self, logits: Array) -> Array:
        return ops.sigmoid(logits)


@dataclass(frozen=True)
class MultiLabelCrossEntropy(BinaryCrossEntropy):
    """`BinaryCrossEntropy` where any number of labels may hold: targets (N, K) of 0 and 1.

    A label is predicted where its sigmoid is above 1/2, unless the model has other thresholds. positive_weights: a
    factor for each label, above 0, by which it counts where it holds, for labels that are rare; `balanced_labels` makes
    such. It is PyTorch's pos_weight.
    """

    multi_label: ClassVar[bool] = True
    positive_weights: tuple[float, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        as_python(self)
        object.__setattr__(
            self, "positive_weights", _factors("positive_weights", self.positive_weights, may_be_0=False)
        )

    def check(self, outputs: int) -> None:
        _check_length("positive_weights", self.positive_weights, outputs)

    def __call__(self, logits: Array, targets: Array) -> tuple[Array, Array]:
        if self.positive_weights is None:
            return super().__call__(logits, targets)
        return ops.weighted_sigmoid_cross_entropy(logits, targets, self.beside(logits, self.positive_weights))


@dataclass(frozen=True)
class FocalLoss(Loss):
    """-alpha (1 - p)^gamma log p with p the probability of the right class: what is easy counts less.

    alpha: a factor for each class, or None. Lin et al., 2017.
    """

    gamma: float = 2.0
    alpha: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        as_python(self)
        _check_number("gamma", self.gamma, may_be_0=True)
        object.__setattr__(self, "alpha", _factors("alpha", self.alpha))

    def check(self, outputs: int) -> None:
        _check_length("alpha", self.alpha, outputs)

    def __call__(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        y = ops.one_hot(labels, logits.shape[1], logits.dtype)
        losses, dz = ops.focal_cross_entropy(logits, y, self.gamma)
        if self.alpha is None:
            return losses, dz
        weights = array_namespace(logits).sum(y * self.beside(logits, self.alpha)[None, :], axis=1)
        return losses * weights, dz * weights[:, None]

    def probabilities(self, logits: Array) -> Array:
        return ops.softmax(logits)


@dataclass(frozen=True)
class Hinge(Loss):
    """max(0, 1 - margin), or its square, the margin being the right class's output less the largest other one.

    Crammer and Singer, 2001. As probabilities it gives the softmax of its outputs, which has their order and says
    nothing of how often the class is right.
    """

    squared: bool = False

    def __post_init__(self) -> None:
        as_python(self)

    def __call__(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        return ops.hinge(logits, ops.one_hot(labels, logits.shape[1], logits.dtype), squared=self.squared)

    def probabilities(self, logits: Array) -> Array:
        return ops.softmax(logits)


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """The mean over outputs of the squared difference from numbers (N, K)."""

    numbers: ClassVar[bool] = True
    standardizes: ClassVar[bool] = True

    def __call__(self, logits: Array, targets: Array) -> tuple[Array, Array]:
        return ops.mean_squared_error(logits, targets)


@dataclass(frozen=True)
class Huber(Loss):
    """The mean over outputs of half the squared difference from numbers (N, K), linear beyond delta. Huber, 1964.

    Where the model standardises numbers, delta counts their standard deviations.
    """

    numbers: ClassVar[bool] = True
    standardizes: ClassVar[bool] = True
    delta: float = 1.0

    def __post_init__(self) -> None:
        as_python(self)
        _check_number("delta", self.delta, may_be_0=False)

    def __call__(self, logits: Array, targets: Array) -> tuple[Array, Array]:
        return ops.huber(logits, targets, self.delta)


NAMED: dict[str, type[Loss]] = {
    "softmax": SoftmaxCrossEntropy,
    "binary": BinaryCrossEntropy,
    "multi-label": MultiLabelCrossEntropy,
    "focal": FocalLoss,
    "hinge": Hinge,
    "mse": MeanSquaredError,
    "huber": Huber,
}
OTHERS = {  # other libraries' words
    **dict.fromkeys(("cross_entropy", "crossentropy", "ce", "nll"), "softmax"),
    **dict.fromkeys(("categorical_crossentropy", "sparse_categorical_crossentropy"), "softmax"),
    **dict.fromkeys(("bce", "binary_crossentropy", "binary_cross_entropy", "bce_with_logits"), "multi-label"),
    **dict.fromkeys(("mean_squared_error", "squared_error", "l2"), "mse"),
    **dict.fromkeys(("smooth_l1", "l1", "mae"), "huber"),
}
LOSSES: dict[str, type] = {loss.__name__: loss for loss in NAMED.values()}  # as checkpoints name them


def named(name: str) -> Loss:
    """The loss of that name, or that class, with its usual settings; "my_module:Name" is one of your own, an object, a
    class or a function that makes one. Raises SettingError with the names there are.
    """
    if ":" in name:
        return _own.thing(name, ("__call__", "probabilities"), "a loss")
    found = NAMED.get(name.lower()) or LOSSES.get(name)
    if found is None:
        near = OTHERS.get(name.lower().replace("-", "_")) or nearest(name.lower(), NAMED)
        hint = f"did you mean {near}? " if near else ""
        raise SettingError(f"loss {name!r} is not known; {hint}choose one of {', '.join(NAMED)}")
    return found()


CLASSIFICATION, MULTI_LABEL, REGRESSION = "classification", "multi-label", "regression"
OUTPUTS = {CLASSIFICATION: "classes", MULTI_LABEL: "labels", REGRESSION: "numbers"}  # what names of outputs name


def kind(loss: Any) -> str:
    """What a network with this loss is asked for: "classification", "multi-label" or "regression"."""
    if getattr(loss, "numbers", False):
        return REGRESSION
    return MULTI_LABEL if getattr(loss, "multi_label", False) else CLASSIFICATION


def correct(logits: Array, labels: Array) -> Array:
    """1 where the largest logit is the label's, else 0. logits (N, K), labels (N,) -> (N,) int64, on the device."""
    xp = array_namespace(logits, labels)
    return xp.astype(xp.argmax(logits, axis=1) == labels, xp.int64)
