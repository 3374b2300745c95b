"""Images made by rows give the same bits as whole ones, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
from cases import fuse

from gpucnn.kernels import Context, for_inference
from gpucnn.kernels.cpu import NUMPY, rows, winograd_tiles
from gpucnn.kernels.cpu import correlation as cpu_correlation
from gpucnn.kernels.cpu.rows import LazyImage, steps, whole
from gpucnn.layers import Conv2D, MaxPool2D, ReLU
from gpucnn.network import Network

IMAGES = {
    "valid": ((12, 14, 1), Conv2D(3, 5)),
    "odd": ((11, 13, 2), Conv2D(3, 3)),
    "one pair": ((4, 5, 1), Conv2D(2, 3)),
    "strided": ((23, 14, 2), Conv2D(3, 4, stride=(2, 3), padding=(1, 2))),
    "tiles": ((12, 12, 32), Conv2D(33, 5)),
    "tiles odd": ((15, 13, 32), Conv2D(32, 3, padding="same")),
}
WAYS = cpu_correlation, winograd_tiles


@pytest.fixture(params=["numpy", "numba"])
def table(request):
    if request.param == "numpy":
        return NUMPY
    numba = pytest.importorskip("gpucnn.kernels.cpu.compiled", reason="numba is not installed")
    return numba.compiled_from(NUMPY)


@pytest.fixture
def made(monkeypatch):
    """Images by rows from the smallest on, two rows or one sum at a time; which rows were made."""
    correlate = cpu_correlation.correlate
    monkeypatch.setattr(cpu_correlation, "correlate", lambda x, w, window, large: correlate(x, w, window, 0))
    for module in (rows, winograd_tiles):
        monkeypatch.setattr(module, "CACHED", 1)
    asked, known = [], LazyImage.__getitem__
    monkeypatch.setattr(LazyImage, "__getitem__", lambda image, some: asked.append(some) or known(image, some))
    return asked


def numbers(network, table, params, x, dy, need_dx):
    context = Context(table)
    y, residuals = network.forward(params, table.enter(x), context)
    dx, dparams = network.backward(params, residuals, table.enter(dy), context, need_dx=need_dx)
    inferred = network.forward(params, table.enter(x), Context(for_inference(table), training=False))[0]
    return [y, inferred, *([dx] if need_dx else []), dparams["0"]["kernel"], dparams["0"]["bias"]]


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("layers", [(ReLU(0.5), MaxPool2D()), (MaxPool2D(),)])
@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize("integers", [True, False])
def test_they_have_the_bits_of_whole_images(name, layers, need_dx, integers, table, made, monkeypatch):
    shape, convolution = IMAGES[name]
    network, rng = fuse(Network(shape, (convolution, *layers))), np.random.default_rng(0)
    draw = (lambda s: rng.integers(-1, 2, s).astype("float32")) if integers else lambda s: rng.standard_normal(s)
    kernel = draw((*convolution.kernel, shape[2], convolution.filters))
    params = {"0": {"kernel": kernel, "bias": draw(1).repeat(convolution.filters)}}
    x, dy = draw((5, *shape)), draw((5, *network.out_shape(shape)))
    found = numbers(network, table, params, x, dy, need_dx)
    assert len({some.start for some in made}) > (name != "one pair")
    for way in WAYS:
        monkeypatch.setattr(way, "correlate", made_whole(way.correlate))
    assert all(map(np.array_equal, found, numbers(network, table, params, x, dy, need_dx)))


def made_whole(correlate):
    def made(*arguments):
        y, residual = correlate(*arguments)
        return whole(y), residual

    return made


def test_images_are_made_by_rows_from_a_size_on(table, monkeypatch):
    """The numbers of an image: 8 x 3 x 8 for each example, of 8 bytes. Inference looks at them once."""
    network = fuse(Network((12, 12, 1), (Conv2D(3, 5), ReLU(), MaxPool2D())))
    params = network.init(network.input_shape, np.random.default_rng(0))
    asked, known = [], LazyImage.__getitem__
    monkeypatch.setattr(LazyImage, "__getitem__", lambda image, some: asked.append(some) or known(image, some))

    def by_rows(examples, context):
        asked.clear()
        network.forward(params, np.zeros((12, 1, 12, examples)), context)
        return bool(asked)

    first = rows.LARGE if table is NUMPY else rows.LARGE_ONCE
    for context, large in ((Context(table), first), (Context(for_inference(table), False), rows.LARGE_ONCE)):
        least = -(-large // (8 * 3 * 8 * 8))
        assert not by_rows(least - 1, context)
        assert by_rows(least, context)


def test_steps_cover_all_rows_once():
    def number(a, b):
        return np.arange(a, b)[:, None, None, None]

    image = LazyImage((2, 7, 1, 1, 2), np.float32, 4, lambda a, b, out: out.__setitem__(..., number(a, b)))
    assert steps(image, 7) == [slice(0, 4), slice(4, 7)]
    assert steps(image, 6) == [slice(0, 4), slice(4, 6)]
    assert steps(np.zeros((7, 1, 1, 2)), 6) == [slice(0, 6)]
    assert steps(image, 0) == []
    assert whole(image)[1, :, 0, 0, 1].tolist() == list(range(7))
    array = np.zeros((3, 1, 1, 2))
    assert whole(array) is array
