"""IDX, the format of MNIST: a magic number 0x0000 TYPE NDIM, NDIM big-endian 32-bit sizes, then the values."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .checks import check_counts
from .classes import as_targets
from .dataset import Dataset, Labels, Part
from .files import AGAIN, read_content
from .folders import in_order

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
NAMED = re.compile(r"(.*[-_])?(?P<part>train|t10k|test)[-_.](?P<kind>images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?")
IMAGES_MAGIC = 0x0803
LABELS_MAGIC = 0x0801


def claimed(head: bytes, magic: int, where: object) -> tuple[int, list[int]]:
    """How long the file with this beginning should be, and its sizes; DataError for another magic number."""
    header = 4 + 4 * (magic & 0xFF)
    if len(head) < header:
        raise DataError(f"{where}: truncated, {len(head)} bytes are less than an IDX header of {header}; {AGAIN}")
    found, *sizes = struct.unpack(f">{header // 4}I", head[:header])
    if found != magic:
        kind = "images" if magic == IMAGES_MAGIC else "labels"
        raise DataError(
            f"{where}: magic number {found}, {magic} (IDX {kind} of unsigned bytes) was expected; "
            f"check that the file is what its name says, or {AGAIN}"
        )
    return header + prod(sizes), sizes


def check_length(found: int, head: bytes, magic: int, where: object) -> int:
    """The length that is right; DataError for another one."""
    expected, sizes = claimed(head, magic, where)
    if found != expected:
        problem = "truncated" if found < expected else "too long"
        shape = "x".join(map(str, sizes))
        raise DataError(
            f"{where}: {problem}, {found} bytes were found, {expected} expected for {shape} values; {AGAIN}"
        )
    return expected


def read(path: Path, magic: int) -> bytearray:
    """The content of an IDX file whose length is that which its header claims: seen before it is read, if it can be."""

    def length(head: bytes, size: int | None) -> int:
        return claimed(head, magic, path)[0] if size is None else check_length(size, head, magic, path)

    return read_content(path, length)


def parse(content: bytes | bytearray, magic: int, where: object) -> NDArray[np.uint8]:
    """The unsigned bytes of an IDX file as an array of its sizes; DataError for another magic number or length."""
    check_length(len(content), bytes(content[:16]), magic, where)
    _, sizes = claimed(bytes(content[:16]), magic, where)
    return np.frombuffer(content, np.uint8, offset=len(content) - prod(sizes)).reshape(sizes)


def parse_images(content: bytes | bytearray, where: object) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 1) of an IDX file with magic number 2051."""
    return parse(content, IMAGES_MAGIC, where)[..., None]


def parse_labels(content: bytes | bytearray, where: object) -> Labels:
    """Labels (N,) of an IDX file with magic number 2049."""
    return parse(content, LABELS_MAGIC, where).astype(np.int64)


def find(folder: Path) -> dict[tuple[str, str], Path]:
    """The IDX files of a folder by their part, "train" or "test", and kind, "images" or "labels".

    Named as MNIST's are, or as tools name them: train-images.idx3-ubyte, emnist-letters-test-labels-idx1-ubyte.gz.
    DataError where two are the same.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in in_order(folder.iterdir()):
        match = NAMED.fullmatch(path.name.lower())
        if match is None or not path.is_file():
            continue
        key = ("train" if match["part"] == "train" else "test"), match["kind"]
        if key in found and path.name.removesuffix(".gz") != found[key].name.removesuffix(".gz"):
            raise DataError(
                f"{folder}: {found[key].name} and {path.name} are both the {' '.join(key)}; put each data set into a "
                "folder of its own"
            )
        found.setdefault(key, path)
    return found


def has_idx_files(folder: Path) -> bool:
    """Whether any IDX file of a data set lies in `folder`, plain or as .gz."""
    return bool(find(folder))


def read_file(path: Path) -> Dataset:
    """The data set of the IDX files in the folder of this one."""
    found = read_folder(path.parent)
    return replace(found, notes=(f"{path.name} is read together with the IDX files beside it", *found.notes))


def read_folder(folder: Path) -> Dataset:
    """The data set of four IDX files, plain or .gz; the classes are the labels that occur.

    Where there are only those of training, a fifth becomes the test part. EMNIST's pictures are stored turned over;
    they are turned back.
    """
    found, notes, parts = find(folder), [], {}
    keys = [(part, kind) for part in ("train", "test") for kind in ("images", "labels")]
    if not any(part == "test" for part, _ in found):
        keys = keys[:2]
    missing = [name for key, name in zip(keys, NAMES) if key not in found]
    if missing:
        raise DataError(
            f"{folder}: no file {missing[0]} or {missing[0]}.gz; all of {', '.join(NAMES)} were expected; "
            "put the missing files there"
        )
    if len(keys) == 2:
        notes.append(f"there is no test part ({NAMES[2]}, {NAMES[3]}); a fifth of the training pictures becomes it")
    for part in dict.fromkeys(part for part, _ in keys):
        images, labels = found[part, "images"], found[part, "labels"]
        pictures = parse_images(read(images, IMAGES_MAGIC), images)
        numbers = parse(read(labels, LABELS_MAGIC), LABELS_MAGIC, labels)
        check_counts(pictures, numbers, labels)  # while a label still takes a byte
        if images.name.lower().startswith("emnist"):
            pictures = np.ascontiguousarray(pictures.swapaxes(1, 2))
        parts[part] = pictures, numbers
    if found["train", "images"].name.lower().startswith("emnist"):
        notes.append("EMNIST stores pictures with rows and columns exchanged; they were exchanged back")
    given = {part: (numbers.astype(np.int64), str(found[part, "labels"])) for part, (_, numbers) in parts.items()}
    targets, names = as_targets(given, None, notes)
    made = [Part(parts[part][0], targets[part], given[part][1]) for part in parts]
    return Dataset.of_parts(str(folder), made, names, notes=notes)
