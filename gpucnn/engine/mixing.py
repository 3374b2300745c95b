"""Does a layer look at other examples of the batch? Then its batch cannot be cut as one likes."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from ..kernels import Context
from ..layers.base import initial_state, is_own
from ..layers.initializers import generator
from ..network import Network
from ..network.layout import Layout
from .rewrite import Converted

Array = Any


class Reach(IntEnum):
    """What a layer's output for an example depends on in training."""

    EXAMPLE = 0  # on that example: the batch may be cut anywhere
    SUMS = 1  # on sums over the batch, got by context.total: a part for each worker, and all at the same time
    BATCH = 2  # on others in a way of its own: the batch must stay whole


def reach(network: Network) -> Reach:
    """The farthest of its layers'. What layers from elsewhere do is tried on two random examples."""
    found = [_of_layer(layer, shape) for layer, shape in zip(network.layers, network.shapes())]
    return max(found, default=Reach.EXAMPLE)


def _of_layer(layer: Any, shape: tuple[int, ...]) -> Reach:
    if isinstance(layer, Network):
        return reach(layer)
    if isinstance(layer, Converted):
        return _tried(layer.layer, shape)
    if not is_own(layer):
        return _tried(layer, shape)
    return Reach.SUMS if layer.mixes else Reach.EXAMPLE


def _tried(layer: Any, shape: tuple[int, ...]) -> Reach:
    """Two examples together, then each alone: the outputs must be the same."""
    rng = generator(0)
    initial = layer.init(shape, rng)
    layout = Layout(initial)
    theta = layout.pack(initial, np.empty(layout.size))
    theta += 0.1 * rng.standard_normal(layout.size)  # a factor of 0 at the start would hide what it stands before
    params = layout.unpack(theta)
    x, asked = rng.standard_normal((2, *shape)), []

    def total(partial: Array) -> Array:
        asked.append(partial)
        return partial

    def output(part: slice) -> Array:
        context = Context(examples=np.arange(2)[part], update=1, state=initial_state(layer, shape), total=total)
        return np.asarray(layer.forward(params, x[part], context)[0])

    try:
        together, alone = output(slice(0, 2)), [output(slice(k, k + 1)) for k in range(2)]
        depends = not np.allclose(together, np.concatenate(alone), rtol=1e-6, atol=1e-9, equal_nan=True)
    except Exception:  # what it raises is said where it runs; until then nothing is known of it
        return Reach.BATCH
    if asked:
        return Reach.SUMS
    return Reach.BATCH if depends or initial_state(layer, shape) else Reach.EXAMPLE
