"""The layers' running state as a mean over batches, in place of one that follows them and forgets the first."""

from __future__ import annotations

from typing import Any

from ..namespace import array_namespace
from .program import Program

Array = Any

ROUNDING = 1e-6  # relative, of what a layer computes in float32


class MeanState:
    """The running state of a program's layers, which `add` moves on by a batch, and `settle` replaces by its mean.

    A number that is a moving average, momentum times itself plus 1 - momentum times the batch's, is told by what
    becomes of 0 and of two other numbers; its mean is over the batches' own, each as often as it has examples. Other
    numbers, as of layers of a user's own, are what follows the batches in order.
    """

    def __init__(self, program: Program) -> None:
        self.program, self._xp = program, array_namespace(program.state)
        self._zeros = self._xp.astype(0 * program.state, self._xp.float64)
        self._sums, self._counts = 0 * self._zeros, 0 * self._zeros

    def add(self, residuals: Any, examples: int) -> None:
        """Follow a batch of so many examples, by the residuals of its forward pass."""
        xp = self._xp
        at_0 = self._next(self._zeros, residuals)
        far = 1 + abs(at_0)
        once, twice = (self._next(times * far, residuals) for times in (1, 2))
        momentum, rest = (once - at_0) / far, abs(twice - 2 * once + at_0) / far
        is_average = (rest < ROUNDING) & (momentum > ROUNDING) & (momentum < 1 - ROUNDING)
        own = at_0 / xp.where(is_average, 1 - momentum, 1.0)
        self._sums += xp.where(is_average, examples * own, 0.0)
        self._counts += xp.where(is_average, float(examples), 0.0)
        self.program.state[...] = xp.astype(self._next(self.program.state, residuals), self.program.state.dtype)

    def settle(self) -> None:
        xp, state = self._xp, self.program.state
        is_mean = self._counts > 0
        mean = self._sums / xp.where(is_mean, self._counts, 1.0)
        state[...] = xp.where(is_mean, xp.astype(mean, state.dtype), state)

    def _next(self, state: Array, residuals: Any) -> Array:
        layout = self.program.state_layout
        found = self.program.network.next_state(layout.unpack(state), residuals)
        return layout.pack(found, 0 * self._zeros)
