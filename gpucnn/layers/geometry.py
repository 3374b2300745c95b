"""Layers that move pixels and learn nothing: borders, parts, further channels, larger images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import SettingError, ShapeError
from ..kernels import Context
from ..namespace import as_python
from ..ops.window import padding_of, pair
from .base import Gradients, Layer

Shape = tuple[int, int, int]
Places = tuple[slice, slice, slice]
Sides = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]

ALL = slice(None)


def image(in_shape: tuple[int, ...], name: str) -> Shape:
    """in_shape as (H, W, C). Raises ShapeError for a vector."""
    if len(in_shape) != 3:
        raise ShapeError(f"input has shape {in_shape}, an image (H, W, C) was expected; put {name} before Flatten()")
    return tuple(in_shape)  # type: ignore[return-value]


class _Part(Layer):
    """The output is a part of the input, at `places_of` it."""

    def places_of(self, in_shape: Shape) -> Places:
        """Which rows, columns and channels of an input (H, W, C) are the output."""
        raise NotImplementedError

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = image(in_shape, type(self).__name__)
        found = tuple(len(range(*place.indices(n))) for place, n in zip(self.places_of(shape), shape))
        if min(found) < 1:
            raise ShapeError(
                f"{type(self).__name__} leaves nothing of an image of {shape[0]} x {shape[1]} pixels; crop less"
            )
        return found

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        shape = context.kernels.image_shape(x)
        return context.kernels.part(x, self.places_of(shape)), shape

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return (context.kernels.place(dy, self.places_of(residual), residual) if need_dx else None), {}


class _Placed(Layer):
    """The input is a part of the output, at `places_in` it; elsewhere are zeros."""

    def places_in(self, in_shape: Shape) -> Places:
        """Which rows, columns and channels of the output an input (H, W, C) becomes."""
        raise NotImplementedError

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        shape = context.kernels.image_shape(x)
        return context.kernels.place(x, self.places_in(shape), self.out_shape(shape)), shape

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return (context.kernels.part(dy, self.places_in(residual)) if need_dx else None), {}


@dataclass(frozen=True)
class ZeroPad2D(_Placed):
    """A border of zeros. padding, in pixels: p, (rows, columns) or ((top, bottom), (left, right)).

    Shape: (N, H, W, C) -> (N, H + top + bottom, W + left + right, C).
    """

    padding: Sides = 1

    def __post_init__(self) -> None:
        as_python(self)
        object.__setattr__(self, "padding", _sides(self.padding, "ZeroPad2D: padding"))

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        (H, W, C), (rows, columns) = image(in_shape, "ZeroPad2D"), self.padding  # type: ignore[misc]
        return H + sum(rows), W + sum(columns), C  # type: ignore[arg-type]

    def places_in(self, in_shape: Shape) -> Places:
        (top, _), (left, _) = self.padding  # type: ignore[misc]
        return slice(top, top + in_shape[0]), slice(left, left + in_shape[1]), ALL


@dataclass(frozen=True)
class Crop2D(_Part):
    """The image without its border. cropping, in pixels: p, (rows, columns) or ((top, bottom), (left, right)).

    Shape: (N, H, W, C) -> (N, H - top - bottom, W - left - right, C).
    """

    cropping: Sides = 1

    def __post_init__(self) -> None:
        as_python(self)
        object.__setattr__(self, "cropping", _sides(self.cropping, "Crop2D: cropping"))

    def places_of(self, in_shape: Shape) -> Places:
        (top, bottom), (left, right) = self.cropping  # type: ignore[misc]
        return slice(top, max(top, in_shape[0] - bottom)), slice(left, max(left, in_shape[1] - right)), ALL


@dataclass(frozen=True)
class Subsample2D(_Part):
    """Every so manieth pixel along rows and columns, from the first on: n or (rows, columns).

    Shape: (N, H, W, C) -> (N, ceil(H / rows), ceil(W / columns), C).

    The shortcut of a residual block whose image becomes smaller: He, Zhang, Ren and Sun, 2016, option A.
    """

    stride: int | tuple[int, int] = 2

    def __post_init__(self) -> None:
        as_python(self)
        object.__setattr__(self, "stride", pair(self.stride, "Subsample2D: stride"))

    def places_of(self, in_shape: Shape) -> Places:
        rows, columns = self.stride  # type: ignore[misc]
        return slice(0, None, rows), slice(0, None, columns), ALL


@dataclass(frozen=True)
class PadChannels(_Placed):
    """Further channels of zeros: n in all, half of them (rounded down) before the image's own and the others behind;
    or (before, behind).

    Shape: (N, H, W, C) -> (N, H, W, C + n).

    The shortcut of a residual block that has more channels behind it: He, Zhang, Ren and Sun, 2016, option A.
    """

    channels: int | tuple[int, int]

    def __post_init__(self) -> None:
        as_python(self)
        given = self.channels
        both: Any = (given // 2, given - given // 2) if type(given) is int else given
        if not isinstance(both, list | tuple) or len(both) != 2 or not all(type(n) is int and n >= 0 for n in both):
            raise SettingError(
                f"PadChannels: channels={given!r}: a number of at least 0, or (before, behind), was expected"
            )
        object.__setattr__(self, "channels", tuple(both))

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        H, W, C = image(in_shape, "PadChannels")
        return H, W, C + sum(self.channels)  # type: ignore[arg-type]

    def places_in(self, in_shape: Shape) -> Places:
        before = self.channels[0]  # type: ignore[index]
        return ALL, ALL, slice(before, before + in_shape[2])


@dataclass(frozen=True)
class Upsample2D(Layer):
    """factor, n or (rows, columns), times as many pixels; kind: "nearest" or "bilinear".

    Shape: (N, H, W, C) -> (N, H rows, W columns, C).

    Input and output fill the same area, so that corners of pixels agree and centres do not (align_corners=False of
    PyTorch); beyond the outer centres of the input its border goes on.
    """

    factor: int | tuple[int, int] = 2
    kind: str = "nearest"

    def __post_init__(self) -> None:
        as_python(self)
        object.__setattr__(self, "factor", pair(self.factor, "Upsample2D: factor"))
        if self.kind not in ("nearest", "bilinear"):
            raise SettingError(f'Upsample2D: kind={self.kind!r}: "nearest" or "bilinear" was expected')

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        (H, W, C), (rows, columns) = image(in_shape, "Upsample2D"), self.factor  # type: ignore[misc]
        return rows * H, columns * W, C

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        return context.kernels.upsample.forward(x, self.factor, self.kind)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return (context.kernels.upsample.backward(residual, dy) if need_dx else None), {}


def _sides(value: Any, name: str) -> Any:
    """((top, bottom), (left, right)) in pixels. Raises ShapeError for the names that paddings have, and others."""
    try:
        sides = padding_of(value)
    except ShapeError:
        sides = ""
    if isinstance(sides, str):
        raise ShapeError(
            f"{name}={value!r}: a number of pixels, (rows, columns) or ((top, bottom), (left, right)) was expected"
        )
    return sides
