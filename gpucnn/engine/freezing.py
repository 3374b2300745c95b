"""Which parameters are trained, where some are frozen; and which are meant by patterns of their names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from ..errors import SettingError
from ..network.layout import Layout

HEAD = "head"  # the word for the parameters of the last layer that has some


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
    _check(names, patterns, "freeze")
    still = set(frozen(names, patterns))
    moved = [slot for slot in layout.slots if slot.name not in still]
    part = layout.part({slot.place.start for slot in moved if slot.place.stop > slot.place.start})
    if not part.slots:
        raise SettingError(f"freeze={', '.join(patterns)!r} leaves no parameter to train; freeze fewer")
    return part


def head(layout: Layout) -> str:
    """The pattern of the parameters of the last layer that has some, such as "9/*"."""
    return "".join(f"{slot.name.rpartition('/')[0]}/*" for slot in layout.slots[-1:])


def excepted(layout: Layout, without: Iterable[str]) -> tuple[str, ...]:
    """The patterns, with that of the last layer where one is "head". Raises SettingError for one that fits no name."""
    patterns = tuple(head(layout) if each == HEAD else each for each in without)
    _check([slot.name for slot in layout.slots], patterns, "left out")
    return patterns


def _check(names: list[str], patterns: Iterable[str], what: str) -> None:
    """Raises SettingError for a pattern that fits no name."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, 3, 0.0)
            there = ", ".join([*near, *["..."] * (len(names) > len(near))])
            raise SettingError(f"{what}: no parameter's name fits {pattern!r}; there are {there}")
