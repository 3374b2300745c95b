"""The named data sets, from files to `Dataset`, and what can be asked of them: fetch, verify, where."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import DataError
from . import cifar, digits, idx, sources
from .catalogue import SOURCES, Source, known_name
from .dataset import Dataset, Images, Labels, check_pair
from .files import AGAIN
from .preprocessing import Preprocessing


def load_named(name: str) -> Dataset:
    """The data set of this name, downloaded if need be; DataError for unknown names and damaged files."""
    name = known_name(name)
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
    (train_images, train_labels), (test_images, test_labels) = (
        cifar_parts(source, members) if cifar.NAMES in source.layouts else idx_parts(source, members)
    )
    preprocessing = Preprocessing.of_arrays(source.shape)
    names = source.class_names
    return Dataset(source.name, train_images, train_labels, test_images, test_labels, names, preprocessing)


def idx_parts(source: Source, members: list[sources.Member]) -> list[tuple[Images, Labels]]:
    """(images, labels) of the training part, then of the test part."""
    parts = []
    for count, pictures, answers in zip(source.counts, members[::2], members[1::2], strict=True):
        images = idx.parse_images(pictures.content, pictures.where)
        labels = idx.parse_labels(answers.content, answers.where)
        check_shape(images, count, source, pictures.where)
        check_pair(images, labels, len(source.class_names), answers.where)
        parts.append((images, labels))
    return parts


def cifar_parts(source: Source, members: list[sources.Member]) -> list[tuple[Images, Labels]]:
    """(images, labels) of the five training batches, then of the test batch."""
    batches = []
    for member, count in zip(members, [source.counts[0] // 5] * 5 + [source.counts[1]], strict=True):
        images, labels = cifar.parse(member.content, member.where)
        check_shape(images, count, source, member.where)
        batches.append((images, labels))
    images, labels = (np.concatenate(arrays) for arrays in zip(*batches[:5]))
    return [(images, labels), batches[5]]


def check_shape(images: Images, count: int, source: Source, where: str) -> None:
    """DataError unless there are `count` pictures of the source's shape."""
    if images.shape != (count, *source.shape):
        raise DataError(
            f"{where}: pictures of shape {images.shape}, {(count, *source.shape)} was expected for {source.name}; "
            f"{AGAIN}, or give its folder as a path if it is a data set of your own"
        )
