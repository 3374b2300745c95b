"""Correlation in groups of channels, on images stored (H, C, W, N): one group after the other, as if it were alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..memory import empty

Array = np.ndarray

One = Callable[..., tuple[Any, Any]]  # the verb, of one group


def correlate(x: Array, w: Array, groups: int, one: One) -> tuple[Array, list[Any]]:
    """x (H, C, W, N), w (I, J, C / groups, K) -> y (P, K, Q, N), and the residual of each group."""
    made = [one(np.ascontiguousarray(x[:, c]), w[..., k]) for c, k in _groups(w, groups)]
    return _joined([y for y, _ in made]), [residual for _, residual in made]


def gradients(residuals: list[Any], w: Array, dy: Array, need_dx: bool, one: One) -> tuple[Array | None, Array]:
    """dx as x, or None, and dw as w."""
    groups, dw = len(residuals), np.empty(w.shape, dy.dtype)
    dxs: list[Any] = []
    for residual, (_, k) in zip(residuals, _groups(w, groups)):
        dx, dw[..., k] = one(residual, w[..., k], np.ascontiguousarray(dy[:, k]), need_dx)
        dxs.append(dx)
    return _joined(dxs) if need_dx else None, dw


def _joined(images: list[Array]) -> Array:
    """Images (H, C, W, N), side by side along C."""
    H, C, width, N = images[0].shape
    together = empty((H, C * len(images), width, N), images[0].dtype)
    return np.concatenate(images, axis=1, out=together)


def _groups(w: Array, groups: int) -> list[tuple[slice, slice]]:
    """The channels that each group sees, and those that it makes."""
    C, K = w.shape[2], w.shape[3] // groups
    return [(slice(g * C, (g + 1) * C), slice(g * K, (g + 1) * K)) for g in range(groups)]
