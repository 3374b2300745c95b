"""What a user may set of the optimiser of a run, beside which one it is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..optimizers import EMA, Clip, Optimizer, changed

OF_RULE = ("momentum", "weight_decay", "decay")


@dataclass(frozen=True)
class Moving:
    """momentum, weight_decay, decay: of the optimiser itself. clip_norm, clip_value, ema: what is put around it.

    accumulate: how many batches an update looks at. None leaves all as it is.
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
    def updates(self) -> int:
        """Batches of an update."""
        return self.accumulate or 1

    def configured(self) -> dict[str, float | str | None]:
        """As run.toml has them."""
        return dataclasses.asdict(self)
