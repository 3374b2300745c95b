"""Activation layers: any shape in, the same shape out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .. import ops
from ..errors import ShapeError
from ..kernels import Context
from ..namespace import array_namespace, as_python
from .base import Gradients, Layer, check_number
from .initializers import ones


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0), with the slope at 0 that two-conv eq. (10) and layered eq. (21) give it: 1/2.

    Shape: (N, ...) -> the same.
    """

    slope_at_zero: float = 0.5

    def __post_init__(self) -> None:
        as_python(self)
        check_number(self, "slope_at_zero")

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return context.kernels.relu.forward(x, self.slope_at_zero)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.relu.backward(residual, dy), {}


@dataclass(frozen=True)
class Sigmoid(Layer):
    """1 / (1 + exp(-x)). binary-sigmoid, "5) Sigmoid Activation".

    Shape: (N, ...) -> the same.
    """

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return context.kernels.sigmoid.forward(x)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.sigmoid.backward(residual, dy), {}


@dataclass(frozen=True)
class Tanh(Layer):
    """The hyperbolic tangent, one choice for avgpool-96's f.

    Shape: (N, ...) -> the same.
    """

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return context.kernels.tanh.forward(x)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.tanh.backward(residual, dy), {}


class _Curve(Layer):
    """One function of each number, which the table knows by its name in `ops`."""

    def _curve(self) -> tuple[Any, ...]:
        """Its name, and what it takes beside x."""
        raise NotImplementedError

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return context.kernels.curve.forward(x, *self._curve())

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return (context.kernels.curve.backward(residual, dy) if need_dx else None), {}


@dataclass(frozen=True)
class LeakyReLU(_Curve):
    """x where x > 0, else slope times x. Maas, Hannun and Ng, 2013, with a slope of 0.01.

    Shape: (N, ...) -> the same.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        as_python(self)
        check_number(self, "slope")

    def _curve(self) -> tuple[Any, ...]:
        return "leaky_relu", self.slope


@dataclass(frozen=True)
class PReLU(Layer):
    """x where x > 0, else a x, where a is learnt: one for each channel, or feature, or with shared=True one for all.

    Shape: (N, ...) -> the same.

    start: a before training. Parameters: slope (C,) or (1,). He, Zhang, Ren and Sun, 2015.
    """

    shared: bool = False
    start: float = 0.25

    def __post_init__(self) -> None:
        as_python(self)
        check_number(self, "start")

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return {"slope": self.start * ones(rng, self.parameter_shapes(in_shape)["slope"])}

    def parameter_shapes(self, in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Of what `init` makes."""
        return {"slope": (1,) if self.shared else in_shape[-1:]}

    def _slope(self, params: Any, x: Any, context: Context) -> Any:
        """In a shape that broadcasts against x."""
        return params["slope"] if self.shared else context.kernels.spread(params["slope"], x)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return ops.prelu(x, self._slope(params, x, context)), x

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        dx, terms = ops.prelu_backward(residual, dy, self._slope(params, residual, context))
        dslope = context.kernels.channel_sums(terms)
        return dx, {"slope": array_namespace(dslope).sum(dslope, axis=0, keepdims=True) if self.shared else dslope}


@dataclass(frozen=True)
class ELU(_Curve):
    """x where x > 0, else alpha (exp(x) - 1). Clevert, Unterthiner and Hochreiter, 2016. alpha is at least 0.

    Shape: (N, ...) -> the same.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        as_python(self)
        check_number(self, "alpha", lambda alpha: 0 <= alpha < math.inf, "a finite number of at least 0")

    def _curve(self) -> tuple[Any, ...]:
        return "elu", self.alpha


@dataclass(frozen=True)
class GELU(_Curve):
    """x times the probability that a standard normal number is at most x; approximate: by a tanh, as in GPT-2.

    Shape: (N, ...) -> the same.

    Hendrycks and Gimpel, 2016.
    """

    approximate: bool = False

    def __post_init__(self) -> None:
        as_python(self)

    def _curve(self) -> tuple[Any, ...]:
        return ("gelu_tanh",) if self.approximate else ("gelu",)


@dataclass(frozen=True)
class SiLU(_Curve):
    """x sigmoid(x), also called swish. Elfwing, Uchibe and Doya, 2018.

    Shape: (N, ...) -> the same.
    """

    def _curve(self) -> tuple[Any, ...]:
        return ("silu",)


@dataclass(frozen=True)
class Softplus(_Curve):
    """log(1 + exp(x)), a smooth ReLU. Dugas, Bengio, Belisle, Nadeau and Garcia, 2001.

    Shape: (N, ...) -> the same.
    """

    def _curve(self) -> tuple[Any, ...]:
        return ("softplus",)


@dataclass(frozen=True)
class Hardswish(_Curve):
    """x min(max(x + 3, 0), 6) / 6. Howard et al., 2019.

    Shape: (N, ...) -> the same.
    """

    def _curve(self) -> tuple[Any, ...]:
        return ("hardswish",)


@dataclass(frozen=True)
class Softmax(Layer):
    """exp(z_i) / sum of exp(z), for vectors inside a network. two-conv eq. (11), layered eq. (22), (23).

    Shape: (N, features) -> the same.

    Networks end in logits, and their loss applies the softmax: this layer is not for the end of one.
    """

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(in_shape) != 1:
            raise ShapeError(
                f"input has shape {in_shape}, one vector per example was expected; put Flatten() before it"
            )
        return in_shape

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        y = ops.softmax(x)
        return y, y

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return ops.softmax_backward(residual, dy), {}
