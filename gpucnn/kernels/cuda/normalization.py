"""Normalisation over the batch on a GPU: sums by whole blocks in a fixed order, one pass for all that is by element.

`gpu` is cuda.Gpu. Images are (N, H, W, C), dense, and are seen as (rows, K) with their K channels, as vectors are.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .layers import SIDE, SUMMED, Layers
from .sizes import BLOCK

Array = Any


class _Centred(NamedTuple):
    """x minus a centre (K,), which is subtracted where it is used: nothing is written for it."""

    x: Array
    centre: Array


class _Scaled(NamedTuple):
    """The residual of `scaled`; slope_at_zero None: no ReLU."""

    x: Array
    centre: Array
    scale: Array
    shift: Array
    slope_at_zero: float | None

    @property
    def relu(self) -> tuple[int, float]:
        """As the kernels take it."""
        return int(self.slope_at_zero is not None), float(self.slope_at_zero or 0)


class _Blocks(NamedTuple):
    """How blocks share rows: parts of `length` rows, `columns` of them for a block, each summed by `lanes` threads."""

    parts: int
    length: int
    columns: int
    lanes: int

    def of(self, K: int) -> int:
        """How many blocks, for all columns of a part."""
        return -(-K // self.columns)


def _blocks(rows: int, K: int) -> _Blocks:
    length = rows if rows <= SUMMED else math.isqrt(rows - 1) + 1
    columns = min(K, SIDE)
    return _Blocks(-(-rows // max(1, length)) or 1, length, columns, 1 << (BLOCK // columns).bit_length() - 1)


class Norms:
    """The verbs by name, as a table of kernels has them. layers: their sums of what the blocks found."""

    def __init__(self, layers: Layers) -> None:
        self.gpu, self.layers = layers.gpu, layers

    def centred(
        self, x: Array, centre: Array | None = None, *, overwrite: bool = False
    ) -> tuple[_Centred, tuple[Array, Array, Array] | None]:
        x = self.gpu.dense(x)
        if centre is not None:
            return _Centred(x, self.gpu.dense(centre, x.dtype)), None
        K = x.shape[-1]
        rows = x.size // K
        how = _blocks(rows, K)
        of_parts, moments = self.gpu.empty((how.parts, 2, K), x.dtype), self.gpu.empty((3, K), x.dtype)
        sizes = rows, K, how.length
        self.gpu.launch_blocks(
            "moments_of_parts", x.dtype, how.parts * how.of(K), BLOCK, x, *sizes, how.columns, how.lanes, of_parts
        )
        more = how.parts, how.columns, how.lanes
        self.gpu.launch_blocks("moments_of_all", x.dtype, how.of(K), BLOCK, x, of_parts, *sizes, *more, moments)
        return _Centred(x, moments[0]), (moments[0], moments[1], moments[2])

    def scaled(
        self, d: _Centred, scale: Array, shift: Array, slope_at_zero: float | None = None
    ) -> tuple[Array, _Scaled]:
        x, centre = d
        seen = _Scaled(x, centre, self.gpu.dense(scale, x.dtype), self.gpu.dense(shift, x.dtype), slope_at_zero)
        y = self.gpu.empty(x.shape, x.dtype)
        self.gpu.launch("scaled", x.dtype, x.size, *seen[:4], x.shape[-1], seen.relu[0], y)
        return y, seen

    def scaled_sums(self, seen: _Scaled, dy: Array) -> tuple[Array, Array, tuple[_Scaled, Array]]:
        x, K = seen.x, seen.x.shape[-1]
        dy, rows = self.gpu.dense(dy, x.dtype), x.size // K
        how = _blocks(rows, K)
        sums = self.gpu.empty((how.parts, 2 * K), x.dtype)
        sizes = rows, K, how.length, how.columns, how.lanes
        blocks = how.parts * how.of(K)
        self.gpu.launch_blocks("scaled_sums", x.dtype, blocks, BLOCK, *seen[:4], dy, *seen.relu, *sizes, sums)
        total = self.layers.sum(sums, 2 * K) if how.parts > 1 else sums[0]
        return total[:K], total[K:], (seen, dy)

    def scaled_backward(self, residual: tuple[_Scaled, Array], factors: tuple[Array, Array, Array]) -> Array:
        seen, dy = residual
        x = seen.x
        dx, abc = self.gpu.empty(x.shape, x.dtype), [self.gpu.dense(factor, x.dtype) for factor in factors]
        self.gpu.launch("scaled_backward", x.dtype, x.size, *seen[:4], dy, x.shape[-1], *seen.relu, *abc, dx)
        return dx

    def batch_norm(
        self, rest: Array, variance: Array, gamma: Array | float, beta: Array | float, epsilon: float
    ) -> tuple[Array, Array, Array]:
        factors = *self._or_none(gamma, rest), *self._or_none(beta, rest)
        return self._three("norm_factors", rest, rest, variance, *factors, float(epsilon))

    def batch_norm_backward(
        self, sums: tuple[Array, Array], rest: Array, inverse: Array, gamma: Array | float, count: Array
    ) -> tuple[Array, Array, Array]:
        return self._three("norm_gradient", rest, *sums, rest, inverse, *self._or_none(gamma, rest), count)

    def _three(self, name: str, like: Array, *arguments: Any) -> tuple[Array, Array, Array]:
        """By a thread for each channel."""
        made = self.gpu.empty((3, like.size), like.dtype)
        dense = [self.gpu.dense(each, like.dtype) if hasattr(each, "flags") else each for each in arguments]
        self.gpu.launch(name, like.dtype, like.size, *dense, made)
        return made[0], made[1], made[2]

    def _or_none(self, values: Array | float, other: Array) -> tuple[Array, int]:
        """Parameters as the kernels take them: where there are none, any array and 0."""
        return (other, 0) if isinstance(values, float) else (values, 1)
