"""Data sets in tables: CSV files with a row of pixels for each picture, and .npy files side by side."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, counted
from .arrays import OTHER, PARTS, chosen, dataset_of_arrays, role
from .classes import are_numbers, is_missing
from .columns import NAMELESS, Columns, NoLabelsError, columns, is_number, separator
from .dataset import Dataset
from .files import OWN, check_limit, parsing, refuse_web_page
from .folders import in_order, is_picture_name

ENDINGS = (".csv", ".tsv")
WHOLE = re.compile(r"-?(0|[1-9][0-9]*)(\.0*)?")  # as numbers are written
LARGEST = 2**63 - 1


def has_npy_files(folder: Path) -> bool:
    """Whether there are .npy files whose names are those of images and labels."""
    return any(role(path.stem) is not None for path in folder.glob("*.npy"))


def read_npy_folder(folder: Path) -> Dataset:
    """The data set of .npy files such as x_train.npy and y_train.npy. DataError; nothing pickled is ever opened."""
    paths = {path.stem: path for path in in_order(folder.glob("*.npy"))}
    pairs, _ = chosen(list(paths), str(folder))
    used = [key for pair in pairs.values() for key in pair] + [key for key in paths if key == "class_names"]
    arrays = {key: _read_npy(paths[key]) for key in used}
    return dataset_of_arrays(arrays, str(folder), _unused(folder, paths, used))


def read_npy_file(path: Path) -> Dataset:
    """The data set of the .npy files in the folder of this one, if it is among its images or labels. DataError."""
    folder, of_this = path.parent, role(path.stem)
    refuse_web_page(path, OWN)
    if of_this is None:
        raise DataError(
            f"{path}: one array, and a data set has two; name them images.npy and labels.npy, or x_train.npy and "
            "y_train.npy, in a folder of their own, and give the folder"
        )
    part, kind = of_this
    other = OTHER[kind]
    if (part, other) not in [role(each.stem) for each in folder.glob("*.npy")]:
        raise DataError(
            f"{path}: only the {kind}; put the {other} beside it, as {'_'.join(filter(None, (part, other)))}.npy"
        )
    found = read_npy_folder(folder)
    return replace(found, notes=(f"{path.name} is read together with the .npy files beside it", *found.notes))


def _unused(folder: Path, paths: dict[str, Path], used: list[str]) -> list[str]:
    others = [path.name for key, path in paths.items() if key not in used]
    return [f"left out: {', '.join(others)} in {folder}, which are no images or labels of a part"] if others else []


def _read_npy(path: Path) -> Any:
    refuse_web_page(path, OWN)
    with parsing(path, "cannot be read as an array", "write it again with numpy.save of a plain array"):
        return np.load(path, allow_pickle=False)


def table_files(folder: Path) -> list[Path]:
    """The .csv and .tsv files in a folder, whatever they hold."""
    return in_order(each for each in folder.iterdir() if each.suffix.lower() in ENDINGS)


def words(path: Path) -> set[str]:
    """The words that the name of a table's file is made of, in small letters."""
    return set(path.stem.lower().replace("-", "_").split("_"))


def csv_files(folder: Path) -> dict[str, Path]:
    """The .csv and .tsv files of a folder by the part that their name says, such as train.csv and mnist_test.tsv."""
    found: dict[str, Path] = {}
    for path in table_files(folder):
        for part, names in PARTS.items():
            if not words(path).isdisjoint(names):
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
        except NoLabelsError as error:
            if part == "train":
                raise
            notes.append(f"left out: {error}")
    return dataset_of_arrays(_numbered(arrays), str(folder), notes)


def read_csv(path: Path) -> Dataset:
    """The data set of one .csv file, of which a fifth becomes the test part."""
    notes: list[str] = []
    parts = csv_files(path.parent)
    if path in parts.values() and len(parts) > 1:
        others = ", ".join(each.name for each in parts.values() if each != path)
        notes.append(f"{path.name} is read alone; to use {others} beside it, give the folder")
    return dataset_of_arrays(_numbered(_read_csv(path, notes)), str(path), notes)


def _numbered(arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays, in which labels of all parts, texts (N,), are numbers where numbers are written so. 01, 1e3 and what
    no integer holds are names: as numbers, different ones might be one.
    """
    labels = {key: array for key, array in arrays.items() if key.endswith("labels")}
    known = {text for array in labels.values() for text in np.unique(array).tolist()}
    if not all(map(is_number, known)):
        return arrays
    if are_numbers() or not all(float(text).is_integer() for text in known):
        return arrays | {key: array.astype(float) for key, array in labels.items()}
    if not all(WHOLE.fullmatch(text) and abs(int(text.partition(".")[0])) <= LARGEST for text in known):
        return arrays
    for key, array in labels.items():
        texts, places = np.unique(array, return_inverse=True)
        arrays[key] = np.array([int(text.partition(".")[0]) for text in texts.tolist()], np.int64)[places]
    return arrays


def _read_csv(path: Path, notes: list[str]) -> dict[str, Any]:
    """Images (N, H, W) or (N, H, W, 3), and labels (N,), texts; see `columns.columns`."""
    refuse_web_page(path, OWN)
    check_limit(path.stat().st_size, path)
    with parsing(path, "cannot be read as a table", "save it as CSV in UTF-8, with a row for each picture"):
        with open(path, newline="", encoding="utf-8-sig") as file:
            between = separator(file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=between)
            first = next(reader, [])
            is_alone = not any(map(str.strip, file))
        found = columns(path, first, between, notes)
        if found.has_header and is_alone:
            raise DataError(f"{path}: there is no row below the header; add one for each picture")
        codes: dict[str, int] = {}
        unused = set(range(len(first))) - {found.labels, *found.pixels}
        read: dict[int | str, Callable[[str], float]] = {k: lambda text: 0.0 for k in unused}
        read[found.labels] = lambda text: codes.setdefault(text.strip(), len(codes))
        try:
            values = np.loadtxt(
                path,
                dtype=np.float32,
                delimiter=between,
                quotechar='"',
                skiprows=reader.line_num if found.has_header else 0,
                comments=None,
                converters=read,
                encoding="utf-8-sig",
                ndmin=2,
            )
        except ValueError:
            _check_rows(path, first, between, found)
            raise
        if any(map(is_missing, codes)) or values.shape[1] != len(first) or not np.isfinite(values).all():
            _check_rows(path, first, between, found)
    texts = np.array(list(codes))[values[:, found.labels].astype(np.int64)]
    notes.append(f"{path.name}: {len(found.pixels)} columns of pixels are taken as {'x'.join(map(str, found.shape))}")
    return {"images": values[:, found.pixels].reshape(-1, *found.shape), "labels": texts}


def _check_rows(path: Path, first: Sequence[str], between: str, found: Columns) -> None:
    """DataError with the line of the file in which a row has another length, or a cell is missing or no number."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader, pictures = csv.reader(file, delimiter=between), 0
        if found.has_header:
            next(reader, None)
        for row in reader:
            if not row:
                continue
            pictures += 1
            if wrong := _wrong(row, first, found, pictures):
                raise DataError(f"{path}: cannot be read as a table: in line {reader.line_num} {wrong}")


def _wrong(row: Sequence[str], first: Sequence[str], found: Columns, picture: int) -> str:
    """What is wrong with a row, and what to do about it; "" where nothing is."""
    mend = "; add what is missing, or delete the line"
    if len(row) == len(first) + 1 and not row[-1].strip():
        return (
            "an empty cell stands at the end, one more than in the first one; delete what separates it from the rest, "
            "in all lines that end so"
        )
    if len(row) != len(first):
        found_here = f"{'is' if len(row) == 1 else 'are'} {counted(len(row), 'cell')}"
        return f"{found_here}, and in the first one {len(first)}{mend}"
    if is_missing(row[found.labels]):
        return f"the label of picture {picture} is missing{mend}"
    for k in found.pixels:
        cell, name = row[k].strip(), (first[k].strip() or NAMELESS) if found.has_header else str(k + 1)
        if is_missing(cell):
            return f"the pixel in the column {name} is missing{mend}"
        if is_picture_name(Path(cell)):
            return (
                f"{cell} in the column {name} is the name of a picture, and pixels were expected; put the pictures "
                "into a folder with a sub-folder for each class, and give that"
            )
        if not is_number(cell):
            return f"{cell!r} in the column {name} is no number, as pixels are; correct it, or delete the column"
    return ""
