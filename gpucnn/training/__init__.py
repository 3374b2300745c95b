"""Training: epochs of shuffled batches, the schedule, what is measured, and how a run ends."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..device import Device
from ..errors import SettingError, TrainingError
from ..namespace import array_namespace
from ..schedules import Schedule

Array = Any

DIVERGED = 1e18  # a loss or a parameter above it: the squares that Adam keeps no longer fit float32


@dataclass(frozen=True)
class Epoch:
    """What one epoch showed. epoch counts from 1; losses are means per example.

    train_loss was measured batch by batch, while training moved theta, the vector of all parameters; validation_loss
    and validation_accuracy after the epoch. lr: the learning rate of the last step. seconds: without the validation.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float
    seconds: float


@dataclass
class History:
    """The epochs of one run. interrupted: Ctrl-C ended it, the last epoch is not in the list."""

    epochs: list[Epoch] = field(default_factory=list)
    examples: int = 0
    interrupted: bool = False

    @property
    def seconds(self) -> float:
        return sum(epoch.seconds for epoch in self.epochs)

    @property
    def images_per_second(self) -> float:
        return len(self.epochs) * self.examples / self.seconds if self.seconds else 0.0


class Callback(Protocol):
    """Told of progress; both methods may do nothing."""

    def batch(self, epoch: int, done: int, examples: int, loss: float | None) -> None:
        """done of the epoch's examples are trained; loss: the mean of the latest batch that was fetched."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended."""


class Step(Protocol):
    """What trains: one of engine's steps. steps: how many updates are done; theta: the vector of all parameters."""

    @property
    def steps(self) -> int: ...

    @property
    def theta(self) -> Array: ...

    def __call__(self, images: Array, targets: Array, batch: Array, lr: float, weights: Array | None = None) -> Array:
        """Update theta by the examples whose indices are in `batch`. -> their losses, on the device."""


Evaluate = Callable[[], tuple[float, float | None]]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train: lr, the base learning rate, is multiplied by the schedule at every step."""

    epochs: int
    batch_size: int
    lr: float
    schedule: Schedule

    def __post_init__(self) -> None:
        for what, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise SettingError(f"{what}={value!r}: a whole number of at least 1 was expected")
        if not isinstance(self.lr, (int, float, np.number)) or not 0 < self.lr < math.inf:
            raise SettingError(f"lr={self.lr!r}: a learning rate above 0 was expected, such as 0.001")


def train(
    step: Step,
    images: Array,
    labels: Array,
    weights: Array | None = None,
    *,
    plan: Plan,
    device: Device,
    rng: np.random.Generator,
    evaluate: Evaluate | None = None,
    callbacks: Sequence[Callback] = (),
) -> History:
    """Run the plan. images (N, H, W, C), labels (N,) or (N, K), and weights (N,) or None, are on the device.

    The batch order comes from rng, on the host, so it is the same on every device; the last batch of an epoch may be
    smaller. Ctrl-C ends the run after the step it is in, a second one at once. Raises TrainingError when the loss, or
    a parameter or the validation loss at the end of an epoch, is not finite.
    """
    history = History(examples=images.shape[0])
    run = _Run(step, plan, history.examples, device, callbacks)
    try:
        with _interruptible() as stop:
            for number in range(1, plan.epochs + 1):
                order = device.put(rng.permutation(history.examples))
                loss, lr, seconds = run.epoch(number, (images, labels), weights, order, stop)
                held_out = evaluate() if evaluate else (None, None)
                if held_out[0] is not None and not math.isfinite(held_out[0]):
                    raise run.diverged(f"epoch {number}: the validation loss is {held_out[0]:g}")
                history.epochs.append(Epoch(number, loss, held_out[0], held_out[1], lr, seconds))
                for callback in callbacks:
                    callback.epoch(history.epochs[-1])
                if number < plan.epochs:
                    stop()
    except KeyboardInterrupt:
        history.interrupted = True
    return history


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Holds the first Ctrl-C back until the function that this gives is called, so that no update is cut in two.

    A second one is raised at once. Where SIGINT has a handler of its own, and outside the main thread, nothing changes.
    """
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def stop() -> None:
        if asked:
            raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Run:
    """Epochs, one by one. Losses stay on a CUDA device, which a fetch waits for: they are fetched every FETCH steps."""

    FETCH = 50

    def __init__(self, step: Step, plan: Plan, examples: int, device: Device, callbacks: Iterable[Callback]) -> None:
        self.step, self.plan, self.examples, self.device, self.callbacks = step, plan, examples, device, callbacks
        self.batches = math.ceil(examples / plan.batch_size)
        self.every = 1 if device.kind == "cpu" else self.FETCH

    def epoch(
        self, number: int, data: tuple[Array, Array], weights: Array | None, order: Array, stop: Callable[[], None]
    ) -> tuple[float, float, float]:
        """-> mean loss, last learning rate, seconds. stop is called between steps."""
        lr, total, latest, started = 0.0, 0.0, None, time.perf_counter()
        pending: list[tuple[Array, int]] = []  # sums of losses, and of how many
        for k in range(1, self.batches + 1):
            stop()
            batch = order[(k - 1) * self.plan.batch_size : k * self.plan.batch_size]
            lr = self.plan.lr * self._factor()
            losses = self.step(*data, batch, lr, weights)
            pending.append((array_namespace(losses).sum(losses), batch.shape[0]))
            if len(pending) >= self.every or k == self.batches:
                fetched, latest = self._fetch(pending, f"epoch {number}, batch {k}")
                total += fetched
                pending.clear()
            for callback in self.callbacks:
                callback.batch(number, min(k * self.plan.batch_size, self.examples), self.examples, latest)
        theta, xp = self.step.theta, array_namespace(self.step.theta)
        if not float(xp.max(xp.abs(theta))) <= DIVERGED:
            raise self.diverged(f"epoch {number}: a parameter is no longer finite, or beyond {DIVERGED:g}")
        return total / self.examples, lr, time.perf_counter() - started

    def _factor(self) -> float:
        """The schedule's factor on the learning rate for the next step. Raises SettingError for what is no number."""
        factor = self.plan.schedule(self.step.steps, self.plan.epochs * self.batches)
        if not isinstance(factor, (int, float, np.number)) or not math.isfinite(factor):
            raise SettingError(
                f"the schedule gives {factor!r} for step {self.step.steps}; a number was expected, the factor on lr"
            )
        return float(factor)

    def _fetch(self, pending: Sequence[tuple[Array, int]], where: str) -> tuple[float, float]:
        """The sum of the losses, and the mean loss of the last batch; all in one array, for which the device waits."""
        sums = [each for each, _ in pending]
        values = (
            [float(sums[0])] if len(sums) == 1 else self.device.fetch(array_namespace(sums[0]).stack(sums)).tolist()
        )
        means = [value / examples for value, (_, examples) in zip(values, pending)]
        for mean in means:
            if not mean <= DIVERGED:
                raise self.diverged(f"{where}: the loss is {mean:g}", updated=self.step.steps > 1)
        return sum(values), means[-1]

    def diverged(self, what: str, *, updated: bool = True) -> TrainingError:
        """updated: whether theta had moved before."""
        lr = self.plan.lr
        advice = f"a lower learning rate than {lr:g}, such as {lr / 10:g} (--lr), usually mends it"
        if not updated:
            advice = "no update came before it, so look at the images, the initial parameters and layers of your own"
        return TrainingError(f"{what}, so training stopped; {advice}")
