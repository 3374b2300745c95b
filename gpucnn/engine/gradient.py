"""The gradient of a batch: the one function that training is built around."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError
from ..kernels import Context
from ..layers.base import is_own
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
    logits = context.kernels.leave(logits)
    computed = context.kernels.loss(loss, logits, targets)
    losses, d_logits = computed if is_own(loss) else checked(loss, computed, logits)
    if weights is not None:
        losses, d_logits = losses * weights, d_logits * weights[:, None]
    _, dparams = network.backward(params, residuals, context.kernels.enter(d_logits), context, need_dx=False)
    return losses, dparams, state


def checked(loss: Any, computed: Any, logits: Array) -> tuple[Array, Array]:
    """What a loss from elsewhere gives, if it is losses (N,) and their gradient (N, K). Raises ShapeError."""
    shapes = tuple(getattr(each, "shape", None) for each in computed) if isinstance(computed, tuple) else ()
    if shapes != (logits.shape[:1], logits.shape):
        raise ShapeError(
            f"{type(loss).__name__} gives {f'arrays of shapes {shapes}' if shapes else 'no pair'}; losses of shape "
            f"{logits.shape[:1]} and their gradient by the logits of shape {logits.shape} were expected"
        )
    return computed
