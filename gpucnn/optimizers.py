"""Optimisers: each updates theta, the flat vector of all parameters, by g, the mean gradient over the batch.

They are frozen dataclasses; what changes lives in `state`, vectors as long as theta, so that one optimiser can serve
several models. Weight decay acts on all parameters. One that is put into OPTIMIZERS is known to the command at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from .errors import SettingError
from .namespace import array_namespace
from .network.layout import Layout

Array = Any
State = dict[str, Array]


class Optimizer:
    """The base of optimisers. It holds defaults only, and deriving from it is optional.

    usual_lr: the learning rate that `gpucnn train --optimizer` takes where none is given.

    theta and g come as pieces of the flat vectors: `update` is called once for each piece, and must not care where one
    ends. An optimiser that cares has `update_parameter` beside it, which is called instead, once for each parameter.
    One that must know the whole gradient first, such as its norm, has `reduce`. Both are None where they are not
    wanted.
    """

    usual_lr: ClassVar[float] = 1e-3
    reduce: ClassVar[Callable[[Any, Array], Array] | None] = None
    update_parameter: ClassVar[Callable[..., None] | None] = None

    def bind(self, layout: Layout) -> Optimizer:
        """The optimiser for parameters of these names and shapes; called once, before `init`."""
        return self

    def init(self, theta: Array) -> State:
        """The state before the first update: a dict of vectors as long as theta, on its device."""
        return {}

    def update(self, theta: Array, g: Array, state: State, lr: float, step: int) -> None:
        """Write theta and the vectors of state in place. step counts updates from 1. g may be overwritten.

        An optimiser with `reduce(g) -> Array` gets one more argument, reduced=: the sum of what that gave for the
        pieces of g. `update_parameter(slot, theta, g, state, lr, step)`, which may get reduced= too, gets its arrays in
        the shape of the parameter, whose name and shape slot tells.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """theta -= lr g; with momentum m: v = m v + g, theta -= lr v (Nesterov: lr (g + m v)).

    single-filter, "filter"; avgpool-96, "The model parameters will be updated as"; the -eta of two-conv and layered.
    weight_decay: g gains weight_decay * theta first.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1 or self.weight_decay < 0:
            raise SettingError(
                f"SGD: momentum {self.momentum} must be in [0, 1), weight decay {self.weight_decay} >= 0"
            )
        if self.nesterov and not self.momentum:
            raise SettingError("SGD: nesterov=True needs a momentum above 0")

    @property
    def usual_lr(self) -> float:  # type: ignore[override]
        return 0.03 if self.momentum else 0.1

    def init(self, theta: Array) -> State:
        return {"velocity": array_namespace(theta).zeros_like(theta)} if self.momentum else {}

    def update(self, theta: Array, g: Array, state: State, lr: float, step: int) -> None:
        if self.weight_decay:
            g += self.weight_decay * theta
        if self.momentum:
            velocity = state["velocity"]
            velocity *= self.momentum
            velocity += g
            g = lr * (g + self.momentum * velocity if self.nesterov else velocity)
        else:
            g *= lr
        theta -= g


@dataclass(frozen=True)
class Adam(Optimizer):
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g g; theta -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon).

    weight_decay is added to g (AdamW decouples it). Kingma and Ba, 2015.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.epsilon > 0 and self.weight_decay >= 0):
            raise SettingError(f"{self}: betas must be in [0, 1), epsilon > 0, weight decay >= 0")

    def init(self, theta: Array) -> State:
        xp = array_namespace(theta)
        return {"mean": xp.zeros_like(theta), "square": xp.zeros_like(theta)}

    def update(self, theta: Array, g: Array, state: State, lr: float, step: int) -> None:
        if self.weight_decay:
            g += self.weight_decay * theta
        self._move(theta, g, state, lr, step)

    def _move(self, theta: Array, g: Array, state: State, lr: float, step: int) -> None:
        mean, square = state["mean"], state["square"]
        mean *= self.beta1
        mean += (1 - self.beta1) * g
        square *= self.beta2
        g *= g
        g *= 1 - self.beta2
        square += g
        root = array_namespace(theta).sqrt(square)
        root *= 1 / (1 - self.beta2**step) ** 0.5
        root += self.epsilon
        theta -= lr / (1 - self.beta1**step) * mean / root


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam, with theta -= lr weight_decay theta beside it instead of in g. Loshchilov and Hutter, 2019."""

    weight_decay: float = 0.01

    def update(self, theta: Array, g: Array, state: State, lr: float, step: int) -> None:
        theta *= 1 - lr * self.weight_decay
        self._move(theta, g, state, lr, step)


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(),
    "adamw": AdamW(),
}


def optimizer(name: str) -> Optimizer:
    """The optimiser of that name with its usual settings. Raises SettingError with the names there are."""
    if name not in OPTIMIZERS:
        raise SettingError(f"optimizer {name!r} is not known; choose one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]
