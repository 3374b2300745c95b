"""The NumPy table with some of its passes over memory compiled into one by numba: pip install numba.

Off by default: `import numba` takes about as long as a thousand steps of a small network, and the first use compiles.
What is not here, such as the products, is the NumPy table's.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ...losses import SoftmaxCrossEntropy
from ...ops.window import Window
from .. import Kernels, Pair
from ..memory import empty
from . import pointwise, pooling
from .compiled_depthwise import COMPILED_WAY
from .compiled_norms import with_norms
from .compiled_winograd import COMPILED_TILES
from .layout import real
from .rows import LARGE_ONCE, Image, LazyImage, steps

Array = np.ndarray

NOBODY, FIRST_AT_ZERO = 4, 5  # beside the offset 0 .. 3 of a window's first largest pixel

compiled = njit(nogil=True, cache=True, error_model="numpy")


class _Winners(NamedTuple):
    """The residual of a max pool. codes: the offset of each window's winner, NOBODY or FIRST_AT_ZERO."""

    codes: Array
    x_shape: tuple[int, ...]
    slope_at_zero: float


def bias_relu_max_pool(x: Image, b: Array, slope_at_zero: float, window: Window, ties: str) -> tuple[Array, Any]:
    """One pass over images in halves, (2, H, C, W // 2, N), whole or by rows; others are left to NumPy."""
    if len(x.shape) == 4:
        return pointwise.bias_relu_max_pool(x, b, slope_at_zero, window, ties)
    return _pooled(x, b, True, slope_at_zero)


def bias_relu_max_pool_backward(residual: Any, dy: Array) -> tuple[Image, Array]:
    if not isinstance(residual, _Winners):
        return pointwise.bias_relu_max_pool_backward(residual, dy)
    return _unpooled(residual, dy)


def max_pool(x: Image, window: Window, ties: str) -> tuple[Array, Any]:
    if len(x.shape) == 4:
        return pooling.max_pool(x, window, ties)
    return _pooled(x, np.zeros(x.shape[2], x.dtype), False, 0.0)


def max_pool_backward(residual: Any, dy: Array) -> Image:
    if not isinstance(residual, _Winners):
        return pooling.max_pool_backward(residual, dy)
    return _unpooled(residual, dy)[0]


def _pooled(x: Image, b: Array, rectified: bool, slope_at_zero: float) -> tuple[Array, _Winners]:
    _, H, C, Q, N = x.shape
    y, codes = empty((H // 2, C, Q, N), x.dtype), empty((H // 2, C, Q, N), np.uint8)
    flat = C, Q * N
    for rows in steps(x, 2 * (H // 2)):
        pairs = slice(rows.start // 2, rows.stop // 2)
        of_y, of_codes = y[pairs].reshape(-1, *flat), codes[pairs].reshape(-1, *flat)
        some = x[rows] if isinstance(x, LazyImage) else x  # a last row without a pair is not looked at
        _max_of_four(some.reshape(2, -1, *flat), b, rectified, of_y, of_codes)
    return y, _Winners(codes, x.shape, slope_at_zero)


def _unpooled(winners: _Winners, dy: Array) -> tuple[Array, Array]:
    codes, (_, H, C, Q, N), slope_at_zero = winners
    dx, db, flat = empty(winners.x_shape, dy.dtype), np.empty(C, dy.dtype), (H // 2, C, Q * N)
    dx[:, 2 * (H // 2) :] = 0
    dy = np.ascontiguousarray(dy).reshape(flat)
    _max_of_four_backward(dy, codes.reshape(flat), dy.dtype.type(slope_at_zero), dx.reshape(2, H, C, Q * N), db)
    return dx, db


@compiled
def _max_of_four(x: Array, b: Array, rectified: bool, y: Array, codes: Array) -> None:
    """y[p,c,m] = the largest of x[:,2p:2p+2,c,m] plus b[c], rectified or not, and which pixel it was."""
    P, C, M = y.shape
    for p in range(P):
        for c in range(C):
            first, second = x[0, 2 * p, c], x[1, 2 * p, c]
            third, fourth = x[0, 2 * p + 1, c], x[1, 2 * p + 1, c]
            doubtful = False
            for m in range(M):
                best, winner = first[m], np.uint8(0)
                total = first[m] + second[m] + third[m] + fourth[m]
                doubtful |= total != total
                if second[m] > best:
                    best, winner = second[m], np.uint8(1)
                if third[m] > best:
                    best, winner = third[m], np.uint8(2)
                if fourth[m] > best:
                    best, winner = fourth[m], np.uint8(3)
                best += b[c]
                if rectified:
                    if best == 0:  # after the ReLU all four are 0: the first pixel wins, and has a slope if it was 0
                        winner = np.uint8(FIRST_AT_ZERO) if winner == 0 else np.uint8(NOBODY)
                    if best < 0:
                        best, winner = b.dtype.type(0), np.uint8(NOBODY)
                y[p, c, m], codes[p, c, m] = best, winner
            if doubtful:  # rare, and in the loop above it would cost more than the rest
                for m in range(M):
                    if first[m] != first[m] or second[m] != second[m] or third[m] != third[m] or fourth[m] != fourth[m]:
                        y[p, c, m], codes[p, c, m] = np.nan, np.uint8(NOBODY)


@compiled
def _max_of_four_backward(dy: Array, codes: Array, slope_at_zero: float, dx: Array, db: Array) -> None:
    """Each window's gradient to its winner; db[c] = the sum of what went anywhere."""
    P, C, M = dy.shape
    zero, one = dy.dtype.type(0), dy.dtype.type(1)
    for c in range(C):
        total = zero
        for p in range(P):
            d, code = dy[p, c], codes[p, c]
            first, second = dx[0, 2 * p, c], dx[1, 2 * p, c]
            third, fourth = dx[0, 2 * p + 1, c], dx[1, 2 * p + 1, c]
            for m in range(M):
                first[m] = d[m] * (one if code[m] == 0 else slope_at_zero if code[m] == FIRST_AT_ZERO else zero)
            of_row = zero  # one sum over all would lose digits
            for m in range(M):
                of_row += d[m] * (one if code[m] < NOBODY else slope_at_zero if code[m] == FIRST_AT_ZERO else zero)
            total += of_row
            for m in range(M):
                second[m] = d[m] * (one if code[m] == 1 else zero)
            for m in range(M):
                third[m] = d[m] * (one if code[m] == 2 else zero)
            for m in range(M):
                fourth[m] = d[m] * (one if code[m] == 3 else zero)
        db[c] = total


def average_pool(x: Array, window: Window, count_padding: bool) -> tuple[Array, Any]:
    """One pass where windows tile the image; others are left to NumPy."""
    x = real(x)
    if not pooling.is_tiling(window, x.shape):
        return pooling.average_pool(x, window, count_padding)
    (H, C, width, N), (I, J) = x.shape, window.size
    P, Q, share = H // I, width // J, pooling.share_of(window, x.shape, count_padding, x.dtype)
    y = empty((P, C, Q, N), x.dtype)
    _average(np.ascontiguousarray(x).reshape(P, I, C, Q, J, N), share, y)
    return y, (x.shape, window, count_padding)


def average_pool_backward(residual: Any, dy: Array) -> Array:
    x_shape, window, count_padding = residual
    if not pooling.is_tiling(window, x_shape):
        return pooling.average_pool_backward(residual, dy)
    (P, C, Q, N), (I, J), dx = dy.shape, window.size, empty(x_shape, dy.dtype)
    share = pooling.share_of(window, x_shape, count_padding, dy.dtype)
    _average_backward(np.ascontiguousarray(dy), share, dx.reshape(P, I, C, Q, J, N))
    return dx


@compiled
def _average(x: Array, share: float, y: Array) -> None:
    """y[p,c,q,n] = share times the sum over i and j of x[p,i,c,q,j,n]."""
    P, I, C, Q, J, N = x.shape
    for p in range(P):
        for c in range(C):
            for q in range(Q):
                total = y[p, c, q]
                total[:] = 0
                for i in range(I):
                    for j in range(J):
                        pixels = x[p, i, c, q, j]
                        for n in range(N):
                            total[n] += pixels[n]
                for n in range(N):
                    total[n] *= share


@compiled
def _average_backward(dy: Array, share: float, dx: Array) -> None:
    P, I, C, Q, J, N = dx.shape
    for p in range(P):
        for i in range(I):
            for c in range(C):
                for q in range(Q):
                    d = dy[p, c, q]
                    for j in range(J):
                        pixels = dx[p, i, c, q, j]
                        for n in range(N):
                            pixels[n] = share * d[n]


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    logits = real(logits)
    losses, d_logits = np.empty(len(logits), logits.dtype), np.empty_like(logits)
    _softmax_cross_entropy(logits, labels, losses, d_logits)
    return losses, d_logits


@compiled
def _softmax_cross_entropy(z: Array, labels: Array, losses: Array, dz: Array) -> None:
    N, K = z.shape
    for n in range(N):
        largest = z[n, 0]
        for k in range(1, K):
            largest = max(largest, z[n, k])
        total = z.dtype.type(0)
        for k in range(K):
            dz[n, k] = np.exp(z[n, k] - largest)
            total += dz[n, k]
        losses[n] = np.log(total) - (z[n, labels[n]] - largest)
        for k in range(K):
            dz[n, k] /= total
        dz[n, labels[n]] -= 1


def compiled_from(table: Kernels) -> Kernels:
    """The NumPy table, or one made of it, with the passes of this file."""
    tiles = {} if table.exact_ties else {"tiles": COMPILED_TILES}
    return with_norms(
        table,
        name="numba",
        correlation=Pair(partial(table.correlation.forward, alone=COMPILED_WAY, **tiles), table.correlation.backward),
        correlation_for_pool=partial(table.correlation_for_pool, large=LARGE_ONCE, alone=COMPILED_WAY),
        max_pool=Pair(max_pool, max_pool_backward),
        average_pool=Pair(average_pool, average_pool_backward),
        bias_relu_max_pool=Pair(bias_relu_max_pool, bias_relu_max_pool_backward),
        losses={SoftmaxCrossEntropy: softmax_cross_entropy},
    )
