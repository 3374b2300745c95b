"""The kernels of one training step on a CUDA device, in their order, with their times."""

from __future__ import annotations

import importlib.util
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...device import Device, reason_of
from ...engine.execution import Execution, Step
from ...engine.recorded import RecordedStep
from ..tables import table

STEPS = 20  # that are watched
LONGEST = 70  # characters of a kernel's name in the table
KINDS = {"kernel", "gpu_memcpy", "gpu_memset"}  # of a trace's events, what a GPU does

Kernel = tuple[str, float]  # name, microseconds


def kernels(execution: Execution, step: Step, call: Callable[[Step], Any]) -> dict[str, Any]:
    """What one call of the step makes the device do: names and microseconds in order, medians of STEPS calls.

    By torch.profiler, where PyTorch is installed and sees the device, as the step is run; else by CUDA's events around
    kernels and products that are launched one by one, which adds a few microseconds to each. "by" says which, and
    "note" why not the first.
    """
    note = _obstacle()
    if note is None:
        try:
            found = per_step(traced(execution.device, lambda: call(step)), STEPS)
            if found:
                return _answer("torch.profiler", found)
            note = "torch.profiler saw no equal steps"
        except Exception as error:  # whatever PyTorch and CUPTI raise
            note = f"torch.profiler failed ({reason_of(error)})"
    eager = step.whole if isinstance(step, RecordedStep) else step
    return _answer("CUDA events around each launch", _by_events(execution, lambda: call(eager))) | {"note": note}


def _answer(by: str, found: Sequence[Kernel]) -> dict[str, Any]:
    return {"by": by, "kernels": [{"kernel": name, "microseconds": time} for name, time in found]}


def _obstacle() -> str | None:
    """Why torch.profiler cannot be used, or None."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch, whose profiler sees every kernel, is not installed"
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be imported ({reason_of(error)})"
    return None if torch.cuda.is_available() else "this PyTorch, whose profiler sees every kernel, sees no CUDA device"


def traced(device: Device, call: Callable[[], Any]) -> list[Kernel]:
    """What the device does in STEPS calls, as PyTorch's profiler has it, whoever launches it."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.init()
    device.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for _ in range(STEPS):
            call()
        device.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(path))
        return of_trace(json.loads(path.read_text(encoding="utf-8")))


def of_trace(trace: dict[str, Any]) -> list[Kernel]:
    """A Chrome trace's kernels, copies and fills, in the order in which they began."""
    events = [each for each in trace["traceEvents"] if each.get("cat") in KINDS and "dur" in each]
    return [(each["name"], float(each["dur"])) for each in sorted(events, key=lambda each: each["ts"])]


def per_step(found: Sequence[Kernel], steps: int) -> list[Kernel]:
    """The kernels of one of `steps` equal steps, with the medians of their times; empty where steps are not equal."""
    count, rest = divmod(len(found), steps)
    of_steps = [found[k * count : (k + 1) * count] for k in range(steps)]
    if rest or any([name for name, _ in each] != [name for name, _ in of_steps[0]] for each in of_steps):
        return []
    return [(same[0][0], statistics.median(time for _, time in same)) for same in zip(*of_steps)]


def _by_events(execution: Execution, call: Callable[[], Any]) -> list[Kernel]:
    """The launches and products that gpucnn makes, each between two events of the device."""
    gpu, event = getattr(execution.context.kernels, "gpu", None), execution.device.xp.cuda.Event
    if gpu is None:  # the reference, whose kernels are CuPy's own
        return []
    seen: list[tuple[str, Any, Any]] = []

    def watched(work: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            before, after = event(), event()
            before.record()
            result = work(*arguments, **options)
            after.record()
            seen.append((name_of(*arguments), before, after))
            return result

        return timed

    launches = [name for name in dir(gpu) if name.startswith("launch")]
    multiply, multiply_each = gpu.multiply, gpu.multiply_each
    for each in launches:
        setattr(gpu, each, watched(getattr(gpu, each), lambda name, *_: name))
    gpu.multiply, gpu.multiply_each = watched(multiply, _product), watched(multiply_each, _products)
    try:
        for _ in range(STEPS):
            call()
    finally:
        gpu.multiply, gpu.multiply_each = multiply, multiply_each
        for each in launches:
            delattr(gpu, each)  # its class's own is seen again
    execution.device.synchronize()
    elapsed = execution.device.xp.cuda.get_elapsed_time
    return per_step([(name, 1e3 * elapsed(before, after)) for name, before, after in seen], STEPS)


def _product(a: Any, b: Any, *_: Any) -> str:
    return f"product {a.shape[0]} x {a.shape[1]} x {b.shape[1]}"


def _products(a: Any, b: Any, *_: Any) -> str:
    return f"{a.shape[0]} products {a.shape[1]} x {a.shape[2]} x {b.shape[2]}"


def shown(found: dict[str, Any]) -> list[str]:
    """The kernels as lines of a table, with their share of the time."""
    total = sum(each["microseconds"] for each in found["kernels"])
    lines = [["", "us", "share"]]
    for each in found["kernels"]:
        name, time = each["kernel"], each["microseconds"]
        cut = name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."
        lines.append([cut, f"{time:.1f}", f"{time / total:.1%}" if total else ""])
    lines.append([f"sum of {len(found['kernels'])}", f"{total:.1f}", ""])
    note = f"; {found['note']}" if found.get("note") else ""
    return [f"kernels of one step, in order, by {found['by']}{note}", *table(lines, left=1)]
