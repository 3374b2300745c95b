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
    """x = pixel * scale + shift for uint8; floats are taken as they are.

    floats: whether they are scaled as well, so that the same numbers are the same image in every type. Then a model
    takes numbers of any range, such as standardised ones.
    """

    scale: float = 1 / 255
    shift: float = 0.0
    floats: bool = False

    def __post_init__(self) -> None:
        as_python(self)
        if not (math.isfinite(self.scale) and math.isfinite(self.shift)):
            raise SettingError(f"{self}: finite numbers were expected")
        if not isinstance(self.floats, bool):
            raise SettingError(f"{self}: floats must be True or False")

    @property
    def is_usual(self) -> bool:
        """Whether 0..255 become 0..1, so that much smaller whole numbers are nearly black."""
        return self == Scaling()

    def described(self) -> dict[str, Any]:
        """Its settings by name, those of floats only where they are not the usual ones, for JSON."""
        return {"scale": self.scale, "shift": self.shift} | ({"floats": True} if self.floats else {})

    def __call__(self, images: Array, dtype: Any, kernels: Kernels) -> Array:
        """images (N, H, W, C) -> the same in dtype, in the layout of that table."""
        xp = array_namespace(images)
        if images.dtype == xp.uint8:
            return kernels.pixels(images, dtype, self.scale, self.shift)
        x = xp.astype(images, dtype)
        return kernels.enter(x * self.scale + self.shift if self.floats else x)
