"""The states of a run's callbacks, as checkpoints hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .tensors import CALLBACKS


def parted(states: Sequence[Mapping[str, Any]], device: Any) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """The states of callbacks: what JSON takes, and the arrays by the names that a checkpoint has for them."""
    arrays = {(k, name): value for k, state in enumerate(states) for name, value in state.items() if _is_array(value)}
    plain = [{name: _python(value) for name, value in state.items() if not _is_array(value)} for state in states]
    return plain, {f"{CALLBACKS}{k}/{name}": device.fetch(value) for (k, name), value in arrays.items()}


def joined(plain: Sequence[Mapping[str, Any]], tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The states of callbacks, from what `parted` made of them."""
    return [
        {**state, **{n.removeprefix(start): each for n, each in tensors.items() if n.startswith(start)}}
        for state, start in ((state, f"{CALLBACKS}{k}/") for k, state in enumerate(plain))
    ]


def _is_array(value: Any) -> bool:
    return getattr(value, "ndim", 0) > 0


def _python(value: Any) -> Any:
    """Numbers of NumPy, and arrays without an axis, as Python's."""
    return value.item() if getattr(value, "ndim", None) == 0 else value
