"""The labels that a model takes beside images: numbers, names of its classes, truth values, columns, one-hot rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.classes import flat, places_of
from ..data.dataset import check_range_of_labels
from ..data.targets import Labels, checked_labels
from ..errors import DataError


def as_array(given: Any, what: str) -> np.ndarray:
    """Arrays of NumPy and of libraries that give them on the host, lists, tables. Raises DataError.

    Texts and numbers that are held as Python's objects, as pandas does, become arrays of texts and numbers.
    """
    try:
        array = np.asarray(given)
        if array.dtype.kind == "T" or (array.dtype == object and all(isinstance(each, str) for each in array.flat)):
            return array.astype(str)
        return np.array(array.tolist()) if array.dtype == object and array.ndim else array
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        reason = str(error).partition("\n")[0].strip().rstrip(".")
        raise DataError(
            f"{what}: a {type(given).__name__} that is no array of numbers ({reason}); give a NumPy array, one row for "
            "each image, and all of one shape"
        ) from None


def fitting_labels(
    array: np.ndarray, names: Sequence[str], ignored: int | None, what: str = "labels", examples: str = "examples"
) -> Labels:
    """A class for each example, int64 (N,) below len(names), or `ignored`. Raises DataError.

    Texts are names of classes; True is 1; whole floats, columns (N, 1) and one-hot rows (N, classes) are taken, too:
    where the loss is of classes they mean nothing else.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "biuf" and array.shape[1] == len(names):
        array = flat(array, what, [])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{what}: NaN or infinite values are there; replace them first, or leave those images out")
    if array.ndim == 1 and array.dtype.kind in "US":
        return places_of(array, names, what)
    if array.ndim == 1 and (array.dtype == bool or (array.dtype.kind == "f" and _is_whole(array))):
        array = array.astype(np.int64)
    labels = checked_labels(array, what)
    counted = labels if ignored is None else labels[labels != ignored]
    _check_not_names(counted, names, what)
    check_range_of_labels(counted, len(names), examples)
    return labels


def _is_whole(array: np.ndarray) -> bool:
    return bool((array == np.rint(array)).all() and abs(array).max(initial=0) < 2**31)


def _check_not_names(labels: Labels, names: Sequence[str], what: str) -> None:
    """Numbers that are names of classes, and no places of them, are refused with what to write."""
    if not len(labels) or (labels.min() >= 0 and labels.max() < len(names)):
        return
    if {str(label) for label in np.unique(labels).tolist()} <= set(names):
        raise DataError(
            f"{what}: {labels.min()} to {labels.max()} are names of the model's classes ({', '.join(names[:10])}), "
            "whose numbers are 0, 1, 2, ...; give the names as texts: labels.astype(str)"
        )
