"""Training: what a step computes, in which order, what ends a run, and what stays the same bit for bit."""

from __future__ import annotations

import math
import signal
import threading

import numpy as np
import pytest

from gpucnn import Model, Network
from gpucnn.engine import factors, sharded_step
from gpucnn.engine.gradient import gradient
from gpucnn.engine.inference import Forward, forward_in_spans, images_on_a_gpu
from gpucnn.engine.program import Program
from gpucnn.engine.scaling import Scaling
from gpucnn.engine.sharded_step import ShardedStep
from gpucnn.errors import DeviceError, SettingError, TrainingError
from gpucnn.kernels import REFERENCE, Context, choose
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, Parallel, ReLU
from gpucnn.layers.initializers import generator
from gpucnn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from gpucnn.network.layout import Layout
from gpucnn.optimizers import SGD, Muon
from gpucnn.schedules import SCHEDULES
from gpucnn.training import DIVERGED, History
from gpucnn.workers import Workers

NO_STATE = Layout({}), np.empty(0)
TINY = Network((8, 8, 1), (Conv2D(2, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)))


def examples(count=10, seed=0, shape=(8, 8, 1), classes=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), rng.integers(0, classes, count)


def tiny(**options):
    return Model(TINY, device="cpu", **{"threads": 1, **options})


def theta_after(model, count=10, **options):
    model.fit(*examples(count), **{"batch_size": 4, "epochs": 2, **options})
    return model.theta.copy()


def whole_gradient(theta, images, labels):
    """Losses, and the gradient of their sum as a vector, by the equations of `ops` on the whole batch in float64."""
    layout = Layout(TINY.init(TINY.input_shape, generator(0)))
    params = layout.unpack(theta.astype(np.float64))
    losses, dparams, _ = gradient(TINY, SoftmaxCrossEntropy(), params, images / 255, labels, Context(REFERENCE))
    return losses, layout.pack(dparams, np.empty(layout.size))


@pytest.fixture
def many_shards(monkeypatch):
    """Shards of at most 5 examples, and threads however small the work."""
    monkeypatch.setattr("gpucnn.engine.execution.shard_size", lambda network, parameters: 5)
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    monkeypatch.setattr(sharded_step, "CHUNK", 17)


@pytest.fixture
def ctrl_c():
    """SIGINT raises KeyboardInterrupt, whatever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Recording:
    """A callback that keeps what it is told, and does something at one moment of the run."""

    def __init__(self, at=(), act=lambda: None):
        self.batches, self.epochs, self.at, self.act = [], [], at, act

    def batch(self, epoch, done, examples, loss):
        self.batches.append((epoch, done, examples, loss))
        if (epoch, done) in self.at:
            self.act()

    def epoch(self, epoch):
        self.epochs.append(epoch)


class Enough(Exception):
    pass


def enough():
    raise Enough


# --- one step


@pytest.mark.parametrize(
    ("network", "examples", "workers"),
    [("single-filter", 128, 1), ("single-filter", 512, 3), ("two-conv", 32, 1), ("two-conv", 128, 4), ("fast", 1, 1)],
)
def test_a_step_takes_the_workers_that_it_is_long_enough_for(network, examples, workers):
    """A worker costs a few tenths of a millisecond."""
    update = Model(network, device="cpu", threads=4).execution.step(SoftmaxCrossEntropy(), SGD())
    shards, used = update._shards(np.arange(examples))
    assert used == workers
    assert np.concatenate([indices for _, indices in shards]).tolist() == list(range(examples))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 5, 23])
@pytest.mark.parametrize("large", [1, 10**9])
def test_shards_add_up_to_the_gradient_of_the_whole_batch(many_shards, monkeypatch, threads, count, large):
    monkeypatch.setattr(factors, "LARGE", large)  # gradients of dense layers stay factors from 1 on, never from 10^9 on
    monkeypatch.setattr(sharded_step, "CHUNK", 7)
    images, labels = examples(30)
    batch = np.random.default_rng(1).permutation(30)[:count]
    model = tiny(dtype="float64", threads=threads)
    theta, before = model.theta, model.theta.copy()
    one = model.execution.step(SoftmaxCrossEntropy(), SGD())
    losses = one(images, labels, batch, 1.0)
    expected_losses, g = whole_gradient(before, images[batch], labels[batch])
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-10)
    np.testing.assert_allclose(before - theta, g / count, rtol=1e-9, atol=1e-12)
    assert one.steps == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_may_stay_factors_until_the_update(many_shards, monkeypatch, optimizer, threads):
    thetas, kept = [], []
    keep = factors.FactorStore.keep
    monkeypatch.setattr(factors.FactorStore, "keep", lambda *a: kept.append(a[1]) or keep(*a))
    for large in (1, 10**9):
        monkeypatch.setattr(factors, "LARGE", large)
        model = tiny(dtype="float64", threads=threads)
        kept.clear()
        for batch_size in (3, 8, 5):  # room grows, and then there is some to spare
            model.fit(*examples(20), epochs=1, batch_size=batch_size, optimizer=optimizer, lr=0.01, seed=1)
        assert bool(kept) == (large == 1)
        thetas.append(model.theta.copy())
    np.testing.assert_allclose(*thetas, rtol=1e-9, atol=1e-12)


class Decayed(Dense):
    """A layer of one's own that does arithmetic with a gradient."""

    def backward(self, params, residual, dy, context, *, need_dx=True):
        dx, dparams = super().backward(params, residual, dy, context, need_dx=need_dx)
        return dx, {name: g + 0.01 * params[name] for name, g in dparams.items()}


def test_layers_of_ones_own_get_gradients_as_arrays(monkeypatch):
    monkeypatch.setattr(factors, "LARGE", 1)
    network = Network((8, 8, 1), (Flatten(), Network((64,), (Decayed(6), ReLU())), Dense(3)))
    Model(network, device="cpu", threads=1).fit(*examples(9), epochs=1, batch_size=4)


def test_factors_are_multiplied_at_once_where_they_would_take_more_room(monkeypatch):
    monkeypatch.setattr(factors, "LARGE", 1)
    kept, keep = [], factors.FactorStore.keep
    monkeypatch.setattr(factors.FactorStore, "keep", lambda *a: kept.append(a[4]) or keep(*a))
    model = tiny(
        dtype="float64", threads=1
    )  # its dense layer is 18 x 3: 21 numbers for each example, and 4 x 54 at most
    for batch_size in (10, 11, 10):
        model.fit(*examples(batch_size), epochs=1, batch_size=batch_size)
    assert kept == [10, 10]


def test_a_layer_of_one_unit_has_no_factors(monkeypatch):
    monkeypatch.setattr(factors, "LARGE", 1)
    network = Network((8, 8, 1), (Flatten(), Dense(1, bias=False)))
    model = Model(network, device="cpu", threads=1, loss=BinaryCrossEntropy(), class_names=["a"])
    assert not model.execution.step(model.loss, SGD())._gradients.store.slots


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("layers", "optimizer"),
    [
        ((Parallel((Dense(1), Dense(12))), Dense(3)), SGD()),  # a layer of one unit beside others
        ((Dense(16), ReLU(), Dense(12), Dense(3)), Muon(apart=("3/weights",))),  # the others are moved as a whole
    ],
)
def test_some_large_gradients_stay_factors_and_others_do_not(many_shards, monkeypatch, layers, optimizer, threads):
    network, thetas = Network((8, 8, 1), (Flatten(), *layers)), []
    for large in (1, 10**9):
        monkeypatch.setattr(factors, "LARGE", large)
        model = Model(network, device="cpu", dtype="float64", threads=threads)
        model.fit(*examples(20), epochs=2, batch_size=8, optimizer=optimizer, lr=0.01, progress=False)
        thetas.append(model.theta.copy())
    np.testing.assert_allclose(*thetas, rtol=1e-9, atol=1e-12)


def test_a_step_leaves_images_and_labels_alone(many_shards):
    images, labels = examples(10)
    images.flags.writeable = labels.flags.writeable = False
    tiny(threads=2).fit(images, labels, epochs=1, batch_size=7)


def test_the_last_batch_is_smaller_and_divided_by_its_own_size():
    images, labels = examples(10)
    model = tiny(dtype="float64")
    theta = model.theta.copy()
    seen = Recording()
    history = model.fit(images, labels, epochs=1, batch_size=4, optimizer="sgd", lr=0.5, seed=3, callbacks=[seen])

    _, order_seed = np.random.SeedSequence(3).spawn(2)
    order = generator(order_seed).permutation(10)
    losses = []
    for first in (0, 4, 8):
        batch = order[first : first + 4]
        of_batch, g = whole_gradient(theta, images[batch], labels[batch])
        theta -= 0.5 * g / len(batch)
        losses.extend(of_batch)

    np.testing.assert_allclose(model.theta, theta, rtol=1e-9, atol=1e-12)
    assert [batch[:3] for batch in seen.batches] == [(1, 4, 10), (1, 8, 10), (1, 10, 10)]
    np.testing.assert_allclose([batch[3] for batch in seen.batches[:1]], [np.mean(losses[:4])], rtol=1e-9)
    assert history.epochs[0].train_loss == pytest.approx(np.mean(losses), rel=1e-9)


def test_every_example_is_trained_once_per_epoch_in_a_new_order(monkeypatch):
    batches = []
    original = ShardedStep.__call__

    def spy(self, images, labels, batch, lr, weights=None):
        batches.append(batch.copy())
        return original(self, images, labels, batch, lr)

    monkeypatch.setattr(ShardedStep, "__call__", spy)
    theta_after(tiny(), epochs=2, batch_size=4)
    first, second = np.concatenate(batches[:3]), np.concatenate(batches[3:])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_chunks_of_a_forward_pass_come_in_order(threads):
    images, _ = examples(23)
    model = tiny(dtype="float64", threads=threads)
    layout, context, workers = (
        Layout(TINY.init(TINY.input_shape, generator(0))),
        Context(choose("cpu")),
        Workers(threads),
    )
    program = Program(TINY, layout, layout, model.theta, *NO_STATE, Scaling(), context)
    forwards = [Forward(program, chunk) for chunk in (1, 4, 100)]
    found = [np.concatenate(list(forward_in_spans(each, images, workers, np.asarray))) for each in forwards]
    np.testing.assert_allclose(found[0], found[2], rtol=1e-9)
    np.testing.assert_allclose(found[1], found[2], rtol=1e-9)


# --- scaling


def test_scaling_touches_bytes_only():
    scaling = Scaling(1 / 255, -0.5)
    pixels = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(scaling(pixels, np.float64, REFERENCE).ravel(), [-0.5, -0.3, 0.5])
    floats = np.array([0.25, 0.75]).reshape(1, 1, 2, 1)
    scaled = scaling(floats, np.float64, REFERENCE)
    np.testing.assert_array_equal(scaled, floats)
    assert not np.shares_memory(scaled, floats)


@pytest.mark.parametrize("scaling", [{"scale": math.nan}, {"shift": math.inf}])
def test_scaling_must_be_finite(scaling):
    with pytest.raises(SettingError, match="finite numbers were expected"):
        Scaling(**scaling)


# --- the same run again


def test_the_same_seed_gives_the_same_bits():
    assert theta_after(tiny(seed=1), seed=2).tobytes() == theta_after(tiny(seed=1), seed=2).tobytes()
    assert theta_after(tiny(seed=1), seed=2).tobytes() != theta_after(tiny(seed=1), seed=3).tobytes()
    assert theta_after(tiny(seed=1), seed=2).tobytes() != theta_after(tiny(seed=4), seed=2).tobytes()


@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_number_of_threads_gives_the_same_bits(many_shards, threads):
    runs = {theta_after(tiny(threads=threads), 40, batch_size=30, optimizer="adam").tobytes() for _ in range(4)}
    assert len(runs) == 1


def test_numbers_of_threads_agree_to_rounding(many_shards):
    one, two, three = (theta_after(tiny(threads=threads, dtype="float64"), 40, batch_size=30) for threads in (1, 2, 3))
    np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(three, one, rtol=1e-9, atol=1e-11)


def test_training_goes_on_from_the_parameters_as_they_are():
    model = tiny()
    first = theta_after(model)
    assert theta_after(model).tobytes() != first.tobytes()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_every_optimizer_lowers_the_loss(optimizer):
    images, labels = examples(60)
    model = tiny()
    before = model.evaluate(images, labels)["loss"]
    model.fit(images, labels, epochs=5, batch_size=20, optimizer=optimizer, lr=0.02)
    assert model.evaluate(images, labels)["loss"] < before


# --- what a run tells


@pytest.mark.parametrize("name", SCHEDULES)
def test_epochs_tell_the_rate_of_their_last_step(name):
    history = tiny().fit(*examples(10), epochs=3, batch_size=4, lr=0.01, schedule=name)
    expected = [0.01 * SCHEDULES[name](3 * epoch - 1, 9) for epoch in (1, 2, 3)]
    assert [epoch.lr for epoch in history.epochs] == pytest.approx(expected)


def test_history_of_a_run_with_validation():
    seen = Recording()
    model = tiny()
    held = examples(6, seed=9)
    history = model.fit(*examples(10), epochs=2, batch_size=4, validation=held, callbacks=[seen])
    assert [epoch.epoch for epoch in history.epochs] == [1, 2]
    assert history.epochs == seen.epochs
    found = model.evaluate(*held)
    assert (history.epochs[-1].validation_loss, history.epochs[-1].validation_accuracy) == (
        found["loss"],
        found["accuracy"],
    )
    assert history.examples == 10
    assert history.seconds == sum(epoch.seconds for epoch in history.epochs) > 0
    assert history.images_per_second == pytest.approx(20 / history.seconds)
    assert not history.interrupted


def test_history_without_validation_or_epochs():
    history = tiny().fit(*examples(10), epochs=1)
    assert history.epochs[0].validation_loss is None
    assert history.epochs[0].validation_accuracy is None
    assert History().images_per_second == 0


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"epochs": True},
        {"batch_size": True},
        {"lr": True},
        {"batch_size": 0},
        {"batch_size": "3"},
        {"lr": 0},
        {"lr": math.nan},
        {"lr": math.inf},
        {"lr": "x"},
    ],
)
def test_a_plan_that_makes_no_sense(options):
    with pytest.raises(SettingError, match=r"(epochs|batch_size|lr)=.* was expected"):
        tiny().fit(*examples(10), **options)


@pytest.mark.parametrize(("option", "first"), [("optimizer", "sgd"), ("schedule", "constant")])
def test_names_that_do_not_exist(option, first):
    with pytest.raises(SettingError, match=f"{option} 'fast' is not known; choose one of {first}"):
        tiny().fit(*examples(10), **{option: "fast"})


# --- how a run ends


@pytest.mark.parametrize("threads", [1, 2])
def test_a_loss_that_is_not_finite_stops_the_run_with_a_sentence(many_shards, threads):
    with pytest.raises(
        TrainingError,
        match=r"epoch \d, batch \d: the loss is .*a lower learning rate than 1e\+30, such as 1e\+29 \(lr\), ",
    ):
        tiny(threads=threads).fit(*examples(20), epochs=3, batch_size=12, lr=1e30, optimizer="sgd")


def test_a_loss_that_is_absurd_stops_the_run_too():
    with pytest.raises(TrainingError, match=r"the loss is [0-9.e+]+ \(it began in .* reaches [0-9.e+]+\), so"):
        tiny().fit(*examples(20), epochs=3, batch_size=10, lr=1e12)
    assert math.isfinite(np.float32(DIVERGED) ** 2)


def test_a_parameter_that_overflows_in_the_last_step_stops_the_run():
    with pytest.raises(TrainingError, match="epoch 1: a parameter is no longer finite"):
        tiny().fit(*examples(20), epochs=1, batch_size=20, lr=1e39)


def test_an_interrupt_keeps_the_epochs_before_it():
    def interrupt():
        raise KeyboardInterrupt

    history = tiny().fit(*examples(10), epochs=5, batch_size=4, callbacks=[Recording([(3, 4)], interrupt)])
    assert history.interrupted
    assert [epoch.epoch for epoch in history.epochs] == [1, 2]


def test_ctrl_c_ends_the_run_after_the_step_it_is_in(ctrl_c, many_shards):
    seen = Recording([(2, 8)], lambda: signal.raise_signal(signal.SIGINT))
    model = tiny(threads=2)
    history = model.fit(*examples(10), epochs=5, batch_size=4, callbacks=[seen])
    assert history.interrupted
    assert [epoch.epoch for epoch in history.epochs] == [1]
    assert seen.batches[-1][:2] == (2, 8)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    again = tiny(threads=2)
    with pytest.raises(Enough):
        again.fit(*examples(10), epochs=5, batch_size=4, callbacks=[Recording([(2, 8)], enough)])
    assert model.theta.tobytes() == again.theta.tobytes()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait(ctrl_c):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one was held back too")

    assert tiny().fit(*examples(10), epochs=5, batch_size=4, callbacks=[Recording([(1, 4)], twice)]).interrupted


def test_ctrl_c_in_the_last_step_interrupts_nothing(ctrl_c):
    seen = Recording([(2, 10)], lambda: signal.raise_signal(signal.SIGINT))
    history = tiny().fit(*examples(10), epochs=2, batch_size=4, callbacks=[seen])
    assert not history.interrupted
    assert len(history.epochs) == 2


def test_a_handler_of_the_users_own_stays(ctrl_c):
    calls = []
    signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    seen = Recording([(1, 4)], lambda: signal.raise_signal(signal.SIGINT))
    assert not tiny().fit(*examples(10), epochs=2, batch_size=4, callbacks=[seen]).interrupted
    assert calls == [signal.SIGINT]


def test_training_in_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(theta_after(tiny())))
    thread.start()
    thread.join()
    assert found[0].tobytes() == theta_after(tiny()).tobytes()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"validation": 0.1}, r"a pair \(images, labels\) was expected"),
        ({"seed": -1}, "seed=-1: a whole number of at least 0"),
        ({"optimizer": 3}, r"optimizer=3: sgd, .* or an object like Adam\(\)"),
    ],
)
def test_settings_of_the_wrong_kind_are_refused(options, sentence) -> None:
    with pytest.raises(SettingError, match=sentence):
        tiny().fit(*examples(8), **options)


@pytest.mark.parametrize("batch_size", [10, 1000])
def test_a_run_that_ends_beyond_all_numbers_is_no_success(batch_size) -> None:
    images, labels = examples(40)
    held = {"validation": (images, labels)} if batch_size == 10 else {}
    with pytest.raises(TrainingError, match="training stopped"):
        tiny().fit(images, labels, epochs=1, batch_size=batch_size, optimizer="sgd", lr=1e25, **held)


def test_a_network_without_parameters_is_not_trained() -> None:
    model = Model(Network((4, 4, 1), (MaxPool2D(2), Flatten())), device="cpu")
    images, labels = np.zeros((5, 4, 4, 1), np.uint8), np.zeros(5, int)
    assert model.predict(images).tolist() == [0] * 5
    with pytest.raises(SettingError, match="no parameters, so there is nothing to train"):
        model.fit(images, labels)


def too_large(*arguments: object) -> None:
    raise MemoryError


def test_a_data_set_too_large_for_the_device_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model("softmax-regression", device="cpu")
    monkeypatch.setattr("gpucnn.device.Device.put", too_large)
    monkeypatch.setattr("gpucnn.device.Device.memory", lambda self: (1_000_000, 2_000_000))
    with pytest.raises(
        DeviceError, match=r"cpu: out of memory for the data set's 8 MB, with 1 MB free; train on fewer"
    ):
        model.fit(np.zeros((10_000, 28, 28, 1), np.uint8), np.zeros(10_000, int))


def test_a_gpu_takes_fewer_large_images_at_a_time():
    """A dense layer alone: H W numbers before and after Flatten, and 3."""
    plain = [Network((side, side, 1), (Flatten(), Dense(3))) for side in (28, 1 << 9, 1 << 14)]
    expected = [1024, (1 << 26) // (2 * (1 << 18) + 3), 1]
    large = 1 << 33
    assert [images_on_a_gpu(network, 4, large) for network in plain] == expected
    assert [images_on_a_gpu(Network(network.input_shape, (network,)), 4, large) for network in plain] == expected
    assert images_on_a_gpu(plain[1], 8, large) == expected[1] // 2
    assert images_on_a_gpu(plain[1], 4, large // 2) == expected[1] // 2


def test_spans_are_moved_one_by_one():
    images, _ = examples(23)
    model, moved = tiny(threads=1), []
    context = Context(choose("cpu"))
    forward = Forward(Program(TINY, model.layout, model.layout, model.theta, *NO_STATE, Scaling(), context), 4)
    forward_in = forward_in_spans(forward, images, Workers(1), lambda part: moved.append(len(part)) or part)
    assert sum(map(len, forward_in)) == sum(moved) == 23


def test_too_little_memory_for_a_look_at_images_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = Model("softmax-regression", device="cpu"), np.zeros((60, 28, 28, 1), np.uint8)
    monkeypatch.setattr(Forward, "__call__", too_large)
    for look in (model.predict, lambda x: model.fit(x, np.zeros(60, int), validation=(x, np.zeros(60, int)))):
        with pytest.raises(DeviceError, match=r"cpu: out of memory with \d+ images at a time .* free\); end other"):
            look(images)


def test_too_little_memory_is_a_sentence_with_the_batch_size_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model("softmax-regression", device="cpu")
    monkeypatch.setattr("gpucnn.engine.sharded_step.ShardedStep.__call__", too_large)
    monkeypatch.setattr("gpucnn.device.Device.memory", lambda self: (1_000_000, 2_000_000))
    with pytest.raises(
        DeviceError, match=r"cpu: out of memory with 512 examples per batch .*; a batch size of 32 should fit"
    ):
        model.fit(np.zeros((600, 28, 28, 1), np.uint8), np.zeros(600, int), batch_size=512)
