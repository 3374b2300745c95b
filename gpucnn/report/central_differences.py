"""A gradient beside central differences along random directions, away from kinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

STEP = 1e-5  # at most, of a direction of length 1
LEAST = 3e-8
TOLERANCE = 1e-6
CLEAR = 1e-3  # what rounding may be, as a part of the tolerance, by the gradient's size
NEAR = 1e-4  # how far apart factors are that are one
TRIED = 4  # directions with kinks within the step, after which it becomes a tenth
ROUNDING = 16 * float(np.finfo(float).eps)  # of a sum, as a part of the sum of its terms' sizes
ATTEMPTS = 60
TINY = 1e-300  # what is divided by where all is 0, as of a layer that gives 0 for every input


@dataclass(frozen=True)
class Row:
    """One parameter, or the input. error: the largest relative error over directions; kinks: directions thrown away.

    factor: what a wrong gradient must be multiplied by to be right, where that is one number, else None.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    directions: int
    kinks: int
    factor: float | None = None

    @property
    def right(self) -> bool:
        return self.directions > 0 and self.error < TOLERANCE

    @property
    def wrong(self) -> bool:
        """What is neither right nor wrong is undecided."""
        return self.directions > 0 and not self.right


def compared(
    name: str,
    at: np.ndarray,
    g: np.ndarray,
    value: Callable[[np.ndarray], float],
    wanted: int,
    rng: np.random.Generator,
    noise: float,
) -> Row:
    """Try directions until `wanted` of them are decided. noise: how far off a slope over STEP may be by rounding.

    The step is as small as rounding lets it be: the steeper the function, the smaller, so that it crosses fewer kinks
    and bends less within it. Half the step tells a kink from a wrong gradient: along a smooth function the slope stays
    the same and the second difference is a quarter.
    """
    errors: list[float] = []
    factors: list[float] = []
    kinks, size = 0, max(float(np.linalg.norm(g)), 1e-12)
    step = min(STEP, max(LEAST, STEP * noise / (CLEAR * TOLERANCE * size)))
    middle = value(at)

    def differences(v: np.ndarray, step: float) -> tuple[float, float]:
        ahead, behind = value(at + step * v), value(at - step * v)
        return (ahead - behind) / (2 * step), (ahead - 2 * middle + behind) / step

    while len(errors) < wanted and len(errors) + kinks < ATTEMPTS:
        # Along the gradient, so that the slope is not small by chance, and across it, so that nothing hides.
        v = _unit(g / size + _unit(rng.standard_normal(at.shape)))
        if kinks == TRIED and not errors:
            step = max(LEAST, step / 10)
        expected, (slope, bend) = float((g * v).sum()), differences(v, step)
        scale = max(abs(slope), abs(expected), noise * STEP / step / TOLERANCE, TINY)
        error = abs(slope - expected) / scale
        if error >= TOLERANCE:
            of_half, bend_of_half = differences(v, step / 2)
            if max(abs(slope - of_half), abs(bend - 2 * bend_of_half)) > TOLERANCE / 4 * scale:
                kinks += 1
                continue
        errors.append(error)
        factors.append(slope / expected if expected else float("nan"))
    found = Row(name, at.shape, max(errors, default=float("nan")), len(errors), kinks)
    is_one = found.wrong and max(factors) - min(factors) < NEAR * abs(factors[0])  # of NaN it is not
    return replace(found, factor=float(np.mean(factors))) if is_one else found


def _unit(v: np.ndarray) -> np.ndarray:
    return v / max(float(np.linalg.norm(v)), TINY)
