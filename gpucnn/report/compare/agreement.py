"""How far what devices compute lies apart: each layer's output and gradient of one pass, then theta along the steps.

float32 training is chaotic: where a rounding decides which of two values is the larger, runs part at once. So the
distance between CPU and GPU stands beside that between CPU runs that differ in the order of their sums only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine.rewrite import rewritten
from ...kernels import Context
from ...layers.base import Around
from ...layers.chain import Place, rebuilt
from ...namespace import array_namespace
from ...network import Network
from ...network.layout import Layout
from ...networks import Recipe
from ...optimizers import Optimizer, State
from ...schedules import schedule
from .backends import YARDSTICKS, Backend, Problem, Runner
from .result import LAYER_LIMIT, Agreement, Row

Array = Any


def agreement(problem: Problem, backends: Sequence[Backend], dtype: str, recipe: Recipe, steps: int) -> Agreement:
    """Compare all backends with the first one: one pass, then `steps` steps of the recipe from the same start."""
    runners = {backend.name: Runner(problem, backend, dtype) for backend in backends}
    batch = next(problem.batches(recipe.batch_size))
    base, *others = runners
    rows = compared({name: one_pass(runner, batch) for name, runner in runners.items()})
    theta: dict[str, list[float]] = {name: [] for name in others}
    losses: dict[str, list[float]] = {name: [] for name in runners}
    updates = {name: runner.step(recipe.optimizer, recipe.batch_size) for name, runner in runners.items()}
    for k, batch in zip(range(steps), problem.batches(recipe.batch_size)):
        lr, now = recipe.lr * schedule(recipe.schedule)(k, steps), {}
        for name, runner in runners.items():
            with runner.device.activate():
                of_batch = updates[name](runner.images, runner.labels, runner.batch(batch), lr)
                losses[name].append(float(runner.fetch(of_batch).mean(dtype=np.float64)))
                now[name] = runner.fetch(updates[name].theta)
        for name in others:
            theta[name].append(relative(now[name], now[base]))
    return Agreement(dtype, rows, theta, losses)


def compared(passes: Mapping[str, Mapping[str, np.ndarray]]) -> list[Row]:
    """What `one_pass` found on each backend, compared with the first one's.

    A gradient that is 0 but for rounding, as of a bias in front of a batch normalisation, has no digits to agree in,
    and others have few: there the CPU's own runs differ by more than the limit. Such differences are measured by the
    root mean square of all gradients instead of its own, but may be no more than ten times those of the CPU's runs.
    """
    base, *others = passes
    gradients = [array for name, array in passes[base].items() if " " not in name]
    size = np.linalg.norm([np.linalg.norm(each) for each in gradients]) / sum(each.size for each in gradients) ** 0.5
    rows = []
    for name, expected in passes[base].items():
        what, shape = ("gradient", expected.shape) if " " not in name else ("output", expected.shape[1:])
        found = {other: relative(passes[other][name], expected) for other in others}
        yard = max((found.get(each.name, 0.0) for each in YARDSTICKS), default=0.0)
        limit = LAYER_LIMIT * float(np.finfo(expected.dtype).eps / np.finfo(np.float32).eps)
        if what == "gradient" and yard > limit:
            own = float(np.linalg.norm(np.asarray(expected, np.float64).ravel())) or 1.0
            least = min(float(size * expected.size**0.5), 10 * yard * own / limit)
            found = {other: relative(passes[other][name], expected, least) for other in others}
        rows.append(Row(name, what, shape, found))
    return rows


def one_pass(runner: Runner, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Each layer's output ("0 Conv2D", (N, ...)) and each parameter's gradient ("0/kernel"), copies on the host.

    Outputs come from the network's layers one by one, those inside others before these; gradients from the update that
    training does.
    """
    found = {}
    kernels = runner.execution.context.kernels
    network = rewritten(runner.network, kernels, blocks=False)
    with runner.device.activate():
        batch, (theta, state) = runner.batch(indices), runner.start()
        params, states = runner.layout.unpack(theta), Layout(network.init_state(network.input_shape)).unpack(state)
        context = Context(kernels, update=1, examples=batch, state=states)
        x = array_namespace(runner.images).take(runner.images, batch, axis=0)
        x = runner.scaling(x, theta.dtype, kernels)
        names = {place.path: f"{place.name} {type(place.layer).__name__}" for place in runner.network.walk()}

        def keep(name: str, y: Array) -> None:
            # a copy: the next layer may write over its input
            y = np.array(runner.fetch(kernels.leave(y)))
            found[name] = y[::-1] if runner.backend.reversed else y

        def change(place: Place) -> Any:
            return place.layer if type(place.layer) is Network else _Noted(place.layer, names[place.path], keep)

        noted = Network(network.input_shape, rebuilt(network.layers, network.input_shape, change))
        noted.forward(params, x, context)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # this optimiser has no kernel, and the step no graph
            step = runner.step(_Kept(), len(indices))
        step(runner.images, runner.labels, batch, 0.0)
        gradient = np.array(runner.fetch(step.state["gradient"]))
    return found | {slot.name: gradient[slot.place].reshape(slot.shape) for slot in runner.layout.slots}


@dataclass(frozen=True)
class _Noted(Around):
    """The layer, whose output is told with its name."""

    name: str
    keep: Callable[[str, Array], None]

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        y, residual = self.layer.forward(params, x, context)
        self.keep(self.name, y)
        return y, residual


class _Kept(Optimizer):
    """An optimiser that keeps the mean gradient and leaves theta as it is."""

    def init(self, theta: Array) -> State:
        return {"gradient": array_namespace(theta).zeros_like(theta)}

    def update(self, theta: Array, g: Array, state: State, lr: float, step: int) -> None:
        state["gradient"][...] = g


def relative(found: np.ndarray, expected: np.ndarray, least: float = 0.0) -> float:
    """norm(found - expected) / norm(expected), or the least if that is larger; where both are 0, the norm of found."""
    expected = np.asarray(expected, np.float64)
    norm = max(float(np.linalg.norm(expected.ravel())), least)
    return float(np.linalg.norm((np.asarray(found, np.float64) - expected).ravel())) / (norm or 1.0)
