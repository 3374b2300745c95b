"""One update of theta: the gradient of a batch, whole or in shards on CPU threads, and the optimiser."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from .augmentation import Augmentation
from .errors import SettingError
from .factors import FactorStore, large_slots
from .kernels import CPU_TABLES, Context, Factors, Kernels
from .losses import Loss
from .namespace import array_namespace
from .network import Network
from .optimizers import Optimizer, State
from .parameters import Layout, at
from .workers import Task, Workers

Array = Any

CHUNK = 1 << 16  # numbers of theta updated at a time on a CPU: theta, gradients and state stay in the cache
CACHE = 1 << 22  # bytes of a shard's activations that still are in the cache when they are needed again
MEMORY = 1 << 27  # bytes that they should not exceed
WORTH_A_WORKER = 2e7  # multiply-adds, about half a millisecond, below which a worker costs more than it gains
OF_A_PIXEL = 80  # multiply-adds that take as long as what is done to a pixel beside them


@dataclass(frozen=True)
class Scaling:
    """How stored pixels become inputs: x = pixel * scale + shift for uint8; floats are taken as they are."""

    scale: float = 1 / 255
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and math.isfinite(self.shift)):
            raise SettingError(f"{self}: finite numbers were expected")

    def __call__(self, images: Array, dtype: Any, context: Context) -> Array:
        """images (N, H, W, C) -> the same in dtype, in the layout of context.kernels."""
        xp = array_namespace(images)
        if images.dtype == xp.uint8:
            return context.kernels.pixels(images, dtype, self.scale, self.shift)
        return context.kernels.enter(xp.astype(images, dtype))


def gradient(
    network: Network, loss: Loss, params: Any, x: Array, labels: Array, context: Context
) -> tuple[Array, dict[str, Any]]:
    """Losses (N,) and the gradient of their sum, shaped as params. Pure: any thread may call it on its own shard.

    x (N, ...) in the layout of context.kernels, labels (N,).
    """
    logits, residuals = network.forward(params, x, context)
    compute = context.kernels.losses.get(type(loss), loss)
    losses, d_logits = compute(context.kernels.leave(logits), labels)
    _, dparams = network.backward(params, residuals, context.kernels.enter(d_logits), context, need_dx=False)
    return losses, dparams


@dataclass(frozen=True, eq=False)
class ShardGradients(Task):
    """The work of one step that shards share: what `Workers.map` runs, here or in a helper process.

    sums: a gradient as long as theta for each worker, one after the other in one vector. store: the factors of
    gradients that are multiplied later. augmentation: what happens to the images, if anything.
    """

    network: Network
    loss: Loss
    layout: Layout
    scaling: Scaling
    context: Context
    theta: Array
    sums: Array
    store: FactorStore
    augmentation: Augmentation | None

    def __call__(
        self, w: int, examples: int, step: int, shards: Iterable[tuple[int, Array, Array, Array | None]]
    ) -> tuple[list[Array], tuple[int, ...]]:
        """The summed gradient of some (first, images, labels, indices) of a batch, written to the sum of worker w.

        step: the update's number; indices: of the examples, where an augmentation wants them. Returns their losses, and
        which slots have only factors.
        """
        losses: list[Array] = []
        factored: list[int] = []
        for first, images, labels, indices in shards:
            if self.augmentation is not None:
                images = self.augmentation(images, indices, step)
            x = self.scaling(images, self.theta.dtype, self.context)
            of_shard, dparams = gradient(self.network, self.loss, self._params, x, labels, self.context)
            factored = []
            for k, (slot, total) in enumerate(zip(self.layout.slots, self._sums[w])):
                g = at(dparams, slot.path)
                if isinstance(g, Factors):
                    self.store.keep(k, g, first, examples)
                    factored.append(k)
                elif losses:
                    total += g
                else:
                    total[...] = g
            losses.append(of_shard)
        return losses, tuple(factored)

    @functools.cached_property
    def _params(self) -> Any:
        return self.layout.unpack(self.theta)

    @functools.cached_property
    def _sums(self) -> list[list[Array]]:
        return [self.layout.views(row) for row in _rows(self.sums, self.theta)]


@dataclass(frozen=True, eq=False)
class Update(Task):
    """Add the workers' sums, take the mean over the examples, and let the optimiser write theta, in chunks."""

    optimizer: Optimizer
    theta: Array
    sums: Array
    state: State
    chunk: int
    kernels: Kernels
    store: FactorStore

    def __call__(
        self, w: int, threads: int, used: int, examples: int, lr: float, step: int, factored: tuple[int, ...]
    ) -> None:
        """The chunks w, w + threads, ...; used: how many of the sums hold a gradient, but not of slots `factored`."""
        first, *others = self._sums[:used]
        for here, factors in self._chunks(examples, factored)[w::threads]:
            if factors is None:
                g = first[here]
                for other in others:
                    g += other[here]
            else:
                g = self.kernels.matmul(*factors).reshape(-1)
            g *= 1 / examples
            state = {name: vector[here] for name, vector in self.state.items()}
            self.optimizer.update(self.theta[here], g, state, lr, step)

    def _chunks(self, examples: int, factored: tuple[int, ...]) -> list[tuple[slice, tuple[Array, Array] | None]]:
        """All of theta: which part, and the factors of its gradient where it has some."""
        if not factored:
            return self._plain
        chunks, start, views = [], 0, self.store.views(examples)
        for k in factored:
            (I, J), place, (x, dy) = self.store.slots[k].shape, self.store.slots[k].place, views[k]
            rows = max(1, self.chunk // J)
            chunks += self._cut(start, place.start)
            for row in range(0, I, rows):
                last = min(row + rows, I)
                chunks.append((slice(place.start + row * J, place.start + last * J), (x[row:last], dy)))
            start = place.stop
        return chunks + self._cut(start, self.theta.shape[0])

    def _cut(self, start: int, stop: int) -> list[tuple[slice, Any]]:
        return [(slice(k, min(k + self.chunk, stop)), None) for k in range(start, stop, self.chunk)]

    @functools.cached_property
    def _plain(self) -> list[tuple[slice, Any]]:
        return self._cut(0, self.theta.shape[0])

    @functools.cached_property
    def _sums(self) -> list[Array]:
        return _rows(self.sums, self.theta)


def _rows(sums: Array, theta: Array) -> list[Array]:
    size = theta.shape[0]
    return [sums[start : start + size] for start in range(0, sums.shape[0], size)]


class Step:
    """The update of theta by one batch.

    theta is written in place. With several workers, worker w takes shards w, w + workers, ... in order and adds them
    into a vector of its own; these are added in the order of w: the same number of workers gives the same bits.
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        theta: Array,
        optimizer: Optimizer,
        *,
        layout: Layout,
        scaling: Scaling,
        context: Context,
        workers: Workers,
        shard: int | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._xp = array_namespace(theta)
        self.theta, self.workers = theta, workers
        self.steps = 0
        self.state: State = {name: workers.share(vector) for name, vector in optimizer.init(theta).items()}
        self._per_example = workers_worth(network)
        self._shard = shard or shard_size(network, theta.shape[0])
        self._sharded = context.kernels.name in CPU_TABLES
        store = FactorStore(large_slots(network, layout) if self._sharded else {}, workers.zeros(0, theta))
        context, sums = replace(context, training=True, factored=store.least), workers.zeros(workers.threads, theta)
        self._gradients = ShardGradients(network, loss, layout, scaling, context, theta, sums, store, augmentation)
        chunk = CHUNK if self._sharded else theta.shape[0]
        self._update = Update(optimizer, theta, sums, self.state, chunk, context.kernels, store)

    def __call__(self, images: Array, labels: Array, batch: Array, lr: float) -> Array:
        """Update theta by the examples `batch` (indices) of images and labels; their losses, on the device."""
        take = self._xp.take
        shards, used = self._shards(batch)
        indices = self._gradients.augmentation is not None
        of_shard = [
            (first, take(images, s, axis=0), take(labels, s, axis=0), s if indices else None) for first, s in shards
        ]
        number = self.steps + 1
        done = self.workers.map(
            self._task(batch.shape[0]), [(w, batch.shape[0], number, of_shard[w::used]) for w in range(used)]
        )
        self.steps = number
        threads = min(used, -(-self.theta.shape[0] // self._update.chunk))
        settings = (threads, used, batch.shape[0], lr, self.steps, done[0][1])
        self.workers.map(self._update, [(w, *settings) for w in range(threads)])
        if len(shards) == 1:
            return done[0][0][0]
        return self._xp.concat([done[k % used][0][k // used] for k in range(len(shards))])

    def _task(self, examples: int) -> ShardGradients:
        """What computes the gradients of so many examples, with room for their factors."""
        store = self._gradients.store
        if not store.is_worth(examples):
            return self._multiplied
        if store.memory.shape[0] < store.width * examples:
            store = replace(store, memory=self.workers.zeros(examples, self.theta[: store.width]))
            self._gradients, self._update = replace(self._gradients, store=store), replace(self._update, store=store)
        return self._gradients

    @functools.cached_property
    def _multiplied(self) -> ShardGradients:
        """The gradients without factors."""
        return replace(self._gradients, context=replace(self._gradients.context, factored=math.inf))

    def _shards(self, batch: Array) -> tuple[list[tuple[int, Array]], int]:
        """The batch in equal parts on the CPU's own tables, whole elsewhere; and how many workers take them.

        A part is the number of its first example in the batch, and its indices.
        """
        count = batch.shape[0]
        if not self._sharded:
            return [(0, batch)], 1
        workers = useful_workers(self._per_example, count, self.workers.threads)
        size = min(self._shard, -(-count // workers))
        shards = [(start, batch[start : start + size]) for start in range(0, count, size)]
        return shards, min(len(shards), workers)


def workers_worth(network: Network) -> float:
    """How many workers it is worth to give one example to; that times a batch is how many may share its step."""
    return (3 * network.multiply_adds() + OF_A_PIXEL * math.prod(network.input_shape)) / WORTH_A_WORKER


def useful_workers(worth: float, examples: int, threads: int) -> int:
    """How many of `threads` workers a step of so many examples is shared by. worth: from `workers_worth`."""
    return max(1, min(threads, int(worth * examples)))


def shard_size(network: Network, parameters: int) -> int:
    """Examples per shard on a CPU: a power of two up to 256 whose activations fit the cache, yet at least 64.

    But as many as weigh more than the parameters, which every shard reads once, and down to 16 where activations take
    much memory.
    """
    numbers = sum(network.output_sizes())
    wanted = max(CACHE // 4, 1.5 * parameters, min(64 * numbers, MEMORY // 4)) / numbers
    return min(256, 1 << max(4, round(math.log2(wanted))))
