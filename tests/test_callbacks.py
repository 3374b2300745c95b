"""Callbacks: what they are told, how they end a run, what is kept, and that a run that is cut off goes on with them."""

from __future__ import annotations

import csv
import functools
import json
import math
import os
import signal
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

import gpucnn
from gpucnn import Model, Network
from gpucnn.callbacks import Callback, CSVLog, EarlyStopping, KeepBest, Metric, Stop, TensorBoard
from gpucnn.errors import SettingError, TrainingError
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.model import accepted, checkpoint, checkpoints
from gpucnn.optimizers import EMA, Adam
from gpucnn.training import Epoch, History, pace
from tests.layers_of_ones_own import Normalised
from tests.test_resume import Cut, CutAt, told

NETWORK = Network((8, 8, 1), (Conv2D(2, 3), ReLU(), Normalised(), MaxPool2D(2), Flatten(), Dense(3)))
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8), RNG.integers(0, 3, 30)
HELD = RNG.integers(0, 256, (9, 8, 8, 1), dtype=np.uint8), RNG.integers(0, 3, 9)
VALUES = (4, 2, 3, 1, 5, 2, 0, 7, 7, 7)
OPTIONS = {"epochs": 12, "batch_size": 7, "lr": 0.02, "validation": HELD}


@pytest.fixture(autouse=True)
def every_step_is_saved(monkeypatch):
    monkeypatch.setattr(pace.Pace, "RATIO", 0.0)
    monkeypatch.setattr(checkpoints, "LEAST", 0.0)


def model(network=NETWORK, **options):
    return Model(network, **{"device": "cpu", "threads": 1, **options})


class Derived(Callback):
    """Derives from the protocol, and writes two methods of it."""

    def begin(self, model, epochs):
        self.epochs = []

    def epoch(self, epoch):
        self.epochs.append(epoch.epoch)


def test_what_derives_from_the_protocol_may_leave_methods_out():
    counted = Derived()
    model().fit(IMAGES, LABELS, callbacks=[counted], **OPTIONS)
    assert counted.epochs == [*range(1, 13)]
    ready, bare = accepted.callbacks([counted, SimpleNamespace(epoch=counted.epoch)])
    for name in ("batch", "measure", "end", "state", "load_state"):  # so that nothing is fetched for it, or saved
        assert getattr(ready, name) is getattr(bare, name), name


class Given(Derived):
    """Has a method of its own beside those of its class."""

    def __init__(self):
        self.lasts = []
        self.end = lambda history: self.lasts.append(len(history.epochs))


class Only(Callback):
    """Its object has the method that its class leaves out."""

    def __init__(self):
        self.epochs = []
        self.epoch = lambda epoch: self.epochs.append(epoch.epoch)


def test_numpys_truth_values_are_taken_as_pythons():
    true, false = np.array([True, False])
    history = model(graph=false, tune=false).fit(IMAGES, LABELS, early_stopping=true, progress=false, **OPTIONS)
    assert history.kept
    with pytest.raises(SettingError, match="seed=True: a whole number"):
        model(seed=true)


def test_methods_of_an_object_count_as_those_of_its_class():
    given, only = Given(), Only()
    model().fit(IMAGES, LABELS, callbacks=[given, only], **OPTIONS)
    assert (given.epochs, only.epochs, given.lasts) == ([*range(1, 13)], [*range(1, 13)], [12])


def test_what_derives_from_the_protocol_and_does_nothing_is_refused():
    class Nothing(Callback):
        pass

    with pytest.raises(SettingError, match="callback"):
        model().fit(IMAGES, LABELS, callbacks=[Nothing()], **OPTIONS)


class Losses:
    """Sets what is watched, epoch by epoch: a metric of that name."""

    def __init__(self, *values, name="watched"):
        self.values, self.name = list(values), name

    def begin(self, model, epochs):
        self.left = iter(self.values)

    def measure(self):
        return {self.name: next(self.left)}


def interrupt():
    raise KeyboardInterrupt


class Thetas:
    """Theta and the running state after each epoch."""

    def begin(self, model, epochs):
        self.model, self.found = model, []

    def epoch(self, epoch):
        self.found.append((self.model.theta.copy(), self.model.execution.state.copy()))


def assert_has(made, vectors):
    np.testing.assert_array_equal(made.theta, vectors[0])
    np.testing.assert_array_equal(made.execution.state, vectors[1])


def test_callbacks_are_told_in_order():
    seen = []

    class All:
        def begin(self, model, epochs):
            seen.append(("begin", type(model).__name__, epochs))

        def batch(self, epoch, done, examples, loss):
            seen.append(("batch", epoch, done, examples))

        def measure(self):
            seen.append("measure")
            return {"seven": 7}

        def epoch(self, epoch):
            seen.append(("epoch", epoch.epoch, epoch.metrics))

        def end(self, history):
            seen.append(("end", len(history.epochs)))

    history = model().fit(IMAGES, LABELS, epochs=1, batch_size=16, callbacks=[All(), seen.append])
    assert seen == [
        ("begin", "Model", 1),
        ("batch", 1, 16, 30),
        ("batch", 1, 30, 30),
        "measure",
        ("epoch", 1, {"seven": 7.0}),
        history.epochs[0],
        ("end", 1),
    ]


def test_a_callback_without_one_half_of_its_state_is_refused():
    class Half:
        def state(self):
            return {}

    with pytest.raises(SettingError, match="callback Half has no method load_state"):
        model().fit(IMAGES, LABELS, callbacks=[Half()])


def test_a_measure_that_is_no_number_is_refused():
    with pytest.raises(SettingError, match="measure gives 'x' for 'watched'; a number was expected"):
        model().fit(IMAGES, LABELS, epochs=1, callbacks=[Losses("x")])
    with pytest.raises(SettingError, match=r"^measure gives array\(.{1,75} for 'watched'; a number was expected$"):
        model().fit(IMAGES, LABELS, epochs=1, callbacks=[Losses(np.ones((40, 40)))])


@pytest.mark.parametrize("given", [None, 0.5, [("a", 1.0)], {3: 1.0}])
@pytest.mark.parametrize("method", ["measure", "state"])
def test_what_a_callback_gives_is_by_name(given, method):
    class Mine:
        def load_state(self, state):
            raise AssertionError

        def state(self):
            return {}

    setattr(Mine, method, lambda self: given)
    getattr(Mine, method).__qualname__ = f"Mine.{method}"
    with pytest.raises(SettingError) as caught:
        model().fit(IMAGES, LABELS, epochs=1, callbacks=[Mine()])
    says = f"Mine.{method} gives {given!r}; a dict by names was expected, {{}} where there is nothing to tell"
    assert str(caught.value) == says


@pytest.mark.parametrize("name", ["validation_loss", "epoch", "metrics", "lr", "accuracy", "loss"])
def test_a_measure_has_a_name_of_its_own(name):
    with pytest.raises(SettingError, match=f"measure gives '{name}', which every epoch has already"):
        model().fit(IMAGES, LABELS, epochs=1, callbacks=[Losses(1.0, name=name)])


@pytest.mark.parametrize("patience", [True, 0, 1.5])
def test_patience_is_a_number_of_epochs(patience):
    with pytest.raises(SettingError, match=f"patience={patience}: a (whole number of at least 1|number) was expected"):
        EarlyStopping(patience)


@pytest.mark.parametrize("kind", [KeepBest, functools.partial(EarlyStopping, 2)])
@pytest.mark.parametrize("watch", [3, ["loss"], None])
def test_what_is_watched_is_a_name(kind, watch):
    with pytest.raises(SettingError, match=r"watch=.*: the name of a number was expected"):
        model().fit(IMAGES, LABELS, epochs=1, callbacks=[kind(watch=watch)])


def test_two_measures_have_two_names():
    with pytest.raises(SettingError, match="two callbacks measure 'mae'; give one of them another name"):
        model().fit(IMAGES, LABELS, epochs=1, callbacks=[Losses(1.0, name="mae"), Losses(2.0, name="mae")])


@pytest.mark.parametrize("kept", [KeepBest(watch="accuracy"), EarlyStopping(watch="validation_accuracy")])
def test_accuracy_of_numbers_is_not_watched(kept):
    made, targets = model(loss="mse"), RNG.random((30, 3))
    before = made.theta.copy()
    with pytest.raises(
        SettingError, match=r"watches '.*accuracy', which a loss of numbers has none of; watch the loss"
    ):
        made.fit(IMAGES, targets, validation=(IMAGES, targets), callbacks=[kept])
    np.testing.assert_array_equal(made.theta, before)
    with pytest.raises(SettingError, match="they tell loss, train_loss, validation_loss, lr"):
        made.fit(IMAGES, targets, validation=(IMAGES, targets), callbacks=[KeepBest(watch="x", larger=True)])


def test_numbers_without_an_axis_in_a_state_are_saved(tmp_path):
    class Counts:
        def begin(self, model, epochs):
            self.found = {"plain": 0}

        def epoch(self, epoch):
            self.found = {"array": np.array(epoch.epoch), "number": np.float32(0.5), "truth": np.True_}

        def state(self):
            return self.found

        def load_state(self, state):
            self.found = state

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model().fit(IMAGES, LABELS, epochs=2, resume=tmp_path, callbacks=[Counts()])
        again = Counts()
        model().fit(IMAGES, LABELS, epochs=2, resume=tmp_path, callbacks=[again])
    assert again.found == {"array": 2, "number": 0.5, "truth": True}


def test_a_function_ends_the_run_and_the_others_are_told():
    def enough(epoch):
        if epoch.epoch == 2:
            raise Stop("enough")

    seen = []
    made, other = model(), model()
    history = made.fit(IMAGES, LABELS, **OPTIONS, callbacks=[enough, seen.append])
    assert (history.stopped, history.interrupted, len(history.epochs), len(seen)) == ("enough", False, 2, 2)
    other.fit(IMAGES, LABELS, **OPTIONS | {"epochs": 2})
    assert_has(made, (other.theta, other.execution.state))
    assert made.trained.position.epoch == 3


def test_a_run_that_is_ended_inside_an_epoch_goes_on_there():
    def enough(epoch, done, examples, loss):
        if (epoch, done) == (2, 14):
            raise Stop

    made, whole = model(), model()
    history = made.fit(IMAGES, LABELS, **OPTIONS, callbacks=[SimpleNamespace(batch=enough)])
    assert (history.stopped, len(history.epochs)) == ("a callback ended the run", 1)
    made.partial_fit(IMAGES, LABELS, batch_size=7, lr=0.02, epochs=2, validation=HELD)
    whole.fit(IMAGES, LABELS, **OPTIONS | {"epochs": 3})
    assert_has(made, (whole.theta, whole.execution.state))


def test_stop_in_the_last_batch_ends_the_run_behind_the_epoch():
    def enough(epoch, done, examples, loss):
        if done == examples:
            raise Stop("here")

    history = model().fit(IMAGES, LABELS, **OPTIONS, callbacks=[SimpleNamespace(batch=enough)])
    assert (history.stopped, len(history.epochs)) == ("here", 1)


@pytest.mark.parametrize(
    ("values", "options", "epochs", "kept"),
    [
        ([3, 2, 2.5, 2.6, 1], {"patience": 2}, 4, 2),
        ([3, 2, 2.5, 1, 2, 3], {"patience": 2}, 6, 4),
        ([3, 2, 2, 2], {"patience": 2}, 4, 2),
        ([3, 2.9, 2.8, 2.7], {"patience": 3, "min_delta": 0.5}, 4, 4),
        ([3, 2.9, 2.8, 2.7], {"patience": 3}, 12, 12),
        ([1, 2, 1, 1], {"patience": 2, "larger": True}, 4, 2),
        ([math.nan, 2, math.nan, 3], {"patience": 2}, 4, 2),
        ([math.nan, math.nan], {"patience": 2}, 2, None),
        ([-math.inf, -math.inf, 5], {"patience": 2}, 3, 1),
    ],
)
def test_early_stopping_waits_and_the_best_epoch_is_kept(values, options, epochs, kept):
    stopping = EarlyStopping(watch="my error", **options)
    numbers = values + [values[-1] - k for k in range(1, 12)]
    seen, made = Thetas(), model()
    callbacks = [Losses(*numbers, name="my error"), seen]
    history = made.fit(IMAGES, LABELS, **OPTIONS, callbacks=callbacks, early_stopping=stopping)
    assert (len(history.epochs), history.kept) == (epochs, kept)
    assert_has(made, seen.found[(kept or epochs) - 1])
    if epochs < 12:
        said = "has not improved in" if kept else "was NaN in all of"
        assert history.stopped.startswith(f"my error {said} {options['patience']} epochs")


@pytest.mark.parametrize("watch", ["loss", "accuracy", "validation_loss", "validation_accuracy", "train_loss"])
def test_what_is_watched(watch):
    made, seen = model(), Thetas()
    history = made.fit(IMAGES, LABELS, **OPTIONS, callbacks=[seen, KeepBest(watch=watch)])
    name = {"loss": "validation_loss", "accuracy": "validation_accuracy"}.get(watch, watch)
    values = [getattr(epoch, name) for epoch in history.epochs]
    best = max(values) if "accuracy" in watch else min(values)
    assert history.kept == values.index(best) + 1
    assert_has(made, seen.found[history.kept - 1])


def test_keep_and_early_stopping_are_arguments_of_fit():
    runs = {keep: model() for keep in ("best", "last", None)}
    found = {keep: each.fit(IMAGES, LABELS, **OPTIONS, keep=keep) for keep, each in runs.items()}
    losses = [epoch.validation_loss for epoch in found["best"].epochs]
    assert found["best"].kept == losses.index(min(losses)) + 1 < 12
    assert found["last"].kept is found[None].kept is None
    assert runs["best"].evaluate(*HELD)["loss"] == min(losses)
    np.testing.assert_array_equal(runs["last"].theta, runs[None].theta)
    stopped = model()
    history = stopped.fit(IMAGES, LABELS, **OPTIONS, early_stopping=EarlyStopping(1, watch="loss"), keep="last")
    assert history.kept is None
    assert history.stopped == f"loss has not improved in 1 epoch; the best was epoch {len(history.epochs) - 1}"
    assert stopped.evaluate(*HELD)["loss"] == history.epochs[-1].validation_loss


def test_nothing_to_go_on_with_is_left_where_another_epoch_is_kept(tmp_path):
    made = model()
    made.fit(IMAGES, LABELS, **OPTIONS, keep="best")
    assert made.trained is None
    cut = SimpleNamespace(batch=lambda epoch, done, *_: interrupt() if (epoch, done) == (3, 7) else None)
    watched = KeepBest(watch="watched", larger=False)
    made.fit(IMAGES, LABELS, **OPTIONS, callbacks=[Losses(2, 1), watched, cut])
    assert made.trained is None
    last = model()
    last.fit(IMAGES, LABELS, **OPTIONS, callbacks=[Losses(*range(12, 0, -1)), KeepBest(watch="watched", larger=False)])
    assert last.trained.position.epoch == 13


def test_an_interrupt_leaves_the_best_epoch():
    def cut(epoch, done, *_):
        if (epoch, done) == (4, 14):
            raise KeyboardInterrupt

    made, seen = model(), Thetas()
    callbacks = [Losses(2, 1, 3), KeepBest(watch="watched", larger=False), seen, SimpleNamespace(batch=cut)]
    history = made.fit(IMAGES, LABELS, **OPTIONS, callbacks=callbacks)
    assert history.interrupted
    assert history.kept == 2
    assert_has(made, seen.found[1])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keep": "first"}, "keep='first': best or last was expected"),
        (
            {"early_stopping": 5},
            "early_stopping=5: True, or an EarlyStopping, such as Early.* was expected",
        ),
        ({"early_stopping": EarlyStopping}, r"write EarlyStopping\(\)"),
        ({"keep": "best", "validation": None}, "KeepBest watches the validation's loss, .*; give fit validation="),
        (
            {"callbacks": [KeepBest(watch="x", larger=True)]},
            "watches 'x', which the epochs do not tell; they tell loss, accuracy, train_loss",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(options, sentence):
    with pytest.raises(SettingError, match=sentence):
        model().fit(IMAGES, LABELS, **OPTIONS | options)


@pytest.mark.parametrize("options", [{"patience": 0}, {"patience": "5"}, {"min_delta": -1}, {"keep": "x"}])
def test_early_stopping_that_makes_no_sense(options):
    with pytest.raises(SettingError, match=f"EarlyStopping: {next(iter(options))}=.* was expected"):
        EarlyStopping(**options)


def test_an_object_may_serve_several_runs():
    stopping = EarlyStopping(2)
    found = [model().fit(IMAGES, LABELS, **OPTIONS, early_stopping=stopping) for _ in range(2)]
    assert told(found[0]) == told(found[1])
    assert found[0].stopped == found[1].stopped != ""


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_early_stopping_counts_on_over_calls_of_partial_fit(epochs, keep):
    """As one call of fit: the same epoch ends it, and the same bits are kept."""
    options = {"batch_size": 7, "lr": 0.02, "validation": HELD}
    stopping, losses, made = EarlyStopping(2, watch="watched", larger=False, keep=keep), Counted(*VALUES), model()
    seen = []
    while len(seen) < 12:
        history = made.partial_fit(IMAGES, LABELS, epochs=epochs, callbacks=[losses, stopping], **options)
        seen += [row["epoch"] for row in history]
        if history.stopped:
            break
        assert history.kept is None
    assert seen == [1, 2, 3, 4, 5, 6]
    assert history.stopped == "watched has not improved in 2 epochs; the best was epoch 4"
    expected, _ = fit(early_stopping=EarlyStopping(2, watch="watched", larger=False, keep=keep))
    assert history.kept == (4 if keep == "best" else None)
    assert_has(made, (expected.theta, expected.execution.state))


def test_early_stopping_goes_on_behind_fit_and_begins_anew_with_it():
    options = {"batch_size": 7, "validation": HELD}
    stopping, losses, made = EarlyStopping(2, watch="watched", larger=False), Counted(3, 2, 4, 5, 6), model()
    made.fit(IMAGES, LABELS, epochs=2, callbacks=[losses, stopping], **options)
    best = made.theta.copy(), made.execution.state.copy()
    assert not made.partial_fit(IMAGES, LABELS, callbacks=[losses, stopping], **options).stopped
    history = made.partial_fit(IMAGES, LABELS, epochs=3, callbacks=[losses, stopping], **options)
    assert ([row["epoch"] for row in history], history.kept) == ([4], 2)
    assert_has(made, best)
    again = made.fit(IMAGES, LABELS, epochs=4, callbacks=[losses, stopping], **options)
    assert [row["epoch"] for row in again] == [1, 2, 3, 4]
    made.theta += 1
    theta = made.theta.copy()
    with pytest.raises(SettingError, match="CSVLog"):  # before the run begins, and what an earlier one kept is let be
        made.fit(IMAGES, LABELS, callbacks=[CSVLog("no/such/folder.csv"), stopping, losses], **options)
    np.testing.assert_array_equal(made.theta, theta)
    other = model().partial_fit(IMAGES, LABELS, epochs=3, callbacks=[losses, stopping], **options)
    assert not other.stopped


def fit(folder=None, cut=None, **options):
    made, stopping = model(), EarlyStopping(2, watch="watched", larger=False)
    options = OPTIONS | {"early_stopping": stopping, "resume": folder} | options
    losses = Counted(*VALUES)
    history = made.fit(IMAGES, LABELS, callbacks=[losses, *([CutAt(cut)] if cut else [])], **options)
    return made, history


class Counted(Losses):
    """The same, with a state: a run that goes on takes the values that are left."""

    def begin(self, model, epochs):
        self.count = 0

    def measure(self):
        self.count += 1
        return {"watched": self.values[self.count - 1]}

    def state(self):
        return {"count": self.count}

    def load_state(self, state):
        self.count = state["count"]


@functools.cache
def whole():
    return fit()


def assert_same(found):
    (made, history), (expected, before) = found, whole()
    assert_has(made, (expected.theta, expected.execution.state))
    assert told(history) == told(before)
    assert (history.kept, history.stopped) == (before.kept, before.stopped)


def test_a_state_with_those_of_callbacks_is_a_model(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 12)
    state = max((tmp_path / "checkpoints").iterdir())
    assert any(name.startswith("training/callbacks/1/") for name in checkpoint.read(state)[1])
    loaded, made = gpucnn.load(state, device="cpu", threads=1, layers=[Normalised]), model()
    made.fit(IMAGES, LABELS, **OPTIONS | {"epochs": 3})
    loaded.partial_fit(IMAGES, LABELS, batch_size=7, lr=0.02, validation=HELD)
    assert_has(loaded, (made.theta, made.execution.state))


def test_the_run_that_is_cut():
    assert (len(whole()[1].epochs), whole()[1].kept) == (6, 4)


@pytest.mark.parametrize("cut", range(1, 31))
def test_a_run_that_is_cut_stops_at_the_same_epoch_with_the_same_best_bits(tmp_path, cut):
    with pytest.raises(Cut):
        fit(tmp_path, cut)
    assert_same(fit(tmp_path))


def test_a_run_that_is_cut_again_and_again(tmp_path):
    for cut in (4, 1, 6, 2, 9, 5):
        with pytest.raises(Cut):
            fit(tmp_path, cut)
    assert_same(fit(tmp_path))


def test_a_run_that_was_ended_stays_so_until_more_epochs_are_asked_for(tmp_path):
    assert_same(fit(tmp_path))
    assert_same(fit(tmp_path))
    with pytest.warns(UserWarning, match="epochs 20 in place of .*, after it had ended by itself; this is another run"):
        _, history = fit(tmp_path, epochs=20)
    assert (len(history.epochs), history.kept) == (9, 7)
    assert history.stopped == "watched has not improved in 2 epochs; the best was epoch 7"


class Breaks:
    """Fails where it is told of an epoch, before and behind the others."""

    def __init__(self, number):
        self.number = number

    def epoch(self, epoch):
        if epoch.epoch == self.number:
            raise Cut


@pytest.mark.parametrize("number", [1, 4, 5, 6])
@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_is_cut_while_callbacks_are_told_of_an_epoch(tmp_path, number, first):
    losses, stopping = Counted(*VALUES), EarlyStopping(2, watch="watched", larger=False)
    callbacks = [losses, Breaks(number), stopping] if first else [losses, stopping, Breaks(number)]
    with pytest.raises(Cut):
        model().fit(IMAGES, LABELS, **OPTIONS, callbacks=callbacks, resume=tmp_path)
    assert_same(fit(tmp_path))


def test_a_batch_that_fails_goes_back_with_the_callbacks(tmp_path, monkeypatch):
    """A second Ctrl-C inside an update: the run stands at an earlier one, and the callbacks' states too."""
    from gpucnn.engine.sharded_step import ShardedStep
    from gpucnn.training import recovery

    inner = ShardedStep.__call__
    for steps, every in ((16, 0.0), (17, 1e9)):

        def cut(self, *arguments, steps=steps):
            losses = inner(self, *arguments)
            if self.steps == steps:
                raise KeyboardInterrupt
            return losses

        folder = tmp_path / str(steps)
        with monkeypatch.context() as patched:
            patched.setattr(ShardedStep, "__call__", cut)
            patched.setattr(recovery, "LEAST", every)
            patched.setattr(pace.Pace, "RATIO", 100.0 if every else 0.0)
            assert fit(folder)[1].interrupted
        assert_same(fit(folder))


@pytest.mark.filterwarnings("ignore:.*this is another run:UserWarning")
def test_another_patience_is_another_run(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 20)
    with pytest.raises(SettingError, match=r"another callbacks EarlySt.*patience=2\) then.*patience=3\) now"):
        fit(tmp_path, early_stopping=EarlyStopping(3, watch="watched", larger=False))
    _, history = fit(tmp_path, early_stopping=EarlyStopping(3, watch="watched", larger=False), anyway=True)
    assert (len(history.epochs), history.kept) == (10, 7)


def test_states_of_callbacks_that_no_run_wrote_are_passed_over(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 8)
    newest = max((tmp_path / "checkpoints").iterdir())
    description, tensors = checkpoint.read(newest)
    checkpoint.write(newest, description | {"training": description["training"] | {"callbacks": [3]}}, tensors)
    with pytest.warns(UserWarning, match=r"step-000000008.*the run cannot be read; the run goes on from the state bef"):
        assert_same(fit(tmp_path))


def test_a_loss_that_is_not_finite_leaves_a_state_to_go_on_from(tmp_path):
    with pytest.raises(TrainingError):
        fit(tmp_path, lr=1e30)
    assert list((tmp_path / "checkpoints").iterdir())


def test_a_signal_in_the_last_batch_is_told():
    """A loop of partial_fit asks for it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        made, calls = model(), 0
        last = SimpleNamespace(batch=lambda e, done, n, loss: signal.raise_signal(signal.SIGINT) if done == n else None)
        for _ in range(3):
            calls += 1
            history = made.partial_fit(IMAGES, LABELS, batch_size=16, callbacks=[last])
            assert not history.interrupted
            if history.signal:
                break
        assert (calls, history.signal, len(history.epochs)) == (1, signal.SIGINT, 1)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("cut", [None, 9, 16, 24])
def test_the_average_of_theta_is_what_callbacks_see_and_keep(tmp_path, cut):
    """The validation, the callbacks and the best epoch are of the average; a run that is cut goes on with it."""

    def fit(folder, cut=None):
        made, seen = model(), Thetas()
        losses = Counted(3, 1, 2, 5, 4)
        callbacks = [losses, seen, KeepBest(watch="watched", larger=False), *([CutAt(cut)] if cut else [])]
        options = OPTIONS | {"epochs": 5, "optimizer": EMA(Adam(), 0.9), "resume": folder}
        return made, seen, made.fit(IMAGES, LABELS, **options, callbacks=callbacks)

    made, seen, history = fit(None)
    assert history.kept == 2
    assert_has(made, seen.found[1])
    assert made.evaluate(*HELD)["loss"] == history.epochs[1].validation_loss
    if cut is not None:
        with pytest.raises(Cut):
            fit(tmp_path, cut)
        again, _, later = fit(tmp_path)
        assert_has(again, seen.found[1])
        assert told(later) == told(history)


def test_partial_fit_goes_on_from_theta_where_the_last_average_was_kept():
    whole, made = model(), model()
    options = {"batch_size": 7, "optimizer": EMA(Adam(), 0.9)}
    whole.partial_fit(IMAGES, LABELS, epochs=3, **options)
    made.fit(IMAGES, LABELS, epochs=2, callbacks=[Losses(2, 1), KeepBest(watch="watched", larger=False)], **options)
    made.partial_fit(IMAGES, LABELS, epochs=1, **options)
    np.testing.assert_array_equal(made.theta, whole.theta)


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_partial_fit_warns_where_the_optimiser_went_on_beyond_the_epoch_that_was_kept(first):
    made, fresh = model(), model()
    callbacks = [Losses(1, 2), KeepBest(watch="watched", larger=False)]
    getattr(made, first)(IMAGES, LABELS, epochs=2, batch_size=7, callbacks=callbacks)
    fresh.theta[...] = made.theta
    fresh.execution.state[...] = made.execution.state
    with pytest.warns(UserWarning, match="parameters of epoch 1, which was kept.*begins anew"):
        history = made.partial_fit(IMAGES, LABELS, batch_size=7)
    assert [epoch.epoch for epoch in history.epochs] == [1]
    fresh.partial_fit(IMAGES, LABELS, batch_size=7)
    np.testing.assert_array_equal(made.theta, fresh.theta)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.partial_fit(IMAGES, LABELS, batch_size=7)


def test_rows_and_pictures_of_a_history(tmp_path):
    history = model().fit(IMAGES, LABELS, **OPTIONS | {"epochs": 2}, callbacks=[Losses(1, 2)])
    assert [row["epoch"] for row in history.rows()] == [1, 2]
    assert [row["watched"] for row in history.rows()] == [1.0, 2.0]
    assert history.rows()[1]["train_loss"] == history.epochs[1].train_loss
    json.dumps(history.rows())
    history.plot(tmp_path / "curves.png", "a title")
    assert (tmp_path / "curves.png").stat().st_size > 1000
    with pytest.raises(SettingError, match="no epoch"):
        History().plot(tmp_path / "x.png")


def test_a_frame_needs_pandas(monkeypatch):
    history = History(
        [Epoch(1, 2.0, None, None, 0.1, 3.0, {"f1": 0.5}), Epoch(2, 1.0, 0.5, 0.75, 0.1, 3.0, {"f1": 1.0})]
    )

    class Frame:
        def __init__(self, rows, columns=None):
            self.rows, self.columns = rows, columns

        def set_index(self, name):
            self.index = name
            return self

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame))
    frame = history.to_frame()
    assert (frame.rows[1], frame.index) == (history.rows()[1], "epoch")
    assert frame.rows[0].keys() == history.rows()[0].keys()
    assert np.isnan([frame.rows[0][name] for name in ("validation_loss", "validation_accuracy")]).all()
    assert History().to_frame().columns[:2] == ["epoch", "train_loss"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SettingError, match=r"needs pandas; `pip install pandas`, or use rows\(\)"):
        history.to_frame()


def test_a_metric_of_ones_own_is_measured_and_watched():
    def right(outputs, labels):
        assert outputs.shape == (9, 3)
        return (outputs.argmax(1) == labels).mean()

    made = model()
    metric = Metric("right", right, *HELD)
    history = made.fit(IMAGES, LABELS, **OPTIONS, callbacks=[metric, KeepBest(watch="right", larger=True)])
    accuracies = [epoch.validation_accuracy for epoch in history.epochs]
    assert [epoch.metrics["right"] for epoch in history.epochs] == accuracies
    assert history.kept == accuracies.index(max(accuracies)) + 1


@pytest.mark.parametrize("form", ["texts", "a column", "one-hot", "a list"])
def test_a_metric_takes_labels_as_fit_does(form):
    texts = {"class_names": ["a", "b", "c"]} if form == "texts" else {}
    images, labels = HELD
    given = {
        "texts": np.array(["a", "b", "c"])[labels],
        "a column": labels[:, None],
        "one-hot": np.eye(3, dtype=int)[labels],
        "a list": labels.tolist(),
    }[form]
    seen = []

    def right(outputs, learnt):
        seen.append(learnt)
        return float((outputs.argmax(1) == learnt).mean())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is assumed of such labels
        history = Model(NETWORK, device="cpu", **texts).fit(
            IMAGES, LABELS, **OPTIONS | {"epochs": 2}, callbacks=[Metric("right", right, images, given)]
        )
    np.testing.assert_array_equal(seen[0], labels)
    assert [epoch.metrics["right"] for epoch in history.epochs] == [e.validation_accuracy for e in history.epochs]


def test_a_metric_hands_over_what_the_loss_does_not_take_and_counts_it():
    def first(outputs, given):
        return float(given[0][0])

    rows = [(k + 0.5, k) for k in range(9)]
    history = model().fit(IMAGES, LABELS, **OPTIONS | {"epochs": 1}, callbacks=[Metric("m", first, HELD[0], rows)])
    assert history.epochs[0].metrics["m"] == 0.5
    with pytest.raises(SettingError, match="Metric 'm': 9 images and 1 labels were given"):
        model().fit(IMAGES, LABELS, **OPTIONS | {"epochs": 1}, callbacks=[Metric("m", first, HELD[0], rows[:1])])


class Fails:
    """Raises at the end of an epoch."""

    def __init__(self, epoch):
        self.at = epoch

    def epoch(self, epoch):
        if epoch.epoch == self.at:
            raise ZeroDivisionError


@pytest.mark.parametrize("more", [{}, {"lr": 1e30, "schedule": lambda step, steps: 1.0 if step > 15 else 1e-32}])
@pytest.mark.parametrize("kind", [KeepBest, EarlyStopping])
def test_the_best_epoch_is_kept_where_the_run_ends_with_an_error(kind, more):
    """Of a callback, and of a rate that makes the loss infinite."""
    made, seen, losses = model(), Thetas(), Losses(3, 1, 2, 4, 5, 6)
    told = [losses, seen, kind(watch="watched", larger=False), Fails(4)]
    with pytest.raises((TrainingError, ZeroDivisionError)):
        made.fit(IMAGES, LABELS, **OPTIONS | more, callbacks=told)
    assert len(seen.found) >= 3
    assert_has(made, seen.found[1])


def test_a_kept_epoch_is_not_restored_by_a_run_that_does_not_begin():
    keep, made, other = KeepBest(watch="watched", larger=False), model(), model()
    made.fit(IMAGES, LABELS, **OPTIONS | {"epochs": 3}, callbacks=[Losses(3, 1, 2), keep])
    before = np.asarray(other.theta).copy()
    with pytest.raises(SettingError):
        other.fit(IMAGES, LABELS, **OPTIONS, callbacks=[keep, Losses(3), CSVLog("no/such/folder.csv")])
    np.testing.assert_array_equal(other.theta, before)


@pytest.mark.parametrize(
    ("name", "best"),
    [
        *[(name, 3) for name in ("MAE", "val_rmse", "err", "error rate", "my error", "logloss", "angle-error", "NLL")],
        *[(name, 3) for name in ("valMAE", "myRMSE", "errors")],
        *[(name, 2) for name in ("f1", "macro F1", "AUC", "top 5 accuracy", "validation.recall", "R2", "score")],
        *[(name, 2) for name in ("macroF1", "meanIoU", "acc5", "mAP50")],
        *[(name, None) for name in ("watched", "hits", "glossy", "erratic", "maximum", "top 2")],
        *[(name, None) for name in ("neg_log_loss", "brier_score", "d2_absolute_error_score", "acuracy")],
    ],
)
@pytest.mark.parametrize("kind", [KeepBest, EarlyStopping])
def test_whether_larger_is_better_is_said_by_the_name_or_by_who_asks(name, best, kind):
    made = model()

    def fit(**larger):
        return made.fit(
            IMAGES, LABELS, **OPTIONS | {"epochs": 3}, callbacks=[Told(2, 3, 1), kind(watch=name, **larger)]
        )

    class Told(Losses):
        def measure(self):
            return {name: super().measure()["watched"]}

    assert fit(larger=True).kept == 2
    assert fit(larger=False).kept == 3
    if best is not None:
        assert fit().kept == best
        return
    with pytest.raises(SettingError, match=f"{kind.__name__} watches '{name}', whose name does not say whether larger"):
        fit()


def test_a_number_that_is_never_one_is_said():
    metric = Metric("m", lambda outputs, labels: math.nan, *HELD)
    history = model().fit(
        IMAGES, LABELS, **OPTIONS, callbacks=[metric], early_stopping=EarlyStopping(2, watch="m", larger=True)
    )
    assert history.stopped == "m was NaN in all of 2 epochs, so that none was the best"


def test_a_log_as_csv_goes_on_from_one_call_to_the_next(tmp_path):
    log, made = CSVLog(tmp_path / "log.csv"), model()
    for _ in range(3):
        made.partial_fit(IMAGES, LABELS, callbacks=[log])
    assert [row["epoch"] for row in csv.DictReader((tmp_path / "log.csv").open())] == ["1", "2", "3"]
    with pytest.warns(UserWarning, match=r"log.csv was there, and is .*log-1.csv now; append=True writes behind"):
        made.fit(IMAGES, LABELS, epochs=1, callbacks=[log])
    assert [row["epoch"] for row in csv.DictReader((tmp_path / "log.csv").open())] == ["1"]
    assert [row["epoch"] for row in csv.DictReader((tmp_path / "log-1.csv").open())] == ["1", "2", "3"]


def epochs_in(path):
    return [row["epoch"] for row in csv.DictReader(path.read_text().splitlines())]


def test_a_log_that_was_there_is_kept(tmp_path):
    path, made = tmp_path / "log.csv", model()
    made.fit(IMAGES, LABELS, epochs=2, callbacks=[CSVLog(path)])
    whole = path.read_text()
    for k in (1, 2):
        with pytest.warns(UserWarning, match=f"was there, and is .*log-{k}.csv now"):
            made.fit(IMAGES, LABELS, epochs=1, callbacks=[CSVLog(path), Losses(k)])
        assert epochs_in(path) == ["1"]
    assert (tmp_path / "log-1.csv").read_text() == whole
    assert epochs_in(tmp_path / "log-2.csv") == ["1"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log-1.csv", "log-2.csv", "log.csv"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = path.read_text().splitlines()
        for _ in range(2):  # each with an object of its own
            made.partial_fit(IMAGES, LABELS, callbacks=[CSVLog(path, append=True)])
        assert epochs_in(path) == ["1", "2", "3"]
        assert path.read_text().splitlines()[:2] == before
        made.fit(IMAGES, LABELS, epochs=1, callbacks=[CSVLog(path, append=True), Losses(5, name="other")])
        assert epochs_in(path) == ["1", "2", "3", "1"]
        assert next(csv.DictReader(path.read_text().splitlines()))["other"] == ""


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "epoch,loss\n1,2,3\n", '"epoch\n', b"\xff\xfe"])
def test_lines_are_not_appended_to_another_file(tmp_path, text):
    path = tmp_path / "log.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingError, match=r"log.csv: it is no CSV file of epochs to append to; give another name"):
        model().fit(IMAGES, LABELS, epochs=1, callbacks=[CSVLog(path, append=True)])
    assert path.read_bytes() == (text if isinstance(text, bytes) else text.encode())
    path.write_text("")
    model().fit(IMAGES, LABELS, epochs=1, callbacks=[CSVLog(path, append=True)])
    assert epochs_in(path) == ["1"]


def test_a_log_that_cannot_be_written_is_said_before_the_first_batch(tmp_path):
    for path, said in ((tmp_path, "is a folder; give a file in it"), (tmp_path / "no" / "a.csv", "make it")):
        with pytest.raises(SettingError, match=f"CSVLog: .*{said}"):
            model().fit(IMAGES, LABELS, epochs=1, callbacks=[CSVLog(path), Losses(0)])


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.filterwarnings("error")
def test_a_log_as_csv_goes_on_where_the_run_does(tmp_path, append):
    def fit(name, *more, resume=None):
        log = CSVLog(tmp_path / name, append=append)
        options = OPTIONS | {"epochs": 3, "resume": resume}
        model().fit(IMAGES, LABELS, **options, callbacks=[Counted(3, 1, 2), log, *more])
        rows = list(csv.DictReader((tmp_path / name).read_text().splitlines()))
        return [row | {"seconds": 0} for row in rows]

    expected = fit("whole.csv")
    assert [(row["epoch"], row["watched"]) for row in expected] == [("1", "3.0"), ("2", "1.0"), ("3", "2.0")]
    for cut in (5, 10):
        with pytest.raises(Cut):
            fit("cut.csv", CutAt(cut), resume=tmp_path / "run")
    assert fit("cut.csv", resume=tmp_path / "run") == expected


def test_tensorboard(tmp_path, monkeypatch):
    written = []
    writer = SimpleNamespace(
        add_scalar=lambda *told: written.append(told), flush=lambda: None, close=lambda: written.append("closed")
    )
    summary = SimpleNamespace(Writer=lambda folder: writer if folder == str(tmp_path) else None)
    monkeypatch.setitem(sys.modules, "tensorboard", SimpleNamespace(summary=summary))
    monkeypatch.setitem(sys.modules, "tensorboard.summary", summary)
    options = OPTIONS | {"epochs": 2, "validation": None}
    history = model().fit(IMAGES, LABELS, **options, callbacks=[Losses(3, 1), TensorBoard(tmp_path)])
    first = history.epochs[0]
    assert written[:4] == [
        ("train_loss", first.train_loss, 1),
        ("lr", first.lr, 1),
        ("seconds", first.seconds, 1),
        ("watched", 3.0, 1),
    ]
    assert written[-2:] == [("watched", 1.0, 2), "closed"]
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(SettingError, match="TensorBoard: it is not installed; `pip install tensorboard`"):
        model().fit(IMAGES, LABELS, callbacks=[TensorBoard(tmp_path)])


def test_the_public_names():
    assert gpucnn.callbacks.EarlyStopping is EarlyStopping


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_log_to_what_is_no_regular_file_leaves_it_there(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text)
        log = CSVLog(pipe)
        log.begin(None, 1)
        log.epoch(Epoch(1, 1.0, None, None, 0.1, 1.0))
        assert read.result(60).startswith("epoch,")
    assert pipe.is_fifo()
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]
