"""A run that is cut off anywhere and goes on ends with the same bits; so do calls of partial_fit."""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

import gpucnn
from gpucnn import Model, Network
from gpucnn.engine import sharded_step
from gpucnn.engine.scaling import Scaling
from gpucnn.errors import SettingError, TrainingError
from gpucnn.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, Parallel, ReLU, Residual, Shared
from gpucnn.layers.base import Layer
from gpucnn.model import checkpoint, checkpoints
from gpucnn.optimizers import EMA, LAMB, OPTIMIZERS, SGD, SWA, Adam, AdamW, Clip, Groups, Lookahead, Muon, RMSprop
from gpucnn.training import pace, recovery, run, signals
from tests.layers_of_ones_own import Dropped, Normalised

pytestmark = pytest.mark.usefixtures("blank_pictures")

NETWORK = Network((8, 8, 1), (Conv2D(2, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)))
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8), RNG.integers(0, 3, 30)
HELD = IMAGES[:7], LABELS[:7]
OPTIONS = {"epochs": 3, "batch_size": 7, "schedule": "one-cycle", "validation": HELD, "augmentation": "shift=1,flip"}


class Cut(Exception):
    """The power is gone."""


@pytest.fixture(autouse=True)
def every_step_is_saved(monkeypatch):
    monkeypatch.setattr(pace.Pace, "RATIO", 0.0)
    monkeypatch.setattr(checkpoints, "LEAST", 0.0)


class CutAt:
    def __init__(self, updates):
        self.left = updates

    def batch(self, *_):
        self.left -= 1
        if not self.left:
            raise Cut


def model(**options):
    return Model(NETWORK, **{"device": "cpu", "threads": 1, **options})


def told(history):
    return [replace(epoch, seconds=0.0) for epoch in history.epochs]


def fit(folder=None, cut=None, network=NETWORK, threads=1, **options):
    """theta, running state, the optimiser's vectors, the history."""
    made = Model(network, device="cpu", threads=threads)
    callbacks = [] if cut is None else [CutAt(cut)]
    history = made.fit(IMAGES, LABELS, callbacks=callbacks, **{**OPTIONS, "resume": folder, **options})
    return [made.theta, made.execution.state, *made.trained.vectors.values()], told(history)


def assert_same(found, expected):
    for one, other in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert found[1] == expected[1]


@pytest.mark.parametrize("cut", range(1, 16))
def test_a_run_that_is_cut_after_any_update_ends_with_the_same_bits(tmp_path, cut):
    with pytest.raises(Cut):
        fit(tmp_path, cut)
    assert_same(fit(tmp_path), fit())


@pytest.mark.parametrize("cut", [3, 8, 11])
def test_every_change_of_an_image_goes_on(tmp_path, cut):
    """Alternating flips count epochs, and a batch's last, smaller part is mixed, too."""
    every = "shift=1,reflect,flip=alternate,rotate=10,zoom=0.1,elastic=0.5,cutout=2,brightness=0.2,contrast=0.2"
    for folder, text in (("a", f"{every},mixup=0.4,cutmix=1"), ("b", every)):
        with pytest.raises(Cut):
            fit(tmp_path / folder, cut, augmentation=text)
        assert_same(fit(tmp_path / folder, augmentation=text), fit(augmentation=text))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_goes_on(tmp_path, optimizer):
    with pytest.raises(Cut):
        fit(tmp_path, 8, optimizer=optimizer)
    assert_same(fit(tmp_path, optimizer=optimizer), fit(optimizer=optimizer))


def test_a_run_that_is_cut_again_and_again_ends_with_the_same_bits(tmp_path):
    for cut in (4, 1, 6, 2):
        with pytest.raises(Cut):
            fit(tmp_path, cut)
    assert_same(fit(tmp_path), fit())


NESTED = Residual(
    (Dropped(), Shared("one", Conv2D(2, 1)), BatchNorm(), ReLU(), Shared("one", Conv2D(2, 1))),
    Parallel(((Normalised(), Conv2D(1, 1)), Conv2D(1, 1))),
)


@pytest.mark.parametrize("layer", [Dropped(), Normalised(), BatchNorm(), NESTED])
def test_running_states_and_what_layers_draw_go_on(tmp_path, layer):
    network = Network((8, 8, 1), (Conv2D(2, 3), layer, Flatten(), Dense(3)))
    with pytest.raises(Cut):
        fit(tmp_path, 8, network=network)
    assert_same(fit(tmp_path, network=network), fit(network=network))


def test_workers_that_share_the_steps_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    with pytest.raises(Cut):
        fit(tmp_path, 8, threads=3)
    made = Model(NETWORK, device="cpu")  # as many threads as there are CPUs here
    history = made.fit(IMAGES, LABELS, **OPTIONS, resume=tmp_path)
    assert made.threads == 3
    expected = fit(threads=3)
    np.testing.assert_array_equal(made.theta, expected[0][0])
    assert told(history) == expected[1]


def test_a_run_that_is_over_stays_as_it_is(tmp_path):
    expected = fit(tmp_path)
    assert_same(fit(tmp_path), expected)


def test_the_last_two_states_are_kept(tmp_path):
    fit(tmp_path)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == [
        "checkpoints",
        "step-000000014.safetensors",
        "step-000000015.safetensors",
    ]


def test_a_state_is_a_model_that_can_be_loaded(tmp_path):
    (theta, *_), _ = fit(tmp_path)
    loaded = gpucnn.load(tmp_path / "checkpoints" / "step-000000015.safetensors", device="cpu")
    np.testing.assert_array_equal(loaded.theta, theta)


@pytest.mark.parametrize(
    "changes", [{"history": [{"epoch": 1}]}, {"history": 5}, {"about": None}, {"about": {"threads": "1"}}, {"seed": -1}]
)
def test_a_state_that_no_run_wrote_is_passed_over(tmp_path, changes):
    expected = fit(tmp_path / "whole")
    with pytest.raises(Cut):
        fit(tmp_path, 8)
    newest = max((tmp_path / "checkpoints").iterdir())
    description, tensors = checkpoint.read(newest)
    checkpoint.write(newest, description | {"training": description["training"] | changes}, tensors)
    with pytest.warns(UserWarning, match=r"step-000000008.*the run cannot be read; the run goes on from the state bef"):
        assert_same(fit(tmp_path), expected)


def test_a_state_with_a_flipped_byte_is_passed_over(tmp_path):
    expected = fit(tmp_path / "whole")
    with pytest.raises(Cut):
        fit(tmp_path, 8)
    newest = max((tmp_path / "checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[-9] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match=r"step-000000008.*damaged.*the run goes on from the state before it"):
        assert_same(fit(tmp_path), expected)


def test_a_state_that_is_not_whole_is_passed_over(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 8)
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"step-000000008.*the run goes on from the state before it"):
        found = fit(tmp_path)
    assert_same(found, fit())


def test_states_that_cannot_be_read_do_not_push_out_those_of_the_run(tmp_path):
    """A run that begins anew saves states of fewer updates than the damaged ones have."""
    with pytest.raises(Cut):
        fit(tmp_path, 8)
    for state in (tmp_path / "checkpoints").iterdir():
        state.write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="the run") as caught, pytest.raises(Cut):
        fit(tmp_path, 4)
    ends = ["goes on from the state before it", "begins anew"]
    assert [str(each.message).rpartition("the run ")[2] for each in caught] == ends
    names = [f"step-{steps:09d}.safetensors" for steps in (3, 4, 7, 8)]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == names
    with pytest.warns(UserWarning, match="goes on from the state before it") as caught:
        found = fit(tmp_path)
    assert len(caught) == 2
    assert_same(found, fit())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lr": 0.01}, "another lr 0.001 then and 0.01 now"),
        ({"batch_size": 8}, "batch size 7 then and 8 now"),
        ({"seed": 1}, "seed 0 then and 1 now"),
        ({"optimizer": "sgd"}, r"optimizer Adam\(0.9\) then and SGD"),
        ({"schedule": "cosine"}, "schedule one_cycle then and cosine now"),
        ({"augmentation": None}, "augmentation .* then and None now"),
        ({"validation": None}, "validation data .* then and None now"),
        ({"threads": 2}, "threads 1 then and 2 now"),
        ({"network": Network((8, 8, 1), (Flatten(), Dense(3)))}, "network .* now"),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path, options, sentence):
    with pytest.raises(Cut):
        fit(tmp_path, 8)
    with pytest.raises(SettingError, match=sentence):
        fit(tmp_path, **options)


@pytest.mark.filterwarnings("ignore:.*this is another run:UserWarning")
def test_another_data_set_is_refused(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 8)
    with pytest.raises(SettingError, match="another data"):
        model().fit(IMAGES[::-1], LABELS, **OPTIONS, resume=tmp_path)
    model().fit(IMAGES[::-1], LABELS, **OPTIONS, resume=tmp_path, anyway=True)


@pytest.mark.filterwarnings("ignore:.*this is another run:UserWarning")
def test_another_rate_goes_on_anyway(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 8)
    (theta, *_), history = fit(tmp_path, lr=0.01, anyway=True)
    assert [epoch.epoch for epoch in history] == [1, 2, 3]
    assert not np.array_equal(theta, fit()[0][0])


def test_more_epochs_are_another_run_and_allowed(tmp_path):
    fit(tmp_path)
    with pytest.warns(
        UserWarning, match="epochs 5 in place of 3, to which the schedule is stretched; this is another run"
    ):
        _, history = fit(tmp_path, epochs=5)
    assert [epoch.epoch for epoch in history] == [1, 2, 3, 4, 5]


def test_a_folder_that_cannot_be_written_is_told_once_and_the_run_goes_on(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = fit(tmp_path)
    assert_same(found, fit())
    assert [str(each.message).count("could not be resumed from here") for each in caught] == [1]


def test_states_take_less_than_a_hundredth_of_a_run(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pace.Pace, "RATIO", 100.0)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    seen = pace.Pace(guess=0.05)
    for _ in range(100_000):
        now[0] += 0.01
        if seen.is_due():
            with seen.timed():
                now[0] += 0.2
    assert seen.count == 1 + math.floor((now[0] - 5.2) / 20.2)
    assert seen.seconds < now[0] / 100


def test_calls_of_one_epoch_are_one_call_of_many():
    whole, parts = model(), model()
    options = {"batch_size": 7, "schedule": "one-cycle", "augmentation": "shift=1", "seed": 3}
    expected = told(whole.fit(IMAGES, LABELS, epochs=4, **options))
    epochs = [told(parts.partial_fit(IMAGES, LABELS, total_epochs=4, **options))[0] for _ in range(4)]
    np.testing.assert_array_equal(parts.theta, whole.theta)
    assert epochs == expected


def test_a_model_that_is_saved_between_two_calls_goes_on(tmp_path):
    whole, parts = model(), model()
    whole.fit(IMAGES, LABELS, epochs=4, batch_size=7, optimizer="momentum")
    parts.partial_fit(IMAGES, LABELS, epochs=2, batch_size=7, optimizer="momentum")
    parts.save(tmp_path / "half")
    loaded = gpucnn.load(tmp_path / "half", device="cpu", threads=1)
    loaded.partial_fit(IMAGES, LABELS, epochs=2, batch_size=7, optimizer="momentum", seed=5)
    np.testing.assert_array_equal(loaded.theta, whole.theta)


def test_partial_fit_goes_on_after_fit():
    whole, parts = model(), model()
    whole.fit(IMAGES, LABELS, epochs=3, batch_size=7)
    parts.fit(IMAGES, LABELS, epochs=1, batch_size=7)
    parts.partial_fit(IMAGES, LABELS, epochs=2, batch_size=7)
    np.testing.assert_array_equal(parts.theta, whole.theta)


def test_a_model_that_fit_trained_is_saved_without_the_optimiser(tmp_path):
    made = model()
    made.fit(IMAGES, LABELS, epochs=1)
    made.save(tmp_path / "model")
    _, tensors = gpucnn.model.checkpoint.read(tmp_path / "model")
    assert tensors.keys() == made.parameters.keys()


@pytest.mark.parametrize("schedule", ["linear", "cosine", "restarts", "polynomial=0.5"])
def test_partial_fit_refuses_to_train_beyond_the_end_of_its_schedule(schedule):
    made = model()
    with pytest.raises(SettingError, match=r"total_epochs=2 is too small: with the 0 .* there are 3 in all"):
        made.partial_fit(IMAGES, LABELS, epochs=3, total_epochs=2, schedule=schedule)
    made.fit(IMAGES, LABELS, epochs=2, schedule=schedule)
    before = made.theta.copy()
    with pytest.raises(SettingError, match=r"total_epochs=2 is too small: with the 2 .* there are 4 in all"):
        made.partial_fit(IMAGES, LABELS, epochs=2, total_epochs=2, schedule=schedule)
    np.testing.assert_array_equal(made.theta, before)
    made.partial_fit(IMAGES, LABELS, epochs=2, total_epochs=4, schedule=schedule)
    made.partial_fit(IMAGES, LABELS, epochs=2, total_epochs=2)  # constant
    for wrong in (0, -1, 2.5, "4"):
        with pytest.raises(SettingError, match=f"total_epochs={wrong!r}"):
            made.partial_fit(IMAGES, LABELS, total_epochs=wrong, schedule=schedule)


def test_a_schedule_ends_with_the_last_epoch_where_calls_have_more_or_fewer_batches():
    made = model()
    rates = []
    for k, count in enumerate((len(IMAGES), len(IMAGES) // 2, len(IMAGES) // 4)):
        found = made.partial_fit(
            IMAGES[:count], LABELS[:count], batch_size=1, lr=1.0, schedule="linear", total_epochs=3
        )
        rates.append(found[-1]["lr"])
        assert math.isclose(rates[-1], 1 - (k + 1 - 1 / count) / 3)
    assert rates == sorted(rates, reverse=True)


def test_partial_fit_refuses_what_it_cannot_go_on_with():
    made = model()
    with pytest.raises(SettingError, match="total_epochs"):
        made.partial_fit(IMAGES, LABELS, schedule="cosine")
    made.partial_fit(IMAGES, LABELS)
    with pytest.raises(SettingError, match=r"by Adam.*SGD\(0.0\) cannot take over"):
        made.partial_fit(IMAGES, LABELS, optimizer="sgd")


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (Adam(), AdamW()),
        (LAMB(), Adam()),
        (EMA(SGD()), SWA(SGD())),
        (EMA(Adam()), EMA(AdamW())),
        (Muon(), Muon(others=LAMB())),
    ],
)
def test_partial_fit_refuses_another_optimisers_vectors_of_the_same_names(tmp_path, first, other):
    made = model()
    made.partial_fit(IMAGES, LABELS, optimizer=first)
    made.save(tmp_path / "model")
    for each in (made, gpucnn.load(tmp_path / "model", device="cpu")):
        theta = each.theta.copy()
        with pytest.raises(SettingError, match=f"by {type(first).__name__}.*{type(other).__name__}.*cannot take over"):
            each.partial_fit(IMAGES, LABELS, optimizer=other)
        np.testing.assert_array_equal(each.theta, theta)
    made.partial_fit(IMAGES, LABELS, optimizer=replace(first))


def test_partial_fit_takes_other_settings_of_an_optimiser():
    made = model()
    for decay in (0.9, 0.5):
        made.partial_fit(IMAGES, LABELS, optimizer=EMA(SGD(momentum=decay), decay))
    assert made.trained.position.epoch == 3


@pytest.mark.filterwarnings("ignore:.*this is another run:UserWarning")
def test_a_run_may_take_anothers_vectors_anyway(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 8, optimizer=Adam())
    _, history = fit(tmp_path, optimizer=AdamW(), anyway=True)
    assert [epoch.epoch for epoch in history] == [1, 2, 3]


SETTERS = {
    "in place": lambda made, other, path: made.theta.__setitem__(..., other.theta),
    "by the attribute": lambda made, other, path: setattr(made, "theta", other.theta),
    "from a file": lambda made, other, path: made.load_parameters(other.save(path)),
}


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("optimizer", [EMA(SGD(), 0.9), SWA(SGD()), Lookahead(SGD(), 1), EMA(Lookahead(SGD(), 1), 0.9)])
@pytest.mark.parametrize("how", SETTERS)
def test_partial_fit_goes_on_from_parameters_that_were_set(tmp_path, how, optimizer, saved):
    made, other = model(), model(seed=1)
    made.partial_fit(IMAGES, LABELS, optimizer=optimizer, lr=0.1)
    if saved:
        made = gpucnn.load(made.save(tmp_path / "made"), device="cpu")
    SETTERS[how](made, other, tmp_path / "other")
    made.partial_fit(IMAGES, LABELS, optimizer=optimizer, lr=1e-12)
    np.testing.assert_allclose(made.theta, other.theta, atol=1e-6)
    assert made.trained.position.epoch == 3


@dataclass(frozen=True)
class FailsAt(Layer):
    """The identity whose output, or gradient, is NaN in one update."""

    update: int
    backwards: bool = False

    def forward(self, params, x, context):
        bad = context.training and context.update == self.update
        return (x if self.backwards or not bad else x * np.nan), bad

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return (dy * np.nan if residual and self.backwards else dy), {}


@pytest.mark.parametrize("copies", [0.0, 1e9])
@pytest.mark.parametrize(
    ("backwards", "sentence"),
    [
        (
            False,
            r"epoch 2, batch 3: the loss is nan \(it began in batch 3 of epoch 2: the output of layer 1 \(FailsAt\)",
        ),
        (
            True,
            r"a parameter is no longer finite.* batch 3 of epoch 2: the gradient that layer 1 \(FailsAt\)",
        ),
    ],
)
def test_a_loss_that_is_not_finite_names_batch_and_layer_and_leaves_the_good_theta(
    tmp_path, monkeypatch, backwards, sentence, copies
):
    monkeypatch.setattr(recovery, "LEAST", copies)
    failing = Network((8, 8, 1), (Conv2D(2, 3), FailsAt(8, backwards), Flatten(), Dense(3)))
    sound = Network((8, 8, 1), (Conv2D(2, 3), FailsAt(99), Flatten(), Dense(3)))
    made, other = Model(failing, device="cpu", threads=1), Model(sound, device="cpu", threads=1)
    with pytest.raises(TrainingError, match=rf"{sentence}.* reaches nan\), so training stopped"):
        made.fit(IMAGES, LABELS, epochs=3, batch_size=7, resume=tmp_path)
    with pytest.raises(Cut):
        other.fit(IMAGES, LABELS, epochs=3, batch_size=7, callbacks=[CutAt(7)])
    np.testing.assert_array_equal(made.theta, other.theta)
    saved = max((tmp_path / "checkpoints").iterdir())
    assert saved.name == "step-000000007.safetensors"
    np.testing.assert_array_equal(
        gpucnn.load(saved, device="cpu", layers=[FailsAt]).theta,
        other.theta,
    )


def test_a_second_ctrl_c_behind_an_update_trains_no_batch_twice(tmp_path, monkeypatch):
    """Raised between the update and the note that it was made: the run stands at its last good state."""
    made, whole = model(), fit()
    step = sharded_step.ShardedStep.__call__

    def cut(self, *arguments):
        losses = step(self, *arguments)
        if self.steps == 7:
            raise KeyboardInterrupt
        return losses

    with monkeypatch.context() as patched:
        patched.setattr(sharded_step.ShardedStep, "__call__", cut)
        patched.setattr(recovery, "LEAST", 0.0)
        history = made.fit(IMAGES, LABELS, **OPTIONS, resume=tmp_path)
    assert history.interrupted
    assert max(path.name for path in (tmp_path / "checkpoints").iterdir()) == "step-000000006.safetensors"
    assert_same(fit(tmp_path), whole)


@pytest.mark.parametrize("where", ["_begin", "check"])
def test_ctrl_c_between_two_epochs_changes_no_bit(tmp_path, monkeypatch, where):
    whole, calls, inner = fit(), [], getattr(run.Run, where)

    def cut(self, *arguments):
        calls.append(inner(self, *arguments))
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run.Run, where, cut)
        model().fit(IMAGES, LABELS, **OPTIONS, resume=tmp_path)
    assert_same(fit(tmp_path), whole)


def test_what_may_be_done_twice_is_done_whole():
    done = []

    def work():
        done.append(len(done))
        if len(done) < 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        signals.unbroken(work)
    assert done == [0, 1, 2]


def test_after_an_error_partial_fit_begins_anew(tmp_path):
    made = model()
    made.partial_fit(IMAGES, LABELS, epochs=2)
    with pytest.raises(Cut):
        made.partial_fit(IMAGES, LABELS, batch_size=7, callbacks=[CutAt(3)])
    assert made.trained is None
    made.save(tmp_path / "model")
    assert gpucnn.load(tmp_path / "model", device="cpu").trained is None


def test_partial_fit_with_more_examples_after_an_interrupt_trains_all_of_them():
    made = model()

    def stop(epoch, done, *_):
        if (epoch, done) == (2, 21):
            raise KeyboardInterrupt

    made.partial_fit(IMAGES, LABELS, epochs=3, batch_size=7, callbacks=[SimpleNamespace(batch=stop)])
    before = made.trained.position
    assert (before.epoch, before.batches) == (2, 3)
    history = made.partial_fit(IMAGES[:12], LABELS[:12], batch_size=6)
    assert made.trained.position.steps == before.steps + 2
    assert history.epochs[0].train_loss < 3


def test_another_scaling_is_another_run(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 8)
    with pytest.raises(SettingError, match="another scaling"):
        model(scaling=Scaling(1 / 100, -1.0)).fit(IMAGES, LABELS, **OPTIONS, resume=tmp_path)


def test_a_schedule_without_a_name_is_known_by_what_it_gives(tmp_path):
    options = {"schedule": functools.partial(gpucnn.schedules.one_cycle, warm=0.5)}
    with pytest.raises(Cut):
        fit(tmp_path, 8, **options)
    again = {"schedule": functools.partial(gpucnn.schedules.one_cycle, warm=0.5)}
    assert_same(fit(tmp_path, **again), fit(**options))
    with pytest.raises(Cut):
        fit(tmp_path / "b", 8, **options)
    with pytest.raises(SettingError, match="another schedule"):
        fit(tmp_path / "b", schedule=functools.partial(gpucnn.schedules.one_cycle, warm=0.25))


STATEFUL = {
    "RMSprop": RMSprop(0.9, momentum=0.5, centered=True),
    "EMA": EMA(Adam(), 0.8),
    "SWA": SWA(SGD(0.9), 4, 2),
    "Lookahead": Lookahead(Adam(), 3),
    "all": Clip(EMA(Lookahead(Groups(AdamW(decay="kernels"), {"*/bias": {"rate": 0.5}}), 3), 0.8), norm=0.1),
    "Muon": EMA(Muon(), 0.8),
}


@pytest.mark.parametrize("cut", [3, 5, 8])
@pytest.mark.parametrize("optimizer", STATEFUL.values(), ids=STATEFUL)
def test_wrappers_go_on(tmp_path, optimizer, cut):
    with pytest.raises(Cut):
        fit(tmp_path, cut, optimizer=optimizer)
    assert_same(fit(tmp_path, optimizer=optimizer), fit(optimizer=optimizer))


@pytest.mark.parametrize("optimizer", STATEFUL.values(), ids=STATEFUL)
def test_calls_of_one_epoch_go_on_from_what_training_moves(tmp_path, optimizer):
    whole, parts = model(), model()
    options = {"batch_size": 7, "optimizer": optimizer, "validation": HELD}
    expected = told(whole.fit(IMAGES, LABELS, epochs=3, **options))
    epochs = [told(parts.partial_fit(IMAGES, LABELS, **options))[0] for _ in range(2)]
    parts.save(tmp_path / "saved")
    loaded = gpucnn.load(tmp_path / "saved", device="cpu", threads=1)
    np.testing.assert_array_equal(loaded.theta, parts.theta)
    epochs += told(loaded.partial_fit(IMAGES, LABELS, **options))
    np.testing.assert_array_equal(loaded.theta, whole.theta)
    assert epochs == expected


def test_the_average_is_what_is_measured_and_what_is_left(tmp_path):
    raw, averaged = model(), model()
    options = {"epochs": 2, "batch_size": 7, "validation": HELD}
    raw.fit(IMAGES, LABELS, optimizer=Adam(), **options)
    history = averaged.fit(IMAGES, LABELS, optimizer=EMA(Adam(), 0.9), resume=tmp_path, **options)
    np.testing.assert_array_equal(averaged.trained.vectors["optimizer/average"], raw.theta)
    assert not np.array_equal(averaged.theta, raw.theta)
    assert averaged.evaluate(*HELD)["loss"] == history.epochs[-1].validation_loss
    state = max((tmp_path / "checkpoints").iterdir())
    np.testing.assert_array_equal(gpucnn.load(state, device="cpu").theta, raw.theta)


def test_another_average_is_another_run(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 8, optimizer=EMA(Adam(), 0.8))
    with pytest.raises(
        SettingError, match=r"optimizer EMA\(Adam\(0.9\), decay=0.8\) then and EMA\(Adam\(0.9\), decay=0.9\) now"
    ):
        fit(tmp_path, optimizer=EMA(Adam(), 0.9))


def test_what_was_changed_is_kept_with_the_run(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 8)
    with pytest.warns(UserWarning, match=r"from epoch 2, update 9, on: lr 0\.01 in place of .*; this is another run"):
        fit(tmp_path, lr=0.01, anyway=True)
    assert checkpoints.find(tmp_path).changes == checkpoints.find(tmp_path).saved.changes
    assert checkpoints.find(tmp_path).changes[0].startswith("from epoch 2, update 9, on: lr 0.01 in place of")


def test_where_long_values_differ_is_shown():
    then = {"network": "Network(" + "x" * 80 + "filters=3)", "schedule": "cosine", "data": 64 * "a"}
    with pytest.raises(SettingError) as caught:
        checkpoints.compare(then, then | {"network": then["network"].replace("3", "4")}, "there", anyway=False)
    assert "another network ...xxxxxxxxxxxxfilters=3) then and ...xxxxxxxxxxxxfilters=4) now; give" in str(caught.value)
    with pytest.raises(
        SettingError, match=r"another data \(pictures or labels are others than when it began\), sha256 aa"
    ):
        checkpoints.compare(then, then | {"data": 64 * "b"}, "there", anyway=False)
