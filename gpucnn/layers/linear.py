"""The fully connected layer, flatten and reshape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import ShapeError
from ..kernels import Context
from ..namespace import as_python
from ..ops.window import positive
from .base import Gradients, Layer
from .initializers import initializer, zeros


@dataclass(frozen=True)
class Dense(Layer):
    """y = x W + b, for vectors. Parameters: weights (features, units); bias (units,), zeros at first, or none.

    Shape: (N, features) -> (N, units).

    two-conv eq. (6), layered eq. (12).
    """

    units: int
    bias: bool = True
    initializer: str = "glorot_uniform"

    def __post_init__(self) -> None:
        as_python(self)
        positive(self.units, "Dense: units")
        initializer(self.initializer)

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int]:
        """(features,) -> (units,)."""
        if len(in_shape) != 1:
            raise ShapeError(
                f"input has shape {in_shape}, one vector per example was expected; put Flatten() before it"
            )
        return (self.units,)

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        """Glorot's rule is avgpool-96, "W_1" and "All biases initialized to zeros": the root is missing there."""
        shape = self.parameter_shapes(in_shape)["weights"]
        params = {"weights": initializer(self.initializer)(rng, shape, *shape)}
        return params | ({"bias": zeros(rng, (self.units,))} if self.bias else {})

    def parameter_shapes(self, in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Of what `init` draws."""
        self.out_shape(in_shape)
        return {"weights": (in_shape[0], self.units)} | ({"bias": (self.units,)} if self.bias else {})

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        return in_shape[0] * self.units

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        if not self.bias:
            return context.kernels.matmul(x, params["weights"]), (x, None)
        y, added = context.kernels.biased_product(x, params["weights"], params["bias"])
        return y, (x, added)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        x, added = residual
        dparams = {"weights": context.sum_of_products(x, dy)}
        if self.bias:
            dparams["bias"] = context.kernels.bias.backward(added, dy)
        return (context.kernels.matmul(dy, params["weights"].T) if need_dx else None), dparams


@dataclass(frozen=True)
class Flatten(Layer):
    """(H, W, C) -> (H W C,), in that order on every table. two-conv eq. (5), layered eq. (10)."""

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int]:
        return (math.prod(in_shape),)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        features = x.shape[1] if x.ndim == 2 else math.prod(context.kernels.image_shape(x))
        return context.kernels.reshape.forward(x, (features,))

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.reshape.backward(residual, dy), {}


@dataclass(frozen=True)
class Reshape(Layer):
    """The same elements, in the same order, as (features,) or (H, W, C). binary-sigmoid, "3) Reshape Layer".

    Shape: (N, ...) -> (N, features) or (N, H, W, C).
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        as_python(self)
        given = self.shape
        if not isinstance(given, list | tuple) or len(given) not in (1, 3):
            raise ShapeError(f"Reshape: {given!r}: a vector (features,) or an image (H, W, C) was expected")
        object.__setattr__(self, "shape", tuple(given))
        for length in self.shape:
            positive(length, "Reshape: length")

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        if math.prod(in_shape) != math.prod(self.shape):
            raise ShapeError(
                f"input has shape {in_shape}, {math.prod(in_shape)} elements, and cannot take the shape {self.shape}, "
                f"{math.prod(self.shape)} elements"
            )
        return self.shape

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return context.kernels.reshape.forward(x, self.shape)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return context.kernels.reshape.backward(residual, dy), {}
