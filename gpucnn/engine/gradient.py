"""The gradient of a batch: the one function that training is built around."""

from __future__ import annotations

from typing import Any

from ..kernels import Context
from ..losses import Loss
from ..network import Network

Array = Any


def gradient(
    network: Network, loss: Loss, params: Any, x: Array, targets: Array, context: Context, weights: Array | None = None
) -> tuple[Array, dict[str, Any], dict[str, Any]]:
    """Losses (N,), the gradient of their sum, shaped as params, and the layers' next running states.

    Pure: any worker may call it on its own part of the batch. x (N, ...) in the layout of context.kernels; targets
    (N,) or (N, K), as the loss takes them; weights (N,): factors of the examples' losses.
    """
    logits, residuals = network.forward(params, x, context)
    state = network.next_state(context.state, residuals) if context.state else {}
    compute = context.kernels.losses.get(type(loss), loss)
    losses, d_logits = compute(context.kernels.leave(logits), targets)
    if weights is not None:
        losses, d_logits = losses * weights, d_logits * weights[:, None]
    _, dparams = network.backward(params, residuals, context.kernels.enter(d_logits), context, need_dx=False)
    return losses, dparams, state
