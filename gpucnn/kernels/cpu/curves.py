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
    """The residual is x or, of GELU and SiLU, whose slopes cost little beside them, the slopes."""
    x = real(x)
    y, function = like(x), getattr(ops, name)
    if name in WITH_SLOPES:
        slopes = like(x)
        for some in _parts(x, y, slopes):
            WITH_SLOPES[name](*some)
        return y, slopes
    for of_x, of_y in _parts(x, y):
        if name in IN_PLACE:
            IN_PLACE[name](of_x, of_y)
        else:
            of_y[...] = function(of_x, *settings)
    return y, (x, name, settings)


def curve_backward(residual: Any, dy: Array) -> Array:
    if isinstance(residual, np.ndarray):
        return np.multiply(dy, residual, out=like(residual, dy.dtype))
    x, name, settings = residual
    dx, function = like(x, dy.dtype), getattr(ops, f"{name}_backward")
    for of_x, of_dy, of_dx in _parts(x, dy, dx):
        if name in BACKWARD_IN_PLACE:
            BACKWARD_IN_PLACE[name](of_x, of_dy, of_dx)
        else:
            of_dx[...] = function(of_x, of_dy, *settings)
    return dx


def _gelu(x: Array, y: Array, slopes: Array) -> None:
    below, density = normal(x)
    np.multiply(x, below, out=y)
    density *= np.clip(x, -FAR, FAR)
    np.add(below, density, out=slopes)


def _silu(x: Array, y: Array, slopes: Array) -> None:
    """With s = sigmoid(x), y = x s, and the slope is s + y (1 - s)."""
    s = _sigmoid(x)
    np.multiply(x, s, out=y)
    np.subtract(x.dtype.type(1), s, out=slopes)
    slopes *= y
    slopes += s


def _hardswish(x: Array, y: Array) -> None:
    np.add(x, x.dtype.type(3), out=y)
    np.clip(y, 0, 6, out=y)
    y *= x.dtype.type(1 / 6)
    y *= x


def _hardswish_backward(x: Array, dy: Array, dx: Array) -> None:
    np.clip(x, -3, 3, out=dx)
    dx *= x.dtype.type(1 / 3)
    dx += x.dtype.type(0.5)
    dx *= (x > -3) & (x < 3)
    dx += x >= 3
    dx *= dy


def _softplus_backward(x: Array, dy: Array, dx: Array) -> None:
    np.multiply(dy, _sigmoid(x), out=dx)


def _sigmoid(x: Array) -> Array:
    """`ops.sigmoid`, in place after its first pass."""
    half = x.dtype.type(0.5)
    s = np.multiply(x, half)
    np.tanh(s, out=s)
    s *= half
    s += half
    return s


WITH_SLOPES = {"gelu": _gelu, "silu": _silu}
IN_PLACE = {"hardswish": _hardswish}
BACKWARD_IN_PLACE = {"hardswish": _hardswish_backward, "softplus": _softplus_backward}


def _parts(*arrays: Array) -> Iterator[list[Array]]:
    """Views, or copies of what is only read, of parts of arrays of one shape, the last of which is to be written.

    All lie in memory as the last does, or are copied so.
    """
    last = arrays[-1]
    turned = last.ndim == 2 and last.flags.f_contiguous
    flat = [np.ascontiguousarray(each.T if turned else each).reshape(-1) for each in arrays]
    for some in parts(last.size, last.itemsize, AT_ONCE):
        yield [each[some] for each in flat]
