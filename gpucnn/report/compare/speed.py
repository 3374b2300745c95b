"""What `gpucnn compare` times: the first step, the way of a batch to the device, and a training step, by batch size."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
        """For JSON."""
        names = {"first": "first_step_seconds", "transfer": "transfer_seconds", "compute": "compute_seconds"}
        rates = {"images_per_second": self.resident, "images_per_second_with_transfer": self.transferred}
        return {names.get(name, name): value for name, value in asdict(self).items()} | rates


class _Timed:
    """Steps of one batch size on one runner, timed by the device: events on CUDA, a clock on the CPU."""

    def __init__(self, runner: Runner, recipe: Recipe, batch: int, budget: float) -> None:
        self.runner, self.recipe, self.batch, self.budget = runner, recipe, batch, budget
        self.computes: list[float] = []
        self.transfers: list[float] = []
        self.fits = True
        self.attempt(self._prepare)

    def attempt(self, work: Callable[[], None]) -> None:
        """Do the work on the device, unless its memory was too small before; or find out that it is."""
        try:
            if self.fits:
                with self.runner.device.activate():
                    work()
        except self.runner.device.out_of_memory_errors():
            self.fits = False

    def _prepare(self) -> None:
        runner, indices = self.runner, np.random.default_rng(0).integers(0, self.runner.labels.shape[0], self.batch)
        self.host = np.zeros((self.batch, *runner.images.shape[1:]), runner.pixels), np.zeros(self.batch, np.int64)
        self.step, self.indices = runner.step(self.recipe.optimizer, self.batch), runner.batch(indices)
        self.first = self._steps(1)
        if runner.execution.is_recorded:
            self._steps(WARM)  # the next step records the graph
        self.repeats = max(1, min(MOST, int(self.budget / max(self._steps(1), 1e-9))))
        self._transfer()

    def block(self) -> None:
        if not self.computes or self.computes[0] <= SLOW:
            self.computes.append(self._steps(self.repeats) / self.repeats)
            self.transfers.append(self._transfer())

    def _steps(self, count: int) -> float:
        with self.runner.device.timer() as timer:
            for _ in range(count):
                self.step(self.runner.images, self.runner.labels, self.indices, self.recipe.lr)
        return timer.seconds

    def _transfer(self) -> float:
        if self.runner.device.kind == "cpu":
            return 0.0
        with self.runner.device.timer() as timer:
            kept = [self.runner.put(array) for array in self.host]
        del kept
        return timer.seconds

    def speed(self) -> Speed:
        figures = (self.first, *map(statistics.median, (self.transfers, self.computes))) if self.fits else ()
        return Speed(self.runner.backend.name, self.batch, *figures)


def speeds(
    problem: Problem, backends: Sequence[Backend], recipe: Recipe, batches: Sequence[int], rounds: int, budget: float
) -> list[Speed]:
    """Each batch size on each backend that is timed. In a round each has one block of about `budget` seconds, in turn.

    Figures are medians over rounds; steps of over a second have one only. Parameters go on moving from step to step,
    which does not change the work.
    """
    runners = [Runner(problem, backend, "float32") for backend in backends if backend.timed]
    found = []
    for batch in batches:
        timed = [_Timed(runner, recipe, batch, budget) for runner in runners]
        for _ in range(rounds):
            for each in timed:
                each.attempt(each.block)
        found += [each.speed() for each in timed]
    return found


def break_even(rows: Sequence[Speed], base: str, other: str, *, transferred: bool = False) -> int | None:
    """The least batch size from which on `other` does at least as many images per second as base; None if none.

    transferred: whether each batch is sent to the device first.
    """
    way = "transferred" if transferred else "resident"
    rates = {(each.device, each.batch): getattr(each, way) for each in rows}
    pays = None
    for batch in sorted((batch for device, batch in rates if device == other), reverse=True):
        rate, rival = rates[other, batch], rates.get((base, batch))
        if rate is None or rival is None:
            continue
        if rate < rival:
            break
        pays = batch
    return pays
