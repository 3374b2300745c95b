"""Is a hand-derived gradient right? Directional derivatives and central differences, in float64, away from kinks."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import GpucnnError
from ..initializers import generator
from ..kernels import Context
from ..network import Network
from ..networks import NETWORKS, build
from ..parameters import Layout

STEP = 1e-5  # of a direction of length 1
TOLERANCE = 1e-6
BEND = 1e-4  # a second difference above this part of the gradient is a kink, not rounding
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

    Inputs and parameters are drawn anew (normal; a bias of 0 would sit on kinks). A direction along which the slope
    bends within the step crosses a kink, such as a ReLU's 0 or a change of a maximum, and another one is drawn.
    """
    rng, context = generator(seed), Context()
    layout = Layout(network.init(network.input_shape, rng))
    theta = layout.pack(network.init(network.input_shape, rng), np.empty(layout.size))
    theta += 0.05 * rng.standard_normal(layout.size)
    x = rng.standard_normal((batch, *network.input_shape))
    y, residuals = network.forward(layout.unpack(theta), x, context)
    dy = rng.standard_normal(y.shape)
    dx, dparams = network.backward(layout.unpack(theta), residuals, dy, context)
    g = layout.pack(dparams, np.empty(layout.size))

    def value(x: np.ndarray, theta: np.ndarray) -> float:
        return float((network.forward(layout.unpack(theta), x, context)[0] * dy).sum())

    rows = [_row("input", x, dx, lambda changed: value(changed, theta), directions, rng)]
    for slot in layout.slots:

        def at(changed: np.ndarray, place: slice = slot.place) -> float:
            moved = theta.copy()
            moved[place] = changed.ravel()
            return value(x, moved)

        here = theta[slot.place].reshape(slot.shape)
        rows.append(_row(slot.name, here, g[slot.place].reshape(slot.shape), at, directions, rng))
    return rows


def _row(
    name: str,
    at: np.ndarray,
    g: np.ndarray,
    value: Callable[[np.ndarray], float],
    wanted: int,
    rng: np.random.Generator,
) -> Row:
    """Try directions until enough of them cross no kink."""
    errors: list[float] = []
    kinks = 0
    size = max(float(np.linalg.norm(g)), 1e-12)
    middle = value(at)
    while len(errors) < wanted and len(errors) + kinks < ATTEMPTS:
        # Along the gradient, so that the slope is not small by chance, and across it, so that nothing hides.
        v = g / size + _unit(rng.standard_normal(at.shape))
        v = _unit(v) * STEP
        ahead, behind = value(at + v), value(at - v)
        slope, expected = (ahead - behind) / (2 * STEP), float((g * v).sum()) / STEP
        if abs(ahead - 2 * middle + behind) / STEP > BEND * max(abs(slope), size) + 1e-9 * abs(middle) / STEP:
            kinks += 1
        else:
            errors.append(abs(slope - expected) / max(abs(slope), abs(expected), 1e-8))
    return Row(name, at.shape, max(errors, default=float("nan")), len(errors), kinks)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / max(float(np.linalg.norm(v)), 1e-300)


def find(name: str, input_shape: tuple[int, ...] | None) -> Network:
    """The network that a name, or module:factory, stands for; a layer becomes a network of one.

    The working directory is on the import path. Raises GpucnnError.
    """
    if name in NETWORKS or ":" not in name:
        return build(name, input_shape)
    made = _call(name)
    if isinstance(made, Network):
        return made
    if not all(hasattr(made, method) for method in ("out_shape", "init", "forward", "backward")):
        raise GpucnnError(
            f"{name} gave {made!r}; a Network, or a layer with out_shape, init, forward, backward was expected"
        )
    if input_shape is None:
        raise GpucnnError(f"{name} is a layer: say the shape of its input without the batch, such as --input 28,28,1")
    return Network(input_shape, (made,))


def _call(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise GpucnnError(f"{name}: {error}; the working directory, {os.getcwd()}, is on the import path") from None
    except AttributeError:
        raise GpucnnError(f"{name}: module {module_name} has no {attribute!r}") from None
    if not callable(factory):
        return factory
    try:
        return factory()
    except TypeError as error:
        raise GpucnnError(
            f"{name}: it cannot be called without arguments ({error}); name a function that can"
        ) from None
