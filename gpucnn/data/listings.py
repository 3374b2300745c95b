"""Tables that name picture files, a line for each, with its label, several labels, or numbers."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, counted, listed
from .arrays import PARTS as ARRAY_PARTS
from .classes import as_targets, is_missing
from .columns import LABELS, NAMELESS, is_number, separator
from .dataset import Dataset
from .files import OWN, check_limit, parsing, refuse_web_page
from .folders import PARTS, is_junk, is_picture, is_picture_name
from .picture_sets import Wanted, dataset_of_files

PART_COLUMNS = ("split", "part", "set", "subset", "usage")
NAMED = {name: part for part, names in ARRAY_PARTS.items() for name in names}  # what a column may call the parts
LOOKED_FOR = 50  # pictures that tell where they lie
LOOKED_AT = 5  # lines that tell whether a table names pictures
EXAMPLES = ("sample", "submission")  # words in the names of Kaggle's tables that hold no labels
INDICES = ("", "index", "unnamed: 0")  # names of a column that only counts


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


def names_pictures(path: Path) -> bool:
    """Whether a column of a .csv or .tsv file holds names of pictures, by its first lines, of which one may be names of
    columns.
    """
    if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
        return False
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in itertools.islice(file, LOOKED_AT) if line.strip()]
            rows = list(csv.reader(lines, delimiter=separator(lines[0]))) if lines else []
    except (OSError, UnicodeDecodeError, csv.Error):
        return False  # what is wrong with it is said by whoever reads it
    return any(all(map(_is_file_name, cells)) for cells in zip(*(rows[1:] or rows)))


def in_folder(folder: Path) -> dict[str, Path]:
    """By part, the tables in a folder that name pictures, as their names say: train.csv, test_labels.csv. One table of
    another name is the "train" part. Empty where there are none, or where it is not clear which is which.
    """
    found = {each: _words(each) for each in sorted(folder.iterdir()) if not is_junk(each.name) and names_pictures(each)}
    found = {path: words for path, words in found.items() if words.isdisjoint(EXAMPLES)}
    if len(found) == 1:
        return {"train": next(iter(found))}
    parts: dict[str, Path] = {}
    for path, words in found.items():
        part = next((part for part, names in PARTS.items() if not words.isdisjoint(names)), "")
        if not part or part in parts:
            return {}
        parts[part] = path
    return {part: parts[part] for part in PARTS if part in parts} if "train" in parts else {}


def _words(path: Path) -> set[str]:
    return set(path.stem.lower().replace("-", "_").split("_"))


def read_table(path: Path, wanted: Wanted) -> Dataset:
    """The data set of one table; a column named split, with train, val and test in it, says the parts."""
    return _read({"train": path}, path, wanted)


def read_tables(folder: Path, wanted: Wanted) -> Dataset:
    """The data set of a folder's table or tables."""
    return _read(in_folder(folder), folder, wanted)


def _read(paths: Mapping[str, Path], where: Path, wanted: Wanted) -> Dataset:
    notes: list[str] = []
    tables = {part: _table(path) for part, path in paths.items()}
    train = tables["train"]
    says_part = _part_column(train)
    if len(tables) == 1 and says_part is not None:
        tables = _parted(train, says_part, notes)
        columns = _targets(train, {says_part}, notes)
    else:
        columns = _targets(train, set(), notes, unused={says_part} - {None})
    names = [train.names[k] for k in columns]
    for part, table in [*tables.items()]:
        if missing := [name for name in names if name not in table.names]:
            if part == "train":
                raise DataError(f"{table}: the column {missing[0]} is missing")
            notes.append(f"left out: {table}, without the column{'s' * (len(missing) > 1)} {listed(missing)}")
            del tables[part]
    files, cells = {}, {}
    for part, table in tables.items():
        places = [table.names.index(name) for name in names]
        paths_of_part, lines = _pictures(table, places, part, notes)
        files[part], cells[part] = paths_of_part, [_cells(table, line, places) for line in lines]
    notes += _unnamed({path for paths in files.values() for path in paths}, train)
    if "validation" in files and "test" not in files:
        files["test"], cells["test"] = files.pop("validation"), cells.pop("validation")
        notes.append("the validation part is taken as the test part; the validation images come from the training part")
    values = _values(cells, names, train, notes)
    given = {part: (array, f"{tables.get(part, train)}") for part, array in values.items()}
    targets, found = as_targets(given, names if len(names) > 1 else None, notes)
    if found is None and targets["train"].ndim == 2:
        found = names
    return dataset_of_files(where, files, targets, found, wanted, notes)


def _table(path: Path) -> Table:
    refuse_web_page(path, OWN)
    check_limit(path.stat().st_size, path)
    remedy = "save it as CSV in UTF-8, with a line for each picture"
    with (
        parsing(path, "cannot be read as a table", remedy),
        open(path, newline="", encoding="utf-8-sig") as file,
    ):
        between = separator(file.readline())
        file.seek(0)
        reader = csv.reader(file, delimiter=between)
        lines = [Line(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    first = lines[0].cells
    has_names = not any(map(_is_file_name, first))
    for line in lines:
        if len(line.cells) != len(first):
            here = f"{'is' if len(line.cells) == 1 else 'are'} {counted(len(line.cells), 'cell')}"
            raise DataError(
                f"{path}: in line {line.number} {here}, and in the first one {len(first)}; add what is missing, or put "
                'cells that hold a comma into quotation marks, "a, b"'
            )
    if has_names:
        lines = lines[1:]
    which = [k for k in range(len(first)) if all(_is_file_name(line.cells[k]) for line in lines[: LOOKED_AT - 1])]
    if len(which) != 1:
        names = [first[k] if has_names else str(k + 1) for k in which]
        found = f"the columns {listed(names)} all name" if which else "no column names"
        raise DataError(f"{path}: {found} pictures; keep one that does, in every line")
    return Table(path, first if has_names else [str(k + 1) for k in range(len(first))], which[0], lines)


def _is_file_name(cell: str) -> bool:
    return is_picture_name(Path(cell.strip()))


def _part_column(table: Table) -> int | None:
    """The column that says the part of each picture, if there is one: by its name, and by the words in it. DataError
    where only some of these name a part.
    """
    for k, name in enumerate(table.names):
        said = [line.cells[k].lower() in NAMED for line in table.lines]
        if name.lower() not in PART_COLUMNS or not any(said):
            continue
        if not all(said):
            line = table.lines[said.index(False)]
            raise DataError(
                f"{table}: in line {line.number} the column {name} holds {line.cells[k]!r}, which is no part's name; "
                "write train, val or test, or name the column otherwise"
            )
        return k
    return None


def _parted(table: Table, column: int, notes: list[str]) -> dict[str, Table]:
    """The table by parts, as a column says them."""
    name, of_line = table.names[column], [(NAMED[line.cells[column].lower()], line) for line in table.lines]
    found = {part for part, _ in of_line}
    if "train" not in found:
        raise DataError(f"{table}: no picture is of the training part by the column {name}; write train for some")
    notes.append(f"{table.path.name}: the column {name} says the parts")
    return {part: table._replace(lines=[line for of, line in of_line if of == part]) for part in PARTS if part in found}


def _targets(table: Table, known: set[int], notes: list[str], unused: Set[int | None] = frozenset()) -> list[int]:
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
    if len(chosen) > 1 and not all(is_number(line.cells[k]) for line in table.lines for k in chosen):
        which = listed([table.names[k] or NAMELESS for k in chosen])
        raise DataError(
            f"{table}: none of the columns {which} is named label, class, target or y; write label over the one that "
            "holds the labels (several labels, or numbers to be predicted, stand in columns of numbers alone)"
        )
    if left := [table.names[k] or NAMELESS for k in range(len(lower)) if k not in {table.files, *chosen, *known}]:
        notes.append(f"{table.path.name}: left out: the column{'s' * (len(left) > 1)} {listed(left)}")
    if len(chosen) > 1:
        which = listed([table.names[k] for k in chosen])
        notes.append(f"{table.path.name}: each picture has {len(chosen)} labels or numbers: {which}")
    return chosen


def _pictures(table: Table, places: Sequence[int], part: str, notes: list[str]) -> tuple[list[Path], list[Line]]:
    """The paths of a part's pictures, and the lines that name them; a line that repeats another one is left out."""
    root = _root(table, part)
    found: dict[Path, Line] = {}
    again = 0
    for line in table.lines:
        path = root / line.cells[table.files]
        if not path.exists() and "\\" in line.cells[table.files]:
            path = root / line.cells[table.files].replace("\\", "/")
        before = found.setdefault(path, line)
        if before is line:
            continue
        if [before.cells[k] for k in places] != [line.cells[k] for k in places]:
            raise DataError(
                f"{table}: {line.cells[table.files]} stands in line {before.number} and, with something else beside "
                f"it, in line {line.number}; keep one of them"
            )
        again += 1
    if again:
        notes.append(f"left out: {counted(again, 'line')} of {table} naming a picture again")
    return [*found], [*found.values()]


def _unnamed(named: set[Path], train: Table) -> list[str]:
    """What is said of pictures beside those that the tables name, which have no line."""
    left: list[str] = []
    for folder in sorted({path.parent for path in named if path.exists()}):
        if count := len(set(filter(is_picture, folder.iterdir())) - named):
            left.append(f"left out: {counted(count, 'picture')} in {folder} without a line in {train.path.name}")
    return left


def _root(table: Table, part: str) -> Path:
    """Where the pictures' names begin: in the table's folder, or in a folder beside it, whichever has the most of the
    first ones; of equal ones the table's folder, or one that is named as the part.
    """
    first = [line.cells[table.files].replace("\\", "/") for line in table.lines[:LOOKED_FOR]]
    beside = sorted(each for each in table.path.parent.iterdir() if each.is_dir() and not is_junk(each.name))
    beside.sort(key=lambda each: each.name.lower() not in PARTS[part])
    return max((table.path.parent, *beside), key=lambda folder: sum((folder / name).exists() for name in first))


def _cells(table: Table, line: Line, places: Sequence[int]) -> list[str]:
    """What stands beside a picture. DataError where something is missing."""
    found = [line.cells[k] for k in places]
    if lacking := [table.names[k] for k, cell in zip(places, found) if is_missing(cell)]:
        raise DataError(
            f"{table}: in line {line.number} the cell of the column {lacking[0]} is missing; add it, or delete the line"
        )
    return found


def _values(
    cells: Mapping[str, list[list[str]]], names: Sequence[str], train: Table, notes: list[str]
) -> dict[str, NDArray[Any]]:
    """Of each part labels (N,), as texts or whole numbers, or rows of numbers (N, K)."""
    together = [cell for rows in cells.values() for row in rows for cell in row]
    if not all(map(is_number, together)):
        return {part: np.array([row[0] for row in rows]) for part, rows in cells.items()}
    values = {part: np.array(rows, float) for part, rows in cells.items()}
    numbers = np.array(together, float)
    if len(names) > 1:
        is_binary = bool(((numbers == 0) | (numbers == 1)).all())
        return {part: array.astype(np.uint8) if is_binary else array for part, array in values.items()}
    is_label = names[0].lower() in LABELS
    if (numbers == np.rint(numbers)).all() and (is_label or not any("." in cell for cell in together)):
        if not is_label:
            notes.append(
                f"{train.path.name}: whole numbers in the column {names[0]} are taken as classes; numbers to be "
                "predicted are written with decimals, as 30.0"
            )
        return {part: array[:, 0].astype(np.int64) for part, array in values.items()}
    return values
