"""What images and labels of a data set must be, and the sentence for what they are not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, counted
from .targets import Labels, check_finite, check_width

Images = NDArray[np.uint8] | NDArray[np.float32]


def checked_images(images: Any, where: str) -> Images:
    """`images` itself, if it is a uint8 array (N, H, W, C), or float32 in 0..1, and not empty; else DataError."""
    is_array = isinstance(images, np.ndarray)
    if not is_array or images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
        found = f"{images.dtype} {images.shape}" if is_array else type(images).__name__
        raise DataError(
            f"{where}: found {found}, a uint8 array (N, H, W, C), or one of float32 in 0..1, was expected; convert it "
            "first"
        )
    if images.size == 0:
        raise DataError(f"{where}: shape {images.shape} holds no pictures; give at least one")
    if images.dtype == np.float32:
        check_range(images, where)
    return images


def check_range(images: Any, where: str) -> None:
    """DataError unless these floats lie in 0..1."""
    if not images.size:
        return
    least, most = images.min(), images.max()  # NaN where there is one
    if not np.isfinite([least, most]).all():
        check_finite(images, where)
    if least < 0 or most > 1:
        what = f"hand over the uint8 values 0..255 themselves, or {spread(least, most)}"
        if least < 0:
            what = (
                "where they were standardised, hand over what they were before, or (x - a) / (b - a) with the same "
                "limits a and b of all, and let the network begin with BatchNorm(), which standardises them"
            )
        raise DataError(f"{where}: floats from {least:g} to {most:g}, 0..1 was expected; {what}")


def spread(least: Any, most: Any) -> str:
    """How pixels between these are brought into 0..1."""
    return (
        f"bring them into 0..1, (x - a) / (b - a) as floats, with the same limits a <= {least:g} and b >= {most:g} for "
        "all"
    )


def check_counts(images: Images, labels: Any, where: object) -> None:
    """DataError unless there is one label for every picture."""
    if len(images) != len(labels):
        raise DataError(
            f"{where}: {counted(len(images), 'picture')} but {counted(len(labels), 'label')}; one label per picture "
            "was expected, check that both belong together"
        )


def check_pair(images: Images, labels: Labels, classes: int, where: str) -> None:
    """DataError unless there is one label in 0..classes-1, or a row of so many, for every picture."""
    check_counts(images, labels, where)
    if labels.ndim == 2:
        check_width(labels, classes, where)
    else:
        check_range_of_labels(labels, classes, where)


def check_range_of_labels(labels: Labels, classes: int, where: str) -> None:
    """DataError unless all labels, if there are any, are in 0..classes-1."""
    if not len(labels):
        return
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        mend = (
            "they count from 1: subtract 1"
            if (lowest, highest) == (1, classes)
            else "number the classes 0, 1, 2, ..., and have a name, or an output of the network, for each"
        )
        expected = f"0..{classes - 1} was expected for {classes} classes"
        raise DataError(f"{where}: labels run from {lowest} to {highest}, {expected}; {mend}")
