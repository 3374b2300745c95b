"""What may stand beside pictures: a class for each, several labels that may hold, or numbers."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, counted, printable
from .folders import composed

Labels = NDArray[np.int64]


def checked_labels(labels: Any, where: str) -> Labels:
    """`labels` as int64 (N,); DataError if they are not one integer per example."""
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"{where}: found {array.dtype} {array.shape}, one integer per picture, shape (N,), was expected; "
            + _advice(array)
        )
    return array.astype(np.int64, copy=False)


def _advice(array: NDArray[Any]) -> str:
    """What to do about labels that are no integers (N,)."""
    if array.dtype.kind in "US" and array.ndim == 1:
        return "turn names into labels with names, labels = numpy.unique(labels, return_inverse=True)"
    if array.ndim == 2 and array.shape[1] == 1:
        return "turn the column into labels with labels[:, 0]"
    if array.ndim == 2 and array.size and array.dtype.kind in "biuf" and is_one_hot(array):
        return "turn one-hot rows into labels with argmax(axis=1)"
    if array.ndim == 1 and array.dtype.kind == "b":
        return "turn truth values into labels with astype(int)"
    if array.ndim == 1 and array.dtype.kind == "f":
        if array.size and (array == np.rint(array)).all():
            return "turn whole floats into labels with astype(int)"
        return "numbers to be predicted are floats (N, 1), with a loss of numbers"
    return "several labels are rows of 0 and 1, (N, K), and numbers to be predicted floats (N, K), such as (N, 1)"


def is_one_hot(rows: NDArray[Any]) -> bool:
    """Whether each row (K,) of two or more numbers has one 1, and 0 else."""
    return bool(((rows == 0) | (rows == 1)).all() and rows.shape[1] > 1 and (rows.sum(axis=1) == 1).all())


def checked_targets(targets: Any, where: str) -> NDArray[Any]:
    """Labels as int64 (N,), several labels as uint8 (N, K) of 0 and 1, or numbers as floats (N, K). DataError.

    Rows of 0 and 1 with one 1 in each are refused: they say one class, in another way.
    """
    array = np.asarray(targets)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "biuf":
        return checked_labels(array, where)
    check_finite(array, where)
    is_binary = bool(((array == 0) | (array == 1)).all())
    if is_one_hot(array) or not (is_binary or array.dtype.kind == "f"):
        return checked_labels(array, where)
    return array if array.dtype.kind == "f" else array.astype(np.uint8)


def outputs_of(targets: NDArray[Any]) -> int | None:
    """How many labels or numbers each example has; None where it has a class."""
    return None if targets.ndim == 1 else targets.shape[1]


def check_width(targets: NDArray[Any], names: int, where: str) -> None:
    """DataError unless rows (N, K) have a name for each of the K."""
    if targets.ndim == 2 and targets.shape[1] != names:
        raise DataError(
            f"{where}: {counted(targets.shape[1], 'label or number', 'labels or numbers')} for each picture, and "
            f"{counted(names, 'name')} for them; give one for "
            "each"
        )


def checked_names(names: Iterable[Any], where: str) -> tuple[str, ...]:
    """The names of classes as texts, composed; DataError for one that would steer a terminal or cannot be written to a
    file, and for one that stands there twice.
    """
    given = (each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in names)
    texts = tuple(map(composed, given))
    for text in texts:
        if any("\udc80" <= each <= "\udcff" for each in text):  # a byte of a file's name, as Python has it
            raise DataError(
                f"{where}: the class name {printable(text)} holds bytes that are no {sys.getfilesystemencoding()}, in "
                "which this system's locale has names; set LC_ALL=C.UTF-8 or PYTHONUTF8=1 where they are UTF-8, else "
                "give the class another name"
            )
        if printable(text) != text:
            raise DataError(
                f"{where}: the class name {text} holds control characters or lone surrogates; give the class another"
            )
    name, times = next(iter(Counter(texts).most_common(1)), ("", 0))
    if times > 1:
        raise DataError(f"{where}: the class name {name} stands there twice; give each class a name of its own")
    return texts


def check_finite(array: Any, where: str) -> None:
    """DataError, naming the first of them, where an example (N, ...) holds NaN or infinite values."""
    wrong = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
    if wrong.size:
        others = f", and in {wrong.size - 1:,} more" if wrong.size > 1 else ""
        raise DataError(
            f"{where}: holds NaN or infinite values, in picture {wrong[0] + 1}{others}; replace them first, or leave "
            "those pictures out"
        )
