"""Pictures of what happened. Matplotlib is imported when one is drawn, and never touches a screen."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from .history import Epoch
from .writing import write_figure

FEW = 3  # epochs up to which the loss of each update is drawn, because so few points are no curve
MEANS = 30  # of updates, at most


def blank(size: tuple[float, float]) -> Any:
    """An empty figure; size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


class Steps:
    """A callback that keeps the loss of each update of a run's first epochs: places, in epochs, and losses.

    Where a run goes on after it was cut off, they begin there.
    """

    def __init__(self) -> None:
        self.places: list[float] = []
        self.losses: list[float] = []

    def batch(self, epoch: int, done: int, examples: int, loss: float | None) -> None:
        """A GPU tells the losses of some updates only."""
        if epoch <= FEW and examples and loss is not None and self.losses[-1:] != [loss]:
            self.places.append(epoch - 1 + done / examples)
            self.losses.append(loss)


def learning_curves(
    epochs: Sequence[Epoch], path: str | os.PathLike[str] | None, title: str = "", steps: Steps | None = None
) -> Any:
    """Loss per epoch, and accuracy where a validation part was held out, as a figure, and as an image file at path.

    Of few epochs, the loss of each update too, where steps kept them.
    """
    held_out = [epoch for epoch in epochs if epoch.validation_loss is not None]
    rated = {each.epoch: each.validation_accuracy for each in held_out if each.validation_accuracy is not None}
    by_update = steps is not None and len(steps.losses) > 1 and len(epochs) <= FEW
    figure = blank((9.0, 3.6) if len(rated) > 1 else (5.4, 3.6))
    axes = figure.subplots(1, 2 if len(rated) > 1 else 1, squeeze=False)[0]
    numbers = [epoch.epoch for epoch in epochs]
    dot, square = ("o-", "s-") if len(epochs) <= 40 else ("-", "-")
    if by_update and steps is not None:
        _updates(axes[0], steps)
    else:
        axes[0].plot(numbers, [epoch.train_loss for epoch in epochs], dot, label="training images, during the epoch")
    if held_out:
        places = [epoch.epoch for epoch in held_out]
        losses = [epoch.validation_loss for epoch in held_out]
        axes[0].plot(
            places, losses, square, color="C1", label="held-out images, after the epoch", clip_on=False, zorder=3
        )
    if len(rated) > 1:
        axes[1].plot(
            [*rated], [100 * accuracy for accuracy in rated.values()], square, color="C1", clip_on=False, zorder=3
        )
        _between(axes[1], 100 * min(rated.values()), 100 * max(rated.values()))
        _label(axes[1], "held-out images right, %", 0.5, len(epochs))
    elif rated:
        title = f"{title}: {100 * next(iter(rated.values())):.4g} % of the held-out images right".removeprefix(": ")
    axes[0].legend(fontsize="small")
    if not math.isfinite(axes[0].dataLim.y1):  # no loss is a number
        axes[0].set_ylim(0, 1)
    elif axes[0].dataLim.y0 >= 0:  # a loss of one's own may be below
        axes[0].set_ylim(0, 1.08 * axes[0].dataLim.y1 or 1.0)
    _label(axes[0], "loss, mean per image", 0.0 if by_update else 0.5, len(epochs))
    figure.suptitle(title, fontsize="medium")
    if path is not None:
        write_figure(figure, path, dpi=120)
    return figure


def _between(axis: Any, least: float, most: float) -> None:
    """The part of 0..100 % that the values take, and some around it, so that equal ones lie on a line of their own."""
    around = 0.05 * (most - least) or 5.0
    axis.set_ylim(max(0.0, least - around), min(100.0, most + around))


def _updates(axis: Any, steps: Steps) -> None:
    """The loss of each update and, of many, the means of some of them at a time."""
    size = math.ceil(len(steps.losses) / MEANS)
    if size == 1:
        axis.plot(steps.places, steps.losses, "o-", ms=3, label="training images, each update")
        return
    axis.plot(steps.places, steps.losses, lw=0.8, alpha=0.45, label="training images, each update")
    parts = [slice(start, start + size) for start in range(0, len(steps.losses), size)]
    places, losses = ([sum(each[part]) / len(each[part]) for part in parts] for each in (steps.places, steps.losses))
    axis.plot(places, losses, color="C0", lw=2, label=f"training images, mean of {size} updates")


def _label(axis: Any, text: str, first: float, epochs: int) -> None:
    axis.set_xlabel("epoch")
    axis.set_xlim(first, epochs + 0.5 if first else epochs * 1.02)
    axis.set_ylabel(text)
    axis.grid(alpha=0.3)
    if epochs > 1 or first:
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
