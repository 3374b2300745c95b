"""Arrays beside one another, along their last axis: channels of images, features of vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import ShapeError
from ..namespace import array_namespace, joined

Array = Any


def concatenate(arrays: Sequence[Array]) -> Array:
    """Arrays (..., C_k) -> (..., sum of C_k), the first one's channels first. Szegedy et al., 2014: "Inception"."""
    array_namespace(*arrays)
    if len({tuple(each.shape[:-1]) for each in arrays}) != 1:
        raise ShapeError(
            f"arrays of shapes {', '.join(str(tuple(each.shape)) for each in arrays)} cannot stand beside one another; "
            "all but their last lengths must agree"
        )
    return joined(arrays, axis=-1)


def concatenate_backward(dy: Array, channels: Sequence[int]) -> list[Array]:
    """dy (..., sum of channels) -> the gradients of the arrays, views: `concatenate` hands each channel on."""
    array_namespace(dy)
    if math.prod(dy.shape[-1:]) != sum(channels):
        raise ShapeError(f"dy has {dy.shape[-1]} channels, {sum(channels)} were expected")
    ends = [sum(channels[: k + 1]) for k in range(len(channels))]
    return [dy[..., end - count : end] for end, count in zip(ends, channels)]
