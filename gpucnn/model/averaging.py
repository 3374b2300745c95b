"""The average of theta that an optimiser may keep (`EMA`, `SWA`): where it takes theta's place.

Training moves theta itself, and its saved states hold that. The average stands for it in what is measured while
training goes on, and in the model when `fit` and `partial_fit` are over; then theta as training left it is where the
average was, so that `partial_fit` goes on from it. Whoever measures or keeps parameters between two updates does so
inside `averaged`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..namespace import array_namespace
from ..training.signals import unbroken


@contextmanager
def averaged(step: Any) -> Iterator[None]:
    """Inside, the parameters of a step are their average, where its optimiser keeps one."""
    done: set[str] = set()
    try:
        exchange(step, done)
        yield
    finally:
        if done:  # Ctrl-C may have come before
            exchange(step)


def exchange(step: Any, done: set[str] | None = None) -> bool:
    """Let theta and its average change places, bit for bit; whether there is an average.

    done: gets an entry when they have, also where Ctrl-C is raised then.
    """
    theta, average = step.theta, step.average
    if average is None:
        return False
    before: list[tuple[Any, Any]] = []

    def write() -> None:
        if not before:
            copied = array_namespace(theta).asarray
            before.append((copied(theta, copy=True), copied(average, copy=True)))
        average[...], theta[...] = before[0]
        if done is not None:
            done.add("exchanged")

    unbroken(write)
    return True
