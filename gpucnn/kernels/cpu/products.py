"""Matrix products, cut to the sizes that OpenBLAS takes as they are: it copies both factors of larger ones first."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..memory import empty
from .layout import real

Array = np.ndarray

SMALL_PRODUCT = 1_000_000  # multiplications; above this OpenBLAS copies its operands before it starts


def matmul(a: Array, b: Array) -> Array:
    """a (M, K) times b (K, N), in the memory order of a: activations stay feature-major, weight gradients row-major."""
    a = real(a, b)
    if a.flags.f_contiguous:
        return _row_major(b.T, a.T).T
    return _row_major(a, b)


def _row_major(a: Array, b: Array) -> Array:
    """a (M, K) times b (K, N), rows of N."""
    (M, K), N = a.shape, b.shape[1]
    out = empty((M, N), a.dtype)
    rows = _rows_at_a_time(M, K * N) if a.flags.c_contiguous else 0
    if not rows:
        return np.matmul(a, b, out=out)
    np.matmul(a.reshape(-1, rows, K), np.ascontiguousarray(b), out=out.reshape(-1, rows, N))
    return out


@lru_cache(maxsize=256)
def _rows_at_a_time(M: int, size: int) -> int:
    """Into how many rows to cut a long factor, the other being of `size` numbers; 0: leave it whole.

    OpenBLAS takes small products as they are, and copies both factors of larger ones first.
    """
    fitting = (2**k for k in range(3, 8) if M % 2**k == 0 and 2**k * size <= SMALL_PRODUCT < M * size)
    return max(fitting, default=0)


def multiplied(a: Array, stack: Array, out: Array | None = None) -> Array:
    """a (M, K) times every matrix of stack (..., K, L): (..., M, L)."""
    if out is None:
        out = empty((*stack.shape[:-2], len(a), stack.shape[-1]), stack.dtype)
    pieces = pieces_of(a.size, stack.shape[-1])
    np.matmul(a, column_blocks(stack, pieces), out=column_blocks(out, pieces))
    return out


@lru_cache(maxsize=256)
def pieces_of(size: int, L: int) -> int:
    """Into how many pieces to cut L columns, for products of size * L / pieces multiplications.

    OpenBLAS copies the operands of products of more than a million before it starts, and then is up to twice as slow.
    """
    pieces = 1
    while size * L > SMALL_PRODUCT * pieces and L % (2 * pieces) == 0 and L // pieces >= 256:
        pieces *= 2
    return pieces if size * L <= SMALL_PRODUCT * pieces else 1


def column_blocks(stack: Array, blocks: int) -> Array:
    """(..., K, L) -> (..., blocks, K, L / blocks), a view."""
    if blocks == 1:
        return stack[..., None, :, :]
    *rows, K, L = stack.shape
    return stack.reshape(*rows, K, blocks, L // blocks).swapaxes(-2, -3)
