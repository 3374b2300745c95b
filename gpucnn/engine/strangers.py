"""What in a step is not gpucnn's own: nobody knows what it does beside its results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..layers.base import is_own
from ..layers.chain import inside
from ..losses import Loss
from .rewrite import Converted
from .update import Rules

ONCE = "is not gpucnn's own, and what it copies from the host would be recorded once"


def strangers(layers: Iterable[Any], loss: Loss, rules: Rules) -> Iterator[str]:
    """The classes of a step that are not gpucnn's own: a copy from the host would bring a recording the same bytes for
    ever, and what is called once more, to see what it does, might count its calls."""
    yield from strange_layers(layers)
    if not is_own(loss):
        yield type(loss).__name__
    yield from rules.strangers


def strange_layers(layers: Iterable[Any]) -> Iterator[str]:
    """The classes of layers that are not gpucnn's own."""
    for layer in layers:
        inner = layer.layer if isinstance(layer, Converted) else layer
        for held in inside(inner).values():
            yield from strange_layers(held)
        if not is_own(inner):
            yield type(inner).__name__
