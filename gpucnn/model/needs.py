"""How much memory training needs: what `Model.training_memory` tells, and a line for the start of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.forecast import Forecast
from ..optimizers import Optimizer
from . import accepted

if TYPE_CHECKING:
    from .model import Model


def training_memory(
    self: Model, *, batch_size: int = 128, optimizer: Optimizer | str = "adam", validation: int = 0
) -> int:
    """About how many bytes `fit` holds at its peak, theta and helper processes included, beside the data set.

    validation: how many examples are evaluated after each epoch. On a CPU a part of a batch is computed for it, which
    takes up to about a quarter of a second.
    """
    rule, size = accepted.argument("optimizer", optimizer), accepted.argument("batch_size", batch_size)
    return Forecast(self.execution, self.network, self.loss, rule, validation).bytes(size)
