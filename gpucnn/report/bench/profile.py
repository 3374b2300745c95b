"""`gpucnn bench profile`: where a training step's time goes, layer by layer, forward and backward.

On a CUDA device also kernel by kernel.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ... import networks
from ...device import Device
from ...engine.execution import Execution
from ...engine.gradient import gradient
from ...engine.recorded import WARM
from ...kernels import Context
from ...layers.base import Around
from ...model import Model
from ...namespace import array_namespace
from ...network import cost, describe
from ...optimizers import SGD
from ..tables import table
from ..timing import LONG, rounds
from . import kernels
from .candidates import LR, Case, models
from .session import BenchOptions, Session, Show, check_batches

ROUNDS = 30
WIDEST = 60  # characters of a layer's name in the table
STEP, INPUT, LOSS = "whole step", "input", "loss"
ABOUT = (
    "Layers that run as one are one row. On the CPU one thread computes all, in shards of the batch; on a GPU each "
    "layer is launched by itself and waited for, while the whole step is run as training does. The whole step also "
    "updates theta. Milliseconds, medians over rounds; multiply-adds as the equations count them."
)


def profile(
    network: str = "two-conv", batch: int = 128, options: BenchOptions | None = None, show: Show = print
) -> dict[str, Any]:
    """Time each layer of a training step, forward and backward, and the whole step beside their sum."""
    networks.entry(network)
    check_batches([batch])
    session = Session(replace(options or BenchOptions(), threads=1), show)
    case, rows = Case.of(network, batch), []
    session.begin(ABOUT)
    for who, model in models(session, case).items():
        found = _measured(model, case, session.options.rounds or ROUNDS)
        rows.append({"network": network, "batch": batch, "kernels": who} | found)
        show("\n".join(["", f"{who}, {network}, {batch} images", *shown(found)]))
    return session.result("profile", rows)


class _Clock:
    """Adds up, by name, the seconds that parts of the work take."""

    def __init__(self, device: Device) -> None:
        self.device, self.figures = device, defaultdict[str, float](float)

    def __call__(self, part: str, work: Any, *arguments: Any, **options: Any) -> Any:
        with self.device.timer() as timer:
            result = work(*arguments, **options)
        self.figures[part] += timer.seconds
        return result


@dataclass(frozen=True)
class _Timed(Around):
    """A layer whose passes are timed."""

    number: int
    clock: _Clock

    def forward(self, *arguments: Any) -> Any:
        return self.clock(f"forward {self.number}", self.layer.forward, *arguments)

    def backward(self, *arguments: Any, need_dx: bool = True) -> Any:
        return self.clock(f"backward {self.number}", self.layer.backward, *arguments, need_dx=need_dx)


def _measured(model: Model, case: Case, count: int) -> dict[str, Any]:
    """The table's figures. Each round times a pass layer by layer, then a whole step."""
    device, execution, clock = model.device, model.execution, _Clock(model.device)
    data = device.put(case.images), device.put(case.labels), device.put(np.arange(len(case.images)))
    step = execution.step(model.loss, SGD())

    def measure(_: int) -> dict[str, float]:
        clock.figures.clear()
        _pass(model, clock, *data)
        clock(STEP, step, *data, LR)
        return clock.figures.copy()

    with execution.active():
        for _ in range(WARM + 1 if execution.is_recorded else 1):
            measure(0)  # for what is compiled, kept or recorded once
        found = rounds(measure, count, longest=LONG)
        seen = kernels.kernels(execution, step, lambda step: step(*data, LR)) if device.kind == "cuda" else None
    rows: list[dict[str, Any]] = []
    for name, ahead, back, multiply_adds in _parts(execution, len(case.images)):
        forward, backward = (1e3 * found.median(part) if part in found.figures[0] else 0.0 for part in (ahead, back))
        rate = 1e3 * multiply_adds / (forward + backward)
        rows.append({"layer": name, "forward": forward, "backward": backward, "multiply_adds_per_second": rate})
    total = sum(each["forward"] + each["backward"] for each in rows)
    for each in rows:
        each["share"] = (each["forward"] + each["backward"]) / total
    figures = {"milliseconds": rows, "sum": total, "step": 1e3 * found.median(STEP), "rounds": len(found.figures)}
    return figures | ({} if seen is None else {"on_the_device": seen})


def _pass(model: Model, clock: _Clock, images: Any, labels: Any, order: Any) -> None:
    """The gradient of one shard of the batch after another, each of its parts timed."""
    execution, take = model.execution, array_namespace(images).take
    chosen, params = execution.context.kernels, execution.layout.unpack(model.theta)
    layers = tuple(_Timed(layer, k, clock) for k, layer in enumerate(execution.network.layers))
    network = replace(execution.network, layers=layers)
    loss: Any = partial(clock, LOSS, partial(chosen.loss, model.loss))

    def scaled(some: Any) -> Any:
        return model.scaling(take(images, some, axis=0), model.theta.dtype, chosen)

    size = min(execution.shard, len(order)) if model.device.kind == "cpu" else len(order)
    for start in range(0, len(order), size):
        some = order[start : start + size]
        context = Context(chosen, update=1, examples=some, state=execution.state_layout.unpack(execution.state))
        gradient(network, loss, params, clock(INPUT, scaled, some), take(labels, some, axis=0), context)


def _parts(execution: Execution, batch: int) -> list[tuple[str, str, str, int]]:
    """The table's rows: a name, under which names it was timed forward and backward, and its multiply-adds.

    The gradient of a layer's parameters takes as many multiply-adds as its forward pass, and that of its input as many
    again. No gradient goes back beyond the first layer with parameters.
    """
    first = min(int(slot.path[0]) for slot in execution.layout.slots)
    found = [(INPUT, INPUT, "", 0)]
    for k, (layer, shape) in enumerate(zip(execution.network.layers, execution.network.shapes())):
        held = [value for name, value in vars(layer).items() if name[0] != "_"]
        within = [describe(part) for part in held if hasattr(part, "out_shape")]  # of a fused layer
        passes = 1 + (k >= first) + (k > first)
        name = f"{k} {' + '.join(within) or describe(layer)}"
        found.append((name, f"forward {k}", f"backward {k}", passes * batch * cost(layer, shape)))
    return [*found, (LOSS, LOSS, "", 0)]


def shown(found: dict[str, Any]) -> list[str]:
    """The table of a row's figures, as lines."""
    lines = [["", "forward ms", "backward ms", "share", "1e9 multiply-adds/s"]]
    for each in found["milliseconds"]:
        times = [f"{each[way]:.3f}" if each[way] else "" for way in ("forward", "backward")]
        rate = each["multiply_adds_per_second"]
        name = each["layer"] if len(each["layer"]) <= WIDEST else f"{each['layer'][: WIDEST - 3]}..."
        lines.append([name, *times, f"{each['share']:.1%}", f"{rate / 1e9:.1f}" if rate else ""])
    lines += [["sum", f"{found['sum']:.3f}", "", "", ""], [STEP, f"{found['step']:.3f}", "", "", ""]]
    return table(lines, left=1) + (["", *kernels.shown(found["on_the_device"])] if "on_the_device" in found else [])
