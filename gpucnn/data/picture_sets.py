"""Data sets of picture files: how they become the images of each part, and what is said of those that cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError, counted
from .dataset import Dataset, Part
from .files import check_file, parsing
from .folders import count_junk, find_parts, list_classes
from .pictures import is_grey, opened, read_picture, side_by_side, upright
from .preprocessing import CROP, FITS, Preprocessing
from .summary import summed_up

DEFAULT_SIZE = (28, 28)
SHOWN = 5  # broken pictures in a message
MUCH = 0.25  # of half of the pictures, from which on what is cut off is told


class Wanted(NamedTuple):
    """What pictures shall become.

    size (H, W): 28x28 where it is None. channels: 1 if every picture is stored in grey, else 3, where it is None.
    invert: dark on light becomes light on dark. fit: see `Preprocessing`. skip_broken: what cannot be read is left out,
    and said. model: how a model's own pictures were read, in place of the first four, or None.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    invert: bool = False
    fit: str = CROP
    skip_broken: bool = False
    model: Preprocessing | None = None

    def how(self, usual: tuple[int, int], *, grey: bool) -> Preprocessing:
        """What brings the pictures to that; usual: their size, grey: whether all are so, where nobody says it."""
        if self.model is not None:
            return self.model
        size = usual if self.size is None else self.size
        return Preprocessing(size, self.channels or (1 if grey else 3), self.invert, fit=self.fit)

    @property
    def is_of_pictures(self) -> bool:
        """Whether one of the first four is asked, which are for pictures only."""
        return self[:4] != Wanted()[:4]

    def refuse_for_arrays(self, where: object) -> None:
        """DataError if one of these is asked of what holds arrays."""
        if self.is_of_pictures:
            raise DataError(
                f"{where}: size, channels, invert and fit are for pictures only, the arrays here have theirs; leave "
                "these options out"
            )

    def told(self, sizes: Sequence[tuple[int, int]], how: Preprocessing) -> list[str]:
        """What is said of pictures of these sizes, height and width, which `how` brings to another one."""
        if how.strokes is not None or not set(sizes) - {how.size}:
            return []
        shown = [f"{height}x{width}" for height, width in (min(sizes), max(sizes))]
        kinds = len(set(sizes))
        found = shown[0] if kinds == 1 else f"of {kinds} sizes, {shown[0]} to {shown[1]}"
        why = "which size=(H, W) changes" if self.model is None else "as the model takes them"
        said = [f"the pictures are {found}; they are {FITS[how.fit]} {how.size[0]}x{how.size[1]}, {why}"]
        lost = float(np.median([how.lost(*size) for size in sizes]))
        if self.model is None and lost > MUCH:
            said.append(
                f"by cropping, half of the pictures lose {100 * lost:.0f} % of their area or more: "
                'fit="pad" keeps them whole and adds edges, fit="stretch" keeps them whole and distorts them'
            )
        return said


def read_folder(folder: Path, wanted: Wanted) -> Dataset:
    """The data set of folder/train/CLASS and folder/test/CLASS or, without these two, of folder/CLASS.

    In the second case a stratified fifth becomes the test part; folder/val/CLASS is the validation part. Class names
    are the sorted names of the sub-folders; with skip_broken, classes without pictures are left out. The notes say what
    was left out. DataError naming the folder or files that are missing, empty or unreadable.
    """
    notes: list[str] = []
    with parsing(folder, "cannot be read", "check that you may read the folder and those in it"):
        if junk := count_junk(folder):
            notes.append(f"left out: {junk} hidden files and folders, or what archivers leave, such as __MACOSX")
        roots = find_parts(folder, notes)
        listings = {part: list_classes(root, notes, skip_empty=wanted.skip_broken) for part, root in roots.items()}
    names = list(listings["train"])
    for part, listing in listings.items():
        if strange := ", ".join(sorted(listing.keys() - set(names))):
            raise DataError(f"{roots[part]}: train and {part} must have the same classes; {strange} is in {part} only")
        if missing := ", ".join(sorted(set(names) - listing.keys())):
            notes.append(f"the {part} part has no pictures of {missing}")
    files = {part: [path for name in listing for path in listing[name]] for part, listing in listings.items()}
    labels = {
        part: np.repeat([names.index(name) for name in listing], [len(paths) for paths in listing.values()])
        for part, listing in listings.items()
    }
    return dataset_of_files(folder, files, labels, names, wanted, notes)


def dataset_of_files(
    where: Path,
    files: Mapping[str, Sequence[Path]],
    targets: Mapping[str, Any],
    names: Sequence[str] | None,
    wanted: Wanted,
    notes: list[str],
) -> Dataset:
    """The data set of the picture files of each part, "train", "validation" and "test", and their labels or rows.

    names: of the classes, or of what is in a row; see `Dataset.of_parts`. notes: what was said before. DataError naming
    what cannot be read.
    """
    broken: dict[Path, str] = {}
    paths = [path for of_part in files.values() for path in of_part]
    stored: list[tuple[bool, tuple[int, int]]] = []
    for path, found in zip(paths, side_by_side(_stored, paths)):
        if isinstance(found, str):
            broken[path] = found
        else:
            stored.append(found)
    grey = sum(each for each, _ in stored)
    how = wanted.how(DEFAULT_SIZE, grey=grey == len(stored))
    if wanted.model is None and wanted.channels is None and 0 < grey < len(stored):
        notes.append(f"{grey} of {len(stored)} pictures are grey; with the others they become colour")
    notes += wanted.told([size for _, size in stored], how)
    done: dict[str, list[str]] = {}
    parts = {part: _read_part(where, files[part], targets[part], how, broken, done) for part in files}
    notes += summed_up(done)
    if broken:
        are_left = all(len(each.labels) for each in parts.values())
        tell_broken(where, broken, sum(map(len, files.values())), notes, wanted, are_left=are_left)
    held = parts.pop("validation", None)
    return Dataset.of_parts(str(where), list(parts.values()), names, how, validation=held, notes=notes)


def _stored(path: Path) -> tuple[bool, tuple[int, int]] | str:
    """Whether the file stores one channel, and its height and width, once it is upright; only its header is read. Or
    what is wrong with it."""
    try:
        check_file(path)
        with opened(path, path) as picture:
            return is_grey(picture.mode), upright(picture)
    except DataError as error:
        return str(error)


def _read_part(
    where: Path,
    paths: Sequence[Path],
    targets: Any,
    how: Preprocessing,
    broken: dict[Path, str],
    done: dict[str, list[str]],
) -> Part:
    """The pictures that can be read, their labels and paths. done: gets what was done to pictures, by their paths."""
    images = np.empty((len(paths), *how.size, how.channels), np.uint8)
    known = dict(broken)

    def read(k: int) -> list[str] | str:
        """What was done to the picture, or what is wrong with it."""
        said: list[str] = []
        try:
            if paths[k] not in known:
                images[k] = read_picture(paths[k], how, said)
        except DataError as error:
            return str(error)
        return said

    for path, said in zip(paths, side_by_side(read, range(len(paths)))):
        if isinstance(said, str):
            broken[path] = said
        elif said:
            done[str(path)] = said
    files = [str(path) for path in paths if path not in broken]
    if len(files) == len(paths):
        return Part(images, targets, str(where), files)
    whole = np.array([path not in broken for path in paths], bool)
    return Part(images[whole], targets[whole], str(where), files)


def tell_broken(
    folder: Path, broken: Mapping[Any, str], total: int, notes: list[str], wanted: Wanted, *, are_left: bool
) -> None:
    """Note the pictures that cannot be read, sentences by their place. DataError where they may not be left out, and
    where without them a part has none.
    """
    texts = list(broken.values())
    shown = "; ".join(texts[:SHOWN]) + (f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")
    if not (wanted.skip_broken and are_left):
        way = ", or leave them out with skip_broken=True" if are_left else "; without them a part has no pictures"
        raise DataError(f"{folder}: {len(texts)} of {total} pictures cannot be read; mend or delete them{way}: {shown}")
    notes.append(
        f"left out: {counted(len(texts), 'picture')} that cannot be read: {', '.join(map(str, list(broken)[:SHOWN]))}"
        + (" and more" if len(texts) > SHOWN else "")
    )
