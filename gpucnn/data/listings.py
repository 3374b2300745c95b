"""Tables that name picture files, a line for each, with its label, several labels, or numbers."""

from __future__ import annotations

import csv
import itertools
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DataError, counted, listed
from .arrays import PARTS as ARRAY_PARTS
from .classes import as_targets
from .columns import separator
from .dataset import Dataset
from .files import OWN, check_limit, parsing, refuse_web_page
from .folders import PARTS, SUFFIXES, in_order, is_junk, is_picture, is_picture_name
from .picture_sets import Wanted, dataset_of_files
from .table_labels import AS_CLASSES, Line, Table, cells_of, targets, values_of
from .tables import ENDINGS, table_files, words

PART_COLUMNS = ("split", "part", "set", "subset", "usage")
NAMED = {name: part for part, names in ARRAY_PARTS.items() for name in names}  # what a column may call the parts
LOOKED_FOR = 50  # pictures that tell where they lie
LOOKED_AT = 5  # lines that tell whether a table names pictures
MOST_BESIDE = 16  # cells of a row that may name a picture without its ending, and hold no pixels
EXAMPLES = ("sample", "submission")  # words in the names of Kaggle's tables that hold no labels


def names_pictures(path: Path) -> bool:
    """Whether a column of a .csv or .tsv file holds names of pictures, by its first lines, of which one may be names of
    columns.
    """
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        return False
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in itertools.islice(file, LOOKED_AT) if line.strip()]
            rows = list(csv.reader(lines, delimiter=separator(lines[0]))) if lines else []
    except (OSError, UnicodeDecodeError, csv.Error):
        return False  # what is wrong with it is said by whoever reads it
    if len(rows) > 2 and len(rows[-1]) < len(rows[0]):  # cut by what is looked at
        rows.pop()
    return any(all(map(_is_file_name, cells)) for cells in zip(*(rows[1:] or rows)))


def endless(path: Path) -> str:
    """A sentence about a .csv or .tsv file that names pictures without their endings, which lie there; else ""."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            between = separator(file.readline())
            row = next(csv.reader(file, delimiter=between), [])
        roots = [path.parent, *in_order(each for each in path.parent.iterdir() if each.is_dir())]
    except (OSError, UnicodeDecodeError, csv.Error):
        return ""
    cells = [cell.strip() for cell in row if cell.strip()] if len(row) <= MOST_BESIDE else []
    names = [cell + suffix for cell in cells for suffix in SUFFIXES]
    there = next((name for name in names if any((root / name).is_file() for root in roots)), "")
    if not there:
        return ""
    return f"{path}: names pictures without their endings, {Path(there).stem} for {there}; write them in every line"


def in_folder(folder: Path) -> dict[str, Path]:
    """By part, the tables in a folder that name pictures, as their names say: train.csv, test_labels.csv. One table of
    another name is the "train" part. Empty where there are none, or where it is not clear which is which.
    """
    found = {each: words(each) for each in table_files(folder) if not is_junk(each.name) and names_pictures(each)}
    found = {path: said for path, said in found.items() if said.isdisjoint(EXAMPLES)}
    if len(found) == 1:
        return {"train": next(iter(found))}
    parts: dict[str, Path] = {}
    for path, said in found.items():
        part = _part_of(said)
        if not part or part in parts:
            return {}
        parts[part] = path
    return {part: parts[part] for part in PARTS if part in parts} if "train" in parts else {}


def _part_of(said: set[str]) -> str:
    """The part that words of a table's name say, or ""."""
    return next((part for part, names in PARTS.items() if not said.isdisjoint(names)), "")


def read_table(path: Path, wanted: Wanted) -> Dataset:
    """The data set of one table; a column named split, with train, val and test in it, says the parts."""
    return _read({"train": path}, path, wanted, [])


def read_tables(folder: Path, wanted: Wanted) -> Dataset:
    """The data set of a folder's table or tables."""
    tables, notes = in_folder(folder), []
    if len(tables) == 1 and _part_of(words(tables["train"])) not in ("", "train"):
        notes.append(f"there is no table of a training part beside {tables['train'].name}: it is taken for all data")
    return _read(tables, folder, wanted, notes)


def _read(paths: Mapping[str, Path], where: Path, wanted: Wanted, notes: list[str]) -> Dataset:
    tables = {part: _table(path) for part, path in paths.items()}
    train = tables["train"]
    says_part = _part_column(train)
    if len(tables) == 1 and says_part is not None:
        tables = _parted(train, says_part, notes)
        columns = targets(train, {says_part}, notes)
    else:
        columns = targets(train, set(), notes, unused={says_part} - {None})
    names = [train.names[k] for k in columns]
    for part, table in [*tables.items()]:
        if missing := [name for name in names if name not in table.names]:
            notes.append(f"left out: {table}, without the column{'s' * (len(missing) > 1)} {listed(missing)}")
            del tables[part]
    files, cells = {}, {}
    for part, table in tables.items():
        places = [table.names.index(name) for name in names]
        paths_of_part, lines = _pictures(table, places, part, notes)
        files[part], cells[part] = paths_of_part, [cells_of(table, line, places) for line in lines]
    notes += _unnamed({path for paths in files.values() for path in paths}, train)
    if "validation" in files and "test" not in files:
        files["test"], cells["test"] = files.pop("validation"), cells.pop("validation")
        notes.append("the validation part is taken as the test part; the validation images come from the training part")
    values = values_of(cells, names, train, notes)
    given = {part: (array, f"{tables.get(part, train)}") for part, array in values.items()}
    labels, found = as_targets(given, names if len(names) > 1 else None, notes)
    if found is None and labels["train"].ndim == 2:
        found = names
    try:
        return dataset_of_files(where, files, labels, found, wanted, notes)
    except DataError as error:
        assumed = AS_CLASSES.format(table=train.path.name, column=names[0])
        raise DataError(f"{error} ({assumed})" if assumed in notes else str(error)) from None


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
        lines = [Line(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
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
    if len(found) == 1:
        notes.append(f"{table.path.name}: the column {name} says {of_line[0][0]} of all: they are taken for all data")
        return {"train": table}
    if "train" not in found:
        raise DataError(f"{table}: no picture is of the training part by the column {name}; write train for some")
    notes.append(f"{table.path.name}: the column {name} says the parts")
    return {part: table._replace(lines=[line for of, line in of_line if of == part]) for part in PARTS if part in found}


def _pictures(table: Table, places: Sequence[int], part: str, notes: list[str]) -> tuple[list[Path], list[Line]]:
    """The paths of a part's pictures, and the lines that name them; a line that repeats another one is left out."""
    root = _root(table, part)
    found: dict[Path, Line] = {}
    again = 0
    for line in table.lines:
        path = root / _name_there(root, line.cells[table.files])
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


def _name_there(root: Path, name: str) -> str:
    """The name as the system has it: tables of other ones may have other strokes, and other forms of umlauts."""
    stroked = name.replace("\\", "/")
    forms = (name, stroked, *(unicodedata.normalize(form, stroked) for form in ("NFC", "NFD")))
    return next((each for each in dict.fromkeys(forms) if os.path.exists(root / each)), name)


def _unnamed(named: set[Path], train: Table) -> list[str]:
    """What is said of pictures beside those that the tables name, which have no line."""
    left: list[str] = []
    for folder in sorted({path.parent for path in named if os.path.exists(path)}, key=str):
        if count := len(set(filter(is_picture, folder.iterdir())) - named):
            left.append(f"left out: {counted(count, 'picture')} in {folder} without a line in {train.path.name}")
    return left


def _root(table: Table, part: str) -> Path:
    """Where the pictures' names begin: in the table's folder, or in a folder beside it, whichever has the most of the
    first ones; of equal ones the table's folder, or one that is named as the part. DataError where more may be meant.
    """
    first = [line.cells[table.files].replace("\\", "/") for line in table.lines[:LOOKED_FOR]]
    beside = in_order(each for each in table.path.parent.iterdir() if each.is_dir() and not is_junk(each.name))
    count = {
        each: sum(os.path.exists(each / _name_there(each, name)) for name in first)
        for each in (table.path.parent, *beside)
    }
    most = [each for each in count if count[each] == max(count.values())]
    of_part = [each for each in most if each.name.lower() in PARTS[part]]
    if most[0] == table.path.parent:
        return most[0]
    if len(of_part or most) == 1:
        return (of_part or most)[0]
    which, example = listed([each.name for each in most]), f"{most[0].name}/{first[0]}"
    raise DataError(f"{table}: the pictures may be those in {which}; write the folder into the table, as {example}")
