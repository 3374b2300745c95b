"""The layers' verbs on a GPU, but for convolutions and pools: how each is put together from kernels and products.

`gpu` is cuda.Gpu: empty, dense, launch, multiply. Images are (N, H, W, C), dense.
"""

from __future__ import annotations

import math
from typing import Any

from .. import reference
from .sizes import BLOCK, REALS

Array = Any

SUMMED = 1024  # rows that one block adds up where that is all there is to do
SMALL, DEPTH = 1 << 23, 256  # multiplications of a product, and of each of its sums, up to which it is a small one
SQUARE = 16  # rows and columns of it that one block computes
SIDE = 32  # columns that one block sums: a warp reads them together


class Layers:
    """The verbs by name, as a table of kernels has them. gpu: cuda.Gpu."""

    def __init__(self, gpu: Any) -> None:
        self.gpu = gpu

    def matmul(self, a: Array, b: Array, out: Array = None) -> Array:
        """a (M, K) times b (K, N), row by row; transposed views are not copied. out: where it is written, if anywhere.

        cuBLAS takes 5 microseconds for the smallest product, so that small ones have a kernel of their own, which adds
        float32 numbers in every precision.
        """
        out = self.gpu.empty((a.shape[0], b.shape[1]), a.dtype) if out is None else out
        return out if self._multiplied(a, b, out) else self.gpu.multiply(a, b, out)

    def biased_product(self, x: Array, w: Array, b: Array) -> tuple[Array, Any]:
        """`matmul` and `add_bias`: in one launch where the product is a small one."""
        y, b = self.gpu.empty((x.shape[0], w.shape[1]), x.dtype), self.gpu.dense(b, x.dtype)
        if self._multiplied(x, w, y, b):
            return y, tuple(b.shape)
        return self.add_bias(self.gpu.multiply(x, w, y), b)

    def rectified_product(self, x: Array, w: Array, b: Array, slope_at_zero: float) -> tuple[Array, Any]:
        """`matmul` and `bias_relu`, likewise."""
        y, b = self.gpu.empty((x.shape[0], w.shape[1]), x.dtype), self.gpu.dense(b, x.dtype)
        activated = self.gpu.empty(y.shape, y.dtype)
        if not self._multiplied(x, w, y, b, activated):
            self.gpu.multiply(x, w, y)
            self.gpu.launch("bias_relu", y.dtype, y.size, y, b, b.size, activated)
        return activated, (y, float(slope_at_zero))

    def _multiplied(self, a: Array, b: Array, out: Array, bias: Array = None, activated: Array = None) -> bool:
        """Whether a times b is a small product, which then is written to out, with a bias if there is one, and what
        ReLU makes of that to activated."""
        (M, K), N = a.shape, b.shape[1]
        left, right = _laid(a), _laid(b)
        if not (left and right and a.dtype == b.dtype and a.dtype.name in REALS and K <= DEPTH and M * K * N <= SMALL):
            return False
        if bias is not None and bias.shape != (N,):
            return False
        behind = left[0] if bias is None else bias, int(bias is not None), int(activated is not None)
        arguments = *left, *right, M, K, N, *behind, out if activated is None else activated, out
        blocks = -(-M // SQUARE) * -(-N // SQUARE)
        self.gpu.launch_blocks("small_product", a.dtype, blocks, BLOCK, *arguments)
        return True

    def pixels(self, images: Array, dtype: Any, scale: float, shift: float) -> Array:
        """uint8 (N, H, W, C) -> the same in dtype, pixel * scale + shift."""
        images, x = self.gpu.dense(images), self.gpu.empty(images.shape, dtype)
        no_order = self.gpu.empty((1,), "int64")
        self.gpu.launch("pixels", dtype, x.size, images, no_order, 0, 1, float(scale), float(shift), x)
        return x

    def add_bias(self, y: Array, b: Array) -> tuple[Array, Any]:
        """Adds in place: whoever calls has just made y, and keeps no other use of it."""
        if b.shape not in (y.shape[-1:], y.shape[1:]):
            return reference.add_bias(y, b)  # raises the error that says what does not fit
        y = self.gpu.dense(y)
        self.gpu.launch("add_bias", y.dtype, y.size, y, self.gpu.dense(b, y.dtype), b.size)
        return y, tuple(b.shape)

    def add_bias_backward(self, shape: tuple[int, ...], dy: Array) -> Array:
        """dy summed over the batch, and over all positions when the bias is tied."""
        return self.sum(self.gpu.dense(dy), math.prod(shape)).reshape(shape)

    def channel_sums(self, x: Array) -> Array:
        """(N, H, W, C) or (N, C) -> (C,)."""
        return self.sum(self.gpu.dense(x), x.shape[-1])

    def bias_relu(self, y: Array, b: Array, slope_at_zero: float) -> tuple[Array, Any]:
        """b (K,) is added in place, as by `add_bias`."""
        y = self.gpu.dense(y)
        activated = self.gpu.empty(y.shape, y.dtype)
        self.gpu.launch("bias_relu", y.dtype, y.size, y, self.gpu.dense(b, y.dtype), b.size, activated)
        return activated, (y, float(slope_at_zero))

    def bias_relu_backward(self, residual: Any, dy: Array) -> tuple[Array, Array]:
        y, slope_at_zero = residual
        dy, dx = self.gpu.dense(dy, y.dtype), self.gpu.empty(y.shape, y.dtype)
        return dx, self._sums("bias_relu_backward", y, y.shape[-1], y, dy, slope_at_zero, dx)

    def sum(self, x: Array, K: int, codes: Array = None, slope_at_zero: float = 1.0) -> Array:
        """The sum of the rows of x as (rows, K). codes: a max pool's; what lost is left out."""
        if codes is None:
            return self._sums("sum_rows", x, K, x)
        return self._sums("sum_rows_pooled", x, K, x, codes, float(slope_at_zero))

    def _sums(self, name: str, x: Array, K: int, *arguments: Any) -> Array:
        """By the kernel of that name: of parts of about sqrt(rows) rows of x each, then of the parts, in order."""
        rows = x.size // K
        length = rows if rows <= SUMMED else math.isqrt(rows - 1) + 1
        sums = self.gpu.empty((-(-rows // max(1, length)) or 1, K), x.dtype)
        columns = min(K, SIDE)
        lanes = 1 << (BLOCK // columns).bit_length() - 1
        blocks = sums.shape[0] * -(-K // columns)
        self.gpu.launch_blocks(name, x.dtype, blocks, BLOCK, *arguments, rows, K, length, columns, lanes, sums)
        return self.sum(sums, K) if sums.shape[0] > 1 else sums[0]

    def relu(self, x: Array, slope_at_zero: float) -> tuple[Array, Any]:
        x = self.gpu.dense(x)
        return self._map("relu", x), (x, float(slope_at_zero))

    def relu_backward(self, residual: Any, dy: Array) -> Array:
        x, slope_at_zero = residual
        return self._map("relu_backward", x, self.gpu.dense(dy, x.dtype), slope_at_zero)

    def sigmoid(self, x: Array) -> tuple[Array, Array]:
        y = self._map("sigmoid", self.gpu.dense(x))
        return y, y

    def sigmoid_backward(self, y: Array, dy: Array) -> Array:
        return self._map("sigmoid_backward", y, self.gpu.dense(dy, y.dtype))

    def tanh(self, x: Array) -> tuple[Array, Array]:
        y = self._map("hyperbolic_tangent", self.gpu.dense(x))
        return y, y

    def tanh_backward(self, y: Array, dy: Array) -> Array:
        return self._map("tanh_backward", y, self.gpu.dense(dy, y.dtype))

    def curve(self, x: Array, name: str, *settings: float) -> tuple[Array, Any]:
        """By the kernel of that name; its settings are its REALs."""
        x, settings = self.gpu.dense(x), tuple(map(float, settings))
        return self._map(name, x, *settings), (x, name, settings)

    def curve_backward(self, residual: Any, dy: Array) -> Array:
        x, name, settings = residual
        return self._map(f"{name}_backward", x, self.gpu.dense(dy, x.dtype), *settings)

    def _map(self, name: str, x: Array, *more: Any) -> Array:
        y = self.gpu.empty(x.shape, x.dtype)
        self.gpu.launch(name, x.dtype, x.size, x, *more, y)
        return y


def _laid(a: Array) -> tuple[Array, int, int] | None:
    """a without gaps, as its rows or its columns lie in memory, and elements from a row of a, and from a column, to the
    next; None where it has gaps."""
    if a.flags.c_contiguous:
        return a, a.shape[1], 1
    return (a.T, 1, a.shape[0]) if a.flags.f_contiguous else None
