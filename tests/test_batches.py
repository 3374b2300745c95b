"""Training on batches that come one by one: an iterable, an iterator, a function of the epoch."""

from __future__ import annotations

import itertools
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from fake_cuda import fake_cuda

from gpucnn import Model, Network
from gpucnn.callbacks import EarlyStopping
from gpucnn.engine import sharded_step
from gpucnn.errors import DataError, SettingError, TrainingError
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.model import checkpoints
from gpucnn.optimizers import SGD, Adam
from gpucnn.training import pace
from tests.test_resume import Cut, CutAt, told

__all__ = ["fake_cuda"]

NETWORK = Network((8, 8, 1), (Conv2D(2, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)))
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8), RNG.integers(0, 3, 30)
WEIGHTS = RNG.random(30)
HELD = IMAGES[:7], LABELS[:7]


@pytest.fixture(autouse=True)
def every_step_is_saved(monkeypatch):
    monkeypatch.setattr(pace.Pace, "RATIO", 0.0)
    monkeypatch.setattr(checkpoints, "LEAST", 0.0)


def model(threads=1, **options):
    return Model(NETWORK, device="cpu", threads=threads, **options)


def batches(epoch, size=7, images=IMAGES):
    """The same for an epoch each time, in an order of its own."""
    order = np.random.default_rng(epoch).permutation(len(images))
    for start in range(0, len(images), size):
        here = order[start : start + size]
        yield images[here], LABELS[here]


def in_order(size=10, weights=None):
    parts = [slice(start, start + size) for start in range(0, 30, size)]
    return [(IMAGES[p], LABELS[p]) if weights is None else (IMAGES[p], LABELS[p], weights[p]) for p in parts]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_batches_are_trained_as_a_step_trains_them(monkeypatch, threads, weights):
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    made, other = model(threads), model(threads)
    history = made.fit_batches(in_order(weights=weights), epochs=2)
    step, losses = other.execution.step(other.loss, Adam(), scaling=other.scaling), []
    weights = None if weights is None else weights.astype(np.float32)
    for _ in range(2):
        losses.append([step(IMAGES, LABELS, np.arange(k, k + 10), 1e-3, weights).sum() for k in (0, 10, 20)])
    np.testing.assert_array_equal(made.theta, other.theta)
    assert [epoch.train_loss for epoch in history.epochs] == pytest.approx(
        [sum(each) / 30 for each in losses], rel=1e-6
    )
    assert history.examples == 30
    assert history.images_per_second > 0


def test_an_iterable_a_function_and_an_iterator_are_the_same():
    made = [model() for _ in range(3)]
    found = [
        made[0].fit_batches(in_order(), epochs=3, schedule="cosine", validation=HELD),
        made[1].fit_batches(lambda epoch: in_order(), epochs=3, steps=3, schedule="cosine", validation=HELD),
        made[2].fit_batches(iter(in_order() * 3), epochs=3, steps=3, schedule="cosine", validation=HELD),
    ]
    for each, history in zip(made[1:], found[1:]):
        np.testing.assert_array_equal(each.theta, made[0].theta)
        assert told(history) == told(found[0])
    assert len({epoch.lr for epoch in found[0].epochs}) == 3


def test_an_iterator_ends_the_run_where_it_ends():
    history = model().fit_batches((each for each in in_order()), epochs=9, steps=2)
    assert [epoch.epoch for epoch in history.epochs] == [1, 2]
    assert history.stopped == "there are no more batches"
    history = model().fit_batches(iter(in_order() * 2), epochs=9, steps=2)
    assert ([epoch.epoch for epoch in history.epochs], history.stopped) == ([1, 2, 3], "there are no more batches")
    for epochs in (2, 3):  # it ends in the second
        history = model().fit_batches(iter(in_order() * 2), epochs=epochs, steps=4)
        assert ([epoch.epoch for epoch in history.epochs], history.stopped) == ([1, 2], "there are no more batches")
    history = model().fit_batches(iter(in_order() * 2), epochs=2, steps=3)
    assert ([epoch.epoch for epoch in history.epochs], history.stopped) == ([1, 2], "")
    assert [len(model().fit_batches(iter(in_order())).epochs), model().fit_batches(iter(in_order())).stopped] == [1, ""]


def test_no_batch_is_asked_for_before_it_is_trained():
    given, seen = [], []

    def endless():
        for k in itertools.count():
            given.append(k)
            yield in_order()[k % 3]

    told = SimpleNamespace(batch=lambda epoch, done, examples, loss: seen.append((epoch, done, examples, len(given))))
    model().fit_batches(endless(), epochs=2, steps=2, callbacks=[told])
    assert seen == [(1, 10, 0, 1), (1, 20, 0, 2), (2, 10, 0, 3), (2, 20, 0, 4)]


def test_a_batch_of_which_nothing_counts_has_a_loss_of_0():
    seen, ignoring = [], SoftmaxCrossEntropy(ignore_index=-1)
    told = SimpleNamespace(batch=lambda epoch, done, examples, loss: seen.append(loss))
    none, nothing = (IMAGES, np.full(30, -1)), (IMAGES, LABELS, np.zeros(30))
    made = model(loss=ignoring)
    before = made.theta.copy()
    made.fit_batches([none], optimizer=SGD(), callbacks=[told])
    model().fit_batches([nothing], callbacks=[told])
    assert seen == [0, 0]
    np.testing.assert_array_equal(made.theta, before)
    made.fit_batches([*in_order(), (IMAGES[:10], np.full(10, -1))], callbacks=[told])
    assert seen[4] > 0 == seen[5]


def test_a_data_set_of_which_nothing_counts_is_refused():
    made = model(loss=SoftmaxCrossEntropy(ignore_index=-1))
    for call in (made.fit, made.partial_fit, made.evaluate, made.report):
        with pytest.raises(DataError, match="all labels are -1, which the loss ignores"):
            call(IMAGES, np.full(30, -1))
        with pytest.raises(DataError, match="sample_weight is 0 for all examples that count"):
            call(IMAGES, LABELS, sample_weight=np.zeros(30))
        with pytest.raises(DataError, match="sample_weight is 0 for all examples that count"):
            call(IMAGES, np.where(LABELS == 1, -1, LABELS), sample_weight=(LABELS == 1).astype(int))
    with pytest.raises(DataError, match="all labels are -1"):
        made.fit_batches(in_order(), validation=(IMAGES, np.full(30, -1)))


def test_last_batches_may_be_smaller():
    assert model().fit_batches(lambda epoch: batches(epoch, 8)).examples == 30


def test_tensors_of_pytorch_are_batches():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(IMAGES), torch.tensor(LABELS))
    made, other = model(), model()
    made.fit_batches(torch.utils.data.DataLoader(data, batch_size=10), epochs=2, schedule="cosine")
    other.fit_batches(in_order(), epochs=2, schedule="cosine")
    np.testing.assert_array_equal(made.theta, other.theta)


def fit(folder=None, cut=None, **options):
    made = model()
    stopping = EarlyStopping(2, watch="train_loss")
    options = {
        "epochs": 3,
        "schedule": "one-cycle",
        "steps": 5,
        "early_stopping": stopping,
        "resume": folder,
        **options,
    }
    history = made.fit_batches(batches, validation=HELD, callbacks=[CutAt(cut)] if cut else [], **options)
    return made.theta, made.trained.vectors, told(history)


@pytest.mark.parametrize("cut", range(1, 16))
def test_a_run_on_the_batches_of_a_function_goes_on(tmp_path, cut):
    with pytest.raises(Cut):
        fit(tmp_path, cut)
    found, expected = fit(tmp_path), fit()
    np.testing.assert_array_equal(found[0], expected[0])
    for name, vector in expected[1].items():
        np.testing.assert_array_equal(found[1][name], vector)
    assert found[2] == expected[2]


def test_steps_are_what_a_run_began_with(tmp_path):
    with pytest.raises(Cut):
        fit(tmp_path, 4)
    with pytest.raises(SettingError, match="another steps 5 then and 4 now"):
        fit(tmp_path, steps=4)


def test_ctrl_c_ends_a_run_between_two_batches(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    told = SimpleNamespace(batch=lambda epoch, done, *_: signal.raise_signal(signal.SIGINT) if done == 14 else None)
    try:
        made = model()
        history = made.fit_batches(batches, epochs=3, steps=5, schedule="one-cycle", callbacks=[told], resume=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert history.interrupted
    assert made.trained.position.batches == 2


def test_a_loss_that_is_not_finite_goes_back_to_good_parameters():
    made = model()
    with pytest.raises(TrainingError, match=r"the loss is .*, so training stopped"):
        made.fit_batches(in_order(), epochs=9, lr=1e30, optimizer="sgd")
    assert np.isfinite(made.theta).all()


@pytest.mark.parametrize(
    ("given", "options", "sentence"),
    [
        (3, {}, "batches=3: an iterable of"),
        ([], {}, "epoch 1 has 0 batches; give"),
        (iter([]), {}, "there are no batches; give at least one"),
        (lambda epoch: in_order(), {"steps": 5}, "epoch 1 has 3 batches, and steps=5 were announced"),
        (lambda epoch: in_order() * (epoch == 1), {"epochs": 2}, "epoch 2 has 0 batches"),
        ([IMAGES], {}, r"a batch is a ndarray: \(images, labels\)"),
        ([(IMAGES[:, :7], LABELS)], {}, "images of shape"),
        ([*in_order(), (IMAGES, LABELS)], {}, "epoch 1, batch 4: 30 of .*, after a first batch of 10 of uint8"),
        ([*in_order(), (IMAGES[:5] / 255, LABELS[:5])], {}, "batch 4: 5 of float64, .* or of another type"),
        ([*in_order(), (IMAGES[:5], LABELS[:5], WEIGHTS[:5])], {}, "batch 4: 5 of uint8, int64, float32"),
        (iter(in_order()), {"epochs": 2}, "an iterator ends once, and epochs=2; give steps"),
        (lambda epoch: in_order(), {"schedule": "cosine"}, "the schedule must know how many batches"),
        (in_order(), {"resume": "x"}, "resume: the batches of an iterator or iterable cannot be had again"),
        (in_order(), {"steps": 0}, "steps=0: a whole number of at least 1"),
        (in_order(), {"sample_weight": WEIGHTS}, r"takes no sample_weight; give \(images, labels, weights\)"),
        (in_order(), {"accumulate": 2}, "takes no accumulate; give larger batches"),
        (in_order(), {"anyway": True}, "anyway=True: there is no run to go on with"),
    ],
)
def test_what_cannot_be_batches(given, options, sentence):
    with pytest.raises((DataError, SettingError), match=sentence):
        model().fit_batches(given, **options)


@pytest.mark.parametrize("graph", [True, False])
def test_batches_on_cuda_come_through_pinned_memory(fake_cuda, graph):
    made, other = (
        Model(NETWORK, device=device, dtype="float64", **how)
        for device, how in (("cuda", {"graph": graph}), ("cpu", {"threads": 1}))
    )
    options = {"epochs": 4, "schedule": "cosine", "validation": HELD, "early_stopping": EarlyStopping(9)}
    given = in_order(weights=WEIGHTS) + in_order(weights=WEIGHTS, size=8)[:1]
    found, expected = (each.fit_batches(given, **options) for each in (made, other))
    np.testing.assert_allclose(made.device.fetch(made.theta), other.theta, rtol=1e-9, atol=1e-11)
    assert [epoch.train_loss for epoch in found.epochs] == pytest.approx([e.train_loss for e in expected.epochs])
    assert found.kept == expected.kept


def test_batches_are_augmented():
    plain, changed = model(), model()
    options = {"epochs": 2, "steps": 3}
    plain.fit_batches(lambda epoch: in_order(), **options)
    changed.fit_batches(lambda epoch: in_order(), **options, augmentation="shift=1,flip=alternate")
    assert not np.array_equal(plain.theta, changed.theta)
    with pytest.raises(SettingError, match="flip=alternate must know how many batches an epoch has"):
        model().fit_batches(lambda epoch: in_order(), augmentation="flip=alternate")
