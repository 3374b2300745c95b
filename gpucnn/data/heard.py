"""What Pillow warns of while it reads a picture, kept with that picture: its own warnings name no file."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SAID = "Pillow warns of it: "

_of_thread = threading.local()
_entering = threading.Lock()
_listeners = 0
_usual = warnings.warn


@contextmanager
def heard(said: list[str]) -> Iterator[None]:
    """Meanwhile what Pillow warns of in this thread goes into said, each text once, and nowhere else.

    Python's filters stay as they are: a change would let it show again what it showed before, and they would hide what
    is the same of two files.
    """
    outer, _of_thread.said = getattr(_of_thread, "said", None), said
    _listen(1)
    try:
        yield
    finally:
        _listen(-1)
        _of_thread.said = outer


def _listen(more: int) -> None:
    """Take the place of `warnings.warn` as long as any thread listens."""
    global _listeners, _usual
    with _entering:
        if not _listeners:
            _usual = warnings.warn
        _listeners += more
        warnings.warn = _warn if _listeners else _usual


def _warn(message: Any, category: Any = None, stacklevel: int = 1, *more: Any, **named: Any) -> None:
    said = getattr(_of_thread, "said", None)
    is_pillows = sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] == "PIL"
    if said is None or not is_pillows:
        _usual(message, category, stacklevel + 1, *more, **named)
        return
    text = SAID + " ".join(str(message).split()).rstrip(".")
    if text not in said:
        said.append(text)
