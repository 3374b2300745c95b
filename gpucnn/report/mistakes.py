"""A model's mistakes: the worst as pictures, and all of them as a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..engine.evaluation import counting
from ..errors import DataError, SettingError, counted
from ..losses import CLASSIFICATION, OUTPUTS, kind
from ..training.curves import blank
from ..training.writing import write_figure, write_text
from .sheet import all_shortened, shortened

ACROSS, MOST = 5, 20  # pictures in a row, and on the sheet
WIDTH, HEIGHT = 1.0, 1.24  # of a picture's place on the sheet, where its longer side is 0.86


CAPTION, LONGEST = 0.06, 26  # more of a place's height, where files have their names below, and characters of such


class Mistake(NamedTuple):
    """An image that is given a wrong class: the path of its file or, where it is none, its place, from 0; its class;
    the one that it is taken for; and how probable that seemed.
    """

    file: Any
    label: str
    taken_for: str
    probability: float


def find(
    model: Any, images: Any, labels: Any, files: Sequence[Any] | None = None, *, tta: str | None = None
) -> list[Mistake]:
    """All mistakes of a model of classes, the surest first. images, labels: as `Model.evaluate` takes them, tta too.

    files: for each image what the mistake is to name, such as `dataset.origin("test")`; by default the paths, where
    images are such, else the places. What the loss ignores is no mistake. Raises SettingError where the loss is not of
    classes, DataError for what does not fit.
    """
    if kind(model.loss) != CLASSIFICATION:
        raise SettingError(f"mistakes: the model gives {OUTPUTS[kind(model.loss)]}, and only of classes some are wrong")
    if files is None and isinstance(images, (list, tuple)) and all(isinstance(x, (str, os.PathLike)) for x in images):
        files = [os.fspath(each) for each in images]
    images, labels = model.examples(images, labels)
    if files is not None and len(files) != len(images):
        raise DataError(f"files: {counted(len(files), 'name')} for {counted(len(images), 'image')}; give one for each")
    named = np.arange(len(images)) if files is None else np.asarray(files)
    images, labels, named = that_count(model.loss, labels, images, named)
    return of_answers(model.predict_proba(images, tta=tta), labels, model.class_names, named)


def that_count(loss: Any, labels: np.ndarray, images: Any, named: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    """Images (N, H, W, C), classes (N,) and names (N,) of the examples that the loss does not ignore.

    labels (N,), or (N, K) of parts of several classes.
    """
    counts = np.asarray(counting(loss, labels, np.ones(len(labels))), bool)
    labels = labels if labels.ndim == 1 else labels.argmax(axis=1)
    return (images, labels, named) if counts.all() else (images[counts], labels[counts], named[counts])


def of_answers(
    probabilities: Any, labels: Any, names: Sequence[str], files: Sequence[Any] | np.ndarray | None = None
) -> list[Mistake]:
    """The same of probabilities (N, K), labels (N,) and the names of the classes."""
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    named = np.arange(len(labels)) if files is None else np.asarray(files)
    found = worst(probabilities, labels, len(labels))
    given, sure = probabilities[found].argmax(axis=1), probabilities[found].max(axis=1)
    return [
        Mistake(file, names[own], names[other], part)
        for file, own, other, part in zip(named[found].tolist(), labels[found], given, sure.tolist())
    ]


def write(mistakes: Sequence[Mistake], path: str | os.PathLike[str]) -> None:
    """Write mistakes as CSV: file (or index, where they have none), class, taken_for, probability. Raises OSError."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    are_files = any(isinstance(each.file, (str, os.PathLike)) for each in mistakes)
    table.writerow(["file" if are_files else "index", "class", "taken_for", "probability"])
    table.writerows([*each[:3], f"{each.probability:.6g}"] for each in mistakes)
    write_text(path, stream.getvalue())


def worst(probabilities: Any, labels: Any, most: int = MOST) -> np.ndarray:
    """The places of examples that are given a wrong class, the surest first: of those alike, the one first whose own
    class seems least probable.

    probabilities (N, K); labels (N,) -> at most `most` places.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    own, given = probabilities[np.arange(len(labels)), labels], probabilities.max(axis=1)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.lexsort((own[wrong], -given[wrong]))][:most]


def draw(
    images: Any,
    labels: Any,
    probabilities: Any,
    names: Sequence[str],
    path: str | os.PathLike[str],
    title: str = "",
    files: Sequence[Any] | None = None,
) -> int:
    """Write the worst mistakes as an image file, each with its label, and the class it is given and how surely.

    images (N, H, W, 1 or 3), uint8 or from 0 to 1; labels (N,); files: their paths, which are named below. -> how many
    mistakes there are. Without one, no file is written.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    chosen = worst(probabilities, labels)
    count = int((probabilities.argmax(axis=1) != labels).sum())
    if not count:
        return 0
    short = all_shortened(names)
    rows, height = -(-len(chosen) // ACROSS), HEIGHT + (CAPTION if files is not None else 0)
    figure = blank((1.7 * ACROSS * WIDTH, 1.7 * rows * height + 0.5))
    axis = figure.subplots()
    for k, index in enumerate(chosen):
        left, top = k % ACROSS * WIDTH, k // ACROSS * height
        _picture(axis, images[index], left + WIDTH / 2, top + 0.45)
        given = int(probabilities[index].argmax())
        text = f"{short[labels[index]]}\ntaken for {short[given]}\n({100 * probabilities[index, given]:.0f} % sure)"
        axis.text(left + WIDTH / 2, top + 0.92, text, ha="center", va="top", fontsize=8, linespacing=1.15)
        if files is not None:
            name = os.path.basename(files[index])
            axis.text(
                left + WIDTH / 2, top + 1.175, shortened(name, LONGEST), ha="center", va="top", fontsize=7, color="0.4"
            )
    axis.set(xlim=(0, ACROSS * WIDTH), ylim=(rows * height, 0), aspect="equal")
    axis.axis("off")
    of_all = f"{count:,} of {len(labels):,} images are wrong"
    shown = f", the worst {len(chosen)} of them" if count > len(chosen) else ""
    figure.suptitle(f"{title}: {of_all}{shown}".removeprefix(": "), fontsize="medium")
    write_figure(figure, path, dpi=110)
    return count


def _picture(axis: Any, image: Any, x: float, y: float) -> None:
    """An image with its middle there, its longer side 0.86."""
    H, W = image.shape[:2]
    height, width = (0.43 * side / max(H, W) for side in (H, W))
    most = 255 if image.dtype == np.uint8 else 1
    shown = image if image.shape[2] == 3 else image[..., 0]
    place = (x - width, x + width, y + height, y - height)
    axis.imshow(shown, cmap="gray", vmin=0, vmax=most, extent=place, interpolation="nearest")
