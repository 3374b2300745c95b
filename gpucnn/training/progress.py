"""How a run shows itself: a progress bar on a terminal, else a line per epoch; in a notebook on standard output.

Of more than 50 epochs that take less than a second, a line is printed about once a second, and for the first and last.
What happens is told to the logger "gpucnn", too: epochs as information, steps where somebody wants to debug.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from . import Epoch

ALL_LINES = 50  # epochs that have a line each, however short they are
BETWEEN_LINES = 1.0  # seconds, of more epochs

logger = logging.getLogger("gpucnn")
logger.addHandler(logging.NullHandler())  # who wants to read the log adds another


def line(epoch: Epoch, epochs: int) -> str:
    """Such as "epoch 2/5  loss 0.1034  validation loss 0.0711  accuracy 97.90 %  3.2 s"."""
    parts = [f"epoch {epoch.epoch}/{epochs}", f"loss {epoch.train_loss:.4f}"]
    if epoch.validation_loss is not None:
        parts.append(f"validation loss {epoch.validation_loss:.4f}")
    if epoch.validation_accuracy is not None:
        parts.append(f"accuracy {100 * epoch.validation_accuracy:.2f} %")
    return "  ".join([*parts, f"{epoch.seconds:.1f} s"])


class Logged:
    """A record per epoch, and one per step at the level DEBUG."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def batch(self, epoch: int, done: int, examples: int, loss: float | None) -> None:
        logger.debug("epoch %d/%d, %d of %d images, loss %s", epoch, self.epochs, done, examples, loss)

    def epoch(self, epoch: Epoch) -> None:
        logger.info("%s", line(epoch, self.epochs))


class Lines:
    """A line per epoch, or of many short ones a line per second; `last` prints the last one if it has none yet."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.printed = -BETWEEN_LINES  # when
        self.left_out: Epoch | None = None

    def epoch(self, epoch: Epoch) -> None:
        now = time.monotonic()
        if self.epochs > ALL_LINES and now - self.printed < BETWEEN_LINES:
            self.left_out = epoch
        else:
            self.printed, self.left_out = now, None
            self.show(line(epoch, self.epochs))

    def last(self) -> None:
        if self.left_out is not None:
            self.show(line(self.left_out, self.epochs))

    def show(self, text: str) -> None:
        print(text, file=sys.stdout if in_notebook() else sys.stderr, flush=True)


class Bars(Lines):
    """A bar for the whole run, or for its epochs after those of earlier calls, and above it a line for each epoch that
    is done.
    """

    def __init__(self, epochs: int, before: int = 0) -> None:
        super().__init__(epochs)
        self.before = before
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self.progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self.task: Any = self.progress.add_task("", loss="", total=None)

    def batch(self, epoch: int, done: int, examples: int, loss: float | None) -> None:
        text = f"epoch {epoch}/{self.epochs}"
        so_far, in_all = (epoch - 1 - self.before) * examples + done, (self.epochs - self.before) * examples or None
        self.progress.update(self.task, description=text, completed=so_far, total=in_all)
        if loss is not None:
            self.progress.update(self.task, loss=f"loss {loss:.4f}")

    def show(self, text: str) -> None:
        self.progress.console.print(text, highlight=False)


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel, where standard error is no terminal and looks like an error."""
    return hasattr(getattr(sys.modules.get("IPython"), "get_ipython", object)(), "kernel")


@contextmanager
def shown(asked: bool | None, epochs: int, before: int) -> Iterator[list[Any]]:
    """What tells the logger, and a reporter where one is asked for; for None on a terminal and in a notebook."""
    usual = in_notebook() or getattr(sys.stderr, "isatty", bool)()
    with reporter(epochs, before) if asked or (asked is None and usual) else nullcontext() as one:
        yield [Logged(epochs), *([one] if one else [])]


@contextmanager
def reporter(epochs: int, before: int = 0) -> Iterator[Lines]:
    """A bar where standard error is a terminal, else a line per epoch. before: epochs of earlier calls."""
    lines = Bars(epochs, before) if getattr(sys.stderr, "isatty", bool)() else Lines(epochs)
    with getattr(lines, "progress", nullcontext()):
        try:
            yield lines
        finally:
            lines.last()
