"""Activations by the equations of `ops`, some numbers at a time: what they make on the way stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ..memory import CACHED, empty, parts
from .layout import real

Array = np.ndarray

AT_ONCE = CACHED // 8  # bytes of an array: there are about as many of its size


def curve(x: Array, name: str, *settings: float) -> tuple[Array, Any]:
    x = real(x)
    return _of_parts(getattr(ops, name), x.dtype, settings, x), (x, name, settings)


def curve_backward(residual: Any, dy: Array) -> Array:
    x, name, settings = residual
    return _of_parts(getattr(ops, f"{name}_backward"), dy.dtype, settings, x, dy)


def _of_parts(function: Callable[..., Array], dtype: Any, settings: tuple[float, ...], *arrays: Array) -> Array:
    """The function of arrays of one shape, number by number."""
    shape, is_image = arrays[0].shape, arrays[0].ndim == 4
    flat = [np.ascontiguousarray(each if is_image else each.T).reshape(-1) for each in arrays]
    out = empty(flat[0].shape, dtype)
    for some in parts(out.size, out.itemsize, AT_ONCE):
        out[some] = function(*(each[some] for each in flat), *settings)
    return out.reshape(shape) if is_image else out.reshape(shape[::-1]).T
