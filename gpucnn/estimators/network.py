"""The network of an estimator, by a name or by a function of one's own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .. import networks
from ..errors import SettingError, ShapeError, listed, nearest, warn
from ..layers import Upsample2D
from ..network import Network, own

Shape = tuple[int, ...]
SMALLEST, ENLARGED = 4, 8  # pixels of a side of an image that is enlarged, and how many times at most


def made_by(function: Any, shape: Shape, outputs: int, settings: dict[str, Any]) -> Any:
    """What a function of (input_shape, outputs) gives with these settings. Raises SettingError for what it lacks."""
    if settings:
        of_all = [*own.parameters(function).values()]
        takes = [each.name for each in of_all[2:] if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        wrong = [name for name in settings if name not in takes]
        if wrong and not any(each.kind is each.VAR_KEYWORD for each in of_all):
            hint = f"; did you mean {near}?" if (near := nearest(wrong[0], takes)) else ""
            raise SettingError(
                f"settings: the function has no argument {wrong[0]!r}; behind the first two it has "
                f"{listed(takes) or 'none'}{hint}"
            )
    return function(shape, outputs, **settings)


def named(name: str, shape: Shape, outputs: int, settings: dict[str, Any]) -> Network:
    """The network of that name, or "module:factory". Of gpucnn's, with padding="same" unless settings say otherwise,
    where it has that setting, and with images enlarged by the least whole factor by which it takes them, where they are
    too small for it. ShapeError.
    """
    if name in networks.NETWORKS and "padding" in networks.settings_of(name):
        settings = {"padding": "same"} | settings
    try:
        return networks.build(name, shape, outputs, **settings)
    except ShapeError:
        if name not in networks.NETWORKS or len(shape) < 3 or min(shape[:2]) < SMALLEST:
            raise
        for factor in range(2, ENLARGED + 1):
            with suppress(ShapeError):
                H, W, C = shape
                network = networks.build(name, (factor * H, factor * W, C), outputs, **settings)
                warn(
                    f"{name} takes no images as small as {H}x{W}: they are enlarged {factor} times, by an "
                    f"Upsample2D({factor}) before its layers"
                )
                return Network(shape, (Upsample2D(factor), *network.layers))
        raise
