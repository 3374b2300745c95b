"""Is a hand-derived gradient right? Directional derivatives and central differences, in float64, away from kinks."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import GpucnnError, ShapeError
from ..initializers import generator
from ..kernels import Context
from ..network import Network
from ..networks import NETWORKS, build
from ..parameters import Layout

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
    rng, context = generator(seed), Context()
    layout = Layout(network.init(network.input_shape, rng))
    theta = layout.pack(network.init(network.input_shape, rng), np.empty(layout.size))
    theta += 0.05 * rng.standard_normal(layout.size)
    x = rng.standard_normal((batch, *network.input_shape))
    y, residuals = network.forward(layout.unpack(theta), x, context)
    _expect("the output", y, (batch, *network.out_shape(network.input_shape)))
    dy = rng.standard_normal(y.shape)
    noise = ROUNDING * float(abs(dy * y).sum()) / STEP
    dx, dparams = network.backward(layout.unpack(theta), residuals, dy, context)
    _expect("backward: dx", dx, x.shape)
    for slot in layout.slots:
        _expect(f"backward: the gradient of {slot.name}", _at(dparams, slot.path), slot.shape)
    g = layout.pack(dparams, np.empty(layout.size))

    def value(x: np.ndarray, theta: np.ndarray) -> float:
        return float((network.forward(layout.unpack(theta), x, context)[0] * dy).sum())

    rows = [_row("input", x, dx, lambda changed: value(changed, theta), directions, rng, noise)]
    for slot in layout.slots:

        def at(changed: np.ndarray, place: slice = slot.place) -> float:
            moved = theta.copy()
            moved[place] = changed.ravel()
            return value(x, moved)

        here = theta[slot.place].reshape(slot.shape)
        rows.append(_row(slot.name, here, g[slot.place].reshape(slot.shape), at, directions, rng, noise))
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
    """Try directions until enough of them are decided. noise: of the slopes, from rounding.

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


def _expect(what: str, array: Any, shape: tuple[int, ...]) -> None:
    if getattr(array, "shape", None) != shape:
        found = f"has shape {array.shape}" if hasattr(array, "shape") else f"is {array!r}"
        raise ShapeError(f"{what} {found}, an array of shape {shape} was expected")


def _at(dparams: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        dparams = dparams.get(key) if isinstance(dparams, dict) else None
    return dparams


def _unit(v: np.ndarray) -> np.ndarray:
    return v / max(float(np.linalg.norm(v)), 1e-300)


def find(name: str, input_shape: tuple[int, ...] | None) -> Network:
    """The network that a name, or module:factory, stands for; a layer becomes a network of one.

    The working directory is on the import path. Raises GpucnnError.
    """
    if name in NETWORKS or ":" not in name:
        return build(name, input_shape)
    with explained(name):
        made = _call(name)
    if isinstance(made, Network):
        return made
    if not all(hasattr(made, method) for method in ("out_shape", "init", "forward", "backward")):
        raise GpucnnError(
            f"{name} gave {made!r}; a Network, or a layer with out_shape, init, forward, backward was expected"
        )
    if input_shape is None:
        raise GpucnnError(f"{name} is a layer: say the shape of its input without the batch, such as --input 28,28,1")
    with explained(name):
        return Network(input_shape, (made,))


@contextmanager
def explained(name: str) -> Iterator[None]:
    """What a user's own code raises, as one sentence with its place."""
    try:
        yield
    except GpucnnError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"
        raise GpucnnError(f"{name}: {type(error).__name__}: {error}{place}") from error


def _call(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise GpucnnError(f"{name}: module:factory was expected, such as my_layers:Swish")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise GpucnnError(f"{name}: {error}; the working directory, {os.getcwd()}, is on the import path") from None
    if not hasattr(module, attribute):
        raise GpucnnError(f"{name}: module {module_name} has no {attribute!r}")
    factory = getattr(module, attribute)
    if not callable(factory):
        return factory
    try:
        inspect.signature(factory).bind()
    except (TypeError, ValueError) as error:
        raise GpucnnError(
            f"{name}: it cannot be called without arguments ({error}); name a function that can"
        ) from None
    return factory()
