"""A search for a learning rate: it rises from update to update until the loss explodes. Smith, 2017.

Nothing of the model changes: the updates are of copies of its parameters and of its layers' running state.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..engine.streamed import placed
from ..errors import SettingError
from ..layers.initializers import generator
from ..model import Model, accepted
from ..model.examples import learning
from ..model.types import ImagesLike, LabelsLike
from ..training.augmentation import Augmentation
from ..training.curves import blank
from ..training.writing import write_figure

Array = Any

SMOOTHING = 0.9  # how much of the mean of the losses so far each loss leaves
EXPLODED = 4.0  # times the least mean loss
LEAST = 10  # updates before it may have exploded
BELOW = 10.0  # times: how far the suggestion stays below the rate at which the loss was least
FELL = 0.95  # of the loss of the first LEAST updates: what is not below it has not fallen


@dataclass(frozen=True)
class Search:
    """What a search showed: the rates, the loss of each one's batch, and a running mean of the losses.

    best: the rate at which that mean was least. suggestion: a rate to train with, or None where the loss did not fall.
    reason: a sentence that says why. exploded: whether the loss did.
    """

    rates: list[float]
    losses: list[float]
    means: list[float]
    best: float
    suggestion: float | None
    reason: str
    exploded: bool


def find_lr(
    model: Model,
    images: ImagesLike,
    labels: LabelsLike,
    *,
    optimizer: Any = "adam",
    batch_size: int = 128,
    lowest: float = 1e-6,
    highest: float = 10.0,
    updates: int = 200,
    seed: int = 0,
    augmentation: Augmentation | str | None = None,
    freeze: str | Iterable[str] = (),
) -> Search:
    """Train a copy of the model on images (N, H, W, C) and labels (N,), with a rate that grows by the same factor in
    each update: from `lowest` to `highest`, or until the loss explodes.

    The suggestion is a tenth of the rate at which the running mean of the losses was least: below it the loss still
    fell fast, and near the least it no longer did. augmentation: how the images are changed at random, as `Model.fit`
    takes it; without that of the training, the rate is one for other images. freeze: the parameters that stay, as
    `Model.fit` takes them.
    """
    if not isinstance(model, Model):
        raise SettingError(f"find_lr: a {type(model).__name__} was given; give a Model, such as Model('two-conv')")
    check_rates(lowest, highest, updates)
    shown, targets = model.examples(images, labels, meaning=learning(model, images, labels))
    execution, size = model.execution, min(int(accepted.argument("batch_size", batch_size)), len(shown))
    share, rng = execution.workers.share, generator(np.random.SeedSequence(seed))
    rule = accepted.argument("optimizer", optimizer)
    still = accepted.patterns(freeze)
    changes = None if augmentation is None else accepted.argument("augmentation", augmentation)
    if changes is not None:
        changes.check(model.network.input_shape)
        changes = changes.of_run(seed, len(shown), size)
    factor = (highest / lowest) ** (1 / (updates - 1))
    rates: list[float] = []
    losses: list[float] = []
    means: list[float] = []
    exploded, total = False, 0.0
    with execution.active(), np.errstate(over="ignore", invalid="ignore"):
        copies = {"theta": share(execution.theta.copy()), "state": share(execution.state.copy())}
        how: dict[str, Any] = {"scaling": model.scaling, "augmentation": changes, "key": seed, "freeze": still}
        step = execution.step(model.loss, rule, **how, **copies)
        step, (shown, targets, _) = placed(step, (shown, targets, None), model.device, model.network, size)
        on_host = type(shown) is np.ndarray
        batches = _batches(len(targets), size, rng)
        for k in range(updates):
            rate, batch = lowest * factor**k, next(batches)
            found = model.device.fetch(step(shown, targets, batch if on_host else model.device.put(batch), rate))
            loss = float(np.mean(found))
            if not math.isfinite(loss):
                exploded = True
                break
            total = SMOOTHING * total + (1 - SMOOTHING) * loss
            rates.append(rate)
            losses.append(loss)
            means.append(total / (1 - SMOOTHING ** (k + 1)))
            if k >= LEAST and means[-1] - min(means) > (EXPLODED - 1) * abs(min(means)):  # it may be below 0
                exploded = True
                break
    return _judged(rates, losses, means, exploded)


def check_rates(lowest: float, highest: float, updates: int) -> None:
    """Raises SettingError where no search goes from one to the other."""
    for name, given, of, what in (
        ("lowest", lowest, Real, "a number"),
        ("highest", highest, Real, "a number"),
        ("updates", updates, Integral, "a whole number"),
    ):
        if not isinstance(given, of) or isinstance(given, bool):
            raise SettingError(f"{name}={given!r}: {what} was expected")
    if not (0 < lowest < highest < math.inf and updates >= 2 * LEAST):
        raise SettingError(
            f"rates from {lowest:g} to {highest:g} in {updates} updates: the first must be above 0 and below the "
            f"second, and at least {2 * LEAST} updates were expected"
        )


def _batches(examples: int, size: int, rng: np.random.Generator) -> Any:
    """Indices of batches, in a new order each time that the examples are used up."""
    while True:
        order = rng.permutation(examples)
        yield from (order[k : k + size] for k in range(0, examples - size + 1, size))


def _judged(rates: list[float], losses: list[float], means: list[float], exploded: bool) -> Search:
    if not rates:
        raise SettingError("the loss of the first update is not finite; begin with a lower rate, or look at the images")
    at = int(np.argmin(means))
    best = rates[at]
    ended = f"it exploded at {rates[-1]:.2g}" if exploded else f"it had not exploded at {rates[-1]:.2g}, where it ended"
    start = min(losses[0], float(np.mean(losses[:LEAST])))  # the first one is of before any update
    if start - means[at] < (1 - FELL) * abs(start):
        least = f"the mean loss hardly fell, from {start:.3g} at the beginning to {means[at]:.3g}"
        reason = f"{least}, and {ended}; no rate can be suggested"
        return Search(rates, losses, means, best, None, reason, exploded)
    suggestion = best / BELOW
    reason = (
        f"the mean loss was least at {best:.2g} ({means[at]:.3g}, from {start:.3g}), and {ended}; a {BELOW:.0f}th of "
        "the rate where it was least leaves room for the noise of batches"
    )
    return Search(rates, losses, means, best, suggestion, reason, exploded)


def picture(found: Search, path: str | os.PathLike[str], title: str = "") -> None:
    """The losses against the rates, and the suggestion, as an image file at path."""
    figure = blank((7.0, 4.2))
    axis = figure.subplots()
    axis.plot(found.rates, found.losses, color="0.75", linewidth=0.8, label="of each batch")
    axis.plot(found.rates, found.means, color="#0072B2", linewidth=2, label="running mean")
    axis.plot([found.best], [min(found.means)], "o", color="#0072B2", label=f"least, at {found.best:.2g}")
    if found.suggestion is not None:
        text = f"suggestion {found.suggestion:.2g}"
        axis.axvline(found.suggestion, color="#D55E00", linestyle="--", linewidth=1.5, label=text)
    axis.set_xscale("log")
    least, first = min(found.means), found.means[0]
    below = least - 0.15 * (first - least) - 0.02 * abs(first)
    axis.set_ylim(max(0.0, below) if least >= 0 else below, first + 0.6 * max(first - least, 0.1 * abs(first)))
    axis.set_xlabel("learning rate")
    axis.set_ylabel("mean loss per example")
    axis.grid(alpha=0.3)
    axis.legend()
    axis.set_title(textwrap.fill(title, 80, break_on_hyphens=False), fontsize="medium")
    write_figure(figure, path, dpi=120)
