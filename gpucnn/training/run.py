"""The updates of a run, one by one, from any place in it: a run can go on, or go back to its last good state."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import schedules
from ..device import Device
from ..errors import SettingError
from ..namespace import array_namespace
from .callback_list import CallbackList
from .source import Shuffled, Source
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

    def __init__(self, step: Step, source: Source, plan: Plan, device: Device, callbacks: CallbackList) -> None:
        self.step, self.source, self.plan, self.device, self.callbacks = step, source, plan, device, callbacks
        self._may_wait = callbacks.may_wait and is_known(plan.schedule)
        self.latest: float | None = None
        self._pending: list[tuple[Array, int]] = []  # sums of losses, () or (updates,), and of how many examples each
        self._waiting = 0  # updates whose losses they are
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
            self._drop()
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
            before = self.done
            if not self._advance_far():
                self.advance()
            if self._waiting >= self._every or self.is_over:
                self.fetch()
            for done in range(before + 1, self.done + 1):
                here = (self.number, done), self.source.seen(done), self.source.examples
                why = why or self.callbacks.batch(*here, self.latest)
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
            self._add(array_namespace(losses).sum(losses), indices.shape[0], 1)

    def _advance_far(self) -> bool:
        """The updates by the next batches all at once, where the step can do that and nobody looks between them; -> it
        was done. It begins at places that depend on the place in the epoch alone."""
        step: Any = self.step
        together = getattr(step, "together", None)
        if together is None or not self._may_wait or not isinstance(self.source, Shuffled):
            return False
        images, labels, weights, indices = self.source.take(self.done)
        examples = indices.shape[0]
        count = together(images, labels, weights, examples)
        batches = None if count == 1 or self.done % count else self.source.several(self.done, count)
        if batches is None:
            return False
        lrs = [self.plan.lr * self._factor(k) for k in range(count)]
        with self._whole():
            self._add(step.ten(images, labels, batches.indices, lrs, weights), examples, count)
            self.lr = lrs[-1]
        return True

    def _add(self, sums: Array, examples: int, count: int) -> None:
        """Losses of so many updates by so many examples each."""
        self._pending.append((sums, examples))
        self._waiting += count
        self.done += count

    def _drop(self) -> None:
        self._pending.clear()
        self._waiting = 0

    def fetch(self) -> None:
        """The losses that are still on the device, all in one array, for which the device waits. Raises NotFinite."""
        if not self._pending:
            return
        first = self.done - self._waiting + 1
        if self._waiting == 1:
            values, sizes = [float(self._pending[0][0])], [self._pending[0][1]]
        else:
            xp = array_namespace(self._pending[0][0])
            sums = [xp.reshape(each, (-1,)) for each, _ in self._pending]
            values = self.device.fetch(xp.concat(sums)).tolist()
            sizes = [examples for each, (_, examples) in zip(sums, self._pending) for _ in range(each.shape[0])]
        with self._whole():
            for k, (value, examples) in enumerate(zip(values, sizes), first):
                self.latest = value / examples
                if not -math.inf < self.latest <= DIVERGED:
                    raise NotFinite(f"epoch {self.number}, batch {k}: the loss is {self.latest:g}")
                self.total += value
            self._drop()

    def check(self) -> None:
        """Raises NotFinite where theta is not finite any more."""
        theta, xp = self.step.theta, array_namespace(self.step.theta)
        if not float(xp.maximum(xp.max(theta), -xp.min(theta))) <= DIVERGED:
            raise NotFinite(f"epoch {self.number}: a parameter is no longer finite, or beyond {DIVERGED:g}")

    def _factor(self, later: int = 0) -> float:
        """The schedule's factor on the learning rate for the next step, or a later one. Raises SettingError for what is
        no number of at least 0.

        Steps are counted by epochs: where those before had another number of batches, the schedule still ends with the
        last epoch, and not before it.
        """
        batches = self.source.batches
        step = (self.number - 1) * batches + self.done + later
        steps = (self.plan.total_epochs or self.plan.epochs) * batches
        try:
            factor = self.plan.schedule(step, steps)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise SettingError(f"the schedule, asked for step {step} of {steps}, raises {what}") from error
        if not isinstance(factor, (int, float, np.integer, np.floating)) or not 0 <= factor < math.inf:
            raise SettingError(
                f"the schedule gives {factor!r} for step {step}; a number of at least 0 was expected, the factor on lr"
            )
        return float(factor)


def is_known(schedule: Any) -> bool:
    """Whether it is one of gpucnn's, and all it holds is: then what it gives depends on step and steps alone."""
    if isinstance(schedule, functools.partial):
        return is_known(schedule.func)
    if isinstance(schedule, tuple):
        return all(map(is_known, schedule))
    if dataclasses.is_dataclass(schedule):
        held = [getattr(schedule, field.name) for field in dataclasses.fields(schedule)]
        return type(schedule).__module__ == schedules.__name__ and all(map(is_known, held))
    return not callable(schedule) or getattr(schedule, "__module__", None) == schedules.__name__
