"""Telling a user who waits that kernels are being compiled, which happens once per machine: CuPy keeps them on disk."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

LOADED = (
    0.02  # seconds; a kernel that was compiled before is loaded sooner, but for the first, which loads the compiler
)
PATIENCE = 0.8  # seconds of compiling, of all kernels together, before the user is told

# What tells the user, once; a command sets it, for a library prints nothing.
tell: Callable[[], None] | None = None
_compiled = 0.0  # seconds so far


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Around what may compile a kernel: the user is told while it does, when all have taken longer than PATIENCE."""
    global _compiled
    if tell is None:
        yield
        return
    start = time.perf_counter()
    timer = threading.Timer(max(LOADED, PATIENCE - _compiled), _tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        took = time.perf_counter() - start
        _compiled += took if took > LOADED else 0.0


def _tell() -> None:
    global tell
    told, tell = tell, None
    if told is not None:
        told()
