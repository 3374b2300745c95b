"""The loss of a run: the network's own, or the one that the settings name, with what they say of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..data import Dataset
from ..errors import SettingError, nearest
from ..losses import FocalLoss, Loss, SoftmaxCrossEntropy, balanced, kind, named

WEIGHTS = {SoftmaxCrossEntropy: "class_weights", FocalLoss: "alpha"}  # the setting that class weights are
BALANCED = "balanced"


def objective(own: Loss, name: str | None, label_smoothing: float | None, class_weights: str | None, data: Any) -> Loss:
    """The loss named, or else the network's own, with label smoothing and class weights where they are given.

    class_weights: "balanced", by the training labels of the data set, or numbers with commas between. Raises
    SettingError where they do not belong together.
    """
    loss = own if name is None else named(name)
    is_for_classes = kind(loss) == "classification"
    if is_for_classes and not data.is_classified and (name is None or data.what == "labels"):
        advice = "mse or huber" if data.what == "numbers" else "multi-label"
        raise SettingError(f"{data.name} has {data.what} for each picture, and no classes; say --loss {advice}")
    if data.is_classified and not is_for_classes:
        given = type(loss).__name__ if name is None else f"--loss {name}"
        raise SettingError(f"{given} takes rows of labels or numbers, and {data.name} has a class for each picture")
    changes: dict[str, Any] = {}
    if label_smoothing is not None:
        if not isinstance(loss, SoftmaxCrossEntropy):
            raise SettingError(f"--label-smoothing belongs to the loss softmax, {type(loss).__name__} has none")
        changes["label_smoothing"] = label_smoothing
    if class_weights is not None:
        field = next((field for of, field in WEIGHTS.items() if isinstance(loss, of)), None)
        if field is None:
            raise SettingError(
                f"--class-weights belong to the losses softmax and focal, {type(loss).__name__} has none"
            )
        changes[field] = _weights(class_weights, data)
    return dataclasses.replace(loss, **changes) if changes else loss  # type: ignore[type-var]


def _weights(text: str, data: Dataset) -> tuple[float, ...]:
    names = data.class_names
    if text == BALANCED:
        if not data.is_classified:
            raise SettingError(f"--class-weights {BALANCED}: {data.name} has no classes; give a weight for each output")
        return balanced(data.train_labels, len(names))
    try:
        weights = tuple(map(float, text.split(",")))
    except ValueError:
        weights = ()
    if len(weights) != len(names) or not all(np.isfinite(weights)) or min(weights) < 0:
        hint = f"did you mean {BALANCED}? " if nearest(text, [BALANCED]) else ""
        raise SettingError(
            f"--class-weights {text}: {hint}{BALANCED}, or {len(names)} numbers of at least 0 with commas between, "
            f"one for each of {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}, was expected"
        )
    return weights
