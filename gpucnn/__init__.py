"""Convolutional neural networks with hand-derived gradients, written once for NumPy and CuPy.

import gpucnn

digits = gpucnn.data.load("digits")
model = gpucnn.Model("two-conv")
model.fit(digits.train_images, digits.train_labels, epochs=10)
print(model.evaluate(digits.test_images, digits.test_labels))
"""

import logging

from . import data, errors, layers, losses, networks, ops, optimizers, schedules
from .device import Device
from .model import Model, load
from .network import Network
from .training.augmentation import Augmentation

__version__ = "0.1.0"

logging.getLogger("gpucnn").addHandler(logging.NullHandler())  # who wants to read the log adds another

__all__ = [
    "Augmentation",
    "Device",
    "Model",
    "Network",
    "__version__",
    "data",
    "errors",
    "layers",
    "load",
    "losses",
    "networks",
    "ops",
    "optimizers",
    "schedules",
]
