"""Accelerate, the BLAS that NumPy takes on macOS: threadpoolctl does not know it, and each thread has its own setting.

Since macOS 15 a thread can ask for products on one thread; before, VECLIB_MAXIMUM_THREADS says it as a program starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

LIBRARY = "/System/Library/Frameworks/Accelerate.framework/Accelerate"
SINGLE = 1  # BLAS_THREADING_SINGLE_THREADED
VARIABLE = "VECLIB_MAXIMUM_THREADS"


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, the products of this thread take one thread, where that can be asked for."""
    library = _library()
    if library is None:
        yield
        return
    before = library.BLASGetThreading()
    library.BLASSetThreading(SINGLE)
    try:
        yield
    finally:
        library.BLASSetThreading(before)


def stay_on_one_thread() -> None:
    """Hold Accelerate to one thread in this thread, one of gpucnn's own, from here on."""
    if (library := _library()) is not None:
        library.BLASSetThreading(SINGLE)


def facts() -> list[dict[str, Any]]:
    """What threadpoolctl would say of Accelerate, as it does of other BLAS, where NumPy uses it; else empty.

    num_threads: None where they cannot be held to one.
    """
    if sys.platform != "darwin" or _of_numpy() != "accelerate":
        return []
    is_single = _library() is not None or os.environ.get(VARIABLE) == "1"
    version = f"of macOS {platform.mac_ver()[0]}"
    about = {"user_api": "blas", "internal_api": "accelerate", "version": version, "architecture": platform.machine()}
    return [about | {"num_threads": 1 if is_single else None}]


def _of_numpy() -> str:
    """The BLAS with which NumPy was built."""
    built: Any = np.show_config(mode="dicts")
    return str(built["Build Dependencies"]["blas"]["name"]).lower()


@functools.cache
def _library() -> Any:
    """The library, where it is there and takes the setting; else None."""
    if sys.platform != "darwin":
        return None
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(LIBRARY)
        library.BLASSetThreading, library.BLASGetThreading  # noqa: B018  # an AttributeError before macOS 15
        return library
    return None
