"""The rules that look at a whole parameter: LAMB, and Muon, which moves matrices along orthogonal ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ..errors import SettingError
from ..namespace import array_namespace, as_numbers
from ..network.layout import Layout, Slot
from ..ops import dense
from .base import Around, Optimizer, Part, State, as_number, for_no_matrix, merged
from .groups import Groups, check_patterns
from .rules import Adam, AdamW

Array = Any

QUINTIC = 3.4445, -4.7750, 2.0315  # Jordan et al.: the steepest polynomial at 0 that stays near 1 beyond
SMALLEST = 1e-7  # what a matrix is divided by at least
SCALES = ("rms", "original")


@dataclass(frozen=True)
class LAMB(Adam):
    """u = Adam's m / (sqrt(v) + epsilon), both corrected for their start, + weight_decay theta; theta -= lr r u.

    r is |theta| / |u| of each parameter, 1 where either is 0. You et al., 2020. For large batches.
    """

    epsilon: float = 1e-6
    weight_decay: float = 0.01

    usual_lr = 0.01

    def update_parameter(self, slot: Slot, theta: Array, g: Array, state: State, lr: Any, step: Any) -> None:
        xp, mean, square = array_namespace(theta), state["mean"], state["square"]
        mean *= self.beta1
        mean += (1 - self.beta1) * g
        square *= self.beta2
        square += (1 - self.beta2) * (g * g)
        first, second = (as_number(1 / (1 - beta**step), theta) for beta in (self.beta1, self.beta2))
        u = first * mean / (xp.sqrt(second * square) + self.epsilon)
        if self.weight_decay:
            u += self.weight_decay * theta
        of_theta, of_u = xp.sqrt(xp.sum(theta * theta)), xp.sqrt(xp.sum(u * u))
        one = xp.ones_like(of_u)
        both = (of_theta > 0) & (of_u > 0)
        theta -= lr * (xp.where(both, of_theta / xp.where(both, of_u, one), one) * u)


@dataclass(frozen=True)
class Muon(Optimizer):
    """v = momentum v + (1 - momentum) g; theta -= lr s (weight_decay theta / s + the orthogonal matrix next to v).

    Jordan et al., 2024; v is (1 - momentum) g + momentum v instead with nesterov. The orthogonal matrix is made by
    `steps` of Newton and Schulz's iteration, whose singular values end between 0.7 and 1.2. A kernel (I, J, C, K) is
    the matrix (I J C, K). Only matrices move so; `others`, an optimiser, moves all else, and those whose names fit one
    of the patterns in `apart`, such as "*/weights": Jordan et al. leave the first layer and the last to it. These have
    the weight decay of `others`, none by default. Wrappers and Groups go around Muon, as in EMA(Muon()).

    scale: "rms", s = 0.2 sqrt(the longer side), with which lr and weight_decay are as AdamW's (Liu et al., 2025), or
    "original", s = sqrt(max(1, K / (I J C))), whose usual lr is 0.02.
    """

    momentum: float = 0.95
    nesterov: bool = True
    steps: int = 5
    weight_decay: float = 0.0
    scale: str = "rms"
    others: Any = field(default_factory=lambda: AdamW(weight_decay=0.0))
    apart: tuple[str, ...] = ()

    usual_lr = 0.01
    multiplies = True

    def __post_init__(self) -> None:
        as_numbers(self)
        apart = (self.apart,) if isinstance(self.apart, str) else self.apart
        if not isinstance(apart, Iterable):
            raise SettingError(f'Muon: apart={apart!r}: patterns of names were expected, such as ("*/weights",)')
        object.__setattr__(self, "apart", tuple(apart))
        finite = 0 <= self.momentum < 1 and 0 <= self.weight_decay < math.inf
        if not finite or self.scale not in SCALES or self.steps < 1:
            raise SettingError(
                f"{self}: momentum must be in [0, 1), weight decay >= 0, steps >= 1, scale one of {', '.join(SCALES)}"
            )

        if isinstance(self.others, (Around, Groups, Muon)):
            name = type(self.others).__name__
            around = "" if isinstance(self.others, Muon) else f", and {name} goes around, as in {name}(Muon(), ...)"
            raise SettingError(f"Muon: others={name}(...): a rule such as AdamW() or SGD() was expected{around}")

    def bind(self, layout: Layout) -> Optimizer:
        check_patterns(self.apart, layout, "Muon: apart")
        return self

    def init(self, theta: Array) -> State:
        return {**self.others.init(theta), "momentum": array_namespace(theta).zeros_like(theta)}

    def parts(self, layout: Layout) -> list[Part]:
        free = for_no_matrix(self.others)
        rules = [self if self._moves(slot) else self.others if slot.is_matrix else free for slot in layout.slots]
        return merged([Part(slot.place, rule, slot) for slot, rule in zip(layout.slots, rules)])

    def _moves(self, slot: Slot) -> bool:
        return slot.is_matrix and not any(fnmatchcase(slot.name, pattern) for pattern in self.apart)

    def update_parameter(
        self,
        slot: Slot,
        theta: Array,
        g: Array,
        state: State,
        lr: Any,
        step: Any,
        *,
        matmul: Callable[[Array, Array], Array] = dense,
    ) -> None:
        xp, v, K = array_namespace(theta), state["momentum"], slot.shape[-1]
        v += (1 - self.momentum) * (g - v)
        u = g + self.momentum * (v - g) if self.nesterov else v
        rows = math.prod(slot.shape[:-1])
        u = orthogonal(xp.reshape(u, (rows, K)), self.steps, matmul)
        s = 0.2 * max(rows, K) ** 0.5 if self.scale == "rms" else max(1.0, K / rows) ** 0.5
        if self.weight_decay:
            theta *= 1 - lr * self.weight_decay
        theta -= lr * (s * xp.reshape(u, slot.shape))


def orthogonal(x: Array, steps: int, matmul: Callable[[Array, Array], Array] = dense) -> Array:
    """x (M, N) with singular values near 1: Newton and Schulz's iteration by the quintic of Jordan et al., 2024.

    x / |x|, then `steps` times a x + b (x x^T) x + c (x x^T)^2 x, on the side that has fewer rows.
    """
    xp, (a, b, c) = array_namespace(x), QUINTIC
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    size = xp.sqrt(xp.sum(x * x))
    x = x / xp.where(size > SMALLEST, size, xp.full_like(size, SMALLEST))
    for _ in range(steps):
        square = matmul(x, x.T)
        x = a * x + matmul(b * square + c * matmul(square, square), x)
    return x.T if is_tall else x
