"""What the epochs of a run showed: numbers, a table, a picture."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from ..errors import SettingError, suggested
from ..names import OF_HISTORIES, lacking
from ..network.notebook import paragraphs, table

NONE = "no epoch has ended"


@dataclass(frozen=True)
class Epoch:
    """What one epoch showed. epoch counts from 1; losses are means per example.

    train_loss was measured batch by batch, while training moved theta, the vector of all parameters; validation_loss
    and validation_accuracy after the epoch. train_loss is divided by all examples of the epoch, as gradients are, and
    validation_loss by those that count: a loss with ignore_index divides them by different numbers. lr: the learning
    rate of the last step. seconds: without the validation. metrics: numbers that callbacks measured, by name.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict, hash=False)


@dataclass(repr=False)
class History:
    """The epochs of one run.

    interrupted: Ctrl-C or SIGTERM ended it, the last epoch is not in the list. signal: the number of the one that did,
    also of one that came when all was trained, or 0. stopped: why a callback ended the run, or "". kept: the epoch
    whose parameters the model has, where that was asked for, or None: then it has the last ones.
    goes_on: whether it is of `partial_fit`, after which further calls may go on.
    saves, saving: how often the state of the run was saved, and the seconds that this took. print and a notebook show
    it as a table. It is a sequence of rows, a dict for each epoch: len(history), history[-1], and
    history["train_loss"] for a list of one number.
    """

    epochs: list[Epoch] = field(default_factory=list)
    examples: int = 0
    interrupted: bool = False
    saves: int = 0
    saving: float = 0.0
    signal: int = 0
    stopped: str = ""
    kept: int | None = None
    goes_on: bool = False

    @property
    def seconds(self) -> float:
        return sum(epoch.seconds for epoch in self.epochs)

    @property
    def images_per_second(self) -> float:
        return len(self.epochs) * self.examples / self.seconds if self.seconds else 0.0

    def rows(self) -> list[dict[str, Any]]:
        """A dict for each epoch: what `Epoch` tells, with its metrics by their own names."""
        return [row(epoch) for epoch in self.epochs]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows, so that list(history) and pandas.DataFrame(history) have them."""
        return iter(self.rows())

    def __len__(self) -> int:
        """How many epochs have ended."""
        return len(self.epochs)

    @overload
    def __getitem__(self, which: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, which: slice) -> list[dict[str, Any]]: ...

    @overload
    def __getitem__(self, which: str) -> list[Any]: ...

    def __getitem__(self, which: Any) -> Any:
        """history[-1] is the last row, history[:3] the first rows, and history["train_loss"] that number of each epoch.

        Raises IndexError, and KeyError for a number that no epoch has.
        """
        rows = self.rows()
        if not isinstance(which, str):
            return rows[which]
        if not any(which in row for row in rows):
            known = list(dict.fromkeys(name for row in rows for name in row))
            raise KeyError(f"{which!r}: {suggested(which, known)}the epochs tell {', '.join(known)}")
        return [row.get(which) for row in rows]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """What other libraries' histories have is refused with what to write."""
            raise lacking(self, name, OF_HISTORIES)

    def __repr__(self) -> str:
        """The table of `_repr_html_`, as text."""
        names, cells = self._table()
        widths = [max(len(each[k]) for each in (names, *cells)) for k in range(len(names))]
        lines = ["  ".join(map(str.rjust, each, widths)) for each in (names, *cells)] if cells else [NONE]
        return "\n".join([*lines, *self._told()])

    def _repr_html_(self) -> str:
        """A table of the epochs, for notebooks: what was measured, and nothing of what was not."""
        names, cells = self._table()
        return (table(names, cells) if cells else paragraphs([NONE])) + paragraphs(self._told())

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """The names of the columns, and a row of texts for each epoch."""
        rows = self.rows()
        measured = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
        names = [name for name in dict.fromkeys(name for row in rows for name in row) if name in measured]
        return [name.replace("_", " ") for name in names], [
            [_shown(name, row.get(name)) for name in names] for row in rows
        ]

    def _told(self) -> list[str]:
        """How the run ended, where it did not by its last epoch."""
        ended = ["interrupted"] if self.interrupted else []
        kept = [] if self.kept is None else [f"the parameters are those of epoch {self.kept}"]
        return [*ended, *([self.stopped] if self.stopped else []), *kept]

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame, the epochs its index; what was not measured is NaN.

        Raises SettingError where pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise SettingError("to_frame() needs pandas; `pip install pandas`, or use rows()") from None
        names = [each.name for each in dataclasses.fields(Epoch) if each.name != "metrics"]
        rows = [{name: math.nan if value is None else value for name, value in row.items()} for row in self.rows()]
        return pandas.DataFrame(rows, columns=None if self.epochs else names).set_index("epoch")

    def plot(self, path: str | os.PathLike[str] | None = None, title: str = "") -> Any:
        """The learning curves as a figure of matplotlib, which a notebook shows; and as an image file at path.

        Raises SettingError where no epoch has ended, and for a path whose ending names no kind of picture.
        """
        if not self.epochs:
            raise SettingError("there is no epoch to plot; train for one first")
        from .curves import learning_curves

        try:
            return learning_curves(self.epochs, path, title)
        except ValueError as error:
            raise SettingError(f"{os.fspath(path or '')}: {error}") from None


def _shown(name: str, value: Any) -> str:
    """A number in a table."""
    if value is None:
        return ""
    if name.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    return f"{value:.2f} s" if name == "seconds" else f"{value:.4g}" if isinstance(value, float) else str(value)


def row(epoch: Epoch) -> dict[str, Any]:
    """The numbers of an epoch by name, its metrics among them."""
    told = dataclasses.asdict(epoch)
    metrics = told.pop("metrics")
    return told | metrics
