"""Numbers at the edges by hand: whole numbers, NaN, logits that rule a class out, batches of nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import CASES, fuse
from conftest import Library
from test_laws import TABLES
from worked import image

from gpucnn import Model, layers, ops
from gpucnn.errors import GpucnnError
from gpucnn.kernels import EXACT_REFERENCE, REFERENCE, Context, Kernels
from gpucnn.layers import AvgPool2D, Conv2D, Dense, Flatten, LeakyReLU, MaxPool2D, ReLU, Reshape, Sigmoid, Tanh
from gpucnn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from gpucnn.network import Network
from gpucnn.network.layout import Layout

every_table = pytest.mark.parametrize(
    "table", [REFERENCE, EXACT_REFERENCE, *TABLES], ids=lambda table: table.name + " exact" * table.exact_ties
)
WHOLE = pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "bool"])


def whole(dtype: str, *shape: int) -> np.ndarray:
    high = {"uint8": 256, "int8": 128, "int64": 1000, "bool": 2}[dtype]
    return np.random.default_rng(0).integers(-high if dtype.startswith("int") else 0, high, shape).astype(dtype)


# Whole numbers


BY_HAND: dict[str, tuple[Callable[..., Any], np.ndarray, list]] = {
    "average of bytes": (ops.average_pool, image([255, 255], [255, 255]).astype("uint8"), [255]),
    "largest of negative ones": (ops.max_pool, image([-5, -3], [-7, -2]).astype("int8"), [-2]),
    # 1 / (1 + exp(197)), which is exp(-197)
    "softmax of bytes": (ops.softmax, np.array([[3, 200]], "uint8"), [math.exp(-197), 1]),
    # 1 / 2 of bytes is not 0
    "sigmoid of bytes": (ops.sigmoid, np.array([[0, 1]], "uint8"), [0.5, 1 / (1 + math.exp(-1))]),
    "tanh of whole numbers": (ops.tanh, np.array([[0, 1]]), [0, math.tanh(1)]),
    "ReLU of whole numbers": (ops.relu, np.array([[-2, 3]], "int8"), [0, 3]),
    "a filter of bytes": (
        lambda x: ops.correlate(x, x[0, ..., None]),
        image([200, 100], [0, 50]).astype("uint8"),
        [40000 + 10000 + 2500],
    ),
    "a product of bytes": (lambda x: ops.dense(x, x.T), np.array([[200, 100]], "uint8"), [50000]),
    "a sum of bytes": (lambda x: ops.add_bias_backward(x, 1), np.array([[200], [100]], "uint8"), [300]),
    "a biased byte": (lambda x: ops.add_bias(x, x[0, :]), np.array([[200]], "uint8"), [400]),
    "a byte's log": (lambda x: ops.cross_entropy(x, x), np.array([[1, 0]], "uint8"), [0]),
    # J = log(1 + exp(-55)) + 0 at the label: exp(-55)
    "softmax and cross-entropy of bytes": (
        lambda x: ops.softmax_cross_entropy(x, ops.one_hot(x[:, 0], 2, x.dtype))[1],
        np.array([[0, 200]], "uint8"),
        [-1, 1],
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_whole_numbers_are_computed_with_as_real_ones(case: str, library: Library) -> None:
    call, x, expected = BY_HAND[case]
    found = call(library.put(x))
    assert found.dtype == ops.tanh(library.put(np.zeros((1, 1), x.dtype))).dtype, "the library's default type"
    assert library.fetch(found).ravel() == pytest.approx(expected, rel=1e-6)


def test_a_label_has_one_class_whatever_its_type(library: Library) -> None:
    """As bytes the classes 5 and 261 are both 5."""
    for dtype in ("uint8", "int8", "int64"):
        y = library.fetch(ops.one_hot(library.put(np.array([5], dtype)), 300, library.put(np.zeros(1)).dtype))
        assert y.nonzero()[1].tolist() == [5]


@WHOLE
@pytest.mark.parametrize("kernel", ["float32", "float64"])
def test_an_image_of_whole_numbers_takes_the_kernels_type(dtype: str, kernel: str, library: Library) -> None:
    x, w = whole(dtype, 2, 5, 4, 3), np.random.default_rng(1).standard_normal((2, 3, 3, 2)).astype(kernel)
    found = ops.correlate(library.put(x), library.put(w))
    assert found.dtype == library.put(w).dtype
    expected = ops.correlate(x.astype(kernel), w)
    np.testing.assert_allclose(library.fetch(found), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


FIRST_LAYERS = {
    "Conv2D": (Conv2D(2, 3),),
    "Conv2D, block": (Conv2D(2, 3), ReLU(), MaxPool2D()),
    "Conv2D, groups": (Conv2D(3, 3, groups=3),),
    "ReLU": (ReLU(),),
    "LeakyReLU": (LeakyReLU(),),
    "curves": (layers.SiLU(), layers.GELU(), layers.ELU(), layers.Softplus(), layers.Hardswish()),
    "GELU": (layers.GELU(),),
    "GELU, approximate": (layers.GELU(True),),
    "ELU": (layers.ELU(),),
    "Softplus": (layers.Softplus(),),
    "Hardswish": (layers.Hardswish(),),
    "ZeroPad2D": (layers.ZeroPad2D(),),
    "Crop2D": (layers.Crop2D(),),
    "Subsample2D": (layers.Subsample2D(),),
    "PadChannels": (layers.PadChannels(2),),
    "GlobalAvgPool2D": (layers.GlobalAvgPool2D(),),
    "GlobalMaxPool2D": (layers.GlobalMaxPool2D(),),
    "Upsample2D": (layers.Upsample2D(),),
    "Upsample2D, bilinear": (layers.Upsample2D(2, "bilinear"),),
    "Sigmoid": (Sigmoid(),),
    "Tanh": (Tanh(),),
    "MaxPool2D": (MaxPool2D(),),
    "MaxPool2D, all": (MaxPool2D(3, 2, 1, ties="all"),),
    "AvgPool2D": (AvgPool2D(),),
    "Flatten, Dense": (Flatten(), Dense(4)),
    "Reshape, Conv2D": (Reshape((9, 2, 4)), Conv2D(2, 2)),
}


@every_table
@WHOLE
@pytest.mark.parametrize("first", FIRST_LAYERS)
def test_layers_compute_with_images_of_whole_numbers(first: str, dtype: str, table: Kernels) -> None:
    network = Network((4, 6, 3), FIRST_LAYERS[first])
    x = whole(dtype, 3, 4, 6, 3)
    expected = outcome(network, REFERENCE, x.astype("float64"))
    for each in (network, fuse(network)):
        for found, right in zip(outcome(each, table, x), expected, strict=True):
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-9)


def outcome(network: Network, table: Kernels, x: np.ndarray) -> list[np.ndarray]:
    """y, dx and the parameters' gradients, for dy = 1."""
    layout = Layout(network.init(network.input_shape, np.random.default_rng(0)))
    theta = np.random.default_rng(2).standard_normal(layout.size)
    y, residuals = network.forward(layout.unpack(theta), table.enter(x), Context(table))
    dy = np.ones_like(table.leave(y))
    dx, dparams = network.backward(layout.unpack(theta), residuals, table.enter(dy), Context(table))
    return [table.leave(y), table.leave(dx), layout.pack(dparams, np.zeros(layout.size, theta.dtype))]


# NaN


def test_relu_keeps_nan(library: Library) -> None:
    x = np.array([np.nan, -np.inf, -0.0, np.inf, -1, 2])
    y = library.fetch(ops.relu(library.put(x)))
    np.testing.assert_array_equal(y, [np.nan, 0, 0, np.inf, 0, 2])
    dx = library.fetch(ops.relu_backward(library.put(x), library.put(np.ones(6))))
    np.testing.assert_array_equal(dx, [0, 0, 0.5, 1, 0, 1])


@every_table
@pytest.mark.parametrize("ties", ["first", "all"])
def test_the_largest_of_a_window_with_nan_is_nan_and_its_gradient_goes_nowhere(table: Kernels, ties: str) -> None:
    x = image([np.nan, 1, 4, 3], [2, 3, 1, 4], [-np.inf, -np.inf, 5, np.nan], [-np.inf, -np.inf, 7, 6])
    network = Network((4, 4, 1), (MaxPool2D(ties=ties),))
    y, dx, _ = outcome(network, table, x)
    np.testing.assert_array_equal(y[0, :, :, 0], [[np.nan, 4], [-np.inf, np.nan]])
    last, inf = (0, 0) if ties == "first" else (1, 1)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 0, 1, 0], [0, 0, 0, last], [1, inf, 0, 0], [inf, inf, 0, 0]])


def test_no_pixel_is_the_largest_beside_nan() -> None:
    y, indices = ops.max_pool_with_indices(image([np.nan, 1], [2, 3]))
    assert np.isnan(y).all()
    assert indices.tolist() == [[[[-1]]]]
    assert not ops.back_fill(indices, np.ones((1, 1, 1, 1)), (2, 2)).any()


# Logits


LOG_1_E = math.log(1 + math.e)
# logits, label, loss, gradient
RULED_OUT: dict[str, tuple[list, int, float, list]] = {
    # -log(e / (1 + e)) = log(1 + 1/e) = 0.3133
    "a class ruled out": ([0, 1, -np.inf], 1, LOG_1_E - 1, [1 / (1 + math.e), -1 / (1 + math.e), 0]),
    "all others ruled out": ([3, -np.inf, -np.inf], 0, 0, [0, 0, 0]),
    "the label ruled out": ([0, 0, -np.inf], 2, np.inf, [0.5, 0.5, -1]),
}


def losses_of(loss: Any) -> list[Callable[..., Any]]:
    return [loss(), *(table.losses[type(loss())] for table in TABLES if type(loss()) in table.losses)]


@pytest.mark.parametrize("case", RULED_OUT)
def test_a_logit_of_minus_infinity_rules_its_class_out(case: str, library: Library) -> None:
    logits, label, loss, gradient = RULED_OUT[case]
    on_library = [SoftmaxCrossEntropy()] if library.name != "numpy" else losses_of(SoftmaxCrossEntropy)
    for compute in on_library:
        losses, dz = compute(library.put(np.array([logits])), library.put(np.array([label])))
        assert library.fetch(losses).tolist() == pytest.approx([loss], abs=1e-15)
        assert library.fetch(dz)[0].tolist() == pytest.approx(gradient, abs=1e-15)


def test_infinite_logits_of_sigmoids(library: Library) -> None:
    """Of 3 classes, label 0: right and certain; undecided, log 2; wrong and certain."""
    for logits, loss in (
        ([np.inf, -np.inf, 0], math.log(2) / 3),
        ([np.inf, np.inf, 0], np.inf),
        ([-np.inf] * 3, np.inf),
    ):
        losses, dz = BinaryCrossEntropy()(library.put(np.array([logits])), library.put(np.array([0])))
        assert library.fetch(losses).tolist() == pytest.approx([loss])
        slopes = {np.inf: 1, -np.inf: 0, 0: 0.5}
        expected = [(slopes[z] - (k == 0)) / 3 for k, z in enumerate(logits)]
        assert library.fetch(dz)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy, BinaryCrossEntropy])
def test_logits_that_are_no_numbers_cost_nan_on_every_table(loss: Any) -> None:
    with np.errstate(invalid="ignore"):
        for logits in ([[np.nan, 0, 1]], [[0, np.nan, 1]], [[1, 0, np.nan]]):
            for compute in losses_of(loss):
                losses, dz = compute(np.array(logits), np.array([0]))
                assert np.isnan(losses).all()
                assert np.isnan(dz).any()


# A batch of nothing


@pytest.mark.parametrize("case", CASES)
def test_a_batch_of_nothing_gives_nothing_and_gradients_of_zero(case: str) -> None:
    layers, shape = CASES[case]
    network = Network(shape, layers)
    for table in (REFERENCE, EXACT_REFERENCE, *TABLES):
        for each in (network, fuse(network)):
            y, dx, g = outcome(each, table, np.zeros((0, *shape)))
            assert y.shape == (0, *network.shapes()[-1])
            assert dx.shape == (0, *shape)
            assert g.size == 0 or not g.any()


def test_a_batch_of_nothing_in_every_library(library: Library) -> None:
    network = Network((6, 6, 2), (Conv2D(3, 3), ReLU(), MaxPool2D(), Flatten(), Dense(4)))
    params = network.init(network.input_shape, np.random.default_rng(0))
    params = {k: {name: library.put(a) for name, a in of.items()} for k, of in params.items()}
    y, residuals = network.forward(params, library.put(np.zeros((0, 6, 6, 2))), Context())
    losses, dz = SoftmaxCrossEntropy()(y, library.put(np.zeros(0, "int64")))
    assert losses.shape == (0,)
    dx, dparams = network.backward(params, residuals, dz, Context())
    assert dx.shape == (0, 6, 6, 2)
    assert not any(library.fetch(a).any() for of in dparams.values() for a in of.values())


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy, BinaryCrossEntropy])
def test_losses_of_nothing(loss: Any) -> None:
    for compute in losses_of(loss):
        losses, dz = compute(np.zeros((0, 3)), np.zeros(0, int))
        assert (losses.shape, dz.shape) == ((0,), (0, 3))


def test_the_mean_of_no_losses_is_refused() -> None:
    model = Model(Network((4, 4, 1), (Flatten(), Dense(2))), device="cpu")
    nothing, labels = np.zeros((0, 4, 4, 1)), np.zeros(0, int)
    assert model.predict(nothing).shape == (0,)
    for call in (model.evaluate, model.fit):
        with pytest.raises(GpucnnError, match="there are no images"):
            call(nothing, labels)


# Exact zeros


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("ties", [None, "first"])
@pytest.mark.parametrize("channels", [8, 32])
@pytest.mark.parametrize(
    ("H", "W", "kernel", "padding"), [(12, 16, 3, "same"), (16, 12, 5, "same"), (2, 20, 5, "same")]
)
def test_gradients_without_a_term_are_exactly_zero(
    axis: int, ties: str | None, channels: int, H: int, W: int, kernel: int, padding: str
) -> None:
    """Half of the rows, or columns, of x and of dy are 0: kernel numbers and pixels whose terms are all 0 are 0."""
    layers: tuple = (Conv2D(channels, kernel, padding=padding, bias=None), *((MaxPool2D(ties=ties),) if ties else ()))
    network = Network((H, W, channels), layers)
    rng = np.random.default_rng(0)
    params = {"0": {"kernel": rng.standard_normal((kernel, kernel, channels, channels)).astype("float32")}}
    x = rng.standard_normal((5, H, W, channels)).astype("float32")
    if H > 2:
        half = x.shape[axis] // 2
        np.moveaxis(x, axis, 0)[half:] = 0
    dy = rng.standard_normal((5, *network.shapes()[-1])).astype("float32")
    if H > 2:
        np.moveaxis(dy, axis, 0)[: dy.shape[axis] // 2] = 0
        np.moveaxis(dy, axis, 0)[-kernel if ties is None else -kernel // 2 :] = 0
    found = {}
    for table in (REFERENCE, TABLES[0]):
        _, residuals = fuse(network).forward(params, table.enter(x), Context(table))
        dx, dparams = fuse(network).backward(params, residuals, table.enter(dy), Context(table))
        found[table.name] = table.leave(dx), dparams["0"]["kernel"]
    assert (found["reference"][1] == 0).any()
    for k, (a, b) in enumerate(zip(found["numpy"], found["reference"], strict=True)):
        if k == 1 or ties is None:  # behind a pool single pixels of dx have no term, too
            np.testing.assert_array_equal(a == 0, b == 0)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
