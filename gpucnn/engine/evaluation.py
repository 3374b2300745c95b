"""How good a network is on labelled examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .. import metrics
from ..device import Device
from ..losses import REGRESSION, Loss, kind
from ..namespace import array_namespace
from .gradient import answered

Array = Any
Compared = Callable[[Array, Array], tuple[Array, Array]]


def measured(
    device: Device,
    loss: Loss,
    pieces: Iterable[Array],
    targets: Array,
    weights: Array | None = None,
    compared: Compared | None = None,
) -> dict[str, float]:
    """The mean loss and the `metrics` of the loss's kind, over the examples that count.

    pieces: the logits (n, K) on the device, of some examples after the others. targets (N,) or (N, K), and weights (N,)
    or None may lie on the host or on the device. compared: what metrics compare, made of logits and targets, such
    as numbers in their units; None: these. From a CUDA device come a few numbers, at the end.
    """
    weights = counting(loss, targets, weights)
    total, start = None, 0
    for logits in pieces:
        part = slice(start, start + logits.shape[0])
        some = device.put(targets[part])
        losses, _ = answered(loss, logits, some)
        w = None if weights is None else device.put(weights[part])
        shown = (logits, some) if compared is None else compared(logits, some)
        sums = metrics.sums(kind(loss), losses, *shown, w)
        total, start = sums if total is None else total + sums, part.stop
    deviations = None
    if kind(loss) == REGRESSION:
        placed = None if weights is None else device.put(weights)
        put = device.put(targets)
        there = put if compared is None else compared(put, put)[1]
        deviations = device.fetch(metrics.squared_deviations(there, placed))
    return metrics.means(kind(loss), device.fetch(total), start if weights is None else None, deviations)


def counting(loss: Loss, targets: Array, weights: Array | None) -> Array | None:
    """The examples' weights, 0 for those that the loss ignores. targets (N,) or (N, K), weights (N,) or None."""
    ignored = getattr(loss, "ignore_index", None)
    if ignored is None or targets.ndim > 1:
        return weights
    xp = array_namespace(targets)
    counts = targets != ignored
    return xp.astype(counts, xp.float64) if weights is None else xp.where(counts, weights, xp.zeros_like(weights))
