"""Where the files of a named data set lie, and whether they are the published ones.

If GPUCNN_DATA_DIR is set, files are read from $GPUCNN_DATA_DIR/NAME or $GPUCNN_DATA_DIR and never downloaded;
otherwise they are downloaded once into the cache folder.

The digests of the content are known for MNIST only. Of Fashion-MNIST and CIFAR-10 the md5 of the compressed files is
known: a local copy that was compressed again, or not at all, is held to its structure (magic numbers, counts, sizes,
labels) instead.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from . import cifar
from .catalogue import SOURCES, RemoteFile, Source
from .download import cache_folder, download
from .files import AGAIN, Limited, check_limit, decompressed, find_files, parsing, read_content

VARIABLE = "GPUCNN_DATA_DIR"
STRUCTURE_ONLY = "structure only: no digest of the content is known"


class Member(NamedTuple):
    """One verified file of a data set: its path, how to name it in messages, its bytes, and what vouches for them."""

    path: Path
    where: str
    content: bytes | bytearray
    evidence: str


def data_dir() -> Path | None:
    """The folder that GPUCNN_DATA_DIR names, None if it is unset or empty; DataError if there is no such folder."""
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return None
    folder = Path(os.path.expanduser(value))
    if not folder.is_dir():
        raise DataError(f"{VARIABLE}={value}: there is no such folder; correct it, or unset it to download data sets")
    return folder


def folders(source: Source, root: Path) -> list[Path]:
    """The folders under `root` that are searched for a data set, in order."""
    outer = [root / source.name, root]
    return outer + [folder / cifar.FOLDER for folder in outer if cifar.NAMES in source.layouts]


def local_files(source: Source, root: Path) -> tuple[Path, list[Path], list[str]]:
    """(folder, found, missing) for the first folder that holds any file of the data set; root/NAME if none does."""
    for folder in folders(source, root):
        for layout in source.layouts:
            found, missing = find_files(layout, folder)
            if found:
                return folder, found, missing
    return root / source.name, [], list(source.layouts[0])


def folder_of(source: Source) -> Path:
    """Where the data set is, or would be, read from."""
    root = data_dir()
    return cache_folder(source.name) if root is None else local_files(source, root)[0]


def paths_of(source: Source) -> list[Path]:
    """The files of the data set, downloaded only if GPUCNN_DATA_DIR is unset; DataError with every folder tried."""
    root = data_dir()
    if root is None:
        return [download(source, file) for file in source.files]
    folder, found, missing = local_files(source, root)
    if missing:
        tried = ", ".join(map(str, [folder] if found else folders(source, root)))
        raise DataError(
            f"{source.name}: no file {missing[0]} or {missing[0]}.gz; tried {tried}; "
            f"put {source.what} there, or unset {VARIABLE} to download them"
        )
    return found


def read(source: Source) -> list[Member]:
    """The verified contents of the data set's files, in the order of the catalogue."""
    members = []
    for path in paths_of(source):
        if path.name.removesuffix(".gz") == cifar.ARCHIVE:
            members += read_archive(source.files[0], path)
        else:
            content = read_content(path)
            members.append(Member(path, str(path), content, evidence(source, path, content)))
    return members


def evidence(source: Source, path: Path, content: bytes | bytearray) -> str:
    """What shows that the content is the published one; DataError if it is known to be another."""
    name = path.name.removesuffix(".gz")
    file = next((file for file in source.files if file.name == name), None)
    found = hashlib.sha256(content).hexdigest()
    if file is not None and file.sha256 is not None:
        if found != file.sha256:
            raise DataError(
                f"{path}: the sha256 of the content is {found}, {file.sha256} was expected for {source.name}; "
                f"{AGAIN} (unset {VARIABLE} to download it)"
            )
        return "sha256 of the content is as published"
    for other in SOURCES.values():
        if other.name != source.name and found in {known.sha256 for known in other.files}:
            raise DataError(
                f"{path}: this is a file of {other.name}, one of {source.name} was expected; "
                f"put each data set into a folder of its own, {VARIABLE}/{source.name}"
            )
    return STRUCTURE_ONLY if file is None else container_evidence(file, path)


def container_evidence(file: RemoteFile, path: Path) -> str:
    """What the md5 of the compressed file says; another one is no fault, files may be compressed again."""
    with open(path, "rb") as stream:
        matches = hashlib.file_digest(stream, "md5").hexdigest() == file.md5
    return "md5 of the compressed file is as published" if matches else STRUCTURE_ONLY


def read_archive(file: RemoteFile, path: Path) -> list[Member]:
    """The batches inside CIFAR-10's archive; nothing is unpacked to disk. DataError if it is damaged or incomplete."""
    with decompressed(path) as (content, _):
        proof = container_evidence(file, path)
        with parsing(path, "the archive is truncated or damaged", AGAIN):
            contents = dict(batches(Limited(content, path)))
    missing = [name for name in cifar.NAMES if name not in contents]
    if missing:
        raise DataError(f"{path}: the archive has no {', '.join(missing)}; {AGAIN}")
    return [Member(path, f"{path}: {name}", contents[name], proof) for name in cifar.NAMES]


def batches(stream: Limited) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the batches in a tar archive."""
    with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
        for entry in archive:
            check_limit(entry.offset_data + entry.size, stream.where)
            name = entry.name.rsplit("/", 1)[-1]
            part = archive.extractfile(entry) if name in cifar.NAMES and entry.isfile() else None
            if part is not None:
                yield name, part.read()
