"""What the settings of named networks may be, and the sentence for what they may not."""

from __future__ import annotations

import math
import operator
from typing import Any

from ..errors import SettingError, counted


def whole(network: str, what: str, value: Any, *, least: int = 1) -> None:
    """Raises SettingError for what is no whole number of at least that."""
    if not _is_whole(value, least):
        raise SettingError(f"{network}: {what}={value!r}: a whole number of at least {least} was expected")


def whole_or_none(network: str, what: str, value: Any) -> None:
    """Raises SettingError for what is no whole number of at least 0, and does not say "none" either."""
    says_none = isinstance(value, (type(None), bool, float, str)) and not value
    if not says_none:
        whole(network, what, value, least=0)


def wholes(
    network: str, what: str, values: Any, usual: tuple[int, ...], *, count: int | None = None, least: int = 1
) -> tuple[int, ...]:
    """The whole numbers, of which one may stand alone. Raises SettingError for others, and where all of them are 0.

    usual: those that the network has; count: how many there must be, None for any number; least: of each.
    """
    found = _many(values)
    right = all(_is_whole(each, least) for each in found) and any(found) and count in (None, len(found))
    if not right:
        many = "one or more whole numbers" if count is None else counted(count, "whole number")
        one = ", and one above 0," if least == 0 else ""
        raise SettingError(
            f"{network}: {what}={values!r}: {many} of at least {least}{one} were expected, such as "
            f"{what}={','.join(map(str, usual))}"
        )
    return found


def factor(network: str, what: str, value: Any) -> None:
    """Raises SettingError for what is no number above 0."""
    try:
        right = not isinstance(value, str) and 0 < float(value) < math.inf
    except (TypeError, ValueError, OverflowError):
        right = False
    if not right:
        raise SettingError(f"{network}: {what}={value!r}: a number above 0 was expected")


def _is_whole(value: Any, least: int) -> bool:
    try:
        return operator.index(value) >= least and not isinstance(value, bool)
    except TypeError:
        return False


def _many(values: Any) -> tuple[Any, ...]:
    """What they hold; a number holds itself, and nothing is in what cannot be gone through."""
    if hasattr(values, "__index__") and getattr(values, "ndim", 0) == 0:
        return (values,)
    try:
        return tuple(values)
    except TypeError:
        return ()
