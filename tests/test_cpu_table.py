"""The NumPy table gives the reference's numbers, takes its fast ways, and never lends memory that is still seen."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from cases import fuse, kept, told

from gpucnn import networks
from gpucnn.errors import ShapeError
from gpucnn.kernels import REFERENCE, Context, Kernels, choose, cpu, for_inference, memory, reference
from gpucnn.kernels.cpu import NUMPY, rows, winograd, winograd_tiles
from gpucnn.kernels.cpu import correlation as cpu_correlation
from gpucnn.kernels.cpu.rows import LazyImage
from gpucnn.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Reshape, Sigmoid, Tanh
from gpucnn.network import Network, shares_ties
from gpucnn.network.layout import Layout
from gpucnn.ops.window import Window, convolution_window


@pytest.fixture(autouse=True)
def as_in_training():
    """Workers.limited does so too: NumPy's `dot` at times reports a flag that BLAS left behind (numpy issue 29194)."""
    with np.errstate(all="ignore"):
        yield


CASES = {
    "conv": ((7, 9, 2), Conv2D(3, 3)),
    "conv non-square": ((7, 9, 2), Conv2D(3, (2, 4))),
    "conv 1x1": ((3, 1, 2), Conv2D(4, 1)),
    "conv 1x1 strided": ((7, 9, 2), Conv2D(4, 1, stride=3)),
    "conv column": ((7, 5, 2), Conv2D(3, (3, 1), padding=(1, 0))),
    "conv one output": ((5, 6, 1), Conv2D(4, (5, 6))),
    "conv strided": ((8, 9, 2), Conv2D(3, (3, 2), stride=(2, 3))),
    "conv stride > kernel": ((8, 9, 2), Conv2D(2, (1, 2), stride=(3, 4))),
    "conv same": ((6, 5, 2), Conv2D(3, (3, 4), padding="same")),
    "conv same strided": ((7, 6, 2), Conv2D(3, 3, stride=2, padding="same")),
    "conv full": ((4, 5, 2), Conv2D(3, (3, 2), padding="full")),
    "conv full strided": ((5, 4, 2), Conv2D(3, (5, 4), stride=(2, 3), padding="full")),
    "conv padded strided": ((9, 8, 3), Conv2D(2, (4, 3), stride=(3, 2), padding=(2, 1))),
    "conv padding > kernel": ((4, 3, 2), Conv2D(3, 3, padding=7)),
    "conv padding > kernel, one side": ((7, 9, 2), Conv2D(3, 3, stride=(3, 2), padding=((9, 0), (0, 9)))),
    "conv padding > kernel, strided": ((7, 9, 2), Conv2D(3, 3, stride=4, padding=((0, 12), (12, 0)))),
    "conv image of one pixel": ((1, 1, 2), Conv2D(3, 5, padding="same")),
    "conv untied": ((6, 7, 2), Conv2D(3, (3, 2), bias="untied")),
    "conv no bias": ((6, 6, 2), Conv2D(3, 3, bias=None)),
    "conv flipped": ((6, 7, 2), Conv2D(3, (3, 2), flip=True, bias="untied", padding="same")),
    "conv dilated": ((9, 8, 2), Conv2D(3, 3, dilation=(2, 1), padding="same")),
    "conv groups": ((6, 6, 4), Conv2D(6, 3, groups=2)),
    "conv winograd valid": ((9, 7, 8), Conv2D(9, 5)),
    "conv winograd same": ((14, 6, 8), Conv2D(8, 3, padding="same", flip=True)),
    "conv winograd full": ((3, 3, 8), Conv2D(10, 4, padding="full")),
    "conv winograd uneven": ((7, 5, 9), Conv2D(8, (3, 2), padding=((2, 0), (1, 0)))),
    "conv tiles valid": ((9, 12, 32), Conv2D(33, 5)),
    "conv tiles same": ((9, 14, 33), Conv2D(32, 3, padding="same", flip=True)),
    "conv tiles uneven": ((14, 8, 32), Conv2D(32, (3, 5), padding=((2, 0), (1, 3)))),
    "conv tiles full": ((10, 10, 32), Conv2D(33, (5, 4), padding="full")),
    "max pool": ((6, 8, 3), MaxPool2D()),
    "max pool odd": ((7, 5, 3), MaxPool2D()),
    "max pool all ties": ((6, 8, 3), MaxPool2D(ties="all")),
    "max pool overlap": ((8, 7, 2), MaxPool2D((3, 2), (2, 1))),
    "max pool padded": ((6, 7, 2), MaxPool2D(3, 2, 1)),
    "max pool same": ((6, 7, 2), MaxPool2D(3, 1, "same", ties="all")),
    "max pool stride > window": ((8, 9, 2), MaxPool2D((2, 3), (4, 5))),
    "average pool": ((6, 8, 3), AvgPool2D()),
    "average pool odd": ((7, 5, 3), AvgPool2D((1, 2))),
    "average pool overlap": ((6, 7, 2), AvgPool2D((3, 2), (1, 2), 1)),
    "average pool counts padding": ((6, 7, 2), AvgPool2D(3, 2, "same", count_padding=True)),
    "average pool stride > window": ((8, 8, 2), AvgPool2D(2, 3)),
    "average pool whole image": ((4, 6, 3), AvgPool2D((4, 6))),
    "relu": ((3, 4, 2), ReLU()),
    "relu slope 0": ((3, 4, 2), ReLU(0.0)),
    "sigmoid": ((3, 4, 2), Sigmoid()),
    "tanh": ((3, 4, 2), Tanh()),
    "flatten": ((3, 4, 2), Flatten()),
    "image to image": ((3, 4, 2), Reshape((2, 3, 4))),
    "vector to image": ((24,), Reshape((4, 3, 2)), Conv2D(2, 2)),
    "vector to vector": ((24,), Reshape((24,)), Dense(2)),
    "dense": (
        (4, 3, 2),
        Flatten(),
        Dense(5),
        ReLU(),
        Reshape((1, 5, 1)),
        Tanh(),
        Flatten(),
        Sigmoid(),
        Dense(3, False),
    ),
    "block": ((8, 9, 2), Conv2D(3, (2, 3)), ReLU(), MaxPool2D()),
}
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


def reals(rng, shape):
    return rng.standard_normal(shape)


def small_integers(rng, shape):
    """Full of ties and exact zeros."""
    return rng.integers(-1, 2, shape)


def readonly(a):
    a.flags.writeable = False
    return a


def example(name, batch, draw, dtype):
    """A network, its parameters, an input and an output gradient, all read-only."""
    shape, *layers = CASES[name]
    network, rng = Network(shape, tuple(layers)), np.random.default_rng(7)
    params = {
        k: {name: readonly(draw(rng, a.shape).astype(dtype)) for name, a in of_layer.items()}
        for k, of_layer in network.init(shape, rng).items()
    }
    x = readonly(draw(rng, (batch, *shape)).astype(dtype))
    dy = readonly(reals(rng, (batch, *network.out_shape(shape))).astype(dtype))
    return network, params, x, dy


def run(network, kernels, params, x, dy):
    context = Context(kernels)
    y, residuals = network.forward(params, kernels.enter(x), context)
    dx, dparams = network.backward(params, residuals, kernels.enter(dy), context)
    of_params = {f"{k}/{name}": a for k, of_layer in dparams.items() for name, a in of_layer.items()}
    return {"y": kernels.leave(y), "dx": kernels.leave(dx)} | of_params


def assert_same(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, a in expected.items():
        assert found[name].shape == a.shape
        assert found[name].dtype == a.dtype
        np.testing.assert_allclose(found[name], a, rtol=tolerance, atol=tolerance * np.abs(a).max(), err_msg=name)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [1, 5, 40])
@pytest.mark.parametrize("draw", [reals, small_integers])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_verb_gives_the_references_numbers(name, batch, draw, dtype):
    made = example(name, batch, draw, dtype)
    assert_same(run(made[0], NUMPY, *made[1:]), run(made[0], REFERENCE, *made[1:]), TOLERANCE[dtype])


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("conv")])
def test_images_larger_than_a_block_give_the_same_numbers(name, monkeypatch):
    made = example(name, 5, reals, "float64")
    for module in (cpu_correlation, winograd):
        monkeypatch.setattr(module, "BLOCK", 1 << 11)
    monkeypatch.setattr(memory, "SMALL", 0)
    assert_same(run(made[0], NUMPY, *made[1:]), run(made[0], REFERENCE, *made[1:]), 1e-10)


def test_blocks_follow_their_limit(monkeypatch):
    """Whatever was asked before: else the test above would see whole images."""
    x, w, window = np.zeros((7, 2, 9, 5)), np.zeros((3, 3, 2, 3)), Window((3, 3))
    assert len(cpu_correlation.correlate(x, w, window)[1].blocking.blocks) == 1
    monkeypatch.setattr(cpu_correlation, "BLOCK", 1 << 11)
    assert len(cpu_correlation.correlate(x, w, window)[1].blocking.blocks) == 5


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("layers", [(ReLU(0.5), MaxPool2D()), (MaxPool2D(),)])
@pytest.mark.parametrize(
    ("shape", "convolution", "way", "rest"),
    [
        ((8, 9, 2), Conv2D(3, 3), cpu_correlation, 0),
        ((9, 9, 8), Conv2D(8, 3, padding="same"), winograd, 4),
        ((14, 11, 4), Conv2D(5, 5), winograd, 2),
        ((12, 12, 4), Conv2D(5, 5), winograd, 0),
        ((11, 13, 32), Conv2D(32, 5), winograd_tiles, 3),
    ],
)
def test_each_way_before_a_pool_gives_the_references_numbers(shape, convolution, way, rest, layers, batch):
    """rest: rows of the last tile, where it has fewer than others. Even and odd columns lie apart."""
    network = Network(shape, (convolution, *layers))
    kernel, window = (*convolution.kernel, shape[2], convolution.filters), convolution.window_of(shape)
    rows = window.outputs(*shape[:2])[0]
    assert cpu._way((shape[0], shape[2], shape[1], batch), kernel, window) is way
    assert way is cpu_correlation or rows % winograd.tile(rows, kernel[0]) == rest
    rng = np.random.default_rng(0)
    params = {"0": {"kernel": rng.standard_normal(kernel), "bias": rng.standard_normal(convolution.filters)}}
    x, dy = rng.standard_normal((batch, *shape)), rng.standard_normal((batch, *network.out_shape(shape)))
    assert_same(run(fuse(network), NUMPY, params, x, dy), run(network, REFERENCE, params, x, dy), 1e-9)


@pytest.mark.parametrize("layers", [(ReLU(0.5), MaxPool2D()), (MaxPool2D(),)])
@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize("stride", [1, (2, 1), (4, 2)])
def test_images_larger_than_a_block_are_made_by_rows_before_a_pool(layers, need_dx, stride, monkeypatch):
    """Never whole, nor their shifted copies."""
    monkeypatch.setattr(cpu_correlation, "BLOCK", 1 << 11)
    monkeypatch.setattr(rows, "CACHED", 1)
    table = replace(NUMPY, correlation_for_pool=partial(cpu.correlate_for_pool, large=0))
    network = Network((31, 13, 2), (Conv2D(3, 3, stride, padding="same"), *layers))
    rng = np.random.default_rng(0)
    params = {"0": {"kernel": rng.standard_normal((3, 3, 2, 3)), "bias": rng.standard_normal(3)}}
    x, dy = rng.standard_normal((5, 31, 13, 2)), rng.standard_normal((5, *network.out_shape(network.input_shape)))
    y, residuals = fuse(network).forward(params, table.enter(x), Context(table))
    assert residuals[0][0].residual.stack is None
    asked, known = [], LazyImage.__getitem__
    monkeypatch.setattr(LazyImage, "__getitem__", lambda image, some: asked.append(some.stop) or known(image, some))
    dx, dparams = fuse(network).backward(params, residuals, table.enter(dy), Context(table), need_dx=need_dx)
    assert len(set(asked)) > 1
    expected = run(network, REFERENCE, params, x, dy)
    found = {"y": table.leave(y), "0/kernel": dparams["0"]["kernel"], "0/bias": dparams["0"]["bias"]}
    found["dx"] = table.leave(dx) if need_dx else expected["dx"]
    assert_same(found, expected, 1e-10)


def test_a_forward_pass_of_no_examples():
    network = fuse(Network((12, 12, 1), (Conv2D(3, 5), ReLU(), MaxPool2D(), Conv2D(2, 3))))
    params = network.init(network.input_shape, np.random.default_rng(0))
    y, _ = network.forward(params, NUMPY.enter(np.zeros((0, 12, 12, 1))), Context(NUMPY))
    assert NUMPY.leave(y).shape == (0, 2, 2, 2)


@pytest.mark.parametrize("name", CASES)
def test_residuals_may_be_read_twice(name):
    network, params, x, dy = example(name, 3, reals, "float64")
    context, dy = Context(NUMPY), NUMPY.enter(dy)
    _, residuals = network.forward(params, NUMPY.enter(x), context)
    once, of_once = network.backward(params, kept(residuals), dy, context)
    twice, of_twice = network.backward(params, residuals, 2 * dy, context)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-12)
    for k, of_layer in of_once.items():
        for parameter, a in of_layer.items():
            np.testing.assert_allclose(of_twice[k][parameter], 2 * a, rtol=1e-12)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_named_networks_never_fall_back_to_the_reference(name, monkeypatch):
    def fall_back(*_):
        raise AssertionError("the reference was called")

    for function in ("correlate", "correlate_backward"):
        monkeypatch.setattr(reference, function, fall_back)
    network = fuse(networks.build(name))
    rng = np.random.default_rng(0)
    params, context = network.init(network.input_shape, rng), told(network, NUMPY, range(2), np.array)
    y, residuals = network.forward(params, NUMPY.enter(rng.random((2, *network.input_shape))), context)
    network.backward(params, residuals, y, context, need_dx=False)


def test_wide_layers_take_winograds_ways():
    taken = {
        (height, channels): cpu._way(
            (height, channels[0], height, 1),
            (k, k, *channels),
            convolution_window(k, 1, padding, 1, height, height),
        )
        for height, k, padding, channels in (
            *((28, 5, "same", (1, 32)), (14, 5, "same", (32, 64)), (12, 5, "valid", (8, 16))),
            *((32, 3, "same", (3, 64)), (32, 3, "same", (64, 64)), (16, 3, "same", (64, 128))),
        )
    }
    of_tiles = {(14, (32, 64)), (32, (64, 64)), (16, (64, 128))}
    assert {of for of, way in taken.items() if way is winograd_tiles} == of_tiles
    assert {of for of, way in taken.items() if way is winograd} == {(12, (8, 16))}


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("conv tiles")])
def test_cases_of_tiles_take_that_way(name, monkeypatch):
    made, calls = example(name, 2, reals, "float64"), []
    for function in ("correlate", "gradients"):
        known = getattr(winograd_tiles, function)
        monkeypatch.setattr(
            winograd_tiles, function, lambda *a, _of=function, _known=known: calls.append(_of) or _known(*a)
        )
    run(made[0], NUMPY, *made[1:])
    assert calls == ["correlate", "gradients"]


@pytest.mark.parametrize("batch", [winograd_tiles.LONG_RUNS - 1, winograd_tiles.LONG_RUNS])
def test_tiles_of_many_images_are_not_turned(batch, monkeypatch):
    network, rng, turned = Network((8, 7, 16), (Conv2D(17, 3, padding="same"),)), np.random.default_rng(5), []
    params = network.init(network.input_shape, rng)
    x, dy = (rng.standard_normal((batch, *shape)) for shape in network.shapes())
    known = winograd_tiles._gradients_of_tiles
    monkeypatch.setattr(
        winograd_tiles, "_gradients_of_tiles", lambda *a: turned.append(not a[1].flags.c_contiguous) or known(*a)
    )
    assert_same(run(network, NUMPY, params, x, dy), run(network, REFERENCE, params, x, dy), 1e-10)
    assert set(turned) == {batch < winograd_tiles.LONG_RUNS}


@pytest.mark.parametrize("kernel", [9, (1, 9), (9, 1), (2, 11), (7, 7), 1])
def test_kernels_of_any_size_find_a_way(kernel):
    network = Network((12, 12, 32), (Conv2D(32, kernel, padding="same"),))
    rng = np.random.default_rng(4)
    params = network.init(network.input_shape, rng)
    x, dy = (rng.standard_normal((2, 12, 12, 32)) for _ in range(2))
    assert_same(run(network, NUMPY, params, x, dy), run(network, REFERENCE, params, x, dy), 1e-9)


@pytest.mark.parametrize("size", [(12, 14), (13, 15)])
@pytest.mark.parametrize("layers", [(ReLU(), MaxPool2D()), (MaxPool2D(),)])
def test_tiles_before_a_pool_give_the_references_numbers(size, layers):
    network = Network((*size, 32), (Conv2D(33, 3, padding="same"), *layers))
    rng = np.random.default_rng(2)
    params = network.init(network.input_shape, rng)
    x, dy = (rng.standard_normal((3, *s)) for s in (network.input_shape, network.out_shape(network.input_shape)))
    expected = run(network, REFERENCE, params, x, dy)
    assert fuse(network).layers != network.layers
    assert_same(run(fuse(network), NUMPY, params, x, dy), expected, 1e-10)


@pytest.mark.parametrize("rows", [3, 4, 5])
def test_winograd_is_as_exact_as_the_direct_sum(rows):
    rng = np.random.default_rng(1)
    x, w = rng.random((14, 32, 6, 16)), rng.standard_normal((rows, 3, 32, 16))
    window = convolution_window((rows, 3), 1, "same", 1, 14, 6)
    exact = winograd.correlate(x, w, window)[0]
    for way in (cpu_correlation, winograd_tiles):
        np.testing.assert_allclose(exact, way.correlate(x, w, window)[0], rtol=1e-10, atol=1e-11)
    x, w = x.astype(np.float32), w.astype(np.float32)
    errors = [
        np.abs(way.correlate(x, w, window)[0] - exact).max() for way in (cpu_correlation, winograd, winograd_tiles)
    ]
    assert errors[1] < 10 * errors[0]
    assert errors[2] < 20 * errors[0]


def test_the_wrong_number_of_elements_is_a_shape_error():
    with pytest.raises(ShapeError, match="cannot be reshaped"):
        NUMPY.reshape.forward(NUMPY.enter(np.zeros((2, 3, 4, 1))), (5,))


def test_two_axes_pass_through_and_images_come_back():
    vectors, images = np.arange(6.0).reshape(2, 3), np.arange(48, dtype=np.uint8).reshape(2, 3, 4, 2)
    assert np.array_equal(NUMPY.leave(NUMPY.enter(vectors)), vectors)
    assert NUMPY.image_shape(NUMPY.enter(images)) == (3, 4, 2)
    assert np.array_equal(NUMPY.leave(NUMPY.enter(images)), images)


@pytest.mark.parametrize("order", ["C", "F"])
def test_matmul_keeps_the_memory_order_of_its_first_factor(order):
    a = np.asarray(np.random.default_rng(0).random((3, 4)), order=order)
    b = np.random.default_rng(1).random((4, 5))
    product = NUMPY.matmul(a, b)
    np.testing.assert_allclose(product, a @ b)
    assert product.flags[f"{order}_CONTIGUOUS"]


def test_living_residuals_share_no_memory_with_new_calls(monkeypatch):
    monkeypatch.setattr(memory, "SMALL", 0)  # every array comes from the reused blocks
    network = fuse(Network((12, 12, 8), (Conv2D(8, 5, padding="same"), ReLU(), MaxPool2D(), Conv2D(4, 3), Tanh())))
    rng, context = np.random.default_rng(3), Context(NUMPY)
    params = network.init(network.input_shape, rng)
    kept, expected = [], []
    for _ in range(3):
        x, dy = rng.random((5, 12, 12, 8)), rng.random((5, *network.out_shape(network.input_shape)))
        y, residuals = network.forward(params, NUMPY.enter(x), context)
        kept.append((y, residuals, dy))
        expected.append(run(network, REFERENCE, params, x, dy))
    for (y, residuals, dy), numbers in zip(kept, expected):
        dx, _ = network.backward(params, residuals, NUMPY.enter(dy), context)
        np.testing.assert_allclose(NUMPY.leave(y), numbers["y"], rtol=1e-10)
        np.testing.assert_allclose(NUMPY.leave(dx), numbers["dx"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("others", [0, memory.FEW], ids=["block", "of-a-slab"])
def test_memory_comes_back_when_its_last_view_is_gone(others):
    with memory.apart():
        before = [memory.empty((memory.MUCH // 4,), np.uint8) for _ in range(4 * others // memory.MUCH)]
        _memory_comes_back()
        assert (memory._here.slab.size > 0) == bool(before)


def _memory_comes_back():
    size = 3 * memory.SMALL
    a = memory.empty((size,), np.uint8)
    address, view = a.ctypes.data, a[5:].reshape(-1, 1).view(np.int8)
    assert address % memory.LINE == 0
    del a
    assert not np.shares_memory(memory.empty((size,), np.uint8), view)
    del view
    gc.collect()
    lent = [memory.empty((size,), np.uint8) for _ in range(3)]
    assert address in [b.ctypes.data for b in lent]
    assert not any(np.shares_memory(lent[i], lent[j]) for i in range(3) for j in range(i))


def test_slabs_serve_where_their_blocks_know_what_sees_them(monkeypatch):
    """Plain arrays' do not; then there are none."""
    assert memory._are_seen()
    with monkeypatch.context() as patch:
        patch.setattr(memory, "_Slab", np.ndarray)
        assert not memory._are_seen()
    monkeypatch.setattr(memory, "SLABS", False)
    with memory.apart():
        kept = [memory.empty((1 << 20,), np.uint8) for _ in range(2 * (memory.FEW >> 20))]
        assert memory._here.small >= memory.FEW
        assert memory._here.slab.size == 0
        assert len(kept) == 16


def test_blocks_of_slabs_never_share_memory_and_lie_on_cache_lines():
    with memory.apart():
        kept = []
        for k in range(200):
            a = memory.empty((memory.SMALL * (1 + k % 31),), np.uint8)
            a[...] = k
            if k % 3:
                kept.append((k, a))
        assert memory._here.small > 2 * memory.FEW
        assert all((a == k).all() and a.ctypes.data % memory.LINE == 0 for k, a in kept)
        assert 0 <= memory._here.uncut < memory._here.total / 2


def test_threads_that_free_each_others_memory_never_share_it():
    size, failures, boxes = memory.SMALL // 4, [], [[], []]

    def work(me):
        for round_ in range(300):
            mine = [memory.empty((size,), np.float32) for _ in range(3)]
            for k, a in enumerate(mine):
                a[...] = 1000 * me + k
            boxes[me].append(mine.pop())
            if round_ % 2:
                boxes[1 - me].clear()
            failures.extend(k for k, a in enumerate(mine) if not (a == 1000 * me + k).all())

    threads = [threading.Thread(target=work, args=(me,)) for me in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_parts_cover_everything_once():
    for count, item, most in ((7, 100, 250), (1, 100, 10), (8, 0, 10), (5, 1, 100)):
        covered = [k for part in memory.parts(count, item, most) for k in range(part.start, part.stop)]
        assert covered == list(range(count))


def test_ties_between_equal_surroundings_stay_ties_where_a_pool_shares_the_gradient() -> None:
    network = Network((14, 14, 8), (Conv2D(16, 5), ReLU(), MaxPool2D(ties="all"), Flatten(), Dense(2)))
    rng = np.random.default_rng(0)
    params = {
        "0": {"kernel": rng.standard_normal((5, 5, 8, 16)), "bias": rng.standard_normal(16)},
        "4": {"weights": rng.standard_normal((400, 2)), "bias": np.zeros(2)},
    }
    x = np.zeros((3, 14, 14, 8)) + rng.random(8)  # every patch is the same, so every window is full of ties
    assert shares_ties(network)
    found = [gradients(network, kernels, params, x) for kernels in (REFERENCE, choose("cpu", exact_ties=True))]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


def gradients(network: Network, kernels: Kernels, params: dict, x: np.ndarray) -> list[np.ndarray]:
    y, residuals = network.forward(params, kernels.enter(x), Context(kernels))
    dx, dparams = network.backward(params, residuals, kernels.enter(np.ones_like(y)), Context(kernels))
    return [kernels.leave(dx), dparams["0"]["kernel"], dparams["0"]["bias"]]


def test_zeros_are_the_same_for_one_thread_and_one_use(monkeypatch) -> None:
    made = [memory.same_zeros((4, 5), np.float32, use) for use in (1, 1, 2)]
    assert made[0] is made[1]
    assert not np.shares_memory(made[0], made[2])
    of_thread = []
    thread = threading.Thread(target=lambda: of_thread.append(memory.same_zeros((4, 5), np.float32, 1)))
    thread.start()
    thread.join()
    assert not np.shares_memory(made[0], of_thread[0])
    monkeypatch.setattr(memory, "ZEROS", 100)
    large = memory.same_zeros((200,), np.uint8, 3)
    large[:] = 1
    assert not memory.same_zeros((200,), np.uint8, 3).any()  # too large to be kept
    assert memory.same_zeros((4, 5), np.float32, 1) is made[0]
    memory.same_zeros((4, 5), np.float32, 4)
    assert sum(each.nbytes for each in memory._here.zeros.values()) <= 100
    assert memory.same_zeros((4, 5), np.float32, 1) is not made[0]


def test_gradients_of_two_geometries_in_turn_read_no_foreign_columns(monkeypatch) -> None:
    """Both need memory of one size, with columns of zeros in different places."""
    rng, asked = np.random.default_rng(0), []
    original = memory.same_zeros
    monkeypatch.setattr("gpucnn.kernels.cpu.columns.same_zeros", lambda *a: asked.append(a) or original(*a))
    for batch, channels, columns in ((4, 4, 3), (8, 3, 2)) * 2:
        example = Network((9, 9, channels), (Conv2D(2, (3, columns), bias=None),))
        x, dy = rng.standard_normal((batch, 9, 9, channels)), rng.standard_normal((batch, 7, 10 - columns, 2))
        params = {"0": {"kernel": rng.standard_normal((3, columns, channels, 2))}}
        found, expected = (run(example, table, params, x, dy) for table in (NUMPY, REFERENCE))
        assert_same(found, expected, 1e-11)
    assert len({shape for shape, *_ in asked}) < len({(shape, use) for shape, _, use in asked}) < len(asked)


def test_pixels_become_scaled_images() -> None:
    images = np.arange(2 * 3 * 4 * 2, dtype=np.uint8).reshape(2, 3, 4, 2)
    for dtype in ("float32", "float64"):
        made = NUMPY.leave(NUMPY.pixels(images, np.dtype(dtype), 1 / 255, -0.5))
        expected = REFERENCE.pixels(images, np.dtype(dtype), 1 / 255, -0.5)
        assert made.dtype == expected.dtype == dtype
        np.testing.assert_allclose(made, expected, rtol=1e-6)


@pytest.mark.parametrize("loss", list(NUMPY.losses), ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("order", ["C", "F"])
def test_losses_of_the_table_are_the_losses(loss, order):
    rng = np.random.default_rng(0)
    logits = np.asarray(
        np.vstack([rng.standard_normal((20, 5)) * 10, np.zeros((1, 5)), [[1e4, -1e4, 0, 1, 2]]]), order=order
    )
    labels, before = rng.integers(0, 5, len(logits)), logits.copy()
    for found, expected in zip(NUMPY.losses[loss](logits, labels), loss()(logits, labels), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(logits, before)
    single = NUMPY.losses[loss](logits.astype(np.float32), labels)
    assert [part.dtype for part in single] == [np.float32, np.float32]


@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 1e-6), ("float64", 1e-14)])
def test_blank_parts_of_images_stay_blank(dtype, rounding):
    """Of a first layer exactly; Winograd's sums, of many channels, leave rounding beside what is not blank."""
    rng = np.random.default_rng(0)
    for channels, is_exact in ((1, True), (3, True), (32, False)):
        x = np.zeros((8, 28, 28, channels), dtype)
        x[:, 8:20, 9:19] = rng.random((8, 12, 10, channels))
        network = Network((28, 28, channels), (Conv2D(64, 5, padding="same"),))
        params = network.init(network.input_shape, rng)
        theta = np.concatenate([params["0"][name].ravel() for name in ("kernel", "bias")]).astype(dtype)
        layout = Layout(params)
        found, expected = (
            kernels.leave(network.forward(layout.unpack(theta), kernels.enter(x), Context(kernels))[0])
            for kernels in (NUMPY, REFERENCE)
        )
        left = np.abs(found[expected == 0])
        assert len(left) > 100_000
        assert left.max() <= (0 if is_exact else rounding)
        assert not found[:, :4].any()


@pytest.mark.parametrize("shape", [(5, 3, 4, 6), (9, 16, 32, 64), (0, 3, 4, 6), (7, 3)])
@pytest.mark.parametrize("slope_at_zero", [0.0, 0.5])
def test_bias_and_relu_as_one_give_the_bits_of_the_two(shape, slope_at_zero):
    """Of zeros before the ReLU, of both signs, of infinities and of NaN, too. In inference no zeros are looked for."""
    rng = np.random.default_rng(0)
    b = rng.standard_normal(3 if shape[1] == 3 else 16).astype(np.float32)
    y, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    rows = y.transpose(0, 2, 3, 1) if y.ndim == 4 else y
    rows[rng.random(rows.shape) < 0.1] = np.nan
    rows[:, ..., 1] = np.where(rng.random(rows.shape[:-1]) < 0.3, -b[1], np.inf)
    for order in "CF" if y.ndim == 2 else "C":
        found, residual = NUMPY.bias_relu(np.array(y, order=order), b, slope_at_zero)
        expected, of_two = Kernels.bias_relu(NUMPY, np.array(y, order=order), b, slope_at_zero)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(for_inference(NUMPY).bias_relu(y.copy(), b, slope_at_zero)[0], expected)
        gradients = NUMPY.bias_relu_backward(residual, dy), Kernels.bias_relu_backward(NUMPY, of_two, dy)
        for ours, theirs in zip(*gradients, strict=True):
            np.testing.assert_array_equal(ours, theirs)


CURVES = [("elu", 1.0), ("elu", 0.3), ("gelu",), ("gelu_tanh",), ("silu",), ("leaky_relu", 0.01), ("leaky_relu", 0.0)]
CURVES += [("leaky_relu", 1.5), ("hardswish",), ("softplus",)]


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_curves_in_float32_are_those_of_float64_but_for_its_digits(curve):
    far = [0.0, -0.0, 1e-30, -1e-30, 87.0, -87.0, 1e30, -1e30]
    x = np.concatenate([np.linspace(-14, 14, 100_001), far]).astype(np.float32)[:, None]
    found, expected = [], []
    for table, dtype, results in ((NUMPY, np.float32, found), (REFERENCE, np.float64, expected)):
        y, residual = table.curve.forward(x.astype(dtype), *curve)
        results += [y, table.curve.backward(residual, np.ones(x.shape, dtype))]
    assert found[0].dtype == found[1].dtype == np.float32
    np.testing.assert_array_less(np.abs(found[0] - expected[0]), 4e-7 * np.maximum(1, np.abs(x)))
    np.testing.assert_array_less(np.abs(found[1] - expected[1]), 2e-6)


def test_biases_before_a_relu_are_added_with_it():
    layers = Conv2D(3, 3), ReLU(), Flatten(), Dense(4), ReLU(), Dense(2)
    assert [type(layer).__name__ for layer in fuse(Network((6, 6, 1), layers)).layers] == [
        *("ConvReLU", "Flatten", "BiasReLU", "Dense")
    ]
