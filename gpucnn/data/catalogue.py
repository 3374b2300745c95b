"""The named data sets: files, digests, mirrors, sizes and classes."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..errors import DataError, nearest
from . import cifar, digits, idx
from .strokes import Strokes


@dataclass(frozen=True)
class RemoteFile:
    """A file on the mirrors (NAME.gz), the md5 of that .gz file, and the sha256 of its content where it is known."""

    name: str
    md5: str
    sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """A data set that is downloaded: its `files` lie in each of the folders `mirrors`, tried in order.

    `counts` are the numbers of training and test pictures, `shape` is (H, W, C) of each. strokes: see `Preprocessing`.
    """

    name: str
    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]
    counts: tuple[int, int]
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    layouts: tuple[tuple[str, ...], ...] = (idx.NAMES,)
    what: str = "the four IDX files"
    strokes: Strokes | None = None


def _idx(digests: str) -> tuple[RemoteFile, ...]:
    """The four IDX files, with the digests in the lines of a text."""
    return tuple(RemoteFile(name, *line.split()) for name, line in zip(idx.NAMES, digests.strip().splitlines()))


MNIST = Source(
    "mnist",
    _idx("""
    f68b3c2dcbeaaa9fbdd348bbdeb94873 ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
    d53e105ee54ea40749a09fcbcd1e9432 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
    9fb629c4189551a2d022fa330f9573f3 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
    ec29112dd5afa0611ce80d1b7f02629c ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
    """),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    (60000, 10000),
    (28, 28, 1),
    tuple("0123456789"),
    strokes=Strokes(20 / 28),
)

FASHION_MNIST = Source(
    "fashion-mnist",
    _idx("""
    8d4fb7e6c68d591d4c3dfef9ec88bf0d
    25c81989df183df01b3e8a0aad5dffbe
    bef4ecab320f06d8554ea6380940ec79
    bb300cfdad3c16e7a12a480ee83cd310
    """),
    (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    (60000, 10000),
    (28, 28, 1),
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

# The Python archive of the same pictures is a pickle, which can run code when it is opened.
CIFAR10 = Source(
    "cifar10",
    (RemoteFile(cifar.ARCHIVE, "c32a1d4ab5d03f1284b67883e8d87530"),),
    ("https://www.cs.toronto.edu/~kriz/",),
    (50000, 10000),
    (32, 32, 3),
    cifar.CLASS_NAMES,
    ((cifar.ARCHIVE,), cifar.NAMES),
    f"{cifar.ARCHIVE}.gz or the files of {cifar.FOLDER}",
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST, CIFAR10)}
NAMES = (digits.NAME, *SOURCES)


def resolve(name: str) -> str | None:
    """The name in NAMES that is meant, whatever its case, hyphens and underscores; None if there is none."""
    letters = str.maketrans("", "", "-_")
    return {known.translate(letters): known for known in NAMES}.get(name.lower().translate(letters))


def did_you_mean(name: str) -> str:
    """`; did you mean mnist?`, or nothing if no name is close."""
    close = nearest(name.lower(), NAMES)
    return f"; did you mean {close}?" if close else ""


def known_name(name: str) -> str:
    """The name in NAMES that is meant; DataError with the list of them otherwise."""
    known = resolve(name)
    if known is None and os.path.exists(name):
        raise DataError(
            f"{name}: a path, and only data sets that have a name are downloaded and checked ({', '.join(NAMES)}); "
            f"`gpucnn data show {name}` reads it and says what it holds"
        )
    if known is None:
        raise DataError(f"{name}: no data set has this name; the names are {', '.join(NAMES)}{did_you_mean(name)}")
    return known
