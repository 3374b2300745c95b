"""What a table says of the pictures that it names: a class, several labels, or numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, listed
from .classes import are_numbers, is_missing
from .columns import LABELS, NAMELESS, is_number

AS_CLASSES = (
    "{table}: whole numbers in the column {column} are taken as classes; numbers to be predicted are written with "
    "decimals, as 30.0, or told by numbers=True"
)
INDICES = ("", "index", "unnamed: 0")  # names of a column that only counts
COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+")  # a number of a German or French spreadsheet
THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+")  # a number of an English one
TRUTH = ("true", "false")
ENDLESS = ("inf", "infinity")
WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,8})(\.0+)?")  # as one class is written


class Line(NamedTuple):
    """A line of a table, the first of which is 1, and its cells."""

    number: int
    cells: list[str]


class Table(NamedTuple):
    """Lines that each name a picture, in the column `files`; names: of all columns."""

    path: Path
    names: list[str]
    files: int
    lines: list[Line]

    def __str__(self) -> str:
        return str(self.path)


def targets(table: Table, known: set[int], notes: list[str], unused: Set[int | None] = frozenset()) -> list[int]:
    """The columns of the labels: the one that is named so, or the only one; or all, where they hold numbers alone.

    known: columns that are something else, as those of unused are, which is said.
    """
    lower = [name.lower() for name in table.names]
    others = [k for k in range(len(lower)) if k not in {table.files, *known, *unused} and lower[k] not in INDICES]
    are_places = "x" in lower and "y" in lower  # two numbers, and no label y
    named = [k for k in others if lower[k] in LABELS and not (are_places and lower[k] == "y")]
    if len(named) > 1:
        raise DataError(
            f"{table}: the columns {listed([table.names[k] for k in named])} may all be the labels; keep one"
        )
    if not others:
        raise DataError(
            f"{table}: names pictures, and nothing stands beside them; add a column named label with the class of each"
        )
    chosen = named or others
    if not named:
        _check_numbers(table, chosen)
    here = {line.cells[k] for line in table.lines for k in chosen}
    if len(chosen) > 1 and not all(is_number(cell) or is_missing(cell) for cell in here):
        which = listed([table.names[k] or NAMELESS for k in chosen])
        cells = ((line, k) for line in table.lines for k in chosen)
        line, k = next((line, k) for line, k in cells if not (is_number(line.cells[k]) or is_missing(line.cells[k])))
        raise DataError(
            f"{table}: none of the columns {which} is named label, class, target or y; write label over the one that "
            "holds the labels (several labels, or numbers to be predicted, stand in columns of numbers alone, and in "
            f"line {line.number} the column {table.names[k] or NAMELESS} holds {line.cells[k]!r})"
        )
    if left := [table.names[k] or NAMELESS for k in range(len(lower)) if k not in {table.files, *chosen, *known}]:
        notes.append(f"{table.path.name}: left out: the column{'s' * (len(left) > 1)} {listed(left)}")
    if len(chosen) > 1:
        which = listed([table.names[k] for k in chosen])
        notes.append(f"{table.path.name}: each picture has {len(chosen)} labels or numbers: {which}")
    return chosen


def _check_numbers(table: Table, places: Sequence[int]) -> None:
    """DataError, with the line, for the first cell that is no number where most of each column are or shall be such.

    Truth values alone in a single column are classes.
    """
    cells = [[line.cells[k] for line in table.lines] for k in places]
    are_like = all(sum(map(_is_like_number, column)) > len(column) / 2 for column in cells)
    if not are_like or (len(places) == 1 and all(cell.lower() in TRUTH for cell in cells[0])):
        return
    for line in table.lines:
        for k in places:
            if not is_number(line.cells[k]) and not is_missing(line.cells[k]):
                raise DataError(_no_number(table, line, k))


def _is_like_number(cell: str) -> bool:
    if THOUSANDS.fullmatch(cell):
        return True
    return is_number(cell) or COMMA.fullmatch(cell) is not None or cell.lower().lstrip("+-") in (*TRUTH, *ENDLESS)


def _no_number(table: Table, line: Line, k: int) -> str:
    cell = line.cells[k]
    mend = "correct it, or delete the line"
    if COMMA.fullmatch(cell):
        mend = f"write a point for the comma, {cell.replace(',', '.')}, in all lines"
    if THOUSANDS.fullmatch(cell):
        other = f"; if it does not, {mend}" if COMMA.fullmatch(cell) else ""
        mend = f"if the comma parts thousands, leave it out, {cell.replace(',', '')}, in all lines{other}"
    if cell.lower() in TRUTH:
        mend = "write 1 for true and 0 for false, in all lines"
    return f"{table}: in line {line.number} the column {table.names[k]} holds {cell!r}, which is no number; {mend}"


def cells_of(table: Table, line: Line, places: Sequence[int]) -> list[str]:
    """What stands beside a picture. DataError where something is missing, or, of several columns, is no number."""
    found = [line.cells[k] for k in places]
    if lacking := [table.names[k] for k, cell in zip(places, found) if is_missing(cell)]:
        raise DataError(
            f"{table}: in line {line.number} the cell of the column {lacking[0]} is missing; add it, or delete the line"
        )
    if len(places) > 1 and (strange := [k for k, cell in zip(places, found) if not is_number(cell)]):
        raise DataError(_no_number(table, line, strange[0]))
    return found


def values_of(
    cells: Mapping[str, list[list[str]]], names: Sequence[str], train: Table, notes: list[str]
) -> dict[str, NDArray[Any]]:
    """By part, the labels (N,), as texts or whole numbers, or rows of numbers (N, K)."""
    together = [cell for rows in cells.values() for row in rows for cell in row]
    texts = {part: np.array([row[0] for row in rows]) for part, rows in cells.items()}
    if not all(map(is_number, together)):
        return texts
    values = {part: np.array(rows, float) for part, rows in cells.items()}
    numbers = np.array(together, float)
    if len(names) == 1 and are_numbers():
        return values
    if len(names) > 1:
        is_binary = bool(((numbers == 0) | (numbers == 1)).all())
        return {part: array.astype(np.uint8) if is_binary else array for part, array in values.items()}
    is_label = names[0].lower() in LABELS
    is_whole = all(map(WHOLE.fullmatch, together))
    if is_label and not is_whole and len(set(numbers.tolist())) < len(set(together)):
        return texts  # 1.1 and 1.10, 0 and 00: numbers would make one of two
    if is_whole and (is_label or not any("." in cell for cell in together)):
        if not is_label:
            notes.append(AS_CLASSES.format(table=train.path.name, column=names[0]))
        return {part: array[:, 0].astype(np.int64) for part, array in values.items()}
    return texts if numbers.size and (numbers == np.rint(numbers)).all() and "." not in "".join(together) else values
