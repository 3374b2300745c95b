"""Telling a user who waits that kernels are being compiled, which happens once per machine: CuPy keeps them on disk."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

LOADED = 0.5  # seconds; kernels that were compiled before are loaded sooner

# What tells the user, once; a command sets it, for a library prints nothing.
tell: Callable[[], None] | None = None


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Around what may compile: the user is told when it takes longer than to load what has been compiled before."""
    if tell is None:
        yield
        return
    timer = threading.Timer(LOADED, _tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell() -> None:
    global tell
    told, tell = tell, None
    if told is not None:
        told()
