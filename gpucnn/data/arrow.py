"""Image data sets of Hugging Face, as Parquet files or as saved to disk; pyarrow reads them, where it is installed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, counted, listed
from .arrays import KINDS, PARTS, dataset_of_arrays
from .classes import check_objects
from .columns import LABELS, pixel_columns, shape_of
from .dataset import Dataset
from .files import parsing
from .pictures import DEFAULT_SIZE, decoded
from .preprocessing import Preprocessing

REMEDY = "save the data set again, or check that it is one of pictures"
IMAGES = (*KINDS["images"], "img")  # names of a column of pictures
LARGEST_OWN = 64  # pixels of a side up to which pictures of one size keep it


def files(path: Path) -> dict[str, list[Path]]:
    """The Parquet or Arrow files at a path by part; "train" where their names say none. Empty where there are none."""
    if path.is_file():
        return {"train": [path]} if path.suffix == ".parquet" else {}
    found = sorted(
        [*path.glob("*.parquet"), *path.glob("data/*.parquet"), *path.glob("*.arrow"), *path.glob("*/*.arrow")]
    )
    parts: dict[str, list[Path]] = {}
    for file in found:
        word = (
            file.parent.name if file.suffix == ".arrow" and file.parent != path else file.name.split("-")[0]
        ).lower()
        part = next((part for part, names in PARTS.items() if word.split(".")[0] in names), "train")
        parts.setdefault(part, []).append(file)
    return parts


def read(path: Path, size: tuple[int, int] | None, channels: int | None, invert: bool) -> Dataset:
    """The data set of a Parquet file, or of a folder with some, or of what `Dataset.save_to_disk` wrote.

    A column holds the pictures, as bytes, and another one the labels; or each of many a pixel, as in Kaggle's CSV.
    size: of the pictures; their own where they are all alike and small, else 28x28. DataError.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise DataError(
            f"{path}: pyarrow, which reads these files, is not installed; run `pip install pyarrow`"
        ) from None
    arrays: dict[str, Any] = {}
    notes: list[str] = []
    how: Preprocessing | None = None
    with parsing(path, "cannot be read", REMEDY):
        for part, of_part in sorted(files(path).items(), key=lambda each: each[0] != "train"):
            tables = [_table(file) for file in of_part]
            if found := _pixel_columns(tables[0].schema):
                arrays |= {f"{part}_{kind}": array for kind, array in _pixels(tables, *found, of_part[0]).items()}
                notes.append(f"{of_part[0].name}: {counted(len(found[1]), 'column')} of pixels are taken as pictures")
                continue
            pictures, labels = _columns(tables[0].schema, of_part[0])
            contents = [each for table in tables for each in _contents(table.column(pictures), of_part[0].parent)]
            how = how or _how(contents, size, channels, invert, path)
            arrays[f"{part}_images"] = np.stack(
                [decoded(io.BytesIO(each), f"{path}: {part} {k}", how) for k, each in enumerate(contents)]
            )
            arrays[f"{part}_labels"] = _labels(tables, labels, of_part[0])
            names = _names(tables[0].schema, labels)
            if part == "train" and names:
                arrays["class_names"] = np.array(names)
    if notes and (size is not None or channels is not None or invert):
        raise DataError(
            f"{path}: size, channels and invert are for pictures only, the arrays here have theirs; leave these "
            "options out"
        )
    return dataset_of_arrays(arrays, str(path), notes, how)


def _pixel_columns(schema: Any) -> tuple[str, list[str]] | None:
    """The column of the labels and those of the pixels: columns of numbers, where none may hold pictures or texts."""
    from pyarrow import types

    numbers = (types.is_integer, types.is_floating, types.is_boolean)
    no_pixels = (types.is_binary, types.is_large_binary, types.is_string, types.is_large_string, types.is_struct)
    names = []
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if field.name.lower() in LABELS or any(is_such(kind) for is_such in numbers):
            names.append(field.name)
        elif any(is_such(kind) for is_such in no_pixels) or types.is_fixed_size_binary(kind):
            return None
    return None if {name.lower() for name in schema.names} & {*IMAGES} else pixel_columns(names)


def _pixels(tables: Sequence[Any], label: str, pixels: Sequence[str], file: Path) -> dict[str, Any]:
    """Images (N, H, W) or (N, H, W, 3) and labels (N,) of a table with a row of pixels for each picture."""
    rows = np.concatenate([np.stack([table.column(name).to_numpy() for name in pixels], axis=1) for table in tables])
    shape = shape_of(len(pixels)) or ()
    return {"images": rows.reshape(-1, *shape), "labels": _labels(tables, label, file)}


def _labels(tables: Sequence[Any], name: str, file: Path) -> Any:
    labels = [each for table in tables for each in table.column(name).to_pylist()]
    check_objects(labels, f"{file}: {name}")
    return np.array(labels)


def _table(file: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    if file.suffix == ".parquet":
        return parquet.read_table(file)
    with pyarrow.memory_map(str(file)) as source:
        return pyarrow.ipc.open_stream(source).read_all()


def _columns(schema: Any, file: Path) -> tuple[str, str]:
    """The names of the columns of pictures and of labels."""
    found = []
    for kind in ("images", "labels"):
        known = IMAGES if kind == "images" else (*LABELS, "fine_label")
        names = [name for name in schema.names if name.lower() in known]
        if len(names) != 1:
            raise DataError(
                f"{file}: the columns are {listed(schema.names)}; one named image and one named label were "
                "expected; rename or drop some"
            )
        found.append(names[0])
    return found[0], found[1]


def _contents(column: Any, folder: Path) -> Iterator[bytes]:
    """The bytes of each picture: of the column itself, or of the file whose path it gives."""
    for value in column.to_pylist():
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None and isinstance(value, dict) and value.get("path"):
            content = (folder / value["path"]).read_bytes()
        if not isinstance(content, bytes):
            raise DataError(f"{folder}: a picture is {type(content).__name__}, bytes of an image file were expected")
        yield content


def _how(
    contents: Sequence[bytes], size: tuple[int, int] | None, channels: int | None, invert: bool, path: Path
) -> Preprocessing:
    """As the pictures are, where they are alike and small."""
    from PIL import Image

    sizes, modes = set(), set()
    for content in contents:
        with Image.open(io.BytesIO(content)) as picture:
            sizes.add((picture.height, picture.width))
            modes.add(picture.mode)
    if not sizes:
        raise DataError(f"{path}: holds no pictures; give at least one")
    own = next(iter(sizes))
    usual = own if len(sizes) == 1 and max(own) <= LARGEST_OWN else DEFAULT_SIZE
    grey = all(mode in ("1", "L", "LA") or mode.startswith("I") for mode in modes)
    return Preprocessing(usual if size is None else size, channels or (1 if grey else 3), invert)


def _names(schema: Any, label: str) -> list[str]:
    """The names of the classes, where the file says them."""
    told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = told.get("info", {}).get("features", {}).get(label, {})
    return [str(name) for name in feature.get("names") or []]
