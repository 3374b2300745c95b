"""Several models that answer together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.preprocessing import Preprocessing, check_alike
from ..engine.tta import Views
from ..errors import SettingError, counted, warn
from ..losses import Loss, kind
from ..names import OF_MODELS, Explained, lacking
from ..network import describe
from .exporting import export
from .inputs import are_pictures
from .measuring import Measuring
from .model import Model
from .spelling import spelt
from .thresholds import in_force


class Ensemble(Measuring, Explained):
    """Models whose logits are averaged: logits, probabilities, answers and how good they are, as of one `Model`.

    The models have the same input and classes, and losses that make the same of logits, so that these may differ in
    what only training sees, such as label smoothing; how good the answers are is measured by the loss of the first.
    Their networks may differ. Raises SettingError.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = list(models) if isinstance(models, Iterable) else []
        if not self.models or not all(isinstance(each, Model) for each in self.models):
            raise SettingError("Ensemble: a list of one or more models was expected, such as [gpucnn.load(path), ...]")
        first = self.models[0]
        for k, each in enumerate(self.models[1:], 2):
            for what, one, other in (
                ("takes images of", each.network.input_shape, first.network.input_shape),
                ("has the classes", each.class_names, first.class_names),
                ("counts labels from", each.first_label, first.first_label),
                ("takes floats of any range:", each.scaling.floats, first.scaling.floats),
            ):
                if one != other:
                    raise SettingError(f"Ensemble: model {k} {what} {one}, the first {other}; give models of one kind")
            if not _answers_alike(each.loss, first):
                raise SettingError(
                    f"Ensemble: model {k} has the loss {describe(each.loss)}, the first {describe(first.loss)}, and "
                    "they do not make the same of logits; give models of one kind"
                )
        self.network, self.loss, self.device = first.network, first.loss, first.device
        self.scaling, self.execution, self.class_names = first.scaling, first.execution, first.class_names
        self.preprocessing = next((each.preprocessing for each in self.models if each.preprocessing is not None), None)
        self.white = first.white
        self.first_label, self.units = first.first_label, first.units
        self._thresholds = first.thresholds
        if len({in_force(each) for each in self.models}) > 1:
            self._thresholds = None
            warn(
                "Ensemble: its models have different thresholds, and together they take 1/2; set ensemble.thresholds, "
                "or let it choose_thresholds(images, labels)"
            )
        self.name = counted(len(self.models), "model")

    def __repr__(self) -> str:
        return f"Ensemble of {self.name}, the first: {self.models[0]!r}"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """What each of the models has, and they together do not, is refused with what to write."""
            if hasattr(Model, name):
                raise lacking(self, name, {name: f"each of its models has it, as in ensemble.models[0].{name}"})
            text = OF_MODELS.get(name, "")
            if not all(hasattr(type(self), each) for each in re.findall(r"model\.(\w+)", text)):
                raise lacking(self, name, {name: text.replace("model.", "ensemble.models[0].")})
            return super().__getattr__(name)

    export = spelt()(export)

    def _reading(self, images: Any) -> Preprocessing | None:
        if are_pictures(images):
            names = [f"model {k} of the ensemble" for k in range(1, 1 + len(self.models))]
            check_alike([each.preprocessing for each in self.models], names)
        return self.preprocessing

    def _pieces(self, images: Any, tta: Views | None) -> Iterator[Any]:
        logits = np.mean([each.logits(images, tta=tta) for each in self.models], axis=0)
        logits = logits if self.units is None else self.units.standardised(logits)
        yield self.device.put(logits.astype(self.execution.theta.dtype))


def _answers_alike(loss: Loss, model: Model) -> bool:
    """Whether a loss has the kind of the model's, and makes the same probabilities of some logits."""
    if kind(loss) != kind(model.loss):
        return False
    some = np.linspace(-2, 3, 2 * len(model.class_names)).reshape(2, -1).astype(model.theta.dtype)
    with model.device.activate():
        logits = model.device.put(some)
        one, other = (model.device.fetch(each.probabilities(logits)) for each in (loss, model.loss))
    return np.array_equal(one, other)
