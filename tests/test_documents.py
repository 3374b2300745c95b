"""The source documents' formulas, written out as plain loops and put to the functions of gpucnn.ops.

Numbers by hand for every equation are in worked.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from worked import IMAGE, KERNEL, TIES, image, plain

from gpucnn import ops
from gpucnn.errors import SettingError
from gpucnn.kernels import Context
from gpucnn.layers import Conv2D
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.network import Network
from gpucnn.networks import build


def drawn(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def whole(*shape: int, seed: int = 3, high: int = 3) -> np.ndarray:
    """Small whole numbers: many ties and exact zeros."""
    return np.random.default_rng([seed, *shape]).integers(-2, high, shape).astype(float)


def nhwc(image: np.ndarray) -> np.ndarray:
    return image[None, :, :, None]


def kernel_of(matrix: np.ndarray) -> np.ndarray:
    return matrix[:, :, None, None]


def contracted(jacobian: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """sum over y of dy_y J_yx: the gradient with respect to x, of the shape of the Jacobian's last axes."""
    return np.tensordot(dy, jacobian, axes=dy.ndim)


def close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# Worked numbers


def test_full_convolution_of_the_worked_numbers() -> None:
    """binary-sigmoid, "Full convolution"."""
    found = ops.convolve(IMAGE, KERNEL, padding="full")
    assert plain(found).tolist() == [[1, 8, 14, 4], [4, 7, 5, 2], [2, 11, 3, 8], [-7, 0, -4, 0]]


@pytest.mark.parametrize("padding", ["valid", "same", "full", 1, ((0, 2), (1, 0))])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), ((2, 1), 1), (1, (1, 2))])
def test_convolution_is_correlation_with_the_kernel_rotated(padding: Any, stride: Any, dilation: Any) -> None:
    """binary-sigmoid, "I * K = I (star) rot180(K)", with the two stars told apart."""
    x, w = drawn(2, 6, 7, 2), drawn(2, 3, 2, 3)
    options = {"padding": padding, "stride": stride, "dilation": dilation}
    close(ops.convolve(x, w, **options), ops.correlate(x, ops.rotate180(w), **options), 0)
    close(ops.rotate180(w), np.rot90(w, 2), 0)


# Shapes


SHAPES = {
    "single-filter": [(28, 28, 1), (26, 26, 1), (26, 26, 1), (13, 13, 1), (169,), (70,), (70,), (10,)],
    "avgpool-96": [
        *[(28, 28, 1), (24, 24, 4), (24, 24, 4), (12, 12, 4), (8, 8, 6), (8, 8, 6), (4, 4, 6)],
        *[(96,), (50,), (50,), (10,)],
    ],
    "binary-sigmoid": [(28, 28, 1), (26, 26, 5), (26, 26, 5), (3380,), (100,), (100,), (2,)],
    "two-conv": [
        *[(28, 28, 1), (24, 24, 8), (24, 24, 8), (12, 12, 8), (8, 8, 16), (8, 8, 16), (4, 4, 16)],
        *[(256,), (128,), (128,), (10,)],
    ],
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_shapes_are_the_documents(name: str) -> None:
    assert build(name).shapes() == SHAPES[name]


def test_a_valid_output_is_input_minus_kernel_plus_one() -> None:
    """binary-sigmoid: "size of input subtracted by size of the output plus 1" means input - kernel + 1."""
    for size, kernel in product(range(1, 9), range(1, 9)):
        if kernel <= size:
            assert ops.correlate(np.zeros((1, size, 9, 1)), np.zeros((kernel, 1, 1, 1))).shape[1] == size - kernel + 1


# Jacobians: the convolution


STRIDES = pytest.mark.parametrize("strides", [(1, 1), (2, 1), (2, 3), (4, 4)])


def conv_arrays(strides: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (7, 8, 2), w (3, 2, 2, 3) and dy of one example."""
    x, w = drawn(7, 8, 2), drawn(3, 2, 2, 3)
    P, Q = ((x.shape[axis] - w.shape[axis]) // strides[axis] + 1 for axis in (0, 1))
    return x, w, drawn(P, Q, 3)


@STRIDES
def test_two_conv_1_is_the_convolution(strides: tuple[int, int]) -> None:
    """C_ijk = sum over p, q, u of w_pquk x_(s1 i + P - p)(s2 j + Q - q)u, P and Q the last kernel index."""
    x, w, dy = conv_arrays(strides)
    P, Q = w.shape[0] - 1, w.shape[1] - 1
    expected = np.zeros(dy.shape)
    for i, j, k in np.ndindex(*dy.shape):
        for p, q, u in np.ndindex(*w.shape[:3]):
            expected[i, j, k] += w[p, q, u, k] * x[strides[0] * i + P - p, strides[1] * j + Q - q, u]
    close(ops.convolve(x[None], w, stride=strides)[0], expected)


@STRIDES
def test_two_conv_2_the_convolution_by_x(strides: tuple[int, int]) -> None:
    """dC_ijk / dx_tuv = w_(P + s1 i - t)(Q + s2 j - u)vk, and 0 outside the kernel."""
    x, w, dy = conv_arrays(strides)
    P, Q = w.shape[0] - 1, w.shape[1] - 1
    jacobian = np.zeros(dy.shape + x.shape)
    for i, j, k, t, u, v in np.ndindex(*jacobian.shape):
        row, column = P + strides[0] * i - t, Q + strides[1] * j - u
        if 0 <= row <= P and 0 <= column <= Q:
            jacobian[i, j, k, t, u, v] = w[row, column, v, k]
    dx, _ = ops.convolve_backward(x[None], w, dy[None], stride=strides)
    close(dx[0], contracted(jacobian, dy))


@STRIDES
def test_two_conv_3_the_convolution_by_w(strides: tuple[int, int]) -> None:
    """dC_ijk / dw_ctuv = x_(s1 i + P - c)(s2 j + Q - t)u delta_kv."""
    x, w, dy = conv_arrays(strides)
    P, Q = w.shape[0] - 1, w.shape[1] - 1
    jacobian = np.zeros(dy.shape + w.shape)
    for i, j, k, c, t, u in np.ndindex(*dy.shape, *w.shape[:3]):
        jacobian[i, j, k, c, t, u, k] = x[strides[0] * i + P - c, strides[1] * j + Q - t, u]
    _, dw = ops.convolve_backward(x[None], w, dy[None], stride=strides)
    close(dw, contracted(jacobian, dy))


# Jacobians: the dense layer, flatten, and the activations


def test_two_conv_5_flatten() -> None:
    """F_(i J K + j K + k) = x_ijk, and back."""
    x = drawn(1, 3, 4, 2)
    flat = ops.flatten(x)
    for i, j, k in np.ndindex(3, 4, 2):
        assert flat[0, i * 4 * 2 + j * 2 + k] == x[0, i, j, k]
    close(ops.flatten_backward(flat, (3, 4, 2)), x, 0)


def test_two_conv_7_dense_by_x() -> None:
    """dD_j / dx_k = w_kj."""
    x, w, dy = drawn(5), drawn(5, 4), drawn(4)
    jacobian = np.zeros((4, 5))
    for j, k in np.ndindex(4, 5):
        jacobian[j, k] = w[k, j]
    close(ops.dense_backward(x[None], w, dy[None])[0][0], contracted(jacobian, dy))


def test_two_conv_8_dense_by_w() -> None:
    """dD_j / dw_ck = x_c delta_jk."""
    x, w, dy = drawn(5), drawn(5, 4), drawn(4)
    jacobian = np.zeros((4, 5, 4))
    for j, c in np.ndindex(4, 5):
        jacobian[j, c, j] = x[c]
    close(ops.dense_backward(x[None], w, dy[None])[1], contracted(jacobian, dy))


def test_two_conv_10_relu() -> None:
    """dR_i / dz_j = delta_ij where z_i > 0, 1/2 delta_ij where z_i = 0, else 0."""
    z, dy = whole(12), drawn(12)
    assert 0 in z
    jacobian = np.zeros((12, 12))
    for i in range(12):
        jacobian[i, i] = 1 if z[i] > 0 else 0.5 if z[i] == 0 else 0
    close(ops.relu_backward(z[None], dy[None])[0], contracted(jacobian, dy))


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_the_slope_of_relu_at_exactly_zero(slope: float, zero: float) -> None:
    z = np.array([[-1.0, -1e-300, zero, 1e-300, 1.0]])
    assert ops.relu_backward(z, np.full((1, 5), 4.0), slope).tolist() == [[0, 0, 4 * slope, 4, 4]]


def softmax_jacobian(s: np.ndarray) -> np.ndarray:
    jacobian = np.zeros((len(s), len(s)))
    for i, j in np.ndindex(*jacobian.shape):
        jacobian[i, j] = s[i] * (1 - s[j]) if i == j else -s[i] * s[j]
    return jacobian


def test_two_conv_12_softmax() -> None:
    """dS_i / dz_j = S_i (1 - S_j) where i = j, else -S_i S_j; its rows and its columns sum to 0."""
    z, g = drawn(6), drawn(6, seed=4)
    s = ops.softmax(z)
    close(ops.softmax_backward(s[None], g[None])[0], contracted(softmax_jacobian(s), g))
    close(softmax_jacobian(s).sum(axis=0), 0)


def test_layered_23_has_the_sum_over_i() -> None:
    """S_j (g_j - sum over i of g_i S_i): without the sum, as printed, a constant g would not give 0."""
    s = ops.softmax(drawn(1, 6))
    close(ops.softmax_backward(s, np.full((1, 6), 3.0)), 0)


@pytest.mark.parametrize(
    ("forward", "backward", "slope"),
    [
        (ops.sigmoid, ops.sigmoid_backward, lambda z: math.exp(-z) / (1 + math.exp(-z)) ** 2),
        (ops.tanh, ops.tanh_backward, lambda z: 1 / math.cosh(z) ** 2),
    ],
    ids=["sigmoid", "tanh"],
)
def test_sigmoid_and_tanh_by_z(forward: Callable, backward: Callable, slope: Callable) -> None:
    """binary-sigmoid, "Sigmoid Derivative"; avgpool-96, "derivative of activation function"."""
    z, dy = drawn(7), drawn(7, seed=4)
    jacobian = np.diag([slope(value) for value in z])
    close(backward(forward(z)[None], dy[None])[0], contracted(jacobian, dy))


# Jacobians: pooling


POOLS = pytest.mark.parametrize(
    ("window", "stride"), [((2, 2), (2, 2)), ((2, 3), (2, 3)), ((3, 2), (1, 2)), ((3, 3), (1, 1)), ((1, 2), (2, 3))]
)


def pooled(length: int, window: int, stride: int) -> int:
    return (length - window) // stride + 1


def max_pool_jacobian(x: np.ndarray, window: tuple[int, int], stride: tuple[int, int], ties: str) -> np.ndarray:
    """1 where x_tuk = P_ijk and (t, u) lies in window (i, j): everywhere, or only at the first such place."""
    P, Q = (pooled(x.shape[axis], window[axis], stride[axis]) for axis in (0, 1))
    jacobian = np.zeros((P, Q, x.shape[2], *x.shape))
    for i, j, k in np.ndindex(P, Q, x.shape[2]):
        seen = [(stride[0] * i + p, stride[1] * j + q) for p, q in np.ndindex(*window)]
        best = max(x[t, u, k] for t, u in seen)
        winners = [(t, u) for t, u in seen if x[t, u, k] == best]
        for t, u in winners if ties == "all" else winners[:1]:
            jacobian[i, j, k, t, u, k] = 1
    return jacobian


@POOLS
@pytest.mark.parametrize("ties", ["first", "all"])
@pytest.mark.parametrize("draw", [drawn, whole])
def test_two_conv_4_and_layered_19_max_pooling(window: Any, stride: Any, ties: str, draw: Callable) -> None:
    """dx_tu gets dJ/dz_ij where (t, u) lies in window (i, j) and x_tu = P_ij."""
    x = draw(6, 7, 2)
    jacobian = max_pool_jacobian(x, window, stride, ties)
    dy = drawn(*jacobian.shape[:3])
    y = ops.max_pool(x[None], window, stride=stride)
    close(
        y[0],
        [[[x[jacobian[i, j, k] == 1].max() for k in range(2)] for j in range(dy.shape[1])] for i in range(len(dy))],
    )
    close(ops.max_pool_backward(x[None], y, dy[None], window, stride=stride, ties=ties)[0], contracted(jacobian, dy))


@POOLS
def test_average_pooling_by_x(window: Any, stride: Any) -> None:
    """avgpool-96: each pixel of a window counts 1 / (pixels of the window)."""
    x = drawn(6, 7, 2)
    P, Q = (pooled(x.shape[axis], window[axis], stride[axis]) for axis in (0, 1))
    jacobian = np.zeros((P, Q, 2, *x.shape))
    for i, j, k in np.ndindex(P, Q, 2):
        for p, q in np.ndindex(*window):
            jacobian[i, j, k, stride[0] * i + p, stride[1] * j + q, k] = 1 / (window[0] * window[1])
    dy = drawn(P, Q, 2)
    close(ops.average_pool(x[None], window, stride=stride)[0], np.tensordot(jacobian, x, axes=3))
    close(ops.average_pool_backward(dy[None], (6, 7), window, stride=stride)[0], contracted(jacobian, dy))


# Pooling by hand


def test_ties_by_example() -> None:
    """A window with two maxima: the first, row by row, gets the gradient; layered eq. (19) gives it to both."""
    first = ops.max_pool_backward(TIES, image([5, 2]), image([3, 7]), ties="first")
    assert plain(first).tolist() == [[0, 3, 7, 0], [0, 0, 0, 0]]


def test_blank_windows() -> None:
    """Where ReLU left only zeros, the first pixel, or all four, get the gradient."""
    x, dy = np.zeros((1, 4, 4, 1)), nhwc(np.array([[1.0, 2], [3, 4]]))
    y = ops.max_pool(x)
    first = ops.max_pool_backward(x, y, dy, ties="first")[0, :, :, 0]
    every = ops.max_pool_backward(x, y, dy, ties="all")[0, :, :, 0]
    assert first.tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    assert every.tolist() == np.kron([[1, 2], [3, 4]], np.ones((2, 2))).tolist()


def test_another_name_for_ties_is_refused() -> None:
    x = np.zeros((1, 2, 2, 1))
    with pytest.raises(SettingError, match=r"ties='last': \"first\" or \"all\" was expected"):
        ops.max_pool_backward(x, x[:, :1, :1], x[:, :1, :1], ties="last")


@pytest.mark.parametrize("padding", [1, "same", ((0, 2), (1, 0))])
def test_padding_never_wins_the_maximum(padding: Any) -> None:
    """On an image of negative numbers every maximum is negative, and no gradient leaves the image."""
    x = -1 - np.abs(drawn(2, 5, 6, 2))
    options = {"stride": 2, "padding": padding}
    y = ops.max_pool(x, 3, **options)
    assert np.all(np.isfinite(y))
    assert np.all(y <= -1)
    assert set(y.ravel()) <= set(x.ravel())
    dy = drawn(*y.shape)
    for ties in ("first", "all"):
        close(ops.max_pool_backward(x, y, dy, 3, ties=ties, **options).sum(), dy.sum())


def test_padded_maxima_by_hand() -> None:
    x = nhwc(-np.arange(1.0, 10).reshape(3, 3))
    y = ops.max_pool(x, 2, padding=1)
    assert y[0, :, :, 0].tolist() == [[-1, -2], [-4, -5]]
    y, indices = ops.max_pool_with_indices(x, 2, padding=1)
    assert indices[0, :, :, 0].tolist() == [[0, 1], [3, 4]]


def test_padded_averages_by_hand() -> None:
    """3x3 windows over a 3x3 image of 1..9 with one pixel of padding, stride 2: each corner sees four pixels."""
    x = nhwc(np.arange(1.0, 10).reshape(3, 3))
    left_out = ops.average_pool(x, 3, stride=2, padding=1)[0, :, :, 0]
    counted = ops.average_pool(x, 3, stride=2, padding=1, count_padding=True)[0, :, :, 0]
    close(left_out, [[12 / 4, 16 / 4], [24 / 4, 28 / 4]])
    close(counted, [[12 / 9, 16 / 9], [24 / 9, 28 / 9]])


def test_the_gradients_of_padded_averages_by_hand() -> None:
    dy = nhwc(np.array([[4.0, 8], [12, 16]]))
    shape, options = (3, 3), {"stride": 2, "padding": 1}
    left_out = ops.average_pool_backward(dy, shape, 3, **options)[0, :, :, 0]
    counted = ops.average_pool_backward(dy, shape, 3, count_padding=True, **options)[0, :, :, 0]
    summed = np.array([[4.0, 12, 8], [16, 40, 24], [12, 28, 16]])
    close(left_out, summed / 4)
    close(counted, summed / 9)


@pytest.mark.parametrize("count_padding", [False, True])
def test_height_and_width_of_an_average_are_not_swapped(count_padding: bool) -> None:
    """A 3x1 window over 5x2 pixels, one row of padding: the rows at the border count less, the columns do not."""
    dy = nhwc(np.array([[6.0, 12], [18, 24]]))
    options = {"stride": (3, 1), "padding": ((1, 0), (0, 0)), "count_padding": count_padding}
    found = ops.average_pool_backward(dy, (5, 2), (3, 1), **options)[0, :, :, 0]
    top = [2, 4] if count_padding else [3, 6]
    assert found.tolist() == [top, top, [6, 8], [6, 8], [6, 8]]


def test_a_wide_window_is_not_a_tall_one() -> None:
    """A guard for swapped axes: over 4x6 pixels a 2x3 window gives 2x2 outputs, a 3x2 window gives 1x3."""
    x = drawn(1, 4, 6, 1)
    for window, shape in (((2, 3), (2, 2)), ((3, 2), (1, 3))):
        y = ops.average_pool(x, window)
        assert y.shape[1:3] == shape
        dx = ops.average_pool_backward(np.ones_like(y), (4, 6), window)[0, :, :, 0]
        rows, columns = shape[0] * window[0], shape[1] * window[1]
        expected = np.zeros((4, 6))
        expected[:rows, :columns] = 1 / 6
        close(dx, expected)


@pytest.mark.parametrize("draw", [drawn, whole])
@pytest.mark.parametrize(
    ("window", "options"),
    [
        (2, {}),
        ((2, 3), {}),
        (3, {"stride": 1}),
        ((3, 2), {"stride": (2, 1)}),
        (3, {"stride": 2, "padding": 1}),
        ((2, 3), {"stride": 1, "padding": "same"}),
        (3, {"stride": 2, "padding": ((0, 2), (1, 0))}),
        ((1, 2), {"stride": (2, 3)}),
    ],
)
def test_back_fill_is_the_gradient_of_first_ties(draw: Callable, window: Any, options: dict) -> None:
    """single-filter, "Back fill_map()"."""
    x = draw(3, 7, 6, 2)
    y, indices = ops.max_pool_with_indices(x, window, **options)
    close(y, ops.max_pool(x, window, **options), 0)
    assert np.array_equal(np.take_along_axis(x.reshape(3, 42, 2), indices.reshape(3, -1, 2), 1).reshape(y.shape), y)
    dy = drawn(*y.shape)
    expected = ops.max_pool_backward(x, y, dy, window, ties="first", **options)
    close(ops.back_fill(indices, dy, (7, 6), window, **options), expected)


# Losses


def labelled(batch: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(batch) * 7 % classes
    return labels, ops.one_hot(labels, classes, np.float64)


def test_one_hot_by_hand() -> None:
    assert ops.one_hot(np.array([2, 0]), 3, np.float64).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_the_gradient_of_softmax_cross_entropy_is_x_minus_y() -> None:
    """two-conv eq. (15), whose fifth line sums over all k; single-filter, delta2 = a2 - y."""
    z, (_, y) = 3 * drawn(5, 10), labelled(5, 10)
    losses, dz = ops.softmax_cross_entropy(z, y)
    x = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    close(losses, -(y * np.log(x)).sum(axis=1))
    close(dz, x - y)


@pytest.mark.parametrize("soft", [False, True])
def test_the_two_factors_of_two_conv_15_give_the_same(soft: bool) -> None:
    z, (_, y) = drawn(5, 10), labelled(5, 10)
    y = ops.softmax(drawn(5, 10, seed=9)) if soft else y
    x = ops.softmax(z)
    losses, dz = ops.softmax_cross_entropy(z, y)
    close(ops.cross_entropy(x, y), losses)
    close(ops.softmax_backward(x, ops.cross_entropy_backward(x, y)), dz)


def test_cross_entropy_by_x() -> None:
    """dJ / dx_i = -y_i / x_i; where y is 0 the term is 0, even where x is 0."""
    x, y = np.array([[0.25, 0.75, 0.0]]), np.array([[1.0, 0, 0]])
    close(ops.cross_entropy(x, y), [math.log(4)])
    close(ops.cross_entropy_backward(x, y), [[-4, 0, 0]])


def test_softmax_cross_entropy_of_huge_logits() -> None:
    z, y = np.array([[1000.0, -1000, 0]]), np.array([[0.0, 1, 0]])
    losses, dz = ops.softmax_cross_entropy(z, y)
    assert losses.tolist() == [2000]
    assert dz.tolist() == [[1, -1, 0]]


def test_binary_cross_entropy_as_written() -> None:
    """binary-sigmoid, "Cross Entropy Loss": the sum covers both logarithms; and "dE/dy_1"."""
    x, y = ops.sigmoid(drawn(4, 3)), whole(4, 3, high=0) + 2
    value, slope = np.zeros(4), np.zeros((4, 3))
    for n, k in np.ndindex(4, 3):
        value[n] -= (y[n, k] * math.log(x[n, k]) + (1 - y[n, k]) * math.log(1 - x[n, k])) / 3
        slope[n, k] = ((1 - y[n, k]) / (1 - x[n, k]) - y[n, k] / x[n, k]) / 3
    assert set(y.ravel()) == {0, 1}
    close(ops.binary_cross_entropy(x, y), value)
    close(ops.binary_cross_entropy_backward(x, y), slope)


@pytest.mark.parametrize("soft", [False, True])
def test_binary_cross_entropy_from_logits_is_the_one_from_probabilities(soft: bool) -> None:
    z, (_, y) = 3 * drawn(6, 4), labelled(6, 4)
    y = ops.sigmoid(drawn(6, 4, seed=9)) if soft else y
    x = ops.sigmoid(z)
    losses, dz = ops.sigmoid_cross_entropy(z, y)
    close(losses, ops.binary_cross_entropy(x, y))
    close(dz, ops.sigmoid_backward(x, ops.binary_cross_entropy_backward(x, y)), 1e-11)
    close(dz, (x - y) / 4)


def test_binary_cross_entropy_of_huge_logits() -> None:
    z, y = np.array([[1000.0, -1000, 1000, -1000]]), np.array([[1.0, 0, 0, 1]])
    losses, dz = ops.sigmoid_cross_entropy(z, y)
    assert losses.tolist() == [500]
    assert dz.tolist() == [[0, 0, 0.25, -0.25]]


def test_certain_and_right_probabilities_cost_nothing() -> None:
    """Labels exactly 0 and 1 with probabilities exactly 0 and 1: no logarithm and no quotient of 0 counts."""
    x = y = np.array([[0.0, 1.0]])
    assert ops.binary_cross_entropy(x, y).tolist() == [0]
    assert ops.binary_cross_entropy_backward(x, y).tolist() == [[0.5, -0.5]]


# binary-sigmoid and avgpool-96: gradients as correlations and convolutions


def test_binary_sigmoid_1_the_kernels_gradient_is_a_valid_cross_correlation() -> None:
    """dE/dK = X (star) dE/dY."""
    x, w = drawn(1, 7, 6, 1), drawn(3, 2, 1, 1)
    dy = drawn(1, 5, 5, 1)
    _, dw = ops.correlate_backward(x, w, dy)
    close(dw[:, :, 0, 0], ops.correlate(x, kernel_of(dy[0, :, :, 0]))[0, :, :, 0])


def test_binary_sigmoid_2_the_untied_biases_gradient_is_dy() -> None:
    """dE/dB = dE/dY, summed over the batch; a tied bias sums over the positions too."""
    dy = drawn(3, 4, 5, 2)
    close(ops.add_bias_backward(dy[:1], 3), dy[0], 0)
    close(ops.add_bias_backward(dy, 3), dy[0] + dy[1] + dy[2])
    close(ops.add_bias_backward(dy, 1), [sum(dy[..., k].ravel()) for k in range(2)])


def test_binary_sigmoid_3_the_images_gradient_is_a_full_convolution() -> None:
    """dE/dX_j = sum over i of dE/dY_i * K_ij, full."""
    x, w, dy = drawn(2, 7, 6, 2), drawn(3, 2, 2, 3), drawn(2, 5, 5, 3)
    dx, _ = ops.correlate_backward(x, w, dy)
    close(dx, ops.convolve(dy, np.swapaxes(w, 2, 3), padding="full"))


def test_avgpool_96_the_pooled_gradient_is_spread() -> None:
    """delta C(i, j) = 1/4 delta S(ceil(i / 2), ceil(j / 2)), i and j from 1."""
    delta = drawn(1, 4, 4, 6)
    expected = np.zeros((1, 8, 8, 6))
    for i, j in product(range(1, 9), repeat=2):
        expected[:, i - 1, j - 1] = delta[:, math.ceil(i / 2) - 1, math.ceil(j / 2) - 1] / 4
    close(ops.average_pool_backward(delta, (8, 8)), expected)


def test_avgpool_96_pooling_by_hand() -> None:
    """CP(i, j) = 1/4 sum over u, v in {0, 1} of C(2i - u, 2j - v), i and j from 1."""
    x = drawn(1, 8, 8, 6)
    expected = np.zeros((1, 4, 4, 6))
    for i, j, u, v in product(range(1, 5), range(1, 5), (0, 1), (0, 1)):
        expected[:, i - 1, j - 1] += x[:, 2 * i - u - 1, 2 * j - v - 1] / 4
    close(ops.average_pool(x), expected)


def test_avgpool_96_the_kernels_gradient() -> None:
    """Delta K_mn(u, v) = sum of delta C_n(i, j) P_m(i + 2 - u, j + 2 - v): delta convolved with P rotated by 180."""
    x, w, delta = drawn(1, 12, 12, 4), drawn(5, 5, 4, 6), drawn(1, 8, 8, 6)
    _, dw = ops.convolve_backward(x, w, delta)
    for m, n in ((0, 0), (3, 5)):
        expected = np.zeros((5, 5))
        for u, v, i, j in np.ndindex(5, 5, 8, 8):
            expected[u, v] += delta[0, i, j, n] * x[0, i + 4 - u, j + 4 - v, m]
        close(dw[:, :, m, n], expected, 1e-11)
        rotated = nhwc(np.rot90(x[0, :, :, m], 2))
        close(ops.convolve(rotated, kernel_of(delta[0, :, :, n]))[0, :, :, 0], expected, 1e-11)


def test_avgpool_96_the_images_gradient() -> None:
    """delta P_m = sum over n of delta C_n convolved with K_mn rotated by 180: a full cross-correlation with K_mn."""
    x, w, delta = drawn(1, 12, 12, 4), drawn(5, 5, 4, 6), drawn(1, 8, 8, 6)
    dx, _ = ops.convolve_backward(x, w, delta)
    backwards = np.swapaxes(w, 2, 3)
    close(dx, ops.correlate(delta, backwards, padding="full"), 1e-11)
    close(dx, ops.convolve(delta, np.rot90(backwards, 2), padding="full"), 1e-11)


def test_avgpool_96_the_biases_gradients() -> None:
    """Delta b_n = the sum of delta C_n over its 8x8 positions; Delta b1 = delta1."""
    delta = drawn(1, 8, 8, 6)
    expected = [sum(delta[0, i, j, n] for i in range(8) for j in range(8)) for n in range(6)]
    close(ops.add_bias_backward(delta, 1), expected)
    close(ops.add_bias_backward(delta[:, 0, 0], 1), delta[0, 0, 0], 0)


# two-conv: tied and untied biases


def test_tied_and_untied_biases_of_two_conv() -> None:
    """As (17) to (19) are written, there is a bias at every output position: 24x24x8 and 8x8x16 of them."""
    tied, untied = build("two-conv"), build("two-conv", bias="untied")
    assert untied.parameters - tied.parameters == (24 * 24 * 8 - 8) + (8 * 8 * 16 - 16)
    assert untied.parameter_shapes()["0/bias"] == (24, 24, 8)
    assert untied.parameter_shapes()["3/bias"] == (8, 8, 16)


def test_the_tied_biases_gradient_is_the_sum_of_the_untied_ones() -> None:
    x, dy = drawn(2, 6, 7, 1), drawn(2, 4, 5, 3)
    found = {}
    for bias in ("tied", "untied"):
        network = Network((6, 7, 1), (Conv2D(3, 3, bias=bias, flip=True),))
        params = network.init((6, 7, 1), np.random.default_rng(1))
        _, residuals = network.forward(params, x, Context())
        found[bias] = network.backward(params, residuals, dy, Context())[1]["0"]
    close(found["tied"]["bias"], found["untied"]["bias"].sum(axis=(0, 1)))
    close(found["tied"]["kernel"], found["untied"]["kernel"])


# single-filter: the whole pass as plain loops over one example


def relu_of(value: float) -> float:
    return value if value > 0 else 0.0


def slope_of(value: float) -> float:
    return 1.0 if value > 0 else 0.5 if value == 0 else 0.0


class SingleFilter:
    """The document's program with its slips put right, for one image of 28x28 pixels."""

    def __init__(self, params: dict[str, dict[str, np.ndarray]]) -> None:
        self.filter = params["0"]["kernel"][:, :, 0, 0]
        self.filter_bias = float(params["0"]["bias"][0])
        self.w1, self.b1 = params["4"]["weights"].T, params["4"]["bias"]
        self.w2, self.b2 = params["6"]["weights"].T, params["6"]["bias"]

    def forward(self, image: np.ndarray) -> np.ndarray:
        self.image = image
        self.feature_map = np.zeros((26, 26))
        for i, j in np.ndindex(26, 26):
            self.feature_map[i, j] = self.filter_bias
            for u, v in np.ndindex(3, 3):
                self.feature_map[i, j] += image[i + u, j + v] * self.filter[u, v]
        self.pool([[relu_of(value) for value in row] for row in self.feature_map])
        self.a0 = [self.pooled[i, j] for i in range(13) for j in range(13)]
        self.z1 = [sum(w * a for w, a in zip(row, self.a0)) + b for row, b in zip(self.w1, self.b1)]
        self.a1 = [relu_of(z) for z in self.z1]
        self.z2 = [sum(w * a for w, a in zip(row, self.a1)) + b for row, b in zip(self.w2, self.b2)]
        total = sum(math.exp(z) for z in self.z2)
        self.a2 = [math.exp(z) / total for z in self.z2]
        return np.array(self.z2)

    def pool(self, rectified: list[list[float]]) -> None:
        """ "Pooling - Indices": the maximum of each 2x2 square, and the pair where it stands."""
        self.pooled, self.indices = np.zeros((13, 13)), {}
        for i, j in np.ndindex(13, 13):
            best = -math.inf
            for i_dash, j_dash in np.ndindex(2, 2):
                value = rectified[2 * i + i_dash][2 * j + j_dash]
                if value > best:
                    best, self.indices[i, j] = value, (2 * i + i_dash, 2 * j + j_dash)
            self.pooled[i, j] = best

    def backward(self, label: int) -> dict[str, np.ndarray]:
        delta2 = [a - (k == label) for k, a in enumerate(self.a2)]
        delta1 = [sum(self.w2[k, m] * delta2[k] for k in range(10)) * slope_of(self.z1[m]) for m in range(70)]
        delta0 = [sum(self.w1[m, i] * delta1[m] for m in range(70)) for i in range(169)]
        new_map = np.zeros((26, 26))
        for i, j in np.ndindex(13, 13):
            new_map[self.indices[i, j]] += delta0[13 * i + j]
        for i, j in np.ndindex(26, 26):
            new_map[i, j] *= slope_of(self.feature_map[i, j])
        dw = np.zeros((3, 3))
        for u, v, i, j in np.ndindex(3, 3, 26, 26):
            dw[u, v] += new_map[i, j] * self.image[i + u, j + v]
        return {
            "0/kernel": dw[:, :, None, None],
            "0/bias": np.array([sum(new_map.ravel())]),
            "4/weights": np.array([[a * d for d in delta1] for a in self.a0]),
            "4/bias": np.array(delta1),
            "6/weights": np.array([[a * d for d in delta2] for a in self.a1]),
            "6/bias": np.array(delta2),
        }


def picture(blank: bool) -> np.ndarray:
    """Whole numbers over 8, with blank regions where ReLU leaves zeros and every pool is a tie."""
    pixels = np.random.default_rng(8).integers(0, 9, (28, 28)) / 8
    pixels[10:20, 4:21] = 0
    return np.zeros((28, 28)) if blank else pixels


@pytest.mark.parametrize("blank", [False, True])
def test_single_filter_as_plain_loops(blank: bool) -> None:
    """A blank image has a feature map of exactly 0 under a zero bias: the slope there is 1/2, the first tie wins."""
    network, label = build("single-filter"), 3
    params = network.init((28, 28, 1), np.random.default_rng(2))
    if not blank:
        for of_layer in params.values():
            of_layer["bias"] += drawn(*of_layer["bias"].shape) / 10
    document, image = SingleFilter(params), picture(blank)
    z, residuals = network.forward(params, nhwc(image), Context())
    close(z[0], document.forward(image))
    losses, dz = SoftmaxCrossEntropy()(z, np.array([label]))
    close(losses, [-math.log(document.a2[label])])
    _, gradients = network.backward(params, residuals, dz, Context(), need_dx=False)
    for name, expected in document.backward(label).items():
        layer, parameter = name.split("/")
        close(gradients[layer][parameter], expected)
        assert np.any(expected) or (blank and parameter in ("kernel", "weights"))


def test_single_filters_parameters_have_the_documents_shapes() -> None:
    """w1 is (70, 169) and b1 (70, 1), w2 (10, 70): ours are their transposes."""
    shapes = build("single-filter").parameter_shapes()
    assert shapes == {
        **{"0/kernel": (3, 3, 1, 1), "0/bias": (1,), "4/weights": (169, 70), "4/bias": (70,)},
        **{"6/weights": (70, 10), "6/bias": (10,)},
    }


def test_lists_are_as_good_as_pairs() -> None:
    x, w = np.ones((1, 5, 5, 1)), np.ones((2, 2, 1, 1))
    strided = ops.correlate(x, w, stride=[2, 1], padding=[1, 0])
    np.testing.assert_array_equal(strided, ops.correlate(x, w, stride=(2, 1), padding=(1, 0)))
    np.testing.assert_array_equal(ops.max_pool(x, [2, 2]), ops.max_pool(x, 2))
