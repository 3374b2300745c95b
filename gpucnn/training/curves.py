"""Pictures of what happened. Matplotlib is imported when one is drawn, and never touches a screen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .types import Epoch


def blank(size: tuple[float, float]) -> Any:
    """An empty figure; size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def learning_curves(epochs: Sequence[Epoch], path: str | os.PathLike[str], title: str = "") -> None:
    """Loss per epoch, and accuracy where a validation part was held out, as an image file at path."""
    held_out = [epoch for epoch in epochs if epoch.validation_loss is not None]
    rated = {each.epoch: each.validation_accuracy for each in held_out if each.validation_accuracy is not None}
    figure = blank((9.0, 3.6) if rated else (5.0, 3.6))
    axes = figure.subplots(1, 2 if rated else 1, squeeze=False)[0]
    numbers = [epoch.epoch for epoch in epochs]
    dot, square = ("o-", "s-") if len(epochs) <= 40 else ("-", "-")
    axes[0].plot(numbers, [epoch.train_loss for epoch in epochs], dot, label="training, while theta moves")
    if held_out:
        numbers = [epoch.epoch for epoch in held_out]
        axes[0].plot(numbers, [epoch.validation_loss for epoch in held_out], square, label="validation")
    if rated:
        axes[1].plot([*rated], [100 * accuracy for accuracy in rated.values()], square, color="C1")
        _label(axes[1], "validation accuracy, %", len(epochs))
    axes[0].legend()
    axes[0].set_ylim(bottom=0)
    _label(axes[0], "mean loss per example", len(epochs))
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def _label(axis: Any, text: str, epochs: int) -> None:
    axis.set_xlabel("epoch")
    axis.set_xlim(0.5, epochs + 0.5)
    axis.set_ylabel(text)
    axis.grid(alpha=0.3)
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
