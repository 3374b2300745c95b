"""ReLU that lets a part of what is negative through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..kernels import Context
from ..namespace import array_namespace, real_arrays
from .base import Gradients, Layer


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """x where x > 0, else slope times x. Maas, Hannun and Ng, 2013, with a slope of 0.01."""

    slope: float = 0.01

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        xp, x = real_arrays(x)
        return xp.where(x > 0, x, self.slope * x), x

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return array_namespace(dy).where(residual > 0, dy, self.slope * dy), {}
