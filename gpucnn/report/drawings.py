"""Pictures of what is inside a model: filters, feature maps, where pools look, which pixels and regions matter."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..errors import SettingError
from ..layers import MaxPool2D
from ..losses import REGRESSION
from ..training.curves import blank
from ..training.writing import write_figure
from .inside import Look, winners
from .sheet import bare

Array = np.ndarray
Path = str | os.PathLike[str]

MOST = 16  # filters, maps or pools of a layer that are drawn
DIVERGING, SEQUENTIAL = "PuOr", "cividis"  # readable to eyes that tell few colours apart


def draw_filters(kernels: dict[str, Array], path: Path, title: str = "") -> int:
    """A row for each convolution: its kernels by their first input channel, purple below 0 and orange above, on a scale
    of its own, whose ends stand beside it.

    -> how many were drawn. Raises SettingError where there are none.
    """
    if not kernels:
        raise SettingError("the network has no convolution, so there are no filters to draw")
    rows = [(name, kernel[:, :, 0, :MOST]) for name, kernel in kernels.items()]
    figure, panels = _grid(len(rows), max(kernel.shape[2] for _, kernel in rows))
    for row, (name, kernel) in zip(panels, rows):
        most = float(np.abs(kernel).max()) or 1.0
        for k in range(kernel.shape[2]):
            row[k].imshow(-kernel[:, :, k], cmap=DIVERGING, vmin=-most, vmax=most)
        whole = kernels[name].shape
        _label(row[0], f"{name}\n{whole[3]} of {whole[0]}x{whole[1]}\n{-most:.2g} to {most:.2g}")
    above = "orange above 0, purple below, the darkest at the ends that stand at each row"
    return _saved(figure, path, title or f"filters, by their first input channel\n{above}")


def draw_maps(look: Look, path: Path, title: str = "") -> int:
    """A row for each layer whose output is an image: the first maps of the first image. -> how many rows."""
    rows = [seen for seen in look.layers if seen.y.ndim == 4]
    if not rows:
        raise SettingError("no layer of the network gives an image, so there are no feature maps to draw")
    figure, panels = _grid(len(rows), max(min(MOST, seen.y.shape[3]) for seen in rows))
    for row, seen in zip(panels, rows):
        maps = seen.y[0, :, :, :MOST]
        for k in range(maps.shape[2]):
            row[k].imshow(maps[:, :, k], cmap="gray", vmin=maps.min(), vmax=max(maps.max(), maps.min() + 1e-30))
        height, width, channels = seen.y.shape[1:]
        _label(row[0], f"{seen.name}  {_short(seen.about)}\n{height}x{width}, {channels} maps")
    return _saved(figure, path, title or "what each layer makes of the picture")


def draw_pools(look: Look, path: Path, title: str = "") -> int:
    """A row for each max pool: its input, and a dot on every pixel that won its window. -> how many rows."""
    rows = [seen for seen in look.layers if type(seen.layer) is MaxPool2D]
    if not rows:
        raise SettingError("the network has no max pool, so no pixel wins a window")
    figure, panels = _grid(len(rows), max(min(MOST // 2, seen.x.shape[3]) for seen in rows), size=1.5)
    for row, seen in zip(panels, rows):
        where = winners(seen)[0]
        for k in range(min(MOST // 2, seen.x.shape[3])):
            row[k].imshow(seen.x[0, :, :, k], cmap="gray")
            places = where[:, :, k].reshape(-1, 2)
            row[k].plot(places[:, 1], places[:, 0], ".", color="C1", markersize=2.5)
        count = seen.x.shape[3]
        shown = f"\n{min(MOST // 2, count)} of {count} maps" if count > MOST // 2 else ""
        _label(row[0], f"{seen.name}  {_short(seen.about)}{shown}")
    return _saved(figure, path, title or "where each pooled value came from: the pixels that won their windows")


def draw_reasons(look: Look, path: Path, names: tuple[str, ...], title: str = "") -> int:
    """The first image, the size of the gradient by each pixel, and the regions that speak for the class, or the label;
    of a number, those that make it larger. Raises SettingError for a network of vectors.
    """
    saliency = look.saliency()[0]
    raised, speak = ("raise the number", "raise it") if look.of == REGRESSION else ("speak for", "speak for it")
    figure = blank((9.6, 3.5))
    axes = figure.subplots(1, 3)
    picture = look.pixels[0]
    shown = picture[..., 0] if picture.shape[2] != 3 else np.clip(picture, 0, 1)
    k = int(look.classes[0])
    axes[0].imshow(shown, cmap="gray")
    axes[0].set_title(f"{names[k]}, {look.value(k)}", fontsize="medium")
    axes[1].imshow(saliency, cmap=SEQUENTIAL)
    axes[1].set_title("gradient by the pixels", fontsize="medium")
    axes[2].imshow(shown, cmap="gray")
    try:
        regions = look.grad_cam()[0]
        axes[2].imshow(regions, cmap=SEQUENTIAL, alpha=0.6, vmin=0, vmax=1)
        which = f"regions that {speak}" if regions.any() else f"no regions {speak}"
        axes[2].set_title(f"{which} (Grad-CAM)", fontsize="medium")
    except SettingError:
        axes[2].set_title("no layer gives an image: no Grad-CAM", fontsize="medium")
    for axis in axes:
        bare(axis)
    return _saved(figure, path, title or f"which pixels and regions {raised} {names[k]}")


def _grid(rows: int, columns: int, size: float = 0.8) -> tuple[Any, Any]:
    figure = blank((3.0 + size * columns, size * rows + 0.7))
    panels = figure.subplots(rows, columns, squeeze=False)
    for axis in panels.flat:
        bare(axis)
    return figure, panels


def _label(axis: Any, text: str) -> None:
    axis.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=6, fontsize="small")


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:29]}…"


def _saved(figure: Any, path: Path, title: str) -> int:
    figure.suptitle(title, fontsize="medium")
    write_figure(figure, path, dpi=120)
    return len(figure.axes)
