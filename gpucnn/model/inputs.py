"""What a model takes as images and labels, and the sentence for what it does not."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.dataset import check_counts, check_range, check_range_of_labels
from ..data.targets import checked_labels
from ..errors import DataError
from ..losses import CLASSIFICATION, REGRESSION, kind

SUM = 1e-3  # how far from 1 shares of classes may add up


def fitting_images(images: Any, shape: tuple[int, ...]) -> np.ndarray:
    """images (N, H, W, C) of shape (H, W, C), uint8 or floats in 0..1; (N, H, W) where C is 1. Raises DataError."""
    images = np.asarray(images)
    if images.ndim == 3 and len(shape) == 3 and shape[2] == 1:
        images = images[..., None]
    if tuple(images.shape[1:]) != shape or not (images.dtype == np.uint8 or images.dtype.kind == "f"):
        raise DataError(
            f"images of shape {images.shape} and type {images.dtype}: (N, {', '.join(map(str, shape))}) as uint8, "
            "or as floats in 0..1, was expected"
        )
    if images.dtype.kind == "f":
        check_range(images, "images")
    return images


def fitting_examples(
    images: Any, labels: Any, shape: tuple[int, ...], outputs: int, loss: Any, dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    """At least one image, and for each what the loss takes. Raises DataError.

    A label, a whole number below `outputs`, or the loss's ignore_index, as int64; or `outputs` finite numbers of dtype:
    any, where the loss is of numbers; 0 or 1, where several labels may hold; with a soft loss also parts in 0..1,
    which are floats where they stand for labels. Numbers for one output may be (N,).
    """
    images, labels = fitting_images(images, shape), np.asarray(labels)
    if not len(images):
        raise DataError("there are no images; give at least one")
    of_kind, wanted = kind(loss), (len(images), outputs)
    if of_kind == REGRESSION:
        labels = labels[:, None] if labels.ndim == 1 and outputs == 1 else labels
        return images, _numbers(labels, wanted, dtype, "targets", "outputs")
    are_shares = getattr(loss, "soft", False) and labels.ndim == 2 and labels.dtype.kind == "f"
    if of_kind == CLASSIFICATION and not are_shares:
        labels, ignored = checked_labels(labels, "labels"), getattr(loss, "ignore_index", None)
        counted = labels if ignored is None else labels[labels != ignored]
        if len(labels) and not len(counted):
            raise DataError(f"all labels are {ignored}, which the loss ignores; give some that it does not")
        check_counts(images, labels, "examples")
        check_range_of_labels(counted, outputs, "examples")
        return images, labels
    labels = labels.astype(np.uint8) if labels.dtype == bool else labels
    rows = _numbers(labels, wanted, dtype, "targets", "outputs")
    if rows.min() < 0 or rows.max() > 1:
        raise DataError(f"targets run from {rows.min():g} to {rows.max():g}: parts in 0..1 were expected")
    if getattr(loss, "is_shared", False) and (worst := abs(rows.sum(axis=1, dtype=np.float64) - 1)).max() > SUM:
        k = int(worst.argmax())
        raise DataError(
            f"targets: those of example {k} add up to {rows[k].sum():g}, 1 was expected, as shares of classes do; "
            'where several labels may hold, use the loss "multi-label"'
        )
    return images, rows


def fitting_weights(weights: Any, examples: int, dtype: Any) -> np.ndarray:
    """A finite factor of at least 0 for each example's loss, (N,). Raises DataError."""
    weights = _numbers(np.asarray(weights), (examples,), dtype, "sample_weight", "one for each image")
    if weights.min() < 0:
        raise DataError(f"sample_weight holds {weights.min():g}: numbers of at least 0 were expected")
    return weights


def _numbers(given: np.ndarray, shape: tuple[int, ...], dtype: Any, name: str, what: str) -> np.ndarray:
    if given.shape != shape or given.dtype.kind not in "iuf":
        raise DataError(f"{name} of shape {given.shape} and type {given.dtype}: numbers {shape} ({what}) were expected")
    if not np.isfinite(given).all():
        raise DataError(f"{name}: NaN or infinite values are there; replace them first")
    return given.astype(dtype, copy=False)
