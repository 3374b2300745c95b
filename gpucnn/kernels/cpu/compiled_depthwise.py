"""`depthwise`, compiled by numba: no frames of zeros and no copies, each row of the result added up in the cache.

The sums have the order of the NumPy table's, offset by offset: outputs with equal surroundings are equal to the last
bit. The kernel's gradient is added up in any order that the compiler likes.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

from ...ops.window import Window
from ..memory import empty
from .depthwise import Residual, Way
from .rows import Image, whole

Array = np.ndarray

compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
in_any_order = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})


def correlate(x: Array, w: Array, window: Window, *for_pool: object) -> tuple[Array, Residual]:
    """x (H, C, W, N), w (I, J, 1, C M) -> y (P, C M, Q, N). for_pool changes nothing here."""
    H, C, width, N = x.shape
    P, Q = window.outputs(H, width)
    y = empty((P, w.shape[3], Q, N), x.dtype)
    rows, columns = _reaches(window, H, width)
    _correlate(_flat(x), _kernels(w, C), rows, columns, *window.stride, N, _flat(y))
    return y, Residual(x, window)


def gradients(residual: Residual, w: Array, dy: Image, need_dx: bool) -> tuple[Array | None, Array]:
    """dx as x, or None, and dw as w. dy as y was."""
    dy = whole(dy)
    dx = image_gradient(residual.x.shape, w, dy, residual.window) if need_dx else None
    return dx, kernel_gradient(residual, w, dy)


def kernel_gradient(residual: Residual, w: Array, dy: Array) -> Array:
    """dw (I, J, 1, C M), the sum over rows of sums along rows."""
    (x, window), (I, J, _, K) = residual, w.shape
    H, C, width, N = x.shape
    rows, columns = _reaches(window, H, width)
    of_rows = empty((dy.shape[0], C, K // C, I, J), dy.dtype)
    _kernel_gradient(_flat(x), _flat(dy), rows, columns, *window.stride, N, of_rows)
    return np.ascontiguousarray(np.add.reduce(of_rows, axis=0).transpose(2, 3, 0, 1)).reshape(w.shape)


def image_gradient(x_shape: tuple[int, ...], w: Array, dy: Array, window: Window) -> Array:
    """dx (H, C, W, N) = x_shape."""
    H, C, width, N = x_shape
    dx = empty(x_shape, dy.dtype)
    rows, columns = _reaches(window, H, width)
    _image_gradient(_flat(dy), _kernels(w, C), rows, columns, *window.stride, N, _flat(dx))
    return dx


def _flat(image: Array) -> Array:
    """(H, C, W N)"""
    return image.reshape(*image.shape[:2], -1)


def _kernels(w: Array, C: int) -> Array:
    """(C, M, I, J)"""
    I, J, _, K = w.shape
    return np.ascontiguousarray(w.reshape(I, J, C, K // C).transpose(2, 3, 0, 1))


@lru_cache(maxsize=256)
def _reaches(window: Window, height: int, width: int) -> tuple[Array, Array]:
    """For each kernel row, and each column: the first output that sees a pixel there, the end, and the first pixel."""
    found = []
    for axis, length in enumerate((height, width)):
        seen = [window.reach(axis, offset, length) for offset in range(window.size[axis])]
        found.append(np.array([(outputs.start, outputs.stop, pixels.start) for outputs, pixels in seen]))
    return found[0], found[1]


@compiled
def _correlate(x: Array, w: Array, rows: Array, columns: Array, s: int, t: int, N: int, y: Array) -> None:
    """x (H, C, W N), w (C, M, I, J), y (P, C M, Q N)."""
    C, M, I, J = w.shape
    for p in range(len(y)):
        for c in range(C):
            for m in range(M):
                out = y[p, c * M + m]
                out[:] = 0
                for i in range(I):
                    start, stop, first = rows[i]
                    if p < start or p >= stop:
                        continue
                    row = x[first + s * (p - start), c]
                    for j in range(J):
                        a, b, u = columns[j]
                        _add(row[u * N :], t, w[c, m, i, j], out[a * N :], 1, b - a, N)


@compiled
def _image_gradient(dy: Array, w: Array, rows: Array, columns: Array, s: int, t: int, N: int, dx: Array) -> None:
    """dy (P, C M, Q N), w (C, M, I, J), dx (H, C, W N)."""
    C, M, I, J = w.shape
    for h in range(len(dx)):
        for c in range(C):
            out = dx[h, c]
            out[:] = 0
            for i in range(I):
                start, stop, first = rows[i]
                p = start + (h - first) // s
                if h < first or (h - first) % s or p >= stop:
                    continue
                for m in range(M):
                    row = dy[p, c * M + m]
                    for j in range(J):
                        a, b, u = columns[j]
                        _add(row[a * N :], 1, w[c, m, i, j], out[u * N :], t, b - a, N)


@compiled
def _add(source: Array, step: int, factor: float, out: Array, out_step: int, count: int, N: int) -> None:
    """out += factor * source, for `count` pixels of N numbers each, `step` and `out_step` pixels apart."""
    if step == out_step == 1:
        for k in range(count * N):
            out[k] += factor * source[k]
        return
    for q in range(count):
        pixel, seen = out[q * out_step * N : (q * out_step + 1) * N], source[q * step * N : (q * step + 1) * N]
        for n in range(N):
            pixel[n] += factor * seen[n]


@in_any_order
def _kernel_gradient(x: Array, dy: Array, rows: Array, columns: Array, s: int, t: int, N: int, dw: Array) -> None:
    """dw (P, C, M, I, J): of each row of the result."""
    P, C, M, I, J = dw.shape
    for p in range(P):
        for c in range(C):
            for m in range(M):
                d = dy[p, c * M + m]
                for i in range(I):
                    start, stop, first = rows[i]
                    for j in range(J):
                        dw[p, c, m, i, j] = 0
                    if p < start or p >= stop:
                        continue
                    row = x[first + s * (p - start), c]
                    for j in range(J):
                        a, b, u = columns[j]
                        dw[p, c, m, i, j] = _dot(row[u * N :], t, d[a * N :], b - a, N)


@in_any_order
def _dot(x: Array, step: int, d: Array, count: int, N: int) -> float:
    """The sum of products of `count` pixels of N numbers each; those of x are `step` pixels apart."""
    total = d.dtype.type(0)
    if step == 1:
        for k in range(count * N):
            total += x[k] * d[k]
        return total
    for q in range(count):
        pixel, of_pixel = x[q * step * N : (q * step + 1) * N], d[q * N : (q + 1) * N]
        for n in range(N):
            total += pixel[n] * of_pixel[n]
    return total


COMPILED_WAY = Way(correlate, gradients)
