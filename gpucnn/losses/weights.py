"""Weights of classes, and what the settings of losses must be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import SettingError


def balanced(labels: Any, classes: int, ignore_index: int | None = None) -> tuple[float, ...]:
    """Class weights n / (K n_k), which let each of K classes count alike, whatever its part n_k of n examples.

    Their mean over the examples is 1. labels (N,) below `classes`, on the host, or ignore_index, which is not counted.
    Raises SettingError for other labels, and where a class has no example.
    """
    labels = np.extract(np.asarray(labels) != ignore_index, labels)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise SettingError(f"balanced: labels run from {labels.min()} to {labels.max()}, 0..{classes - 1} was expected")
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise SettingError(f"balanced weights: class {counts.argmin()} has no example; give a weight for each class")
    return tuple((counts.sum() / (classes * counts)).tolist())


def factors(name: str, values: Any) -> tuple[float, ...] | None:
    """The numbers that were given, as Python's."""
    if values is None:
        return None
    try:
        numbers = tuple(map(float, values))
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or not all(math.isfinite(each) and each >= 0 for each in numbers):
        raise SettingError(f"{name}={values!r}: a number of at least 0 for each class was expected, such as (1, 2.5)")
    return numbers


def check_length(name: str, values: tuple[float, ...] | None, outputs: int) -> None:
    if values is not None and len(values) != outputs:
        raise SettingError(f"{name}: {len(values)} numbers for a network of {outputs} outputs; give one for each")


def check_number(name: str, value: Any, *, may_be_0: bool) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < 0 or (value == 0 and not may_be_0):
        raise SettingError(f"{name}={value!r}: a number {'of at least 0' if may_be_0 else 'above 0'} was expected")
