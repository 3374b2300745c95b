"""Pictures of strokes, as of a digit that somebody drew, brought to the form that the training's pictures have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..names import Explained
from ..namespace import as_python

Array = NDArray[Any]

INK = 0.25  # of the strongest stroke, from which on a pixel belongs to the strokes
ABOUT, NEAR = 0.1, 0.15  # by which part the size, and the place as a part of the side, may differ from the training's
FAINT = 24  # of 255, below which nothing is seen on the ground


@dataclass(frozen=True)
class Strokes(Explained):
    """How strokes lie in the training's pictures, which are light on dark.

    box: the longer side of the box around them, as a part of the picture's side. by: what lies in the middle, their
    centre of "mass", as in MNIST (LeCun et al., 1998), or the middle of the "box". grain: pixels of a side that the
    pictures had before they were enlarged, or None. DataError for values that make no sense.
    """

    box: float
    by: str = "mass"
    grain: int | None = None

    def __post_init__(self) -> None:
        as_python(self, DataError)
        fits = isinstance(self.box, (int, float)) and 0 < self.box <= 1 and self.by in ("mass", "box")
        if not fits or not (self.grain is None or (type(self.grain) is int and 1 <= self.grain <= 4096)):
            raise DataError(f'{self}: box in (0, 1], by "mass" or "box", and grain None or at least 1 were expected')

    def described(self) -> str:
        """Such as "of strokes, 0.71 of a side long, their mass in the middle"."""
        grain = "" if self.grain is None else f", drawn {self.grain} pixels wide"
        return f"of strokes, {self.box:.2g} of a side long, their {self.by} in the middle{grain}"

    def brought(self, values: Array, size: tuple[int, int]) -> tuple[NDArray[np.uint8], list[str]]:
        """A grey picture (h, w), 0..255 -> the same strokes, light on dark, uint8 of `size` = (H, W); what was done.

        A picture of that size whose ground is dark is left as it is; one whose ground is light keeps its strokes where
        they are if they lie as the training's do.
        """
        values = np.asarray(values, np.float32)
        edge = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
        ground, middle = float(np.median(edge)), (float(values.min()) + float(values.max())) / 2
        if values.max() - values.min() < FAINT:
            return resized(values, size).astype(np.uint8), ["no strokes are to be seen in it"]
        is_light = ground > middle
        if values.shape == tuple(size) and not is_light:
            return values.astype(np.uint8), []
        ink = np.maximum(ground - values if is_light else values - ground, 0)
        ink *= 255 / ink.max()
        said = ["it is dark on light, and was inverted"] if is_light else []
        if values.shape == tuple(size) and self._lies(ink):
            return np.rint(ink).astype(np.uint8), said
        return self._placed(ink, size), [*said, "its strokes were cropped, scaled and centred as those of the training"]

    def _lies(self, ink: Array) -> bool:
        """Whether strokes have about the size and the place of the training's."""
        rows, columns = _box(ink)
        side = min(ink.shape)
        length = max(np.ptp(rows), np.ptp(columns)) + 1
        if self.by == "mass":
            middle = [_mean(ink.sum(axis=axis)) - n / 2 for axis, n in zip((1, 0), ink.shape)]
        else:
            middle = [(each[0] + each[-1] + 1 - n) / 2 for each, n in zip((rows, columns), ink.shape)]
        return abs(length / (self.box * side) - 1) <= ABOUT and max(map(abs, middle)) <= NEAR * side

    def _placed(self, ink: Array, size: tuple[int, int]) -> NDArray[np.uint8]:
        rows, columns = _box(ink)
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        shape = size if self.grain is None else (self.grain, self.grain)
        scale = self.box * min(shape) / max(ink.shape)
        small = resized(ink, (max(1, round(scale * ink.shape[0])), max(1, round(scale * ink.shape[1]))))
        if self.by == "mass":
            middle = [_mean(small.sum(axis=axis)) for axis in (1, 0)]
        else:
            middle = [(length - 1) / 2 for length in small.shape]
        canvas = np.zeros(shape, np.float32)
        target = [length / 2 if self.by == "mass" else (length - 1) / 2 for length in shape]
        first = [_within(round(t - m), n, length) for t, m, n, length in zip(target, middle, small.shape, shape)]
        canvas[first[0] : first[0] + small.shape[0], first[1] : first[1] + small.shape[1]] = small
        made = canvas if shape == tuple(size) else resized(canvas, size)
        return np.clip(np.rint(made * (255 / max(1.0, float(made.max())))), 0, 255).astype(np.uint8)


def _box(ink: Array) -> list[NDArray[np.int64]]:
    """The rows and the columns that strokes reach."""
    return [np.flatnonzero((ink >= INK * ink.max()).any(axis=axis)) for axis in (1, 0)]


def _mean(weights: Array) -> float:
    return float((weights * np.arange(len(weights))).sum() / max(float(weights.sum()), 1e-9))


def _within(first: int, length: int, whole: int) -> int:
    return max(0, min(first, whole - length))


def resized(values: Array, size: tuple[int, int]) -> Array:
    """Values (h, w) in the size (H, W): bilinear, and averaged over areas where they become fewer."""
    from PIL import Image

    made = Image.fromarray(values.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(made)
