"""Memory for large arrays that is used again.

A fresh array costs a page fault for every 4 KB at its first touch, often more than the arithmetic on it. The blocks
behind `empty` are touched once and lent again as soon as no array sees them.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

SMALL = 1 << 16  # bytes below which NumPy's own allocator reuses memory well enough
KEPT = 1 << 28  # bytes of free blocks that one thread keeps at most
LINE = 64  # bytes of a cache line, and of the widest vector register


class _Shelf:
    """Free blocks by size. list.append and list.pop are atomic: a block may come back from another thread."""

    def __init__(self) -> None:
        self.blocks: dict[int, list[np.ndarray]] = {}
        self.free = 0  # bytes

    def take(self, size: int) -> np.ndarray:
        try:
            block = self.blocks.setdefault(size, []).pop()  # the last one back is the likeliest to be in the cache
        except IndexError:
            return np.empty(size + LINE, np.uint8)
        self.free -= size
        return block

    def give_back(self, block: np.ndarray) -> None:
        size = block.size - LINE
        if self.free + size <= KEPT:
            self.blocks[size].append(block)
            self.free += size


class _Loan:
    """Stands between a block and the arrays on it: they keep it alive, and it returns the block when the last is gone."""

    __slots__ = ("__array_interface__", "block", "shelf")

    def __init__(self, block: np.ndarray, shelf: _Shelf, shape: tuple[int, ...], dtype: np.dtype) -> None:
        address = block.__array_interface__["data"][0]
        aligned = address + -address % LINE
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (aligned, False), "version": 3}
        self.block, self.shelf = block, shelf

    def __del__(self) -> None:
        self.shelf.give_back(self.block)


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.shelf = _Shelf()


_here = _PerThread()


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """np.empty, of memory used before where it is large. No living array ever shares it."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    step = 1 << (size.bit_length() - 4)  # sizes are rounded up by at most an eighth, so that blocks fit again
    shelf = _here.shelf
    return np.asarray(_Loan(shelf.take(-(-size // step) * step), shelf, shape, dtype))
