"""The units of numbers that a network is to predict: it computes standardised ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SettingError
from ..names import Explained
from ..namespace import array_namespace

Array = Any

FAR = 10  # times a deviation


@dataclass(frozen=True)
class Units(Explained):
    """numbers = mean + deviation * outputs, of each of K outputs. All are computed in float64, and arrays stay where
    they are.

    mean, deviation: K numbers each, those of the targets of the first training. Raises SettingError unless all are
    finite, and the deviations above 0.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("mean", "deviation"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        right = len(self.mean) == len(self.deviation) and all(map(math.isfinite, (*self.mean, *self.deviation)))
        if not right or not all(each > 0 for each in self.deviation):
            raise SettingError(f"{self}: as many means as deviations above 0 were expected, all of them finite")

    @classmethod
    def of(cls, targets: np.ndarray, weights: np.ndarray | None = None) -> Units:
        """Those of targets (N, K) whose examples count by weights (N,).

        An output whose targets are all alike is measured by their size, or by 1 where they are 0.
        """
        rows = targets.astype(np.float64)
        mean = np.average(rows, axis=0, weights=weights)
        with np.errstate(over="ignore"):
            deviation = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))
        size = np.where(mean == 0, 1.0, abs(mean))
        return cls(tuple(mean), tuple(np.where(deviation > 1e-14 * abs(mean), deviation, size)))

    def far(self, others: Units) -> int | None:
        """The first output whose numbers, of which these are the units, would be learnt badly in those of this one."""
        for k, (own, size, mean, deviation) in enumerate(zip(self.mean, self.deviation, others.mean, others.deviation)):
            if abs(mean - own) > FAR * size or not size / FAR < deviation < FAR * size:
                return k
        return None

    def described(self) -> dict[str, Any]:
        """Both, for JSON."""
        return {"mean": [*self.mean], "deviation": [*self.deviation]}

    def standardised(self, targets: np.ndarray) -> np.ndarray:
        """Targets (N, K), on the host, as the network is to give them."""
        return (targets - np.asarray(self.mean)) / np.asarray(self.deviation)

    def spread(self, outputs: Array) -> Array:
        """Outputs, or standardised targets, (N, K) times their deviations: differences are those of the numbers."""
        xp = array_namespace(outputs)
        return xp.astype(outputs, xp.float64) * xp.asarray(self.deviation, dtype=xp.float64, device=outputs.device)

    def __call__(self, outputs: Array) -> Array:
        """Outputs (N, K) as numbers."""
        xp = array_namespace(outputs)
        return self.spread(outputs) + xp.asarray(self.mean, dtype=xp.float64, device=outputs.device)
