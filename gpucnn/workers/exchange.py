"""Sums that the workers of one step exchange while they work, in the order of the workers: the same bits for all."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

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


class Member(Protocol):
    """One worker's place among those of a step."""

    def total(self, partial: Array) -> Array:
        """The sum of what all of them bring, after all have come. Raises Left when one of them has failed."""


def total(partial: Array) -> Array:
    """The sum of what the workers of this step bring; partial itself where one works alone. Read-only."""
    member: Member | None = getattr(_here, "member", None)
    return read_only(partial if member is None else member.total(partial))


@contextmanager
def joined(member: Member | None) -> Iterator[None]:
    """Inside, in this thread, `total` is this member's."""
    before, _here.member = getattr(_here, "member", None), member
    try:
        yield
    finally:
        _here.member = before


def added(partials: Sequence[Array]) -> Array:
    return functools.reduce(lambda a, b: a + b, partials)


class Threads:
    """The place where threads of one process meet."""

    def __init__(self, count: int) -> None:
        self._changed, self._partials = threading.Condition(), [None] * count
        self._come, self._sums, self._left = 0, 0, False
        self._sum: Array = None

    def total(self, w: int, partial: Array) -> Array:
        with self._changed:
            self._partials[w], number = partial, self._sums
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
        """One of them has ended: the others wait for it no longer."""
        with self._changed:
            self._left = True
            self._changed.notify_all()


class ThreadMember:
    """The place of one of them. w: its number."""

    def __init__(self, place: Threads, w: int) -> None:
        self.place, self.w = place, w

    def total(self, partial: Array) -> Array:
        return self.place.total(self.w, partial)


def reason(errors: Sequence[BaseException | None]) -> BaseException:
    """Of what the workers of a step raised, the first that is a cause; some of them raised Left, or all."""
    causes = [error for error in errors if error is not None and not isinstance(error, Left)]
    return causes[0] if causes else TrainingError(UNEVEN)
