"""A row: what everyone took for one thing, as JSON-able values and as a line of text."""

from __future__ import annotations

from typing import Any

from ...errors import counted
from ..timing import NEEDED, Rounds, spread
from .candidates import MORE, OURS, RESIDENT

UNITS = {"milliseconds": (1e-3, "ms"), "seconds": (1.0, "s"), "megabytes": (1e6, "MB")}


def row(head: dict[str, Any], found: Rounds, names: list[str], unit: str = "milliseconds") -> dict[str, Any]:
    """Medians and ranges, the fastest of the others as "peer", and gpucnn over it, round by round.

    head: "network", "what" and "batch", and whatever else is to stand in the row.
    """
    others = [name for name in names if name not in (OURS, RESIDENT, *MORE)]
    peer = min(others, key=found.median, default=None)
    return head | {
        unit: {name: spread(found.of(name), UNITS[unit][0]) for name in names},
        "peer": peer,
        "ratio": spread(found.ratios(OURS, peer)) if peer else None,
        "rounds": len(found.figures),
        "discarded": found.discarded,
        "late": found.late,
    }


def line(row: dict[str, Any]) -> str:
    """A row as one line: gpucnn, the fastest of the others, the ratio."""
    head = f"{row['network']:<14} {row['what']:<13} {row['batch']:>6}"
    if not row["rounds"]:
        return (
            f"{head}  no figures: {row['discarded']} rounds discarded, two threads were less than {NEEDED} times as "
            "fast as one; try again when the machine is idle, or use --threads 1"
        )
    name, (_, unit) = next(each for each in UNITS.items() if each[0] in row)
    figures = row[name]
    shown = [f"{who} {shown_range(figures[who])} {unit}" for who in (OURS, row["peer"]) if who]
    slower = [f"{who} {_median(figures[who])}" for who in figures if who not in (OURS, row["peer"])]
    ratio = f"  ratio {shown_range(row['ratio'], 2)}" if row["ratio"] else ""
    rest = "; ".join([*slower, how_many(row["rounds"], row["discarded"], row["late"]), *row.get("notes", ())])
    return f"{head}  {'  '.join(shown)}{ratio}  ({rest})"


def how_many(rounds: int, discarded: int, late: bool) -> str:
    return f"{counted(rounds, 'round')}, {discarded} discarded{', five minutes were over' * late}"


def shown_range(found: dict[str, float | None] | None, digits: int = 3) -> str:
    """Median [least..most]; a run that missed its goal took for ever."""
    if found is None:
        return "none"
    least, most = ("never" if found[end] is None else _shown(found[end], digits) for end in ("min", "max"))
    return f"{_median(found, digits)} [{least}..{most}]"


def _median(found: dict[str, float | None] | None, digits: int = 3) -> str:
    if found is None:
        return "none"
    return "never" if found["median"] is None else _shown(found["median"], digits)


def _shown(value: Any, digits: int) -> str:
    return f"{value:,.0f}" if value >= 10**digits else f"{value:.{digits}g}"
