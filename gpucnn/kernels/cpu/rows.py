"""Images made a few rows at a time, while somebody looks at them: what never exists whole never leaves the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..memory import CACHED, empty

Array = np.ndarray

LARGE = 1 << 20  # bytes of an image from which on it is better made by rows, where it is looked at twice
LARGE_ONCE = 1 << 21  # the same, where it is looked at once


class LazyImage:
    """An image (..., H, C, W, N) whose rows a to b - 1 are made when somebody asks for image[a:b], anew each time.

    a is a multiple of `step`, b the next one or the last row that is needed. fill(a, b, out) writes the rows to out.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, step: int, fill: Callable[[int, int, Array], None]) -> None:
        self.shape, self.dtype, self.step, self._fill = shape, dtype, step, fill

    def __getitem__(self, rows: slice) -> Array:
        some = empty((*self.shape[:-4], rows.stop - rows.start, *self.shape[-3:]), self.dtype)
        self._fill(rows.start, rows.stop, some)
        return some


Image = Array | LazyImage


def steps(image: Image, stop: int) -> list[slice]:
    """The rows before `stop`, as many at a time as is best: all of an array."""
    step = image.step if isinstance(image, LazyImage) else max(1, stop)
    return [slice(a, min(a + step, stop)) for a in range(0, stop, step)]


def some_rows(image: Image, rows: slice) -> Array:
    return image[rows] if isinstance(image, LazyImage) else image[..., rows, :, :, :]


def whole(image: Image) -> Array:
    """The image as an array, all rows made."""
    if isinstance(image, LazyImage):
        rows, image = image, empty(image.shape, image.dtype)
        for some in steps(rows, image.shape[-4]):
            image[..., some, :, :, :] = rows[some]
    return image


def pairs_of_rows(row_bytes: int) -> int:
    """How many rows stay in the cache, an even number."""
    return 2 * max(1, CACHED // (2 * row_bytes))
