"""How stored pixels become inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import SettingError
from ..kernels import Kernels
from ..names import Explained
from ..namespace import array_namespace, as_python

Array = Any


@dataclass(frozen=True)
class Scaling(Explained):
    """x = pixel * scale + shift for uint8; floats are taken as they are."""

    scale: float = 1 / 255
    shift: float = 0.0

    def __post_init__(self) -> None:
        as_python(self)
        if not (math.isfinite(self.scale) and math.isfinite(self.shift)):
            raise SettingError(f"{self}: finite numbers were expected")

    def __call__(self, images: Array, dtype: Any, kernels: Kernels) -> Array:
        """images (N, H, W, C) -> the same in dtype, in the layout of that table."""
        xp = array_namespace(images)
        if images.dtype == xp.uint8:
            return kernels.pixels(images, dtype, self.scale, self.shift)
        return kernels.enter(xp.astype(images, dtype))
