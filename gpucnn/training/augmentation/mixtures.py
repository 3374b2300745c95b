"""Mixtures of two examples of a batch: mixup and cutmix.

The images are mixed, and the loss of a mixture is that of both targets, in the same shares. So it needs no soft
targets: it is linear in them for the cross-entropies, and any other loss takes part as it is.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from array_api_compat import device

from ...kernels.random import below
from ...namespace import array_namespace
from .colour import box, inside

Array = Any

LEVELS = 256  # of a share
QUANTILES = 4096
LARGEST_ALPHA = 10.0
POINTS = 1 << 16  # of the integral of the distribution


def partners(batch: Array, drawn: Any) -> Array:
    """For each example of a batch (n,) the place of the one that is mixed into it: further on by a number of places
    that is the same for all, 1 .. n - 1, of 32 random bits.

    An epoch's order is random, so each pair comes up; and it does not depend on how a batch is shared out.
    """
    xp, n = array_namespace(batch), batch.shape[0]
    places = xp.arange(n, dtype=xp.int64, device=device(batch))
    return (places + 1 + below(n - 1, drawn)) % n if n > 1 else places


def mixed(images: Array, others: Array, kept: Array) -> Array:
    """kept / LEVELS of images (n, H, W, C) and the rest of others, in their type; kept: int64, broadcasts.

    Bytes are rounded to the nearest whole number, halves upwards.
    """
    xp = array_namespace(images)
    is_bytes = images.dtype == xp.uint8
    dtype = xp.float32 if is_bytes else images.dtype
    first, second = (xp.astype(each, dtype) for each in (images, others))
    out = second * LEVELS + (first - second) * xp.astype(kept, dtype)
    if is_bytes:
        out += LEVELS // 2
    out *= 1 / LEVELS
    return xp.astype(out, images.dtype)


def blend(drawn: Array, alpha: float) -> Array:
    """mixup (Zhang et al., 2018): how much of an image is kept, int64 (n,) in 1/LEVELS, from Beta(alpha, alpha).

    drawn: 32 random bits for each.
    """
    xp = array_namespace(drawn)
    return xp.take(_placed(alpha, xp, device(drawn)), drawn >> 20, axis=0)


def patch(drawn: Array, alpha: float, H: int, W: int) -> tuple[Array, ...]:
    """cutmix (Yun et al., 2019): the box of an image that another one's pixels replace, as `box` gives it.

    Its part of the image is 1 - lambda, lambda from Beta(alpha, alpha), and its middle is anywhere; what lies outside
    is cut off, and the share of the other image is that of what is left. drawn: (3, n) random bits, for lambda, the
    row and the column.
    """
    xp = array_namespace(drawn)
    side = xp.sqrt(xp.astype(LEVELS - blend(drawn[0, :], alpha), xp.float64) / LEVELS)
    height, width = (xp.astype(xp.floor(side * size), xp.int64) for size in (H, W))
    return box(below(H, drawn[1, :]), below(W, drawn[2, :]), height, width, H, W)


def outside(edges: tuple[Array, ...], H: int, W: int) -> tuple[Array, Array]:
    """LEVELS outside of boxes, 0 in them, (n, H, W, 1), and the part of the image that is outside, (n,) float64."""
    xp = array_namespace(edges[0])
    area = (edges[1] - edges[0]) * (edges[3] - edges[2])
    return (1 - inside(edges, H, W)) * LEVELS, xp.astype(H * W - area, xp.float64) / (H * W)


@functools.lru_cache(maxsize=32)
def beta_quantiles(alpha: float) -> np.ndarray:
    """Beta(alpha, alpha) at QUANTILES places in the middles of equal parts of 0 .. 1, in whole 1/LEVELS, int64.

    Its density is x^(alpha - 1) (1 - x)^(alpha - 1); that of t = x^alpha, where alpha < 1, has no pole below x = 1/2.
    Above, it is the mirror image.
    """
    power = min(alpha, 1.0)
    t = np.linspace(0, 0.5**power, POINTS)
    x = t ** (1 / power)
    density = x ** (alpha - power) * (1 - x) ** (alpha - 1)
    integral = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    parts = (np.arange(QUANTILES // 2) + 0.5) / QUANTILES
    lower = np.interp(parts, integral / integral[-1] / 2, t) ** (1 / power)
    whole = np.floor(LEVELS * lower + 0.5).astype(np.int64)
    return np.concatenate([whole, LEVELS - whole[::-1]])


_tables: dict[tuple[float, str, str], Array] = {}


def _placed(alpha: float, xp: Any, where: Any) -> Array:
    """The quantiles on a device. They are kept, for a recorded step must not copy them from the host."""
    key = alpha, xp.__name__, str(where)
    if key not in _tables:
        _tables[key] = xp.asarray(beta_quantiles(alpha), device=where)
    return _tables[key]
