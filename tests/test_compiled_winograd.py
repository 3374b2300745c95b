"""Winograd's tiles whose sums are compiled give the reference's numbers, and are what the numba table takes."""

from __future__ import annotations

import numpy as np
import pytest
from cases import fuse, run

from gpucnn.kernels import REFERENCE
from gpucnn.kernels.cpu import NUMPY, winograd_tiles
from gpucnn.layers import Conv2D, MaxPool2D
from gpucnn.network import Network

compiled = pytest.importorskip("gpucnn.kernels.cpu.compiled_winograd", reason="numba is not installed")
NUMBA = pytest.importorskip("gpucnn.kernels.cpu.compiled").compiled_from(NUMPY)

# Tiles of 4 x 4 at all borders, the last ones reaching beyond the image; channels decide how many images go at once.
CASES = {
    "same": ((7, 8, 16), Conv2D(17, 3, padding="same"), 33),
    "full": ((5, 6, 16), Conv2D(16, 3, padding="full"), 129),
    "valid": ((9, 10, 17), Conv2D(16, 3, flip=True), 64),
    "one side": ((7, 9, 40), Conv2D(64, 3, padding=((2, 0), (0, 1))), 40),
}


def example(case, dtype="float64"):
    shape, layer, batch = CASES[case]
    network, rng = Network(shape, (layer,)), np.random.default_rng(3)
    x, dy = (rng.standard_normal((batch, *each)).astype(dtype) for each in (shape, network.out_shape(shape)))
    theta = rng.standard_normal(layer.filters * (9 * shape[2] + 1)).astype(dtype)
    return network, theta, x, dy


@pytest.mark.parametrize("case", CASES)
def test_the_references_numbers(case, monkeypatch):
    monkeypatch.setattr(winograd_tiles, "correlate", None)  # is not asked
    made = example(case)
    for one, other in zip(run(made[0], NUMBA, *made[1:]), run(made[0], REFERENCE, *made[1:]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def test_float32_stays_so_and_is_as_exact_as_numpys():
    made = example("same", "float32")
    exact = run(made[0], REFERENCE, *(each.astype("float64") for each in made[1:]))
    errors = []
    for table in (NUMBA, NUMPY):
        found = run(made[0], table, *made[1:])
        assert all(each.dtype == np.float32 for each in found)
        errors.append([np.abs(one - other).max() for one, other in zip(found, exact, strict=True)])
    assert all(ours < 2 * numpys + 1e-6 for ours, numpys in zip(*errors, strict=True))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_reaches_whoever_sees_it_and_only_its_tiles(value):
    network, theta, x, dy = example("same")
    expected = run(network, NUMBA, theta, x, dy)[0]
    x[5, 5, 1, 3] = value
    with np.errstate(all="ignore"):  # as Workers.limited
        y = run(network, NUMBA, theta, x, dy)[0]
    assert not np.isfinite(y[5, 4:7, 0:3]).any()
    y[5, :, :4] = expected[5, :, :4]
    np.testing.assert_array_equal(y, expected)


def test_zeros_where_nothing_was_added():
    network, theta, x, dy = example("same")
    dy[:, 3:] = dy[:, :, 3:] = 0
    dx = run(network, NUMBA, theta, x, dy)[1]
    assert dx[:, 3, :4].all()
    assert not dx[:, 4:].any()
    assert not dx[:, :, 4:].any()


@pytest.mark.parametrize(
    ("layers", "batch"), [((Conv2D(16, 3, padding="same"),), 31), ((Conv2D(16, 3, padding="same"), MaxPool2D()), 40)]
)
def test_few_images_and_those_that_a_pool_looks_at_are_left_to_numpy(layers, batch, monkeypatch):
    monkeypatch.setattr(compiled, "_loops_of", None)  # is not asked
    network, rng = Network((8, 8, 16), layers), np.random.default_rng(0)
    x, dy = (rng.standard_normal((batch, *each)) for each in (network.input_shape, network.shapes()[-1]))
    theta = rng.standard_normal(16 * (9 * 16 + 1))
    found, expected = run(fuse(network), NUMBA, theta, x, dy), run(network, REFERENCE, theta, x, dy)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
