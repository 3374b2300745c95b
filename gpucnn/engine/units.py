"""The units of numbers that a network is to predict: it computes standardised ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError, SettingError, warn
from ..names import Explained
from ..namespace import array_namespace

Array = Any

FAR = 10  # times a deviation
COARSE = 0.01  # times a deviation: steps between numbers that are larger than that hide how these differ
ALIKE = 1e-14  # of their size, up to which numbers differ by rounding
LEAST, MOST = 1e-150, 1e150  # numbers whose squares float64 holds


class Far(NamedTuple):
    """An output, and the mean and the deviation of its numbers."""

    output: int
    mean: float
    deviation: float


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
        """Those of targets (N, K) whose examples count by weights (N,), of which some are above 0.

        An output whose targets are all alike is measured by their size, or by 1 where they are 0. Raises DataError for
        numbers whose squares are beyond floating point.
        """
        mean, deviation = _moments(targets, weights)
        return cls(tuple(mean), tuple(np.where(deviation > 0, deviation, np.where(mean == 0, 1.0, abs(mean)))))

    def far(self, targets: np.ndarray, weights: np.ndarray | None = None, *, is_part: bool = False) -> Far | None:
        """The first output whose targets would be learnt badly in these units, as in `of`; None where there is none.

        is_part: they are a part of many, which may be more alike than all of them. A deviation of 0 tells nothing.
        """
        for k, (own, size, mean, deviation) in enumerate(zip(self.mean, self.deviation, *_moments(targets, weights))):
            is_narrow = 0 < deviation <= size / FAR and not is_part
            if abs(mean - own) > FAR * size or deviation >= FAR * size or is_narrow:
                return Far(k, float(mean), float(deviation))
        return None

    def check_float32(self) -> None:
        """Raises SettingError where float32 does not hold them; warns where its steps hide how the numbers differ."""
        least, most = (float(getattr(np.finfo(np.float32), name)) for name in ("tiny", "max"))
        if not all(abs(mean) <= most and least <= size <= most for mean, size in zip(self.mean, self.deviation)):
            raise SettingError(
                f"the numbers have means {self.mean} and deviations {self.deviation}, and ONNX computes in float32, "
                "which does not hold such; train with numbers in another unit"
            )
        for mean, deviation in zip(self.mean, self.deviation):
            if (step := float(np.spacing(np.float32(abs(mean))))) > COARSE * deviation:
                warn(
                    f"numbers near {mean:.7g} that differ by {deviation:.3g}: ONNX gives them in steps of {step:.3g}, "
                    "those of float32; train with numbers nearer to 0, less a fixed one, to export them as exactly"
                )

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


def _moments(targets: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the deviation of each output (K,), in float64: 0 where the targets (N, K) that count are alike."""
    rows = targets.astype(np.float64)
    if weights is not None:
        rows, weights = rows[weights > 0], weights[weights > 0]
    with np.errstate(over="ignore", invalid="ignore"):
        away = rows - rows[0]  # exactly 0 where numbers are the same
        mean = np.average(away, axis=0, weights=weights)
        most = abs(away - mean).max(axis=0)
        parts = (away - mean) / np.where(most > 0, most, 1)
        deviation = most * np.sqrt(np.average(parts**2, axis=0, weights=weights))
        mean += rows[0]
    deviation = np.where(deviation > ALIKE * abs(mean), deviation, 0.0)
    sizes = np.where(deviation > 0, deviation, np.where(mean == 0, 1.0, abs(mean)))
    if not ((abs(mean) < MOST) & (sizes > LEAST) & (sizes < MOST)).all():
        worst = abs(rows).max()
        raise DataError(
            f"numbers to be predicted are of up to {worst:.3g}, and float64 does not hold the squares of such; give "
            "them in another unit"
        )
    return mean, deviation
