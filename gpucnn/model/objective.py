"""The loss of a run: the network's own, or the one that the settings name, with what they say of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..data import Dataset
from ..errors import SettingError, counted, suggested
from ..losses import (
    FocalLoss,
    Loss,
    MultiLabelCrossEntropy,
    SoftmaxCrossEntropy,
    balanced,
    balanced_labels,
    kind,
    named,
)

WEIGHTS = {  # the setting that class weights are
    SoftmaxCrossEntropy: "class_weights",
    FocalLoss: "alpha",
    MultiLabelCrossEntropy: "positive_weights",
}
BALANCED = "balanced"


def asked(own: Loss, name: str | None, label_smoothing: float | None, class_weights: str | None) -> Loss:
    """The loss named, or else the network's own, with label smoothing where it is given: all but class weights.

    class_weights: BALANCED, or numbers with commas between. Raises SettingError for what the loss does not have, and
    for weights that are neither.
    """
    loss = own if name is None else named(name)
    if label_smoothing is not None:
        if not isinstance(loss, SoftmaxCrossEntropy):
            raise SettingError(f"--label-smoothing belongs to the loss softmax, {type(loss).__name__} has none")
        loss = dataclasses.replace(loss, label_smoothing=label_smoothing)
    if class_weights is not None:
        if not isinstance(loss, tuple(WEIGHTS)):
            raise SettingError(
                f"--class-weights belong to the losses softmax, focal and multi-label, {type(loss).__name__} has none"
            )
        if class_weights != BALANCED and not _numbers(class_weights):
            hint = suggested(class_weights, [BALANCED])
            raise SettingError(
                f"--class-weights {class_weights}: {hint}{BALANCED}, or a number of at least 0 for each class, with "
                "commas between, was expected"
            )
        if class_weights != BALANCED:
            _weighted(loss, _numbers(class_weights))
    return loss


def objective(own: Loss, name: str | None, label_smoothing: float | None, class_weights: str | None, data: Any) -> Loss:
    """`asked`, for a data set: with class weights, "balanced" being by its training labels, where they are given.

    Raises SettingError where the two do not belong together.
    """
    loss = asked(own, name, label_smoothing, class_weights)
    is_for_classes = kind(loss) == "classification"
    takes_shares = name is not None and getattr(loss, "soft", False) and data.what == "numbers"
    if is_for_classes and not data.is_classified and not takes_shares:
        advice = "mse or huber" if data.what == "numbers" else "multi-label"
        raise SettingError(f"{data.name} has {data.what} for each picture, and no classes; say --loss {advice}")
    if data.is_classified and not is_for_classes:
        given = type(loss).__name__ if name is None else f"--loss {name}"
        raise SettingError(f"{given} takes rows of labels or numbers, and {data.name} has a class for each picture")
    if class_weights is None:
        return loss
    return _weighted(loss, _weights(class_weights, data))


def _weighted(loss: Any, weights: tuple[float, ...]) -> Loss:
    """The loss with class weights. Raises SettingError for weights that it does not take."""
    field = next(field for of, field in WEIGHTS.items() if isinstance(loss, of))
    weighted: Loss = dataclasses.replace(loss, **{field: weights})
    return weighted


def _weights(text: str, data: Dataset) -> tuple[float, ...]:
    names = data.class_names
    if text == BALANCED:
        if data.what == "labels":
            return balanced_labels(data.train_labels)
        if not data.is_classified:
            raise SettingError(f"--class-weights {BALANCED}: {data.name} has no classes; give a weight for each output")
        return balanced(data.train_labels, len(names))
    weights = _numbers(text)
    if len(weights) != len(names):
        raise SettingError(
            f"--class-weights {text}: {BALANCED}, or {counted(len(names), 'number')} of at least 0 with commas "
            f"between, one for each of {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}, was expected"
        )
    return weights


def _numbers(text: str) -> tuple[float, ...]:
    """The weights that the text holds, or () where one is no weight."""
    try:
        weights = tuple(map(float, text.split(",")))
    except ValueError:
        return ()
    return weights if all(np.isfinite(weights)) and min(weights) >= 0 else ()
