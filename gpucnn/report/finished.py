"""What a finished run leaves beside its model: which classes are taken for which, and the mistakes."""

from __future__ import annotations

import os
from pathlib import Path

from ..data import Dataset
from ..losses import CLASSIFICATION, kind
from ..metrics import confusion_matrix
from ..model import Model
from ..model.folder import ALL_MISTAKES, CONFUSION, MISTAKES
from ..model.metrics_file import without
from . import confusion, mistakes
from .glyphs import told_once


def draw(model: Model, dataset: Dataset, folder: Path, tta: str | None = None) -> list[str]:
    """Write confusion.png, mistakes.png and mistakes.csv of the test images into a folder. -> the names of those that
    were written.

    A loss that is not of classes has none of them; without a mistake there is only the first one. Where a file cannot
    be written, a warning says so.
    """
    if kind(model.loss) != CLASSIFICATION or not len(dataset.test_labels):
        return []
    written, names, title = [], model.class_names, f"{model.name} on {dataset.name}"
    images, labels, named = mistakes.that_count(
        model.loss, dataset.test_labels, dataset.test_images, dataset.origin("test")
    )
    chances, origin = model.predict_proba(images, tta=tta), named.tolist()
    files = origin if isinstance(origin[0], str) else None
    with told_once([*names, *map(os.path.basename, files or [])]):
        with without(f"{folder / CONFUSION}: the picture cannot be written"):
            found = confusion_matrix(labels, chances.argmax(axis=1), len(names))
            confusion.draw(found, names, folder / CONFUSION, title)
            written.append(CONFUSION)
        with without(f"{folder / MISTAKES}: the picture cannot be written"):
            (folder / MISTAKES).unlink(missing_ok=True)  # of an earlier part of the run
            if mistakes.draw(images, labels, chances, names, folder / MISTAKES, title, files):
                written.append(MISTAKES)
        with without(f"{folder / ALL_MISTAKES}: the table cannot be written"):
            (folder / ALL_MISTAKES).unlink(missing_ok=True)
            if all_of_them := mistakes.of_answers(chances, labels, names, origin):
                mistakes.write(all_of_them, folder / ALL_MISTAKES)
                written.append(ALL_MISTAKES)
    return written
