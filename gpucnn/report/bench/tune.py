"""`gpucnn bench tune`: how long each convolution of a network takes by every way that takes it, on a CUDA device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ... import networks
from ...engine.acceleration import Acceleration
from ...engine.tuning import tune as tuned
from ...kernels.cuda.ways import NAMES
from ..tables import table
from .candidates import Case, model_of
from .session import BenchOptions, Session, Show, check_batches

ABOUT = (
    "Microseconds of a forward and a backward pass, recorded as one CUDA graph, medians of interleaved rounds; with a "
    "max pool behind it, a convolution's bias, ReLU and pool are part of both. The convolutions are the network's own."
)


def tune(
    network: str = "two-conv-wide", batch: int = 128, options: BenchOptions | None = None, show: Show = print
) -> dict[str, Any]:
    """Time the network's convolutions at that batch. Raises SettingError on the CPU."""
    networks.entry(network)
    check_batches([batch])
    session = Session(options, show)
    model = model_of(session, Case.of(network, 1), Acceleration(tune=True))
    session.begin(ABOUT)
    made = tuned(model.execution, model.scaling, batch)
    return session.result("tune", [{"network": network} | asdict(each) for each in made])


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """A sentence, and the table."""
    if not rows:
        return "No convolution of this network can be computed by more than one way."
    names = [name for name in NAMES if any(name in row["microseconds"] for row in rows)]
    lines = [["us, batch " + str(rows[0]["batch"]), *names, "chosen"]]
    for row in rows:
        times = (row["microseconds"].get(name) for name in names)
        lines.append([row["convolution"], *("" if time is None else f"{time:.1f}" for time in times), row["chosen"]])
    return "\n".join([f"The fastest way of each convolution of {rows[0]['network']}:", "", *table(lines, left=1)])
