"""Model: a network with its parameters on a device, the loss, and the description of its input. What a user holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import networks
from ..data.preprocessing import Preprocessing
from ..device import Device
from ..engine import memory
from ..engine.acceleration import Acceleration
from ..engine.execution import Execution
from ..engine.gradient import checked
from ..engine.scaling import Scaling
from ..errors import DataError, SettingError
from ..layers.initializers import generator
from ..losses import Loss, SoftmaxCrossEntropy, correct
from ..namespace import read_only
from ..network import Network, describe, shortened
from ..network.layout import Layout
from ..optimizers import Optimizer
from ..schedules import Schedule
from ..training import Callback, Epoch, History, Plan, train
from ..training.augmentation import Augmentation
from ..training.progress import shown
from . import accepted, checkpoint
from .inputs import fitting_examples, fitting_images, fitting_weights
from .tensors import named, take


class Model:
    """network + loss + parameters on a device + what the input is.

    network: a Network, or the name of one. device: "auto", "cpu", "cuda", "cuda:N" or a Device. seed: decides the
    initial weights, the same on every device. class_names: one text per class; "0", "1", ... by default.
    threads: how many CPUs to compute with; by default all that the process may use. kernels, precision, graph: see
    `engine.acceleration.Acceleration`.
    """

    def __init__(
        self,
        network: Network | str,
        *,
        loss: Loss | None = None,
        device: str | Device = "auto",
        seed: int = 0,
        class_names: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        scaling: Scaling | None = None,
        dtype: str = "float32",
        threads: int | None = None,
        name: str | None = None,
        kernels: str = "default",
        precision: str = "float32",
        graph: bool | None = None,
    ) -> None:
        if isinstance(network, str):
            entry = networks.entry(network)
            name, loss = name or network, entry.loss if loss is None else loss
            network = networks.build(network)
        self.network, self.name = accepted.argument("network", network), name or "network"
        self.loss = accepted.argument("loss", SoftmaxCrossEntropy() if loss is None else loss)
        accepted.warn_of_output(network, self.loss)
        self.device = accepted.argument("device", device)
        dtype = accepted.argument("dtype", getattr(dtype, "__name__", str(dtype)))  # also of numpy.float32 itself
        names = range(self._classes()) if class_names is None else class_names
        self.class_names = tuple(map(str, accepted.argument("class_names", names)))
        if len(self.class_names) != self._classes():
            raise DataError(f"{len(self.class_names)} class names for a network of {self._classes()} outputs")
        self.preprocessing = accepted.argument("preprocessing", preprocessing)
        self.scaling = accepted.argument("scaling", Scaling() if scaling is None else scaling)
        weights, _ = np.random.SeedSequence(accepted.argument("seed", seed)).spawn(2)
        self.execution = Execution(
            network,
            self.device,
            seed=weights,
            dtype=dtype,
            threads=None if threads is None else accepted.argument("threads", threads),
            acceleration=Acceleration(kernels, precision, graph),
        )
        self.layout = self.execution.given
        self.state_layout = Layout(network.init_state(network.input_shape))

    def __repr__(self) -> str:
        return (
            f"Model({self.name!r}, {self.layout.size:,} parameters on {self.device}, {describe(self.loss)}, "
            f"classes {', '.join(shortened(self.class_names))},\n      {self.network!r})"
        )

    def _classes(self) -> int:
        shape = self.network.shapes()[-1]
        if len(shape) != 1:
            raise DataError(
                f"the network ends in {shape}, one vector of logits was expected; end it with Flatten(), Dense(K)"
            )
        return shape[0]

    @property
    def theta(self) -> Any:
        """theta, the vector of all parameters, on the device; what is written there changes the model."""
        return self.execution.theta

    @theta.setter
    def theta(self, vector: Any) -> None:
        self.execution.theta[...] = vector

    @property
    def threads(self) -> int:
        """CPU threads that training may use."""
        return self.execution.workers.threads

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Every parameter by its path, such as "0/kernel", as NumPy arrays that share nothing with the model."""
        return self._named(self.layout, self.execution.theta)

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The layers' running state by its path, such as "1/mean", as `parameters` are."""
        return self._named(self.state_layout, self.execution.state)

    def _named(self, layout: Layout, vector: Any) -> dict[str, np.ndarray]:
        vector = self.device.fetch(vector)
        return {slot.name: vector[slot.place].reshape(slot.shape).copy() for slot in layout.slots}

    def summary(self, batch: int = 128) -> str:
        return self.network.summary(batch)

    def fit(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        epochs: int = 5,
        batch_size: int = 128,
        optimizer: Optimizer | str = "adam",
        lr: float = 1e-3,
        schedule: str | Schedule = "constant",
        validation: tuple[np.ndarray, np.ndarray] | None = None,
        sample_weight: np.ndarray | None = None,
        augmentation: Augmentation | str | None = None,
        seed: int = 0,
        callbacks: Iterable[Callback | Callable[[Epoch], Any]] = (),
        progress: bool | None = None,
    ) -> History:
        """Train on images (N, H, W, C), uint8 or floats in 0..1, and labels (N,), whole numbers below the classes.

        A loss of numbers takes (N, K) floats as labels. sample_weight: (N,) factors of the examples' losses, in means
        over a batch too. augmentation: changes training images at random, such as "shift=2,flip"; see `Augmentation`.
        seed: decides the order of the batches, the augmentation, and what layers draw; the same seed repeats them all.
        lr: the base learning rate; gradients are means over a batch, layered eq. (8), (9). schedule: what lr is
        multiplied by, a function of (step, steps), or a schedule's name. callbacks: functions, called with each Epoch,
        or objects with one or both methods of `training.Callback`. progress: whether to show how far training is; by
        default on a terminal and in a notebook.
        Training goes on from the parameters as they are. Raises DataError, SettingError, TrainingError; DeviceError,
        with the batch size that should fit, when the device's memory is too small.
        """
        if not self.layout.size:
            raise SettingError("the network has no parameters, so there is nothing to train; add a layer such as Dense")
        if validation is not None and (not isinstance(validation, (tuple, list)) or len(validation) != 2):
            raise SettingError("validation: a pair (images, labels) was expected, such as the last tenth of the images")
        accepted.argument("progress", progress)
        told = accepted.callbacks(callbacks)
        images, labels = self._examples(images, labels)
        weights = None if sample_weight is None else fitting_weights(sample_weight, len(images), self.theta.dtype)
        plan = Plan(epochs, batch_size, lr, accepted.argument("schedule", schedule))
        _, order, changes, draws = np.random.SeedSequence(accepted.argument("seed", seed)).spawn(4)
        step = self.execution.step(
            self.loss,
            accepted.argument("optimizer", optimizer),
            scaling=self.scaling,
            augmentation=self._augmentation(augmentation, changes),
            key=int(draws.generate_state(1)[0]),
        )
        held = None if validation is None else self._examples(*validation)
        with self.execution.active():
            with memory.of_data(self.device, images.nbytes + labels.nbytes):
                there = [None if each is None else self.device.put(each) for each in (images, labels, weights)]
            enough = memory.of_training(self.device, self.network, batch_size)
            with enough, shown(progress, plan.epochs) as reporters:
                return train(
                    step,
                    *there,
                    plan=plan,
                    device=self.device,
                    rng=generator(order),
                    evaluate=None if held is None else lambda: self._loss_and_accuracy(*held),
                    callbacks=[*accepted.callbacks(reporters), *told],
                )

    def _augmentation(self, asked: Augmentation | str | None, seed: np.random.SeedSequence) -> Augmentation | None:
        if asked is None:
            return None
        chosen = accepted.argument("augmentation", asked)
        chosen.check(self.network.input_shape)
        return replace(chosen, key=int(seed.generate_state(1)[0]))

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The network's outputs before softmax or sigmoid. images (N, H, W, C) -> (N, classes)."""
        return self._over_chunks(self._images(images), lambda logits: logits)

    def predict_proba(self, images: np.ndarray) -> np.ndarray:
        """images (N, H, W, C) -> probabilities (N, classes)."""
        return self._over_chunks(self._images(images), self.loss.probabilities)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """images (N, H, W, C) -> the most probable class of each (N,), as a number."""
        return self.logits(images).argmax(axis=1)

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Mean loss, accuracy (the part of examples whose largest output is the label's) and examples.

        Without accuracy where the loss is of numbers. The mean over the B examples is two-conv eq. (13), layered eq.
        (24), where b = 0..B is printed.
        """
        images, labels = self._examples(images, labels)
        loss, accuracy = self._loss_and_accuracy(images, labels)
        return {"loss": loss} | ({} if accuracy is None else {"accuracy": accuracy}) | {"examples": len(images)}

    def _loss_and_accuracy(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, float | None]:
        logits = self.device.put(self._over_chunks(images, lambda logits: logits))
        with self.execution.active():
            targets = read_only(self.device.put(labels))  # a loss of one's own may write into them
            losses, _ = checked(self.loss, self.loss(logits, targets), logits)
            loss = float(losses.mean(dtype="float64"))
            return loss, None if labels.ndim > 1 else float(correct(logits, targets).sum()) / len(labels)

    def _over_chunks(self, images: np.ndarray, finish: Any) -> np.ndarray:
        made = [np.empty((0, self._classes()), self.theta.dtype)]
        enough = memory.of_inference(self.device, self.network, self.execution.chunk)
        with enough, self.execution.active():
            for logits in self.execution.logits(images, self.scaling):
                made.append(self.device.fetch(finish(logits)))
        return np.concatenate(made)

    def _images(self, images: Any) -> np.ndarray:
        return fitting_images(images, self.network.input_shape)

    def _examples(self, images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        numbers = self.theta.dtype if getattr(self.loss, "numbers", False) else None
        return fitting_examples(images, labels, self.network.input_shape, self._classes(), numbers)

    def save(self, path: str | os.PathLike[str], **more: Any) -> Path:
        """Write a safetensors checkpoint; more: entries for its description. Raises CheckpointError."""
        return checkpoint.write(path, self.describe() | more, named(self))

    def describe(self) -> dict[str, Any]:
        """All of the model but its parameters and device, as JSON-able values."""
        return {
            "name": self.name,
            "network": checkpoint.layer_to_dict(self.network),
            "loss": checkpoint.loss_to_dict(self.loss),
            "scaling": {"scale": self.scaling.scale, "shift": self.scaling.shift},
            "class_names": list(self.class_names),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_dict(),
            "dtype": str(self.theta.dtype),
        }

    def load_parameters(self, path: str | os.PathLike[str]) -> None:
        """Take the parameters of a checkpoint of the same network. Raises CheckpointError for another network's."""
        _, tensors = checkpoint.read(path)
        take(self, tensors, f"{path}: belongs to another network", "load it with gpucnn.load(path)")
