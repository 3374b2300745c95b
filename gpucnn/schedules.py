"""Schedules: what the base learning rate is multiplied by, as a function of the step (from 0) and all steps' number."""

from __future__ import annotations

import math
from collections.abc import Callable

from .errors import SettingError

Schedule = Callable[[int, int], float]


def constant(step: int, steps: int) -> float:
    """1, always."""
    return 1.0


def step(step: int, steps: int) -> float:
    """1, then 1/10 from half of the steps on, then 1/100 for the last quarter."""
    return 0.1 ** ((step >= steps / 2) + (step >= 3 * steps / 4))


def cosine(step: int, steps: int) -> float:
    """(1 + cos(pi step / steps)) / 2: from 1 down to nearly 0. Loshchilov and Hutter, 2017."""
    return (1 + math.cos(math.pi * step / max(1, steps))) / 2


def one_cycle(step: int, steps: int, *, warm: float = 0.25, start: float = 1 / 25, end: float = 1e-4) -> float:
    """Up from `start` to 1 over the first `warm` part of the steps, down to start * end over the rest, both as cosines.

    Smith and Topin, 2018.
    """
    peak = max(1.0, warm * steps - 1)
    if step <= peak:
        return _between(start, 1, step / peak)
    return _between(1, start * end, min(1.0, (step - peak) / max(1.0, steps - 1 - peak)))


def _between(a: float, b: float, part: float) -> float:
    """a at part 0, b at part 1, half a cosine wave between."""
    return b + (a - b) * (1 + math.cos(math.pi * part)) / 2


SCHEDULES: dict[str, Schedule] = {"constant": constant, "step": step, "cosine": cosine, "one-cycle": one_cycle}


def schedule(name: str) -> Schedule:
    """The schedule whose name this is. Raises SettingError with the names there are."""
    if name not in SCHEDULES:
        raise SettingError(f"schedule {name!r} is not known; choose one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name]
