"""The step of a CPU: a batch in shards that workers share, and the optimiser in pieces of theta."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

from ..losses import Loss
from ..namespace import array_namespace, joined
from ..network import Network
from ..training.augmentation import Augmentation
from ..workers import Workers, exchange
from .factors import FactorStore, large_slots
from .mixing import Reach
from .program import Program
from .shards import Done, Partners, Shard, ShardGradients, ShardReduction, ShardUpdate
from .update import Rules, vectors

Array = Any

CHUNK = 1 << 16  # numbers of theta updated at a time: theta, gradients and state stay in the cache
CACHE = 1 << 22  # bytes: activations of a shard up to this size are still in the cache when backward needs them
MEMORY = 1 << 27  # bytes: a shard's activations should not exceed this
WRITERS = 4  # threads that write theta at most: more would wait for Python's lock
WORTH_A_WORKER = 2e7  # multiply-adds, about half a millisecond: a worker with less to do costs more than it gains
OF_A_PIXEL = 80  # multiply-adds that take as long as the other work on one pixel of the input


class ShardedStep:
    """The update of theta by one batch.

    theta is written in place. With several workers, worker w takes shards w, w + workers, ... in order and adds them
    into a vector of its own; these are added in the order of w: the same number of workers gives the same bits. A
    network whose layers need sums over the batch is cut into one shard for each worker, and these compute side by side.
    Where examples of a batch meet, at_once of them are computed together at most, and the gradients added up.
    Helper processes compute gradients only, which can be computed again when one is lost; threads of this one write.
    """

    def __init__(
        self,
        program: Program,
        loss: Loss,
        rules: Rules,
        augmentation: Augmentation | None,
        *,
        workers: Workers,
        shard: int,
        reach: Reach,
        at_once: int | None = None,
    ) -> None:
        theta, self.program, self.workers, self.reach = program.theta, program, workers, reach
        alone = reach is Reach.EXAMPLE and not (augmentation is not None and augmentation.mixes)
        self.at_once = None if alone else at_once
        self.theta, self.steps = theta, 0
        self.rules, self.state = rules, rules.initial(theta)
        self._per_example, self._shard = workers_worth(program.network), shard
        store = FactorStore(rules.factored(large_slots(program.moved)), workers.zeros(0, theta))
        context = replace(program.context, factored=store.least)
        if reach is Reach.SUMS:
            context = replace(context, total=exchange.total)
        sums = workers.zeros(workers.threads, theta)
        self._gradients = ShardGradients(replace(program, context=context), loss, sums, store, augmentation)
        self._update = ShardUpdate(rules, theta, sums, self.state, CHUNK, context.kernels, store)
        self._reduction = ShardReduction(self._update) if rules.reduces else None

    @property
    def vectors(self) -> dict[str, Array]:
        return vectors(self.theta, self.program.state, self.state)

    @property
    def average(self) -> Array | None:
        """The vector that stands for theta outside of training, if the optimiser keeps one."""
        return self.rules.average(self.state)

    def __call__(self, images: Array, targets: Array, batch: Array, lr: float, weights: Array | None = None) -> Array:
        """Update theta by the examples `batch` (indices) of images and targets; their losses, on the device."""
        self.program.check_process()
        examples, number = batch.shape[0], self.steps + 1
        how, losses = self._gradients.augmentation, []
        size, most = self.at_once or max(1, examples), 0
        for start in range(0, max(1, examples), size):
            part = batch[start : start + size]
            shards, used = self._shards(part)
            begun, most = most, max(most, used)  # a shorter part may be shared by more workers
            partners = how.partners(part, number) if how is not None and how.mixes else None
            taken = [self._taken(start, *shard, partners, images, targets, weights) for shard in shards]
            work = [(w, examples, number, taken[w::used], w < begun, w == used - 1) for w in range(used)]
            done: list[Done] = self.workers.map(self._task(examples), work, together=self.reach is Reach.SUMS)
            if done[-1].state is not None:
                self.program.state[...] = done[-1].state
            losses += [done[k % used].losses[k // used] for k in range(len(shards))]
        self.steps = number
        self._apply(most, examples, lr, done[0].factored)
        return joined(losses)

    def _taken(self, start: int, first: int, indices: Array, partners: Array | None, *data: Any) -> Shard:
        """A shard of those examples, the first of which is number start + first of the batch.

        partners: what the examples from number start on are mixed with; data: images, targets, weights.
        """
        wanted = self._gradients.augmentation is not None or self.program.network.has_place
        mixed = None
        if partners is not None:
            partners = partners[first : first + indices.shape[0]]
            mixed = Partners(*self._chosen(partners, *data), partners)
        return Shard(start + first, *self._chosen(indices, *data), indices if wanted else None, mixed)

    def _chosen(
        self, indices: Array, images: Array, targets: Array, weights: Array | None
    ) -> tuple[Array, Array, Array | None]:
        take = functools.partial(array_namespace(self.theta).take, indices=indices, axis=0)
        return take(images), take(targets), None if weights is None else take(weights)

    def _apply(self, used: int, examples: int, lr: float, factored: tuple[int, ...]) -> None:
        threads = min(used, self._update.count, WRITERS)
        settings: tuple[Any, ...] = (threads, used, examples, lr, self.steps, factored)
        if self._reduction is not None:
            found = self.workers.map_here(self._reduction, [(w, threads, used, examples) for w in range(threads)])
            in_order = [found[k % threads][k // threads] for k in range(len(self._update.plain))]
            settings = (*settings, sum(in_order[1:], in_order[0]))
        self.workers.map_here(self._update, [(w, *settings) for w in range(threads)])

    def _task(self, examples: int) -> ShardGradients:
        """The task that computes the gradients of a batch of that many examples, with room for their factors."""
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
        program = self._gradients.program
        plain = replace(program, context=replace(program.context, factored=math.inf))
        return replace(self._gradients, program=plain)

    def _shards(self, batch: Array) -> tuple[list[tuple[int, Array]], int]:
        """The batch in equal parts, and how many workers share them.

        A part is the number of its first example in the batch, and its examples' indices.
        """
        count = batch.shape[0]
        workers = 1 if self.reach is Reach.BATCH else useful_workers(self._per_example, count, self.workers.threads)
        size = -(-count // workers)
        if self.reach is Reach.EXAMPLE:
            size = min(self._shard, size)
        shards = [(start, batch[start : start + size]) for start in range(0, count, size)]
        return shards, min(len(shards), workers)


def workers_worth(network: Network) -> float:
    """The workers that one example can keep busy, less than one; times the batch size, those that a step can."""
    return (3 * network.multiply_adds() + OF_A_PIXEL * math.prod(network.input_shape)) / WORTH_A_WORKER


def useful_workers(worth: float, examples: int, threads: int) -> int:
    """How many of `threads` workers share a step of that many examples. worth: from `workers_worth`."""
    return max(1, min(threads, int(worth * examples)))


def shard_size(network: Network, parameters: int) -> int:
    """Examples per shard on a CPU: a power of two up to 256 whose activations fit the cache, yet at least 64.

    More where there are many parameters, because every shard reads them all once; fewer, down to 16, where activations
    would take too much memory.
    """
    numbers = sum(network.output_sizes())
    wanted = max(CACHE // 4, 1.5 * parameters, min(64 * numbers, MEMORY // 4)) / numbers
    return min(256, 1 << max(4, round(math.log2(wanted))))
