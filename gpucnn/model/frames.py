"""Tables and columns of pandas, and of libraries like it, as images and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.arrays import role
from ..data.columns import REORDERED, by_number
from ..errors import DataError, listed


def is_frame(given: Any) -> bool:
    """Whether it is a table of named columns, such as a pandas DataFrame."""
    return hasattr(given, "columns") and hasattr(given, "to_numpy")


def is_column(given: Any) -> bool:
    """Whether it is one column of a table, such as a pandas Series."""
    return hasattr(given, "to_numpy") and not hasattr(given, "columns")


def held(given: Any) -> Any:
    """A column of texts or objects as a list of these; all else as it is.

    Columns without a dtype, as pyarrow has them, are what NumPy makes of them.
    """
    if not is_column(given):
        return given
    try:
        dtype = given.dtype if hasattr(given, "dtype") else np.asarray(given).dtype
        return given if getattr(dtype, "kind", "O") in "biuf" else np.asarray(given, object).tolist()
    except (ValueError, TypeError, RuntimeError):
        return given  # `labels.as_array` says what is wrong with it


def rows_of_pixels(given: Any, array: np.ndarray, shape: tuple[int, ...], what: str, notes: list[str]) -> np.ndarray:
    """array, which a table or a column gave, as grey images (N, H, W) of shape (H, W, 1), or as one (H, W).

    A row of a table is an image, row by row: without colours nothing else can be meant. Raises DataError for a table
    that has other columns, too.
    """
    pixels, is_grey = math.prod(shape), len(shape) == 3 and shape[2] == 1
    if is_column(given):
        return array.reshape(shape[:2]) if is_grey and array.shape == (pixels,) else array
    if not is_frame(given) or array.ndim != 2:
        return array
    if array.dtype.kind not in "biuf":
        others = [name for name in given.columns if np.asarray(given[[name]]).dtype.kind not in "biuf"]
        if not others:
            raise DataError(f"{what}: the table has missing values; fill them first, such as {_name(what)}.fillna(0)")
        raise DataError(
            f"{what}: the table has columns that are no numbers ({listed(list(map(str, others)))}); give the pixels "
            f"alone, such as {_name(what)}.drop(columns=[{others[0]!r}])"
        )
    if is_grey and array.shape[1] == pixels:
        if order := by_number(list(map(str, given.columns))):
            notes.append(f"{what}: {REORDERED}")
            array = array[:, order]
        notes.append(f"{what}: each row of the table is taken as an image of {shape[0]}x{shape[1]}, row by row")
        return array.reshape(-1, *shape[:2])
    if array.shape[1] - 1 == pixels:
        known = [name for name in given.columns if (role(str(name)) or ("", ""))[1] == "labels"]
        example = known[0] if len(known) == 1 else given.columns[0]
        raise DataError(
            f"{what}: a table of {array.shape[1]:,} columns, and an image has {pixels:,} pixels; if one column holds "
            f"the labels, give {_name(what)}.drop(columns=[{example!r}]) and these apart"
        )
    return array


def in_order(labels: Any, names: Sequence[str]) -> Any:
    """Labels; a table with a column for each class, by its name, with the columns in the order of the classes."""
    if is_frame(labels) and list(map(str, labels.columns)) != list(names):
        by_name = {str(name): name for name in labels.columns}
        if set(by_name) == set(names) and len(labels.columns) == len(names):
            return labels[[by_name[name] for name in names]]
    return labels


def as_numpy(given: Any) -> str:
    """What is written behind a name to have an array of it."""
    if hasattr(given, "to_numpy"):
        return ".to_numpy()"
    return ".to_pandas().to_numpy()" if hasattr(given, "to_pandas") else ""  # a table of PyArrow


def _name(what: str) -> str:
    return what.split()[-1]
