"""`gpucnn ...` and `python -m gpucnn ...`: what must come before all imports that take time.

From here on Ctrl-C, SIGTERM and a terminal that is closed end the command with a sentence. Standard streams that are
closed are /dev/null instead, so that no file that is opened later gets their numbers; what cannot be written to
standard error is lost, and what the command does goes on; characters that a stream's encoding lacks are written as
their numbers.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import suppress

from .errors import ENDING, TYPE_CHECKING, Interrupted, interrupt, without_threads

if TYPE_CHECKING:
    from typing import Any


class Output:
    """Standard output, whose errors say so."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, what: Any, *arguments: Any) -> None:
        try:
            what(*arguments)
        except BrokenPipeError:  # nobody reads it any more: no error to tell
            raise
        except OSError as error:
            if os.name == "nt" and error.errno == errno.EINVAL:  # so Windows, too, says that nobody reads it any more
                raise BrokenPipeError from None
            raise OSError(error.errno, error.strerror, "standard output") from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Unfailing(Output):
    """Standard error, whose writes never fail: a run of hours must not end because nobody reads its progress."""

    def _try(self, what: Any, *arguments: Any) -> None:
        with suppress(OSError):
            what(*arguments)


def open_streams() -> None:
    for file, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(file)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # under the lowest free number, which is this one
            with suppress(OSError):  # a process of Windows without a console gets other numbers
                os.set_inheritable(file, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = Output(sys.stdout), Unfailing(sys.stderr)


def main() -> None:
    """Run the command on sys.argv, and exit with its status."""
    for number in ENDING:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):  # under nohup and & it is ignored
            signal.signal(number, interrupt)
    open_streams()
    try:
        from .command import main as run

        status = run()
    except (KeyboardInterrupt, ImportError, SystemError):  # the latter two where an extension was being imported
        if not Interrupted.latest:
            raise
        crowded = without_threads()
        print(f"gpucnn: {crowded or 'interrupted'}", file=sys.stderr)
        status = 1 if crowded else 128 + Interrupted.latest
    for number in ENDING:
        if signal.getsignal(number) is interrupt:
            signal.signal(number, signal.SIG_DFL)  # nothing is left to say
    sys.exit(status)


if __name__ == "__main__":
    main()
