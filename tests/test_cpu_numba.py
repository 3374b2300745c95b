"""The compiled passes give the NumPy table's numbers, ties, zeros and NaN included, and are the ones taken."""

from __future__ import annotations

import itertools
import pickle
import sys

import numpy as np
import pytest
from cases import fuse, run

from gpucnn import Model, networks
from gpucnn.device import Device
from gpucnn.engine.acceleration import Acceleration
from gpucnn.errors import SettingError
from gpucnn.kernels import REFERENCE, Context
from gpucnn.kernels.cpu import EXACT_TIES, NUMPY
from gpucnn.layers import AvgPool2D, Conv2D, MaxPool2D, ReLU
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.network import Network

cpu_numba = pytest.importorskip("gpucnn.kernels.cpu.compiled", reason="numba is not installed")
compiled_depthwise = pytest.importorskip("gpucnn.kernels.cpu.compiled_depthwise")
NUMBA = cpu_numba.compiled_from(NUMPY)


def layers_of(slope, pool_first, size=1):
    pool = MaxPool2D()
    return Conv2D(size, size), *((pool, ReLU(slope)) if pool_first else (ReLU(slope), pool))


@pytest.mark.parametrize("slope", [0.0, 0.5])
@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("pool_first", [False, True])
def test_every_window_of_minus_one_zero_and_one(slope, bias, pool_first):
    windows = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=4))).reshape(81, 2, 2, 1)
    network = Network((2, 2, 1), layers_of(slope, pool_first))
    dy, theta = np.arange(1.0, 82.0).reshape(81, 1, 1, 1), np.array([1.0, bias])
    for found, expected in zip(
        run(fuse(network), NUMBA, theta, windows, dy), run(network, REFERENCE, theta, windows, dy), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pool_first", [False, True])
@pytest.mark.parametrize(("side", "batch"), [(9, 1), (8, 33)])
def test_images_of_reals(dtype, pool_first, side, batch):
    network = Network((side, side, 2), layers_of(0.5, pool_first, 2))
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(2 * 2 * 2 * 2 + 2).astype(dtype)
    x = rng.standard_normal((batch, side, side, 2)).astype(dtype)
    dy = rng.standard_normal((batch, *network.out_shape(x.shape[1:]))).astype(dtype)
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    for found, expected in zip(run(fuse(network), NUMBA, theta, x, dy), run(network, NUMPY, theta, x, dy), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("pool_first", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(4))
def test_what_is_not_finite_stays_so(pool_first, value, place):
    network = Network((2, 2, 1), layers_of(0.5, pool_first))
    windows = np.full((3, 2, 2, 1), -2.0)
    windows[0].flat[place], windows[1].flat[(place + 1) % 4] = value, 5.0
    params = {"0": {"kernel": np.ones((1, 1, 1, 1)), "bias": np.array([0.25])}}
    found, expected = (
        table.leave(fuse(network).forward(params, table.enter(windows), Context(table))[0]) for table in (NUMBA, NUMPY)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("pool", "compiled"),
    [
        (AvgPool2D(2), True),
        (AvgPool2D((3, 2)), True),
        (AvgPool2D((4, 1)), False),
        (AvgPool2D(3, 1), False),
        (AvgPool2D(2, 2, 1, count_padding=True), False),
    ],
    ids=str,
)
def test_average_pooling(pool, compiled, dtype, monkeypatch):
    """Compiled where windows tile the image, NumPy's elsewhere."""
    rng, network, taken = np.random.default_rng(0), Network((6, 10, 3), (pool,)), []
    x = rng.standard_normal((5, 6, 10, 3)).astype(dtype)
    dy = rng.standard_normal((5, *network.out_shape(x.shape[1:]))).astype(dtype)
    for name in ("_average", "_average_backward"):
        original = getattr(cpu_numba, name)
        monkeypatch.setattr(cpu_numba, name, lambda *a, original=original: taken.append(original(*a)))
    found, expected = (run(network, table, np.zeros(0, dtype), x, dy) for table in (NUMBA, NUMPY))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=1e-6 if dtype == "float32" else 1e-14, atol=1e-7)
    assert bool(taken) == compiled


@pytest.mark.parametrize("order", ["C", "F"])
def test_softmax_cross_entropy(order):
    rng = np.random.default_rng(0)
    logits, labels = np.asarray(10 * rng.standard_normal((20, 5)), order=order), rng.integers(0, 5, 20)
    for found, expected in zip(
        NUMBA.losses[SoftmaxCrossEntropy](logits, labels), SoftmaxCrossEntropy()(logits, labels), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["single-filter", "two-conv", "fast", "layered", "avgpool-96"])
def test_named_networks_train_as_with_numpy(name):
    rng = np.random.default_rng(0)
    network = networks.build(name)
    images = rng.integers(0, 256, (40, *network.input_shape), dtype=np.uint8)
    labels = rng.integers(0, 10, 40)
    found = []
    for kernels in ("default", "numba"):
        model = Model(network, device="cpu", dtype="float64", kernels=kernels, threads=2)
        model.fit(images, labels, epochs=2, batch_size=20, optimizer="sgd", lr=0.1)
        found.append((model.theta.copy(), model.logits(images)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


def test_it_is_the_table_taken(monkeypatch):
    assert Model("two-conv", device="cpu", kernels="numba").execution.context.kernels.bias_relu_max_pool.forward is (
        cpu_numba.bias_relu_max_pool
    )
    exact = Model("layered", device="cpu", kernels="numba").execution.context.kernels.correlation
    assert (exact.forward.func, exact.backward) == EXACT_TIES.correlation
    taken = []
    monkeypatch.setattr(cpu_numba, "_max_of_four", lambda *arguments: taken.append(arguments))
    Model("two-conv", device="cpu", kernels="numba", threads=1).logits(np.zeros((1, 28, 28, 1), np.uint8))
    assert len(taken) == 2


def test_a_model_can_be_pickled():
    model = pickle.loads(pickle.dumps(Model("single-filter", device="cpu", kernels="numba")))
    kernels = model.execution.context.kernels
    assert kernels.correlation.forward.keywords["alone"] == compiled_depthwise.COMPILED_WAY


def test_numba_is_of_the_cpu_alone():
    for options in ({"graph": True}, {"precision": "tf32"}):
        with pytest.raises(SettingError, match="kernels 'numba' are the CPU's"):
            Model("two-conv", device="cpu", kernels="numba", **options)
    with pytest.raises(SettingError, match="use the device cpu"):
        Acceleration("numba").table(Device("cuda"), "float32", exact_ties=False)


def test_without_numba_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "gpucnn.kernels.cpu.compiled")
    with pytest.raises(SettingError, match="pip install numba"):
        Model("two-conv", device="cpu", kernels="numba")
