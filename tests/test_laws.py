"""What holds for every layer configuration in cases.py, on every array library and every kernel table."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import special
from cases import CASES, fuse, kept, told
from conftest import Library, read_only

from gpucnn.errors import ShapeError
from gpucnn.kernels import REFERENCE, Kernels
from gpucnn.kernels.cpu import EXACT_TIES, NUMPY
from gpucnn.layers import Flatten, Layer, LayerNorm
from gpucnn.network import Network
from gpucnn.network.layout import Layout
from gpucnn.report.gradient_check import check
from gpucnn.workers import exchange

try:
    from gpucnn.kernels.cpu.compiled import compiled_from
except ImportError:  # numba is not installed
    TABLES = [NUMPY, EXACT_TIES]
else:
    TABLES = [NUMPY, EXACT_TIES, compiled_from(NUMPY)]

every_case = pytest.mark.parametrize("case", CASES)


def leaves(params: Any) -> Iterator[Any]:
    """The arrays of a parameter dict, as they are: before a copy into a flat vector could change their kind."""
    for value in params.values():
        if isinstance(value, dict):
            yield from leaves(value)
        else:
            yield value


class Example:
    """A case with parameters, an input and an output gradient, all in float64 on the host."""

    def __init__(self, case: str, batch: int = 3, draw: str = "reals", dtype: str = "float64") -> None:
        layers, shape = CASES[case]
        self.network = Network(shape, layers)
        rng = np.random.default_rng(11)

        def drawn(shape: tuple[int, ...]) -> np.ndarray:
            made = rng.standard_normal(shape) if draw == "reals" else rng.integers(-1, 2, shape)
            return made.astype(dtype)

        self.layout = Layout(self.network.init(shape, rng))
        self.theta = drawn((self.layout.size,))
        self.x = drawn((batch, *shape))
        self.dy = drawn((batch, *self.network.shapes()[-1]))
        self.examples = range(batch)

    def run(
        self, put: Any = np.array, kernels: Kernels = REFERENCE, network: Network | None = None, **options: Any
    ) -> Any:
        """Output, input gradient and the flat parameter gradient, in the library of put."""
        network = network or self.network
        context = told(network, kernels, self.examples, put, self.x.dtype)
        layout = Layout(network.init(network.input_shape, np.random.default_rng(0)))
        theta = put(self.theta)
        params = layout.unpack(theta)
        y, residuals = network.forward(params, kernels.enter(put(self.x)), context)
        dy = kernels.enter(put(self.dy))
        dx, dparams = network.backward(params, kept(residuals), dy, context, **options)
        again, more = network.backward(params, residuals, dy, context, **options)
        self.gradients = list(leaves(dparams))
        g, g_again = (layout.pack(d, put(np.zeros(layout.size, self.theta.dtype)) + 0) for d in (dparams, more))
        found = kernels.leave(y), None if dx is None else kernels.leave(dx), g
        repeated = found[0], None if again is None else kernels.leave(again), g_again
        return found, repeated


def close(found: Any, expected: Any, rtol: float = 1e-11, atol: float = 1e-11) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=atol)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60


@every_case
@pytest.mark.parametrize("batch", [1, 3])
def test_declared_shapes_are_the_computed_ones(case: str, batch: int) -> None:
    example = Example(case, batch)
    (y, dx, g), _ = example.run()
    assert y.shape == example.dy.shape
    assert dx.shape == example.x.shape
    assert g.shape == example.theta.shape


@every_case
def test_the_gradient_is_the_central_difference(case: str) -> None:
    layers, shape = CASES[case]
    for row in check(Network(shape, layers), batch=2, directions=4, seed=5):
        assert row.directions == 4, f"{row.name}: every direction crosses a kink"
        assert row.error < 1e-6, row


@every_case
@pytest.mark.parametrize("kernels", [REFERENCE, NUMPY], ids=lambda kernels: kernels.name)
def test_backward_is_linear_in_dy(case: str, kernels: Kernels) -> None:
    """Twice one dy minus half another gives the same of their gradients."""
    example = Example(case)
    one, other = example.dy, np.random.default_rng(12).standard_normal(example.dy.shape)
    found = []
    for dy in (one, other, 2 * one - other / 2):
        example.dy = dy
        (_, dx, g), _ = example.run(kernels=kernels)
        found.append((dx, g))
    close(found[2], [2 * a - b / 2 for a, b in zip(found[0], found[1])])


@every_case
def test_the_gradient_of_a_batch_is_the_sum_over_its_shards(case: str) -> None:
    example = Example(case, batch=5)
    (y, dx, g), _ = example.run()
    x, dy = example.x, example.dy

    def of(part: slice) -> Any:
        example.x, example.dy, example.examples = x[part], dy[part], range(5)[part]
        return example.run()[0]

    parts = exchange.one_by_one(of, [(slice(0, 2),), (slice(2, 5),)])
    close((np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])), (y, dx))
    close((parts[0][2] + parts[1][2],), (g,))


@every_case
def test_without_dx_the_parameters_get_the_same_gradient(case: str) -> None:
    example = Example(case)
    (_, _, g), _ = example.run()
    (_, nothing, alone), _ = example.run(need_dx=False)
    assert nothing is None
    close((alone,), (g,))


@functools.cache
def _expected(case: str, dtype: str) -> Any:
    return Example(case, dtype=dtype).run()[0]


@every_case
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_array_library_gives_the_same_numbers_in_kind(case: str, dtype: str, library: Library) -> None:
    example, expected = Example(case, dtype=dtype), _expected(case, dtype)
    found, again = example.run(library.put)
    sample = library.put(example.x)
    for array in (*found, *example.gradients):
        assert type(array) is type(sample)
        assert array.dtype == sample.dtype
        assert array.device == sample.device
    tolerance = 1e-11 if dtype == "float64" else 1e-4
    close(map(library.fetch, found), expected, tolerance, tolerance)
    close(map(library.fetch, again), map(library.fetch, found), 0, 0)


@every_case
@pytest.mark.parametrize("draw", ["reals", "small integers"])
@pytest.mark.parametrize(("batch", "dtype"), [(1, "float64"), (5, "float64"), (40, "float32")])
def test_the_numpy_table_is_the_reference(case: str, draw: str, batch: int, dtype: str) -> None:
    example = Example(case, batch, draw, dtype)
    expected, _ = example.run()
    found, again = example.run(read_only, NUMPY)
    tolerance = 1e-10 if dtype == "float64" else 1e-4 * max(1.0, float(np.abs(expected[2]).max(initial=0)))
    close(found, expected, 1e-10 if dtype == "float64" else 1e-4, tolerance)
    close(again, found, 0, 0)
    assert {array.dtype for array in (*found, *example.gradients)} == {np.dtype(dtype)}


@every_case
@pytest.mark.parametrize("kernels", [REFERENCE, NUMPY], ids=lambda kernels: kernels.name)
@pytest.mark.parametrize("draw", ["reals", "small integers"])
def test_the_peephole_changes_no_number(case: str, kernels: Kernels, draw: str) -> None:
    example = Example(case, 4, draw)
    fused = fuse(example.network)
    assert [slot[1:] for slot in Layout(fused.init(fused.input_shape, np.random.default_rng(0))).slots] == [
        slot[1:] for slot in example.layout.slots
    ]
    close(example.run(np.array, kernels, fused)[0], example.run()[0], 1e-10, 1e-10)


@every_case
def test_inputs_are_left_as_they_were(case: str) -> None:
    example = Example(case)
    before = [array.copy() for array in (example.x, example.theta, example.dy)]
    for kernels in (REFERENCE, NUMPY):
        example.run(lambda array: array, kernels)
        close((example.x, example.theta, example.dy), before, 0, 0)


@every_case
def test_layers_refuse_what_they_do_not_fit(case: str) -> None:
    layers, shape = CASES[case]
    if type(layers[0]).out_shape is Layer.out_shape or isinstance(layers[0], (Flatten, LayerNorm)):
        pytest.skip("takes any shape")
    wrong = (3,) if len(shape) == 3 and type(layers[0]).__name__ != "Reshape" else (1, 1, 1)
    with pytest.raises(ShapeError, match=r"layer 0 \(\w+\): "):
        Network(wrong, layers)


def _edges(case: str, draw: str, dtype: str = "float64") -> Example:
    """Special values in the images."""
    example = Example(case, dtype=dtype)
    example.x = special.drawn(draw, example.x.shape, dtype)
    if draw == "denormal":
        special.silence_biases(example.layout, example.theta)
    return example


@every_case
@pytest.mark.parametrize("draw", special.DRAWS)
@np.errstate(invalid="ignore", over="ignore")
def test_the_tables_agree_on_special_values(case: str, draw: str) -> None:
    """Also where dy is NaN behind outputs that are, as a loss makes it."""
    example = _edges(case, draw)
    y = example.run()[0][0]
    behind = np.where(np.isnan(y), np.nan, example.dy)
    for dy_is_finite in (True, False) if np.isnan(y).any() else (True,):
        example.dy = example.dy if dy_is_finite else behind
        expected, _ = example.run()
        for kernels in TABLES:
            networks = (
                [example.network]
                if dy_is_finite and draw in ("nan", "infinite")
                else [example.network, fuse(example.network)]
            )
            for network in networks:
                found, _ = example.run(read_only, kernels, network)
                special.assert_alike(found, expected, spreads="many channels" in case or not dy_is_finite, digits=1e-9)


@functools.cache
def _expected_at_edges(case: str, draw: str) -> Any:
    return _edges(case, draw).run()[0]


@every_case
@np.errstate(invalid="ignore", over="ignore")
def test_every_array_library_agrees_on_special_values(case: str, library: Library) -> None:
    for draw in special.DRAWS:
        found = [library.fetch(each) for each in _edges(case, draw).run(library.put)[0]]
        special.assert_alike(found, _expected_at_edges(case, draw))


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 2)])
@pytest.mark.parametrize("kernels", [REFERENCE, *TABLES], ids=lambda kernels: kernels.name)
def test_sums_over_channels_and_pixels_and_what_is_spread_over_them(shape: Any, kernels: Kernels) -> None:
    x, of_channels, of_images = (np.random.default_rng(1).standard_normal(size) for size in (shape, (2,), (3, 2)))
    inside = kernels.enter(x)
    close((kernels.channel_sums(inside),), (x.reshape(-1, 2).sum(0),))
    close((kernels.leave(inside * kernels.spread(of_channels, inside)),), (x * of_channels,))
    over = of_images[:, None, None, :] if x.ndim == 4 else of_images
    close((kernels.leave(inside * kernels.spread(of_images, inside)),), (x * over,))
    if x.ndim == 4:
        close((kernels.pixel_sums(inside),), (x.sum((1, 2)),))


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 2)])
def test_every_array_library_sums_and_spreads(shape: Any, library: Library) -> None:
    x, of_images = np.random.default_rng(1).standard_normal(shape), np.random.default_rng(2).standard_normal((3, 2))
    put = library.put(x)
    close((library.fetch(REFERENCE.channel_sums(put)),), (x.reshape(-1, 2).sum(0),))
    over = of_images[:, None, None, :] if x.ndim == 4 else of_images
    close((library.fetch(put * REFERENCE.spread(library.put(of_images), put)),), (x * over,))
