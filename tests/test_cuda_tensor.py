"""Convolutions on tensor cores: the reference's numbers, float32's errors, rounded factors, and what is tried first."""

from __future__ import annotations

import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import nvrtc
import pytest
from conftest import usable_gpu
from fake_cuda import FakeDevice, as_cuda, asarray, fake_cuda
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cuda_winograd import KINDS, done_on, drawn, expected_of, of_kind, plain

from gpucnn import Model
from gpucnn.device import Device
from gpucnn.kernels import cuda
from gpucnn.kernels.cuda import proof, sizes, tensor, tensor_problem, ways
from gpucnn.kernels.cuda.sizes import options, source
from gpucnn.kernels.cuda.tensor_problem import problem_of
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.network import Network

__all__ = ["fake_cuda"]

LAYERS = {  # of the named networks, on smaller images; and the fewest channels
    "vgg-small, second": ((12, 12, 64), Conv2D(64, 3, padding="same")),
    "vgg-small, fourth": ((8, 8, 128), Conv2D(128, 3, padding="same")),
    "two-conv-wide, second": ((8, 8, 32), Conv2D(64, 5, padding="same")),
    "small": ((8, 8, 16), Conv2D(24, 3, padding="same")),
}
WRONG = "products on this GPU's tensor cores are not what they should be"


def made(precision="float32") -> tensor.Tensor:
    return cuda.table(precision).ways.tensor


def computed(x, w, dy, window, *, flip=False, precision="float32"):
    """y, dx and dw. flip: the kernel is given as a turned view of what is stored."""
    cores = made(precision)
    seen = asarray(np.ascontiguousarray(w[::-1, ::-1]))[::-1, ::-1] if flip else asarray(w)
    assert tensor.applies(x.shape[1:], w.shape[3], window, x.itemsize)
    y, residual = cores.correlate(asarray(x), seen, window)
    found = y, *cores.correlate_backward(residual, seen, asarray(dy), True)
    return [np.asarray(each) for each in found]


def in_float64(x, w, dy, window):
    return expected_of(*(each.astype(np.float64) for each in (x, w, dy)), window)


def assert_near(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(initial=1))


@st.composite
def layers(draw):
    """A convolution and its image: any kernel, stride, padding and dilation that fit."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    more = {"stride": st.integers(1, 2), "dilation": st.integers(1, 2)}
    rows, columns = (draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) for _ in range(2))
    given = {name: (draw(each), draw(each)) for name, each in more.items()}
    shape = draw(st.integers(8, 11)), draw(st.integers(8, 11)), 4 * draw(st.integers(4, 9))
    return shape, Conv2D(4 * draw(st.integers(4, 18)), kernel, padding=(rows, columns), **given)


@given(layer=layers(), N=st.integers(1, 3), flip=st.booleans())
@settings(max_examples=10)
def test_the_references_numbers(layer, N, flip):
    shape, convolution = layer
    x, w, dy, window = drawn(shape, convolution, N, "float32")
    with as_cuda(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor, "LONG", 0)
        patch.setattr(tensor, "TAPS", 0)
        found = computed(x, w, dy, window, flip=flip)
    assert_near(found, in_float64(x, w, dy, window), 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYERS)
def test_float32_is_at_most_four_times_as_far_off_as_a_plain_sum(name, kind, fake_cuda, monkeypatch):
    """y, dx and dw, layer by layer; and, of dense numbers, the same bits in two runs.

    Of one image, dw is by columns where nearly all numbers are 0, as usual, and else by the kernel.
    """
    shape, convolution = LAYERS[name]
    is_small = shape[2] < 32
    if not is_small and kind != "nearly all 0":
        monkeypatch.setattr(tensor, "LONG", 0)
    for seed in range(2 if is_small else 1):
        x, w, dy, window = drawn(shape, convolution, 16 if is_small else 1, "float32", seed)
        x, dy = of_kind(kind, x, dy, seed)
        found = computed(x, w, dy, window)
        if kind == "dense":
            for a, b in zip(found, computed(x, w, dy, window), strict=True):
                np.testing.assert_array_equal(a, b)
        exact = in_float64(x, w, dy, window)
        for what, ours, theirs, right in zip(("y", "dx", "dw"), found, plain(x, w, dy, window), exact, strict=True):
            error = np.abs(theirs - right).max()
            assert np.abs(ours - right).max() <= 4 * error, (what, seed)


def rounded(x, bits):
    """To so many bits after the point: halves away from zero, as TF32 has them; bfloat16's are even ones."""
    scale = 2.0 ** (bits - np.floor(np.log2(np.abs(np.where(x, x, 1)).astype(np.float64))))
    scaled = x * scale
    return (np.rint(scaled) if bits == 7 else np.trunc(scaled + np.copysign(0.5, scaled))) / scale


@pytest.mark.parametrize(("precision", "bits"), [("tf32", 10), ("bfloat16", 7)])
def test_factors_are_rounded_and_added_in_float32(precision, bits, fake_cuda):
    x, w, dy, window = drawn(*LAYERS["small"], 16, "float32")
    found = computed(x, w, dy, window, precision=precision)
    assert_near(found, expected_of(*(rounded(each, bits) for each in (x, w, dy)), window), 2e-6)
    for a, b in zip(found, in_float64(x, w, dy, window), strict=True):
        assert np.abs(a - b).max() > 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("N", [0, 1, 40])
def test_the_kernels_gradient_is_a_sum_of_parts(N, fake_cuda, monkeypatch):
    """Of whole chunks, the last of which may be shorter; and by columns of few images."""
    x, w, dy, window = drawn((8, 8, 16), Conv2D(20, 3, padding="same"), N, "float32")
    assert_near(computed(x, w, dy, window), in_float64(x, w, dy, window), 2e-6)
    monkeypatch.setattr(tensor, "LONG", 1)
    monkeypatch.setattr(tensor_problem, "PART", 3)
    assert_near(computed(x, w, dy, window), in_float64(x, w, dy, window), 2e-6)


def test_how_long_parts_are():
    problem = problem_of((14, 14, 32), 64, Conv2D(64, 5, padding="same").window_of((14, 14, 32)), False)
    assert problem.length(512 * 196) == 2720  # 37 parts of 7 blocks each: 264 blocks fill a device
    assert problem.length(1) == 16
    assert problem.length(1025) == 272


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinities_reach_what_sees_them_and_nothing_else(bad, fake_cuda, monkeypatch):
    monkeypatch.setattr(tensor, "LONG", 0)
    x, w, dy, window = drawn((9, 9, 16), Conv2D(16, 3), 2, "float32")
    x[1, 4, 4, 3] = bad
    y, dx, dw = computed(x, w, dy, window)
    sees = np.zeros((2, 7, 7), bool)
    sees[1, 2:5, 2:5] = True
    np.testing.assert_array_equal(~np.isfinite(y), np.broadcast_to(sees[..., None], y.shape))
    assert np.isfinite(dx).all()
    np.testing.assert_array_equal(~np.isfinite(dw).all(axis=(0, 1, 3)), np.arange(16) == 3)


def test_views_that_begin_anywhere(fake_cuda, monkeypatch):
    monkeypatch.setattr(tensor, "LONG", 0)
    x, w, dy, window = drawn((8, 8, 16), Conv2D(16, 3), 2, "float32")

    def moved(a):
        flat = asarray(np.zeros(a.size + 1, np.float32))
        flat[1:] = asarray(a.ravel())
        return flat[1:].reshape(a.shape)

    cores = made()
    y, residual = cores.correlate(moved(x), moved(w), window)
    found = y, *cores.correlate_backward(residual, moved(w), moved(dy), True)
    for a, b in zip(found, computed(x, w, dy, window), strict=True):
        np.testing.assert_array_equal(np.asarray(a), b)


@pytest.fixture
def untried(monkeypatch):
    """As if no convolution had been tried."""
    monkeypatch.setattr(tensor, "tried", {})


NETWORK = Network((9, 9, 32), (Conv2D(32, 3), Flatten(), Dense(3)))


@pytest.fixture(autouse=True)
def few_blocks_are_enough(monkeypatch):
    monkeypatch.setattr(tensor, "FEW", 1)


def steps(**settings):
    """A model after two updates, trained on a few images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, *NETWORK.input_shape), dtype=np.uint8)
    model = Model(NETWORK, device="cuda", seed=1, **settings)
    model.fit(images, np.arange(6) % 3, epochs=2, batch_size=6, lr=0.01, progress=False)
    return model


def test_wide_convolutions_are_computed_so_on_a_gpu_that_can(fake_cuda, untried, monkeypatch):
    found = np.asarray(steps().theta)
    assert set(tensor.tried.values()) == {True}
    by_columns = np.asarray(steps(kernels="columns").theta)
    assert not np.array_equal(found, by_columns)
    np.testing.assert_allclose(found, by_columns, atol=1e-5)
    monkeypatch.setattr(FakeDevice, "compute_capability", "75")
    np.testing.assert_array_equal(np.asarray(steps().theta), by_columns)
    text = "9x9x32, 32 filters of 3x3"
    model = Model(NETWORK, device="cuda", tune=True)
    model.execution.context.kernels.ways.choices[text] = "tensor"
    with pytest.warns(UserWarning, match="cannot be computed by 'tensor', which was chosen for it"):
        model.logits(np.zeros((1, *NETWORK.input_shape), np.uint8))


@pytest.mark.parametrize("wrong", ["y", "dx", "dw"])
def test_a_gpu_that_computes_something_else_computes_by_columns_and_a_warning_says_so(
    wrong, fake_cuda, untried, monkeypatch
):
    """Where one of the three products is wrong."""
    by_columns = np.asarray(steps(kernels="columns").theta)
    launch, count = cuda.Gpu.launch_blocks, {"correlate_tensor": 0, "tensor_kernel_gradient": 0}
    at = {"y": ("correlate_tensor", 1), "dx": ("correlate_tensor", 2), "dw": ("tensor_kernel_gradient", 1)}[wrong]

    def broken(self, name, dtype, blocks, threads, *arguments, sizes=None):
        launch(self, name, dtype, blocks, threads, *arguments, sizes=sizes)
        if name in count and not self.compiled.is_rehearsal:
            count[name] += 1
            if (name, count[name]) == at:
                arguments[-1][...] = arguments[-1] * np.float32(1.001)

    monkeypatch.setattr(cuda.Gpu, "launch_blocks", broken)
    what = {"y": "its result", "dx": "the image's gradient", "dw": "the kernel's gradient"}[wrong]
    with pytest.warns(UserWarning, match=rf"{WRONG} \({what} has .* for .*\)") as seen:
        found = steps()
    assert sum(WRONG in str(each.message) for each in seen) == 1
    np.testing.assert_array_equal(np.asarray(found.theta), by_columns)
    assert set(tensor.tried.values()) == {False}


@pytest.mark.parametrize("strict", [False, True])
def test_a_trial_that_fails_is_said_once_and_training_goes_on(strict, fake_cuda, untried, monkeypatch):
    """strict: where warnings are errors, the trial is not made again."""
    by_columns = np.asarray(steps(kernels="columns").theta)
    launch, count = cuda.Gpu.launch_blocks, []

    def broken(self, name, *arguments, **options):
        if name == "correlate_tensor" and not self.compiled.is_rehearsal:
            count.append(name)
            raise RuntimeError("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES")
        launch(self, name, *arguments, **options)

    monkeypatch.setattr(cuda.Gpu, "launch_blocks", broken)
    message = rf"{WRONG} \(RuntimeError: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES\)"
    if strict:
        monkeypatch.setattr(tensor, "warn", raised)
        with pytest.raises(UserWarning, match=message):
            steps()
        found = steps()
    else:
        with pytest.warns(UserWarning, match=message):
            found = steps()
    assert len(count) == 1
    np.testing.assert_array_equal(np.asarray(found.theta), by_columns)


def raised(text):
    raise UserWarning(text)


def test_a_few_outputs_are_computed_by_columns(fake_cuda, monkeypatch):
    """Their blocks would leave most of a device idle."""
    monkeypatch.setattr(tensor, "FEW", 32)
    assert not tensor.Tensor.fills(31 * 128, 64)
    assert tensor.Tensor.fills(31 * 128 + 1, 64)
    assert tensor.Tensor.fills(8 * 128, 200)
    table, seen = cuda.table(), []
    x, w, _, window = drawn((9, 9, 32), Conv2D(32, 3), 1, "float32")
    for N in (1, 81):
        images = asarray(np.repeat(x, N, axis=0))
        seen.append(table.ways.correlate(images, asarray(w), window, 1)[1].by)
    assert seen == [table.ways.columns, table.ways.tensor]


def test_what_does_not_compile_is_computed_by_columns(fake_cuda, untried, monkeypatch):
    by_columns = np.asarray(steps(kernels="columns").theta)
    make = sys.modules["cupy"].RawModule

    def refused(code, options):
        if "correlate_tensor" in code:
            raise RuntimeError("no such instruction")
        return make(code, options)

    monkeypatch.setattr(sys.modules["cupy"], "RawModule", refused)
    with pytest.warns(UserWarning, match="no such instruction"):
        found = steps()
    np.testing.assert_array_equal(np.asarray(found.theta), by_columns)


def test_what_was_not_tried_is_not_recorded(fake_cuda, untried):
    """While a graph is recorded nothing can be looked at."""
    table = cuda.table()
    x, w, _, window = drawn((9, 9, 32), Conv2D(32, 3), 1, "float32")
    x, w = asarray(x), asarray(w)
    stream = sys.modules["cupy"].cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        _, residual = table.ways.correlate(x, w, window, 1)
        stream.end_capture()
    assert residual.by is table.ways.columns
    assert not tensor.tried
    assert table.ways.correlate(x, w, window, 1)[1].by is table.ways.tensor


def pieces(cores, x, w, b, window, slope, pool):
    """What follows a convolution, by kernels of its own: result, residuals."""
    y, residual = cores.correlate(x, w, window)
    if pool is None:
        return *cores.layers.bias_relu(y, b, slope), residual
    if slope is not None:
        return *cores.pools.bias_relu_max_pool(y, b, slope, pool, "first"), residual
    y, pooled = cores.pools.max_pool(y, pool, "first")
    return cores.layers.add_bias(y, b)[0], pooled, residual


def gradients_of_pieces(cores, kept, residual, w, dy, slope, pool):
    """dx, dw and db of `pieces`."""
    if pool is None:
        dy, db = cores.layers.bias_relu_backward(kept, dy)
    elif slope is None:
        db, dy = cores.layers.channel_sums(dy), cores.pools.max_pool_backward(kept, dy)
    else:
        dy, db = cores.pools.bias_relu_max_pool_backward(kept, dy)
    return *cores.correlate_backward(residual, w, dy, True), db


def as_one(cores, x, w, b, window, slope, pool):
    """What `pieces` computes, by one kernel: result, residual."""
    if pool is None:
        return cores.rectified(x, w, b, window, slope)
    return cores.pooled(x, w, b, window, slope)


@given(layer=layers(), N=st.integers(1, 3), after=st.sampled_from([(0.5, False), (0.25, True), (None, True)]))
@settings(max_examples=10)
def test_what_follows_in_the_same_kernel_gives_the_same_bits(layer, N, after):
    """Bias, ReLU and a max pool, with ties, exact zeros before the ReLU and NaN; y, dx, dw and db."""
    (shape, convolution), (slope, is_pooled) = layer, after
    x, w, _, window = drawn(shape, convolution, N, "float32")
    x, w, b = np.rint(x), np.rint(w), np.rint(3 * np.random.default_rng(1).standard_normal(w.shape[3], np.float32))
    x[-1, 4, 4, 3] = np.nan
    outputs = window.outputs(*shape[:2])
    with as_cuda(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor, "LONG", 0)
        patch.setattr(tensor, "TAPS", 0)
        cores, pool = made(), tensor_problem.POOL if is_pooled else None
        x, w, b = map(asarray, (x, w, b))
        if is_pooled and min(outputs) < 2:
            return
        expected, kept, residual = pieces(cores, x, w, b, window, slope, pool)
        dy = asarray(np.random.default_rng(2).standard_normal(expected.shape, np.float32))
        found, seen = as_one(cores, x, w, b, window, slope, pool)
        gradients = cores.followed_backward(seen, w, dy, True)
        wanted = gradients_of_pieces(cores, kept, residual, w, dy, slope, pool)
        np.testing.assert_array_equal(found, expected)
        for a, b in zip(gradients, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


POOLED = Network((10, 10, 32), (Conv2D(32, 3), ReLU(), MaxPool2D(2), Conv2D(32, 3), ReLU(), Flatten(), Dense(3)))


def test_networks_with_what_follows_in_the_same_kernel(fake_cuda, untried, monkeypatch):
    """Training and inference launch no kernel for it, and give what separate kernels give, to the last bit."""
    launched, launch = [], cuda.Gpu._run

    def noted(self, name, *arguments):
        launched.append(name)
        launch(self, name, *arguments)

    def done():
        launched.clear()
        model = Model(POOLED, device="cuda", seed=1)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (6, *POOLED.input_shape), dtype=np.uint8)
        model.fit(images, np.arange(6) % 3, epochs=2, batch_size=6, lr=0.01, progress=False)
        return np.asarray(model.theta), model.logits(images)

    monkeypatch.setattr(cuda.Gpu, "_run", noted)
    found = done()
    assert not {"bias_relu_max_pool", "bias_relu"}.intersection(launched)
    assert {True} == set(tensor.tried.values())
    assert {each.after for *_, each in tensor.tried} == {tensor.After(True, True), tensor.After(True)}
    monkeypatch.setattr(ways.Ways, "rectified", lambda *arguments: None)
    monkeypatch.setattr(ways.Ways, "pooled", lambda *arguments: None)
    for a, b in zip(found, done(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert {"bias_relu_max_pool", "bias_relu"} <= set(launched)


@pytest.mark.parametrize("after", [(True, False), (True, True), (False, True)])
def test_a_trial_sees_what_is_wrong_behind_a_convolution(after, fake_cuda, monkeypatch):
    """In y, in what ReLU made of it, or in the winners."""
    cores, after = made(), tensor.After(*after)
    problem = problem_of((8, 8, 16), 16, tensor.TRIED, False, after)
    assert cores._wrong(problem) is None
    launch = cuda.Gpu.launch_blocks
    for place in (-1, -2 if after.pool else -3):  # y; codes or activated

        def broken(self, name, *arguments, place=place, **options):
            launch(self, name, *arguments, **options)
            if name == "correlate_tensor" and arguments[place].size > 1:
                changed = arguments[place]
                changed[...] = changed ^ 1 if changed.dtype == np.uint8 else changed + np.float32(0.01)

        monkeypatch.setattr(cuda.Gpu, "launch_blocks", broken)
        said = cores._wrong(problem)
        assert "result" in said or "pool" in said


MUTANTS = {
    "every image is the first": ("tensor.cu", "((n * H + row) * W + column) * C", "(row * W + column) * C"),
    "of a pool, too": ("tensor_correlate.cu", "(n * P + 2 * p + offset / 2) * Q", "(2 * p + offset / 2) * Q"),
    "the last part is short": (
        *("tensor_kernel_gradient.cu", "end = begin + length < count ? begin + length"),
        "end = of_part > 0 ? begin + 1 : begin + length < count ? begin + length",
    ),
    "one buffer for two": (
        *("tensor_kernel_gradient.cu", "windows[chunk % 2][threadIdx.x / ("),
        "windows[0][threadIdx.x / (",
    ),
    "nobody writes the last row": (
        *("tensor_correlate.cu", "if (row + i >= count) continue"),
        "if (row + i >= count - 1) continue",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.parametrize("problem", [((4, 4, 16), 16), ((8, 8, 16), 20)], ids=str)
def test_a_trial_sees_wrong_kernels(problem, name, fake_cuda, monkeypatch):
    """Those that are right of one image, or of a sum of one part, as well."""
    file, right, wrong = MUTANTS[name]
    text = sizes._text
    assert text(file).count(right) == 1
    monkeypatch.setattr(sizes, "_text", lambda name: text(name).replace(right, wrong) if name == file else text(name))
    after = tensor.After(True, True) if "pool" in name else tensor.NOTHING
    assert made()._wrong(problem_of(*problem, tensor.TRIED, False, after)) is not None


def test_another_thread_waits_for_a_trial(fake_cuda, untried, monkeypatch):
    cores, began, goes_on = made(), threading.Event(), threading.Event()

    def slowly(problem):
        began.set()
        assert goes_on.wait(60)
        return True

    monkeypatch.setattr(cores, "_is_right", slowly)
    w, window = asarray(np.zeros((3, 3, 32, 32), np.float32)), Conv2D(32, 3).window_of((9, 9, 32))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cores.starts, (9, 9, 32), w, window)
        assert began.wait(60)
        second = pool.submit(cores.starts, (9, 9, 32), w, window)
        goes_on.set()
        assert first.result(60)
        assert second.result(60)


@given(layer=layers(), flip=st.booleans())
@settings(max_examples=30)
def test_the_proof_holds_for_the_reference_and_for_nothing_else(layer, flip):
    (image, convolution), rng = layer, np.random.default_rng(2)
    window = convolution.window_of(image)
    numbers = x, w, _, dy = proof.drawn(image, convolution.filters, window)
    found = [each.astype(np.float32) for each in in_float64(x, w, dy, window)]
    assert proof.wrong(window, 2.0**-20, numbers, proof.Found(*found)) is None
    k = int(rng.integers(3))
    found[k] = np.roll(found[k], 1, axis=int(rng.integers(1, 4)) if k < 2 else int(rng.integers(2, 4)))
    assert proof.wrong(window, 2.0**-20, numbers, proof.Found(*found)) is not None


def test_a_proof_sees_nan(fake_cuda):
    window = Conv2D(16, 3).window_of((8, 8, 16))
    numbers = x, w, _, dy = proof.drawn((8, 8, 16), 16, window)
    y, dx, dw = (each.astype(np.float32) for each in in_float64(x, w, dy, window))
    assert "not finite" in proof.wrong(window, 2.0**-20, numbers, proof.Found(0 * y + np.nan, dx, dw))


@pytest.mark.parametrize(
    ("image", "filters", "itemsize", "fits"),
    [
        ((8, 8, 16), 16, 4, True),
        ((8, 8, 16), 16, 8, False),
        ((8, 8, 18), 16, 4, False),
        ((8, 8, 16), 18, 4, False),
        ((8, 8, 12), 16, 4, False),
        ((8, 8, 16), 12, 4, False),
        ((2, 2, 16), 16, 4, False),  # no outputs
    ],
)
def test_where_they_apply(image, filters, itemsize, fits):
    assert tensor.applies(image, filters, ways.Window((3, 3)), itemsize) == fits


def test_where_sums_are_long_enough():
    """Of what an output sees, and of what sees a pixel; windows of up to 15 pixels a side."""
    pointwise = ways.Window((1, 1))
    assert tensor.applies((8, 8, 128), 128, pointwise, 4)
    assert not tensor.applies((8, 8, 124), 128, pointwise, 4)
    assert not tensor.applies((8, 8, 128), 124, pointwise, 4)
    assert tensor.applies((16, 16, 16), 16, ways.Window((15, 1)), 4)
    assert not tensor.applies((16, 16, 16), 16, ways.Window((16, 1)), 4)


@nvrtc.on_each
@pytest.mark.parametrize("precision", tensor.FACTORS)
@pytest.mark.parametrize("name", ["vgg-small, second", "small"])
def test_the_kernels_compile_without_a_warning_and_without_a_spill(name, precision, architecture):
    """A processor has 65,536 registers: for 512 threads or, of float32 numbers in blocks of 128, for 384."""
    (image, convolution), factors = LAYERS[name], tensor.FACTORS[precision]
    problem = problem_of(image, convolution.filters, convolution.window_of(image), False)
    forward, backward = "tensor_correlate.cu", "tensor_kernel_gradient.cu"
    threads = 384 if (name, precision) == ("small", "float32") else 512
    afters = [problem._replace(after=tensor.After(*each)) for each in ((True, False), (True, True), (False, True))]
    for each, file in (*((each, forward) for each in (problem, problem.of_image, *afters)), (problem, backward)):
        code = source(each.sizes(file, factors))
        for kernel, use in nvrtc.compiled(code, options("float32", False), architecture).items():
            assert use.stack == use.spilled == 0, f"{kernel}: {use}"
            assert use.registers * threads <= 65536, f"{kernel}: {use}"
            assert use.shared <= 48 * 1024, f"{kernel}: {use}"


@cache
def example(name, kind):
    """x, w, dy, window, and what a plain sum of float32 numbers and float64 make of them: with long sums."""
    shape, convolution = LAYERS[name]
    x, w, dy, window = drawn(shape, convolution, -(-2048 // (shape[0] * shape[1])), "float32")
    x, dy = of_kind(kind, x, dy, 0)
    return x, w, dy, window, plain(x, w, dy, window), in_float64(x, w, dy, window)


def on_the_device(x, w, dy, window, *, flip=False, recorded=False, precision="float32"):
    """y, dx and dw, where the trial finds nothing wrong."""
    device = Device("cuda")
    images, gradients = device.put(x), device.put(dy)
    kernel = device.put(np.ascontiguousarray(w[::-1, ::-1]))[::-1, ::-1] if flip else device.put(w)

    def work():
        y, residual = cores.correlate(images, kernel, window)
        return y, *cores.correlate_backward(residual, kernel, gradients, True)

    with device.activate(), warnings.catch_warnings():
        warnings.filterwarnings("error", WRONG)
        warnings.filterwarnings("error", "the CUDA kernel")
        cores = made(precision)
        assert cores.starts(x.shape[1:], kernel, window)
        return done_on(device, work, recorded)


@pytest.mark.gpu
@pytest.mark.skipif(not usable_gpu(), reason="no CUDA device can be used here")
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("kind", ["dense", "nearly all 0"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_gpu_is_as_exact_as_plain_sums(name, kind, flip, recorded):
    *given, by_sums, exact = example(name, kind)
    for ours, theirs, right in zip(on_the_device(*given, flip=flip, recorded=recorded), by_sums, exact, strict=True):
        assert np.abs(ours - right).max() <= 4 * np.abs(theirs - right).max()


@pytest.mark.gpu
@pytest.mark.skipif(not usable_gpu(), reason="no CUDA device can be used here")
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("precision", tensor.FACTORS)
@pytest.mark.parametrize(("slope", "is_pooled"), [(0.5, False), (0.25, True), (None, True)])
@pytest.mark.parametrize("name", LAYERS)
def test_on_a_gpu_what_follows_in_the_same_kernel_gives_the_same_bits(name, slope, is_pooled, precision, recorded):
    """With ties, exact zeros before the ReLU and NaN."""
    shape, convolution = LAYERS[name]
    x, w, _, window = drawn(shape, convolution, 5, "float32")
    b = 3 * np.random.default_rng(1).standard_normal(w.shape[3], np.float32)
    x[-1, 4, 4, 3] = np.nan
    device, pool = Device("cuda"), tensor_problem.POOL if is_pooled else None
    x, w, b = (device.put(np.rint(each)) for each in (x, w, b))

    def work():
        expected, kept, residual = pieces(cores, x, w, b, window, slope, pool)
        found, seen = as_one(cores, x, w, b, window, slope, pool)
        dy = expected * 0 + 1
        wanted = gradients_of_pieces(cores, kept, residual, w, dy, slope, pool)
        return found, *cores.followed_backward(seen, w, dy, True), expected, *wanted

    with device.activate():
        cores = made(precision)
        results = done_on(device, work, recorded)
    for one, other in zip(results[:4], results[4:], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.gpu
@pytest.mark.skipif(not usable_gpu(), reason="no CUDA device can be used here")
@pytest.mark.parametrize(("precision", "bits"), [("tf32", 10), ("bfloat16", 7)])
@pytest.mark.parametrize("name", LAYERS)
def test_a_gpu_rounds_factors(name, precision, bits):
    x, w, dy, window, *_ = example(name, "dense")
    found = on_the_device(x, w, dy, window, precision=precision)
    assert_near(found, expected_of(*(rounded(each, bits) for each in (x, w, dy)), window), 1e-5)
