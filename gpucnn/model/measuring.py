"""How good a model's answers are on labelled examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import metrics
from ..engine import memory
from ..engine.evaluation import Compared, counting, measured
from ..engine.tta import Views
from ..errors import SettingError, counted
from ..losses import CLASSIFICATION, OUTPUTS, REGRESSION, kind
from ..network import describe
from . import accepted, thresholds
from .examples import check_counting, fitting_weights
from .predicting import Predicting
from .spelling import spelt
from .types import ImagesLike, LabelsLike, ThresholdLike, WeightsLike

TOP = 5  # classes with the largest outputs, in a report of more


class Measuring(Predicting):
    """The part of `Model` that measures: images and labels as `Predicting` says."""

    @spelt()
    def evaluate(
        self,
        images: ImagesLike,
        labels: LabelsLike,
        *,
        sample_weight: WeightsLike | None = None,
        threshold: ThresholdLike | None = None,
        tta: Views | str | None = None,
    ) -> dict[str, float]:
        """Mean loss, accuracy (the part of examples whose largest output is the label's) and examples.

        Where several labels may hold, accuracy is the part of examples with all labels right, label_accuracy that of
        labels; threshold: as in `predict`. Where the loss is of numbers: mean_absolute_error, mean_squared_error and r2
        (R^2, the mean over outputs) instead, in the units of the targets; the loss is that of standardised ones where
        the model learnt these. sample_weight: (N,) factors of the examples in all of these means, which are divided by
        the sum of the factors; examples with the loss's ignore_index do not count, nor are they among the examples.

        The mean over the B examples is two-conv eq. (13), layered eq. (24), where b = 0..B is printed.
        """
        images, labels, weights = self._weighted(images, labels, sample_weight)
        found = self._measured(images, labels, weights, tta, threshold)
        return found | {"examples": self._count(labels)}

    @spelt()
    def report(
        self,
        images: ImagesLike,
        labels: LabelsLike,
        *,
        sample_weight: WeightsLike | None = None,
        top_k: int | None = None,
        threshold: ThresholdLike | None = None,
        tta: Views | str | None = None,
    ) -> metrics.Report:
        """What `evaluate` finds, by class: precision, recall, f1, support, their averages, and the confusion matrix.

        `print` shows it as a table; see `metrics.Report`. top_k=3: overall also has top_3_accuracy, the part of
        examples whose class is among the 3 with the largest outputs; by default top_5_accuracy, where there are more
        than 5 classes. Of labels it has precision and so on of each, predicted by threshold as in `predict`, and their
        average precision, which depends on none; of numbers, errors of each. Raises SettingError where there are no
        more classes than top_k.
        """
        top_k, compared = self._top_k(top_k), self._compared(threshold)
        shown, targets, weights = self._weighted(images, labels, sample_weight)
        counts = counting(self.loss, targets, None)
        if counts is not None:
            shown, targets = shown[counts > 0], targets[counts > 0]
            weights = None if weights is None else weights[counts > 0]
        logits, of_kind = self._over_chunks(shown, lambda logits: logits, tta), kind(self.loss)
        with self.execution.active():
            overall = measured(self.device, self.loss, [self.device.put(logits)], targets, weights, compared)
        if top_k is not None:
            classes = targets if targets.ndim == 1 else targets.argmax(axis=1)
            found = np.average(metrics.top_k(logits, classes, top_k), weights=weights)
            overall[f"top_{top_k}_accuracy"] = float(found)
        overall["examples"] = len(targets)
        answers, targets = (logits, targets) if compared is None else compared(logits, targets)
        return metrics.report_of(of_kind, overall, answers, targets, self.class_names, weights, scores=logits)

    @spelt()
    def choose_thresholds(
        self, images: ImagesLike, labels: LabelsLike, *, tta: Views | str | None = None
    ) -> tuple[float, ...]:
        """Give each of several labels the threshold with the largest F1 on examples, such as those of the validation;
        -> these, which are then `thresholds`.

        Examples that were trained on make thresholds too certain, and of those that are measured afterwards less is
        said. Raises DataError for a label that none of the examples has, and SettingError where the loss is not of
        several labels.
        """
        thresholds.checked(0.5, self)
        images, rows = self.examples(images, labels)
        thresholds.check_there(rows, self.class_names)
        self.thresholds = thresholds.best(self._over_chunks(images, self.loss.probabilities, tta), rows)
        self.of_training = True
        return self.thresholds

    def _top_k(self, given: int | None) -> int | None:
        """Among how many classes `report` looks for an example's own. Raises SettingError."""
        is_of_classes, classes = kind(self.loss) == CLASSIFICATION, self._classes()
        if given is None:
            return TOP if is_of_classes and classes > TOP else None
        accepted.argument("top_k", given)
        if not is_of_classes:
            raise SettingError(f"top_k={given}: {describe(self.loss)} is of {OUTPUTS[kind(self.loss)]}; leave it out")
        if given >= classes:
            there = counted(classes, "class", "classes")
            raise SettingError(f"top_k={given}: the model has {there}, and a smaller number was expected")
        return given

    @spelt()
    def score(self, images: ImagesLike, labels: LabelsLike, sample_weight: WeightsLike | None = None) -> float:
        """One number of `evaluate`, as scikit-learn has it: the accuracy, or R^2 where the loss is of numbers."""
        found = self.evaluate(images, labels, sample_weight=sample_weight)
        return found["r2" if kind(self.loss) == REGRESSION else "accuracy"]

    @spelt()
    def confusion_matrix(
        self, images: ImagesLike, labels: LabelsLike, *, sample_weight: WeightsLike | None = None
    ) -> np.ndarray:
        """How many examples of each class (row) were given each class (column), (K, K); the sum of their weights.

        Raises SettingError where the loss is not of classes.
        """
        found = self.report(images, labels, sample_weight=sample_weight).confusion
        if found is None:
            raise SettingError(
                f"confusion_matrix: the loss {describe(self.loss)} is of {OUTPUTS[kind(self.loss)]}, and only classes "
                "are confused; `report` says what is measured of each"
            )
        return found

    def loss_and_accuracy(self, images: Any, labels: Any) -> tuple[float, float | None]:
        """The mean loss and the accuracy on checked examples; None for the accuracy where the loss is of numbers."""
        found = self._measured(images, labels, None, None)
        return found["loss"], found.get("accuracy")

    def _compared(self, threshold: ThresholdLike | None = None) -> Compared | None:
        """What `metrics` compare of logits and targets as the loss takes them; None: these."""
        units, is_of_labels = self.units, threshold is not None or self.thresholds is not None
        if units is not None and threshold is None:
            return lambda logits, targets: (units.spread(logits), units.spread(targets))
        above = self._above(threshold)
        return (lambda logits, targets: (above(logits), targets)) if is_of_labels else None

    def _measured(
        self,
        images: Any,
        labels: Any,
        weights: Any,
        tta: Views | str | None,
        threshold: ThresholdLike | None = None,
    ) -> dict[str, float]:
        """The mean loss and the `metrics` of the loss's kind. The examples may lie on the device."""
        pieces, views, compared = self._pieces, self._views(tta), self._compared(threshold)
        with memory.of_inference(self.device, self.network, self.execution.chunk), self.execution.active():
            logits = pieces(images, views)
            whole = [np.concatenate(list(logits))] if self.device.kind == "cpu" else logits
            return measured(self.device, self.loss, whole, labels, weights, compared)

    def _weighted(self, images: Any, labels: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        images, labels = self.examples(images, labels)
        if weights is not None:
            weights = fitting_weights(weights, len(images), np.float64)
            check_counting(self.loss, labels, weights)
        return images, labels, weights

    def _count(self, labels: np.ndarray) -> int:
        """How many examples the loss does not ignore."""
        counts = counting(self.loss, labels, None)
        return len(labels) if counts is None else int(counts.sum())
