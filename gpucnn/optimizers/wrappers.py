"""Wrappers around any optimiser: clipping of the gradient, and averages of theta over its updates.

They nest: Clip(EMA(Adam()), norm=1.0) clips the gradient, lets Adam move theta, and averages what that gives. All of
them work number by number, so that theta may come in pieces. A wrapper with an `average` stands for theta outside of
training: it is what validation and, after `fit`, the model hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import SettingError
from ..namespace import array_namespace, as_numbers
from .base import Around, State, as_number

Array = Any


@dataclass(frozen=True)
class Clip(Around):
    """The mean gradient with no number beyond +-value and then, with a Euclidean norm of at most `norm` over all
    parameters together: g norm / max(norm, |g|). Pascanu et al., 2013.

    What an optimiser adds to the gradient, such as its weight decay, is added after that. The squares are summed piece
    by piece in a fixed order: the number of threads that write theta changes no bit.
    """

    optimizer: Any
    norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        as_numbers(self)
        if self.norm is None and self.value is None:
            raise SettingError("Clip: norm or value was expected, such as Clip(Adam(), norm=1.0)")
        for name, most in (("norm", self.norm), ("value", self.value)):
            if most is not None and not most > 0:
                raise SettingError(f"Clip: {name}={most}: a number above 0 was expected")

    @property
    def reduce(self) -> Any:  # type: ignore[override]
        return None if self.norm is None else self._squares

    def _squares(self, g: Array) -> Array:
        self._limit(g)
        return array_namespace(g).sum(g * g)

    def _limit(self, g: Array) -> None:
        if self.value is not None:
            xp, most = array_namespace(g), array_namespace(g).full_like(g[:1], self.value)
            g[...] = xp.minimum(xp.maximum(g, -most), most)

    def before(self, g: Array, reduced: Array | None) -> None:
        if reduced is None:
            self._limit(g)
            return
        xp = array_namespace(g)
        most = xp.full_like(reduced, self.norm)
        size = xp.sqrt(reduced)
        g *= most / xp.where(size < most, most, size)


@dataclass(frozen=True)
class EMA(Around):
    """A mean of theta after each update, in which one counts `decay` times as much as the next one.

    average += (1 - decay) / (1 - decay^t) (theta - average), t counting updates from 1: theta's start does not count.
    Polyak and Juditsky, 1992; the correction of the start is that of Kingma and Ba, 2015.
    """

    optimizer: Any
    decay: float = 0.999

    def __post_init__(self) -> None:
        as_numbers(self)
        if not 0 < self.decay < 1:
            raise SettingError(f"EMA: decay {self.decay} must be between 0 and 1, such as 0.999")

    def added(self, theta: Array) -> State:
        return {"average": _copy(theta)}

    def average(self, state: State) -> Array:
        return state["average"]

    def after(self, theta: Array, state: State, step: int) -> None:
        _move(state["average"], theta, as_number((1 - self.decay) / (1 - self.decay**step), theta))


@dataclass(frozen=True)
class SWA(Around):
    """The mean of theta after the updates start, start + every, start + 2 every, ...; theta itself before them.

    Izmailov et al., 2018: start at about three quarters of the updates, every: those of an epoch, the rate constant.
    """

    optimizer: Any
    start: int = 1
    every: int = 1

    def __post_init__(self) -> None:
        as_numbers(self)
        if self.start < 1 or self.every < 1:
            raise SettingError(f"SWA: start {self.start} and every {self.every} must be updates, counted from 1")

    def added(self, theta: Array) -> State:
        return {"average": _copy(theta)}

    def average(self, state: State) -> Array:
        return state["average"]

    def after(self, theta: Array, state: State, step: int) -> None:
        behind = abs(step - self.start)
        counts = (step >= self.start) * (behind % self.every == 0) / (behind // self.every + 1)
        _move(state["average"], theta, as_number((step < self.start) + counts, theta))


@dataclass(frozen=True)
class Lookahead(Around):
    """After every `every` updates slow += alpha (theta - slow), and theta goes on from slow. Zhang et al., 2019."""

    optimizer: Any
    every: int = 5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        as_numbers(self)
        if self.every < 1 or not 0 < self.alpha <= 1:
            raise SettingError(f"Lookahead: every {self.every} must be at least 1, alpha {self.alpha} in (0, 1]")

    def added(self, theta: Array) -> State:
        return {"slow": _copy(theta)}

    def after(self, theta: Array, state: State, step: Any) -> None:
        slow, due = state["slow"], step % self.every == 0
        if isinstance(due, bool):
            if due:
                slow += self.alpha * (theta - slow)
                theta[...] = slow
            return
        xp = array_namespace(theta)
        slow[...] = xp.where(due, slow + self.alpha * (theta - slow), slow)
        theta[...] = xp.where(due, slow, theta)


def _copy(theta: Array) -> Array:
    copy = array_namespace(theta).zeros_like(theta)
    copy[...] = theta
    return copy


def _move(average: Array, theta: Array, weight: Any) -> None:
    """average += weight (theta - average)"""
    if isinstance(weight, (int, float)) and weight == 0:
        return
    average += weight * (theta - average)
