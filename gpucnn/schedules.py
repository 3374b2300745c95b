"""Schedules: what the base learning rate is multiplied by, as a function of the step (from 0) and all steps' number.

Some are plain functions: constant, step, cosine, one_cycle, linear. Those with settings are frozen dataclasses that are
called in the same way: Polynomial, Exponential, Steps, Restarts, Warmup, Joined. `schedule` reads both from a text,
such as "cosine", "warmup=0.05,polynomial=2" or "constant@0.6,restarts=2@0.4"; "my_module:name" is one of your own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from numbers import Real
from typing import Any

from .errors import ArgumentError, SettingError, suggested
from .names import Explained, explain
from .namespace import as_numbers, has_truth
from .network import own

explain(__name__)

Schedule = Callable[[int, int], float]

MOST = 700.0  # whose exponential floating point holds


def constant(step: int, steps: int) -> float:
    """1: the learning rate as it is given, from the first update to the last."""
    return 1.0


def step(step: int, steps: int) -> float:
    """1, then 1/10 from half of the steps on, then 1/100 for the last quarter."""
    return 0.1 ** ((step >= steps / 2) + (step >= 3 * steps / 4))


def cosine(step: int, steps: int) -> float:
    """(1 + cos(pi step / steps)) / 2: from 1 down to nearly 0. Loshchilov and Hutter, 2017."""
    return (1 + math.cos(math.pi * step / max(1, steps))) / 2


def one_cycle(step: int, steps: int, *, warm: float = 0.25, start: float = 1 / 25, end: float = 1e-4) -> float:
    """Up from `start` to 1 over the first `warm` part of the steps, down to start * end over the rest, both as cosines.

    Smith and Topin, 2018.
    """
    peak = max(1.0, warm * steps - 1)
    if step <= peak:
        return _between(start, 1, step / peak)
    return _between(1, start * end, min(1.0, (step - peak) / max(1.0, steps - 1 - peak)))


def _between(a: float, b: float, part: float) -> float:
    """a at part 0, b at part 1, half a cosine wave between."""
    return b + (a - b) * (1 + math.cos(math.pi * part)) / 2


def linear(step: int, steps: int) -> float:
    """1 - step / steps: from 1 down to nearly 0, in equal parts."""
    return 1 - step / max(1, steps)


@dataclass(frozen=True)
class Polynomial(Explained):
    """end + (1 - end) (1 - step / steps)^power."""

    power: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        as_numbers(self)
        _check(self, self.power > 0 and 0 <= self.end <= 1, "power > 0 and end in 0..1")

    def __call__(self, step: int, steps: int) -> float:
        return self.end + (1 - self.end) * (1 - step / max(1, steps)) ** self.power


@dataclass(frozen=True)
class Exponential(Explained):
    """end^(step / steps): the same factor in each step."""

    end: float = 0.01

    def __post_init__(self) -> None:
        as_numbers(self)
        _check(self, 0 < self.end <= 1, "end above 0, at most 1")

    def __call__(self, step: int, steps: int) -> float:
        return self.end ** (step / max(1, steps))


@dataclass(frozen=True)
class Steps(Explained):
    """1, and `factor` times as much from each milestone on: parts of all steps, in order."""

    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __post_init__(self) -> None:
        as_numbers(self)
        given = self.milestones
        object.__setattr__(self, "milestones", tuple(given) if isinstance(given, Iterable) else (given,))
        right = self.factor > 0 and all(isinstance(each, Real) and 0 < each < 1 for each in self.milestones)
        _check(self, right and list(self.milestones) == sorted(self.milestones), "milestones in 0..1, in order")

    def __call__(self, step: int, steps: int) -> float:
        return self.factor ** sum(step >= each * steps for each in self.milestones)


@dataclass(frozen=True)
class Restarts(Explained):
    """Cosines that begin anew `cycles` times, each `longer` times as long as the one before. Loshchilov and Hutter,
    2017 (SGDR)."""

    cycles: int = 2
    longer: float = 1.0

    def __post_init__(self) -> None:
        as_numbers(self)
        object.__setattr__(self, "cycles", int(self.cycles))
        _check(self, self.cycles >= 1 and 0 < self.longer < math.inf, "cycles >= 1, longer > 0")
        widest = abs(math.log(self.longer)) * (self.cycles - 1)
        _check(self, widest < MOST, "fewer cycles, whose lengths differ by less than floating point holds,")

    def __call__(self, step: int, steps: int) -> float:
        lengths = [self.longer**k for k in range(self.cycles)]
        unit, start = max(1, steps) / sum(lengths), 0.0
        for k, length in enumerate(lengths):
            if step < start + length * unit or k == self.cycles - 1:
                return (1 + math.cos(math.pi * (step - start) / (length * unit))) / 2
            start += length * unit
        raise AssertionError


@dataclass(frozen=True)
class Warmup(Explained):
    """Up from 1 / n to 1 in equal parts over the first n steps, then the schedule over the steps that are left.

    length: a part of all steps, below 1, or n itself. Goyal et al., 2017.
    """

    length: float
    then: Schedule = constant

    def __post_init__(self) -> None:
        as_numbers(self)
        is_length = self.length > 0 and (self.length < 1 or self.length % 1 == 0)
        _check(self, is_length, "a part of all updates, or a whole number of them,")
        _check_called("Warmup: then", self.then)

    def __call__(self, step: int, steps: int) -> float:
        n = min(steps, round(self.length * steps) if self.length < 1 else int(self.length))
        return (step + 1) / n if step < n else self.then(step - n, steps - n)


@dataclass(frozen=True)
class Joined(Explained):
    """Schedules one after the other, each over its own part of the steps: pieces of (part, schedule)."""

    pieces: tuple[tuple[float, Schedule], ...]

    def __post_init__(self) -> None:
        as_numbers(self)
        kinds = tuple, list
        right = isinstance(self.pieces, kinds) and all(isinstance(p, kinds) and len(p) == 2 for p in self.pieces)
        _check(self, right, "pieces such as ((0.6, constant), (0.4, cosine))")
        object.__setattr__(self, "pieces", tuple(map(tuple, self.pieces)))
        parts = [part for part, _ in self.pieces]
        right = not has_truth(parts) and all(isinstance(part, Real) and part > 0 for part in parts)
        _check(self, right and abs(sum(parts) - 1) < 1e-9, "parts that are 1 together")
        for _, piece in self.pieces:
            _check_called("Joined: a piece", piece)

    def __call__(self, step: int, steps: int) -> float:
        part = start = 0.0
        for share, piece in self.pieces[:-1]:
            part += share
            if step < (end := round(part * steps)):
                return piece(step - int(start), end - int(start))
            start = end
        return self.pieces[-1][1](step - int(start), steps - int(start))


def _check(schedule: Any, right: bool, expected: str) -> None:
    if not right:
        raise SettingError(f"schedule {named(schedule)}: {expected} was expected")


def _check_called(what: str, schedule: Any) -> None:
    """Raises SettingError for what is no schedule, such as the name of one."""
    if not callable(schedule):
        known = isinstance(schedule, str) and schedule in SCHEDULES
        instead = f'gpucnn.schedules.schedule("{schedule}")' if known else "gpucnn.schedules.cosine"
        raise SettingError(f"{what} is {schedule!r}, and a function of (step, steps) was expected, such as {instead}")


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
    "one-cycle": one_cycle,
    "linear": linear,
    "polynomial": Polynomial(2.0),
    "exponential": Exponential(),
    "restarts": Restarts(),
}
SETTABLE: dict[str, Callable[..., Schedule]] = {  # of the numbers behind a name's "="
    "step": lambda *milestones: Steps(milestones),
    "polynomial": Polynomial,
    "exponential": Exponential,
    "restarts": Restarts,
}
FORM = (
    "NAME, NAME=NUMBERS such as polynomial=2, step=0.5/0.75 or restarts=3/2, or module:name; with warmup=0.05 before "
    "(a part of all updates; from 1 on it is their number), and parts such as constant@0.6,cosine@0.4"
)


def schedule(text: str) -> Schedule:
    """The schedule that a text says: a name, or pieces with commas between. Raises SettingError with what there is.

    A piece is NAME or NAME=NUMBER/NUMBER/...; the first may be warmup=LENGTH; of several others each ends in @PART.
    """
    if not isinstance(text, str):
        raise SettingError(f"schedule {text!r}: a text was expected, such as one-cycle")
    try:
        return _read(text)
    except SettingError as error:
        said = str(error).removeprefix("schedule ")
        raise SettingError(str(error) if repr(text) in said else f"schedule {text!r}: {said}") from None


def _read(text: str) -> Schedule:
    first, *more = pieces = [piece.strip() for piece in text.split(",")]
    name, _, length = first.partition("=")
    if name == "warmup":
        if not more:
            raise SettingError(f"schedule {text!r}: a warm-up comes before another schedule, as in warmup=0.05,cosine")
        return _made(first, Warmup, _number(text, length), _read(",".join(more)))
    if len(pieces) == 1 and "@" not in text:
        return _piece(text, text)
    joined = []
    for piece in pieces:
        what, at, part = piece.partition("@")
        found = _piece(text, what)
        if not at:
            raise SettingError(f"schedule {text!r}: of several, each ends in @PART, as in constant@0.6,cosine@0.4")
        joined.append((_number(text, part), found))
    return _made(text, Joined, tuple(joined))


def _made(text: str, make: Callable[..., Schedule], *settings: Any) -> Schedule:
    """The schedule of these settings, which a text gives. Raises SettingError with that."""
    try:
        return make(*settings)
    except ArgumentError:  # more numbers than there are
        raise
    except SettingError as error:
        raise SettingError(f"schedule {text!r}: {str(error).partition(': ')[2]}") from None


def _piece(text: str, piece: str) -> Schedule:
    if ":" in piece:
        return own.function(piece, "(step, steps)")
    name, equals, numbers = piece.partition("=")
    if name not in SCHEDULES or (equals and name not in SETTABLE):
        known = SETTABLE if equals and name in SCHEDULES else SCHEDULES
        hint = suggested(name, known)
        what = "takes no numbers" if equals and name in SCHEDULES else "is not known"
        raise SettingError(f"schedule {piece!r} {what}; {hint}choose one of {', '.join(known)}; a text is {FORM}")
    if not equals:
        return SCHEDULES[name]
    try:
        return _made(piece, SETTABLE[name], *[_number(text, each) for each in numbers.split("/")])
    except TypeError:
        raise SettingError(f"schedule {text!r}: {name} takes fewer numbers; a text is {FORM}") from None


def _number(text: str, number: str) -> float:
    with suppress(ValueError):
        if math.isfinite(value := float(number)):
            return value
    raise SettingError(f"schedule {text!r}: {number!r} is no number; a text is {FORM}")


def named(schedule: Schedule) -> str:
    """What a schedule is called, with its settings; what it gives, where it is an object without a name."""
    if is_dataclass(schedule):
        values = [getattr(schedule, field.name) for field in fields(schedule)]
        return f"{type(schedule).__name__}({', '.join(map(_shown, values))})"
    found = getattr(schedule, "__name__", None)
    return found or f"{type(schedule).__qualname__} of {[schedule(step, 10) for step in range(10)]}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return named(value) if callable(value) else repr(value)
