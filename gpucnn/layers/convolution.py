"""The convolutional layer, and what it shares with the transposed one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .. import ops
from ..errors import SettingError, ShapeError
from ..kernels import Context
from ..namespace import as_python
from ..ops.window import Padding, Window, convolution_window, padding_of, pair, positive
from .base import Gradients, Layer
from .initializers import initializer, zeros

_window = lru_cache(maxsize=1024)(convolution_window)  # of arguments that __post_init__ has checked


def check_image(in_shape: tuple[int, ...], groups: int) -> None:
    """Raises ShapeError unless that is an image whose channels are so many groups."""
    if len(in_shape) != 3:
        raise ShapeError(
            f"input has shape {in_shape}, an image (H, W, C) was expected; put Reshape((H, W, C)) before it"
        )
    if in_shape[2] % groups:
        raise ShapeError(f"{groups} groups do not divide the input's {in_shape[2]} channels")


def bias_of(value: Any) -> Any:
    """What a convolution's bias is called: True is "tied", False is None."""
    return "tied" if value is True else None if value is False else value


class WithKernelAndBias(Layer):
    """What Conv2D and ConvTranspose2D share: settings, initial numbers, the bias. Derived classes have the rest.

    That is `parameter_shapes`, and `products` with its gradient, the layer without the bias.
    """

    filters: int
    kernel: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: Padding
    dilation: int | tuple[int, int]
    groups: int
    bias: str | bool | None
    flip: bool
    initializer: str

    def check(self, biases: tuple[str | None, ...]) -> None:
        """Bring the settings into their usual form. Raises SettingError and ShapeError. biases: those there are."""
        as_python(self)
        name = type(self).__name__
        for each in ("kernel", "stride", "dilation"):
            object.__setattr__(self, each, pair(getattr(self, each), each))
        object.__setattr__(self, "padding", padding_of(self.padding))
        object.__setattr__(self, "bias", bias_of(self.bias))
        if self.bias not in biases:
            *others, last = (f'"{each}"' if each else "None" for each in biases)
            raise SettingError(f"{name}: bias={self.bias!r}: {', '.join(others)} or {last} was expected")
        if positive(self.filters, f"{name}: filters") % positive(self.groups, f"{name}: groups"):
            raise ShapeError(f"{name}: {self.filters} filters in {self.groups} group(s): groups must divide filters")
        initializer(self.initializer)

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        """Glorot's rule is avgpool-96, "K_1,m" and "K^2_m,n": 6 under the root of both (4 is printed once).

        Fans are I J C / groups and I J K / groups, also where strides let an output see fewer.
        """
        shapes = self.parameter_shapes(in_shape)
        I, J = self.kernel  # type: ignore[misc]
        fans = I * J * in_shape[2] // self.groups, I * J * self.filters // self.groups
        params = {"kernel": initializer(self.initializer)(rng, shapes["kernel"], *fans)}
        return params | ({"bias": zeros(rng, shapes["bias"])} if self.bias else {})

    def parameter_shapes(self, in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Of what `init` draws."""
        raise NotImplementedError

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        y, seen = self.products(params, x, context)
        if not self.bias:
            return y, (seen, None)
        y, added = context.kernels.bias.forward(y, params["bias"])
        return y, (seen, added)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        seen, added = residual
        dx, dparams = self.products_backward(params, seen, dy, context, need_dx=need_dx)
        if self.bias:
            dparams["bias"] = context.kernels.bias.backward(added, dy)
        return dx, dparams

    def products(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        """`forward` without the bias."""
        raise NotImplementedError

    def products_backward(
        self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool
    ) -> tuple[Any, dict[str, Any]]:
        """Its gradient."""
        raise NotImplementedError

    def oriented(self, kernel: Any) -> Any:
        """The kernel as the correlation wants it; its own inverse, so gradients come back through it too."""
        return ops.rotate180(kernel) if self.flip else kernel


@dataclass(frozen=True)
class Conv2D(WithKernelAndBias):
    """y = cross-correlation of x with the kernel (true convolution with flip=True), plus a bias.

    Shape: (N, H, W, C) -> (N, P, Q, K).

    filters: K, channels out. kernel, stride, dilation: n or (rows, columns) in pixels.
    padding: "valid", "same", "same-lower", "full", p, (rows, columns) or ((top, bottom), (left, right)) in pixels.
    groups: the number of parts into which channels in and out are cut, none of which sees another.
    bias: "tied" or True, one per filter; "untied", one per output position; None or False, none.
    Parameters: kernel (I, J, C / groups, K); bias (K,) or (P, Q, K), zeros at first.

    two-conv eq. (1) with flip=True; its (17) adds an untied bias, as do binary-sigmoid, "Convolutional Layer" and
    "Forward propagation".
    """

    filters: int
    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: Padding = "valid"
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    bias: str | bool | None = "tied"
    flip: bool = False
    initializer: str = "glorot_uniform"

    def __post_init__(self) -> None:
        self.check(("tied", "untied", None))

    def window_of(self, in_shape: tuple[int, ...]) -> Window:
        """What of an input (H, W, ...) each output sees. Raises ShapeError."""
        return _window(self.kernel, self.stride, self.padding, self.dilation, in_shape[0], in_shape[1])

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(H, W, C) -> (P, Q, K)."""
        check_image(in_shape, self.groups)
        return (*self.window_of(in_shape).outputs(in_shape[0], in_shape[1]), self.filters)

    def parameter_shapes(self, in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        out_shape = self.out_shape(in_shape)
        bias = out_shape if self.bias == "untied" else (self.filters,)
        kernel = (*self.kernel, in_shape[2] // self.groups, self.filters)  # type: ignore[misc]
        return {"kernel": kernel} | ({"bias": bias} if self.bias else {})

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        P, Q, K = self.out_shape(in_shape)
        I, J = self.kernel  # type: ignore[misc]
        return P * Q * K * I * J * in_shape[2] // self.groups

    def products(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        window = self.window_of(context.kernels.image_shape(x))
        return context.kernels.correlation.forward(x, self.oriented(params["kernel"]), window, self.groups)

    def products_backward(
        self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool
    ) -> tuple[Any, dict[str, Any]]:
        dx, dkernel = context.kernels.correlation.backward(residual, self.oriented(params["kernel"]), dy, need_dx)
        return dx, {"kernel": self.oriented(dkernel)}
