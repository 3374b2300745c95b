"""The gradient check: right for every network there is, wrong for gradients that are wrong, undeceived by kinks."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from gpucnn import Model, Network, networks
from gpucnn.errors import GpucnnError, ShapeError
from gpucnn.kernels import Context
from gpucnn.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Reshape,
    Residual,
    Shared,
    Sigmoid,
    Softmax,
    Tanh,
)
from gpucnn.losses import BinaryCrossEntropy, Loss, MultiLabelCrossEntropy, SoftmaxCrossEntropy
from gpucnn.network.own import explained
from gpucnn.report.central_differences import TOLERANCE
from gpucnn.report.gradient_check import check, check_loss, find, loss_of, of_factor, wrong_layers

SLOW = ("two-conv-wide", "vgg-small", "resnet20", "allcnn", "mobile-small")

EVERY_LAYER = (
    Conv2D(3, (3, 2), (1, 2), padding="same", bias="untied", flip=True),
    ReLU(),
    MaxPool2D(2, 1, ties="all"),
    Conv2D(3, 2, dilation=2, padding="full", groups=3, bias=None),
    Tanh(),
    AvgPool2D((2, 1), padding=((1, 0), (0, 0))),
    Flatten(),
    Dense(12),
    Sigmoid(),
    Reshape((2, 3, 2)),
    Flatten(),
    Dense(4, bias=False),
    Softmax(),
)


class Silent(Layer):
    """0, whatever the input is."""

    def forward(self, params, x, context):
        return 0 * x, None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return 0 * dy, {}


def rows_of(*layers, input_shape=(4,), **options):
    return {row.name: row for row in check(Network(input_shape, layers), **options)}


@dataclass(frozen=True)
class Affine:
    """y = a x + b with gradients that may be wrong: each is multiplied by a factor."""

    dx: float = 1.0
    da: float = 1.0
    db: float = 1.0

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return in_shape

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return {"a": np.ones(in_shape), "b": np.zeros(in_shape)}

    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        return params["a"] * x + params["b"], x

    def backward(self, params: Any, x: Any, dy: Any, context: Any, *, need_dx: bool = True) -> tuple[Any, Any]:
        return self.dx * params["a"] * dy, {"a": self.da * (dy * x).sum(axis=0), "b": self.db * dy.sum(axis=0)}


class OneElementWrong(Affine):
    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        dx, dparams = super().backward(*arguments, **options)
        dparams["b"][1] *= 1.001
        return dx, dparams


class Transposed(Affine):
    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        dx, dparams = super().backward(*arguments, **options)
        return dx, dparams | {"a": dparams["a"].T}


class Unused(Affine):
    """Parameters without effect have the gradient 0."""

    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        return x * 1.0, x

    def backward(self, params: Any, x: Any, dy: Any, context: Any, *, need_dx: bool = True) -> tuple[Any, Any]:
        return dy, {name: np.zeros_like(array) for name, array in params.items()}


class NotANumber(Affine):
    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        return x * np.nan, x


@dataclass(frozen=True)
class Zigzag(Affine):
    """A wave of straight lines with a kink every `width`: y' is 1 or -1. y is large: the largest step is taken."""

    width: float = 1e-4

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return {}

    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        return 10 + abs(x % (2 * self.width) - self.width), np.where(x % (2 * self.width) < self.width, -1, 1)

    def backward(self, params: Any, slope: Any, dy: Any, context: Any, *, need_dx: bool = True) -> tuple[Any, Any]:
        return slope * dy, {}


class WrongZigzag(Zigzag):
    def backward(self, params: Any, slope: Any, dy: Any, context: Any, *, need_dx: bool = True) -> tuple[Any, Any]:
        return 1.0001 * slope * dy, {}


# --- right


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in networks.NETWORKS]
)
def test_named_networks_are_right(name):
    network = networks.build(name)
    rows = check(network, batch=1, directions=2)
    assert {row.name: row.shape for row in rows} == {"input": (1, *network.input_shape)} | network.parameter_shapes()
    assert all(row.right and row.directions == 2 for row in rows), rows
    assert max(row.error for row in rows) < 1e-7


@pytest.mark.parametrize(
    ("name", "options"),
    [("two-conv", {"filters": (2, 3), "hidden": 5, "bias": "untied"}), ("avgpool-96", {"f": "relu"})],
)
def test_options_of_named_networks_are_right(name, options):
    assert all(row.right for row in check(networks.build(name, (16, 16, 1), 3, **options)))


@pytest.mark.parametrize("seed", range(3))
def test_every_layer_is_right(seed):
    rows = rows_of(*EVERY_LAYER, input_shape=(7, 6, 2), seed=seed, batch=3)
    assert all(row.right for row in rows.values()), rows


def test_nested_networks_have_rows_by_path():
    inner = Network((4,), (Dense(3), Tanh()))
    rows = rows_of(Affine(), inner, Dense(2))
    assert list(rows) == ["input", "0/a", "0/b", "1/0/weights", "1/0/bias", "2/weights", "2/bias"]
    assert all(row.right for row in rows.values())


def test_a_gradient_of_zero_is_right():
    assert all(row.right for row in rows_of(Unused()).values())


def test_the_same_seed_gives_the_same_rows():
    network = Network((4,), (Dense(3), Tanh()))
    assert check(network, seed=3) == check(network, seed=3) != check(network, seed=4)


# --- wrong


@pytest.mark.parametrize("factor", [0.0, -1.0, 2.0, 1.0001])
@pytest.mark.parametrize(("gradient", "row"), [("dx", "input"), ("da", "0/a"), ("db", "0/b")])
def test_a_wrong_gradient_is_found_and_named(gradient, row, factor):
    rows = rows_of(Affine(**{gradient: factor}), input_shape=(3, 4, 2))
    assert [name for name, found in rows.items() if not found.right] == [row]
    assert rows[row].error == pytest.approx(abs(1 - factor) / max(1, abs(factor)), rel=1e-3)


def test_a_wrong_dx_reaches_the_parameters_before_it():
    rows = rows_of(Dense(3), Affine(dx=2.0))
    assert [name for name, row in rows.items() if not row.right] == ["input", "0/weights", "0/bias"]


@pytest.mark.parametrize(("layer", "row"), [(OneElementWrong(), "0/b"), (Transposed(), "0/a")])
def test_a_gradient_that_is_wrong_in_places(layer, row):
    rows = rows_of(layer, input_shape=(4, 4))
    assert [name for name, found in rows.items() if not found.right] == [row]


def test_a_network_that_gives_nan_is_told_of_its_inputs():
    with pytest.raises(GpucnnError, match=r"not finite, .* inputs are normal numbers, below 0 too: .* Softplus"):
        rows_of(NotANumber())


class RightForTwo(Affine):
    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        dx, dparams = super().backward(*arguments, **options)
        dx = dx.copy()
        dx[2:] = 0
        return dx, dparams


def test_a_gradient_that_is_right_for_the_first_examples_only_is_wrong():
    assert not rows_of(RightForTwo())["input"].right


class Averaged(Affine):
    """The commonest slip: means over the batch, where sums are asked for."""

    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        dx, dparams = super().backward(*arguments, **options)
        return dx, {"a": dparams["a"] / len(dx), "b": dparams["b"]}


@dataclass(frozen=True)
class Noisy(Layer):
    """Numbers times others that are drawn at random, anew at each place."""

    dx: float = 1.0

    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        drawn = context.uniform(x.shape[1:], x.dtype) + 0.5 if context.training else x.dtype.type(1)
        return drawn * x, drawn

    def backward(self, params: Any, drawn: Any, dy: Any, context: Any, *, need_dx: bool = True) -> tuple[Any, Any]:
        return self.dx * drawn * dy, {}


def told(*layers, input_shape=(4, 4, 2), **options):
    return [
        (each.name, [row.name for row in each.rows]) for each in wrong_layers(Network(input_shape, layers), **options)
    ]


def test_no_layer_of_a_right_network_is_wrong():
    inner = Residual((Affine(), Noisy(), Tanh(), Conv2D(2, 3, padding=1)))
    assert told(Conv2D(2, 1), inner, Dropout(0.5), Flatten(), Dense(2)) == []


def test_of_a_network_the_layer_is_named_whose_own_gradient_is_wrong():
    """A wrong dx makes all before it wrong, which are right by themselves."""
    layers = Conv2D(2, 1), Noisy(), Affine(dx=-1.0), Tanh(), Noisy(), Flatten(), Dense(2)
    assert len([row for row in check(Network((4, 4, 2), layers)) if not row.right]) == 3
    assert told(*layers) == [("layer 2 (Affine)", ["dx"])]
    assert told(*layers[:2], Affine(da=2.0), *layers[3:]) == [("layer 2 (Affine)", ["a"])]
    assert told(Noisy(2.0), Residual((Affine(db=2.0), Tanh())), Affine(dx=3.0), Flatten(), Dense(2)) == [
        ("layer 2 (Affine)", ["dx"]),
        ("layer 1/layers/0 (Affine)", ["b"]),
        ("layer 0 (Noisy)", ["dx"]),
    ]


def test_a_block_that_stands_twice_is_right_where_it_is():
    """Its gradients are added up in place."""
    block = Shared("block", (Conv2D(2, 3, padding="same"), Affine(), Tanh()))
    assert told(block, block, Flatten(), Dense(3)) == []
    wrong = Shared("block", (Conv2D(2, 3, padding="same"), Affine(da=2.0)))
    assert {rows[0] for _, rows in told(wrong, wrong, Flatten(), Dense(3))} == {"a"}


@dataclass(frozen=True)
class TwicePooled(MaxPool2D):
    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        dx, dparams = super().backward(*arguments, **options)
        return 2 * dx, dparams


@pytest.mark.parametrize("before", [ReLU(), Dropout(0.5)], ids=["ReLU", "Dropout"])
def test_a_layer_behind_many_zeros_is_named(before):
    """Where it stands, every direction crosses a kink: ties of zeros."""
    layers = Conv2D(3, 3), before, TwicePooled(2), Flatten(), Dense(3)
    assert told(*layers, input_shape=(8, 8, 2)) == [("layer 2 (TwicePooled)", ["dx"])]
    right = *layers[:2], MaxPool2D(2), *layers[3:]
    assert told(*right, input_shape=(8, 8, 2)) == []


def test_a_layer_on_which_nothing_depends_is_not_judged():
    assert told(Affine(dx=2.0), Affine(dx=0.0)) == [("layer 1 (Affine)", ["dx"])]


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Averaged(), "wrong gradient of a (5 times too small, and the batch has 5 examples: is it divided by their"),
        (Affine(dx=-1.0), "wrong dx (its sign is wrong)"),
        (Affine(da=0.5, dx=4.0), "wrong dx (it must be 0.25 times that), gradient of a (it must be 2 times that)"),
        (OneElementWrong(), "wrong gradient of b"),
        (Affine(db=0.0), "wrong gradient of b"),
    ],
)
def test_what_a_factor_may_come_from_is_said(layer, said):
    (found,) = wrong_layers(Network((4, 4), (layer,)))
    start = f"layer 0 ({type(layer).__name__}): backward gives a {said}"
    assert str(found).startswith(start) if "(" in said else str(found) == start


def test_a_factor_is_told_of_one_that_is_the_same_everywhere():
    rows = rows_of(Averaged(), batch=3)
    assert rows["0/a"].factor == pytest.approx(3)
    assert rows["input"].factor is rows["0/b"].factor is None
    assert of_factor(3.0, 5) == "it must be 3 times that"
    assert of_factor(None, 5) == of_factor(None, 1) == ""


def test_the_check_takes_a_name_and_says_what_else():
    few = {"batch": 1, "directions": 1}
    network = networks.build("single-filter")
    assert check("single-filter", **few) == check(network, loss=SoftmaxCrossEntropy(), **few)
    assert check("single-filter", **few)[:-1] == check(network, **few)
    assert wrong_layers("softmax-regression") == []


def test_a_layer_that_gives_0_for_every_input_is_not_wrong():
    """As a ReLU does where nothing is above 0."""
    network = Network((4,), (Dense(3), Silent(), Dense(2)))
    assert all(row.right for row in check(network))
    assert wrong_layers(network) == []
    for given, says in (
        (Affine(), r"a Affine was given; give Network\(\(28, 28, 1\), \(layer,\)\)"),
        (Model("softmax-regression", device="cpu"), "a Model was given; give model.network, and loss=model.loss"),
        (3, "a int was given; give Network"),
        ("two-cnv", "did you mean two-conv"),
    ):
        with pytest.raises(GpucnnError, match=says):
            check(given)


# --- kinks


def test_kinks_of_a_relu_network_are_avoided():
    network = Network((16, 16, 1), (Conv2D(64, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(2)))
    rows = check(network, batch=16, seed=0)
    assert all(row.right and row.directions == 4 for row in rows), rows
    # the more outputs there are, the more rounding, the larger the step, and the more kinks within it
    rows = check(Network((16, 16, 1), network.layers[:3]), batch=16, seed=0)
    assert all(row.right and row.directions == 4 for row in rows), rows
    assert sum(row.kinks for row in rows) > 0


def test_kinks_are_avoided_where_some_directions_cross_none():
    rows = [rows_of(Zigzag(), input_shape=(12,), batch=1, seed=seed)["input"] for seed in range(12)]
    assert all(row.error < TOLERANCE for row in rows if row.directions)
    assert any(row.right and row.kinks for row in rows)


def test_a_wrong_gradient_does_not_hide_behind_kinks():
    rows = [rows_of(WrongZigzag(), input_shape=(12,), batch=1, seed=seed)["input"] for seed in range(12)]
    assert not any(row.right for row in rows)
    assert any(row.directions for row in rows)


def test_a_smaller_step_decides_where_kinks_are_close():
    """Numbers as far from kinks as a tenth of the step, and not as a whole one."""
    right = rows_of(Zigzag(width=4e-6), input_shape=(6,), batch=1, seed=3)["input"]
    wrong = rows_of(WrongZigzag(width=4e-6), input_shape=(6,), batch=1, seed=3)["input"]
    assert right.right
    assert wrong.directions > 0
    assert not wrong.right


def many_relus(first: Any) -> Network:
    """A narrow network of 8 ReLUs that are normalised before: steep, bent, and full of kinks."""
    pointwise = (Conv2D(6, 1, bias=None), BatchNorm(), ReLU())
    depthwise = (DepthwiseConv2D(3, padding="same", bias=None), BatchNorm(), ReLU())
    return Network((6, 6, 3), (first, *(pointwise + depthwise) * 4, Flatten(), Dense(3)))


def test_a_network_of_many_relus_is_decided():
    rows = check(many_relus(Affine()), batch=1, directions=2)
    assert all(row.right and row.directions == 2 for row in rows), rows


@pytest.mark.parametrize("wrong", ["dx", "da", "db"])
def test_a_wrong_gradient_does_not_hide_behind_many_relus(wrong):
    rows = {row.name: row for row in check(many_relus(Affine(**{wrong: 1.00001})), batch=1, directions=2)}
    name = "input" if wrong == "dx" else f"0/{wrong[1]}"
    assert [each for each, row in rows.items() if not row.right] == [name]
    assert rows[name].directions > 0


def test_nothing_but_kinks_is_undecided():
    row = rows_of(Zigzag(width=1e-7))["input"]
    assert not row.right
    assert row.directions == 0
    assert np.isnan(row.error)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_the_slope_at_the_kink_itself_does_not_matter(slope):
    """Padding makes windows of zeros, whose maximum sits on a kink."""
    rows = rows_of(ReLU(slope), Conv2D(2, 3, padding="full"), ReLU(slope), MaxPool2D(2), input_shape=(4, 4, 1))
    assert all(row.right for row in rows.values()), rows


# --- shapes


class ForgetsA(Affine):
    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        dx, dparams = super().backward(*arguments, **options)
        return dx, {"b": dparams["b"]}


class ForgetsDx(Affine):
    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        return None, super().backward(*arguments, **options)[1]


class SumsTooMuch(Affine):
    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        dx, dparams = super().backward(*arguments, **options)
        return dx, dparams | {"a": dparams["a"].sum()}


class PromisesMore(Affine):
    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*in_shape[:-1], in_shape[-1] + 1)


class MoreKeys(Affine):
    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        dx, dparams = super().backward(*arguments, **options)
        return dx, dparams | {"c": dparams["a"]}


class NoDict(Affine):
    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        return super().backward(*arguments, **options)[0], None


class DxAlone(Affine):
    def backward(self, *arguments: Any, **options: Any) -> Any:
        return super().backward(*arguments, **options)[0]


class YAlone(Affine):
    def forward(self, *arguments: Any) -> Any:
        return super().forward(*arguments)[0]


class Nothing(Affine):
    def forward(self, *arguments: Any) -> Any:
        pass


class WritesX(Affine):
    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        x *= params["a"]
        return x + params["b"], x


class WritesParams(Affine):
    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        params["a"][...] = 1
        return super().forward(params, x, context)


class WritesDy(Affine):
    def backward(self, params: Any, x: Any, dy: Any, context: Any, *, need_dx: bool = True) -> tuple[Any, Any]:
        np.multiply(dy, 2, out=dy)
        return super().backward(params, x, dy, context)


class WritesTheResidual(Affine):
    def backward(self, params: Any, x: Any, dy: Any, context: Any, *, need_dx: bool = True) -> tuple[Any, Any]:
        x[0] = 0
        return super().backward(params, x, dy, context)


class Single(Affine):
    def forward(self, *arguments: Any) -> tuple[Any, Any]:
        y, residual = super().forward(*arguments)
        return y.astype("float32"), residual


class Double(Affine):
    def forward(self, *arguments: Any) -> tuple[Any, Any]:
        y, residual = super().forward(*arguments)
        return y * np.float64(2), residual


class SingleDx(Affine):
    def backward(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        dx, dparams = super().backward(*arguments, **options)
        return dx.astype("float32"), dparams


class Zero(Affine):
    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        return 0 * x, x


class NumPysTwo(Affine):
    def forward(self, *arguments: Any) -> tuple[Any, Any]:
        y, residual = super().forward(*arguments)
        return y * np.sqrt(4), residual


class AList(Affine):
    def forward(self, params: Any, x: Any, context: Any) -> Any:
        return [x] * 100


class ManyValues(Affine):
    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        return [*range(1000)], x


class Random(Affine):
    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        return x * (np.random.default_rng().random(x.shape) < 0.5), x


LAYER = r"^layer 1 \(\w+\): "


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (ForgetsA(), LAYER + r"backward: dparams has \['b'\], a dict with \['a', 'b'\] was expected"),
        (MoreKeys(), LAYER + r"backward: dparams has \['a', 'b', 'c'\], a dict with \['a', 'b'\] was expected"),
        (NoDict(), LAYER + r"backward: dparams has None, a dict with \['a', 'b'\] was expected"),
        (ForgetsDx(), LAYER + r"backward: dx is None, shape \(5, 4\) and type float64 were expected"),
        (SumsTooMuch(), r"^backward: the gradient of 1/a has shape \(\) and type float64, shape \(4,\) and type"),
        (
            PromisesMore(),
            LAYER + r"forward: y has shape \(5, 4\) and type float64, shape \(5, 5\) and type float64 were",
        ),
        (DxAlone(), LAYER + "backward gives one array; write `return dx, dparams`"),
        (YAlone(), LAYER + "forward gives one array; write `return y, residual`"),
        (Nothing(), LAYER + "forward gives None; write `return y, residual`"),
        (
            WritesX(),
            LAYER + r"forward writes into an array .*\(output array is read-only\).*into a copy \(.*.py, line \d+\)",
        ),
        (WritesParams(), LAYER + "forward writes into an array"),
        (WritesDy(), LAYER + "backward writes into an array"),
        (WritesTheResidual(), LAYER + "backward writes into an array"),
        (Single(), LAYER + r"forward: y .* and type float32, .* and type float64 were expected"),
        (Double(), LAYER + r"forward: y .* and type float64, .* and type float32 were expected"),
        (
            NumPysTwo(),
            LAYER + r"forward: y .*float32 were expected; NumPy's own numbers, such as numpy.float64\(2.0\) or "
            r"numpy.sqrt\(2\), widen float32: write float\(...\)",
        ),
        (AList(), LAYER + r"forward gives \[array.{71}\.\.\.; write `return y, residual`$"),
        (ManyValues(), LAYER + r"forward: y is \[0, 1, .{70}\.\.\., shape \(5, 4\) and type float64 were expected$"),
        (SingleDx(), LAYER + r"backward: dx .* and type float32, .* and type float64 were expected"),
        (Zero(), "^forward gives 0 everywhere, so nothing can be compared; mend it, or draw others with --seed"),
        (Random(), "^forward gives another output for the same input, and differences say nothing of what is random"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Affine) else "",
)
def test_layers_that_do_not_keep_the_rules(layer, message):
    with pytest.raises(GpucnnError, match=message):
        rows_of(Tanh(), layer)


def test_a_layer_inside_a_network_that_is_a_layer_is_named_by_its_path():
    with pytest.raises(GpucnnError, match=r"^layer 1/0 \(YAlone\): forward gives one array"):
        rows_of(Tanh(), Network((4,), (YAlone(),)))


# --- inference, the running state, and losses


class Averages(Affine):
    """Adds a running mean, in inference only."""

    def init_state(self, in_shape: tuple[int, ...]) -> dict[str, Any]:
        return {"mean": np.zeros(in_shape), "count": np.zeros(1)}

    def next_state(self, state: Any, x: Any) -> dict[str, Any]:
        return {"mean": 0.9 * state["mean"] + 0.1 * x.mean(axis=0), "count": state["count"] + 1}

    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        assert context.training == (context.examples is not None)
        y, residual = super().forward(params, x, context)
        return (y if context.training else y + context.state["mean"]), residual


class OtherKeys(Averages):
    def next_state(self, state: Any, x: Any) -> dict[str, Any]:
        return {"mean": state["mean"]}


class OtherShapes(Averages):
    def next_state(self, state: Any, x: Any) -> dict[str, Any]:
        return {"mean": x, "count": state["count"]}


class AlwaysNoisy(Affine):
    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        y, residual = super().forward(params, x, context)
        return y + context.uniform(x.shape[1:], x.dtype), residual


class CountsExamples(Affine):
    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        return super().forward(params, x * float(len(context.examples)), context)[0], x


class ShorterInInference(Affine):
    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        y, residual = super().forward(params, x, context)
        return (y if context.training else y[:1]), residual


class ListOfParameters(Affine):
    def init(self, in_shape: tuple[int, ...], rng: Any) -> Any:
        return [np.ones(in_shape)]


class NumberAsState(Averages):
    def init_state(self, in_shape: tuple[int, ...]) -> dict[str, Any]:
        return {"mean": np.zeros(in_shape), "count": 0}


class WritesItsState(Averages):
    def next_state(self, state: Any, x: Any) -> dict[str, Any]:
        state["count"] += 1
        return state


def test_a_layer_with_a_running_state_is_right():
    assert all(row.right for row in rows_of(Tanh(), Averages()).values())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (OtherKeys(), r": next_state gives \['mean'\], a dict with \['count', 'mean'\] was expected"),
        (OtherShapes(), r": next_state: mean has shape \(5, 4\), \(4,\) was expected, as init_state gives it"),
        (ListOfParameters(), r": init gives \[array\(\[1., 1., 1., 1.\]\)\], a dict of arrays by name was expected"),
        (NumberAsState(), ": init_state: count is 0, an array was expected"),
        (WritesItsState(), r": next_state writes into an array that it was given"),
        (AlwaysNoisy(), r": forward in inference: "),
        (
            CountsExamples(),
            r": forward in inference: TypeError: .* \(.*test_gradient_check.py, line \d+\); there, "
            "context.training is False and context.examples is None",
        ),
        (ShorterInInference(), r": forward in inference: y has shape \(1, 4\) .*, shape \(5, 4\) and type"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Affine) else "",
)
def test_inference_and_the_next_state_are_tried(layer, message):
    with pytest.raises(GpucnnError, match=r"^layer 1 \(\w+\):? ?" + message.removeprefix(": ")):
        rows_of(Tanh(), layer)


def test_what_the_context_says_of_random_numbers_in_inference_names_the_layer(monkeypatch):
    bits = Context.bits

    def said(context, shape):
        if context.examples is None:
            raise GpucnnError("there are no examples; ask context.training")
        return bits(context, shape)

    monkeypatch.setattr(Context, "bits", said)
    expected = r"^layer 1 \(AlwaysNoisy\): forward in inference: there are no examples; ask context.training$"
    with pytest.raises(GpucnnError, match=expected):
        rows_of(Tanh(), AlwaysNoisy())


@dataclass(frozen=True)
class Squares:
    """(logits - targets)^2 / 2, with a gradient that may be wrong."""

    factor: float = 1.0
    numbers = True

    def __call__(self, logits: Any, targets: Any) -> Any:
        off = logits - targets
        return (off * off).sum(axis=1) / 2, self.factor * off


class OneLoss(Squares):
    def __call__(self, logits: Any, targets: Any) -> Any:
        losses, d_logits = super().__call__(logits, targets)
        return losses.sum(), d_logits


class LossesAlone(Squares):
    def __call__(self, logits: Any, targets: Any) -> Any:
        return super().__call__(logits, targets)[0]


class OfTheMean(SoftmaxCrossEntropy):
    def __call__(self, logits: Any, labels: Any) -> Any:
        assert labels.dtype.kind == "i"
        losses, d_logits = super().__call__(logits, labels)
        return losses, d_logits / len(labels)


WEIGHTED = MultiLabelCrossEntropy(positive_weights=(1, 2, 3))


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), BinaryCrossEntropy(), WEIGHTED, Squares()])
def test_losses_are_right(loss):
    row = check_loss(loss, 3)
    assert (row.name, row.shape, row.right, row.directions) == ("loss", (5, 3), True, 4)


@pytest.mark.parametrize(("loss", "error"), [(Squares(1.5), 1 / 3), (OfTheMean(), 0.8)])
def test_a_wrong_gradient_of_a_loss_is_found(loss, error):
    row = check_loss(loss, 3)
    assert not row.right
    assert row.error == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (OneLoss(), r"^the loss OneLoss: losses has shape \(\) and type float32, shape \(5,\) and type float32 were"),
        (LossesAlone(), "^the loss LossesAlone gives one array; write `return losses, d_logits`$"),
    ],
)
def test_losses_that_do_not_keep_the_rules(loss, message):
    with pytest.raises(GpucnnError, match=message):
        check_loss(loss, 3)


def test_an_entry_brings_the_loss_that_is_checked():
    assert loss_of("binary-sigmoid") == BinaryCrossEntropy()
    for loss, factor in ((SoftmaxCrossEntropy(), None), (OfTheMean(), 5.0), (Squares(1.5), 2 / 3)):
        entry = replace(networks.NETWORKS["softmax-regression"], loss=loss)
        *rows, of_loss = check(entry)
        assert [row.name for row in rows] == ["input", "1/weights", "1/bias"]
        assert all(row.right for row in rows)
        assert (of_loss.name, of_loss.right) == ("loss", factor is None)
        assert of_loss.factor is None if factor is None else of_loss.factor == pytest.approx(factor)
        assert check(networks.build("softmax-regression"), loss=loss)[-1] == of_loss
        assert wrong_layers(entry) == []


class OfLabels(Loss):
    """Squares of sigmoids' distances from labels."""

    multi_label = True

    def __call__(self, logits: Any, labels: Any) -> Any:
        assert labels.shape == logits.shape
        p = 1 / (1 + np.exp(-logits))
        return ((p - labels) ** 2).sum(axis=1), 2 * (p - labels) * p * (1 - p)


def test_a_loss_of_labels_gets_labels():
    assert check_loss(OfLabels(), 3).right


class Overwrites(SoftmaxCrossEntropy):
    """writes: into which of the two arrays."""

    def __init__(self, writes: int) -> None:
        object.__setattr__(self, "writes", writes)
        super().__init__()

    def __call__(self, *arrays: Any) -> Any:
        found = super().__call__(*arrays)
        arrays[self.writes][:] = 0
        return found


@pytest.mark.parametrize("writes", [0, 1])
def test_a_loss_that_writes_into_what_it_is_given_is_told_so_everywhere(writes):
    says = (
        r"^the loss Overwrites writes into an array that it was given, .*; write into a copy \(.*check.py, line \d+\)"
    )
    with pytest.raises(GpucnnError, match=says):
        check_loss(Overwrites(writes), 3)
    network = networks.build("softmax-regression", (4, 4, 1), 3)
    model = Model(network, loss=Overwrites(writes), device="cpu")
    examples = np.random.default_rng(0).random((6, 4, 4, 1), np.float32), np.arange(6) % 3
    for trained_or_measured in (model.fit, model.evaluate):
        with pytest.raises(GpucnnError, match=says):
            trained_or_measured(*examples)


# --- layers of a user's own

MODULE = """
from gpucnn import Network
from gpucnn.layers import Dense, Tanh

tanh = Tanh()
def layer(): return Tanh()
def network(): return Network((4,), (Dense(3),))
def nothing(): return None
class MyDense(Tanh):
    def __init__(self, units, slope=1): pass
def asks(units): return Dense(units)
def raises(): raise LookupError("no such thing")
def does_not_fit(): return Dense(3)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with modules that no other test has imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "own_layers.py").write_text(MODULE)
    (tmp_path / "broken_layers.py").write_text("def layer(:\n")
    (tmp_path / "needy_layers.py").write_text("import no_such_module_at_all\n")
    yield tmp_path
    for name in ("own_layers", "broken_layers", "needy_layers"):
        sys.modules.pop(name, None)


def test_names_and_factories(folder):
    assert find("two-conv", None) == networks.build("two-conv")
    assert find("two-conv", (32, 32, 3)).input_shape == (32, 32, 3)
    assert find("own_layers:network", None) == Network((4,), (Dense(3),))
    assert find("own_layers:layer", (3, 3, 2)) == find("own_layers:tanh", (3, 3, 2)) == Network((3, 3, 2), (Tanh(),))
    assert str(folder) in sys.path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two_conv", "network 'two_conv' is not known; did you mean two-conv"),
        ("own_layers:", "module:factory was expected, such as my_layers:Swish"),
        (":layer", "module:factory was expected"),
        ("no_layers:layer", "No module named 'no_layers'; the working directory, .*, is on the import path"),
        ("needy_layers:layer", "No module named 'no_such_module_at_all'"),
        ("own_layers:swish", "module own_layers has no 'swish'"),
        ("own_layers:asks", r"TypeError: asks\(\) missing 1 required positional argument: 'units'$"),
        (
            "own_layers:MyDense",
            r"^own_layers:MyDense needs units: name a function that makes it, such as `def my_dense\(\): "
            r"return MyDense\(units=...\)`, and take own_layers:my_dense$",
        ),
        ("own_layers:nothing", "gave None; a Network was expected .*takes a layer as well"),
        ("own_layers:raises", r"own_layers:raises: LookupError: no such thing \(.*own_layers.py, line 12\)"),
        ("broken_layers:layer", r"SyntaxError: .*\(broken_layers.py, line 1\)"),
        ("own_layers:does_not_fit", "Dense.*one vector per example was expected"),
    ],
)
def test_factories_that_give_no_network(folder, name, message):
    with pytest.raises(GpucnnError, match=message) as caught:
        find(name, (3, 3, 2))
    assert "\n" not in str(caught.value)


def test_a_layer_needs_the_shape_of_its_input(folder):
    with pytest.raises(GpucnnError, match=r"own_layers:layer is a layer: say the shape .* such as --input 28x28x1"):
        find("own_layers:layer", None)


def test_what_a_users_code_raises_is_explained_with_its_place():
    message = r"mine: LookupError: oh \(.*test_gradient_check.py, line \d+\)"
    with pytest.raises(GpucnnError, match=message), explained("mine"):
        raise LookupError("oh")
    with pytest.raises(ShapeError, match=r"^as it is$"), explained("mine"):
        raise ShapeError("as it is")
