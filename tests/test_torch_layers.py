"""Layers beside PyTorch's own, forward and gradient, in float64, on the reference and the NumPy table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import layers
from gpucnn.kernels import REFERENCE, Context, Kernels
from gpucnn.kernels.cpu import NUMPY
from gpucnn.layers import Layer

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional

every_table = pytest.mark.parametrize("kernels", [REFERENCE, NUMPY], ids=lambda kernels: kernels.name)


def drawn(*shape: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def whole(*shape: int, seed: int = 7) -> np.ndarray:
    """Small whole numbers: ties, exact zeros and the kinks of hardswish."""
    return np.random.default_rng([seed, *shape]).integers(-4, 5, shape).astype(float)


def first(image: Any) -> Any:
    return image.permute(0, 3, 1, 2)


def last(image: Any) -> Any:
    return image.permute(0, 2, 3, 1)


def of_images(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of (N, C, H, W) as one of (N, H, W, C)."""
    return lambda x: last(function(first(x)))


def agree(layer: Layer, theirs: Callable[..., Any], x: np.ndarray, kernels: Kernels, **params: np.ndarray) -> None:
    """theirs: of x and the parameters in order, as tensors."""
    leaves = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in (x, *params.values())]
    expected = theirs(*leaves)
    dy = drawn(*expected.shape)
    expected.backward(torch.tensor(dy))
    context = Context(kernels)
    y, residual = layer.forward(params, kernels.enter(x), context)
    dx, dparams = layer.backward(params, residual, kernels.enter(dy), context)
    assert layer.out_shape(x.shape[1:]) == expected.shape[1:]
    close(kernels.leave(y), expected.detach())
    close(kernels.leave(dx), leaves[0].grad)
    assert dparams.keys() == params.keys()
    for name, of_parameter in zip(params, leaves[1:]):
        close(dparams[name], of_parameter.grad)


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), expected.numpy(), rtol=1e-10, atol=1e-10)


# Activations


CURVES = {
    "leaky relu": (layers.LeakyReLU(), F.leaky_relu),
    "leaky relu, negative": (layers.LeakyReLU(-0.5), lambda x: F.leaky_relu(x, -0.5)),
    "elu": (layers.ELU(), F.elu),
    "elu 0.7": (layers.ELU(0.7), lambda x: F.elu(x, 0.7)),
    "gelu": (layers.GELU(), F.gelu),
    "gelu, approximate": (layers.GELU(approximate=True), lambda x: F.gelu(x, approximate="tanh")),
    "silu": (layers.SiLU(), F.silu),
    "softplus": (layers.Softplus(), lambda x: F.softplus(x, threshold=1e9)),
    "hardswish": (layers.Hardswish(), F.hardswish),
}


@every_table
@pytest.mark.parametrize("draw", [drawn, whole, lambda *shape: 9 * drawn(*shape)], ids=["reals", "kinks", "large"])
@pytest.mark.parametrize("name", CURVES)
def test_activations(name: str, draw: Callable[..., np.ndarray], kernels: Kernels) -> None:
    """At the kinks too."""
    layer, theirs = CURVES[name]
    agree(layer, theirs, draw(3, 50), kernels)
    agree(layer, theirs, draw(3, 4, 5, 2), kernels)


@every_table
@pytest.mark.parametrize("draw", [drawn, whole], ids=["reals", "kinks"])
def test_prelu(draw: Callable[..., np.ndarray], kernels: Kernels) -> None:
    for shared in (False, True):
        slope = np.array([0.3]) if shared else np.array([0.3, -0.2])
        layer = layers.PReLU(shared)
        agree(layer, lambda x, a: last(F.prelu(first(x), a)), draw(3, 4, 5, 2), kernels, slope=slope)
        agree(layer, F.prelu, draw(3, 2), kernels, slope=slope)


@pytest.mark.filterwarnings("error")
@every_table
@pytest.mark.parametrize("name", CURVES)
def test_huge_inputs_overflow_nowhere(name: str, kernels: Kernels) -> None:
    """Without a warning; the slope is the one at the end of the curve, where PyTorch's tanh form of GELU gives NaN."""
    layer, _ = CURVES[name]
    x = np.array([[-1e300, -1e30, -800, 800, 1e30, 1e300]])
    y, residual = layer.forward({}, kernels.enter(x), Context(kernels))
    dx, _ = layer.backward({}, residual, kernels.enter(np.ones_like(x)), Context(kernels))
    negative = {"leaky relu": 0.01, "leaky relu, negative": -0.5}.get(name, 0)
    np.testing.assert_allclose(y[:, 3:], x[:, 3:])
    np.testing.assert_allclose(dx, [[negative] * 3 + [1] * 3], atol=1e-12)
    below = {"elu": -1, "elu 0.7": -0.7}.get(name, 0) if not negative else negative * x[:, :3]
    np.testing.assert_allclose(y[:, :3], np.broadcast_to(below, (1, 3)), atol=1e-12)


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-15), ("float32", 2e-7)])
def test_the_normal_distribution(dtype: str, error: float) -> None:
    from gpucnn.ops.normal import normal

    x = np.concatenate([np.linspace(-45, 45, 20_001), np.geomspace(1e-300, 1, 100)]).astype(dtype)
    below, density = normal(x)
    assert below.dtype == density.dtype == dtype
    expected = np.array([math.erfc(-each / math.sqrt(2)) / 2 for each in x.tolist()])
    assert np.abs(below - expected).max() < error
    np.testing.assert_allclose(density, np.exp(-np.square(x, dtype="f8") / 2) / math.sqrt(2 * math.pi), atol=error)
    assert np.isnan(normal(np.array([np.nan]))[0]).all()


# Pools


POOLS = list(itertools.product((2, 3, (2, 3)), (1, 2, 3), (0, 1), (1, 2), (False, True)))


@pytest.mark.parametrize("draw", [drawn, whole], ids=["reals", "ties"])
@every_table
def test_max_pools(draw: Callable[..., np.ndarray], kernels: Kernels) -> None:
    """Every window, stride, padding, dilation and rounding, on images that they fit and others."""
    for (window, stride, padding, dilation, ceil_mode), shape in itertools.product(POOLS, ((7, 8, 2), (6, 5, 1))):
        layer = layers.MaxPool2D(window, stride, padding, "first", dilation, ceil_mode)

        def theirs(x: Any, settings: Any = (window, stride, padding, dilation, ceil_mode)) -> Any:
            return last(F.max_pool2d(first(x), *settings))

        agree(layer, theirs, draw(2, *shape), kernels)


@every_table
@pytest.mark.parametrize("count_padding", [False, True])
def test_average_pools(count_padding: bool, kernels: Kernels) -> None:
    for (window, stride, padding, dilation, ceil_mode), shape in itertools.product(POOLS, ((7, 8, 2), (6, 5, 1))):
        if dilation != 1:  # PyTorch has none
            continue
        layer = layers.AvgPool2D(window, stride, padding, count_padding, ceil_mode=ceil_mode)

        def theirs(x: Any, settings: Any = (window, stride, padding, ceil_mode, count_padding)) -> Any:
            return last(F.avg_pool2d(first(x), *settings))

        agree(layer, theirs, drawn(2, *shape), kernels)


@every_table
@pytest.mark.parametrize("shape", [(7, 8, 2), (1, 5, 3), (20, 20, 2)], ids=str)
def test_global_pools(shape: tuple[int, int, int], kernels: Kernels) -> None:
    """amax shares the gradient among ties; adaptive_max_pool2d gives it to the first of them."""
    x = drawn(3, *shape)
    agree(layers.GlobalAvgPool2D(), lambda x: x.mean((1, 2)), x, kernels)
    agree(layers.GlobalMaxPool2D(), lambda x: x.amax((1, 2)), x, kernels)
    ties = whole(3, *shape)
    agree(layers.GlobalMaxPool2D(), lambda x: F.adaptive_max_pool2d(first(x), 1).flatten(1), ties, kernels)


@pytest.mark.parametrize("operator", ["Conv", "AveragePool"])
@pytest.mark.parametrize(("auto_pad", "padding"), [("SAME_UPPER", "same"), ("SAME_LOWER", "same-lower")])
def test_same_as_onnx_means_it(operator: str, auto_pad: str, padding: str) -> None:
    """Beside ONNX's reference evaluator, which takes no stride above the window."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    reference = pytest.importorskip("onnx.reference")
    names = ["x", "w"] if operator == "Conv" else ["x"]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, None) for name in (*names, "y")]
    for size, stride, shape in itertools.product((2, 3, 4), (1, 2), ((7, 8, 2), (6, 5, 1))):
        x, w = drawn(2, *shape), drawn(size, size, shape[2], 3)
        node = onnx.helper.make_node(
            operator, names, ["y"], kernel_shape=[size] * 2, strides=[stride] * 2, auto_pad=auto_pad
        )
        graph = onnx.helper.make_graph([node], operator, values[:-1], values[-1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
        given = {"x": x.transpose(0, 3, 1, 2), "w": w.transpose(3, 2, 0, 1)}
        (expected,) = reference.ReferenceEvaluator(model).run(None, {name: given[name] for name in names})
        layer: Layer = layers.AvgPool2D(size, stride, padding)
        if operator == "Conv":
            layer = layers.Conv2D(3, size, stride, padding, bias=None)
        y, _ = layer.forward({"kernel": w}, x, Context(REFERENCE))
        np.testing.assert_allclose(y, expected.transpose(0, 2, 3, 1), rtol=1e-10, atol=1e-10)


# Geometry


GEOMETRY = {
    "zero pad": (layers.ZeroPad2D(((1, 2), (0, 3))), lambda x: F.pad(x, (0, 3, 1, 2))),
    "crop": (layers.Crop2D(((1, 2), (0, 3))), lambda x: F.pad(x, (0, -3, -1, -2))),
    "subsample": (layers.Subsample2D((2, 3)), lambda x: x[:, :, ::2, ::3]),
    "pad channels": (layers.PadChannels(3), lambda x: F.pad(x, (0, 0, 0, 0, 1, 2))),
    "option A": (layers.Subsample2D(2), lambda x: F.max_pool2d(x, 1, 2)),
    "nearest": (layers.Upsample2D((2, 3)), lambda x: F.interpolate(x, scale_factor=(2, 3), mode="nearest")),
    **{
        f"bilinear {rows} x {columns}": (
            layers.Upsample2D((rows, columns), "bilinear"),
            lambda x, factor=(rows, columns): F.interpolate(
                x, scale_factor=factor, mode="bilinear", align_corners=False
            ),
        )
        for rows, columns in ((1, 2), (2, 2), (3, 4), (5, 1))
    },
}


@every_table
@pytest.mark.parametrize("shape", [(5, 7, 2), (6, 4, 3)], ids=str)
@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry(name: str, shape: tuple[int, int, int], kernels: Kernels) -> None:
    layer, theirs = GEOMETRY[name]
    agree(layer, of_images(theirs), drawn(2, *shape), kernels)
