"""A training run on disk: its folder, a line of metrics per epoch, the model, and the learning curve."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import networks
from ..callbacks import EarlyStopping, KeepBest
from ..data import Dataset
from ..data.catalogue import resolve
from ..data.classes import as_numbers
from ..device import Device
from ..engine.acceleration import Acceleration
from ..engine.sharded_step import useful_workers, workers_worth
from ..errors import GpucnnError, Interrupted, SettingError, ShapeError, listed
from ..losses import REGRESSION, kind
from ..network import Network
from ..networks import Recipe
from ..optimizers import Optimizer, optimizer
from ..training import History
from ..training.curves import Steps
from ..training.signals import held
from ..workers import default_threads, helpers
from . import Model, checkpoint, rescue, thresholds
from .checkpoints import Found
from .folder import CURVES, METRICS, MODEL
from .metrics_file import Recorder, without
from .objective import asked, objective
from .update_settings import UpdateSettings

UNCHANGED = "none"  # the word for no augmentation


@dataclass(frozen=True)
class Settings:
    """What a user may set of a run. None means what the network's recipe says; schedule is a schedule's name.

    augmentation: as `Augmentation.parse` reads it; "" leaves images as they are, where the recipe changes them.
    """

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
    augmentation: str | None = None
    patience: int | None = None
    keep: str | None = None
    watch: str | None = None
    freeze: str | None = None
    init: str | None = None
    init_except: str | None = None
    loss: str | None = None
    label_smoothing: float | None = None
    class_weights: str | None = None
    threshold: str | None = None
    standardize: bool = True
    update: UpdateSettings = UpdateSettings()

    @property
    def frozen(self) -> list[str]:
        """The patterns of freeze."""
        return [] if self.freeze is None else [each.strip() for each in self.freeze.split(",")]

    @property
    def excepted(self) -> list[str]:
        """The patterns of init_except."""
        return [] if self.init_except is None else [each.strip() for each in self.init_except.split(",")]

    def keeping(self) -> list[KeepBest]:
        """The callbacks that patience, keep and watch ask for. Raises SettingError where nothing is watched."""
        watch = "loss" if self.watch is None else self.watch
        if self.patience is not None:
            return [EarlyStopping(self.patience, watch=watch, keep=self.keep or "best")]
        if self.keep == "best":
            return [KeepBest(watch=watch)]
        if self.watch is not None:
            raise SettingError(f"--watch {watch}: say what it is for, too: --patience N or --keep best")
        return []


def recipe(settings: Settings, examples: int, *, holds_out: bool = True) -> tuple[Recipe, Optimizer]:
    """The recipe for a data set of that many training images, changed by the settings; and the optimizer to train with.

    holds_out: whether what is held out is a part of these. Another optimizer than the recipe's comes with its own usual
    learning rate.
    """
    base = networks.entry(settings.network).recipe
    rule = settings.update.around(base.optimizer if settings.optimizer is None else optimizer(settings.optimizer))
    given = {name: getattr(settings, name) for name in ("lr", "schedule", "batch_size", "validation", "augmentation")}
    if given["lr"] is None and settings.optimizer is not None:
        given["lr"] = getattr(rule, "usual_lr", Optimizer.usual_lr)
    chosen = dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})
    trained = max(1, examples - round(chosen.validation * examples) * holds_out)
    of_update = dataclasses.replace(chosen, batch_size=chosen.batch_size * settings.update.batches)
    epochs = of_update.epochs_for(trained) if settings.epochs is None else settings.epochs
    return dataclasses.replace(chosen, epochs=epochs), rule


def recipe_for(settings: Settings, dataset: Dataset) -> tuple[Recipe, Optimizer]:
    """`recipe` for a data set, which may have a validation part of its own beside its training images."""
    return recipe(settings, len(dataset.train_labels), holds_out=dataset.validation is None)


def reading(settings: Settings) -> contextlib.AbstractContextManager[None]:
    """While the run's data are read: by a loss of numbers, whole ones too are no classes. SettingError."""
    return as_numbers(kind(asked(networks.entry(settings.network).loss, settings.loss, None, None)) == REGRESSION)


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


def check_options(settings: Settings) -> dict[str, Any]:
    """What may be set of the network, with its defaults. Raises SettingError for a setting that it does not have."""
    networks.check_settings(settings.network, settings.options)
    return networks.settings_of(settings.network)


def network_of(settings: Settings, input_shape: tuple[int, ...] | None = None, classes: int | None = None) -> Network:
    """The named network, with what --set says of it, for such images and so many classes; by default its usual ones.

    Raises SettingError for a setting that it does not have, and for values that are none of its.
    """
    there = check_options(settings)
    try:
        return networks.build(settings.network, input_shape, classes, **settings.options)
    except ShapeError as error:
        if input_shape is None:
            raise
        remedy = "" if settings.network in networks.NETWORKS else "; take another network (`gpucnn networks`)"
        if settings.options and _is_built(settings.network, input_shape, classes):
            usual = {name: there[name] for name in settings.options}
            remedy = f"; set {listed([*usual])} otherwise: without --set it is {networks.shown(usual)}"
        size = "x".join(map(str, input_shape[:2]))
        raise ShapeError(f"{settings.network} on images of {size}: {error}{remedy}") from None
    except GpucnnError:
        raise
    except (TypeError, ValueError) as error:
        unlike = {name: value for name, value in settings.options.items() if type(value) is not type(there[name])}
        found = "" if unlike else f" ({error})"  # Python's words, where no value is of another kind than the default
        raise SettingError(
            f"network {settings.network} cannot be built with {networks.shown(unlike or settings.options)}{found}; "
            f"values such as {networks.shown({name: there[name] for name in unlike} or there)} were expected"
        ) from None


def _is_built(name: str, input_shape: tuple[int, ...], classes: int | None) -> bool:
    """Whether the network can be built as it is usually set."""
    try:
        networks.build(name, input_shape, classes)
    except GpucnnError:
        return False
    return True


def new_model(settings: Settings, dataset: Dataset, *, goes_on: bool = False) -> Model:
    """The named network for this data set's images and classes. goes_on: from a state, which has the ways that were
    chosen for convolutions, whatever has become of the file that they are from."""
    entry, how = networks.entry(settings.network), settings.acceleration
    if goes_on:
        how = dataclasses.replace(how, tune=bool(how.tune))
    return Model(
        network_of(settings, dataset.input_shape, len(dataset.class_names)),
        loss=objective(entry.loss, settings.loss, settings.label_smoothing, settings.class_weights, dataset),
        device=settings.device,
        seed=settings.seed,
        class_names=dataset.class_names,
        preprocessing=dataset.preprocessing,
        standardize=settings.standardize,
        threads=settings.threads,
        name=settings.network,
        **dataclasses.asdict(how),
    )


def run(
    settings: Settings,
    dataset: Dataset,
    model: Model,
    path: Path,
    callbacks: Sequence[Any] = (),
    *,
    found: Found | None = None,
    anyway: bool = False,
) -> History:
    """Train the model by its recipe and leave the run's files in path: also after Ctrl-C, with what was learnt.

    Where path holds the state of this run, cut off, it goes on from there; anyway: where it is another run's, too.
    found: what path holds, where that was read already.
    """
    chosen, rule = recipe_for(settings, dataset)
    images, labels, held_images, held_labels = dataset.split_validation(chosen.validation, settings.seed)
    chooses = thresholds.asked(settings.threshold, model, held_labels)
    checkpoint.header(path / MODEL, model.describe())  # what cannot be saved is said before the training
    with held() as stop:  # until all is saved
        recorder, steps = Recorder(path / METRICS), Steps()
        history = model.fit(
            images,
            labels,
            epochs=chosen.epochs,
            batch_size=chosen.batch_size,
            optimizer=rule,
            lr=chosen.lr,
            schedule=chosen.schedule,
            validation=(held_images, held_labels) if len(held_labels) else None,
            augmentation=chosen.augmentation or None,
            accumulate=settings.update.batches,
            freeze=settings.frozen,
            seed=settings.seed,
            callbacks=(recorder, steps, *callbacks, *settings.keeping()),
            progress=False,
            resume=path if found is None else found,
            anyway=anyway,
        )
        kept = {} if history.kept is None else {"kept_epoch": history.kept}
        try:
            if chooses and history.epochs:
                thresholds.choose(model, held_images, held_labels)
        finally:
            rescue.save(model, path, trained_on=dataset.name, epochs=len(history.epochs), **kept)
        recorder.finish(history)
        if history.epochs:
            from ..training.curves import learning_curves

            with without(f"{path / CURVES}: the picture cannot be written"):
                learning_curves(history.epochs, path / CURVES, f"{model.name} on {dataset.name}", steps)
        if not history.interrupted:
            try:
                stop()
            except Interrupted as late:  # the run was over by then, and is complete
                history.signal = late.signal
    return history


def configuration(settings: Settings, model: Model, dataset: Dataset, of_data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with which `gpucnn train --config` repeats the run, what the recipe says among them.

    of_data: the options by which the data set was loaded.
    """
    chosen, _ = recipe_for(settings, dataset)
    how, plain = settings.acceleration, networks.entry(settings.network).recipe.augmentation == ""
    is_named = resolve(str(of_data.get("data", dataset.name))) is not None
    return {
        "network": settings.network,
        **of_data,
        "device": str(model.device),
        "epochs": chosen.epochs,
        "batch_size": chosen.batch_size,
        "optimizer": settings.optimizer,
        **settings.update.configured(),
        "lr": float(chosen.lr),
        "schedule": chosen.schedule,
        "loss": settings.loss,
        "label_smoothing": settings.label_smoothing,
        "class_weights": settings.class_weights,
        "threshold": settings.threshold,
        "no_standardize": (kind(model.loss) == REGRESSION and not settings.standardize) or None,
        "validation": float(chosen.validation),
        "augment": chosen.augmentation or (None if is_named and plain else UNCHANGED),
        "threads": model.threads if model.device.kind == "cpu" else None,
        "seed": settings.seed,
        "patience": settings.patience,
        "keep": settings.keep,
        "watch": settings.watch,
        "freeze": settings.freeze,
        "init": settings.init,
        "init_except": settings.init_except,
        **dataclasses.asdict(how),
        "tune": how.tune is True or None,
        "tuning": os.path.abspath(how.tune) if isinstance(how.tune, str) else None,
        "set": {name: "none" if value is None else value for name, value in settings.options.items()},
    }
