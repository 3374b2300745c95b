"""What a training step does on a GPU around its layers: the batch, the loss, the flat gradient, the optimisers.

`gpu` is cuda.Gpu. What changes from step to step is read from device memory, so that a recorded step sees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...losses import SoftmaxCrossEntropy
from ...network.layout import at
from ...optimizers import SGD, Adam, AdamW, Lion, RMSprop, State
from .. import Factors, Kernels, Moment
from .sizes import BLOCK
from .ways import Taken

Array = Any

PACKED = 8  # arrays that one launch of `pack` takes
ALIGNED = 16  # bytes: where cuBLAS may read and write four numbers at once


@dataclass(frozen=True)
class CudaMoment(Moment):
    """A moment in device memory, where a recorded step reads it.

    numbers: lr, what Adam needs of it, and step, as `prepare` of step.cu writes them.
    """

    numbers: Array = None

    @property
    def number(self) -> Array:
        return self.numbers[3:].astype(np.int64)

    @property
    def rate(self) -> Array:
        return self.numbers[:1]


@dataclass(frozen=True)
class CudaKernels(Kernels):
    """A table that also has kernels for what a training step does around its layers.

    dtype: of the parameters; which compilation of the source serves where it makes no difference.
    ways: ways.Ways, which computes a convolution, of few filters with all that follows it; None where cuDNN does.
    layers: layers.Layers, for a bias and its ReLU.
    """

    gpu: Any = None
    dtype: str = "float32"
    ways: Any = None
    layers: Any = None

    def ahead(self, work: Callable[[], Any]) -> None:
        """Compiles the kernels that the work will launch, side by side. cuDNN would be asked for plans: not with it."""
        if self.ways is not None:
            self.gpu.compiled.ahead(work)

    def rectified_correlation(self, x: Array, w: Array, b: Array | None, *settings: Any) -> tuple[Array, Any]:
        window, groups, slope_at_zero = settings
        if self.ways is None or groups != 1:
            return super().rectified_correlation(x, w, b, *settings)
        if (found := self.ways.rectified(x, w, b, *settings)) is not None:
            return found
        y, seen = self.ways.correlate(x, w, window, groups, relu=True)
        return self.rectified(y, seen, b, slope_at_zero)

    def rectified_correlation_backward(
        self, residual: Any, w: Array, dy: Array, need_dx: bool
    ) -> tuple[Array | None, Array, Array | None]:
        if isinstance(residual, Taken):
            return self.ways.followed_backward(residual, w, dy, need_dx)
        return super().rectified_correlation_backward(residual, w, dy, need_dx)

    def biased_product(self, x: Array, w: Array, b: Array) -> tuple[Array, Any]:
        return self.layers.biased_product(x, w, b)

    def rectified_product(self, x: Array, w: Array, b: Array, slope_at_zero: float) -> tuple[Array, Any]:
        return self.layers.rectified_product(x, w, b, slope_at_zero)

    def bias_relu(self, y: Array, b: Array, slope_at_zero: float) -> tuple[Array, Any]:
        return self.layers.bias_relu(y, b, slope_at_zero)

    def bias_relu_backward(self, residual: Any, dy: Array) -> tuple[Array, Array]:
        return self.layers.bias_relu_backward(residual, dy)

    def pooled_correlation(self, x: Array, w: Array, b: Array, *settings: Any) -> tuple[Array, Any]:
        window, groups, slope_at_zero, pool, ties = settings
        if self.ways is not None and ties == "first":
            found = self.ways.pooled(x, w, b, window, groups, slope_at_zero, pool)
            if found is not None:
                return found
        return super().pooled_correlation(x, w, b, *settings)

    def pooled_correlation_backward(
        self, residual: Any, w: Array, dy: Array, need_dx: bool
    ) -> tuple[Array | None, Array, Array]:
        if isinstance(residual, Taken):
            return self.ways.followed_backward(residual, w, dy, need_dx)
        return super().pooled_correlation_backward(residual, w, dy, need_dx)

    def begin(self, batch: Array, lr: float, step: int, optimizer: Any, held: Any = None) -> CudaMoment:
        """Copies the batch's indices, and computes what the optimisers need of lr and of step, counted from 1.

        The numbers travel as arguments of the launch: a copy from host memory could be overtaken by its next value.
        """
        batch = self.gpu.dense(batch, np.int64)
        if held is None:
            held = CudaMoment(self.gpu.empty(batch.shape, np.int64), lr, step, None, self.gpu.empty((4,), np.float64))
        given = lr, step, getattr(optimizer, "beta1", 0.0), getattr(optimizer, "beta2", 0.0)
        arguments = batch, held.order, *map(np.float64, given), held.numbers
        self.gpu.launch("prepare", self.dtype, batch.size, *arguments)
        return CudaMoment(held.order, lr, step, None, held.numbers)

    def begin_ten(
        self, batches: Array, lrs: Sequence[float], step: int, optimizer: Any, held: tuple[Array, Array] | None = None
    ) -> tuple[tuple[Array, Array], list[CudaMoment]]:
        """`begin` of ten updates, the first of which is number `step`, by equal batches one after the other.

        -> what to hold, for the next ten to be written there, and the moments.
        """
        batches, size = self.gpu.dense(batches, np.int64), batches.shape[0] // len(lrs)
        if held is None or held[0].shape != batches.shape:
            held = self.gpu.empty(batches.shape, np.int64), self.gpu.empty((len(lrs), 4), np.float64)
        order, numbers = held
        betas = getattr(optimizer, "beta1", 0.0), getattr(optimizer, "beta2", 0.0)
        arguments = batches, order, *map(np.float64, (step, *betas, *lrs)), numbers
        self.gpu.launch("prepare_ten", self.dtype, batches.size, *arguments)
        orders = [order[k * size : (k + 1) * size] for k in range(len(lrs))]
        made = [CudaMoment(orders[k], lr, step + k, None, numbers[k]) for k, lr in enumerate(lrs)]
        return held, made

    def of_rule(self, moment: Any, rule: Any, rate: float) -> CudaMoment:
        """Its numbers are made on the device, of the moment's, so that a recorded step makes them anew."""
        numbers = self.gpu.empty((4,), np.float64)
        given = rate, getattr(rule, "beta1", 0.0), getattr(rule, "beta2", 0.0)
        self.gpu.launch("numbers_of_rule", self.dtype, 1, moment.numbers, *map(np.float64, given), numbers)
        return replace(moment, numbers=numbers)

    def gather(
        self, images: Array, moment: Any, dtype: Any, scaling: Any, augmentation: Any, mixture: Any = None
    ) -> Array:
        """uint8 pixels are gathered, mirrored and moved, and scaled in one launch."""
        if images.dtype != np.uint8 or not (augmentation is None or augmentation.is_plain):
            return super().gather(images, moment, dtype, scaling, augmentation, mixture)
        images, x = self.gpu.dense(images), self.gpu.empty((moment.order.size, *images.shape[1:]), dtype)
        if augmentation is None:
            place: tuple[Any, ...] = ("pixels", dtype, x.size, images, moment.order, 1, math.prod(images.shape[1:]))
        else:
            settings = (augmentation.shift, int(augmentation.flip), np.int64(augmentation.key), moment.numbers)
            place = (
                "augmented_pixels",
                dtype,
                x.size,
                images,
                moment.order,
                moment.identity,
                *images.shape[1:],
                *settings,
            )
        self.gpu.launch(*place, float(scaling.scale), float(scaling.shift), x)
        return x

    def changed(self, images: Array, moment: Any, augmentation: Any) -> Array:
        """The map of uint8 pixels, from wherever they come, is one launch."""
        if images.dtype != np.uint8 or augmentation is None or not augmentation.maps:
            return super().changed(images, moment, augmentation)
        images, how = self.gpu.dense(images), augmentation
        made = self.gpu.empty((moment.order.size, *images.shape[1:]), np.uint8)
        flip = 2 if how.flip == "alternate" else int(how.flip)
        settings = how.shift, flip, max(1, how.updates), int(how.reflect)
        floats = np.float64(how.angle), np.float64(how.zoom)
        drawn = np.int64(how.displacement), np.int64(how.key), moment.numbers
        arrays = images, moment.order, moment.identity
        self.gpu.launch(
            "mapped_pixels", self.dtype, made.size, *arrays, *images.shape[1:], *settings, *floats, *drawn, made
        )
        return how.recoloured(made, moment.identity, moment.number)

    def take(self, targets: Array, moment: Any) -> Array:
        if targets.ndim != 1 or targets.dtype.kind not in "iu":
            return super().take(targets, moment)
        labels, taken = self.gpu.dense(targets, np.int64), self.gpu.empty(moment.order.shape, np.int64)
        self.gpu.launch("take_labels", self.dtype, taken.size, labels, moment.order, taken)
        return taken

    def loss(self, loss: Any, logits: Array, targets: Array) -> tuple[Array, Array]:
        if type(loss) is SoftmaxCrossEntropy and (targets.ndim == 2 or not loss.is_usual):
            return softmax_loss(self.gpu, loss, logits, targets)
        return super().loss(loss, logits, targets)

    def collect(self, layout: Any, dparams: Any, g: Array) -> None:
        """Gradients that are left as factors are multiplied into their places; the others are copied there."""
        copied = []
        for slot in layout.slots:
            gradient, place = at(dparams, slot.path), g[slot.place]
            if isinstance(gradient, Factors):
                x, dy = gradient
                if x.dtype == dy.dtype == g.dtype and self.gpu.address(place) % ALIGNED == 0:
                    self.layers.matmul(x.T, dy, place.reshape(slot.shape))
                    continue
                gradient = self.layers.matmul(x.T, dy)
            copied.append((gradient, slot.place.start))
        pack(self.gpu, copied, g)


def pack(gpu: Any, gradients: Sequence[tuple[Array, int]], g: Array) -> None:
    """Copy gradients to where each begins in the flat vector g: eight in a launch."""
    for first in range(0, len(gradients), PACKED):
        arrays, starts = zip(*gradients[first : first + PACKED])
        some = [gpu.dense(each, g.dtype) for each in arrays]
        ends = [sum(each.size for each in some[: k + 1]) for k in range(len(some))]
        parts = [*zip(some, starts, ends)]
        parts += parts[-1:] * (PACKED - len(some))
        gpu.launch("pack", g.dtype, ends[-1], g, *[value for part in parts for value in part][:-1])


def loss(gpu: Any, name: str, logits: Array, labels: Array) -> tuple[Array, Array]:
    """By the kernel of that name: logits (N, K), labels (N,) int64 -> losses (N,), d_logits (N, K), in one launch."""
    logits, (N, K) = gpu.dense(logits), logits.shape
    losses, d_logits = gpu.empty((N,), logits.dtype), gpu.empty((N, K), logits.dtype)
    rows = BLOCK // 32  # a warp takes one
    gpu.launch_blocks(name, logits.dtype, -(-N // rows), BLOCK, logits, labels, N, K, losses, d_logits)
    return losses, d_logits


def softmax_loss(gpu: Any, loss: SoftmaxCrossEntropy, logits: Array, targets: Array) -> tuple[Array, Array]:
    """`SoftmaxCrossEntropy` with any of its settings, of classes (N,) int64 or shares (N, K), in one launch."""
    logits, (N, K) = gpu.dense(logits), logits.shape
    losses, d_logits = gpu.empty((N,), logits.dtype), gpu.empty((N, K), logits.dtype)
    rows, labels = (
        (logits, gpu.dense(targets, np.int64)) if targets.ndim == 1 else (gpu.dense(targets, logits.dtype), None)
    )
    weights = logits if loss.class_weights is None else loss.beside(logits, loss.class_weights, gpu.put)
    given = rows, gpu.empty((1,), np.int64) if labels is None else labels, int(labels is not None)
    factors = weights, int(loss.class_weights is not None), float(loss.label_smoothing)
    ignored = np.int64(loss.ignore_index or 0), int(loss.ignore_index is not None)
    arguments = logits, *given, *factors, *ignored, N, K, losses, d_logits
    gpu.launch_blocks("weighted_cross_entropy", logits.dtype, -(-N // (BLOCK // 32)), BLOCK, *arguments)
    return losses, d_logits


def sgd(gpu: Any, optimizer: SGD, theta: Array, g: Array, state: State, mean: float, moment: Any) -> None:
    """theta -= lr (mean g + weight_decay theta); with momentum, by a velocity."""
    settings = float(mean), float(optimizer.weight_decay)
    if not optimizer.momentum:
        gpu.launch("sgd", theta.dtype, theta.size, theta, g, *settings, moment.numbers)
        return
    vectors, more = (theta, g, state["velocity"]), (float(optimizer.momentum), int(optimizer.nesterov))
    gpu.launch("momentum", theta.dtype, theta.size, *vectors, *settings, *more, moment.numbers)


def adam(gpu: Any, optimizer: Adam, theta: Array, g: Array, state: State, mean: float, moment: Any) -> None:
    """Adam and, with its own weight decay, AdamW."""
    settings = float(mean), float(optimizer.weight_decay), int(type(optimizer) is AdamW)
    first, second = optimizer.beta1, optimizer.beta2
    moments = float(first), 1.0 - first, float(second), 1.0 - second, float(optimizer.epsilon)
    vectors = theta, g, state["mean"], state["square"]
    gpu.launch("adam", theta.dtype, theta.size, *vectors, *settings, *moments, moment.numbers)


def rmsprop(gpu: Any, optimizer: RMSprop, theta: Array, g: Array, state: State, mean: float, moment: Any) -> None:
    """Vectors that it does not keep are given as theta, which the kernel leaves alone then."""
    settings = float(mean), float(optimizer.weight_decay), float(optimizer.alpha), 1.0 - optimizer.alpha
    more = float(optimizer.epsilon), int(optimizer.centered), float(optimizer.momentum)
    vectors = state["square"], state.get("mean", theta), state.get("velocity", theta)
    gpu.launch("rmsprop", theta.dtype, theta.size, theta, g, *vectors, *settings, *more, moment.numbers)


def lion(gpu: Any, optimizer: Lion, theta: Array, g: Array, state: State, mean: float, moment: Any) -> None:
    settings, (first, second) = (float(mean), float(optimizer.weight_decay)), (optimizer.beta1, optimizer.beta2)
    moments = float(first), 1.0 - first, float(second), 1.0 - second
    gpu.launch("lion", theta.dtype, theta.size, theta, g, state["mean"], *settings, *moments, moment.numbers)
