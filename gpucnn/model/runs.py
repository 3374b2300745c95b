"""A training run on disk: its folder, a line of metrics per epoch, the model, and the learning curve."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import networks
from ..data import Dataset
from ..device import Device
from ..engine.acceleration import Acceleration
from ..engine.sharded_step import useful_workers, workers_worth
from ..errors import GpucnnError, SettingError, TrainingError
from ..networks import Recipe
from ..optimizers import Optimizer, optimizer
from ..training import Epoch, History
from ..training.augmentation import Augmentation
from ..workers import default_threads, helpers
from . import Model, checkpoint

MODEL, METRICS, CURVES = "model.safetensors", "metrics.jsonl", "curves.png"


@dataclass(frozen=True)
class Settings:
    """What a user may set of a run. None means what the network's recipe says; schedule is a schedule's name."""

    network: str = "two-conv"
    device: str = "auto"
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    lr: float | None = None
    schedule: str | None = None
    validation: float | None = None
    seed: int = 0
    threads: int | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    acceleration: Acceleration = Acceleration()
    augmentation: Augmentation | None = None


def folder(out: str | None, network: str, data: str, *, force: bool = False) -> Path:
    """A free folder for the run: out, or runs/NETWORK-DATA, with -2, -3, ... where there is one already.

    Raises GpucnnError where out holds a finished run and force does not allow to write over it.
    """
    if out is not None:
        path = Path(out)
        if path.exists() and not path.is_dir():
            raise GpucnnError(f"--out {out}: a file of that name is in the way; choose another folder")
        if (path / MODEL).exists() and not force:
            raise GpucnnError(f"--out {out}: it holds a finished run ({MODEL}); choose another folder, or say --force")
        return path
    name = re.sub(r"[^\w.+-]+", "-", network)  # module:factory is no folder's name everywhere
    ends = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    paths = (Path("runs") / f"{name}-{data}{end}" for end in ends)
    return next(path for path in paths if not path.exists())


def recipe(settings: Settings, examples: int) -> tuple[Recipe, Optimizer | str]:
    """The recipe for a data set of that many training images, changed by the settings; and the optimizer to train with.

    Another optimizer than the recipe's comes with its own usual learning rate.
    """
    base = networks.entry(settings.network).recipe
    given = {name: getattr(settings, name) for name in ("lr", "schedule", "batch_size", "validation")}
    if given["lr"] is None and settings.optimizer is not None:
        given["lr"] = getattr(optimizer(settings.optimizer), "usual_lr", Optimizer.usual_lr)
    changed = dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})
    trained = max(1, examples - round(changed.validation * examples))
    epochs = changed.epochs_for(trained) if settings.epochs is None else settings.epochs
    return dataclasses.replace(changed, epochs=epochs), settings.optimizer or base.optimizer


def start_helpers(settings: Settings) -> None:
    """Start about as many helper processes as the run will share its steps with, and do not wait for them.

    For the moment before its data is read. Raises SettingError for an unknown network, DeviceError for a device that
    cannot be used.
    """
    entry = networks.entry(settings.network)
    if Device.parse(settings.device).kind == "cpu" and helpers.possible():
        examples = entry.recipe.batch_size if settings.batch_size is None else settings.batch_size
        threads = settings.threads or default_threads()
        with contextlib.suppress(GpucnnError):  # a network of a user's own may be for the data's images only
            worth = workers_worth(networks.build(settings.network))
            helpers.team.start(useful_workers(worth, examples, threads) - 1, patience=0.0)


def new_model(settings: Settings, dataset: Dataset) -> Model:
    """The named network for this data set's images and classes."""
    entry = networks.entry(settings.network)
    classes = len(dataset.class_names)
    there = options_of(settings.network)
    if wrong := [name for name in settings.options if name not in there]:
        raise SettingError(f"network {settings.network} has no setting {wrong[0]!r}; it has {shown(there) or 'none'}")
    try:
        network = networks.build(settings.network, dataset.input_shape, classes, **settings.options)
    except TypeError as error:
        raise SettingError(
            f"network {settings.network} cannot be built with {shown(settings.options)} ({error}); "
            f"settings such as {shown(there)} were expected"
        ) from None
    return Model(
        network,
        loss=entry.loss,
        device=settings.device,
        seed=settings.seed,
        class_names=dataset.class_names,
        preprocessing=dataset.preprocessing,
        threads=settings.threads,
        name=settings.network,
        **dataclasses.asdict(settings.acceleration),
    )


def options_of(network: str) -> dict[str, Any]:
    """The arguments of a named network that --set changes, with their defaults."""
    parameters = inspect.signature(networks.entry(network).build).parameters
    return {name: each.default for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY}


def shown(options: Mapping[str, Any]) -> str:
    """The options as --set takes them, such as "filters=8,16, hidden=128"."""
    return ", ".join(
        f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}" for name, value in options.items()
    )


class Recorder:
    """Writes a line of metrics.jsonl per epoch, at once, so that a run that is cut short keeps its past.

    The folder is made, and what an earlier run left in the file goes, after the first batch: settings that are refused
    cost nothing. Raises GpucnnError where that cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._begun = path, False

    def begin(self) -> None:
        if self._begun:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("", encoding="utf-8")
        except OSError as error:
            why = error.strerror or error
            raise GpucnnError(f"{self.path.parent}: the run cannot be written there: {why}") from None
        self._begun = True

    def batch(self, epoch: int, done: int, examples: int, loss: float | None) -> None:
        self.begin()

    def epoch(self, epoch: Epoch) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(epoch)) + "\n")


def run(settings: Settings, dataset: Dataset, model: Model, path: Path, callbacks: Sequence[Any] = ()) -> History:
    """Train the model by its recipe and leave the run's files in path: also after Ctrl-C, with what was learnt."""
    chosen, rule = recipe(settings, len(dataset.train_labels))
    images, labels, held_images, held_labels = dataset.split_validation(chosen.validation, settings.seed)
    checkpoint.header(path / MODEL, model.describe())  # what cannot be saved is said before the training
    recorder = Recorder(path / METRICS)
    history = model.fit(
        images,
        labels,
        epochs=chosen.epochs,
        batch_size=chosen.batch_size,
        optimizer=rule,
        lr=chosen.lr,
        schedule=chosen.schedule,
        validation=(held_images, held_labels) if len(held_labels) else None,
        augmentation=settings.augmentation,
        seed=settings.seed,
        callbacks=(recorder, *callbacks),
        progress=False,
    )
    recorder.begin()  # of no batches too
    model.save(path / MODEL, trained_on=dataset.name, epochs=len(history.epochs))
    if history.epochs:
        from .curves import learning_curves

        learning_curves(history.epochs, path / CURVES, f"{model.name} on {dataset.name}")
    return history


def result(model: Model, dataset: Dataset, history: History, path: Path) -> dict[str, Any]:
    """What `gpucnn train --json` prints: the seconds of training, and the loss and accuracy on the test images.

    Raises TrainingError when the loss is not finite.
    """
    found = model.evaluate(dataset.test_images, dataset.test_labels)
    if not math.isfinite(found["loss"]):
        raise TrainingError(
            f"the loss of the test images is {found['loss']:g}: training diverged, and {path / MODEL} is of no use; "
            "train again with a lower learning rate (--lr)"
        )
    return {
        "network": model.name,
        "data": dataset.name,
        "device": str(model.device),
        "parameters": model.layout.size,
        "epochs": len(history.epochs),
        "interrupted": history.interrupted,
        "train_loss": history.epochs[-1].train_loss if history.epochs else None,
        "test_loss": found["loss"],
        "test_accuracy": found["accuracy"],
        "seconds": history.seconds,
        "images_per_second": history.images_per_second,
        "model": str(path / MODEL),
    }


def fitting(model: Model, dataset: Dataset) -> Dataset:
    """The part of a data set that a model can be evaluated on: its classes, by name. Raises GpucnnError."""
    names = list(dataset.class_names)
    if model.network.input_shape != dataset.input_shape:
        raise GpucnnError(
            f"{dataset.name} has images of shape {dataset.input_shape}, this model takes {model.network.input_shape}; "
            "choose other data with --data"
        )
    missing = [name for name in model.class_names if name not in names]
    if missing:
        raise GpucnnError(f"{dataset.name} has no class {missing[0]!r}; its classes are {', '.join(names)}")
    if names == list(model.class_names):
        return dataset
    return dataset.select_classes([names.index(name) for name in model.class_names])
