"""How picture files become the arrays that a network was trained on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import DataError, warn
from ..names import Explained
from ..namespace import as_python
from .strokes import Strokes

LARGEST_SIDE = 4096


def parse_size(text: str) -> tuple[int, int]:
    """(H, W) of a text such as `32x24`, `32,24` or `28`, a square; DataError for anything else."""
    match = re.fullmatch(r"\s*(\d{1,18})\s*(?:[x×,]\s*(\d{1,18})\s*)?", str(text), re.IGNORECASE)
    if match is None:
        raise DataError(f"size {text!r}: two whole numbers, HEIGHTxWIDTH, were expected; write for example 28x28")
    size = int(match[1]), int(match[2] or match[1])
    check_size(size)
    return size


def as_size(size: Any) -> Any:
    """A size as (H, W): one number is a square's, and a text what `parse_size` makes of it."""
    is_one = isinstance(size, (int, np.integer, str)) and not isinstance(size, bool)
    return parse_size(str(size)) if is_one else tuple(size) if isinstance(size, list) else size


def check_size(size: Any) -> None:
    """DataError unless `size` is a pair (H, W) of whole numbers in 1..4096."""
    pair = isinstance(size, tuple) and len(size) == 2 and all(type(side) is int for side in size)
    if not pair or not all(1 <= side <= LARGEST_SIDE for side in size):
        raise DataError(
            f"size {size!r}: (height, width) in pixels, each 1..{LARGEST_SIDE}, was expected; use for example (28, 28)"
        )


@dataclass(frozen=True)
class Preprocessing(Explained):
    """Picture file -> uint8 array (H, W, C): resized to cover `size` = (H, W), cropped at the centre, C = `channels`.

    Of a JPEG that is more than twice as large, a half, a quarter or an eighth of the rows and columns is decoded.
    `invert` turns every value v into 255 - v, for dark strokes on light paper shown to a network that was trained on
    light strokes on a dark ground, as MNIST is. strokes: where the pictures are of such, how these lie in them; then a
    picture is inverted where its own ground is light, and its strokes are brought to that place and size. DataError if
    the values make no sense.
    """

    size: tuple[int, int]
    channels: int
    invert: bool = False
    strokes: Strokes | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.invert, (bool, np.bool_)):
            raise DataError(f"invert {self.invert!r}: True or False was expected")
        as_python(self)
        if isinstance(self.size, list):  # JSON's
            object.__setattr__(self, "size", tuple(self.size))
        if isinstance(self.strokes, Mapping):
            object.__setattr__(self, "strokes", Strokes(**self.strokes))
        check_size(self.size)
        if type(self.channels) is not int or self.channels not in (1, 3):
            raise DataError(f"channels {self.channels!r}: 1 (grey) or 3 (red, green, blue) was expected")
        if not (self.strokes is None or isinstance(self.strokes, Strokes)):
            raise DataError(f"strokes {self.strokes!r}: Strokes or None was expected")

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`; DataError for missing, unknown or senseless entries."""
        try:
            return cls(**values)
        except TypeError:
            expected = "a dictionary with size, channels and, if wanted, invert and strokes was expected"
            raise DataError(f"preprocessing {values!r}: {expected}") from None

    @classmethod
    def of_arrays(cls, shape: tuple[int, ...]) -> Preprocessing | None:
        """What brings picture files to images of `shape` (..., H, W, C); None if no picture file has C channels."""
        height, width, channels = shape[-3:]
        fits = channels in (1, 3) and min(height, width) >= 1 and max(height, width) <= LARGEST_SIDE
        return cls((height, width), channels) if fits else None


def reading(how: Preprocessing | None, shape: tuple[int, ...], name: str) -> Preprocessing:
    """How picture files become a model's images: as it says, or else scaled and cropped, which is warned of.

    shape: of its input; name: of the model. Raises DataError where no picture becomes such.
    """
    if how is not None:
        return how
    usual = Preprocessing.of_arrays(shape) if len(shape) == 3 else None
    if usual is None:
        raise DataError(f"{name} takes {shape}, and no picture file becomes such; in Python, give arrays of that shape")
    warn(
        f"{name} does not say how pictures become its images: they are scaled and cropped to {shape}. Where those that "
        "it was trained on were made otherwise, its answers are wrong; in Python, Model(NETWORK, data=DATASET) reads "
        "pictures as the data set does"
    )
    return usual
