"""Pictures of a comparison, each in a figure of its own or in a part of one. Matplotlib is imported when one is drawn.

It never touches a screen.
"""

from __future__ import annotations

import math
import os
from typing import Any

from ...training.curves import blank
from ...training.writing import write_figure
from .backends import CPU, YARDSTICKS
from .result import LAYER_LIMIT, Comparison

Figure = Any

FLOOR = {"float32": 1e-9, "float64": 1e-18}  # where a difference of exactly 0 is drawn
GREYS = {each.name: grey for each, grey in zip(YARDSTICKS, ("0.6", "0.35"))}
MARKS = "osD^v"


def overview(found: Comparison, path: str | os.PathLike[str]) -> None:
    """Draw all four pictures into one image file at path."""
    figure, how = blank((12.0, 16.5)), found.options
    parts = figure.subfigures(4, 1, height_ratios=(1.45, 1, 1, 1), hspace=0.03)
    for part, draw in zip(parts, (layers, drift, losses, speed)):
        draw(found, part)
    figure.suptitle(f"{how.network} on {found.data}, batches of {found.batch_size}, seed {how.seed}")
    write_figure(figure, path, dpi=110)


def layers(found: Comparison, figure: Figure = None) -> Figure:
    """The relative difference of each layer's output and each parameter's gradient, one batch."""
    rows = found.agreements[0].rows
    figure = figure or blank((11.0, 0.27 * len(rows) + 1.8))
    panels = figure.subplots(1, len(found.agreements), sharey=True, squeeze=False)[0]
    for axis, each in zip(panels, found.agreements):
        floor = FLOOR[each.dtype]
        for name in list(found.devices)[1:]:
            values = [max(row.differences[name], floor) for row in each.rows]
            axis.plot(values, range(len(rows)), linestyle="none", label=name, **_dots(found, name), clip_on=False)
        axis.axhline(sum(row.what == "output" for row in rows) - 0.5, color="0.8", linewidth=0.8)
        if each.dtype == "float32":
            axis.axvline(LAYER_LIMIT, color="C3", linestyle="--", linewidth=1, label=f"target {LAYER_LIMIT:.0e}")
        axis.set_xscale("log")
        largest = [value for row in each.rows for value in row.differences.values() if math.isfinite(value)]
        axis.set_xlim(floor, max(1e5 * floor, 3 * max(largest, default=0.0)))
        _dress(axis, each.dtype, "relative difference from the CPU (left edge: none)")
    panels[0].set_yticks(range(len(rows)), [f"{row.what} {row.name}" for row in rows], fontsize="small")
    panels[0].tick_params(axis="y", pad=8)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return _with_legend(figure, panels[0])


def drift(found: Comparison, figure: Figure = None) -> Figure:
    """The relative difference of theta, step by step."""
    figure = figure or blank((11.0, 3.8))
    panels = figure.subplots(1, len(found.agreements), squeeze=False)[0]
    for axis, each in zip(panels, found.agreements):
        for name, curve in each.theta.items():
            steps = range(1, len(curve) + 1)
            axis.plot(steps, [max(value, FLOOR[each.dtype]) for value in curve], label=name, **_line(found, name))
        limit = each.theta_limit
        axis.axhline(limit, color="C3", linestyle="--", linewidth=1, label="target at the last step")
        axis.set_yscale("log")
        _dress(axis, f"{each.dtype}, target {limit:.1e}", "training step", "relative difference of theta")
    return _with_legend(figure, panels[0])


def losses(found: Comparison, figure: Figure = None) -> Figure:
    """The loss of each step's batch."""
    figure = figure or blank((11.0, 3.6))
    panels = figure.subplots(1, len(found.agreements), sharey=True, squeeze=False)[0]
    for axis, each in zip(panels, found.agreements):
        for name, curve in each.losses.items():
            axis.plot(range(1, len(curve) + 1), curve, label=name, **_line(found, name))
        axis.set_ylim(bottom=0)
        _dress(axis, each.dtype, "training step")
    panels[0].set_ylabel("mean loss of the batch, nats")
    return _with_legend(figure, panels[0])


def speed(found: Comparison, figure: Figure = None) -> Figure:
    """Images per second, and what a step consists of, by batch size."""
    figure = figure or blank((11.0, 4.6))
    rates, times = figure.subplots(1, 2)

    def milliseconds(values: list[float | None]) -> list[float]:
        return [math.nan if each is None else 1e3 * each for each in values]

    for name in dict.fromkeys(each.device for each in found.speeds):
        rows = [each for each in found.speeds if each.device == name and each.compute]
        batches, look = [each.batch for each in rows], {"color": _colour(found, name), "marker": "o", "markersize": 4}
        rates.plot(batches, [each.resident for each in rows], label=f"{name}, images on the device", **look)
        times.plot(batches, milliseconds([each.compute for each in rows]), label=f"{name}, compute", **look)
        if name.startswith("cuda"):
            rates.plot(batches, [each.transferred for each in rows], "--", label=f"{name}, images sent first", **look)
            times.plot(batches, milliseconds([each.transfer for each in rows]), "--", label="transfer", **look)
        look |= {"marker": "x", "alpha": 0.6}
        times.plot(batches, milliseconds([each.first for each in rows]), ":", label=f"{name}, first step", **look)
        pays = found.break_even.get(name, {}).get("resident")
        if pays is not None:
            rates.axvline(pays, color=_colour(found, name), linestyle=":", label=f"{name} pays from {pays}")
    batches = sorted({each.batch for each in found.speeds})
    for axis, label in ((rates, "training images per second"), (times, "milliseconds per step")):
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(batches, list(map(str, batches)))
        _dress(axis, "float32", "images per batch", label)
        axis.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    return figure


def _dress(axis: Any, title: str, below: str, beside: str = "") -> None:
    axis.set_title(title, fontsize="medium")
    axis.set_xlabel(below)
    axis.set_ylabel(beside or axis.get_ylabel())
    axis.grid(alpha=0.3)


def _with_legend(figure: Figure, axis: Any) -> Figure:
    """The figure, with one legend below all its panels."""
    handles, labels = axis.get_legend_handles_labels()
    how = {"loc": "outside lower center", "fontsize": "small", "frameon": False, "handlelength": 3}
    figure.legend(handles, labels, ncols=len(labels), **how)
    return figure


def _colour(found: Comparison, name: str) -> str:
    """Grey for the CPU and its reorderings, a colour for each of the others."""
    if name == CPU.name:
        return "0.1"
    return GREYS.get(name) or f"C{found.others.index(name)}"


def _dots(found: Comparison, name: str) -> dict[str, Any]:
    """Larger and hollow for what comes first, so that what lies on top of each other stays visible."""
    place, colour = list(found.devices).index(name) - 1, _colour(found, name)
    look = {"marker": MARKS[place % len(MARKS)], "markersize": max(4, 10 - 2 * place), "markeredgecolor": colour}
    return look | {"markerfacecolor": "none" if name in GREYS else colour}


def _line(found: Comparison, name: str) -> dict[str, Any]:
    """Wide and pale for the CPU, dashes in turn for the others."""
    if name == CPU.name:
        return {"color": "0.8", "linewidth": 6}
    if name in GREYS:
        return {"color": GREYS[name], "linewidth": 3}
    place = found.others.index(name)
    return {"color": f"C{place}", "linewidth": 1.5, "linestyle": (3 * place, (4, 2 + 2 * place))}
