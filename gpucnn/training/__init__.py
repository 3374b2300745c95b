"""Training: epochs of shuffled batches, the schedule, what is measured, and how a run ends."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from ..device import Device
from ..errors import Interrupted, TrainingError
from .callback_list import CallbackList
from .history import Epoch, History
from .recovery import LastGood
from .run import DIVERGED, NotFinite, Run
from .signals import held
from .source import Source
from .types import Callback, Keeper, Plan, Position, Step, Stop

__all__ = [
    "DIVERGED",
    "Callback",
    "Epoch",
    "History",
    "Keeper",
    "Plan",
    "Position",
    "Step",
    "Stop",
    "train",
]

Array = Any
BEGINNING = Position()
Evaluate = Callable[[], tuple[float, float | None]]
Explain = Callable[[Array, int], str]


def train(
    step: Step,
    source: Source,
    *,
    plan: Plan,
    device: Device,
    evaluate: Evaluate | None = None,
    callbacks: Sequence[Callback] = (),
    start: Position = BEGINNING,
    history: History | None = None,
    keeper: Keeper | None = None,
    explain: Explain | None = None,
    shown: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[History, Position]:
    """Run the plan on the batches of source.

    start, history: where an earlier run stood, whose vectors the step holds, and its epochs so far. keeper: saves where
    this one stands, when it is due, at the end, and when a signal or an error ends it between two updates.
    explain: what is not finite in an update that is to come, from the indices of its examples and its number.
    shown: around what looks at the model when an epoch, or the run, has ended: theta may be another one there.

    A callback ends the run by Stop. So does Ctrl-C, or SIGTERM to the command, after the step it is in, a second one at
    once; history.signal tells of one that came when all was trained, too. Raises TrainingError when the loss, or a
    parameter or the validation loss at the end of an epoch, is not finite; theta is that of an earlier step then, when
    all was.
    """
    history, called = History() if history is None else history, CallbackList(callbacks)
    run = Run(step, source, plan, device, called)
    run.go_to(start)
    history.examples = source.examples
    good = LastGood(run)

    def between() -> None:
        stop()
        good.keep()
        if keeper is None or step.steps == start.steps:  # the state that it began with
            return
        if keeper.is_due(epoch_ended=run.done == 0 and run.number > start.epoch):
            _save(keeper, run, history)

    with held() as stop:
        try:
            try:
                while run.number <= plan.epochs and not history.stopped:
                    why = run.epoch(between)
                    if run.done and run.is_over:
                        history.examples = run.seen
                        called.keep(run.standing)
                        with shown():
                            history.epochs.append(_ended(run, evaluate))
                            why = called.epoch(history.epochs[-1]) or why
                        run.begin(run.number + 1)
                        called.keep(run.standing)
                    history.stopped = why
                    if run.number <= plan.epochs and not why:
                        stop()
            except KeyboardInterrupt as error:
                history.interrupted, history.signal = True, getattr(error, "signal", signal.SIGINT)
                if not run.is_between:
                    good.restore()
            end = run.position
        except NotFinite as error:
            try:
                cause, updated = good.culprit(explain or (lambda batch, number: ""))
            except (Exception, KeyboardInterrupt):  # while updates are computed again
                good.restore()
                cause, updated = "", True
            with suppress(NotFinite):  # initial parameters that are not
                _save(keeper, run, history)
            raise _diverged(str(error), cause, plan.lr, updated=updated) from None
        except BaseException:  # of callbacks and layers of a user's own
            if run.is_between:
                with suppress(NotFinite):
                    _save(keeper, run, history)
            raise
        _save(keeper, run, history)
        with shown():
            for callback in callbacks:
                callback.end(history)
        if not history.interrupted:
            try:
                stop()
            except Interrupted as late:  # all is trained
                history.signal = late.signal
        return history, end


def _ended(run: Run, evaluate: Evaluate | None) -> Epoch:
    """What the epoch showed. Raises NotFinite."""
    seconds = run.seconds
    loss, accuracy = evaluate() if evaluate else (None, None)
    if loss is not None and not math.isfinite(loss):
        raise NotFinite(f"epoch {run.number}: the validation loss is {loss:g}")
    return Epoch(run.number, run.total / run.seen, loss, accuracy, run.lr, seconds, run.callbacks.measured())


def _save(keeper: Keeper | None, run: Run, history: History) -> None:
    """The epochs of history that are behind where the run stands stay in it."""
    position = run.position
    history.epochs = [epoch for epoch in history.epochs if epoch.epoch < position.epoch]
    if keeper is not None:
        keeper.save(position, history, run.callbacks.states(position))


def _diverged(what: str, cause: str, lr: float, *, updated: bool) -> TrainingError:
    """updated: whether theta had moved before."""
    advice = f"a lower learning rate than {lr:g}, such as {lr / 10:g} (lr), usually mends it"
    if not updated:
        advice = (
            "no update came before it, so look at the images, the weights of classes and examples, the initial "
            "parameters, and layers or a loss of your own"
        )
    return TrainingError(f"{what}{cause}, so training stopped; {advice}")
