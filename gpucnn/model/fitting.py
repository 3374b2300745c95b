"""One call of `Model.fit` or `Model.partial_fit`: its arguments looked at, its step, and where it goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np

from ..callbacks import KeepBest
from ..data.fingerprints import digest
from ..engine import memory, tuning
from ..engine.forecast import Forecast
from ..engine.notfinite import first_not_finite
from ..engine.streamed import fed, placed, resident
from ..errors import SettingError, warn
from ..kernels import REFERENCE, Context
from ..layers.initializers import generator
from ..losses import CLASSIFICATION, REGRESSION, kind
from ..network import describe
from ..optimizers import Around, described
from ..optimizers.base import chain
from ..schedules import named
from ..training import History, Keeper, Plan, Position, train
from ..training.augmentation import Augmentation
from ..training.progress import shown
from ..training.source import Shuffled, Source, Stream
from . import accepted, thresholds
from .averaging import averaged, exchange
from .examples import check_counting, check_learning, fitting_weights, learning
from .inputs import one_update
from .labels import Meaning, unused
from .numbers import of_stream, standardizes, units_of
from .short_runs import warn_of_short_run
from .tensors import OPTIMIZER, Trained
from .trainable import Trainable

Array = Any

OPTIONS = ("sample_weight", "augmentation", "accumulate", "freeze", "callbacks", "progress")  # which all calls take


class Fitting:
    """The arguments, and the step that they make. Raises what `Model.fit` raises for them."""

    def __init__(
        self,
        model: Trainable,
        images: Any,
        labels: Any,
        plan: Plan,
        optimizer: Any,
        validation: Any,
        *,
        sample_weight: Any = None,
        augmentation: Augmentation | str | None = None,
        accumulate: int = 1,
        freeze: str | Iterable[str] = (),
        seed: int = 0,
        callbacks: Iterable[Any] = (),
        progress: bool | None = None,
        meaning: Meaning | None = None,
    ) -> None:
        if not model.layout.size:
            raise SettingError("the network has no parameters, so there is nothing to train; add a layer such as Dense")
        if validation is not None and (not isinstance(validation, (tuple, list)) or len(validation) != 2):
            raise SettingError("validation: a pair (images, labels) was expected, such as the last tenth of the images")
        self.at_once, self.accumulate = plan.batch_size, accepted.argument("accumulate", accumulate)
        self.model, self.plan = model, replace(plan, batch_size=plan.batch_size * accumulate)
        self.progress = accepted.argument("progress", progress)
        self.callbacks, self.stream = accepted.callbacks(callbacks), images if isinstance(images, Stream) else None
        self.states: list[dict[str, Any]] = []  # of the callbacks that have one, where the run goes on
        self.known: tuple[Any, ...] = ()  # callbacks that were told of the epochs before
        is_first = meaning is None and model.trained is None and model.kept is None
        if meaning is None:  # a batch of many does not decide it
            is_later = standardizes(model) or model.units is not None  # which the first batch tells
            of_all = model.meaning._replace(units=None, is_wide=is_later)
            meaning = of_all if self.stream is not None else learning(model, images, labels, sample_weight)
        else:  # as before, which what is learnt now may be far from
            units_of(model, labels, sample_weight, is_part=True)
        self.meaning = meaning
        self.data: Any = None
        if self.stream is None:
            self.data = batch_of(model, images, labels, sample_weight, meaning, are_all=True)
            check_counting(model.loss, *self.data[1:])
            check_learning(model.loss, *self.data[1:])
            notes = [one_update(len(self.data[0]), self.plan.batch_size)]
            if is_first and kind(model.loss) == CLASSIFICATION and self.data[1].ndim == 1:
                notes.append(unused(self.data[1], meaning.names, getattr(model.loss, "ignore_index", None)))
            for said in filter(None, notes):
                warn(said)
        self.held = None if validation is None else model.examples(validation[0], validation[1], "validation", meaning)
        for each in self.callbacks:
            if isinstance(each.given, KeepBest):
                each.given.check(held_out=self.held is not None, has_accuracy=kind(model.loss) != REGRESSION)
        self.optimizer = accepted.argument("optimizer", optimizer)
        self.augmentation = None if augmentation is None else accepted.argument("augmentation", augmentation)
        self.seed = int(accepted.argument("seed", seed))
        _, self._order, changes, draws = np.random.SeedSequence(self.seed).spawn(4)
        self.key = int(draws.generate_state(1)[0])
        if self.augmentation is not None:
            together = None if self.stream is not None else min(self.at_once, len(images))
            accepted.check_augmentation(self.augmentation, model.network.input_shape, model.loss, together)
            sizes = (len(images), int(self.plan.batch_size)) if self.stream is None else (self.stream.batches, 1)
            if self.augmentation.flip == "alternate" and not sizes[0]:
                raise SettingError("flip=alternate must know how many batches an epoch has; give steps")
            self.augmentation = self.augmentation.of_run(int(changes.generate_state(1)[0]), *sizes)
        self.freeze = accepted.freezing(model, freeze)
        self.step = model.execution.step(
            model.loss,
            self.optimizer,
            scaling=model.scaling,
            augmentation=self.augmentation,
            key=self.key,
            at_once=self.at_once if self.accumulate > 1 else None,
            freeze=self.freeze,
        )

    def about(self) -> dict[str, Any]:
        """What decides the bits of the run, by the words for it."""
        plan, execution = self.plan, self.model.execution
        held = None if self.held is None else digest(*self.held)
        return {
            "network": repr(self.model.network),
            "loss": describe(self.model.loss),
            "data": "batches of a function" if self.data is None else digest(*self.data),
            "validation data": held,
            "optimizer": described(self.optimizer),
            "lr": float(plan.lr),
            "schedule": named(plan.schedule),
            "batch size": int(plan.batch_size),
            "accumulate": int(self.accumulate) if self.accumulate > 1 else None,
            "epochs": int(plan.epochs),
            "augmentation": None if self.augmentation is None else describe(self.augmentation),
            "seed": self.seed,
            "dtype": str(self.model.theta.dtype),
            "scaling": [*self.model.scaling.described().values()],
            "kernels": execution.context.kernels.name,
            "precision": execution.acceleration.precision,
            "convolutions": tuning.about(execution),
            "threads": self.model.threads,
            "steps": None if self.stream is None else self.stream.steps,
            "freeze": [*self.freeze] or None,
            "callbacks": [_named(each.given) for each in self._stateful] or None,
        }

    @property
    def _stateful(self) -> list[Any]:
        return [each for each in self.callbacks if each.state is not None]

    def go_on(self, before: Trained | None, *, anyway: bool = False) -> Position:
        """Give the step the optimiser's vectors of earlier training, whose last position this is.

        Wrappers begin anew from parameters that were set since. Raises SettingError for another optimiser's vectors,
        with anyway only where they have other names or sizes.
        """
        if before is None:
            return Position()
        own, self.known = self.vectors, before.callbacks
        is_like = anyway or _classes(before.optimizer) == _classes(described(self.optimizer))
        shapes = [{name: each.shape for name, each in some.items()} for some in (own, before.vectors)]
        if not is_like or shapes[0] != shapes[1]:
            raise SettingError(
                f"training so far was by {before.optimizer}, whose state {described(self.optimizer)} cannot take over; "
                "go on with that optimiser, or begin anew with fit"
            )
        with self.model.device.activate():
            for name, vector in before.vectors.items():
                own[name][...] = self.model.device.put(vector) if isinstance(vector, np.ndarray) else vector
            if before.left is not None and before.left != self._left:
                for wrapper in chain(self.optimizer)[0]:
                    for name, vector in wrapper.added(self.step.theta).items():
                        own[OPTIMIZER + name][...] = vector
            elif before.is_averaged:
                exchange(self.step)
        return before.position

    @property
    def _left(self) -> str | None:
        """What tells whether theta is set from now on, of which only wrappers keep something."""
        model = self.model
        return digest(model.device.fetch(model.theta)) if isinstance(self.optimizer, Around) else None

    @property
    def vectors(self) -> dict[str, Array]:
        """The optimiser's, of the step."""
        return {name: each for name, each in self.step.vectors.items() if name.startswith(OPTIMIZER)}

    def trained(self, position: Position, *, is_partial: bool = False, is_averaged: bool = False) -> Trained:
        """What is left of it there."""
        return Trained(position, self.vectors, self.seed, described(self.optimizer), is_partial, is_averaged)

    def train(
        self, start: Position, history: History, keeper: Keeper | None = None, *, is_partial: bool = False
    ) -> History:
        """Run the plan from there, and leave in the model where it stands at the end."""
        model = self.model
        if self.stream is not None:
            self.stream.begin(start.epoch)
            self.plan = replace(self.plan, batch_size=len(self.stream.first.indices))
            self.meaning, self.held = of_stream(model, self.meaning, self.held, self.stream.told)
        on_device = model.device, model.network, self.plan.batch_size
        kept = sum(isinstance(each.given, KeepBest) for each in self.callbacks)
        pixels = np.uint8 if self.data is None else self.data[0].dtype
        evaluated = 0 if self.held is None else len(self.held[0])
        arguments = model.execution, model.network, model.loss, self.optimizer, evaluated
        together = int(self.plan.batch_size if self.data is None else min(self.at_once, len(self.data[0])))
        more: dict[str, Any] = {"kept": kept, "saves": keeper is not None, "pixels": pixels}
        Forecast(*arguments, augmentation=self.augmentation, **more).check(together)
        with model.execution.active():
            step, source = self._placed()
            if isinstance(source, Shuffled) and not is_partial:
                warn_of_short_run(self.optimizer, self.plan.schedule, int(self.plan.epochs) * source.batches)
            held = None if self.held is None else resident(self.held, *on_device) or self.held
            enough = memory.of_training(*on_device)
            # What an earlier call left is of no use where this one ends with an error.
            model.trained, model.kept = None, None
            model.white, model.class_names, model.first_label, model.units = self.meaning[:4]
            there = shown(self.progress, self.plan.epochs, start.epoch - 1 if is_partial else 0)
            with enough, there as reporters, accepted.best_kept(self.callbacks):
                if model.execution.acceleration.tune:
                    tuning.tune(model.execution, model.scaling, together)
                self._begin()
                if not is_partial and start.epoch <= self.plan.epochs:
                    thresholds.drop(model)
                history, end = train(
                    step,
                    source,
                    plan=self.plan,
                    device=model.device,
                    evaluate=None if held is None else lambda: model.loss_and_accuracy(*held),
                    callbacks=[*accepted.callbacks(reporters), *self.callbacks],
                    start=start,
                    history=history,
                    keeper=keeper,
                    explain=lambda batch, number: self._not_finite(source, batch, number),
                    shown=lambda: averaged(self.step),
                )
            is_averaged = exchange(self.step)
        is_last = history.kept is None or (history.kept + 1, 0) == (end.epoch, end.batches)
        if is_last:  # else the optimiser's vectors belong to other parameters
            found = self.trained(end, is_partial=is_partial, is_averaged=is_averaged)
            known = tuple(each.given for each in self._stateful if type(each.given) is not KeepBest)
            model.trained = replace(found, left=self._left, callbacks=known)
        else:
            model.kept = history.kept
        return history

    def _placed(self) -> tuple[Any, Source]:
        """The step, and where it takes its batches from."""
        model, size = self.model, int(self.plan.batch_size)
        if self.stream is not None:
            return fed(self.step, self.stream.first[:3], model.device), self.stream
        step, there = placed(self.step, self.data, model.device, model.network, size)
        return step, Shuffled(tuple(there), size, model.device, generator(self._order))

    def _begin(self) -> None:
        """Tell the callbacks that the run begins, and give them their states where it goes on."""
        for callback in self.callbacks:
            is_known = callback.state is not None and any(callback.given is each for each in self.known)
            state = callback.state() if is_known else None
            callback.begin(self.model, int(self.plan.epochs))
            if state is not None:
                callback.load_state(state)
        for callback, state in zip(self._stateful, self.states):
            callback.load_state(state)

    def _not_finite(self, source: Any, batch: Array, number: int) -> str:
        """What the update `number` by those examples makes first that is not finite."""
        model, put = self.model, self.model.device.put
        images, targets, weights = (None if each is None else put(each[batch, ...]) for each in source.data)
        context = Context(REFERENCE, update=number, key=self.key, examples=put(batch))
        context = replace(context, state=model.state_layout.unpack(model.execution.state))
        x = model.scaling(images, model.theta.dtype, REFERENCE)
        params = model.layout.unpack(model.theta)
        return first_not_finite(model.network, model.loss, params, x, targets, context, weights)


def _named(callback: Any) -> str:
    return describe(callback) if is_dataclass(callback) else type(callback).__name__


def _classes(optimizer: str) -> list[str]:
    """The classes in an optimiser's description, those of wrappers and of what is inside."""
    return re.findall(r"\b[A-Z]\w*(?=\()", optimizer)


def batch_of(
    model: Trainable,
    images: Any,
    labels: Any,
    weights: Any = None,
    meaning: Meaning | None = None,
    are_all: bool = False,
) -> tuple[Array, Array, Array | None]:
    """Examples as a step takes them. meaning, are_all: see `Predicting.batch`. Raises DataError."""
    images, labels = model.batch(images, labels, meaning=meaning, are_all=are_all)
    return images, labels, None if weights is None else fitting_weights(weights, len(images), model.theta.dtype)
