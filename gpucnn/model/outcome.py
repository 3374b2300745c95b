"""What a run was made with and what it came to, and on which data a model can be measured."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Dataset
from ..data.catalogue import resolve
from ..data.marks import written
from ..device.environment import LIBRARIES, kernels_of_blas
from ..errors import GpucnnError, TrainingError, listed
from ..losses import OUTPUTS, REGRESSION, kind
from ..network import shortened
from ..training import History
from . import config, numbers
from .digests import digest
from .folder import CONFIG, MODEL
from .model import Model
from .predicting import Predicting

MOST_MARKED = 20_000  # training pictures up to which a run keeps the mark of each
ONE = {"classes": "class", "labels": "label", "numbers": "number"}
STANDS = {"classes": "a class", "labels": "labels, a row of 0 and 1,", "numbers": "numbers"}  # beside a picture


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
        "pictures": written(dataset.train_images) if are_marked else None,
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


def fitting(model: Predicting, dataset: Dataset) -> Dataset:
    """The part of a data set that a model can be evaluated on: its classes, by name. Raises GpucnnError.

    It may lack some of the model's classes, which its notes tell, where it has no others. Numbers may be shares of
    classes, and 0 and 1 are numbers, too.
    """
    names, gives, has = list(dataset.class_names), OUTPUTS[kind(model.loss)], dataset.what
    missing = [name for name in model.class_names if name not in names]
    strange = [name for name in names if name not in model.class_names]
    takes = {gives} | ({"numbers"} if getattr(model.loss, "soft", False) and not missing else set())
    if has not in takes | ({"labels"} if gives == "numbers" else set()):
        raise GpucnnError(
            f"{dataset.name} has {STANDS[has]} for each picture, and this model was trained for {gives} "
            f"({', '.join(shortened(model.class_names))}); choose data that have {STANDS[gives]} for each, with --data"
        )
    if model.network.input_shape != dataset.input_shape:
        raise GpucnnError(
            f"{dataset.name} has images of shape {dataset.input_shape}, this model takes {model.network.input_shape}; "
            "choose other data with --data"
        )
    if missing and dataset.is_classified and not strange:
        return _widened(dataset, model.class_names, missing)
    if missing and strange:
        which = f"the {ONE[has]}" if len(strange) == 1 else f"the {has}"
        raise GpucnnError(
            f"{dataset.name} has {which} {listed(strange)}, which the model does not know, and lacks "
            f"{listed(missing)}, which it knows; choose data of the model's {has} with --data"
        )
    if missing:
        raise GpucnnError(
            f"{dataset.name} has no {ONE[has]} {missing[0]!r}; its {has} are {listed(names)}; "
            f"choose data of the model's {has} with --data"
        )
    if names == list(model.class_names):
        return dataset
    if dataset.is_classified:
        _check_common(dataset, model.class_names)
    chosen = dataset.select_classes([names.index(name) for name in model.class_names])
    if not strange or not dataset.is_classified:
        return chosen
    return replace(
        chosen, notes=(*chosen.notes, f"left out: the classes {listed(strange)}, which the model does not know")
    )


def _check_common(dataset: Dataset, known: Sequence[str]) -> None:
    """Raises GpucnnError where no picture of a part has a class that the model knows."""
    held = [] if dataset.validation is None else [("validation ", dataset.validation[1])]
    for part, labels in [("training ", dataset.train_labels), *held, ("test ", dataset.test_labels)]:
        present = [dataset.class_names[label] for label in np.unique(labels)]
        if not set(present) & set(known):
            which = "" if dataset.drawn_test else part
            raise GpucnnError(
                f"{dataset.name}: the {which}pictures are of {listed(present)}, and this model knows "
                f"{listed(known)}; choose data of the model's classes with --data"
            )


def _widened(dataset: Dataset, names: tuple[str, ...], missing: Sequence[str]) -> Dataset:
    """The data set with these class names, some of which it lacks."""
    places = np.array([names.index(name) for name in dataset.class_names])
    held = dataset.validation
    return replace(
        dataset,
        class_names=names,
        train_labels=places[dataset.train_labels],
        test_labels=places[dataset.test_labels],
        validation=None if held is None else (held[0], places[held[1]]),
        notes=(*dataset.notes, f"there are no pictures of {listed(missing)}, which the model knows, too"),
    )
