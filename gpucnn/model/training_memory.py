"""How much memory training needs: what `Model.training_memory` tells, and a line for the start of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..data import Dataset
from ..engine.forecast import Forecast
from ..engine.memory import megabytes
from ..networks import Recipe
from ..optimizers import Optimizer
from ..training.augmentation import Augmentation
from . import accepted
from .trainable import Trainable

AROUND = 20_000_000  # bytes that the learning curve's matplotlib and a progress bar take


def training_memory(
    self: Trainable,
    *,
    batch_size: int = 128,
    optimizer: Optimizer | str = "adam",
    validation: int = 0,
    augmentation: Augmentation | str | None = None,
    keep: str | None = None,
) -> int:
    """About how many bytes `fit` holds at its peak, theta and helper processes included, beside the data set.

    validation: how many examples are evaluated after each epoch. The others as in `fit`. On a CPU a part of a batch is
    computed for it, which takes up to a second or two.
    """
    size = accepted.argument("batch_size", batch_size)
    return _forecast(self, optimizer, validation, augmentation, size, len(accepted.keeping(None, keep))).bytes(size)


def _forecast(
    model: Trainable,
    optimizer: Any,
    validation: int,
    augmentation: Any,
    batch_size: int,
    kept: int,
    *,
    saves: bool = False,
) -> Forecast:
    how = None if augmentation is None else accepted.argument("augmentation", augmentation)
    if how is not None:
        how.check(model.network.input_shape)
        how = how.of_run(0, batch_size, batch_size)
    rule = accepted.argument("optimizer", optimizer)
    arguments = model.execution, model.network, model.loss, rule, validation
    return Forecast(*arguments, augmentation=how, kept=kept, saves=saves)


def told(model: Trainable, dataset: Dataset, chosen: Recipe, optimizer: Optimizer, kept: int) -> str:
    """What a run by that recipe needs, such as "needs about 210 MB, 23,689 MB are free".

    kept: how many callbacks keep an epoch's parameters.
    """
    images, own = len(dataset.train_labels), dataset.validation
    held = min(round(chosen.validation * images), images - 1) if own is None else len(own[1]) * bool(chosen.validation)
    size = min(chosen.batch_size, images - (held if own is None else 0))
    forecast = _forecast(model, optimizer, held, chosen.augmentation or None, size, kept, saves=True)
    needed = replace(forecast, pixels=dataset.train_images.dtype).bytes(size)
    if model.device.kind == "cpu":
        needed += AROUND
        needed += dataset.train_images.nbytes if held and own is None else 0  # both parts are copies
    free = model.device.memory()[0]
    there = f", {megabytes(free)} are free" if free else ""
    return f"needs about {megabytes(needed)}{there}"
