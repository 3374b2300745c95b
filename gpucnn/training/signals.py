"""Ctrl-C and other signals that end a run, while a network is trained: no update is cut in two."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import ENDING, Interrupted, interrupt

SAID = "the run ends after this step, and what was learnt is kept; once more does not wait for the step"

_holding: Callable[[], None] | None = None  # what the main thread's outermost `held` gave


@contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Holds the first Ctrl-C, or other signal of ENDING, back until the function that this gives is called: that raises
    Interrupted.

    A second one is raised at once. Inside another `held` the function is that one's. It concerns signals that would
    raise KeyboardInterrupt: Python's own Ctrl-C, and those with `errors.interrupt`, as in the command, which are
    answered by a sentence on standard error. Where a signal has another handler, and outside the main thread, nothing
    changes.
    """
    global _holding
    if _holding is not None and threading.current_thread() is threading.main_thread():
        yield _holding
        return
    asked = 0

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise Interrupted(number)
        asked = number
        if before[signal.Signals(number)] is interrupt:
            with suppress(OSError):  # written past Python's buffers, which may be in use right now
                os.write(2, f"\ngpucnn: {SAID}\n".encode())

    def stop() -> None:
        if asked:
            raise Interrupted(asked)

    in_main = threading.current_thread() is threading.main_thread()
    found = {number: signal.getsignal(number) for number in ENDING if in_main}
    before = {number: each for number, each in found.items() if each in (signal.default_int_handler, interrupt)}
    try:
        _holding = stop if in_main else _holding
        for number in before:
            signal.signal(number, ask)
        yield stop
    finally:
        _holding = None if in_main else _holding
        for number, handler in before.items():
            signal.signal(number, handler)


def unbroken(work: Callable[[], Any]) -> None:
    """Do what may be done twice, from its beginning where Ctrl-C cuts it; that is raised when it is done."""
    late: KeyboardInterrupt | None = None
    while True:
        try:
            work()
            break
        except KeyboardInterrupt as error:
            late = error
    if late is not None:
        raise late
