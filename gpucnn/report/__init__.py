"""What can be said and drawn of models, data and machines.

`check(network)` and `wrong_layers(network)`: is a gradient right, and which layer's is not; `find_lr(model, images,
labels)`: a learning rate. `inside`: what a model's layers make of an image, saliency, Grad-CAM, where pools look,
filters; `drawings`: pictures of these. `confusion`, `mistakes`, `sheet`, `augmented`: pictures of a confusion matrix,
of the worst mistakes, of a data set, of augmentation. `compare`, `bench`, `doctor`: what commands of these names do.
Import them as in `from gpucnn.report import drawings, inside`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..names import unknown

if TYPE_CHECKING:
    from . import (
        augmented,
        bench,
        compare,
        confusion,
        doctor,
        drawings,
        gradient_check,
        inside,
        lr_finder,
        mistakes,
        sheet,
    )
    from .gradient_check import check, wrong_layers
    from .lr_finder import find_lr

__all__ = [
    "augmented",
    "bench",
    "check",
    "compare",
    "confusion",
    "doctor",
    "drawings",
    "find_lr",
    "gradient_check",
    "inside",
    "lr_finder",
    "mistakes",
    "sheet",
    "wrong_layers",
]

_PLACES = {"check": "gradient_check", "wrong_layers": "gradient_check", "find_lr": "lr_finder"}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """What is asked for is imported then: matplotlib and others take their time."""
        if name not in __all__:
            raise unknown(__name__, name)
        module = importlib.import_module(f"{__name__}.{_PLACES.get(name, name)}")
        found = globals()[name] = getattr(module, name) if name in _PLACES else module
        return found


def __dir__() -> list[str]:
    return __all__
