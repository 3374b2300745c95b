"""Callbacks of `Model.fit`: objects that are told of a run, measure, keep, and may end it.

`Callback` says which methods there are; all may be left out. `Stop`, raised in `batch` or `epoch`, ends the run.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DataError, SettingError, counted, nearest, suggested, warn
from .metrics import larger_is_better
from .names import Explained, explain
from .namespace import array_namespace, as_python
from .training.history import Epoch, History, row
from .training.types import Callback, Stop
from .training.writing import put, write_whole

__all__ = ["CSVLog", "Callback", "EarlyStopping", "KeepBest", "Metric", "Stop", "TensorBoard"]

explain(__name__)

Array = Any
SHORT = {"loss": "validation_loss", "accuracy": "validation_accuracy"}


@dataclass(eq=False, kw_only=True)
class KeepBest(Explained):
    """At the end of the run, one that ends with an error too, the model gets the parameters, and the layers' running
    state, of its best epoch. Of several calls of `partial_fit`, each has a best epoch of its own.

    watch: what is compared, the name of a number of `Epoch` or of its metrics; "loss" and "accuracy" are those of the
    validation. The first of equal epochs is the best. larger: whether larger is better; None: as the name says, such as
    "mae" or "top 5 accuracy"; `fit` raises SettingError where it does not. best: the best epoch so far, or None; value:
    what was watched there.
    """

    watch: str = "validation_loss"
    larger: bool | None = None

    def begin(self, model: Any, epochs: int) -> None:
        self._model = model
        self.best: int | None = None
        self.value: float | None = None
        self._vectors: tuple[Array, Array] | None = None
        self._runs = True

    def epoch(self, epoch: Epoch) -> None:
        value = self._watched(epoch)
        if self._is_better(value, self.value):
            vectors = self._model.theta, self._model.execution.state
            self._vectors = _copy(vectors[0]), _copy(vectors[1])
            self.best, self.value = epoch.epoch, value

    def end(self, history: History) -> None:
        has_begun, self._runs = getattr(self, "_runs", False), False
        if has_begun and self._vectors is not None and self._is_over(history):
            self._model.theta[...], self._model.execution.state[...] = self._vectors
            history.kept = self.best

    def state(self) -> dict[str, Any]:
        arrays = {} if self._vectors is None else {"theta": self._vectors[0], "layers": self._vectors[1]}
        return {"best": self.best, "value": self.value, **arrays}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best, self.value = state["best"], state["value"]
        if "theta" in state:
            put = self._model.device.put
            self._vectors = put(state["theta"]), put(state["layers"])

    def check(self, *, held_out: bool, has_accuracy: bool) -> None:
        """Raises SettingError for what no epoch will tell.

        held_out: whether there is a validation part; has_accuracy: whether accuracy is measured of the loss's kind.
        """
        if not isinstance(self.watch, str):
            raise SettingError(f"{type(self).__name__}: watch={self.watch!r}: the name of a number was expected")
        if SHORT.get(self.watch, self.watch) in SHORT.values() and not held_out:
            raise SettingError(
                f"{type(self).__name__} watches the validation's {self.watch.removeprefix('validation_')}, and nothing "
                "is held out; give fit validation=(images, labels)"
            )
        if SHORT.get(self.watch, self.watch) == "validation_accuracy" and not has_accuracy:
            raise SettingError(
                f"{type(self).__name__} watches {self.watch!r}, which a loss of numbers has none of; watch the loss"
            )
        if self.larger is None and larger_is_better(self.watch) is None:
            near = nearest(self.watch, (*SHORT, *SHORT.values()), 0.75)
            raise SettingError(
                f"{type(self).__name__} watches {self.watch!r}, whose name does not say whether larger is better; "
                f"{f'did you mean {near}? Or ' if near else ''}say it: larger=True, or larger=False"
            )

    def _is_over(self, history: History) -> bool:
        """Whether the model gets the best epoch at the end."""
        return True

    def _watched(self, epoch: Epoch) -> float:
        numbers = {**vars(epoch), **epoch.metrics}
        value = numbers.get(SHORT.get(self.watch, self.watch))
        if not isinstance(value, (int, float)):
            told = [name for name, number in numbers.items() if isinstance(number, float)]
            known = [*(short for short, name in SHORT.items() if name in told), *told]
            raise SettingError(
                f"{type(self).__name__} watches {self.watch!r}, which the epochs do not tell; "
                f"{suggested(self.watch, known)}they tell {', '.join(known)}"
            )
        return value

    def _is_better(self, value: float, before: float | None, least: float = 0.0) -> bool:
        """By more than least. NaN is never better."""
        larger = larger_is_better(self.watch) if self.larger is None else self.larger
        gain = 0.0 if before is None else (value - before if larger else before - value)
        return value == value if before is None else gain > least


@dataclass(eq=False)
class EarlyStopping(KeepBest):
    """Ends the run when `patience` epochs in a row have brought nothing better; `KeepBest` says what better means.

    Prechelt, 1998. `fit` begins to count anew; calls of `partial_fit` that are given the same object go on counting.
    min_delta: what a gain must be above to count. keep: "best" gives the model the best epoch's parameters at the end,
    of `partial_fit` where the run was stopped and not left to go on, whatever min_delta is; "last" leaves it those of
    the last.
    """

    patience: int = 5
    min_delta: float = 0.0
    keep: str = "best"

    def __post_init__(self) -> None:
        as_python(self)
        if isinstance(self.patience, bool) or not hasattr(self.patience, "__index__") or self.patience < 1:
            raise SettingError(f"EarlyStopping: patience={self.patience!r}: a whole number of at least 1 was expected")
        if not isinstance(self.min_delta, (int, float)) or not self.min_delta >= 0:
            raise SettingError(f"EarlyStopping: min_delta={self.min_delta!r}: a number of at least 0 was expected")
        if self.keep not in ("best", "last"):
            raise SettingError(f"EarlyStopping: keep={self.keep!r}: best or last was expected")

    def begin(self, model: Any, epochs: int) -> None:
        super().begin(model, epochs)
        self._waited = 0
        self._to_beat: float | None = None

    def epoch(self, epoch: Epoch) -> None:
        super().epoch(epoch)
        value = self._watched(epoch)
        if self._is_better(value, self._to_beat, self.min_delta):
            self._waited, self._to_beat = 0, value
            return
        self._waited += 1
        if self._waited >= self.patience and self.best is None:
            raise Stop(f"{self.watch} was NaN in all of {counted(self._waited, 'epoch')}, so that none was the best")
        if self._waited >= self.patience:
            raise Stop(
                f"{self.watch} has not improved in {counted(self._waited, 'epoch')}; the best was epoch {self.best}"
            )

    def _is_over(self, history: History) -> bool:
        return self.keep == "best" and bool(history.stopped or not history.goes_on)

    def state(self) -> dict[str, Any]:
        return super().state() | {"waited": self._waited, "to_beat": self._to_beat}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._waited, self._to_beat = state["waited"], state["to_beat"]


class Metric(Explained):
    """Measures a number of one's own after every epoch: function(outputs, labels), of the network's outputs (N, K), as
    NumPy arrays. It is in the metrics of each `Epoch`, by that name, and can be watched.

    images, labels: what `fit` takes as validation. Labels of classes, in whatever form, are handed over as the model
    learns them, (N,) from 0 on, as the columns of the outputs count; what the model's loss does not take, as it is.
    """

    def __init__(self, name: str, function: Callable[[Any, Any], float], images: Any, labels: Any) -> None:
        self.name, self.function, self.images, self.labels = name, function, images, labels

    def begin(self, model: Any, epochs: int) -> None:
        self._model, self._labels = model, None

    def measure(self) -> dict[str, float]:
        outputs = self._model.logits(self.images)
        if self._labels is None:  # once: the model knows what labels mean when it trains
            self._labels = self._learnt(len(outputs))
        return {self.name: self.function(outputs, self._labels)}

    def _learnt(self, images: int) -> Array:
        labels = self.labels
        if hasattr(labels, "__len__") and len(labels) != images:
            raise SettingError(f"Metric {self.name!r}: {counted(images, 'image')} and {len(labels)} labels were given")
        try:
            meaning = self._model.meaning
            as_given = meaning._replace(units=None, is_wide=meaning.units is not None)  # as the outputs are
            return self._model.examples(self.images, labels, meaning=as_given)[1]
        except DataError:
            return labels


class CSVLog(Explained):
    """Writes a line per epoch to a CSV file, at once: the names of its numbers, then those. A resumed run goes on, and
    so does a run of several calls of `partial_fit` that are given the same object.

    A file that another run left there is not written over: with append the lines go behind its own, else it gets
    another name, such as epochs-1.csv for epochs.csv, which is warned of. Raises SettingError, before the first batch,
    where there is no such folder, or nothing that lines can be appended to.
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool = False) -> None:
        self.path, self.append = path, append

    def begin(self, model: Any, epochs: int) -> None:
        folder = os.path.dirname(os.fspath(self.path)) or os.curdir
        if os.path.isdir(self.path) or not os.path.isdir(folder):
            what = "is a folder; give a file in it" if os.path.isdir(self.path) else "its folder is not there; make it"
            raise SettingError(f"CSVLog: {os.fspath(self.path)}: {what}")
        self._rows: list[dict[str, Any]] = []
        self._before = _rows_of(self.path) if self.append and os.path.exists(self.path) else []
        self._is_ours = self.append  # what lies there

    def epoch(self, epoch: Epoch) -> None:
        if not self._is_ours and os.path.isfile(self.path):
            name = _put_aside(os.fspath(self.path))
            warn(
                f"CSVLog: {os.fspath(self.path)} was there, and is {name} now; append=True writes behind what is there"
            )
        self._is_ours = True
        self._rows = [*self._rows, row(epoch)]
        rows, text = [*self._before, *self._rows], io.StringIO(newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(name for each in rows for name in each)))
        writer.writeheader()
        writer.writerows(rows)
        write_whole(Path(os.path.realpath(self.path)), text.getvalue().encode("utf-8"))

    def state(self) -> dict[str, Any]:
        return {"rows": self._rows, "before": self._before}

    def load_state(self, state: dict[str, Any]) -> None:
        self._rows, self._before, self._is_ours = state["rows"], state.get("before", []), True


class TensorBoard(Explained):
    """Writes the numbers of each epoch to a folder for TensorBoard, which must be installed: `pip install tensorboard`.

    Raises SettingError, before the first batch, where it is not.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = folder

    def begin(self, model: Any, epochs: int) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError:
            raise SettingError("TensorBoard: it is not installed; `pip install tensorboard`, or use CSVLog") from None
        self._writer = Writer(os.fspath(self.folder))

    def epoch(self, epoch: Epoch) -> None:
        for name, value in row(epoch).items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, epoch.epoch)
        self._writer.flush()

    def end(self, history: History) -> None:
        self._writer.close()


def _copy(vector: Array) -> Array:
    return array_namespace(vector).asarray(vector, copy=True)


def _rows_of(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a CSV file of epochs, as texts by the names in its first one. Raises SettingError for another."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows, names = list(reader), reader.fieldnames
    except (OSError, ValueError, csv.Error):
        rows, names = [], ["?"]
    if names and ("epoch" not in names or any(None in each for each in rows)):
        raise SettingError(f"CSVLog: {os.fspath(path)}: it is no CSV file of epochs to append to; give another name")
    return rows


def _put_aside(path: str) -> str:
    """Give the file there the next name that is free, and return that."""
    stem, ending = os.path.splitext(path)
    name = next(each for k in itertools.count(1) if not os.path.lexists(each := f"{stem}-{k}{ending}"))
    put(Path(path), name)
    return name
