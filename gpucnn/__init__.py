"""Convolutional neural networks with hand-derived gradients, written once for NumPy and CuPy.

import gpucnn

digits = gpucnn.data.load("digits")
model = gpucnn.Model("two-conv")
model.fit(digits.train_images, digits.train_labels, epochs=10)
print(model.evaluate(digits.test_images, digits.test_labels))
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # to import it from typing would take longer than all that is imported here
if TYPE_CHECKING:
    from typing import Any

    from . import (
        callbacks,
        data,
        errors,
        estimators,
        layers,
        losses,
        metrics,
        networks,
        ops,
        optimizers,
        report,
        schedules,
    )
    from .device import Device
    from .model import Ensemble, Model
    from .model.load import load
    from .network import Network
    from .training.augmentation import Augmentation

__version__ = "0.1.0"

__all__ = [
    "Augmentation",
    "Device",
    "Ensemble",
    "Model",
    "Network",
    "__version__",
    "callbacks",
    "data",
    "errors",
    "estimators",
    "layers",
    "load",
    "losses",
    "metrics",
    "networks",
    "ops",
    "optimizers",
    "report",
    "schedules",
]

_PLACES = {"Augmentation": "training.augmentation", "Device": "device", "Model": "model", "Network": "network"}
_PLACES["load"] = _PLACES["Ensemble"] = "model"


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """What is asked for is imported then: the command must answer Ctrl-C before NumPy is there."""
        place = f"{__name__}.{_PLACES.get(name, name)}"
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name != place:
                raise
            from .names import unknown

            raise unknown(__name__, name) from None
        found = globals()[name] = getattr(module, name) if name in _PLACES else module
        return found


def __dir__() -> list[str]:
    return __all__
