"""Labels in the forms that people keep them in, as classes 0, 1, 2, ..., or as rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, listed
from .folders import composed
from .targets import check_finite, checked_targets, is_one_hot

MISSING = ("", "nan", "NaN", "<NA>")  # texts that NumPy and pandas make of a missing one
MANY = 1000  # different values beyond which numbers are no classes
_as_numbers: ContextVar[bool] = ContextVar("_as_numbers", default=False)


@contextmanager
def as_numbers(asked: bool) -> Iterator[None]:
    """While data are read for a loss of numbers, if asked: whole ones beside pictures are no classes."""
    before = _as_numbers.set(asked)
    try:
        yield
    finally:
        _as_numbers.reset(before)


def are_numbers() -> bool:
    """Whether numbers, whole ones too, are to be predicted."""
    return _as_numbers.get()


def as_targets(
    given: Mapping[str, tuple[Any, str]], names: Sequence[str] | None, notes: list[str]
) -> tuple[dict[str, NDArray[Any]], list[str] | None]:
    """Labels as int64 (N,), or rows as `targets.checked_targets` has them; and the names of the classes, or None.

    given: by part, an array and its place for messages. Texts, truth values, whole floats, one-hot rows and columns
    (N, 1) become labels, and labels that count from 1 begin at 0; what was done goes into notes. Numbers (N,) that are
    not whole become (N, 1), and all do where they are asked for (`as_numbers`), unless there are names of classes.
    """
    if are_numbers() and all(_is_column(array, names) for array, _ in given.values()):
        rows = {part: _as_float(array).reshape(-1, 1) for part, (array, _) in given.items()}
        for part, (_, where) in given.items():
            check_finite(rows[part], where)
        return rows, None if names is None else list(names)
    arrays = {part: flat(array, where, notes) for part, (array, where) in given.items()}
    where = given["train"][1]
    if any(each.dtype.kind in "US" for each in arrays.values()):
        return _of_texts(arrays, names, where, notes)
    if all(each.dtype == bool and each.ndim == 1 for each in arrays.values()):
        found = {part: each.astype(np.int64) for part, each in arrays.items()}
        return found, list(names) if names is not None else ["False", "True"]
    if any(each.ndim == 1 and each.dtype.kind == "f" for each in arrays.values()):
        arrays = _of_floats(arrays, where, notes)
    elif all(_is_whole_column(each) for each in arrays.values()):  # other columns can be nothing else
        notes.append(
            f"{where}: a column of whole floats is taken as numbers to be predicted; classes are integers, (N,)"
        )
    checked = {part: checked_targets(each, given[part][1]) for part, each in arrays.items()}
    if all(each.ndim == 1 and each.size for each in checked.values()):
        return _from_zero(checked, names, where, notes)
    return checked, None if names is None else list(names)


def _as_float(array: Any) -> Any:
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _is_column(array: Any, names: Sequence[str] | None) -> bool:
    """Whether it is one number for each picture, and no place among several names."""
    is_one = array.ndim in (1, 2) and array.size == len(array)
    return is_one and array.dtype.kind in "iuf" and (names is None or len(names) == 1)


def _is_whole_column(array: Any) -> bool:
    """Whether it is whole floats of shape (N, 1)."""
    return array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind == "f" and bool((array == np.rint(array)).all())


def flat(array: Any, where: str, notes: list[str]) -> Any:
    """(N, 1) as (N,), and one-hot rows as labels."""
    if array.ndim != 2 or not array.size:
        return array
    if array.shape[1] == 1:
        return array[:, 0] if array.dtype.kind in "iuUSb" else array
    if array.dtype.kind not in "biuf":
        return array
    if is_one_hot(array):
        notes.append(f"{where}: each row has one 1; it is taken as the class")
        return array.argmax(axis=1)
    return array


def _of_texts(
    arrays: Mapping[str, Any], names: Sequence[str] | None, where: str, notes: list[str]
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    if not all(each.dtype.kind in "US" and each.ndim == 1 for each in arrays.values()):
        raise DataError(f"{where}: labels are texts in one part, and something else in another; give both the same")
    known = list(names) if names is not None else names_in(texts(arrays["train"], where), where)
    lacking = "; a class that training lacks cannot be learnt"
    places = {
        part: places_of(each, known, where if part == "train" else f"{where}, {part} part", lacking)
        for part, each in arrays.items()
    }
    notes.append(f"{where}: labels are texts; the classes are {listed(known)}")
    return places, known


def places_of(array: Any, names: Sequence[str], where: str, more: str = "") -> NDArray[np.int64]:
    """The classes (N,) whose names are texts (N,). DataError, with the sentence's end `more`, for another text."""
    places = {name: k for k, name in enumerate(names)}
    read = [name if name in places else name.strip() for name in texts(array, where)]
    check_missing(read, where, places)
    if strange := sorted(set(read) - places.keys()):
        raise DataError(f"{where}: there is the label {strange[0]!r}, which is none of {listed(names)}{more}")
    return np.array([places[name] for name in read], np.int64)


def names_in(labels: Sequence[str], where: str) -> list[str]:
    """The classes that texts name, sorted; blank ends do not count. DataError where a label is missing."""
    found = [each.strip() for each in labels]
    check_missing(found, where)
    return sorted(set(found))


def check_missing(labels: Iterable[Any], where: str, names: Iterable[str] = ()) -> None:
    """DataError where a label stands for nothing and is no name, in the ways of Python, NumPy and pandas."""
    k = next((k for k, each in enumerate(labels) if is_missing(each) and each not in names), None)
    if k is not None:
        raise DataError(f"{where}: the label of picture {k + 1} is missing; give it one, or leave that picture out")


def check_objects(labels: Iterable[Any], where: str) -> None:
    """`check_missing` of all that is no text: whether a text stands for nothing, the names of the classes decide."""
    check_missing(("a text" if isinstance(each, str) else each for each in labels), where)


def is_missing(label: Any) -> bool:
    """Whether it is None, NaN, pandas' NA or NaT, or such a text: a class "nan" is one where class_names has it."""
    if isinstance(label, str):
        return label.strip() in MISSING
    return label is None or type(label).__name__ in ("NAType", "NaTType") or (_is_float(label) and label != label)


def _is_float(label: Any) -> bool:
    return isinstance(label, float | np.floating)


def texts(array: Any, where: str) -> list[str]:
    """An array of texts as Python's, composed. DataError for what is no text."""
    if array.dtype.kind == "S":
        return [composed(name.decode("utf-8", "replace")) for name in array.tolist()]
    ordered = array.astype(array.dtype.newbyteorder("<"))  # as UTF-32, whose decoder refuses what is no character
    try:
        return [composed(text.tobytes().decode("utf-32-le").rstrip("\0")) for text in ordered[:, None]]
    except UnicodeDecodeError:
        raise DataError(f"{where} holds what is no text; write it again with numpy.savez of plain arrays") from None


def _of_floats(arrays: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, Any]:
    """Whole floats as labels; others are numbers to be predicted, (N, 1)."""
    for part, each in arrays.items():
        check_finite(each, where if part == "train" else f"{where}, {part} part")
    together = np.concatenate([each.ravel() for each in arrays.values()])
    if (together == np.rint(together)).all() and len(np.unique(together)) <= MANY:
        notes.append(
            f"{where}: whole floats are taken as classes; numbers to be predicted are saved as (N, 1), or told by "
            "numbers=True"
        )
        return {part: each.astype(np.int64) for part, each in arrays.items()}
    return {part: each[:, None] if each.ndim == 1 else each for part, each in arrays.items()}


def _from_zero(
    labels: dict[str, NDArray[Any]], names: Sequence[str] | None, where: str, notes: list[str]
) -> tuple[dict[str, NDArray[Any]], list[str] | None]:
    """Labels 1..K as 0..K-1, if every one occurs in training."""
    present = np.unique(labels["train"])
    least = min(int(each.min()) for each in labels.values())
    most = max(int(each.max()) for each in labels.values())
    counts_from_one = least == 1 and most == len(present) == int(present[-1])
    if not counts_from_one or (names is not None and len(names) != most):
        missing = sorted(set(range(1 + min(most, MANY))) - set(present.tolist())) if names is None else []
        if missing and least >= 0:
            which = listed([*map(str, missing)])
            notes.append(f"{where}: labels run to {most}, and training has no pictures of class {which}")
        return labels, None if names is None else list(names)
    notes.append(f"{where}: labels count from 1; class 0 is label 1")
    shifted = {part: each - 1 for part, each in labels.items()}
    return shifted, [str(1 + k) for k in range(most)] if names is None else list(names)
