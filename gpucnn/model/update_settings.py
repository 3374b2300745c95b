"""What a user may set of a run's updates, beside which optimiser makes them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..optimizers import EMA, Clip, Optimizer, changed

OF_RULE = ("momentum", "weight_decay", "decay")


@dataclass(frozen=True)
class UpdateSettings:
    """momentum, weight_decay, decay: of the optimiser itself. clip_norm, clip_value, ema: what is put around it.

    accumulate: how many batches an update looks at. None leaves each as the recipe has it.
    """

    momentum: float | None = None
    weight_decay: float | None = None
    decay: str | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    ema: float | None = None
    accumulate: int | None = None

    def around(self, optimizer: Optimizer) -> Optimizer:
        """The optimiser so changed: Clip(EMA(optimizer)). Raises SettingError for a setting that it does not have."""
        for name in OF_RULE:
            if (value := getattr(self, name)) is not None:
                optimizer = changed(optimizer, {name: value}, f"--{name.replace('_', '-')} {value}")
        if self.ema is not None:
            optimizer = EMA(optimizer, self.ema)
        if self.clip_norm is not None or self.clip_value is not None:
            optimizer = Clip(optimizer, self.clip_norm, self.clip_value)
        return optimizer

    @property
    def batches(self) -> int:
        """How many batches an update looks at."""
        return self.accumulate or 1

    def configured(self) -> dict[str, float | str | None]:
        """The settings as run.toml has them."""
        return dataclasses.asdict(self)
