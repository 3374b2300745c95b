"""Which way a convolution of one group is computed, by its shape: as measured on this device, or else by a rule.

direct: straight from the image; columns: as products with columns of the image; winograd: by tiles; tensor: as products
on tensor cores, straight from the image; cudnn. The rule looks at the shape and the precision alone, so that a run
gives the same bits each time; what was measured is a choice that the run keeps.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

from ...errors import warn
from ...ops.window import Window
from . import direct, estimate, tensor, winograd
from .columns import Columns
from .tensor_problem import NOTHING, After, takes

Array = Any

NAMES = DIRECT, COLUMNS, WINOGRAD, TENSOR, CUDNN = "direct", "columns", "winograd", "tensor", "cudnn"
WIDE = 32  # channels and filters from which on a table that prefers another way to columns takes it


class Shape(NamedTuple):
    """What the way depends on. image: H, W, C; filters: K; pool: of a max pool behind it, None for none; relu: whether
    there is a ReLU behind it, and no pool."""

    image: tuple[int, int, int]
    filters: int
    window: Window
    pool: Window | None
    relu: bool = False

    def __str__(self) -> str:
        (H, W, C), window, pool = self.image, self.window, self.pool
        parts = [f"{H}x{W}x{C}", f"{self.filters} filters of {_sides(window.size)}"]
        if window.stride != (1, 1):
            parts.append(f"stride {_sides(window.stride)}")
        if window.is_padded:
            parts.append(f"padding {','.join(str(each) for axis in window.padding for each in axis)}")
        if window.is_dilated:
            parts.append(f"dilation {_sides(window.dilation)}")
        if pool is not None:
            parts.append(f"max pool {_sides(pool.size)} by {_sides(pool.stride)}")
        if self.relu:
            parts.append("ReLU")
        return ", ".join(parts)

    def problem(self, itemsize: int, *, pooled: bool = True) -> direct.Problem:
        """As `direct` asks whether it applies."""
        pool = self.pool if pooled else None
        return direct.Problem(self.image, self.filters, self.window, pool, pool is not None, True, False, itemsize)


def _sides(pair: tuple[int, int]) -> str:
    return "x".join(map(str, pair))


@lru_cache(maxsize=1024)
def text_of(shape: Shape) -> str:
    return str(shape)


@lru_cache(maxsize=1024)
def possible(shape: Shape, itemsize: int) -> tuple[str, ...]:
    """The ways that take this convolution, but for cuDNN, of which its library decides, and whatever the GPU."""
    problems = {shape.problem(itemsize, pooled=pooled) for pooled in (True, False)}
    found = [DIRECT] if any(direct.forward(each) for each in problems) else []
    tiled = [WINOGRAD] if winograd.applies(shape.image, shape.filters, shape.window) else []
    cores = [TENSOR] if tensor.applies(shape.image, shape.filters, shape.window, itemsize) else []
    return (*found, COLUMNS, *tiled, *cores)


@lru_cache(maxsize=1024)
def usual(shape: Shape, itemsize: int, precision: str, *, wide: str) -> str:
    """The rule. wide: the way of wide layers, where it is possible; columns otherwise.

    Direct kernels are taken where they can be, but where the precision lets tensor cores multiply, and these are
    estimated to be faster even with their columns.
    """
    there = possible(shape, itemsize)
    if DIRECT in there and (precision == "float32" or not _columns_are_faster(shape, precision)):
        return DIRECT
    return wide if wide in there and min(shape.image[2], shape.filters) >= WIDE else COLUMNS


def _columns_are_faster(shape: Shape, precision: str) -> bool:
    outputs = math.prod(shape.window.outputs(*shape.image[:2]))
    taps, winners = math.prod(shape.window.size) * shape.image[2], outputs
    if shape.pool is not None and direct.forward(shape.problem(4)):  # gradients go through the pool's winners alone
        winners = math.prod(shape.pool.outputs(*shape.window.outputs(*shape.image[:2])))
    by_columns = estimate.columns(outputs, taps, shape.filters, precision)
    return by_columns < estimate.direct(outputs, taps, shape.filters, min(winners, outputs))


class Taken(NamedTuple):
    """A convolution's residual. by: who computed it, and computes its gradient of `residual`."""

    by: Any
    shape: Shape
    residual: Any


class Ways:
    """The verb `correlation`, and with a pool `pooled`, each by the way that its shape takes.

    choices: ways by the text of a shape, which count more than the rule. asked: the shapes that were met since it was
    made a dictionary, and whether their image's gradient was asked for. otherwise: the forward of `correlation` by
    columns, or one with exact ties, with a residual of `columns`. wide: see `usual`; None: what the
    GPU takes. cudnn: cudnn.Convolutions, where it is a candidate.
    """

    def __init__(
        self, gpu: Any, columns: Columns, by_direct: direct.Direct, otherwise: Any, wide: str | None, cudnn: Any
    ) -> None:
        self.gpu, self.columns, self.direct, self.otherwise = gpu, columns, by_direct, otherwise
        self.winograd = winograd.Winograd(gpu, columns)
        self.tensor = tensor.Tensor(gpu, columns, by_direct.pools, by_direct.layers)
        self.cudnn, self.wide = cudnn, wide or (TENSOR if gpu.capability >= tensor.CAPABILITY else COLUMNS)
        self.has_exact_ties = otherwise != columns.correlate
        self.choices: dict[str, str] = {}
        self.asked: dict[Shape, bool] | None = None

    def way(self, shape: Shape, dtype: Any) -> str:
        """Of NAMES: the choice, or else the rule's. A choice that does not take the convolution is dropped, which a
        warning says."""
        chosen = self.choices.get(text_of(shape)) if self.choices else None
        if chosen is not None and chosen not in self.candidates(shape, dtype):
            del self.choices[text_of(shape)]
            warn(
                f"the convolution {shape} cannot be computed by {chosen!r}, which was chosen for it; the usual way "
                "takes its place"
            )
            chosen = None
        if self.has_exact_ties:  # its products are summed in order, in float32
            return chosen or usual(shape, dtype.itemsize, "float32", wide=COLUMNS)
        return chosen or usual(shape, dtype.itemsize, self.gpu.precision, wide=self.wide)

    def candidates(self, shape: Shape, dtype: Any, batch: int | None = None) -> tuple[str, ...]:
        """The ways that may be chosen for it; batch: that compute so many images, and leave them to no other way."""
        found = tuple(filter(self._is_there, (*possible(shape, dtype.itemsize), CUDNN)))
        if batch is None or self._fills(shape, batch):
            return found
        return tuple(way for way in found if way != TENSOR)

    def _is_there(self, way: str) -> bool:
        if way == TENSOR:
            return self.gpu.capability >= tensor.CAPABILITY
        return way != CUDNN or self.cudnn is not None

    def pooled(self, x: Array, w: Array, b: Array, *settings: Any) -> tuple[Array, Taken] | None:
        """With bias, ReLU (None: none) and max pool as one, where the first of ties wins; None where others should
        compute it, one after the other."""
        window, groups, slope_at_zero, pool = settings
        shape = self._shape(x, w, window, groups, pool)
        way = None if shape is None else self.way(shape, x.dtype)
        if shape is None or way not in (DIRECT, TENSOR):
            return None
        if way == DIRECT:
            found = self.direct.pooled(x, w, b, window, groups, slope_at_zero, pool)
            return self._told(self.direct, shape, found)
        takes_pool = takes(pool, window.outputs(*shape.image[:2]))
        if takes_pool and self._is_for_tensor_cores(x, w, shape, After(slope_at_zero is not None, pool=True)):
            return self._told(self.tensor, shape, self.tensor.pooled(x, w, b, window, slope_at_zero))
        return None

    def rectified(self, x: Array, w: Array, b: Array | None, *settings: Any) -> tuple[Array, Taken] | None:
        """The same with a bias (None: none) and ReLU alone."""
        window, groups, slope_at_zero = settings
        shape = self._shape(x, w, window, groups, None, relu=True)
        way = None if shape is None else self.way(shape, x.dtype)
        if shape is None or way not in (DIRECT, TENSOR):
            return None
        if way == DIRECT:  # a pool of one pixel keeps a byte for each output, and ReLU four
            found = self.direct.pooled(x, w, b, window, groups, slope_at_zero, direct.ONE_PIXEL)
            return self._told(self.direct, shape, found)
        if b is not None and self._is_for_tensor_cores(x, w, shape, After(relu=True)):
            return self._told(self.tensor, shape, self.tensor.rectified(x, w, b, window, slope_at_zero))
        return None

    def followed_backward(
        self, taken: Taken, w: Array, dy: Array, need_dx: bool
    ) -> tuple[Array | None, Array, Array | None]:
        """Of both: dx or None, dkernel, db or None."""
        self._note(taken.shape, need_dx)
        return taken.by.followed_backward(taken.residual, w, dy, need_dx)

    def correlate(
        self,
        x: Array,
        w: Array,
        window: Window,
        groups: int,
        pool: Window | None = None,
        ties: str = "first",
        *,
        relu: bool = False,
    ) -> tuple[Array, Any]:
        """pool, ties: of the pool that follows, if any; relu: whether a ReLU does."""
        shape = self._shape(x, w, window, groups, pool if ties == "first" else None, relu=relu)
        if shape is None:
            return self.otherwise(x, w, window, groups)
        way = self.way(shape, x.dtype)
        by: Any = None
        found: Any = None
        if way == DIRECT:
            by, found = self.direct, self.direct.pooled(x, w, None, window, groups, None, None)
        elif way == WINOGRAD and self._tiles_start(shape, x.dtype):
            by, found = self.winograd, self.winograd.correlate(x, w, window)
        elif way == TENSOR and self._is_for_tensor_cores(x, w, shape):
            by, found = self.tensor, self.tensor.correlate(x, w, window)
        elif way == CUDNN and not self.gpu.compiled.is_rehearsal:  # it has nothing to compile
            by, found = self.cudnn, self.cudnn.correlate(x, w, window, groups)
        if found is None:
            by, found = self.columns, self.otherwise(x, w, window, groups)
        return found[0], self._taken(by, shape, found[1])

    def correlate_backward(self, taken: Any, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
        if not isinstance(taken, Taken):
            return self.columns.correlate_backward(taken, w, dy, need_dx)
        self._note(taken.shape, need_dx)
        return taken.by.correlate_backward(taken.residual, w, dy, need_dx)

    def _shape(
        self, x: Array, w: Array, window: Window, groups: int, pool: Window | None, *, relu: bool = False
    ) -> Shape | None:
        """None where there is no choice: of several groups, of no images, and where shapes do not fit."""
        if groups != 1 or x.shape[3] != w.shape[2] or not x.size:
            return None
        return Shape(tuple(x.shape[1:]), w.shape[3], window, pool, relu)

    def _is_for_tensor_cores(self, x: Array, w: Array, shape: Shape, after: After = NOTHING) -> bool:
        """Whether there are enough images, and the kernels start."""
        return self._fills(shape, x.shape[0]) and self.tensor.starts(shape.image, w, shape.window, after)

    def _fills(self, shape: Shape, images: int) -> bool:
        return self.tensor.fills(images * math.prod(shape.window.outputs(*shape.image[:2])), shape.filters)

    def _tiles_start(self, shape: Shape, dtype: Any) -> bool:
        sizes = winograd.Problem(shape.image, shape.filters, shape.window, False).sizes()
        return self.gpu.starts("winograd_of_image", dtype, sizes)

    def _told(self, by: Any, shape: Shape, found: tuple[Array, Any] | None) -> tuple[Array, Taken] | None:
        return None if found is None else (found[0], self._taken(by, shape, found[1]))

    def _taken(self, by: Any, shape: Shape, residual: Any) -> Taken:
        self._note(shape, False)
        return Taken(by, shape, residual)

    def _note(self, shape: Shape, need_dx: bool) -> None:
        if self.asked is not None:
            self.asked[shape] = self.asked.get(shape, False) or need_dx
