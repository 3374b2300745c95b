"""Ten updates in one launch: the same run, to the last bit, as one by one."""

from __future__ import annotations

import functools
import warnings

import fake_cuda as fake
import numpy as np
import pytest
from conftest import usable_gpu
from fake_cuda import fake_cuda
from test_graph import SMALL, data

from gpucnn import Model, schedules
from gpucnn.device import Device
from gpucnn.engine import recorded
from gpucnn.engine.recorded import TEN, RecordedStep
from gpucnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from gpucnn.losses import FocalLoss
from gpucnn.network import Network
from gpucnn.optimizers import SGD, AdamW, Lion
from gpucnn.schedules import cosine
from gpucnn.training import Stop
from gpucnn.training.run import Run, is_known

__all__ = ["fake_cuda"]

NORMED = Network(
    (8, 8, 1), (Conv2D(4, 3, bias=None), BatchNorm(), ReLU(), MaxPool2D(), Dropout(0.3), Flatten(), Dense(3))
)
IMAGES, BATCH = 5 * 27 + 2, 5  # an epoch: 27 whole batches and a smaller one


def fitted(monkeypatch, network=SMALL, *, far=True, epochs=2, callbacks=(), **options):
    """The model, its history, and how many updates were asked for at once, call by call."""
    calls: list[int] = []
    ten, one = RecordedStep.ten, RecordedStep.__call__
    with monkeypatch.context() as patch:
        patch.setattr(RecordedStep, "ten", lambda self, *rest: calls.append(TEN) or ten(self, *rest))
        patch.setattr(RecordedStep, "__call__", lambda self, *rest: calls.append(1) or one(self, *rest))
        if not far:
            patch.setattr(Run, "_advance_far", lambda self: False)
        model = Model(network, loss=options.pop("loss", None), device="cuda", threads=1)
        given = {"optimizer": AdamW(), "schedule": cosine, "lr": 0.01} | options
        history = model.fit(*data(network, IMAGES), batch_size=BATCH, epochs=epochs, callbacks=callbacks, **given)
    return model, history, calls


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"network": NORMED, "optimizer": SGD(momentum=0.9)},
        {"network": NORMED, "augmentation": "shift=1,flip"},
        {"optimizer": Lion(), "loss": FocalLoss()},
        {"augmentation": "mixup=0.4"},
    ],
    ids=["plain", "norm and dropout", "augmented", "other rules", "mixed"],
)
def test_the_same_bits_as_one_by_one(options, fake_cuda, monkeypatch):
    far, near = (fitted(monkeypatch, far=far, **options) for far in (True, False))
    assert far[2] == [1] * 10 + [TEN] + [1] * 8 + [TEN] * 2 + [1] * 8
    assert near[2] == [1] * 56
    np.testing.assert_array_equal(far[0].theta, near[0].theta)
    np.testing.assert_array_equal(far[0].execution.state, near[0].execution.state)
    for a, b in zip(far[1].epochs, near[1].epochs, strict=True):
        assert (a.train_loss, a.lr) == (b.train_loss, b.lr)


def test_a_run_of_epochs_in_parts_is_the_run_as_a_whole(fake_cuda, monkeypatch):
    whole = fitted(monkeypatch, epochs=2)[0]
    parts = Model(SMALL, device="cuda", threads=1)
    for _ in range(2):
        parts.partial_fit(
            *data(SMALL, IMAGES),
            batch_size=BATCH,
            epochs=1,
            total_epochs=2,
            optimizer=AdamW(),
            schedule=cosine,
            lr=0.01,
        )
    np.testing.assert_array_equal(whole.theta, parts.theta)


def test_callbacks_of_ones_own_see_each_update(fake_cuda, monkeypatch):
    class Looking:
        def __init__(self):
            self.seen = []

        def begin(self, model, epochs):
            self.model = model

        def batch(self, epoch, done, examples, loss):
            self.seen.append(np.array(self.model.theta))
            if len(self.seen) == 15:
                raise Stop("enough")

    looking = Looking()
    _, history, calls = fitted(monkeypatch, callbacks=[looking])
    assert calls == [1] * 15
    assert history.stopped == "enough"
    assert all((a != b).any() for a, b in zip(looking.seen, looking.seen[1:]))


def test_gpucnns_own_are_told_of_each_batch(fake_cuda, monkeypatch):
    from gpucnn.training.curves import Steps

    told: list[int] = []

    class Counted(Steps):
        __module__ = Steps.__module__

        def batch(self, epoch, done, examples, loss):
            told.append(done)

    Counted.batch.__module__ = Steps.__module__
    calls = fitted(monkeypatch, callbacks=[Counted()], epochs=1)[2]
    assert TEN in calls
    assert told == [*range(BATCH, IMAGES, BATCH), IMAGES]


def test_large_steps_are_launched_one_by_one(fake_cuda, monkeypatch):
    monkeypatch.setattr(recorded, "SHORT", 1000)
    assert fitted(monkeypatch, epochs=1)[2] == [1] * 28


def test_a_recording_of_ten_that_fails_leaves_single_steps(fake_cuda, monkeypatch):
    """The ten updates themselves are done."""
    record, calls = Device.record, []

    def failing(device, work):
        calls.append(work)
        if len(calls) == 2:
            raise RuntimeError("no room for a graph")
        return record(device, work)

    expected = fitted(monkeypatch, far=False)[0]
    monkeypatch.setattr(Device, "record", failing)
    with pytest.warns(UserWarning, match=r"recording 10 steps failed .*no room.*; each step is launched by"):
        found, _, asked = fitted(monkeypatch)
    assert asked.count(TEN) == 1
    np.testing.assert_array_equal(found.theta, expected.theta)


def test_what_is_not_finite_is_found_in_the_batch_where_it_began(fake_cuda, monkeypatch):
    from gpucnn.errors import TrainingError

    said = []
    for far in (True, False):
        with pytest.raises(TrainingError) as caught:
            fitted(monkeypatch, far=far, optimizer=SGD(), lr=1e25, schedule=lambda step, steps: float(step > 13))
        said.append(str(caught.value).partition(" (it began in ")[2])  # where it was seen depends on the clock
    assert said[0] == said[1]
    assert said[0].startswith("batch 15 of epoch 1: the gradient is finite")


def test_images_that_move_are_recorded_anew(fake_cuda):
    model = Model(SMALL, device="cuda")
    step, put = model.execution.step(model.loss, SGD()), model.device.put
    sets = [[put(each) for each in data(SMALL)] for _ in range(2)]
    order, lrs = put(np.arange(40)), [0.1] * TEN
    for images, labels in (*sets, sets[0]):
        assert step.together(images, labels, None, 4) == 1
        for _ in range(3):
            step(images, labels, order[:4], 0.1)
        assert step.together(images, labels, None, 4) == TEN
        assert step.together(images, labels, None, 3) == 1
        first = step.ten(images, labels, order, lrs)
        kept = np.array(first)
        step.ten(images, labels, order, lrs)
        np.testing.assert_array_equal(first, kept)  # the next replay writes elsewhere
        assert step._ten.recording._graph.launches == 2
    assert step.steps == 3 * 23


def test_the_numbers_of_ten_steps_are_those_of_each(fake_cuda):
    kernels = Model(SMALL, device="cuda").execution.context.kernels
    order, lrs = fake.asarray(np.random.default_rng(0).permutation(30)), [0.1 / (k + 1) for k in range(TEN)]
    held, ten = kernels.begin_ten(order, lrs, 7, AdamW())
    for k, moment in enumerate(ten):
        alone = kernels.begin(order[3 * k : 3 * k + 3], lrs[k], 7 + k, AdamW())
        np.testing.assert_array_equal(moment.order, alone.order)
        np.testing.assert_array_equal(moment.numbers, alone.numbers)
    assert kernels.begin_ten(order, lrs, 17, AdamW(), held)[0] is held


@pytest.mark.gpu
@pytest.mark.skipif(not usable_gpu(), reason="no CUDA device can be used here")
@pytest.mark.parametrize("network", ["two-conv", NORMED], ids=["two-conv", "norm and dropout"])
def test_on_a_gpu(network, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Model(network, device="cuda")
        far, near = (fitted(monkeypatch, model.network, far=far) for far in (True, False))
    assert TEN in far[2]
    np.testing.assert_array_equal(*(each[0].device.fetch(each[0].theta) for each in (far, near)))
    assert [epoch.train_loss for epoch in far[1].epochs] == [epoch.train_loss for epoch in near[1].epochs]


def test_a_schedule_of_ones_own_is_asked_before_each_update(fake_cuda, monkeypatch):
    asked = []

    def own(step, steps):
        asked.append(step)
        return 1.0

    calls = fitted(monkeypatch, epochs=1, schedule=own)[2]
    assert calls == [1] * 28
    assert is_known(schedules.Joined(((0.5, cosine), (0.5, schedules.linear))))
    assert not is_known(schedules.Joined(((0.5, cosine), (0.5, own))))
    assert is_known(functools.partial(schedules.one_cycle, warm=0.1))
