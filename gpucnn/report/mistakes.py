"""A model's worst mistakes as pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..training.curves import blank
from ..training.writing import write_figure
from .sheet import all_shortened

ACROSS, MOST = 5, 20  # pictures in a row, and on the sheet
WIDTH, HEIGHT = 1.0, 1.24  # of a picture's place on the sheet, where its longer side is 0.86


def worst(probabilities: Any, labels: Any, most: int = MOST) -> np.ndarray:
    """The places of examples that are given a wrong class, the surest first: of those alike, the one first whose own
    class seems least probable.

    probabilities (N, K); labels (N,) -> at most `most` places.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    own, given = probabilities[np.arange(len(labels)), labels], probabilities.max(axis=1)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.lexsort((own[wrong], -given[wrong]))][:most]


def draw(
    images: Any,
    labels: Any,
    probabilities: Any,
    names: Sequence[str],
    path: str | os.PathLike[str],
    title: str = "",
) -> int:
    """Write the worst mistakes as an image file, each with its label, and the class it is given and how surely.

    images (N, H, W, 1 or 3), uint8 or from 0 to 1; labels (N,). -> how many mistakes there are. Without one, no file is
    written.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    chosen = worst(probabilities, labels)
    count = int((probabilities.argmax(axis=1) != labels).sum())
    if not count:
        return 0
    short = all_shortened(names)
    rows = -(-len(chosen) // ACROSS)
    figure = blank((1.7 * ACROSS * WIDTH, 1.7 * rows * HEIGHT + 0.5))
    axis = figure.subplots()
    for k, index in enumerate(chosen):
        left, top = k % ACROSS * WIDTH, k // ACROSS * HEIGHT
        _picture(axis, images[index], left + WIDTH / 2, top + 0.45)
        given = int(probabilities[index].argmax())
        text = f"{short[labels[index]]}\ntaken for {short[given]}\n({100 * probabilities[index, given]:.0f} % sure)"
        axis.text(left + WIDTH / 2, top + 0.92, text, ha="center", va="top", fontsize=8, linespacing=1.15)
    axis.set(xlim=(0, ACROSS * WIDTH), ylim=(rows * HEIGHT, 0), aspect="equal")
    axis.axis("off")
    of_all = f"{count:,} of {len(labels):,} images are wrong"
    shown = f", the worst {len(chosen)} of them" if count > len(chosen) else ""
    figure.suptitle(f"{title}: {of_all}{shown}".removeprefix(": "), fontsize="medium")
    write_figure(figure, path, dpi=110)
    return count


def _picture(axis: Any, image: Any, x: float, y: float) -> None:
    """An image with its middle there, its longer side 0.86."""
    H, W = image.shape[:2]
    height, width = (0.43 * side / max(H, W) for side in (H, W))
    most = 255 if image.dtype == np.uint8 else 1
    shown = image if image.shape[2] == 3 else image[..., 0]
    place = (x - width, x + width, y + height, y - height)
    axis.imshow(shown, cmap="gray", vmin=0, vmax=most, extent=place, interpolation="nearest")
