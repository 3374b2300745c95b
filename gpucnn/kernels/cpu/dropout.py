"""Dropout on arrays whose batch is innermost: the random bits of `kernels.random`, in 32-bit arithmetic."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from .. import random
from ..memory import CACHED, empty, parts
from .layout import real
from .pointwise import like

Array = np.ndarray


def dropout(x: Array, rate: float, whole_channels: bool, context: Any) -> tuple[Array, Array]:
    """What is kept, divided by 1 - rate. The residual is each element's factor, or each channel's."""
    x = real(x)
    start = random.bits(context.key, context.update, context.examples.astype(np.int64)).astype(np.uint32)
    shape = (1, x.shape[1], 1) if whole_channels else x.shape[:3] if x.ndim == 4 else x.shape[1:]
    factors = empty((math.prod(shape), len(start)), x.dtype)
    _draw(_counters(shape), start, rate, factors)
    factors = factors.reshape(*shape, len(start)) if x.ndim == 4 else factors.T
    return np.multiply(x, factors, out=like(x)), factors


def dropout_backward(factors: Array, dy: Array) -> Array:
    return np.multiply(dy, factors, out=like(dy))


@lru_cache(maxsize=64)
def _counters(shape: tuple[int, ...]) -> Array:
    """The numbers of an example's elements in the order of (H, W, C), by their places in (H, C, W): (H C W, 1)."""
    numbers: Array = np.arange(math.prod(shape), dtype=np.uint32)
    if len(shape) == 3:
        H, C, width = shape
        numbers = numbers.reshape(H, width, C).transpose(0, 2, 1)
    return numbers.reshape(-1, 1)


def _draw(counters: Array, start: Array, rate: float, factors: Array) -> None:
    """factors (K, N): 1 / (1 - rate) where the bits of counter k and of an example are at least rate 2^32, else 0."""
    threshold, kept = np.uint32(random.threshold(rate)), factors.dtype.type(1 / (1 - rate))
    for some in parts(len(counters), 4 * len(start), CACHED // 4):  # drawn bits, a copy of them, and factors
        bits = counters[some] ^ start
        other = np.empty_like(bits)
        _mix(bits, other)
        out = factors[some]
        np.copyto(out, bits >= threshold)
        out *= kept


def _mix(x: Array, other: Array) -> None:
    """`random._mixed` in place; `other` is overwritten."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None)):
        np.right_shift(x, shift, out=other)
        np.bitwise_xor(x, other, out=x)
        if factor is not None:
            np.multiply(x, np.uint32(factor), out=x)
