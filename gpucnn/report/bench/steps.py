"""`gpucnn bench steps`: a training step and inference beside other libraries, where they are installed.

All candidates of a row run in one process, in turn (A B A B), with the same number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ... import networks
from . import candidates, process
from .candidates import HOW, Case
from .rows import line, row
from .session import BenchOptions, Session, Show, check_batches

NETWORKS = ("single-filter", "avgpool-96", "two-conv", "two-conv-wide", "vgg-small")
BATCHES = (32, 128, 512)
OWN = (
    "Each row has a process of its own: what a process did before decides whether the C library hands large blocks of "
    "memory back after each step, which can double another library's time."
)


def steps(
    names: Sequence[str] = NETWORKS,
    batches: Sequence[int] = BATCHES,
    options: BenchOptions | None = None,
    show: Show = print,
    *,
    apart: bool | None = None,
) -> dict[str, Any]:
    """A training step at each batch size, and inference, of each network. Rows are shown as they come.

    apart: measure each row in a process of its own; None is on the CPU only.
    """
    check_batches(batches)
    for name in names:
        networks.entry(name)
    session = Session(options, show)
    apart = session.device.kind == "cpu" if apart is None else apart
    session.begin(HOW, OWN if apart else None, session.torch_obstacle, session.jax_obstacle)
    rows = []
    for name in names:
        for batch in (*batches, None):
            asked: dict[str, Any] = {"network": name, "batch": batch, "options": asdict(session.options)}
            rows.append(process.run("steps:alone", **asked)[0] if apart else alone(**asked))
            show(line(rows[-1]))
    return session.result("steps", rows)


def alone(network: str, batch: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """`timed` in this process: what the process that `steps` starts for each row calls."""
    session = Session(BenchOptions(**options))
    session.time_here()
    return timed(session, Case.of(network, max(session.options.images, batch or 0)), batch)


def timed(session: Session, case: Case, batch: int | None) -> dict[str, Any]:
    """The row of a training step or, where batch is None, of the logits of all images."""
    found, notes = candidates.training(session, case, batch) if batch else candidates.inference(session, case)
    head: dict[str, Any] = {"network": case.name, "input": list(case.network.input_shape)}
    head |= {"what": "training step" if batch else "inference", "batch": batch or len(case.images)}
    return row(head, session.interleaved(found), list(found)) | ({"notes": notes} if notes else {})
