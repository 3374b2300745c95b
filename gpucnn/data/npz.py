"""Data sets in NumPy's .npz files."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

from ..errors import DataError, listed
from .arrays import EXPECTED, dataset_of_arrays, is_wanted, role
from .dataset import Dataset
from .files import CHUNK, OWN, check_limit, parsing, refuse_web_page

REMEDY = "write it again with numpy.savez of plain arrays"


def read_npz(path: Path) -> Dataset:
    """The data set of an .npz file; see `arrays.dataset_of_arrays`. Nothing pickled is ever opened."""
    arrays = read_arrays(path)
    notes: list[str] = []
    if not any(role(key) for key in arrays):
        taken = _by_shape(path, [key for key in arrays if not is_wanted(key)], notes)
        arrays = {key: array for key, array in arrays.items() if is_wanted(key)} | taken
    return dataset_of_arrays(arrays, str(path), notes)


def _by_shape(path: Path, keys: list[str], notes: list[str]) -> dict[str, Any]:
    """Two arrays as images and labels, where their shapes leave one meaning; else DataError. Notes: what was taken."""
    if len(keys) == 2:
        found = read_arrays(path, keys)
        pairs = [pair for pair in (keys, keys[::-1]) if _are_pair(*(found[key] for key in pair))]
        if len(pairs) == 1:
            notes.append(f"by their shapes, {pairs[0][0]} is taken as the images and {pairs[0][1]} as the labels")
            return dict(zip(("images", "labels"), (found[key] for key in pairs[0])))
    raise DataError(
        f"{path}: found the keys {listed(keys) or 'none'}, expected {EXPECTED}; write it again with numpy.savez(file, "
        "images=..., labels=...)"
    )


def _are_pair(images: Any, labels: Any) -> bool:
    """Whether one is of pictures, and the other has a number or text for each."""
    is_flat = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
    return images.ndim in (3, 4) and images.dtype.kind in "biuf" and is_flat and len(images) == len(labels)


def read_arrays(path: Path, keys: Collection[str] = ()) -> dict[str, Any]:
    """The arrays of the file that belong to a data set, or have one of these keys; others are not read."""
    refuse_web_page(path, OWN)
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            problem = "is truncated or damaged" if file.read(2) == b"PK" else "is no .npz file"
        raise DataError(f"{path}: {problem}; {REMEDY}")
    arrays: dict[str, Any] = {}
    with parsing(path, "is truncated or damaged", REMEDY), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            arrays[key] = read_member(archive, member, f"{path}: {key}") if is_wanted(key) or key in keys else None
    return arrays


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> Any:
    """The array of one member, after its header was compared with the member's size."""
    if member.compress_type != zipfile.ZIP_STORED:
        check_limit(member.file_size, where)
    with archive.open(member) as stream:
        header = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}
        try:
            version = read_magic(stream)
            shape, by_columns, dtype = header[version](stream)
        except (ValueError, KeyError):
            raise DataError(f"{where}: is no array of numbers or texts; {REMEDY}") from None
        if dtype.hasobject:
            raise DataError(f"{archive.filename}: holds Python objects, which are not opened; {REMEDY}")
        size, found = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
        if size != found or not dtype.itemsize or min(shape, default=0) < 0:
            raise DataError(f"{where}: {found} bytes were found, {size} expected for {dtype} {shape}; {REMEDY}")
        content = bytearray()
        while part := stream.read(CHUNK):
            content += part
    values = np.frombuffer(content, dtype)  # whose reshape sees it where the member said less than it held
    return values.reshape(shape[::-1]).T if by_columns else values.reshape(shape)
