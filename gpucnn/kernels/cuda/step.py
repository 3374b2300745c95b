"""What a training step does on a GPU around its layers: the batch, the loss, the flat gradient, the optimisers.

`gpu` is cuda.Gpu. What changes from step to step is read from device memory, so that a recorded step sees it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...optimizers import SGD, Adam, AdamW, State
from ...training.augmentation import Augmentation

Array = Any

PACKED = 8  # arrays that one launch of `pack` takes


class StepKernels:
    """dtype: of the parameters; which compilation of the source serves where it makes no difference."""

    def __init__(self, gpu: Any, dtype: str) -> None:
        self.gpu, self.dtype = gpu, dtype

    def buffers(self, examples: int) -> tuple[Array, Array]:
        """Where `prepare` writes: the batch's indices, and the numbers, of which the last is the update's own."""
        return self.gpu.empty((examples,), np.int64), self.gpu.empty((4,), np.float64)

    def prepare(
        self, batch: Array, lr: float, step: int, betas: tuple[float, float], order: Array, numbers: Array
    ) -> None:
        """Copy the batch's indices, and compute what the optimisers need of lr and of step, counted from 1.

        The numbers travel as arguments of the launch: a copy from host memory could be overtaken by its next value.
        """
        batch = self.gpu.dense(batch, np.int64)
        given = (np.float64(lr), np.float64(step), np.float64(betas[0]), np.float64(betas[1]))
        self.gpu.launch("prepare", self.dtype, batch.size, batch, order, *given, numbers)

    def gather(
        self,
        images: Array,
        order: Array,
        dtype: Any,
        scale: float,
        shift: float,
        augmentation: Augmentation | None = None,
        numbers: Array = None,
    ) -> Array:
        """Of uint8 images (N, H, W, C), those of order (n,) -> (n, H, W, C) of dtype, pixel * scale + shift.

        augmentation: changes them before, for the update whose number is in numbers.
        """
        images, x = self.gpu.dense(images), self.gpu.empty((order.size, *images.shape[1:]), dtype)
        if augmentation is None:
            place: tuple[Any, ...] = ("pixels", dtype, x.size, images, order, 1, math.prod(images.shape[1:]))
        else:
            settings = (augmentation.shift, int(augmentation.flip), np.int64(augmentation.key), numbers)
            place = ("augmented_pixels", dtype, x.size, images, order, *images.shape[1:], *settings)
        self.gpu.launch(*place, float(scale), float(shift), x)
        return x

    def labels(self, labels: Array, order: Array) -> Array:
        labels, taken = self.gpu.dense(labels, np.int64), self.gpu.empty(order.shape, np.int64)
        self.gpu.launch("take_labels", self.dtype, taken.size, labels, order, taken)
        return taken

    def softmax_cross_entropy(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """logits (N, K), labels (N,) int64 -> losses (N,), d_logits (N, K), in one launch."""
        return self._loss("softmax_cross_entropy", logits, labels)

    def sigmoid_cross_entropy(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        return self._loss("sigmoid_cross_entropy", logits, labels)

    def _loss(self, name: str, logits: Array, labels: Array) -> tuple[Array, Array]:
        logits, (N, K) = self.gpu.dense(logits), logits.shape
        losses, d_logits = self.gpu.empty((N,), logits.dtype), self.gpu.empty((N, K), logits.dtype)
        self.gpu.launch(name, logits.dtype, N, logits, labels, K, losses, d_logits)
        return losses, d_logits

    def pack(self, gradients: Sequence[Array], g: Array) -> None:
        """Copy gradients, one after the other, into the flat vector g: eight in a launch."""
        start = 0
        for first in range(0, len(gradients), PACKED):
            some = [self.gpu.dense(each, g.dtype) for each in gradients[first : first + PACKED]]
            ends = [start + sum(each.size for each in some[: k + 1]) for k in range(len(some))]
            missing = PACKED - len(some)
            arrays, stops = some + some[-1:] * missing, ends + ends[-1:] * missing
            flat = [value for pair in zip(arrays, stops) for value in pair][:-1]
            self.gpu.launch("pack", g.dtype, ends[-1] - start, g, start, *flat)
            start = ends[-1]

    def sgd(self, optimizer: SGD, theta: Array, g: Array, state: State, mean: float, moment: Any) -> None:
        """theta -= lr (mean g + weight_decay theta); with momentum, by a velocity."""
        settings = float(mean), float(optimizer.weight_decay)
        if not optimizer.momentum:
            self.gpu.launch("sgd", theta.dtype, theta.size, theta, g, *settings, moment.numbers)
            return
        vectors, more = (theta, g, state["velocity"]), (float(optimizer.momentum), int(optimizer.nesterov))
        self.gpu.launch("momentum", theta.dtype, theta.size, *vectors, *settings, *more, moment.numbers)

    def adam(self, optimizer: Adam, theta: Array, g: Array, state: State, mean: float, moment: Any) -> None:
        """Adam and, with its own weight decay, AdamW."""
        settings = float(mean), float(optimizer.weight_decay), int(type(optimizer) is AdamW)
        first, second = optimizer.beta1, optimizer.beta2
        moments = float(first), 1.0 - first, float(second), 1.0 - second, float(optimizer.epsilon)
        vectors = theta, g, state["mean"], state["square"]
        self.gpu.launch("adam", theta.dtype, theta.size, *vectors, *settings, *moments, moment.numbers)
