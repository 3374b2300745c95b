"""What `gpucnn compare` times: the first step, the way of a batch to the device, and a training step, by batch size."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine.recorded import WARM
from ...networks import Recipe
from .backends import Backend, Problem, Runner

MOST = 200  # steps in a block
SLOW = 1.0  # seconds of a step that is timed in one round only


@dataclass(frozen=True)
class Speed:
    """A training step of `batch` images in float32. Seconds; None where the device's memory was too small.

    first: the first step at this batch size, with all that is prepared once. transfer: of a batch of uint8 images
    and its labels to the device, 0 on the CPU. compute: a step whose images are there already.
    """

    device: str
    batch: int
    first: float | None = None
    transfer: float | None = None
    compute: float | None = None

    @property
    def resident(self) -> float | None:
        """Images per second when the data set lies on the device, as in training."""
        return self.batch / self.compute if self.compute else None

    @property
    def transferred(self) -> float | None:
        """Images per second when every batch is sent first, one after the other."""
        return self.batch / (self.compute + (self.transfer or 0)) if self.compute else None

    def to_dict(self) -> dict[str, Any]:
        seconds = {"first_step": self.first, "transfer": self.transfer, "compute": self.compute}
        rates = {"images_per_second": self.resident, "images_per_second_with_transfer": self.transferred}
        times = {f"{name}_seconds": value for name, value in seconds.items()}
        return {"device": self.device, "batch": self.batch} | times | rates


class _Work:
    """Steps of one batch size on one runner, timed by the device: events on CUDA, a clock on the CPU."""

    def __init__(self, runner: Runner, recipe: Recipe, batch: int, budget: float) -> None:
        self.runner, self.lr, self.batch = runner, recipe.lr, batch
        self.computes: list[float] = []
        self.transfers: list[float] = []
        self.failed = False
        examples = runner.labels.shape[0]
        indices = np.random.default_rng(0).integers(0, examples, batch)
        self.host = np.zeros((batch, *runner.images.shape[1:]), np.uint8), np.zeros(batch, np.int64)
        try:
            with runner.device.activate():
                self.step, self.indices = runner.step(recipe.optimizer, batch), runner.batch(indices)
                self.first = self._timed(1)
                if runner.backend.acceleration.graph:
                    self._timed(WARM)  # the next step records the graph
                self.repeats = max(1, min(MOST, int(budget / max(self._timed(1), 1e-9))))
                self._transfer()
        except runner.device.out_of_memory_errors():
            self.failed = True

    def block(self) -> None:
        if self.failed or (self.computes and self.computes[0] > SLOW):
            return
        try:
            with self.runner.device.activate():
                self.computes.append(self._timed(self.repeats) / self.repeats)
                self.transfers.append(self._transfer())
        except self.runner.device.out_of_memory_errors():
            self.failed = True

    def _timed(self, steps: int) -> float:
        with self.runner.device.timer() as timer:
            for _ in range(steps):
                self.step(self.runner.images, self.runner.labels, self.indices, self.lr)
        return timer.seconds

    def _transfer(self) -> float:
        if self.runner.device.kind == "cpu":
            return 0.0
        with self.runner.device.timer() as timer:
            kept = [self.runner.put(array) for array in self.host]
        del kept
        return timer.seconds

    def speed(self) -> Speed:
        name = self.runner.backend.name
        if self.failed:
            return Speed(name, self.batch)
        median = statistics.median
        return Speed(name, self.batch, self.first, median(self.transfers), median(self.computes))


def speeds(
    problem: Problem,
    backends: Sequence[Backend],
    recipe: Recipe,
    batches: Sequence[int],
    *,
    rounds: int = 5,
    budget: float = 0.1,
) -> list[Speed]:
    """Each batch size on each backend that is timed. In a round each has one block of about `budget` seconds, in turn.

    Figures are medians over rounds; steps of over a second have one only. Parameters go on moving from step to step,
    which does not change the work.
    """
    runners = [Runner(problem, backend, "float32") for backend in backends if backend.timed]
    found = []
    for batch in batches:
        works = [_Work(runner, recipe, batch, budget) for runner in runners]
        for _ in range(rounds):
            for work in works:
                work.block()
        found += [work.speed() for work in works]
    return found


def break_even(rows: Sequence[Speed], base: str, other: str, *, transferred: bool = False) -> int | None:
    """The least batch size from which on `other` does at least as many images per second as base; None if none.

    transferred: with the way of each batch to the device.
    """

    def rates(name: str) -> dict[int, float | None]:
        return {each.batch: each.transferred if transferred else each.resident for each in rows if each.device == name}

    ours, theirs = rates(base), rates(other)
    pays = None
    for batch in sorted(theirs, reverse=True):
        rate, rival = theirs[batch], ours.get(batch)
        if rate is None or rival is None:
            continue
        if rate < rival:
            break
        pays = batch
    return pays
