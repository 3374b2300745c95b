"""How far what a layer, or the loss, makes of an example depends on others of its batch, which is then cut accordingly.

Foreign ones are tried on a few random examples. So is whether a foreign layer keeps numbers of a pass on itself, and
cannot be used by several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from functools import partial
from typing import Any

import numpy as np

from ..errors import SettingError
from ..kernels import Context
from ..kernels.context import alone
from ..layers.base import initial_state, is_own
from ..layers.chain import inside
from ..layers.initializers import generator
from ..losses import CLASSIFICATION, MULTI_LABEL, REGRESSION, kind
from ..network import Network
from ..network.layout import Layout
from ..workers import exchange
from .converted import as_given
from .gradient import answered

Array = Any

PARTS = (slice(0, 3), slice(0, 1), slice(1, 2), slice(2, 3))
BESIDE = (
    "depends on the images beside it, in inference too, so predictions depend on which images come together; give it a "
    "running state (init_state), or let it ask context.training"
)
CHANCE = (
    "is another one each time, in inference too, and so are predictions; let it draw only where context.training is "
    "true, by context.uniform"
)
PARTS_OF_LOSS = (slice(0, 4), slice(0, 1), slice(1, 4))


class Reach(IntEnum):
    """What a layer's output for an example depends on in training."""

    EXAMPLE = 0  # on that example: the batch may be cut anywhere
    SUMS = 1  # on sums over the batch, got by context.total: a part for each worker, and all at the same time
    BATCH = 2  # on others in a way of its own: the batch must stay whole


def reach(network: Network) -> Reach:
    """The farthest of its layers'. What layers from elsewhere do is tried on a few random examples."""
    found = [_of_layer(layer, shape) for layer, shape in zip(network.layers, network.shapes())]
    return max(found, default=Reach.EXAMPLE)


def check_passes(network: Network) -> None:
    """Raises SettingError for a layer from elsewhere whose passes, such as those of several threads, disturb each
    other."""
    for _, layer, shape, _ in network.walk():
        layer = as_given(layer)
        if is_own(layer) or inside(layer):
            continue
        disturbed = ""
        with undisturbed(), suppress(Exception):  # what it raises is said where it runs
            disturbed = _Trial(layer, shape).disturbed
        if disturbed:
            raise SettingError(f"{type(layer).__name__} {disturbed}")


def reach_of_loss(loss: Any, outputs: int) -> Reach:
    """What a loss's numbers for an example depend on; those of losses from elsewhere are tried on a few random ones."""
    if is_own(loss):
        return Reach.EXAMPLE
    rng, logits = generator(0), generator(1).standard_normal((4, outputs))
    targets = {
        CLASSIFICATION: np.arange(4) % outputs,
        MULTI_LABEL: rng.integers(0, 2, (4, outputs)).astype(float),
        REGRESSION: rng.standard_normal((4, outputs)),
    }[kind(loss)]
    with undisturbed():
        try:
            parts = [(logits[part].copy(), targets[part].copy()) for part in PARTS_OF_LOSS]
            whole, first, second = (answered(loss, *part) for part in parts)
        except Exception:  # what it raises is said where it runs
            return Reach.EXAMPLE
    return Reach.EXAMPLE if _alike(whole, [np.concatenate(pair) for pair in zip(first, second)]) else Reach.BATCH


def _of_layer(layer: Any, shape: tuple[int, ...]) -> Reach:
    layer = as_given(layer)
    if chains := inside(layer):
        return max((reach(Network(shape, layers)) for layers in chains.values()), default=Reach.EXAMPLE)
    if is_own(layer):
        return Reach.SUMS if layer.mixes else Reach.EXAMPLE
    with undisturbed():
        try:
            asked = [_Trial(layer, shape, draw).asks for draw in ("standard_normal", "random")]
        except Exception:  # what it raises is said where it runs; until then nothing is known of it
            return Reach.BATCH
    if None in asked:
        return Reach.BATCH
    if any(asked):
        return Reach.SUMS
    return Reach.BATCH if initial_state(layer, shape) or getattr(layer, "mixes", False) else Reach.EXAMPLE


class _Trial:
    """A layer from elsewhere with parameters of its own, and four random examples. draw: how they are drawn."""

    def __init__(self, layer: Any, shape: tuple[int, ...], draw: str = "standard_normal") -> None:
        rng, initial = generator(0), layer.init(shape, generator(0))
        self.layer, self.shape, self.layout = layer, shape, Layout(initial)
        self.theta = self.layout.pack(initial, np.empty(self.layout.size))
        self.theta += 0.1 * rng.standard_normal(self.layout.size)  # a factor of 0 would hide what it stands before
        self.x = getattr(rng, draw)((4, *shape))
        self.dy = rng.standard_normal((4, *layer.out_shape(shape)))

    def forward(self, part: slice, x: Array, total: Any = alone) -> tuple[Any, Any, Any, Context]:
        """The output and the residual, the parameters and the context."""
        params, state = self.layout.unpack(self.theta.copy()), initial_state(self.layer, self.shape)
        context = Context(examples=np.arange(4)[part], update=1, state=state, total=total)
        return *self.layer.forward(params, x[part].copy(), context), params, context

    def passes(self, part: slice, total: Any = alone, between: Any = None) -> list[Array]:
        """The output, the gradients by input and parameters, and what has become of the output then. between: what is
        called between forward and backward."""
        y, residual, params, context = self.forward(part, self.x, total)
        given = np.array(y)
        if between is not None:
            between()
        dx, dparams = self.layer.backward(params, residual, self.dy[part].copy(), context)
        return [given, np.array(dx), self.layout.pack(dparams, np.zeros(self.layout.size)), np.array(y)]

    @property
    def asks(self) -> bool | None:
        """Whether it asks for sums, in one part and in two that exchange them; None: their numbers differ.

        Outputs, gradients by the input, and gradients by the parameters must be the same.
        """
        asked = []

        def told(numbers: Array) -> Array:
            asked.append(numbers)
            return exchange.total(numbers)

        whole = self.passes(slice(0, 4), told)
        first, second = exchange.one_by_one(self.passes, [(slice(0, 1), told), (slice(1, 4), told)])
        parts = [*(np.concatenate(pair) for pair in zip(first[:2], second[:2])), first[2] + second[2]]
        return bool(asked) if _alike(whole[:3], parts) else None

    @property
    def disturbed(self) -> str:
        """What another pass, as of another thread, changes of one that is under way; "" where it changes nothing."""
        usual, again = (self.passes(slice(0, 4)) for _ in range(2))

        def another() -> None:
            with np.errstate(all="ignore"), suppress(Exception):  # a thread has its own settings, and prints its errors
                self.forward(slice(0, 4), self.x[::-1] + 1)

        def beside() -> None:
            thread = threading.Thread(target=another)
            thread.start()
            thread.join()

        other = self.passes(slice(0, 4), between=beside)
        if not _alike(usual, again):  # it gives something else each time
            return ""
        if not _alike(usual[3:], other[3:]):
            return "gives the same array in each pass, which threads that share it overwrite; make a new one"
        if not _alike(usual[1:3], other[1:3]):
            return (
                "keeps numbers of a pass on itself, which threads that share it overwrite; let forward return what "
                "backward needs as its residual, as in `return y, x`"
            )
        return ""


def _alike(found: Sequence[Array], expected: Sequence[Array]) -> bool:
    return all(np.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True) for a, b in zip(found, expected))


def at_inference(network: Network) -> list[str]:
    """Sentences about layers from elsewhere whose outputs depend on other images in inference, too, or on chance."""
    found = []
    for _, layer, shape, _ in network.walk():
        layer = as_given(layer)
        if not is_own(layer):
            with undisturbed(), suppress(Exception):  # what it raises is said where it runs
                if how := _varies(layer, shape):
                    found.append(f"what {type(layer).__name__} gives for an image {how}")
    return found


def _varies(layer: Any, shape: tuple[int, ...]) -> str:
    """What is said of an output in inference that is another one than before, or than without the others; else ""."""
    initial, x = layer.init(shape, generator(0)), generator(0).random((3, *shape))
    layout, context = Layout(initial), Context(training=False, state=initial_state(layer, shape))
    params = layout.unpack(layout.pack(initial, np.empty(layout.size)))
    again, together, *alone = (
        np.array(layer.forward(params, x[part].copy(), context)[0]) for part in (PARTS[0], *PARTS)
    )
    like = partial(np.allclose, together, rtol=1e-6, atol=1e-9, equal_nan=True)
    return CHANCE if not like(again) else "" if like(np.concatenate(alone)) else BESIDE


@contextmanager
def undisturbed() -> Iterator[None]:
    """Around a trial: NumPy's warnings say nothing here, and its global random numbers go on as if there were none."""
    before = np.random.get_state()
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        np.random.set_state(before)
