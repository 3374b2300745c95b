"""The gradient of a batch: the one function that training is built around."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import SettingError, ShapeError
from ..kernels import Context
from ..layers.base import is_own
from ..losses import Loss
from ..namespace import array_namespace, read_only
from ..network import Network
from ..network.own import of_writing

Array = Any


class Others(NamedTuple):
    """What examples are mixed with: the targets and weights of the others, and the share (n,) of the examples' own."""

    targets: Array
    weights: Array | None
    share: Array


def gradient(
    network: Network,
    loss: Loss,
    params: Any,
    x: Array,
    targets: Array,
    context: Context,
    weights: Array | None = None,
    others: Others | None = None,
    *,
    first: int = 0,
) -> tuple[Array, dict[str, Any], dict[str, Any]]:
    """Losses (N,), the gradient of their sum, shaped as params, and the layers' next running states.

    first: the first layer whose parameters are wanted; the gradient has none of those before it.

    Pure: any worker may call it on its own part of the batch. x (N, ...) in the layout of context.kernels; targets
    (N,) or (N, K), as the loss takes them; weights (N,): factors of the examples' losses. others: where
    examples are mixed; a mixture's loss is share * loss(own target) + (1 - share) * loss(other's).
    """
    logits, residuals = network.forward(params, x, context)
    state = network.next_state(context.state, residuals) if context.state else {}
    logits = context.kernels.leave(logits)
    losses, d_logits = _lost(loss, logits, targets, weights, context)
    if others is not None:
        share = array_namespace(logits).astype(others.share, logits.dtype)
        of_others, by_others = _lost(loss, logits, others.targets, others.weights, context)
        losses = share * losses + (1 - share) * of_others
        d_logits = share[:, None] * d_logits + (1 - share)[:, None] * by_others
    if first:
        params = {name: of_layer for name, of_layer in params.items() if int(name) >= first}
    _, dparams = network.backward(params, residuals, context.kernels.enter(d_logits), context, need_dx=False)
    return losses, dparams, state


def _lost(loss: Loss, logits: Array, targets: Array, weights: Array | None, context: Context) -> tuple[Array, Array]:
    """Losses (N,) and their gradient by the logits, times the weights."""
    how = context.kernels.loss if is_own(loss) else answered
    losses, d_logits = how(loss, logits, targets)
    return (losses, d_logits) if weights is None else (losses * weights, d_logits * weights[:, None])


def answered(loss: Any, logits: Array, targets: Array) -> tuple[Array, Array]:
    """What a loss of any class gives, which may write into neither array. Raises SettingError where it does, ShapeError
    where it gives something else than losses (N,) and their gradient (N, K).
    """
    try:
        computed = loss(read_only(logits), read_only(targets))
    except (TypeError, ValueError) as error:
        said = of_writing(f"the loss {type(loss).__name__}", error)
        computed = _of_copies(loss, logits, targets, said)
    return _checked(loss, computed, logits)


def _of_copies(loss: Any, logits: Array, targets: Array, said: str) -> Any:
    """What a loss gives that refused read-only arrays, as compiled ones do. said: what it is told where it writes into
    them, for which SettingError is raised."""
    xp = array_namespace(logits)
    given = logits, targets
    copies = [xp.asarray(each, copy=True) for each in given]
    computed = loss(*copies)
    if said and any(bool(xp.any((a != b) & (b == b))) for a, b in zip(copies, given)):
        raise SettingError(said)
    return computed


def _checked(loss: Any, computed: Any, logits: Array) -> tuple[Array, Array]:
    shapes = tuple(getattr(each, "shape", None) for each in computed) if isinstance(computed, tuple) else ()
    if shapes != (logits.shape[:1], logits.shape):
        raise ShapeError(
            f"{type(loss).__name__} gives {f'arrays of shapes {shapes}' if shapes else 'no pair'}; losses of shape "
            f"{logits.shape[:1]} and their gradient by the logits of shape {logits.shape} were expected"
        )
    return computed
