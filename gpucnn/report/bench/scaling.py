"""`gpucnn bench scaling`: does a training step's time grow as its images, and as their pixels, do?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ... import networks
from ...engine.acceleration import Acceleration
from ...layers import Conv2D, Dense, Flatten
from ...network import Network
from ..timing import spread
from .candidates import HOW, OURS, Case, model_of, our_step
from .rows import how_many, line, shown_range
from .session import BenchOptions, Session, Show, check_batches
from .steps import timed

BATCHES = (128, 256, 512, 1024, 2048)
SIDES = (28, 56, 112, 224)  # pixels
PIXEL_BATCH = 128
UNITS = {  # how each is shown, and in seconds
    "microseconds_per_image": ("us/image", 1e-6),
    "nanoseconds_per_pixel": ("ns/pixel", 1e-9),
}


def scaling(
    network: str = "two-conv",
    batches: Sequence[int] = BATCHES,
    sides: Sequence[int] = SIDES,
    options: BenchOptions | None = None,
    show: Show = print,
) -> dict[str, Any]:
    """Training time per image against the batch size; then against pixels, of the layers before the first Flatten."""
    check_batches(batches)
    networks.entry(network)
    session = Session(options, show)
    session.time_here()
    session.begin(HOW, session.torch_obstacle, session.jax_obstacle)
    case = Case.of(network, max(session.options.images, *batches))
    of_sides = [(_larger(network, side), PIXEL_BATCH) for side in sides]
    even, rows = [], []
    for unit, cases in zip(UNITS, ([(case, batch) for batch in batches], of_sides)):
        if cases is of_sides:
            show(f"the layers of {network} before its Flatten, padded so that work grows as pixels do, and Dense(10):")
        even.append(evenness(session, cases, unit))
        for each, batch in cases:
            rows.append(_per_unit(timed(session, each, batch)))
            show(line(rows[-1]))
            show(_shown(rows[-1]))
    return session.result("scaling", rows, evenness=even)


def _larger(name: str, side: int) -> Case:
    """The network's layers before its Flatten, on square images of that side, with an output."""
    whole = networks.build(name)
    trunk = itertools.takewhile(lambda layer: not isinstance(layer, Flatten), whole.layers)
    layers = (replace(layer, padding="same") if isinstance(layer, Conv2D) else layer for layer in trunk)
    larger = Network((side, side, whole.input_shape[2]), (*layers, Flatten(), Dense(10)))
    return replace(Case.of(name, PIXEL_BATCH, larger), name=f"{side} x {side}")


def _amount(unit: str, batch: int, shape: Sequence[int]) -> float:
    """By what the seconds of a step are divided: its images or its pixels, in the unit."""
    return UNITS[unit][1] * batch * (math.prod(shape[:2]) if unit.endswith("pixel") else 1)


def evenness(session: Session, cases: Sequence[tuple[Case, int]], unit: str) -> dict[str, Any]:
    """A training step of each case and batch, gpucnn's alone, in turn, because a machine's speed drifts.

    One size after the other would measure that. farthest_from_mean: of the sizes' medians, as a share of their mean.
    """
    steps, amounts = {}, {}
    for case, batch in cases:
        name = f"{batch} of {'x'.join(map(str, case.network.input_shape))}"
        steps[name] = our_step(model_of(session, case, Acceleration()), case, batch)
        amounts[name] = _amount(unit, batch, case.network.input_shape)
    found = session.interleaved(steps)
    of_sizes = {name: spread(found.of(name), amount) for name, amount in amounts.items()}
    medians = [each["median"] for each in of_sizes.values() if each and each["median"]]
    farthest = max((abs(each * len(medians) / sum(medians) - 1) for each in medians), default=None)
    shown = ", ".join(f"{name} {shown_range(each)}" for name, each in of_sizes.items())
    rest = how_many(len(found.figures), found.discarded, found.late)
    session.show(f"{OURS} alone, the sizes in turn, {UNITS[unit][0]}: {shown}  ({rest})")
    if farthest is not None:
        session.show(f"  at most {farthest:.0%} from their mean")
    return {unit: of_sizes, "farthest_from_mean": farthest}


def _per_unit(row: dict[str, Any]) -> dict[str, Any]:
    """A row with everyone's time per image and per pixel."""
    medians = {who: found["median"] / 1e3 for who, found in row["milliseconds"].items() if found}
    for unit in UNITS:
        row[unit] = {who: each / _amount(unit, row["batch"], row["input"]) for who, each in medians.items()}
    return row


def _shown(row: dict[str, Any]) -> str:
    images, pixels = (row[unit] for unit in UNITS)
    each = "  ".join(f"{who} {time:.2f} us/image, {pixels[who]:.2f} ns/pixel" for who, time in images.items())
    return f"batch {row['batch']:>4}, {' x '.join(map(str, row['input'])):<11}  {each}"
