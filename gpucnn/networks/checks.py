"""What the settings of named networks may be, and the sentence for what they may not."""

from __future__ import annotations

import math
from typing import Any

from ..errors import SettingError, counted


def whole(network: str, what: str, value: Any, *, least: int = 1) -> None:
    """Raises SettingError for what is no whole number of at least that."""
    if not _is_whole(value, least):
        raise SettingError(f"{network}: {what}={value!r}: a whole number of at least {least} was expected")


def wholes(network: str, what: str, values: Any, count: int, usual: tuple[int, ...]) -> None:
    """Raises SettingError for what are not so many whole numbers of at least 1. usual: those that the network has."""
    are = isinstance(values, (tuple, list)) and len(values) == count and all(_is_whole(k, 1) for k in values)
    if not are:
        raise SettingError(
            f"{network}: {what}={values!r}: {counted(count, 'whole number')} of at least 1 were expected, such as "
            f"{what}={','.join(map(str, usual))}"
        )


def factor(network: str, what: str, value: Any) -> None:
    """Raises SettingError for what is no number above 0."""
    is_number = hasattr(value, "__float__") and not isinstance(value, (bool, str))
    if not (is_number and 0 < float(value) < math.inf):
        raise SettingError(f"{network}: {what}={value!r}: a number above 0 was expected")


def _is_whole(value: Any, least: int) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and value >= least
