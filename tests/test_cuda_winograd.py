"""Winograd's convolutions on CUDA: exact matrices, the reference's numbers, float32's errors, and where they apply."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import nvrtc
import pytest
from conftest import usable_gpu
from fake_cuda import as_cuda, asarray, fake_cuda
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.device import Device
from gpucnn.kernels import REFERENCE, cuda
from gpucnn.kernels.cuda import columns as cuda_columns
from gpucnn.kernels.cuda import winograd
from gpucnn.kernels.cuda.columns import Columns
from gpucnn.kernels.cuda.sizes import options, source
from gpucnn.layers import Conv2D
from gpucnn.ops.window import Window

__all__ = ["fake_cuda"]

LAYERS = {  # of the named networks, on smaller images where these are large; and the fewest channels
    "vgg-small, second": ((12, 12, 64), Conv2D(64, 3, padding="same")),
    "vgg-small, fourth": ((8, 8, 128), Conv2D(128, 3, padding="same")),
    "resnet20, first block": ((16, 16, 16), Conv2D(16, 3, padding="same")),
    "small": ((8, 8, 16), Conv2D(24, 3, padding="same")),
}


def made() -> winograd.Winograd:
    gpu = cuda.Gpu()
    return winograd.Winograd(gpu, Columns(gpu))


def computed(x, w, dy, window, *, flip=False):
    """y, dx and dw by tiles. flip: the kernel is given as a turned view of what is stored."""
    tiles = made()
    seen = asarray(np.ascontiguousarray(w[::-1, ::-1]))[::-1, ::-1] if flip else asarray(w)
    y, residual = tiles.correlate(asarray(x), seen, window)
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


def test_the_matrices_are_a_correlation_exactly():
    """With fractions, whatever the numbers: y[r] is the sum over i of w[i] x[r + i]."""
    of_pixels, of_kernel, of_products = (
        [[Fraction(each) for each in row] for row in matrix]
        for matrix in (winograd.OF_PIXELS, winograd.OF_KERNEL, winograd.OF_PRODUCTS)
    )
    w = [Fraction(k * k + 1, 3 + k) for k in range(3)]
    x = [Fraction(7 - 2 * k, 1 + k) for k in range(4)]

    def times(matrix, vector):
        return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]

    products = [a * b for a, b in zip(times(of_kernel, w), times(of_pixels, x), strict=True)]
    assert times(of_products, products) == [sum(w[i] * x[r + i] for i in range(3)) for r in range(2)]


@st.composite
def layers(draw):
    """A convolution that tiles may take, and its image."""
    rows, columns = (draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(2))
    shape = draw(st.integers(5, 11)), draw(st.integers(5, 11)), draw(st.integers(8, 18))
    return shape, Conv2D(draw(st.integers(8, 18)), 3, padding=(rows, columns))


@pytest.fixture
def by_tiles(monkeypatch):
    """The kernel's gradient, too, however few images there are."""
    monkeypatch.setattr(winograd, "LONG", 0)


@given(layer=layers(), N=st.integers(1, 3), flip=st.booleans())
@settings(max_examples=12)
def test_tiles_give_the_references_numbers(layer, N, flip):
    shape, convolution = layer
    x, w, dy, window = drawn(shape, convolution, N)
    for least in (0, winograd.LONG):  # the kernel's gradient by tiles, and of few images by columns
        with as_cuda(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(winograd, "LONG", least)
            found = computed(x, w, dy, window, flip=flip)
        for a, b in zip(found, expected_of(x, w, dy, window), strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


@pytest.mark.parametrize("N", [0, 1, 5])
@pytest.mark.parametrize("DEEP", [256, 1])
def test_a_batch_may_be_taken_in_parts_and_its_sums_in_shares(N, DEEP, by_tiles, fake_cuda, monkeypatch):
    monkeypatch.setattr(winograd, "DEEP", DEEP)
    x, w, dy, window = drawn((8, 8, 9), Conv2D(10, 3, padding="same"), N)
    expected = expected_of(x, w, dy, window)
    for most in (1 << 28, 1):
        monkeypatch.setattr(cuda_columns, "COLUMNS", most)
        monkeypatch.setattr(cuda_columns, "ON_LARGE", most)
        for a, b in zip(computed(x, w, dy, window), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max(initial=1))


def test_the_kernels_sum_is_cut_where_few_blocks_would_compute_it():
    assert winograd.shares([8192], 64, 64) == 32
    assert winograd.shares([8192], 256, 256) == 2
    assert winograd.shares([8192, 4096], 64, 64) == 16
    assert winograd.shares([511], 64, 64) == 1
    assert winograd.shares([], 64, 64) == 32  # an empty batch is cut, too


def test_without_cublas_cupy_multiplies(fake_cuda, monkeypatch):
    x, w, dy, window = drawn((8, 8, 9), Conv2D(10, 3, padding="same"), 2)
    monkeypatch.setattr(cuda.cublas, "load", lambda: None)
    for a, b in zip(computed(x, w, dy, window), expected_of(x, w, dy, window), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


def test_products_are_in_float32_whatever_the_precision(fake_cuda):
    x, w, _, window = drawn((8, 8, 9), Conv2D(10, 3, padding="same"), 2, "float32")
    for precision in cuda.cublas.PRECISIONS:
        gpu = cuda.Gpu(precision)
        fake_cuda.computed.clear()
        winograd.Winograd(gpu, Columns(gpu)).correlate(asarray(x), asarray(w), window)
        assert set(fake_cuda.computed) == {cuda.cublas.COMPUTE["float32", "float32"]}


def one_after_the_other(a, b, out=None, *, add=False):
    """Products (..., M, K) (..., K, N) of float32 numbers, each a sum in order: as inexact as a product may be."""
    total = np.zeros((*a.shape[:-1], b.shape[-1]), np.float32)
    for k in range(a.shape[-1]):
        total += np.asarray(a)[..., k, None] * np.asarray(b)[..., k, None, :]
    if out is not None:
        there = np.asarray(out)
        there[...] = there + total if add else total
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


KINDS = "dense", "behind ReLU", "behind a pool", "nearly all 0"


def of_kind(kind, x, dy, seed):
    """Numbers as a training has them: behind ReLU, gradients behind a max pool, and where nearly all are 0."""
    rng = np.random.default_rng(seed)
    if kind != "dense":
        x = np.maximum(x, 0)
    if kind == "behind a pool":
        winners = np.zeros(dy.shape, bool)
        winners[:, ::2, ::2] = True
        dy = np.where(winners & (rng.random(dy.shape) < 0.5), dy, 0)
    if kind == "nearly all 0":
        x, dy = (np.where(rng.random(a.shape) < 0.05, a, 0) for a in (x, dy))
    return x.astype(np.float32), dy.astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYERS)
def test_float32_is_at_most_four_times_as_far_off_as_a_plain_sum(name, kind, fake_cuda, monkeypatch):
    """y, dx and dw, layer by layer; and the same bits in two runs."""
    shape, convolution = LAYERS[name]
    for seed in range(4 if shape[2] < 64 else 1):
        x, w, dy, window = drawn(shape, convolution, 1 + seed % 2, "float32", seed)
        x, dy = of_kind(kind, x, dy, seed)
        assert winograd.applies(shape, convolution.filters, window)
        found = computed(x, w, dy, window)
        for a, b in zip(found, computed(x, w, dy, window), strict=True):
            np.testing.assert_array_equal(a, b)
        with monkeypatch.context() as patch:
            each = lambda _, *args, **options: one_after_the_other(*args, **options)  # noqa: E731
            patch.setattr(cuda.cublas.Products, "each", each)
            in_order = computed(x, w, dy, window)
        exact = expected_of(*(each.astype(np.float64) for each in (x, w, dy)), window)
        for what, ours, ordered, theirs, right in zip(
            ("y", "dx", "dw"), found, in_order, plain(x, w, dy, window), exact, strict=True
        ):
            error = np.abs(theirs - right).max()
            assert np.abs(ours - right).max() <= 4 * error, (what, seed)
            assert np.abs(ordered - right).max() <= 4 * error, (what, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernels_gradient_by_tiles_is_as_exact(kind, fake_cuda):
    """Where its sums are of the fewest numbers."""
    shape, convolution = LAYERS["small"]
    for seed in range(4):
        x, w, dy, window = drawn(shape, convolution, 16, "float32", seed)
        x, dy = of_kind(kind, x, dy, seed)
        assert winograd.Problem(shape, convolution.filters, window, False).sums_kernel_gradient(16)
        right = expected_of(*(each.astype(np.float64) for each in (x, w, dy)), window)[2]
        error = np.abs(plain(x, w, dy, window)[2] - right).max()
        assert np.abs(computed(x, w, dy, window)[2] - right).max() <= 4 * error, seed


def test_when_the_kernels_gradient_is_by_tiles():
    problem = winograd.Problem((8, 8, 16), 16, Conv2D(16, 3, padding="same").window_of((8, 8, 16)), False)
    assert [problem.sums_kernel_gradient(N) for N in (1, 15, 16, 512)] == [False, False, True, True]


def done_on(device, work, recorded):
    """The arrays that work() makes, on the host; recorded: as a graph makes them."""
    found = work()
    if recorded:
        kept = [0 * each for each in found]

        def into() -> None:
            for place, each in zip(kept, work(), strict=True):
                place[...] = each

        into()  # what is compiled at its first use cannot be recorded
        for place in kept:
            place[...] = 0
        device.record(into).replay()
        found = kept
    return [device.fetch(each) for each in found]


@pytest.mark.gpu
@pytest.mark.skipif(not usable_gpu(), reason="no CUDA device can be used here")
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("N", [1, 5])
@pytest.mark.parametrize("name", LAYERS)
def test_a_gpu_gives_the_references_numbers(name, N, flip, recorded, by_tiles):
    shape, convolution = LAYERS[name]
    x, w, dy, window = drawn(shape, convolution, N)
    device, tiles = Device("cuda"), made()
    images, gradients = device.put(x), device.put(dy)
    kernel = device.put(np.ascontiguousarray(w[::-1, ::-1]))[::-1, ::-1] if flip else device.put(w)

    def work():
        y, residual = tiles.correlate(images, kernel, window)
        return y, *tiles.correlate_backward(residual, kernel, gradients, True)

    with device.activate():
        found = done_on(device, work, recorded)
    for a, b in zip(found, expected_of(x, w, dy, window), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())


@pytest.mark.parametrize(
    ("shape", "filters", "window", "fits"),
    [
        ((32, 32, 64), 64, Window((3, 3), (1, 1), ((1, 1), (1, 1))), True),
        ((32, 32, 64), 64, Window((3, 3), (2, 2), ((1, 1), (1, 1))), False),  # a stride
        ((32, 32, 64), 64, Window((3, 3), dilation=(2, 2)), False),
        ((32, 32, 64), 64, Window((3, 3), (1, 1), ((3, 3), (1, 1))), False),  # outputs that see no pixel
        ((32, 32, 64), 64, Window((1, 1)), False),
        ((32, 32, 64), 64, Window((2, 3)), False),
        ((32, 32, 64), 64, Window((5, 5)), False),
        ((32, 32, 15), 64, Window((3, 3)), False),
        ((32, 32, 16), 16, Window((3, 3)), True),
        ((32, 32, 64), 15, Window((3, 3)), False),
        ((3, 3, 64), 64, Window((3, 3)), False),  # a tile of which a quarter is used
        ((2, 2, 64), 64, Window((3, 3)), False),  # no outputs
    ],
)
def test_where_tiles_apply(shape, filters, window, fits):
    assert winograd.applies(shape, filters, window) == fits


def test_the_kernels_compile_without_a_warning_and_without_a_spill():
    shape, convolution = LAYERS["vgg-small, second"]
    problem = winograd.Problem(shape, convolution.filters, convolution.window_of(shape), False)
    for each in (problem, problem.turned):
        for architecture in nvrtc.ARCHITECTURES:
            for kernel, use in nvrtc.compiled(source(each.sizes()), options("float32", False), architecture).items():
                assert use.stack == use.spilled == 0, f"{kernel} on {architecture}: {use}"
                assert use.registers <= 128, f"{kernel} on {architecture}: {use}"
