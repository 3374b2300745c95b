"""A data set in words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import counted, in_digits, printable

if TYPE_CHECKING:
    from .dataset import Dataset

MOST = 20  # classes that are listed one by one
FEW = 3  # pictures that are named where the same is said of them
UNEQUAL = 10  # times as many pictures as of another class
MOST_BYTES = 1 << 30  # of pictures that are looked through for the same ones


def summary(dataset: Dataset) -> str:
    """Size, classes with their pictures in each part, and what was left out or assumed."""
    parts = {"training": dataset.train_labels, "test": dataset.test_labels}
    if dataset.validation is not None:
        parts = {"training": parts["training"], "validation": dataset.validation[1], "test": parts["test"]}
    if not dataset.is_classified:
        return _of_rows(dataset, parts)
    counts = {part: np.bincount(labels, minlength=len(dataset.class_names)) for part, labels in parts.items()}
    lines = [_size(dataset, parts)]
    names = [printable(name) for name in dataset.class_names]
    if len(names) <= MOST:
        wide = max(map(len, [*names, "class"]))
        lines.append("  ".join(["class".ljust(wide), *(part.rjust(10) for part in parts)]))
        for k, name in enumerate(names):
            lines.append("  ".join([name.ljust(wide), *(f"{counts[part][k]:>10,}" for part in parts)]))
    else:
        fewest, most = (pick(counts["training"]) for pick in (np.argmin, np.argmax))
        least, largest = (f"{counts['training'][k]:,}" for k in (fewest, most))
        each = least if least == largest else f"{least} ({names[fewest]}) to {largest} ({names[most]})"
        lines.append(f"training pictures of a class: {each}")
    return "\n".join([*lines, *map(printable, dataset.notes), *_unequal(counts["training"], names), *_again(dataset)])


def _unequal(counts: Any, names: Sequence[str]) -> list[str]:
    """What is said where training has far more pictures of one class than of another."""
    present = np.flatnonzero(counts)
    rare, common = present[np.argmin(counts[present])], int(np.argmax(counts))
    if UNEQUAL * counts[rare] > counts[common]:
        return []
    return [
        f"training has {counts[common]:,} pictures of {names[common]} and {counts[rare]:,} of {names[rare]}: where all "
        "classes matter alike, --class-weights balanced; `gpucnn evaluate --report` says how well each is known"
    ]


def _again(dataset: Dataset) -> list[str]:
    """What is said of test pictures that were trained on: the very same pixels, but for what is all of one value."""
    train, test = dataset.train_images, dataset.test_images
    if train.nbytes + test.nbytes > MOST_BYTES:
        return []
    known = {_digest(image) for image in train}
    count = sum(_digest(image) in known and image.min() < image.max() for image in test)
    if not count:
        return []
    return [
        f"{count:,} of {counted(len(test), 'test picture')} {'is' if count == 1 else 'are'} in training, too: what was "
        "learnt by heart makes what is measured look better than it is"
    ]


def _digest(image: Any) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _size(dataset: Dataset, parts: dict[str, Any]) -> str:
    height, width, channels = dataset.input_shape
    total = ", ".join(f"{len(labels):,} {part}" for part, labels in parts.items())
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    count, what = len(dataset.class_names), dataset.what
    what = what.removesuffix("s") if count == 1 else what
    return f"{dataset.name}: {total} pictures of {height}x{width} ({kind}), {count} {what}"


def _of_rows(dataset: Dataset, parts: dict[str, Any]) -> str:
    """The summary of a data set without classes: in how many pictures each label holds, or, of numbers, the mean and
    the standard deviation in the training part.
    """
    names = [printable(name) for name in dataset.class_names]
    lines, train = [_size(dataset, parts)], parts["training"]
    if dataset.what == "labels":
        counts = {part: rows.sum(axis=0, dtype=np.int64) for part, rows in parts.items()}
        lines += [
            f"{name}: in " + ", ".join(f"{counts[part][k]:,} {part}" for part in parts) + " pictures"
            for k, name in enumerate(names[:MOST])
        ]
    else:
        means, deviations = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
        for name, *found in list(zip(names, means, deviations))[:MOST]:
            mean, deviation = (in_digits(each, 4) for each in found)
            lines.append(f"{name}: {mean} +- {deviation} in training")
    more = [f"and {len(names) - MOST} more"] if len(names) > MOST else []
    return "\n".join([*lines, *more, *map(printable, dataset.notes), *_again(dataset)])


def summed_up(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for all pictures of which the same was noted, from notes by picture."""
    alike: dict[str, list[str]] = {}
    for name, said in notes.items():
        alike.setdefault("; ".join(said), []).append(name)
    return [
        f"{', '.join(names)}: {text}"
        if len(names) <= FEW
        else f"each of {len(names)} pictures ({', '.join(names[:FEW])}, ...): {text}"
        for text, names in alike.items()
    ]
