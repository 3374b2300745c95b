"""A warm-up of the learning rate that a run does not come to the end of."""

from __future__ import annotations

from typing import Any

from ..errors import counted, warn
from ..schedules import Warmup


def told_of_warmup(schedule: Any, updates: int) -> None:
    """Warn where a run of so many updates is over before its warm-up is."""
    if isinstance(schedule, Warmup) and schedule.length > max(1, updates):
        warn(
            f"the warm-up is of {int(schedule.length):,} updates, and this run has {counted(updates, 'update')}, so "
            "the learning rate does not come to what was given; say a part of all updates, such as warmup=0.05"
        )
