"""Activations by the equations of `ops`, some numbers at a time: what they make on the way stays in the cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ... import ops
from ...ops.activation import CUBIC, CUBIC_SLOPE
from ...ops.normal import FAR, normal
from ..memory import CACHED, parts
from .layout import real
from .pointwise import like

Array = np.ndarray

AT_ONCE = CACHED // 2  # bytes of an array

# Of log(P(X > x) / P(X <= x)) / x for a standard normal X, in powers of x x, the highest first, up to x = NEAR, where
# what is left of the probability is below 1e-9: fitted so that the largest error of x P(X <= x) is the least.
LOGISTIC = (
    1.7160802368300406e-11,
    -4.632725582511496e-09,
    2.8994725206474673e-07,
    -8.190047020964568e-06,
    0.00011188965429175099,
    6.232616482615839e-05,
    -0.0726636827766976,
    -1.595770404020843,
)
NEAR = 6.0


def curve(x: Array, name: str, *settings: float) -> tuple[Array, Any]:
    """The residual is x or, where the slopes cost little beside the function, the slopes."""
    x = real(x)
    y, function = like(x), getattr(ops, name)
    if name in WITH_SLOPES:
        slopes = like(x)
        for some in _parts(x, y, slopes):
            WITH_SLOPES[name](*some, *settings)
        return y, slopes
    for of_x, of_y in _parts(x, y):
        if name in IN_PLACE:
            IN_PLACE[name](of_x, of_y, *settings)
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
            BACKWARD_IN_PLACE[name](of_x, of_dy, of_dx, *settings)
        else:
            of_dx[...] = function(of_x, of_dy, *settings)
    return dx


def _gelu(x: Array, y: Array, slopes: Array) -> None:
    """`normal` in float32 is 1 / (1 + exp(x p(x x))), p a polynomial, with an error below 2e-7, too."""
    if x.dtype == np.float32:
        below, density = np.multiply(x, x), slopes
        np.multiply(below, np.float32(-0.5), out=density)
        np.minimum(below, _constant(NEAR * NEAR, x.shape, x.dtype), out=below)
        below = _polynomial(below, LOGISTIC)
        below *= x
        with np.errstate(over="ignore"):
            np.exp(below, out=below)
        below += np.float32(1)
        np.reciprocal(below, out=below)
        np.exp(density, out=density)
        density *= np.float32(1 / math.sqrt(2 * math.pi))
    else:
        below, density = normal(x)
    np.multiply(x, below, out=y)
    density *= _near(x)
    np.add(below, density, out=slopes)


def _gelu_tanh(x: Array, y: Array, slopes: Array) -> None:
    """With s = (1 + tanh(u)) / 2, y = x s, and the slope is s (1 + 2 x u' (1 - s))."""
    near = _near(x)
    squares = np.multiply(near, near, out=slopes)
    twice_du = _polynomial(squares, (6 * CUBIC * CUBIC_SLOPE, 2 * CUBIC_SLOPE))
    s = _polynomial(squares, (CUBIC * CUBIC_SLOPE, CUBIC_SLOPE))
    s *= near
    np.tanh(s, out=s)
    s *= x.dtype.type(0.5)
    s += x.dtype.type(0.5)
    np.multiply(x, s, out=y)
    np.subtract(x.dtype.type(1), s, out=slopes)
    slopes *= twice_du
    slopes *= near
    slopes += x.dtype.type(1)
    slopes *= s


def _elu(x: Array, y: Array, slopes: Array, alpha: float) -> None:
    zeros = _constant(0, x.shape, x.dtype)
    below = np.minimum(x, zeros)
    np.exp(below, out=slopes)
    np.expm1(below, out=below)
    if alpha != 1:
        slopes *= x.dtype.type(alpha)
        np.putmask(slopes, x > 0, 1)
        below *= x.dtype.type(alpha)
    np.maximum(x, zeros, out=y)
    y += below


def _leaky_relu(x: Array, y: Array, slope: float) -> None:
    """For slopes up to 1 the larger of x and slope x."""
    if not 0 < slope <= 1:
        y[...] = ops.leaky_relu(x, slope)
        return
    np.multiply(x, x.dtype.type(slope), out=y)
    np.maximum(x, y, out=y)


def _leaky_relu_backward(x: Array, dy: Array, dx: Array, slope: float) -> None:
    if not 0 < slope <= 1:
        dx[...] = ops.leaky_relu_backward(x, dy, slope)
        return
    np.copyto(dx, x > 0)
    np.maximum(dx, _constant(slope, dx.shape, dx.dtype), out=dx)
    dx *= dy


def _near(x: Array) -> Array:
    """x, or where it is further from 0 than FAR that: `np.clip` takes twice as long."""
    near = np.minimum(x, _constant(FAR, x.shape, x.dtype))
    return np.maximum(near, _constant(-FAR, x.shape, x.dtype), out=near)


def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    """The coefficients are of falling powers, two at least."""
    total = np.multiply(x, x.dtype.type(coefficients[0]))
    for coefficient in coefficients[1:-1]:
        total += x.dtype.type(coefficient)
        total *= x
    total += x.dtype.type(coefficients[-1])
    return total


@lru_cache(maxsize=64)
def _constant(value: float, shape: tuple[int, ...], dtype: Any) -> Array:
    """To be read only: the maximum with a number takes three times as long as with an array."""
    return np.full(shape, value, dtype)


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


WITH_SLOPES: dict[str, Callable[..., None]] = {
    "elu": _elu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
}
IN_PLACE: dict[str, Callable[..., None]] = {"hardswish": _hardswish, "leaky_relu": _leaky_relu}
BACKWARD_IN_PLACE: dict[str, Callable[..., None]] = {
    "hardswish": _hardswish_backward,
    "leaky_relu": _leaky_relu_backward,
    "softplus": _softplus_backward,
}


def _parts(*arrays: Array) -> Iterator[list[Array]]:
    """Views, or copies of what is only read, of parts of arrays of one shape, the last of which is to be written.

    All lie in memory as the last does, or are copied so.
    """
    last = arrays[-1]
    turned = last.ndim == 2 and last.flags.f_contiguous
    flat = [np.ascontiguousarray(each.T if turned else each).reshape(-1) for each in arrays]
    for some in parts(last.size, last.itemsize, AT_ONCE):
        yield [each[some] for each in flat]
