"""What `gpucnn compare` finds: differences, targets, times; and the same as JSON-able values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...errors import SettingError, counted
from .backends import CPU, YARDSTICKS, asked
from .speed import Speed, break_even

BATCHES = (32, 64, 128, 256, 512, 1024, 2048)
LAYER_LIMIT = 1e-5  # float32, each layer's output and gradient
THETA_LIMIT = 1e-9  # float64, theta after the steps
CHAOS_LIMIT = 3  # float32, theta after the steps: times the distance between two CPU runs


@dataclass(frozen=True)
class CompareOptions:
    """What is compared, and how long. The CPU is compared with `devices`, texts as --device takes them.

    batch_size: images per update; None is the recipe's. batches: the sizes that are timed, each in `rounds` blocks of
    `budget` seconds. threads: of the CPU.
    """

    network: str = "two-conv"
    devices: Sequence[str] = ("cpu", "cuda")
    steps: int = 100
    batch_size: int | None = None
    batches: Sequence[int] = BATCHES
    seed: int = 0
    threads: int | None = None
    rounds: int = 5
    budget: float = 0.1

    def __post_init__(self) -> None:
        sizes = [self.steps, self.rounds, *self.batches, *([] if self.batch_size is None else [self.batch_size])]
        if not self.batches or min(sizes) < 1:
            raise SettingError(
                f"compare: {self.steps} steps, batches {', '.join(map(str, self.batches)) or 'none'}, "
                f"{self.rounds} rounds: at least 1 of each was expected"
            )
        for text in self.devices:
            asked(text)


@dataclass(frozen=True)
class Row:
    """One array of one pass: a layer's "output" or a parameter's "gradient", without the batch.

    differences: by backend, norm(theirs - the CPU's) / norm(the CPU's); of gradients that are 0 but for rounding, see
    `agreement.compared`.
    """

    name: str
    what: str
    shape: tuple[int, ...]
    differences: dict[str, float]


@dataclass(frozen=True)
class Agreement:
    """In one precision: rows of one forward and backward pass; theta: the relative difference after 1, 2, ... steps.

    losses: the mean loss of each step's batch, "cpu" included. Everything by backend.
    """

    dtype: str
    rows: list[Row]
    theta: dict[str, list[float]]
    losses: dict[str, list[float]]

    def worst(self, name: str) -> float:
        """The largest difference of a backend in one pass; NaN if any is."""
        return float(np.max([row.differences[name] for row in self.rows]))

    @property
    def yardstick(self) -> float:
        """The largest distance between two CPU runs after the last step."""
        return float(np.max([self.theta[each.name][-1] for each in YARDSTICKS]))

    @property
    def theta_limit(self) -> float:
        """How far a device's theta may be from the CPU's after the last step."""
        return CHAOS_LIMIT * self.yardstick if self.dtype == "float32" else THETA_LIMIT

    def targets(self, name: str) -> list[Target]:
        """What a backend is held to: in float32 its worst difference in one pass, and theta after the last step."""
        steps = len(self.theta[name])
        after = f"theta after {counted(steps, 'step')}"
        found = [Target(name, self.dtype, after, self.theta[name][-1], self.theta_limit)]
        if self.dtype == "float32":
            found.insert(0, Target(name, self.dtype, "worst of one pass", self.worst(name), LAYER_LIMIT))
        return found


@dataclass(frozen=True)
class Target:
    """What agreement is held to: found at most limit."""

    device: str
    dtype: str
    what: str
    found: float
    limit: float

    @property
    def met(self) -> bool:
        return self.found <= self.limit


@dataclass(frozen=True)
class Comparison:
    """What was found. devices: what each backend is, by name, the CPU first. sentence: why no GPU is among them."""

    data: str
    parameters: int
    options: CompareOptions
    batch_size: int
    threads: int
    optimizer: str
    sentence: str | None
    devices: dict[str, str]
    agreements: list[Agreement]
    speeds: list[Speed] = field(default_factory=list)

    @property
    def others(self) -> list[str]:
        """The backends that are compared with the CPU, without the yardsticks."""
        return [name for name in self.devices if name not in {each.name for each in (CPU, *YARDSTICKS)}]

    @property
    def targets(self) -> list[Target]:
        return [target for found in self.agreements for name in self.others for target in found.targets(name)]

    @property
    def break_even(self) -> dict[str, dict[str, int | None]]:
        """By GPU: the batch size from which it is faster than the CPU, "resident" and "transferred"; None is never."""
        gpus = dict.fromkeys(each.device for each in self.speeds if each.device.startswith("cuda"))
        ways = {"resident": False, "transferred": True}
        return {
            name: {way: break_even(self.speeds, CPU.name, name, transferred=sent) for way, sent in ways.items()}
            for name in gpus
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: numbers that are not finite become None."""
        found = {name: getattr(self.options, name) for name in ("network", "seed", "steps")}
        names = ("data", "parameters", "batch_size", "threads", "optimizer", "devices", "sentence", "break_even")
        found |= {name: getattr(self, name) for name in names}
        found["precisions"] = {
            each.dtype: {"layers": list(map(asdict, each.rows)), "theta": each.theta, "losses": each.losses}
            for each in self.agreements
        }
        found["targets"] = [asdict(each) | {"met": each.met} for each in self.targets]
        found["speeds"] = [each.to_dict() for each in self.speeds]
        return _finite(found)


def _finite(value: Any) -> Any:
    """A value without NaN and infinity, as deep as it goes."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return list(map(_finite, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value
