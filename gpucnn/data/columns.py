"""Which columns of a table hold labels and which pixels, by their names and, without these, by what stands in them."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, listed
from .arrays import KINDS
from .classes import MANY

LABELS = KINDS["labels"]
FEW = 100  # different numbers that may be classes
LEAST = 9  # columns whose names 0, 1, 2, ... are no pixels
NAMELESS = "(without a name)"
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
SEPARATORS = ",;\t"
REORDERED = "the columns of pixels are taken in the order of the numbers in their names, not in that of the table"


class Columns(NamedTuple):
    """The place of the labels, those of the pixels, (H, W) or (H, W, 3) of a picture, and whether a header is there."""

    labels: int
    pixels: list[int]
    shape: tuple[int, ...]
    has_header: bool


class NoLabelsError(DataError):
    """There are pixels, and no column of labels."""


def is_number(text: str) -> bool:
    """Whether it is a finite number as tables have it: 1_0, which Python takes for 10, is a text."""
    return NUMBER.fullmatch(text.strip()) is not None and math.isfinite(float(text))


def separator(line: str) -> str:
    """What stands between the cells: a comma, or a semicolon or tab where there are more of them."""
    return max(SEPARATORS, key=line.count)


def columns(path: Path, first: Sequence[str], between: str, notes: list[str]) -> Columns:
    """The columns of a table whose first row is that. What was assumed goes into notes. Raises DataError.

    Labels stand in the column that is named label, class, target or y; else in the only one whose name does not end in
    a number; else in the first or the last one. Pixels stand row by row, and are a square number, or three times one.
    """
    if len(first) < 2:
        raise DataError(
            f"{path}: the first row has {len(first)} columns; a label and the pixels of a picture were expected"
        )
    names = [name.strip() for name in first] if _is_header(first) else []
    if not names and not first[-1].strip() and not any(_cells(path, between, -1, skip=False)):
        raise DataError(
            f"{path}: every line ends with {between!r}, behind which a cell was expected; delete it at the end of each"
        )
    index = [k for k, name in enumerate(names) if not name]  # as pandas writes that of a table
    kept = [k for k in range(len(first)) if k not in set(index)]
    labels = _chosen(path, names, kept, index, between, notes)
    pixels = [k for k in kept if k != labels]
    numbered = [k for k in pixels if names and names[k][-1].isdigit()]
    if shape_of(len(pixels)) is None and shape_of(len(numbered)):
        pixels = numbered
    if unused := [names[k] or NAMELESS for k in range(len(first)) if k not in {labels, *pixels}]:
        notes.append(f"{path.name}: left out, because no number ends the name: the columns {listed(unused)}")
    shape = shape_of(len(pixels))
    if shape is None:
        raise DataError(
            f"{path}: {len(pixels)} columns of pixels make no square picture; save an .npz with images (N, H, W) and "
            "labels"
        )
    if names and (order := by_number([names[k] for k in pixels])):
        pixels = [pixels[k] for k in order]
        notes.append(f"{path.name}: {REORDERED}")
    return Columns(labels, pixels, shape, bool(names))


def by_number(names: Sequence[str]) -> list[int]:
    """Places of the names in the order of their last numbers, which are all that differs, where they do not ascend: as
    where names were sorted as texts, pixel0, pixel1, pixel10. Else empty.
    """
    last = re.compile(r"[0-9]+(?=[^0-9]*$)")
    found = [last.search(name) for name in names]
    numbers = [int(each[0]) for each in found if each]
    is_told = len(set(numbers)) == len(names) and len({last.sub("", name) for name in names}) == 1
    return sorted(range(len(names)), key=numbers.__getitem__) if is_told and numbers != sorted(numbers) else []


def pixel_columns(names: Sequence[str]) -> tuple[str, list[str]] | None:
    """The column of the labels and those of the pixels, by their names; None where they are not such."""
    labels = [name for name in names if name.lower() in LABELS]
    pixels = [name for name in names if name[-1:].isdigit() and name not in labels]
    return (labels[0], pixels) if len(labels) == 1 and len(pixels) > 1 and shape_of(len(pixels)) else None


def shape_of(count: int) -> tuple[int, ...] | None:
    """(H, W), or (H, W, 3), of a square picture with so many numbers; None where there is none."""
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if side and channels * side * side == count:
            return (side, side) if channels == 1 else (side, side, channels)
    return None


def _is_header(first: Sequence[str]) -> bool:
    """Whether the first row holds names: words between its ends, or the numbers of the columns."""
    if not all(map(is_number, first[1:-1] or first[1:])):
        return True
    numbers = [float(each) for each in first if is_number(each)]
    return len(numbers) >= LEAST and numbers in ([*range(len(numbers))], [*range(1, 1 + len(numbers))])


def _chosen(
    path: Path, names: Sequence[str], kept: Sequence[int], index: Sequence[int], between: str, notes: list[str]
) -> int:
    """The column of the labels. names: of the columns, or none; index: those without a name, kept: the others."""
    named = [k for k in kept if names and names[k].lower() in LABELS]
    numbered = [k for k in kept if names and names[k][-1].isdigit()]
    others = [k for k in kept if names and k not in set(numbered)]
    if len(named) > 1:
        raise DataError(f"{path}: the columns {', '.join(names[k] for k in named)} may all be the labels; keep one")
    if named:
        return named[0]
    if len(others) == 1 and shape_of(len(numbered)):
        notes.append(f"{path.name}: the column {names[others[0]]} is taken as the labels: all others end in a number")
        return others[0]
    if names and shape_of(len(kept)):
        if len(index) == 1 and _are_classes(_cells(path, between, index[0])):
            notes.append(f"{path.name}: the column {NAMELESS} is taken as the labels: all others end in a number")
            return index[0]
        raise NoLabelsError(
            f"{path}: {len(kept)} columns of pixels, and none is named label; name the column of the labels"
        )
    if others and (shape_of(len(kept) - 1) is None or shape_of(len(numbered))):
        which = [names[k] for k in (others if shape_of(len(numbered)) else kept)]
        raise DataError(
            f"{path}: none of the columns {listed(which)} is named label, class, target or y; write label over the one "
            "that holds the labels"
        )
    first, last = (_cells(path, between, k, skip=bool(names)) for k in (kept[0], -1))
    if _are_classes(last) and not _are_classes(first) and not (set(last) == {"0", "1"} and _are_few(first)):
        notes.append(
            f"{path.name}: the last column is taken as the labels: its values are classes, those of the first are not"
        )
        return kept[-1]
    notes.append(f"{path.name}: the first column is taken as the labels")
    return kept[0]


def _cells(path: Path, between: str, place: int, *, skip: bool = True) -> list[str]:
    """What stands in the column at that place, below the header where there is one to skip; at -1: in the last one."""
    with open(path, encoding="utf-8-sig") as file:
        if skip:
            next(csv.reader(file, delimiter=between), None)
        lines = (line.strip(" \r\n") for line in file)
        if place < 0:
            return [line.rpartition(between)[2] for line in lines if line]
        return [line.split(between, place + 1)[place] for line in lines if line.count(between) >= place and line]


def _are_few(cells: Sequence[str]) -> bool:
    """Whether cells may be labels, some of whose numbers are missing; a black and white pixel is 0 and 1, too."""
    present = {cell.strip(' "') for cell in cells}
    whole = all(cell.isascii() and cell.isdecimal() for cell in present)
    return whole and 2 <= len(present) <= min(FEW, len(cells) / 2)


def _are_classes(cells: Sequence[str]) -> bool:
    """Whether cells are labels: some texts, or all of the whole numbers from 0 or 1 on, that come again."""
    present = {cell.strip(' "') for cell in cells}
    if not 2 <= len(present) <= min(MANY, len(cells) / 2):
        return False
    if not all(map(is_number, present)):
        return not any(map(is_number, present))
    numbers = sorted(map(float, present))
    return numbers[0] in (0, 1) and numbers == [numbers[0] + k for k in range(len(numbers))]
