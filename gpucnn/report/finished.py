"""The pictures of a finished run: which classes are taken for which, and the worst mistakes."""

from __future__ import annotations

from pathlib import Path

from ..data import Dataset
from ..losses import CLASSIFICATION, kind
from ..metrics import confusion_matrix
from ..model import Model
from ..model.folder import CONFUSION, MISTAKES
from ..model.recorder import without
from . import confusion, mistakes
from .glyphs import told_once


def draw(model: Model, dataset: Dataset, folder: Path, tta: str | None = None) -> list[str]:
    """Write confusion.png and mistakes.png of the test images into a folder. -> the names of those written.

    A loss that is not of classes has neither; without a mistake there is no second one. Where a file cannot be written,
    a warning says so.
    """
    if kind(model.loss) != CLASSIFICATION or not len(dataset.test_labels):
        return []
    written, names, title = [], model.class_names, f"{model.name} on {dataset.name}"
    images, labels = dataset.test_images, dataset.test_labels
    labels = labels if labels.ndim == 1 else labels.argmax(axis=1)  # of parts of several classes
    chances = model.predict_proba(images, tta=tta)
    with told_once(names):
        with without(f"{folder / CONFUSION}: the picture cannot be written"):
            found = confusion_matrix(labels, chances.argmax(axis=1), len(names))
            confusion.draw(found, names, folder / CONFUSION, title)
            written.append(CONFUSION)
        with without(f"{folder / MISTAKES}: the picture cannot be written"):
            (folder / MISTAKES).unlink(missing_ok=True)  # of an earlier part of the run
            if mistakes.draw(images, labels, chances, names, folder / MISTAKES, title):
                written.append(MISTAKES)
    return written
