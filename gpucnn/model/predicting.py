"""What a model gives for images: logits, probabilities, answers, and how good they are on labelled examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import metrics
from ..data.arrays import USUAL
from ..data.preprocessing import Preprocessing
from ..device import Device
from ..engine import memory
from ..engine.evaluation import counting, measured
from ..engine.execution import Execution
from ..engine.scaling import Scaling
from ..engine.tta import Views
from ..engine.units import Units
from ..errors import ArgumentError, DataError, SettingError, counted, warn
from ..losses import CLASSIFICATION, MULTI_LABEL, OUTPUTS, REGRESSION, Loss, kind
from ..names import OF_MODELS, lacking
from ..namespace import array_namespace
from ..network import Network, describe, shortened
from ..network.notebook import as_it_is, paragraphs
from . import accepted
from .inputs import all_dark, check_counting, fitting_examples, fitting_weights, given_images
from .labels import Meaning
from .spelling import spelt
from .types import ImagesLike, LabelsLike, WeightsLike

TOP = 5  # classes with the largest outputs, in a report of more


class Predicting:
    """The part of `Model` that changes nothing.

    images: an array (N, H, W, C), or (N, H, W) where C is 1, uint8 or floats in 0..1; or picture files, or pictures of
    Pillow, in a list, which are read as those of the training were (`preprocessing`). An image without N, or one file,
    gives its answer without N. Whole numbers of other types are 0..white: 255, or 16 where the images of the last `fit`
    were whole numbers to 16, as scikit-learn's digits are. With a `Scaling` of floats, any numbers are taken as they
    are. What is assumed, and what was done to pictures of strokes,
    is warned of; see `inputs.given_images`. labels: what `fit` takes. Both raise DataError.

    tta: test-time augmentation, such as "shift=1,flip": logits are means over views of an image; see `engine.tta`.
    """

    network: Network
    loss: Loss
    device: Device
    scaling: Scaling
    execution: Execution
    name: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing | None
    white: int | None
    first_label: int
    units: Units | None = None  # of numbers; a model of an old pickle has none
    standardize: bool = False

    if not TYPE_CHECKING:  # what checks types refuses what there is not by itself

        def __getattr__(self, name: str) -> Any:
            """What other libraries' models have is refused with what to write."""
            raise lacking(self, name, OF_MODELS)

        def __call__(self, *_: Any, **__: Any) -> Any:
            """Refused: a model has a method for each of its answers. ArgumentError."""
            raise ArgumentError(
                "a model is not called; write model.predict(images) for classes or numbers, or predict_proba or logits"
            )

        __call__.refuses = True

    def _repr_html_(self) -> str:
        """What it is and its network's summary, for notebooks."""
        head = f"{self.name} on {self.device}, {describe(self.loss)}, {OUTPUTS[kind(self.loss)]} "
        return paragraphs([head + ", ".join(shortened(self.class_names))]) + as_it_is(self.network.summary())

    def _classes(self) -> int:
        shape = self.network.shapes()[-1]
        if len(shape) != 1:
            raise DataError(
                f"the network ends in {shape}, one vector of logits was expected; end it with Flatten(), Dense(K)"
            )
        return shape[0]

    @spelt()
    def logits(self, images: ImagesLike, *, tta: Views | str | None = None) -> np.ndarray:
        """The network's outputs before softmax or sigmoid, or the numbers. images (N, H, W, C) -> (N, classes)."""
        return self._answers(images, self._in_units, tta)

    @spelt()
    def predict_proba(self, images: ImagesLike, *, tta: Views | str | None = None) -> np.ndarray:
        """images (N, H, W, C) -> probabilities (N, classes); the numbers themselves where the loss is of numbers."""
        return self._answers(images, lambda logits: self._in_units(self.loss.probabilities(logits)), tta)

    @spelt()
    def predict(self, images: ImagesLike, *, tta: Views | str | None = None) -> np.ndarray:
        """images (N, H, W, C) -> the most probable class of each (N,), as a number: from 0, or from 1 where the labels
        of `fit` did (`first_label`).

        Where several labels may hold, 1 for those whose probability is above 1/2, else 0, (N, K); where the loss is of
        numbers, these, (N, K), in the units of the targets of `fit`.
        """
        finish = {
            CLASSIFICATION: lambda logits: array_namespace(logits).argmax(logits, axis=1) + self.first_label,
            MULTI_LABEL: lambda logits: array_namespace(logits).astype(logits > 0, array_namespace(logits).int64),
            REGRESSION: self._in_units,
        }
        return self._answers(images, finish[kind(self.loss)], tta)

    @spelt()
    def evaluate(
        self,
        images: ImagesLike,
        labels: LabelsLike,
        *,
        sample_weight: WeightsLike | None = None,
        tta: Views | str | None = None,
    ) -> dict[str, float]:
        """Mean loss, accuracy (the part of examples whose largest output is the label's) and examples.

        Where several labels may hold, accuracy is the part of examples with all labels right, label_accuracy that of
        labels. Where the loss is of numbers: mean_absolute_error, mean_squared_error and r2 (R^2, the mean over
        outputs) instead, in the units of the targets; the loss is that of standardised ones where the model learnt
        these. sample_weight: (N,) factors of the examples in all of these means, which are divided by the
        sum of the factors; examples with the loss's ignore_index do not count, nor are they among the examples.

        The mean over the B examples is two-conv eq. (13), layered eq. (24), where b = 0..B is printed.
        """
        images, labels, weights = self._weighted(images, labels, sample_weight)
        found = self._measured(images, labels, weights, tta)
        return found | {"examples": self._count(labels)}

    @spelt()
    def report(
        self,
        images: ImagesLike,
        labels: LabelsLike,
        *,
        sample_weight: WeightsLike | None = None,
        top_k: int | None = None,
        tta: Views | str | None = None,
    ) -> metrics.Report:
        """What `evaluate` finds, by class: precision, recall, f1, support, their averages, and the confusion matrix.

        `print` shows it as a table; see `metrics.Report`. top_k=3: overall also has top_3_accuracy, the part of
        examples whose class is among the 3 with the largest outputs; by default top_5_accuracy, where there are more
        than 5 classes. Of labels it has precision and so on of each; of numbers, errors of each. Raises SettingError
        where there are no more classes than top_k.
        """
        top_k = self._top_k(top_k)
        shown, targets, weights = self._weighted(images, labels, sample_weight)
        counts = counting(self.loss, targets, None)
        if counts is not None:
            shown, targets = shown[counts > 0], targets[counts > 0]
            weights = None if weights is None else weights[counts > 0]
        logits, of_kind = self._over_chunks(shown, lambda logits: logits, tta), kind(self.loss)
        with self.execution.active():
            overall = measured(self.device, self.loss, [self.device.put(logits)], targets, weights, self.units)
        if top_k is not None:
            classes = targets if targets.ndim == 1 else targets.argmax(axis=1)
            found = np.average(metrics.top_k(logits, classes, top_k), weights=weights)
            overall[f"top_{top_k}_accuracy"] = float(found)
        overall["examples"] = len(targets)
        if self.units is not None:
            logits, targets = self.units.spread(logits), self.units.spread(targets)
        return metrics.report_of(of_kind, overall, logits, targets, self.class_names, weights)

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
        """Of examples that fit; None where the loss is of numbers."""
        found = self._measured(images, labels, None, None)
        return found["loss"], found.get("accuracy")

    def _measured(self, images: Any, labels: Any, weights: Any, tta: Views | str | None) -> dict[str, float]:
        """The mean loss and the `metrics` of the loss's kind. The examples may lie on the device."""
        pieces, views = self._pieces, self._views(tta)
        with memory.of_inference(self.device, self.network, self.execution.chunk), self.execution.active():
            logits = pieces(images, views)
            whole = [np.concatenate(list(logits))] if self.device.kind == "cpu" else logits
            return measured(self.device, self.loss, whole, labels, weights, self.units)

    def _in_units(self, outputs: Any) -> Any:
        """Outputs (n, K) of the network as they leave: numbers in their units."""
        return outputs if self.units is None else self.units(outputs)

    def _pieces(self, images: Any, tta: Views | None) -> Iterator[Any]:
        """The logits (n, K) of some images after the others, as the network gives them, on the device."""
        return self.execution.logits(images, self.scaling, tta)

    def _views(self, tta: Views | str | None) -> Views | None:
        if tta is None:
            return None
        views: Views = accepted.argument("tta", tta)
        views.check(self.network.input_shape)
        return views

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

    def _over_chunks(self, images: np.ndarray, finish: Any, tta: Views | str | None) -> np.ndarray:
        """finish of the logits, on the host; finish takes some (n, K) on the device."""
        views = self._views(tta)
        made, enough = [], memory.of_inference(self.device, self.network, self.execution.chunk)
        with enough, self.execution.active():
            for logits in self._pieces(images, views):
                made.append(self.device.fetch(finish(logits)))
            if not made:
                return self.device.fetch(finish(self.execution.theta[:0].reshape((0, self._classes()))))
        return np.concatenate(made)

    def _answers(self, images: Any, finish: Any, tta: Views | str | None) -> np.ndarray:
        """finish of the logits of images, or of the one image, that a user gave."""
        batch, is_one = given_images(images, self.network.input_shape, self._reading(images), white=self.white)
        found = self._over_chunks(batch, finish, tta)
        return found[0] if is_one else found

    def _images(self, images: Any) -> np.ndarray:
        """Images as the network takes them, (N, H, W, C)."""
        return given_images(images, self.network.input_shape, self._reading(images), white=self.white)[0]

    def _reading(self, images: Any) -> Preprocessing | None:
        """How images are read that are files or pictures."""
        return self.preprocessing

    def examples(
        self, images: Any, labels: Any, part: str = "", meaning: Meaning | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images and targets as the network and the loss take them, some of which count. Raises DataError.

        part: which, for messages. meaning: see `batch`.
        """
        white = self.white if meaning is None else meaning.white
        is_usual = self.scaling.is_usual and white == USUAL
        said = all_dark(images, f"{part} images".strip()) if is_usual else ""
        if said and len(images) > 1:  # one alone, or a batch of many, may be
            warn(said)
        images, labels = self.batch(images, labels, part, meaning)
        check_counting(self.loss, labels)
        return images, labels

    def batch(
        self, images: Any, labels: Any, part: str = "", meaning: Meaning | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`examples`, of which none need count, such as a part of a data set.

        meaning: of white and of labels; by default as in what the model was trained on.
        """
        shape, dtype = self.network.input_shape, self.execution.theta.dtype
        meaning = self.meaning if meaning is None else meaning
        return fitting_examples(images, labels, shape, meaning, self.loss, dtype, self._reading(images), part)

    @property
    def meaning(self) -> Meaning:
        """What stands for what in images and labels that the model is given."""
        return Meaning(self.white, self.class_names, self.first_label, self.units)
