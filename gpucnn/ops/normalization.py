"""Normalisation: numbers minus their mean, divided by their standard deviation. Each gradient below its function.

A mean of float32 numbers is rounded to float32, which matters where it is large beside the deviations. So a mean is
kept as a centre near it and what it is more, the rest: numbers minus the centre are exact where they are near it.
"""

from __future__ import annotations

import math
from typing import Any

from ..errors import check_shape
from ..namespace import array_namespace, real_arrays, summed

Array = Any


def centred(x: Array) -> tuple[Array, Array, Array, Array]:
    """d = x - centre, channel by channel; the centre, the rest and the squares, (C,) each.

    centre + rest is the mean of x, and squares the sum of (x - mean)^2. x (..., C); of no numbers all three are 0.
    Ioffe and Szegedy, 2015, algorithm 1, its first two lines; a second sum corrects the first as in Chan, Golub and
    LeVeque, 1983, "two-pass algorithm".
    """
    _, x = real_arrays(x)
    axes, count = tuple(range(x.ndim - 1)), max(1, math.prod(x.shape[:-1]))
    centre = summed(x, axes) / count
    d = x - centre
    rest = summed(d, axes) / count
    return d, centre, rest, summed((d - rest) ** 2, axes)


def scaled(d: Array, scale: Array, shift: Array) -> Array:
    """y = d scale + shift, channel by channel. d (..., C), the others (C,).

    Ioffe and Szegedy, 2015, algorithm 1, its last two lines: scale = gamma / sqrt(variance + epsilon), and
    shift = beta - rest scale.
    """
    _, d, scale, shift = real_arrays(d, scale, shift)
    return d * scale + shift


def scaled_backward(d: Array, dy: Array, factors: tuple[Array, Array, Array]) -> Array:
    """dx = a dy + b d + c, with the factors (a, b, c), each (C,), of `batch_norm_backward`."""
    _, d, dy = real_arrays(d, dy)
    check_shape("dy", dy, d.shape)
    a, b, c = factors
    return a * dy + (b * d + c)


def scaled_sums(d: Array, dy: Array) -> tuple[Array, Array]:
    """The gradient of `scaled` by shift and by scale: the sums of dy, and of dy d. d, dy (..., C) -> (C,) twice."""
    _, d, dy = real_arrays(d, dy)
    check_shape("dy", dy, d.shape)
    axes = tuple(range(d.ndim - 1))
    return summed(dy, axes), summed(dy * d, axes)


def batch_norm(
    rest: Array, variance: Array, gamma: Array | float, beta: Array | float, epsilon: float
) -> tuple[Array, Array, Array]:
    """scale and shift for `scaled`, and r = 1 / sqrt(variance + epsilon): y = gamma (x - mean) r + beta.

    All (C,). rest: what the mean is more than the centre that d = x - centre has. Ioffe and Szegedy, 2015, algorithm 1.
    """
    xp, variance = real_arrays(variance)
    inverse = 1 / xp.sqrt(variance + epsilon)
    scale = gamma * inverse
    return scale, beta - rest * scale, inverse


def batch_norm_backward(
    sums: tuple[Array, Array], rest: Array, inverse: Array, gamma: Array | float, count: Array
) -> tuple[Array, Array, Array]:
    """The factors (a, b, c) of dx = a dy + b d + c, where mean and variance are those of the batch itself.

    With r = inverse = 1 / sqrt(variance + epsilon) and u = (x - mean) r, so that y = gamma u + beta, of n numbers:
    dx = gamma r (dy - (sum of dy) / n - u (sum of dy u) / n); x - mean = d - rest gives the factors.
    sums: of dy and of dy (x - mean), over the whole batch. Ioffe and Szegedy, 2015, "3", its six derivatives.
    """
    of_dy, of_products = sums
    array_namespace(of_dy, of_products, inverse)
    a = gamma * inverse
    b = -a * inverse * inverse * of_products / count
    return a, b, -a * of_dy / count - b * rest


def standardize(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array]:
    """u = (x - mean) r with r = 1 / sqrt(variance + epsilon), both over those axes: u as x, and r, of length 1 there.

    The variance is the mean of squares. Ba, Kiros and Hinton, 2016, "(3)", over an example; Wu and He, 2018, "(1)" and
    "(2)", over a group of channels.
    """
    xp, x = real_arrays(x)
    centred = x - _mean(x, axes)
    centred = centred - _mean(centred, axes)
    inverse = 1 / xp.sqrt(_mean(centred * centred, axes) + epsilon)
    return centred * inverse, inverse


def standardize_backward(u: Array, inverse: Array, du: Array, axes: tuple[int, ...]) -> Array:
    """dx = r (du - mean of du - u times the mean of du u), the means over those axes: `batch_norm_backward`'s equation.

    u and inverse from `standardize`.
    """
    _, u, du = real_arrays(u, du)
    check_shape("du", du, u.shape)
    return inverse * (du - _mean(du, axes) - u * _mean(du * u, axes))


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """The mean over those axes, which are of length 1 then.

    Where the last axis stays, NumPy adds one number after the other: taken axis by axis, fewer are added in a row.
    """
    xp = array_namespace(x)
    if x.ndim - 1 in axes:
        return xp.mean(x, axis=axes, keepdims=True)
    for axis in axes[::-1]:
        x = xp.mean(x, axis=axis, keepdims=True)
    return x
