"""Whether a convolution's kernels compute what they should on the GPU at hand: a trial with numbers drawn for it.

The host adds up a few outputs, and a few numbers of both gradients, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...ops.window import Window

Array = Any

LOOKED_AT = 64  # numbers of each result
OUTPUTS = 800  # of a trial, so that the kernel's gradient is summed in several parts, of several chunks
MOST = 1 << 24  # numbers of an array of it


class Drawn(NamedTuple):
    """x (N, H, W, C), w (I, J, C, K), b (K,) and dy (N, P, Q, K)."""

    x: Array
    w: Array
    b: Array
    dy: Array


class Found(NamedTuple):
    """What kernels made of these: y, with the bias if something comes after it, dx and dw.

    after: whether ReLU follows, or None where nothing does; activated: what it made of y, without a pool; codes: of
    a max pool of 2 x 2 pixels, whose result y then is.
    """

    y: Array
    dx: Array
    dw: Array
    after: bool | None = None
    activated: Any = None
    codes: Any = None


def drawn(image: tuple[int, int, int], filters: int, window: Window) -> Drawn:
    """Two images or more, always the same of that shape. image: H, W, C."""
    rng, outputs = np.random.default_rng(0), window.outputs(*image[:2])
    room = MOST // max(math.prod(image), math.prod(outputs) * filters)
    count = max(2, min(room, -(-OUTPUTS // math.prod(outputs))))
    shapes = (count, *image), (*window.size, image[2], filters), (filters,), (count, *outputs, filters)
    return Drawn(*(rng.standard_normal(shape, np.float32) for shape in shapes))


def wrong(window: Window, precise: float, drawn: Drawn, found: Found) -> str | None:
    """Which of y, dx and dw is not what it should be, by how much; None where all are. A number that is not finite is
    one that no kernel wrote.

    precise: the part of the sum of its terms' absolute values that a number may be wrong by.
    """
    (x, w, b, dy), (y, dx, dw, after, activated, codes) = drawn, found
    rng = np.random.default_rng(1)
    of_outputs, pooled = _of_outputs(window, x, w), codes is not None
    if pooled:
        if not np.isfinite(y).all():
            return "the pool behind it has numbers that are not finite"
        if said := _wrong_cells(_places(rng, y), of_outputs, precise, b, found):
            return said
    elif after is not None:
        of_outputs = _biased(of_outputs, b)
        if not np.array_equal(np.maximum(y, 0), activated):
            return "ReLU made something else of its result"
    of_gradients = (
        ("the image's gradient", dx, _of_pixels(window, w, dy)),
        ("the kernel's gradient", dw, _of_kernel(window, x, dy)),
    )
    for name, given, terms in (*(() if pooled else (("its result", y, of_outputs),)), *of_gradients):
        if not np.isfinite(given).all():
            return f"{name} has numbers that are not finite"
        for place in _places(rng, given):
            a, b = (each.astype(np.float64) for each in terms(place))
            expected, size = (a * b).sum(), (abs(a) * abs(b)).sum()
            if not abs(given[place] - expected) <= precise * size:
                return f"{name} has {given[place]:.9g} for {expected:.9g}"
    return None


def _places(rng: Any, found: Array) -> Iterator[tuple[Any, ...]]:
    """Along each axis, half of them are at its ends, where the last blocks are."""
    axes = []
    for length in found.shape:
        anywhere, ends = rng.integers(0, length, LOOKED_AT), rng.choice([0, length - 1], LOOKED_AT)
        axes.append(np.where(rng.integers(0, 2, LOOKED_AT), anywhere, ends))
    return zip(*axes)


def _wrong_cells(places: Any, of_outputs: Any, precise: float, b: Array, found: Found) -> str | None:
    """As `wrong`, of a max pool's results and of the winners that it wrote down."""
    y, after = found.y, found.after
    for place in places:
        n, p, q, k = place
        factors = [of_outputs((n, 2 * p + i, 2 * q + j, k)) for i in (0, 1) for j in (0, 1)]
        terms = [a.astype(np.float64) * w for a, w in factors]
        values = [float(each.sum() + b[k]) for each in terms]
        error = precise * max(float(abs(each).sum() + abs(b[k])) for each in terms)
        most = max(*values, 0.0) if after else max(values)
        code = int(found.codes[place])
        if not abs(y[place] - most) <= error:
            return f"the pool behind it has {y[place]:.9g} for {most:.9g}"
        won = values[code] if code < len(values) else 0.0 if after else -np.inf
        if not abs(won - most) <= 2 * error:
            return f"the pool behind it has another winner, {code}, than the largest of {values}"
    return None


def _biased(of_outputs: Any, b: Array) -> Any:
    """With the bias as one term more."""

    def terms(place: Any) -> tuple[Array, Array]:
        factors = of_outputs(place)
        return np.append(factors[0], b[place[3]]), np.append(factors[1], np.ones(1, b.dtype))

    return terms


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
