"""Batch normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import SettingError
from ..kernels import Context
from ..kernels.context import alone
from ..namespace import array_namespace, as_python, real_arrays
from .base import Gradients, Layer, check_number
from .initializers import ones, zeros
from .normalization import affine, check_epsilon

Array = Any

WITHOUT_STATE = (
    "a BatchNorm gets no running state; a layer that holds it must have init_state and next_state that ask those of "
    "what it holds, and hand on context.inside(name, number), name being that of the state"
)


class _Statistics(NamedTuple):
    """Statistics of a whole batch, each (C,): how many numbers there are, their mean, by how much it is above the
    centre of this worker's part, and the sum of the squares of their differences from the mean.
    """

    count: Array
    mean: Array
    rest: Array
    squares: Array


class _Residual(NamedTuple):
    """scaled: that of the verb. statistics: None in inference. inverse: 1 / sqrt(variance + epsilon)."""

    scaled: Any
    statistics: _Statistics | None
    rest: Array
    inverse: Array


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Each channel of images, or feature of vectors: (x - mean) / sqrt(variance + epsilon), times scale, plus bias.

    Shape: (N, H, W, C) or (N, features) -> the same.

    In training, mean and variance are those of the whole batch, also where several CPUs share it, the variance being
    the mean of squares. In inference they are running ones, which are no parameters but a state: "mean", 0 at first,
    and "variance", 1 at first. After each update a running number is momentum times itself plus 1 - momentum times the
    batch's; that is Keras's meaning of momentum, and PyTorch's is 1 minus it: momentum=0.9 here is momentum=0.1 there.
    As in PyTorch, the running variance takes the sum of squares divided by n - 1, n being the numbers of a channel in
    the batch. Of a single number, of which PyTorch raises, the output is the bias, and the running variance stays.

    scale, bias: whether there are such parameters, (C,) each, 1 and 0 at first. The bias of a convolution or dense
    layer in front is useless, since the mean is subtracted: give that layer bias=None, or False.

    Ioffe and Szegedy, 2015.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale: bool = True
    bias: bool = True

    has_place = True
    mixes = True

    def __post_init__(self) -> None:
        as_python(self)
        check_number(self, "momentum", lambda momentum: 0 <= momentum <= 1, "a number from 0 to 1")
        check_epsilon(self)

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return affine(self, in_shape[-1:], rng)

    def init_state(self, in_shape: tuple[int, ...]) -> dict[str, Any]:
        return {"mean": zeros(None, in_shape[-1:]), "variance": ones(None, in_shape[-1:])}

    def next_state(self, state: Any, residual: Any) -> dict[str, Any]:
        if residual.statistics is None:
            return state
        count, mean, _, squares = residual.statistics
        xp = array_namespace(count)
        variance = xp.where(count > 1, squares / _at_least_1(count - 1), state["variance"])
        new = {"mean": mean, "variance": variance}
        return {name: self.momentum * state[name] + (1 - self.momentum) * new[name] for name in state}

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return self.with_relu(params, x, None, context)

    def with_relu(
        self, params: Any, x: Any, slope_at_zero: float | None, context: Context, *, overwrite: bool = False
    ) -> tuple[Any, Any]:
        """`forward`, and a ReLU behind it unless slope_at_zero is None; `backward` is that of both.

        overwrite: whether x may be overwritten, because nobody else has it.
        """
        xp, x, *_ = real_arrays(x, *params.values())
        is_lost = context.examples is not None and context.state is not None  # a loop of one's own may have none
        if not context.state and (is_lost or not context.training):
            raise SettingError(WITHOUT_STATE)
        if context.training:
            d, moments = context.kernels.centred(x, overwrite=overwrite)
            found = _whole(moments, math.prod(x.shape), context)
            rest, variance = found.rest, found.squares / found.count
        else:
            d, found = context.kernels.centred(x, context.state["mean"])[0], None
            rest, variance = xp.zeros_like(context.state["mean"]), context.state["variance"]
        gamma, beta = params.get("scale", 1.0), params.get("bias", 0.0)
        scale, shift, inverse = context.kernels.batch_norm.forward(rest, variance, gamma, beta, self.epsilon)
        y, seen = context.kernels.scaled(d, scale, shift, slope_at_zero)
        return y, _Residual(seen, found, rest, inverse)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        """Sums of this part of the batch are the gradients by the parameters; dx needs those of the whole batch."""
        xp, (seen, found, rest, inverse) = array_namespace(dy), residual
        of_dy, of_products, seen = context.kernels.scaled_sums(seen, dy)
        of_products = of_products - rest * of_dy
        dparams = {"scale": of_products * inverse} if self.scale else {}
        dparams |= {"bias": of_dy} if self.bias else {}
        if not need_dx:
            return None, dparams
        gamma = params.get("scale", 1.0)
        if found is None:
            factors = gamma * inverse, xp.zeros_like(inverse), xp.zeros_like(inverse)
        else:
            if context.total is not alone:
                both = context.total(xp.stack([of_dy, of_products]))
                of_dy, of_products = both[0, ...], both[1, ...]
            sums = of_dy, of_products
            factors = context.kernels.batch_norm.backward(sums, rest, inverse, gamma, found.count)
        return context.kernels.scaled_backward(seen, factors), dparams


def _whole(moments: tuple[Array, Array, Array], numbers: int, context: Context) -> _Statistics:
    """The statistics of the whole batch, of those of a part with so many numbers in all channels together.

    One exchange tells all: the count and the sums of x - near and of its square, near being the running mean, which
    all workers have. In float64, so that it may be far from the mean, as it is at first.
    """
    xp, (centre, rest, squares) = array_namespace(*moments), moments
    dtype, count = centre.dtype, float(numbers // max(1, centre.shape[0]))
    if context.total is alone:
        return _Statistics(xp.full_like(centre, max(1.0, count)), centre + rest, rest, squares)
    numbers_of = centre, rest, squares, context.state["mean"]
    centre, rest, squares, near = (xp.astype(each, xp.float64) for each in numbers_of)
    away = centre + rest - near
    sums = context.total(xp.stack([xp.full_like(rest, count), count * away, squares + count * away * away]))
    count, away = _at_least_1(sums[0, ...]), sums[1, ...]
    mean = near + away / count
    squares = sums[2, ...] - away * away / count
    squares = xp.where(squares < 0, xp.zeros_like(squares), squares)
    return _Statistics(*(xp.astype(each, dtype) for each in (count, mean, mean - centre, squares)))


def _at_least_1(count: Array) -> Array:
    xp = array_namespace(count)
    return xp.where(count < 1, xp.ones_like(count), count)
