"""A layer of one's own computes the same on every table, in shards and whole, and one by one as in batches."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from cases import run
from fake_cuda import fake_cuda
from layers_of_ones_own import OWN, Broken, Centred, Dropped, Normalised, PerChannel, Ranked, Uneven, Wide

import gpucnn
from gpucnn import Model, Network
from gpucnn.engine import sharded_step
from gpucnn.engine.mixing import Reach, reach
from gpucnn.engine.rewrite import Converted, rewritten
from gpucnn.kernels import REFERENCE, Context, cuda
from gpucnn.kernels.cpu import EXACT_TIES, NUMPY
from gpucnn.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    Shared,
    Sigmoid,
    Tanh,
    ZeroPad2D,
)
from gpucnn.layers.chain import Chain
from gpucnn.network.layout import Layout
from gpucnn.optimizers import SGD
from gpucnn.report import check, table_check
from gpucnn.workers import helpers, packing
from gpucnn.workers.channel import Channel

__all__ = ["fake_cuda"]

SHAPE = (7, 8, 2)
MIXING = {"the batch centred": Reach.BATCH, "the batch's largest": Reach.BATCH, "batch normalisation": Reach.SUMS}
every_layer = pytest.mark.parametrize("name", OWN)


def network_with(layer, shape=SHAPE):
    return Network(shape, (Conv2D(3, 2), ReLU(), MaxPool2D((2, 1)), layer, Flatten(), Dense(4), Dense(3)))


def examples(count=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *SHAPE), np.uint8), rng.integers(0, 3, count)


def model_of(layer, **options):
    return Model(network_with(layer), **({"device": "cpu", "dtype": "float64", "threads": 1} | options))


def trained(layer, **options):
    model = model_of(layer, **options)
    model.fit(*examples(), epochs=2, batch_size=12, optimizer="sgd", lr=0.05, seed=5)
    return model


@pytest.fixture
def many_shards(monkeypatch):
    """Shards of at most 5 examples, and workers however small the work."""
    monkeypatch.setattr("gpucnn.engine.execution.shard_size", lambda network, parameters: 5)
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)


def with_theta(network):
    rng = np.random.default_rng(3)
    layout = Layout(network.init(network.input_shape, rng))
    x, dy = rng.standard_normal((6, *network.input_shape)), rng.standard_normal((6, *network.shapes()[-1]))
    return layout.pack(network.init(network.input_shape, rng), np.empty(layout.size)), x, dy


@every_layer
@pytest.mark.parametrize("table", [NUMPY, EXACT_TIES], ids=["numpy", "exact ties"])
def test_the_cpu_tables_give_the_references_numbers(name, table):
    network = network_with(OWN[name])
    arguments = with_theta(network)
    for found, expected in zip(run(rewritten(network, table), table, *arguments), run(network, REFERENCE, *arguments)):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@every_layer
def test_the_cuda_table_gives_the_references_numbers(name, fake_cuda):
    import fake_cuda as fake

    network = network_with(OWN[name])
    arguments = with_theta(network)
    table = cuda.table(dtype="float64")
    found = run(rewritten(network, table), table, *map(fake.asarray, arguments), put=fake.asarray)
    for a, b in zip(found, run(network, REFERENCE, *arguments)):
        np.testing.assert_allclose(fake.asnumpy(a), b, rtol=1e-9, atol=1e-12)


@every_layer
def test_training_on_the_cpus_table_is_training_on_the_reference(name):
    expected, found = trained(OWN[name], kernels="reference"), trained(OWN[name])
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.execution.state, expected.execution.state, rtol=1e-8, atol=1e-10)
    assert found.state.keys() == expected.state.keys()


@every_layer
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_shards_and_workers_change_no_number(name, threads, many_shards):
    expected, found = trained(OWN[name], kernels="reference"), trained(OWN[name], threads=threads)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.execution.state, expected.execution.state, rtol=1e-8, atol=1e-10)


@every_layer
@pytest.mark.parametrize("kernels", ["default", "reference"])
def test_images_one_by_one_give_what_they_give_in_batches(name, kernels):
    if MIXING.get(name) is Reach.BATCH:
        pytest.skip("it looks at other images in inference, too, and says so")
    model, (images, _) = trained(OWN[name], kernels=kernels), examples(9, seed=8)
    one_by_one = np.concatenate([model.logits(images[k : k + 1]) for k in range(9)])
    np.testing.assert_allclose(one_by_one, model.logits(images), rtol=1e-9, atol=1e-12)


@every_layer
@pytest.mark.filterwarnings("ignore:what .* gives for an image depends:UserWarning")
def test_the_running_state_and_the_parameters_come_back_from_a_file(name, tmp_path):
    if not hasattr(type(OWN[name]), "__dataclass_fields__"):
        pytest.skip("a class that is no dataclass cannot be written")
    model, (images, _) = trained(replace(OWN[name])), examples(5)
    model.save(tmp_path / "model.safetensors")
    classes = {type(OWN[name]).__name__: type(OWN[name])}
    again = gpucnn.load(tmp_path / "model.safetensors", device="cpu", layers=classes, threads=1)
    np.testing.assert_array_equal(again.logits(images), model.logits(images))
    assert {k: v.tolist() for k, v in again.state.items()} == {k: v.tolist() for k, v in model.state.items()}


def test_what_reaches_beyond_an_example_is_found_out():
    found = {name: reach(Network(SHAPE, (layer,))) for name, layer in OWN.items()}
    assert found == {name: MIXING.get(name, Reach.EXAMPLE) for name in OWN}
    assert reach(Network(SHAPE, (Network(SHAPE, (Ranked(),)), Flatten()))) is Reach.BATCH
    assert reach(Network(SHAPE, (Converted(Normalised()), Flatten()))) is Reach.SUMS


@dataclass(frozen=True)
class Noisy(Layer):
    """Numbers of its own, in inference too."""

    def forward(self, params, x, context):
        return x + np.random.normal(size=x.shape), None


def test_a_layer_that_draws_in_inference_is_told_so():
    model = Model(Network(SHAPE, (Noisy(), Flatten(), Dense(3))), device="cpu", threads=1)
    with pytest.warns(UserWarning, match=r"what Noisy gives for an image is another one each time, .* only where"):
        model.predict(np.zeros((2, *SHAPE), np.uint8) + 99)


def test_a_layer_from_elsewhere_computes_with_the_reference_table():
    layers = rewritten(network_with(Centred((1, 2))), NUMPY).layers
    assert [type(layer).__name__ for layer in layers] == ["ConvReLUMaxPool", "Converted", "Flatten", "Dense", "Dense"]
    nested = Network(SHAPE, (Network(SHAPE, (PerChannel(), ReLU())), Flatten()))
    assert type(rewritten(nested, NUMPY).layers[0].layers[0]) is Converted


class Native(PerChannel):
    """Speaks the table: the channel axis is where the table has it."""

    speaks_table = True

    def forward(self, params, x, context):
        assert context.kernels is NUMPY
        return context.kernels.bias.forward(x.copy(), params["factor"])[0], None


def test_a_class_that_speaks_the_table_is_not_converted():
    network = Network(SHAPE, (Native(), Flatten()))
    layers = rewritten(network, NUMPY).layers
    assert type(layers[0]) is Native
    x = np.random.default_rng(0).standard_normal((2, *SHAPE))
    y, _ = layers[0].forward({"factor": np.array([1.0, -2.0])}, NUMPY.enter(x), Context(NUMPY))
    np.testing.assert_allclose(NUMPY.leave(y), x + np.array([1, -2]))


def test_numbers_of_another_type_become_those_of_the_network():
    model = model_of(Wide(), dtype="float32")
    model.fit(*examples(), epochs=1, batch_size=12)
    assert model.logits(examples()[0]).dtype == np.float32


# --- drawing at random


def masks(layer, table=REFERENCE, put=np.asarray, update=3, key=17, indices=(4, 9, 2)):
    """What a layer leaves of ones, behind two layers that become a block on some tables."""
    network = rewritten(Network(SHAPE, (Conv2D(2, 1, bias="tied"), MaxPool2D(1), Dropped(), layer)), table)
    theta = np.array([1.0, 0, 0, 1, 0, 0])  # the convolution is the identity
    params = Layout(network.init(SHAPE, np.random.default_rng(0))).unpack(put(theta))
    context = Context(table, update=update, key=key, examples=put(np.array(indices)))
    y, _ = network.forward(params, table.enter(put(np.ones((len(indices), *SHAPE)))), context)
    return table.leave(y)


def test_the_same_numbers_are_dropped_on_every_table(fake_cuda):
    import fake_cuda as fake

    expected = masks(Dropped())
    assert 0.2 < (expected > 0).mean() < 0.3
    np.testing.assert_array_equal(masks(Dropped(), NUMPY), expected)
    np.testing.assert_array_equal(fake.asnumpy(masks(Dropped(), cuda.table(dtype="float64"), fake.asarray)), expected)


def test_what_is_dropped_depends_on_the_seed_the_layer_the_update_and_the_example():
    expected = masks(ReLU())
    assert (masks(ReLU(), key=18) != expected).any()
    assert (masks(ReLU(), update=4) != expected).any()
    np.testing.assert_array_equal(masks(ReLU(), indices=(2, 4, 9)), expected[[2, 0, 1]])
    two = masks(Dropped())
    assert ((two == 0) & (expected > 0)).any()


def test_every_library_draws_the_same(library):
    context = Context(key=5, update=2, examples=library.put(np.array([7, 0, 3])))
    drawn, uniform = context.bits((2, 3)), context.uniform((2, 3), library.put(np.zeros(1, np.float32)).dtype)
    expected = Context(key=5, update=2, examples=np.array([7, 0, 3])).bits((2, 3))
    np.testing.assert_array_equal(library.fetch(drawn), expected)
    np.testing.assert_array_equal(library.fetch(uniform), (expected >> 8).astype(np.float32) / 2**24)
    assert expected.shape == (3, 2, 3)


def test_uniform_numbers_are_uniform():
    drawn = Context(key=1, update=1, examples=np.arange(1000)).uniform((100,), np.float64)
    assert 0 <= drawn.min() < 1e-4
    assert 1 - 1e-4 < drawn.max() < 1
    np.testing.assert_allclose(np.histogram(drawn, 10, (0, 1))[0] / drawn.size, 0.1, atol=0.004)


def test_the_same_seed_of_fit_drops_the_same(many_shards):
    one, two = trained(Dropped()), trained(Dropped(), threads=2)
    np.testing.assert_allclose(two.theta, one.theta, rtol=1e-9, atol=1e-12)
    other = model_of(Dropped())
    other.fit(*examples(), epochs=2, batch_size=12, optimizer="sgd", lr=0.05, seed=6)
    assert not np.allclose(other.theta, one.theta)


# --- statistics of the whole batch


@pytest.fixture(params=["threads", "processes"])
def workers(request, monkeypatch, many_shards):
    """Other workers than the caller are threads, as for classes that helpers may not import, or helper processes."""
    if request.param == "threads":
        yield
        return
    if not helpers.possible():
        pytest.skip("helper processes are not used on this system")
    team = helpers.Team()
    monkeypatch.setattr(packing, "KNOWN", {*packing.KNOWN, "layers_of_ones_own"})
    monkeypatch.setattr(helpers, "team", team)
    team.start(2)
    yield
    assert all(helper.process.poll() is None for helper in team.helpers)
    assert team.helpers
    team.close()


def first_update(layers, images, labels, threads=2):
    model = Model(Network(SHAPE, layers), device="cpu", dtype="float64", threads=threads)
    step = model.execution.step(model.loss, SGD())
    with model.execution.active():
        step(images, labels, np.arange(len(images)), 0.1)
    return model


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_statistics_are_the_whole_batchs_whatever_the_workers(threads, workers):
    """After one update of 30 examples: the mean and variance of what comes in, in float64 on the whole batch."""
    images, labels = examples(30)
    layers = (Conv2D(3, 2), ReLU(), MaxPool2D((2, 1)), Normalised(momentum=0.0), Flatten(), Dense(3))
    before = Model(Network(SHAPE, layers), device="cpu", dtype="float64")
    x, _ = Network(SHAPE, layers[:3]).forward(before.layout.unpack(before.theta), images / 255, Context())
    model = first_update(layers, images, labels, threads)
    np.testing.assert_allclose(model.state["3/mean"], x.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(model.state["3/variance"], x.var(axis=(0, 1, 2)), rtol=1e-12)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_and_processes_give_the_bits_of_each_other(threads, workers):
    found = trained(Normalised(), threads=threads)
    digest = hashlib.sha256(found.theta.tobytes() + found.execution.state.tobytes()).hexdigest()
    assert digest == BITS.setdefault(threads, digest)


BITS: dict[int, str] = {}  # of whichever ran first


def test_parts_that_ask_for_different_numbers_of_sums_are_told_so(workers):
    images = np.full((20, *SHAPE), 255, np.uint8)
    for part in (slice(0, 10), slice(10, 20)):
        uneven = images.copy()
        uneven[part] = 0
        with pytest.raises(gpucnn.errors.TrainingError, match=r"must call context\.total equally often"):
            first_update((Uneven(), Dense(3)), uneven, np.zeros(20, int))
    first_update((Normalised(), Flatten(), Dense(3)), *examples(20))


@pytest.mark.parametrize("bad", [0, 19])
def test_a_part_that_fails_is_heard_of_and_the_others_do_not_wait(bad, workers):
    images = np.zeros((20, *SHAPE), np.uint8)
    images[bad] = 255
    with pytest.raises(ZeroDivisionError, match="here"):
        first_update((Broken(), Flatten(), Dense(3)), images, np.zeros(20, int))
    first_update((Normalised(), Flatten(), Dense(3)), *examples(20))


# --- what check says


class Liar(PerChannel):
    """Says that it speaks the table, and looks at the last axis all the same."""

    speaks_table = True

    def forward(self, params, x, context):
        return x * params["factor"].reshape(-1)[0] + x.sum(axis=-1, keepdims=True), x


@pytest.mark.parametrize("name", OWN)
def test_check_finds_layers_right_on_the_tables_too(name):
    network = network_with(OWN[name])
    assert table_check.on_tables(network, gpucnn.Device()) == ["numpy"]
    found = table_check.mixing(network)
    assert found == ([f"layer 3 ({type(OWN[name]).__name__})"] if MIXING.get(name) is Reach.BATCH else [])


def test_a_border_of_zeros_is_no_difference_between_tables():
    """Winograd's sums leave rounding errors where the first bias, 0, makes the equations give 0 to a ReLU."""
    network = Network((6, 6, 4), (ZeroPad2D(3), Conv2D(16, 3, padding=1), ReLU(), Flatten(), Dense(3)))
    assert table_check.on_tables(network, gpucnn.Device()) == ["numpy"]


def test_check_finds_a_class_that_does_not_speak_the_table_as_it_says():
    with pytest.raises(gpucnn.errors.GpucnnError, match=r"the output differs .*'numpy' table of cpu; a class"):
        table_check.on_tables(network_with(Liar()), gpucnn.Device())


def test_check_uses_the_tables_of_a_cuda_device(fake_cuda):
    network = Network(SHAPE, (Conv2D(3, 2), ReLU(), MaxPool2D((2, 1)), Flatten(), Dense(3)))
    assert table_check.on_tables(network, gpucnn.Device("cuda")) == ["reference", "cuda"]


# --- layers that hide what they do


class ByGradient(Centred):
    """Only backward looks at the whole batch, with and without the sums of other parts."""

    def __init__(self, asks):
        super().__init__((1,))
        object.__setattr__(self, "asks", asks)

    def forward(self, params, x, context):
        return x, None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        square = (dy * dy).sum(keepdims=True)
        return dy / np.sqrt(context.total(square) if self.asks else square), {}


class SumsAndMore(Layer):
    """Asks for sums, and looks at the largest of its part besides."""

    def forward(self, params, x, context):
        m = context.total(x.sum(axis=0)) / context.total(np.full(1, len(x)))
        scale = 1 / (1 + abs(x).max())
        return (x - m) * scale, scale

    def backward(self, params, scale, dy, context, *, need_dx=True):
        return dy * scale, {}


class Roots(Layer):
    """Says nothing of negative numbers."""

    def forward(self, params, x, context):
        return np.sqrt(x) / np.sqrt(x).sum(), x

    def backward(self, params, x, dy, context, *, need_dx=True):
        return dy / (1 + x), {}


class OfLargeBatches(Layer):
    """Looks at others only in batches that no trial has, and says so."""

    mixes = True

    def forward(self, params, x, context):
        return (x / abs(x).max(), None) if len(x) > 4 else (x, None)

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy, {}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (ByGradient(True), Reach.SUMS),
        (ByGradient(False), Reach.BATCH),
        (SumsAndMore(), Reach.BATCH),
        (Roots(), Reach.BATCH),
        (OfLargeBatches(), Reach.BATCH),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_layer_that_hides_what_it_looks_at(layer, expected, recwarn):
    assert reach(Network(SHAPE, (layer,))) is expected
    assert not recwarn.list


def test_a_trial_leaves_numpys_random_numbers_alone():
    class Random(PerChannel):
        def forward(self, params, x, context):
            return super().forward(params, x * np.random.random(), context)

    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    assert reach(Network(SHAPE, (Random(),))) is Reach.BATCH
    assert np.random.random() == expected


class WritesTheSum(Normalised):
    def forward(self, params, x, context):
        if context.training:
            m = context.total(x.sum(axis=(0, 1, 2)))
            m /= len(x)
        return super().forward(params, x, context)


class WritesTheState(Normalised):
    def next_state(self, state, residual):
        state["mean"] += 1
        return state


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("layer", [WritesTheSum(), WritesTheState()], ids=lambda each: type(each).__name__)
def test_sums_and_states_are_read_only(layer, threads, many_shards):
    with pytest.raises(ValueError, match="read-only"):
        first_update((layer, Flatten(), Dense(3)), *examples(20), threads)


class Shifting(Layer):
    """The state is made of views of the one before it."""

    def init_state(self, in_shape):
        return {"last": np.zeros(1), "before": np.zeros(1)}

    def next_state(self, state, residual):
        return {"last": state["last"] + 1, "before": state["last"]}

    def forward(self, params, x, context):
        return x, None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy, {}


@pytest.mark.parametrize("kernels", ["default", "reference"])
def test_a_state_that_is_made_of_the_one_before_it(kernels):
    model = Model(Network(SHAPE, (Shifting(), Flatten(), Dense(3))), device="cpu", kernels=kernels)
    model.fit(*examples(24), epochs=1, batch_size=4)
    assert {name: float(value[0]) for name, value in model.state.items()} == {"0/last": 6, "0/before": 5}


class ReusesItsOutput(Layer):
    """The sigmoid, whose backward writes into what forward gave."""

    def forward(self, params, x, context):
        y = 1 / (1 + np.exp(-x))
        return y, y

    def backward(self, params, y, dy, context, *, need_dx=True):
        y *= 1 - y
        y *= dy
        return y, {}


def test_a_layer_may_write_into_its_own_output(monkeypatch):
    monkeypatch.setattr("gpucnn.engine.factors.LARGE", 1)
    layers = (Flatten(), Dense(9), ReusesItsOutput(), Dense(8), ReLU(), Dense(3))
    found, expected = (Model(Network(SHAPE, layers), device="cpu", dtype="float64", threads=1) for _ in range(2))
    plain = Network(SHAPE, (*layers[:2], Sigmoid(), *layers[3:]))
    expected = Model(plain, device="cpu", dtype="float64", threads=1)
    for model in (found, expected):
        model.fit(*examples(20), epochs=2, batch_size=10)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-9, atol=1e-12)


class Whole(Network):
    """A network with something of its own before it: what derives from Network is a layer of one's own."""

    def forward(self, params, x, context):
        return super().forward(params, x - x.mean(axis=(1, 2), keepdims=True), context)


def test_a_class_derived_from_network_meets_what_a_layer_meets(fake_cuda):
    network = Whole(SHAPE, (Conv2D(2, 3), ReLU(), MaxPool2D(), Flatten(), Dense(3)))
    found, expected = (Model(network, device="cpu", dtype="float64", kernels=k) for k in ("default", "reference"))
    images, _ = examples(9)
    np.testing.assert_allclose(found.logits(images), expected.logits(images), rtol=1e-9)
    assert found.parameters.keys() == expected.parameters.keys() == {"0/kernel", "0/bias", "4/weights", "4/bias"}
    with pytest.warns(UserWarning, match="no CUDA graph: Whole is not gpucnn's own"):
        Model(network, device="cuda", graph=True).execution.step(found.loss, SGD())


class Gives(PerChannel):
    """Gives what a layer should not: dx, dparams."""

    def __init__(self, dx, dparams):
        self.gives = dx, dparams

    def backward(self, params, x, dy, context, *, need_dx=True):
        return (dy if self.gives[0] else None), self.gives[1]


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (
            (False, {"factor": np.zeros(3)}),
            r"layer 3 \(Gives\): backward: dx is None; a \w+ of shape \(8, 3, 7, 3\) was expected",
        ),
        ((True, {}), r"layer 3 \(Gives\): backward: dparams has \[\], a dict with \['factor'\] was expected"),
        ((True, None), r"dparams has None, a dict"),
        (
            (True, {"factor": np.zeros(1)}),
            r"dparams: factor is a ndarray of shape \(1,\) and type float64, an array of",
        ),
        ((True, {"factor": 0.0}), r"dparams: factor is 0.0, an array of shape \(3,\) was expected"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.filterwarnings("ignore:no CUDA graph:UserWarning")
def test_gradients_that_do_not_fit_are_refused(gives, says, device, fake_cuda):
    model = Model(network_with(Gives(*gives)), device=device, threads=1, kernels="default")
    with pytest.raises(gpucnn.errors.ShapeError, match=says):
        model.fit(*examples(8), epochs=1, batch_size=8)


class Container(Layer):
    """Holds layers, the second of which has no parameters, and says so."""

    def out_shape(self, in_shape):
        return Conv2D(2, 3).out_shape(in_shape)

    def init(self, in_shape, rng):
        return {"0": Conv2D(2, 3).init(in_shape, rng), "1": {}}

    def forward(self, params, x, context):
        x, first = Conv2D(2, 3).forward(params["0"], x, context)
        x, second = ReLU().forward(params["1"], x, context)
        return x, (first, second)

    def backward(self, params, residual, dy, context, *, need_dx=True):
        dy, nothing = ReLU().backward(params["1"], residual[1], dy, context)
        dx, dparams = Conv2D(2, 3).backward(params["0"], residual[0], dy, context, need_dx=need_dx)
        return dx, {"0": dparams, "1": nothing}


def test_a_container_may_have_layers_without_parameters(tmp_path):
    found = Model(Network(SHAPE, (Container(), Flatten(), Dense(3))), device="cpu", dtype="float64")
    expected = Model(Network(SHAPE, (Conv2D(2, 3), ReLU(), Flatten(), Dense(3))), device="cpu", dtype="float64")
    for model in (found, expected):
        model.fit(*examples(20), epochs=2, batch_size=10)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-9, atol=1e-12)


@dataclass(frozen=True)
class Chained(Layer):
    """Holds layers, and passes everything on."""

    layers: tuple

    def out_shape(self, in_shape):
        return Chain(self.layers).out_shape(in_shape)

    def init(self, in_shape, rng):
        return Chain(self.layers).init(in_shape, rng)

    def forward(self, params, x, context):
        return Chain(self.layers).forward(params, x, context)

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return Chain(self.layers).backward(params, residual, dy, context, need_dx=need_dx)


SHARED = Shared("a", Dense(4))


@pytest.mark.parametrize(
    "layers",
    [
        (Chained((SHARED, Tanh(), SHARED)),),
        (SHARED, Chained((Tanh(), SHARED))),
        (Chained((Network((4,), (SHARED, SHARED)), Tanh(), SHARED)), SHARED),
    ],
)
@pytest.mark.parametrize("kernels", ["reference", "default"])
def test_a_container_may_share_parameters(layers, kernels):
    network = Network((4,), (*layers, Dense(3)))
    assert all(row.right for row in check(network))
    assert network.parameters == 20 + 15
    flat = Network((4,), (*[each for layer in layers for each in flattened(layer)], Dense(3)))
    rng = np.random.default_rng(0)
    data, thetas = (rng.random((20, 4)), rng.integers(0, 3, 20)), []
    for each in (network, flat):
        model = Model(each, device="cpu", dtype="float64", kernels=kernels, threads=1)
        model.fit(*data, epochs=2, batch_size=10)
        thetas.append(model.theta)
    np.testing.assert_allclose(*thetas, rtol=1e-9, atol=1e-12)


def flattened(layer):
    if isinstance(layer, Chained | Network):
        return [each for inner in layer.layers for each in flattened(inner)]
    return [layer]


class Trains(Centred):
    """Trains a model of its own in the middle of a step."""

    thetas: ClassVar[list] = []

    def forward(self, params, x, context):
        if context.training:
            inner = Model(Network(SHAPE, (Normalised(), Flatten(), Dense(3))), device="cpu", threads=1)
            inner.fit(*examples(20), epochs=1, batch_size=10)
            self.thetas.append(inner.theta.copy())
        context.total(np.zeros(1))
        return super().forward(params, x, context)


def test_a_step_inside_a_step_keeps_its_sums_to_itself(many_shards):
    Trains.thetas.clear()
    Model(Network(SHAPE, (Trains((3,)), Flatten(), Dense(3))), device="cpu", threads=2).fit(
        *examples(20), epochs=1, batch_size=20
    )
    alone = Model(Network(SHAPE, (Normalised(), Flatten(), Dense(3))), device="cpu", threads=1)
    alone.fit(*examples(20), epochs=1, batch_size=10)
    assert len(Trains.thetas) >= 2
    for theta in Trains.thetas:
        np.testing.assert_array_equal(theta, alone.theta)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_step_made_before_a_fork_is_refused_in_the_child():
    model = model_of(Centred((3,)), threads=2)
    step, (images, labels), before = model.execution.step(model.loss, SGD()), examples(20), model.theta.copy()
    child = os.fork()
    if not child:
        try:
            step(images, labels, np.arange(20), 0.1)
        except gpucnn.errors.TrainingError as error:
            os._exit(0 if "before the process was forked" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(model.theta, before)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.filterwarnings("error")
def test_predictions_that_depend_on_other_images_are_warned_of_once(name):
    model, (images, _) = model_of(OWN[name]), examples(6)
    if MIXING.get(name) is Reach.BATCH:
        with pytest.warns(UserWarning, match=f"what {type(OWN[name]).__name__} gives for an image depends on"):
            model.logits(images)
    model.logits(images)


class Drawing(Layer):
    """Draws without asking whether it trains."""

    def forward(self, params, x, context):
        return x + context.uniform(tuple(x.shape[1:]), x.dtype), None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy, {}


def test_drawing_in_inference_is_refused():
    model = model_of(Drawing())
    model.fit(*examples(8), epochs=1, batch_size=8)
    with pytest.raises(gpucnn.errors.SettingError, match=r"ask context\.training before context\.uniform"):
        model.logits(examples(8)[0])


class NextState(Shifting):
    def __init__(self, gives):
        self.gives = gives

    def next_state(self, state, residual):
        return self.gives


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (None, r"layer 3 \(NextState\): next_state has None, a dict with \['before', 'last'\] was expected"),
        ({"last": np.zeros(1)}, r"next_state has \['last'\]"),
        (
            {"last": np.zeros(()), "before": np.zeros(1)},
            r"last is a ndarray of shape \(\) .*, an array of shape",
        ),
    ],
)
def test_a_next_state_that_does_not_fit_is_refused(gives, says):
    with pytest.raises(gpucnn.errors.ShapeError, match=says):
        model_of(NextState(gives)).fit(*examples(8), epochs=1, batch_size=8)


class Gives1(PerChannel):
    """forward gives what it should not."""

    def __init__(self, make):
        self.make = make

    def forward(self, params, x, context):
        return self.make(x * params["factor"], x)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda y, x: y, r"layer 3 \(Gives1\): forward gives a ndarray of shape .*; write `return y, residual`"),
        (lambda y, x: [y, x], r"forward gives \[array.{1,80}; write"),
        (lambda y, x: (y.tolist(), x), r"forward: y is \[\[.{1,80}; a ndarray of shape \(8, 3, 7, 3\) was expected"),
        (lambda y, x: (y[..., :2], x), r"forward: y is a ndarray of shape \(8, 3, 7, 2\) .*; a ndarray of shape"),
        (lambda y, x: (y * 1j, x), r"forward: y is a ndarray .* complex128; real numbers were expected"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(make, says):
    with pytest.raises(gpucnn.errors.ShapeError, match=says):
        model_of(Gives1(make)).fit(*examples(8), epochs=1, batch_size=8)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"factor": 1.5}, r"3/factor is 1.5; an array was expected: write numpy.asarray"),
        (None, r"layer 3 \(Init\): init gives None; a dict of arrays, or {}, was expected".replace(";", ",")),
        (np.ones(3), r"layer 3 \(Init\): init gives array"),
    ],
)
def test_parameters_that_are_none_are_refused(params, says):
    class Init(PerChannel):
        def init(self, in_shape, rng):
            return params

    with pytest.raises(gpucnn.errors.ShapeError, match=says):
        model_of(Init())


def test_what_has_no_backward_says_so():
    @dataclass(frozen=True)
    class Half(Layer):
        def forward(self, params, x, context):
            return x, None

    with pytest.raises(NotImplementedError, match="Half has no method backward"):
        model_of(Half()).fit(*examples(8), epochs=1, batch_size=8)
    with pytest.raises(gpucnn.errors.ShapeError, match=r"expected; its class has no method out_shape, which"):
        Network(SHAPE, (SimpleNamespace(forward=None),))


@pytest.mark.parametrize("moment", ["reading", "noting", "telling"])
def test_an_interrupt_between_two_sums_ends_the_step_and_not_the_next(moment, many_shards, monkeypatch):
    """Ctrl-C while a message is on its way: the helper is replaced, and nobody waits for ever."""
    if not helpers.possible():
        pytest.skip("helper processes are not used on this system")
    team = helpers.Team()
    monkeypatch.setattr(packing, "KNOWN", {*packing.KNOWN, "layers_of_ones_own"})
    monkeypatch.setattr(helpers, "team", team)
    team.start(1)
    receive, send, calls = Channel.receive, Channel.send, []

    def interrupted(self, *arguments, **options):
        result = None if moment == "reading" else (receive if moment == "noting" else send)(self, *arguments, **options)
        calls.append(result)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return receive(self) if moment == "reading" else result

    layers, (images, labels) = (Normalised(), Flatten(), Dense(3)), examples(20)
    first_update(layers, images, labels)  # the task is known there
    model = Model(Network(SHAPE, layers), device="cpu", dtype="float64", threads=2)
    step = model.execution.step(model.loss, SGD())
    monkeypatch.setattr(Channel, "send" if moment == "telling" else "receive", interrupted)

    def steps():
        with model.execution.active():
            for _ in range(3):
                step(images, labels, np.arange(20), 0.1)

    with pytest.raises(KeyboardInterrupt):
        steps()
    monkeypatch.undo()
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    team.close()
    first_update(layers, images, labels)


@dataclass(frozen=True)
class Holding(Chained):
    """It forgets the states of what it holds."""


def test_a_layer_that_forgets_the_state_of_what_it_holds_is_told_so_before_it_is_trained():
    says = (
        r"^layer 3 \(Holding\): forward: a BatchNorm gets no running state; a layer that holds it must have init_state"
    )
    network = network_with(Holding((BatchNorm(),)))
    model = Model(network, device="cpu")
    with pytest.raises(gpucnn.errors.SettingError, match=says):
        model.fit(*examples(8), epochs=1, batch_size=8)
    with pytest.raises(gpucnn.errors.SettingError, match=says):
        model.predict(examples(8)[0])
    with pytest.raises(gpucnn.errors.GpucnnError, match=says):
        check(network)


class Fails(Centred):
    """In a method."""

    def __init__(self, method):
        super().__init__((3,))
        object.__setattr__(self, "method", method)

    def forward(self, params, x, context):
        if self.method == "forward":
            raise LookupError("here")
        return (x[:, 1:], None) if self.method == "shape" else super().forward(params, x, context)

    def backward(self, params, residual, dy, context, *, need_dx=True):
        if self.method == "backward":
            raise LookupError("here")
        return super().backward(params, residual, dy, context)


@pytest.mark.parametrize("method", ["forward", "backward", "shape"])
@pytest.mark.parametrize("threads", [1, 2])
def test_which_of_several_layers_of_a_class_fails_is_said(method, threads, many_shards):
    inner = Residual((Tanh(), Fails(method)))
    model = Model(network_with(inner), device="cpu", threads=threads)
    with pytest.raises((LookupError, gpucnn.errors.ShapeError)) as caught:
        model.fit(*examples(8), epochs=1, batch_size=8)
    if method == "shape":
        assert str(caught.value).startswith("layer 3/layers/1 (Fails): forward: y is a ndarray of shape")
    else:
        assert f"in layer 3/layers/1 (Fails): {method}" in caught.value.__notes__
