"""`Model.fit_batches`: training on batches that come one by one, for data that no memory holds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from .. import schedules
from ..callbacks import EarlyStopping
from ..errors import DataError, SettingError
from ..optimizers import Optimizer
from ..schedules import Schedule
from ..training import History, Plan
from ..training.source import Arrays, Stream
from . import accepted, checkpoints
from .fitting import OPTIONS, Fitting, batch_of
from .holding import alone
from .numbers import units_of
from .spelling import spelt
from .trainable import Trainable
from .types import Pair


@spelt(*OPTIONS, "seed")
@alone
def fit_batches(
    self: Trainable,
    batches: Any,
    *,
    epochs: int = 1,
    steps: int | None = None,
    optimizer: Optimizer | str = "adam",
    lr: float = 1e-3,
    schedule: str | Schedule = "constant",
    early_stopping: EarlyStopping | bool | None = None,
    keep: str | None = None,
    callbacks: Iterable[Any] = (),
    validation: Pair | None = None,
    resume: str | os.PathLike[str] | None = None,
    anyway: bool = False,
    **options: Any,
) -> History:
    """Train on batches (images, labels) or (images, labels, weights), of what `fit` takes, one at a time.

    batches: an iterable that is gone through once per epoch, such as a list or a DataLoader; or a function of the
    epoch's number, from 1, that gives one; or an iterator, such as a generator, which goes on through the epochs: the
    run ends with it, and history.stopped says so. Whole numbers are 0..255, whatever a batch holds, or as in the last
    `fit`; numbers to be predicted are standardised by the first batch of all. steps: how many batches make an epoch;
    by default all there are, so an iterator without steps is one epoch. A schedule that is not constant needs steps,
    or batches with a length. No batch may be larger than the first one. They are trained in the order in which they are
    given.

    The state of a run is saved in the folder resume as by `fit`, but only for a function, which must give the same
    batches for an epoch each time: those of an epoch that was cut are gone through again up to where it stood. An
    iterator cannot go back, and whether an iterable gives the same batches again nobody knows: they are refused.
    A loss that is not finite goes back to the last good parameters, and is not traced to its layer. All else, options
    too, is as in `fit`.
    """
    for name, instead in (("sample_weight", "give (images, labels, weights)"), ("accumulate", "give larger batches")):
        if name in options:
            raise SettingError(f"fit_batches takes no {name}; {instead}")
    if steps is not None:
        accepted.argument("steps", steps)

    def check(batch: Any) -> Arrays:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise DataError(
                f"a batch is a {type(batch).__name__}: (images, labels) or (images, labels, weights) was expected"
            )
        images, labels, weights = [*batch, None][:3]
        if stream.told is None:
            stream.told = units_of(self, labels, weights, is_part=True)
        return batch_of(self, images, labels, weights, self.meaning._replace(units=stream.told))

    stream, shape = Stream(batches, steps, check), accepted.argument("schedule", schedule)
    if shape is not schedules.constant and not stream.batches:
        raise SettingError("the schedule must know how many batches an epoch has; give steps, or leave it constant")
    if stream.is_iterator and steps is None and epochs != 1:
        raise SettingError(f"an iterator ends once, and epochs={epochs}; give steps, or a function of the epoch")
    if resume is not None and not stream.by_epoch:
        raise SettingError(
            "resume: the batches of an iterator or iterable cannot be had again; give a function of the epoch, which "
            "makes the same ones each time"
        )
    callbacks = [*accepted.argument("callbacks", callbacks), *accepted.keeping(early_stopping, keep)]
    plan = Plan(epochs, 1, lr, shape)  # of the first batch's size, when that is known

    def make() -> Fitting:
        return Fitting(self, stream, None, plan, optimizer, validation, callbacks=callbacks, **options)

    return checkpoints.run(self, make, resume, anyway=anyway)
