"""The units of numbers that a model predicts: of its first targets, and of the file whose last layer it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..engine.units import Units
from ..errors import CheckpointError, SettingError, warn
from ..losses import LOSSES
from . import config
from .frames import in_order
from .labels import Meaning, as_array

KEY, UNDECIDED = "units", "standardize"  # entries of a file's description: the units, or that the next training decides


def standardizes(model: Any) -> bool:
    """Whether the model learns numbers standardised."""
    return model.standardize and getattr(model.loss, "standardizes", False)


def units_of(model: Any, labels: Any, weights: np.ndarray | None = None) -> Units | None:
    """The units in which a model is to learn such numbers: its own, if it has some, or those of these; None where it
    takes them as they are, and for what is no row of finite numbers for each example, which is refused elsewhere.

    weights: (N,) by which examples count. Warns of numbers that are far from the model's own. Raises DataError.
    """
    if model.units is None and not standardizes(model):
        return None
    rows, outputs = as_array(in_order(labels, model.class_names), "labels"), len(model.class_names)
    rows = rows[:, None] if rows.ndim == 1 else rows
    are_numbers = rows.dtype.kind in "iuf" and rows.ndim == 2 and rows.shape[1] == outputs
    if not are_numbers or not rows.size or not np.isfinite(rows).all() or not (weights is None or weights.any()):
        return model.units
    found = Units.of(rows, weights)
    if model.units is None:
        return found
    if (k := model.units.far(found)) is not None:
        (m, d), (own_m, own_d) = ((each.mean[k], each.deviation[k]) for each in (found, model.units))
        warn(
            f"the numbers of {model.class_names[k]} have the mean {m:.4g} and the deviation {d:.4g}, and the model "
            f"goes on in the units of those that it learnt first, {own_m:.4g} and {own_d:.4g}: where these are others, "
            "begin with a new model, whose parameters may be those of this one but for the last layer"
        )
    return model.units


def of_stream(model: Any, meaning: Meaning, held: Any) -> tuple[Meaning, Any]:
    """The meaning, and the examples held out or None, when a stream's first batch has told the units of both."""
    if model.units is None:
        return meaning, held
    meaning = meaning._replace(units=model.units)
    return meaning, None if held is None else (held[0], model.units.standardised(held[1]).astype(held[1].dtype))


def described(model: Any) -> dict[str, Any]:
    """What a model's file says of its units, for JSON."""
    if model.units is not None:
        return {KEY: model.units.described()}
    return {UNDECIDED: True} if standardizes(model) else {}


def told(model: Any) -> str:
    """How the model learns numbers, as a run's file of settings has it."""
    return config.STANDARDISED if model.units is not None or standardizes(model) else config.AS_THEY_ARE



def take(model: Any, description: Mapping[str, Any]) -> None:
    """Let the model's numbers be in the units of a file's, or as they are where it has none. Raises CheckpointError."""
    found = description.get(KEY)
    try:
        units = None if found is None else Units(tuple(found["mean"]), tuple(found["deviation"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"the units of its numbers cannot be read ({error}); train it again") from None
    if units is not None and len(units.mean) != len(model.class_names):
        raise CheckpointError("it has not as many units as outputs; train it again")
    model.units, model.standardize = units, units is not None or description.get(UNDECIDED) is True


@contextmanager
def of_state(model: Any, description: Mapping[str, Any] | None) -> Iterator[None]:
    """Around going on from a run's saved state, or None: the model's numbers are in its units, unless that is refused.

    Raises SettingError where they are not to be, whatever else is another.
    """
    before = model.units, model.standardize
    try:
        if description is not None:
            take(model, description)
        if model.units is not None and not before[1]:
            raise SettingError(
                "standardize=False: the run that is saved there learns its numbers standardised, which cannot be "
                "changed on the way; leave it out, or begin a run in another folder"
            )
        yield
    except BaseException:
        model.units, model.standardize = before
        raise


def are_numbers(description: Mapping[str, Any]) -> bool:
    """Whether a file is of a model of numbers that has decided on their units, of which it may have none."""
    loss = description.get("loss")
    name = loss.get("type") if isinstance(loss, Mapping) else loss
    return UNDECIDED not in description and getattr(LOSSES.get(str(name)), "numbers", False)
