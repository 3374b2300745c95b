"""Convolutions with fewer multiplications: Winograd's minimal filtering along rows and columns, around cuBLAS products.

Lavin and Gray, 2016. A tile of R x R outputs sees n x n pixels, n = R + I - 1. Pixels become n n sums of theirs, the
kernel as many; of each pair one product over channels, all pairs in one batched call; and sums of the products are the
tile. R = 4 with kernels of 3 x 3 takes 36 products instead of 144, R = 2 16 instead of 36, and with 5 x 5 36 instead
of 100. The image's gradient is the convolution of dy with the turned kernel; the kernel's is the transposed way, where
that is exact enough, else a product with columns.

Its products add float32 numbers in every precision: sums whose rounding the outputs magnify are not rounded further.
Where surroundings are equal outputs need not be, and NaN or an infinity reaches all outputs that share its tile.

`gpu` is cuda.Gpu: empty, dense, launch, multiply_each. Images are (N, H, W, C), dense.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from ...ops.window import Window
from ..memory import parts
from .columns import Columns
from .sizes import Sizes, placed

Array = Any

# Where polynomials are evaluated, beside infinity. With 5 of them, n = 6, float32 errors are 2 to 3.5 times those of a
# plain sum from EXACT channels on; with a sixth they are above 4 times.
POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-1, 2))
EXACT = 16  # channels that a sum is of, at least, where all POINTS are used
LONG = 512  # numbers that each sum of the kernel's gradient is of, at least, where all POINTS are used: the same there
LEAST = 8  # channels and filters: products of fewer are all transforms
TILES = (4, 2)
DEEP = 256  # tiles that one sum of the kernel's gradient is of at least
BLOCKS = 264  # blocks of a batched product that fill a device
SIDE = 64  # rows and columns of it that one block computes, about

Matrix = tuple[tuple[float, ...], ...]


class Problem(NamedTuple):
    """A convolution of one group by tiles of R x R outputs. image: H, W, C; filters: K; flipped: whether its kernel is
    stored turned by 180 degrees."""

    image: tuple[int, int, int]
    filters: int
    window: Window
    R: int
    flipped: bool

    @property
    def outputs(self) -> tuple[int, int]:
        return self.window.outputs(*self.image[:2])

    @property
    def points(self) -> int:
        """Products that a tile takes."""
        return math.prod(self.R + length - 1 for length in self.window.size)

    @property
    def tiles(self) -> int:
        """Of an image."""
        return math.prod(-(-length // self.R) for length in self.outputs)

    def sums_kernel_gradient(self, N: int) -> bool:
        """Whether float32 is exact enough for the kernel's gradient by tiles of N images: of more than 3 taps it is
        not, whose errors are up to 8 times those of a plain sum."""
        n, long = self.R + max(self.window.size) - 1, N * math.prod(self.outputs) >= LONG
        return max(self.window.size) <= 3 and (long or n < len(POINTS) + 1)

    @property
    def turned(self) -> Problem:
        """The convolution of dy with the turned kernel, which makes the image's gradient."""
        I, J = self.window.size
        (top, bottom), (left, right) = self.window.padding
        padding = (I - 1 - top, I - 1 - bottom), (J - 1 - left, J - 1 - right)
        return Problem((*self.outputs, self.filters), self.image[2], Window((I, J), (1, 1), padding), self.R, False)

    def sizes(self) -> Sizes:
        constants = ("K", self.filters), ("R", self.R), ("S", self.R), ("flipped", int(self.flipped))
        named = [
            (f"{axis}_of_{what}", matrix)
            for axis, length in zip(("rows", "columns"), self.window.size)
            for what, matrix in zip(("pixels", "kernel", "products"), matrices(self.R, length))
        ]
        return Sizes(("winograd.cu",), (*placed(self.window, self.image), *constants), tuple(named))


class Residual(NamedTuple):
    """What `correlate` keeps. sums: of the image's pixels, where they are small enough to keep."""

    x: Array
    problem: Problem
    sums: Array | None


def applies(image: tuple[int, int, int], filters: int, window: Window, R: int) -> bool:
    """Whether tiles of R x R make this convolution as exact as float32 should be, and save a third of its products.

    image: H, W, C.
    """
    channels, (I, J) = image[2], window.size
    is_plain = window.stride == (1, 1) and not window.is_dilated and min(I, J) > 1
    if not is_plain or any(max(window.padding[axis]) >= window.size[axis] for axis in (0, 1)):
        return False
    least, n = min(channels, filters), R + max(I, J) - 1
    if n > len(POINTS) + 1 or least < (EXACT if n > len(POINTS) - 1 else LEAST):
        return False
    P, Q = window.outputs(*image[:2])
    made = Problem(image, filters, window, R, False)
    return min(P, Q) > 0 and 3 * made.tiles * made.points <= 2 * P * Q * I * J


class Winograd:
    """`correlation` by tiles; whoever calls has asked `applies`. gpu: cuda.Gpu; columns: for how kernels are stored."""

    def __init__(self, gpu: Any, columns: Columns) -> None:
        self.gpu, self.columns = gpu, columns

    def correlate(self, x: Array, w: Array, window: Window, R: int) -> tuple[Array, Residual]:
        x, (w, flipped) = self.gpu.dense(x), self.columns.stored(w, x.dtype)
        problem = Problem(tuple(x.shape[1:]), w.shape[3], window, R, flipped)
        y, sums = self._correlated(problem, x, w, turned=flipped)
        return y, Residual(x, problem, sums if problem.sums_kernel_gradient(x.shape[0]) else None)

    def _correlated(self, problem: Problem, x: Array, w: Array, *, turned: bool, swapped: bool = False) -> Any:
        """y, and the image's sums where one part holds them all. swapped: w is (I, J, K, C)."""
        sizes, depth, K = problem.sizes(), w.shape[2:], problem.filters
        y = self.gpu.empty((x.shape[0], *problem.outputs, K), x.dtype)
        kernel = self.gpu.empty((problem.points, *depth), x.dtype)
        self.gpu.launch("winograd_of_kernel", x.dtype, math.prod(depth), w, int(turned), kernel, sizes=sizes)
        pieces, sums = self._parts(problem, x), None
        for part in pieces:
            sums = self._sums("winograd_of_image", problem, x[part], sizes)
            products = self.gpu.empty((*sums.shape[:2], K), x.dtype)
            self.gpu.multiply_each(sums, kernel.transpose(0, 2, 1) if swapped else kernel, products)
            self.gpu.launch("winograd_outputs", x.dtype, products[0].size, products, y[part], sizes=sizes)
        return y, sums if len(pieces) == 1 else None

    def _sums(self, name: str, problem: Problem, a: Array, sizes: Sizes) -> Array:
        """What the kernel of that name makes of images, or gradients, (N, ..., channels): (n m, tiles, channels)."""
        sums = self.gpu.empty((problem.points, a.shape[0] * problem.tiles, a.shape[3]), a.dtype)
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
        count = shares([(part.stop - part.start) * problem.tiles for part in pieces], problem.points, C, K)
        of_kernel = self.gpu.empty((problem.points * count, C, K), x.dtype)
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
        of_image = problem.points * problem.tiles * max(problem.image[2], problem.filters) * x.itemsize
        return list(parts(x.shape[0], of_image, self.columns.most))


def shares(tiles: Sequence[int], points: int, C: int, K: int) -> int:
    """How many sums the kernel's gradient, of C x K numbers at each of so many points, is cut into: a power of 2 that
    divides each of `tiles`. Few blocks would compute it otherwise, for its sums are long."""
    count, blocks = 1, points * -(-C // SIDE) * -(-K // SIDE)
    while count * blocks < BLOCKS and all(each % (2 * count) == 0 and each >= 2 * count * DEEP for each in tiles):
        count *= 2
    return count


@lru_cache(maxsize=64)
def matrices(R: int, I: int) -> tuple[Matrix, Matrix, Matrix]:
    """(n, n) for n pixels, (n, I) for a kernel, (R, n) for products: y = of_products ((of_kernel w) (of_pixels x)).

    Polynomials of R and of I coefficients are multiplied by multiplying their values at n points, infinity among them;
    read backwards, transposed, that is a correlation. Rows for pixels are whole numbers, which rounding spares.
    """
    n, points = R + I - 1, POINTS[: R + I - 2]
    of_pixels, of_kernel = [], []
    for k, point in enumerate(points):
        others = points[:k] + points[k + 1 :]
        row, scale = _whole([*_polynomial(others), Fraction(0)])
        of_pixels.append(row)
        distance = math.prod((point - other for other in others), start=scale)
        of_kernel.append([point**i / distance for i in range(I)])
    row, scale = _whole(_polynomial(points))
    of_pixels.append(row)
    of_kernel.append([Fraction(int(i == I - 1)) / scale for i in range(I)])
    of_products = [[*(point**r for point in points), Fraction(int(r == R - 1))] for r in range(R)]
    assert len(of_pixels) == n
    return _floats(of_pixels), _floats(of_kernel), _floats(of_products)


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients, the constant one first, of the polynomial with these roots and the highest coefficient 1."""
    found = [Fraction(1)]
    for root in roots:
        found = [a - root * b for a, b in zip([Fraction(0), *found], [*found, Fraction(0)])]
    return found


def _whole(row: list[Fraction]) -> tuple[list[Fraction], Fraction]:
    """The row times a whole number that makes its numbers whole, and that number."""
    scale = Fraction(math.lcm(*(each.denominator for each in row)))
    return [scale * each for each in row], scale


def _floats(matrix: Sequence[Sequence[Fraction]]) -> Matrix:
    return tuple(tuple(map(float, row)) for row in matrix)
