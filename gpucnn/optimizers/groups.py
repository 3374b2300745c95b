"""Groups: other settings for parameters that are chosen by their names."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ..errors import SettingError, nearest, suggested
from ..network.layout import Layout, Slot
from .base import Around, Optimizer, Part, State, merged, rules_of

Array = Any

OF_PART = ("rate", "l1", "l2")  # settings that are not of the optimiser's class


@dataclass(frozen=True)
class Groups(Optimizer):
    """optimizer, with other settings where a parameter's name, such as "0/kernel", fits a pattern; the first counts.

    settings: by patterns of `fnmatch`, such as {"*/bias": {"rate": 0.1, "weight_decay": 0}, "*/kernel": {"l1": 1e-5}}.
    rate: the factor on the learning rate. l1, l2: penalties l1 |theta| + l2 theta^2 / 2, whose gradient is added, after
    any clipping; the loss that is told is without them. All else are fields of the optimiser, and of Muon's `others`
    for what these move. A weight_decay is for all parameters of the pattern, whatever the optimiser's `decay`, unless
    the pattern has a decay too. Wrappers go around it, as in EMA(Groups(...)).
    """

    optimizer: Any
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.optimizer, (Around, Groups)):
            name = type(self.optimizer).__name__
            raise SettingError(f"Groups: {name} cannot be inside; write it around, as in {name}(Groups(...), ...)")
        if not isinstance(self.settings, Mapping) or not all(isinstance(of, Mapping) for of in self.settings.values()):
            raise SettingError(
                f"Groups: settings {self.settings!r}: a dict of dicts by patterns was expected, such as "
                '{"*/bias": {"rate": 0.1}}'
            )
        object.__setattr__(self, "settings", {name: dict(given) for name, given in self.settings.items()})
        for pattern, given in self.settings.items():
            numbers = [given.get(name, 0.0) for name in OF_PART]
            if any(isinstance(each, (str, bool)) or not 0 <= each < math.inf for each in numbers):
                raise SettingError(f"Groups: {pattern}: {', '.join(OF_PART)} must be numbers of at least 0")
            self._rule(pattern)

    @property
    def usual_lr(self) -> float:  # type: ignore[override]
        return getattr(self.optimizer, "usual_lr", Optimizer.usual_lr)

    def init(self, theta: Array) -> State:
        parts = [Part(slice(0, 0), rule) for rule in (self.optimizer, *map(self._rule, self.settings))]
        return {name: vector for rule in rules_of(parts) for name, vector in rule.init(theta).items()}

    def bind(self, layout: Layout) -> Optimizer:
        check_patterns(self.settings, layout, "Groups")
        bind = getattr(self.optimizer, "bind", None)
        return self if bind is None else dataclasses.replace(self, optimizer=bind(layout))

    def parts(self, layout: Layout) -> list[Part]:
        found = []
        for slot in layout.slots:
            pattern = next((each for each in self.settings if fnmatchcase(slot.name, each)), None)
            given = {} if pattern is None else self.settings[pattern]
            rule = self.optimizer if pattern is None else self._rule(pattern)
            (part,) = rule.parts(_Alone(slot)) if hasattr(rule, "parts") else [Part(slot.place, rule, slot)]
            more = {name: given[name] for name in OF_PART if name in given}
            found.append(dataclasses.replace(part, place=slot.place, slot=slot, **more))
        return merged(found)

    def _rule(self, pattern: str) -> Any:
        """The optimiser with the settings of a pattern. Raises SettingError for those that it does not have."""
        given = {name: value for name, value in self.settings[pattern].items() if name not in OF_PART}
        return _in_group(self.optimizer, given, f"Groups: {pattern}") if given else self.optimizer


def check_patterns(patterns: Iterable[str], layout: Layout, where: str) -> None:
    """Raises SettingError, which begins with `where`, for a pattern that no parameter's name fits."""
    names = [slot.name for slot in layout.slots]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = nearest(pattern, names, 0.0)
            raise SettingError(f"{where}: no parameter's name fits {pattern!r}; there are {near} and others")


class _Alone(Layout):
    """The layout of one parameter alone."""

    def __init__(self, slot: Slot) -> None:
        self.slots, self.size = [slot], slot.place.stop - slot.place.start


def _in_group(optimizer: Any, given: Mapping[str, Any], where: str) -> Any:
    """The optimiser, and its `others` if there are such, with those of the settings that they have."""
    own = _settings_of(optimizer)
    others = given.get("others", optimizer.others) if "others" in own else None
    of_others = {name: value for name, value in given.items() if name in _settings_of(others)}
    settings = {name: value for name, value in given.items() if name in own or name not in of_others}
    if "weight_decay" in given and "decay" in own:
        settings = {"decay": "all", **settings}
    if of_others:
        settings["others"] = _in_group(others, of_others, where)
    return changed(optimizer, settings, where)


def _settings_of(optimizer: Any) -> list[str]:
    return [each.name for each in dataclasses.fields(optimizer)] if dataclasses.is_dataclass(optimizer) else []


def changed(optimizer: Any, settings: Mapping[str, Any], where: str) -> Any:
    """The optimiser with other settings. Raises SettingError, which begins with `where`, for those it does not have."""
    there = _settings_of(optimizer)
    for name in settings:
        if name not in there:
            has = f"{suggested(name, there)}it has {', '.join(there) or 'no settings'}"
            raise SettingError(f"{where}: {type(optimizer).__name__} has no {name}; {has}")
    return dataclasses.replace(optimizer, **settings)
