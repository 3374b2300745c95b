"""A convolution on tensor cores: what its kernels are compiled for, and how its work is shared among blocks."""

from __future__ import annotations

import math
from typing import NamedTuple

from ...ops.window import Window
from .sizes import Sizes, cached, placed

ROWS, DEPTH = 128, 16  # outputs that a block computes, and numbers of a chunk of its sums
NARROW, FULL = 32, 64  # filters that a block computes
BLOCKS = 264  # that fill a device
PART = 256  # outputs that one part of the kernel's gradient is summed over at least
POOL = Window((2, 2), (2, 2))  # of max pools that the kernels take as their last step


class After(NamedTuple):
    """What follows a convolution in its kernel: a bias and ReLU, or a bias, ReLU or none, and the pool `POOL`."""

    relu: bool = False
    pool: bool = False


NOTHING = After()


class Problem(NamedTuple):
    """A convolution of one group. image: H, W, C; outputs: P, Q; filters: K; before: padded rows above and columns on
    the left; turned: whether the kernel is read turned by 180 degrees; swapped: whether it is stored (I, J, K, C);
    after: what follows it."""

    image: tuple[int, int, int]
    outputs: tuple[int, int]
    filters: int
    window: Window
    before: tuple[int, int]
    turned: bool
    swapped: bool = False
    after: After = NOTHING

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the result."""
        return POOL.outputs(*self.outputs) if self.after.pool else self.outputs

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

    @cached
    def sizes(self, file: str, factors: int) -> Sizes:
        (d, e), known = self.window.dilation, dict(placed(self.window, self.image))
        known.update(zip(("P", "Q", "top", "left"), (*self.outputs, *self.before)))
        known.update({"d": d, "e": e, "K": self.filters, "turned": int(self.turned), "swapped": int(self.swapped)})
        known.update({"factors": factors, "columns": self.columns, "threads": self.threads})
        if file == "tensor_correlate.cu":
            known.update({"with_relu": int(self.after.relu), "with_pool": int(self.after.pool)})
        return Sizes(("tensor.cu", file), tuple(known.items()))

    def length(self, count: int) -> int:
        """Outputs of each part of the kernel's gradient, of `count`: few blocks would compute it otherwise."""
        parts = max(1, min(BLOCKS // self.gradient_blocks, count // PART))
        return DEPTH * math.ceil(count / parts / DEPTH)


def takes(pool: Window, outputs: tuple[int, int]) -> bool:
    """Whether the kernels take that pool of a convolution's result as their last step."""
    return pool == POOL and min(outputs) >= 2


def problem_of(
    image: tuple[int, int, int], filters: int, window: Window, turned: bool, after: After = NOTHING
) -> Problem:
    (top, _), (left, _) = window.padding
    return Problem(image, window.outputs(*image[:2]), filters, window, (top, left), turned, after=after)
