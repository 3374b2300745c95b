"""Folders of pictures: where the training, validation and test parts lie, and which files belong to which class."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import DataError, counted, listed

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
ENDINGS = ", ".join(suffix[1:] for suffix in SUFFIXES)  # for messages
PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
# What archivers and file managers leave, and what the first folder of a drive of Windows holds, in small letters.
JUNK = ("__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information")


def find_parts(folder: Path, notes: list[str]) -> dict[str, Path]:
    """The folders of the parts, by "train", "validation" and "test"; {"train": folder} where it is not split.

    The classes may lie one folder deeper, in the only one there is. What was assumed or left out goes into notes.
    """
    entries = _visible_folders(folder)
    found = {part: entry for part, names in PARTS.items() for entry in entries if entry.name.lower() in names}
    if "train" in found and len(found) > 1:
        if outside := sum(map(is_picture, folder.iterdir())):
            notes.append(f"left out: {counted(outside, 'picture')} in {folder} itself, outside of its parts")
        if others := [entry.name for entry in entries if entry not in found.values()]:
            notes.append(f"left out, because they are neither of {_listed(found)}: the folders {', '.join(others)}")
        if "test" not in found:
            found["test"] = found.pop("validation")
            notes.append(
                f"{found['test'].name} is taken as the test part; the validation images come from {found['train'].name}"
            )
        return found
    if len(entries) == 1 and len(_visible_folders(entries[0])) > 1 and not any(map(is_picture, folder.iterdir())):
        name = entries[0].name
        part = next((part for part, names in PARTS.items() if name.lower() in names), "train")
        alone = (
            ""
            if part == "train"
            else f"; without a training part beside it, train takes four fifths of this {part} part"
        )
        notes.append(f"the data lie in {name}, the only sub-folder{alone}")
        return find_parts(entries[0], notes)
    return {"train": folder}


def _listed(parts: dict[str, Path]) -> str:
    return ", ".join(path.name for path in parts.values())


def _visible_folders(folder: Path) -> list[Path]:
    return in_order(entry for entry in folder.iterdir() if entry.is_dir() and not is_junk(entry.name))


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Sorted by name, in the same order on every system: of themselves, paths of Windows ignore case."""
    return sorted(paths, key=lambda path: (composed(path.name), path.name))


def composed(name: str) -> str:
    """A name with each letter in one character: macOS parts an umlaut from its vowel in the names of files."""
    return unicodedata.normalize("NFC", name)


def list_classes(root: Path, notes: list[str], *, skip_empty: bool) -> dict[str, list[Path]]:
    """The picture files of every class, also in folders inside its own; classes and files sorted by name.

    DataError where there are fewer than two classes, or some have no pictures, unless skip_empty: leave these out. What
    is left out goes into notes.
    """
    visible = _visible_folders(root)
    outside = sum(map(is_picture, root.iterdir()))
    if len(visible) < 2:
        found = f"only one class ({visible[0].name})" if visible else "no sub-folders"
        loose = f" ({counted(outside, 'picture')} in the folder itself, of no class)" if outside else ""
        raise DataError(f"{root}: {found}{loose}; one sub-folder per class, at least two, was expected; add them")
    if outside:
        notes.append(f"left out: {counted(outside, 'picture')} in {root} itself, outside of the class folders")
    beside = [path for path in root.iterdir() if path.is_file() and not is_picture(path) and not is_junk(path.name)]
    others = Counter(map(_ending, beside))
    unreadable: list[str] = []
    listing: dict[str, list[Path]] = {}
    for entry in visible:
        listing.setdefault(composed(entry.name), []).extend(pictures_in(entry, others, unreadable, notes))
    if unreadable and not skip_empty:
        remedy = "look at the permissions, or leave out what cannot be read with skip_broken=True"
        raise DataError(f"{listed(unreadable)}; {remedy}")
    notes += [f"left out: {each}" for each in unreadable]
    deeper = sum(path.parent.parent != root for pictures in listing.values() for path in pictures)
    if empty := [name for name, pictures in listing.items() if not pictures]:
        _tell_empty(root, empty, notes, skip=skip_empty and len(empty) < len(listing) - 1)
        listing = {name: pictures for name, pictures in listing.items() if pictures}
    if deeper:
        notes.append(
            f"{counted(deeper, 'picture')} in {root} found in folders inside their class's, and counted to that class"
        )
    if others:
        notes.append(no_pictures(others, f" in {root}"))
    return listing


def _tell_empty(root: Path, empty: list[str], notes: list[str], *, skip: bool) -> None:
    """Note the class folders without pictures. DataError where they cannot be left out."""
    if skip:
        which = f"the class folder {empty[0]}" if len(empty) == 1 else f"{len(empty)} class folders ({listed(empty)})"
        notes.append(f"left out: {which} in {root}, without a picture")
        return
    where, them = ("this class folder", "it") if len(empty) == 1 else ("these class folders", "them")
    raise DataError(
        f"{listed([str(root / name) for name in empty])}: "
        f"no pictures ({ENDINGS}) in {where}; put some there, delete {them}, or "
        f"leave {them} out with skip_broken=True; a folder that is already split has train and test, "
        "each with the class folders"
    )


def pictures_in(
    folder: Path, others: Counter[str], unreadable: list[str], notes: list[str] | None = None
) -> list[Path]:
    """The picture files of a folder and of those inside it, sorted, but for hidden ones and junk.

    others: gets how many other files there are, by their ending; unreadable: which folders cannot be read, and why;
    notes: which links to folders are left out.
    """
    found = []
    for path in _files(folder, [] if notes is None else notes, unreadable):
        if is_picture_name(path):
            found.append(path)
        else:
            others[_ending(path)] += 1
    return found


def _ending(path: Path) -> str:
    return path.suffix.lower() or "no ending"


def no_pictures(others: Counter[str], where: str = "") -> str:
    """What is said of files, counted by their ending, that are no pictures."""
    what = "file{} that is no picture by its" if others.total() == 1 else "files{} that are no pictures by their"
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
    return f"left out: {others.total()} {what.format(where)} ending ({kinds})"


def holds_classes(folder: Path) -> bool:
    """Whether there are two folders with pictures in them, or in its training part."""
    inside = _visible_folders(find_parts(folder, [])["train"])
    return sum(any(map(is_picture, _files(each, [], []))) for each in inside) > 1


def holds_pictures(folder: Path) -> bool:
    """Whether a picture lies in a folder inside this one."""
    return any(is_picture(path) for inner in _visible_folders(folder) for path in _files(inner, [], []))


def _files(folder: Path, notes: list[str], unreadable: list[str]) -> Iterator[Path]:
    """The files of a folder and of those inside it, sorted, but for hidden ones and junk."""

    def tell(error: OSError) -> None:
        unreadable.append(f"{error.filename}: the folder cannot be read ({error.strerror})")

    for where, folders, names in os.walk(folder, onerror=tell):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        notes += [f"left out: {Path(where) / name}, a link to a folder" for name in folders if _is_link(where, name)]
        yield from (Path(where) / name for name in sorted(names) if not is_junk(name))


def _is_link(where: str, name: str) -> bool:
    return os.path.islink(os.path.join(where, name))


def count_junk(folder: Path) -> int:
    """How many files and folders in a folder, and in those inside it, are junk or lie in such."""
    return sum(is_junk(name) for _, folders, names in os.walk(folder) for name in (*folders, *names))


def is_junk(name: str) -> bool:
    """Whether a file or folder of that name is hidden, or what archivers and file managers leave."""
    return name.startswith(".") or name.lower() in JUNK


def is_picture(path: Path) -> bool:
    """Whether a directory entry counts as a picture: a visible file with one of SUFFIXES."""
    return is_picture_name(path) and not path.name.startswith(".") and path.is_file()


def is_picture_name(path: Path) -> bool:
    """Whether it ends as a picture's does."""
    return path.suffix.lower() in SUFFIXES
