"""Convolutions with fewer multiplications: Winograd's minimal filtering along rows and columns, around cuBLAS products.

Lavin and Gray, 2016, F(2 x 2, 3 x 3). A tile of 2 x 2 outputs of a kernel of 3 x 3 sees 4 x 4 pixels. These become 16
sums of theirs, the kernel as many; of each pair one product over channels, all pairs in one batched call; and sums of
the products are the tile: 16 products instead of 36. The image's gradient is the convolution of dy with the turned
kernel; the kernel's is the transposed way, where that is exact enough, else a product with columns. Larger tiles have
larger factors: F(4 x 4, 3 x 3) is up to 12 times as inexact as a plain float32 sum where many numbers are 0.

Its products add float32 numbers in every precision: sums whose rounding the outputs magnify are not rounded further.
Where surroundings are equal outputs need not be, and NaN or an infinity reaches all outputs that share its tile.

`gpu` is cuda.Gpu: empty, dense, launch, multiply_each. Images are (N, H, W, C), dense.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...ops.window import Window
from ..memory import parts
from .columns import Columns
from .sizes import Sizes, cached, placed

Array = Any

TILE, TAPS = 2, 3  # rows and columns of outputs, and of a kernel
POINTS = (TILE + TAPS - 1) ** 2  # products that a tile takes
# With sums of fewer numbers, of which many are 0, float32 errors are above 4 times those of a plain sum.
LEAST = 16  # channels and filters
LONG = 1024  # numbers in each sum of the kernel's gradient
DEEP = 256  # tiles that one sum of the kernel's gradient is of at least
BLOCKS = 264  # blocks of a batched product that fill a device
SIDE = 64  # rows and columns of it that one block computes, about

# y = OF_PRODUCTS ((OF_KERNEL w) (OF_PIXELS x)), of two outputs, 3 taps and 4 pixels
OF_PIXELS = (1.0, 0.0, -1.0, 0.0), (0.0, 1.0, 1.0, 0.0), (0.0, -1.0, 1.0, 0.0), (0.0, -1.0, 0.0, 1.0)
OF_KERNEL = (1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0)
OF_PRODUCTS = (1.0, 1.0, 1.0, 0.0), (0.0, 1.0, -1.0, 1.0)


class Problem(NamedTuple):
    """A convolution of one group. image: H, W, C; filters: K; flipped: whether its kernel is stored turned by 180
    degrees."""

    image: tuple[int, int, int]
    filters: int
    window: Window
    flipped: bool

    @property
    def outputs(self) -> tuple[int, int]:
        return self.window.outputs(*self.image[:2])

    @property
    def tiles(self) -> int:
        """Of an image."""
        return math.prod(-(-length // TILE) for length in self.outputs)

    def sums_kernel_gradient(self, N: int) -> bool:
        """Whether float32 is exact enough for the kernel's gradient by tiles of N images."""
        return N * math.prod(self.outputs) >= LONG

    @property
    def turned(self) -> Problem:
        """The convolution of dy with the turned kernel, which makes the image's gradient."""
        I, J = self.window.size
        (top, bottom), (left, right) = self.window.padding
        padding = (I - 1 - top, I - 1 - bottom), (J - 1 - left, J - 1 - right)
        return Problem((*self.outputs, self.filters), self.image[2], Window((I, J), (1, 1), padding), False)

    @cached
    def sizes(self) -> Sizes:
        constants = ("K", self.filters), ("R", TILE), ("flipped", int(self.flipped))
        matrices = ("of_pixels", OF_PIXELS), ("of_kernel", OF_KERNEL), ("of_products", OF_PRODUCTS)
        return Sizes(("winograd.cu",), (*placed(self.window, self.image), *constants), matrices)


class Residual(NamedTuple):
    """What `correlate` keeps. sums: of the image's pixels, where they are small enough to keep."""

    x: Array
    problem: Problem
    sums: Array | None


def applies(image: tuple[int, int, int], filters: int, window: Window) -> bool:
    """Whether there are tiles for this convolution, and they save a third of its products.

    image: H, W, C.
    """
    is_plain = window.stride == (1, 1) and not window.is_dilated and window.size == (TAPS, TAPS)
    if not is_plain or any(max(padding) >= TAPS for padding in window.padding):
        return False
    P, Q = window.outputs(*image[:2])
    saves = 3 * Problem(image, filters, window, False).tiles * POINTS <= 2 * P * Q * TAPS**2
    return min(P, Q) > 0 and min(image[2], filters) >= LEAST and saves


class Winograd:
    """`correlation` by tiles; whoever calls has asked `applies`. gpu: cuda.Gpu; columns: for how kernels are stored."""

    def __init__(self, gpu: Any, columns: Columns) -> None:
        self.gpu, self.columns = gpu, columns

    def correlate(self, x: Array, w: Array, window: Window) -> tuple[Array, Residual]:
        x, (w, flipped) = self.gpu.dense(x), self.columns.stored(w, x.dtype)
        problem = Problem(tuple(x.shape[1:]), w.shape[3], window, flipped)
        y, sums = self._correlated(problem, x, w, turned=flipped)
        return y, Residual(x, problem, sums if problem.sums_kernel_gradient(x.shape[0]) else None)

    def _correlated(self, problem: Problem, x: Array, w: Array, *, turned: bool, swapped: bool = False) -> Any:
        """y, and the image's sums where one part holds them all. swapped: w is (I, J, K, C)."""
        sizes, depth, K = problem.sizes(), w.shape[2:], problem.filters
        y = self.gpu.empty((x.shape[0], *problem.outputs, K), x.dtype)
        kernel = self.gpu.empty((POINTS, *depth), x.dtype)
        self.gpu.launch("winograd_of_kernel", x.dtype, math.prod(depth), w, int(turned), kernel, sizes=sizes)
        pieces, sums = self._parts(problem, x), None
        for part in pieces:
            sums = self._sums("winograd_of_image", problem, x[part], sizes)
            products = self.gpu.empty((*sums.shape[:2], K), x.dtype)
            self.gpu.multiply_each(sums, kernel.transpose(0, 2, 1) if swapped else kernel, products)
            self.gpu.launch("winograd_outputs", x.dtype, products[0].size, products, y[part], sizes=sizes)
        return y, sums if len(pieces) == 1 else None

    def _sums(self, name: str, problem: Problem, a: Array, sizes: Sizes) -> Array:
        """What the kernel of that name makes of images, or gradients, (N, ..., channels): (POINTS, tiles, channels)."""
        sums = self.gpu.empty((POINTS, a.shape[0] * problem.tiles, a.shape[3]), a.dtype)
        self.gpu.launch(name, a.dtype, sums[0].size, a, sums, sizes=sizes)
        return sums

    def correlate_backward(self, residual: Residual, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
        """dx or None, dkernel."""
        x, problem, _ = residual
        w, dy = self.columns.stored(w, x.dtype)[0], self.gpu.dense(dy, x.dtype)
        if problem.sums_kernel_gradient(x.shape[0]):
            dw = self._kernel_gradient(residual, w, dy)
        else:
            dw = self.columns.kernel_gradient(self.columns.residual(x, problem.window, 1, problem.flipped), w, dy)
        dx = None
        if need_dx:
            dx, _ = self._correlated(problem.turned, dy, w, turned=not problem.flipped, swapped=True)
        return dx, dw[::-1, ::-1] if problem.flipped else dw

    def _kernel_gradient(self, residual: Residual, w: Array, dy: Array) -> Array:
        """As w is stored. The sum over tiles is cut into shares, which are added up in the end, in order."""
        (x, problem, kept), sizes, (C, K) = residual, residual.problem.sizes(), w.shape[2:]
        dw, pieces = self.gpu.empty(w.shape, x.dtype), self._parts(problem, x)
        count = shares([(part.stop - part.start) * problem.tiles for part in pieces], C, K)
        of_kernel = self.gpu.empty((POINTS * count, C, K), x.dtype)
        if not pieces:
            of_kernel[...] = 0
        for k, part in enumerate(pieces):
            sums = self._sums("winograd_of_image", problem, x[part], sizes) if kept is None else kept
            of_outputs = self._sums("winograd_of_gradient", problem, dy[part], sizes)
            shared = sums.reshape(len(of_kernel), -1, C).transpose(0, 2, 1)
            self.gpu.multiply_each(shared, of_outputs.reshape(len(of_kernel), -1, K), of_kernel, add=k > 0)
        self.gpu.launch("winograd_kernel_gradient", x.dtype, C * K, of_kernel, count, dw, sizes=sizes)
        return dw

    def _parts(self, problem: Problem, x: Array) -> list[slice]:
        """Of the batch, so that sums and products of one are no more than columns may be."""
        of_image = POINTS * problem.tiles * max(problem.image[2], problem.filters) * x.itemsize
        return list(parts(x.shape[0], of_image, self.columns.most))


def shares(tiles: Sequence[int], C: int, K: int) -> int:
    """How many sums the kernel's gradient, of C x K numbers at each of POINTS, is cut into: a power of 2 that
    divides each of `tiles`. Few blocks would compute it otherwise, for its sums are long."""
    count, blocks = 1, POINTS * -(-C // SIDE) * -(-K // SIDE)
    while count * blocks < BLOCKS and all(each % (2 * count) == 0 and each >= 2 * count * DEEP for each in tiles):
        count *= 2
    return count
