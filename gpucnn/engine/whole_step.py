"""The step of one device that computes a batch as a whole: any array library, any table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..kernels import Context, Moment
from ..losses import Loss
from ..namespace import array_namespace
from ..network import Network
from ..network.layout import Layout
from ..optimizers import Optimizer, State
from ..training.augmentation import Augmentation
from .gradient import gradient
from .scaling import Scaling
from .update import apply

Array = Any


class WholeStep:
    """The update of theta by one batch, launched operation by operation; theta and state are written in place."""

    def __init__(
        self,
        network: Network,
        loss: Loss,
        theta: Array,
        optimizer: Optimizer,
        *,
        layout: Layout,
        state_layout: Layout,
        state: Array,
        scaling: Scaling,
        context: Context,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.network, self.loss, self.theta, self.optimizer = network, loss, theta, optimizer
        self.layout, self.scaling, self.augmentation = layout, scaling, augmentation
        self.context = replace(context, training=True)
        self.state: State = optimizer.init(theta)
        self.steps = 0
        self._params, self._g = layout.unpack(theta), array_namespace(theta).zeros_like(theta)
        self._state_layout, self._of_layers = state_layout, state
        self._held: dict[int, Moment] = {}

    def __call__(self, images: Array, targets: Array, batch: Array, lr: float, weights: Array | None = None) -> Array:
        """Update theta by the examples `batch` (indices) of images and targets; their losses, on the device."""
        return self.run(self.begin(batch, lr), images, targets, weights)

    def begin(self, batch: Array, lr: float) -> Moment:
        """The next update's moment, in the arrays of earlier ones of as many examples."""
        self.steps += 1
        examples = batch.shape[0]
        moment = self.context.kernels.begin(batch, lr, self.steps, self.optimizer, self._held.get(examples))
        self._held[examples] = moment
        return moment

    def run(self, moment: Moment, images: Array, targets: Array, weights: Array | None = None) -> Array:
        """The step itself. What changes from one to the next is in moment."""
        kernels, context = self.context.kernels, self.context
        x = kernels.gather(images, moment, self.theta.dtype, self.scaling, self.augmentation)
        if self.network.has_place:
            state = self._state_layout.unpack(self._of_layers)
            context = replace(context, update=moment.number, examples=moment.order, state=state)
        chosen = kernels.take(targets, moment), None if weights is None else kernels.take(weights, moment)
        losses, dparams, state = gradient(self.network, self.loss, self._params, x, chosen[0], context, chosen[1])
        if state:
            self._state_layout.pack(state, self._of_layers)
        kernels.collect(self.layout, dparams, self._g)
        self._update(1 / moment.order.shape[0], moment)
        return losses

    def _update(self, mean: float, moment: Moment) -> None:
        """Let the optimiser write theta, from the summed gradient; mean: 1 / examples."""
        fast = self.context.kernels.updates.get(type(self.optimizer))
        if fast is not None:
            fast(self.optimizer, self.theta, self._g, self.state, mean, moment)
            return
        self._g *= mean
        apply(self.optimizer, self.layout.slots, self.theta, self._g, self.state, moment.lr, moment.step)
