"""Data sets in NumPy's .npz files, under any of three sets of keys."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

from ..errors import DataError
from .dataset import MOST_CLASSES, Dataset, Images, Part, check_range, checked_images
from .files import CHUNK, check_limit, parsing, refuse_web_page
from .targets import checked_targets

REMEDY = "write it again with numpy.savez of plain arrays"
SCHEMES = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("images", "labels"),
)


def read_npz(path: Path) -> Dataset:
    """The data set of an .npz file with the arrays of one of SCHEMES and, if wanted, class_names.

    Images are uint8 or floats in 0..1, (N, H, W) or (N, H, W, C); labels are integers, (N,) or (N, 1), or rows (N, K):
    0 and 1 where several labels may hold, floats where they are numbers to be predicted. class_names then has K names.
    With images and labels alone, a fifth becomes the test part, stratified by class. Nothing pickled is ever opened.
    DataError naming the file and the key for everything else.
    """
    arrays = read_arrays(path)
    keys = chosen_keys(path, set(arrays))
    parts = [
        Part(as_images(arrays[x], f"{path}: {x}"), as_labels(arrays[y], f"{path}: {y}"), f"{path}: {x}, {y}")
        for x, y in zip(keys[::2], keys[1::2])
    ]
    return Dataset.of_parts(str(path), parts, class_names(arrays.get("class_names"), path))


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of the file that belong to a data set; others are not read."""
    refuse_web_page(path)
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            problem = "is truncated or damaged" if file.read(2) == b"PK" else "is no .npz file"
        raise DataError(f"{path}: {problem}; {REMEDY}")
    wanted = {key for scheme in SCHEMES for key in scheme} | {"class_names"}
    arrays: dict[str, Any] = {}
    with parsing(path, "is truncated or damaged", REMEDY), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            arrays[key] = read_member(archive, member, f"{path}: {key}") if key in wanted else None
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


def chosen_keys(path: Path, present: set[str]) -> tuple[str, ...]:
    """The first of SCHEMES whose keys are all there."""
    for scheme in SCHEMES:
        if present.issuperset(scheme):
            return scheme
    nearest = max(SCHEMES, key=lambda scheme: len(present.intersection(scheme)))
    missing = [key for key in nearest if key not in present]
    accepted = " or ".join(f"({', '.join(scheme)})" for scheme in SCHEMES)
    raise DataError(
        f"{path}: found the keys {', '.join(sorted(present)) or 'none'}, expected {accepted}; add {', '.join(missing)}"
    )


def as_images(array: Any, where: str) -> Images:
    """(N, H, W) or (N, H, W, C), uint8 or floats in 0..1 -> uint8 (N, H, W, C), floats as round(255 x)."""
    if array.dtype.kind == "f":
        check_range(array, where)
        array = bytes_of(array)
    elif array.dtype != np.uint8:
        raise DataError(
            f"{where}: dtype {array.dtype}, uint8 or floats in 0..1 were expected; values 0..255 become uint8 by "
            "astype(numpy.uint8), others floats by dividing them by the largest possible one"
        )
    return checked_images(array[..., None] if array.ndim == 3 else array, where)


def bytes_of(array: Any) -> Images:
    """round(255 x), some examples at a time, since the floats that it takes are four times as large."""
    made = np.empty(array.shape, np.uint8)
    for begin in range(0, len(array) if array.ndim else 0, 1024):
        some = slice(begin, begin + 1024)
        made[some] = np.rint(array[some].astype(np.float32, copy=False) * 255)
    return made


def as_labels(array: Any, where: str) -> Any:
    """(N,) or, as Keras stores CIFAR-10, (N, 1) integers -> int64 (N,); rows (N, K) as `checked_targets` has them."""
    is_column = array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "iu"
    return checked_targets(array[:, 0] if is_column else array, where)


def class_names(array: Any, path: Path) -> list[str] | None:
    """The names in the file, None if there are none."""
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind not in "US" or len(array) > MOST_CLASSES:
        raise DataError(f"{path}: class_names is {array.dtype} {array.shape}, a list of texts was expected")
    if array.dtype.kind == "S":
        return [name.decode("utf-8", "replace") for name in array.tolist()]
    texts = array.astype(array.dtype.newbyteorder("<"))  # as UTF-32, whose decoder refuses what is no character
    try:
        return [text.tobytes().decode("utf-32-le").rstrip("\0") for text in texts[:, None]]
    except UnicodeDecodeError:
        raise DataError(f"{path}: class_names holds what is no text; {REMEDY}") from None
