"""Does a layer look at other examples of the batch? Then its batch cannot be cut as one likes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any

import numpy as np

from ..kernels import Context
from ..layers.base import initial_state, is_own
from ..layers.chain import inside
from ..layers.initializers import generator
from ..network import Network
from ..network.layout import Layout
from ..workers import exchange
from .rewrite import Converted

Array = Any

PARTS = (slice(0, 3), slice(0, 1), slice(1, 2), slice(2, 3))


class Reach(IntEnum):
    """What a layer's output for an example depends on in training."""

    EXAMPLE = 0  # on that example: the batch may be cut anywhere
    SUMS = 1  # on sums over the batch, got by context.total: a part for each worker, and all at the same time
    BATCH = 2  # on others in a way of its own: the batch must stay whole


def reach(network: Network) -> Reach:
    """The farthest of its layers'. What layers from elsewhere do is tried on a few random examples."""
    found = [_of_layer(layer, shape) for layer, shape in zip(network.layers, network.shapes())]
    return max(found, default=Reach.EXAMPLE)


def _of_layer(layer: Any, shape: tuple[int, ...]) -> Reach:
    layer = layer.layer if isinstance(layer, Converted) else layer
    if chains := inside(layer):
        return max((reach(Network(shape, layers)) for layers in chains.values()), default=Reach.EXAMPLE)
    if is_own(layer):
        return Reach.SUMS if layer.mixes else Reach.EXAMPLE
    with undisturbed():
        try:
            asked = [_tried(layer, shape, draw) for draw in ("standard_normal", "random")]
        except Exception:  # what it raises is said where it runs; until then nothing is known of it
            return Reach.BATCH
    if None in asked:
        return Reach.BATCH
    if any(asked):
        return Reach.SUMS
    return Reach.BATCH if initial_state(layer, shape) or getattr(layer, "mixes", False) else Reach.EXAMPLE


def _tried(layer: Any, shape: tuple[int, ...], draw: str) -> bool | None:
    """Four examples in one part, then in two that exchange sums: whether it asked for sums; None: the numbers differ.

    Outputs, gradients by the input, and gradients by the parameters must be the same. draw: how inputs are drawn.
    """
    rng, initial, asked = generator(0), layer.init(shape, generator(0)), []
    layout = Layout(initial)
    theta = layout.pack(initial, np.empty(layout.size))
    theta += 0.1 * rng.standard_normal(layout.size)  # a factor of 0 at the start would hide what it stands before
    x, dy = getattr(rng, draw)((4, *shape)), rng.standard_normal((4, *layer.out_shape(shape)))

    def passes(part: slice) -> tuple[Array, Array, Array]:
        def told(numbers: Array) -> Array:
            asked.append(part)
            return exchange.total(numbers)

        params, state = layout.unpack(theta.copy()), initial_state(layer, shape)
        context = Context(examples=np.arange(4)[part], update=1, state=state, total=told)
        y, residual = layer.forward(params, x[part].copy(), context)
        y = np.array(y)
        dx, dparams = layer.backward(params, residual, dy[part].copy(), context)
        return y, np.array(dx), layout.pack(dparams, np.zeros(layout.size))

    whole = passes(slice(0, 4))
    first, second = exchange.one_by_one(passes, [(slice(0, 1),), (slice(1, 4),)])
    parts = *(np.concatenate(pair) for pair in zip(first[:2], second[:2])), first[2] + second[2]
    same = all(np.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True) for a, b in zip(whole, parts))
    return bool(asked) if same else None


def at_inference(network: Network) -> list[str]:
    """The layers from elsewhere whose outputs depend on other images in inference, too, by name."""
    found = []
    for _, layer, shape, _ in network.walk():
        layer = layer.layer if isinstance(layer, Converted) else layer
        if not is_own(layer):
            with undisturbed(), suppress(Exception):  # what it raises is said where it runs
                if not _alone_as_together(layer, shape):
                    found.append(type(layer).__name__)
    return found


def _alone_as_together(layer: Any, shape: tuple[int, ...]) -> bool:
    initial, x = layer.init(shape, generator(0)), generator(0).random((3, *shape))
    layout, context = Layout(initial), Context(training=False, state=initial_state(layer, shape))
    params = layout.unpack(layout.pack(initial, np.empty(layout.size)))
    together, *alone = (np.array(layer.forward(params, x[part].copy(), context)[0]) for part in PARTS)
    return np.allclose(together, np.concatenate(alone), rtol=1e-6, atol=1e-9, equal_nan=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Around a trial: NumPy's warnings say nothing here, and its global random numbers go on as if there were none."""
    before = np.random.get_state()
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        np.random.set_state(before)
