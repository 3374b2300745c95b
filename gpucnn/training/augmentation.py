"""Augmentation: training images change from use to use, yet every run with the same seed sees the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import device

from ..errors import SettingError
from ..kernels.random import below, bits
from ..namespace import array_namespace

Array = Any

DOWN, MIRRORED = 1, 3  # the last counter of what is drawn for an image: down, right, mirrored


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image, drawn anew whenever it is used.

    shift: the image moves by at most this number of pixels, up or down and left or right; what comes in is 0. flip:
    half of the images are mirrored, left to right. key: decides the draws; `Model.fit` makes one from its seed.
    Raises SettingError.
    """

    shift: int = 0
    flip: bool = False
    key: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.shift, int) or not 0 <= self.shift < 1 << 16:
            raise SettingError(f"augmentation: shift={self.shift!r}, a whole number of pixels, an int, was expected")
        if not isinstance(self.flip, bool) or not isinstance(self.key, int):
            raise SettingError(
                f"augmentation: flip={self.flip!r}, key={self.key!r}; True or False, an int were expected"
            )
        if not (self.shift or self.flip):
            raise SettingError("augmentation: nothing is changed; give shift=2, flip, or both, or leave it out")

    @classmethod
    def parse(cls, text: str) -> Augmentation:
        """The augmentation that a text such as "shift=2,flip" asks for."""
        found: dict[str, Any] = {}
        for part in text.replace(" ", "").split(","):
            name, equals, value = part.partition("=")
            if name in found:
                raise SettingError(f"augmentation {text!r}: {name} stands there twice; give it once")
            if name == "shift" and value.isdecimal():
                found[name] = int(value)
            elif name == "flip" and not equals:
                found[name] = True
            else:
                raise SettingError(
                    f"augmentation {text!r}: shift=PIXELS, flip or both were expected, as in shift=2,flip"
                )
        return cls(**found)

    def text(self) -> str:
        """What `parse` takes."""
        return ",".join([f"shift={self.shift}"] * bool(self.shift) + ["flip"] * self.flip)

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Raises SettingError for images that are too small, or are none."""
        if len(input_shape) != 3:
            raise SettingError(
                f"augmentation: the network's input is {input_shape}, which has no rows and columns to move; give it "
                "images (H, W, C), with Flatten() as its first layer, or leave the augmentation out"
            )
        if self.shift >= min(input_shape[:2]):
            raise SettingError(
                f"augmentation: shift={self.shift} needs images that are larger, and the network's input is "
                f"{input_shape}; choose a smaller shift"
            )

    def draw(self, indices: Array, step: Any) -> tuple[Array, Array, Array]:
        """For the examples `indices` (n,) in update `step`: pixels down, pixels right, 1 where mirrored; int64 (n,)."""
        xp = array_namespace(indices)
        what = xp.arange(DOWN, MIRRORED + 1, dtype=xp.int64, device=device(indices))[:, None]
        drawn = bits(self.key, step, xp.astype(indices, xp.int64), what)
        moves = below(2 * self.shift + 1, drawn[:2, ...]) - self.shift
        return moves[0, ...], moves[1, ...], drawn[2, ...] >> 31 if self.flip else drawn[2, ...] & 0

    def __call__(self, images: Array, indices: Array, step: Any) -> Array:
        """images (n, H, W, C) of the examples `indices` (n,), changed for update `step`: in the same shape and type."""
        xp, (n, H, W, C) = array_namespace(images), images.shape
        where, s = device(images), self.shift
        down, right, mirrored = (xp.reshape(each, (n, 1)) for each in self.draw(indices, step))
        rows, columns = (xp.arange(size, dtype=xp.int64, device=where)[None, :] for size in (H, W))
        rows, columns = rows - down, columns - right
        columns = columns + mirrored * (W - 1 - 2 * columns)
        padded = xp.zeros((n, H + 2 * s, W + 2 * s, C), dtype=images.dtype, device=where)
        padded[:, s : s + H, s : s + W, :] = images
        first = xp.arange(n, dtype=xp.int64, device=where)[:, None] * (H + 2 * s) + rows + s
        pixels = first[:, :, None] * (W + 2 * s) + (columns + s)[:, None, :]
        taken = xp.take(xp.reshape(padded, (-1, C)), xp.reshape(pixels, (-1,)), axis=0)
        return xp.reshape(taken, (n, H, W, C))
