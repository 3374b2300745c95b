"""A comparison as sentences and tables of text."""

from __future__ import annotations

import math

from ...errors import counted
from ..tables import table
from .backends import CPU
from .result import Comparison
from .speed import Speed
from .speed import break_even as break_even_of


def render(found: Comparison) -> str:
    """The whole comparison, one part below the other."""
    return "\n\n".join([summary(found), heading(found), agreement(found), targets(found), speed(found)])


def brief(found: Comparison) -> str:
    """What it comes to, and the times."""
    why = [found.sentence] if found.sentence else []
    return "\n\n".join(["\n".join([summary(found), *why]), speed(found)])


def summary(found: Comparison) -> str:
    """A sentence for each device or library: how closely it agrees, and how fast it is."""
    what = [_of(found, name) for name in found.others] or [
        "there is no other device or library to compare with the CPU"
    ]
    about = f"{found.options.network}, {found.parameters:,} parameters, on {found.data}"
    return "\n".join(f"{about}: {each}." for each in what)


def _of(found: Comparison, name: str) -> str:
    single, double = found.agreements
    steps = found.options.steps
    missed = [each for each in found.targets if each.device == name and not each.met]
    if missed:
        wrong = "; ".join(
            f"{each.what} in {each.dtype} by {_small(each.found)}, at most {_small(each.limit)} was expected"
            for each in missed
        )
        agrees = f"{name} DISAGREES with the CPU: {wrong}"
    else:
        agrees = (
            f"{name} agrees with the CPU to {_digits(single.worst(name))} digits in float32, and to "
            f"{_digits(double.theta[name][-1])} in float64 after {counted(steps, 'step')}"
        )
    return f"{agrees}, and {_pace(found, name)}" if any(each.device == name for each in found.speeds) else agrees


def _digits(difference: float) -> str:
    """How many digits are the same where numbers differ by that part of them."""
    return "all" if difference == 0 else str(max(0, math.floor(-math.log10(difference))))


def _pace(found: Comparison, name: str) -> str:
    rates = {(each.device, each.batch): each.resident for each in found.speeds if each.resident}
    batches = [batch for device, batch in rates if device == name and (CPU.name, batch) in rates]
    if not batches:
        return "its times cannot be compared, because nothing fitted into its memory"
    largest = max(batches)
    times = rates[name, largest] / rates[CPU.name, largest]
    if times < 1:
        return f"the CPU is {1 / times:.3g} times as fast with batches of {largest:,}"
    fast = f"{times:.3g} times as fast with batches of {largest:,}"
    pays = break_even_of(found.speeds, CPU.name, name)
    if pays is None:
        return f"is {fast}"
    return f"is faster from batches of {pays:,} on, {fast}" if pays < largest else f"is {fast}"


def heading(found: Comparison) -> str:
    """What was compared, and why no GPU is among it."""
    how, width = found.options, max(map(len, found.devices))
    lines = [
        f"{how.network}, {found.parameters:,} parameters, on {found.data}: batches of {found.batch_size}, "
        f"{found.optimizer}, seed {how.seed}, {counted(found.threads, 'CPU thread')}",
        *(f"  {name:<{width}}  {about}" for name, about in found.devices.items()),
    ]
    return "\n".join(lines + ([found.sentence] if found.sentence else []))


def agreement(found: Comparison) -> str:
    """Relative differences of one forward and backward pass by layer, then of theta along the steps."""
    names, steps = list(found.devices)[1:], found.options.steps
    pairs = [(each, name) for each in found.agreements for name in names]
    rows = [["", "", *(name for _, name in pairs)]]
    for k, row in enumerate(found.agreements[0].rows):
        cells = [_small(each.rows[k].differences[name]) for each, name in pairs]
        rows.append([f"{row.what} {row.name}", " x ".join(map(str, row.shape)), *cells])
    for step in [*(10**k for k in range(len(str(steps))) if 10**k < steps), steps]:
        cells = [_small(each.theta[name][step - 1]) for each, name in pairs]
        rows.append([f"theta after {counted(step, 'step')}", "", *cells])
    widths = [max(len(row[k]) for row in rows) + 2 for k in range(2 + len(names))]
    above = " " * sum(widths[:2]) + "".join(f"{each.dtype:<{sum(widths[2:])}}" for each in found.agreements).rstrip()
    title = f"norm(theirs - {CPU.name}'s) / norm({CPU.name}'s), one batch forward and backward"
    return "\n".join([title, above, *table(rows, left=2)])


def targets(found: Comparison) -> str:
    """What agreement is held to, and whether it was reached."""
    if not found.targets:
        return "No device or library to hold to the targets."
    rows = []
    for each in found.targets:
        limit, verdict = f"at most {_small(each.limit)}", "met" if each.met else "MISSED"
        rows.append([each.device, each.dtype, each.what, _small(each.found), limit, verdict])
    chaos = "float32 drift: at most 3 times the larger distance between cpu and its two reorderings"
    return "\n".join([f"targets ({chaos})", *table(rows, left=3)])


def speed(found: Comparison) -> str:
    """A training step's times by batch size, and the batch size from which each device is faster than the CPU."""
    head = ["", "batch", "first step", "transfer", "compute", "images/s", "with transfer"]
    lines = table([head, *map(_speed_row, found.speeds)], left=1)
    title = "a training step in float32, medians; first step: one, with what it prepares; transfer: of its images"
    return "\n".join([title, *lines, *break_even(found)])


def break_even(found: Comparison) -> list[str]:
    """For each GPU, from which batch size on it pays; where there is none, that this is unknown."""
    largest = max((each.batch for each in found.speeds), default=0)
    lines = []
    for name, pays in found.break_even.items():
        alone, sent = pays["resident"], pays["transferred"]
        also = "never so" if sent is None else f"from {sent} on"
        lines.append(
            f"{name} does not pay up to batches of {largest}: {CPU.name} is faster."
            if alone is None
            else f"{name} pays from batches of {alone} on ({also} when each batch is sent to it first)."
        )
    return lines or ["From which batch size a GPU pays can be said where there is one."]


def _speed_row(each: Speed) -> list[str]:
    if each.compute is None:
        return [each.device, str(each.batch), "out of memory", "", "", "", ""]
    times = [_time(each.first), _time(each.transfer), _time(each.compute)]
    rate = f"{each.transferred:,.0f}" if each.transfer else "-"
    return [each.device, str(each.batch), *times, f"{each.resident:,.0f}", rate]


def _small(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"


def _time(seconds: float | None) -> str:
    """Milliseconds, or seconds from 1 on; "-" for what takes no time."""
    return "-" if not seconds else f"{1e3 * seconds:,.3g} ms" if seconds < 1 else f"{seconds:,.3g} s"
