"""The units of numbers that a model predicts: of its first targets, and of the file whose last layer it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..engine.units import Units
from ..errors import CheckpointError, SettingError, in_digits, warn
from ..losses import LOSSES, REGRESSION, kind
from . import config
from .frames import in_order
from .labels import Meaning, as_array

KEY, UNDECIDED = "units", "standardize"  # entries of a file's description: the units, or that the next training decides
OWN = "own:"  # before the class names of a user's own layers and losses, which may be those of gpucnn's
BY_NAMES = (
    "load_parameters: the last layer is given by its name, and not in which units it gives numbers: until the next "
    "training they count as they are, and that standardises them by its own targets. Give the file of the model, or "
    "its model.parameters as it is, which have the units, or set model.units"
)


class Decided(NamedTuple):
    """A model's units, and its standardize."""

    units: Units | None
    standardize: bool


def standardizes(model: Any) -> bool:
    """Whether the model learns numbers standardised."""
    return model.standardize and _may_be_standardised(model.loss)


def _may_be_standardised(loss: Any) -> bool:
    """Whether a loss says so: a class with another `__call__` than the one that it is said of does not inherit that."""
    held = [getattr(each, "__dict__", {}) for each in (loss, *type(loss).__mro__)]
    first = next((each for each in held if "standardizes" in each or "__call__" in each), {})
    return bool(first.get("standardizes", False))


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
        own = (each[far.output] for each in (model.units.mean, model.units.deviation))
        mean, deviation, of_far, by = (in_digits(each, 4) for each in (*own, far.mean, far.deviation))
        name = model.class_names[far.output]
        which = f"output {name}" if name.isdigit() else name
        warn(
            f"the numbers of {which} have the mean {of_far} and the deviation {by}, and the model goes on in the units "
            f"of those that it learnt first, {mean} and {deviation}: where these are others, begin with a new model, "
            'which may take what this one learnt but for its last layer: load_parameters(path, without="head")'
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


def of_file(model: Any, description: Mapping[str, Any]) -> Decided:
    """The units of a file's numbers, None where they are taken as they are, and whether the model standardises with
    these. Raises CheckpointError.
    """
    found = description.get(KEY)
    try:
        units = None if found is None else Units(tuple(found["mean"]), tuple(found["deviation"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"the units of its numbers cannot be read ({error}); train it again") from None
    if units is not None and len(units.mean) != len(model.class_names):
        raise CheckpointError("it has not as many units as outputs; train it again")
    return Decided(units, units is not None or description.get(UNDECIDED) is True)


def of_last_layer(model: Any, description: Mapping[str, Any] | None, where: str, anew: str) -> tuple[Decided, str]:
    """The units, and whether it standardises, of a model that takes the last layer of that file; and a sentence where
    this is not as it was asked to, else "". A file that decides nothing leaves both as they are.

    description: None where parameters came by their names alone; where: they did so, or the file; anew: how to begin
    with a new last layer, at the end of a sentence. Raises CheckpointError, and SettingError where the model takes
    numbers as they are and the file's does not.
    """
    kept = Decided(model.units, model.standardize)
    if kind(model.loss) != REGRESSION or (description is not None and not _has_decided(model, description)):
        return kept, ""
    if description is None:
        is_open = model.units is None and standardizes(model)
        return kept, BY_NAMES if is_open else ""
    found = of_file(model, description)
    if found.units is not None and model.units is None and not standardizes(model):
        raise SettingError(
            f"standardize=False: the last layer of {where} gives standardised numbers, and this model takes numbers as "
            f"they are; leave standardize=False out{anew.replace('; say', ', or say')}"
        )
    if found.units is not None or not standardizes(model):
        return found, ""
    return found, (
        f"the last layer of {where} gives numbers as they are, so here they are not standardised either, whatever "
        f"their units{anew}"
    )


def _has_decided(model: Any, description: Mapping[str, Any]) -> bool:
    """Whether a file is of a model of numbers that has decided on their units, of which it may have none."""
    loss = description.get("loss")
    name = str(loss.get("type") if isinstance(loss, Mapping) else loss)
    is_like = name.removeprefix(OWN) == type(model.loss).__name__
    is_of_numbers = is_like or getattr(LOSSES.get(name), "numbers", False)
    return KEY in description or (is_of_numbers and UNDECIDED not in description)


@contextmanager
def of_state(model: Any, description: Mapping[str, Any] | None) -> Iterator[None]:
    """Around going on from a run's saved state, or None: the model's numbers are in its units, unless that is refused.

    Raises SettingError where they are not to be, whatever else is another.
    """
    before = model.units, model.standardize
    try:
        if description is not None:
            model.units, model.standardize = of_file(model, description)
        if model.units is not None and not before[1]:
            raise SettingError(
                "standardize=False: the run that is saved there learns its numbers standardised, which cannot be "
                "changed on the way; leave it out, or begin a run in another folder"
            )
        yield
    except BaseException:
        model.units, model.standardize = before
        raise
