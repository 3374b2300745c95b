"""Seconds that a convolution's three products take of one image, estimated from bytes and operations.

The limits are those of an H200, and the shares of them that kernels reach are what the same kinds of kernels reached
where they were measured: see tests/predicted.py. What tensor cores reach is a guess. Estimates are no measurements.
"""

from __future__ import annotations

BANDWIDTH = 4.3e12  # bytes a second
OPERATIONS = {"float32": 67e12, "tf32": 494e12, "bfloat16": 989e12}  # a second, without sparsity
MEMORY_SHARE, PRODUCT_SHARE, DIRECT_SHARE = 0.6, 0.57, 0.3  # of these, that kernels reach
ITEM = 4  # bytes of a number: factors are rounded on their way into the tensor cores
PASSES = 3  # products of a layer: its result, and the gradients of kernel and image
FULL = 128  # filters that fill a block of a product on tensor cores: with fewer, a part of it is idle


def direct(outputs: int, taps: int, filters: int, winners: int) -> float:
    """By kernels that read the image itself, in float32: operations. outputs: P Q; taps: I J C; winners: those of the
    outputs that gradients come through, all but behind a pool."""
    operations = 2.0 * (outputs + (PASSES - 1) * winners) * taps * filters
    return operations / (OPERATIONS["float32"] * DIRECT_SHARE)


def columns(outputs: int, taps: int, filters: int, precision: str) -> float:
    """By columns, each written once and read once, and products in that precision."""
    moved = PASSES * ITEM * outputs * (2 * taps + filters) / (BANDWIDTH * MEMORY_SHARE)
    operations = PASSES * 2.0 * outputs * taps * max(filters, FULL)
    return moved + operations / (OPERATIONS[precision] * PRODUCT_SHARE)
