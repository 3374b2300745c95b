"""Memory for large arrays that is used again.

A fresh array of a megabyte costs a page fault for every 4 KB at its first touch: as long as the arithmetic on it. Blocks
from here are touched once and lent again as soon as nobody sees them.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

SMALL = 1 << 16  # bytes below which the allocator of NumPy reuses memory itself
KEPT = 1 << 28  # bytes of free blocks that a thread keeps at most
LINE = 64  # bytes of a cache line, and of the widest vector register


class _Loan:
    """Stands between a block and the arrays on it: they keep it alive, and when the last is gone the block is free."""

    __slots__ = ("__array_interface__", "_block", "_home")

    def __init__(self, block: np.ndarray, home: _Free, shape: tuple[int, ...], dtype: np.dtype) -> None:
        address = block.__array_interface__["data"][0]
        data = (address + -address % LINE, False)
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": data, "version": 3}
        self._block, self._home = block, home

    def __del__(self) -> None:
        self._home.take_back(self._block)


class _Free(threading.local):
    """A thread's free blocks by size. A block may come back from another thread: list.append and pop are atomic."""

    def __init__(self) -> None:
        self.home = _Home()


class _Home:
    def __init__(self) -> None:
        self.blocks: dict[int, list[np.ndarray]] = {}


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    raise NotImplementedError
