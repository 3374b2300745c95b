"""What an optimiser asks for, with defaults for classes that do not derive from `Optimizer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..namespace import array_namespace
from ..network.layout import Layout, Slot
from ..optimizers import Optimizer, State

Array = Any


def bound(optimizer: Optimizer, layout: Layout) -> Optimizer:
    """The optimiser for that layout."""
    return optimizer.bind(layout) if hasattr(optimizer, "bind") else optimizer


def is_by_parameter(optimizer: Optimizer) -> bool:
    return getattr(optimizer, "update_parameter", None) is not None


def reduces(optimizer: Optimizer) -> bool:
    """Whether it must know something of the whole gradient before it writes."""
    return getattr(optimizer, "reduce", None) is not None


def apply(
    optimizer: Optimizer, slots: Sequence[Slot], theta: Array, g: Array, state: State, lr: float, step: int
) -> None:
    """One update by the whole mean gradient g, on any array library. slots: those of theta."""
    reduced = optimizer.reduce(g) if reduces(optimizer) else None  # type: ignore[misc]
    pieces = (
        [(slot.place, slot) for slot in slots] if is_by_parameter(optimizer) else [(slice(0, theta.shape[0]), None)]
    )
    for here, slot in pieces:
        of_piece = {name: vector[here] for name, vector in state.items()}
        write(optimizer, slot, theta[here], g[here], of_piece, lr, step, reduced)


def write(
    optimizer: Optimizer, slot: Slot | None, theta: Array, g: Array, state: State, lr: float, step: int, reduced: Array
) -> None:
    """Let the optimiser write a piece of theta; slot: the parameter that the piece is, where it works by parameter."""
    more = {} if reduced is None else {"reduced": reduced}
    if slot is None:
        optimizer.update(theta, g, state, lr, step, **more)
        return
    xp, shape = array_namespace(theta), slot.shape
    theta, g = (xp.reshape(each, shape, copy=False) for each in (theta, g))
    state = {name: xp.reshape(vector, shape, copy=False) for name, vector in state.items()}
    optimizer.update_parameter(slot, theta, g, state, lr, step, **more)  # type: ignore[misc]
