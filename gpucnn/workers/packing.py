"""Tasks as they travel to another process: a pickle, and the open files of its vectors, which both then map."""

from __future__ import annotations

import io
import pickle
from types import FunctionType
from typing import Any

import numpy as np

from . import shared

KNOWN = {"gpucnn", "numpy", "builtins", "functools", "collections"}  # packages that are the same in every process


class Unshareable(Exception):
    """A task holds something that another process cannot get."""


def packed(task: Any) -> tuple[bytes, list[int]]:
    """A task's pickle, and the open files of its vectors. Raises Unshareable."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    try:
        pickler.dump(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:  # all three mean "cannot pickle"
        raise Unshareable from error
    return buffer.getvalue(), pickler.files


def unpacked(data: bytes, files: list[int]) -> Any:
    """The task that `packed` was given, its vectors in the same memory. Raises Unshareable."""
    try:
        return _Unpickler(data, files).load()
    except Exception as error:  # a class that this process cannot import, most often
        raise Unshareable from error


class _Pickler(pickle.Pickler):
    """Arrays go as places in `files`: a copy would miss what is written later."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.files: list[int] = []

    def persistent_id(self, value: Any) -> tuple[int, int, str, int] | None:
        if isinstance(value, type | FunctionType) and value.__module__.partition(".")[0] not in KNOWN:
            raise Unshareable  # it would be another one there: without this script's globals, or as it was on disk
        if not isinstance(value, np.ndarray):
            return None
        place = shared.place(value)
        if place is None:
            raise Unshareable
        file, start = place
        if file not in self.files:
            self.files.append(file)
        return self.files.index(file), value.shape[0], value.dtype.str, start


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, files: list[int]) -> None:
        super().__init__(io.BytesIO(data))
        self.files = files

    def persistent_load(self, saved: tuple[int, int, str, int]) -> np.ndarray:
        number, size, dtype, start = saved
        return shared.attach(self.files[number], size, dtype, start)
