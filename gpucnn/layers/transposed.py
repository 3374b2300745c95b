"""The transposed convolution: an image made larger, by learnt kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import SettingError, ShapeError
from ..kernels import Context
from ..ops.window import Padding, Window, convolution_window
from .convolution import WithKernelAndBias, check_image


@dataclass(frozen=True)
class ConvTranspose2D(WithKernelAndBias):
    """The gradient of a convolution by its input, as a layer: each pixel of x puts down a kernel, `stride` apart.

    Shape: (N, H, W, C) -> (N, P, Q, K).

    y[n, s p + d i - top, t q + e j - left, k] gains w[i,j,k,c] x[n,p,q,c], plus a bias.

    filters: K, channels out. kernel, stride, dilation: n or (rows, columns) in pixels. padding is that of the
    convolution which would lead back: it cuts pixels off the result. H, W being the input's size, the output has
    (H - 1) stride + dilation (kernel - 1) + 1 - padding + output_padding rows, and so columns, as in PyTorch; with
    "same", which TensorFlow and Keras have too, H stride, and what is cut off is what "same" would have added there.
    output_padding: rows and columns more, less than the stride, that a convolution with stride would not have looked
    at; not with "same". Keras's "valid" has H stride + max(kernel - stride, 0) rows: output_padding = stride - kernel
    where the stride is larger.
    groups: as in Conv2D. bias: as there, but for "untied". flip: the kernel turned by 180 degrees, so that of a true
    convolution.
    Parameters: kernel (I, J, K / groups, C), that of the convolution which would lead back; bias (K,), zeros at first.

    Dumoulin and Visin, 2016, chapter 4.
    """

    filters: int
    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: Padding = "valid"
    output_padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    bias: str | bool | None = "tied"
    flip: bool = False
    initializer: str = "glorot_uniform"

    def __post_init__(self) -> None:
        self.check(("tied", None))
        object.__setattr__(self, "output_padding", self._checked(self.output_padding))

    def _checked(self, value: Any) -> tuple[int, int]:
        """output_padding as (rows, columns)."""
        both = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, list | tuple) else ()
        whole = len(both) == 2 and all(isinstance(n, int) and n >= 0 for n in both)
        if not whole or any(n >= step for n, step in zip(both, self.stride)):  # type: ignore[arg-type]
            raise ShapeError(
                f"ConvTranspose2D: output_padding={value!r}: whole numbers from 0 to less than the stride, "
                f"{self.stride}, were expected"
            )
        if self._is_same and any(both):
            raise SettingError(f'ConvTranspose2D: output_padding={value!r}: with padding "same" leave it out')
        return both

    @property
    def _is_same(self) -> bool:
        return isinstance(self.padding, str) and self.padding.startswith("same")

    def place(self, in_shape: tuple[int, ...]) -> tuple[Window, tuple[int, int]]:
        """The window of the convolution that leads back, and the size of the image from which it does."""
        return _place(self, in_shape[0], in_shape[1])

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(H, W, C) -> (rows, columns, K)."""
        check_image(in_shape, self.groups)
        return (*self.place(in_shape)[1], self.filters)

    def parameter_shapes(self, in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        self.out_shape(in_shape)
        kernel = (*self.kernel, self.filters // self.groups, in_shape[2])  # type: ignore[misc]
        return {"kernel": kernel} | ({"bias": (self.filters,)} if self.bias else {})

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        self.out_shape(in_shape)
        I, J = self.kernel  # type: ignore[misc]
        return in_shape[0] * in_shape[1] * in_shape[2] * I * J * self.filters // self.groups

    def products(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        window, size = self.place(context.kernels.image_shape(x))
        kernel = self.oriented(params["kernel"])
        return context.kernels.transposed.forward(x, kernel, window, self.groups, size)

    def products_backward(
        self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool
    ) -> tuple[Any, dict[str, Any]]:
        dx, dkernel = context.kernels.transposed.backward(residual, self.oriented(params["kernel"]), dy, need_dx)
        return dx, {"kernel": self.oriented(dkernel)}


@lru_cache(maxsize=1024)
def _place(layer: ConvTranspose2D, height: int, width: int) -> tuple[Window, tuple[int, int]]:
    steps, kernel, more = layer.stride, layer.kernel, layer.output_padding
    if layer._is_same:
        size = height * steps[0], width * steps[1]  # type: ignore[index]
        return convolution_window(kernel, steps, layer.padding, layer.dilation, *size), size
    spans = tuple(d * (k - 1) + 1 for d, k in zip(layer.dilation, kernel))  # type: ignore[arg-type]
    whole = convolution_window(kernel, steps, layer.padding, layer.dilation, *spans)  # an image that has one output
    size = tuple(
        (length - 1) * step + span - sum(pads) + extra
        for length, step, span, pads, extra in zip((height, width), steps, spans, whole.padding, more)  # type: ignore[arg-type]
    )  # type: ignore[assignment]
    if min(size) < 1:
        raise ShapeError(
            f"an image of {height} x {width} has no pixel left: padding {layer.padding!r} is more than the kernels put "
            "down; use less padding"
        )
    return whole, size
