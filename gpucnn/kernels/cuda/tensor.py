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

import copy
import math
import threading
from typing import Any, NamedTuple

import numpy as np

from ...device import reason_of
from ...errors import warn
from ...ops.window import Window
from . import proof
from .columns import Columns, is_turned
from .layers import Layers
from .pools import Pooled, Pools, max_pool_sizes
from .sizes import Sizes
from .tensor_problem import FULL, NOTHING, POOL, ROWS, After, Problem, problem_of

Array = Any

FACTORS = {"float32": 2, "tf32": 1, "bfloat16": 0}  # as tensor.cu has them
PRECISE = {2: 2.0**-20, 1: 2.0**-9, 0: 2.0**-6}  # of a sum's absolute terms, that it may be wrong by, by factors
LEAST = 16  # channels and filters: fewer leave most of a tensor core idle
# With sums of fewer numbers, of which many are 0, float32 errors are above 4 times those of a plain sum.
TAPS = 128  # numbers that an output sees, and that see a pixel
LARGEST = 15  # rows and columns of a kernel: a bit for each says whether they are in the image
LONG = 1024  # numbers in each sum of the kernel's gradient
CAPABILITY = 80  # of a GPU whose tensor cores multiply TF32 and bfloat16 numbers
FEW = 32  # blocks, below which most of a device would be idle
TRIED = Window((3, 3), (1, 1), ((1, 1), (1, 1)))

trying = threading.RLock()
tried: dict[tuple[int, int, Problem], bool] = {}  # by the device's number, factors and convolution: what `starts` found


class Residual(NamedTuple):
    """after: what the pool keeps, or ReLU: y with its bias, and the slope at zero; None where nothing follows."""

    x: Array
    problem: Problem
    after: Any = None


def applies(image: tuple[int, int, int], filters: int, window: Window, itemsize: int) -> bool:
    """Whether these kernels take this convolution. image: H, W, C."""
    fewest = min(image[2], filters)
    is_long = fewest >= LEAST and math.prod(window.size) * fewest >= TAPS and max(window.size) <= LARGEST
    return itemsize == 4 and image[2] % 4 == filters % 4 == 0 and is_long and min(window.outputs(*image[:2])) > 0


class Tensor:
    """`correlation` on tensor cores; whoever calls has asked `applies`.

    gpu: cuda.Gpu; columns: for the image's gradient where strides are larger than 1, for the kernel's where its sums
    are short, and for how kernels are stored; pools, layers: for gradients of what follows a convolution.
    """

    def __init__(self, gpu: Any, columns: Columns, pools: Pools, layers: Layers) -> None:
        self.gpu, self.columns, self.pools, self.layers = gpu, columns, pools, layers
        self.factors, self.empty = FACTORS[gpu.precision], gpu.empty

    def starts(self, image: tuple[int, int, int], w: Array, window: Window, after: After = NOTHING) -> bool:
        """Whether the kernels can be compiled and loaded, and compute what they should; a warning says once why not.

        image: H, W, C; w: the kernel, of which only the shape and how it is stored count.

        While a graph is recorded nothing can be tried, and what was not tried before does not start.
        """
        problem = problem_of(image, w.shape[3], window, is_turned(w), after)
        key = self.gpu.device(), self.factors, problem
        if self.gpu.compiled.is_rehearsal:
            self._compiles(problem)
            return True
        if key not in tried and self.gpu.is_recording():
            return False
        with trying:  # another thread waits for the answer
            if key not in tried:
                tried[key] = False  # should a warning be raised
                tried[key] = self._compiles(problem) and self._is_right(problem)
        return tried[key]

    @staticmethod
    def fills(count: int, filters: int) -> bool:
        """Whether so many outputs of a batch make enough blocks."""
        return -(-count // ROWS) * -(-filters // FULL) >= FEW

    def _compiles(self, problem: Problem) -> bool:
        return all(self.gpu.starts(name, "float32", sizes) for name, sizes in self._kernels(problem))

    def _kernels(self, problem: Problem) -> list[tuple[str, Sizes]]:
        """All that may be launched for a convolution."""
        found = [("tensor_kernel_gradient", problem.sizes("tensor_kernel_gradient.cu", self.factors))]
        for each in (problem, *([problem.of_image] if problem.window.stride == (1, 1) else [])):
            found.append(("correlate_tensor", each.sizes("tensor_correlate.cu", self.factors)))
        return found

    def trial(self) -> str | None:
        """What a small convolution has wrong on this GPU, in words, or None."""
        problems = (problem_of((8, 8, LEAST), LEAST, TRIED, False, each) for each in (NOTHING, After(True, True)))
        return next(filter(None, map(self._wrong, problems)), None)

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
        """Of the convolution with drawn numbers, and its gradients; None where all is right, and the same twice."""
        numbers = proof.drawn(problem.image, problem.filters, problem.window)
        trial = copy.copy(self)
        trial.empty = self._empty_of_nan
        found = trial._found(problem, numbers)
        if said := proof.wrong(problem.window, PRECISE[self.factors], numbers, found):
            return said
        pairs = zip(found, trial._found(problem, numbers))
        are_same = all(np.array_equal(one, other) for one, other in pairs if isinstance(one, np.ndarray))
        return None if are_same else "two runs differ"

    def _empty_of_nan(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """So that what no kernel writes is seen."""
        made = self.gpu.empty(shape, dtype)
        made.fill(math.nan if made.dtype.kind == "f" else 1)
        return made

    def _found(self, problem: Problem, numbers: proof.Drawn) -> proof.Found:
        x, b, dy = (self.gpu.put(each, "float32") for each in (numbers.x, numbers.b, numbers.dy))
        w = numbers.w[::-1, ::-1] if problem.turned else numbers.w
        w = self.gpu.put(np.ascontiguousarray(w), "float32")
        w = w[::-1, ::-1] if problem.turned else w
        y, residual, activated, codes = self._forward(x, w, b, problem.window, problem.after)
        dx, _ = self.correlate_backward(residual, w, dy, True)
        dw = self._kernel_gradient(residual, self.columns.stored(w, w.dtype)[0], dy)
        dw = dw[::-1, ::-1] if problem.turned else dw
        found, (relu, pool) = proof.Found(*map(self.gpu.get, (y, dx, dw))), problem.after
        if pool:
            return found._replace(after=relu, codes=self.gpu.get(codes))
        return found._replace(after=True, activated=self.gpu.get(activated)) if relu else found

    def correlate(self, x: Array, w: Array, window: Window) -> tuple[Array, Residual]:
        y, residual, *_ = self._forward(x, w, None, window, NOTHING)
        return y, residual

    def rectified(self, x: Array, w: Array, b: Array, window: Window, slope_at_zero: float) -> tuple[Array, Residual]:
        """With a bias (K,) and ReLU."""
        y, residual, activated, _ = self._forward(x, w, b, window, After(relu=True))
        return activated, residual._replace(after=(y, float(slope_at_zero)))

    def pooled(
        self, x: Array, w: Array, b: Array, window: Window, slope_at_zero: float | None
    ) -> tuple[Array, Residual]:
        """With a bias (K,), ReLU (None: none) and the max pool POOL, where the first of ties wins."""
        relu = slope_at_zero is not None
        y, residual, _, codes = self._forward(x, w, b, window, After(relu, pool=True))
        shape = (*residual.problem.outputs, residual.problem.filters)
        slope = float(slope_at_zero or 0.0) if relu else 1.0
        pooled = Pooled((x.shape[0], *shape), max_pool_sizes(POOL, shape), codes, slope_at_zero=slope)
        return y, residual._replace(after=pooled)

    def _forward(
        self, x: Array, w: Array, b: Array | None, window: Window, after: After
    ) -> tuple[Array, Residual, Array, Array]:
        """y, with its bias if any, or what the pool makes of it; then what ReLU makes of y, and the pool's codes, which
        are of use where there is one."""
        x, (w, flipped) = self.gpu.dense(x), self.columns.stored(w, x.dtype)
        problem = problem_of(tuple(x.shape[1:]), w.shape[3], window, flipped, after)
        y, activated, codes = self._correlated(problem, x, w, b)
        return y, Residual(x, problem), activated, codes

    def _correlated(self, problem: Problem, x: Array, w: Array, b: Array | None = None) -> tuple[Array, Array, Array]:
        shape, after = (x.shape[0], *problem.cells, problem.filters), problem.after
        y, nothing = self.empty(shape, x.dtype), (1,)
        activated = self.empty(shape if after == After(relu=True) else nothing, x.dtype)
        codes = self.empty(shape if after.pool else nothing, "uint8")
        count = y.size // problem.filters * (math.prod(POOL.size) if after.pool else 1)
        sizes, x = problem.sizes("tensor_correlate.cu", self.factors), self._aligned(x)
        blocks = -(-count // ROWS) * problem.column_blocks
        arrays = x, w, x if b is None else self.gpu.dense(b, x.dtype), activated, codes, y
        self.gpu.launch_blocks("correlate_tensor", x.dtype, blocks, problem.threads, count, *arrays, sizes=sizes)
        return y, activated, codes

    def followed_backward(
        self, residual: Residual, w: Array, dy: Array, need_dx: bool
    ) -> tuple[Array | None, Array, Array]:
        """dx or None, dkernel, db: of `rectified` and `pooled`."""
        dy, (relu, pool) = self.gpu.dense(dy, residual.x.dtype), residual.problem.after
        if not pool:
            dy, db = self.layers.bias_relu_backward(residual.after, dy)
        elif relu:
            dy, db = self.pools.bias_relu_max_pool_backward(residual.after, dy)
        else:
            db, dy = self.layers.channel_sums(dy), self.pools.max_pool_backward(residual.after, dy)
        return *self.correlate_backward(residual, w, dy, need_dx), db

    def correlate_backward(self, residual: Residual, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
        """dx or None, dkernel."""
        x, problem, _ = residual
        w, dy = self.columns.stored(w, x.dtype)[0], self.gpu.dense(dy, x.dtype)
        seen, dx = self.columns.residual(x, problem.window, 1, problem.turned), None
        if dy.size >= LONG * problem.filters:
            dw = self._kernel_gradient(residual, w, dy)
        else:
            dw = self.columns.kernel_gradient(seen, w, dy)
        if need_dx and problem.window.stride == (1, 1):
            dx, *_ = self._correlated(problem.of_image, dy, w)
        elif need_dx:
            dx = self.columns.image_gradient(seen, w, dy)
        return dx, dw[::-1, ::-1] if problem.turned else dw

    def _kernel_gradient(self, residual: Residual, w: Array, dy: Array) -> Array:
        """As w is stored; parts of the batch's outputs first, then their sum, in order."""
        x, problem, _ = residual
        count = dy.size // problem.filters
        length = problem.length(count)
        parts = self.empty((-(-count // length), w.size), x.dtype)
        sizes = problem.sizes("tensor_kernel_gradient.cu", self.factors)
        blocks = parts.shape[0] * problem.gradient_blocks
        arguments = count, self._aligned(x), self._aligned(dy), length, parts
        self.gpu.launch_blocks("tensor_kernel_gradient", x.dtype, blocks, problem.threads, *arguments, sizes=sizes)
        return self.layers.sum(parts, w.size).reshape(w.shape)

    def _aligned(self, x: Array) -> Array:
        """x, or a copy that begins where four numbers can be read at once."""
        return x.copy() if self.gpu.address(x) % (4 * x.itemsize) else x
