"""Image data sets of Hugging Face, as Parquet files or as saved to disk; pyarrow reads them, where it is installed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, counted, listed
from .arrays import KINDS, PARTS, dataset_of_arrays
from .classes import check_objects
from .columns import LABELS, REORDERED, by_number, pixel_columns, shape_of
from .dataset import Dataset
from .files import parsing
from .picture_sets import DEFAULT_SIZE, Wanted, tell_broken
from .pictures import decoded, is_grey, opened, side_by_side, upright
from .preprocessing import Preprocessing
from .summary import summed_up

REMEDY = "save the data set again, or check that it is one of pictures"
IMAGES = (*KINDS["images"], "img")  # names of a column of pictures
FINE = "fine_label"  # of CIFAR-100
LARGEST_OWN = 64  # pixels of a side up to which pictures of one size keep it


def files(path: Path) -> dict[str, list[Path]]:
    """The Parquet or Arrow files at a path by part; "train" where their names say none. Empty where there are none."""
    if path.is_file():
        return {"train": [path]} if path.suffix == ".parquet" else {}
    found = sorted(
        [*path.glob("*.parquet"), *path.glob("data/*.parquet"), *path.glob("*.arrow"), *path.glob("*/*.arrow")],
        key=lambda file: file.parts,
    )
    parts: dict[str, list[Path]] = {}
    for file in found:
        word = (
            file.parent.name if file.suffix == ".arrow" and file.parent != path else file.name.split("-")[0]
        ).lower()
        part = next((part for part, names in PARTS.items() if word.split(".")[0] in names), "train")
        parts.setdefault(part, []).append(file)
    return parts


def are_pixels(path: Path) -> bool:
    """Whether the files there have a row of pixels for each picture; False where that cannot be seen."""
    with suppress(ImportError, OSError, ValueError):
        first = next(iter(files(path).values()))[0]
        return _pixel_columns(_schema(first)) is not None
    return False


def read(path: Path, wanted: Wanted) -> Dataset:
    """The data set of a Parquet file, or of a folder with some, or of what `Dataset.save_to_disk` wrote.

    A column holds the pictures, as bytes, and another one the labels; or each of many a pixel, as in Kaggle's CSV.
    Pictures keep their size where they are all alike and small, unless one is wanted. DataError.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise DataError(
            f"{path}: pyarrow, which reads these files, is not installed; run `pip install pyarrow`"
        ) from None
    arrays: dict[str, Any] = {}
    rows: dict[str, Any] = {}  # of the images that were read
    notes: list[str] = []
    how: Preprocessing | None = None
    are_pixels, total = False, 0
    broken: dict[Any, str] = {}
    done: dict[str, list[str]] = {}
    with parsing(path, "cannot be read", REMEDY):
        for part, of_part in sorted(files(path).items(), key=lambda each: each[0] != "train"):
            tables = [_table(file) for file in of_part]
            schema = tables[0].schema
            if found := _pixel_columns(schema):
                are_pixels = True
                arrays |= {
                    f"{part}_{kind}": array for kind, array in _pixels(tables, *found, of_part[0], notes).items()
                }
                notes.append(f"{of_part[0].name}: {counted(len(found[1]), 'column')} of pixels are taken as pictures")
                notes += _unused(schema, of_part[0], {found[0], *found[1]})
                continue
            pictures, labels = _columns(schema, of_part[0])
            notes += _unused(schema, of_part[0], {pictures, labels})
            contents = {
                k: v for file, table in zip(of_part, tables) for k, v in _contents(table, pictures, file, broken)
            }
            total += sum(map(len, tables))
            how = how or _how(contents, wanted, path, notes)
            images = _decoded(contents, how, broken, done)
            whole = np.array([image is not None for image in images], bool)
            arrays[f"{part}_images"] = np.array([image for image in images if image is not None], np.uint8)
            arrays[f"{part}_labels"] = _labels(tables, labels, of_part[0])[whole]
            rows[f"{part}_images"] = np.flatnonzero(whole)
            names = _names(schema, labels)
            if part == "train" and names:
                arrays["class_names"] = np.array(names)
    if broken:
        are_left = all(len(array) for name, array in arrays.items() if name.endswith("_labels"))
        tell_broken(path, broken, total, notes, wanted, are_left=are_left)
    notes += summed_up(done)
    if are_pixels:
        wanted.refuse_for_arrays(path)
    return dataset_of_arrays(arrays, str(path), notes, how, rows)


def _unused(schema: Any, file: Path, used: set[str]) -> list[str]:
    """What is said of other columns, and of labels that have no usual name beside other ones."""
    others = [name for name in schema.names if name not in used]
    taken = [f"{file.name}: {FINE} is taken as the label"] if others and FINE in used else []
    return taken + ([f"{file.name}: left out: the columns {listed(others)}"] if others else [])


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


def _pixels(tables: Sequence[Any], label: str, pixels: Sequence[str], file: Path, notes: list[str]) -> dict[str, Any]:
    """Images (N, H, W) or (N, H, W, 3) and labels (N,) of a table with a row of pixels for each picture."""
    if order := by_number(pixels):
        pixels = [pixels[k] for k in order]
        notes.append(f"{file.name}: {REORDERED}")
    rows = np.concatenate([np.stack([table.column(name).to_numpy() for name in pixels], axis=1) for table in tables])
    shape = shape_of(len(pixels)) or ()
    return {"images": rows.reshape(-1, *shape), "labels": _labels(tables, label, file)}


def _labels(tables: Sequence[Any], name: str, file: Path) -> Any:
    labels = [each for table in tables for each in table.column(name).to_pylist()]
    check_objects(labels, f"{file}: {name}")
    return np.array(labels)


def _schema(file: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    if file.suffix == ".parquet":
        return parquet.read_schema(file)
    with pyarrow.memory_map(str(file)) as source:
        return pyarrow.ipc.open_stream(source).schema


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
        known = IMAGES if kind == "images" else (*LABELS, FINE)
        names = [name for name in schema.names if name.lower() in known]
        if len(names) != 1:
            raise DataError(
                f"{file}: the columns are {listed(schema.names)}; one named image and one named label were "
                "expected; rename or drop some"
            )
        found.append(names[0])
    return found[0], found[1]


def _contents(table: Any, name: str, file: Path, broken: dict[Any, str]) -> Iterator[tuple[str, bytes]]:
    """(place, bytes) of each picture, the place for messages: from the column, or from the file whose path it gives.

    b"" where there are none; broken: gets why.
    """
    for k, value in enumerate(table.column(name).to_pylist(), 1):
        where = f"{file}: picture {k}"
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None and isinstance(value, dict) and value.get("path"):
            try:
                content = (file.parent / value["path"]).read_bytes()
            except OSError as error:
                broken[where] = f"{where}: {value['path']} cannot be read ({error.strerror})"
        if not isinstance(content, bytes):
            kind = "is missing" if content is None else f"is {type(content).__name__}"
            broken.setdefault(where, f"{where} {kind}, bytes of an image file were expected")
            content = b""
        yield where, content


def _decoded(
    contents: Mapping[str, bytes], how: Preprocessing, broken: dict[Any, str], done: dict[str, list[str]]
) -> list[Any]:
    """The pictures (H, W, C), None where one cannot be read. done: gets what was done to them."""
    known = dict(broken)

    def read(item: tuple[str, bytes]) -> tuple[Any, list[str] | str]:
        said: list[str] = []
        where, content = item
        try:
            return None if where in known else decoded(io.BytesIO(content), where, how, said), said
        except DataError as error:
            return None, str(error)

    images = []
    for where, (image, said) in zip(contents, side_by_side(read, [*contents.items()])):
        images.append(image)
        if isinstance(said, str):
            broken[where] = said
        elif said:
            done[where] = said
    return images


def _how(contents: Mapping[str, bytes], wanted: Wanted, path: Path, notes: list[str]) -> Preprocessing:
    """How the pictures become images: in their own size, where all have one that is small. What is said of their sizes
    goes into notes.
    """
    sizes, modes = [], set()
    if not contents:
        raise DataError(f"{path}: holds no pictures; give at least one")
    for where, content in contents.items():
        with suppress(DataError), opened(io.BytesIO(content), where) as picture:
            sizes.append(upright(picture))
            modes.add(picture.mode)
    own = next(iter(sizes), DEFAULT_SIZE)
    usual = own if len(set(sizes)) == 1 and max(own) <= LARGEST_OWN else DEFAULT_SIZE
    how = wanted.how(usual, grey=all(map(is_grey, modes)))
    notes += wanted.told(sizes, how)
    return how


def _names(schema: Any, label: str) -> list[str]:
    """The names of the classes, where the file says them."""
    told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = told.get("info", {}).get("features", {}).get(label, {})
    return [str(name) for name in feature.get("names") or []]
