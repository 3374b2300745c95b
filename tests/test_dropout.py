"""Dropout: the same numbers are left out by every table and library, as often as they should be, in training alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from conftest import Library, read_only
from fake_cuda import asarray, fake_cuda  # noqa: F401

from gpucnn.errors import SettingError, ShapeError
from gpucnn.kernels import REFERENCE, Context, Kernels, cuda
from gpucnn.kernels.cpu import NUMPY
from gpucnn.kernels.cpu import dropout as cpu_dropout
from gpucnn.kernels.random import bits
from gpucnn.layers import Dropout, Layer, SpatialDropout2D

SHAPES = [(5,), (1,), (3, 4, 2), (1, 1, 7), (9, 5, 3)]
KEY, UPDATE = 0x9E3779B97F4A7C15, 7  # a key of more than 32 bits


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape)


def expected(layer: Dropout, x: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """By the definition, number by number."""
    y = np.empty_like(x)
    for n, example in enumerate(examples):
        for k, value in enumerate(x[n].ravel()):
            counter = k % x.shape[-1] if type(layer) is SpatialDropout2D else k
            kept = bits(KEY, UPDATE, int(example), counter) >= layer.rate * 2**32
            y[n].flat[k] = value / (1 - layer.rate) if kept else 0
    return y


def run(layer: Layer, kernels: Kernels, x: Any, dy: Any, **told: Any) -> tuple[Any, Any]:
    context = Context(kernels, **told)
    y, residual = layer.forward({}, kernels.enter(x), context)
    dx, nothing = layer.backward({}, residual, kernels.enter(dy), context)
    assert nothing == {}
    return kernels.leave(y), kernels.leave(dx)


EXAMPLES = np.array([5, 0, 2**31 + 3, 17])
LAYERS = [Dropout(0.3), Dropout(0.5), Dropout(0.999), SpatialDropout2D(0.4)]
cases = [(layer, shape) for layer in LAYERS for shape in SHAPES if len(shape) == 3 or type(layer) is Dropout]
every_case = pytest.mark.parametrize(("layer", "shape"), cases, ids=str)


@every_case
def test_every_library_leaves_out_the_same(layer: Dropout, shape: tuple[int, ...], library: Library) -> None:
    x, dy = drawn(4, *shape), drawn(4, *shape)[::-1].copy()
    told = {"examples": library.put(EXAMPLES), "update": UPDATE, "key": KEY}
    y, dx = run(layer, REFERENCE, library.put(x), library.put(dy), **told)
    np.testing.assert_allclose(library.fetch(y), expected(layer, x, EXAMPLES), rtol=1e-15)
    np.testing.assert_allclose(library.fetch(dx), expected(layer, dy, EXAMPLES), rtol=1e-15)


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [0, 1, 4])
def test_the_numpy_table_leaves_out_the_same(layer: Dropout, shape: tuple[int, ...], dtype: str, batch: int) -> None:
    x = drawn(batch, *shape).astype(dtype)
    told = {"examples": EXAMPLES[:batch], "update": UPDATE, "key": KEY}
    for found, reference in zip(run(layer, NUMPY, read_only(x), x, **told), run(layer, REFERENCE, x, x, **told)):
        np.testing.assert_array_equal(found, reference)
        assert found.dtype == dtype


@every_case
@pytest.mark.parametrize("update", [UPDATE, np.array([UPDATE])], ids=["on the host", "on the device"])
def test_the_cuda_kernel_leaves_out_the_same(layer, shape, update, fake_cuda, monkeypatch):  # noqa: F811
    table, x = cuda.table(dtype="float64"), drawn(4, *shape)
    put = update if isinstance(update, int) else asarray(update)
    for most in (cuda.MOST, 1):  # the second: with indices of 64 bits
        monkeypatch.setattr(cuda, "MOST", most)
        for found in run(layer, table, asarray(x), asarray(x), examples=asarray(EXAMPLES), update=put, key=KEY):
            np.testing.assert_allclose(np.asarray(found), expected(layer, x, EXAMPLES), rtol=1e-15)


def test_large_images_are_drawn_in_parts(monkeypatch):
    x = drawn(4, 9, 5, 3)
    told = {"examples": EXAMPLES, "update": UPDATE, "key": KEY}
    whole = run(Dropout(), NUMPY, x, x, **told)
    monkeypatch.setattr(cpu_dropout, "CACHED", 100)
    for a, b in zip(run(Dropout(), NUMPY, x, x, **told), whole):
        np.testing.assert_array_equal(a, b)


def test_a_shard_leaves_out_what_the_whole_batch_does():
    x = drawn(4, 3, 4, 2)
    whole, _ = run(Dropout(), NUMPY, x, x, examples=EXAMPLES, update=UPDATE, key=KEY)
    part, _ = run(Dropout(), NUMPY, x[2:], x[2:], examples=EXAMPLES[2:], update=UPDATE, key=KEY)
    np.testing.assert_array_equal(part, whole[2:])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_as_many_are_left_out_as_should_be_and_the_mean_stays(rate):
    x, examples = np.ones((200, 10, 10, 5)), np.arange(200)
    y, dx = run(Dropout(rate), NUMPY, x, x, examples=examples, update=1, key=2)
    left_out = (y == 0).mean()
    assert abs(left_out - rate) < 4 * np.sqrt(rate * (1 - rate) / x.size)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-15)
    np.testing.assert_array_equal(y, dx)
    again, _ = run(Dropout(rate), NUMPY, x, x, examples=examples, update=2, key=2)
    assert abs(((again == 0) & (y == 0)).mean() - rate**2) < 0.01


def test_whole_channels_share_a_fate():
    x = np.ones((50, 4, 3, 20))
    y, _ = run(SpatialDropout2D(0.5), NUMPY, x, x, examples=np.arange(50), update=1, key=2)
    assert (y == y[:, :1, :1]).all()
    assert 0.4 < (y[:, 0, 0] == 0).mean() < 0.6


@pytest.mark.parametrize("told", [{"training": False, "examples": EXAMPLES}, {"examples": None}])
@pytest.mark.parametrize("layer", [Dropout(0.9), SpatialDropout2D(0.9)])
def test_outside_training_the_input_passes(layer, told):
    x = drawn(4, 3, 4, 2)
    for found in run(layer, NUMPY, x, x, **told):
        np.testing.assert_array_equal(found, x)


def test_a_rate_of_0_draws_nothing():
    x = drawn(4, 3, 4, 2)
    for found in run(Dropout(0), NUMPY, x, x, examples=EXAMPLES):
        np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_seen(value):
    """As in PyTorch, which multiplies too: a dropped NaN is NaN."""
    x = np.full((4, 3, 4, 2), value)
    told = {"examples": EXAMPLES, "update": UPDATE, "key": KEY}
    with np.errstate(invalid="ignore"):
        found, reference = run(Dropout(), NUMPY, x, x, **told), run(Dropout(), REFERENCE, x, x, **told)
    np.testing.assert_array_equal(found, reference)
    assert not np.isfinite(found[0]).any()


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan"), "0.5", None, True])
@pytest.mark.parametrize("kind", [Dropout, SpatialDropout2D])
def test_rates_that_are_none(kind, rate):
    with pytest.raises(SettingError, match=rf"{kind.__name__}: rate=.*(at least 0, below 1|a truth value is none)"):
        kind(rate)


def test_channels_are_those_of_images():
    with pytest.raises(ShapeError, match="put SpatialDropout2D before Flatten"):
        SpatialDropout2D().out_shape((5,))
    assert dataclasses.astuple(SpatialDropout2D(0.2)) == (0.2,)
