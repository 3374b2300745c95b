"""What an optimiser asks for, with defaults for classes that do not derive from `Optimizer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import SettingError
from ..layers.base import is_own
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
        _in_place(optimizer, state, optimizer.update, theta, g, state, lr, step, **more)
        return
    xp, shape = array_namespace(theta), slot.shape
    theta, g = (xp.reshape(each, shape, copy=False) for each in (theta, g))
    state = {name: xp.reshape(vector, shape, copy=False) for name, vector in state.items()}
    _in_place(optimizer, state, optimizer.update_parameter, slot, theta, g, state, lr, step, **more)


def _in_place(optimizer: Optimizer, state: State, update: Any, *arguments: Any, **more: Any) -> None:
    """Call update. Raises SettingError where it gives something back or rebinds the state: both would be lost."""
    if is_own(optimizer):
        update(*arguments, **more)
        return
    before = dict(state)
    given = update(*arguments, **more)
    if given is not None or any(state.get(name) is not vector for name, vector in before.items()):
        raise SettingError(
            f"{type(optimizer).__name__}: its update must write theta and the vectors of state in place, as in "
            "theta -= lr * g and state['v'][...] = v; what it returns or puts into state is lost"
        )


def initial(optimizer: Optimizer, theta: Array) -> State:
    """The optimiser's state before the first update. Raises SettingError where it is not vectors as long as theta."""
    state = optimizer.init(theta)
    if not isinstance(state, dict) or any(getattr(each, "shape", None) != theta.shape for each in state.values()):
        raise SettingError(
            f"{type(optimizer).__name__}: init must give a dict of vectors as long as theta, such as "
            "{'velocity': 0 * theta}, or {}"
        )
    return state


def vectors(theta: Array, of_layers: Array, state: State) -> dict[str, Array]:
    """All that an update changes: theta, the layers' running state, the optimiser's. Writing them changes the step."""
    return {"theta": theta, "layers": of_layers} | {f"optimizer/{name}": vector for name, vector in state.items()}
