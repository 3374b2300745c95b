"""Vectors in memory that other processes of this machine can map: theta, gradients, optimiser state.

The memory is a file without a name: nothing is left behind when a process is killed, and a container's small /dev/shm
does not limit it.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import tempfile
import threading
import weakref
from typing import Any

import numpy as np

with contextlib.suppress(ImportError):  # Windows has none, and no use for it: see `possible`
    import fcntl
    import resource

SPARE = 12  # open files that are left to the rest of the process, at least
TOGETHER = 1 << 23  # bytes of a file that small vectors have in common: each file is two of the process's open ones
SMALL = 1 << 19  # bytes up to which a vector is small

_places: dict[int, tuple[weakref.ref[np.ndarray], int, int]] = {}
_mappings: weakref.WeakValueDictionary[tuple[int, int], mmap.mmap] = weakref.WeakValueDictionary()


def possible() -> bool:
    """Whether this system can hand open files to another process."""
    return os.name == "posix"


def zeros(size: int, dtype: Any) -> np.ndarray:
    """A vector (size,) of zeros, in memory that `place` knows. It is freed with the vector and its views, where Linux
    gives back parts of a file; elsewhere that of small ones with those that are in the same file.

    Raises OSError where there is no such memory, or no file can be opened any more.
    """
    dtype = np.dtype(dtype)
    mapping, file, start = _room(size * dtype.itemsize)
    vector = np.frombuffer(mapping, dtype, size, start)
    _places[id(vector)] = weakref.ref(vector), file, start
    pages = _pages(size * dtype.itemsize)
    weakref.finalize(vector, _forget, id(vector), mapping, start, pages, os.getpid()).atexit = False
    return vector


def _forget(vector: int, mapping: mmap.mmap, start: int, pages: int, owner: int) -> None:
    """Give the memory of a vector back, but not that of a process from which this one was forked."""
    del _places[vector]
    if pages <= _pages(SMALL) and os.getpid() == owner:
        with contextlib.suppress(AttributeError, OSError):  # only Linux can
            mapping.madvise(mmap.MADV_REMOVE, start, pages)


def _pages(size: int) -> int:
    """The bytes of whole pages that hold so many."""
    return -(-max(1, size) // mmap.PAGESIZE) * mmap.PAGESIZE


def attach(file: int, size: int, dtype: Any, start: int = 0) -> np.ndarray:
    """The vector (size,) from byte `start` of an open file; the file may be closed afterwards."""
    return np.frombuffer(_mapping(file), dtype, size, start)


def place(array: np.ndarray) -> tuple[int, int] | None:
    """The open file behind an array that `zeros` returned, and its first byte there; None for every other array, views
    of one too.
    """
    found, *where = _places.get(id(array), (None, 0, 0))
    return (where[0], where[1]) if found is not None and found() is array else None


class _Common:
    """The file that gets the next small vectors, how much of it is given away, and whose turn it is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.mapping: mmap.mmap | None = None
        self.file, self.used = 0, 0


_common = _Common()


def _begin() -> None:
    global _common
    _common = _Common()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin)  # the rest of the file is given away by the parent


def _room(size: int) -> tuple[mmap.mmap, int, int]:
    """Memory of so many bytes, which were never used: a mapped file, which is closed with the mapping, and where."""
    if size > SMALL:
        return *_mapped(size), 0
    with _common.lock:
        if _common.mapping is None or _common.used + size > TOGETHER:
            (_common.mapping, _common.file), _common.used = _mapped(TOGETHER), 0
        start = _common.used
        _common.used += _pages(size)
        return _common.mapping, _common.file, start


def _mapped(size: int) -> tuple[mmap.mmap, int]:
    file = _open(size)
    try:
        mapping = _mapping(file)
    except BaseException:
        os.close(file)
        raise
    weakref.finalize(mapping, os.close, file).atexit = False  # what is called behind it may still take room
    return mapping, file


def _mapping(file: int) -> mmap.mmap:
    """The memory of an open file, the same one for all that are in it."""
    status = os.fstat(file)
    key = status.st_dev, status.st_ino
    found = _mappings.get(key)
    if found is None:
        found = _mappings[key] = mmap.mmap(file, status.st_size)
    return found


def _open(size: int) -> int:
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("gpucnn", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as named:
            file = os.dup(named.fileno())
    file = not_standard(file)
    if file >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE > 0:  # no limit is -1
        os.close(file)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    os.ftruncate(file, size)
    return file


def not_standard(file: int) -> int:
    """The open file under another number where it is one of the standard streams', which a new process takes for them.

    That happens where these are closed.
    """
    if file > 2:
        return file
    high = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(file)
    return high
