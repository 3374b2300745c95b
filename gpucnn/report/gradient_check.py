"""Is a hand-derived gradient right? Directional derivatives and central differences, in float64, away from kinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import GpucnnError, ShapeError
from ..kernels import Context
from ..layers import Layer
from ..layers.base import initial_state
from ..layers.initializers import generator
from ..network import Network, own
from ..network.layout import Layout, at
from ..networks import Entry, build

STEP = 1e-5  # of a direction of length 1
TOLERANCE = 1e-6
ROUNDING = 16 * np.finfo(float).eps  # of a sum, as a part of the sum of its terms' sizes
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


def check(network: Network, *, batch: int = 2, directions: int = 4, seed: int = 0) -> list[Row]:
    """Compare the gradient of sum(dy * y) by every parameter and by the input, dy random, with central differences.

    Inputs and parameters are drawn anew (normal; a bias of 0 would sit on kinks). Where a difference comes from a kink
    within the step, such as a ReLU's 0 or a change of a maximum, another direction is drawn.
    """
    rng, network = generator(seed), _watched(network)
    context = _context(network, batch)
    layout = Layout(network.init(network.input_shape, rng))
    theta = layout.pack(network.init(network.input_shape, rng), np.empty(layout.size))
    theta = _read_only(theta + 0.05 * rng.standard_normal(layout.size))
    x = rng.standard_normal((batch, *network.input_shape))

    def output(x: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        return network.forward(layout.unpack(theta), x, context)

    y, residuals = output(x, theta)
    output(x.astype("float32"), theta.astype("float32"))  # for what it says of types
    if not np.array_equal(y, output(x, theta)[0], equal_nan=True):
        raise GpucnnError(
            "forward gives another output for the same input, and differences say nothing of what is random"
        )
    if not y.any():
        raise GpucnnError("forward gives 0 everywhere, so nothing can be compared; mend it, or draw others with --seed")
    dy = rng.standard_normal(y.shape)
    noise = ROUNDING * float(abs(dy * y).sum()) / STEP
    dx, dparams = network.backward(layout.unpack(theta), residuals, dy, context)
    for slot in layout.slots:
        _expect(f"backward: the gradient of {slot.name}", at(dparams, slot.path), slot.shape, x.dtype)

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
    """Try directions until `wanted` of them are decided. noise: how far off slopes may be from rounding alone.

    Half the step tells a kink from a wrong gradient: along a smooth function the slope stays the same and the second
    difference is a quarter.
    """
    errors: list[float] = []
    kinks = 0
    size = max(float(np.linalg.norm(g)), 1e-12)
    middle = value(at)

    def differences(v: np.ndarray, step: float) -> tuple[float, float]:
        ahead, behind = value(at + step * v), value(at - step * v)
        return (ahead - behind) / (2 * step), (ahead - 2 * middle + behind) / step

    while len(errors) < wanted and len(errors) + kinks < ATTEMPTS:
        # Along the gradient, so that the slope is not small by chance, and across it, so that nothing hides.
        v = _unit(g / size + _unit(rng.standard_normal(at.shape)))
        expected, (slope, bend) = float((g * v).sum()), differences(v, STEP)
        scale = max(abs(slope), abs(expected), noise / TOLERANCE)
        error = abs(slope - expected) / scale
        if error >= TOLERANCE:
            of_half, bend_of_half = differences(v, STEP / 2)
            if max(abs(slope - of_half), abs(bend - 2 * bend_of_half)) > TOLERANCE / 4 * scale:
                kinks += 1
                continue
        errors.append(error)
    return Row(name, at.shape, max(errors, default=float("nan")), len(errors), kinks)


def _context(network: Network, batch: int) -> Context:
    """The context of a training run's first update; a layer that draws at random draws the same each time."""
    state = Layout(states := network.init_state(network.input_shape))
    vector = state.pack(states, np.empty(state.size))
    return Context(update=1, key=1, examples=np.arange(batch), state=state.unpack(vector))


@dataclass(frozen=True)
class _Watched(Layer):
    """A layer that is given read-only arrays and whose answers must fit: each fault is a sentence with its name."""

    layer: Any
    name: str

    has_place = True

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.layer.out_shape(in_shape)

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return self.layer.init(in_shape, rng)

    def init_state(self, in_shape: tuple[int, ...]) -> dict[str, Any]:
        return initial_state(self.layer, in_shape)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        y, residual = self._pair("forward", "y, residual", params, _read_only(x), context)
        _expect(f"{self.name}: forward: y", y, (len(x), *self.layer.out_shape(x.shape[1:])), x.dtype)
        return y, (residual, x)

    def backward(
        self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True
    ) -> tuple[Any, Any]:
        inner, x = residual
        arguments = params, inner, _read_only(dy), context
        dx, dparams = self._pair("backward", "dx, dparams", *arguments, need_dx=need_dx)
        if not isinstance(dparams, dict) or dparams.keys() != params.keys():
            found = sorted(dparams) if isinstance(dparams, dict) else repr(dparams)
            raise ShapeError(f"{self.name}: backward: dparams has {found}, a dict with {sorted(params)} was expected")
        _expect(f"{self.name}: backward: dx", dx, x.shape, x.dtype)
        return dx, dparams

    def _pair(self, method: str, wanted: str, *arguments: Any, **options: Any) -> Any:
        try:
            answer = getattr(self.layer, method)(*arguments, **options)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            what = f"{self.name}: {method} writes into an array that it was given, which others read"
            raise GpucnnError(f"{what} ({error}); write into a copy{own.place(error)}") from None
        if not isinstance(answer, tuple) or len(answer) != 2:
            found = "one array" if hasattr(answer, "shape") else repr(answer)
            raise GpucnnError(f"{self.name}: {method} gives {found}; write `return {wanted}`")
        return answer


def _watched(network: Network, path: str = "") -> Network:
    layers: list[Any] = []
    for k, layer in enumerate(network.layers):
        name = f"layer {path}{k} ({type(layer).__name__})"
        layers.append(_watched(layer, f"{path}{k}/") if isinstance(layer, Network) else _Watched(layer, name))
    return Network(network.input_shape, tuple(layers))


def _read_only(array: np.ndarray) -> np.ndarray:
    return np.broadcast_to(array, array.shape)


def _expect(what: str, array: Any, shape: tuple[int, ...], dtype: Any) -> None:
    if (getattr(array, "shape", None), getattr(array, "dtype", None)) != (shape, dtype):
        found = f"has shape {array.shape} and type {array.dtype}" if hasattr(array, "dtype") else f"is {array!r}"
        raise ShapeError(f"{what} {found}, shape {shape} and type {dtype} were expected")


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
