"""Warnings of runs that are over before what was asked of them comes about."""

from __future__ import annotations

from typing import Any

from ..errors import counted, warn
from ..optimizers import SWA
from ..optimizers.base import chain
from ..schedules import Warmup


def warn_of_short_run(optimizer: Any, schedule: Any, updates: int) -> None:
    """Warn where a run of so many updates ends before its warm-up, or before an average of its optimiser begins."""
    for each in chain(optimizer)[0]:
        if isinstance(each, SWA) and each.start > updates:
            warn(
                f"SWA starts at update {each.start:,}, and this run has {counted(updates, 'update')}, so nothing is "
                f"averaged; start at {max(1, updates * 3 // 4):,}, three quarters of them"
            )
    if isinstance(schedule, Warmup) and schedule.length > max(1, updates):
        warn(
            f"the warm-up is of {int(schedule.length):,} updates, and this run has {counted(updates, 'update')}, so "
            "the learning rate does not come to what was given; say a part of all updates, such as warmup=0.05"
        )
