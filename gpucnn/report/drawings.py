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
DIVERGING, SEQUENTIAL = "PuOr_r", "cividis"  # readable to eyes that tell few colours apart


def draw_filters(kernels: dict[str, Array], path: Path, title: str = "") -> int:
    """A row for each convolution: its kernels by their first input channel, purple below 0 and orange above, and their
    scale.

    -> how many the longest row has. Raises SettingError where there are none.
    """
    if not kernels:
        raise SettingError("the network has no convolution, so there are no filters to draw")
    rows = [(name, kernel[:, :, 0, :MOST]) for name, kernel in kernels.items()]
    longest = max(kernel.shape[2] for _, kernel in rows)
    figure, panels = _grid(len(rows), longest, scales=True)
    for row, (name, kernel) in zip(panels, rows):
        most = float(np.abs(kernel).max()) or 1.0
        _maps(row, kernel, -most, most, DIVERGING)
        whole = kernels[name].shape
        _label(row[0], f"{name}\n{_some(whole[3], 'filter')}, {whole[0]}x{whole[1]}")
    _saved(figure, path, title or "filters, by their first input channel\norange above 0, purple below")
    return longest


def draw_maps(look: Look, path: Path, title: str = "") -> int:
    """The first image, and a row for each layer whose output is an image: the first maps, and their scale, from the
    smallest number, black, to the largest, white. -> how many layers. Raises SettingError where there are none.
    """
    rows = [seen for seen in look.layers if seen.y.ndim == 4]
    if not rows:
        raise SettingError("no layer of the network gives an image, so there are no feature maps to draw")
    figure, panels = _grid(len(rows) + 1, max(min(MOST, seen.y.shape[3]) for seen in rows), scales=True)
    shown = _shown(look)
    panels[0, 1].imshow(shown, cmap="gray")
    _label(panels[0, 0], f"the picture\n{shown.shape[0]}x{shown.shape[1]}")
    for row, seen in zip(panels[1:], rows):
        maps = seen.y[0, :, :, :MOST]
        low, high = float(maps.min()), float(maps.max())
        _maps(row, maps, low, high if high > low else low + 1, "gray")
        height, width, channels = seen.y.shape[1:]
        _label(row[0], f"{seen.name}  {_short(seen.about)}\n{_some(channels, 'map')}, {height}x{width}")
    _saved(figure, path, title or "what each layer makes of the picture")
    return len(rows)


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
    _saved(figure, path, title or "where each pooled value came from:\nthe pixels that won their windows")
    return len(rows)


def draw_reasons(look: Look, path: Path, names: tuple[str, ...], title: str = "") -> int:
    """The first image, the size of the gradient by each pixel, and the regions that speak for the class, or the label;
    of a number, those that make it larger. -> how many pictures. Raises SettingError for a network of vectors.
    """
    saliency = look.saliency()[0]
    raised, speak = ("raise the number", "raise it") if look.of == REGRESSION else ("speak for", "speak for it")
    figure = blank((9.6, 3.9))
    figure.get_layout_engine().set(h_pad=0.12)
    axes = figure.subplots(1, 3)
    shown = _shown(look)
    k = int(look.classes[0])
    axes[0].imshow(shown, cmap="gray")
    axes[0].set_title(f"{names[k]}, {look.value(k)}", fontsize="medium")
    axes[1].imshow(saliency, cmap=SEQUENTIAL)
    axes[1].set_title("gradient by the pixels", fontsize="medium")
    axes[1].set_xlabel("blue: 0, yellow: the largest", fontsize="small")
    axes[2].imshow(shown, cmap="gray")
    try:
        regions = look.grad_cam()[0]
        axes[2].imshow(regions, cmap=SEQUENTIAL, alpha=0.6, vmin=0, vmax=1)
        which = f"regions that {speak}" if regions.any() else f"no regions {speak}"
        axes[2].set_title(f"{which} (Grad-CAM)", fontsize="medium")
        axes[2].set_xlabel("blue: not at all, yellow: the most", fontsize="small")
    except SettingError:
        axes[2].set_title("no layer gives an image: no Grad-CAM", fontsize="medium")
    for axis in axes:
        bare(axis)
    _saved(figure, path, title or f"which pixels and regions {raised} {names[k]}")
    return len(axes)


def _shown(look: Look) -> Array:
    """The first image as the network met it, (H, W), or (H, W, 3) where it is of colours."""
    picture = look.pixels[0]
    return picture[..., 0] if picture.shape[2] != 3 else np.clip(picture, 0, 1)


def _grid(rows: int, columns: int, size: float = 0.8, *, scales: bool = False) -> tuple[Any, Any]:
    """A figure and its panels, (rows, columns), with `scales` one more in front of each row, narrow and empty."""
    figure = blank((3.0 + size * columns, size * rows + 0.7))
    ratios = [*([0.12] if scales else []), *([1.0] * columns)]
    panels = figure.subplots(rows, len(ratios), squeeze=False, width_ratios=ratios)
    for axis in panels.flat:
        bare(axis)
    return figure, panels


def _maps(row: Any, maps: Array, low: float, high: float, colors: str) -> None:
    """Draw maps (H, W, K) behind the first panel of a row, which becomes their scale."""
    for k in range(maps.shape[2]):
        drawn = row[1 + k].imshow(maps[:, :, k], cmap=colors, vmin=low, vmax=high)
    margin = 0.2 * (high - low)  # of a 0 that is nearer to an end, the number would lie on that of the end
    ends = [low, *([0.0] if low + margin < 0 < high - margin else []), high]
    row[0].figure.colorbar(drawn, cax=row[0], ticks=ends)
    row[0].yaxis.set_ticks_position("left")
    row[0].yaxis.set_label_position("left")
    row[0].set_yticks(ends, [f"{end:.2g}" for end in ends], fontsize="x-small")
    row[0].set_box_aspect(9)
    row[0].set_anchor("E")


def _some(count: int, what: str) -> str:
    """How many maps or filters a layer has, and how many of them are drawn."""
    return f"{f'{MOST} of ' if count > MOST else ''}{count} {what}{'s' if count > 1 else ''}"


def _label(axis: Any, text: str) -> None:
    axis.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=6, fontsize="small")


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:29]}…"


def _saved(figure: Any, path: Path, title: str) -> None:
    figure.suptitle(title, fontsize="medium")
    write_figure(figure, path, dpi=120)
