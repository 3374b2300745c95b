"""A confusion matrix as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..metrics import figures
from ..training.curves import blank
from ..training.writing import write_figure
from .sheet import all_shortened

NUMBERS = 25  # classes up to which each cell has its number
NAMES = 60  # and up to which each class has its name
BRIGHT = 0.55  # a part of the colour scale from which on text on it is dark


def draw(confusion: Any, names: Sequence[str], path: str | os.PathLike[str], title: str = "") -> None:
    """Write a (K, K) matrix of examples of each class (row) that were given each class (column) as an image file.

    The colour is the part of the row, on a scale that is as readable in grey and to eyes that tell few colours apart;
    cells hold the examples where there is room.
    """
    confusion = np.asarray(confusion)
    K = len(confusion)
    parts = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1e-300)
    cell = 0.5 if K <= NUMBERS else max(6.0 / K, 0.12)
    figure = blank((2.6 + cell * K, 1.6 + cell * K) if K > 4 else (4.6, 3.6))
    axis = figure.subplots()
    image = axis.imshow(parts, cmap="cividis", vmin=0, vmax=1)
    step = 1 if K <= NAMES else -(-K // NAMES)
    ticks, short = range(0, K, step), all_shortened(names)
    labels = [short[k] for k in ticks]
    wide = max(map(len, labels)) > 3
    axis.set_xticks(ticks, labels, rotation=90 if wide else 0)
    axis.set_yticks(ticks, labels)
    axis.set_xlabel("class that the model gives")
    axis.set_ylabel("class in the data")
    if K <= NUMBERS:
        for (i, j), count in np.ndenumerate(confusion):
            if count:
                color = "black" if parts[i, j] > BRIGHT else "white"
                text = f"{count:,.0f}" if count == round(count) else figures(count)
                axis.text(j, i, text, ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(image, ax=axis, label="part of the row", fraction=0.046)
    axis.set_title(title, fontsize="medium")
    write_figure(figure, path, dpi=120, bbox_inches="tight", pad_inches=0.1)  # however long the names are
