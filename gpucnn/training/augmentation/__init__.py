"""Augmentation: training images change from use to use, yet every run with the same seed sees the same ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from array_api_compat import device

from ...kernels.random import below, bits
from ...names import Explained
from ...namespace import array_namespace, as_python
from . import colour, geometry, mixtures, on_numpy, settings
from .settings import usual

__all__ = ["Augmentation", "Mixture", "usual"]

Array = Any

# The last counter of what is drawn for an image; those of an elastic displacement come after them.
DOWN, RIGHT, MIRRORED, ANGLE, SIZE, BRIGHTNESS, CONTRAST, CUT_ROW, CUT_COLUMN, WHICH, SHARE, ROW, COLUMN = range(1, 14)
DISPLACED, PARTNER = 32, 1 << 20

IN_CACHE = 1 << 16  # numbers of images that NumPy changes at a time: what is computed of them stays in the cache


class Mixture(NamedTuple):
    """How examples are mixed with their partners.

    kept: how much of an example's image stays, int64, in 1/LEVELS, (n, 1, 1, 1) or (n, H, W, 1); share: its mean over
    an image, float64 (n,). partners: places in the batch (n,), where the examples are a whole batch.
    """

    kept: Array
    share: Array
    partners: Array

    def __call__(self, images: Array, others: Array) -> Array:
        """Images and those of their partners, both changed already -> mixed, in the same shape and type."""
        return mixtures.mixed(images, others, self.kept)


@dataclass(frozen=True)
class Augmentation(Explained):
    """Random changes of a training image, drawn anew whenever it is used. In this order:

    flip: half of the images are mirrored, left to right; with "alternate" each image in every second epoch, half of
    them in the first one (Jordan, 2024). rotate: it turns around its centre by at most this number of degrees. zoom: it
    becomes larger or smaller by at most this part, such as 0.1. shift: it moves by at most this number of whole pixels,
    up or down and left or right. elastic: what is seen at each pixel comes from at most this number of pixels beside,
    smoothly, along each axis (Simard, Steinkraus and Platt, 2003). These five are one map from each new pixel to the
    place it comes from, which is looked up between four pixels unless images are only mirrored and shifted. What comes
    in is 0, or with reflect the image reflected at its first and last pixels.

    contrast: distances from an image's mean are multiplied by 1 - contrast to 1 + contrast. brightness: then all is
    multiplied by 1 - brightness to 1 + brightness. cutout: a square of this number of pixels a side, its middle
    anywhere in the image, becomes 0 (DeVries and Taylor, 2017).

    mixup, cutmix: the image is mixed with another one of its batch, both changed as said above, and the loss is that
    of both targets, in the same shares, from Beta(mixup, mixup): all pixels (Zhang et al., 2018), or with cutmix the
    pixels of a rectangle (Yun et al., 2019). With both, half of the images are mixed in each way.

    What is drawn and made is the same on every device, bit for bit. Two devices' runs come apart nevertheless, mixed or
    not, because their sums are added in another order; in float64 that is hardly seen.

    key: decides the draws; updates: those of an epoch, for flip="alternate". `Model.fit` sets both.
    A uint8 image stays one, rounded to the nearest after each of: the map, the light, the mixture. Raises SettingError.
    """

    shift: int = 0
    flip: bool | Literal["alternate"] = False
    key: int = 0
    reflect: bool = False
    rotate: float = 0.0
    zoom: float = 0.0
    elastic: float = 0.0
    cutout: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    updates: int = 0

    def __post_init__(self) -> None:
        as_python(self)
        settings.check(self)

    @classmethod
    def parse(cls, text: str) -> Augmentation:
        """The augmentation that a text such as "shift=2,rotate=10,flip" asks for."""
        return cls(**settings.parse(text))

    def text(self) -> str:
        """What `parse` takes."""
        return settings.text(self)

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Raises SettingError for images that are too small, or are none."""
        settings.check_images(self, input_shape)

    def of_run(self, key: int, examples: int, batch_size: int) -> Augmentation:
        """The same for a run on so many examples, with a key of its own."""
        return replace(self, key=key, updates=-(-examples // batch_size) if self.flip == "alternate" else 0)

    @property
    def is_plain(self) -> bool:
        """Whether images are at most mirrored at random and moved, 0 coming in."""
        return self._only_moves and not (self.reflect or self.flip == "alternate" or self.mixes)

    @property
    def maps(self) -> bool:
        """Whether pixels come from other places."""
        return bool(self.shift or self.flip or self.rotate or self.zoom or self.elastic)

    @property
    def angle(self) -> float:
        """The largest, in radians."""
        return math.radians(self.rotate)

    @property
    def displacement(self) -> int:
        """The largest elastic one, in the unit of coordinates."""
        return int(self.elastic * geometry.PIXEL)

    @property
    def mixes(self) -> bool:
        """Whether examples are mixed."""
        return bool(self.mixup or self.cutmix)

    def draw(self, indices: Array, step: Any) -> tuple[Array, Array, Array]:
        """For the examples `indices` (n,) in update `step`: pixels down, pixels right, 1 where mirrored; int64 (n,)."""
        return self._moves(self._bits(indices, step, DOWN, MIRRORED), indices, step)

    def __call__(self, images: Array, indices: Array, step: Any) -> Array:
        """images (n, H, W, C) of the examples `indices` (n,), changed for update `step`: in the same shape and type.

        Mixtures are not made: see `mixture`.
        """
        count, some = images.shape[0], max(1, IN_CACHE // math.prod(images.shape[1:]))
        if count <= some or self._only_moves or type(images) is not np.ndarray:
            return self._changed(images, indices, step)
        parts = [slice(k, k + some) for k in range(0, count, some)]
        return np.concatenate([self._changed(images[part], indices[part], step) for part in parts])

    def _changed(self, images: Array, indices: Array, step: Any) -> Array:
        """`__call__` for all images at once."""
        return self.recoloured(self._mapped(images, indices, step), indices, step)

    def _mapped(self, images: Array, indices: Array, step: Any) -> Array:
        """images as the map from new pixels to old ones makes them."""
        _, H, W, _ = images.shape
        if self.rotate or self.zoom or self.elastic:
            drawn = self._bits(indices, step, DOWN, SIZE)
            places = geometry.inverse_map(
                self._signed(drawn[ANGLE - 1, :]) * self.angle,
                1 + self._signed(drawn[SIZE - 1, :]) * self.zoom,
                *self._moves(drawn, indices, step),
            )
            coordinates = geometry.sources(places, H, W, self._displaced(indices, step, H, W))
            hot = type(images) is np.ndarray and coordinates[0].dtype == np.int32
            return (on_numpy if hot else geometry).warped(images, *coordinates, self.reflect)
        if self.maps:
            return geometry.moved(images, *self.draw(indices, step), self.shift, self.reflect)
        return images

    def recoloured(self, images: Array, indices: Array, step: Any) -> Array:
        """images, after the map, with their light and what is cut out of them."""
        _, H, W, _ = images.shape
        if not (self.brightness or self.contrast or self.cutout):
            return images
        drawn = self._bits(indices, step, BRIGHTNESS, CUT_COLUMN)
        if self.brightness or self.contrast:
            factors = [1 + self._signed(drawn[k, :]) * most for k, most in enumerate((self.brightness, self.contrast))]
            images = colour.relit(images, *factors)
        if self.cutout:
            middle = below(H, drawn[2, :]), below(W, drawn[3, :])
            images = colour.cut_out(images, colour.box(*middle, self.cutout, self.cutout, H, W))
        return images

    def partners(self, batch: Array, step: Any) -> Array:
        """For each example of a whole batch, given as indices (n,), the one that is mixed into it in update `step`."""
        return array_namespace(batch).take(batch, self._partners(batch, step), axis=0)

    def mixture(self, indices: Array, step: Any, H: int, W: int) -> Mixture:
        """How the examples `indices` (n,) are mixed in update `step`, images being of H x W."""
        xp = array_namespace(indices)
        places = self._partners(indices, step)
        drawn = self._bits(indices, step, WHICH, COLUMN)
        cut, kept, share = drawn[0, :] >> 31, None, None
        if self.mixup:
            blended = mixtures.blend(drawn[1, :], self.mixup)
            kept, share = blended[:, None, None, None], xp.astype(blended, xp.float64) / mixtures.LEVELS
        if self.cutmix:
            outside, part = mixtures.outside(mixtures.patch(drawn[1:, :], self.cutmix, H, W), H, W)
            if kept is None or share is None:
                return Mixture(outside, part, places)
            kept, share = xp.where(cut[:, None, None, None] == 1, outside, kept), xp.where(cut == 1, part, share)
        return Mixture(kept, share, places)

    @property
    def _only_moves(self) -> bool:
        more = self.rotate, self.zoom, self.elastic, self.brightness, self.contrast, self.cutout
        return not any(more)

    def _bits(self, indices: Array, step: Any, first: int, last: int) -> Array:
        """32 random bits for each example and each counter from first to last: (last - first + 1, n) int64."""
        xp = array_namespace(indices)
        what = xp.arange(first, last + 1, dtype=xp.int64, device=device(indices))[:, None]
        return bits(self.key, step, xp.astype(indices, xp.int64), what)

    def _partners(self, batch: Array, step: Any) -> Array:
        return mixtures.partners(batch, bits(self.key, step, PARTNER))

    def _moves(self, drawn: Array, indices: Array, step: Any) -> tuple[Array, Array, Array]:
        moves = below(2 * self.shift + 1, drawn[:2, :]) - self.shift
        mirrored = drawn[2, :] & 0
        if self.flip == "alternate":
            settings.check_updates(self)
            first = self._bits(indices, 0, MIRRORED, MIRRORED)[0, :] >> 31
            mirrored = (first + (step - 1) // self.updates) & 1
        elif self.flip:
            mirrored = drawn[2, :] >> 31
        return moves[0, :], moves[1, :], mirrored

    def _displaced(self, indices: Array, step: Any, H: int, W: int) -> list[Array]:
        if not self.elastic:
            return []
        xp, size = array_namespace(indices), geometry.NODES
        drawn = self._bits(indices, step, DISPLACED, DISPLACED + 2 * size * size - 1)
        nodes = xp.reshape(xp.permute_dims(drawn, (1, 0)), (-1, 2, size, size))
        return [geometry.displacement(nodes[:, axis, :, :], H, W, self.displacement) for axis in (0, 1)]

    @staticmethod
    def _signed(drawn: Array) -> Array:
        """A number above -1 and below 1, float64, of 32 random bits."""
        xp = array_namespace(drawn)
        return xp.astype(2 * drawn + 1 - (1 << 32), xp.float64) * 2.0**-32
