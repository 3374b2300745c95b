"""A data set in memory: pictures as uint8, or as floats, with labels or numbers, checked once when it is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..names import Explained
from .checks import Images, check_pair, checked_images
from .preprocessing import Preprocessing
from .split import held_out, plain_split, stratified_split
from .summary import summary
from .targets import Labels, checked_names, checked_targets

MOST_CLASSES = 100_000


class Origin(NamedTuple):
    """Where each of some images comes from, (N,), and which these are."""

    names: NDArray[Any]
    images: Images


class Part(NamedTuple):
    """A part of a data set, where it comes from, for messages, and the path of the file of each image, if they are
    files, or its place, from 0, where some were left out.
    """

    images: Images
    labels: Labels
    where: str
    files: Sequence[str] | NDArray[Any] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Explained):
    """Training and test pictures (N, H, W, C), uint8 or float32 in 0..1, with labels (N,) in 0..len(class_names)-1.

    In place of labels there may be rows (N, K) with a name for each of K: of 0 and 1, uint8, where several labels may
    hold, or of numbers, floats. Labels of any integer type are taken and kept as int64. `preprocessing` says how
    picture files become such images, None if they cannot. validation: images and labels beside them, or None where
    they are to be taken from the training part. notes: sentences about what was left out or assumed when it was read.
    origins: by part, what `origin` gives, where that is more than the places in the part; it is kept with the images
    that it was given with, and no longer told where `dataclasses.replace` puts others in their place. DataError, naming
    the data set and the array, for everything that does not fit.
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
    origins: Mapping[str, NDArray[Any] | Origin] = field(default_factory=dict)

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
        self._bind_origins()
        if self.test_images.shape[1:] != self.train_images.shape[1:]:
            raise DataError(
                f"{self.name}: test_images have shape {self.test_images.shape[1:]}, train_images "
                f"{self.train_images.shape[1:]}; give both the same height, width and channels"
            )
        types = {each.dtype for each in (self.train_images, self.test_images, *(self.validation or [])[:1])}
        if len(types) > 1:
            raise DataError(
                f"{self.name}: images are uint8 in one part, and float32 in another; give all as float32, bytes "
                "divided by 255"
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
        validation: Part | tuple[Images, Labels] | None = None,
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
                "training lacks cannot be learnt, leave its pictures out or add some to the training part; or if "
                "they are numbers to be predicted, say numbers=True"
            )
        names = [str(label) for label in range(1 + most)] if names is None else names
        for part in parts:
            check_pair(part.images, part.labels, len(names), part.where)
        arrays = [(part.images, part.labels) for part in parts]
        held = None if validation is None else (validation[0], validation[1])
        files = dict(zip(("train", "test"), (part.files for part in parts)))
        files["validation"] = validation.files if isinstance(validation, Part) else None
        origins = {
            part: of_part if isinstance(of_part, np.ndarray) else np.array(of_part, object)
            for part, of_part in files.items()
            if of_part is not None
        }
        if len(parts) == 1:
            ((images, labels),) = arrays
            split = plain_split(len(labels), name) if rows else stratified_split(labels, name, names)
            arrays = [(images[chosen], labels[chosen]) for chosen in split]
            whole = origins.get("train", np.arange(len(labels)))
            origins |= {part: whole[chosen] for part, chosen in zip(("train", "test"), split)}
        how = how or Preprocessing.of_arrays(parts[0].images.shape)
        return cls(name, *arrays[0], *arrays[1], tuple(names), how, held, tuple(notes), len(parts) == 1, origins)

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

    def _parts(self) -> list[str]:
        return ["train", "test"] + ["validation"] * (self.validation is not None)

    def _bind_origins(self) -> None:
        """What was given as origins is of the images that the parts have now."""
        bound = {
            part: named if isinstance(named, Origin) else Origin(named, self.part(part)[0])
            for part, named in self.origins.items()
        }
        object.__setattr__(self, "origins", bound)

    def _named(self, part: str) -> NDArray[Any]:
        """The origins of a part; empty where there are none of its images."""
        found = self.origins.get(part)
        return found.names if isinstance(found, Origin) and found.images is self.part(part)[0] else np.arange(0)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, whose images are others."""
        return vars(self) | {"origins": {part: self._named(part) for part in self._parts()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"origins": {}} | state)
        self._bind_origins()

    def origin(self, name: str) -> NDArray[Any]:
        """Where each image of `part(name)` comes from, (N,): the path of its file or, where there are no files, its
        place, from 0, among those that were split into the parts, or else in that part, those that could not be read
        among them.
        """
        parts = self._parts() if name == "all" else [name]
        counts = [len(self.part(part)[1]) for part in parts]
        found = [self._named(part) for part in parts]
        are_places = not self.drawn_test and found[0].dtype != object
        if [*map(len, found)] != counts or (name == "all" and are_places):
            return np.arange(sum(counts))
        return np.concatenate(found)

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

        def kept(part: str) -> tuple[Images, Labels]:
            images, old = self.part(part)
            origins[part] = self.origin(part)
            if old.ndim == 2:
                return images, np.ascontiguousarray(old[:, chosen])
            new = table[old]
            origins[part] = origins[part][new >= 0]
            return images[new >= 0], new[new >= 0]

        origins: dict[str, Any] = {}
        train, test = kept("train"), kept("test")
        validation = None if self.validation is None else kept("validation")
        how = self.preprocessing
        return Dataset(self.name, *train, *test, names, how, validation, self.notes, self.drawn_test, origins)

    def split_validation(self, fraction: float, seed: int) -> tuple[Images, Labels, Images, Labels]:
        """(train_images, train_labels, validation_images, validation_labels): round(fraction * N) examples of the
        training part, drawn by `seed`, become the validation part, by class where one would be left without any to
        train on (`split.held_out`); both keep the order of the training part. Where the data set has a validation part
        of its own, it is that one instead, or with fraction 0 an empty one.

        The arrays are the data set's own where fraction is 0. DataError unless 0 <= fraction < 1.
        """
        if not 0 <= fraction < 1:
            raise DataError(
                f"{self.name}: validation fraction {fraction!r}, a number in [0, 1) was expected; use for example 0.1"
            )
        images, labels = self.train_images, self.train_labels
        if self.validation is not None:
            own = slice(None if fraction else 0)
            return images, labels, self.validation[0][own], self.validation[1][own]
        held = held_out(labels, fraction, seed)
        if not held.any():
            return images, labels, images[:0], labels[:0]
        return images[~held], labels[~held], images[held], labels[held]

    def _valid_labels(self) -> str:
        return ", ".join(
            str(label) if name == str(label) else f"{label} ({name})" for label, name in enumerate(self.class_names)
        )
