"""Winograd's convolutions on CUDA: exact matrices, the reference's numbers, float32's errors, and where they apply."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import nvrtc
import pytest
from fake_cuda import as_cuda, asarray, fake_cuda
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.kernels import REFERENCE, cuda
from gpucnn.kernels.cuda import columns as cuda_columns
from gpucnn.kernels.cuda import winograd
from gpucnn.kernels.cuda.columns import Columns
from gpucnn.kernels.cuda.sizes import options, source
from gpucnn.layers import Conv2D
from gpucnn.ops.window import Window

__all__ = ["fake_cuda"]

LAYERS = {  # of the named networks, on smaller images where these are large
    "two-conv-wide, second": ((14, 14, 32), Conv2D(64, 5, padding="same"), (2,)),
    "fast, second": ((8, 8, 16), Conv2D(48, 5), (2,)),
    "vgg-small, second": ((24, 24, 64), Conv2D(64, 3, padding="same"), (2, 4)),
    "vgg-small, fourth": ((8, 8, 128), Conv2D(128, 3, padding="same"), (2, 4)),
    "resnet20, first block": ((32, 32, 16), Conv2D(16, 3, padding="same"), (2, 4)),
}
COMPILED = [("two-conv-wide, second", 2), ("vgg-small, second", 2), ("vgg-small, second", 4)]
TILED = [(name, R) for name, (*_, tiles) in LAYERS.items() for R in tiles]


def made() -> winograd.Winograd:
    gpu = cuda.Gpu()
    return winograd.Winograd(gpu, Columns(gpu))


def computed(x, w, dy, window, R, *, flip=False):
    """y, dx and dw by tiles. flip: the kernel is given as a turned view of what is stored."""
    tiles = made()
    seen = asarray(np.ascontiguousarray(w[::-1, ::-1]))[::-1, ::-1] if flip else asarray(w)
    y, residual = tiles.correlate(asarray(x), seen, window, R)
    found = y, *tiles.correlate_backward(residual, seen, asarray(dy), True)
    return [np.asarray(each) for each in found]


def expected_of(x, w, dy, window):
    y, residual = REFERENCE.correlation.forward(x, w, window, 1)
    return [y, *REFERENCE.correlation.backward(residual, w, dy, True)]


def drawn(shape, convolution, N, dtype="float64", seed=0):
    rng, window = np.random.default_rng(seed), convolution.window_of(shape)
    x = rng.standard_normal((N, *shape)).astype(dtype)
    w = rng.standard_normal((*window.size, shape[2], convolution.filters)).astype(dtype)
    dy = rng.standard_normal((N, *window.outputs(*shape[:2]), convolution.filters)).astype(dtype)
    return x, w, dy, window


@pytest.mark.parametrize(("R", "I"), [(2, 2), (2, 3), (4, 3), (2, 5), (3, 4)])
def test_the_matrices_are_a_correlation_exactly(R, I):
    """With fractions, whatever the numbers: y[r] is the sum over i of w[i] x[r + i]."""
    of_pixels, of_kernel, of_products = (
        [[Fraction(each).limit_denominator(1000) for each in row] for row in matrix]
        for matrix in winograd.matrices(R, I)
    )
    assert all(each.denominator == 1 for row in of_pixels for each in row)
    w = [Fraction(k * k + 1, 3 + k) for k in range(I)]
    x = [Fraction(7 - 2 * k, 1 + k) for k in range(R + I - 1)]

    def times(matrix, vector):
        return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]

    products = [a * b for a, b in zip(times(of_kernel, w), times(of_pixels, x), strict=True)]
    assert times(of_products, products) == [sum(w[i] * x[r + i] for i in range(I)) for r in range(R)]


@st.composite
def layers(draw):
    """A convolution that tiles may take, and its image."""
    kernel = draw(st.sampled_from([(2, 2), (3, 3), (3, 2), (5, 5), (3, 5), (4, 3)]))
    rows, columns = (draw(st.tuples(st.integers(0, length - 1), st.integers(0, length - 1))) for length in kernel)
    shape = draw(st.integers(5, 11)), draw(st.integers(5, 11)), draw(st.integers(8, 18))
    return shape, Conv2D(draw(st.integers(8, 18)), kernel, padding=(rows, columns))


@given(layer=layers(), R=st.sampled_from([2, 4]), N=st.integers(1, 3), flip=st.booleans())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_tiles_give_the_references_numbers(layer, R, N, flip):
    shape, convolution = layer
    x, w, dy, window = drawn(shape, convolution, N)
    if R + max(window.size) - 1 > len(winograd.POINTS) + 1:
        return
    with as_cuda():
        found = computed(x, w, dy, window, R, flip=flip)
    for a, b in zip(found, expected_of(x, w, dy, window), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


@pytest.mark.parametrize("N", [0, 1, 5])
@pytest.mark.parametrize("DEEP", [256, 1])
def test_a_batch_may_be_taken_in_parts_and_its_sums_in_shares(N, DEEP, fake_cuda, monkeypatch):
    monkeypatch.setattr(winograd, "DEEP", DEEP)
    x, w, dy, window = drawn((8, 8, 9), Conv2D(10, 3, padding="same"), N)
    expected = expected_of(x, w, dy, window)
    for most in (1 << 28, 1):
        monkeypatch.setattr(cuda_columns, "COLUMNS", most)
        monkeypatch.setattr(cuda_columns, "ON_LARGE", most)
        for a, b in zip(computed(x, w, dy, window, 2), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max(initial=1))


def test_the_kernels_sum_is_cut_where_few_blocks_would_compute_it():
    assert winograd.shares([8192], 36, 64, 64) == 8
    assert winograd.shares([8192], 36, 256, 256) == 1
    assert winograd.shares([8192, 4096], 16, 64, 64) == 16
    assert winograd.shares([511], 36, 64, 64) == 1
    assert winograd.shares([], 36, 64, 64) == 8  # an empty batch is cut, too


def test_without_cublas_cupy_multiplies(fake_cuda, monkeypatch):
    x, w, dy, window = drawn((8, 8, 9), Conv2D(10, 3, padding="same"), 2)
    monkeypatch.setattr(cuda.cublas, "load", lambda: None)
    for a, b in zip(computed(x, w, dy, window, 2), expected_of(x, w, dy, window), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


def test_products_are_in_float32_whatever_the_precision(fake_cuda):
    x, w, _, window = drawn((8, 8, 9), Conv2D(10, 3, padding="same"), 2, "float32")
    for precision in cuda.cublas.PRECISIONS:
        gpu = cuda.Gpu(precision)
        fake_cuda.computed.clear()
        winograd.Winograd(gpu, Columns(gpu)).correlate(asarray(x), asarray(w), window, 2)
        assert set(fake_cuda.computed) == {cuda.cublas.COMPUTE["float32", "float32"]}


def one_after_the_other(a, b, out=None, *, add=False):
    """Products (..., M, K) (..., K, N) of float32 numbers, each a sum in order: as inexact as a product may be."""
    total = np.zeros((*a.shape[:-1], b.shape[-1]), np.float32)
    for k in range(a.shape[-1]):
        total += np.asarray(a)[..., k, None] * np.asarray(b)[..., k, None, :]
    if out is not None:
        out[...] = out + total if add else total
    return total


def plain(x, w, dy, window):
    """y, dx and dw, each number one sum of float32 numbers, one after the other."""
    (I, J, C, K), (N, H, W, _), (P, Q) = w.shape, x.shape, dy.shape[1:3]
    (top, bottom), (left, right) = window.padding
    seen = np.pad(x, ((0, 0), window.padding[0], window.padding[1], (0, 0)))
    around = np.pad(dy, ((0, 0), (I - 1 - top, I - 1 - bottom), (J - 1 - left, J - 1 - right), (0, 0)))
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    for i in range(I):
        for j in range(J):
            for c in range(C):
                y += seen[:, i : i + P, j : j + Q, c, None] * w[i, j, c]
            for k in range(K):
                dx += around[:, i : i + H, j : j + W, k, None] * w[I - 1 - i, J - 1 - j, :, k]
            for n, p, q in np.ndindex(N, P, Q):
                dw[i, j] += seen[n, p + i, q + j, :, None] * dy[n, p, q]
    return [y, dx, dw]


@pytest.mark.parametrize(("name", "R"), TILED)
def test_float32_is_at_most_four_times_as_far_off_as_a_plain_sum(name, R, fake_cuda, monkeypatch):
    """y, dx and dw, layer by layer; and the same bits in two runs."""
    shape, convolution, _ = LAYERS[name]
    x, w, dy, window = drawn(shape, convolution, 1, "float32")
    assert winograd.applies(shape, convolution.filters, window, R)
    found = computed(x, w, dy, window, R)
    for a, b in zip(found, computed(x, w, dy, window, R), strict=True):
        np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(cuda.cublas.Products, "each", lambda _, *args, **options: one_after_the_other(*args, **options))
    in_order = computed(x, w, dy, window, R)
    exact = expected_of(*(each.astype(np.float64) for each in (x, w, dy)), window)
    for what, ours, ordered, theirs, right in zip(
        ("y", "dx", "dw"), found, in_order, plain(x, w, dy, window), exact, strict=True
    ):
        error = np.abs(theirs - right).max()
        assert np.abs(ours - right).max() <= 4 * error, what
        assert np.abs(ordered - right).max() <= 4 * error, what


@pytest.mark.parametrize(("size", "N"), [(8, 1), (8, 8), (4, 8), (4, 32)])
def test_the_kernels_gradient_is_by_tiles_only_where_that_is_exact_enough(size, N, fake_cuda):
    """Few numbers in each of its sums: a plain sum's error is small, and so must be that of tiles."""
    x, w, dy, window = drawn((size, size, 16), Conv2D(16, 3, padding="same"), N, "float32")
    exact = expected_of(*(each.astype(np.float64) for each in (x, w, dy)), window)
    for R in (2, 4):
        error = np.abs(plain(x, w, dy, window)[2] - exact[2]).max()
        assert np.abs(computed(x, w, dy, window, R)[2] - exact[2]).max() <= 4 * error


@pytest.mark.parametrize(
    ("kernel", "R", "N", "by_tiles"),
    [(3, 4, 8, True), (3, 4, 7, False), (3, 2, 1, True), (5, 2, 512, False), ((3, 5), 2, 512, False)],
)
def test_when_the_kernels_gradient_is_by_tiles(kernel, R, N, by_tiles):
    window = Conv2D(16, kernel, padding="same").window_of((8, 8, 16))
    assert winograd.Problem((8, 8, 16), 16, window, R, False).sums_kernel_gradient(N) == by_tiles


@pytest.mark.parametrize(
    ("shape", "filters", "window", "R", "fits"),
    [
        ((32, 32, 64), 64, Window((3, 3), (1, 1), ((1, 1), (1, 1))), 4, True),
        ((32, 32, 64), 64, Window((3, 3), (2, 2), ((1, 1), (1, 1))), 4, False),  # a stride
        ((32, 32, 64), 64, Window((3, 3), dilation=(2, 2)), 4, False),
        ((32, 32, 64), 64, Window((3, 3), (1, 1), ((3, 3), (1, 1))), 4, False),  # outputs that see no pixel
        ((32, 32, 64), 64, Window((1, 1)), 2, False),
        ((32, 32, 64), 64, Window((7, 7)), 2, False),
        ((32, 32, 64), 64, Window((5, 5)), 4, False),  # a sixth point, whose float32 errors are too large
        ((32, 32, 64), 64, Window((5, 5)), 2, True),
        ((32, 32, 3), 64, Window((3, 3)), 2, False),
        ((32, 32, 8), 64, Window((3, 3)), 2, True),
        ((32, 32, 8), 64, Window((3, 3)), 4, False),  # few channels: float32 errors are too large
        ((4, 4, 64), 64, Window((3, 3)), 4, False),  # a tile of which a quarter is used
        ((2, 2, 64), 64, Window((3, 3)), 2, False),  # no outputs
    ],
)
def test_where_tiles_apply(shape, filters, window, R, fits):
    assert winograd.applies(shape, filters, window, R) == fits


@pytest.mark.parametrize(("name", "R"), COMPILED)
def test_the_kernels_compile_without_a_warning_and_without_a_spill(name, R):
    shape, convolution, _ = LAYERS[name]
    problem = winograd.Problem(shape, convolution.filters, convolution.window_of(shape), R, False)
    for each in (problem, problem.turned):
        for architecture in nvrtc.ARCHITECTURES:
            for kernel, use in nvrtc.compiled(source(each.sizes()), options("float32", False), architecture).items():
                assert use.stack == use.spilled == 0, f"{kernel} on {architecture}: {use}"
                assert use.registers <= 128, f"{kernel} on {architecture}: {use}"
