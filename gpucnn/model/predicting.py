"""What a model gives for images: logits, probabilities, answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.pixels import USUAL
from ..data.preprocessing import Preprocessing
from ..device import Device
from ..engine import memory
from ..engine.execution import Execution
from ..engine.scaling import Scaling
from ..engine.tta import Views
from ..engine.units import Units
from ..errors import ArgumentError, DataError, warn
from ..losses import CLASSIFICATION, MULTI_LABEL, OUTPUTS, REGRESSION, Loss, kind
from ..names import OF_MODELS, lacking
from ..namespace import array_namespace
from ..network import Network, describe, shortened
from ..network.notebook import as_it_is, paragraphs
from . import accepted, thresholds
from .examples import check_counting, fitting_examples
from .inputs import all_dark, given_images
from .labels import Meaning
from .spelling import spelt
from .types import ImagesLike, ThresholdLike


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
    _thresholds: tuple[float, ...] | None = None
    of_training = False  # whether the thresholds belong to the training that is behind

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
    def predict(
        self, images: ImagesLike, *, threshold: ThresholdLike | None = None, tta: Views | str | None = None
    ) -> np.ndarray:
        """images (N, H, W, C) -> the most probable class of each (N,), as a number: from 0, or from 1 where the labels
        of `fit` did (`first_label`).

        Where several labels may hold, 1 for those whose probability is above threshold, else 0, (N, K): a number, or
        one for each label; by default `thresholds`, or 1/2 where the model has none. Where the loss is of numbers,
        these, (N, K), in the units of the targets of `fit`. Raises SettingError for a threshold that there cannot be.
        """
        above = self._above(threshold)
        finish = {
            CLASSIFICATION: lambda logits: array_namespace(logits).argmax(logits, axis=1) + self.first_label,
            MULTI_LABEL: lambda logits: array_namespace(logits).astype(
                above(logits) > 0, array_namespace(logits).int64
            ),
            REGRESSION: self._in_units,
        }
        return self._answers(images, finish[kind(self.loss)], tta)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The probabilities above which labels are predicted, where several may hold: one for each, or None for 1/2.

        They are saved with the model, and may be set to one number, to one for each label, or to None; as
        `choose_thresholds` does. `fit` keeps those that were set, and drops those that were chosen, or loaded, which
        are of the training before, and warns: choose again afterwards. Raises SettingError for others, and where the
        loss is not of several labels.
        """
        return self._thresholds

    @thresholds.setter
    def thresholds(self, given: ThresholdLike | None) -> None:
        self._thresholds = None if given is None else thresholds.checked(given, self)
        self.of_training = False

    def _above(self, threshold: ThresholdLike | None) -> Callable[[Any], Any]:
        """A function of logits (n, K) whose result is above 0 where a label is predicted."""
        chosen = self.thresholds if threshold is None else thresholds.checked(threshold, self)
        if chosen is None:
            return lambda logits: logits

        def above(logits: Any) -> Any:
            found, xp = self.loss.probabilities(logits), array_namespace(logits)
            return xp.astype(found, xp.float64) - xp.asarray(chosen, dtype=xp.float64, device=found.device)

        return above

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
        accepted.warn_of_places("tta", self.loss, "leave tta out")
        return views

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
        batch, is_one = self._given(images)
        found = self._over_chunks(batch, finish, tta)
        return found[0] if is_one else found

    def _images(self, images: Any) -> np.ndarray:
        """Images as the network takes them, (N, H, W, C)."""
        return self._given(images)[0]

    def _reading(self, images: Any) -> Preprocessing | None:
        """How images are read that are files or pictures."""
        return self.preprocessing

    def _given(self, images: Any) -> tuple[np.ndarray, bool]:
        zero_one = "warned of" if self.scaling.is_usual else "taken"
        how = self._reading(images)
        return given_images(images, self.network.input_shape, how, "images", self.white, zero_one)

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
        images, labels = self.batch(images, labels, part, meaning, are_all=True)
        check_counting(self.loss, labels)
        return images, labels

    def batch(
        self, images: Any, labels: Any, part: str = "", meaning: Meaning | None = None, *, are_all: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """`examples`, of which none need count, such as a part of a data set.

        meaning: of white and of labels; by default as in what the model was trained on. are_all: whether they are a
        whole set, in which 0 and 1 tell nothing of what is white.
        """
        shape, dtype = self.network.input_shape, self.execution.theta.dtype
        meaning = self.meaning if meaning is None else meaning
        zero_one = "taken" if not self.scaling.is_usual else "refused" if are_all else "warned of"
        how = self._reading(images)
        return fitting_examples(images, labels, shape, meaning, self.loss, dtype, how, part, zero_one)

    @property
    def meaning(self) -> Meaning:
        """How numbers in images and labels that the model is given are read."""
        return Meaning(self.white, self.class_names, self.first_label, self.units)
