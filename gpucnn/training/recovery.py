"""The last good state of a run, and the way from there to the update that made a number not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..namespace import array_namespace
from .pace import Pace
from .run import NotFinite, Run
from .signals import unbroken
from .types import Position

Array = Any

LEAST = 1.0  # seconds between two copies: so much is computed again to find the culprit


class LastGood:
    """A copy, now and then, of all that updates change."""

    def __init__(self, run: Run) -> None:
        self.run, self.pace = run, Pace(LEAST)
        vectors = run.step.vectors
        self._copies = {name: array_namespace(vector).asarray(vector, copy=True) for name, vector in vectors.items()}
        self._keep(run.standing)

    def keep(self) -> None:
        """Copy the present state, if that is due and it is good. Raises NotFinite where it is not."""
        if not self.pace.is_due():
            return
        with self.pace.timed():
            position = self.run.position
            unbroken(lambda: self._copy(position))

    def _copy(self, position: Position) -> None:
        for name, vector in self.run.step.vectors.items():
            self._copies[name][...] = vector
        self._keep(position)

    def _keep(self, position: Position) -> None:
        self._position = position
        self.run.callbacks.keep(position, is_oldest=True)

    def restore(self) -> None:
        """Go back to the copy."""
        unbroken(self._go_back)

    def _go_back(self) -> None:
        for name, vector in self.run.step.vectors.items():
            vector[...] = self._copies[name]
        self.run.go_to(self._position)

    def culprit(self, explain: Callable[[Array, int], str]) -> tuple[str, bool]:
        """What first went wrong since the copy, as a clause, "" where that cannot be told; whether an update is behind.

        The updates since the copy are computed again, one by one. The run then stands before the one that made a number
        not finite or, if they are all good this time, at the copy. explain: what of the next update is not finite, from
        the indices of its examples and its number; "" where its gradient is.
        """
        run, end = self.run, (self.run.number, self.run.done)
        self.restore()
        if not run.source.can_go_back:
            return "", run.step.steps > 0
        good = 0
        while (run.number, run.done) < end:
            if not self._next_is_good():
                break
            good += 1
        else:
            self.restore()
            return "", good > 0 or run.step.steps > 0
        self.restore()
        for _ in range(good):
            self._next_is_good()
        self._begin()
        what = explain(run.source.take(run.done).indices, run.step.steps + 1)
        said = what or "the gradient is finite, and the update is not"
        return f" (it began in batch {run.done + 1} of epoch {run.number}: {said})", run.step.steps > 0 or not what

    def _next_is_good(self) -> bool:
        self._begin()
        self.run.advance()
        try:
            self.run.fetch()
            self.run.check()
        except NotFinite:
            return False
        return True

    def _begin(self) -> None:
        """The next epoch, where one is over."""
        if self.run.is_over:
            self.run.begin(self.run.number + 1)
