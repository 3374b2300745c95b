"""Convolutions of few filters, straight from the image: no columns, with bias, ReLU and max pool as one.

`ways` says which layers are computed so. These sums are of float32 numbers in every precision.

`gpu` is cuda.Gpu: empty, dense, launch_blocks. Images are (N, H, W, C), dense.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

from ...ops.window import Window
from .columns import Columns
from .layers import Layers
from .pools import Pooled, Pools, max_pool_sizes
from .sizes import BLOCK, Sizes, cached, placed

Array = Any

SHARED = 46 << 10  # bytes of a block's shared memory that these kernels take at most; every GPU has 48 KB
PART = 24 << 10  # bytes of it for kernels or for images
TAPS = 256  # I J C, numbers that one output sees
WINDOW = 16  # pixels of a pool's window: each is a sum in registers
SUMS = 32  # that a thread keeps in registers
ENOUGH = 128  # threads with work that a block should have
KERNEL_WORK = 1 << 14  # reads of shared memory by a warp, for one image's part of the kernel's gradient
IMAGE_WORK = 1 << 16  # instructions of a warp, for the gradient of one image
IMAGES = 256  # parts of a batch whose kernel gradients are added up in the end, at most
ONE_PIXEL = Window((1, 1))


class Problem(NamedTuple):
    """A convolution of one group and what follows it. image: H, W, C; filters: K; pool: its window, None for none.

    relu, bias: whether there is one before the pool; flipped: whether kernels are stored turned by 180 degrees.
    """

    image: tuple[int, int, int]
    filters: int
    window: Window
    pool: Window | None
    relu: bool
    bias: bool
    flipped: bool
    itemsize: int

    @property
    def cells(self) -> tuple[int, int]:
        """The rows and columns of the result."""
        return (self.pool or ONE_PIXEL).outputs(*self.window.outputs(*self.image[:2]))

    @property
    def taps(self) -> int:
        return math.prod(self.window.size) * self.image[2]

    @cached
    def sizes(self, file: str, threads: int, **more: int) -> Sizes:
        (d, e), pool = self.window.dilation, self.pool or ONE_PIXEL
        constants = {
            **{"d": d, "e": e, "flipped": int(self.flipped), "K": self.filters, "threads": threads},
            **dict(zip(("pool_rows", "pool_columns", "pool_down", "pool_right"), (*pool.size, *pool.stride))),
            **dict(zip(("cell_rows", "cell_columns"), self.cells)),
            **{"with_pool": int(self.pool is not None), "with_relu": int(self.relu), "with_bias": int(self.bias)},
            **more,
        }
        return Sizes(("direct.cu", file), (*placed(self.window, self.image), *constants.items()))


class Launch(NamedTuple):
    """blocks: of each image, or of all."""

    sizes: Sizes
    blocks: int
    threads: int


def _span(window: Window, axis: int, outputs: int) -> int:
    """Pixels along an axis that neighbouring outputs see."""
    return window.stride[axis] * (outputs - 1) + window.span(axis)


@lru_cache(maxsize=1024)
def forward(problem: Problem) -> Launch | None:
    """How the result is computed; None where products with columns are better, or all that there is room for."""
    (rows, columns), window, pool = problem.cells, problem.window, problem.pool or ONE_PIXEL
    area = math.prod(pool.size)
    product = problem.pool is None and window == ONE_PIXEL
    if product or pool.is_padded or pool.is_dilated or problem.taps > TAPS or area > WINDOW or min(rows, columns) < 1:
        return None
    F = 8
    while F > 1 and (area * F > SUMS or 2 * problem.filters <= F or rows * columns * -(-problem.filters // F) < ENOUGH):
        F //= 2
    groups = -(-problem.filters // F)
    band = max(1, min(rows, BLOCK // (columns * groups)))
    band = -(-rows // -(-rows // band))
    width = _span(window, 1, _span(pool, 1, columns))
    while band > 1 and _tile(problem, pool, band, width) > PART:
        band -= 1
    if problem.taps * groups * F * problem.itemsize > PART or _tile(problem, pool, band, width) > PART - 2048:
        return None
    threads = min(BLOCK, -(-band * columns * groups // 32) * 32)
    return Launch(problem.sizes("direct_forward.cu", threads, F=F, band=band), -(-rows // band), threads)


def _tile(problem: Problem, pool: Window, band: int, width: int) -> int:
    """Bytes of the part of an image that a band of cells sees."""
    height = _span(problem.window, 0, _span(pool, 0, band))
    return height * width * problem.image[2] * problem.itemsize


@lru_cache(maxsize=1024)
def kernel_gradient(problem: Problem) -> Launch | None:
    """How the gradients of kernel and bias are computed; None where a product is better."""
    if forward(problem) is None:
        return None
    K, cells, warps, of_lane = problem.filters, math.prod(problem.cells), BLOCK // 32, problem.taps // 32 + 1
    chunk = max(1, min(cells, 1024 // K))
    height, width = (_span(problem.window, axis, n) for axis, n in enumerate(_outputs(problem)))
    shares = warps // K if warps > K else 1
    shared = problem.itemsize * (height * width * problem.image[2] + 2 * chunk * K)
    shared += problem.itemsize * (shares * K * (problem.taps + 1) if shares > 1 else 1)
    if shared > SHARED or -(-K // warps) * of_lane > SUMS or cells * K * (1 + of_lane) > KERNEL_WORK:
        return None
    return Launch(problem.sizes("direct_kernel_gradient.cu", BLOCK, chunk=chunk), IMAGES, BLOCK)


@lru_cache(maxsize=1024)
def image_gradient(problem: Problem) -> Launch | None:
    """How the image's gradient is computed; None where a product and its columns are better."""
    if forward(problem) is None:
        return None
    (H, W, C), K, window, pool = problem.image, problem.filters, problem.window, problem.pool or ONE_PIXEL
    D = next(D for D in (8, 4, 2, 1) if C % D == 0 and (H * W * C >= 256 * D or D == 1))
    items, seen = H * W * C // D, 1
    for axis in (0, 1):
        seen *= -(-(-(-window.span(axis) // window.stride[axis]) + pool.size[axis] - 1) // pool.stride[axis])
    shared = problem.itemsize * K * (2 * math.prod(problem.cells) + problem.taps)
    if shared > SHARED or items * seen * K * (8 + 2 * D) // 32 > IMAGE_WORK:
        return None
    threads = min(2 * BLOCK, -(-items // 32) * 32)
    return Launch(problem.sizes("direct_image_gradient.cu", threads, D=D), 1, threads)


def _outputs(problem: Problem) -> tuple[int, int]:
    return problem.window.outputs(*problem.image[:2])


class Residual(NamedTuple):
    """What a direct convolution keeps. codes: who won each cell, None without a pool."""

    x: Array
    problem: Problem
    codes: Array
    slope_at_zero: float


class Direct:
    """`pooled_correlation`, and `correlation` as the same without what follows.

    What these kernels cannot do, and what a compiler or a driver refuses, with a warning, goes to `columns`.

    gpu: cuda.Gpu.
    """

    def __init__(self, gpu: Any, columns: Columns, pools: Pools, layers: Layers) -> None:
        self.gpu, self.columns, self.pools, self.layers = gpu, columns, pools, layers

    def correlate_backward(self, residual: Residual, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
        dx, dw, _ = self.followed_backward(residual, w, dy, need_dx)
        return dx, dw

    def pooled(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        window: Window,
        groups: int,
        slope_at_zero: float | None,
        pool: Window | None,
    ) -> tuple[Array, Residual] | None:
        """The convolution with a bias, ReLU (None: none) and max pool, where the first of ties wins; None where others
        should compute it."""
        x = self.gpu.dense(x)
        if groups != 1 or x.shape[3] != w.shape[2] or not x.size:
            return None
        w, flipped = self.columns.stored(w, x.dtype)
        relu, bias, K = slope_at_zero is not None, b is not None, w.shape[3]
        problem = Problem(tuple(x.shape[1:]), K, window, pool, relu, bias, flipped, x.itemsize)
        launch = self._starting("correlate_direct", x.dtype, forward(problem))
        if launch is None:
            return None
        shape = (x.shape[0], *problem.cells, K)
        y, codes = self.gpu.empty(shape, x.dtype), self.gpu.empty(shape if pool else (1,), "uint8")
        blocks = x.shape[0] * launch.blocks
        arrays = x, w, x if b is None else self.gpu.dense(b, x.dtype), y, codes
        self.gpu.launch_blocks("correlate_direct", x.dtype, blocks, launch.threads, *arrays, sizes=launch.sizes)
        return y, Residual(x, problem, codes, float(slope_at_zero or 0.0) if relu else 1.0)

    def followed_backward(
        self, residual: Residual, w: Array, dy: Array, need_dx: bool
    ) -> tuple[Array | None, Array, Array | None]:
        """dx or None, dkernel, db or None."""
        x, problem, codes, slope_at_zero = residual
        w, dy = self.columns.stored(w, x.dtype)[0], self.gpu.dense(dy, x.dtype)
        of_kernel = self._starting("kernel_gradient", x.dtype, kernel_gradient(problem))
        of_image = self._starting("image_gradient", x.dtype, image_gradient(problem)) if need_dx else None
        unpooled, seen = None, self.columns.residual(x, problem.window, 1, problem.flipped)
        if of_kernel is None or (need_dx and of_image is None):
            unpooled = self._unpooled(residual, dy)
        if of_kernel is not None:
            dw, db = self._kernel_gradient(of_kernel, residual, w.shape, dy)
        else:
            dw, db = self.columns.kernel_gradient(seen, w, unpooled), None
            if problem.bias:
                db = self.layers.sum(dy, dy.shape[3], codes if problem.pool else None, slope_at_zero)
        dx = None
        if need_dx and of_image is not None:
            dx = self.gpu.empty(x.shape, x.dtype)
            arrays = w, dy, codes, slope_at_zero, dx
            self.gpu.launch_blocks(
                "image_gradient", x.dtype, x.shape[0], of_image.threads, *arrays, sizes=of_image.sizes
            )
        elif need_dx:
            dx = self.columns.image_gradient(seen, w, unpooled)
        return dx, dw[::-1, ::-1] if problem.flipped else dw, db

    def _starting(self, name: str, dtype: Any, launch: Launch | None) -> Launch | None:
        """The launch, if its kernel can be had."""
        return launch if launch is not None and self.gpu.starts(name, dtype, launch.sizes) else None

    def _kernel_gradient(self, launch: Launch, residual: Residual, shape: Any, dy: Array) -> tuple[Array, Array | None]:
        """As kernels are stored; parts of the batch first, then their sum."""
        x, problem, codes, slope_at_zero = residual
        N, columns = x.shape[0], (problem.taps + 1) * problem.filters
        length = -(-N // launch.blocks)
        parts = self.gpu.empty((-(-N // length), columns), x.dtype)
        arrays = x, dy, codes, slope_at_zero, N, length, parts
        self.gpu.launch_blocks("kernel_gradient", x.dtype, parts.shape[0], launch.threads, *arrays, sizes=launch.sizes)
        total = self.layers.sum(parts, columns)
        size = columns - problem.filters
        return total[:size].reshape(shape), total[size:] if problem.bias else None

    def _unpooled(self, residual: Residual, dy: Array) -> Array:
        """The gradient of the convolution's result."""
        x, problem, codes, slope_at_zero = residual
        if problem.pool is None:
            return dy
        shape = (*_outputs(problem), problem.filters)
        sizes = max_pool_sizes(problem.pool, shape)
        return self.pools.max_pool_backward(Pooled((x.shape[0], *shape), sizes, codes, slope_at_zero=slope_at_zero), dy)
