"""Memory for large arrays that is used again, and work in parts that fit the cache.

A fresh array costs a page fault for every 4 KB at its first touch, often more than the arithmetic on it: threads that
train small networks spend half their time so. The blocks behind `empty` are touched once, and lent again as soon as no
array sees them. Where there are many, they are cut from slabs so large that NumPy asks Linux for pages of 2 MB, whose
addresses a CPU finds sooner.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from sys import getrefcount
from typing import Any, NamedTuple

import numpy as np

SMALL = 1 << 16  # bytes below which NumPy's own allocator reuses memory well enough
MUCH = 1 << 22  # bytes from which on blocks are cut to measure
FEW = 1 << 23  # bytes of small blocks from which on others are cut from slabs
KEPT = 1 << 28  # bytes of blocks that one thread keeps at most
ZEROS = 1 << 26  # bytes of `same_zeros` that one thread keeps at most
SHAPES = 4096  # that are remembered
CACHED = 1 << 19  # bytes that a CPU's own cache holds while they are worked on
LINE = 64  # bytes of a cache line, and of the widest vector register


class _Slab(np.ndarray):
    """What blocks are views of. An array does not refer to its buffer but to what that is a view of, unless this is of
    another class than the array: so each block knows whether arrays see it.
    """


class _Block(NamedTuple):
    memory: np.ndarray
    offset: int  # bytes to the first cache line


class _Shelf(threading.local):
    """The blocks of one thread. A block is free while nothing but its list refers to it.

    of_shape: for shapes and types asked for before, the blocks of their size, or () where NumPy's own serve.
    """

    def __init__(self) -> None:
        self.of_shape: dict[tuple[Any, ...], Sequence[_Block]] = {}
        self.of_size: dict[int, list[_Block]] = {}
        self.total = 0  # bytes, of free blocks and of others
        self.small = 0  # bytes of blocks smaller than MUCH
        self.slab: np.ndarray = np.empty(0, np.uint8)  # what is left of the one that blocks are cut from
        self.uncut = 0  # bytes of this and of all before it that were not cut
        self.zeros: dict[tuple[Any, ...], np.ndarray] = {}

    def blocks(self, shape: tuple[int, ...], dtype: Any) -> Sequence[_Block]:
        if len(self.of_shape) >= SHAPES:
            self.of_shape.clear()
        size = _block_size(shape, dtype)
        found = self.of_size.setdefault(size, []) if size >= SMALL else ()
        self.of_shape[shape, dtype] = found
        return found

    def add(self, size: int) -> _Block:
        """A block that is free, and will be lent again unless it is larger than all that is kept."""
        if size > KEPT:
            return _Block(np.empty(size, np.uint8), 0)
        if self.total + size > KEPT:
            self._forget()
        memory = np.empty(size + LINE, np.uint8) if size >= MUCH else self._cut(size + LINE)
        block = _Block(memory, -memory.ctypes.data % LINE)
        self.of_size[size].append(block)
        self.total += size
        return block

    def _cut(self, size: int) -> np.ndarray:
        """Memory for a small block. A slab may stay unused, so that it is small beside what is used."""
        self.small += size
        if self.small < FEW or not SLABS:
            return np.empty(size, np.uint8)
        if len(self.slab) < size:
            self.slab = np.empty(max(MUCH, self.small // 4), np.uint8).view(_Slab)
            self.uncut += len(self.slab)
        memory, self.slab = self.slab[:size], self.slab[size:]
        self.uncut -= size
        return memory

    def _forget(self) -> None:
        """Let go of all blocks: those in use live on with their arrays."""
        self.total = self.small = self.uncut = 0
        self.slab = self.slab[:0]
        for blocks in self.of_size.values():
            blocks.clear()


_here = _Shelf()


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """np.empty, of memory used before where it is large. No two living arrays share it."""
    blocks = _here.of_shape.get((shape, dtype))
    if blocks is None:
        blocks = _here.blocks(shape, dtype)
    if blocks == ():
        return np.empty(shape, dtype)
    for block in blocks:
        if getrefcount(block[0]) == FREE:
            return np.ndarray(shape, dtype, *block)  # it, and every view of it, refers to the memory
    return np.ndarray(shape, dtype, *_here.add(_block_size(shape, dtype)))


def _block_size(shape: tuple[int, ...], dtype: Any) -> int:
    """The bytes of such an array, rounded up to a power of two, or, where that is much, by at most an eighth.

    Few sizes: the block that comes back is more often one that was used a moment ago, and is still in the cache.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    step = 1 << max(0, size.bit_length() - (1 if size < MUCH else 4))
    return -(-size // step) * step


_block = _Block(np.empty(1, np.uint8), 0)
FREE = getrefcount(_block[0])  # no variable holds the memory itself, here or in `empty`: debuggers look at those


def _are_seen() -> bool:
    """Whether blocks of a slab know what sees them, which is NumPy's affair."""
    block = _Block(np.empty(2 * LINE, np.uint8).view(_Slab)[LINE:], 0)
    array = np.ndarray((LINE,), np.uint8, *block)
    view, counts = array[1:], [getrefcount(block[0]) > FREE]
    del array
    counts.append(getrefcount(block[0]) > FREE)
    del view
    return all(counts) and getrefcount(block[0]) == FREE


SLABS = _are_seen()


@contextmanager
def apart() -> Iterator[None]:
    """Inside, this thread starts without blocks; those that it had are back afterwards, and the new ones are let go.

    Where it had none, the new ones stay, for whoever needs as many next.
    """
    before = dict(vars(_here))
    vars(_here).clear()
    _here.__init__()  # type: ignore[misc]
    try:
        yield
    finally:
        if before["total"]:
            vars(_here).update(before)


def rounded_up() -> int:
    """Bytes of this thread's blocks, and of what these are cut from, that no array has reached: the system gives memory
    where it is written first, large pages aside.
    """
    most: dict[int, int] = {}
    for shape, dtype in _here.of_shape:
        size = _block_size(shape, dtype)
        most[size] = max(most.get(size, 0), math.prod(shape) * np.dtype(dtype).itemsize)
    of_blocks = sum(len(blocks) * (size - most.get(size, size)) for size, blocks in _here.of_size.items())
    return of_blocks + _here.uncut


def same_zeros(shape: tuple[int, ...], dtype: Any, use: Any) -> np.ndarray:
    """Zeros at first, and mostly the same array whenever this thread asks for that shape, type and use again.

    A caller must always write to the same part of it, so that the rest stays zero, and be done before the next call.
    """
    kept, key = _here.zeros, (shape, dtype, use)
    if key not in kept:
        made = np.zeros(shape, dtype)
        if made.nbytes > ZEROS:
            return made
        if sum(each.nbytes for each in kept.values()) + made.nbytes > ZEROS:
            kept.clear()
        kept[key] = made
    return kept[key]


@lru_cache(maxsize=256)
def ones(size: int, dtype: Any) -> np.ndarray:
    """(size,), to be read only: a product with it is the fastest sum."""
    vector = np.ones(size, dtype)
    vector.flags.writeable = False
    return vector


def copy(source: np.ndarray, target: np.ndarray) -> None:
    """target[...] = source, both (..., N) with the N numbers side by side: copied as one item, in half the time."""
    if target.size:
        item = _item(target.shape[-1] * target.itemsize)
        target.view(item)[...] = source.view(item)


@lru_cache(maxsize=256)
def _item(size: int) -> Any:
    return np.dtype((np.void, size))


def parts(count: int, item_bytes: int, most_bytes: int) -> Iterator[slice]:
    """`count` items in equal parts of at most `most_bytes`, or one by one."""
    number = -(-count // max(1, most_bytes // max(1, item_bytes)))
    for k in range(number):
        yield slice(count * k // number, count * (k + 1) // number)
