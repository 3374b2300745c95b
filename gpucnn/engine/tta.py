"""Test-time augmentation: what a network gives for an image is the mean over some fixed views of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from array_api_compat import device

from ..errors import SettingError, nearest
from ..names import Explained
from ..namespace import array_namespace, as_python, joined
from ..training.augmentation import geometry

Array = Any

SPAN = 4096  # images whose views are computed one after the other
KNOWN = ("shift=PIXELS", "flip")


@dataclass(frozen=True)
class Views(Explained):
    """The views of an image whose logits are averaged, itself among them.

    shift: the image where it is, and moved by this number of pixels to its four sides and its four corners, what comes
    in being 0: 9 views. flip: each of them mirrored, left to right, too.

    The mean is of logits, before softmax or sigmoid, so that losses and all that is measured are of one kind of output:
    for softmax, the geometric mean of the probabilities. Raises SettingError.
    """

    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        as_python(self)
        if not isinstance(self.shift, int) or isinstance(self.shift, bool) or self.shift < 0:
            raise SettingError(f"tta: shift={self.shift!r}, a whole number of pixels, an int, was expected")
        if not (self.shift or self.flip):
            raise SettingError("tta: there is one view only; give shift=1, flip, or both, or leave it out")

    @classmethod
    def parse(cls, text: str) -> Views:
        """The views that a text such as "shift=1,flip" asks for; "shift" alone is of one pixel."""
        found: dict[str, Any] = {}
        for part in text.replace(" ", "").split(","):
            name, equals, value = part.partition("=")
            if name in found:
                raise SettingError(f"tta {text!r}: {name} stands there twice; give it once")
            if name == "shift" and (not equals or (value.isascii() and value.isdecimal() and len(value) < 10)):
                found[name] = int(value or 1)
            elif part == "flip":
                found[name] = True
            else:
                near = nearest(name, ("shift", "flip"))
                hint = f"did you mean {near}? " if near and near != name else ""
                raise SettingError(f"tta {text!r}: {part!r} is not known; {hint}give {' or '.join(KNOWN)}, or both")
        return cls(**found)

    def text(self) -> str:
        """What `parse` takes."""
        return ",".join([f"shift={self.shift}"] * bool(self.shift) + ["flip"] * self.flip)

    @property
    def count(self) -> int:
        return (9 if self.shift else 1) * (2 if self.flip else 1)

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Raises SettingError for images that are too small, or are none."""
        if len(input_shape) != 3 or self.shift >= min(input_shape[:2]):
            raise SettingError(
                f"tta: {self.text()} needs images (H, W, C) larger than the shift, and the network's input is "
                f"{input_shape}; choose other views, or leave tta out"
            )

    def of(self, images: Array) -> Iterator[Array]:
        """images (n, H, W, C) -> each view of all of them, in the same shape and type."""
        xp, n, where = array_namespace(images), images.shape[0], device(images)
        moves = (0, -self.shift, self.shift) if self.shift else (0,)
        for mirrored, down, right in itertools.product((0, 1) if self.flip else (0,), moves, moves):
            if not (down or right or mirrored):
                yield images
                continue
            moved = [xp.full((n,), each, dtype=xp.int64, device=where) for each in (down, right, mirrored)]
            yield geometry.moved(images, moved[0], moved[1], moved[2], self.shift, False)

    def mean(self, logits: Callable[[Array], Iterator[Array]], images: Array) -> Iterator[Array]:
        """The mean logits (n, K) of some images after the others. logits: what computes them for images, in pieces."""
        for start in range(0, images.shape[0], SPAN):
            total: Any = None
            for view in self.of(images[start : start + SPAN]):
                pieces = list(logits(view))
                made = joined(pieces)
                total = made if total is None else total + made
            yield total * (1 / self.count)
