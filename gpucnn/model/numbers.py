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


def units_of(model: Any, labels: Any, weights: Any = None, *, is_part: bool = False) -> Units | None:
    """The units in which a model is to learn such numbers: its own, if it has some, or those of these; None where it
    takes them as they are, and for what is no row of finite numbers for each example, which is refused elsewhere.

    weights: by which examples count; they are left aside where they are none or all 0, which is refused elsewhere, too.
    is_part: see `Units.far`. Warns of numbers that are far from the model's own. Raises DataError.
    """
    if model.units is None and not standardizes(model):
        return None
    rows, outputs = as_array(in_order(labels, model.class_names), "labels"), len(model.class_names)
    rows = rows[:, None] if rows.ndim == 1 else rows
    are_numbers = rows.dtype.kind in "iuf" and rows.ndim == 2 and rows.shape[1] == outputs
    if not are_numbers or not rows.size or not np.isfinite(rows).all():
        return model.units
    counts = None if weights is None else _counting(weights, len(rows))
    if model.units is None:
        return Units.of(rows, counts)
    if (far := model.units.far(rows, counts, is_part=is_part)) is not None:
        mean, deviation = (each[far.output] for each in (model.units.mean, model.units.deviation))
        warn(
            f"the numbers of {model.class_names[far.output]} have the mean {far.mean:.4g} and the deviation "
            f"{far.deviation:.4g}, and the model goes on in the units of those that it learnt first, {mean:.4g} and "
            f"{deviation:.4g}: where these are others, begin with a new model, whose parameters may be those of this "
            "one but for the last layer"
        )
    return model.units



def _counting(weights: Any, examples: int) -> np.ndarray | None:
    """The weights (N,), given so or as a column; None where they are no numbers of at least 0, or all are 0."""
    given = as_array(weights, "sample_weight")
    given = given[:, 0] if given.shape == (examples, 1) else given
    right = given.shape == (examples,) and given.dtype.kind in "iuf" and np.isfinite(given).all()
    return given.astype(np.float64) if right and given.min() >= 0 and given.any() else None


def of_stream(model: Any, meaning: Meaning, held: Any, units: Units | None) -> tuple[Meaning, Any]:
    """The meaning, and the examples held out or None, when a stream's first batch has told the units of both."""
    meaning = meaning._replace(units=units, is_wide=False)
    if units is None or held is None:
        return meaning, held
    return meaning, (held[0], units.standardised(held[1]).astype(model.theta.dtype))


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
