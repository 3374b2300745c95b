"""Weights of classes, and what the settings of losses must be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import SettingError
from ..namespace import has_truth


def balanced(labels: Any, classes: int, ignore_index: int | None = None) -> tuple[float, ...]:
    """Class weights n / (K n_k), which let each of K classes count alike, whatever its part n_k of n examples.

    Their mean over the examples is 1. labels: on the host, numbers (N,) or (N, 1) below `classes`, or 1..K, which count
    from 1, as in `Model.fit`; those that are ignore_index are not counted. Raises SettingError for other labels, texts
    among them, whose classes have no order, and where a class has no example.
    """
    if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)) or classes < 1:
        raise SettingError(f"balanced: classes={classes!r}: the number of classes was expected, such as 10")
    labels = _numbered(labels)
    labels = labels if ignore_index is None else labels[labels != ignore_index]
    least, most = (labels.min(), labels.max()) if labels.size else (0, 0)
    if (least, most) == (1, classes) and ignore_index not in range(classes):
        labels, least, most = labels - 1, 0, classes - 1
    if not 0 <= least <= most < classes:
        raise SettingError(f"balanced: labels run from {least} to {most}, 0..{classes - 1} was expected")
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise SettingError(f"balanced weights: class {counts.argmin()} has no example; give a weight for each class")
    return tuple((counts.sum() / (classes * counts)).tolist())


def _numbered(labels: Any) -> Any:
    """Labels as int64 (N,). Raises SettingError for what are no whole numbers."""
    array = np.asarray(labels)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim == 1 and (array.dtype.kind in "iub" or not array.size):
        return array.astype(np.int64)
    if array.ndim == 1 and array.dtype.kind == "f" and (array == np.rint(array)).all():
        return array.astype(np.int64)
    advice = "give one whole number for each example, the place of its class in the model's class_names"
    if array.ndim == 2 and array.dtype.kind in "iubf":
        advice = "turn one-hot rows into labels with argmax(axis=1)"
    raise SettingError(f"balanced: labels of shape {array.shape} and type {array.dtype}: {advice}")


def balanced_labels(labels: Any) -> tuple[float, ...]:
    """Factors (N - n_k) / n_k, by which a label that n_k of N examples have counts as much where it holds as elsewhere.

    labels: on the host, rows (N, K) of 0 and 1. Raises SettingError for others, and where a label has no example, or
    there is none without it.
    """
    rows = np.asarray(labels)
    if rows.ndim != 2 or rows.dtype.kind not in "biuf" or not ((rows == 0) | (rows == 1)).all():
        raise SettingError(
            f"balanced_labels: labels of shape {rows.shape} and type {rows.dtype}: rows (N, K) of 0 and 1 were "
            "expected; of classes, `balanced` makes weights"
        )
    counts = rows.sum(axis=0, dtype=np.int64)
    for k in np.flatnonzero((counts == 0) | (counts == len(rows))):
        which = "no example" if counts[k] == 0 else "every example, and there is none without it"
        raise SettingError(f"balanced weights: label {k} has {which}; give a weight for each label")
    return tuple(((len(rows) - counts) / counts).tolist())


def factors(name: str, values: Any, *, may_be_0: bool = True) -> tuple[float, ...] | None:
    """The numbers that were given, as Python's."""
    if values is None:
        return None
    try:
        numbers = tuple(map(float, values))
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or has_truth(values) or not all(math.isfinite(each) and each >= 0 for each in numbers):
        raise SettingError(f"{name}={values!r}: a number of at least 0 for each class was expected, such as (1, 2.5)")
    if not may_be_0 and not all(numbers):
        raise SettingError(f"{name}={values!r}: a number above 0 for each label was expected, such as (1, 2.5)")
    if not any(numbers):
        raise SettingError(f"{name}={values!r}: nothing would be learnt; give at least one class a number above 0")
    return numbers


def check_length(name: str, values: tuple[float, ...] | None, outputs: int) -> None:
    if values is not None and len(values) != outputs:
        raise SettingError(f"{name}: {len(values)} numbers for a network of {outputs} outputs; give one for each")


def check_number(name: str, value: Any, *, may_be_0: bool) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < 0 or (value == 0 and not may_be_0):
        raise SettingError(f"{name}={value!r}: a number {'of at least 0' if may_be_0 else 'above 0'} was expected")
