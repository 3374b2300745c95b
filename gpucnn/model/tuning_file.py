"""tuning.json: by which way each convolution of a run on a CUDA device is computed, and how long the others took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..engine import tuning
from ..errors import GpucnnError
from .folder import TUNING
from .metrics_file import without
from .model import Model


class Writing:
    """A callback that writes the file, and says what it holds, when the first batch is done.

    made: what the run was made with, as `device.environment` has it; the driver is added.
    """

    def __init__(self, folder: Path, model: Model, made: Mapping[str, Any], say: Callable[[str], Any]) -> None:
        self._path, self._model, self._made, self._say, self._done = folder / TUNING, model, dict(made), say, False

    def batch(self, *_: Any) -> None:
        if self._done:
            return
        self._done, execution = True, self._model.execution
        choices = tuning.choices_of(execution)
        measured, made = execution.tuned, self._made | execution.tuned_on | {"driver": self._model.device.driver}
        earlier: list[dict[str, Any]] = []
        if not choices or (self._path.exists() and not measured):  # a run that goes on has it, with its times
            return
        with without(f"{self._path}: the choices cannot be written"):
            if self._path.exists():
                with suppress(GpucnnError):
                    earlier = tuning.read(self._path).rows
            tuning.write(self._path, choices, measured, made, earlier=earlier)
        for line in told(measured):
            self._say(line)


def told(measured: list[tuning.Choice]) -> list[str]:
    """A line for each convolution that was measured."""
    return [
        f"{each.convolution}, batch {each.batch}: {each.chosen}; microseconds forward and backward: "
        + ", ".join(f"{name} {time:.1f}" for name, time in each.microseconds.items())
        for each in measured
    ]
