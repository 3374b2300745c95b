"""The step of one device that computes a batch as a whole: any array library, any table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from ..kernels import Moment
from ..layers.base import is_own
from ..losses import Loss
from ..namespace import array_namespace, joined
from ..training.augmentation import Augmentation, Mixture
from .converted import foreign
from .gradient import Others, gradient
from .program import Program
from .update import Rules, vectors

Array = Any


class WholeStep:
    """The update of theta by one batch, launched operation by operation; theta and state are written in place.

    at_once: how many examples are computed together at most. The gradients of parts of a batch are added up, and the
    layers' running state follows part by part; None is all of them.
    examples: where the arrays that it is called with are a part of the data set, their rows' indices in it; else None.
    foreign: the name of a class of the step that is not gpucnn's own, if there is one.
    """

    def __init__(
        self,
        program: Program,
        loss: Loss,
        rules: Rules,
        augmentation: Augmentation | None = None,
        *,
        at_once: int | None = None,
    ) -> None:
        self.program, self.loss, self.rules, self.augmentation = program, loss, rules, augmentation
        self.theta, self.state, self.steps = program.theta, rules.initial(program.theta), 0
        self._g = array_namespace(self.theta).zeros_like(self.theta)
        self.at_once = at_once
        self._of_part = self._g if at_once is None else array_namespace(self.theta).zeros_like(self.theta)
        self._next = array_namespace(program.state).zeros_like(program.state)
        self._held: dict[int, Moment] = {}
        self._held_ten: Any = None
        of_loss = [] if is_own(loss) else [type(loss).__name__]
        self.foreign = next(chain(foreign(program.network.layers), of_loss, rules.foreign), None)
        self._is_begun = self.foreign is not None
        if program.context.kernels.takes_factors and self.foreign is None:
            self.program = replace(program, context=replace(program.context, factored=0))
        self.examples: Array | None = None

    @property
    def vectors(self) -> dict[str, Array]:
        return vectors(self.theta, self.program.state, self.state)

    @property
    def average(self) -> Array | None:
        """The vector that stands for theta outside of training, if the optimiser keeps one."""
        return self.rules.average(self.state)

    def __call__(self, images: Array, targets: Array, batch: Array, lr: float, weights: Array | None = None) -> Array:
        """Update theta by the examples `batch` (indices) of images and targets; their losses, on the device."""
        return self.run(self.begin(batch, lr), images, targets, weights)

    def begin(self, batch: Array, lr: float) -> Moment:
        """The next update's moment, in the arrays of earlier ones of as many examples."""
        self.program.check_process()
        self.steps += 1
        examples = batch.shape[0]
        moment = self.program.context.kernels.begin(
            batch, lr, self.steps, self.rules.parts[0].rule, self._held.get(examples)
        )
        if self.examples is not None:
            moment = replace(moment, examples=self.examples[:examples])
        self._held[examples] = moment
        return moment

    def begin_ten(self, batches: Array, lrs: Sequence[float]) -> list[Moment]:
        """The moments of the next ten updates, by equal batches one after the other, in a CUDA table's arrays."""
        self.program.check_process()
        first, self.steps = self.steps + 1, self.steps + len(lrs)
        kernels: Any = self.program.context.kernels
        self._held_ten, moments = kernels.begin_ten(batches, lrs, first, self.rules.parts[0].rule, self._held_ten)
        return moments

    def run(self, moment: Moment, images: Array, targets: Array, weights: Array | None = None) -> Array:
        """The step itself. What changes from one to the next is in moment."""
        count, kernels, losses = moment.order.shape[0], self.program.context.kernels, []
        size = self.at_once or max(1, count)
        if not self._is_begun:
            self._is_begun = True  # the kernels depend on how many examples are computed at once
            kernels.ahead(lambda: self._computed(_cut(moment, slice(0, size)), images, targets, weights))
        for start in range(0, max(1, count), size):
            part = moment if size >= count else _cut(moment, slice(start, start + size))
            losses.append(self._gradient(part, images, targets, weights, self._of_part if start else self._g))
            if start:
                self._g += self._of_part
        self.rules.apply(self.theta, self._g, self.state, 1 / count, moment, kernels)
        return joined(losses)

    def _gradient(self, moment: Moment, images: Array, targets: Array, weights: Array | None, g: Array) -> Array:
        """Write the summed gradient of the moment's examples into g, and the next running state; -> their losses."""
        program = self.program
        losses, dparams, state = self._computed(moment, images, targets, weights)
        if state:
            program.state[...] = program.state_layout.pack(state, self._next)  # which may be made of views of it
        program.context.kernels.collect(program.moved, dparams, g)
        return losses

    def _computed(
        self, moment: Moment, images: Array, targets: Array, weights: Array | None
    ) -> tuple[Array, dict[str, Any], dict[str, Any]]:
        """The moment's examples -> their losses, the gradient of the sum of these, the next running state."""
        program, kernels = self.program, self.program.context.kernels
        mixture = self._mixture(moment, images)
        x = kernels.gather(images, moment, self.theta.dtype, program.scaling, self.augmentation, mixture)
        context = program.told(moment.number, moment.identity) if program.network.has_place else program.context
        own, own_weights = self._taken(targets, weights, moment)
        others = None
        if mixture is not None:
            partners = array_namespace(moment.order).take(moment.order, mixture.partners, axis=0)
            others = Others(*self._taken(targets, weights, replace(moment, order=partners)), mixture.share)
        chosen = own, context, own_weights, others
        return gradient(program.network, self.loss, program.params, x, *chosen, first=program.first)

    def _mixture(self, moment: Moment, images: Array) -> Mixture | None:
        """How the batch's images are mixed with one another, if they are."""
        if self.augmentation is None or not self.augmentation.mixes:
            return None
        return self.augmentation.mixture(moment.identity, moment.number, *images.shape[1:3])

    def _taken(self, targets: Array, weights: Array | None, moment: Moment) -> tuple[Array, Array | None]:
        take = self.program.context.kernels.take
        return take(targets, moment), None if weights is None else take(weights, moment)


class StepAround:
    """A step around another one, which does the updates: how many are done, and what they change, is that one's."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.theta = inner, inner.theta

    @property
    def steps(self) -> int:
        return self.inner.steps

    @steps.setter
    def steps(self, done: int) -> None:
        self.inner.steps = done

    @property
    def vectors(self) -> dict[str, Array]:
        return self.inner.vectors

    @property
    def average(self) -> Array | None:
        return self.inner.average


def _cut(moment: Moment, part: slice) -> Moment:
    """The moment of a part of its batch."""
    examples = None if moment.examples is None else moment.examples[part]
    return replace(moment, order=moment.order[part], examples=examples)
