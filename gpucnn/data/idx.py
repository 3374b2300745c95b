"""IDX, the format of MNIST: a magic number 0x0000 TYPE NDIM, NDIM big-endian 32-bit sizes, then the values."""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .dataset import Dataset, Images, Labels, Part, check_counts
from .files import AGAIN, find_files, read_content

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
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


def parse_images(content: bytes | bytearray, where: object) -> Images:
    """Pictures (N, H, W, 1) of an IDX file with magic number 2051."""
    return parse(content, IMAGES_MAGIC, where)[..., None]


def parse_labels(content: bytes | bytearray, where: object) -> Labels:
    """Labels (N,) of an IDX file with magic number 2049."""
    return parse(content, LABELS_MAGIC, where).astype(np.int64)


def has_idx_files(folder: Path) -> bool:
    """Whether any of the four IDX files lies in `folder`, plain or as .gz."""
    return bool(find_files(NAMES, folder)[0])


def read_folder(folder: Path) -> Dataset:
    """The data set of four IDX files named as MNIST's, plain or .gz; the classes are 0..the largest label."""
    paths, missing = find_files(NAMES, folder)
    if missing:
        raise DataError(
            f"{folder}: no file {missing[0]} or {missing[0]}.gz; all of {', '.join(NAMES)} were expected; "
            "put the missing files there"
        )
    parts = []
    for images, labels in zip(paths[::2], paths[1::2]):
        pictures = parse_images(read(images, IMAGES_MAGIC), images)
        numbers = parse(read(labels, LABELS_MAGIC), LABELS_MAGIC, labels)
        check_counts(pictures, numbers, labels)  # while a label still takes a byte
        parts.append(Part(pictures, numbers.astype(np.int64), str(labels)))
    return Dataset.of_parts(str(folder), parts)
