"""The CUDA kernels: they compile for a GPU, and compiled for the CPU they give the reference's numbers."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import nvrtc
import predicted
import pytest
import special
from cases import CASES, fuse, kept, told
from conftest import usable_gpu
from fake_cuda import RawModule, any_cuda, as_cuda, asarray, asnumpy, fake_cuda, nothing_is_computed, signatures
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.engine.rewrite import rewritten
from gpucnn.engine.scaling import Scaling
from gpucnn.errors import DeviceError, ShapeError
from gpucnn.kernels import REFERENCE, Factors, cuda
from gpucnn.kernels.cuda import columns as cuda_columns
from gpucnn.kernels.cuda import cublas, depthwise, direct, winograd
from gpucnn.kernels.cuda import layers as cuda_layers
from gpucnn.kernels.cuda import pools as cuda_pools
from gpucnn.kernels.cuda.sizes import WITHOUT, Sizes, options, placed, side_by_side, source, without
from gpucnn.kernels.cuda.step import pack
from gpucnn.kernels.cuda.tensor_problem import After, problem_of
from gpucnn.layers import Conv2D, MaxPool2D, ReLU
from gpucnn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from gpucnn.network import Network
from gpucnn.network.layout import Layout
from gpucnn.networks import NETWORKS
from gpucnn.ops.window import Window
from gpucnn.optimizers import SGD, Adam, AdamW, Lion, RMSprop

VARIANTS = list(itertools.product(("float32", "float64"), (False, True)))
POOL, CONVOLUTION = cuda_pools.pool_constants(Window((2, 2), (2, 2)), (9, 8, 4)), placed(Window((3, 3)), (9, 8, 4))
OF_COLUMNS = (("d", 1), ("e", 1), ("G", 4), ("flipped", 0))
NARROW = direct.Problem((9, 8, 4), 5, Window((3, 3)), Window((2, 2), (2, 2)), True, True, False, 8)
WIDE = problem_of((9, 8, 16), 20, Window((3, 3)), False)
SIZES = {
    **{each.files[-1]: each for each in WITHOUT},
    "columns": Sizes(("columns.cu",), (*CONVOLUTION, *OF_COLUMNS, ("V", 1))),
    "columns, four channels at once": Sizes(("columns.cu",), (*CONVOLUTION, *OF_COLUMNS, ("V", 4))),
    "on tensor cores": WIDE.sizes("tensor_correlate.cu", 2),
    "on tensor cores, with bias and ReLU": WIDE._replace(after=After(relu=True)).sizes("tensor_correlate.cu", 2),
    "on tensor cores, with a pool": WIDE._replace(after=After(relu=True, pool=True)).sizes("tensor_correlate.cu", 2),
    "on tensor cores, image's gradient": WIDE.of_image.sizes("tensor_correlate.cu", 1),
    "on tensor cores, kernel's gradient": WIDE.sizes("tensor_kernel_gradient.cu", 0),
    "winograd": winograd.Problem((9, 8, 4), 5, Window((3, 3)), False).sizes(),
    "max pools": Sizes(("max_pools.cu",), POOL),
    "average pools": Sizes(("average_pools.cu",), (*POOL, ("count_padding", 1), ("bottom", 0), ("right", 0))),
    "depthwise": depthwise.sizes_of(Window((3, 3), (2, 2), ((1, 1), (1, 1))), (9, 8, 40), 40),
    "depthwise, times two": depthwise.sizes_of(Window((5, 5), dilation=(2, 1)), (9, 8, 3), 6),
    "direct": direct.forward(NARROW).sizes,
    "direct, kernel's gradient": direct.kernel_gradient(NARROW).sizes,
    "direct, image's gradient": direct.image_gradient(NARROW).sizes,
}
TOLERANCE = {"float64": 1e-11, "float32": 2e-5}

__all__ = ["any_cuda", "fake_cuda", "nothing_is_computed"]


class Example:
    """A case of cases.py: parameters, an input and an output gradient, the same for every table."""

    def __init__(self, network: Network, batch: int, draw: str, dtype: str) -> None:
        self.network, rng = network, np.random.default_rng(11)
        self.layout = Layout(network.init(network.input_shape, rng))

        def drawn(*shape: int) -> np.ndarray:
            return (rng.standard_normal(shape) if draw == "reals" else rng.integers(-1, 2, shape)).astype(dtype)

        self.theta, self.x = drawn(self.layout.size), drawn(batch, *network.input_shape)
        self.dy = rng.standard_normal((batch, *network.shapes()[-1])).astype(dtype)

    def run(self, put, fetch, kernels, network=None) -> list[np.ndarray]:
        """Output, input gradient, and each parameter's gradient; a residual is read twice."""
        network = network or self.network
        layout = Layout(network.init(network.input_shape, np.random.default_rng(0)))
        params, context = layout.unpack(put(self.theta)), told(network, kernels, range(len(self.x)), put, self.x.dtype)
        y, residuals = network.forward(params, put(self.x), context)
        network.backward(params, kept(residuals), put(self.dy), context)
        dx, dparams = network.backward(params, residuals, put(self.dy), context)
        return [fetch(each) for each in (y, dx, *leaves(dparams))]


def leaves(params):
    for value in params.values():
        yield from leaves(value) if isinstance(value, dict) else (value,)


def assert_same(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max(initial=0)))


def check(case, batch, draw, dtype, put, fetch, *, tables=None):
    """Each case, and what the peephole makes of it, beside the reference on NumPy."""
    layers, shape = CASES[case]
    example = Example(Network(shape, layers), batch, draw, dtype)
    expected = example.run(np.array, np.asarray, REFERENCE)
    table = tables or cuda.table(dtype=dtype)
    for network in {example.network, fuse(example.network), rewritten(example.network, table)}:
        assert_same(example.run(put, fetch, table, network), expected, TOLERANCE[dtype])


def compiled_by_a_step(network: str) -> dict[tuple[str, tuple[str, ...]], None]:
    """What a training step of the named network compiles, as (code, options)."""
    found: dict[tuple[str, tuple[str, ...]], None] = {}
    table = cuda.table()
    table.gpu.xp.RawModule = lambda code, options: found.setdefault((code, options)) or RawModule(code, options)
    predicted.run_step(table, network, 128)
    return found


LARGE = ("record", "vgg-small", "resnet20", "allcnn", "mobile-small")  # whose many kernels take long to compile


@nvrtc.on_each
@pytest.mark.parametrize(
    "network", [pytest.param(each, marks=pytest.mark.slow) if each in LARGE else each for each in NETWORKS]
)
def test_the_kernels_of_a_network_compile_for_every_gpu_without_a_warning_and_without_a_spill(
    network, architecture, fake_cuda, nothing_is_computed
):
    nvrtc.library()
    for code, flags in compiled_by_a_step(network):
        uses = nvrtc.compiled(code, flags, architecture)
        assert uses.keys() == signatures(code).keys()
        for name, use in uses.items():
            assert use.stack == use.spilled == 0, f"{name}: {use}"
            assert use.shared <= 48 * 1024, f"{name}: {use}"


@nvrtc.on_each
@pytest.mark.parametrize(
    ("dtype", "wide"),
    [pytest.param(*each, marks=pytest.mark.slow if each == ("float64", True) else ()) for each in VARIANTS],
)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_each_file_compiles_for_every_type(sizes, dtype, wide, architecture):
    """But for those of float32 alone."""
    if dtype == "float64" and "tensor.cu" in sizes.files:
        return
    code = source(sizes)
    assert nvrtc.compiled(code, options(dtype, wide), architecture).keys() == signatures(code).keys()


def test_every_name_of_cupy_that_is_used_is_there():
    """What the stand-in offers is all that the code can use; CuPy must have each of it."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    import fake_cuda

    fake = fake_cuda.module()
    used = [name for name in vars(fake) if name[0] != "_" and name != "cuda"]
    assert all(hasattr(cupy, name) for name in used)
    assert all(hasattr(cupy.cuda, name) for name in vars(fake.cuda))
    assert all(hasattr(cupy.cuda.Stream, name) for name in ("begin_capture", "end_capture", "is_capturing"))
    assert hasattr(cupy.cuda.Graph, "launch")


def test_no_kernel_is_overlooked():
    """The stand-in finds kernels by their first lines."""
    for sizes in SIZES.values():
        code = source(sizes)
        assert code.count("\nKERNEL ") + code.count("\nBLOCK_KERNEL ") == len(signatures(code))
        assert code.count("__global__") == 2  # both macros' definitions
    seen = {file for sizes in SIZES.values() for file in sizes.files} | {"common.cu"}
    assert seen == {each.name for each in Path(cuda.__file__).parent.glob("*.cu")}


def test_a_kernel_that_knows_no_sizes_is_compiled_with_its_own_files_alone():
    names = [name for each in WITHOUT for name in signatures(source(each))]
    assert len(set(names)) == len(names)
    assert all(without(name) is each for each in WITHOUT for name in signatures(source(each)))


def test_a_table_compiles_no_more_than_it_begins_with(fake_cuda, monkeypatch):
    found: list[str] = []
    monkeypatch.setattr(
        sys.modules["cupy"], "RawModule", lambda code, options: found.append(code) or RawModule(code, options)
    )
    cuda.table()
    assert found == [source(without("prepare"))]


@pytest.mark.parametrize("case", CASES)
def test_every_case_gives_the_references_numbers(case, fake_cuda):
    for draw in ("reals", "small integers"):
        check(case, 3, draw, "float64", asarray, np.asarray)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if k % 3 else ()) for k, case in enumerate(CASES)]
)
def test_every_case_in_float32(case, fake_cuda):
    check(case, 1, "reals", "float32", asarray, np.asarray)


def test_channel_sums(fake_cuda):
    x = np.random.default_rng(1).standard_normal((40, 6, 5, 3))
    for each in (x, x[:, 0, 0, :]):
        found = np.asarray(cuda.table(dtype="float64").channel_sums(asarray(each)))
        np.testing.assert_allclose(found, each.reshape(-1, 3).sum(0), rtol=1e-12)


@pytest.mark.parametrize(
    "case", ["conv", "conv groups", "max pool padded", "two blocks", "average pool same", "dense", "batch norm"]
)
def test_an_empty_batch_is_no_error(case, fake_cuda):
    check(case, 0, "reals", "float64", asarray, np.asarray)


@pytest.mark.parametrize(
    "case", ["conv padded strided", "conv groups", "two blocks", "average pool same", "tanh", "batch norm"]
)
def test_indices_of_64_bits_give_the_same_numbers(case, fake_cuda, monkeypatch):
    monkeypatch.setattr(cuda, "MOST", 1)
    check(case, 3, "reals", "float64", asarray, np.asarray)


@pytest.mark.parametrize("case", ["conv same", "conv groups", "conv depthwise times two", "conv 1x1"])
@pytest.mark.parametrize("batch", [1, 5])
def test_a_batch_may_be_taken_in_parts(case, batch, fake_cuda, monkeypatch):
    monkeypatch.setattr(cuda_columns, "COLUMNS", 1)
    monkeypatch.setattr(cuda_columns, "ON_LARGE", 1)
    check(case, batch, "reals", "float64", asarray, np.asarray)


@pytest.mark.parametrize(
    ("memory", "limit", "most"), [(16, 0, 256), (48, 0, 384), (139, 0, 512), (139, 16, 256)], ids=str
)
def test_columns_are_a_small_part_of_a_devices_memory(memory, limit, most, fake_cuda, monkeypatch):
    """Gigabytes of the device, and of CuPy's limit; megabytes of columns."""
    cupy = cuda.table().gpu.xp
    monkeypatch.setattr(cupy.cuda.runtime, "memGetInfo", lambda: (0, memory << 30))
    monkeypatch.setattr(cupy.get_default_memory_pool(), "get_limit", lambda: limit << 30)
    assert cuda_columns.Columns(cuda.Gpu()).most == most << 20


@pytest.mark.parametrize("case", ["max pool", "max pool overlap", "block", "block all ties", "block pooled first"])
def test_pools_too_large_for_their_codes_go_to_the_reference(case, fake_cuda, monkeypatch):
    monkeypatch.setattr(cuda_pools, "CODES", 2)
    check(case, 2, "small integers", "float64", asarray, np.asarray)


@pytest.mark.parametrize("case", ["conv", "block", "dense", "batch norm", "batch norm after dense"])
@pytest.mark.parametrize("batch", [40, 300])
def test_many_rows_are_summed_in_parts(case, batch, fake_cuda, monkeypatch):
    monkeypatch.setattr(cuda_layers, "SUMMED", 5)
    check(case, batch, "reals", "float64", asarray, np.asarray)


@pytest.mark.parametrize(("slope", "ties"), list(itertools.product((0.0, 0.5, 1.0), ("first", "all"))))
@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.0])
def test_every_window_of_minus_one_zero_and_one(slope, ties, bias, fake_cuda):
    windows = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=4))).reshape(81, 2, 2, 1)
    network = Network((2, 2, 1), (Conv2D(1, 1), ReLU(slope), MaxPool2D(ties=ties)))
    example = Example(network, 81, "reals", "float64")
    example.theta, example.x = np.array([1.0, bias]), windows
    expected = example.run(np.array, np.asarray, REFERENCE)
    for each in (network, fuse(network)):
        for a, b in zip(example.run(asarray, np.asarray, cuda.table(), each), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-15, atol=1e-13)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "case", ["max pool", "max pool padded", "max pool all ties", "relu", "average pool", "sigmoid"]
)
def test_what_is_not_finite_goes_where_the_reference_sends_it(case, value, fake_cuda):
    layers, shape = CASES[case]
    example = Example(Network(shape, layers), 2, "reals", "float64")
    example.x[0, 1, 1], example.x[1, :2, :2], example.dy[1, -1] = value, value, value
    with np.errstate(all="ignore"):
        expected = example.run(np.array, np.asarray, REFERENCE)
        found = example.run(asarray, np.asarray, cuda.table(dtype="float64"))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("case", ["block", "block all ties", "block slope 0"])
def test_nan_in_a_fused_block(case, fake_cuda):
    layers, shape = CASES[case]
    example = Example(Network(shape, layers), 2, "reals", "float64")
    example.x[0, 3, 3] = np.nan
    with np.errstate(all="ignore"):
        expected = example.run(np.array, np.asarray, REFERENCE)
        found = example.run(asarray, np.asarray, cuda.table(dtype="float64"), fuse(example.network))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("case", CASES)
def test_every_case_of_special_values(case, fake_cuda):
    layers, shape = CASES[case]
    for draw, exact in (*((draw, False) for draw in special.DRAWS), ("nan", True), ("signed zeros", True)):
        example = Example(Network(shape, layers), 3, "reals", "float64")
        example.x = special.drawn(draw, example.x.shape)
        if draw == "denormal":
            special.silence_biases(example.layout, example.theta)
        fused = () if draw in ("nan", "infinite") else (fuse(example.network),)
        with np.errstate(all="ignore"):
            expected = example.run(np.array, np.asarray, REFERENCE)
            for network in (example.network, *fused):
                found = example.run(asarray, np.asarray, cuda.table(dtype="float64", exact_ties=exact), network)
                special.assert_alike(found, expected, spreads=draw in ("nan", "infinite"))


def test_inputs_with_gaps_are_copied(fake_cuda):
    table, rng = cuda.table(dtype="float64"), np.random.default_rng(0)
    x = asarray(rng.standard_normal((4, 9, 8, 3)))[::2, ::-1, 1:7]
    w = asarray(rng.standard_normal((3, 2, 3, 4)))[::-1, ::-1]
    window = Conv2D(4, (3, 2)).window_of(x.shape[1:])
    dy = asarray(rng.standard_normal((4, *window.outputs(*x.shape[1:3]), 2))).transpose(3, 1, 2, 0)
    found = []
    for kernels in (table, REFERENCE):
        y, seen = kernels.correlation.forward(x, w, window, 1)
        found.append((y, *kernels.correlation.backward(seen, w, dy, True)))
    assert_same(*found, 1e-11)


@pytest.mark.parametrize("shift", [0, 1, 4])
def test_four_numbers_are_copied_at_once_only_from_where_that_can_be(shift, fake_cuda):
    rng, gpu = np.random.default_rng(0), cuda.Gpu()
    columns, window = cuda_columns.Columns(gpu), Conv2D(3, 3, padding="same").window_of((5, 4, 8))
    memory, w = asarray(np.zeros(shift + 2 * 5 * 4 * 8)), rng.standard_normal((3, 3, 8, 3))
    x, dy = rng.standard_normal((2, 5, 4, 8)), rng.standard_normal((2, 5, 4, 3))
    memory[shift:] = asarray(x.ravel())
    here = memory[shift:].reshape(x.shape)
    assert side_by_side(gpu, 8, arrays=(here,)) == (1 if shift == 1 else 4)
    y, seen = columns.correlate(here, asarray(w), window, 1)
    found = y, *columns.correlate_backward(seen, asarray(w), asarray(dy), True)
    expected, seen = REFERENCE.correlation.forward(x, w, window, 1)
    assert_same(found, (expected, *REFERENCE.correlation.backward(seen, w, dy, True)), 1e-11)


def test_a_turned_kernel_and_its_gradient_are_not_copied(fake_cuda):
    layers, w = cuda_columns.Columns(cuda.Gpu()), asarray(np.arange(24.0).reshape(3, 2, 1, 4))
    turned = np.flip(w, axis=(0, 1))
    stored, flipped = layers.stored(turned, w.dtype)
    assert flipped
    assert np.shares_memory(stored, w)
    x, window = asarray(np.ones((2, 5, 5, 1))), Conv2D(4, (3, 2)).window_of((5, 5))
    y, seen = layers.correlate(x, turned, window, 1)
    _, dw = layers.correlate_backward(seen, turned, y, False)
    assert np.flip(dw, axis=(0, 1)).flags.c_contiguous


STRIDED = {
    "rows": lambda a: a,
    "columns": lambda a: np.asfortranarray(a),
    "part of the columns": lambda a: np.hstack([a, a])[:, : a.shape[1]],
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every second column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "part of the rows, transposed": lambda a: np.hstack([a.T, a.T])[:, : a.shape[0]].T,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "one row over and over": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("of_a", STRIDED)
@pytest.mark.parametrize("of_b", STRIDED)
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)], ids=str)
def test_products_of_views(of_a, of_b, shape, fake_cuda):
    gpu, rng, (M, K, N) = cuda.Gpu(), np.random.default_rng(3), shape
    a = STRIDED[of_a](rng.standard_normal((M, K))).view(type(asarray(0)))
    b = STRIDED[of_b](rng.standard_normal((K, N))).view(type(asarray(0)))
    whole = asarray(np.ones((M, N + 2)))
    out = whole[:, 1 : N + 1]
    gpu.multiply(a, b, out)
    np.testing.assert_allclose(out, np.asarray(a) @ np.asarray(b), rtol=1e-12, atol=1e-12)
    gpu.multiply(a, b, out, add=True)
    np.testing.assert_allclose(out, 2 * np.asarray(a) @ np.asarray(b), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(whole[:, [0, -1]], 1)


@given(
    *(st.integers(0, 70), st.integers(0, 300), st.integers(1, 40)),
    *(st.sampled_from([asarray, lambda a: asarray(a.T).T, lambda a: asarray(np.hstack([a, a]))[:, : a.shape[1]]]),) * 2,
    st.sampled_from(["float32", "float64"]),
)
@settings(max_examples=60)
def test_small_products(M, K, N, put_a, put_b, dtype):
    rng = np.random.default_rng(M + 71 * K)
    a, b = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
    with as_cuda():
        layers = cuda_layers.Layers(cuda.Gpu())
        found = layers.matmul(put_a(a), put_b(b))
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    found = asnumpy(found)
    exact, size = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b)
    np.testing.assert_array_less(np.abs(found - exact), np.finfo(dtype).eps * (K + 1) * size + 1e-300)


@given(M=st.integers(0, 40), K=st.sampled_from([3, 70, 300]), N=st.integers(1, 40), slope=st.sampled_from([0.0, 0.5]))
@settings(max_examples=20)
def test_a_bias_and_relu_behind_a_product_give_the_same_bits_as_by_themselves(M, K, N, slope):
    """Small products, and those that cuBLAS makes."""
    rng = np.random.default_rng(M + 71 * K)
    with as_cuda():
        layers = cuda_layers.Layers(cuda.Gpu())
        x, w, b = (asarray(np.rint(rng.standard_normal(shape))) for shape in ((M, K), (K, N), (N,)))
        if M:
            x[0, 0] = np.nan
        expected, _ = layers.add_bias(layers.matmul(x, w), b)
        activated, (before, _) = layers.bias_relu(layers.matmul(x, w), b, slope)
        found, shape = layers.biased_product(x, w, b)
        rectified, (y, kept) = layers.rectified_product(x, w, b, slope)
    assert (shape, kept) == ((N,), slope)
    for a, c in ((found, expected), (rectified, activated), (y, before)):
        np.testing.assert_array_equal(a, c)


def test_a_bias_that_does_not_fit_is_refused(fake_cuda):
    layers = cuda_layers.Layers(cuda.Gpu())
    with pytest.raises(ShapeError):
        layers.biased_product(asarray(np.ones((2, 3))), asarray(np.ones((3, 4))), asarray(np.ones(5)))


def test_small_products_are_not_left_to_cublas(fake_cuda):
    layers = cuda_layers.Layers(cuda.Gpu())
    layers.matmul(asarray(np.ones((128, 256))), asarray(np.ones((256, 128))))
    assert not fake_cuda.computed
    layers.matmul(asarray(np.ones((128, 257))), asarray(np.ones((257, 1))))
    layers.matmul(asarray(np.ones((512, 256))), asarray(np.ones((256, 128))))
    assert len(fake_cuda.computed) == 2


@pytest.mark.parametrize("precision", cublas.PRECISIONS)
def test_the_precision_is_what_cublas_is_asked_for(precision, fake_cuda):
    a = asarray(np.ones((2, 2), np.float32))
    gpu = cuda.Gpu(precision)
    gpu.multiply(a, a, gpu.empty((2, 2), "float32"))
    double = a.astype(np.float64)
    gpu.multiply(double, double, gpu.empty((2, 2), "float64"))
    assert fake_cuda.computed == [{"float32": 68, "tf32": 77, "bfloat16": 75}[precision], 70]


def test_without_cublas_cupy_multiplies(fake_cuda, monkeypatch):
    monkeypatch.setattr(cublas, "load", lambda: None)
    check("dense after flatten", 3, "reals", "float64", asarray, np.asarray)
    check("conv groups", 3, "reals", "float64", asarray, np.asarray)
    with pytest.raises(DeviceError, match="precision 'tf32' needs cuBLAS"):
        cuda.table("tf32")


def test_the_functions_that_are_called_are_in_cublas():
    """And take what is declared: the library loads without a GPU."""
    library = cublas.load()
    if library is None:
        pytest.skip("cuBLAS is not installed")
    assert all(getattr(library, name).argtypes for name in cublas.SIGNATURES)
    assert len(cublas.SIGNATURES["cublasGemmEx"]) == 19


LIBRARY = """
extern "C" {
int cublasCreate_v2(void** handle) { *handle = (void*)1; return 0; }
int cublasDestroy_v2(void*) { return 0; }
int cublasSetStream_v2(void*, void*) { return 0; }
int cublasSetWorkspace_v2(void*, void* workspace, unsigned long size) { return !workspace || size < 1; }
int cublasGemmEx(void*, int ta, int tb, int m, int n, int k, const void* alpha, const void* A, int, int lda,
                 const void* B, int, int ldb, const void* beta, void* C, int type, int ldc, int compute, int algo) {
    if (type != 1 || compute != 70 || algo != -1) return 7;
    const double *a = (const double*)A, *b = (const double*)B;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0, &c = ((double*)C)[i + (long)j * ldc];
            for (int l = 0; l < k; l++) sum += (ta ? a[l + (long)i * lda] : a[i + (long)l * lda])
                                             * (tb ? b[j + (long)l * ldb] : b[l + (long)j * ldb]);
            c = *(const double*)alpha * sum + (*(const double*)beta ? *(const double*)beta * c : 0);
        }
    return 0;
}
int cublasGemmStridedBatchedEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* A, int,
                               int lda, long a, const void* B, int, int ldb, long b, const void* beta, void* C,
                               int type, int ldc, long c, int count, int compute, int algo) {
    for (long i = 0; i < count; i++)
        if (int why = cublasGemmEx(handle, ta, tb, m, n, k, alpha, (const double*)A + i * a, 1, lda,
                                   (const double*)B + i * b, 1, ldb, beta, (double*)C + i * c, type, ldc, compute,
                                   algo))
            return why;
    return 0;
}
}
"""


def test_products_through_a_library_of_c(fake_cuda, monkeypatch, tmp_path):
    """With cuBLAS's signatures: what travels through ctypes arrives."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    (tmp_path / "blas.cpp").write_text(LIBRARY, encoding="utf-8")
    subprocess.run(["g++", "-shared", "-fPIC", "-o", tmp_path / "blas.so", tmp_path / "blas.cpp"], check=True)
    library = cublas.declared(ctypes.CDLL(str(tmp_path / "blas.so")))
    monkeypatch.setattr(cublas, "load", lambda: library)
    check("conv groups", 3, "reals", "float64", asarray, np.asarray)
    check("dense on dense", 3, "reals", "float64", asarray, np.asarray)
    rng, gpu = np.random.default_rng(2), cuda.table(dtype="float64").gpu
    a, b = rng.standard_normal((5, 3, 4)), rng.standard_normal((5, 4, 2))
    np.testing.assert_allclose(
        gpu.multiply_each(asarray(a), asarray(b), asarray(np.zeros((5, 3, 2)))), a @ b, rtol=1e-12
    )
    gpu, a = cuda.Gpu(), asarray(np.ones((2, 2), np.float32))
    with pytest.raises(DeviceError, match="a product of 2 x 2 and 2 x 2 failed with status 7"):
        gpu.multiply(a, a, gpu.empty((2, 2), "float32"))


@pytest.mark.parametrize("case", ["conv", "block", "block all ties", "max pool all ties", "dense", "relu", "sigmoid"])
def test_a_gradient_of_another_type_is_converted(case, fake_cuda):
    layers, shape = CASES[case]
    network = fuse(Network(shape, layers))
    example, table = Example(network, 2, "reals", "float32"), cuda.table()
    expected = example.run(asarray, np.asarray, table)
    example.dy = example.dy.astype(np.float64)
    for a, b in zip(example.run(asarray, np.asarray, table), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_numbers_of_cublas_are_those_of_its_header():
    from importlib.util import find_spec

    places = [Path(each) for each in (find_spec("nvidia").submodule_search_locations if find_spec("nvidia") else [])]
    headers = [header for place in places for header in place.rglob("cublas_api.h")]
    if not headers:
        pytest.skip("cuBLAS's header is not installed")
    text = headers[0].read_text(encoding="utf-8")
    for name, number in (("32F", 68), ("32F_FAST_16BF", 75), ("32F_FAST_TF32", 77), ("64F", 70)):
        assert f"CUBLAS_COMPUTE_{name} = {number}," in text


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", [1, 2, 10, 32, 33, 100])
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), BinaryCrossEntropy()])
def test_losses_in_one_launch(loss, classes, dtype, fake_cuda):
    rng, losses = np.random.default_rng(5), cuda.table(dtype=dtype).losses
    z = 5 * rng.standard_normal((300, classes)).astype(dtype)
    z[0], z[1], z[2, 0] = 0, 1e4, -1e4
    labels = rng.integers(0, classes, 300)
    found = losses[type(loss)](asarray(z), asarray(labels))
    assert_same(found, loss(z, labels), TOLERANCE[dtype])
    exact = loss(z.astype(np.longdouble), labels)[0]
    np.testing.assert_allclose(found[0], exact, rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-300)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), BinaryCrossEntropy()])
def test_losses_of_what_is_not_finite(loss, value, fake_cuda):
    z = np.random.default_rng(5).standard_normal((6, 3))
    z[0, 0], z[1, 1], z[2] = value, value, value
    labels = np.array([0, 0, 1, 2, 1, 0])
    with np.errstate(all="ignore"):
        expected = loss(z, labels)
    for a, b in zip(cuda.table(dtype="float64").losses[type(loss)](asarray(z), asarray(labels)), expected):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("count", [1, 255, 256, 257])
def test_pixels_are_gathered_and_scaled(count, fake_cuda):
    rng = np.random.default_rng(1)
    images, order = rng.integers(0, 256, (50, 3, 2, 1), dtype=np.uint8), rng.integers(0, 50, count)
    table = cuda.table(dtype="float64")
    moment = table.begin(asarray(order), 0.1, 1, SGD())
    x = table.gather(asarray(images), moment, np.float64, Scaling(1 / 255, -0.5), None)
    np.testing.assert_allclose(x, images[order] / 255 - 0.5, rtol=1e-12, atol=1e-14)
    x = table.pixels(asarray(images)[::-1], np.float64, 1 / 255, 0.25)
    np.testing.assert_allclose(x, images[::-1] / 255 + 0.25, rtol=1e-12)


@pytest.mark.parametrize("number", [0, 1, 7, 8, 9, 17])
def test_gradients_are_packed_where_they_belong(number, fake_cuda):
    """With gaps between some, which stay as they are."""
    rng = np.random.default_rng(number)
    pieces = [rng.standard_normal(tuple(rng.integers(1, 5, 3))) for _ in range(number)]
    expected, parts = [np.full(2, 7.0)], []
    for k, each in enumerate(pieces):
        parts.append((asarray(each)[::-1, ::-1], sum(map(len, expected))))
        expected += [each[::-1, ::-1].ravel(), np.full(k % 3, 7.0)]
    g = asarray(np.full(sum(map(len, expected)), 7.0))
    pack(cuda.Gpu(), parts[::-1], g)
    np.testing.assert_array_equal(g, np.concatenate(expected))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_factors_are_multiplied_where_they_belong(dtype, fake_cuda):
    """Where cuBLAS may write four numbers at once; elsewhere, and of another type, they are copied there."""
    rng, table = np.random.default_rng(3), cuda.table(dtype=dtype)
    params = {"0": {"weights": np.zeros((6, 8)), "bias": np.zeros(3)}, "1": {"weights": np.zeros((5, 4))}}
    params |= {"2": {"bias": np.zeros(1)}, "3": {"weights": np.zeros((4, 2))}}
    layout = Layout(params)
    given = {name: (rng.standard_normal((7, 6)), rng.standard_normal((7, 8))) for name in "0"}
    given |= {"1": (rng.standard_normal((7, 5)), rng.standard_normal((7, 4)))}
    given |= {"3": (rng.standard_normal((7, 4)), rng.standard_normal((7, 2)))}
    kinds = {"0": dtype, "1": dtype, "3": "float32"}
    bias, last = rng.standard_normal(3), rng.standard_normal(1)
    factors = {
        name: {"weights": Factors(*(asarray(each.astype(kinds[name])) for each in given[name]))} for name in given
    }
    factors["0"]["bias"], factors["2"] = asarray(bias.astype(dtype)), {"bias": asarray(last.astype(dtype))}
    g, packed, launch = asarray(np.zeros(layout.size, dtype)), [], table.gpu.launch
    table.gpu.launch = lambda name, kind, count, *rest, **more: (
        packed.append(count) or launch(name, kind, count, *rest, **more)
    )
    table.collect(layout, factors, g)
    products = [(x.T @ dy).ravel() for x, dy in given.values()]
    expected = np.concatenate([products[0], bias, products[1], last, products[2]])
    np.testing.assert_allclose(g, expected, rtol=1e-5, atol=1e-6)
    assert packed == [{"float32": 24, "float64": 32}[dtype]]  # the first product is not copied


OPTIMIZERS = [
    *(SGD(), SGD(weight_decay=0.01), SGD(momentum=0.9), SGD(momentum=0.9, nesterov=True, weight_decay=0.1)),
    *(Adam(), Adam(0.7, 0.9, 1e-6), Adam(weight_decay=0.1), AdamW(), AdamW(weight_decay=0.5), Adam(0.0, 0.0)),
    *(RMSprop(), RMSprop(0.9, 1e-6, 0.5, weight_decay=0.1), RMSprop(centered=True), RMSprop(0.9, 1e-6, 0.5, True)),
    *(Lion(), Lion(0.5, 0.7, 0.1)),
]


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimizers_in_one_launch(settings, dtype, any_cuda):
    (put, fetch), rng = any_cuda, np.random.default_rng(2)
    table = cuda.table(dtype=dtype)
    theta = rng.standard_normal(1000).astype(dtype)
    ours, state, moment = put(theta), settings.init(theta), None
    our_state = {name: put(vector) for name, vector in state.items()}
    for number in range(1, 6):
        g, lr = rng.standard_normal(1000).astype(dtype), 0.1 / number
        moment = table.begin(put(np.zeros(1, np.int64)), lr, number, settings, moment)
        table.updates[type(settings)](settings, ours, put(4 * g), our_state, 0.25, moment)
        settings.update(theta, g.copy(), state, lr, number)
    assert_same(
        [fetch(each) for each in (ours, *our_state.values())],
        (theta, *state.values()),
        1e-12 if dtype == "float64" else 1e-5,
    )


def test_the_table_has_a_verb_of_its_own_for_each_of_the_reference(fake_cuda):
    """One that is taken from the reference by oversight could not read a residual of this table."""
    shared = {"enter", "leave", "image_shape", "spread", "axes", "reshape"}  # the layout is the reference's
    shared |= {"exact_ties"}
    shared |= {"pixel_sums", "add", "concatenate", "part", "place", "upsample"}  # array operations do
    table = cuda.table()
    for field in dataclasses.fields(REFERENCE):
        same = getattr(table, field.name) == getattr(REFERENCE, field.name)
        assert same == (field.name in shared), field.name


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("draw", ["reals", "small integers"])
@pytest.mark.parametrize("case", CASES)
def test_every_case_on_a_gpu(case, draw, dtype):
    if not usable_gpu():
        pytest.skip("no CUDA device can be used here")
    import cupy

    check(case, 3, draw, dtype, cupy.asarray, cupy.asnumpy)


@pytest.mark.gpu
@pytest.mark.parametrize("case", [*CASES][::4])
def test_cases_on_a_gpu_by_64_bit_indices(case, monkeypatch):
    if not usable_gpu():
        pytest.skip("no CUDA device can be used here")
    import cupy

    monkeypatch.setattr(cuda, "MOST", 10)
    check(case, 3, "small integers", "float32", cupy.asarray, cupy.asnumpy)


@given(
    rows=st.integers(0, 700),
    K=st.integers(1, 70),
    summed=st.integers(1, 800),
    pooled=st.booleans(),
)
@settings(max_examples=40)
def test_rows_are_summed_by_blocks_in_a_fixed_order(rows, K, summed, pooled):
    rng = np.random.default_rng(rows * 71 + K)
    x, codes = rng.standard_normal((rows, K)).astype(np.float32), rng.choice([0, 3, 254, 255], (rows, K))
    given = (asarray(codes.astype(np.uint8)), 0.5) if pooled else ()
    with as_cuda(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_layers, "SUMMED", summed)
        layers = cuda_layers.Layers(cuda.Gpu())
        found = layers.sum(asarray(x), K, *given)
        again = layers.sum(asarray(x), K, *given)
    kept_x = x * np.select([codes == 255, codes == 254], [0, 0.5], 1) if pooled else x
    exact = kept_x.astype(np.float64).sum(0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, again)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6 * np.abs(kept_x).sum(0).max(initial=1e-30))


@st.composite
def convolutions(draw):
    """A convolution of few filters with what follows it, and the size of the image."""
    size = st.tuples(st.integers(1, 4), st.integers(1, 4))
    kernel, stride, dilation = draw(size), draw(st.sampled_from([1, 1, (2, 1), 2])), draw(st.sampled_from([1, 1, 2]))
    padding = draw(st.sampled_from(["valid", "same", "full", ((0, 1), (2, 0))]))
    K, C = draw(st.integers(1, 19)), draw(st.integers(1, 5))
    shape = draw(st.integers(8, 15)), draw(st.integers(8, 15)), C
    flip = draw(st.booleans())
    convolution = Conv2D(K, kernel, stride, padding, dilation, flip=flip)
    pool = draw(st.sampled_from([None, (2, 2), (1, 3), (3, 2)]))
    followed = () if pool is None else (MaxPool2D(pool, draw(st.sampled_from([None, 1, (2, 3)]))),)
    relu = (ReLU(draw(st.sampled_from([0.0, 0.5, 1.0]))),) if draw(st.booleans()) else ()
    return (convolution, *relu, *followed), shape


@given(case=convolutions(), batch=st.integers(1, 3), whole=st.booleans())
@settings(max_examples=40)
def test_convolutions_straight_from_the_image(case, batch, whole):
    layers, shape = case
    try:
        network = Network(shape, layers)
        network.shapes()
    except ShapeError:
        return
    example = Example(network, batch, "small integers" if whole else "reals", "float64")
    expected = example.run(np.array, np.asarray, REFERENCE)
    with as_cuda():
        assert_same(example.run(asarray, np.asarray, cuda.table(dtype="float64"), fuse(network)), expected, 1e-11)


@pytest.mark.parametrize("kernel", ["correlate_direct", "kernel_gradient", "image_gradient"])
def test_columns_take_the_place_of_a_kernel_that_does_not_start(kernel, fake_cuda):
    table = cuda.table(dtype="float64")

    def refused(code, options):
        if f"KERNEL {kernel}(" in code:
            raise RuntimeError("no such instruction")
        return RawModule(code, options)

    table.gpu.xp.RawModule = refused
    message = f"the CUDA kernel {kernel} does not start .*no such instruction.*columns"
    twice = [("two blocks", 2, "reals", "float64", asarray, np.asarray)] * 2
    with pytest.warns(UserWarning, match=message) as told:
        any(check(*case, tables=table) for case in twice)
    assert len(told) == len(table.gpu.compiled.missing)


LAYERS = {  # of the named networks: the convolution, the pool behind it, and what is computed straight from the image
    "single-filter": (Conv2D(1, 3), MaxPool2D(), (28, 28, 1), "y dw"),
    "two-conv, first": (Conv2D(8, 5), MaxPool2D(), (28, 28, 1), "y dw"),
    "two-conv, second": (Conv2D(16, 5), MaxPool2D(), (12, 12, 8), "y dw dx"),
    "two-conv-wide, first": (Conv2D(32, 5, padding="same"), MaxPool2D(), (28, 28, 1), "y dw"),
    "two-conv-wide, second": (Conv2D(64, 5, padding="same"), MaxPool2D(), (14, 14, 32), ""),
    "fast, second": (Conv2D(64, 5), MaxPool2D(), (12, 12, 32), ""),
    "avgpool-96, second": (Conv2D(6, 5), None, (12, 12, 4), "y dw dx"),
    "vgg-small, first": (Conv2D(64, 3, padding="same"), None, (32, 32, 3), "y"),
    "vgg-small, second": (Conv2D(64, 3, padding="same"), MaxPool2D(), (32, 32, 64), ""),
}


def problem_of(convolution, pool, shape, itemsize=4):
    window = convolution.window_of(shape)
    pool = pool and pool.window_of(convolution.out_shape(shape))
    return direct.Problem(shape, convolution.filters, window, pool, pool is not None, True, False, itemsize)


@pytest.mark.parametrize("name", LAYERS)
def test_which_layers_are_computed_straight_from_the_image(name):
    *layer, chosen = LAYERS[name]
    problem = problem_of(*layer)
    rules = {"y": direct.forward, "dw": direct.kernel_gradient}
    rules |= {"dx": direct.image_gradient} if problem.image[2] > 3 else {}
    assert " ".join(name for name, rule in rules.items() if rule(problem)) == chosen


@pytest.mark.parametrize("name", [name for name in LAYERS if "y" in LAYERS[name][-1]])
def test_float32_is_as_exact_as_a_plain_sum_of_float32(name, fake_cuda):
    """At most four times as far from float64's, layer by layer; and the same bits in two runs."""
    convolution, pool, shape, _ = LAYERS[name]
    network = fuse(Network(shape, (convolution, ReLU(), pool) if pool else (convolution,)))
    example = Example(network, 4, "reals", "float32")
    found = example.run(asarray, np.asarray, cuda.table())
    for a, b in zip(found, example.run(asarray, np.asarray, cuda.table()), strict=True):
        np.testing.assert_array_equal(a, b)
    x, theta, dy = (a.astype(np.float64) for a in (example.x, example.theta, example.dy))
    plain = [np.asarray(a, np.float64) for a in one_after_the_other(network, example)]
    example.x, example.theta, example.dy = x, theta, dy
    exact = example.run(np.array, np.asarray, REFERENCE)
    for ours, theirs, right in zip(found, plain, exact, strict=True):
        assert np.abs(ours - right).max() <= 4 * np.abs(theirs - right).max()


def one_after_the_other(network, example):
    """The network on the reference, each product as a sum of float32 numbers one after the other, biases' sums too."""

    def matmul(a, b):
        total = np.zeros((a.shape[0], b.shape[1]), np.float32)
        for k in range(a.shape[1]):
            total += a[:, k, None] * b[None, k]
        return total

    def add_bias_backward(bias_ndim, dy):
        return np.sum(dy, axis=tuple(range(dy.ndim - bias_ndim)), dtype=np.float32)

    def pooled_backward(residual, dy):
        dy, _ = REFERENCE.bias_relu_max_pool.backward(residual, dy)
        return dy, add_bias_backward(residual[0], dy)

    bias = REFERENCE.bias._replace(backward=add_bias_backward)
    pooled = REFERENCE.bias_relu_max_pool._replace(backward=pooled_backward)
    plain = dataclasses.replace(REFERENCE, matmul=matmul, bias=bias, bias_relu_max_pool=pooled)
    return example.run(np.array, np.asarray, plain, network)


ROWS = {
    "smoothed": SoftmaxCrossEntropy(label_smoothing=0.1),
    "ignored": SoftmaxCrossEntropy(ignore_index=1),
    "ignored outside": SoftmaxCrossEntropy(ignore_index=-100, label_smoothing=0.3),
    "plain": SoftmaxCrossEntropy(),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", [2, 10, 33, 100])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("setting", ROWS)
def test_softmax_losses_with_settings_in_one_launch(setting, weighted, classes, dtype, any_cuda):
    (put, fetch), rng = any_cuda, np.random.default_rng(5)
    table = cuda.table(dtype=dtype)
    factors = (0.0, *rng.uniform(0, 3, classes - 1)) if weighted else None
    loss = dataclasses.replace(ROWS[setting], class_weights=factors)
    z = 5 * rng.standard_normal((300, classes)).astype(dtype)
    z[0], z[1], z[2, 0] = 0, 1e4, -1e4
    labels = rng.integers(0, classes, 300)
    labels[3:6] = -100 if setting == "ignored outside" else 1
    shares = rng.dirichlet(np.ones(classes), 300).astype(dtype)
    for targets in (labels, shares):
        found = [fetch(each) for each in table.loss(loss, put(z), put(targets))]
        assert_same(found, loss(z, targets), TOLERANCE[dtype])
        assert not found[0][3:6].any() or "ignored" not in setting or targets.ndim == 2


def test_a_row_that_does_not_count_costs_nothing_whatever_its_logits(fake_cuda):
    z = np.full((2, 3), np.nan)
    found = cuda.table(dtype="float64").loss(SoftmaxCrossEntropy(ignore_index=2), asarray(z), asarray(np.array([2, 1])))
    assert found[0][0] == 0
    assert not found[1][0].any()
    assert np.isnan(found[0][1])
