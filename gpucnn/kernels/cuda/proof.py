"""Whether a convolution's kernels compute what they should on the GPU at hand: a trial with numbers drawn for it.

The host adds up a few outputs, and a few numbers of both gradients, in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.window import Window

Array = Any

LOOKED_AT = 64  # numbers of each result


def drawn(image: tuple[int, int, int], filters: int, window: Window) -> tuple[Array, Array, Array]:
    """x (1, H, W, C), w (I, J, C, K) and dy (1, P, Q, K), always the same of that shape."""
    rng = np.random.default_rng(0)
    shapes = (1, *image), (*window.size, image[2], filters), (1, *window.outputs(*image[:2]), filters)
    x, w, dy = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return x, w, dy


def wrong(window: Window, precise: float, x: Array, w: Array, dy: Array, y: Array, dx: Array, dw: Array) -> str | None:
    """Which of y, dx and dw is not what x, w and dy make, by how much; None where all are.

    precise: the part of the sum of its terms' absolute values that a number may be wrong by.
    """
    rng = np.random.default_rng(1)
    for name, found, terms in (
        ("its result", y, _of_outputs(window, x, w)),
        ("the image's gradient", dx, _of_pixels(window, w, dy)),
        ("the kernel's gradient", dw, _of_kernel(window, x, dy)),
    ):
        for place in zip(*(rng.integers(0, length, LOOKED_AT) for length in found.shape)):
            a, b = (each.astype(np.float64) for each in terms(place))
            expected, size = (a * b).sum(), (abs(a) * abs(b)).sum()
            if not abs(found[place] - expected) <= precise * size:
                return f"{name} has {found[place]:.9g} for {expected:.9g}"
    return None


def _of_outputs(window: Window, x: Array, w: Array) -> Any:
    """A function of (n, p, q, k): the two factors of each term of y[n, p, q, k], as arrays of equal shapes."""
    seen = _padded(window, x)

    def terms(place: Any) -> tuple[Array, Array]:
        n, p, q, k = place
        (s, t), (d, e), (rows, columns) = window.stride, window.dilation, window.size
        there = seen[n, s * p :: d, t * q :: e][:rows, :columns]
        return there, w[..., k]

    return terms


def _of_pixels(window: Window, w: Array, dy: Array) -> Any:
    """As `_of_outputs`, of dx[n, h, w, c]."""

    def terms(place: Any) -> tuple[Array, Array]:
        n, h, v, c = place
        pairs = [
            (dy[n, p, q], w[i, j, c])
            for i, p in _seeing(window, 0, h, dy.shape[1])
            for j, q in _seeing(window, 1, v, dy.shape[2])
        ]
        return tuple(map(np.array, zip(*pairs))) if pairs else (np.zeros(1), np.zeros(1))  # type: ignore[return-value]

    return terms


def _seeing(window: Window, axis: int, place: int, outputs: int) -> list[tuple[int, int]]:
    """The taps, and the outputs, along an axis that see a pixel."""
    found = []
    for tap in range(window.size[axis]):
        output, between = divmod(place + window.padding[axis][0] - window.dilation[axis] * tap, window.stride[axis])
        if not between and 0 <= output < outputs:
            found.append((tap, output))
    return found


def _of_kernel(window: Window, x: Array, dy: Array) -> Any:
    """As `_of_outputs`, of dw[i, j, c, k]."""
    seen = _padded(window, x)

    def terms(place: Any) -> tuple[Array, Array]:
        i, j, c, k = place
        (s, t), (d, e) = window.stride, window.dilation
        return seen[:, d * i :: s, e * j :: t, c][:, : dy.shape[1], : dy.shape[2]], dy[..., k]

    return terms


def _padded(window: Window, x: Array) -> Array:
    return np.pad(x, ((0, 0), *window.padding, (0, 0)))
