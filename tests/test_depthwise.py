"""Depthwise, separable, grouped and transposed convolutions: PyTorch's numbers, sizes by hand, the ways taken."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from cases import run
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.errors import SettingError, ShapeError
from gpucnn.kernels import REFERENCE, Context, cpu
from gpucnn.kernels.cpu import EXACT_TIES, NUMPY, depthwise, small_depthwise
from gpucnn.kernels.cpu.depthwise import NUMPY_WAY
from gpucnn.layers import BatchNorm, Conv2D, ConvTranspose2D, DepthwiseConv2D, SeparableConv2D
from gpucnn.network import Network
from gpucnn.network.folding import folded
from gpucnn.network.layout import Layout
from gpucnn.networks import build
from gpucnn.ops.window import Window

ALL = {"reference": REFERENCE, "numpy": NUMPY, "exact ties": EXACT_TIES}
try:
    from gpucnn.kernels.cpu.compiled import compiled_from
except ImportError:  # numba is not installed
    pass
else:
    ALL |= {"numba": compiled_from(NUMPY), "numba, exact ties": compiled_from(EXACT_TIES)}
FAST = [name for name in ALL if name != "reference"]
TABLES = pytest.mark.parametrize("table", ALL.values(), ids=ALL)


def passed(layer: Any, shape: tuple[int, ...], table: Any, batch: int = 3) -> tuple[Any, ...]:
    """Parameters, input, output gradient, and what `run` finds with them, in float64."""
    network, rng = Network(shape, (layer,)), np.random.default_rng(3)
    layout = Layout(network.init(shape, rng))
    theta = rng.standard_normal(layout.size)
    x, dy = rng.standard_normal((batch, *shape)), rng.standard_normal((batch, *network.shapes()[-1]))
    return layout.unpack(theta)["0"], x, dy, *run(network, table, theta, x, dy), layout


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-10, atol=1e-10)


torch = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional


def leaf(array: Any) -> Any:
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float64, requires_grad=True)


def first(x: Any) -> Any:
    return x.permute(0, 3, 1, 2)


def last(x: Any) -> Any:
    return x.permute(0, 2, 3, 1)


DEPTHWISE = {
    "3x3": (DepthwiseConv2D(3, padding=1), (6, 7, 4)),
    "3x3, stride 2": (DepthwiseConv2D(3, 2, 1), (7, 8, 4)),
    "5x5": (DepthwiseConv2D(5, padding=2), (6, 7, 4)),
    "5x5, stride 2": (DepthwiseConv2D(5, 2, 2), (7, 8, 4)),
    "valid": (DepthwiseConv2D((2, 3), (2, 1)), (5, 6, 3)),
    "times two": (DepthwiseConv2D(3, 1, 1, 2), (5, 6, 3)),
    "one channel": (DepthwiseConv2D(3, 1, 1, 3), (5, 6, 1)),
    "dilated": (DepthwiseConv2D(3, 2, 2, dilation=2), (7, 8, 3)),
    "stride over kernel": (DepthwiseConv2D(2, (3, 4), 1), (7, 8, 3)),
    "whole image": (DepthwiseConv2D((4, 3), bias=None), (4, 3, 5)),
}


@TABLES
@pytest.mark.parametrize("case", DEPTHWISE)
@pytest.mark.parametrize("batch", [1, 3])
def test_depthwise_is_pytorchs(case: str, table: Any, batch: int) -> None:
    layer, shape = DEPTHWISE[case]
    params, x, dy, y, dx, g, layout = passed(layer, shape, table, batch)
    of_x, leaves = leaf(x), {name: leaf(each) for name, each in params.items()}
    (padding, _), (other, _) = layer.padding if layer.padding != "valid" else ((0, 0), (0, 0))
    out = F.conv2d(
        first(of_x), leaves["kernel"].permute(3, 2, 0, 1), leaves.get("bias"), layer.stride, (padding, other),
        layer.dilation, shape[2],
    )  # fmt: skip
    last(out).backward(torch.tensor(dy))
    close(y, last(out))
    close(dx, of_x.grad)
    for name, each in layout.unpack(g)["0"].items():
        close(each, leaves[name].grad)


@TABLES
def test_separable_is_pytorchs(table: Any) -> None:
    layer = SeparableConv2D(5, 3, 2, 1, 2)
    params, x, dy, y, dx, g, layout = passed(layer, (6, 7, 3), table)
    of_x, leaves = leaf(x), {name: leaf(each) for name, each in params.items()}
    assert leaves.keys() == {"depthwise", "pointwise", "bias"}
    between = F.conv2d(first(of_x), leaves["depthwise"].permute(3, 2, 0, 1), None, 2, 1, 1, 3)
    out = F.conv2d(between, leaves["pointwise"].permute(3, 2, 0, 1), leaves["bias"])
    last(out).backward(torch.tensor(dy))
    close(y, last(out))
    close(dx, of_x.grad)
    for name, each in layout.unpack(g)["0"].items():
        close(each, leaves[name].grad)


TRANSPOSED = {
    "plain": (ConvTranspose2D(4, 3), (4, 5, 2)),
    "strided": (ConvTranspose2D(4, (3, 2), (2, 3)), (4, 5, 2)),
    "padded": (ConvTranspose2D(4, 3, 2, 1), (4, 5, 2)),
    "output padding": (ConvTranspose2D(4, 3, (2, 3), 1, (1, 2)), (4, 5, 2)),
    "stride over kernel": (ConvTranspose2D(4, 2, 3, 0, 1), (4, 3, 2)),
    "dilated": (ConvTranspose2D(4, 3, 2, (1, 2), 1, (2, 3)), (4, 5, 2)),
    "groups": (ConvTranspose2D(6, 3, 2, 1, groups=2), (4, 5, 4)),
    "depthwise": (ConvTranspose2D(4, 3, 2, 1, 1, groups=4), (4, 5, 4)),
    "depthwise times two": (ConvTranspose2D(8, 3, 2, 1, 1, groups=4), (4, 5, 4)),
    "without bias, 1x1 image": (ConvTranspose2D(4, 4, bias=None), (1, 1, 5)),
    "many channels": (ConvTranspose2D(18, 4, 2, 1), (5, 4, 20)),
}


@TABLES
@pytest.mark.parametrize("case", TRANSPOSED)
@pytest.mark.parametrize("batch", [1, 3])
def test_transposed_is_pytorchs(case: str, table: Any, batch: int) -> None:
    layer, shape = TRANSPOSED[case]
    params, x, dy, y, dx, g, layout = passed(layer, shape, table, batch)
    of_x, leaves = leaf(x), {name: leaf(each) for name, each in params.items()}
    (padding, _), (other, _) = layer.padding if layer.padding != "valid" else ((0, 0), (0, 0))
    kernel = leaves["kernel"].permute(3, 2, 0, 1)
    how = layer.stride, (padding, other), layer.output_padding, layer.groups, layer.dilation
    out = F.conv_transpose2d(first(of_x), kernel, leaves.get("bias"), *how)
    last(out).backward(torch.tensor(dy))
    close(y, last(out))
    close(dx, of_x.grad)
    for name, each in layout.unpack(g)["0"].items():
        close(each, leaves[name].grad)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 3), (2, 3), (3, 1)])
def test_transposed_same_is_the_gradient_of_same(kernel: int, stride: int) -> None:
    """As TensorFlow and Keras define it: of the convolution with "same" that leads from H stride pixels to H."""
    layer = ConvTranspose2D(2, kernel, stride, "same", bias=None)
    params, x, dy, y, dx, _, _ = passed(layer, (4, 3, 5), REFERENCE)
    assert y.shape == (3, 4 * stride, 3 * stride, 2)
    back = Network(y.shape[1:], (Conv2D(5, kernel, stride, "same", bias=None),))
    theta = np.ascontiguousarray(params["kernel"]).reshape(-1)
    seen, expected, _ = run(back, REFERENCE, theta, dy, x)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dx, seen, rtol=1e-12, atol=1e-12)


def test_transposed_by_hand() -> None:
    """Two pixels, 2 apart, each put down a kernel of three: the middle place gets both."""
    layer = ConvTranspose2D(1, (1, 3), 2, bias=None)
    network = Network((1, 2, 1), (layer,))
    params = {"0": {"kernel": np.array([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)}}
    x = np.array([2.0, 3.0]).reshape(1, 1, 2, 1)
    y, _ = network.forward(params, x, Context())
    assert y.reshape(-1).tolist() == [2, 20, 203, 30, 300]


def test_depthwise_is_a_convolution_with_a_group_for_each_channel() -> None:
    layer, same = DepthwiseConv2D(3, 2, "same", 2, flip=True), Conv2D(6, 3, 2, "same", groups=3, flip=True)
    shape, theta = (7, 6, 3), np.random.default_rng(0).standard_normal(3 * 3 * 6 + 6)
    assert layer.parameter_shapes(shape) == same.parameter_shapes(shape) == {"kernel": (3, 3, 1, 6), "bias": (6,)}
    assert layer.multiply_adds(shape) == same.multiply_adds(shape) == 4 * 3 * 6 * 9
    x = np.random.default_rng(1).standard_normal((2, *shape))
    dy = np.ones((2, *layer.out_shape(shape)))
    for found, expected in zip(
        run(Network(shape, (layer,)), NUMPY, theta, x, dy), run(Network(shape, (same,)), NUMPY, theta, x, dy)
    ):
        np.testing.assert_array_equal(found, expected)


GROUPED = {
    "3x3": (Conv2D(6, 3, padding="same", groups=2), (6, 7, 4)),
    "strided": (Conv2D(6, 3, 2, 1, groups=3), (7, 6, 6)),
    "pointwise": (Conv2D(8, 1, groups=4), (3, 4, 8)),
    "dilated": (Conv2D(4, 3, padding=2, dilation=2, groups=2), (6, 5, 4)),
    "many channels": (Conv2D(32, 3, padding="same", groups=2), (9, 8, 32)),
}


@TABLES
@pytest.mark.parametrize("case", GROUPED)
@pytest.mark.parametrize("batch", [1, 40])
def test_groups_are_the_references(case: str, table: Any, batch: int) -> None:
    layer, shape = GROUPED[case]
    *_, y, dx, g, _ = passed(layer, shape, table, batch)
    *_, expected_y, expected_dx, expected_g, _ = passed(layer, shape, REFERENCE, batch)
    for found, expected in ((y, expected_y), (dx, expected_dx), (g, expected_g)):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-9)


sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))


@settings(max_examples=100)
@given(
    kernel=sizes,
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.tuples(st.integers(0, 5), st.integers(0, 5)), st.tuples(st.integers(0, 5), st.integers(0, 5))),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.integers(2, 4),
    multiplier=st.integers(1, 2),
    batch=st.integers(1, 3),
)
@pytest.mark.parametrize("table", FAST)
def test_any_window(table, kernel, stride, padding, dilation, size, channels, multiplier, batch) -> None:
    layer = DepthwiseConv2D(kernel, stride, padding, multiplier, dilation, bias=None)
    shape = (*size, channels)
    try:
        layer.out_shape(shape)
    except ShapeError:
        return
    *_, y, dx, g, _ = passed(layer, shape, ALL[table], batch)
    *_, expected_y, expected_dx, expected_g, _ = passed(layer, shape, REFERENCE, batch)
    for found, expected in ((y, expected_y), (dx, expected_dx), (g, expected_g)):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("case", DEPTHWISE)
def test_a_few_channels_at_a_time_give_the_same_bits(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, shape = DEPTHWISE[case]
    whole = passed(layer, shape, NUMPY)[3:6]
    monkeypatch.setattr(depthwise, "CACHED", 1)
    for found, expected in zip(passed(layer, shape, NUMPY)[3:6], whole):
        np.testing.assert_array_equal(found, expected)


def is_even(y: np.ndarray) -> bool:
    """Whether all pixels of each channel and example have the same bits."""
    return bool((y == y[:, :1, :1, :]).all())


@pytest.mark.parametrize("table", FAST)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 3, 8, 31])
def test_equal_surroundings_give_equal_bits(table: str, dtype: str, batch: int) -> None:
    rng, kernels = np.random.default_rng(batch), ALL[table]
    for layer in (DepthwiseConv2D(3), DepthwiseConv2D((5, 4), 2), DepthwiseConv2D(2, 1, "valid", 2, 3)):
        network = Network((13, 12, 5), (layer,))
        params = {"0": {name: a.astype(dtype) for name, a in network.init((13, 12, 5), rng)["0"].items()}}
        x = np.broadcast_to(rng.standard_normal((batch, 1, 1, 5)), (batch, 13, 12, 5)).astype(dtype)
        assert is_even(kernels.leave(network.forward(params, kernels.enter(x), Context(kernels))[0]))


def test_small_images_are_multiplied_by_matrices_but_where_ties_must_be_exact() -> None:
    """From 1,024 pairs of an output and a pixel on, sums cost less; so do they for several kernels of a channel."""
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)))
    rng = np.random.default_rng(0)
    for table, side, channels, multiplier, way in (
        *((NUMPY, side, 6, 1, small_depthwise) for side in (2, 4, 5)),
        (NUMPY, 1, 6, 1, NUMPY_WAY),
        (NUMPY, 6, 6, 1, NUMPY_WAY),
        (NUMPY, 4, 6, 2, NUMPY_WAY),
        (EXACT_TIES, 4, 6, 1, NUMPY_WAY),
    ):
        x = rng.standard_normal((side, channels, side, 5)).astype(np.float32)
        w = rng.standard_normal((3, 3, 1, channels * multiplier)).astype(np.float32)
        y, residual = table.correlation.forward(x, w, window, channels)
        assert residual.way is way
        exact = NUMPY.correlation.forward(x.astype(np.float64), w.astype(np.float64), window, channels)[0]
        np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [DepthwiseConv2D(3, padding="same"), SeparableConv2D(4, 3), Conv2D(3, 3, groups=3)])
def test_the_numpy_table_asks_the_reference_for_no_depthwise_convolution(layer: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(cpu.reference, "correlate", None)
    monkeypatch.setattr(cpu.reference, "correlate_backward", None)
    passed(layer, (6, 7, 3), NUMPY)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DepthwiseConv2D(3, multiplier=0), "DepthwiseConv2D: multiplier=0: a whole number of at least 1"),
        (lambda: DepthwiseConv2D(0), "kernel=0: a positive whole number"),
        (lambda: SeparableConv2D(0, 3), "filters=0"),
        (lambda: SeparableConv2D(4, 3, bias="free"), "bias='free'"),
        (lambda: ConvTranspose2D(4, 3, 2, output_padding=2), "output_padding=2: whole numbers from 0 to less than"),
        (lambda: ConvTranspose2D(4, 3, 2, output_padding=(1, -1)), "output_padding=.1, -1.: whole numbers"),
        (lambda: ConvTranspose2D(4, 3, 2, "same", 1), 'with padding "same" leave it out'),
        (lambda: ConvTranspose2D(4, 3, bias="untied"), "bias='untied': \"tied\" or None was expected"),
        (lambda: ConvTranspose2D(3, 3, groups=2), "3 filters in 2 group"),
        (lambda: ConvTranspose2D(4, 3, groups=2).out_shape((3, 3, 3)), "2 groups do not divide the input's 3"),
        (lambda: ConvTranspose2D(4, 3, padding=3).out_shape((2, 2, 3)), "an image of 2 x 2 has no pixel left"),
        (lambda: DepthwiseConv2D(3).out_shape((7,)), "an image .H, W, C. was expected"),
        (lambda: ConvTranspose2D(4, 3).out_shape((7,)), "an image .H, W, C. was expected"),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises((SettingError, ShapeError), match=message):
        make()


def test_mobile_small_has_the_strides_that_it_says() -> None:
    network = build("mobile-small")
    sides = [shape[0] for shape, layer in zip(network.shapes(), network.layers) if isinstance(layer, DepthwiseConv2D)]
    assert sides == [32, 32, 16, 16, 8, 8, 4, 4, 4, 4, 4, 4, 2]
    assert network.shapes()[-3] == (2, 2, 256)
    assert build("mobile-small", width=1.0).shapes()[-3] == (2, 2, 1024)
    assert (
        build("mobile-small", (224, 224, 3), 1000, width=1.0).multiply_adds() > 4 * 500e6
    )  # the first stride is dropped


@pytest.mark.parametrize(
    "layer", [ConvTranspose2D(4, 3, 2, 1, 1), SeparableConv2D(4, 3, padding=1), DepthwiseConv2D(3)]
)
def test_pytorchs_modules_have_the_same_parameters(layer: Any) -> None:
    from gpucnn.report.bench.torch_layers import arrays, modules

    network = Network((5, 6, 2), (layer,))
    params = network.init(network.input_shape, np.random.default_rng(0))
    module = modules(network.layers, network.input_shape, {}).double()
    with torch.no_grad():
        for into, array in zip(module.parameters(), arrays(network, params), strict=True):
            into.copy_(torch.from_numpy(np.array(array)))
    x = np.random.default_rng(1).standard_normal((2, 5, 6, 2))
    close(network.forward(params, x, Context())[0], last(module(first(torch.tensor(x)))))


def test_a_norm_folds_into_a_depthwise_convolution() -> None:
    network = Network((6, 5, 3), (DepthwiseConv2D(3, bias=None), BatchNorm(), DepthwiseConv2D(2), BatchNorm()))
    params = network.init(network.input_shape, np.random.default_rng(0))
    state = {
        k: {"mean": np.arange(3.0) + int(k), "variance": np.arange(3.0) + 0.5} for k in network.init_state((6, 5, 3))
    }
    x, context = np.random.default_rng(1).standard_normal((2, 6, 5, 3)), Context(training=False, state=state)
    expected, _ = network.forward(params, x, context)
    short, of_short, left = folded(network, params, state)
    assert (len(short.layers), left) == (2, {})
    found, _ = short.forward(of_short, x, Context(training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_copies_of_a_table_go_the_same_way(name):
    """A helper process gets copies, one for each model; what is remembered of a shape must not be of one copy."""
    network = Network((9, 8, 7), (DepthwiseConv2D(3, padding="same"),))
    rng = np.random.default_rng(1)
    theta, x, dy = (rng.standard_normal(shape) for shape in (70, (3, 9, 8, 7), (3, 9, 8, 7)))
    expected = run(network, REFERENCE, theta, x, dy)
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(ALL[name]))
        for found, wanted in zip(run(network, copy, theta, x, dy), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)
