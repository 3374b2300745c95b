"""Losses, one number per example, and their gradients. The mean over a batch is taken by the training step, once."""

from __future__ import annotations

from typing import Any

from ..namespace import array_namespace, is_whole, real_arrays

Array = Any


def one_hot(labels: Array, classes: int, dtype: Any) -> Array:
    """y[n,k] = 1 where labels[n] = k, else 0. labels (N,) integers -> (N, classes) of dtype."""
    xp = array_namespace(labels)
    if is_whole(xp, labels.dtype):
        labels = xp.astype(labels, xp.int64)  # in bytes the classes from 256 on would begin again at 0
    every = xp.arange(classes, dtype=labels.dtype, device=labels.device)
    return xp.astype(labels[:, None] == every[None, :], dtype)


def softmax_cross_entropy(z: Array, y: Array) -> tuple[Array, Array]:
    """J_n = -sum over i of y_ni log x_ni with x = softmax(z), and dJ_n/dz = x - y; log-sum-exp for range.

    z, y (N, K), each row of y summing to 1 -> losses (N,), dz (N, K). A logit of -inf rules its class out.

    two-conv eq. (15), whose fifth line sums over all k (k != j is printed), layered eq. (26); single-filter,
    "Cross Entropy" and "delta^2", both this gradient, a2 - y (z2 - 1 is printed).
    """
    xp, z, y = real_arrays(z, y)
    z = z - xp.max(z, axis=1, keepdims=True)
    e = xp.exp(z)
    total = xp.sum(e, axis=1, keepdims=True)
    losses = xp.log(total[:, 0]) - xp.sum(y * xp.where(y == 0, xp.zeros_like(z), z), axis=1)
    return losses, e / total - y


def cross_entropy(x: Array, y: Array) -> Array:
    """J_n = -sum over i of y_ni log x_ni, from probabilities x. x, y (N, K) -> (N,).

    Where y is 0 the term is 0, whatever x is. two-conv eq. (14), layered eq. (25), where log z is printed.
    """
    xp, x, y = real_arrays(x, y)
    return -xp.sum(y * xp.log(_one_where(y == 0, x)), axis=1)


def cross_entropy_backward(x: Array, y: Array) -> Array:
    """dJ_n/dx_ni = -y_ni / x_ni. x, y (N, K) -> (N, K). The first factor of `softmax_cross_entropy`'s."""
    _, x, y = real_arrays(x, y)
    return -y / _one_where(y == 0, x)


def binary_cross_entropy(x: Array, y: Array) -> Array:
    """E_n = -1/K sum over k of [y_nk log x_nk + (1 - y_nk) log(1 - x_nk)], from probabilities, as the document has it.

    x, y (N, K) -> (N,). A term whose factor y or 1 - y is 0 counts as 0.

    binary-sigmoid, "Cross Entropy Loss": its sum covers both logarithms (the brackets are missing there).
    """
    xp, x, y = real_arrays(x, y)
    terms = y * xp.log(_one_where(y == 0, x)) + (1 - y) * xp.log(_one_where(y == 1, 1 - x))
    return -xp.sum(terms, axis=1) / x.shape[1]


def binary_cross_entropy_backward(x: Array, y: Array) -> Array:
    """dE_n/dx_nk = 1/K ((1 - y_nk) / (1 - x_nk) - y_nk / x_nk). x, y (N, K) -> (N, K). binary-sigmoid, "dE/dy_1"."""
    _, x, y = real_arrays(x, y)
    return ((1 - y) / _one_where(y == 1, 1 - x) - y / _one_where(y == 0, x)) / x.shape[1]


def sigmoid_cross_entropy(z: Array, y: Array) -> tuple[Array, Array]:
    """`binary_cross_entropy` of x = sigmoid(z), from the logits, as it is trained: finite for every finite z.

    E_n = 1/K sum over k of [max(z, 0) - z y + log(1 + exp(-|z|))], dE_n/dz = (sigmoid(z) - y) / K.
    z, y (N, K) -> losses (N,), dz (N, K). An infinite z costs 0 where y agrees with it, and inf where y does not.
    """
    xp, z, y = real_arrays(z, y)
    K, zero = z.shape[1], xp.zeros_like(z)
    between = xp.where((y == 0) | (y == 1), zero, z)
    linear = xp.where(y == 1, xp.maximum(-z, zero), xp.maximum(z, zero) - between * y)
    terms = linear + xp.log1p(xp.exp(-xp.abs(z)))
    return xp.sum(terms, axis=1) / K, (0.5 * xp.tanh(0.5 * z) + 0.5 - y) / K


def _one_where(condition: Array, x: Array) -> Array:
    """x, with 1 where a term does not count, so that its logarithm or quotient is finite."""
    xp = array_namespace(x)
    return xp.where(condition, xp.ones_like(x), x)
