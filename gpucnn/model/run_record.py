"""What is recorded of a run: what it was made with, and what it came to."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data import Dataset
from ..data.catalogue import resolve
from ..data.fingerprints import digest, encoded
from ..device.environment import LIBRARIES, kernels_of_blas
from ..errors import GpucnnError, TrainingError
from ..losses import REGRESSION, kind
from ..training import History
from . import config, numbers
from .folder import CONFIG, MODEL
from .model import Model

MOST_MARKED = 20_000  # training pictures up to which a run keeps the mark of each


def made(dataset: Dataset, command: str, found: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """What the bits of a run depend on beside its settings: versions, the device, the BLAS kernels, the data, how many
    parameters the model has, and how it learns numbers, if these are what it learns.

    And, of a few pictures of one's own, the marks by which `gpucnn evaluate` knows them again. found: from
    `device.environment`.
    """
    are_marked = len(dataset.train_labels) <= MOST_MARKED and resolve(dataset.name) is None
    return {
        "command": command,
        **{name: found[name] for name in ("gpucnn", "python", *LIBRARIES)},
        "device": f"{found['device']}: {found['name']}",
        "blas": kernels_of_blas(found),
        "data": digest(dataset.train_images, dataset.train_labels),
        "test": digest(dataset.test_images, dataset.test_labels),
        "pictures": encoded(dataset.train_images) if are_marked else None,
        "parameters": model.layout.size,
        config.NUMBERS: numbers.told(model) if kind(model.loss) == REGRESSION else None,
    }


def changed_test(path: Path, now: Mapping[str, Any]) -> str:
    """A sentence where the run that is resumed there began with other test pictures than it has now; else "".

    now: from `made`.
    """
    before: Mapping[str, Any] = {}
    with contextlib.suppress(GpucnnError):
        before = config.read(path / CONFIG)[1]
    if before.get("test") in (None, now["test"]):
        return ""
    return "the test pictures are not those that the run began with: what it reaches is measured on what they are now"


def result(model: Model, dataset: Dataset, history: History, path: Path) -> dict[str, Any]:
    """What `gpucnn train --json` prints: the seconds of training, and the loss and metrics on the test images.

    Raises TrainingError when the loss is not finite.
    """
    found = model.evaluate(dataset.test_images, dataset.test_labels)
    if not math.isfinite(found["loss"]):
        raise TrainingError(
            f"the loss of the test images is {found['loss']:g}: training diverged, and {path / MODEL} is of no use; "
            "train again with a lower learning rate (--lr)"
        )
    return {
        "network": model.name,
        "data": dataset.name,
        "device": str(model.device),
        "parameters": model.layout.size,
        "epochs": len(history.epochs),
        "interrupted": history.interrupted,
        "train_loss": history.epochs[-1].train_loss if history.epochs else None,
        **{f"test_{name}": value for name, value in found.items() if name != "examples"},
        "seconds": history.seconds,
        "images_per_second": history.images_per_second,
        "model": str(path / MODEL),
        "stopped": history.stopped or None,
        "kept_epoch": history.kept,
    }
