"""A sheet of pictures beside what an augmentation makes of them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..data import Dataset
from ..training.augmentation import Augmentation
from ..training.curves import blank
from ..training.writing import write_figure
from .sheet import CLASSES, all_shortened, of_class, picture

VERSIONS = 8  # of each picture
LEAST = 4  # pictures: where there are fewer classes, a class has several


def draw(dataset: Dataset, how: Augmentation, path: str | os.PathLike[str], *, versions: int = VERSIONS) -> int:
    """Write a row for each class, its first training picture and some changed ones, as an image file. -> how many rows.

    how: with the key of a run. Each column is an epoch of one batch, the pictures that are shown: they are mixed with
    one another, and a mixture's title has both labels and their shares.
    """
    images, how = dataset.train_images, how.of_run(how.key, 1, 1)
    names, chosen = _chosen(dataset)
    width = 0.95 if how.mixes else 0.8
    height = 1.1 if how.mixes else 0.85
    figure = blank((1.8 + width * (1 + versions), height * len(chosen) + 0.9))
    panels = figure.subplots(len(chosen), 1 + versions, squeeze=False)
    for row, name, index in zip(panels, names, chosen):
        picture(row[0], images[index])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
    panels[0][0].set_title("original", fontsize="small")
    for version in range(1, 1 + versions):
        made, titles = _made(images[chosen], chosen, names, how, version)
        for k, row in enumerate(panels):
            picture(row[version], made[k])
            row[version].set_title(titles[k], fontsize="x-small")
    figure.suptitle(f"{dataset.name}: {how.text()}", fontsize="medium")
    write_figure(figure, path, dpi=110)
    return len(chosen)


def _chosen(dataset: Dataset) -> tuple[list[str], np.ndarray]:
    """The names and the indices of the first examples of each class that is shown."""
    shown = range(min(len(dataset.class_names), CLASSES))
    found = [(k, index) for k in shown for index in of_class(dataset, k)[: -(-LEAST // len(shown))]]
    names = all_shortened(dataset.class_names)
    return [names[k] for k, _ in found], np.asarray([index for _, index in found])


def _made(images: Any, indices: Any, names: list[str], how: Augmentation, step: int) -> tuple[Any, list[str]]:
    """The changed images, and the titles of mixtures."""
    made = how(images, indices, step)
    if not how.mixes:
        return made, [""] * len(names)
    mixture = how.mixture(indices, step, *images.shape[1:3])
    percent = np.round(100 * mixture.share).astype(int)
    titles = [
        f"{name}: {own} %\n{names[other]}: {100 - own} %" for name, own, other in zip(names, percent, mixture.partners)
    ]
    return mixture(made, made[mixture.partners]), titles
