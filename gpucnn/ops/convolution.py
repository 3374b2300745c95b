"""Cross-correlation, convolution and their gradients, as sums over kernel offsets.

Axes: N batch, H W image, I J kernel, P Q output, C K channels in and out. Images are (N, H, W, C), kernels
(I, J, C / groups, K): with G groups, outputs K/G g .. K/G (g+1) - 1 see channels C/G g .. C/G (g+1) - 1 only.
Strides (s, t) and dilations (d, e) are pixels along (rows, columns); the image is 0 outside its borders.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import ShapeError, check_shape
from ..namespace import array_namespace, real_arrays, summed
from .window import FORWARDS, Padding, Window, convolution_window, positive

Array = Any


def correlate(
    x: Array,
    w: Array,
    *,
    stride: Any = 1,
    padding: Padding = "valid",
    dilation: Any = 1,
    groups: int = 1,
    in_order: bool = False,
) -> Array:
    """y[n,p,q,k] = sum over i,j,c of x[n, s p + d i - top, t q + e j - left, c] w[i,j,c,k].

    x (N, H, W, C), w (I, J, C/groups, K) -> y (N, P, Q, K).

    in_order: multiply and add element by element, offset by offset and channel by channel. Outputs with equal
    surroundings are then equal to the last bit; matrix products, faster, may add each element in an order of its own.

    binary-sigmoid, "Cross-correlation"; single-filter, "Feature Map[i, j]".
    Raises ShapeError when channels, groups or sizes do not fit.
    """
    xp, x, w = real_arrays(x, w)
    window = fitted(x, w, stride, padding, dilation, groups)
    P, Q = window.outputs(x.shape[1], x.shape[2])
    y = xp.zeros((x.shape[0], P, Q, w.shape[3]), dtype=xp.result_type(x, w), device=x.device)
    for offset, outputs, pixels in window.looks(x.shape[1], x.shape[2]):
        for c, k in _groups(w, groups):
            seen, kernel = x[(*pixels[:3], c)], w[(*offset, slice(None), k)]
            if not in_order:
                y[(*outputs[:3], k)] += _product(seen, kernel)
                continue
            for channel in range(w.shape[2]):
                y[(*outputs[:3], k)] += seen[..., channel : channel + 1] * kernel[channel, :]
    return y


def correlate_backward(
    x: Array,
    w: Array,
    dy: Array,
    *,
    stride: Any = 1,
    padding: Padding = "valid",
    dilation: Any = 1,
    groups: int = 1,
    need_dx: bool = True,
) -> tuple[Array | None, Array]:
    """The gradient of `correlate`: every term of its sum, read backwards.

    dw[i,j,c,k] = sum over n,p,q of x[n, s p + d i - top, t q + e j - left, c] dy[n,p,q,k]
    dx[n, s p + d i - top, t q + e j - left, c] gains w[i,j,c,k] dy[n,p,q,k], for every i,j,k,p,q.

    dy (N, P, Q, K) -> dx (N, H, W, C), or None without need_dx; dw (I, J, C/groups, K). Raises ShapeError as
    `correlate`, and for a dy of another shape.

    binary-sigmoid, "(1) dE/dk_ij" and "(3) dE/dx_i": dE/dK is the valid cross-correlation of X with dE/dY (printed
    there with the star of a convolution), dE/dX the full convolution of dE/dY with K. single-filter, "fill_dw", whose
    i and j run over the 26 x 26 feature map (28 is printed) and whose new_map is the one behind ReLU'.
    """
    xp, x, w, dy = real_arrays(x, w, dy)
    window = fitted(x, w, stride, padding, dilation, groups)
    check_shape("dy", dy, (x.shape[0], *window.outputs(x.shape[1], x.shape[2]), w.shape[3]), FORWARDS)
    dw = xp.zeros_like(w)
    dx = xp.zeros_like(x) if need_dx else None
    for offset, outputs, pixels in window.looks(x.shape[1], x.shape[2]):
        for c, k in _groups(w, groups):
            seen = xp.reshape(x[(*pixels[:3], c)], (-1, w.shape[2]))
            d = dy[(*outputs[:3], k)]
            here = (*offset, slice(None), k)
            dw[here] = xp.matmul(seen.T, xp.reshape(d, (-1, d.shape[3])))
            if dx is not None:
                dx[(*pixels[:3], c)] += _product(d, w[here].T)
    return dx, dw


def convolve(
    x: Array, w: Array, *, stride: Any = 1, padding: Padding = "valid", dilation: Any = 1, groups: int = 1
) -> Array:
    """y[n,p,q,k] = sum over i,j,c of x[n, s p + d i - top, t q + e j - left, c] w[I-1-i, J-1-j, c, k].

    The kernel is rotated by 180 degrees. Shapes and errors as `correlate`.

    two-conv eq. (1), layered eq. (15), where P and Q are the last kernel index, not the size; binary-sigmoid,
    "Convolution"; avgpool-96, "C_m(i, j)" and "C^2_n(i, j)", whose I(i-u, j-v) is I(i+2-u, j+2-v) for its valid
    convolution.
    """
    return correlate(x, rotate180(w), stride=stride, padding=padding, dilation=dilation, groups=groups)


def convolve_backward(
    x: Array,
    w: Array,
    dy: Array,
    *,
    stride: Any = 1,
    padding: Padding = "valid",
    dilation: Any = 1,
    groups: int = 1,
    need_dx: bool = True,
) -> tuple[Array | None, Array]:
    """The gradient of `convolve`; shapes as `correlate_backward`.

    two-conv eq. (2), (3), layered eq. (16), (17), with w = 0 outside the kernel: C_ijk depends on x_tuv through
    w_(P+si-t)(Q+sj-u)vk, and on w_ctuv through x_(si+P-c)(sj+Q-t)u. avgpool-96, "delta CP_m(i, j)",
    "Delta K^2_m,n(u, v)" and "Delta K_1,m": the kernel's gradient is the convolution of the rotated image with delta.
    Without the documents' -eta, which belongs to the optimiser.
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "need_dx": need_dx}
    dx, dw = correlate_backward(x, rotate180(w), dy, **options)
    return dx, rotate180(dw)


def transposed_correlate(
    x: Array,
    w: Array,
    size: tuple[int, int],
    *,
    stride: Any = 1,
    padding: Padding = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """y[n, s p + d i - top, t q + e j - left, c] gains w[i,j,c,k] x[n,p,q,k], for every i,j,k,p,q.

    x (N, P, Q, K), w (I, J, C/groups, K) -> y (N, H, W, C), size being (H, W). It is the dx of `correlate`, with x in
    the place of dy: as a matrix, a correlation (H W C -> P Q K) transposed. padding is that of the correlation, whose
    output must be (P, Q).

    Dumoulin and Visin, 2016, chapter 4, "Transposed convolution arithmetic"; Zeiler, Krishnan, Taylor and Fergus, 2010.
    Raises ShapeError when the sizes do not fit.
    """
    xp, x, w = real_arrays(x, w)
    C = w.shape[2] * groups
    y = xp.zeros((x.shape[0], *size, C), dtype=xp.result_type(x, w), device=x.device)
    window = fitted(y, w, stride, padding, dilation, groups)
    if tuple(x.shape[1:]) != (*window.outputs(*size), w.shape[3]):
        raise ShapeError(
            f"an image of shape {tuple(x.shape[1:])} was given; a correlation of one of {(*size, C)} with a kernel of "
            f"shape {tuple(w.shape)} gives {(*window.outputs(*size), w.shape[3])}"
        )
    for offset, outputs, pixels in window.looks(*size):
        for c, k in _groups(w, groups):
            y[(*pixels[:3], c)] += _product(x[(*outputs[:3], k)], w[(*offset, slice(None), k)].T)
    return y


def transposed_correlate_backward(
    x: Array,
    w: Array,
    dy: Array,
    *,
    stride: Any = 1,
    padding: Padding = "valid",
    dilation: Any = 1,
    groups: int = 1,
    need_dx: bool = True,
) -> tuple[Array | None, Array]:
    """The gradient of `transposed_correlate`, which is linear in x: the transposed of the transposed matrix.

    dx[n,p,q,k] = sum over i,j,c of w[i,j,c,k] dy[n, s p + d i - top, t q + e j - left, c]: `correlate` of dy.
    dw[i,j,c,k] = sum over n,p,q of x[n,p,q,k] dy[n, s p + d i - top, t q + e j - left, c]: the dw of `correlate`, whose
    image is dy and whose dy is x. dy is 0 where the padding has cut pixels off, so that a NaN of x reaches all dw.

    dy (N, H, W, C) -> dx (N, P, Q, K), or None without need_dx; dw (I, J, C/groups, K).
    """
    xp, x, w, dy = real_arrays(x, w, dy)
    window = fitted(dy, w, stride, padding, dilation, groups)
    (top, bottom), (left, right) = window.padding
    N, H, W, C = dy.shape
    check_shape("x", x, (N, *window.outputs(H, W), w.shape[3]), f"a dy of {(H, W)} pixels was given; {FORWARDS}")
    whole = xp.zeros((N, top + H + bottom, left + W + right, C), dtype=dy.dtype, device=dy.device)
    whole[:, top : top + H, left : left + W, :] = dy
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    _, dw = correlate_backward(whole, w, x, need_dx=False, **options)
    return correlate(whole, w, **options) if need_dx else None, dw


def rotate180(w: Array) -> Array:
    """w[I-1-i, J-1-j, c, k]: the kernel turned upside down and left to right. Its gradient is itself.

    binary-sigmoid, "Math Notation": its "I * K = I * rot180(K)" means that the convolution on the left is the
    cross-correlation on the right.
    """
    xp = array_namespace(w)
    try:
        return w[::-1, ::-1, ...]
    except ValueError:  # PyTorch knows no negative steps
        return xp.flip(w, axis=(0, 1))


def add_bias(y: Array, b: Array) -> Array:
    """y[..., k] + b[k]; or y[n,p,q,k] + b[p,q,k] when the bias is untied, one per output position.

    y (N, ..., K), b (K,) or (P, Q, K) -> the shape of y.

    two-conv eq. (17), layered eq. (2); binary-sigmoid, "y = B + X * k" (untied there: B is a matrix).
    Raises ShapeError when b is neither.
    """
    _, y, b = real_arrays(y, b)
    if tuple(b.shape) not in (tuple(y.shape[-1:]), tuple(y.shape[1:])):
        tied, untied = tuple(y.shape[-1:]), tuple(y.shape[1:])
        raise ShapeError(
            f"a bias of shape {tuple(b.shape)} fits no output of shape {untied}; {tied} or {untied} was expected"
        )
    return y + b


def add_bias_backward(dy: Array, bias_ndim: int) -> Array:
    """db: dy summed over the batch, and over all positions when the bias is tied (bias_ndim 1).

    dy (N, ..., K) -> (K,) or (P, Q, K).

    Tied: avgpool-96, "Delta b_n", "Delta b_m", "Delta b_1", "Delta b_2"; single-filter, "dc/db^1", "dc/db^2" and
    "d_filter_bias", where sum(dw) should be the sum of the feature map's gradient. Untied: two-conv eq. (18), layered
    eq. (6), binary-sigmoid, "(2) dE/db_i". Without -eta.
    """
    _, dy = real_arrays(dy)
    return summed(dy, tuple(range(dy.ndim - bias_ndim)))


def _product(a: Array, b: Array) -> Array:
    """(..., C) times (C, K), as one 2-D product."""
    xp = array_namespace(a)
    return xp.reshape(xp.matmul(xp.reshape(a, (-1, b.shape[0])), b), (*a.shape[:-1], b.shape[1]))


def _groups(w: Array, groups: int) -> Iterator[tuple[slice, slice]]:
    """The channels that each group sees, and those that it makes."""
    C, K = w.shape[2], w.shape[3] // groups
    return ((slice(g * C, (g + 1) * C), slice(g * K, (g + 1) * K)) for g in range(groups))


def fitted(x: Array, w: Array, stride: Any, padding: Padding, dilation: Any, groups: int) -> Window:
    """The window of this convolution, or a ShapeError that names what does not fit."""
    if x.ndim != 4 or w.ndim != 4:
        raise ShapeError(
            f"an image batch (N, H, W, C) and a kernel (I, J, C / groups, K) were expected, found shapes "
            f"{tuple(x.shape)} and {tuple(w.shape)}"
        )
    if x.shape[3] != w.shape[2] * positive(groups, "groups") or w.shape[3] % groups:
        raise ShapeError(
            f"an image of {x.shape[3]} channels does not fit a kernel of shape {tuple(w.shape)} in {groups} group(s); "
            f"{w.shape[2] * groups} channels, and filters that {groups} divides, were expected"
        )
    return convolution_window(tuple(w.shape[:2]), stride, padding, dilation, x.shape[1], x.shape[2])
