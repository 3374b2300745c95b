"""The fully connected layer, flatten and reshape."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ShapeError, check_shape
from ..namespace import array_namespace, real_arrays

Array = Any


def dense(x: Array, w: Array) -> Array:
    """y[n,j] = sum over i of x[n,i] w[i,j].

    x (N, I), w (I, J) -> y (N, J).

    two-conv eq. (6), layered eq. (12); avgpool-96, "a_1"; single-filter, "L_2", whose sums over i and j stand outside
    ReLU: f(sum over i of w_ji a_i + b_j) is meant, and its w is our transpose.
    Raises ShapeError when the features do not fit.
    """
    _check_dense(x, w)
    xp, x, w = real_arrays(x, w)
    return xp.matmul(x, w)


def dense_backward(x: Array, w: Array, dy: Array, *, need_dx: bool = True) -> tuple[Array | None, Array]:
    """dx[n,k] = sum over j of dy[n,j] w[k,j] and dw[k,m] = sum over n of x[n,k] dy[n,m].

    dy (N, J) -> dx (N, I) or None, dw (I, J).

    two-conv eq. (7), (8), layered eq. (13), (14); avgpool-96, "Delta W_1", "Delta W_2"; single-filter, "dc/dw^1",
    "dc/dw^2", "dc/da^0", "dc/da^1": w^T delta, where it prints delta . w^T.
    """
    _check_dense(x, w)
    check_shape("dy", dy, (x.shape[0], w.shape[1]))
    xp, x, w, dy = real_arrays(x, w, dy)
    return (xp.matmul(dy, w.T) if need_dx else None), xp.matmul(x.T, dy)


def _check_dense(x: Array, w: Array) -> None:
    array_namespace(x, w)
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0]:
        raise ShapeError(
            f"vectors (N, features) and weights (features, units) were expected, found shapes {tuple(x.shape)} "
            f"and {tuple(w.shape)}"
        )


def flatten(x: Array) -> Array:
    """F[n, i J K + j K + k] = x[n,i,j,k]: (N, ...) -> (N, product of the rest), last axis fastest.

    two-conv eq. (5), layered eq. (10), single-filter, "L_1".
    """
    array_namespace(x)
    return reshape(x, (math.prod(x.shape[1:]),))


def flatten_backward(dy: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `flatten`: dy (N, features) -> (N, *shape). layered eq. (11); avgpool-96, "delta_flatten"."""
    return reshape(dy, shape)


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """(N, ...) -> (N, *shape), elements in the same order. Its gradient is the reshape back.

    binary-sigmoid, "3) Reshape Layer". Raises ShapeError when the number of elements differs.
    """
    xp = array_namespace(x)
    if math.prod(x.shape[1:]) != math.prod(shape):
        raise ShapeError(
            f"{tuple(x.shape[1:])} has {math.prod(x.shape[1:])} elements and cannot be reshaped to {tuple(shape)}, "
            f"which has {math.prod(shape)}"
        )
    return xp.reshape(x, (x.shape[0], *shape))
