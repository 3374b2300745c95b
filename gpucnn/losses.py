"""Losses: each applies its output function, such as softmax, itself, so networks end in logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from . import ops
from .namespace import array_namespace

Array = Any


class Loss:
    """The base of losses. It holds defaults only, and deriving from it is optional.

    numbers: the targets are numbers (N, K), as logits are, and not whole numbers (N,) below K, the classes.
    """

    numbers: ClassVar[bool] = False

    def __call__(self, logits: Array, targets: Array) -> tuple[Array, Array]:
        """logits (N, K), targets (N,) or (N, K), not to be changed -> losses (N,), d_logits (N, K) of their sum."""
        raise NotImplementedError

    def probabilities(self, logits: Array) -> Array:
        """logits (N, K) -> (N, K); the logits themselves where they are the answer."""
        return logits


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """-log of the probability that softmax gives the right class; where the gradient starts.

    two-conv eq. (19), layered eq. (4), avgpool-96, "delta_i", without -eta.
    """

    def __call__(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        return ops.softmax_cross_entropy(logits, ops.one_hot(labels, logits.shape[1], logits.dtype))

    def probabilities(self, logits: Array) -> Array:
        return ops.softmax(logits)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """The mean over outputs of the binary cross-entropy of each sigmoid with 1 for the right class, 0 for the others.

    binary-sigmoid, "4) Binary Cross Entropy Loss". The class is the largest output; the outputs need not add up to 1.
    """

    def __call__(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        return ops.sigmoid_cross_entropy(logits, ops.one_hot(labels, logits.shape[1], logits.dtype))

    def probabilities(self, logits: Array) -> Array:
        return ops.sigmoid(logits)


LOSSES: dict[str, type] = {loss.__name__: loss for loss in (SoftmaxCrossEntropy, BinaryCrossEntropy)}


def correct(logits: Array, labels: Array) -> Array:
    """1 where the largest logit is the label's, else 0. logits (N, K), labels (N,) -> (N,) int64, on the device."""
    xp = array_namespace(logits, labels)
    return xp.astype(xp.argmax(logits, axis=1) == labels, xp.int64)
