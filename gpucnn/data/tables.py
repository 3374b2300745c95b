"""Data sets in tables: CSV files with a row of pixels for each picture, and .npy files side by side."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .arrays import KINDS, PARTS, chosen, dataset_of_arrays, role
from .dataset import Dataset
from .files import check_limit, parsing, refuse_web_page

LABELS = KINDS["labels"]


def has_npy_files(folder: Path) -> bool:
    """Whether there are .npy files whose names are those of images and labels."""
    return any(role(path.stem) is not None for path in folder.glob("*.npy"))


def read_npy_folder(folder: Path) -> Dataset:
    """The data set of .npy files such as x_train.npy and y_train.npy. DataError; nothing pickled is ever opened."""
    paths = {path.stem: path for path in sorted(folder.glob("*.npy"))}
    pairs, _ = chosen(list(paths), str(folder))
    used = [key for pair in pairs.values() for key in pair] + [key for key in paths if key == "class_names"]
    arrays = {key: _read_npy(paths[key]) for key in used}
    return dataset_of_arrays(arrays, str(folder), _unused(folder, paths, used))


def _unused(folder: Path, paths: dict[str, Path], used: list[str]) -> list[str]:
    others = [path.name for key, path in paths.items() if key not in used]
    return [f"left out: {', '.join(others)} in {folder}, which are no images or labels of a part"] if others else []


def _read_npy(path: Path) -> Any:
    refuse_web_page(path)
    with parsing(path, "cannot be read as an array", "write it again with numpy.save of a plain array"):
        return np.load(path, allow_pickle=False)


def csv_files(folder: Path) -> dict[str, Path]:
    """The .csv files of a folder by the part that their name says, such as train.csv and mnist_test.csv."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.csv")):
        words = path.stem.lower().replace("-", "_").split("_")
        for part, names in PARTS.items():
            if any(word in names for word in words):
                if part in found:
                    raise DataError(f"{folder}: {found[part].name} and {path.name} are both the {part} part; move one")
                found[part] = path
    return found


def read_csv_folder(folder: Path) -> Dataset:
    """The data set of files such as train.csv and test.csv; one without labels, as Kaggle's test.csv, is left out."""
    arrays: dict[str, Any] = {}
    notes: list[str] = []
    for part, path in csv_files(folder).items():
        try:
            arrays |= {f"{part}_{kind}": array for kind, array in _read_csv(path, notes).items()}
        except _NoLabelsError as error:
            if part == "train":
                raise
            notes.append(f"left out: {error}")
    return dataset_of_arrays(arrays, str(folder), notes)


def read_csv(path: Path) -> Dataset:
    """The data set of one .csv file, of which a fifth becomes the test part."""
    notes: list[str] = []
    return dataset_of_arrays(_read_csv(path, notes), str(path), notes)


class _NoLabelsError(DataError):
    """There are pixels, and no column of labels."""


def _read_csv(path: Path, notes: list[str]) -> dict[str, Any]:
    """Images (N, H, W) or (N, H, W, 3), and labels (N,).

    The labels stand in the column that is named label, class, target or y, or in the first one. The pixels of a
    picture stand row by row, and are a square number, or three times one.
    """
    refuse_web_page(path)
    check_limit(path.stat().st_size, path)
    with parsing(path, "cannot be read as a table", "save it as CSV in UTF-8, with a row for each picture"):
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = next(csv.reader(file), [])
        header = first if not all(map(_is_number, first[1:])) else []
        column, is_named = _label_column(path, header, len(first))
        codes: dict[str, int] = {}
        values = np.loadtxt(
            path,
            dtype=np.float32,
            delimiter=",",
            quotechar='"',
            skiprows=int(bool(header)),
            converters={column: lambda text: codes.setdefault(text, len(codes))},
            encoding="utf-8-sig",
            ndmin=2,
        )
    texts = np.array(list(codes))[values[:, column].astype(np.int64)]
    pixels = np.delete(values, column, axis=1)
    if not is_named:
        notes.append(f"{path.name}: the first column is taken as the labels")
    shape = _square(path, pixels.shape[1])
    notes.append(f"{path.name}: {pixels.shape[1]} columns of pixels are taken as {'x'.join(map(str, shape))}")
    labels = texts.astype(float) if all(map(_is_number, codes)) else texts
    is_whole = labels.dtype.kind == "f" and bool((labels == np.rint(labels)).all())
    return {"images": pixels.reshape(-1, *shape), "labels": labels.astype(np.int64) if is_whole else labels}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _label_column(path: Path, header: list[str], columns: int) -> tuple[int, bool]:
    """The column of the labels, and whether it has a name that says so."""
    if columns < 2:
        raise DataError(
            f"{path}: the first row has {columns} columns; a label and the pixels of a picture were expected"
        )
    named = [k for k, name in enumerate(header) if name.strip().lower() in LABELS]
    if len(named) > 1:
        raise DataError(f"{path}: the columns {', '.join(header[k] for k in named)} may all be the labels; keep one")
    if not named and header and math.isqrt(columns) ** 2 == columns:
        raise _NoLabelsError(
            f"{path}: {columns} columns of pixels, and none is named label; name the column of the labels"
        )
    return (named[0], True) if named else (0, False)


def _square(path: Path, count: int) -> tuple[int, ...]:
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if channels * side * side == count:
            return (side, side) if channels == 1 else (side, side, channels)
    raise DataError(
        f"{path}: {count} columns of pixels make no square picture; save an .npz with images (N, H, W) and labels"
    )
