"""Windows, which convolution and pooling share: which output sees which pixel."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ..errors import ShapeError, counted

Padding = str | int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


FORWARDS = "stride, padding and the like must be those of the forward function"  # of a gradient


@dataclass(frozen=True)
class Window:
    """What one output sees: a rectangle of the padded image, moved by a stride.

    size, stride, dilation: (rows, columns) in pixels. padding: ((top, bottom), (left, right)) in pixels.
    beyond: how much of bottom and of right is there only because a pool's last window reaches past image and padding.
    """

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    beyond: tuple[int, int] = (0, 0)

    def span(self, axis: int) -> int:
        """Pixels from the first to the last that one output sees along an axis, both counted."""
        return self.dilation[axis] * (self.size[axis] - 1) + 1

    def outputs(self, height: int, width: int) -> tuple[int, int]:
        """Output size (P, Q) of an image: floor((H + padding - span) / stride) + 1 per axis.

        single-filter, "X = (N - L) / 1 + 1" and "x, y"; binary-sigmoid, "Size of Output", where the input minus the
        output is printed for the input minus the kernel.
        """
        return self._outputs_along(0, height), self._outputs_along(1, width)

    def _outputs_along(self, axis: int, length: int) -> int:
        return (length + sum(self.padding[axis]) - self.span(axis)) // self.stride[axis] + 1

    def reach(self, axis: int, offset: int, length: int) -> tuple[slice, slice]:
        """Which outputs see a pixel, not padding, at window offset `offset`, and which pixels those are.

        Returns two slices of equal length along one axis (0 rows, 1 columns): of the outputs and of the image.
        """
        step, shift = self.stride[axis], offset * self.dilation[axis] - self.padding[axis][0]
        start = max(0, -(shift // step))
        stop = max(start, min(self._outputs_along(axis, length), (length - 1 - shift) // step + 1))
        first = min(start * step + shift, length)
        return slice(start, stop), slice(first, min(first + step * (stop - start), length), step)

    def looks(self, height: int, width: int) -> Iterator[tuple[tuple[int, int], tuple[Any, ...], tuple[Any, ...]]]:
        """For every window offset: (i, j), the NHWC index of the outputs, and of the pixels they see there.

        Offsets come row by row, the order that decides the first of ties; offsets that see only padding are left out.
        """
        rows, columns = self._looks_along(0, height), self._looks_along(1, width)
        whole = slice(None)
        for i, rows_out, rows_in in rows:
            for j, columns_out, columns_in in columns:
                yield (i, j), (whole, rows_out, columns_out, whole), (whole, rows_in, columns_in, whole)

    def _looks_along(self, axis: int, length: int) -> list[tuple[int, slice, slice]]:
        seen = [(offset, *self.reach(axis, offset, length)) for offset in range(self.size[axis])]
        return [look for look in seen if look[1].stop > look[1].start]

    def places_counted(self, axis: int, length: int, count_padding: bool) -> list[int]:
        """How many places each output sees along an axis: pixels and, if it counts, padding that is not `beyond`."""
        before, after = self.padding[axis]
        first, last = (-before, length + after - self.beyond[axis]) if count_padding else (0, length)
        starts = range(-before, self.stride[axis] * self._outputs_along(axis, length) - before, self.stride[axis])
        reached = range(0, self.span(axis), self.dilation[axis])
        return [sum(first <= start + place < last for place in reached) for start in starts]

    @property
    def is_padded(self) -> bool:
        return self.padding != ((0, 0), (0, 0))

    @property
    def is_dilated(self) -> bool:
        return self.dilation != (1, 1)

    @property
    def is_tiling(self) -> bool:
        """No two outputs see the same pixel."""
        return all(self.stride[axis] >= self.span(axis) for axis in (0, 1))


def convolution_window(
    size: Any, stride: Any, padding: Padding, dilation: Any, height: int, width: int, *, what: str = "kernel"
) -> Window:
    """The window of a convolution on an image of (height, width) pixels.

    padding: "valid" (none), "same" (ceil(H / stride) outputs, the odd pixel after), "same-lower" (the odd pixel
    before), "full" (dilation (I - 1) on each side: every output that sees at least one pixel), or pixels: p,
    (rows, columns), ((top, bottom), (left, right)).
    what: the name that errors give it.
    binary-sigmoid, "Valid" and "Full". Raises ShapeError when the kernel does not fit the padded image.
    """
    size, stride, dilation = pair(size, what), pair(stride, "stride"), pair(dilation, "dilation")
    return _window(size, stride, padding_of(padding), dilation, height, width, what)


@lru_cache(maxsize=1024)
def _window(size: Any, stride: Any, padding: Any, dilation: Any, height: int, width: int, what: str) -> Window:
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, size))
    pads = tuple(_padding_along(padding, axis, spans[axis], stride[axis], (height, width)[axis]) for axis in (0, 1))
    window = Window(size, stride, pads, dilation)  # type: ignore[arg-type]
    if min(window.outputs(height, width)) < 1:
        seen = " x ".join(map(str, spans))
        raise ShapeError(
            f"a {what} that spans {seen} pixels does not fit an image of {height} x {width} with padding {padding!r}; "
            f"use a smaller {what} or more padding"
        )
    return window


def pooling_window(
    size: Any, stride: Any, padding: Padding, height: int, width: int, dilation: Any = 1, ceil_mode: bool = False
) -> Window:
    """The window of a pool, as `convolution_window`; its stride defaults to its size. No output may see only padding.

    ceil_mode: where the last pixels of an axis are in no window, one more that reaches past the image and its padding;
    not, as in PyTorch, where it would begin behind the image's last pixel.
    Raises ShapeError when the window does not fit, or when the padding is as large as the window.
    """
    size = pair(size, "window")
    stride = size if stride is None else stride
    window = convolution_window(size, stride, padding, dilation, height, width, what="window")
    for axis in (0, 1):
        if max(window.padding[axis]) >= window.span(axis):
            raise ShapeError(
                f"pool padding {window.padding} is as large as the window {size}: outputs would see only padding; "
                f"use less than {counted(window.span(axis), 'pixel')} of padding"
            )
    if ceil_mode:
        down, right = _pixels_beyond(window, 0, height), _pixels_beyond(window, 1, width)
        (top, bottom), (left, further) = window.padding
        window = replace(window, padding=((top, bottom + down), (left, further + right)), beyond=(down, right))
    if window.is_dilated and 0 in (
        *window.places_counted(0, height, False),
        *window.places_counted(1, width, False),
    ):
        raise ShapeError(
            f"a pool's window of {size} pixels, {window.dilation} apart, sees only padding somewhere in an image of "
            f"{height} x {width}; use less padding or a smaller dilation"
        )
    return window


def _pixels_beyond(window: Window, axis: int, length: int) -> int:
    """How far one more window reaches past the padded image; 0 where no pixel is left for it."""
    before, after = window.padding[axis]
    start = window._outputs_along(axis, length) * window.stride[axis]  # of one more, padding counted in
    left = length + before + after - (start - window.stride[axis] + window.span(axis))  # places behind the last window
    return start + window.span(axis) - (length + before + after) if left > 0 and start < length + before else 0


def pair(value: Any, name: str) -> tuple[int, int]:
    """n or (rows, columns) -> (rows, columns), positive whole numbers; ShapeError otherwise."""
    both = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(both) != 2 or not all(_is_whole(n) and n >= 1 for n in both):
        raise ShapeError(f"{name}={value!r}: a positive whole number or a pair (rows, columns) of them was expected")
    return int(both[0]), int(both[1])


def positive(value: Any, name: str) -> int:
    """A whole number of at least 1; ShapeError otherwise."""
    if not _is_whole(value) or value < 1:
        raise ShapeError(f"{name}={value!r}: a whole number of at least 1 was expected")
    return value


def padding_of(value: Any) -> Any:
    """Check a padding argument and give it its hashable form: a name, or ((top, bottom), (left, right))."""
    if isinstance(value, str) and value in ("valid", "same", "same-lower", "full"):
        return value
    both: Any = (value, value) if _is_whole(value) else value if _has_two(value) else (None, None)
    sides: Any = tuple((side, side) if _is_whole(side) else side if _has_two(side) else () for side in both)
    if not all(side and all(_is_whole(n) and n >= 0 for n in side) for side in sides):
        raise ShapeError(
            f'padding={value!r}: "valid", "same", "same-lower", "full", a number of pixels, (rows, columns) or '
            "((top, bottom), (left, right)) was expected"
        )
    return tuple(tuple(map(int, side)) for side in sides)


def _is_whole(value: Any) -> bool:
    """Whether it is one whole number, Python's or an array library's, and no truth value."""
    try:
        return not isinstance(value, bool) and operator.index(value) == value
    except TypeError:
        return False


def _has_two(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


def _padding_along(padding: Any, axis: int, span: int, stride: int, length: int) -> tuple[int, int]:
    """(before, after) along one axis, in pixels."""
    if padding == "valid":
        return 0, 0
    if padding == "full":
        return span - 1, span - 1
    if padding in ("same", "same-lower"):
        total = max(0, (-(-length // stride) - 1) * stride + span - length)
        less, more = total // 2, total - total // 2
        return (less, more) if padding == "same" else (more, less)
    return padding[axis]
