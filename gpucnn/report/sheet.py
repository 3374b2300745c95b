"""A sheet of a data set's pictures with their labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data import Dataset
from ..errors import printable
from ..training.curves import blank
from ..training.writing import write_figure

WIDE = 16  # characters of a name
CLASSES, EACH = 20, 8  # classes on a sheet, and pictures of each


def draw(dataset: Dataset, path: str | os.PathLike[str], *, each: int = EACH) -> int:
    """Write a row of training pictures for each class, the first of them, as an image file. -> how many rows."""
    shown = range(min(len(dataset.class_names), CLASSES))
    figure = blank((1.6 + 0.75 * each, 0.8 * len(shown) + 0.6))
    panels = figure.subplots(len(shown), each, squeeze=False)
    names = all_shortened(dataset.class_names)
    for k, row in zip(shown, panels):
        found = of_class(dataset, k)
        for axis, index in zip(row, [*found[:each], *[None] * each]):
            picture(axis, None if index is None else dataset.train_images[index])
        row[0].set_ylabel(f"{names[k]}\n{len(found):,}", rotation=0, ha="right", va="center", labelpad=6)
    left_out = len(dataset.class_names) - len(shown)
    more = f"; {left_out} more {dataset.what} are not shown" if left_out else ""
    figure.suptitle(f"{dataset.name}: training pictures {of_each(dataset)}{more}", fontsize="medium")
    write_figure(figure, path, dpi=110)
    return len(shown)


def of_each(dataset: Dataset) -> str:
    """What a row of the sheet has."""
    return {"classes": "of each class", "labels": "with each label"}.get(
        dataset.what, "with the largest of each number"
    )


def of_class(dataset: Dataset, k: int) -> np.ndarray:
    """The training pictures of a class, of a label, or by a number, the largest first."""
    labels = dataset.train_labels
    if dataset.is_classified:
        return np.flatnonzero(labels == k)
    return np.flatnonzero(labels[:, k]) if dataset.what == "labels" else np.argsort(-labels[:, k], kind="stable")


def bare(axis: Any) -> None:
    """No ticks and no frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def picture(axis: Any, image: Any) -> None:
    bare(axis)
    if image is None:
        return
    most = 255 if image.dtype == np.uint8 else 1
    axis.imshow(image[..., 0] if image.shape[2] != 3 else image, cmap="gray", vmin=0, vmax=most)


def shortened(name: str, wide: int = WIDE) -> str:
    """At most so many characters of a name, its beginning and its end, where names of one kind differ. Ends of lines,
    and bytes of a file's name that are no text, are written as Python's escapes.
    """
    name = printable(name)
    return name if len(name) <= wide else f"{name[: wide // 2 - 1]}…{name[-(wide // 2) :]}"


def all_shortened(names: Sequence[str]) -> list[str]:
    """The names as `shortened` has them; those that would be alike with their numbers, from 0, in front."""
    short = [shortened(name) for name in names]
    times = Counter(short)
    return [each if times[each] == 1 else shortened(f"{k}: {name}") for k, (each, name) in enumerate(zip(short, names))]
