"""Layers inside layers: Residual, Parallel and Shared, in all that a network is asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cases import CASES, fuse, kept, run, told
from fake_cuda import fake_cuda
from layers_of_ones_own import OWN, Dropped, Normalised, PerChannel, Ranked
from nests import NESTS
from test_own_layers import MIXING, examples, many_shards, model_of, trained, with_theta

import gpucnn
from gpucnn import Model, Network
from gpucnn.engine.converted import foreign
from gpucnn.engine.gradient import gradient
from gpucnn.engine.mixing import Reach, at_inference, reach
from gpucnn.engine.notfinite import first_not_finite
from gpucnn.engine.rewrite import rewritten
from gpucnn.errors import SettingError, ShapeError
from gpucnn.kernels import REFERENCE, Context, cuda
from gpucnn.kernels.cpu import EXACT_TIES, NUMPY
from gpucnn.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    Parallel,
    ReLU,
    Residual,
    Shared,
    Tanh,
)
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.model import checkpoint
from gpucnn.network import describe, shares_ties
from gpucnn.network.layout import Layout
from gpucnn.networks import build
from gpucnn.optimizers import Adam
from gpucnn.report.gradient_check import check

__all__ = ["fake_cuda", "many_shards"]

SHAPE = (5, 6, 2)
CONV = Conv2D(2, 3, padding="same")
every_nest = pytest.mark.parametrize("name", NESTS)
every_own = pytest.mark.parametrize("name", OWN)


def around(layer):
    """A user's layer twice in a nest, once on the shortcut."""
    return Residual((layer,), (Parallel(((layer,),), "add"),))


# --- what networks say of them


def test_shapes_and_parameters_by_their_paths():
    layers = Conv2D(4, 3, padding="same"), Residual((CONV, ReLU(), Conv2D(4, 1)), Conv2D(4, 1, bias=None))
    network = Network(SHAPE, (*layers, Parallel((Dense(3), ())))[:2])
    assert network.parameter_shapes() == {
        "0/kernel": (3, 3, 2, 4),
        "0/bias": (4,),
        "1/layers/0/kernel": (3, 3, 4, 2),
        "1/layers/0/bias": (2,),
        "1/layers/2/kernel": (1, 1, 2, 4),
        "1/layers/2/bias": (4,),
        "1/shortcut/0/kernel": (1, 1, 4, 4),
    }
    layout = Layout(network.init(SHAPE, np.random.default_rng(0)))
    assert {slot.name: slot.shape for slot in layout.slots} == network.parameter_shapes()


@every_nest
def test_what_is_said_of_the_parameters_is_what_is_drawn(name):
    layers, shape = NESTS[name]
    network = Network(shape, layers)
    layout = Layout(network.init(shape, np.random.default_rng(0)))
    assert {slot.name: slot.shape for slot in layout.slots} == network.parameter_shapes()
    assert network.parameters == layout.size


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((CONV, Residual((Dense(3),))), r"layer 1 \(Residual\): layers: layer 0 \(Dense\): input has shape"),
        ((Residual((CONV,), (CONV, Dense(3))),), r"layer 0 \(Residual\): shortcut: layer 1 \(Dense\): input has"),
        ((Residual((Conv2D(3, 1),)),), r"the layers give \(5, 6, 3\) and the shortcut \(5, 6, 2\), the input itself"),
        ((Residual((CONV,), Conv2D(3, 1)),), r"\(5, 6, 2\) and the shortcut \(5, 6, 3\); the same shape was expected"),
        ((Parallel((CONV, Conv2D(2, 2))),), r"the branches give \(5, 6, 2\), \(4, 5, 2\); the same shape but for the"),
        ((Parallel((CONV, Conv2D(3, 1)), "add"),), r"the branches give \(5, 6, 2\), \(5, 6, 3\); the same shape was"),
        ((Parallel((CONV, Flatten())),), r"the branches give \(5, 6, 2\), \(60,\)"),
        ((Parallel((CONV, Residual((Dense(2),)))),), r"\(Parallel\): 1: layer 0 \(Residual\): layers: layer 0 \(Dense"),
    ],
)
def test_errors_name_the_way_to_the_layer(layers, message):
    with pytest.raises(ShapeError, match=message):
        Network(SHAPE, layers)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Residual(3), "Residual: layers: layers: 3 is one layer"),
        (lambda: Residual((CONV, ReLU)), r"Residual: layers: layer 1 is .*; write ReLU\(...\)"),
        (lambda: Residual((CONV,), (5,)), "Residual: shortcut: layer 0 is 5: an instance of a layer was expected"),
        (lambda: Parallel(()), r"Parallel: branches=\(\): a tuple of at least one branch was expected"),
        (lambda: Parallel((CONV,), "mean"), "Parallel: merge='mean': one of concat, add was expected"),
        (lambda: Parallel((CONV, 3)), "Parallel: branch 1: layers: 3 is one layer"),
        (lambda: Shared("a/b", CONV), "Shared: name='a/b': letters, digits"),
        (lambda: Shared(CONV, "a"), "Shared: name=Conv2D"),
    ],
)
def test_what_is_no_layer_is_refused(make, message):
    with pytest.raises((ShapeError, SettingError), match=message):
        make()


def test_a_layer_alone_is_a_chain_of_one():
    assert Residual(CONV, CONV) == Residual((CONV,), (CONV,))
    assert Parallel([CONV, [CONV, ReLU()]]) == Parallel(((CONV,), (CONV, ReLU())))
    assert Shared("a", CONV) == Shared("a", [CONV])


def test_descriptions_and_the_summary_look_inside():
    nest = Residual((CONV, Parallel((Conv2D(1, 1), Conv2D(1, 1)))), Conv2D(2, 1, bias=None))
    network = Network(SHAPE, (nest, Flatten(), Shared("last", Dense(3))))
    assert [describe(layer) for layer in network.layers[::2]] == ["Residual of 3 layers", "Shared('last') of 1 layers"]
    assert describe(Parallel((CONV, ()), "add")) == "Parallel(merge='add') of 1 layers"
    lines = [line.split("  ") for line in network.summary(4).splitlines()]
    found = [[part.strip() for part in line if part.strip()] for line in lines]
    assert found[2:] == [
        ["0", "Residual of 3 layers", "5 x 6 x 2", "48", "1,320"],
        ["layers/0 Conv2D(2, 3, padding='same')", "5 x 6 x 2", "38", "1,080"],
        ["layers/1 Parallel of 2 layers", "5 x 6 x 2", "6", "120"],
        ["layers/1/0/0 Conv2D(1, 1)", "5 x 6 x 1", "3", "60"],
        ["layers/1/1/0 Conv2D(1, 1)", "5 x 6 x 1", "3", "60"],
        ["shortcut/0 Conv2D(2, 1, bias=None)", "5 x 6 x 2", "4", "120"],
        ["1", "Flatten()", "60", "0", "0"],
        ["2", "Shared('last') of 1 layers", "3", "183", "180"],
        ["last/0 Dense(3)", "3", "183", "180"],
        ["total", "231", "1,500"],
        ["about 0.0 MB to train on 4 examples"],
    ]


def test_the_outputs_of_layers_inside_take_memory():
    inner = Network(SHAPE, (CONV, ReLU()))
    network = Network(SHAPE, (Residual((CONV, inner), Conv2D(2, 1)), Shared("a", Flatten())))
    assert network.output_sizes() == [60] * 7
    alone = Network(SHAPE, (CONV, Flatten(), Dense(3)))
    nested = Network(SHAPE, (CONV, Residual((CONV,)), Flatten(), Dense(3)))
    assert nested.memory(100) - alone.memory(100) == 4 * (100 * 120 + 4 * (nested.parameters - alone.parameters))
    sizes = [Model(each, device="cpu", threads=1).training_memory(batch_size=200) for each in (alone, nested)]
    assert sizes[1] > sizes[0]


# --- what they compute


@every_nest
@pytest.mark.parametrize("table", [REFERENCE, NUMPY, EXACT_TIES], ids=lambda table: table.name)
def test_no_layer_writes_a_gradient_that_another_reads(name, table):
    """dy goes to several chains, and what a chain gives goes on: read-only arrays between all of them."""

    class Guarded(Layer):
        def forward(self, params, x, context):
            return read_only(x), None

        def backward(self, params, residual, dy, context, *, need_dx=True):
            return read_only(dy), {}

    def read_only(array):
        array = array.view()
        array.flags.writeable = False
        return array

    layers, shape = NESTS[name]
    network, guard = Network(shape, layers), Guarded()
    object.__setattr__(guard, "speaks_table", True)
    plain, x, dy = with_theta(network)
    expected = run(fuse(network), table, plain, x, dy)
    guarded = rewritten(network, table)
    guarded = Network(shape, tuple(each for layer in guarded.layers for each in (guard, _guarded(layer, guard), guard)))
    for found, wanted in zip(run(guarded, table, plain, x, dy), expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


def _guarded(layer, guard):
    chains = layer.nested()
    inner = {
        name: (guard, *(each for one in held for each in (_guarded(one, guard), guard)))
        for name, held in chains.items()
    }
    return layer.renested(inner)


@every_nest
@pytest.mark.parametrize("table", [REFERENCE, NUMPY], ids=lambda table: table.name)
def test_inference_is_the_forward_pass_and_keeps_nothing(name, table):
    layers, shape = NESTS[name]
    network = Network(shape, layers)
    theta, x, _ = with_theta(network)
    params, context = (
        Layout(network.init(shape, np.random.default_rng(0))).unpack(theta),
        told(network, table, range(6), np.array),
    )
    network = rewritten(network, table, blocks=False)
    y, _ = network.forward(params, table.enter(x), context)
    np.testing.assert_array_equal(network.outputs(params, table.enter(x), context), y)


@every_nest
def test_backward_lets_go_of_what_the_layers_kept(name):
    layers, shape = NESTS[name]
    network = Network(shape, layers)
    theta, x, dy = with_theta(network)
    params = Layout(network.init(shape, np.random.default_rng(0))).unpack(theta)
    _, residuals = network.forward(params, x, Context())
    inner = [each for each in residuals if isinstance(each, list)]
    network.backward(params, residuals, dy, Context())
    assert not residuals
    assert not any(inner)


def test_branches_are_not_gone_through_for_nothing():
    """Behind no parameters and without dx, a branch has nothing to do."""
    called = []

    class Seen(Tanh):
        def backward(self, *arguments, **options):
            called.append(1)
            return super().backward(*arguments, **options)

    network = Network((4,), (Parallel((Seen(), Dense(2))),))
    params = network.init((4,), np.random.default_rng(0))
    for need_dx in (False, True):
        _, residuals = network.forward(params, np.ones((3, 4)), Context())
        network.backward(params, residuals, np.ones((3, 6)), Context(), need_dx=need_dx)
        assert len(called) == need_dx


def test_ties_are_shared_inside_nests_too():
    nest = Parallel((Residual((MaxPool2D(ties="all"),), MaxPool2D()), Network(SHAPE, (MaxPool2D(),))))
    assert shares_ties(Network(SHAPE, (nest,)))
    assert not shares_ties(Network(SHAPE, (Parallel((MaxPool2D(), MaxPool2D())),)))


@every_nest
def test_gradients_are_checked_by_their_paths(name):
    layers, shape = NESTS[name]
    network = Network(shape, layers)
    rows = check(network)
    assert [row.name for row in rows] == ["input", *network.parameter_shapes()]
    assert all(row.right for row in rows)


def test_branches_are_torchs(monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    F = torch.nn.functional
    nest = Residual((Parallel((CONV, (Conv2D(3, 1), Tanh()))), Conv2D(2, 1)), Conv2D(2, 1, bias=None))
    network = Network(SHAPE, (nest,))
    theta, x, dy = with_theta(network)
    layout = Layout(network.init(SHAPE, np.random.default_rng(0)))
    theta = theta + 0.1
    leaves = {
        slot.name: torch.tensor(theta[slot.place].reshape(slot.shape), requires_grad=True) for slot in layout.slots
    }
    image = torch.tensor(x, requires_grad=True)

    def conv(y, name):
        kernel = leaves[f"0/{name}/kernel"].permute(3, 2, 0, 1)
        return F.conv2d(y, kernel, leaves.get(f"0/{name}/bias"), padding="same")

    inside = image.permute(0, 3, 1, 2)
    branches = conv(inside, "layers/0/0/0"), torch.tanh(conv(inside, "layers/0/1/0"))
    y = (conv(torch.cat(branches, 1), "layers/1") + conv(inside, "shortcut/0")).permute(0, 2, 3, 1)
    y.backward(torch.tensor(dy))
    g = np.concatenate([leaves[slot.name].grad.numpy().ravel() for slot in layout.slots])
    for table in (REFERENCE, NUMPY):
        found = run(network, table, theta, x, dy)
        for ours, theirs in zip(found, (y.detach().numpy(), image.grad.numpy(), g)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_blocks_are_made_inside_nests():
    block = Conv2D(2, 3), ReLU(), MaxPool2D()
    network = rewritten(Network((8, 8, 1), (Residual(block, (Shared("a", block),)),)), NUMPY)
    [layers], [shared] = network.layers[0].layers, network.layers[0].shortcut
    assert type(layers).__name__ == "ConvReLUMaxPool"
    assert type(shared.layers[0]).__name__ == "ConvReLUMaxPool"


def test_a_class_derived_from_a_nest_may_compute_something_else():
    class Doubled(Residual):
        def forward(self, params, x, context):
            y, residual = super().forward(params, x, context)
            return 2 * y, residual

        def backward(self, params, residual, dy, context, *, need_dx=True):
            return super().backward(params, residual, 2 * dy, context, need_dx=need_dx)

    network = Network(SHAPE, (Doubled((CONV, Tanh())), ReLU()))
    arguments = with_theta(network)
    assert type(rewritten(network, NUMPY).layers[0]).__name__ == "Converted"
    for found, expected in zip(run(rewritten(network, NUMPY), NUMPY, *arguments), run(network, REFERENCE, *arguments)):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


# --- layers of a user's own inside


@every_own
@pytest.mark.parametrize("table", ["numpy", "cuda"])
def test_layers_of_ones_own_in_nests_give_the_references_numbers(name, table, request):
    layer = around(OWN[name])
    network = Network(SHAPE, (CONV, layer, Flatten(), Dense(3)))
    arguments = with_theta(network)
    if table == "numpy":
        kernels, put, fetch = NUMPY, np.asarray, np.asarray
    else:
        request.getfixturevalue("fake_cuda")
        import fake_cuda as fake

        kernels, put, fetch = cuda.table(dtype="float64"), fake.asarray, fake.asnumpy
    params = np.random.default_rng(1).standard_normal(arguments[0].shape)
    found = run(rewritten(network, kernels), kernels, put(params), *map(put, arguments[1:]), put=put)
    for a, b in zip(found, run(network, REFERENCE, params, *arguments[1:])):
        np.testing.assert_allclose(fetch(a), b, rtol=1e-9, atol=1e-12)


@every_own
@pytest.mark.parametrize("threads", [1, 2])
def test_shards_and_workers_change_no_number_in_nests(name, threads, many_shards):
    expected, found = trained(around(OWN[name]), kernels="reference"), trained(around(OWN[name]), threads=threads)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.execution.state, expected.execution.state, rtol=1e-8, atol=1e-10)
    assert found.state.keys() == expected.state.keys()


def test_how_far_layers_in_nests_reach():
    for name, layer in OWN.items():
        for network in (Network(SHAPE, (around(layer),)), rewritten(Network(SHAPE, (around(layer),)), NUMPY)):
            assert reach(network) is MIXING.get(name, Reach.EXAMPLE)
    assert reach(Network(SHAPE, (Residual((BatchNorm(),)),))) is Reach.SUMS
    assert reach(Network(SHAPE, (Parallel(((), ReLU())),))) is Reach.EXAMPLE
    said = at_inference(rewritten(Network(SHAPE, (around(Ranked()),)), NUMPY))
    assert [text.split()[1] for text in said] == ["Ranked", "Ranked"]


def test_layers_of_ones_own_in_nests_are_known_as_such():
    layers = rewritten(Network(SHAPE, (around(PerChannel()), Shared("a", Dropped()))), NUMPY).layers
    assert [*foreign(layers)] == ["PerChannel", "PerChannel", "Dropped"]


def test_layers_inside_draw_each_for_itself():
    """Both chains of a nest, and all uses of what is shared, have keys of their own."""
    drops = Parallel((Dropped(), Shared("a", Dropped()), Shared("a", Dropped())))
    network = Network((50,), (drops,))
    context = Context(key=3, update=1, examples=np.arange(4))
    y, _ = network.forward({}, np.ones((4, 50)), context)
    parts = y[:, :50], y[:, 50:100], y[:, 100:]
    assert all(0 < (a != b).mean() < 1 for a, b in zip(parts, parts[1:] + parts[:1]))
    context = Context(NUMPY, key=3, update=1, examples=np.arange(4))
    again, _ = rewritten(network, NUMPY).forward({}, NUMPY.enter(np.ones((4, 50))), context)
    np.testing.assert_array_equal(again, y)


def test_a_network_of_nests_comes_back_from_a_file(tmp_path):
    layer = Residual((Normalised(), Shared("one", Conv2D(3, 1))), Parallel((Shared("one", Conv2D(3, 1)),)))
    model = trained(layer)
    path = model.save(tmp_path / "model.safetensors")
    again = gpucnn.load(path, device="cpu", layers=[Normalised], threads=1)
    assert again.network == model.network
    assert {*again.parameters} >= {"3/layers/1/one/0/kernel", "3/layers/1/one/0/bias"}
    assert not any("shortcut" in name for name in again.parameters)
    assert {*again.state} == {"3/layers/0/mean", "3/layers/0/variance"}
    images, _ = examples(5)
    np.testing.assert_array_equal(again.logits(images), model.logits(images))
    description = checkpoint.layer_to_dict(model.network)
    assert json.loads(json.dumps(description)) == description


def test_what_is_not_finite_is_found_inside():
    class Overflows(Tanh):
        def forward(self, params, x, context):
            return x * np.inf, x

    network = Network(SHAPE, (CONV, Residual((ReLU(), Parallel((Overflows(), ())), Conv2D(2, 1))), Flatten()))
    theta, x, _ = with_theta(network)
    params = Layout(network.init(SHAPE, np.random.default_rng(0))).unpack(theta)
    with np.errstate(all="ignore"):
        found = first_not_finite(network, SoftmaxCrossEntropy(), params, x, np.zeros(6, int), Context())
    assert found.startswith("the output of layer 1/layers/1/0/0 (Overflows) reaches ")


# --- shared parameters


def shared_network():
    return Network(SHAPE, (Shared("a", CONV), Tanh(), Residual((Shared("a", CONV),)), Flatten(), Dense(3)))


def test_shared_parameters_stand_once():
    network = shared_network()
    assert network.parameter_shapes() == {
        "0/a/0/kernel": (3, 3, 2, 2),
        "0/a/0/bias": (2,),
        "4/weights": (60, 3),
        "4/bias": (3,),
    }
    assert network.parameters == 38 + 183
    model = Model(network, device="cpu", threads=1)
    assert model.layout.size == 38 + 183
    params = model.layout.unpack(np.zeros(model.layout.size))
    params["0"]["a"]["0"]["kernel"][...] = 7
    assert (params["2"]["layers"]["0"]["a"]["0"]["kernel"] == 7).all()


@pytest.mark.parametrize("table", [REFERENCE, NUMPY], ids=lambda table: table.name)
def test_gradients_of_all_uses_are_added(table):
    """Beside the same network whose layers have parameters of their own, equal ones."""
    network = shared_network()
    plain = Network(SHAPE, (CONV, Tanh(), Residual((CONV,)), Flatten(), Dense(3)))
    theta, x, dy = with_theta(network)
    y, dx, g = run(rewritten(network, table), table, theta, x, dy)
    y_plain, dx_plain, g_plain = run(plain, REFERENCE, np.concatenate([theta[:38], theta]), x, dy)
    np.testing.assert_allclose(y, y_plain, rtol=1e-10)
    np.testing.assert_allclose(dx, dx_plain, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(g, np.concatenate([g_plain[:38] + g_plain[38:76], g_plain[76:]]), rtol=1e-10, atol=1e-12)


def test_adding_gradients_writes_none_that_is_somebody_elses():
    network = shared_network()
    theta, x, dy = with_theta(network)
    params = Layout(network.init(SHAPE, np.random.default_rng(0))).unpack(theta)
    found = []
    for _ in range(2):
        _, residuals = network.forward(params, x, Context())
        again = kept(residuals)
        found += [
            network.backward(params, each, dy, Context())[1]["0"]["a"]["0"]["kernel"] for each in (again, residuals)
        ]
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            (Shared("a", Conv2D(3, 1)), Residual((Shared("a", Conv2D(3, 1)),))),
            r"Shared 'a': layer 1/layers/0, whose input is \(5, 6, 3\), has parameters of shapes \(1, 1, 3, 3\), "
            r"\(3,\), and layer 0, whose input is \(5, 6, 2\), \(1, 1, 2, 3\), \(3,\); the same shapes were expected",
        ),
        ((Shared("a", CONV), Shared("a", ReLU())), r"layer 1, .* has parameters of shapes none, and layer 0"),
    ],
)
def test_shapes_of_shared_parameters_agree(layers, message):
    with pytest.raises(ShapeError, match=message):
        Network(SHAPE, layers)


def test_what_has_no_parameters_may_differ():
    """One kernel with two dilations."""
    shared = [Shared("a", Conv2D(2, 3, padding="same", dilation=n)) for n in (1, 2)]
    network = Network(SHAPE, (Parallel(tuple(shared)),))
    assert network.parameters == 38
    assert all(row.right for row in check(network))


def test_a_large_shared_matrix_is_added_up(many_shards):
    """Gradients that stay factors elsewhere are whole arrays here."""
    square = Dense(600, bias=False)
    found = []
    for kernels in ("reference", "default"):
        network = Network((600,), (Shared("a", square), Tanh(), Shared("a", square), square, Dense(3)))
        model = Model(network, device="cpu", dtype="float64", kernels=kernels, threads=2)
        rng = np.random.default_rng(0)
        step = model.execution.step(model.loss, Adam())
        with model.execution.active():
            for _ in range(2):
                step(rng.standard_normal((16, 600)), np.arange(16) % 3, np.arange(16), 0.01)
        found.append(model.theta)
    np.testing.assert_allclose(*found, rtol=1e-7, atol=1e-9)


def test_each_use_has_a_state_of_its_own():
    block = Shared("a", (BatchNorm(), Conv2D(2, 1)))
    model = model_of(Parallel((block, (ReLU(), block))))
    names = {"3/0/0/a/0/mean", "3/0/0/a/0/variance", "3/1/1/a/0/mean", "3/1/1/a/0/variance"}
    assert {*model.state} == names
    before = {name: value.copy() for name, value in model.state.items()}
    model.fit(*examples(), epochs=1, batch_size=12)
    assert all((model.state[name] != before[name]).any() for name in names)
    assert {name for name in model.parameters if "/a/" in name} == {
        f"3/0/0/a/{name}" for name in ("0/scale", "0/bias", "1/kernel", "1/bias")
    }


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_optimisers_see_shared_parameters_once(optimizer, many_shards):
    shared = Shared("a", Conv2D(3, 1))
    found = []
    for kernels, threads in (("reference", 1), ("default", 2)):
        model = model_of(Residual((shared, Tanh(), shared)), kernels=kernels, threads=threads)
        model.fit(*examples(), epochs=2, batch_size=12, optimizer=optimizer, lr=0.05, seed=5)
        found.append(model.theta)
    np.testing.assert_allclose(*found, rtol=1e-8, atol=1e-10)


def test_there_are_cases_of_nests():
    assert {*NESTS} <= {*CASES}


# --- networks of papers


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "allcnn", "mobile-small"])
@pytest.mark.parametrize("table", [REFERENCE, NUMPY], ids=lambda table: table.name)
def test_networks_of_papers_are_torchs(name, table):
    """Logits, all gradients, and the running state after the pass; without dropout, whose masks differ."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from gpucnn.report.bench.torch_layers import arrays, modules

    network = build(name)
    network = Network(network.input_shape, tuple(Dropout(0.0) if type(k) is Dropout else k for k in network.layers))
    params = network.init(network.input_shape, np.random.default_rng(1))
    module = modules(network.layers, network.input_shape, {}).double()
    with torch.no_grad():
        for into, array in zip(module.parameters(), arrays(network, params), strict=True):
            into.copy_(torch.from_numpy(np.array(array)))
    x, labels = np.random.default_rng(2).standard_normal((3, *network.input_shape)), np.array([1, 7, 4])
    loss = torch.nn.functional.cross_entropy(module(torch.tensor(x.transpose(0, 3, 1, 2))), torch.tensor(labels))
    loss.backward()
    layout = Layout(params)
    theta, context = layout.pack(params, np.empty(layout.size)), told(network, table, range(3), np.array)
    running = rewritten(network, table)
    of_running = Layout(running.init(network.input_shape, np.random.default_rng(1)))
    states = Layout(running.init_state(network.input_shape))
    context = told(running, table, range(3), np.array)
    losses, dparams, state = gradient(
        running, SoftmaxCrossEntropy(), of_running.unpack(theta), table.enter(x), labels, context
    )
    np.testing.assert_allclose(losses.mean(), loss.item(), rtol=1e-9)
    found = layout.unpack(of_running.pack(dparams, np.empty(layout.size)) / 3)
    for ours, theirs in zip(arrays(network, found), module.parameters(), strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-6, atol=1e-9)
    if states.size:
        kept = states.pack(state, np.empty(states.size))
        theirs = [each.numpy().ravel() for key, each in module.state_dict().items() if "running" in key]
        np.testing.assert_allclose(kept, np.concatenate(theirs), rtol=1e-8, atol=1e-10)


def test_resnet20_goes_on_to_its_deeper_kin():
    """He et al., 2015, table 6: 0.27, 0.46, 0.66 and 0.85 million."""
    assert [round(build("resnet20", blocks=n).parameters / 1e6, 2) for n in (3, 5, 7, 9)] == [0.27, 0.46, 0.66, 0.85]
