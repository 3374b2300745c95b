"""Model: a network with its parameters on a device, the loss, and the description of its input. What a user holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import networks, schedules
from ..callbacks import EarlyStopping
from ..data.dataset import Dataset
from ..data.pixels import USUAL
from ..data.preprocessing import Preprocessing
from ..data.targets import checked_names
from ..device import Device
from ..engine.acceleration import Acceleration
from ..engine.execution import Execution
from ..engine.scaling import Scaling
from ..errors import DataError, SettingError, counted
from ..losses import OUTPUTS, Loss, SoftmaxCrossEntropy, kind
from ..network import Network, describe, shortened
from ..network.layout import Layout
from ..optimizers import Optimizer
from ..schedules import Schedule
from ..training import History, Plan
from ..training.augmentation import Augmentation
from . import accepted, checkpoint, checkpoints
from .batches import fit_batches
from .exporting import export
from .fitting import OPTIONS, Fitting
from .holding import Turn, alone
from .spelling import spelt
from .tensors import named
from .trainable import Trainable, standing
from .training_memory import training_memory
from .types import DType, ImagesLike, LabelsLike, Pair, WeightsLike


class Model(Trainable):
    """network + loss + parameters on a device + what the input is.

    network: a Network, or the name of one of `gpucnn.networks`. loss: one of `gpucnn.losses`, or the name of one,
    as "multi-label"; by default the network's, or softmax cross-entropy. device: "auto", a CUDA device where one
    works, "cpu", "cuda", "cuda:N" or a `Device`. seed: decides the initial weights, the same on every device.
    class_names: one text per output; "0", "1", ... by default. data: the `gpucnn.data.Dataset` that the model is for,
    whose class_names and preprocessing are taken where none are given, and for whose images and classes a network that
    is named is built. preprocessing: how picture files become its images, a `gpucnn.data.Preprocessing`; without one
    they are scaled and cropped to the input. name: of the model, in what is said of it and in its file; by default the
    network's. scaling: what the network sees of a pixel, a `Scaling` of gpucnn.engine.scaling, by default pixel / 255;
    with floats=True numbers of any range are taken as they are. standardize: whether numbers that are predicted are
    learnt standardised, so that their units do not matter: the means and standard deviations of the outputs' targets,
    in the first training, stay with the model (`units`), and what it gives is in the units of the targets. It is so
    for the losses of gpucnn, and for one's own that says so (`Loss.standardizes`). dtype: of parameters and of all that
    is computed, "float32" or "float64". threads: CPUs to compute with; by default all that the process may use.

    kernels: "default", this device's fast ones; "reference", the equations as they are written; "numba", compiled ones
    for the CPU; "cudnn", "winograd", "columns", other convolutions for a CUDA device. precision: of a CUDA device,
    "float32", or with factors rounded to fewer bits "tf32" or "bfloat16". graph: whether a CUDA device records a step
    and plays it again, by default where it can. tune: whether training begins with measuring which kernels are
    fastest for each convolution on a CUDA device; or a file of such choices.
    """

    @spelt()
    def __init__(
        self,
        network: Network | str,
        *,
        loss: Loss | str | None = None,
        device: str | Device = "auto",
        seed: int = 0,
        data: Dataset | None = None,
        class_names: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        scaling: Scaling | None = None,
        standardize: bool = True,
        dtype: DType = "float32",
        threads: int | None = None,
        name: str | None = None,
        kernels: str = "default",
        precision: str = "float32",
        graph: bool | None = None,
        tune: bool | str = False,
    ) -> None:
        usual = networks.entry(network).loss if isinstance(network, str) else SoftmaxCrossEntropy()
        if data is not None:
            data = accepted.for_data(data, network, loss, usual)
            class_names = data.class_names if class_names is None else class_names
            preprocessing = data.preprocessing if preprocessing is None else preprocessing
        if isinstance(network, str):
            name = name or network
            of_data: dict[str, Any] = (
                {} if data is None else {"input_shape": data.input_shape, "classes": len(data.class_names)}
            )
            network = networks.build(network, **of_data)
        self.network, self.name = accepted.argument("network", network), name or "network"
        self.loss = accepted.argument("loss", usual if loss is None else loss)
        accepted.warn_of_output(network, self.loss)
        self.device = accepted.argument("device", device)
        number = accepted.argument("dtype", getattr(dtype, "__name__", str(dtype)))  # also of numpy.float32 itself
        names = range(self._classes()) if class_names is None else class_names
        self.class_names = checked_names(accepted.argument("class_names", names), "class_names")
        if len(self.class_names) != self._classes():
            raise DataError(
                f"{counted(len(self.class_names), 'class name')} for a network of {counted(self._classes(), 'output')};"
                f" give one for each, or build a network: gpucnn.networks.build(NAME, classes={len(self.class_names)})"
            )
        if isinstance(self.loss, Loss):
            self.loss.check(self._classes())
        self.preprocessing = accepted.argument("preprocessing", preprocessing)
        self.scaling = accepted.argument("scaling", Scaling() if scaling is None else scaling)
        weights, _ = np.random.SeedSequence(accepted.argument("seed", seed)).spawn(2)
        self.execution = Execution(
            network,
            self.device,
            seed=weights,
            dtype=number,
            threads=None if threads is None else accepted.argument("threads", threads),
            acceleration=Acceleration(accepted.kernels(kernels, self.device), precision, graph, tune),
        )
        self.has_default_threads = threads is None
        self.trained, self.kept, self.turn = None, None, Turn()
        self.white = None if self.scaling.floats else USUAL  # in images of whole numbers
        self.first_label = 0  # the number of the first class
        self.units, self.standardize = None, accepted.argument("standardize", standardize)
        self.layout = self.execution.given
        self.state_layout = Layout(network.init_state(network.input_shape))

    def __repr__(self) -> str:
        return (
            f"Model({self.name!r}, {self.layout.size:,} parameters on {self.device}, {describe(self.loss)}, "
            f"{OUTPUTS[kind(self.loss)]} {', '.join(shortened(self.class_names))},\n      {self.network!r})"
        )

    def summary(self, batch: int = 128) -> str:
        """See `Network.summary`."""
        return self.network.summary(batch)

    @spelt()
    @alone
    def fit(
        self,
        images: ImagesLike,
        labels: LabelsLike,
        *,
        epochs: int = 5,
        batch_size: int = 128,
        optimizer: Optimizer | str = "adam",
        lr: float = 1e-3,
        schedule: str | Schedule = "constant",
        validation: Pair | None = None,
        sample_weight: WeightsLike | None = None,
        augmentation: Augmentation | str | None = None,
        accumulate: int = 1,
        freeze: str | Iterable[str] = (),
        seed: int = 0,
        callbacks: Iterable[Any] = (),
        early_stopping: EarlyStopping | bool | None = None,
        keep: str | None = None,
        progress: bool | None = None,
        resume: str | os.PathLike[str] | None = None,
        anyway: bool = False,
    ) -> History:
        """Train on images (N, H, W, C), uint8 or floats in 0..1, and labels (N,), whole numbers below the classes.

        Both may come in other forms that mean one thing: images as `Predicting` says; labels as names of the model's
        classes, truth values, whole floats, a column (N, 1) or one-hot rows (N, classes). Others are refused. Where
        whole numbers of another type than uint8 run to 2..16, 16 is taken as white, then and when the model is asked
        later; 0 and 1 are truth values, or refused. Texts, one for each output, become the names of a model that was
        given none, in their order; labels 1..K, all of which are there, count from 1, then and when the model is asked
        later (`first_label`). Both are warned of.

        A loss of numbers takes (N, K) floats as labels, one of several labels 0 and 1, and some take shares (N, K) of
        the classes; see `losses.Loss`. sample_weight: (N,) factors of the examples' losses, in means over a batch too,
        which are divided by the number of its examples. augmentation: changes training images at random, such as
        "shift=2,flip"; see `Augmentation`. accumulate: how many batches an update looks at; their gradients are added
        up, so that it is the update by one batch as large as all of them, in the memory of one, but that layers such as
        BatchNorm, and images that are mixed, see each batch alone. seed: decides the order of the batches, the
        augmentation, and what layers draw; the same seed repeats them all. lr: the base learning rate; gradients are
        means over a batch, layered eq. (8), (9). schedule: what lr is multiplied by, a function of (step, steps), or a
        text that `schedules.schedule` reads, such as "cosine" or "warmup=0.05,cosine". callbacks: functions, called
        with each Epoch, or objects with methods of `gpucnn.callbacks.Callback`. early_stopping: `EarlyStopping`, which
        ends the run when the validation gains nothing more. keep: "best" leaves the model with the parameters of the
        epoch whose validation loss was lowest, or that early_stopping says, "last" with the last; by default best with
        early_stopping, else last. progress: to show how far training is; by default on a terminal and in a notebook.

        Training begins anew from the parameters as they are: optimiser, schedule, and batches start at their beginning.
        `partial_fit` goes on with them. resume: a folder, in which the state of the run is saved now and then; where
        there is one already, the call goes on from it and ends with the same bits as if it had never been cut off.
        Another data set, network or setting than the saved run had is refused; anyway=True goes on, and
        warns. Raises DataError, SettingError, TrainingError; DeviceError, with a batch size that should fit.
        """

        def make() -> Fitting:
            return Fitting(
                self,
                images,
                labels,
                Plan(epochs, batch_size, lr, accepted.argument("schedule", schedule)),
                optimizer,
                validation,
                sample_weight=sample_weight,
                augmentation=augmentation,
                accumulate=accumulate,
                freeze=freeze,
                seed=seed,
                callbacks=[*accepted.argument("callbacks", callbacks), *accepted.keeping(early_stopping, keep)],
                progress=progress,
            )

        return checkpoints.run(self, make, resume, anyway=anyway)

    fit_batches = fit_batches

    @spelt(*OPTIONS)
    @alone
    def partial_fit(
        self,
        images: ImagesLike,
        labels: LabelsLike,
        *,
        epochs: int = 1,
        total_epochs: int | None = None,
        batch_size: int = 128,
        optimizer: Optimizer | str = "adam",
        lr: float = 1e-3,
        schedule: str | Schedule = "constant",
        validation: Pair | None = None,
        seed: int = 0,
        **options: Any,
    ) -> History:
        """Train for some more epochs, from where the last call, or `fit`, stopped: the optimiser, the number of
        updates, the order of batches, augmentation and draws go on. Calls of one epoch each are, bit for bit, one call
        of many. The optimizer, lr, batch_size and schedule are those of this call: give what the last one had again.

        total_epochs: those that the schedule is stretched over, all calls together; needed unless it is constant. seed
        counts in the first call only. An average of theta, as `EMA` keeps it, begins anew from parameters that were set
        between two calls; where an earlier epoch was kept, all begins anew, which is warned of. Callbacks that have a
        state, such as `EarlyStopping`, go on where the same object is given again. Otherwise as `fit`, which takes
        these options too: sample_weight, augmentation, accumulate, freeze, callbacks, progress. `save`
        keeps what is needed to go on after `gpucnn.load`. Ctrl-C ends one call, and a loop of them should look at
        history.signal, which is then not 0.
        """
        shape, before = accepted.argument("schedule", schedule), standing(self)
        if total_epochs is None and shape is not schedules.constant:
            why = "the schedule must know how many epochs there will be in all"
            raise SettingError(f"partial_fit: {why}; give total_epochs, or leave the schedule constant")
        plan, done = Plan(epochs, batch_size, lr, shape, total_epochs), 0
        if before is not None:
            done, seed = before.position.epoch - 1, before.seed
            plan = replace(plan, epochs=done + epochs)
        if total_epochs is not None and shape is not schedules.constant and plan.epochs > total_epochs:
            raise SettingError(
                f"partial_fit: total_epochs={total_epochs} is too small: with the {done} that the model was trained "
                f"for there are {plan.epochs} in all, and the schedule ends with the last"
            )
        known = None if before is None else self.meaning
        fitting = Fitting(self, images, labels, plan, optimizer, validation, seed=seed, meaning=known, **options)
        return fitting.train(fitting.go_on(before), History(goes_on=True), is_partial=True)

    def recompute_state(self, images: ImagesLike, *, batch_size: int = 128) -> None:
        """Make the running state of layers such as BatchNorm that of a pass over images, with the parameters as they
        are.

        An average of theta over its updates, as `EMA` and `SWA` keep it, leaves the running state that of theta itself.
        Where the two differ much, as with SWA, this makes it that of the average (Izmailov et al., 2018): a BatchNorm's
        means and variances become the means of the batches', in which each image counts alike, and what they were
        before counts no more. Layers of your own go on by their next_state.
        """
        images, size = self._images(images), accepted.argument("batch_size", batch_size)
        if self.state_layout.size:
            with self.execution.active():
                self.execution.follow(self.network, images, self.scaling, size)

    training_memory = training_memory
    export = spelt()(export)

    def save(self, path: str | bytes | os.PathLike[str], **more: Any) -> Path:
        """Write a safetensors checkpoint; more: entries for its description. CheckpointError, also for x.onnx."""
        path, tensors = checkpoint.place(path), named(self)
        if self.trained is not None and self.trained.is_partial:
            more, tensors = more | {"training": self.trained.described()}, tensors | self.trained.tensors(self.device)
        return checkpoint.write(path, self.describe() | more, tensors)
