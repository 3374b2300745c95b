"""The rules that move each number of theta by its own gradient: SGD, Adam, AdamW, RMSprop, Lion.

decay: "all" parameters, or "kernels", those that are matrices or stacks of such: no biases, no factors of norms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import SettingError
from ..namespace import array_namespace, as_numbers, sign
from .base import Optimizer, State, check_decay

Array = Any


@dataclass(frozen=True)
class SGD(Optimizer):
    """theta -= lr g; with momentum m: v = m v + g, theta -= lr v (Nesterov: lr (g + m v)).

    single-filter, "filter"; avgpool-96, "The model parameters will be updated as"; the -eta of two-conv and layered.
    weight_decay: g gains weight_decay * theta first.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decay: str = "all"

    def __post_init__(self) -> None:
        as_numbers(self)
        if not (0 <= self.momentum < 1 and 0 <= self.weight_decay < math.inf):
            raise SettingError(
                f"SGD: momentum {self.momentum} must be in [0, 1), weight decay {self.weight_decay} >= 0"
            )
        if self.nesterov and not self.momentum:
            raise SettingError("SGD: nesterov=True needs a momentum above 0")
        check_decay(self)

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
    decay: str = "all"

    def __post_init__(self) -> None:
        as_numbers(self)
        finite = 0 < self.epsilon < math.inf and 0 <= self.weight_decay < math.inf
        if not (finite and 0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise SettingError(f"{self}: betas must be in [0, 1), epsilon > 0, weight decay >= 0")
        check_decay(self)

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


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """s = a s + (1 - a) g g; theta -= lr g / (sqrt(s) + epsilon). Tieleman and Hinton, 2012, in PyTorch's form.

    centered: s less the square of a mean of g that is taken in the same way. momentum: theta -= lr v, with
    v = momentum v + g / (...). weight_decay: g gains weight_decay * theta first.
    """

    alpha: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0
    decay: str = "all"

    def __post_init__(self) -> None:
        as_numbers(self)
        finite = 0 < self.epsilon < math.inf and 0 <= self.weight_decay < math.inf
        if not (finite and 0 <= self.alpha < 1 and 0 <= self.momentum < 1):
            raise SettingError(f"{self}: alpha and momentum must be in [0, 1), epsilon > 0, weight decay >= 0")
        check_decay(self)

    def init(self, theta: Array) -> State:
        names = ["square", *["mean"] * self.centered, *["velocity"] * bool(self.momentum)]
        return {name: array_namespace(theta).zeros_like(theta) for name in names}

    def update(self, theta: Array, g: Array, state: State, lr: float, step: int) -> None:
        xp = array_namespace(theta)
        if self.weight_decay:
            g += self.weight_decay * theta
        square = state["square"]
        square *= self.alpha
        square += (1 - self.alpha) * (g * g)
        if self.centered:
            mean = state["mean"]
            mean += (1 - self.alpha) * (g - mean)
            left = square - mean * mean
            square = xp.where(left > 0, left, xp.zeros_like(left))  # rounding may leave it below
        g /= xp.sqrt(square) + self.epsilon
        if self.momentum:
            velocity = state["velocity"]
            velocity *= self.momentum
            velocity += g
            theta -= lr * velocity
        else:
            theta -= lr * g


@dataclass(frozen=True)
class Lion(Optimizer):
    """theta -= lr (sign(b1 m + (1 - b1) g) + weight_decay theta); then m = b2 m + (1 - b2) g. Chen et al., 2023.

    Every number moves by lr, so that lr is a third to a tenth of Adam's, and weight_decay as much larger than AdamW's.
    """

    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0
    decay: str = "all"

    usual_lr = 3e-4

    def __post_init__(self) -> None:
        as_numbers(self)
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and 0 <= self.weight_decay < math.inf):
            raise SettingError(f"{self}: betas must be in [0, 1), weight decay >= 0")
        check_decay(self)

    def init(self, theta: Array) -> State:
        return {"mean": array_namespace(theta).zeros_like(theta)}

    def update(self, theta: Array, g: Array, state: State, lr: float, step: int) -> None:
        mean = state["mean"]
        if self.weight_decay:
            theta *= 1 - lr * self.weight_decay
        theta -= lr * sign(self.beta1 * mean + (1 - self.beta1) * g)
        mean *= self.beta2
        g *= 1 - self.beta2
        mean += g
