"""Parts of images, images among zeros, and enlarged images, stored (H, C, W, N)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ..memory import copy, empty
from .layout import real

Array = np.ndarray


def part(x: Array, places: tuple[slice, slice, slice]) -> Array:
    x, (rows, columns, channels) = real(x), places
    seen = x[rows, channels, columns]
    y = empty(seen.shape, x.dtype)
    copy(seen, y)
    return y


def place(x: Array, places: tuple[slice, slice, slice], image_shape: tuple[int, int, int]) -> Array:
    x = np.ascontiguousarray(real(x))
    rows, columns, channels = places
    H, W, C = image_shape
    y = empty((H, C, W, x.shape[3]), x.dtype)
    y[...] = 0
    copy(x, y[rows, channels, columns])
    return y


def upsample(x: Array, factor: tuple[int, int], kind: str) -> tuple[Array, Any]:
    return ops.upsample(x, factor, kind, axes=(0, 2)), (factor, kind)


def upsample_backward(residual: Any, dy: Array) -> Array:
    factor, kind = residual
    return ops.upsample_backward(dy, factor, kind, axes=(0, 2))
