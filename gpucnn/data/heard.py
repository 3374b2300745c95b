"""What Pillow warns of while it reads a picture, kept with that picture: its own warnings name no file."""

from __future__ import annotations

import re
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
_original = _usual = warnings.warn


@contextmanager
def heard(said: list[str]) -> Iterator[None]:
    """Meanwhile what Pillow warns of in this thread goes into said, each text once, and nowhere else; but what Python's
    filters make an error is one, and what they ignore is not said.

    The filters stay as they are: a change would let it show again what it showed before, and they would hide what is
    the same of two files.
    """
    outer, _of_thread.said = getattr(_of_thread, "said", None), said
    _listen(1)
    try:
        yield
    finally:
        _listen(-1)
        _of_thread.said = outer


def _listen(more: int) -> None:
    """Take the place of `warnings.warn` as long as any thread listens; another that was put there meanwhile stays."""
    global _listeners, _usual
    with _entering:
        if not _listeners and warnings.warn is not _warn:
            _usual = warnings.warn
            warnings.warn = _warn
        _listeners += more
        if not _listeners and warnings.warn is _warn:
            warnings.warn, _usual = _usual, _original


def _warn(message: Any, category: Any = None, stacklevel: int = 1, *more: Any, **named: Any) -> None:
    said, caller = getattr(_of_thread, "said", None), sys._getframe(1)
    kind = type(message) if isinstance(message, Warning) else category or UserWarning
    module = caller.f_globals.get("__name__", "")
    is_pillows = module.partition(".")[0] == "PIL"
    if said is None or not is_pillows or action(str(message), kind, module, caller.f_lineno) in ("error", "ignore"):
        _pass_on(message, category, stacklevel + 2, *more, **named)
        return
    text = SAID + " ".join(str(message).split()).rstrip(".")
    if text not in said:
        said.append(text)


def _pass_on(*warning: Any, **named: Any) -> None:
    """To what was in this place; where that itself comes here, being of a time when it was `_warn`, to Python's own."""
    if getattr(_of_thread, "passes", False):
        _original(*warning, **named)
        return
    _of_thread.passes = True
    try:
        _usual(*warning, **named)
    finally:
        _of_thread.passes = False


def action(text: str, kind: type[Warning], module: str, line: int = 0) -> str:
    """What Python's filters make of a warning, as its documentation says how they are gone through."""
    for made, message, of, where, number in warnings.filters:
        fits = (message is None or re.match(message, text)) and (where is None or re.match(where, module))
        if fits and issubclass(kind, of) and number in (0, line):
            return made
    return "default"
