"""The updates of a run, one by one, from any place in it: a run can go on, or go back to its last good state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..device import Device
from ..errors import SettingError
from ..namespace import array_namespace
from .source import Source
from .told import Told
from .types import Plan, Position, Step

Array = Any

DIVERGED = 1e18  # a loss or a parameter above it: the squares that Adam keeps no longer fit float32
NO_MORE = "there are no more batches"
EVERY = 50  # steps on a CUDA device, which a fetch of losses waits for


class NotFinite(Exception):
    """A loss or a parameter is not finite, or beyond DIVERGED."""


class Run:
    """Where a run stands: `done` batches of epoch `number` are behind it.

    Losses stay on the device until a fetch: `total` is the sum of those of this epoch that were fetched, `latest` the
    mean of the last batch.
    """

    def __init__(self, step: Step, source: Source, plan: Plan, device: Device, told: Told) -> None:
        self.step, self.source, self.plan, self.device, self.told = step, source, plan, device, told
        self.latest: float | None = None
        self._pending: list[tuple[Array, int]] = []  # sums of losses, and of how many
        self._every = 1 if device.kind == "cpu" else EVERY
        self._started = time.perf_counter()
        self.is_between = True  # two updates: what they change is whole

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Around what must not be taken for whole where it is cut off."""
        self.is_between = False
        yield
        self.is_between = True

    def begin(self, number: int) -> None:
        """Stand before the first batch of an epoch."""
        with self._whole():
            self._begin(number)

    def _begin(self, number: int, order: dict[str, Any] | None = None) -> None:
        self.number, self.done, self.total, self.lr, self._before = number, 0, 0.0, 0.0, 0.0
        self.source.begin(number, order)
        self._started = time.perf_counter()

    def go_to(self, position: Position) -> None:
        """Stand where a run like this one stood; `step` holds the vectors of that moment already.

        The epoch begins anew where batches or the data set have another size than they had.
        """
        with self._whole():
            self._pending.clear()
            self._begin(position.epoch, position.order)
            self.step.steps = position.steps
            if (position.examples, position.batch_size) == (self.source.examples, self.plan.batch_size):
                self.source.skip(position.batches)
                self.done, self.total, self.lr = position.batches, position.loss, position.lr
                self._before = position.seconds

    @property
    def position(self) -> Position:
        """Where it stands, if all is good: losses that are still on the device are fetched, and theta is looked at.

        Raises NotFinite.
        """
        self.fetch()
        self.check()
        return self.standing

    @property
    def standing(self) -> Position:
        """Where it stands, as far as losses were fetched."""
        sizes = {"examples": self.source.examples, "batch_size": int(self.plan.batch_size)}
        here = self.number, self.done, self.step.steps, self.total, self.seconds, self.lr
        return Position(*here, order=self.source.order, **sizes)

    @property
    def seconds(self) -> float:
        """Since the epoch began."""
        return self._before + time.perf_counter() - self._started

    def epoch(self, between: Callable[[], None]) -> str:
        """The batches that are left of the epoch. between: called before each update. Raises NotFinite.

        -> why the run ends, before the end of the epoch or there, or "": a callback, or an iterator that has ended.
        """
        why = NO_MORE if not self.done and self.is_over else ""
        while not why and not self.is_over:
            between()
            self.advance()
            if len(self._pending) >= self._every or self.is_over:
                self.fetch()
            why = self.told.batch((self.number, self.done), self.seen, self.source.examples, self.latest)
        self.check()
        return why or (NO_MORE if self.source.is_cut_short(self.done) else "")

    @property
    def is_over(self) -> bool:
        """Whether all batches of the epoch are done."""
        return self.source.is_over(self.done)

    @property
    def seen(self) -> int:
        """How many examples of the epoch are done."""
        return self.source.seen(self.done)

    def advance(self) -> None:
        """The update by the next batch."""
        self.lr = self.plan.lr * self._factor()
        images, labels, weights, indices = self.source.take(self.done)
        with self._whole():
            losses = self.step(images, labels, indices, self.lr, weights)
            self._pending.append((array_namespace(losses).sum(losses), indices.shape[0]))
            self.done += 1

    def fetch(self) -> None:
        """The losses that are still on the device, all in one array, for which the device waits. Raises NotFinite."""
        if not self._pending:
            return
        sums, first = [each for each, _ in self._pending], self.done - len(self._pending) + 1
        values = (
            [float(sums[0])] if len(sums) == 1 else self.device.fetch(array_namespace(sums[0]).stack(sums)).tolist()
        )
        with self._whole():
            for k, (value, (_, examples)) in enumerate(zip(values, self._pending), first):
                self.latest = value / examples
                if not self.latest <= DIVERGED:
                    raise NotFinite(f"epoch {self.number}, batch {k}: the loss is {self.latest:g}")
                self.total += value
            self._pending.clear()

    def check(self) -> None:
        """Raises NotFinite where theta is not finite any more."""
        theta, xp = self.step.theta, array_namespace(self.step.theta)
        if not float(xp.max(xp.abs(theta))) <= DIVERGED:
            raise NotFinite(f"epoch {self.number}: a parameter is no longer finite, or beyond {DIVERGED:g}")

    def _factor(self) -> float:
        """The schedule's factor on the learning rate for the next step. Raises SettingError for what is no number."""
        factor = self.plan.schedule(self.step.steps, (self.plan.total_epochs or self.plan.epochs) * self.source.batches)
        if not isinstance(factor, (int, float, np.number)) or not math.isfinite(factor):
            raise SettingError(
                f"the schedule gives {factor!r} for step {self.step.steps}; a number was expected, the factor on lr"
            )
        return float(factor)
