"""Convolutions of many channels as products on tensor cores, straight from the image: no columns in memory.

Float32 numbers stay float32: each is the sum of two of TF32, 11 bits each, and three products of these are one of
float32 numbers to about 2^-22 (Ootomo and Yokota, 2022, who also add outside of the tensor cores, which round towards
zero). In the precisions tf32 and bfloat16 factors are rounded, and multiplied once. Before a convolution is computed so
for the first time, numbers drawn for it are, and compared with sums by the host: see `proof`.

NaN or an infinity reaches the outputs that see it, in float32 as NaN. Numbers within 2^-12 of float32's largest are
taken for infinities there, and of those below 2^-115 bits are lost.

`gpu` is cuda.Gpu: empty, dense, launch_blocks. Images are (N, H, W, C), dense.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...device import reason_of
from ...errors import warn
from ...ops.window import Window
from . import proof
from .columns import Columns, is_turned
from .sizes import Sizes, placed

Array = Any

FACTORS = {"float32": 2, "tf32": 1, "bfloat16": 0}  # as tensor.cu has them
PRECISE = {2: 2.0**-20, 1: 2.0**-9, 0: 2.0**-6}  # of a sum's absolute terms, that it may be wrong by, by factors
LEAST = 16  # channels and filters: fewer leave most of a tensor core idle
# With sums of fewer numbers, of which many are 0, float32 errors are above 4 times those of a plain sum.
TAPS = 128  # numbers that an output sees, and that see a pixel
LONG = 1024  # numbers in each sum of the kernel's gradient
CAPABILITY = 80  # of a GPU whose tensor cores multiply TF32 and bfloat16 numbers
ROWS, DEPTH = 128, 16  # outputs that a block computes, and numbers of a chunk of its sums
NARROW, FULL = 32, 64  # filters that a block computes
BLOCKS = 264  # that fill a device
FEW = 32  # blocks, below which most of a device would be idle
TRIED = Window((3, 3), (1, 1), ((1, 1), (1, 1)))
PART = 256  # outputs that one part of the kernel's gradient is summed over at least

tried: dict[tuple[int, int, Problem], bool] = {}  # by the device's number, factors and convolution: what `starts` found


class Problem(NamedTuple):
    """A convolution of one group. image: H, W, C; outputs: P, Q; filters: K; before: padded rows above and columns on
    the left; turned: whether the kernel is read turned by 180 degrees; swapped: whether it is stored (I, J, K, C)."""

    image: tuple[int, int, int]
    outputs: tuple[int, int]
    filters: int
    window: Window
    before: tuple[int, int]
    turned: bool
    swapped: bool = False

    @property
    def taps(self) -> int:
        return math.prod(self.window.size) * self.image[2]

    @property
    def columns(self) -> int:
        """Filters of a block."""
        return NARROW if self.filters <= NARROW else FULL

    @property
    def threads(self) -> int:
        return self.columns * ROWS // 32

    @property
    def column_blocks(self) -> int:
        return -(-self.filters // self.columns)

    @property
    def gradient_blocks(self) -> int:
        """Of each part of the kernel's gradient."""
        return -(-self.taps // ROWS) * self.column_blocks

    @property
    def of_image(self) -> Problem:
        """The convolution of dy with the turned kernel, which makes the image's gradient. For a stride of 1."""
        (rows, across), (d, e) = self.window.size, self.window.dilation
        before = d * (rows - 1) - self.before[0], e * (across - 1) - self.before[1]
        image = (*self.outputs, self.filters)
        return Problem(image, self.image[:2], self.image[2], self.window, before, not self.turned, not self.swapped)

    def sizes(self, file: str, factors: int) -> Sizes:
        (d, e), known = self.window.dilation, dict(placed(self.window, self.image))
        known.update(zip(("P", "Q", "top", "left"), (*self.outputs, *self.before)))
        known.update({"d": d, "e": e, "K": self.filters, "turned": int(self.turned), "swapped": int(self.swapped)})
        known.update({"factors": factors, "columns": self.columns, "threads": self.threads})
        return Sizes(("tensor.cu", file), tuple(known.items()))

    def length(self, count: int) -> int:
        """Outputs of each part of the kernel's gradient, of `count`: few blocks would compute it otherwise."""
        parts = max(1, min(BLOCKS // self.gradient_blocks, count // PART))
        return DEPTH * math.ceil(count / parts / DEPTH)


class Residual(NamedTuple):
    x: Array
    problem: Problem


def applies(image: tuple[int, int, int], filters: int, window: Window, itemsize: int) -> bool:
    """Whether these kernels take this convolution. image: H, W, C."""
    fewest = min(image[2], filters)
    is_long = fewest >= LEAST and math.prod(window.size) * fewest >= TAPS
    return itemsize == 4 and image[2] % 4 == filters % 4 == 0 and is_long and min(window.outputs(*image[:2])) > 0


class Tensor:
    """`correlation` on tensor cores; whoever calls has asked `applies`.

    gpu: cuda.Gpu; columns: for the image's gradient where strides are larger than 1, for the kernel's where its sums
    are short, and for how kernels are stored; sum: the sum of the rows of a matrix of so many columns.
    """

    def __init__(self, gpu: Any, columns: Columns, sum: Callable[[Array, int], Array]) -> None:
        self.gpu, self.columns, self.sum = gpu, columns, sum
        self.factors = FACTORS[gpu.precision]

    def starts(self, image: tuple[int, int, int], w: Array, window: Window) -> bool:
        """Whether the kernels can be compiled and loaded, and compute what they should; a warning says once why not.

        image: H, W, C; w: the kernel, of which only the shape and how it is stored count.

        While a graph is recorded nothing can be tried, and what was not tried before does not start.
        """
        problem = _problem(image, w.shape[3], window, is_turned(w))
        key = self.gpu.device(), self.factors, problem
        if key not in tried:
            compiles = all(self.gpu.starts(name, "float32", sizes) for name, sizes in self._kernels(problem))
            if self.gpu.compiled.is_rehearsal:
                return True
            if self.gpu.is_recording():
                return False
            tried[key] = False  # should a warning be raised
            tried[key] = compiles and self._is_right(problem)
        return tried[key]

    @staticmethod
    def fills(count: int, filters: int) -> bool:
        """Whether so many outputs of a batch make enough blocks."""
        return -(-count // ROWS) * -(-filters // FULL) >= FEW

    def _kernels(self, problem: Problem) -> list[tuple[str, Sizes]]:
        """All that may be launched for a convolution."""
        found = [("tensor_kernel_gradient", problem.sizes("tensor_kernel_gradient.cu", self.factors))]
        for each in (problem, *([problem.of_image] if problem.window.stride == (1, 1) else [])):
            found.append(("correlate_tensor", each.sizes("tensor_correlate.cu", self.factors)))
        return found

    def trial(self) -> str | None:
        """What a small convolution has wrong on this GPU, in words, or None."""
        return self._wrong(_problem((8, 8, LEAST), LEAST, TRIED, False))

    def _is_right(self, problem: Problem) -> bool:
        try:
            wrong = self._wrong(problem)
        except MemoryError:
            raise
        except Exception as error:  # whatever a driver raises
            wrong = reason_of(error)
        if wrong is not None:
            warn(
                f"products on this GPU's tensor cores are not what they should be ({wrong}); products with columns of "
                "the image take their place; please report it, with what `gpucnn doctor` prints"
            )
        return wrong is None

    def _wrong(self, problem: Problem) -> str | None:
        """Of the convolution with drawn numbers and its gradients; None where all is right."""
        window = problem.window
        drawn = x, w, dy = proof.drawn(problem.image, problem.filters, window)
        x, dy = self.gpu.put(x, "float32"), self.gpu.put(dy, "float32")
        if problem.turned:
            w = self.gpu.put(np.ascontiguousarray(w[::-1, ::-1]), "float32")[::-1, ::-1]
        else:
            w = self.gpu.put(w, "float32")
        y, residual = self.correlate(x, w, window)
        dx, _ = self.correlate_backward(residual, w, dy, True)
        dw = self._kernel_gradient(residual, self.columns.stored(w, w.dtype)[0], dy)
        dw = dw[::-1, ::-1] if problem.turned else dw
        return proof.wrong(window, PRECISE[self.factors], *drawn, *map(self.gpu.get, (y, dx, dw)))

    def correlate(self, x: Array, w: Array, window: Window) -> tuple[Array, Residual]:
        x, (w, flipped) = self.gpu.dense(x), self.columns.stored(w, x.dtype)
        problem = _problem(tuple(x.shape[1:]), w.shape[3], window, flipped)
        return self._correlated(problem, x, w), Residual(x, problem)

    def _correlated(self, problem: Problem, x: Array, w: Array) -> Array:
        y = self.gpu.empty((x.shape[0], *problem.outputs, problem.filters), x.dtype)
        count = y.size // problem.filters
        sizes, x = problem.sizes("tensor_correlate.cu", self.factors), self._aligned(x)
        blocks = -(-count // ROWS) * problem.column_blocks
        self.gpu.launch_blocks("correlate_tensor", x.dtype, blocks, problem.threads, count, x, w, y, sizes=sizes)
        return y

    def correlate_backward(self, residual: Residual, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
        """dx or None, dkernel."""
        x, problem = residual
        w, dy = self.columns.stored(w, x.dtype)[0], self.gpu.dense(dy, x.dtype)
        seen, dx = self.columns.residual(x, problem.window, 1, problem.turned), None
        if dy.size >= LONG * problem.filters:
            dw = self._kernel_gradient(residual, w, dy)
        else:
            dw = self.columns.kernel_gradient(seen, w, dy)
        if need_dx and problem.window.stride == (1, 1):
            dx = self._correlated(problem.of_image, dy, w)
        elif need_dx:
            dx = self.columns.image_gradient(seen, w, dy)
        return dx, dw[::-1, ::-1] if problem.turned else dw

    def _kernel_gradient(self, residual: Residual, w: Array, dy: Array) -> Array:
        """As w is stored; parts of the batch's outputs first, then their sum, in order."""
        x, problem = residual
        count = dy.size // problem.filters
        length = problem.length(count)
        parts = self.gpu.empty((-(-count // length), w.size), x.dtype)
        sizes = problem.sizes("tensor_kernel_gradient.cu", self.factors)
        blocks = parts.shape[0] * problem.gradient_blocks
        arguments = count, self._aligned(x), self._aligned(dy), length, parts
        self.gpu.launch_blocks("tensor_kernel_gradient", x.dtype, blocks, problem.threads, *arguments, sizes=sizes)
        return self.sum(parts, w.size).reshape(w.shape)

    def _aligned(self, x: Array) -> Array:
        """x, or a copy that begins where four numbers can be read at once."""
        return x.copy() if self.gpu.address(x) % (4 * x.itemsize) else x


def _problem(image: tuple[int, int, int], filters: int, window: Window, turned: bool) -> Problem:
    (top, _), (left, _) = window.padding
    return Problem(image, window.outputs(*image[:2]), filters, window, (top, left), turned)
