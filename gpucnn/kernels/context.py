"""What a layer is told beside its data."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from array_api_compat import device

from ..errors import SettingError
from ..namespace import array_namespace, read_only
from . import random
from .table import REFERENCE, Kernels

Array = Any


class Factors(NamedTuple):
    """A gradient (I, J) that is still to be multiplied: the sum over n of x[n,i] dy[n,j]. x (N, I), dy (N, J)."""

    x: Array
    dy: Array


def alone(partial: Array) -> Array:
    """The sum over all parts of a batch, where it has one part only. Read-only, as every such sum."""
    return read_only(partial)


@dataclass(frozen=True)
class Context:
    """What a layer is told beside its data.

    kernels: who computes. training: False for inference.
    update: the number of the update, from 1: an int or, on a GPU, an int64 array (1,). key: a whole number, different
    for each layer and each seed of `fit`. examples: the indices (n,) of the batch's examples in the data set, None
    outside training. Random numbers that are a hash of these three are the same on every device: `bits`, `uniform`.
    state: the layer's running state, as its `init_state` or its last `next_state` gave it, as arrays on the device.
    total: takes an array that is a sum over the examples at hand, and gives the sum over the whole batch, whose other
    parts other workers have. All workers must call it equally often, and all get the same bits.
    factored: from how many numbers on a gradient (I, J) is left as its Factors, which are smaller.
    """

    kernels: Kernels = REFERENCE
    training: bool = True
    update: Any = 0
    key: int = 0
    examples: Array | None = None
    state: Any = None
    total: Callable[[Array], Array] = alone
    factored: float = math.inf

    def sum_of_products(self, x: Array, dy: Array) -> Any:
        """x (N, I), dy (N, J) -> the sum over n of x[n,i] dy[n,j], (I, J), or Factors where these are wanted."""
        if x.shape[1] * dy.shape[1] >= self.factored:
            return Factors(x, dy)
        return self.kernels.matmul(x.T, dy)

    @property
    def unfactored(self) -> Context:
        """This context, but that gradients are arrays and never Factors."""
        return replace(self, factored=math.inf) if self.factored < math.inf else self

    def inside(self, name: str, place: int) -> Context:
        """The context of one layer. name: of its state; place: its number among the layers that have such a context."""
        state = self.state.get(name, {}) if self.state else self.state
        return replace(self, state=state, key=_key(self.key, place))

    def bits(self, shape: tuple[int, ...]) -> Array:
        """32 random bits for each number of each example at hand: (n, *shape) int64, 0 .. 2^32 - 1.

        The same in each call with this context, in forward and in backward: a layer that needs several draws them in
        one call, (2, *shape) for two. Only in training: there are no examples otherwise.
        """
        if self.examples is None:
            raise SettingError("random numbers are drawn in training only: ask context.training before context.uniform")
        xp, size = array_namespace(self.examples), math.prod(shape)
        counters = xp.arange(size, dtype=xp.int64, device=device(self.examples))
        examples = xp.astype(self.examples, xp.int64)[:, None]
        return xp.reshape(random.bits(self.key, self.update, examples, counters[None, :]), (-1, *shape))

    def uniform(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Random numbers in [0, 1), of 24 bits, so that float32 holds them: (n, *shape), as `bits` are."""
        drawn = self.bits(shape)
        return array_namespace(drawn).astype(drawn >> 8, dtype) * 2.0**-24


@functools.lru_cache(maxsize=4096)
def _key(key: int, place: int) -> int:
    return random.bits(key, place)
