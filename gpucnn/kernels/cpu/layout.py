"""Images as the NumPy table stores them, (H, C, W, N): in and out of that order, and flattened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import ops
from ...namespace import as_real
from ..memory import empty

Array = np.ndarray


def enter(x: Array) -> Array:
    """(N, H, W, C) -> (H, C, W, N). Arrays of two axes become feature-major."""
    return np.ascontiguousarray(x.transpose(1, 3, 2, 0)) if x.ndim == 4 else np.asfortranarray(x)


def real(x: Array, beside: Array | None = None) -> Array:
    """x, or `as_real` where it has whole numbers: in the type of the array beside it, or else NumPy's default one."""
    if x.dtype.kind == "f":
        return x
    return as_real(np, x, None if beside is None or beside.dtype.kind != "f" else beside.dtype)


def leave(x: Array) -> Array:
    """(H, C, W, N) -> (N, H, W, C). Arrays of two axes stay what they are."""
    return np.ascontiguousarray(x.transpose(3, 0, 2, 1)) if x.ndim == 4 else x


def pixels(images: Array, dtype: Any, scale: float, shift: float) -> Array:
    """uint8 (N, H, W, C) -> images of dtype: bytes are moved, and become numbers where they stay."""
    stored = enter(images)
    x = empty(stored.shape, dtype)
    x[...] = stored
    x *= x.dtype.type(scale)
    if shift:
        x += x.dtype.type(shift)
    return x


def image_shape(x: Array) -> tuple[int, int, int]:
    *parities, H, C, width, _ = x.shape
    return H, width * math.prod(parities), C


def spread(values: Array, x: Array) -> Array:
    """values (C,) or (N, C) -> a view that broadcasts against x, (H, C, W, N) or (N, C)."""
    if x.ndim == 2:
        return values
    return values[:, None, None] if values.ndim == 1 else values.T[:, None, :]


def axes(x: Array) -> tuple[int, ...]:
    """Where N, H, W and C, or N and C, stand among the axes of x."""
    return (3, 0, 2, 1) if x.ndim == 4 else (0, 1)


def pixel_sums(x: Array) -> Array:
    """(H, C, W, N) -> (N, C), feature-major."""
    return np.add.reduce(np.add.reduce(x, axis=2), axis=0).T


def concatenate(arrays: Sequence[Array]) -> tuple[Array, list[int]]:
    """Images (H, C, W, N), or vectors (N, C), which become feature-major."""
    first, axis = arrays[0], 1
    channels = [each.shape[axis] for each in arrays]
    dtype = np.result_type(*arrays)
    if first.ndim == 2:
        y = empty((sum(channels), first.shape[0]), dtype).T
    else:
        y = empty((first.shape[0], sum(channels), *first.shape[2:]), dtype)
    for each, part in zip(arrays, _parts(channels)):
        y[:, part] = each
    return y, channels


def concatenate_backward(channels: list[int], dy: Array) -> list[Array]:
    """Copies: what comes behind wants images without gaps."""
    return [np.array(dy[:, part], order="K") for part in _parts(channels)]


def _parts(channels: list[int]) -> list[slice]:
    ends = np.cumsum(channels).tolist()
    return [slice(end - count, end) for end, count in zip(ends, channels)]


def reshape(x: Array, shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """Elements keep the order of (N, H, W, C); from image to vector and back whole runs of N are copied."""
    before = image_shape(x) if x.ndim == 4 else x.shape[1:]
    if math.prod(before) != math.prod(shape):
        ops.reshape(leave(x), shape)  # raises the error that says so
    if len(before) == len(shape) == 3:
        return enter(ops.reshape(leave(x), shape)), before
    if len(before) == 3:
        return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(math.prod(before), x.shape[3]).T, before
    if len(shape) == 3:
        H, width, C = shape
        return np.ascontiguousarray(x.T.reshape(H, width, C, x.shape[0]).transpose(0, 2, 1, 3)), before
    return x, before


def reshape_backward(before: tuple[int, ...], dy: Array) -> Array:
    return reshape(dy, before)[0]
