"""The part of a data set that a model can be measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..data import Dataset
from ..errors import GpucnnError, listed
from ..losses import OUTPUTS, kind
from ..network import shortened
from .predicting import Predicting

ONE = {"classes": "class", "labels": "label", "numbers": "number"}
STANDS = {"classes": "a class", "labels": "labels, a row of 0 and 1,", "numbers": "numbers"}  # beside a picture


def matching(model: Predicting, dataset: Dataset) -> Dataset:
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
