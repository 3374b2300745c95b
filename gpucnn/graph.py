"""One update of theta on the fused CUDA table, launched kernel by kernel or, with graph=True, as one CUDA graph.

A small network's step is mostly the cost of its launches: a graph pays it once. Not yet run or timed on a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from .augmentation import Augmentation
from .device import Device, Recording, reason_of
from .kernels import Context
from .layers import REGISTRY
from .losses import LOSSES, Loss
from .namespace import array_namespace
from .network import Network
from .optimizers import SGD, Adam, AdamW, Optimizer, State
from .parameters import Layout, at
from .peephole import BLOCKS
from .step import Scaling

Array = Any

OWN = {*REGISTRY.values(), *BLOCKS}
WARM = 2  # steps of a batch size before it is recorded: compiling and loading kernels cannot be


class _Recorded(NamedTuple):
    """A recording is of certain arrays and one batch size; it points to the arrays, so they are kept."""

    images: Array
    labels: Array
    examples: int
    recording: Recording


class FusedStep:
    """The update of theta by one batch, called as `step.Step` is.

    graph: record the step of the first batch size that comes more than WARM times, and replay it from then on; other
    sizes, such as an epoch's last batch, are launched kernel by kernel. obstacle: why nothing is recorded, or None.
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        theta: Array,
        optimizer: Optimizer,
        *,
        layout: Layout,
        scaling: Scaling,
        context: Context,
        device: Device,
        graph: bool = False,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.network, self.loss, self.theta, self.optimizer = network, loss, theta, optimizer
        self.layout, self.scaling, self.device, self.graph = layout, scaling, device, graph
        self.augmentation = augmentation
        self.context = replace(context, training=True)
        self.params = layout.unpack(theta)
        self.state: State = optimizer.init(theta)
        self.steps = 0
        self.obstacle: str | None = None
        self._kernels: Any = context.kernels.step  # type: ignore[attr-defined]
        self._g = array_namespace(theta).empty_like(theta)
        self._buffers: dict[int, tuple[Array, Array]] = {}
        self._seen: dict[int, int] = {}
        self._recorded: _Recorded | None = None
        stranger = next(_strangers(network, loss, optimizer), None)
        if graph and stranger is not None:
            self._stay_eager(f"{stranger} is not gpucnn's own, and what it copies from the host would be recorded once")

    def __call__(self, images: Array, labels: Array, batch: Array, lr: float) -> Array:
        """Update theta by the examples `batch` (indices) of images and labels; their losses, on the device."""
        examples = batch.shape[0]
        self.steps += 1
        order, schedule = self._buffers_for(examples)
        betas = (getattr(self.optimizer, "beta1", 0.0), getattr(self.optimizer, "beta2", 0.0))
        self._kernels.prepare(batch, lr, self.steps, betas, order, schedule)
        if self.graph and self.obstacle is None:
            self._record(images, labels, examples)
        recorded = self._recorded
        if recorded is None or not _is_of(recorded, images, labels, examples):
            return self._run(images, labels, order, schedule, lr)
        recorded.recording.replay()
        return recorded.recording.result.copy()  # the next replay writes there again

    def _buffers_for(self, examples: int) -> tuple[Array, Array]:
        if examples not in self._buffers:
            self._buffers[examples] = self._kernels.buffers(examples)
        return self._buffers[examples]

    def _record(self, images: Array, labels: Array, examples: int) -> None:
        """Count this batch size, and record its step when it has come often enough and nothing else is recorded."""
        if self._recorded is not None:
            if self._recorded.images is images and self._recorded.labels is labels:
                return
            self._recorded = None
        self._seen[examples] = self._seen.get(examples, 0) + 1
        if self._seen[examples] <= WARM:
            return
        order, schedule = self._buffers_for(examples)
        try:
            recording = self.device.record(lambda: self._run(images, labels, order, schedule, None))
        except Exception as error:
            self._stay_eager(f"recording the step failed ({reason_of(error)})")
        else:
            self._recorded = _Recorded(images, labels, examples, recording)

    def _stay_eager(self, why: str) -> None:
        self.obstacle = why
        warnings.warn(f"no CUDA graph: {why}; training goes on kernel by kernel", stacklevel=4)

    def _run(self, images: Array, labels: Array, order: Array, schedule: Array, lr: float | None) -> Array:
        """The step itself. Everything that changes from one to the next is read from order and schedule.

        lr: for optimisers without a kernel, which no graph holds.
        """
        x, targets = self._inputs(images, order, schedule), self._kernels.labels(labels, order)
        logits, residuals = self.network.forward(self.params, x, self.context)
        losses, d_logits = self.context.kernels.losses.get(type(self.loss), self.loss)(logits, targets)
        _, dparams = self.network.backward(self.params, residuals, d_logits, self.context, need_dx=False)
        self._kernels.pack([at(dparams, slot.path) for slot in self.layout.slots], self._g)
        self._update(1 / order.shape[0], schedule, lr)
        return losses

    def _inputs(self, images: Array, order: Array, schedule: Array) -> Array:
        """The batch as the network takes it; uint8 pixels are gathered, augmented and scaled in one launch."""
        xp, scaling, augmentation = array_namespace(images), self.scaling, self.augmentation
        if images.dtype == xp.uint8:
            how = (scaling.scale, scaling.shift, augmentation, schedule)
            return self._kernels.gather(images, order, self.theta.dtype, *how)
        taken = xp.take(images, order, axis=0)
        if augmentation is not None:
            taken = augmentation(taken, order, xp.astype(schedule[3:], xp.int64))
        return scaling(taken, self.theta.dtype, self.context)

    def _update(self, mean: float, schedule: Array, lr: float | None) -> None:
        """Let the optimiser write theta, from the summed gradient; mean: 1 / examples."""
        theta, g, optimizer = self.theta, self._g, self.optimizer
        if type(optimizer) in (Adam, AdamW):
            decoupled = type(optimizer) is AdamW
            self._kernels.adam(theta, g, self.state, mean, optimizer, decoupled, schedule)
        elif type(optimizer) is SGD and optimizer.momentum:
            self._kernels.momentum(theta, g, self.state["velocity"], mean, optimizer, schedule)
        elif type(optimizer) is SGD:
            self._kernels.sgd(theta, g, mean, optimizer.weight_decay, schedule)
        else:
            g *= mean
            optimizer.update(theta, g, self.state, lr or 0.0, self.steps)


def _strangers(network: Network, loss: Loss, optimizer: Optimizer) -> Iterator[str]:
    """The classes that a recording cannot be trusted with: a copy from the host would bring the same bytes for ever."""
    for layer in network.layers:
        if isinstance(layer, Network):
            yield from _strangers(layer, loss, optimizer)
        elif type(layer) not in OWN:
            yield type(layer).__name__
    if type(loss) not in LOSSES.values():
        yield type(loss).__name__
    if type(optimizer) not in (SGD, Adam, AdamW):
        yield type(optimizer).__name__


def _is_of(recorded: _Recorded, images: Array, labels: Array, examples: int) -> bool:
    return recorded.examples == examples and recorded.images is images and recorded.labels is labels
