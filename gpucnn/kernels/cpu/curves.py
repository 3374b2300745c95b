"""Activations by the equations of `ops`, some numbers at a time: what they make on the way stays in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...ops.normal import FAR, normal
from ..memory import CACHED, parts
from .layout import real
from .pointwise import like

Array = np.ndarray

AT_ONCE = CACHED // 2  # bytes of an array


def curve(x: Array, name: str, *settings: float) -> tuple[Array, Any]:
    """The residual is x or, of GELU, whose slope costs little beside it, the slopes."""
    x = real(x)
    y, function = like(x), getattr(ops, name)
    if name == "gelu":
        slopes = like(x)
        for of_x, of_y, of_slopes in _parts(x, y, slopes):
            below, density = normal(of_x)
            np.multiply(of_x, below, out=of_y)
            density *= np.clip(of_x, -FAR, FAR)
            np.add(below, density, out=of_slopes)
        return y, slopes
    for of_x, of_y in _parts(x, y):
        of_y[...] = function(of_x, *settings)
    return y, (x, name, settings)


def curve_backward(residual: Any, dy: Array) -> Array:
    if isinstance(residual, np.ndarray):
        return np.multiply(dy, residual, out=like(residual, dy.dtype))
    x, name, settings = residual
    dx, function = like(x, dy.dtype), getattr(ops, f"{name}_backward")
    for of_x, of_dy, of_dx in _parts(x, dy, dx):
        of_dx[...] = function(of_x, of_dy, *settings)
    return dx


def _parts(*arrays: Array) -> Iterator[list[Array]]:
    """Views, or copies of what is only read, of parts of arrays of one shape, the last of which is to be written.

    All lie in memory as the last does, or are copied so.
    """
    last = arrays[-1]
    turned = last.ndim == 2 and last.flags.f_contiguous
    flat = [np.ascontiguousarray(each.T if turned else each).reshape(-1) for each in arrays]
    for some in parts(last.size, last.itemsize, AT_ONCE):
        yield [each[some] for each in flat]
