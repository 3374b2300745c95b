"""The layers' verbs on a GPU: how each is put together from kernels and products. Images are (N, H, W, C), dense.

`gpu` is cuda.Gpu: empty, dense, launch, multiply. Axes: N batch, H W image, I J window, P Q output, C K channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...ops.window import Window
from .. import reference
from ..memory import parts

Array = Any

COLUMNS = 1 << 28  # bytes of a convolution's columns at once; larger batches are taken in parts
CODES = 254  # offsets in a pool's window that a byte can name beside NOBODY and FIRST_AT_ZERO
SUMMED = 256  # rows that one thread adds up where that is all there is to do


class _Sizes(NamedTuple):
    """What a correlation's columns are made of. channels: that one group sees; flipped: see `_stored`."""

    image: tuple[int, int, int]
    outputs: tuple[int, int]
    window: Window
    channels: int
    flipped: bool

    @property
    def is_pointwise(self) -> bool:
        return self.window.size == self.window.stride == (1, 1) and not self.window.is_padded

    @property
    def width(self) -> int:
        """I J C / groups: numbers that one output sees."""
        return math.prod(self.window.size) * self.channels

    def of_group(self, g: int) -> tuple[int, ...]:
        """WINDOW, d, e, first channel, channels, flipped"""
        first = g * self.channels
        return (*_placed(self.window, self.image), *self.window.dilation, first, self.channels, int(self.flipped))


class Residual(NamedTuple):
    """A correlation's residual. columns: of each group, where they are small enough to keep."""

    x: Array
    sizes: _Sizes
    groups: int
    columns: list[Array] | None


class _Pooled(NamedTuple):
    """A max pool's residual. placed: see `_placed`; codes: who won each window; b: the fused form's bias.

    x, y: the input and output, kept only where all ties get the gradient.
    """

    shape: tuple[int, ...]
    placed: tuple[int, ...]
    codes: Array
    x: Array = None
    y: Array = None
    b: Array = None
    slope_at_zero: float = 1.0


class Layers:
    """The verbs by name, as a table of kernels has them. gpu: cuda.Gpu."""

    def __init__(self, gpu: Any) -> None:
        self.gpu = gpu

    def matmul(self, a: Array, b: Array) -> Array:
        """a (M, K) times b (K, N), row by row; transposed views are not copied."""
        return self.gpu.multiply(a, b, self.gpu.empty((a.shape[0], b.shape[1]), a.dtype))

    def pixels(self, images: Array, dtype: Any, scale: float, shift: float) -> Array:
        """uint8 (N, H, W, C) -> the same in dtype, pixel * scale + shift."""
        images, x = self.gpu.dense(images), self.gpu.empty(images.shape, dtype)
        no_order = self.gpu.empty((1,), "int64")
        self.gpu.launch("pixels", dtype, x.size, images, no_order, 0, 1, float(scale), float(shift), x)
        return x

    def correlate(self, x: Array, w: Array, window: Window, groups: int, *for_pool: Any) -> tuple[Array, Any]:
        """Columns of the image times the kernel as a matrix: (N P Q, I J C / groups) @ (I J C / groups, K / groups).

        for_pool: the pool's window and ties, where one follows; they change nothing here.
        """
        if x.shape[3] != w.shape[2] * groups or w.shape[3] % groups:
            return reference.correlate(x, w, window, groups)  # raises the error that says what does not fit
        x, (w, flipped), K = self.gpu.dense(x), self._stored(w, x.dtype), w.shape[3]
        sizes = _Sizes(tuple(x.shape[1:]), window.outputs(*x.shape[1:3]), window, w.shape[2], flipped)
        y, matrix, kept = self.gpu.empty((x.shape[0], *sizes.outputs, K), x.dtype), w.reshape(-1, K), []
        pieces = list(_parts(x, sizes))
        for part in pieces:
            for g, k in enumerate(_slices(K, groups)):
                kept.append(self._columns(x[part], sizes, g))
                self.gpu.multiply(kept[-1], matrix[:, k], y[part].reshape(-1, K)[:, k])
                if len(pieces) > 1:
                    kept.clear()
        return y, Residual(x, sizes, groups, kept if len(pieces) == 1 else None)

    def residual(self, x: Array, window: Window, groups: int) -> Any:
        """The residual of `correlate` where somebody else has computed the result. x is dense."""
        sizes = _Sizes(tuple(x.shape[1:]), window.outputs(*x.shape[1:3]), window, x.shape[3] // groups, False)
        return Residual(x, sizes, groups, None)

    def correlate_backward(self, residual: Residual, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
        """dkernel = columns^T dy; dx = the sum of the columns dy kernel^T, where each pixel was seen."""
        x, sizes, groups, kept = residual
        w = self.gpu.dense(w[::-1, ::-1] if sizes.flipped else w, x.dtype)
        dy, K = self.gpu.dense(dy, x.dtype), w.shape[3]
        dw, dx = self.gpu.empty(w.shape, x.dtype), self.gpu.empty(x.shape, x.dtype) if need_dx else None
        pieces = list(_parts(x, sizes))
        if not pieces:
            dw[...] = 0
        for part in pieces:
            for g, k in enumerate(_slices(K, groups)):
                d, columns = dy[part].reshape(-1, K)[:, k], kept[g] if kept else self._columns(x[part], sizes, g)
                self.gpu.multiply(columns.T, d, dw.reshape(-1, K)[:, k], add=part.start > 0)
                if dx is not None:
                    self._image(d, w.reshape(-1, K)[:, k], sizes, g, dx[part])
        return dx, dw[::-1, ::-1] if sizes.flipped else dw

    def _stored(self, w: Array, dtype: Any) -> tuple[Array, bool]:
        """w, or what it is a view of where that is a whole kernel turned by 180 degrees, as true convolutions have it.

        The columns are turned instead: no copies, of w or of its gradient, which the layer turns back.
        """
        turned = w[::-1, ::-1]
        flipped = turned.flags.c_contiguous and not w.flags.c_contiguous
        return self.gpu.dense(turned if flipped else w, dtype), flipped

    def _columns(self, x: Array, sizes: _Sizes, g: int) -> Array:
        """(N P Q, I J C / groups): what each output of group g sees. One of one pixel sees the image as it stands."""
        if sizes.is_pointwise:
            return x.reshape(-1, x.shape[3])[:, g * sizes.channels : (g + 1) * sizes.channels]
        columns = self.gpu.empty((x.shape[0] * math.prod(sizes.outputs), sizes.width), x.dtype)
        self.gpu.launch("columns_of_image", x.dtype, columns.size, x, *sizes.of_group(g), columns)
        return columns

    def _image(self, d: Array, matrix: Array, sizes: _Sizes, g: int, dx: Array) -> None:
        """Write the channels of group g of dx, from d (N P Q, K / groups)."""
        if sizes.is_pointwise:
            channels = dx.reshape(-1, dx.shape[3])[:, g * sizes.channels : (g + 1) * sizes.channels]
            self.gpu.multiply(d, matrix.T, channels)
            return
        columns = self.gpu.empty((d.shape[0], sizes.width), d.dtype)
        self.gpu.multiply(d, matrix.T, columns)
        pixels = math.prod(dx.shape[:3])
        self.gpu.launch("image_of_columns", d.dtype, pixels * sizes.channels, columns, *sizes.of_group(g), dx)

    def add_bias(self, y: Array, b: Array) -> tuple[Array, Any]:
        """Adds in place: whoever calls has just made y, and keeps no other use of it."""
        if b.shape not in (y.shape[-1:], y.shape[1:]):
            return reference.add_bias(y, b)  # raises the error that says what does not fit
        y = self.gpu.dense(y)
        self.gpu.launch("add_bias", y.dtype, y.size, y, self.gpu.dense(b, y.dtype), b.size)
        return y, tuple(b.shape)

    def add_bias_backward(self, shape: tuple[int, ...], dy: Array) -> Array:
        """dy summed over the batch, and over all positions when the bias is tied."""
        return self._sum(self.gpu.dense(dy), math.prod(shape)).reshape(shape)

    def _sum(self, x: Array, K: int, codes: Array = None, slope_at_zero: float = 1.0) -> Array:
        """The sum of the rows of x as (rows, K): of parts of about sqrt(rows) each, then of the parts, in order.

        codes: a max pool's; what lost is left out.
        """
        rows = x.size // K
        length = rows if rows <= SUMMED else math.isqrt(rows - 1) + 1
        sums = self.gpu.empty((-(-rows // max(1, length)) or 1, K), x.dtype)
        name, more = ("sum_rows", ()) if codes is None else ("sum_rows_pooled", (codes, float(slope_at_zero)))
        self.gpu.launch(name, x.dtype, sums.size, x, *more, rows, K, length, sums)
        return self._sum(sums, K) if sums.shape[0] > 1 else sums[0]

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

    def _map(self, name: str, x: Array, *more: Any) -> Array:
        y = self.gpu.empty(x.shape, x.dtype)
        self.gpu.launch(name, x.dtype, x.size, x, *more, y)
        return y

    def max_pool(self, x: Array, window: Window, ties: str) -> tuple[Array, Any]:
        if math.prod(window.size) > CODES:
            return reference.max_pool(x, window, ties)
        x = self.gpu.dense(x)
        y, codes = self._outputs(x, window)
        placed = _placed(window, x.shape[1:])
        self.gpu.launch("max_pool", x.dtype, y.size, x, *placed, y, codes)
        return y, _Pooled(x.shape, placed, codes, *((x, y) if ties == "all" else ()))

    def max_pool_backward(self, pooled: Any, dy: Array) -> Array:
        if not isinstance(pooled, _Pooled):
            return reference.max_pool_backward(pooled, dy)
        return self._unpooled(pooled, self.gpu.dense(dy))

    def bias_relu_max_pool(
        self, x: Array, b: Array, slope_at_zero: float, window: Window, ties: str
    ) -> tuple[Array, Any]:
        """b is tied, (C,). For ties="first" a byte for each window is all that the gradient needs."""
        if window.is_padded or math.prod(window.size) > CODES - 1:
            return reference.bias_relu_max_pool(x, b, slope_at_zero, window, ties)
        x, b, placed = self.gpu.dense(x), self.gpu.dense(b, x.dtype), _placed(window, x.shape[1:])
        y, codes = self._outputs(x, window)
        self.gpu.launch("bias_relu_max_pool", x.dtype, y.size, x, b, *placed, y, codes)
        pooled = _Pooled(x.shape, placed, codes, slope_at_zero=float(slope_at_zero))
        return y, pooled._replace(x=x, y=y, b=b) if ties == "all" else pooled

    def bias_relu_max_pool_backward(self, pooled: Any, dy: Array) -> tuple[Array, Array]:
        if not isinstance(pooled, _Pooled):
            return reference.bias_relu_max_pool_backward(pooled, dy)
        dy, C = self.gpu.dense(dy), pooled.shape[3]
        dx = self._unpooled(pooled, dy)
        return dx, self._sum(dy, C, pooled.codes, pooled.slope_at_zero) if pooled.x is None else self._sum(dx, C)

    def _outputs(self, x: Array, window: Window) -> tuple[Array, Array]:
        shape = (x.shape[0], *window.outputs(*x.shape[1:3]), x.shape[3])
        return self.gpu.empty(shape, x.dtype), self.gpu.empty(shape, "uint8")

    def _unpooled(self, pooled: _Pooled, dy: Array) -> Array:
        """The gradient of the image: to winners that were written down, or to all that equal y."""
        name, arrays = "max_pool_backward", [dy, pooled.codes, pooled.slope_at_zero]
        if pooled.x is not None:
            dy = self.gpu.dense(dy, pooled.x.dtype)
            name, arrays = "max_pool_all_backward", [pooled.x, pooled.y, dy]
        if pooled.b is not None:
            name, arrays = "bias_relu_max_pool_all_backward", [pooled.x, pooled.b, pooled.y, dy, pooled.slope_at_zero]
        dx = self.gpu.empty(pooled.shape, dy.dtype)
        self.gpu.launch(name, dy.dtype, dx.size, *arrays, *pooled.placed, dx)
        return dx

    def average_pool(self, x: Array, window: Window, count_padding: bool) -> tuple[Array, Any]:
        x = self.gpu.dense(x)
        y = self.gpu.empty((x.shape[0], *window.outputs(*x.shape[1:3]), x.shape[3]), x.dtype)
        placed = *_placed(window, x.shape[1:]), int(count_padding)
        self.gpu.launch("average_pool", x.dtype, y.size, x, *placed, y)
        return y, (x.shape, placed)

    def average_pool_backward(self, residual: Any, dy: Array) -> Array:
        shape, placed = residual
        dy, dx = self.gpu.dense(dy), self.gpu.empty(shape, dy.dtype)
        self.gpu.launch("average_pool_backward", dy.dtype, dx.size, dy, *placed, dx)
        return dx


def _parts(x: Array, sizes: _Sizes) -> Iterator[slice]:
    return parts(x.shape[0], math.prod(sizes.outputs) * sizes.width * x.itemsize, COLUMNS)


def _slices(K: int, groups: int) -> list[slice]:
    return [slice(g * K // groups, (g + 1) * K // groups) for g in range(groups)]


def _placed(window: Window, image: tuple[int, ...]) -> tuple[int, ...]:
    """WINDOW of common.cu, for an image (H, W, C): H, W, C, P, Q, I, J, s, t, top, left"""
    (top, _), (left, _) = window.padding
    return (*image, *window.outputs(*image[:2]), *window.size, *window.stride, top, left)
