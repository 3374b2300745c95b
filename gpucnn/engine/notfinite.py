"""Which layer first makes numbers that are not finite, or beyond all measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..kernels import Context
from ..layers.base import Around, Gradients, is_own
from ..layers.chain import Place, rebuilt
from ..losses import REGRESSION, Loss, kind
from ..namespace import array_namespace
from ..network import Network
from ..training import DIVERGED
from .gradient import gradient

Array = Any

LARGE = 10  # beyond which targets are not what a loss gets of standardised ones


class _Found(Exception):
    """Carries the clause."""


@dataclass(frozen=True)
class _Watched(Around):
    """The layer, and a look at what it makes. name: such as "layer 3 (Dense)"."""

    name: str

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        y, residual = self.layer.forward(params, x, context)
        _look(y, f"the output of {self.name}")
        return y, residual

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        dx, dparams = self.layer.backward(params, residual, dy, context, need_dx=need_dx)
        _look_at_all(dparams, f"the gradient of {self.name}: ")
        if dx is not None:
            _look(dx, f"the gradient that {self.name} hands on")
        return dx, dparams


def first_not_finite(
    network: Network, loss: Loss, params: Any, x: Array, targets: Array, context: Context, weights: Array | None = None
) -> str:
    """As a clause, from the images through the layers to the loss and back; "" where all is finite.

    The arguments are those of `gradient`. A layer's sums over the batch are finite where its output is.
    """
    try:
        _look_at_all(params, "parameter ")
        _look(x, "an image")
        watched = Network(network.input_shape, rebuilt(network.layers, network.input_shape, _watched))
        losses, _, _ = gradient(watched, loss, params, x, targets, context, weights)
        _look(losses, "the loss")
    except _Found as found:
        return f"{found}{_of_loss(loss, targets)}"
    except Exception:  # of a layer of a user's own, which says less than that the loss is not finite
        return ""
    return ""


def _of_loss(loss: Any, targets: Array) -> str:
    """What large numbers may do to a loss that is not gpucnn's, and its cure, as a clause; else ""."""
    if is_own(loss) or kind(loss) != REGRESSION or getattr(loss, "standardizes", False):
        return ""
    xp = array_namespace(targets)
    largest = float(xp.max(xp.abs(targets)))
    name = type(loss).__name__
    return (
        f"; the loss {name} gets numbers to {largest:.3g}, and if it is of differences, `standardizes = True` in its "
        "class gives it standardised ones"
    ) * (largest > LARGE)


def _watched(place: Place) -> Any:
    return place.layer if type(place.layer) is Network else _Watched(place.layer, place.described)


def _look(array: Array, what: str) -> None:
    xp = array_namespace(array)
    largest = float(xp.max(xp.abs(array))) if 0 not in array.shape else 0.0
    if not largest <= DIVERGED:
        raise _Found(f"{what} reaches {largest:g}")


def _look_at_all(arrays: Mapping[str, Any], what: str) -> None:
    for name, array in arrays.items():
        if isinstance(array, Mapping):
            _look_at_all(array, f"{what}{name}/")
        else:
            _look(array, f"{what}{name}")
