"""Which parameters are trained, where some are frozen."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from ..errors import SettingError
from ..network.layout import Layout


def frozen(names: Iterable[str], freeze: Iterable[str]) -> list[str]:
    """Those of the names that fit a pattern."""
    patterns = tuple(freeze)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def thawed(layout: Layout, freeze: Iterable[str]) -> Layout | None:
    """The parameters whose names fit none of the patterns; None where there are no patterns: all are trained.

    Raises SettingError for a pattern that fits no name, and where nothing is left.
    """
    patterns, names = tuple(freeze), [slot.name for slot in layout.slots]
    if not patterns:
        return None
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, 3, 0.0)
            raise SettingError(f"freeze: no parameter's name fits {pattern!r}; there are {', '.join(near)}, ...")
    still = set(frozen(names, patterns))
    moved = [slot for slot in layout.slots if slot.name not in still]
    part = layout.part({slot.place.start for slot in moved if slot.place.stop > slot.place.start})
    if not part.slots:
        raise SettingError(f"freeze={', '.join(patterns)!r} leaves no parameter to train; freeze fewer")
    return part
