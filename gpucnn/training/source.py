"""Where a run takes its batches from: a data set in an order of each epoch's own, or batches that come one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..device import Device
from ..errors import DataError, SettingError, counted
from ..names import is_function

Array = Any
Arrays = tuple[Array, Array, Array | None]  # images, labels, weights


class Batch(NamedTuple):
    """The examples `indices` of images, labels and weights (or None), as a step takes them."""

    images: Array
    labels: Array
    weights: Array | None
    indices: Array


class Shuffled:
    """Images (N, H, W, C), labels and weights or None, on the device, or on the host where the step takes them there.

    rng: draws the order of each epoch's batches. examples, batches: of an epoch.
    """

    can_go_back = True

    def __init__(self, data: Arrays, batch_size: int, device: Device, rng: np.random.Generator) -> None:
        self.data, self.size, self.device, self.rng = data, batch_size, device, rng
        self.examples: int = data[0].shape[0]
        self.batches = math.ceil(self.examples / batch_size)

    def begin(self, epoch: int, order: dict[str, Any] | None = None) -> None:
        """Draw the order of an epoch. order: the state of rng before it drew the order that is to come again."""
        if order is not None:
            self.rng.bit_generator.state = order
        self._drawn_from = self.rng.bit_generator.state
        self._order = self.rng.permutation(self.examples)
        if type(self.data[0]) is not np.ndarray:  # the order lies where the examples do
            self._order = self.device.put(self._order)

    def skip(self, done: int) -> None:
        """Go to the batch behind `done` others: here each has its number."""

    @property
    def order(self) -> dict[str, Any]:
        """What `begin` needs for this epoch to come again."""
        return dict(self._drawn_from)

    def is_over(self, done: int) -> bool:
        return done >= self.batches

    def is_cut_short(self, done: int) -> bool:
        """Whether the epoch has ended before its last batch."""
        return False

    def seen(self, done: int) -> int:
        """How many examples the first `done` batches have."""
        return min(done * self.size, self.examples)

    def several(self, done: int, count: int) -> Batch | None:
        """So many whole batches behind `done` others, as one; None where the epoch has not as many."""
        first, stop = done * self.size, (done + count) * self.size
        return Batch(*self.data, self._order[first:stop]) if stop <= self.examples else None

    def take(self, done: int) -> Batch:
        return Batch(*self.data, self._order[done * self.size : (done + 1) * self.size])


class Stream:
    """Batches (images, labels) or (images, labels, weights), as an iterable that is gone through once per epoch, a
    function of the epoch's number that gives one, or an iterator, which goes on through the epochs.

    steps: how many make an epoch; None: all there are. check: brings a batch into the form that a step takes, or
    raises; what the first one tells of all it leaves as told. examples and batches are of an epoch, 0 where nobody
    knows. Only a function's batches can come again.
    """

    can_go_back = False
    order = None
    examples = 0
    told: Any = None

    def __init__(self, batches: Any, steps: int | None, check: Callable[[Any], Arrays]) -> None:
        self.given, self.steps, self.check = batches, steps, check
        self.by_epoch = is_function(batches) and not isinstance(batches, Iterable)
        if not self.by_epoch and not isinstance(batches, Iterable):
            raise SettingError(
                f"batches={batches!r}: an iterable of (images, labels), or a function of the epoch, was expected"
            )
        self.is_iterator = isinstance(batches, Iterator)
        self.batches: int = steps or getattr(batches, "__len__", int)()
        self._epoch, self._taken, self._examples, self._skipped = 0, 0, 0, 0
        self._there: Iterator[Any] | None = iter(batches) if self.is_iterator else None
        self._next: Batch | None = None
        self._first: Batch | None = None  # of this call: the largest

    def begin(self, epoch: int, order: dict[str, Any] | None = None) -> None:
        """Go to the beginning of an epoch; an iterator stays where it is."""
        if (epoch, 0) != (self._epoch, self._taken):
            self._epoch, self._taken, self._examples = epoch, 0, 0
            if not self.is_iterator:
                self._there, self._next = None, None
        self._skipped = 0

    def skip(self, done: int) -> None:
        """Go to the batch behind `done` others, when it is asked for."""
        self._skipped = 0 if self.is_iterator else done

    def is_over(self, done: int) -> bool:
        return done == self.steps or self._ahead() is None

    def is_cut_short(self, done: int) -> bool:
        """Whether an iterator has ended in the epoch, before its last batch."""
        return self.is_iterator and done < (self.steps or 0) and self.is_over(done)

    def seen(self, done: int) -> int:
        """How many examples the first `done` batches have."""
        self._catch_up()
        return self._examples

    def take(self, done: int) -> Batch:
        batch = self._ahead()
        if batch is None:
            raise DataError(f"epoch {self._epoch} has no batch {done + 1}")
        return self._counted(batch)

    @property
    def first(self) -> Batch:
        """The first batch of the epoch in which the run begins, or goes on."""
        self._read()
        if self._first is None:
            raise DataError("there are no batches; give at least one")
        return self._first

    def _ahead(self) -> Batch | None:
        """The next batch of the epoch, or None where it is over."""
        self._catch_up()
        return self._read()

    def _catch_up(self) -> None:
        while self._taken < self._skipped and (batch := self._read()) is not None:
            self._counted(batch)

    def _counted(self, batch: Batch) -> Batch:
        self._next = None
        self._taken, self._examples = self._taken + 1, self._examples + len(batch.indices)
        return batch

    def _read(self) -> Batch | None:
        if self._next is None:
            if self._there is None:
                self._there = iter(self.given(self._epoch) if self.by_epoch else self.given)
            found = next(self._there, None)
            if found is None:
                self._check_length()
                return None
            arrays = self.check(found)
            self._next = Batch(*arrays, np.arange(len(arrays[0])))
            self._first = self._first or self._next
            self._compare(self._next, self._first)
        return self._next

    def _check_length(self) -> None:
        """Raises DataError where an epoch is shorter than was said; an iterator may end anywhere."""
        if not self.is_iterator and self._taken < (self.steps or 1):
            wanted = "" if self.steps is None else f", and steps={self.steps} were announced"
            raise DataError(
                f"epoch {self._epoch} has {counted(self._taken, 'batch', 'batches')}{wanted}; give at least one in "
                "each epoch, and as many as were announced"
            )

    def _compare(self, batch: Batch, first: Batch) -> None:
        """Raises DataError for a batch that has no room where the first one lay."""
        kinds = [[None if each is None else each.dtype for each in one[:3]] for one in (batch, first)]
        if kinds[0] != kinds[1] or len(batch.indices) > len(first.indices):
            told = [f"{len(one.indices)} of {', '.join(map(str, kind))}" for one, kind in zip((batch, first), kinds)]
            raise DataError(
                f"epoch {self._epoch}, batch {self._taken + 1}: {told[0]}, after a first batch of {told[1]}; none may "
                "be larger than the first or of another type"
            )


Source = Shuffled | Stream
