"""`load`: a data set by its name or by its path."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..errors import DataError
from . import idx, pictures
from .catalogue import NAMES, did_you_mean, resolve
from .dataset import Dataset
from .named import load_named
from .npz import read_npz

ACCEPTED = (
    "an .npz file, a folder with the four IDX files (train-images-idx3-ubyte, ...), "
    "or a folder with one sub-folder of pictures per class"
)


def load(
    name_or_path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    invert: bool = False,
    skip_broken: bool = False,
) -> Dataset:
    """The data set `digits`, `mnist`, `fashion-mnist` or `cifar10`, or that of a path.

    A path is an .npz file, a folder with four IDX files, or a folder with one sub-folder of pictures per class; a
    name wins over a folder of the same name, for which write ./mnist. `size` (H, W), `channels` (1 or 3), `invert`
    (dark on light becomes light on dark) and `skip_broken` (leave out what cannot be read) are for folders of pictures
    only.
    DataError, saying what to do, for everything that cannot be read.
    """
    text = os.fspath(name_or_path)
    name = resolve(text) if isinstance(name_or_path, str) else None
    path = Path(text).expanduser()
    if name is None and not os.path.exists(path):
        raise DataError(
            f"{text}: no data set has this name and no such path exists; the names are {', '.join(NAMES)}, "
            f"a path must be {ACCEPTED}{did_you_mean(text)}"
        )
    of_pictures = name is None and path.is_dir() and not idx.has_idx_files(path)
    if not of_pictures and (size is not None or channels is not None or invert or skip_broken):
        raise DataError(
            f"{text}: size, channels, invert and skip_broken are for picture folders only, the arrays here "
            "have theirs; leave these options out"
        )
    if name is not None:
        return load_named(name)
    if not path.is_dir() and path.suffix.lower() != ".npz":
        raise DataError(f"{text}: this kind of file cannot be read; a path must be {ACCEPTED}")
    if of_pictures:
        found = pictures.read_folder(path, size, channels, invert, skip_broken)
    else:
        found = idx.read_folder(path) if path.is_dir() else read_npz(path)
    whole = path.resolve()  # its messages named the path; the data set has a short name
    return replace(found, name=whole.name if path.is_dir() else whole.stem)
