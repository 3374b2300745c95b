"""Memory for large arrays that is used again, and work in parts that fit the cache.

A fresh array costs a page fault for every 4 KB at its first touch, often more than the arithmetic on it: threads that
train small networks spend half their time so. The blocks behind `empty` are touched once, and lent again as soon as no
array sees them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

SMALL = 1 << 22  # bytes below which NumPy's own allocator reuses memory well enough
KEPT = 1 << 28  # bytes of free blocks that one thread keeps at most
CACHE = 1 << 19  # bytes of a part of an array that stays in the cache over several passes
LINE = 64  # bytes of a cache line, and of the widest vector register


class _Block(NamedTuple):
    memory: np.ndarray
    address: int
    size: int


class _Shelf:
    """Free blocks by size. list.append and list.pop are atomic: a block may come back from another thread."""

    def __init__(self) -> None:
        self.blocks: dict[int, list[_Block]] = {}
        self.free = 0  # bytes, roughly: two threads may change it at once

    def take(self, size: int) -> _Block:
        try:
            block = self.blocks.setdefault(size, []).pop()  # the last one back is the likeliest to be in the cache
        except IndexError:
            memory = np.empty(size + LINE, np.uint8)
            return _Block(memory, memory.ctypes.data + -memory.ctypes.data % LINE, size)
        self.free -= size
        return block

    def give_back(self, block: _Block) -> None:
        if self.free + block.size > KEPT:
            for free in list(self.blocks.values()):
                free.clear()  # sizes still in use come back, those of another batch size do not
            self.free = 0
        self.free += block.size
        self.blocks[block.size].append(block)


class _Loan:
    """Stands between a block and the arrays on it: they keep the loan alive, and its end gives the block back."""

    __slots__ = ("__array_interface__", "block", "shelf")

    def __init__(self, block: _Block, shelf: _Shelf, shape: tuple[int, ...], dtype: np.dtype) -> None:
        data = (block.address, False)
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": data, "version": 3}
        self.block, self.shelf = block, shelf

    def __del__(self) -> None:
        self.shelf.give_back(self.block)


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.shelf = _Shelf()


_here = _PerThread()


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """np.empty, of memory used before where it is large. No two living arrays share it."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    step = 1 << (size.bit_length() - 4)  # sizes are rounded up by at most an eighth, so that blocks fit again
    shelf = _here.shelf
    return np.asarray(_Loan(shelf.take(-(-size // step) * step), shelf, shape, dtype))


def parts(count: int, item_bytes: int, most_bytes: int = CACHE) -> Iterator[slice]:
    """`count` items in equal parts of at most `most_bytes`, or one by one."""
    number = -(-count // max(1, most_bytes // max(1, item_bytes)))
    for k in range(number):
        yield slice(count * k // number, count * (k + 1) // number)
