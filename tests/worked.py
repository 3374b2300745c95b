"""For every equation of the documents: a call of the function that carries it out, and its result worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpucnn import Model
from gpucnn.kernels import Context
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.network import Network
from gpucnn.ops import Window

LOG_2, LOG_3, LOG_4 = 0.6931471805599453, 1.0986122886681098, 1.3862943611198906


def image(*rows: list) -> np.ndarray:
    """One image of one channel, (1, H, W, 1)."""
    return np.array(rows, float)[None, :, :, None]


def plain(images: Any) -> Any:
    """The only channel of the only image."""
    assert (len(images), images.shape[-1]) == (1, 1)
    return images[0, :, :, 0]


# The numbers of binary-sigmoid, "Convolution Walk through".
IMAGE = image([1, 6, 2], [5, 3, 1], [7, 0, 4])
KERNEL = np.array([[1.0, 2], [-1, 0]])[:, :, None, None]
DIAGONAL = image([1, 0], [0, 2])

VECTOR, WEIGHTS = np.array([[1.0, 2]]), np.array([[3.0, 4], [5, 6]])
TIES = image([1, 5, 2, 2], [5, 0, 2, 2])
LOGITS = np.array([[0, LOG_3]])  # whose softmax is 1/4, 3/4


@dataclass(frozen=True)
class Worked:
    """rows: document -> the numbers in `ops.EQUATIONS` that it is an example of.

    call: given the function that the index names there, what it makes of small numbers. expected: by hand.
    """

    rows: dict[str, list[int | str]]
    call: Callable[[Callable], Any]
    expected: Any


# Networks


SCALARS = Network((1,), (Dense(1), ReLU(), Dense(1)))
SCALAR_PARAMS = {
    "0": {"weights": np.array([[3.0]]), "bias": np.zeros(1)},
    "2": {"weights": np.array([[-1.0]]), "bias": np.zeros(1)},
}
FILTER = Network((3, 3, 1), (Conv2D(1, 2), ReLU(), MaxPool2D(2), Flatten()))
FILTER_PARAMS = {"0": {"kernel": KERNEL, "bias": np.ones(1)}}


def backward(function: Callable, network: Network, params: Any, x: np.ndarray) -> np.ndarray:
    """dx where dy = 1, then every parameter's gradient, the last layer's first."""
    _, residuals = network.forward(params, x, Context())
    dx, dparams = function(network, params, residuals, np.ones((1, 1)), Context())
    gradients = [g for of_layer in dparams.values() for g in of_layer.values()]
    return np.concatenate([g.ravel() for g in (dx, *gradients)])


def two_conv_by_hand(build: Callable) -> dict[str, list[float]]:
    """The different numbers in each gradient of two-conv on an image of 16 x 16 ones, for the label 0.

    Kernels of 1, then 1/8, weights of 1/16, then +-1/128, and no biases but the last, +-625, which makes logits of 0:
    z^0 = 25, z^1 = 25 * 25 * 8 / 8 = 625, z^2 = 16 * 625 / 16 = 625, z^3 = +-128 * 625 / 128 -+ 625 = 0.
    """
    network = build((16, 16, 1), 2)
    params = network.init((16, 16, 1), np.random.default_rng(0))
    for k, weight in (("0", 1), ("3", 1 / 8), ("7", 1 / 16), ("9", np.array([1, -1]) / 128)):
        for name in params[k]:
            params[k][name][...] = 0 if name == "bias" else weight
    params["9"]["bias"][...] = [-625, 625]
    logits, residuals = network.forward(params, np.ones((1, 16, 16, 1)), Context())
    _, dz = SoftmaxCrossEntropy()(logits, np.array([0]))
    _, dparams = network.backward(params, residuals, dz, Context(), need_dx=False)
    return {f"{k}/{name}": sorted(set(g.ravel().tolist())) for k in dparams for name, g in dparams[k].items()}


# x^3 = 625, delta^3 = x - y = -1/2, 1/2; delta^2 = (-1/2 - 1/2) / 128; by x^2: 128 * -1/128 / 16 = -1/16.
DENSE = {"9/weights": [-312.5, 312.5], "9/bias": [-0.5, 0.5], "7/weights": [-625 / 128], "7/bias": [-1 / 128]}
# First ties: delta^1 = -1/16 at one of 2 x 2 places, times x^1 = 25. By x^1: 16 filters * -1/16 / 8 = -1/8 at 5 x 5
# places, each at one pixel of its window; under an image of ones they add up to -25/8 in kernel and bias alike.
FIRST = DENSE | {"3/kernel": [-25 / 16], "3/bias": [-1 / 16], "0/kernel": [-25 / 8], "0/bias": [-25 / 8]}
# All ties: delta^1 at all four places, four times as much; then again at all four pixels, 16 times as much.
EVERY = DENSE | {"3/kernel": [-25 / 4], "3/bias": [-1 / 4], "0/kernel": [-50], "0/bias": [-50]}


def classes(network: Network) -> str:
    """The first letters of the layers: Conv2D, Dense, Flatten, MaxPool2D, ReLU."""
    return "".join(type(layer).__name__[0] for layer in network.layers)


def weighed(network: Network) -> int:
    """How many layers have weights."""
    return len({name.split("/")[0] for name in network.parameter_shapes()})


NETWORKS = [
    Worked({"single-filter": ["Network"]}, lambda f: f().parameter_shapes()["0/kernel"], (3, 3, 1, 1)),
    Worked({"single-filter": ["Neural Net"]}, lambda f: classes(f())[-4:], "FDRD"),  # 169, 70, 10 are three layers
    Worked(
        {"single-filter": ["Neural Network"]},
        lambda f: [f().parameter_shapes()[name] for name in ("4/weights", "6/weights")],
        [(169, 70), (70, 10)],
    ),
    Worked({"two-conv": [22]}, lambda f: weighed(f()), 4),
    Worked({"two-conv": [23]}, lambda f: classes(f()), "CRMCRMFDRD"),
    Worked({"two-conv": [24, 25]}, two_conv_by_hand, FIRST),
    # Seven f, five C, P, C, P, F and two D; sigma is R, identity, or the loss's S.
    Worked({"layered": [27]}, lambda f: len(classes(f()).replace("R", "")), 7),
    Worked({"layered": [28]}, lambda f: classes(f()), "CRMCRMFDRD"),
    Worked({"layered": [29, 30]}, two_conv_by_hand, EVERY),
    Worked({"layered": ["1.1 Part 1"]}, lambda f: f().parameters, 7850),  # 784 * 10 + 10
    # 26 * 26 * 5 = 3380
    Worked(
        {"binary-sigmoid": ["Overview"]},
        lambda f: [math.prod(shape) for shape in f().shapes()],
        [784, 3380, 3380, 3380, 100, 100, 2],
    ),
    # 100 + 4 + 600 + 6 + 4800 + 50 + 500 + 10
    Worked({"avgpool-96": ["Number of Parameters to be Learned"]}, lambda f: f().parameters, 6070),
    # 3 * 2 = 6, R(6) = 6, -1 * 6
    Worked(
        {"two-conv": [16], "layered": [1]}, lambda f: f(SCALARS, SCALAR_PARAMS, np.array([[2.0]]), Context())[0], [[-6]]
    ),
    # dy = 1: dw = 6, db = 1; delta = 1 * -1 * R'(6) = -1: dw = -1 * 2, db = -1; dx = -1 * 3
    Worked(
        {"two-conv": [20, 21], "layered": [3, 5, 7]},
        lambda f: backward(f, SCALARS, SCALAR_PARAMS, np.array([[2.0]])),
        [-3, 6, 1, -2, -1],
    ),
    # [8, 7], [4, 5] plus 1, all above 0, their maximum
    Worked({"single-filter": ["Forward Pass"]}, lambda f: f(FILTER, FILTER_PARAMS, IMAGE, Context())[0], [[9]]),
    # The maximum is the first output: the kernel there, its pixels, and 1
    Worked(
        {"single-filter": ["Backward Pass"]},
        lambda f: backward(f, FILTER, FILTER_PARAMS, IMAGE),
        [1, 2, 0, -1, 0, 0, 0, 0, 0, 1, 6, 5, 3, 1],
    ),
]


# Training, the cost, and where it starts


def two_classes(**parameters: list) -> Model:
    """A dense layer from one number to two logits."""
    model = Model(Network((1,), (Dense(2),)), device="cpu", dtype="float64", threads=1)
    model.theta[...] = [*parameters["weights"], *parameters["bias"]]
    return model


def fitted(fit: Callable, images: list) -> list[float]:
    """Weights and bias, from 0, after one update of learning rate 1; all labels are 0."""
    model = two_classes(weights=[0, 0], bias=[0, 0])
    fit(model, np.array(images), np.zeros(len(images), int), epochs=1, batch_size=8, optimizer="sgd", lr=1.0)
    return model.theta.tolist()


def updated(optimizer: Any) -> np.ndarray:
    theta, g = np.array([1.0, 2]), np.array([0.5, -1])
    optimizer.update(theta, g, optimizer.init(theta), 0.1, 1)
    return theta


class Highest:
    """A random generator that draws the upper limit."""

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        assert low == -high
        return np.full(shape, high)


def squared_limit(init: Callable, layer: Any, in_shape: tuple[int, ...], name: str) -> float:
    return init(layer, in_shape, Highest())[name].max() ** 2


TRAINING = [
    # -log 1/4 and -log 3/4 = log 4 - log 3; their mean
    Worked(
        {"two-conv": [13], "layered": [24]},
        lambda f: f(two_classes(weights=[0, LOG_3], bias=[0, 0]), np.ones((2, 1)), np.array([0, 1]))["loss"],
        LOG_4 - LOG_3 / 2,
    ),
    # delta = -1/2, 1/2 for both examples, times x = 1 and 1/2: dw = -3/8, 3/8 in the mean, db = -1/2, 1/2
    Worked({"layered": [8, 9]}, lambda f: fitted(f, [[1.0], [0.5]]), [0.375, -0.375, 0.5, -0.5]),
    Worked(
        {"two-conv": [19], "layered": [4], "avgpool-96": ["delta_i"]},
        lambda f: f()(LOGITS, np.array([0]))[1],
        [[-0.75, 0.75]],
    ),
    # sigmoid: 3/4 and 1/2, wanted 1 and 0: (log 4/3 + log 2) / 2
    Worked(
        {"binary-sigmoid": ["4) Binary Cross Entropy Loss"]},
        lambda f: f()(np.array([[LOG_3, 0]]), np.array([0]))[0],
        [(LOG_4 - LOG_3 + LOG_2) / 2],
    ),
    Worked(
        {"single-filter": ["filter"], "avgpool-96": ["The model parameters will be updated as"]},
        lambda f: updated(f()),
        [0.95, 2.1],
    ),
    # 6 / ((1 + 4) * 25), 6 / ((4 + 6) * 25), 6 / (96 + 50)
    Worked({"avgpool-96": ["K_1,m"]}, lambda f: squared_limit(f, Conv2D(4, 5), (28, 28, 1), "kernel"), 0.048),
    Worked({"avgpool-96": ["K^2_m,n"]}, lambda f: squared_limit(f, Conv2D(6, 5), (12, 12, 4), "kernel"), 0.024),
    Worked({"avgpool-96": ["W_1"]}, lambda f: squared_limit(f, Dense(50), (96,), "weights"), 3 / 73),
    Worked({"avgpool-96": ["All biases initialized to zeros"]}, lambda f: f(Dense(2), (3,), Highest())["bias"], [0, 0]),
]


# Convolution


def of_three_channels(layer: Any) -> Any:
    """5 + 10 + 6, and a bias of 100."""
    x = np.stack([[[1.0, 2], [3, 4]], [[1, 1], [1, 1]], [[2, 0], [0, 0]]], axis=-1)
    k = np.stack([[[1.0, 0], [0, 1]], [[1, 2], [3, 4]], [[3, 0], [0, 0]]], axis=-1)
    params = {"kernel": k[..., None], "bias": np.array([100.0])}
    return layer.forward(params, x[None], Context())[0]


def of_two_filters(layer: Any) -> Any:
    """Twice the kernel gives twice [8, 7], [4, 5]; each output has a bias of its own."""
    bias = np.array([[[0.0, 1], [0, 2]], [[0, 3], [0, 4]]])
    params = {"kernel": np.concatenate([KERNEL, 2 * KERNEL], axis=-1), "bias": bias}
    return layer.forward(params, IMAGE, Context())[0][0]


def both(array: np.ndarray) -> np.ndarray:
    """A batch of the same example twice."""
    return np.concatenate([array, array])


CONVOLUTION = [
    Worked(
        {"binary-sigmoid": ["Cross-correlation"], "single-filter": ["Feature Map[i, j]"]},
        lambda f: plain(f(IMAGE, KERNEL)),
        [[8, 7], [4, 5]],
    ),
    Worked(
        {"binary-sigmoid": ["Convolution"], "two-conv": [1], "avgpool-96": ["C_m(i, j)"]},
        lambda f: plain(f(IMAGE, KERNEL)),
        [[7, 5], [11, 3]],
    ),
    Worked({"layered": [15]}, lambda f: f(both(IMAGE), KERNEL)[..., 0], [[[7, 5], [11, 3]]] * 2),
    # Twice the same channel
    Worked(
        {"avgpool-96": ["C^2_n(i, j)"]},
        lambda f: plain(f(np.concatenate([IMAGE, IMAGE], axis=3), np.concatenate([KERNEL, KERNEL], axis=2))),
        [[14, 10], [22, 6]],
    ),
    Worked({"binary-sigmoid": ["Math Notation"]}, lambda f: f(KERNEL)[:, :, 0, 0], [[0, -1], [2, 1]]),
    Worked({"binary-sigmoid": ["Valid"]}, lambda f: f(2, 1, "valid", 1, 3, 3).outputs(3, 3), (2, 2)),
    Worked({"binary-sigmoid": ["Full"]}, lambda f: f(2, 1, "full", 1, 3, 3).outputs(3, 3), (4, 4)),
    Worked({"binary-sigmoid": ["Size of Output"]}, lambda f: f(Window((2, 2)), 3, 3), (2, 2)),  # 3 - 2 + 1
    Worked({"single-filter": ["X = (N - L) / 1 + 1"]}, lambda f: f(Window((3, 3)), 28, 28), (26, 26)),
    Worked({"single-filter": ["x, y"]}, lambda f: f(Window((2, 2), (2, 2)), 26, 26), (13, 13)),  # (26 - 2) / 2 + 1
    Worked({"binary-sigmoid": ["Convolutional Layer"]}, lambda f: plain(of_three_channels(f(1, 2))), [[121]]),
    Worked(
        {"binary-sigmoid": ["Forward propagation"]},
        lambda f: of_two_filters(f(2, 2, bias="untied")),
        [[[8, 17], [7, 16]], [[4, 11], [5, 14]]],
    ),
    Worked({"two-conv": [17], "layered": [2]}, lambda f: f(VECTOR, np.array([10.0, 20])), [[11, 22]]),
    Worked(
        {"binary-sigmoid": ["y = B + X * k"]},
        lambda f: plain(f(image([8, 7], [4, 5]), np.array([[[1.0], [2]], [[3], [4]]]))),
        [[9, 9], [7, 9]],
    ),
    # The kernel once at the upper left, twice at the lower right
    Worked(
        {"binary-sigmoid": ["(3) dE/dx_i"]},
        lambda f: plain(f(IMAGE, KERNEL, DIAGONAL)[0]),
        [[1, 2, 0], [-1, 2, 4], [0, -2, 0]],
    ),
    # The upper left of the image, and twice its lower right: 1 + 2 * 3, 6 + 2 * 1, 5 + 2 * 0, 3 + 2 * 4
    Worked(
        {"binary-sigmoid": ["(1) dE/dk_ij"], "single-filter": ["fill_dw"]},
        lambda f: f(IMAGE, KERNEL, DIAGONAL)[1][:, :, 0, 0],
        [[7, 8], [5, 11]],
    ),
    # As above, with the kernel rotated
    Worked(
        {"two-conv": [2], "avgpool-96": ["delta CP_m(i, j)"]},
        lambda f: plain(f(IMAGE, KERNEL, DIAGONAL)[0]),
        [[0, -1, 0], [2, 1, -2], [0, 4, 2]],
    ),
    Worked(
        {"layered": [16]},
        lambda f: f(both(IMAGE), KERNEL, both(DIAGONAL))[0][..., 0],
        [[[0, -1, 0], [2, 1, -2], [0, 4, 2]]] * 2,
    ),
    Worked(
        {"two-conv": [3], "avgpool-96": ["Delta K_1,m", "Delta K^2_m,n(u, v)"]},
        lambda f: f(IMAGE, KERNEL, DIAGONAL)[1][:, :, 0, 0],
        [[11, 5], [8, 7]],
    ),
    Worked({"layered": [17]}, lambda f: f(both(IMAGE), KERNEL, both(DIAGONAL))[1][:, :, 0, 0], [[22, 10], [16, 14]]),
    Worked(
        {"two-conv": [18], "layered": [6], "binary-sigmoid": ["(2) dE/db_i"]},
        lambda f: f(image([1, 2], [3, 4]), 3)[:, :, 0],
        [[1, 2], [3, 4]],
    ),
    Worked(
        {"avgpool-96": ["Delta b_n", "Delta b_m"], "single-filter": ["d_filter_bias"]},
        lambda f: f(image([1, 2], [3, 4]), 1),
        [10],
    ),
    Worked(
        {"avgpool-96": ["Delta b_1", "Delta b_2"], "single-filter": ["dc/db^1", "dc/db^2"]},
        lambda f: f(np.array([[5.0, 6]]), 1),
        [5, 6],
    ),
]


# Pooling and the dense layer


PIXELS = np.array([[[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]]])
FLAT = [[1, 2, 3, 4, 5, 6, 7, 8]]

SHAPES = [
    Worked({"two-conv": [4], "layered": [18], "single-filter": ["p[i, j]"]}, lambda f: plain(f(TIES)), [[5, 2]]),
    # Row 0 of 4 columns, the first of the largest: columns 1 and 2
    Worked(
        {"single-filter": ["Pooling - Indices"]}, lambda f: [plain(a).tolist() for a in f(TIES)], [[[5, 2]], [[1, 2]]]
    ),
    Worked(
        {"single-filter": ["Back fill_map()"]},
        lambda f: plain(f(np.array([[[[1], [2]]]]), image([3, 7]), (2, 4))),
        [[0, 3, 7, 0], [0, 0, 0, 0]],
    ),
    Worked(
        {"layered": [19]},
        lambda f: plain(f(TIES, image([5, 2]), image([3, 7]), ties="all")),
        [[0, 3, 7, 7], [3, 0, 7, 7]],
    ),
    # (1 + 2 + 5 + 6) / 4, (3 + 4 + 7 + 8) / 4
    Worked(
        {"avgpool-96": ["CP_m(i, j)", "CP^2_n(i, j)"]},
        lambda f: plain(f(image([1, 2, 3, 4], [5, 6, 7, 8]))),
        [[3.5, 5.5]],
    ),
    Worked(
        {"avgpool-96": ["delta C_m(i, j)", "delta C^2_n(i, j)"]},
        lambda f: plain(f(image([4, 8]), (2, 4))),
        [[1, 1, 2, 2], [1, 1, 2, 2]],
    ),
    Worked({"two-conv": [5], "layered": [10], "single-filter": ["L_1"]}, lambda f: f(PIXELS), FLAT),
    Worked({"layered": [11], "avgpool-96": ["delta_flatten"]}, lambda f: f(np.array(FLAT), (2, 2, 2)), PIXELS.tolist()),
    Worked(
        {"binary-sigmoid": ["3) Reshape Layer"]},
        lambda f: plain(f(np.array([[1, 2, 3, 4]]), (2, 2, 1))),
        [[1, 2], [3, 4]],
    ),
    # 1 * 3 + 2 * 5, 1 * 4 + 2 * 6
    Worked(
        {"two-conv": [6], "layered": [12], "single-filter": ["L_2"], "avgpool-96": ["a_1"]},
        lambda f: f(VECTOR, WEIGHTS),
        [[13, 16]],
    ),
    # dy = 1, 2: 3 * 1 + 4 * 2, 5 * 1 + 6 * 2
    Worked(
        {"two-conv": [7], "layered": [13], "single-filter": ["dc/da^0", "dc/da^1"]},
        lambda f: f(VECTOR, WEIGHTS, np.array([[1.0, 2]]))[0],
        [[11, 17]],
    ),
    Worked(
        {"two-conv": [8], "single-filter": ["dc/dw^1", "dc/dw^2"], "avgpool-96": ["Delta W_1", "Delta W_2"]},
        lambda f: f(VECTOR, WEIGHTS, np.array([[1.0, 3]]))[1],
        [[1, 3], [2, 6]],
    ),
    # The same, and a second example of x = 10, 0 and dy = 0, 1
    Worked(
        {"layered": [14]},
        lambda f: f(np.array([[1.0, 2], [10, 0]]), WEIGHTS, np.array([[1.0, 3], [0, 1]]))[1],
        [[1, 13], [2, 6]],
    ),
]


# Activations and losses


POINTS, FOURS = np.array([[-1.0, 0, 2]]), np.full((1, 3), 4.0)
QUARTERS = np.array([[0.25, 0.75]])
CERTAIN = np.array([[1.0, 0]])

ACTIVATION = [
    Worked(
        {"two-conv": [9], "layered": [20], "single-filter": ["Feature Map = ReLU(Feature Map)"]},
        lambda f: f(POINTS),
        [[0, 0, 2]],
    ),
    Worked(
        {"two-conv": [10], "layered": [21], "single-filter": ["dc/dz^1", "new_map_relu_prime"]},
        lambda f: f(POINTS, FOURS),
        [[0, 2, 4]],
    ),
    Worked(
        {"two-conv": [11], "layered": [22], "single-filter": ["L_3"], "avgpool-96": ["a_2"]},
        lambda f: f(LOGITS),
        [[0.25, 0.75]],
    ),
    # g = 4, 0: the sum of g S is 1; 1/4 (4 - 1), 3/4 (0 - 1)
    Worked({"two-conv": [12], "layered": [23]}, lambda f: f(QUARTERS, np.array([[4.0, 0]])), [[0.75, -0.75]]),
    Worked({"two-conv": [14], "layered": [25]}, lambda f: f(QUARTERS, CERTAIN), [LOG_4]),
    Worked(
        {"two-conv": [15], "layered": [26], "single-filter": ["Cross Entropy", "delta^2"]},
        lambda f: f(LOGITS, CERTAIN)[1],
        [[-0.75, 0.75]],
    ),
    Worked({"avgpool-96": ["delta_1"]}, lambda f: f(np.array([[0.5]]), np.array([[4.0]])), [[3]]),  # 4 (1 - 1/4)
    Worked({"binary-sigmoid": ["Sigmoid Function"]}, lambda f: f(np.array([LOG_3, 0, -LOG_3])), [0.75, 0.5, 0.25]),
    Worked(
        {"binary-sigmoid": ["5) Sigmoid Activation"]},
        lambda f: f().forward({}, np.array([-1e9, 0, 1e9]), Context())[0],
        [0, 0.5, 1],
    ),
    # 4 * 3/4 * 1/4, 4 * 1/2 * 1/2
    Worked(
        {"binary-sigmoid": ["Sigmoid Derivative"]}, lambda f: f(np.array([0.75, 0.5]), np.array([4.0, 4])), [0.75, 1]
    ),
    # (log 4/3 + log 2) / 2
    Worked(
        {"binary-sigmoid": ["Cross Entropy Loss"]},
        lambda f: f(np.array([[0.75, 0.5]]), CERTAIN),
        [(LOG_4 - LOG_3 + LOG_2) / 2],
    ),
    # 1/2 (0 - 1 / 3/4), 1/2 (1 / 1/2 - 0)
    Worked({"binary-sigmoid": ["dE/dy_1"]}, lambda f: f(np.array([[0.75, 0.5]]), CERTAIN), [[-2 / 3, 1]]),
]

WORKED = [*NETWORKS, *TRAINING, *CONVOLUTION, *SHAPES, *ACTIVATION]
