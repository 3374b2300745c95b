"""Brightness, contrast and squares that are cut out."""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import device

from ...namespace import array_namespace, clipped

Array = Any


def relit(images: Array, brightness: Array, contrast: Array) -> Array:
    """images (n, H, W, C): distances from each image's mean times contrast, then all times brightness; float64 (n,).

    A uint8 pixel stays in 0 .. 255 and is rounded to the nearest whole number, halves upwards; the factors and what is
    added are rounded to 1/256 before, so that float32 holds all that is computed exactly. Floats are not clipped.
    """
    xp, (n, *shape) = array_namespace(images), images.shape
    is_bytes = images.dtype == xp.uint8
    pixels, dtype = xp.reshape(images, (n, math.prod(shape))), xp.float32 if is_bytes else images.dtype
    if is_bytes:
        mean = xp.astype(xp.sum(pixels, axis=1, dtype=xp.int64), xp.float64) / max(1, pixels.shape[1])
    else:
        mean = xp.mean(xp.astype(pixels, xp.float64), axis=1)
    factor, added = brightness * contrast, brightness * mean * (1 - contrast)
    if is_bytes:
        factor, added = (xp.round(each * 256) for each in (factor, added))
    factor, added = (xp.astype(each, dtype)[:, None] for each in (factor, added))
    out = xp.astype(pixels, dtype) * factor
    out += added
    if is_bytes:
        out += 128
        out *= 1 / 256
        out = clipped(out, 0, 255)
    return xp.reshape(xp.astype(out, images.dtype), (n, *shape))


def box(row: Array, column: Array, height: Any, width: Any, H: int, W: int) -> tuple[Array, ...]:
    """The rows from top to below bottom, and columns from left to below right, of boxes with these middles, (n,) int64.

    What would lie outside of the image is cut off.
    """
    top, left = row - height // 2, column - width // 2
    edges = ((top, H), (top + height, H), (left, W), (left + width, W))
    return tuple(clipped(each, 0, size) for each, size in edges)


def inside(edges: tuple[Array, ...], H: int, W: int) -> Array:
    """1 in the boxes that `box` gives, 0 outside: (n, H, W, 1) int64."""
    xp, where = array_namespace(edges[0]), device(edges[0])
    ranges = []
    for first, stop, size in ((*edges[:2], H), (*edges[2:], W)):
        places = xp.arange(size, dtype=xp.int64, device=where)[None, :]
        ranges.append(xp.astype((places >= first[:, None]) & (places < stop[:, None]), xp.int64))
    return (ranges[0][:, :, None] * ranges[1][:, None, :])[:, :, :, None]


def cut_out(images: Array, edges: tuple[Array, ...]) -> Array:
    """images (n, H, W, C) with 0 in the boxes."""
    xp, (_, H, W, _) = array_namespace(images), images.shape
    return images * xp.astype(1 - inside(edges, H, W), images.dtype)
