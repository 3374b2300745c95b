"""`gpucnn bench profile`: where a training step's time goes, layer by layer, forward and backward."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ... import networks
from ...model import Model
from ...namespace import array_namespace
from ...network import cost, describe
from ..tables import table
from ..timing import LONG, rounds
from .candidates import LR, Case, Running, model_of, ours, running
from .session import Session, Settings, Show, check_batches

ROUNDS = 30
STEP, INPUT, LOSS = "whole step", "input", "loss"
ABOUT = (
    "Layers that run as one are one row. On the CPU one thread computes all, in shards of the batch; on a GPU each "
    "layer is waited for. The whole step also updates theta. Milliseconds, medians over rounds; multiply-adds as the "
    "equations count them."
)


def profile(
    network: str = "two-conv", batch: int = 128, settings: Settings | None = None, show: Show = print
) -> dict[str, Any]:
    """Time each layer of a training step, forward and backward, and the whole step beside their sum."""
    networks.entry(network)
    check_batches([batch])
    session, case, rows = Session(replace(settings or Settings(), threads=1), show), Case.of(network, batch), []
    session.begin(ABOUT)
    for who, how in ours(session, case).items():
        if not how.graph:  # which has no layers that can be timed
            found = _measured(model_of(session, case, how), case, session.settings.rounds or ROUNDS)
            rows.append({"network": network, "batch": batch, "kernels": who} | found)
            show("\n".join(["", f"{who}, {network}, {batch} images", *_shown(found)]))
    return session.result("profile", rows)


def _measured(model: Model, case: Case, count: int) -> dict[str, Any]:
    """In each round a pass layer by layer, and a whole step."""
    device, inside = model.device, running(model)
    data = device.put(case.images), device.put(case.labels), device.put(np.arange(len(case.images)))

    def timed(figures: dict[str, float], part: str, work: Callable[[], Any]) -> Any:
        with device.timer() as timer:
            result = work()
        figures[part] += timer.seconds
        return result

    def measure(_: int) -> dict[str, float]:
        figures: dict[str, float] = defaultdict(float)
        _pass(model, inside, *data, partial(timed, figures))
        timed(figures, STEP, partial(inside.step, *data, LR))
        return figures

    with device.activate(), inside.workers.limited():
        measure(0)  # for what is compiled and kept once
        found = rounds(measure, count, longest=LONG)
    step = 1e3 * found.median(STEP)
    layers: list[dict[str, Any]] = []
    for name, ahead, back, multiply_adds in _parts(inside, len(case.images)):
        forward, backward = (1e3 * found.median(part) if part in found.figures[0] else 0.0 for part in (ahead, back))
        rate = 1e3 * multiply_adds / (forward + backward)
        layers.append({"layer": name, "forward": forward, "backward": backward, "multiply_adds_per_second": rate})
    total = sum(each["forward"] + each["backward"] for each in layers)
    for each in layers:
        each["share"] = (each["forward"] + each["backward"]) / total
    return {"milliseconds": layers, "sum": total, "step": step, "rounds": len(found.figures)}


def _pass(model: Model, inside: Running, images: Any, labels: Any, order: Any, timed: Callable[..., Any]) -> None:
    """Forward and backward as `step.gradient` goes, on one shard of the batch after another."""
    context, layers, take = inside.context, inside.network.layers, array_namespace(images).take
    params, first = inside.layout.unpack(model.theta), _first(inside)
    loss = context.kernels.losses.get(type(model.loss), model.loss)

    def scaled(some: Any) -> Any:
        return model.scaling(take(images, some, axis=0), model.theta.dtype, context)

    size = min(inside.shard, len(order)) if model.device.kind == "cpu" else len(order)
    for start in range(0, len(order), size):
        some, residuals = order[start : start + size], []
        x = timed(INPUT, partial(scaled, some))
        for k, layer in enumerate(layers):
            x, residual = timed(f"forward {k}", partial(layer.forward, params.get(str(k), {}), x, context))
            residuals.append(residual)
        _, dy = timed(LOSS, partial(loss, context.kernels.leave(x), take(labels, some, axis=0)))
        dy = context.kernels.enter(dy)
        for k in reversed(range(first, len(layers))):
            asked = partial(layers[k].backward, params.get(str(k), {}), residuals.pop(), dy, context, need_dx=k > first)
            dy, _ = timed(f"backward {k}", asked)


def _first(inside: Running) -> int:
    """The first layer with parameters, beyond which no gradient goes."""
    return min(int(slot.path[0]) for slot in inside.layout.slots)


def _parts(inside: Running, batch: int) -> list[tuple[str, str, str, int]]:
    """The table's rows: a name, under which names it was timed forward and backward, and its multiply-adds.

    As many as forward are made for the gradient of a layer's parameters, and again for that of its input.
    """
    found, first = [(INPUT, INPUT, "", 0)], _first(inside)
    for k, (layer, shape) in enumerate(zip(inside.network.layers, inside.network.shapes())):
        within = [describe(part) for part in vars(layer).values() if hasattr(part, "out_shape")]  # of a fused layer
        passes = 1 + (k >= first) + (k > first)
        name = f"{k} {' + '.join(within) or describe(layer)}"
        found.append((name, f"forward {k}", f"backward {k}", passes * batch * cost(layer, shape)))
    return [*found, (LOSS, LOSS, "", 0)]


def _shown(found: dict[str, Any]) -> list[str]:
    lines = [["", "forward ms", "backward ms", "share", "1e9 multiply-adds/s"]]
    for each in found["milliseconds"]:
        times = [f"{each[way]:.3f}" if each[way] else "" for way in ("forward", "backward")]
        rate = each["multiply_adds_per_second"]
        lines.append([each["layer"], *times, f"{each['share']:.1%}", f"{rate / 1e9:.1f}" if rate else ""])
    lines += [["sum", f"{found['sum']:.3f}", "", "", ""], [STEP, f"{found['step']:.3f}", "", "", ""]]
    return table(lines, left=1)
