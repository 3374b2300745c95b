"""How picture files become the arrays that a network was trained on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import DataError, warn
from ..names import Explained
from ..namespace import as_python, has_truth
from .strokes import Strokes

LARGEST_SIDE = 4096
CROP, PAD = "crop", "pad"
FITS = {CROP: "scaled and cropped to", PAD: "scaled and padded to", "stretch": "stretched to"}


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


def check_fit(fit: Any) -> None:
    """DataError unless it names a way to bring pictures to a size."""
    if not isinstance(fit, str) or fit not in FITS:
        raise DataError(f"fit {fit!r}: one of {', '.join(FITS)} was expected")


@dataclass(frozen=True)
class Preprocessing(Explained):
    """Picture file -> uint8 array (H, W, C): brought to `size` = (H, W) as `fit` says, C = `channels`.

    fit: "crop" scales a picture until it covers the size, and cuts off at both sides what is too much; "pad" scales it
    until it fits into the size, and fills each edge that is left with the median of the row or column beside it: paper
    stays white, and a photograph gets a colour of its own; "stretch" scales height and width each by its own factor.
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
    fit: str = CROP

    def __post_init__(self) -> None:
        if not isinstance(self.invert, (bool, np.bool_)):
            raise DataError(f"invert {self.invert!r}: True or False was expected")
        if has_truth(self.size):
            check_size(self.size)
        as_python(self, DataError)
        if isinstance(self.size, list):  # JSON's
            object.__setattr__(self, "size", tuple(self.size))
        if isinstance(self.strokes, Mapping):
            object.__setattr__(self, "strokes", Strokes(**self.strokes))
        check_size(self.size)
        if type(self.channels) is not int or self.channels not in (1, 3):
            raise DataError(f"channels {self.channels!r}: 1 (grey) or 3 (red, green, blue) was expected")
        if not (self.strokes is None or isinstance(self.strokes, Strokes)):
            raise DataError(f"strokes {self.strokes!r}: Strokes or None was expected")
        check_fit(self.fit)
        if self.strokes is not None and self.fit != CROP:
            raise DataError(f"fit {self.fit!r}: strokes are brought to the place that they have; leave one of both out")

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold, without `fit` where it is the usual one; `from_dict` reads it back."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("fit", CROP)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`; DataError for missing, unknown or senseless entries."""
        try:
            return cls(**values)
        except TypeError:
            expected = "a dictionary with size, channels and, if wanted, invert, strokes and fit was expected"
            raise DataError(f"preprocessing {values!r}: {expected}") from None

    @classmethod
    def of_arrays(cls, shape: tuple[int, ...]) -> Preprocessing | None:
        """What brings picture files to images of `shape` (..., H, W, C); None if no picture file has C channels."""
        height, width, channels = shape[-3:]
        fits = channels in (1, 3) and min(height, width) >= 1 and max(height, width) <= LARGEST_SIDE
        return cls((height, width), channels) if fits else None

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that a picture of these has in an image, which for "pad" may be less than `size`."""
        H, W = self.size
        if self.fit != PAD:
            return H, W
        if H * width <= W * height:
            return H, max(1, (2 * width * H + height) // (2 * height))
        return max(1, (2 * height * W + width) // (2 * width)), W

    def lost(self, height: int, width: int) -> float:
        """The part of a picture of that height and width that is cut off, in 0..1."""
        across, along = self.size[0] * width, self.size[1] * height
        return 1 - min(across, along) / max(across, along) if self.fit == CROP else 0.0


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


def check_alike(ways: Sequence[Preprocessing | None], names: Sequence[str]) -> None:
    """DataError where models that are asked together read pictures in other ways, as far as they say how.

    names: of the models.
    """
    known = [(how, name) for how, name in zip(ways, names) if how is not None]
    for how, name in known[1:]:
        if how != known[0][0]:
            raise DataError(
                f"{name}: it reads pictures as {_in_words(how)}, and {known[0][1]} as {_in_words(known[0][0])}; the "
                "two cannot be asked together"
            )


def _in_words(how: Preprocessing) -> str:
    height, width = how.size
    placed = f" (fit {how.fit})" if how.strokes is None else f" {how.strokes.described()}"
    return f"{height}x{width} {'grey' if how.channels == 1 else 'colour'}{' inverted' * how.invert}{placed}"
