"""Sums that the workers of one step exchange while they work, in the order of the workers: the same bits for all."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..errors import TrainingError
from ..namespace import read_only

Array = Any

UNEVEN = (
    "the parts of a batch asked for different numbers of sums, so a layer cannot be computed in parts; it must call "
    "context.total equally often whatever its numbers are"
)

_here = threading.local()


class Left(Exception):
    """Another worker of the step has ended before this sum; its own error says why."""


def total(own: Array) -> Array:
    """The sum of what the workers of this step bring, this one `own`; own itself where one works alone. Read-only.

    Raises Left when one of them has failed.
    """
    found: Callable[[Array], Array] | None = getattr(_here, "total", None)
    return read_only(own if found is None else found(own))


def is_joined() -> bool:
    """Whether this thread is among the workers of a step."""
    return getattr(_here, "total", None) is not None


@contextmanager
def joined(summed: Callable[[Array], Array] | None) -> Iterator[None]:
    """Inside, in this thread, `total` is `summed`: what one worker brings -> the sum, after all have come."""
    before, _here.total = getattr(_here, "total", None), summed
    try:
        yield
    finally:
        _here.total = before


def added(partials: Sequence[Array]) -> Array:
    """Their sum, from the first to the last."""
    return functools.reduce(lambda a, b: a + b, partials)


class Threads:
    """Adds up what `count` threads of one process bring, once all have come."""

    def __init__(self, count: int) -> None:
        self._changed, self._partials = threading.Condition(), [None] * count
        self._come, self._sums, self._left = 0, 0, False
        self._sum: Array = None

    def total(self, w: int, own: Array) -> Array:
        """The sum; the thread with number w brings own."""
        with self._changed:
            self._partials[w], number = own, self._sums
            self._come += 1
            if self._come == len(self._partials):
                self._sum, self._come, self._sums = added(self._partials), 0, number + 1
                self._changed.notify_all()
            else:
                self._changed.wait_for(lambda: self._sums > number or self._left)
            if self._sums == number:
                raise Left
            return self._sum

    def leave(self) -> None:
        """Say that one of them has ended, so that the others no longer wait for it."""
        with self._changed:
            self._left = True
            self._changed.notify_all()


class _Unknown(Left):
    """A part asks for a sum that is not there yet."""


def one_by_one(task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """[task(*a) for a in arguments] in this thread, where these exchange sums as if they ran side by side.

    A part stops at the first sum that is not known, and is begun anew when all have brought theirs: with n sums, each
    part is begun n + 1 times. The task must not change what it reads. Raises TrainingError where the parts ask for
    different numbers of sums.
    """
    sums: list[Array] = []
    while True:
        partials: list[Array] = []
        done = []
        for own in arguments:
            with contextlib.suppress(_Unknown), joined(partial(_known, iter(sums), partials)):
                done.append(task(*own))
        if not partials:
            return done
        if done:
            raise TrainingError(UNEVEN)
        sums.append(added(partials))


def _known(sums: Iterator[Array], partials: list[Array], own: Array) -> Array:
    """The next of the sums; where there is none, own is added to the partials."""
    for found in sums:
        return found
    partials.append(own)
    raise _Unknown


def reason(errors: Sequence[BaseException | None]) -> BaseException:
    """The error to raise for a step: the first that is not Left, which only says that another worker failed."""
    causes = [error for error in errors if error is not None and not isinstance(error, Left)]
    return causes[0] if causes else TrainingError(UNEVEN)
