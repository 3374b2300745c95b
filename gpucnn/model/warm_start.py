"""A warm start: a run that begins with the parameters of another model, and not at random."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..engine.freezing import frozen
from ..errors import SettingError, listed
from ..network import shortened
from . import Model
from .runs import Settings
from .tensors import left_out, of_others, take_matching, units_taken

Start = tuple[Mapping[str, Any], Mapping[str, np.ndarray]]  # a file's description, and its tensors by name


def begin_from(settings: Settings, model: Model, start: Start | None) -> list[str]:
    """Take the parameters of the file that settings.init names, as `preflight.check` reads it.

    -> sentences: which parameters stay as they are drawn, because the file has none of that name and shape or
    init_except leaves them out; whether the last layer is that of other classes, or gives numbers as they are. Raises
    CheckpointError where the file has none at all, SettingError where one that stays as it is drawn is frozen, and
    where the last layer gives standardised numbers and the run takes them as they are.
    """
    if start is None:
        return []
    description, tensors = start
    rest, where = left_out(model, tensors, settings.excepted), shorter(str(settings.init))
    units, as_they_are = units_taken(model, description, rest, where)
    drawn = take_matching(model, rest, str(settings.init), tensors)
    lacking = [*left_out(model, dict.fromkeys(drawn), settings.excepted)]
    left = [name for name in drawn if name not in lacking]
    if still := frozen([name for name in drawn if name in model.parameters], settings.frozen):
        why = "--init-except leaves them out" if {*still} <= {*left} else f"{where} has none of that name and shape"
        raise SettingError(
            f"--freeze {settings.freeze}: {listed(still)} would stay at random, since {why}; leave these to be trained"
        )
    model.units, model.standardize = units
    said = [of_others(model, description, rest, where), as_they_are]
    for names, why in ((lacking, f"not in {where}, or of another shape there"), (left, "left out by --init-except")):
        if names:
            said.append(f"{why}, and newly drawn: {', '.join(shortened(names))}")
    return [*filter(None, said)]


def shorter(path: str) -> str:
    """The path as it is given or relative to the working directory, whichever is shorter."""
    try:
        return min(path, os.path.relpath(path), key=len)
    except ValueError:  # on another drive of Windows
        return path
