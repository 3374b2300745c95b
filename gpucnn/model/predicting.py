"""What a model gives for images: logits, probabilities, classes, and how good they are on labelled examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..device import Device
from ..engine import memory
from ..engine.evaluation import loss_and_accuracy
from ..engine.execution import Execution
from ..engine.scaling import Scaling
from ..errors import DataError
from ..losses import Loss
from ..namespace import array_namespace
from ..network import Network
from .inputs import fitting_examples, fitting_images


class Predicting:
    """The part of `Model` that changes nothing."""

    network: Network
    loss: Loss
    device: Device
    scaling: Scaling
    execution: Execution

    def _classes(self) -> int:
        shape = self.network.shapes()[-1]
        if len(shape) != 1:
            raise DataError(
                f"the network ends in {shape}, one vector of logits was expected; end it with Flatten(), Dense(K)"
            )
        return shape[0]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The network's outputs before softmax or sigmoid. images (N, H, W, C) -> (N, classes)."""
        return self._over_chunks(self._images(images), lambda logits: logits)

    def predict_proba(self, images: np.ndarray) -> np.ndarray:
        """images (N, H, W, C) -> probabilities (N, classes)."""
        return self._over_chunks(self._images(images), self.loss.probabilities)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """images (N, H, W, C) -> the most probable class of each (N,), as a number."""
        return self._over_chunks(self._images(images), lambda logits: array_namespace(logits).argmax(logits, axis=1))

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Mean loss, accuracy (the part of examples whose largest output is the label's) and examples.

        Without accuracy where the loss is of numbers. The mean over the B examples is two-conv eq. (13), layered eq.
        (24), where b = 0..B is printed.
        """
        images, labels = self.examples(images, labels)
        loss, accuracy = self.loss_and_accuracy(images, labels)
        return {"loss": loss} | ({} if accuracy is None else {"accuracy": accuracy}) | {"examples": len(images)}

    def loss_and_accuracy(self, images: Any, labels: Any) -> tuple[float, float | None]:
        with memory.of_inference(self.device, self.network, self.execution.chunk), self.execution.active():
            return loss_and_accuracy(self.execution, self.loss, images, labels, self.scaling)

    def _over_chunks(self, images: np.ndarray, finish: Any) -> np.ndarray:
        """finish of the logits, on the host; finish takes some (n, K) on the device."""
        made, enough = [], memory.of_inference(self.device, self.network, self.execution.chunk)
        with enough, self.execution.active():
            for logits in self.execution.logits(images, self.scaling):
                made.append(self.device.fetch(finish(logits)))
            if not made:
                return self.device.fetch(finish(self.execution.theta[:0].reshape((0, self._classes()))))
        return np.concatenate(made)

    def _images(self, images: Any) -> np.ndarray:
        return fitting_images(images, self.network.input_shape)

    def examples(self, images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        numbers = self.execution.theta.dtype if getattr(self.loss, "numbers", False) else None
        return fitting_examples(images, labels, self.network.input_shape, self._classes(), numbers)
