"""The same numbers as PyTorch: single equations with their gradients, and whole trainings, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import ops
from gpucnn.engine.gradient import gradient
from gpucnn.kernels import REFERENCE, Context, Kernels
from gpucnn.kernels.cpu import NUMPY
from gpucnn.layers.initializers import generator
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.network.layout import Layout
from gpucnn.networks import build
from gpucnn.ops.window import convolution_window
from gpucnn.optimizers import SGD, Adam, AdamW, Optimizer

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional


def drawn(*shape: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def whole(*shape: int, seed: int = 7) -> np.ndarray:
    """Small whole numbers: ties and exact zeros."""
    return np.random.default_rng([seed, *shape]).integers(-2, 3, shape).astype(float)


def leaf(array: np.ndarray) -> Any:
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


def channels_first(image: Any) -> Any:
    return image.permute(0, 3, 1, 2)


def channels_last(image: Any) -> Any:
    return image.permute(0, 2, 3, 1)


def close(found: Any, expected: Any) -> None:
    expected = expected.detach().numpy() if hasattr(expected, "detach") else expected
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


# Convolution


CONVOLUTIONS = {
    "plain": ((7, 8, 2), (3, 3), 4, {}),
    "non-square": ((7, 8, 2), (2, 4), 3, {}),
    "1x1": ((4, 5, 3), (1, 1), 2, {}),
    "strided": ((9, 8, 2), (3, 2), 3, {"stride": (2, 3)}),
    "stride over kernel": ((9, 8, 2), (1, 2), 3, {"stride": 3}),
    "padded": ((5, 6, 2), (3, 2), 3, {"padding": (2, 1)}),
    "padded past the kernel": ((4, 4, 1), (2, 3), 2, {"padding": (3, 4)}),
    "asymmetric": ((5, 6, 2), (3, 3), 3, {"padding": ((0, 2), (1, 0))}),
    "same": ((6, 5, 2), (3, 3), 3, {"padding": "same"}),
    "same, even kernel": ((6, 5, 2), (4, 2), 3, {"padding": "same"}),
    "same, dilated": ((7, 6, 2), (2, 3), 3, {"padding": "same", "dilation": (3, 2)}),
    "full": ((4, 5, 2), (3, 2), 3, {"padding": "full"}),
    "full, dilated": ((4, 5, 2), (3, 2), 3, {"padding": "full", "dilation": (1, 2)}),
    "dilated": ((9, 8, 2), (3, 2), 3, {"dilation": (2, 3)}),
    "groups": ((6, 7, 4), (3, 2), 6, {"groups": 2}),
    "depthwise": ((6, 7, 3), (3, 3), 6, {"groups": 3, "padding": 1}),
    "everything": ((9, 8, 4), (3, 2), 6, {"stride": (2, 1), "padding": (2, 1), "dilation": (1, 2), "groups": 2}),
}


def torch_convolution(x: Any, w: Any, options: dict[str, Any]) -> Any:
    """PyTorch's own "same"; any other padding by `pad`, which takes (left, right, top, bottom)."""
    padding, rest = options.get("padding", "valid"), {k: v for k, v in options.items() if k != "padding"}
    image, kernel = channels_first(x), w.permute(3, 2, 0, 1)
    if padding not in ("valid", "same"):
        size, dilation = tuple(w.shape[:2]), options.get("dilation", 1)
        rows, columns = convolution_window(size, 1, padding, dilation, x.shape[1], x.shape[2]).padding
        image, padding = F.pad(image, (*columns, *rows)), "valid"
    return channels_last(F.conv2d(image, kernel, padding=padding, **rest))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("flip", [False, True], ids=["correlation", "convolution"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str, flip: bool) -> None:
    shape, kernel, filters, options = CONVOLUTIONS[name]
    x, w = drawn(2, *shape), drawn(*kernel, shape[2] // options.get("groups", 1), filters)
    forward, backward = (ops.convolve, ops.convolve_backward) if flip else (ops.correlate, ops.correlate_backward)
    of_x, of_w = leaf(x), leaf(w)
    y = torch_convolution(of_x, of_w.flip(0, 1) if flip else of_w, options)
    dy = drawn(*y.shape)
    y.backward(torch.tensor(dy))
    close(forward(x, w, **options), y)
    dx, dw = backward(x, w, dy, **options)
    close(dx, of_x.grad)
    close(dw, of_w.grad)


# Pooling


POOLS = {
    "plain": ((6, 8, 3), (2, 2), {}),
    "odd": ((7, 5, 2), (2, 2), {}),
    "non-square": ((6, 9, 2), (2, 3), {}),
    "overlap": ((8, 7, 2), (3, 2), {"stride": (2, 1)}),
    "stride over window": ((7, 8, 2), (1, 2), {"stride": (2, 3)}),
    "padded": ((6, 7, 2), (3, 3), {"stride": (2, 2), "padding": (1, 1)}),
    "padded, non-square": ((5, 8, 2), (2, 4), {"stride": (1, 3), "padding": (1, 2)}),
}


@pytest.mark.parametrize("draw", [drawn, whole], ids=["reals", "ties"])
@pytest.mark.parametrize("name", POOLS)
def test_max_pooling(name: str, draw: Callable[..., np.ndarray]) -> None:
    """PyTorch too gives the gradient to the first of ties, and pads with -inf."""
    shape, window, options = POOLS[name]
    x = draw(2, *shape)
    of_x = leaf(x)
    y = channels_last(F.max_pool2d(channels_first(of_x), window, **options))
    dy = drawn(*y.shape)
    y.backward(torch.tensor(dy))
    found = ops.max_pool(x, window, **options)
    close(found, y)
    close(ops.max_pool_backward(x, found, dy, window, ties="first", **options), of_x.grad)


@pytest.mark.parametrize("name", POOLS)
def test_where_the_maxima_stand(name: str) -> None:
    shape, window, options = POOLS[name]
    x = whole(2, *shape)
    _, indices = F.max_pool2d(channels_first(torch.tensor(x)), window, return_indices=True, **options)
    assert np.array_equal(ops.max_pool_with_indices(x, window, **options)[1], channels_last(indices).numpy())


@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize("name", POOLS)
def test_average_pooling(name: str, count_padding: bool) -> None:
    shape, window, options = POOLS[name]
    x = drawn(2, *shape)
    of_x = leaf(x)
    y = channels_last(F.avg_pool2d(channels_first(of_x), window, count_include_pad=count_padding, **options))
    dy = drawn(*y.shape)
    y.backward(torch.tensor(dy))
    close(ops.average_pool(x, window, count_padding=count_padding, **options), y)
    found = ops.average_pool_backward(dy, shape[:2], window, count_padding=count_padding, **options)
    close(found, of_x.grad)


# Dense, activations, losses


def test_dense() -> None:
    x, w, dy = drawn(3, 5), drawn(5, 4), drawn(3, 4)
    of_x, of_w = leaf(x), leaf(w)
    y = F.linear(of_x, of_w.T)
    y.backward(torch.tensor(dy))
    close(ops.dense(x, w), y)
    dx, dw = ops.dense_backward(x, w, dy)
    close(dx, of_x.grad)
    close(dw, of_w.grad)


ACTIVATIONS = {
    "relu": (ops.relu, lambda x, y, dy: ops.relu_backward(x, dy, 0.0), torch.relu),
    "sigmoid": (ops.sigmoid, lambda x, y, dy: ops.sigmoid_backward(y, dy), torch.sigmoid),
    "tanh": (ops.tanh, lambda x, y, dy: ops.tanh_backward(y, dy), torch.tanh),
    "softmax": (ops.softmax, lambda x, y, dy: ops.softmax_backward(y, dy), lambda x: torch.softmax(x, -1)),
}


@pytest.mark.parametrize("draw", [drawn, whole], ids=["reals", "zeros"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, draw: Callable[..., np.ndarray]) -> None:
    """PyTorch's ReLU has the slope 0 at 0."""
    forward, backward, theirs = ACTIVATIONS[name]
    x, dy = 3 * draw(4, 6), drawn(4, 6)
    of_x = leaf(x)
    y = theirs(of_x)
    y.backward(torch.tensor(dy))
    found = forward(x)
    close(found, y)
    close(backward(x, found, dy), of_x.grad)


def targets(soft: bool) -> np.ndarray:
    return ops.softmax(drawn(5, 7, seed=8)) if soft else ops.one_hot(np.arange(5) * 3 % 7, 7, np.float64)


@pytest.mark.parametrize("scale", [1, 300])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy(soft: bool, scale: float) -> None:
    z, y = scale * drawn(5, 7), targets(soft)
    of_z = leaf(z)
    losses = F.cross_entropy(of_z, torch.tensor(y), reduction="none")
    losses.sum().backward()
    found, dz = ops.softmax_cross_entropy(z, y)
    close(found, losses)
    close(dz, of_z.grad)


@pytest.mark.parametrize("scale", [1, 300])
@pytest.mark.parametrize("soft", [False, True])
def test_binary_cross_entropy(soft: bool, scale: float) -> None:
    """The mean over outputs, one loss per example."""
    z, y = scale * drawn(5, 7), targets(soft)
    of_z = leaf(z)
    losses = F.binary_cross_entropy_with_logits(of_z, torch.tensor(y), reduction="none").mean(1)
    losses.sum().backward()
    found, dz = ops.sigmoid_cross_entropy(z, y)
    close(found, losses)
    close(dz, of_z.grad)


def test_binary_cross_entropy_of_probabilities() -> None:
    x, y = ops.sigmoid(drawn(5, 7)), targets(soft=True)
    of_x = leaf(x)
    losses = F.binary_cross_entropy(of_x, torch.tensor(y), reduction="none").mean(1)
    losses.sum().backward()
    close(ops.binary_cross_entropy(x, y), losses)
    close(ops.binary_cross_entropy_backward(x, y), of_x.grad)


# Whole trainings


Leaves = dict[str, Any]


def torch_single_filter(p: Leaves, x: Any) -> Any:
    y = F.conv2d(channels_first(x), p["0/kernel"].permute(3, 2, 0, 1), p["0/bias"])
    y = channels_last(F.max_pool2d(y.relu(), 2)).flatten(1)
    y = (y @ p["4/weights"] + p["4/bias"]).relu()
    return y @ p["6/weights"] + p["6/bias"]


def torch_avgpool_96(p: Leaves, x: Any) -> Any:
    for k in ("0", "3"):
        kernel = p[f"{k}/kernel"].flip(0, 1).permute(3, 2, 0, 1)
        x = channels_last(F.avg_pool2d(F.conv2d(channels_first(x), kernel, p[f"{k}/bias"]).tanh(), 2))
    y = (x.flatten(1) @ p["7/weights"] + p["7/bias"]).tanh()
    return y @ p["9/weights"] + p["9/bias"]


NETWORKS = {"single-filter": torch_single_filter, "avgpool-96": torch_avgpool_96}

OPTIMIZERS: dict[str, tuple[Optimizer, float, Callable[..., Any]]] = {
    "sgd": (SGD(), 0.1, lambda p: torch.optim.SGD(p, 0.1)),
    "sgd with decay": (SGD(weight_decay=0.02), 0.1, lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.02)),
    "momentum": (SGD(0.9), 0.05, lambda p: torch.optim.SGD(p, 0.05, momentum=0.9)),
    "nesterov": (
        SGD(0.9, nesterov=True, weight_decay=0.02),
        0.05,
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.02),
    ),
    "adam": (Adam(), 0.01, lambda p: torch.optim.Adam(p, 0.01)),
    "adam with decay": (
        Adam(0.7, 0.9, 1e-6, 0.02),
        0.01,
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.7, 0.9), eps=1e-6, weight_decay=0.02),
    ),
    "adamw": (AdamW(weight_decay=0.1), 0.01, lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
}

STEPS, BATCH = 3, 4


def example(name: str) -> tuple[Any, Layout, np.ndarray, np.ndarray, np.ndarray]:
    """The network, its initial theta with biases that are not 0, and STEPS batches."""
    network = build(name)
    params = network.init(network.input_shape, generator(3))
    layout = Layout(params)
    theta = layout.pack(params, np.empty(layout.size))
    theta += 0.02 * drawn(layout.size)
    x = np.random.default_rng(5).uniform(0, 1, (STEPS, BATCH, *network.input_shape))
    return network, layout, theta, x, np.arange(STEPS * BATCH).reshape(STEPS, BATCH) * 7 % 10


def ours(name: str, rule: Optimizer, lr: float, kernels: Kernels) -> tuple[list[np.ndarray], np.ndarray]:
    network, layout, theta, x, labels = example(name)
    params, state, context = layout.unpack(theta), rule.init(theta), Context(kernels)
    history = []
    for k in range(STEPS):
        losses, dparams, _ = gradient(network, SoftmaxCrossEntropy(), params, kernels.enter(x[k]), labels[k], context)
        rule.update(theta, layout.pack(dparams, np.empty(layout.size)) / BATCH, state, lr, k + 1)
        history.append(losses)
    return history, theta


def theirs(name: str, make: Callable[..., Any]) -> tuple[list[Any], np.ndarray]:
    _, layout, theta, x, labels = example(name)
    leaves = {slot.name: leaf(theta[slot.place].reshape(slot.shape)) for slot in layout.slots}
    rule, history = make(leaves.values()), []
    for k in range(STEPS):
        rule.zero_grad()
        losses = F.cross_entropy(NETWORKS[name](leaves, torch.tensor(x[k])), torch.tensor(labels[k]), reduction="none")
        losses.mean().backward()
        rule.step()
        history.append(losses)
    return history, np.concatenate([leaves[slot.name].detach().numpy().ravel() for slot in layout.slots])


@pytest.mark.parametrize("kernels", [REFERENCE, NUMPY], ids=lambda kernels: kernels.name)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_trainings(name: str, optimizer: str, kernels: Kernels) -> None:
    rule, lr, make = OPTIMIZERS[optimizer]
    (losses, theta), (expected, their_theta) = ours(name, rule, lr, kernels), theirs(name, make)
    for found, of_step in zip(losses, expected, strict=True):
        close(found, of_step)
    close(theta, their_theta)
    assert np.abs(theta - example(name)[2]).max() > 1e-3
