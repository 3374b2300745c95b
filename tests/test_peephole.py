"""The peephole changes no number, keeps theta, and leaves alone what it may not touch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cases import fuse, run

from gpucnn import networks
from gpucnn.engine.rewrite import Converted, ConvMaxPool, ConvReLU, ConvReLUMaxPool
from gpucnn.kernels import REFERENCE
from gpucnn.kernels.cpu import NUMPY
from gpucnn.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Tanh
from gpucnn.network import Network
from gpucnn.network.layout import Layout

both_tables = pytest.mark.parametrize("kernels", [REFERENCE, NUMPY], ids=lambda kernels: kernels.name)
every_rule = pytest.mark.parametrize(("slope", "ties"), list(itertools.product((0.0, 0.5), ("first", "all"))))


def size_of(network):
    return Layout(network.init(network.input_shape, np.random.default_rng(0))).size


@both_tables
@every_rule
@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("block", [ConvReLUMaxPool, ConvMaxPool])
def test_every_window_of_minus_one_zero_and_one(kernels, slope, ties, bias, block):
    windows = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=4))).reshape(81, 2, 2, 1)
    pool = MaxPool2D(ties=ties)
    layers = (ReLU(slope), pool) if block is ConvReLUMaxPool else (pool, ReLU(slope))
    network = Network((2, 2, 1), (Conv2D(1, 1), *layers))
    assert type(fuse(network).layers[0]) is (Conv2D if block is ConvMaxPool and ties == "all" else block)
    dy = np.arange(1.0, 82.0).reshape(81, 1, 1, 1)
    theta = np.array([1.0, bias])
    for found, expected in zip(
        run(fuse(network), kernels, theta, windows, dy), run(network, REFERENCE, theta, windows, dy)
    ):
        np.testing.assert_array_equal(found, expected)


@both_tables
@every_rule
@pytest.mark.parametrize("pool", [(2,), ((3, 2), (1, 2)), ((2, 3), (3, 4)), (2, None, 0)], ids=str)
@pytest.mark.parametrize("batch", [1, 40])
@pytest.mark.parametrize("pool_first", [False, True])
def test_blocks_with_ties_and_zeros_give_the_plain_numbers(kernels, slope, ties, pool, batch, pool_first):
    pool = MaxPool2D(*pool, ties=ties)
    layers = (Conv2D(3, (2, 3), flip=True), *((pool, ReLU(slope)) if pool_first else (ReLU(slope), pool)))
    network = Network((9, 8, 2), layers)
    kind = (Conv2D if ties == "all" else ConvMaxPool) if pool_first else ConvReLUMaxPool
    assert type(fuse(network).layers[0]) is kind
    rng = np.random.default_rng(5)
    theta = rng.integers(-1, 2, size_of(network)).astype(float)
    x = rng.integers(-1, 2, (batch, 9, 8, 2)).astype(float)
    dy = rng.standard_normal((batch, *network.out_shape((9, 8, 2))))
    for found, expected in zip(run(fuse(network), kernels, theta, x, dy), run(network, REFERENCE, theta, x, dy)):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_theta_stays_as_it_is(name):
    network = networks.build(name)
    fused = fuse(network)
    params, of_fused = (net.init(net.input_shape, np.random.default_rng(1)) for net in (network, fused))
    layout, layout_of_fused = Layout(params), Layout(of_fused)
    assert [slot[1:] for slot in layout_of_fused.slots] == [slot[1:] for slot in layout.slots]
    theta, theta_of_fused = (
        found.pack(tree, np.empty(found.size)) for found, tree in ((layout, params), (layout_of_fused, of_fused))
    )
    np.testing.assert_array_equal(theta_of_fused, theta)
    assert fused.multiply_adds() == network.multiply_adds()
    assert fused.shapes()[-1] == network.shapes()[-1]


@pytest.mark.parametrize(
    ("name", "blocks"), [("single-filter", 1), ("two-conv", 2), ("layered", 2), ("vgg-small", 2), ("fast", 2)]
)
def test_named_networks_are_fused(name, blocks):
    assert (
        sum(isinstance(layer, (ConvReLUMaxPool, ConvMaxPool)) for layer in fuse(networks.build(name)).layers) == blocks
    )


@pytest.mark.parametrize("name", ["two-conv", "layered", "fast"])
@both_tables
def test_whole_networks_give_the_plain_numbers(name, kernels):
    network, rng = networks.build(name), np.random.default_rng(2)
    theta = 0.2 * rng.standard_normal(size_of(network))
    x = rng.random((3, *network.input_shape)) * (rng.random((3, *network.input_shape)) < 0.3)
    dy = rng.standard_normal((3, 10))
    for found, expected in zip(run(fuse(network), kernels, theta, x, dy), run(network, REFERENCE, theta, x, dy)):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "layers",
    [
        (Conv2D(2, 3, bias="untied"), ReLU(), MaxPool2D()),
        (Conv2D(2, 3), Tanh(), MaxPool2D()),
        (Conv2D(2, 3, bias="untied"), MaxPool2D()),
        (Conv2D(2, 3), MaxPool2D(3, 2, 1)),
        (Conv2D(2, 3), MaxPool2D(ties="all")),
    ],
    ids=str,
)
def test_other_layers_are_left_alone(layers):
    network = Network((8, 8, 1), layers)
    assert fuse(network) == network


@pytest.mark.parametrize(
    "behind", [(), (AvgPool2D(),), (MaxPool2D(3, 2, 1),), (MaxPool2D(2, padding="same", stride=1),)], ids=str
)
@pytest.mark.parametrize("bias", ["tied", None])
def test_a_relu_behind_a_convolution_is_one_layer_with_it(behind, bias):
    convolution = Conv2D(2, 3, bias=bias)
    assert fuse(Network((8, 8, 1), (convolution, ReLU(), *behind))).layers == (ConvReLU(convolution, ReLU()), *behind)


def test_a_convolution_without_a_bias_and_its_pool_are_two_layers():
    layers = Conv2D(2, 3, bias=None), ReLU(), MaxPool2D()
    assert fuse(Network((8, 8, 1), layers)).layers == (ConvReLU(*layers[:2]), layers[2])


def test_derived_layers_are_left_alone():
    class Leaky(ReLU):
        """May have a forward and backward of its own."""

    network = Network((8, 8, 1), (Conv2D(2, 3), Leaky(), MaxPool2D()))
    assert fuse(network).layers == (Conv2D(2, 3), Converted(Leaky()), MaxPool2D())


def test_same_padding_that_pads_nothing_is_fused():
    network = Network((8, 8, 1), (Conv2D(2, 3, padding="same"), ReLU(), MaxPool2D(2, padding="same")))
    assert len(fuse(network).layers) == 1


def test_networks_inside_networks_are_fused_too():
    inner = Network((8, 8, 1), (Conv2D(2, 3), ReLU(), MaxPool2D()))
    network = Network((8, 8, 1), (inner, Flatten(), Dense(3)))
    fused = fuse(network)
    assert isinstance(fused.layers[0].layers[0], ConvReLUMaxPool)
    assert size_of(fused) == size_of(network)
