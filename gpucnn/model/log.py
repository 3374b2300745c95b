"""log.txt: what happened in a run, as plain lines with their time."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import warn
from ..training import Epoch
from ..training.progress import logger

FORM = logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S")


class LogFile(logging.Handler):
    """Writes what gpucnn's logger tells to a file. A callback of training, too, for a line every so many steps.

    path: of the file, which is begun anew, or goes on with append=True, when the first batch is done: settings that are
    refused leave nothing. every: how many steps of batch_size lie between two lines; None for no such lines. A log that
    cannot be written is warned of once, and the run goes on without it.
    """

    def __init__(self, path: Path, batch_size: int, every: int | None = None, *, append: bool = False) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(FORM)
        self.path, self.batch_size, self.every = path, batch_size, every
        self.failed = False
        self._mode = "a" if append else "w"
        self._waiting: list[str] | None = []  # lines before the first batch; None: they are written

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))

    def batch(self, epoch: int, done: int, examples: int, loss: float | None) -> None:
        self.write_waiting()
        if self.every is None:
            return
        in_an_epoch, here = (math.ceil(count / self.batch_size) for count in (examples, done))
        step = (epoch - 1) * in_an_epoch + here
        if step % self.every == 0:
            shown = "" if loss is None else f"  loss {loss:.4f}"
            logger.info("step %d: epoch %d, %d of %d images%s", step, epoch, done, examples, shown)

    def epoch(self, epoch: Epoch) -> None:
        self.write_waiting()

    def write_waiting(self) -> None:
        """Write the lines that have waited."""
        if self._waiting is not None:
            lines, self._waiting = self._waiting, None
            self._write(*lines)

    def _write(self, *lines: str) -> None:
        if self.failed or not lines:
            return
        if self._waiting is not None:
            self._waiting += lines
            return
        mode, self._mode = self._mode, "a"
        try:
            with open(self.path, mode, encoding="utf-8", errors="backslashreplace", opener=_opened) as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            self.failed = True
            warn(f"{self.path}: the log cannot be written ({error.strerror or error}); the run goes on without it")


def _opened(path: str, flags: int) -> int:
    """An open file; OSError for a pipe that nobody reads, which would be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


@contextlib.contextmanager
def kept(file: LogFile, start: str) -> Iterator[None]:
    """Inside, what gpucnn's logger tells and what is warned of goes to the file as well; start: its first line.

    An error ends the log with its sentence.
    """
    level, show = logger.level, warnings.showwarning

    def shown(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not file.failed:  # else it may be the one that says so
            logger.warning("%s: %s", category.__name__, message)
        show(message, category, *where, **more)

    logger.addHandler(file)
    logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
    warnings.showwarning = shown
    try:
        logger.info("%s", start)
        yield
        file.write_waiting()
    except BaseException as error:
        logger.error("ended: %s", str(error) or type(error).__name__)
        raise
    finally:
        warnings.showwarning = show
        logger.setLevel(level)
        logger.removeHandler(file)
