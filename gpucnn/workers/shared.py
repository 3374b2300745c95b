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
import weakref
from typing import Any

import numpy as np

with contextlib.suppress(ImportError):  # Windows has none, and no use for it: see `possible`
    import fcntl
    import resource

SPARE = 12  # open files that are left to the rest of the process, at least

_files: dict[int, tuple[weakref.ref[np.ndarray], int]] = {}


def possible() -> bool:
    """Whether this system can hand open files to another process."""
    return os.name == "posix"


def zeros(size: int, dtype: Any) -> np.ndarray:
    """A vector (size,) of zeros, in memory that `descriptor` knows. It is freed with the vector and its views.

    Raises OSError where there is no such memory, or no file can be opened any more.
    """
    dtype = np.dtype(dtype)
    file = _open(size * dtype.itemsize)
    try:
        vector = attach(file, size, dtype)
    except BaseException:
        os.close(file)
        raise
    _files[id(vector)] = weakref.ref(vector), file
    weakref.finalize(vector, _close, id(vector), file)
    return vector


def attach(file: int, size: int, dtype: Any) -> np.ndarray:
    """The vector (size,) in an open file; the file may be closed afterwards."""
    dtype = np.dtype(dtype)
    return np.frombuffer(mmap.mmap(file, max(1, size * dtype.itemsize)), dtype, size)


def descriptor(array: np.ndarray) -> int | None:
    """The open file behind an array that `zeros` returned; None for every other array, views of one too."""
    found, file = _files.get(id(array), (None, 0))
    return file if found is not None and found() is array else None


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
    os.ftruncate(file, max(1, size))
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


def _close(key: int, file: int) -> None:
    del _files[key]
    os.close(file)
