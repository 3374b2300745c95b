"""What a model takes as images and labels, and the sentence for what it does not."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.dataset import check_pair, check_range, checked_labels
from ..errors import DataError


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
    images: Any, labels: Any, shape: tuple[int, ...], classes: int, numbers: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """At least one image, and for each a label, a whole number below `classes`, as int64. Raises DataError.

    numbers: a type; then for each image `classes` finite numbers of that type.
    """
    images, labels = fitting_images(images, shape), np.asarray(labels)
    if not len(images):
        raise DataError("there are no images; give at least one")
    if numbers is not None:
        return images, _numbers(labels, (len(images), classes), numbers, "targets", "outputs")
    labels = checked_labels(labels, "labels")
    check_pair(images, labels, classes, "examples")
    return images, labels


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
