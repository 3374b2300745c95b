"""When to do again what costs time: often enough to lose little, seldom enough to cost below 1 % of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """Something is due when RATIO times what it cost the last time, and at least `least` seconds, have gone by.

    guess: what it costs, in seconds, before it was done once. count, seconds: how often it was done, and all it cost.
    """

    RATIO = 100.0

    def __init__(self, least: float = 0.0, guess: float = 0.0) -> None:
        self.least, self.cost, self.count, self.seconds = least, guess, 0, 0.0
        self._last = time.perf_counter()

    def is_due(self, least: float | None = None) -> bool:
        """least: another least time."""
        wanted = max(self.least if least is None else least, self.RATIO * self.cost)
        return time.perf_counter() - self._last >= wanted

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around the work itself. Where that raises, it is not counted, and tried again after as long."""
        started = time.perf_counter()
        try:
            yield
            self.count += 1
            self.seconds += time.perf_counter() - started
        finally:
            self._last = time.perf_counter()
            self.cost = self._last - started
