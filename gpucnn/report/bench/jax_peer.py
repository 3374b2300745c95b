"""The same networks in JAX, to be timed against on a GPU. Imported only where `others` found no obstacle."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ...errors import SettingError
from ...layers import AvgPool2D, Conv2D, Crop2D, Dense, Flatten, MaxPool2D, ReLU, Sigmoid, Tanh
from ...layers.initializers import generator
from ...losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from ...network import Network, describe
from ..timing import Candidate

NAME = "JAX jit"
AXES = ("NHWC", "HWIO", "NHWC")


def logits(network: Network, params: Mapping[str, Any], x: Any) -> Any:
    """x (N, H, W, C) -> (N, K). params as `Network.init` gives them. Raises SettingError where JAX has no equal."""
    for k, layer in enumerate(network.layers):
        if type(layer) not in EQUALS:
            raise _no_equal(layer)
        x = EQUALS[type(layer)](layer, params.get(str(k), {}), x)
    return x


def _no_equal(thing: Any) -> SettingError:
    return SettingError(f"{describe(thing)} has no equal in JAX here")


def _convolution(layer: Conv2D, params: Mapping[str, Any], x: Any) -> Any:
    kernel = params["kernel"][::-1, ::-1] if layer.flip else params["kernel"]
    window = layer.window_of(x.shape[1:])
    how = {"rhs_dilation": window.dilation, "dimension_numbers": AXES, "feature_group_count": layer.groups}
    y = jax.lax.conv_general_dilated(x, kernel, window.stride, window.padding, **how)
    return y + params.get("bias", 0)


def _max_pool(layer: MaxPool2D, params: Mapping[str, Any], x: Any) -> Any:
    return _over_windows(layer, x, -np.inf, jax.lax.max)


def _average_pool(layer: AvgPool2D, params: Mapping[str, Any], x: Any) -> Any:
    window = layer.window_of(x.shape[1:])
    if any(window.beyond) if layer.count_padding else window.is_padded:
        raise _no_equal(layer)
    return _over_windows(layer, x, 0.0, jax.lax.add) / np.prod(layer.window)


def _over_windows(layer: MaxPool2D | AvgPool2D, x: Any, start: float, combine: Any) -> Any:
    window = layer.window_of(x.shape[1:])
    sides, apart = ((0, 0), *window.padding, (0, 0)), (1, *window.dilation, 1)
    sizes, steps = (1, *window.size, 1), (1, *window.stride, 1)
    return jax.lax.reduce_window(x, start, combine, sizes, steps, sides, window_dilation=apart)


# by a layer's class, what computes its output of the layer, its parameters and its input
EQUALS: dict[type, Any] = {
    Conv2D: _convolution,
    MaxPool2D: _max_pool,
    AvgPool2D: _average_pool,
    Dense: lambda layer, params, x: x @ params["weights"] + params.get("bias", 0),
    Crop2D: lambda layer, params, x: x[:, *layer.places_of(x.shape[1:])],
    Flatten: lambda layer, params, x: x.reshape(len(x), -1),
    ReLU: lambda layer, params, x: jax.nn.relu(x),
    Sigmoid: lambda layer, params, x: jax.nn.sigmoid(x),
    Tanh: lambda layer, params, x: jax.numpy.tanh(x),
}


def mean_loss(network: Network, loss: Loss, params: Mapping[str, Any], x: Any, labels: Any) -> Any:
    """The batch's mean loss, which JAX differentiates."""
    z = logits(network, params, x)
    right = jax.nn.one_hot(labels, z.shape[1])
    if isinstance(loss, BinaryCrossEntropy):
        return -(right * jax.nn.log_sigmoid(z) + (1 - right) * jax.nn.log_sigmoid(-z)).mean()
    if isinstance(loss, SoftmaxCrossEntropy):
        right = right * (1 - loss.label_smoothing) + loss.label_smoothing / z.shape[1]
    return -(right * jax.nn.log_softmax(z)).sum(axis=1).mean()


def check(network: Network, loss: Loss, shape: tuple[int, ...]) -> None:
    """Raises SettingError where JAX has no equal; shape: of the images."""
    smoothing = {"label_smoothing": loss.label_smoothing} if isinstance(loss, SoftmaxCrossEntropy) else {}
    if type(loss) not in (SoftmaxCrossEntropy, BinaryCrossEntropy) or loss != type(loss)(**smoothing):
        raise _no_equal(loss)
    params = network.init(network.input_shape, generator(0))
    jax.eval_shape(functools.partial(logits, network), params, jax.ShapeDtypeStruct(shape, "float32"))


class Training:
    """SGD on images that are float32 on the device before a step begins; the whole step is one compiled function."""

    def __init__(self, network: Network, loss: Loss, images: np.ndarray, labels: np.ndarray, lr: float) -> None:
        jax.config.update("jax_default_matmul_precision", "highest")  # plain float32, as on the other sides

        def updated(params: Any, x: Any, y: Any) -> Any:
            gradient = jax.grad(functools.partial(mean_loss, network, loss))(params, x, y)
            return jax.tree.map(lambda value, slope: value - lr * slope, params, gradient)

        drawn = network.init(network.input_shape, generator(0))
        self.params: Any = jax.tree.map(lambda array: jax.numpy.asarray(array, "float32"), drawn)
        self.data = jax.device_put(images.astype(np.float32) / 255), jax.device_put(labels)
        self.step = jax.jit(updated, donate_argnums=0)

    def __call__(self) -> None:
        self.params = self.step(self.params, *self.data)

    def wait(self) -> None:
        jax.block_until_ready(self.params)


def training(
    network: Network, loss: Loss, images: np.ndarray, labels: np.ndarray, device: str, lr: float
) -> dict[str, Callable[[], Candidate]]:
    """By name, what makes a step on these images, compiled; JAX chooses the device itself, the first GPU.

    Raises SettingError where JAX has no equal of the network or the loss.
    """
    check(network, loss, images.shape)

    def step() -> Candidate:
        made = Training(network, loss, images, labels, lr)
        return Candidate(made, wait=made.wait)

    return {NAME: step}
