"""The work of one CPU step that workers share: gradients of shards of a batch, and the update in pieces of theta."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..kernels import Factors, Kernels, Moment
from ..losses import Loss
from ..network.layout import at
from ..optimizers import Part, State
from ..training.augmentation import Augmentation
from ..workers import Task
from .factors import FactorStore
from .gradient import Others, gradient
from .program import Program
from .update import Rules

Array = Any


class Shard(NamedTuple):
    """Examples of a batch, taken from the data set. first: the number of the first one in the batch.

    weights, the examples' indices, and those that they are mixed with, are None where nobody wants them.
    """

    first: int
    images: Array
    targets: Array
    weights: Array | None
    indices: Array | None
    partners: Partners | None = None


class Partners(NamedTuple):
    """The examples of a batch that a shard's are mixed with, one each."""

    images: Array
    targets: Array
    weights: Array | None
    indices: Array


class Done(NamedTuple):
    """What a worker has: the losses of its shards, which slots have only factors, the next running state or None."""

    losses: list[Array]
    factored: tuple[int, ...]
    state: Array | None


def changed(how: Augmentation | None, shard: Shard, step: int) -> tuple[Array, Others | None]:
    """The shard's images as they are trained on in update `step`, and what they are mixed with, if they are."""
    if how is None:
        return shard.images, None
    images, partners = how(shard.images, shard.indices, step), shard.partners
    if partners is None:
        return images, None
    mixture = how.mixture(shard.indices, step, *images.shape[1:3])
    images = mixture(images, how(partners.images, partners.indices, step))
    return images, Others(partners.targets, partners.weights, mixture.share)


@dataclass(frozen=True, eq=False)
class ShardGradients(Task):
    """The gradients of one step, which workers share: what `Workers.map` runs, here or in a helper process.

    sums: a gradient as long as theta for each worker, one after the other in one vector. store: the factors of
    gradients that are multiplied later. augmentation: what happens to the images, if anything.
    """

    program: Program
    loss: Loss
    sums: Array
    store: FactorStore
    augmentation: Augmentation | None

    def __call__(self, w: int, examples: int, step: int, shards: Iterable[Shard], adds: bool, is_last: bool) -> Done:
        """The summed gradient of some shards of a batch of `examples` in all, written to the sum of worker w.

        step: the update's number; adds: whether it is added to what stands there; is_last: whether this worker is the
        one that tells the next state.
        """
        program, state = self.program, None
        losses: list[Array] = []
        factored: tuple[int, ...] = ()
        for shard in shards:
            images, others = changed(self.augmentation, shard, step)
            context = program.told(step, shard.indices)
            x = program.scaling(images, program.theta.dtype, context.kernels)
            arguments = program.network, self.loss, program.params, x, shard.targets, context, shard.weights
            of_shard, dparams, state = gradient(*arguments, others, first=program.first)
            factored = self._add(w, examples, shard.first, dparams, first=not (adds or losses))
            losses.append(of_shard)
        told = program.state_layout.pack(state, program.state.copy()) if state and is_last else None
        return Done(losses, factored, told)

    def _add(self, w: int, examples: int, start: int, dparams: Any, *, first: bool) -> tuple[int, ...]:
        """Add a shard's gradient to the sum of worker w, or begin that with it; the slots that have only factors."""
        factored = []
        for k, (slot, total) in enumerate(zip(self.program.moved.slots, self._sums[w])):
            g = at(dparams, slot.path)
            if isinstance(g, Factors):
                if k in self.store.slots:
                    self.store.keep(k, g, start, examples)
                    factored.append(k)
                    continue
                g = self.program.context.kernels.matmul(g.x.T, g.dy)  # large, too, but not to be kept
            if first:
                total[...] = g
            else:
                total += g
        return tuple(factored)

    @functools.cached_property
    def _sums(self) -> list[list[Array]]:
        return [self.program.moved.views(row) for row in _rows(self.sums, self.program.theta)]


class Piece(NamedTuple):
    """A piece of a part of theta, updated at once. factors: of its gradient, where it has some instead of sums."""

    place: slice
    part: Part
    factors: tuple[Array, Array] | None = None


@dataclass(frozen=True, eq=False)
class ShardUpdate(Task):
    """Add the workers' sums, take the mean over the examples, and let the optimiser write theta, piece by piece."""

    rules: Rules
    theta: Array
    sums: Array
    state: State
    chunk: int
    kernels: Kernels
    store: FactorStore

    def __call__(
        self,
        w: int,
        threads: int,
        used: int,
        examples: int,
        lr: float,
        step: int,
        factored: tuple[int, ...],
        reduced: Array | None = None,
    ) -> None:
        """The pieces w, w + threads, ...; used: how many of the sums hold a gradient, but not of slots `factored`.

        reduced: what the optimiser wanted to know of the whole gradient; then the mean is taken already.
        """
        plain, moment = self.rules.plain, Moment(None, lr, step)
        for piece in self._pieces(examples, factored)[w::threads]:
            here = piece.place
            g = self._sums[0][here] if reduced is not None else self.mean(piece, used, examples)
            state = {name: vector[here] for name, vector in self.state.items()}
            if plain is not None:  # small networks' steps are short
                plain.update(self.theta[here], g, state, lr, step)
            else:
                self.rules.write(piece.part, self.theta[here], g, state, moment, self.kernels, reduced)

    def mean(self, piece: Piece, used: int, examples: int) -> Array:
        """A piece of the mean gradient, in the first of the sums or in memory of its own."""
        first, *others = self._sums[:used]
        if piece.factors is None:
            g = first[piece.place]
            for other in others:
                g += other[piece.place]
        else:
            g = self.kernels.matmul(*piece.factors).reshape(-1)
        g *= 1 / examples
        return g

    @functools.cached_property
    def count(self) -> int:
        """How many pieces there are at most to share out."""
        return len(self.plain)

    def _pieces(self, examples: int, factored: tuple[int, ...]) -> list[Piece]:
        """All of theta in pieces. factored: the slots whose gradients are factors, which have pieces of their own."""
        if not factored:
            return self.plain
        pieces, views = [], self.store.views(examples)
        for part in self.rules.parts:
            start, stop = part.place.start, part.place.stop
            for k in factored:
                (I, J), place, (x, dy) = self.store.slots[k].shape, self.store.slots[k].place, views[k]
                if not start <= place.start < stop:
                    continue
                rows = max(1, self.chunk // J)
                pieces += self._cut(part, start, place.start)
                for row in range(0, I, rows):
                    last = min(row + rows, I)
                    here = slice(place.start + row * J, place.start + last * J)
                    pieces.append(Piece(here, part, factors=(x[row:last], dy)))
                start = place.stop
            pieces += self._cut(part, start, stop)
        return pieces

    def _cut(self, part: Part, start: int, stop: int) -> list[Piece]:
        if part.slot is not None:
            return [Piece(part.place, part)]
        return [Piece(slice(k, min(k + self.chunk, stop)), part) for k in range(start, stop, self.chunk)]

    @functools.cached_property
    def plain(self) -> list[Piece]:
        """All of theta in pieces, where no gradient has come as factors."""
        return [piece for part in self.rules.parts for piece in self._cut(part, part.place.start, part.place.stop)]

    @functools.cached_property
    def _sums(self) -> list[Array]:
        return _rows(self.sums, self.theta)


@dataclass(frozen=True, eq=False)
class ShardReduction(Task):
    """Write the mean gradient to the first of the workers' sums, and tell what the optimiser wants to know of it."""

    update: ShardUpdate

    def __call__(self, w: int, threads: int, used: int, examples: int) -> list[Array]:
        """What the optimiser wants to know of each of the pieces w, w + threads, ..."""
        pieces = self.update.plain[w::threads]
        return [self.update.rules.reduce(self.update.mean(piece, used, examples)) for piece in pieces]


def _rows(sums: Array, theta: Array) -> list[Array]:
    size = theta.shape[0]
    return [sums[start : start + size] for start in range(0, sums.shape[0], size)]
