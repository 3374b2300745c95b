"""The callbacks of a run as one: each is called in order, any may end the run, and their states go with the run's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ..errors import SettingError
from ..network.own import shown
from .history import Epoch
from .types import Callback, Position, Stop

States = list[dict[str, Any]]
NAMES = frozenset(each.name for each in fields(Epoch)) | {"loss", "accuracy"}  # these two are the validation's


class CallbackList:
    """callbacks: each with all methods of `Callback`; `state` is None where one has no state.

    A state that is saved must be that of the same moment as theta. A run may be cut off while some callbacks are told
    of an epoch and others are not, and it may go back to an earlier update: so states are kept of the moments to which
    a run goes back.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = callbacks
        modules = [getattr(getattr(each, "batch", None), "__module__", None) or "" for each in callbacks]
        # whether they may be told of a batch after later ones: gpucnn's own read no more than what they are told
        self.may_wait = all(module.split(".")[0] == "gpucnn" for module in modules)
        self._kept: dict[tuple[int, int], States] = {}  # by epoch, and how many of its batches are done
        self._seen: tuple[int, int] | None = None  # what they know of; None: some may, and some not

    def keep(self, position: Position, *, is_oldest: bool = False) -> None:
        """The run stands there, and all know it. is_oldest: it does not go back beyond that."""
        self._seen = position.epoch, position.batches
        if is_oldest:
            self._kept.clear()
        self._kept[self._seen] = self._states()

    def states(self, position: Position) -> States:
        """What belongs to the run where it stands there."""
        here = position.epoch, position.batches
        if self._seen == here:
            return self._states()
        return self._kept[max(each for each in self._kept if each <= here)]

    def _states(self) -> States:
        return [dict(_by_name(each.state)) for each in self.callbacks if each.state is not None]

    def batch(self, position: tuple[int, int], done: int, examples: int, loss: float | None) -> str:
        """A batch is done. position: the epoch, and how many of its batches are done. -> why the run ends, or ""."""
        self._seen = position
        return self._all("batch", position[0], done, examples, loss)

    def measured(self) -> dict[str, float]:
        """What they measure of the epoch that ended. Raises SettingError for what are no numbers by name, or named as
        others."""
        self._seen = None
        found: dict[str, float] = {}
        for callback in self.callbacks:
            for name, value in _by_name(callback.measure).items():
                if name in NAMES:
                    raise SettingError(f"measure gives {name!r}, which every epoch has already; give it another name")
                if name in found:
                    raise SettingError(f"two callbacks measure {name!r}; give one of them another name")
                try:
                    found[name] = float(value)
                except (TypeError, ValueError):
                    raise SettingError(f"measure gives {shown(value)} for {name!r}; a number was expected") from None
        return found

    def epoch(self, epoch: Epoch) -> str:
        """An epoch ended. -> why the run ends, or ""."""
        self._seen = None
        return self._all("epoch", epoch)

    def _all(self, method: str, *told: Any) -> str:
        why = ""
        for callback in self.callbacks:
            try:
                getattr(callback, method)(*told)
            except Stop as stop:
                why = why or str(stop) or "a callback ended the run"
        return why


def _by_name(method: Callable[[], Any]) -> Mapping[str, Any]:
    """What a callback's method gives, by name. Raises SettingError for what is no dict, such as a forgotten return."""
    found = method()
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        where = getattr(method, "__qualname__", method)
        raise SettingError(
            f"{where} gives {shown(found)}; a dict by names was expected, {{}} where there is nothing to tell"
        )
    return found
