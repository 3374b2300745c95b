"""`gpucnn bench memory`: how much a training step holds at most, each side in processes of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import networks
from ...errors import SettingError
from ..timing import rounds
from . import process
from .candidates import OURS, Case
from .rows import line, row
from .session import BenchOptions, Session, Show, check_batches

REPEATS = 3  # processes whose memory is read
STEPS = 3  # of which memory is the peak
LEAST = 1 << 20  # bytes
ABOUT = "peak resident memory of a training step, parameters included, less that after imports and data"


def memory(
    network: str = "two-conv-wide", batch: int = 512, options: BenchOptions | None = None, show: Show = print
) -> dict[str, Any]:
    """Peak resident memory of training steps on the CPU, less what was held after imports and data.

    Each figure is read in a process of its own, for a peak never falls.
    """
    try:
        import resource  # noqa: F401
    except ImportError:
        raise SettingError("bench memory: what a process has held is not read on Windows; run it in WSL") from None
    entry = networks.entry(network)
    check_batches([batch])
    session = Session(options, show)
    if session.device.kind != "cpu":
        raise SettingError(f"bench memory --device {session.device}: resident memory is the CPU's; use --device cpu")
    session.leave_torch_out(networks.build(network), entry.loss)
    session.begin(ABOUT, session.torch_obstacle)
    tasks: dict[str, dict[str, Any]] = {OURS: {"task": "memory:ours"}}
    tasks |= {name: {"task": "memory:torch", **how} for name, how in session.formats.items()}
    common: dict[str, Any] = {"network": network, "batch": batch, "threads": session.threads}

    def measure(_: int) -> dict[str, float]:
        return {name: process.run(**task, **common)[0]["bytes"] for name, task in tasks.items()}

    found = rounds(measure, session.options.rounds or REPEATS)
    rows = [row({"network": network, "what": "memory", "batch": batch}, found, list(tasks), "megabytes")]
    show(line(rows[0]))
    return session.result("memory", rows)


def ours(network: str, batch: int, threads: int) -> dict[str, Any]:
    """By how many bytes the peak grows while a model is made and takes a few steps; the uint8 images are there before.

    All that helper processes hold is added, since they are there for these steps alone.
    """
    from ...model import Model
    from ...workers import helpers

    def work(case: Case, images: Any, labels: Any, steps: int) -> None:
        model = Model(case.network, loss=case.loss, device="cpu", threads=threads)
        if steps > 1 and helpers.possible():
            helpers.team.start(model.threads - 1)
        model.fit(images, labels, batch_size=len(labels), epochs=steps, optimizer="sgd", lr=0.01)

    found = _growth(lambda case: (case.images, case.labels), work, network, batch)
    found["bytes"] += sum(peak_resident(helper.process.pid) for helper in helpers.team.helpers)
    return found


def torch(network: str, batch: int, threads: int, channels_last: bool = False) -> dict[str, Any]:
    """The same in PyTorch; the float32 images are there before."""
    from torch import from_numpy, set_num_threads

    from . import torch_peer

    set_num_threads(threads)
    memory_format = torch_peer.FORMATS[channels_last]

    def work(case: Case, x: Any, labels: Any, steps: int) -> None:
        peer = torch_peer.Peer(case.network, case.loss, channels_last=channels_last)
        for _ in range(steps):
            peer.step(x, labels)

    def data(case: Case) -> tuple[Any, Any]:
        return torch_peer.put(case.images, "cpu", memory_format), from_numpy(case.labels)

    return _growth(data, work, network, batch)


def _growth(
    data: Callable[[Case], tuple[Any, Any]], work: Callable[[Case, Any, Any, int], None], network: str, batch: int
) -> dict[str, Any]:
    """Bytes by which the peak grows during work on data, once a small piece of it has imported all that it needs."""
    case, small = Case.of(network, batch), Case.of("softmax-regression", 1)
    images, labels = data(case)
    work(small, *data(small), 1)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes what is held now
    before = peak_resident()
    work(case, images, labels, STEPS)
    return {"bytes": max(LEAST, peak_resident() - before), "before": before}


def peak_resident(process: int | str = "self") -> int:
    """The largest number of bytes that this process, or a helper of it, has held in memory so far.

    Linux hands getrusage's figure down from the parent process, so there it is read from /proc.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # for a helper too: it holds less than its caller
    return peak if sys.platform == "darwin" else peak * 1024
