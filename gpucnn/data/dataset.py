"""A data set in memory: pictures as uint8 with labels or numbers, checked once when it is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, counted
from ..names import Explained
from .preprocessing import Preprocessing
from .split import permutation, plain_split, stratified_split
from .summary import summary
from .targets import Labels, check_width, checked_names, checked_targets

Images = NDArray[np.uint8]
MOST_CLASSES = 100_000


class Part(NamedTuple):
    """The training or the test part of a data set, and where it comes from, for messages."""

    images: Images
    labels: Labels
    where: str


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Explained):
    """Training and test pictures (N, H, W, C) uint8 with labels (N,) in 0..len(class_names)-1.

    In place of labels there may be rows (N, K) with a name for each of K: of 0 and 1, uint8, where several labels may
    hold, or of numbers, floats. Labels of any integer type are taken and kept as int64. `preprocessing` says how
    picture files become such images, None if they cannot. validation: images and labels beside them, or None where
    they are to be taken from the training part. notes: sentences about what was left out or assumed when it was read.
    DataError, naming the data set and the array, for everything that does not fit.
    """

    name: str
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    class_names: tuple[str, ...]
    preprocessing: Preprocessing | None = None
    validation: tuple[Images, Labels] | None = None
    notes: tuple[str, ...] = ()
    drawn_test: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", checked_names(self.class_names, self.name))
        if self.is_classified and len(self.class_names) < 2:
            raise DataError(
                f"{self.name}: only one class ({', '.join(self.class_names) or 'none'}); "
                "a classifier needs at least two, add examples of another"
            )
        for part in ("train", "test"):
            where = f"{self.name}: {part}"
            images = checked_images(getattr(self, f"{part}_images"), f"{where}_images")
            labels = checked_targets(getattr(self, f"{part}_labels"), f"{where}_labels")
            check_pair(images, labels, len(self.class_names), where)
            object.__setattr__(self, f"{part}_labels", labels)
        if self.validation is not None:
            where, (images, labels) = f"{self.name}: validation", self.validation
            pair = checked_images(images, f"{where} images"), checked_targets(labels, f"{where} labels")
            check_pair(*pair, len(self.class_names), where)
            object.__setattr__(self, "validation", pair)
            if images.shape[1:] != self.train_images.shape[1:]:
                raise DataError(
                    f"{where}: images have shape {images.shape[1:]}, those of training {self.train_images.shape[1:]}; "
                    "give both the same height, width and channels"
                )
        if self.test_images.shape[1:] != self.train_images.shape[1:]:
            raise DataError(
                f"{self.name}: test_images have shape {self.test_images.shape[1:]}, train_images "
                f"{self.train_images.shape[1:]}; give both the same height, width and channels"
            )
        kinds = [each.ndim for each in (self.train_labels, self.test_labels, *(self.validation or [])[1:])]
        if len(set(kinds)) > 1:
            raise DataError(f"{self.name}: one part has a label for each picture, another one rows; give both the same")
        if self.is_classified and self.train_labels.min() == self.train_labels.max():
            raise DataError(
                f"{self.name}: train_labels hold only one class ({self.class_names[self.train_labels[0]]}); "
                "a classifier needs at least two, add examples of another"
            )

    @classmethod
    def of_parts(
        cls,
        name: str,
        parts: Sequence[Part],
        names: Sequence[str] | None = None,
        how: Preprocessing | None = None,
        *,
        validation: tuple[Images, Labels] | None = None,
        notes: Iterable[str] = (),
    ) -> Dataset:
        """The data set of a training and a test part or, where there is one part, with a fifth as the test, which is
        stratified where there are classes.

        names: those of the classes, or of what is in a row; by default 0, 1, ... to the largest label. how: picture
        files become such images; by default in the shape of these. validation, notes: see the class. DataError, with a
        part's place, for what does not belong together.
        """
        rows = [part.labels for part in parts if part.labels.ndim == 2]
        if rows:
            names = [str(k) for k in range(rows[0].shape[1])] if names is None else names
        most = max(int(part.labels.max(initial=0)) for part in parts)
        if names is None and most >= MOST_CLASSES:
            raise DataError(f"{name}: the largest label is {most}; number the classes 0, 1, 2, ... without gaps")
        if names is None and 0 < (known := int(parts[0].labels.max(initial=0))) < most:
            raise DataError(
                f"{parts[-1].where}: labels run to {most}, those of the training part to {known}; a class that "
                "training lacks cannot be learnt, leave its pictures out or add some to the training part"
            )
        names = [str(label) for label in range(1 + most)] if names is None else names
        for part in parts:
            check_pair(part.images, part.labels, len(names), part.where)
        arrays = [(part.images, part.labels) for part in parts]
        if len(parts) == 1:
            ((images, labels),) = arrays
            split = plain_split(len(labels), name) if rows else stratified_split(labels, name, names)
            arrays = [(images[chosen], labels[chosen]) for chosen in split]
        how = how or Preprocessing.of_arrays(parts[0].images.shape)
        return cls(name, *arrays[0], *arrays[1], tuple(names), how, validation, tuple(notes), len(parts) == 1)

    def __repr__(self) -> str:
        height, width, channels = self.input_shape
        return (
            f"Dataset({self.name!r}: {len(self.train_labels)} training and {len(self.test_labels)} test pictures "
            f"of {height}x{width}x{channels}, {len(self.class_names)} {self.what})"
        )

    @property
    def is_classified(self) -> bool:
        """Whether each picture has a class."""
        return np.ndim(self.train_labels) == 1

    @property
    def what(self) -> str:
        """What class_names are names of."""
        if self.is_classified:
            return "classes"
        return "numbers" if self.train_labels.dtype.kind == "f" else "labels"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one picture."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    def summary(self) -> str:
        """Its size, its classes with their pictures in each part, and what was left out or assumed."""
        return summary(self)

    def part(self, name: str) -> tuple[Images, Labels]:
        """The images and labels of "train", "validation" or "test", or, one part behind the other, of "all" of them.

        DataError for another name, and where there is no such part.
        """
        parts = {"train": (self.train_images, self.train_labels), "test": (self.test_images, self.test_labels)}
        if self.validation is not None:
            parts["validation"] = self.validation
        if name in parts:
            return parts[name]
        if name != "all":
            raise DataError(f"{self.name}: there is no part {name!r}; choose one of {', '.join(parts)}, all")
        images, labels = zip(*parts.values())
        return np.concatenate(images), np.concatenate(labels)

    def select_classes(self, labels: Sequence[int]) -> Dataset:
        """The data set of these classes only, relabelled 0..len(labels)-1 in the order given; or of these of a row.

        DataError for a class that is unknown or repeated, or if fewer than two are named.
        """
        for label in labels:
            is_number = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
            if not is_number or not 0 <= label < len(self.class_names):
                raise DataError(f"{self.name}: there is no class {label!r}; choose from {self._valid_labels()}")
        chosen = list(map(int, labels))
        if len(set(chosen)) != len(chosen) or len(chosen) < 2:
            raise DataError(
                f"{self.name}: classes {list(labels)} were asked for, two or more different ones were expected; "
                f"choose from {self._valid_labels()}"
            )
        table = np.full(len(self.class_names), -1, np.int64)
        table[chosen] = np.arange(len(chosen))
        names = tuple(self.class_names[label] for label in chosen)

        def kept(images: Images, old: Labels) -> tuple[Images, Labels]:
            if old.ndim == 2:
                return images, np.ascontiguousarray(old[:, chosen])
            new = table[old]
            return images[new >= 0], new[new >= 0]

        train, test = kept(self.train_images, self.train_labels), kept(self.test_images, self.test_labels)
        validation = None if self.validation is None else kept(*self.validation)
        return Dataset(self.name, *train, *test, names, self.preprocessing, validation, self.notes, self.drawn_test)

    def split_validation(self, fraction: float, seed: int) -> tuple[Images, Labels, Images, Labels]:
        """(train_images, train_labels, validation_images, validation_labels): round(fraction * N) examples of the
        training part, drawn by `seed`, become the validation part; both keep the order of the training part. Where the
        data set has a validation part of its own, it is that one instead, or with fraction 0 an empty one.

        The arrays are the data set's own where fraction is 0. DataError unless 0 <= fraction < 1.
        """
        if not 0 <= fraction < 1:
            raise DataError(
                f"{self.name}: validation fraction {fraction!r}, a number in [0, 1) was expected; use for example 0.1"
            )
        images, labels, total = self.train_images, self.train_labels, len(self.train_labels)
        if self.validation is not None:
            held = slice(None if fraction else 0)
            return images, labels, self.validation[0][held], self.validation[1][held]
        count = min(round(fraction * total), total - 1)
        if count == 0:
            return images, labels, images[:0], labels[:0]
        held_out = np.zeros(total, bool)
        held_out[permutation(total, seed)[:count]] = True
        return images[~held_out], labels[~held_out], images[held_out], labels[held_out]

    def _valid_labels(self) -> str:
        return ", ".join(
            str(label) if name == str(label) else f"{label} ({name})" for label, name in enumerate(self.class_names)
        )


def checked_images(images: Any, where: str) -> Images:
    """`images` itself, if it is a uint8 array (N, H, W, C) that is not empty; else DataError."""
    if not isinstance(images, np.ndarray) or images.ndim != 4 or images.dtype != np.uint8:
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(f"{where}: found {found}, a uint8 array (N, H, W, C) was expected; convert it first")
    if images.size == 0:
        raise DataError(f"{where}: shape {images.shape} holds no pictures; give at least one")
    return images


def check_range(images: Any, where: str) -> None:
    """DataError unless these floats lie in 0..1."""
    if not images.size:
        return
    least, most = images.min(), images.max()  # NaN where there is one
    if not np.isfinite([least, most]).all():
        raise DataError(f"{where}: holds NaN or infinite values; replace them first, or leave those pictures out")
    if least < 0 or most > 1:
        what = "hand over the uint8 values 0..255 themselves, or scale them"
        if least < 0:
            what = (
                "where they were standardised, hand over what they were before, or (x - a) / (b - a) with the same "
                "limits a and b of all, and let the network begin with BatchNorm(), which standardises them"
            )
        raise DataError(f"{where}: floats from {least:g} to {most:g}, 0..1 was expected; {what}")


def check_counts(images: Images, labels: Any, where: object) -> None:
    """DataError unless there is one label for every picture."""
    if len(images) != len(labels):
        raise DataError(
            f"{where}: {counted(len(images), 'picture')} but {counted(len(labels), 'label')}; one label per picture "
            "was expected, check that both belong together"
        )


def check_pair(images: Images, labels: Labels, classes: int, where: str) -> None:
    """DataError unless there is one label in 0..classes-1, or a row of so many, for every picture."""
    check_counts(images, labels, where)
    if labels.ndim == 2:
        check_width(labels, classes, where)
    else:
        check_range_of_labels(labels, classes, where)


def check_range_of_labels(labels: Labels, classes: int, where: str) -> None:
    """DataError unless all labels, if there are any, are in 0..classes-1."""
    if not len(labels):
        return
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        mend = (
            "they count from 1: subtract 1"
            if (lowest, highest) == (1, classes)
            else "number the classes 0, 1, 2, ..., and have a name, or an output of the network, for each"
        )
        expected = f"0..{classes - 1} was expected for {classes} classes"
        raise DataError(f"{where}: labels run from {lowest} to {highest}, {expected}; {mend}")
