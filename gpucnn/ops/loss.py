"""Losses, one number per example, and their gradients. The mean over a batch is taken by the training step, once."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError, check_shape
from ..namespace import array_namespace, as_real, clipped, is_whole, real_arrays

Array = Any


def one_hot(labels: Array, classes: int, dtype: Any = None) -> Array:
    """y[n,k] = 1 where labels[n] = k, else 0. labels (N,) integers -> (N, classes) of dtype; None is the library's
    default floating type, of NumPy float64.
    """
    xp = array_namespace(labels)
    if labels.ndim != 1:
        raise ShapeError(f"labels (N,), a class for each example, were expected, found shape {tuple(labels.shape)}")
    if is_whole(xp, labels.dtype):
        labels = xp.astype(labels, xp.int64)  # in bytes the classes from 256 on would begin again at 0
    every = xp.arange(classes, dtype=labels.dtype, device=labels.device)
    return as_real(xp, labels[:, None] == every[None, :], dtype)


def _both(name: str, outputs: Array, y: Array) -> tuple[Any, Array, Array]:
    """`real_arrays` of outputs and targets. Raises ShapeError unless both are (N, K)."""
    array_namespace(outputs, y)
    if outputs.ndim != 2:
        raise ShapeError(f"{name} (N, K), a row for each example, was expected, found shape {tuple(outputs.shape)}")
    check_shape("y", y, outputs.shape, "`one_hot` makes rows of class numbers, a reshape to (N, 1) of numbers (N,)")
    return real_arrays(outputs, y)


def softmax_cross_entropy(z: Array, y: Array) -> tuple[Array, Array]:
    """J_n = -sum over i of y_ni log x_ni with x = softmax(z), and dJ_n/dz = x - y; log-sum-exp for range.

    z, y (N, K), each row of y summing to 1 -> losses (N,), dz (N, K). A logit of -inf rules its class out.

    two-conv eq. (15), whose fifth line sums over all k (k != j is printed), layered eq. (26); single-filter,
    "Cross Entropy" and "delta^2", both this gradient, a2 - y (z2 - 1 is printed).
    """
    xp, z, y = _both("z", z, y)
    z = z - xp.max(z, axis=1, keepdims=True)
    e = xp.exp(z)
    total = xp.sum(e, axis=1, keepdims=True)
    losses = xp.log(total[:, 0]) - xp.sum(y * xp.where(y == 0, xp.zeros_like(z), z), axis=1)
    return losses, e / total - y


def cross_entropy(x: Array, y: Array) -> Array:
    """J_n = -sum over i of y_ni log x_ni, from probabilities x. x, y (N, K) -> (N,).

    Where y is 0 the term is 0, whatever x is. two-conv eq. (14), layered eq. (25), where log z is printed.
    """
    xp, x, y = _both("x", x, y)
    return -xp.sum(y * xp.log(_one_where(y == 0, x)), axis=1)


def cross_entropy_backward(x: Array, y: Array) -> Array:
    """dJ_n/dx_ni = -y_ni / x_ni. x, y (N, K) -> (N, K). The first factor of `softmax_cross_entropy`'s."""
    _, x, y = _both("x", x, y)
    return -y / _one_where(y == 0, x)


def binary_cross_entropy(x: Array, y: Array) -> Array:
    """E_n = -1/K sum over k of [y_nk log x_nk + (1 - y_nk) log(1 - x_nk)], from probabilities, as the document has it.

    x, y (N, K) -> (N,). A term whose factor y or 1 - y is 0 counts as 0.

    binary-sigmoid, "Cross Entropy Loss": its sum covers both logarithms (the brackets are missing there).
    """
    xp, x, y = _both("x", x, y)
    terms = y * xp.log(_one_where(y == 0, x)) + (1 - y) * xp.log(_one_where(y == 1, 1 - x))
    return -xp.sum(terms, axis=1) / x.shape[1]


def binary_cross_entropy_backward(x: Array, y: Array) -> Array:
    """dE_n/dx_nk = 1/K ((1 - y_nk) / (1 - x_nk) - y_nk / x_nk). x, y (N, K) -> (N, K). binary-sigmoid, "dE/dy_1"."""
    _, x, y = _both("x", x, y)
    return ((1 - y) / _one_where(y == 1, 1 - x) - y / _one_where(y == 0, x)) / x.shape[1]


def sigmoid_cross_entropy(z: Array, y: Array) -> tuple[Array, Array]:
    """`binary_cross_entropy` of x = sigmoid(z), from the logits, as it is trained: finite for every finite z.

    E_n = 1/K sum over k of [max(z, 0) - z y + log(1 + exp(-|z|))], dE_n/dz = (sigmoid(z) - y) / K.
    z, y (N, K) -> losses (N,), dz (N, K). An infinite z costs 0 where y agrees with it, and inf where y does not.
    """
    xp, z, y = _both("z", z, y)
    K, zero = z.shape[1], xp.zeros_like(z)
    between = xp.where((y == 0) | (y == 1), zero, z)
    linear = xp.where(y == 1, xp.maximum(-z, zero), xp.maximum(z, zero) - between * y)
    terms = linear + xp.log1p(xp.exp(-xp.abs(z)))
    return xp.sum(terms, axis=1) / K, (0.5 * xp.tanh(0.5 * z) + 0.5 - y) / K


def weighted_sigmoid_cross_entropy(z: Array, y: Array, positive: Array) -> tuple[Array, Array]:
    """`sigmoid_cross_entropy` where what is there counts positive_k times: 1/K sum over k of -[p_k y log x + (1 - y)
    log(1 - x)], x = sigmoid(z).

    dE_n/dz = (x (1 - y + p y) - p y) / K. z, y (N, K), positive (K,) above 0 -> losses (N,), dz (N, K). An infinite z
    costs 0 where y agrees with it, and inf where y does not.

    King and Zeng, 2001, "Logistic Regression in Rare Events Data", section 4.2.
    """
    xp, z, y = _both("z", z, y)
    K, zero = z.shape[1], xp.zeros_like(z)
    there, absent = positive[None, :] * y, 1 - y
    tail = xp.log1p(xp.exp(-xp.abs(z)))
    terms = xp.where(there == 0, zero, there * _one_where(there == 0, xp.maximum(-z, zero) + tail))
    terms = terms + xp.where(absent == 0, zero, absent * _one_where(absent == 0, xp.maximum(z, zero) + tail))
    return xp.sum(terms, axis=1) / K, ((0.5 * xp.tanh(0.5 * z) + 0.5) * (absent + there) - there) / K


def smoothed(y: Array, amount: float) -> Array:
    """Label smoothing: (1 - amount) y_ni + amount / K, so that no class is certain. y (N, K) -> (N, K).

    Szegedy et al., 2016, "Rethinking the Inception Architecture for Computer Vision", section 7.
    """
    _, y, _ = _both("y", y, y)
    return (1 - amount) * y + amount / y.shape[1]


def weighted_cross_entropy(z: Array, y: Array) -> tuple[Array, Array]:
    """`softmax_cross_entropy` where a row of y may have any sum s_n = sum over i of y_ni >= 0.

    J_n = -sum over i of y_ni log x_ni with x = softmax(z), and dJ_n/dz = s_n x - y. z, y (N, K) -> losses (N,), dz
    (N, K). A row of zeros costs nothing, whatever z is: an example that does not count.
    """
    xp, z, y = _both("z", z, y)
    total = xp.sum(y, axis=1)
    counts = total > 0
    z = xp.where(counts[:, None], z, xp.zeros_like(z))
    z = z - xp.max(z, axis=1, keepdims=True)
    e = xp.exp(z)
    of_all = xp.sum(e, axis=1)
    losses = total * xp.log(of_all) - xp.sum(y * xp.where(y == 0, xp.zeros_like(z), z), axis=1)
    return losses, e * (total / of_all)[:, None] - y


def focal_cross_entropy(z: Array, y: Array, gamma: float) -> tuple[Array, Array]:
    """J_n = -(1 - p_n)^gamma log p_n, with p_n = sum over i of y_ni softmax(z)_ni, the probability of the right class.

    dJ_n/dz_i = [(1 - p)^gamma - gamma p (1 - p)^(gamma-1) log p] (softmax(z)_i - y_i), for d log p/dz_i = y_i -
    softmax(z)_i. z (N, K), y (N, K) one-hot, gamma >= 0 -> losses (N,), dz (N, K). With gamma 0 it is
    `softmax_cross_entropy`.

    Lin et al., 2017, "Focal Loss for Dense Object Detection", of one sigmoid there and of softmax here.
    """
    xp, z, y = _both("z", z, y)
    zero = xp.zeros_like(z)
    z = z - xp.max(z, axis=1, keepdims=True)
    e = xp.exp(z)
    total = xp.sum(e, axis=1)
    right, wrong = xp.sum(y * e, axis=1) / total, xp.sum(xp.where(y == 1, zero, e), axis=1) / total
    at_label = xp.sum(xp.where(y == 0, zero, z), axis=1)
    log_right = xp.where(right > 0.5, xp.log1p(-xp.where(right > 0.5, wrong, zero[:, 0])), at_label - xp.log(total))
    # log p / (1 - p), which is -1 where p = 1; and p log p, which is 0 where p = 0
    finite = xp.where(right == 0, zero[:, 0], log_right)
    quotient = xp.where(wrong == 0, -xp.ones_like(wrong), finite / xp.where(wrong == 0, xp.ones_like(wrong), wrong))
    power = wrong**gamma
    return -power * log_right, (power * (1 - gamma * right * quotient))[:, None] * (e / total[:, None] - y)


def mean_squared_error(z: Array, y: Array) -> tuple[Array, Array]:
    """J_n = 1/K sum over k of (z_nk - y_nk)^2, and dJ_n/dz = 2 (z - y) / K. z, y (N, K) -> losses (N,), dz (N, K).

    Rumelhart, Hinton and Williams, 1986, "Learning Representations by Back-propagating Errors", where half the
    sum over outputs is taken.
    """
    xp, z, y = _both("z", z, y)
    difference = z - y
    return xp.sum(difference * difference, axis=1) / z.shape[1], difference * (2 / z.shape[1])


def huber(z: Array, y: Array, delta: float) -> tuple[Array, Array]:
    """J_n = 1/K sum over k of h(z_nk - y_nk), h(d) = d^2 / 2 up to |d| = delta, and delta (|d| - delta / 2) beyond.

    dJ_n/dz = d / K, held to between -delta / K and delta / K. z, y (N, K) -> losses (N,), dz (N, K).
    Huber, 1964, "Robust Estimation of a Location Parameter".
    """
    xp, z, y = _both("z", z, y)
    difference = z - y
    size = xp.abs(difference)
    inside = clipped(size, None, delta)  # h(d) = inside (|d| - inside / 2)
    losses = xp.sum(inside * (size - 0.5 * inside), axis=1) / z.shape[1]
    return losses, clipped(difference, -delta, delta) / z.shape[1]


def hinge(z: Array, y: Array, *, squared: bool = False) -> tuple[Array, Array]:
    """J_n = max(0, 1 - m_n), or its square, with the margin m_n = z of the right class less the largest of the others.

    dJ_n/dz is -1 at the right class and 1 at that other one, the first of ties, where m_n < 1, and 0 elsewhere; times
    2 (1 - m_n) for the square. z (N, K), y (N, K) one-hot -> losses (N,), dz (N, K).

    Crammer and Singer, 2001, "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines", section 2.
    """
    xp, z, y = _both("z", z, y)
    others = xp.where(y == 1, xp.full_like(z, -xp.inf), z)
    at_label = xp.sum(xp.where(y == 1, z, xp.zeros_like(z)), axis=1)
    lacking = 1 + xp.max(others, axis=1) - at_label
    losses = xp.maximum(lacking, xp.zeros_like(lacking))
    slope = xp.where(lacking <= 0, xp.zeros_like(lacking), xp.ones_like(lacking))
    dz = slope[:, None] * (one_hot(xp.argmax(others, axis=1), z.shape[1], z.dtype) - y)
    return (losses * losses, 2 * losses[:, None] * dz) if squared else (losses, dz)


def _one_where(condition: Array, x: Array) -> Array:
    """x, with 1 where a term does not count, so that its logarithm or quotient is finite."""
    xp = array_namespace(x)
    return xp.where(condition, xp.ones_like(x), x)
