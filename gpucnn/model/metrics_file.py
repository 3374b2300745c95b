"""metrics.jsonl: a line per epoch of a run, as it happens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

from ..errors import warn
from ..training import Epoch, History
from ..training.writing import write_text


class Recorder:
    """Writes a line of metrics.jsonl per epoch, at once, so that a run that is cut short keeps its past.

    The file appears with the first batch; lines of the epoch that runs, and of later ones, are of a run that was cut
    off and go. Where it cannot be written, that is said once, and the run goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._begun = path, False

    def batch(self, epoch: int, done: int, examples: int, loss: float | None) -> None:
        self._begin(epoch)

    def _begin(self, epoch: int) -> None:
        if not self._begun:
            self._begun = True
            self._write(_lines_before(self.path, epoch))

    def epoch(self, epoch: Epoch) -> None:
        self._begin(epoch.epoch)
        with self._unwritten(), self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(_line(epoch))

    def finish(self, history: History) -> None:
        """All the run's epochs, of its parts before it was resumed too, and which one's parameters were kept."""
        self._write("".join(_line(epoch, epoch.epoch == history.kept) for epoch in history.epochs))

    def _write(self, text: str) -> None:
        with self._unwritten():
            write_text(self.path, text)

    def _unwritten(self) -> contextlib.AbstractContextManager[None]:
        return without(f"{self.path}: the metrics cannot be written")


def _line(epoch: Epoch, kept: bool = False) -> str:
    """metrics where there are any, and kept where it is true."""
    told = dataclasses.asdict(epoch)
    metrics = {name: value if math.isfinite(value) else None for name, value in told.pop("metrics").items()}
    return json.dumps(told | ({"metrics": metrics} if metrics else {}) | ({"kept": True} if kept else {})) + "\n"


def _lines_before(path: Path, epoch: int) -> str:
    """The lines of the epochs before that one: each epoch has one line, from the first epoch on."""
    try:
        return "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[: epoch - 1])
    except (OSError, UnicodeDecodeError):
        return ""


@contextlib.contextmanager
def without(what: str) -> Iterator[None]:
    """Around what a run can do without: an error of the file system is a warning."""
    try:
        yield
    except OSError as error:
        warn(f"{what}: {error.strerror or error}; the run goes on without")
