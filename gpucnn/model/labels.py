"""The labels that a model takes beside images: numbers, names of its classes, truth values, columns, one-hot rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..data.checks import check_range_of_labels
from ..data.classes import check_objects, flat, is_missing, names_in, places_of, texts
from ..data.dataset import Dataset
from ..data.targets import Labels, check_finite, checked_labels, checked_names
from ..engine.units import Units
from ..errors import DataError, counted, listed


class Meaning(NamedTuple):
    """How numbers in images and labels are read.

    white: the whole number that is white in images, or None where pixels are taken as they are. names: of the classes.
    first: the number of the first class, 0 or 1. units: of targets that are learnt standardised, or None. is_wide:
    whether targets stay in float64, because their units are known only later.
    """

    white: int | None
    names: tuple[str, ...]
    first: int = 0
    units: Units | None = None
    is_wide: bool = False


def learnt(
    labels: Any, names: tuple[str, ...], first: int, ignored: int | None, notes: list[str]
) -> tuple[tuple[str, ...], int]:
    """The names of the classes and the first one's number, by the labels that a model with these is to learn.

    Texts become the names where the model has none but 0, 1, 2, ... and there is one for each output. Labels 1..K of
    which none is missing count from 1, and so do others above 0 where those of earlier training did. What was found
    goes into notes. Raises DataError.
    """
    array = _column(as_array(labels, "labels"))
    has_no_names = are_usual(names)
    if array.ndim == 1 and array.dtype.kind in "US" and has_no_names:
        found = sorted({each.strip() for each in texts(array, "labels")})
        if set(found) <= set(names):
            return names, first
        found = names_in(texts(array, "labels"), "labels")
        if len(found) != len(names):
            raise DataError(
                f"labels: {counted(len(found), 'different text')} ({listed(found)}), and the network has "
                f"{counted(len(names), 'output')}; give it an output for each text, or say which texts there are, in "
                f"their order: Model(..., class_names=[{found[0]!r}, ...])"
            )
        notes.append(
            f"labels are texts; the classes are {listed(found)}, in this order: model.class_names; predict gives "
            "their places in it, from 0"
        )
        return checked_names(found, "labels"), 0
    if array.ndim != 1 or array.dtype.kind not in "iuf" or len(names) < 2:
        return names, first
    present = np.unique(array if ignored is None else array[array != ignored])
    from_one = tuple(map(str, range(1, 1 + len(names))))
    if not (len(present) and present[0] >= 1 and present[-1] <= len(names)) or ignored in range(len(names)):
        if first and names == from_one:
            notes.append("labels count from 0, and earlier ones did from 1: the classes are 0, 1, 2, ... from here on")
            names = tuple(map(str, range(len(names))))
        return names, 0
    if len(present) < len(names) or not (present == np.arange(1, 1 + len(names))).all():
        return names, first
    if set(names) == set(from_one) and names != from_one:
        return names, 0  # they are names, and not in the order of their numbers
    if not first:
        notes.append(
            f"labels count from 1, to {len(names)}: label 1 is the first of model.class_names, and predict and "
            "evaluate count so, too"
        )
    return (from_one if has_no_names else names), 1


def unused(labels: Labels, names: Sequence[str], ignored: int | None) -> str:
    """A sentence where labels (N,), enough for all classes, have some of them never; else ""."""
    present = set(np.unique(labels if ignored is None else labels[labels != ignored]).tolist())
    asked = {k: name for k, name in enumerate(names) if k != ignored}
    missing = [name for k, name in asked.items() if k not in present]
    if not missing or not present or len(labels) < len(names):
        return ""
    which = "one for each output of the network" if len(asked) == len(names) else "without the one that is ignored"
    return (
        f"the labels are of {len(present)} of the {len(asked)} classes, {which}, and none "
        f"is {listed(missing)}: all that is learnt of what is missing is that it does not come up"
    )


def are_usual(names: Sequence[str]) -> bool:
    """Whether they are those of a model that was given none."""
    return list(names) == [str(k) for k in range(len(names))]


def _column(array: np.ndarray) -> np.ndarray:
    """(N, 1) as (N,)."""
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def as_array(given: Any, what: str) -> np.ndarray:
    """Arrays of NumPy and of libraries that give them on the host, lists, tables. Raises DataError.

    Texts and numbers that are held as Python's objects, as pandas does, become arrays of texts and numbers.
    """
    if isinstance(given, Dataset):
        part = what.split()[-1]
        raise DataError(f"{what}: a Dataset was given, which has them as train_{part}, or for a test as test_{part}")
    if given is None:
        one = "an array (N, H, W, C)" if what.endswith("images") else "one for each image"
        raise DataError(f"{what}: None was given; give {one}")
    if isinstance(given, (Iterator, Mapping, set, frozenset)) or callable(given):
        more = "; batches of a generator are for fit_batches" if isinstance(given, Iterator) else ""
        raise DataError(f"{what}: a {type(given).__name__} was given; give an array, one row for each image{more}")
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise DataError(f"{what}: some numbers are masked; say what stands for them: array.filled(0)")
    try:
        array = np.asarray(given)
        if array.dtype.kind in "OT" or (array.dtype.kind == "U" and array is not given):
            objects = np.asarray(given, dtype=object)
            if objects.ndim and objects.size == len(objects):  # (N,) or (N, 1)
                if what.endswith("images"):
                    check_there(objects.flat, what)
                check_objects(objects.flat, what)
        if array.dtype.kind == "T" or (array.dtype == object and all(isinstance(each, str) for each in array.flat)):
            return array.astype(str)
        return np.array(array.tolist()) if array.dtype == object and array.ndim else array
    except DataError:
        raise
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        reason = str(error).partition("\n")[0].strip().rstrip(".")
        raise DataError(
            f"{what}: a {type(given).__name__} that is no array of numbers ({reason}); give a NumPy array, one row for "
            "each image, and all of one shape"
        ) from None


def check_there(images: Iterator[Any], what: str) -> None:
    """Raises DataError where one of the images is None or NaN."""
    if (k := next((k for k, each in enumerate(images) if is_missing(each)), None)) is not None:
        raise DataError(f"{what}: picture {k + 1} is missing; leave it out")


def fitting_labels(
    array: np.ndarray,
    names: Sequence[str],
    ignored: int | None,
    what: str,
    examples: str,
    first: int,
) -> Labels:
    """A class for each example, int64 (N,) below len(names), or `ignored`. Raises DataError.

    Texts are names of classes; True is 1; whole floats, columns (N, 1) and one-hot rows (N, classes) are taken, too:
    where the loss is of classes they mean nothing else. first: what numbers begin with.
    """
    array = _column(array)
    are_numbers = array.ndim == 1 and array.dtype.kind in "iuf"
    if array.ndim == 2 and array.dtype.kind in "biuf" and array.shape[1] == len(names):
        array = flat(array, what, [])
    if array.dtype.kind == "f":
        check_finite(array, what)
    if array.ndim == 1 and array.dtype.kind in "US":
        more = "give Model(..., class_names=[...]) the texts, in the order of its outputs"
        return places_of(array, names, what, f"; {'' if are_usual(names) else 'for other classes '}{more}")
    if array.ndim == 1 and (array.dtype == bool or (array.dtype.kind == "f" and _is_whole(array))):
        array = array.astype(np.int64)
    labels = checked_labels(array, what)
    telling = labels if ignored is None else labels[labels != ignored]
    if first and are_numbers:
        if len(telling) and not first <= telling.min() <= telling.max() < first + len(names):
            raise DataError(
                f"{examples}: labels run from {telling.min()} to {telling.max()}, {first}..{first + len(names) - 1} was"
                f" expected: those that the model was trained on count from {first}"
            )
        return labels - first if ignored is None else np.where(labels == ignored, labels, labels - first)
    _check_not_names(telling, names, what)
    _check_not_codes(telling, names, what)
    check_range_of_labels(telling, len(names), examples)
    return labels


def _is_whole(array: np.ndarray) -> bool:
    return bool((array == np.rint(array)).all() and abs(array).max(initial=0) < 2**31)


def _check_not_names(labels: Labels, names: Sequence[str], what: str) -> None:
    """Numbers that are names of classes, and no places of them, are refused with what to write."""
    if not len(labels) or (labels.min() >= 0 and labels.max() < len(names)):
        return
    if {str(label) for label in np.unique(labels).tolist()} <= set(names):
        raise DataError(
            f"{what}: {labels.min()} to {labels.max()} are names of the model's classes ({listed(names)}), "
            "whose numbers are 0, 1, 2, ...; give the names as texts: labels.astype(str)"
        )


def _check_not_codes(labels: Labels, names: Sequence[str], what: str) -> None:
    """Numbers of which there is one for each class, such as 3, 5 and 8, are refused with what to write."""
    present = np.unique(labels)
    counts = len(present) and present[-1] - present[0] == len(present) - 1
    if len(present) == len(names) and not counts:
        raise DataError(
            f"{what}: there are {len(names)} different ones, as there are classes, and they are "
            f"{listed([str(each) for each in present.tolist()])}; number them: names, labels = numpy.unique(labels, "
            "return_inverse=True), and give Model(..., class_names=names)"
        )
