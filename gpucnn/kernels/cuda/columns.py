"""Convolutions as products with columns of the image. Images are (N, H, W, C), dense.

`gpu` is cuda.Gpu: empty, dense, launch, multiply. Axes: N batch, H W image, I J window, P Q output, C K channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...ops.window import Window
from .. import reference
from ..memory import parts
from .sizes import Sizes, cached, placed, side_by_side

Array = Any

COLUMNS = 1 << 28  # bytes of a convolution's columns at once; larger batches are taken in parts
ON_LARGE = 1 << 29  # the same, at most, where that is a small PART of the device's memory
PART = 128


class _Correlation(NamedTuple):
    """What a correlation's columns are made of. channels: that one group sees; flipped: see `stored`."""

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

    @cached
    def sizes(self, V: int) -> Sizes:
        d, e = self.window.dilation
        more = (("d", d), ("e", e), ("G", self.channels), ("flipped", int(self.flipped)), ("V", V))
        return Sizes(("columns.cu",), (*placed(self.window, self.image), *more))


class Residual(NamedTuple):
    """A correlation's residual. columns: of each group, where they are small enough to keep."""

    x: Array
    sizes: _Correlation
    groups: int
    columns: list[Array] | None


class Columns:
    """The verb `correlation`. gpu: cuda.Gpu."""

    def __init__(self, gpu: Any) -> None:
        self.gpu = gpu
        self.most = max(COLUMNS, min(ON_LARGE, gpu.memory() // PART))

    def correlate(self, x: Array, w: Array, window: Window, groups: int, *for_pool: Any) -> tuple[Array, Any]:
        """Columns of the image times the kernel as a matrix: (N P Q, I J C / groups) @ (I J C / groups, K / groups).

        for_pool: the pool's window and ties, where one follows; they change nothing here.
        """
        if x.shape[3] != w.shape[2] * groups or w.shape[3] % groups:
            return reference.correlate(x, w, window, groups)  # raises the error that says what does not fit
        x, (w, flipped), K = self.gpu.dense(x), self.stored(w, x.dtype), w.shape[3]
        sizes = _Correlation(tuple(x.shape[1:]), window.outputs(*x.shape[1:3]), window, w.shape[2], flipped)
        y, matrix, kept = self.gpu.empty((x.shape[0], *sizes.outputs, K), x.dtype), w.reshape(-1, K), []
        pieces = list(self._parts(x, sizes))
        for part in pieces:
            for g, k in enumerate(_slices(K, groups)):
                kept.append(self._columns(x[part], sizes, g))
                self.gpu.multiply(kept[-1], matrix[:, k], y[part].reshape(-1, K)[:, k])
                if len(pieces) > 1:
                    kept.clear()
        return y, Residual(x, sizes, groups, kept if len(pieces) == 1 else None)

    def residual(self, x: Array, window: Window, groups: int, flipped: bool = False) -> Any:
        """The residual of `correlate` where somebody else has computed the result. x is dense."""
        sizes = _Correlation(tuple(x.shape[1:]), window.outputs(*x.shape[1:3]), window, x.shape[3] // groups, flipped)
        return Residual(x, sizes, groups, None)

    def correlate_backward(self, residual: Residual, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
        """dkernel = columns^T dy; dx = the sum of the columns dy kernel^T, where each pixel was seen."""
        x, flipped = residual.x, residual.sizes.flipped
        w, dy = self.gpu.dense(w[::-1, ::-1] if flipped else w, x.dtype), self.gpu.dense(dy, x.dtype)
        dw = self.kernel_gradient(residual, w, dy)
        return self.image_gradient(residual, w, dy) if need_dx else None, dw[::-1, ::-1] if flipped else dw

    def kernel_gradient(self, residual: Residual, w: Array, dy: Array) -> Array:
        """dkernel, as w is stored (see `stored`). dy is dense."""
        x, sizes, groups, kept = residual
        dw, K = self.gpu.empty(w.shape, x.dtype), w.shape[3]
        pieces = list(self._parts(x, sizes))
        if not pieces:
            dw[...] = 0
        for part in pieces:
            for g, k in enumerate(_slices(K, groups)):
                d, columns = dy[part].reshape(-1, K)[:, k], kept[g] if kept else self._columns(x[part], sizes, g)
                self.gpu.multiply(columns.T, d, dw.reshape(-1, K)[:, k], add=part.start > 0)
        return dw

    def image_gradient(self, residual: Residual, w: Array, dy: Array) -> Array:
        """dx. w is as stored, dy is dense."""
        x, sizes, groups, _ = residual
        dx, K = self.gpu.empty(x.shape, x.dtype), w.shape[3]
        for part in self._parts(x, sizes):
            for g, k in enumerate(_slices(K, groups)):
                self._image(dy[part].reshape(-1, K)[:, k], w.reshape(-1, K)[:, k], sizes, g, dx[part])
        return dx

    def transposed(
        self, x: Array, w: Array, window: Window, groups: int, size: tuple[int, int]
    ) -> tuple[Array, tuple[Array, Window, int]]:
        """The gradient of an image of that size by a correlation, x being its dy."""
        shape = (x.shape[0], *size, w.shape[2] * groups)
        if tuple(x.shape[1:]) != (*window.outputs(*size), w.shape[3]) or w.shape[3] % groups:
            return reference.transposed(x, w, window, groups, size)  # raises the error that says what does not fit
        x, like = self.gpu.dense(x), self.gpu.empty(shape, x.dtype)
        y = self.image_gradient(self.residual(like, window, groups), self.gpu.dense(w, x.dtype), x)
        return y, (x, window, groups)

    def transposed_backward(
        self, residual: tuple[Array, Window, int], w: Array, dy: Array, need_dx: bool
    ) -> tuple[Array | None, Array]:
        """dx = the correlation of dy; dkernel = columns of dy, transposed, times x."""
        x, window, groups = residual
        w, dy, dx = self.gpu.dense(w, x.dtype), self.gpu.dense(dy, x.dtype), None
        seen = self.residual(dy, window, groups)
        if need_dx:
            dx, seen = self.correlate(dy, w, window, groups)
        return dx, self.kernel_gradient(seen, w, x)

    def stored(self, w: Array, dtype: Any) -> tuple[Array, bool]:
        """w, or what it is a view of where that is a whole kernel turned by 180 degrees, as true convolutions have it.

        The columns are turned instead: no copies, of w or of its gradient, which the layer turns back.
        """
        flipped = is_turned(w)
        return self.gpu.dense(w[::-1, ::-1] if flipped else w, dtype), flipped

    def _columns(self, x: Array, sizes: _Correlation, g: int) -> Array:
        """(N P Q, I J C / groups): what each output of group g sees. One of one pixel sees the image as it stands."""
        if sizes.is_pointwise:
            return x.reshape(-1, x.shape[3])[:, g * sizes.channels : (g + 1) * sizes.channels]
        columns = self.gpu.empty((x.shape[0] * math.prod(sizes.outputs), sizes.width), x.dtype)
        self._launch("columns_of_image", columns.size, x, columns, sizes, g)
        return columns

    def _parts(self, x: Array, sizes: _Correlation) -> Iterator[slice]:
        return parts(x.shape[0], math.prod(sizes.outputs) * sizes.width * x.itemsize, self.most)

    def _image(self, d: Array, matrix: Array, sizes: _Correlation, g: int, dx: Array) -> None:
        """Write the channels of group g of dx, from d (N P Q, K / groups)."""
        if sizes.is_pointwise:
            channels = dx.reshape(-1, dx.shape[3])[:, g * sizes.channels : (g + 1) * sizes.channels]
            self.gpu.multiply(d, matrix.T, channels)
            return
        columns = self.gpu.empty((d.shape[0], sizes.width), d.dtype)
        self.gpu.multiply(d, matrix.T, columns)
        self._launch("image_of_columns", math.prod(dx.shape[:3]) * sizes.channels, columns, dx, sizes, g)

    def _launch(self, name: str, size: int, source: Array, target: Array, sizes: _Correlation, g: int) -> None:
        """size: elements that are written."""
        V = side_by_side(self.gpu, sizes.channels, arrays=(source, target))
        first = g * sizes.channels
        self.gpu.launch(name, source.dtype, size // V, source, first, target, sizes=sizes.sizes(V))


def is_turned(w: Array) -> bool:
    """Whether w is a view of a whole kernel turned by 180 degrees, which is how it is stored."""
    return w[::-1, ::-1].flags.c_contiguous and not w.flags.c_contiguous


def _slices(K: int, groups: int) -> list[slice]:
    return [slice(g * K // groups, (g + 1) * K // groups) for g in range(groups)]
