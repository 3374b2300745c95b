"""Normalisation: PyTorch's numbers, running statistics, whole batches in parts, edges, and folding for inference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import fuse, kept, told

import gpucnn
from gpucnn import Model, Network, layers, ops
from gpucnn.engine import sharded_step
from gpucnn.engine.mixing import Reach, reach
from gpucnn.engine.rewrite import FoldedNorm, NormReLU, rewritten
from gpucnn.errors import SettingError, ShapeError
from gpucnn.kernels import REFERENCE, Context
from gpucnn.kernels.cpu import EXACT_TIES, NUMPY
from gpucnn.layers import (
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MaxPool2D,
    Parallel,
    ReLU,
    Residual,
    SeparableConv2D,
    Shared,
    Tanh,
)
from gpucnn.network.folding import folded
from gpucnn.network.layout import Layout
from gpucnn.workers import exchange

try:
    from gpucnn.kernels.cpu.compiled import compiled_from
except ImportError:  # numba is not installed
    TABLES = [REFERENCE, NUMPY, EXACT_TIES]
else:
    TABLES = [REFERENCE, NUMPY, EXACT_TIES, compiled_from(NUMPY)]

every_table = pytest.mark.parametrize("kernels", TABLES, ids=lambda kernels: f"{kernels.name}-{kernels.exact_ties}")


def drawn(*shape: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


class Passes:
    """One layer, or several, on a table: parameters drawn at random, their first state, forward and backward."""

    def __init__(self, network: Network, kernels: Any = REFERENCE, dtype: str = "float64") -> None:
        self.network, self.kernels, self.dtype = network, kernels, dtype
        self.layout = Layout(network.init(network.input_shape, np.random.default_rng(0)))
        self.theta = drawn(self.layout.size, seed=3).astype(dtype)
        self.params = self.layout.unpack(self.theta)
        self.state = told(network, kernels, range(1), np.array, dtype).state

    def train(self, x: np.ndarray, dy: np.ndarray | None = None) -> tuple[Any, ...]:
        """y, dx, dparams; the state becomes the next one."""
        context = replace(told(self.network, self.kernels, range(len(x)), np.array), state=self.state)
        y, residuals = self.network.forward(self.params, self.kernels.enter(x.astype(self.dtype)), context)
        self.state = self.network.next_state(self.state, residuals)
        dy = np.ones_like(self.kernels.leave(y)) if dy is None else dy.astype(self.dtype)
        dx, dparams = self.network.backward(self.params, kept(residuals), self.kernels.enter(dy), context)
        return self.kernels.leave(y), self.kernels.leave(dx), dparams

    def infer(self, x: np.ndarray) -> np.ndarray:
        context = Context(self.kernels, training=False, state=self.state)
        return self.kernels.leave(
            self.network.forward(self.params, self.kernels.enter(x.astype(self.dtype)), context)[0]
        )


def alone(layer: Any, shape: tuple[int, ...], kernels: Any = REFERENCE, dtype: str = "float64") -> Passes:
    return Passes(Network(shape, (layer,)), kernels, dtype)


# PyTorch


def channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


def channels_last(x: Any) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), 1, -1)


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def torchs(kind: str, shape: tuple[int, ...]) -> Any:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    nn, C = torch.nn, shape[-1]
    image = len(shape) == 3
    first = (C, *shape[:-1])
    made = {
        "batch": lambda: (nn.BatchNorm2d if image else nn.BatchNorm1d)(C),
        "batch, momentum 0.7": lambda: (nn.BatchNorm2d if image else nn.BatchNorm1d)(C, eps=1e-3, momentum=0.3),
        "layer": lambda: nn.LayerNorm(first),
        "group": lambda: nn.GroupNorm(2, C),
        "instance": lambda: nn.InstanceNorm2d(C, affine=True),
    }[kind]()
    return made.double()


KINDS = {
    "batch": BatchNorm(),
    "batch, momentum 0.7": BatchNorm(0.7, 1e-3),
    "layer": LayerNorm(),
    "group": GroupNorm(2),
    "instance": InstanceNorm(),
}


@every_table
@pytest.mark.parametrize("shape", [(5, 3, 4), (6,)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_ten_batches_give_pytorchs_numbers(kind: str, shape: tuple[int, ...], kernels: Any) -> None:
    """Output, gradients, and after ten batches the running statistics and what inference makes of them."""
    if kind == "instance" and len(shape) == 1:
        pytest.skip("InstanceNorm is of images")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    theirs, ours = torchs(kind, shape), alone(KINDS[kind], shape, kernels)
    params = ours.params["0"]
    with torch.no_grad():
        for name, value in (("weight", params["scale"]), ("bias", params["bias"])):
            value = channels_first(value[None])[0] if kind == "layer" else value
            getattr(theirs, name).copy_(torch.tensor(value))
    for k in range(10):
        x, dy = 3 * drawn(4 + k, *shape, seed=k) + 5, drawn(4 + k, *shape, seed=-k % 99)
        of_x = torch.tensor(channels_first(x), requires_grad=True)
        theirs.zero_grad()
        y = theirs(of_x)
        y.backward(torch.tensor(channels_first(dy)))
        found, dx, dparams = ours.train(x, dy)
        close(found, channels_last(y))
        close(dx, channels_last(of_x.grad))
        for name, g in (("scale", theirs.weight.grad), ("bias", theirs.bias.grad)):
            close(dparams["0"][name], channels_last(g[None])[0] if kind == "layer" else g)
    if kind.startswith("batch"):
        close(ours.state["0"]["mean"], theirs.running_mean)
        close(ours.state["0"]["variance"], theirs.running_var)
    theirs.eval()
    x = drawn(3, *shape)
    close(ours.infer(x), channels_last(theirs(torch.tensor(channels_first(x)))))


@every_table
def test_norm_of_the_channels_of_each_pixel_is_pytorchs_of_the_last_axis(kernels: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = alone(LayerNorm("channels"), (3, 2, 5), kernels), torch.nn.LayerNorm(5).double()
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(ours.params["0"]["scale"]))
        theirs.bias.copy_(torch.tensor(ours.params["0"]["bias"]))
    x, dy = drawn(4, 3, 2, 5), drawn(4, 3, 2, 5, seed=1)
    of_x = torch.tensor(x, requires_grad=True)
    y = theirs(of_x)
    y.backward(torch.tensor(dy))
    found, dx, dparams = ours.train(x, dy)
    for a, b in ((found, y), (dx, of_x.grad), (dparams["0"]["scale"], theirs.weight.grad)):
        close(a, b.detach())


def test_an_instance_norm_without_parameters_is_pytorchs_default() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = drawn(3, 4, 5, 2)
    found, *_ = alone(InstanceNorm(scale=False, bias=False), (4, 5, 2)).train(x)
    close(found, channels_last(torch.nn.InstanceNorm2d(2)(torch.tensor(channels_first(x)))))


@every_table
def test_the_parts_that_are_left_out_are_1_and_0(kernels: Any) -> None:
    x, dy = drawn(5, 3, 4, 2), drawn(5, 3, 4, 2, seed=1)
    whole = alone(BatchNorm(), (3, 4, 2), kernels)
    whole.theta[:] = 1, 1, 0, 0
    expected = whole.train(x, dy)
    for scale, bias in ((False, True), (True, False), (False, False)):
        part = alone(BatchNorm(scale=scale, bias=bias), (3, 4, 2), kernels)
        part.theta[:] = 1 if scale else 0
        found = part.train(x, dy)
        close(found[0], expected[0])
        close(found[1], expected[1])
        assert found[2].get("0", {}).keys() == {*["scale"] * scale, *["bias"] * bias}
        for name, g in found[2].get("0", {}).items():
            close(g, expected[2]["0"][name])


# Numbers at the edges


@every_table
def test_a_large_mean_beside_small_deviations(kernels: Any) -> None:
    """Pixels of mean 1000 and deviation 0.01 in float32, against the same numbers in float64."""
    x = (1000 + 0.01 * drawn(16, 12, 10, 3)).astype("float32")
    x[..., 1] -= 2000
    dy = drawn(16, 12, 10, 3, seed=1).astype("float32")
    found, expected = alone(BatchNorm(0.0), (12, 10, 3), kernels, "float32"), alone(BatchNorm(0.0), (12, 10, 3))
    of_32, of_64 = found.train(x, dy), expected.train(x.astype("float64"), dy.astype("float64"))
    np.testing.assert_allclose(of_32[0], of_64[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_32[1], of_64[1], rtol=1e-3, atol=1e-3 * np.abs(of_64[1]).max())
    np.testing.assert_allclose(found.state["0"]["variance"], expected.state["0"]["variance"], rtol=1e-5)
    np.testing.assert_allclose(found.state["0"]["mean"], expected.state["0"]["mean"], rtol=1e-7)


def plainly(x: np.ndarray, dy: np.ndarray, axes: tuple[int, ...], gamma: np.ndarray, beta: np.ndarray) -> Any:
    """y, dx, and the sums of dy u and of dy over all but channels: the textbook's formulas, sums by NumPy's pairs.

    gamma and beta (C,); all in the type of x.
    """

    def mean(values: np.ndarray) -> np.ndarray:
        there = np.moveaxis(values, axes, range(-len(axes), 0))
        found = np.ascontiguousarray(there).reshape(*there.shape[: -len(axes)], -1).mean(axis=-1)
        return np.expand_dims(found, axes)

    def sums(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values.reshape(-1, values.shape[-1]).T).sum(axis=1)

    centred = x - mean(x)
    inverse = 1 / np.sqrt(mean(centred * centred) + x.dtype.type(1e-5))
    u, du = centred * inverse, dy * gamma
    dx = inverse * (du - mean(du) - u * mean(du * u))
    return u * gamma + beta, dx, sums(dy * u), sums(dy)


@every_table
@pytest.mark.parametrize(
    ("layer", "axes"),
    [(BatchNorm(), (0, 1, 2)), (LayerNorm("channels"), (3,)), (GroupNorm(1), (1, 2, 3)), (InstanceNorm(), (1, 2))],
    ids=lambda value: type(value).__name__,
)
def test_float32_is_as_exact_as_plain_arithmetic(kernels: Any, layer: Any, axes: tuple[int, ...]) -> None:
    """The largest difference from float64 is at most four times that of the textbook's formulas in float32."""
    shape = 64, 32, 32, 8
    x, dy = (2 * drawn(*shape) + 0.5).astype("float32"), drawn(*shape, seed=1).astype("float32")
    passes = alone(layer, shape[1:], kernels, "float32")
    params = passes.params["0"]["scale"], passes.params["0"]["bias"]
    exact = plainly(x.astype("float64"), dy.astype("float64"), axes, *(each.astype("float64") for each in params))
    y, dx, dparams = passes.train(x, dy)
    found = y, dx, dparams["0"]["scale"], dparams["0"]["bias"]
    for ours, plain, right in zip(found, plainly(x, dy, axes, *params), exact, strict=True):
        size = np.abs(right).max()
        assert np.abs(ours - right).max() <= 4 * max(np.abs(plain - right).max(), np.finfo("float32").eps * size)


@every_table
def test_a_first_row_that_is_far_from_the_others(kernels: Any) -> None:
    x = (1e4 + drawn(8, 12, 10, 2)).astype("float32")
    x[:, 0] = -1e4
    found, expected = alone(BatchNorm(), (12, 10, 2), kernels, "float32"), alone(BatchNorm(), (12, 10, 2))
    np.testing.assert_allclose(found.train(x)[0], expected.train(x.astype("float64"))[0], rtol=1e-4, atol=1e-4)


@every_table
@pytest.mark.parametrize("value", [0.0, 1.0, -3e7, 0.1])
def test_a_channel_that_is_the_same_everywhere_becomes_the_bias(kernels: Any, value: float) -> None:
    passes = alone(BatchNorm(), (4, 3, 2), kernels, "float32")
    y, dx, _ = passes.train(np.full((5, 4, 3, 2), value, "float32"), drawn(5, 4, 3, 2))
    np.testing.assert_allclose(y, np.broadcast_to(passes.params["0"]["bias"], y.shape), atol=1e-5)
    assert np.isfinite(dx).all()


@every_table
@pytest.mark.parametrize("shape", [(1, 1, 2), (3,)], ids=str)
def test_a_single_number_becomes_the_bias_and_leaves_the_variance(kernels: Any, shape: tuple[int, ...]) -> None:
    passes = alone(BatchNorm(0.9), shape, kernels)
    x = drawn(1, *shape)
    y, dx, dparams = passes.train(x)
    close(y[0], np.broadcast_to(passes.params["0"]["bias"], shape))
    close(dx, 0 * dx)
    close(dparams["0"]["scale"], 0)
    close(passes.state["0"]["mean"], 0.1 * x.reshape(-1)[-shape[-1] :])
    close(passes.state["0"]["variance"], 1)


@every_table
def test_a_batch_of_nothing_gives_nothing(kernels: Any) -> None:
    for shape in ((4, 3, 2), (3,)):
        passes = alone(BatchNorm(), shape, kernels)
        y, dx, dparams = passes.train(np.zeros((0, *shape)))
        assert y.shape == dx.shape == (0, *shape)
        close(dparams["0"]["scale"], 0)
        assert np.isfinite(passes.state["0"]["mean"]).all()


@every_table
@np.errstate(over="ignore")
def test_numbers_whose_squares_are_too_large_give_no_nan(kernels: Any) -> None:
    y, *_ = alone(BatchNorm(), (4, 3, 2), kernels, "float32").train(1e25 * drawn(5, 4, 3, 2))
    assert np.isfinite(y).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SettingError, match=r"BatchNorm: momentum=1\.5: a number from 0 to 1 was expected"):
        BatchNorm(1.5)
    for kind in (BatchNorm, LayerNorm, InstanceNorm, lambda epsilon: GroupNorm(2, epsilon)):
        with pytest.raises(SettingError, match=r"Norm: epsilon=0: a positive number was expected"):
            kind(epsilon=0)
    with pytest.raises(SettingError, match=r'LayerNorm: over=\'rows\': "all" or "channels" was expected'):
        LayerNorm("rows")
    with pytest.raises(ShapeError, match=r"layer 0 .GroupNorm.: 4 groups do not divide the input's 6 channels"):
        Network((3, 3, 6), (GroupNorm(4),))
    with pytest.raises(ShapeError, match="GroupNorm: groups"):
        GroupNorm(0)
    for layer, shape in ((InstanceNorm(), (1, 1, 4)), (InstanceNorm(), (6,)), (LayerNorm("channels"), (5, 5, 1))):
        with pytest.raises(ShapeError, match="would normalise each number by itself, which makes 0 of it"):
            Network(shape, (layer,))


# The whole batch


def test_parts_of_a_batch_have_the_statistics_of_the_whole() -> None:
    """The mean far from the numbers, by their measure, and parts of unequal size, in float32."""
    x = (1000 + 0.01 * drawn(9, 6, 5, 2)).astype("float32")
    for kernels in TABLES:
        whole = alone(BatchNorm(), (6, 5, 2), kernels, "float32")
        expected = whole.train(x)[0]
        parts = [alone(BatchNorm(), (6, 5, 2), kernels, "float32") for _ in range(3)]
        cuts = slice(0, 1), slice(1, 5), slice(5, 9)

        first = parts[0].state

        def of(k: int, cuts: Any = cuts, parts: Any = parts, first: Any = first) -> np.ndarray:
            parts[k].state = first
            return parts[k].train(x[cuts[k]])[0]

        found = exchange.one_by_one(of, [(0,), (1,), (2,)])
        np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-4, atol=1e-4)
        for part in parts:
            for name, value in part.state["0"].items():
                np.testing.assert_allclose(value, whole.state["0"][name], rtol=1e-5)


NETWORK = Network(
    (8, 8, 2),
    (
        *(Conv2D(6, 3, padding="same", bias=None), BatchNorm(), ReLU(), MaxPool2D()),
        *(Conv2D(4, 3), BatchNorm(0.5, scale=False), Tanh(), BatchNorm(), ReLU(0.0)),
        *(Flatten(), Dense(5, bias=False), BatchNorm(), ReLU(), Dense(3)),
    ),
)


def examples(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.integers(0, 256, (count, 8, 8, 2), np.uint8), rng.integers(0, 3, count)


def trained(network: Network = NETWORK, **options: Any) -> Model:
    model = Model(network, **({"device": "cpu", "dtype": "float64", "threads": 1} | options))
    model.fit(*examples(), epochs=3, batch_size=16, optimizer="sgd", lr=0.05, seed=5)
    return model


def test_norms_of_the_batch_ask_for_sums_and_the_others_do_not() -> None:
    assert reach(NETWORK) is reach(rewritten(NETWORK, NUMPY)) is Reach.SUMS
    for layer in (LayerNorm(), GroupNorm(2), InstanceNorm()):
        assert reach(Network((4, 4, 2), (layer,))) is Reach.EXAMPLE


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kernels", ["default", "numba"])
def test_workers_and_tables_change_no_number(threads: int, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    expected, found = trained(kernels="reference"), trained(threads=threads, kernels=kernels)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found.execution.state, expected.execution.state, rtol=1e-8, atol=1e-9)
    images, _ = examples()
    np.testing.assert_allclose(found.logits(images), expected.logits(images), rtol=1e-7, atol=1e-8)


def test_a_summary_tells_learnt_numbers_and_running_ones_apart() -> None:
    network = Network((4, 4, 2), (Conv2D(3, 3, bias=None), BatchNorm(scale=False), Flatten(), Dense(2)))
    assert (network.parameters, network.running_numbers) == (54 + 3 + 26, 6)
    lines = network.summary().splitlines()
    assert lines[-3].split()[:2] == ["total", "83"]
    assert lines[-2] == "and 6 running numbers, which are not learnt"
    assert "running" not in Network((4,), (Dense(2),)).summary()


def test_a_saved_model_has_its_running_statistics(tmp_path: Any) -> None:
    model, (images, labels) = trained(), examples()
    model.save(tmp_path / "model.safetensors")
    again = gpucnn.load(tmp_path / "model.safetensors", device="cpu", threads=1)
    assert again.network == NETWORK
    np.testing.assert_array_equal(again.logits(images), model.logits(images))
    assert set(again.state) == {f"{k}/{name}" for k in (1, 5, 7, 11) for name in ("mean", "variance")}
    before = {name: value.copy() for name, value in model.state.items()}
    model.evaluate(images, labels)
    for name, value in model.state.items():
        np.testing.assert_array_equal(value, before[name])


# Folding


def with_state(network: Network, kernels: Any = REFERENCE) -> Passes:
    """Parameters at random, negative scales among them, and a state that is not the first one."""
    passes = Passes(network, kernels)
    layout = Layout(network.init_state(network.input_shape))
    passes.state = layout.unpack(np.abs(drawn(layout.size, seed=9)) + 0.1)
    return passes


FOLDED = {
    "conv, norm": (Conv2D(3, 3), BatchNorm()),
    "conv, norm, relu": (Conv2D(3, 3, bias=None), BatchNorm(), ReLU()),
    "conv, norm, relu, pool": (Conv2D(3, 3, bias=None, flip=True), BatchNorm(scale=False), ReLU(), MaxPool2D()),
    "conv, norm, pool": (Conv2D(4, (2, 3), groups=2), BatchNorm(bias=False), MaxPool2D(2)),
    "untied": (Conv2D(3, 3, bias="untied"), BatchNorm(), ReLU(), MaxPool2D(ties="all")),
    "dense": (Flatten(), Dense(5, bias=False), BatchNorm(), ReLU(), Dense(4), BatchNorm(scale=False, bias=False)),
    "inside": (Network((7, 7, 2), (Conv2D(3, 3), BatchNorm(), ReLU())), Conv2D(2, 3), BatchNorm()),
    "depthwise": (DepthwiseConv2D(3, bias=None), BatchNorm(), ReLU(), SeparableConv2D(4, 3), BatchNorm(), ReLU()),
    "residual": (
        Residual((Conv2D(4, 3, padding="same"), BatchNorm(), ReLU(), Conv2D(4, 1), BatchNorm()), (Conv2D(4, 1),)),
        ReLU(),
        Parallel(((Conv2D(2, 3), BatchNorm()), (Conv2D(1, 3, bias=None), BatchNorm(), ReLU()))),
    ),
    "transposed": (ConvTranspose2D(3, 3, stride=2, bias=None), BatchNorm(), ReLU(), ConvTranspose2D(2, 2), BatchNorm()),
    "transposed in groups": (
        *(Conv2D(6, 1), ConvTranspose2D(9, (2, 3), groups=3, flip=True), BatchNorm(), ReLU(), MaxPool2D()),
        *(ConvTranspose2D(4, 3, 2, "same", groups=1, bias=None), BatchNorm(scale=False)),
    ),
    "shared": (Shared("twice", (Conv2D(2, 3), BatchNorm())), Tanh(), Shared("twice", (Conv2D(2, 3), BatchNorm()))),
    "one that stays": (Conv2D(3, 3), BatchNorm(), ReLU(), BatchNorm(), Conv2D(2, 2), BatchNorm()),
}


@pytest.mark.parametrize("case", FOLDED)
def test_the_folded_network_gives_the_same_to_rounding(case: str) -> None:
    network = Network((7, 7, 2), FOLDED[case])
    passes = with_state(network)
    x = drawn(5, 7, 7, 2)
    expected = passes.infer(x)
    other, params, state = folded(network, passes.params, passes.state)
    y, _ = other.forward(params, x, Context(training=False, state=state))
    close(y, expected)
    assert [*state] == {"one that stays": ["2"], "shared": ["0", "2"]}.get(case, [])
    assert {slot.name: slot.shape for slot in Layout(params).slots} == other.parameter_shapes()


@pytest.mark.parametrize("case", FOLDED)
def test_what_a_model_has_by_path_folds_too(case: str) -> None:
    network = Network((7, 7, 2), FOLDED[case] if case == "dense" else (*FOLDED[case], Flatten(), Dense(2)))
    model = Model(network, device="cpu", dtype="float64")
    model.fit(np.random.default_rng(1).random((12, 7, 7, 2)), np.arange(12) % network.shapes()[-1][0], epochs=2)
    other, params, state = folded(model.network, model.parameters, model.state)
    made = Model(other, device="cpu", dtype="float64")
    assert {name: each.shape for name, each in params.items()} == other.parameter_shapes()
    made.load_parameters(params | {f"state/{name}": each for name, each in state.items()})
    x = np.random.default_rng(2).random((5, 7, 7, 2))
    close(made.predict_proba(x), model.predict_proba(x))


def test_a_transposed_convolution_folds_where_scales_are_negative() -> None:
    layer = ConvTranspose2D(4, 3, stride=2, groups=2)
    network = Network((5, 4, 6), (layer, BatchNorm(), ReLU()))
    passes, x = with_state(network), drawn(3, 5, 4, 6)
    passes.params["1"]["scale"][:] = -0.5, 2, -3, 0
    expected = passes.infer(x)
    other, params, state = folded(network, passes.params, passes.state)
    assert [type(each) for each in other.layers] == [ConvTranspose2D, ReLU]
    assert not state
    assert (expected > 0).any(axis=(0, 1, 2)).sum() >= 3
    close(other.forward(params, x, Context(training=False))[0], expected)
    assert type(rewritten(network, NUMPY).layers[0]) is FoldedNorm


@every_table
@pytest.mark.parametrize("case", ["transposed", "transposed in groups"])
def test_a_transposed_convolution_with_its_norm_trains_as_the_reference(case: str, kernels: Any) -> None:
    network, x = Network((7, 7, 2), FOLDED[case]), drawn(4, 7, 7, 2)
    found, expected = Passes(rewritten(network, kernels), kernels), Passes(network)
    for ours, theirs in zip(found.train(x)[:2], expected.train(x)[:2], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@every_table
@pytest.mark.parametrize("case", FOLDED)
def test_blocks_in_inference_give_the_references_numbers(case: str, kernels: Any) -> None:
    network = Network((7, 7, 2), FOLDED[case])
    found, x = with_state(rewritten(network, kernels), kernels), drawn(5, 7, 7, 2)
    np.testing.assert_allclose(found.infer(x), with_state(network).infer(x), rtol=1e-10, atol=1e-10)


def test_which_blocks_there_are() -> None:
    kinds = [type(layer) for layer in fuse(NETWORK).layers]
    assert kinds == [FoldedNorm, FoldedNorm, Tanh, NormReLU, Flatten, FoldedNorm, Dense]

    class Other(BatchNorm):
        """May have a forward and backward of its own."""

    network = Network((7, 7, 2), (Conv2D(3, 3), Other(), ReLU(), MaxPool2D()))
    assert len(fuse(network).layers) == 4


def test_the_bias_of_a_layer_in_front_of_a_norm_changes_nothing() -> None:
    network = Network((6, 6, 2), (Conv2D(3, 3), BatchNorm()))
    passes, x = Passes(network), drawn(4, 6, 6, 2)
    expected, _, dparams = passes.train(x, drawn(4, 4, 4, 3))
    close(dparams["0"]["bias"], 0)
    passes.params["0"]["bias"][:] += 5
    close(passes.train(x)[0], expected)


def test_the_equations_of_the_whole_batch() -> None:
    """Against the definition, in float64."""
    x = drawn(6, 4, 3, 2)
    d, centre, rest, squares = ops.centred(x)
    close(centre + rest, x.mean(axis=(0, 1, 2)))
    close(d + centre, x)
    close(squares, x.var(axis=(0, 1, 2)) * 72)
    u, inverse = ops.standardize(x, (1, 2, 3), 1e-5)
    close(u, (x - x.mean(axis=(1, 2, 3), keepdims=True)) * inverse)
    close(inverse, 1 / np.sqrt(x.var(axis=(1, 2, 3), keepdims=True) + 1e-5))


def test_all_norms_are_public() -> None:
    assert {"BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm"} <= set(layers.REGISTRY)
