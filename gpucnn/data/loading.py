"""`load`: a data set by its name or by its path."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import DataError, listed
from . import arrow, folders, idx, listings, tables
from .catalogue import NAMES, did_you_mean, resolve
from .classes import are_numbers, as_numbers
from .dataset import Dataset
from .named import load_named
from .npz import read_npz
from .picture_sets import Wanted, read_folder
from .preprocessing import CROP, Preprocessing, as_size, check_fit

ACCEPTED = (
    "an .npz, .csv or .parquet file, a folder with IDX files (train-images-idx3-ubyte, ...), with .npy files "
    "(x_train.npy, ...) or one of these, with .csv files (train.csv, ...), a data set of Hugging Face that was saved "
    "to disk, or a folder with one sub-folder of pictures per class, or with pictures and a .csv of file,label lines"
)
OF_PICTURES = (read_folder, listings.read_table, listings.read_tables, arrow.read)


def load(
    name_or_path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | int | str | None = None,
    channels: int | None = None,
    invert: bool = False,
    fit: str = CROP,
    skip_broken: bool = False,
    numbers: bool = False,
) -> Dataset:
    """The data set `digits`, `mnist`, `fashion-mnist` or `cifar10`, or that of a path.

    A path is one of ACCEPTED; a name wins over a folder of the same name, for which write ./mnist. `size` (H, W), a
    number for a square, or a text such as "24x32", `channels` (1 or 3), `invert` (dark on light becomes light on
    dark) and `fit` (how pictures are brought to the size: "crop", "pad" or "stretch", see `Preprocessing`) are for
    pictures only, as is `skip_broken` (leave out what cannot be read, and classes without pictures). `numbers`: a whole
    number beside each picture is to be predicted, as by the loss "mse", and no class. The data set's notes say what was
    left out or assumed.

    DataError, saying what to do, for everything that cannot be read.
    """
    check_fit(fit)
    with as_numbers(numbers or are_numbers()):
        return _load(name_or_path, Wanted(as_size(size), channels, invert, fit, skip_broken))


def load_for(model: Preprocessing | None, name_or_path: str, *, skip_broken: bool, numbers: bool) -> Dataset:
    """`load` for a model: pictures are read as those it was trained on were, where it has preprocessing."""
    with as_numbers(numbers):
        return _load(name_or_path, Wanted(skip_broken=skip_broken, model=model))


def _load(name_or_path: str | os.PathLike[str], wanted: Wanted) -> Dataset:
    text = os.fspath(name_or_path)
    name = resolve(text) if isinstance(name_or_path, str) else None
    path = Path(os.path.expanduser(text))
    if name is None and not os.path.exists(path):
        raise DataError(
            f"{text}: no data set has this name and no such path exists; the names are {', '.join(NAMES)}, "
            f"a path must be {ACCEPTED}{did_you_mean(text)}"
        )
    whole, inner = path, _inner(path) if name is None else None
    if inner is not None:
        path, text = inner, str(inner)
    reader: Callable[..., Dataset] = load_named if name is not None else _reader(path, text)
    beside = tables.table_files(path) if reader in (read_folder, tables.read_csv_folder) else []
    in_tables = beside if reader is tables.read_csv_folder else [path] * (reader is tables.read_csv)
    if said := next(filter(None, map(listings.endless, in_tables)), ""):
        raise DataError(said)
    if reader not in OF_PICTURES:
        if in_tables and wanted.is_of_pictures:
            reader(path)  # raises where it cannot be read, and so may name pictures
        wanted.refuse_for_arrays(text)
        if wanted.skip_broken:
            raise DataError(
                f"{text}: skip_broken is for folders of pictures, tables that name such, and Parquet of them, only; "
                "leave it out"
            )
    if name is not None:
        return load_named(name)
    try:
        found = reader(path, wanted) if reader in OF_PICTURES else reader(path)
    except DataError as error:
        if reader is not read_folder or not beside:
            raise
        if said := next(filter(None, map(listings.endless, beside)), ""):
            raise DataError(said) from None
        which = listed([each.name for each in beside])
        more = f"{which}: a table that names the pictures, file,label, is read by its own path"
        raise DataError(f"{error}; {more}") from None
    if reader is read_folder and (named := [each.name for each in listings.in_folder(path).values()]):
        more = f"left out: {listed(named)}, since the sub-folders say the classes; to use a table, give its path"
        found = replace(found, notes=(*found.notes, more))
    if inner is not None:
        found = replace(found, notes=(f"the data lie in {inner.name}, and nothing else does", *found.notes))
    whole = whole.resolve()  # its messages named the path; the data set has a short name
    if reader in (tables.read_npy_file, idx.read_file):
        whole = whole.parent
    return replace(found, name=(whole.name if whole.is_dir() else whole.stem) or "data")  # a whole drive has no name


def _inner(folder: Path) -> Path | None:
    """The only folder of arrays, or the only file of a data set, in a folder that holds no data itself."""
    if not folder.is_dir() or _reader(folder, str(folder)) is not read_folder or folders.holds_pictures(folder):
        return None
    entries = [entry for entry in folders.in_order(folder.iterdir()) if not folders.is_junk(entry.name)]
    inside = [entry for entry in entries if entry.is_dir() or entry.suffix.lower() in (".npz", ".csv", ".tsv")]
    if len(inside) != 1 or any(map(folders.is_picture, entries)):
        return None
    is_data = inside[0].is_file() or _reader(inside[0], str(inside[0])) is not read_folder
    return inside[0] if is_data else None


def load_readable(name_or_path: str, *, skip_broken: bool = False, **how: Any) -> tuple[Dataset, str]:
    """What can be read of a data set, to be looked at; and, unless skip_broken, a sentence where that is not all."""
    try:
        return load(name_or_path, skip_broken=skip_broken, **how), ""
    except DataError:
        if skip_broken or not may_be_broken(name_or_path):
            raise
    refused = "`gpucnn train` refuses these data as they are; skip_broken=True leaves out what cannot be read"
    return load(name_or_path, skip_broken=True, **how), refused


def may_be_broken(name_or_path: str) -> bool:
    """Whether pictures are read there, some of which may be broken: a folder, or a table, of pictures."""
    path = Path(os.path.expanduser(name_or_path))
    if resolve(name_or_path) is not None or not path.exists():
        return False
    if not path.is_dir():
        return not arrow.are_pixels(path) if path.suffix == ".parquet" else listings.names_pictures(path)
    place = _inner(path) or path
    reader = _reader(place, str(place))
    return reader in OF_PICTURES and not (reader is arrow.read and arrow.are_pixels(place))


def _reader(path: Path, text: str) -> Callable[..., Dataset]:
    """The function that reads what lies at that path. DataError where there is none."""
    if not path.is_dir():
        of_ending: dict[str, Callable[..., Dataset]] = {
            ".npz": read_npz,
            ".csv": tables.read_csv,
            ".tsv": tables.read_csv,
            ".npy": tables.read_npy_file,
            ".parquet": arrow.read,
        }
        if idx.NAMED.fullmatch(path.name.lower()):
            return idx.read_file
        if listings.names_pictures(path):
            return listings.read_table
        if path.suffix.lower() not in of_ending:
            raise DataError(f"{text}: this kind of file cannot be read; a path must be {ACCEPTED}")
        return of_ending[path.suffix.lower()]
    if idx.has_idx_files(path):
        return idx.read_folder
    if listings.in_folder(path) and not folders.holds_classes(path):
        return listings.read_tables
    if folders.holds_pictures(path):  # a table beside class folders is no data set
        return read_folder
    if arrow.files(path):
        return arrow.read
    if tables.has_npy_files(path):
        return tables.read_npy_folder
    return tables.read_csv_folder if tables.csv_files(path) else read_folder
