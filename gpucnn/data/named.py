"""The named data sets, from files to `Dataset`, and what can be asked of them: fetch, verify, where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from . import cifar, digits, idx, sources
from .catalogue import SOURCES, Source, known_name
from .checks import check_pair
from .dataset import Dataset, Part
from .files import AGAIN


def load_named(name: str) -> Dataset:
    """The data set of one of NAMES, downloaded if need be; DataError for damaged files."""
    return digits.load() if name == digits.NAME else assemble(SOURCES[name], sources.read(SOURCES[name]))


def where(name: str) -> Path:
    """The folder from which a data set is, or would be, read; for digits the file inside scikit-learn."""
    name = known_name(name)
    return digits.path() if name == digits.NAME else sources.folder_of(SOURCES[name])


def fetch(name: str) -> Path:
    """Downloads the files of a data set that are not yet there, verifies all, and returns their folder.

    With GPUCNN_DATA_DIR set, it only verifies. digits needs no download: it is bundled with scikit-learn.
    """
    verify(name)
    return where(name)


def verify(name: str) -> list[tuple[Path, str]]:
    """(path, what vouches for it) for every file; DataError naming the first one that is missing or wrong.

    Files that are not yet in the cache are downloaded first, unless GPUCNN_DATA_DIR is set.
    """
    name = known_name(name)
    if name == digits.NAME:
        dataset = digits.load()
        count = len(dataset.train_labels) + len(dataset.test_labels)
        return [(digits.path(), f"bundled with scikit-learn: {count} digits as expected")]
    members = sources.read(SOURCES[name])
    assemble(SOURCES[name], members)
    return list({member.path: (member.path, member.evidence) for member in members}.values())


def assemble(source: Source, members: list[sources.Member]) -> Dataset:
    """The `Dataset` of verified files; DataError naming the file whose counts, sizes or labels are wrong."""
    batches = cifar_batches(members) if cifar.NAMES in source.layouts else idx_batches(members)
    train = len(batches) - 1
    counts = [source.counts[0] // train] * train + [source.counts[1]]
    for part, pictures, count in zip(batches, members[:: len(members) // len(batches)], counts):
        expected = (count, *source.shape)
        if part.images.shape != expected:
            raise DataError(
                f"{pictures.where}: pictures of shape {part.images.shape}, {expected} was expected for {source.name}; "
                f"{AGAIN}, or give its folder as a path if it is a data set of your own"
            )
        check_pair(part.images, part.labels, len(source.class_names), part.where)
    *train_batches, test = batches
    images: list[Any] = [each.images for each in train_batches]
    labels = [each.labels for each in train_batches]
    first = Part(np.concatenate(images), np.concatenate(labels), source.name)
    found = Dataset.of_parts(source.name, [first, test], source.class_names)
    how = found.preprocessing
    return found if how is None else replace(found, preprocessing=replace(how, strokes=source.strokes))


def idx_batches(members: list[sources.Member]) -> list[Part]:
    """The training part, then the test part."""
    return [
        Part(idx.parse_images(x.content, x.where), idx.parse_labels(y.content, y.where), y.where)
        for x, y in zip(members[::2], members[1::2], strict=True)
    ]


def cifar_batches(members: list[sources.Member]) -> list[Part]:
    """The five batches of the training part, then the test part."""
    return [Part(*cifar.parse(each.content, each.where), each.where) for each in members]
