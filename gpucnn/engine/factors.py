"""Large gradients that stay two factors until theta is updated.

The gradient of a dense layer's weights (I, J) is x^T dy, summed over the batch. Where I J is large, to write it once
for every shard and to read it again costs as much as to compute it. So shards only keep x and dy, and the update makes
the product of the whole batch some rows at a time: these never leave the cache.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

from ..kernels import Factors
from ..network.layout import Layout, Slot

Array = Any

LARGE = 1 << 18  # a gradient of at least this many numbers is worth it
ROOM = 4  # the factors may take this many times the memory of the gradients


@dataclass(frozen=True, eq=False)
class FactorStore:
    """The factors of a whole batch, in a vector that workers share.

    slots: the parameters (I, J) whose gradients may come as factors, by number; memory: `width` numbers per example.
    """

    slots: dict[int, Slot]
    memory: Array

    @functools.cached_property
    def width(self) -> int:
        return sum(sum(slot.shape) for slot in self.slots.values())

    def is_worth(self, examples: int) -> bool:
        """Whether the factors of that many examples are not much larger than the gradients."""
        return self.width * examples <= ROOM * self._of_gradients

    @functools.cached_property
    def _of_gradients(self) -> int:
        """The size of all the gradients together."""
        return sum(math.prod(slot.shape) for slot in self.slots.values())

    @property
    def least(self) -> float:
        """The size of the smallest gradient that may come as factors."""
        return min((math.prod(slot.shape) for slot in self.slots.values()), default=math.inf)

    def views(self, examples: int) -> dict[int, tuple[Array, Array]]:
        """By slot, for a batch of `examples`: x^T (I, examples) and dy (examples, J)."""
        found, start = {}, 0
        for k, slot in self.slots.items():
            I, J = slot.shape
            middle, stop = start + I * examples, start + (I + J) * examples
            found[k] = self.memory[start:middle].reshape(I, examples), self.memory[middle:stop].reshape(examples, J)
            start = stop
        return found

    def keep(self, k: int, factors: Factors, first: int, examples: int) -> None:
        """Write what a shard has of slot k, of a batch of `examples`, beginning with example number `first`."""
        x, dy = self.views(examples)[k]
        shard = slice(first, first + factors.x.shape[0])
        x[:, shard] = factors.x.T
        dy[shard] = factors.dy


def large_slots(layout: Layout) -> dict[int, Slot]:
    """By number, the slots whose gradients may come as Factors. Foreign layers always make arrays: their context says
    so.
    """
    return {k: slot for k, slot in enumerate(layout.slots) if len(slot.shape) == 2 and _is_large(*slot.shape)}


def _is_large(I: int, J: int) -> bool:
    return I * J >= LARGE and min(I, J) > 1
