"""What a run is made of: its plan, its step, where it stands, what an epoch showed, and who is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import SettingError
from ..schedules import Schedule
from .history import Epoch, History

Array = Any


@dataclass(frozen=True)
class Position:
    """Where a run stands, between two updates: `batches` of epoch `epoch`, counted from 1, are done.

    steps: updates in all. loss: the sum of the losses of the epoch's examples so far; seconds: what they took; lr: the
    last learning rate. order: the state of the random generator before it drew the epoch's order; None: as it is.
    examples, batch_size: what the batches were of.
    """

    epoch: int = 1
    batches: int = 0
    steps: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    lr: float = 0.0
    order: dict[str, Any] | None = None
    examples: int = 0
    batch_size: int = 0


class Stop(Exception):
    """Raised by a callback, in `batch` or in `epoch`: the run ends there, as it would after its last epoch.

    The sentence of the exception says why, and becomes `History.stopped`. All other callbacks are told first.
    """


class Callback:
    """Told of a run. Every method may be left out, whether a class derives from this one or not; a function alone is
    called with each Epoch.

    Callbacks are told one after the other, in the order in which they were given.
    """

    def begin(self, model: Any, epochs: int) -> None:
        """Training by that many epochs in all is about to begin, or to go on. What an earlier run left is dropped."""

    def batch(self, epoch: int, done: int, examples: int, loss: float | None) -> None:
        """done of the epoch's examples are trained; loss: the mean of the latest batch that was fetched.

        examples: 0 where nobody knows how many the epoch has.
        """

    def measure(self) -> dict[str, float]:
        """Numbers by name that belong to the epoch that ended: they are in its `metrics` when callbacks are told."""
        return {}

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended. The model is that of this moment, as it is evaluated."""

    def end(self, history: History) -> None:
        """The run is over: after its last epoch, by Stop, Ctrl-C or SIGTERM, but not by an error."""

    def state(self) -> dict[str, Any]:
        """What a run that is cut off needs of the callback to go on: JSON values, and arrays, by name.

        It is asked for between two updates. The arrays must not be written later: make new ones.
        """
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there; called after `begin`. Arrays are NumPy's, and tuples are lists; but where `partial_fit` is
        given the same object as the call before, it is what `state` gave."""


class Step(Protocol):
    """What trains: one of engine's steps. steps: how many updates are done; theta: the vector of all parameters."""

    steps: int

    @property
    def theta(self) -> Array: ...

    @property
    def vectors(self) -> dict[str, Array]:
        """All that updates change; what is written there, and into steps, is where the next update goes on."""

    def __call__(self, images: Array, targets: Array, batch: Array, lr: float, weights: Array | None = None) -> Array:
        """Update theta by the examples whose indices are in `batch`. -> their losses, on the device."""


class Keeper(Protocol):
    """Saves where a run stands."""

    def is_due(self, *, epoch_ended: bool) -> bool: ...

    def save(self, position: Position, history: History, states: list[dict[str, Any]]) -> None:
        """states: those of the callbacks that have one."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train: lr, the base learning rate, is multiplied by the schedule at every step.

    total_epochs: those that the schedule is stretched over, where they are not all trained at once.
    """

    epochs: int
    batch_size: int
    lr: float
    schedule: Schedule
    total_epochs: int | None = None

    def __post_init__(self) -> None:
        total = self.epochs if self.total_epochs is None else self.total_epochs
        for what, value in (("epochs", self.epochs), ("batch_size", self.batch_size), ("total_epochs", total)):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise SettingError(f"{what}={value!r}: a whole number of at least 1 was expected")
        is_number = isinstance(self.lr, (int, float, np.number)) and not isinstance(self.lr, bool)
        if not is_number or not 0 < self.lr < math.inf:
            raise SettingError(f"lr={self.lr!r}: a learning rate above 0 was expected, such as 0.001")
        object.__setattr__(self, "lr", float(self.lr))
