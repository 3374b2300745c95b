"""Timing side by side: rounds in which all candidates run in turn, kept only while the machine gives its CPUs."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

NEEDED = 1.6  # what two threads must gain over one
SPOILT = 3  # times the rounds that are asked for, how many may be discarded at their end
PAUSE = 0.5  # seconds to wait when two threads do not gain enough to begin a round
WAITS = 60  # pauses in a row before giving up
BUDGET = 0.1  # seconds of a candidate's block in a round, where one call takes less
SETTLE = 0.005  # seconds of untimed work at the start of a block: another library's threads may still be spinning
MOST = 200  # calls in a block
LONG = 300.0  # seconds of rounds of `interleave`, after which none begins


class Candidate(NamedTuple):
    """One way to do the work. around: a context for a block of calls.

    wait: where calls only start work on a device, what waits for its end; a block is then timed as a whole. each: how
    many times a call does the work.
    """

    call: Callable[[], Any]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    wait: Callable[[], Any] | None = None
    each: int = 1

    def once(self) -> None:
        """One call, to its end."""
        with self.around():
            self.call()
            if self.wait is not None:
                self.wait()

    def repeats(self, budget: float) -> int:
        """How many calls fill `budget` seconds."""
        with self.around():
            self.call()
            return max(1, min(MOST, int(budget / max(seconds(self.call, self.wait), 1e-9))))

    def block(self, repeats: int) -> float:
        """Seconds of the work, done once: the median on the CPU; on a device the mean, for waiting after each call
        would add."""
        with self.around():
            start = time.perf_counter()
            self.call()
            while time.perf_counter() - start < SETTLE:
                self.call()
            if self.wait is None:
                return statistics.median(_elapsed(self.call) for _ in range(repeats)) / self.each
            self.wait()
            return _elapsed(lambda: [self.call() for _ in range(repeats)], self.wait) / repeats / self.each


@dataclass
class Rounds:
    """What was measured: per kept round a figure of each candidate, and how many rounds were thrown away.

    late: whether fewer rounds were made than were asked for, because they took long.
    """

    figures: list[dict[str, float]] = field(default_factory=list)
    discarded: int = 0
    late: bool = False

    def of(self, name: str) -> list[float]:
        return [figures[name] for figures in self.figures]

    def median(self, name: str) -> float:
        return statistics.median(self.of(name)) if self.figures else math.nan

    def ratios(self, name: str, other: str) -> list[float]:
        """name over other, round by round, where both have a figure."""
        pairs = zip(self.of(name), self.of(other))
        return [one / two for one, two in pairs if math.isfinite(one) and math.isfinite(two)]


def spread(values: list[float], unit: float = 1.0) -> dict[str, float | None] | None:
    """Median and range in multiples of unit; None for what is not finite, or when there are no values."""
    if not values:
        return None
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: value / unit if math.isfinite(value) else None for name, value in found.items()}


def gain(size: int = 500, products: int = 12) -> float:
    """How much faster two threads are than one here and now: a virtual machine's two CPUs are at times only one."""
    matrix = np.ones((size, size), np.float32)

    def work(_: int) -> None:
        for _ in range(products):
            matrix @ matrix

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(2) as pool:
        return _elapsed(lambda: [*map(work, range(2))]) / _elapsed(lambda: [*pool.map(work, range(2))])


def rounds(
    measure: Callable[[int], dict[str, float] | None],
    count: int,
    *,
    threads: int = 1,
    needed: float = NEEDED,
    longest: float = math.inf,
) -> Rounds:
    """measure(0), ..., measure(count - 1), each a figure per candidate, or None where it saw that the round is spoilt.

    With two threads or more, a round counts only if two threads gain `needed` both before and after it; others are
    discarded as a whole and measured again, so all candidates are treated alike. A round that cannot begin counts as
    discarded too. None begins after `longest` seconds.
    """
    found, spoilt, waits, start = Rounds(), 0, 0, time.perf_counter()
    while len(found.figures) < count and spoilt < SPOILT * count and waits < WAITS:
        found.late = time.perf_counter() - start > longest
        if found.late:
            break
        if not _enough(threads, needed):
            waits += 1
            time.sleep(PAUSE)
            continue
        figures = measure(len(found.figures))
        if figures is not None and _enough(threads, needed):
            found.figures.append(figures)
            found.discarded, waits = found.discarded + waits, 0
        else:
            spoilt += 1
    found.discarded += spoilt + waits
    return found


def interleave(
    candidates: Mapping[str, Candidate], count: int, *, threads: int = 1, needed: float = NEEDED, budget: float = BUDGET
) -> Rounds:
    """Seconds that each candidate takes for the work in each round. In a round each has one block of calls, in turn.

    Two threads must gain `needed` between the blocks too; while that is tried, another library's threads go to sleep.
    After five minutes no round begins.
    """
    repeats = {name: each.repeats(budget) for name, each in candidates.items()}

    def measure(_: int) -> dict[str, float] | None:
        found: dict[str, float] = {}
        for name, each in candidates.items():
            if found and not _enough(threads, needed):
                return None
            found[name] = each.block(repeats[name])
        return found

    return rounds(measure, count, threads=threads, needed=needed, longest=LONG)


def seconds(call: Callable[[], Any], wait: Callable[[], Any] | None = None) -> float:
    """The time of one call, after one that is not timed."""
    call()
    if wait is not None:
        wait()
    return _elapsed(call, wait)


def _elapsed(call: Callable[[], Any], wait: Callable[[], Any] | None = None) -> float:
    start = time.perf_counter()
    call()
    if wait is not None:
        wait()
    return time.perf_counter() - start


def _enough(threads: int, needed: float) -> bool:
    """Whether two threads gain what is needed, where there are to be two."""
    return threads < 2 or needed <= 0 or gain() >= needed
