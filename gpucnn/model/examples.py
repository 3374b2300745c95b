"""What a model takes as images with targets, and the sentence for what it does not."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.checks import check_counts
from ..data.preprocessing import Preprocessing
from ..data.targets import check_finite
from ..engine.evaluation import counting
from ..errors import DataError, SettingError, counted, warn
from ..losses import CLASSIFICATION, REGRESSION, FocalLoss, SoftmaxCrossEntropy, kind
from .frames import in_order
from .inputs import given_images, white_in
from .labels import Meaning, as_array, fitting_labels, learnt
from .numbers import units_of

CLASSES_INSTEAD = "; for a class for each image use a loss of classes, such as softmax"
FACTORS: dict[type, str] = {SoftmaxCrossEntropy: "class_weights", FocalLoss: "alpha"}  # by class, of losses
SUM = 1e-3  # how far from 1 shares of classes may add up


def learning(model: Any, images: Any, labels: Any, weights: Any = None) -> Meaning:
    """The `Meaning` of images and labels that a model is to learn: what is white, which classes there are, in which
    units numbers are. What was assumed is warned of. Raises DataError.

    weights: the examples', or None, by which they count in the units of numbers, where they are such.
    """
    names, first = model.class_names, 0
    notes: list[str] = []
    given = as_array(in_order(labels, names), "labels")
    if kind(model.loss) == CLASSIFICATION and not _are_shares(given, model.loss):
        ignored = getattr(model.loss, "ignore_index", None)
        names, first = learnt(given, names, model.first_label, ignored, notes)
    white = None if model.white is None else white_in(images, notes if model.scaling.is_usual else [])
    for note in notes:
        warn(note)
    return Meaning(white, names, first, units_of(model, given, weights))


def _are_shares(labels: np.ndarray, loss: Any) -> bool:
    """Whether labels are shares of the classes, which the loss takes."""
    is_soft = getattr(loss, "soft", False)
    return is_soft and labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind == "f"


def fitting_examples(
    images: Any,
    labels: Any,
    shape: tuple[int, ...],
    meaning: Meaning,
    loss: Any,
    dtype: Any,
    how: Preprocessing | None = None,
    part: str = "",
    zero_one: str = "warned of",
) -> tuple[np.ndarray, np.ndarray]:
    """At least one image, and for each what the loss takes. Raises DataError.

    A label below the number of names, or the loss's ignore_index, as int64, given as `labels.fitting_labels` says; or a
    number of dtype for each name: any finite one, where the loss is of numbers, standardised where these have units,
    or in float64, where the meaning says so;
    0 or 1, where several labels may hold; with a soft loss also parts in 0..1, which are floats where they stand for
    labels. Numbers for one output may be (N,). part: which examples these are, for messages, such as "validation".
    zero_one: see `given_images`.
    """
    said, names = f"{part} " if part else "", meaning.names
    of_kind = kind(loss)
    if of_kind == CLASSIFICATION and len(names) == 1:
        raise SettingError(
            f"{type(loss).__name__} is of classes, and a network of one output tells no two classes apart; give it two "
            'outputs, such as Dense(2), or, for yes or no, loss="multi-label", and for a number, loss="mse"'
        )
    images, is_one = given_images(images, shape, how, f"{said}images", meaning.white, zero_one)
    if labels is None:
        raise DataError(f"{said}labels: None was given; give one for each image")
    labels = as_array(in_order(labels, names), f"{said}labels")
    if is_one or labels.ndim == 0:
        found = "one image" if is_one else f"{counted(len(images), 'image')} and one label"
        raise DataError(f"{found}: a batch of them was expected, such as images[None] with a list of one label")
    if not len(images):
        raise DataError(f"there are no {said}images; give at least one")
    check_counts(images, labels, part or "examples")
    wanted = len(images), len(names)
    if of_kind != CLASSIFICATION and labels.ndim == 1 and len(names) == 1:
        labels = labels[:, None]
    if of_kind == REGRESSION:
        wide = np.float64 if meaning.is_wide or meaning.units is not None else dtype
        numbers = _numbers(labels, wanted, wide, f"{said}targets", "outputs", CLASSES_INSTEAD)
        return images, numbers if meaning.units is None else meaning.units.standardised(numbers).astype(dtype)
    if of_kind == CLASSIFICATION and not _are_shares(labels, loss):
        ignored = getattr(loss, "ignore_index", None)
        return images, fitting_labels(labels, names, ignored, f"{said}labels", part or "examples", meaning.first)
    labels = labels.astype(np.uint8) if labels.dtype == bool else labels
    rows = _numbers(labels, wanted, dtype, f"{said}targets", "outputs", CLASSES_INSTEAD)
    if rows.min() < 0 or rows.max() > 1:
        raise DataError(
            f"{said}targets run from {rows.min():g} to {rows.max():g}: parts in 0..1 were expected; for numbers to be "
            'predicted use the loss "mse" or "huber"'
        )
    if getattr(loss, "is_shared", False) and (worst := abs(rows.sum(axis=1, dtype=np.float64) - 1)).max() > SUM:
        k = int(worst.argmax())
        raise DataError(
            f"{said}targets: those of example {k} add up to {rows[k].sum():g}, 1 was expected, as shares of classes "
            'do; where several labels may hold, use the loss "multi-label"'
        )
    return images, rows


def check_counting(loss: Any, labels: np.ndarray, weights: np.ndarray | None = None) -> None:
    """Raises DataError where none of the examples counts, so that there is no mean."""
    if not np.any(counting(loss, labels, np.ones(len(labels)))):
        raise DataError(f"all labels are {loss.ignore_index}, which the loss ignores; give some that it does not")
    if weights is not None and not np.any(counting(loss, labels, weights)):
        raise DataError("sample_weight is 0 for all examples that count, so there is no mean; give some")


def check_learning(loss: Any, labels: np.ndarray, weights: np.ndarray | None = None) -> None:
    """Raises DataError where a loss of gpucnn has weights of classes, and that of each class that an example of some
    weight has is 0. labels (N,), or shares (N, K); weights (N,) or None.
    """
    factors = getattr(loss, FACTORS[type(loss)]) if type(loss) in FACTORS else None
    if factors is None or getattr(loss, "label_smoothing", False):  # by which each example is of all classes
        return
    weights = counting(loss, labels, np.ones(len(labels)) if weights is None else weights)
    counts, by_class = np.asarray(weights) > 0, np.asarray(factors)
    parts = by_class[labels[counts]] if labels.ndim == 1 else labels[counts] @ by_class
    if not parts.any():
        raise DataError(
            "the weight of every class that there are examples of is 0, so nothing would be learnt; give one of them a "
            "number above 0"
        )


def fitting_weights(weights: Any, examples: int, dtype: Any) -> np.ndarray:
    """A finite factor of at least 0 for each example's loss, (N,), given so or as a column (N, 1). Raises DataError."""
    given = as_array(weights, "sample_weight")
    given = given[:, 0] if given.shape == (examples, 1) else given
    weights = _numbers(given, (examples,), dtype, "sample_weight", "one for each image")
    if weights.min() < 0:
        raise DataError(f"sample_weight holds {weights.min():g}: numbers of at least 0 were expected")
    return weights


def _numbers(
    given: np.ndarray, shape: tuple[int, ...], dtype: Any, name: str, what: str, of_classes: str = ""
) -> np.ndarray:
    """of_classes: what to do where there is one whole number for each example."""
    if given.shape != shape or given.dtype.kind not in "iuf":
        advice = of_classes if given.ndim == 1 and given.dtype.kind in "iub" else ""
        raise DataError(
            f"{name} of shape {given.shape} and type {given.dtype}: numbers {shape} ({what}) were expected{advice}"
        )
    check_finite(given, name)
    return given.astype(dtype, copy=False)
