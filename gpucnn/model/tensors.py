"""A model's parameters and running state as named tensors, as checkpoints hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import CheckpointError

STATE = "state/"  # before the names of running states in a checkpoint


def named(model: Any) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint of this model."""
    return model.parameters | {STATE + name: tensor for name, tensor in model.state.items()}


def take(model: Any, tensors: Mapping[str, np.ndarray], where: str, remedy: str) -> None:
    """Write a checkpoint's tensors into a model. Raises CheckpointError for a wrong one, before it writes any."""
    slots = {slot.name: slot for slot in model.layout.slots}
    slots |= {STATE + slot.name: slot for slot in model.state_layout.slots}
    expected = {name: slot.shape for name, slot in slots.items()}
    tensors = {  # numbers without an axis were once written with one
        name: tensor.reshape(()) if expected.get(name) == () and tensor.shape == (1,) else tensor
        for name, tensor in tensors.items()
    }
    found = {name: tensor.shape for name, tensor in tensors.items() if name in expected or "/" in name}
    if found != expected:
        wrong = next(n for n in [*expected, *found] if found.get(n) != expected.get(n))
        raise CheckpointError(
            f"{where}: {wrong} has shape {found.get(wrong, 'none')}, {expected.get(wrong, 'none')} was expected; "
            f"{remedy}"
        )
    theta, state = (np.empty(each.size, model.theta.dtype) for each in (model.layout, model.state_layout))
    for name, slot in slots.items():
        vector = state if name.startswith(STATE) else theta
        _copy(tensors[name], vector[slot.place], f"{where}: {name}", remedy)
    if not np.isfinite(theta).all():
        name = next(slot.name for slot in model.layout.slots if not np.isfinite(theta[slot.place]).all())
        raise CheckpointError(
            f"{where}: {name} holds NaN or infinite values; train it again with a lower learning rate"
        )
    model.theta[...] = model.device.put(theta)
    model.execution.state[...] = model.device.put(state)


def _copy(tensor: np.ndarray, vector: np.ndarray, where: str, remedy: str) -> None:
    if tensor.dtype.name not in ("float32", "float64"):
        raise CheckpointError(f"{where} is {tensor.dtype}, {vector.dtype} was expected; {remedy}")
    with np.errstate(over="ignore"):
        vector[...] = tensor.ravel()
