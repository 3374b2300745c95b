"""What a run of `gpucnn bench` comes to: a sentence, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import counted
from ..tables import table
from . import profile, tune
from .candidates import OURS
from .rows import UNITS


def summary(found: dict[str, Any]) -> str:
    """The text for what a mode returns, the sentence first."""
    mode, rows = found["mode"], found["rows"]
    if mode == "profile":
        return "\n\n".join("\n".join([_heaviest(row), "", *profile.shown(row)]) for row in rows)
    if mode == "tune":
        return tune.summary(rows)
    measured = [row for row in rows if row["rounds"]]
    lines = [_sentence(mode, measured)]
    if mode == "scaling":
        lines += [_even(found["evenness"])]
    if len(measured) < len(rows):
        lines.append(
            f"{len(rows) - len(measured)} of {len(rows)} rows have no figures, because other programs used the CPUs."
        )
    if mode == "time-to":
        missed = {who: misses for who, misses in rows[0].get("misses", {}).items() if misses}
        lines += [f"{who} missed it in {counted(misses, 'run')}." for who, misses in missed.items()]
    return "\n".join([*lines, "", *_table(measured)]) if measured else "\n".join(lines[1:])


def _sentence(mode: str, rows: Sequence[dict[str, Any]]) -> str:
    """How gpucnn's figures and those of the best other library are to each other."""
    ratios = [row["ratio"]["median"] for row in rows if row["ratio"] and row["ratio"]["median"] is not None]
    peers = [*dict.fromkeys(row["peer"] for row in rows if row["peer"])]
    if not peers:
        return "No other library was measured beside gpucnn; --verbose says why."
    if not ratios:
        return f"gpucnn and {' and '.join(peers)} cannot be compared: both reached it with none of the seeds."
    least, most = (f"{end(ratios):.2f}" for end in (min, max))
    times = f"{least} times" if least == most else f"{least} to {most} times"
    best = peers[0] if len(peers) == 1 else f"the better of {' and '.join(peers)}"
    return f"gpucnn {f'holds {times} as much memory' if mode == 'memory' else f'takes {times} as long'} as {best}."


def _even(evenness: Sequence[dict[str, Any]]) -> str:
    """How evenly a step's time grows."""
    per = ("image", "pixel")
    parts = [
        f"its time per {what} is at most {each['farthest_from_mean']:.0%} from the mean over all sizes"
        for what, each in zip(per, evenness)
        if each["farthest_from_mean"] is not None
    ]
    return f"{'; '.join(parts)}.".capitalize() if parts else "How its time grows could not be measured."


def _heaviest(row: dict[str, Any]) -> str:
    heaviest = max(row["milliseconds"], key=lambda each: each["share"])
    return (
        f"A training step of {row['network']} on {row['batch']:,} images takes {row['step']:.3g} ms, "
        f"{heaviest['share']:.0%} of the layers' time in {heaviest['layer']} (kernels: {row['kernels']})."
    )


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    name, (_, unit) = next(each for each in UNITS.items() if each[0] in rows[0])
    lines = [["network", "what", "images", f"gpucnn, {unit}", f"best other, {unit}", "", "ratio"]]
    for row in rows:
        figures, peer = row[name], row["peer"]
        theirs = "" if peer is None else _median(figures[peer])
        ratio = "" if row["ratio"] is None or row["ratio"]["median"] is None else f"{row['ratio']['median']:.2f}"
        ours = _median(figures[OURS])
        lines.append([row["network"], row["what"], f"{row['batch']:,}", ours, theirs, peer or "", ratio])
    return table(lines, left=2)


def _median(figure: dict[str, float | None] | None) -> str:
    value = None if figure is None else figure["median"]
    return "never" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
