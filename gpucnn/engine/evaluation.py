"""How good a network is on labelled examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..losses import Loss, correct
from ..namespace import array_namespace, read_only
from .execution import Execution
from .gradient import checked
from .scaling import Scaling

Array = Any


def loss_and_accuracy(
    execution: Execution, loss: Loss, images: Array, labels: Array, scaling: Scaling
) -> tuple[float, float | None]:
    """The mean loss, and the part of examples whose largest logit is the label's; None where targets are numbers.

    images (N, H, W, C) and labels (N,) or (N, K) may lie on the host or on the device. From a CUDA device come two
    numbers, at the end.
    """
    pieces = execution.logits(images, scaling)
    if execution.device.kind == "cpu":
        pieces = iter([np.concatenate(list(pieces))])
    sums, start = [], 0
    for logits in pieces:
        part = slice(start, start + logits.shape[0])
        targets = read_only(execution.device.put(labels[part]))  # a loss of one's own may write into them
        losses, _ = checked(loss, loss(logits, targets), logits)
        xp = array_namespace(losses)
        right = correct(logits, targets) if labels.ndim == 1 else losses[:0]
        sums.append(xp.stack([xp.sum(each, dtype=xp.float64) for each in (losses, right)]))
        start = part.stop
    total, right = execution.device.fetch(sum(sums[1:], sums[0])).tolist()
    return total / start, right / start if labels.ndim == 1 else None
