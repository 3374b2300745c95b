"""Is a hand-derived gradient right? Directional derivatives and central differences, in float64, away from kinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import GpucnnError
from ..kernels import Context
from ..layers.initializers import generator
from ..losses import Loss
from ..network import Network, own
from ..network.layout import Layout, at
from ..networks import NETWORKS, Entry, build
from .watched import expect, read_only, watched

STEP = 1e-5  # at most, of a direction of length 1
LEAST = 3e-8
TOLERANCE = 1e-6
CLEAR = 1e-3  # what rounding may be, as a part of the tolerance, by the gradient's size
TRIED = 4  # directions with kinks within the step, after which it becomes a tenth
ROUNDING = 16 * float(np.finfo(float).eps)  # of a sum, as a part of the sum of its terms' sizes
ATTEMPTS = 60


@dataclass(frozen=True)
class Row:
    """One parameter, or the input. error: the largest relative error over directions; kinks: directions thrown away."""

    name: str
    shape: tuple[int, ...]
    error: float
    directions: int
    kinks: int

    @property
    def right(self) -> bool:
        return self.directions > 0 and self.error < TOLERANCE


def check(network: Network, *, batch: int = 5, directions: int = 4, seed: int = 0) -> list[Row]:
    """Compare the gradient of sum(dy * y) by every parameter and by the input, dy random, with central differences.

    Inputs and parameters are drawn anew (normal; a bias of 0 would sit on kinks). Where a difference comes from a kink
    within the step, such as a ReLU's 0 or a change of a maximum, another direction is drawn. The network also runs in
    float32, in inference, and makes its next state, for what these say of the rules that a layer keeps.
    """
    rng, network = generator(seed), watched(network)
    context = _context(network, batch, "float64")
    layout = Layout(network.init(network.input_shape, rng))
    theta = layout.pack(network.init(network.input_shape, rng), np.empty(layout.size))
    theta = read_only(theta + 0.05 * rng.standard_normal(layout.size))
    x = rng.standard_normal((batch, *network.input_shape))

    def output(x: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        return network.forward(layout.unpack(theta), x, context)

    y, residuals = output(x, theta)
    _rules(network, layout, x, theta)
    if not np.array_equal(y, output(x, theta)[0], equal_nan=True):
        raise GpucnnError(
            "forward gives another output for the same input, and differences say nothing of what is random"
        )
    if not np.isfinite(y).all():
        raise GpucnnError(
            "forward gives numbers that are not finite, so nothing can be compared; inputs are normal numbers, below 0 "
            "too: check a layer that takes others only in a network, behind one that makes them, such as Softplus()"
        )
    if not y.any():
        raise GpucnnError("forward gives 0 everywhere, so nothing can be compared; mend it, or draw others with --seed")
    dy = rng.standard_normal(y.shape)
    noise = ROUNDING * float(abs(dy * y).sum()) / STEP
    dx, dparams = network.backward(layout.unpack(theta), residuals, dy, context)
    for slot in layout.slots:
        expect(f"backward: the gradient of {slot.name}", at(dparams, slot.path), slot.shape, x.dtype)

    def row(name: str, here: np.ndarray, g: np.ndarray, moved: Callable[[np.ndarray], Any]) -> Row:
        def value(changed: np.ndarray) -> float:
            return float((output(*moved(changed))[0] * dy).sum())

        return _row(name, here, g, value, directions, rng, noise)

    rows = [row("input", x, dx, lambda changed: (changed, theta))]
    for slot in layout.slots:

        def moved(changed: np.ndarray, place: slice = slot.place) -> tuple[np.ndarray, np.ndarray]:
            return x, np.concatenate([theta[: place.start], changed.ravel(), theta[place.stop :]])

        rows.append(row(slot.name, theta[slot.place].reshape(slot.shape), at(dparams, slot.path), moved))
    return rows


def _row(
    name: str,
    at: np.ndarray,
    g: np.ndarray,
    value: Callable[[np.ndarray], float],
    wanted: int,
    rng: np.random.Generator,
    noise: float,
) -> Row:
    """Try directions until `wanted` of them are decided. noise: how far off a slope over STEP may be by rounding.

    The step is as small as rounding lets it be: the steeper the function, the smaller, so that it crosses fewer kinks
    and bends less within it. Half the step tells a kink from a wrong gradient: along a smooth function the slope stays
    the same and the second difference is a quarter.
    """
    errors: list[float] = []
    kinks, size = 0, max(float(np.linalg.norm(g)), 1e-12)
    step = min(STEP, max(LEAST, STEP * noise / (CLEAR * TOLERANCE * size)))
    middle = value(at)

    def differences(v: np.ndarray, step: float) -> tuple[float, float]:
        ahead, behind = value(at + step * v), value(at - step * v)
        return (ahead - behind) / (2 * step), (ahead - 2 * middle + behind) / step

    while len(errors) < wanted and len(errors) + kinks < ATTEMPTS:
        # Along the gradient, so that the slope is not small by chance, and across it, so that nothing hides.
        v = _unit(g / size + _unit(rng.standard_normal(at.shape)))
        if kinks == TRIED and not errors:
            step = max(LEAST, step / 10)
        expected, (slope, bend) = float((g * v).sum()), differences(v, step)
        scale = max(abs(slope), abs(expected), noise * STEP / step / TOLERANCE)
        error = abs(slope - expected) / scale
        if error >= TOLERANCE:
            of_half, bend_of_half = differences(v, step / 2)
            if max(abs(slope - of_half), abs(bend - 2 * bend_of_half)) > TOLERANCE / 4 * scale:
                kinks += 1
                continue
        errors.append(error)
    return Row(name, at.shape, max(errors, default=float("nan")), len(errors), kinks)


def _context(network: Network, batch: int, dtype: str, *, training: bool = True) -> Context:
    """The context of a training run's first update; a layer that draws at random draws the same each time.

    In inference there are no examples, and nothing to draw from.
    """
    state = Layout(states := network.init_state(network.input_shape))
    unpacked = state.unpack(read_only(state.pack(states, np.empty(state.size, dtype))))
    if training:
        return Context(update=1, key=1, examples=np.arange(batch), state=unpacked)
    return Context(training=False, state=unpacked)


def _rules(network: Network, layout: Layout, x: np.ndarray, theta: np.ndarray) -> None:
    """Run what differences do not look at, a training pass in float32, inference and the next state; each may raise."""
    for dtype in ("float32", "float64"):
        params, images = layout.unpack(theta.astype(dtype)), x.astype(dtype)
        context = _context(network, len(x), dtype)
        _, residuals = network.forward(params, images, context)
        network.next_state(context.state, residuals)
        network.forward(params, images, _context(network, len(x), dtype, training=False))


def check_loss(loss: Loss, outputs: int, *, batch: int = 5, directions: int = 4, seed: int = 0) -> Row:
    """Compare the gradient of the summed losses by random logits (batch, outputs) with central differences.

    Targets are random classes or, where the loss wants numbers, random numbers.
    """
    rng, name = generator(seed), f"the loss {type(loss).__name__}"
    logits = read_only(rng.standard_normal((batch, outputs)))
    numbers = getattr(loss, "numbers", False)
    targets = rng.standard_normal((batch, outputs)) if numbers else rng.integers(0, outputs, batch)

    def losses(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answer = loss(logits, read_only(targets.astype(logits.dtype) if numbers else targets))
        if not isinstance(answer, tuple) or len(answer) != 2:
            found = "one array" if hasattr(answer, "shape") else own.shown(answer)
            raise GpucnnError(f"{name} gives {found}; write `return losses, d_logits`")
        expect(f"{name}: losses", answer[0], (batch,), logits.dtype)
        expect(f"{name}: d_logits", answer[1], logits.shape, logits.dtype)
        return answer

    losses(logits.astype("float32"))  # for what it says of types
    values, g = losses(logits)
    noise = ROUNDING * float(abs(values).sum()) / STEP
    return _row("loss", logits, g, lambda moved: float(losses(moved)[0].sum()), directions, rng, noise)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / max(float(np.linalg.norm(v)), 1e-300)


def find(name: str, input_shape: tuple[int, ...] | None) -> Network:
    """The network that a name, or module:factory, stands for; a layer becomes a network of one. Raises GpucnnError."""
    offered = {"input_shape": input_shape or Entry.input_shape, "classes": Entry.classes}
    layer: Any = own.made(name, offered) if ":" in name else None
    if isinstance(layer, Network) or not hasattr(layer, "backward"):
        return build(name, input_shape)
    if input_shape is None:
        raise GpucnnError(f"{name} is a layer: say the shape of its input without the batch, such as --input 28x28x1")
    with own.explained(name):
        return Network(input_shape, (layer,))


def loss_of(name: str) -> Loss | None:
    """The loss that an entry brings, a named one or one of a user's own; None for what is no entry."""
    found = own.named(name) if ":" in name else NETWORKS.get(name)
    return found.loss if isinstance(found, Entry) else None
