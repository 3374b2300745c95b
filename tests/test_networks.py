"""The named networks, how networks nest, what layers accept and refuse, and the geometry of windows."""

from __future__ import annotations

import dataclasses
import math
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gpucnn import ops
from gpucnn.errors import GpucnnError, SettingError, ShapeError
from gpucnn.kernels import REFERENCE, Context, Pair
from gpucnn.layers import (
    ELU,
    GELU,
    REGISTRY,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Crop2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    Hardswish,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    PadChannels,
    PReLU,
    ReLU,
    Reshape,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    SpatialDropout2D,
    Subsample2D,
    Tanh,
    Upsample2D,
    ZeroPad2D,
    initializers,
)
from gpucnn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from gpucnn.network import Network, describe
from gpucnn.network.layout import Layout
from gpucnn.networks import NETWORKS, build, entry
from gpucnn.ops.window import Window, convolution_window, pooling_window
from gpucnn.optimizers import SGD, Adam, AdamW, optimizer
from gpucnn.schedules import schedule

# The named networks


COUNTS = {
    "softmax-regression": ((28 * 28 + 1) * 10, 7850),
    "single-filter": ((3 * 3 + 1) + (13 * 13 + 1) * 70 + (70 + 1) * 10, 12620),
    "two-conv": ((25 + 1) * 8 + (25 * 8 + 1) * 16 + (4 * 4 * 16 + 1) * 128 + (128 + 1) * 10, 37610),
    "two-conv-wide": ((25 + 1) * 32 + (25 * 32 + 1) * 64 + (7 * 7 * 64 + 1) * 1024 + (1024 + 1) * 10, 3274634),
    "layered": ((25 + 1) * 8 + (25 * 8 + 1) * 16 + (4 * 4 * 16 + 1) * 128 + (128 + 1) * 10, 37610),
    "binary-sigmoid": (9 * 5 + 26 * 26 * 5 + (3380 + 1) * 100 + (100 + 1) * 2, 341727),
    "ten-sigmoid": (9 * 5 + 26 * 26 * 5 + (3380 + 1) * 100 + (100 + 1) * 10, 342535),
    "avgpool-96": (100 + 4 + 600 + 6 + 4800 + 50 + 500 + 10, 6070),
    "fast": ((25 + 1) * 16 + (25 * 16 + 1) * 48 + (3 * 3 * 48 + 1) * 128 + (128 + 1) * 10, 76378),
    "vgg-small": (
        (27 + 1) * 64 + (9 * 64 + 1) * 64 + (9 * 64 + 1) * 128 + (9 * 128 + 1) * 128 + (8192 + 1) * 256 + 257 * 10,
        2360138,
    ),
    "lenet5": ((25 + 1) * 6 + (25 * 6 + 1) * 16 + (400 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10, 61706),
    "resnet20": (  # convolutions, two numbers for each channel that is normalised, dense
        *(
            9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64)
            + 2 * (7 * 16 + 6 * 32 + 6 * 64)
            + (64 + 1) * 10,
            269722,
        ),
    ),
    "allcnn": (
        (27 + 1) * 96 + 2 * (9 * 96 + 1) * 96 + (9 * 96 + 1) * 192 + 3 * (9 * 192 + 1) * 192 + 193 * 192 + 193 * 10,
        1369738,
    ),
    "mobile-small": (  # convolution, depthwise, pointwise, two numbers for each channel that is normalised, dense
        *(
            27 * 8
            + 9 * (8 + 16 + 2 * 32 + 2 * 64 + 6 * 128 + 256)
            + (8 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 5 * 128 * 128 + 128 * 256 + 256 * 256)
            + 2 * (8 + (8 + 16 + 2 * 32 + 2 * 64 + 6 * 128 + 256) + (16 + 2 * 32 + 2 * 64 + 6 * 128 + 2 * 256))
            + (256 + 1) * 10,
            215642,
        ),
    ),
    # first and shared convolution, six normalisations, a weight for each of 3x3 places and 12 channels, dense
    "tiny-99": (9 * 12 + 9 * 12 * 12 + 6 * 2 * 12 + 9 * 12 + (12 + 1) * 10, 1786),
    **dict.fromkeys(  # convolutions without biases, two numbers for each channel that is normalised, dense
        ("record", "record-long"),
        (25 * 48 + 9 * (48 * 96 + 96 * 192) + 2 * (48 + 96 + 192) + (2 * 2 * 192 + 1) * 10, 216922),
    ),
}


def test_fast_takes_more_filters_and_whole_images() -> None:
    network = build("fast", filters=(32, 64), crop=0)
    assert network.parameters == (25 + 1) * 32 + (25 * 32 + 1) * 64 + (4 * 4 * 64 + 1) * 128 + (128 + 1) * 10


def test_every_network_is_counted_here() -> None:
    assert set(COUNTS) == set(NETWORKS)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "tiny-99",
            {"uses": (0, 0, 0)},
            r"uses=\(0, 0, 0\): one or more .* at least 0, and one above 0, .* uses=2,2,1",
        ),
        ("tiny-99", {"uses": (-1, 2, 1)}, "whole numbers of at least 0"),
        ("tiny-99", {"uses": ()}, "whole numbers of at least 0"),
        ("tiny-99", {"uses": (1.0, 1, 1)}, "whole numbers of at least 0"),
        ("tiny-99", {"filters": 0}, "filters=0: a whole number of at least 1"),
        ("two-conv", {"filters": ()}, "one or more whole numbers of at least 1 were expected, such as filters=8,16"),
        ("two-conv", {"filters": (8, 0)}, "one or more whole numbers"),
        ("two-conv", {"filters": 0}, "one or more whole numbers"),
        ("two-conv", {"filters": None}, "one or more whole numbers"),
        ("two-conv", {"filters": "12"}, "one or more whole numbers"),
        ("two-conv", {"filters": np.array([[8, 16]])}, "one or more whole numbers"),
        ("two-conv", {"hidden": 0}, "hidden=0: a whole number"),
        ("single-filter", {"hidden": 1.5}, "hidden=1.5: a whole number"),
        ("single-filter", {"hidden": np.array([5, 6])}, r"hidden=array\(\[5, 6\]\): a whole number"),
        ("fast", {"filters": (1, 2, 3)}, "2 whole numbers"),
        ("fast", {"filters": 16}, "2 whole numbers"),
        ("fast", {"crop": -1}, "crop=-1: a whole number of at least 0"),
        ("fast", {"crop": 1.5}, "crop=1.5: a whole number of at least 0"),
        ("record", {"filters": (1, 2)}, "3 whole numbers"),
        ("record-long", {"filters": (0, 2, 3)}, "3 whole numbers"),
        ("resnet20", {"blocks": 0}, "blocks=0: a whole number of at least 1"),
        ("mobile-small", {"width": 0}, "width=0: a number above 0"),
        ("mobile-small", {"width": "no"}, "width='no': a number above 0"),
        ("mobile-small", {"width": 10**400}, "a number above 0"),
        ("mobile-small", {"width": np.array([1, 2])}, "a number above 0"),
        ("two-conv", {"hidden": True}, "two-conv: hidden=True: a whole number of at least 1 was expected"),
        ("fast", {"crop": True}, "fast: crop=True: a whole number of at least 0 was expected"),
        ("two-conv", {"filters": (4, True)}, "two-conv: filters=.*, True.: one or more whole numbers of at least 1"),
        ("two-conv", {"hiden": 3}, "network two-conv has no setting 'hiden'; it has .*; did you mean hidden"),
    ],
)
def test_settings_that_leave_no_network_of_its_name_are_refused(name, options, says):
    with pytest.raises(SettingError, match=says):
        build(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "same"),
    [
        ("two-conv", {"filters": np.array([8, 16])}, {}),
        ("two-conv", {"filters": range(8, 17, 8)}, {}),
        ("two-conv", {"filters": iter((8, 16))}, {}),
        ("two-conv", {"filters": 8}, {"filters": (8,)}),
        ("fast", {"filters": np.array([16, 48]), "crop": np.int64(2)}, {}),
        ("fast", {"crop": None}, {"crop": 0}),
        ("fast", {"crop": False}, {"crop": 0}),
        ("record", {"filters": np.array([48, 96, 192])}, {}),
        ("tiny-99", {"uses": np.array([2, 2, 1])}, {}),
        ("tiny-99", {"uses": 2}, {"uses": (2,)}),
        ("resnet20", {"blocks": np.int64(3)}, {}),
        ("mobile-small", {"width": np.float32(0.25)}, {}),
    ],
)
def test_settings_in_other_forms_are_the_same_network(name, options, same):
    assert build(name, **options) == build(name, **same)


def test_two_conv_takes_any_number_of_filters() -> None:
    one, three = build("two-conv", filters=(8,)), build("two-conv", filters=(8, 16, 32), padding="same")
    assert one.parameters == (25 + 1) * 8 + (12 * 12 * 8 + 1) * 128 + (128 + 1) * 10
    assert three.parameters == 26 * 8 + (25 * 8 + 1) * 16 + (25 * 16 + 1) * 32 + (3 * 3 * 32 + 1) * 128 + 129 * 10


@pytest.mark.parametrize(("uses", "blocks"), [((0, 1, 1), 2), ((2, 2), 4), ((0, 0, 1), 1)])
def test_tiny_99_may_have_no_block_of_a_size(uses, blocks) -> None:
    assert sum(isinstance(layer, Residual) for layer in build("tiny-99", uses=uses).layers) == blocks


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name: str) -> None:
    by_hand, expected = COUNTS[name]
    assert by_hand == expected
    assert build(name).parameters == expected


def test_parameters_of_the_untied_two_conv() -> None:
    """A bias at each of the 24x24x8 and of the 8x8x16 output positions, instead of 8 and 16."""
    by_hand = 25 * 8 + 24 * 24 * 8 + 25 * 8 * 16 + 8 * 8 * 16 + (256 + 1) * 128 + (128 + 1) * 10
    assert by_hand == 37610 - 8 - 16 + 4608 + 1024
    for name in ("two-conv", "layered"):
        assert build(name, bias="untied").parameters == by_hand


@pytest.mark.parametrize("name", NETWORKS)
def test_entries_are_whole(name: str) -> None:
    found = entry(name)
    network = build(name)
    assert found.about.endswith(".")
    assert found.document
    assert network.input_shape == found.input_shape
    assert network.shapes()[-1] == (found.classes,)
    assert build(name, classes=7).shapes()[-1] == (7,)
    assert isinstance(found.loss, BinaryCrossEntropy) == name.endswith("-sigmoid")


@pytest.mark.parametrize("name", NETWORKS)
def test_no_classes_and_no_shape_are_not_the_usual_ones(name: str) -> None:
    for wrong in ({"classes": 0}, {"classes": -1}, {"input_shape": ()}, {"input_shape": 28}, {"input_shape": "28x28"}):
        with pytest.raises(ShapeError):
            build(name, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_take_other_images(name: str) -> None:
    assert build(name, (36, 40, 3)).input_shape == (36, 40, 3)


def test_layered_sends_gradients_to_all_ties_and_two_conv_to_the_first() -> None:
    assert [layer.ties for layer in build("layered").layers if isinstance(layer, MaxPool2D)] == ["all", "all"]
    assert [layer.ties for layer in build("two-conv").layers if isinstance(layer, MaxPool2D)] == ["first", "first"]


@pytest.mark.parametrize(
    ("typed", "meant"), [("two-cnov", "two-conv"), ("avgpool", "avgpool-96"), ("vgg_small", "vgg-small")]
)
def test_unknown_networks_give_the_nearest_name(typed: str, meant: str) -> None:
    with pytest.raises(SettingError, match=rf"network '{typed}' is not known; did you mean {meant}\? choose one of"):
        build(typed)


def test_a_module_is_not_meant_where_nothing_is_named_in_it() -> None:
    with pytest.raises(SettingError, match=r"network 'mean.' is not known; choose one of"):
        entry("mean.")


def test_unknown_networks_give_all_names() -> None:
    with pytest.raises(
        SettingError,
        match=r"choose one of softmax-regression, single-filter, .*, vgg-small, .*, allcnn, .*mobile-small",
    ) as error:
        entry("???")
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize(("f", "layer"), [("tanh", Tanh()), ("sigmoid", Sigmoid()), ("relu", ReLU())])
def test_the_f_of_avgpool_96(f: str, layer: Any) -> None:
    network = build("avgpool-96", f=f)
    assert [k for k, found in enumerate(network.layers) if found == layer] == [1, 4, 8]
    assert network.parameters == 6070


def test_another_f_is_refused() -> None:
    with pytest.raises(SettingError, match="avgpool-96: f='gelu' is not known; choose one of relu, sigmoid, tanh"):
        build("avgpool-96", f="gelu")


@pytest.mark.parametrize(
    ("examples", "batch", "epochs"), [(60000, 128, 5), (1280, 128, 40), (1281, 128, 37), (1, 1, 400)]
)
def test_small_data_sets_get_more_epochs(examples: int, batch: int, epochs: int) -> None:
    recipe = dataclasses.replace(entry("two-conv").recipe, batch_size=batch)
    assert recipe.epochs_for(examples) == epochs


# Initial weights


def initial(name: str, seed: int) -> np.ndarray:
    network = build(name)
    params = network.init(network.input_shape, initializers.generator(seed))
    layout = Layout(params)
    return layout.pack(params, np.empty(layout.size))


@pytest.mark.parametrize("name", ["single-filter", "two-conv", "avgpool-96"])
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    assert np.array_equal(initial(name, 5), initial(name, 5))
    assert not np.array_equal(initial(name, 5), initial(name, 6))


def test_avgpool_96_starts_as_its_document_has_it() -> None:
    """Glorot uniform by fan, and biases of 0; the second kernel's limit is sqrt(6 / ((4 + 6) 5^2))."""
    params = build("avgpool-96").init((28, 28, 1), initializers.generator(0))
    fans = {"0": (25, 100), "3": (100, 150), "7": (96, 50), "9": (50, 10)}
    assert set(params) == set(fans)
    for k, of_layer in params.items():
        limit, drawn = math.sqrt(6 / sum(fans[k])), of_layer["kernel" if k in "03" else "weights"]
        assert 0.9 * limit < np.abs(drawn).max() <= limit
        assert not of_layer["bias"].any()


VARIANCES = {
    "glorot_uniform": 2 / 500,
    "glorot_normal": 2 / 500,
    "he_uniform": 2 / 200,
    "he_normal": 2 / 200,
    "lecun_uniform": 1 / 200,
    "lecun_normal": 1 / 200,
    "zeros": 0.0,
    "orthogonal": 1 / 300,
}


@pytest.mark.parametrize("name", initializers.BY_NAME)
def test_initializers_have_their_variance(name: str) -> None:
    found = initializers.initializer(name)(initializers.generator(1), (200, 300), 200, 300)
    assert found.dtype == np.float64
    assert abs(found.mean()) < 1e-3
    assert found.var() == pytest.approx(VARIANCES[name], rel=0.03)


@pytest.mark.parametrize("shape", [(3, 3, 2, 5), (2, 2, 1, 7), (6, 6)])
def test_orthogonal_kernels(shape: tuple[int, ...]) -> None:
    matrix = initializers.orthogonal(initializers.generator(1), shape).reshape(-1, shape[-1])
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_the_fans_of_a_convolution_count_one_group() -> None:
    params = Conv2D(40, 5, groups=2).init((9, 9, 20), initializers.generator(0))
    limit = math.sqrt(6 / (25 * 10 + 25 * 20))
    assert params["kernel"].shape == (5, 5, 10, 40)
    assert 0.99 * limit < np.abs(params["kernel"]).max() <= limit


# Layout


def nested_params() -> dict[str, Any]:
    return {
        "0": {"kernel": np.arange(6.0).reshape(1, 2, 3), "bias": np.array([7.0, 8])},
        "10": {"2": {"weights": np.full((2, 2), 9.0)}},
        "2": {"bias": np.array([5.0])},
    }


def test_a_layout_keeps_the_order_of_the_params() -> None:
    layout = Layout(nested_params())
    assert [slot.name for slot in layout.slots] == ["0/kernel", "0/bias", "10/2/weights", "2/bias"]
    assert [slot.shape for slot in layout.slots] == [(1, 2, 3), (2,), (2, 2), (1,)]
    assert [(slot.place.start, slot.place.stop) for slot in layout.slots] == [(0, 6), (6, 8), (8, 12), (12, 13)]
    assert layout.size == 13


def test_pack_and_unpack_are_inverse() -> None:
    layout = Layout(nested_params())
    theta = np.empty(layout.size)
    assert layout.pack(nested_params(), theta) is theta
    assert theta.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 9, 9, 9, 5]
    again = layout.unpack(theta)
    assert again["10"]["2"]["weights"].tolist() == [[9, 9], [9, 9]]
    assert layout.pack(again, np.zeros(layout.size)).tolist() == theta.tolist()
    assert list(again) == ["0", "10", "2"]


def test_unpacked_params_are_views() -> None:
    layout = Layout(nested_params())
    theta = np.zeros(layout.size)
    params = layout.unpack(theta)
    theta[6] = 4
    params["10"]["2"]["weights"][1, 0] = 3
    assert params["0"]["bias"].tolist() == [4, 0]
    assert theta[10] == 3
    assert all(np.shares_memory(theta, params["0"][name]) for name in ("kernel", "bias"))


def test_an_empty_layout() -> None:
    layout = Layout({})
    assert layout.size == 0
    assert layout.unpack(np.zeros(0)) == {}


def test_what_a_layer_kept_is_let_go_during_the_backward_pass() -> None:
    network = Network((6, 6, 1), (Conv2D(2, 3), ReLU(), Flatten(), Dense(3)))
    params = network.init(network.input_shape, np.random.default_rng(0))
    y, residuals = network.forward(params, np.ones((2, 6, 6, 1)), Context())
    of_dense = weakref.ref(residuals[-1][0])
    seen = []

    def relu_backward(residual: Any, dy: Any) -> Any:
        seen.append(of_dense())
        return REFERENCE.relu.backward(residual, dy)

    context = Context(replace(REFERENCE, relu=Pair(REFERENCE.relu.forward, relu_backward)))
    assert of_dense() is not None
    network.backward(params, residuals, y, context)
    assert seen == [None]


# Nested networks


BLOCK = (Conv2D(2, 3), ReLU(), MaxPool2D())
HEAD = (Flatten(), Dense(4), Tanh(), Dense(3))


def run(network: Network) -> tuple[Any, ...]:
    """Output, input gradient and flat parameter gradient, from weights and data that depend on no layer."""
    rng = np.random.default_rng(4)
    layout = Layout(network.init(network.input_shape, rng))
    params = layout.unpack(np.sin(np.arange(1.0, layout.size + 1)))
    x = np.cos(np.arange(2.0 * 8 * 7)).reshape(2, 8, 7, 1)
    y, residuals = network.forward(params, x, Context())
    dx, dparams = network.backward(params, residuals, np.arange(6.0).reshape(2, 3), Context())
    assert residuals == []
    return y, dx, layout.pack(dparams, np.empty(layout.size))


def nestings() -> dict[str, tuple[Any, ...]]:
    block = Network((8, 7, 1), BLOCK)
    head = Network(block.shapes()[-1], HEAD)
    inner = Network(head.input_shape, (Flatten(), Network((12,), HEAD[1:])))
    return {"block": (block, *HEAD), "head": (*BLOCK, head), "both": (block, head), "deep": (*BLOCK, inner)}


@pytest.mark.parametrize("nesting", nestings())
def test_nested_networks_give_the_flat_networks_numbers(nesting: str) -> None:
    flat, nested = Network((8, 7, 1), (*BLOCK, *HEAD)), Network((8, 7, 1), nestings()[nesting])
    for found, expected in zip(run(nested), run(flat), strict=True):
        assert np.array_equal(found, expected)
    assert nested.parameters == flat.parameters
    assert nested.multiply_adds() == flat.multiply_adds()


def test_nested_networks_draw_the_flat_networks_weights() -> None:
    flat, nested = Network((8, 7, 1), (*BLOCK, *HEAD)), Network((8, 7, 1), nestings()["deep"])
    packed = []
    for network in (flat, nested):
        params = network.init((8, 7, 1), initializers.generator(9))
        packed.append(Layout(params).pack(params, np.empty(network.parameters)))
    assert np.array_equal(*packed)


@pytest.mark.parametrize("name", [*NETWORKS, "deep", "plain"])
def test_shapes_of_parameters_are_those_that_are_drawn(name: str) -> None:
    if name in NETWORKS:
        network = build(name)
    else:
        layers = (Conv2D(4, (3, 2), groups=2, bias=None), Conv2D(2, 2, bias="untied"), Flatten(), Dense(3, bias=False))
        network = Network((8, 7, 2), layers) if name == "plain" else Network((8, 7, 1), nestings()["deep"])
    drawn = Layout(network.init(network.input_shape, initializers.generator(0))).slots
    assert list(network.parameter_shapes().items()) == [(slot.name, slot.shape) for slot in drawn]


def test_paths_of_nested_parameters() -> None:
    nested = Network((8, 7, 1), nestings()["deep"])
    assert list(nested.parameter_shapes()) == [
        *("0/kernel", "0/bias", "3/1/0/weights", "3/1/0/bias", "3/1/2/weights", "3/1/2/bias"),
    ]


def test_layers_without_parameters_are_left_out_of_the_params() -> None:
    params = build("single-filter").init((28, 28, 1), initializers.generator(0))
    assert list(params) == ["0", "4", "6"]


# Summary and memory


def test_the_summary_of_single_filter() -> None:
    lines = build("single-filter").summary().splitlines()
    assert lines[0].split() == ["layer", "output", "parameters", "multiply-adds"]
    assert lines[1].split() == ["input", "28", "x", "28", "x", "1"]
    assert lines[2].split() == ["0", "Conv2D(1,", "3)", "26", "x", "26", "x", "1", "10", "6,084"]
    assert lines[4].split() == ["2", "MaxPool2D(2)", "13", "x", "13", "x", "1", "0", "0"]
    assert lines[-2].split() == ["total", "12,620", "18,614"]
    assert lines[-1].startswith("about ")
    assert lines[-1].endswith(" MB to train on 128 examples")
    assert len(lines) == 1 + 1 + 7 + 2
    assert all(line == line.rstrip() for line in lines)


def test_multiply_adds_by_hand() -> None:
    assert build("single-filter").multiply_adds() == 26 * 26 * 9 + 169 * 70 + 70 * 10
    assert Conv2D(6, (3, 2), 2, groups=2).multiply_adds((9, 8, 4)) == (4 * 4 * 6) * (3 * 2 * 2)


def test_the_summary_counts_nested_parameters() -> None:
    text = Network((8, 7, 1), nestings()["both"]).summary(1)
    assert "Network of 3 layers" in text
    assert "MB to train on 1 example" in text
    assert text.splitlines()[-2].split()[1] == f"{20 + 52 + 15}"


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Conv2D(8, 5, flip=True), "Conv2D(8, 5, flip=True)"),
        (Conv2D(8, (5, 3), (2, 2)), "Conv2D(8, (5, 3), stride=2)"),
        (Conv2D(4, 3, padding="same", bias=None), "Conv2D(4, 3, padding='same', bias=None)"),
        (MaxPool2D(), "MaxPool2D(2)"),
        (MaxPool2D(3, 2, ties="all"), "MaxPool2D(3, stride=2, ties='all')"),
        (AvgPool2D((2, 3)), "AvgPool2D((2, 3))"),
        (ReLU(), "ReLU()"),
        (ReLU(0.0), "ReLU(slope_at_zero=0.0)"),
        (Dense(10), "Dense(10)"),
        (Dense(10, bias=False), "Dense(10, bias=False)"),
        (Flatten(), "Flatten()"),
        (Network((3,), (Dense(2),)), "Network of 1 layers"),
    ],
)
def test_layers_are_described_as_one_would_write_them(layer: Any, text: str) -> None:
    assert describe(layer) == text


LAYERS = [
    *(Conv2D(6, (3, 2), (2, 1), "same", 2, 3, "untied", True, "he_normal"), Conv2D(1, 1), Conv2D(2, 3, padding=1)),
    *(Conv2D(2, 3, padding=((0, 1), (2, 3))), MaxPool2D(3, 2, 1, "all"), AvgPool2D((3, 2), (1, 2), 1, True)),
    *(
        ReLU(0.0),
        ReLU(),
        Sigmoid(),
        Tanh(),
        Softmax(),
        Flatten(),
        Reshape((2, 3, 4)),
        Reshape((5,)),
        Reshape((3, 3, 3)),
    ),
    *(Dense(3, False, "zeros"), Dense(1)),
    *(Dropout(0.2), SpatialDropout2D(), ZeroPad2D(), ZeroPad2D(((0, 1), (2, 3))), Crop2D((1, 2)), Subsample2D((2, 1))),
    *(
        MaxPool2D(3, 2, "same-lower", "all", (1, 2), True),
        AvgPool2D(2, dilation=2, ceil_mode=True),
        ELU(0.5),
        PReLU(True),
    ),
    *(GlobalMaxPool2D("all"), GlobalAvgPool2D(), GELU(True), LeakyReLU(0.2), Softplus(), SiLU(), Hardswish()),
    *(PadChannels(3), PadChannels((0, 4)), Upsample2D((2, 3), "bilinear"), Upsample2D()),
]


@pytest.mark.parametrize(
    "layer",
    [pytest.param(k, id=describe(k)) for k in LAYERS],
)
def test_a_description_builds_the_layer(layer: Any) -> None:
    assert eval(describe(layer), dict(REGISTRY)) == layer


@pytest.mark.parametrize("name", NETWORKS)
def test_the_memory_estimate_grows_with_the_batch(name: str) -> None:
    network = build(name)
    at = [network.memory(batch) for batch in (0, 1, 2, 128)]
    assert at[0] == 4 * 4 * network.parameters
    assert at[0] < at[1] < at[2] < at[3]
    assert at[3] - at[0] == 128 * (at[1] - at[0])
    assert at[1] - at[0] >= 4 * sum(map(math.prod, network.shapes()))
    assert network.memory(128, itemsize=8) == 2 * at[3]


# Layers are values


@pytest.mark.parametrize("layer", LAYERS, ids=describe)
def test_layers_are_frozen_and_hashable(layer: Any) -> None:
    again = dataclasses.replace(layer)
    assert again == layer
    assert again is not layer
    assert hash(again) == hash(layer)
    assert len({layer, again}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.anything = 1


def test_different_layers_differ() -> None:
    assert len(set(LAYERS)) == len(LAYERS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Conv2D(3, 5), Conv2D(3, (5, 5))),
        (Conv2D(3, 5), Conv2D(3, [5, 5])),  # type: ignore[arg-type]
        (Conv2D(3, 5, 2, dilation=3), Conv2D(3, 5, (2, 2), dilation=(3, 3))),
        (Conv2D(3, 5, padding=1), Conv2D(3, 5, padding=(1, 1))),
        (Conv2D(3, 5, padding=1), Conv2D(3, 5, padding=((1, 1), (1, 1)))),
        (Conv2D(3, 5, padding=(1, 2)), Conv2D(3, 5, padding=((1, 1), (2, 2)))),
        (MaxPool2D(2), MaxPool2D(2, 2)),
        (MaxPool2D(), MaxPool2D((2, 2), (2, 2))),
        (MaxPool2D((2, 3), (2, 3)), MaxPool2D((2, 3))),
        (AvgPool2D(3, 3, 1), AvgPool2D((3, 3), padding=(1, 1))),
        (Reshape([2, 3, 4]), Reshape((2, 3, 4))),  # type: ignore[arg-type]
        (Network([4], [Dense(2)]), Network((4,), (Dense(2),))),  # type: ignore[arg-type]
    ],
)
def test_arguments_take_their_canonical_form(one: Any, other: Any) -> None:
    assert one == other
    assert hash(one) == hash(other)


def test_named_networks_are_equal_by_value() -> None:
    assert build("two-conv") == build("two-conv")
    assert len({build("two-conv"), build("two-conv"), build("layered")}) == 2


@pytest.mark.parametrize("wrong", ["a", None, math.nan, math.inf, True, [0.1]])
@pytest.mark.parametrize(
    ("layer", "name"),
    [
        *((ReLU, "slope_at_zero"), (LeakyReLU, "slope"), (PReLU, "start"), (ELU, "alpha"), (Dropout, "rate")),
        *((BatchNorm, "momentum"), (BatchNorm, "epsilon"), (LayerNorm, "epsilon"), (InstanceNorm, "epsilon")),
    ],
)
def test_a_setting_that_is_a_number_takes_no_other_thing(layer: Any, name: str, wrong: Any) -> None:
    with pytest.raises(SettingError, match=re.escape(f"{layer.__name__}: {name}={wrong!r}: a ")):
        layer(**{name: wrong})
    assert getattr(layer(**{name: np.float64(0.25)}), name) == 0.25


@pytest.mark.parametrize("wrong", [10, None, "ab", (2, 3)])
def test_a_reshape_to_no_shape_is_refused(wrong: Any) -> None:
    with pytest.raises(ShapeError, match=re.escape(f"Reshape: {wrong!r}: a vector (features,) or an image")):
        Reshape(wrong)


# Errors


X = np.zeros((2, 6, 5, 3))
W = np.zeros((3, 3, 3, 4))
VECTORS = "one vector per example was expected; put Flatten() before it"
ONE_OF = "choose one of"

ERRORS: dict[str, tuple[Callable[[], Any], type[GpucnnError], str]] = {
    "dense on an image": (
        lambda: Network((28, 28, 1), (Dense(10),)),
        ShapeError,
        f"layer 0 (Dense): input has shape (28, 28, 1), {VECTORS}",
    ),
    "softmax on an image": (
        lambda: Network((4, 4, 1), (ReLU(), Softmax())),
        ShapeError,
        f"layer 1 (Softmax): input has shape (4, 4, 1), {VECTORS}",
    ),
    "convolution on a vector": (
        lambda: Network((784,), (Conv2D(1, 3),)),
        ShapeError,
        "layer 0 (Conv2D): input has shape (784,), an image (H, W, C) was expected; put Reshape((H, W, C)) before it",
    ),
    "pooling on a vector": (
        lambda: Network((8, 8, 1), (Flatten(), AvgPool2D())),
        ShapeError,
        "layer 1 (AvgPool2D): input has shape (64,), an image (H, W, C) was expected; put pooling before Flatten()",
    ),
    "kernel over the image": (
        lambda: Network((4, 4, 1), (Conv2D(2, 5),)),
        ShapeError,
        "layer 0 (Conv2D): a kernel that spans 5 x 5 pixels does not fit an image of 4 x 4 with padding 'valid'; "
        "use a smaller kernel or more padding",
    ),
    "dilated kernel over the image": (
        lambda: Conv2D(2, 3, dilation=(1, 3)).out_shape((6, 6, 1)),
        ShapeError,
        "a kernel that spans 3 x 7 pixels does not fit an image of 6 x 6",
    ),
    "window over the image": (
        lambda: Network((3, 1, 1), (MaxPool2D(),)),
        ShapeError,
        "layer 0 (MaxPool2D): a window that spans 2 x 2 pixels does not fit an image of 3 x 1",
    ),
    "padding as large as the window": (
        lambda: Network((8, 8, 1), (MaxPool2D(2, padding=2),)),
        ShapeError,
        "layer 0 (MaxPool2D): pool padding ((2, 2), (2, 2)) is as large as the window (2, 2): "
        "outputs would see only padding; use less than 2 pixels of padding",
    ),
    "a dilated pool that sees only padding": (
        lambda: Network((2, 9, 1), (MaxPool2D(2, padding=2, dilation=4),)),
        ShapeError,
        "layer 0 (MaxPool2D): a pool's window of (2, 2) pixels, (4, 4) apart, sees only padding somewhere in an image "
        "of 2 x 9; use less padding or a smaller dilation",
    ),
    "cropped away": (
        lambda: Network((4, 9, 1), (Crop2D(2),)),
        ShapeError,
        "layer 0 (Crop2D): Crop2D leaves nothing of an image of 4 x 9 pixels; crop less",
    ),
    "crop by name": (
        lambda: Crop2D("same"),  # type: ignore[arg-type]
        ShapeError,
        "Crop2D: cropping='same': a number of pixels, (rows, columns) or ((top, bottom), (left, right)) was expected",
    ),
    "channels below 0": (
        lambda: PadChannels(-1),
        SettingError,
        "PadChannels: channels=-1: a number of at least 0, or (before, behind), was expected",
    ),
    "kind of upsampling": (
        lambda: Upsample2D(2, "cubic"),
        SettingError,
        'Upsample2D: kind=\'cubic\': "nearest" or "bilinear" was expected',
    ),
    "upsampling a vector": (
        lambda: Network((4,), (Upsample2D(),)),
        ShapeError,
        "layer 0 (Upsample2D): input has shape (4,), an image (H, W, C) was expected; put Upsample2D before Flatten()",
    ),
    "global pool of a vector": (
        lambda: Network((4,), (GlobalAvgPool2D(),)),
        ShapeError,
        "layer 0 (GlobalAvgPool2D): input has shape (4,), an image (H, W, C) was expected; leave out Flatten()",
    ),
    "ties of a global pool": (
        lambda: GlobalMaxPool2D("some"),
        SettingError,
        'GlobalMaxPool2D: ties=\'some\': "first" or "all" was expected',
    ),
    "alpha below 0": (lambda: ELU(-1), SettingError, "ELU: alpha=-1: a finite number of at least 0 was expected"),
    "kind of GELU": (
        lambda: GELU("tanh"),  # type: ignore[arg-type]
        SettingError,
        "GELU: approximate='tanh': True or False was expected",
    ),
    "padding as large as the window, one side": (
        lambda: ops.average_pool(X, (3, 2), padding=((0, 0), (0, 2))),
        ShapeError,
        "is as large as the window (3, 2): outputs would see only padding; use less than 2 pixels of padding",
    ),
    "groups and channels": (
        lambda: Network((8, 8, 3), (Conv2D(4, 3, groups=2),)),
        ShapeError,
        "layer 0 (Conv2D): 2 groups do not divide the input's 3 channels",
    ),
    "groups and filters": (
        lambda: Conv2D(3, 3, groups=2),
        ShapeError,
        "Conv2D: 3 filters in 2 group(s): groups must divide filters",
    ),
    "no filters": (lambda: Conv2D(0, 3), ShapeError, "Conv2D: filters=0: a whole number of at least 1 was expected"),
    "no units": (lambda: Dense(0), ShapeError, "Dense: units=0: a whole number of at least 1 was expected"),
    "bias by name": (
        lambda: Conv2D(3, 3, bias="loose"),
        SettingError,
        'Conv2D: bias=\'loose\': "tied", "untied" or None was expected',
    ),
    "ties by name": (
        lambda: MaxPool2D(ties="last"),
        SettingError,
        'MaxPool2D: ties=\'last\': "first" or "all" was expected',
    ),
    "kernel 0": (
        lambda: Conv2D(3, 0),
        ShapeError,
        "kernel=0: a positive whole number or a pair (rows, columns) of them was expected",
    ),
    "kernel of three": (lambda: Conv2D(3, (1, 2, 3)), ShapeError, "kernel=(1, 2, 3): a positive whole number"),  # type: ignore[arg-type]
    "stride": (lambda: Conv2D(3, 3, stride=(1, 0)), ShapeError, "stride=(1, 0): a positive whole number"),
    "dilation": (lambda: Conv2D(3, 3, dilation=1.5), ShapeError, "dilation=1.5: a positive whole number"),  # type: ignore[arg-type]
    "window": (lambda: AvgPool2D("2"), ShapeError, "window='2': a positive whole number"),  # type: ignore[arg-type]
    "pool stride": (lambda: MaxPool2D(2, -1), ShapeError, "stride=-1: a positive whole number"),
    "padding name": (
        lambda: Conv2D(3, 3, padding="some"),
        ShapeError,
        'padding=\'some\': "valid", "same", "same-lower", "full", a number of pixels, (rows, columns) or '
        "((top, bottom), (left, right)) was expected",
    ),
    "padding below 0": (lambda: Conv2D(3, 3, padding=(0, -1)), ShapeError, 'padding=(0, -1): "valid"'),
    "padding of three": (lambda: MaxPool2D(2, padding=(1, 1, 1)), ShapeError, 'padding=(1, 1, 1): "valid"'),  # type: ignore[arg-type]
    "reshape elements": (
        lambda: Network((4, 4, 1), (Reshape((5,)),)),
        ShapeError,
        "layer 0 (Reshape): input has shape (4, 4, 1), 16 elements, and cannot take the shape (5,), 5 elements",
    ),
    "reshape to a matrix": (
        lambda: Reshape((4, 4)),
        ShapeError,
        "Reshape: (4, 4): a vector (features,) or an image (H, W, C) was expected",
    ),
    "a nested network's input": (
        lambda: Network((5,), (Network((4,), (Dense(2),)),)),
        ShapeError,
        "layer 0 (Network): input has shape (5,), (4,) was expected",
    ),
    "init with another shape": (
        lambda: build("fast").init((28, 28), initializers.generator(0)),
        ShapeError,
        "input has shape (28, 28), (28, 28, 1) was expected",
    ),
    "initializer": (
        lambda: Dense(3, initializer="glorot"),
        SettingError,
        f"initializer 'glorot' is not known; {ONE_OF} glorot_uniform, glorot_normal, he_uniform",
    ),
    "initializer of a kernel": (
        lambda: Conv2D(3, 3, initializer="ones"),
        SettingError,
        f"initializer 'ones' is not known; {ONE_OF}",
    ),
    "optimizer": (
        lambda: optimizer("adamax"),
        SettingError,
        f"optimizer 'adamax' is not known; did you mean adam? {ONE_OF} sgd, momentum, nesterov, adam, adamw",
    ),
    "momentum": (lambda: SGD(1.0), SettingError, "SGD: momentum 1.0 must be in [0, 1)"),
    "weight decay": (lambda: SGD(weight_decay=-0.1), SettingError, "weight decay -0.1 >= 0"),
    "nesterov": (lambda: SGD(nesterov=True), SettingError, "SGD: nesterov=True needs a momentum above 0"),
    "betas": (lambda: Adam(beta2=1.0), SettingError, "beta2=1.0"),
    "epsilon": (lambda: AdamW(epsilon=0.0), SettingError, "AdamW(beta1=0.9, beta2=0.999, epsilon=0.0"),
    "schedule": (
        lambda: schedule("onecycle"),
        SettingError,
        f"schedule 'onecycle' is not known; did you mean one-cycle? {ONE_OF} constant, step, cosine, one-cycle, linear",
    ),
    "correlate vectors": (
        lambda: ops.correlate(X[0], W),
        ShapeError,
        "an image batch (N, H, W, C) and a kernel (I, J, C / groups, K) were expected, found shapes (6, 5, 3) and "
        "(3, 3, 3, 4)",
    ),
    "correlate channels": (
        lambda: ops.convolve(X[..., :2], W),
        ShapeError,
        "an image of 2 channels does not fit a kernel of shape (3, 3, 3, 4) in 1 group(s); 3 channels, and filters "
        "that 1 divides, were expected",
    ),
    "correlate groups": (
        lambda: ops.correlate(X, W[:, :, :1], groups=3),
        ShapeError,
        "an image of 3 channels does not fit a kernel of shape (3, 3, 1, 4) in 3 group(s)",
    ),
    "correlate a small image": (
        lambda: ops.correlate(X[:, :2], W),
        ShapeError,
        "a kernel that spans 3 x 3 pixels does not fit an image of 2 x 5",
    ),
    "a bias of another shape": (
        lambda: ops.add_bias(X, np.zeros(4)),
        ShapeError,
        "a bias of shape (4,) fits no output of shape (6, 5, 3); (3,) or (6, 5, 3) was expected",
    ),
    "a bias that would broadcast": (lambda: ops.add_bias(X, np.zeros((5, 3))), ShapeError, "a bias of shape (5, 3)"),
    "pool a vector": (
        lambda: ops.max_pool(X[0, 0]),
        ShapeError,
        "an image batch (N, H, W, C) was expected, found shape (5, 3)",
    ),
    "dense features": (
        lambda: ops.dense(np.zeros((2, 3)), np.zeros((4, 5))),
        ShapeError,
        "vectors (N, features) and weights (features, units) were expected, found shapes (2, 3) and (4, 5)",
    ),
    "reshape": (
        lambda: ops.reshape(X, (7,)),
        ShapeError,
        "(6, 5, 3) has 90 elements and cannot be reshaped to (7,), which has 7",
    ),
    "flatten back": (
        lambda: ops.flatten_backward(np.zeros((2, 9)), (2, 4)),
        ShapeError,
        "(9,) has 9 elements and cannot be reshaped to (2, 4), which has 8",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_was_found_and_what_was_expected(name: str) -> None:
    call, kind, sentence = ERRORS[name]
    with pytest.raises(kind, match=re.escape(sentence)) as error:
        call()
    assert isinstance(error.value, ValueError)


# The geometry of windows


EXAMPLES = settings(max_examples=200)
PIXELS = st.integers(0, 5)
SIZES = st.tuples(st.integers(1, 5), st.integers(1, 5))
STEPS = st.tuples(st.integers(1, 4), st.integers(1, 4))
IMAGES = st.tuples(st.integers(1, 9), st.integers(1, 9))
PADDINGS = st.one_of(
    st.sampled_from(["valid", "same", "full"]),
    PIXELS,
    st.tuples(PIXELS, PIXELS),
    st.tuples(st.tuples(PIXELS, PIXELS), st.tuples(PIXELS, PIXELS)),
)


def fitting(size: Any, stride: Any, padding: Any, dilation: Any, image: tuple[int, int]) -> Window:
    """The window; an example where the kernel is too large for the image is thrown away."""
    try:
        return convolution_window(size, stride, padding, dilation, *image)
    except ShapeError:
        assume(False)
        raise


def starts(window: Window, axis: int, length: int) -> list[int]:
    """Where each output's window starts, in pixels of the image: every step at which it fits the padded image."""
    before, after = window.padding[axis]
    reach = window.dilation[axis] * (window.size[axis] - 1)
    every = range(-before, length + after)
    return [start for start in every[:: window.stride[axis]] if start + reach < length + after]


@EXAMPLES
@given(SIZES, STEPS, PADDINGS, STEPS, IMAGES)
def test_the_output_size_is_the_number_of_positions(
    size: Any, stride: Any, padding: Any, dilation: Any, image: Any
) -> None:
    window = fitting(size, stride, padding, dilation, image)
    assert window.outputs(*image) == tuple(len(starts(window, axis, image[axis])) for axis in (0, 1))


@EXAMPLES
@given(SIZES, STEPS, PADDINGS, STEPS, IMAGES)
def test_a_kernel_is_refused_only_where_it_fits_nowhere(
    size: Any, stride: Any, padding: Any, dilation: Any, image: Any
) -> None:
    sides = convolution_window(size, stride, padding, dilation, 99, 99).padding if padding != "same" else None
    room = [image[axis] + sum(sides[axis]) if sides else 99 for axis in (0, 1)]
    fits = all(dilation[axis] * (size[axis] - 1) < room[axis] for axis in (0, 1))
    if fits:
        assert min(convolution_window(size, stride, padding, dilation, *image).outputs(*image)) >= 1
    else:
        with pytest.raises(ShapeError, match="does not fit"):
            convolution_window(size, stride, padding, dilation, *image)


@EXAMPLES
@given(SIZES, STEPS, PADDINGS, STEPS, IMAGES)
def test_reach_is_the_enumeration(size: Any, stride: Any, padding: Any, dilation: Any, image: Any) -> None:
    """At every offset: which outputs see a pixel, and which pixel that is."""
    window = fitting(size, stride, padding, dilation, image)
    for axis in (0, 1):
        begun = starts(window, axis, image[axis])
        for offset in range(size[axis]):
            seen = [(p, start + offset * dilation[axis]) for p, start in enumerate(begun)]
            expected = [(p, pixel) for p, pixel in seen if 0 <= pixel < image[axis]]
            outputs, pixels = window.reach(axis, offset, image[axis])
            found = range(len(begun))[outputs], range(image[axis])[pixels]
            assert list(zip(*found, strict=True)) == expected
            assert min(outputs.start, pixels.start) >= 0


@EXAMPLES
@given(SIZES, STEPS, PADDINGS, STEPS, IMAGES)
def test_looks_are_every_pair_of_reaches(size: Any, stride: Any, padding: Any, dilation: Any, image: Any) -> None:
    """Adding 1 wherever an output sees a pixel counts each output's pixels; offsets come row by row."""
    window = fitting(size, stride, padding, dilation, image)
    counts, offsets = np.zeros((1, *window.outputs(*image), 1)), []
    for offset, outputs, pixels in window.looks(*image):
        counts[outputs] += np.ones((1, *image, 1))[pixels]
        offsets.append(offset)
    along = [
        [sum(0 <= s + k * dilation[a] < image[a] for k in range(size[a])) for s in starts(window, a, image[a])]
        for a in (0, 1)
    ]
    assert np.array_equal(counts[0, :, :, 0], np.outer(*along))
    assert offsets == sorted(set(offsets))


@EXAMPLES
@given(SIZES, STEPS, STEPS, IMAGES)
def test_same_padding_gives_ceil_of_height_over_stride(size: Any, stride: Any, dilation: Any, image: Any) -> None:
    window = convolution_window(size, stride, "same", dilation, *image)
    assert window.outputs(*image) == tuple(math.ceil(image[axis] / stride[axis]) for axis in (0, 1))
    assert all(0 <= after - before <= 1 for before, after in window.padding)


@EXAMPLES
@given(SIZES, STEPS, STEPS, IMAGES)
def test_full_padding_gives_every_output_that_sees_a_pixel(size: Any, stride: Any, dilation: Any, image: Any) -> None:
    window = convolution_window(size, stride, "full", dilation, *image)
    for axis in (0, 1):
        span, length = dilation[axis] * (size[axis] - 1) + 1, image[axis]
        touching = [start for start in range(-50, 50) if start + span > 0 and start < length]
        assert starts(window, axis, length) == touching[:: stride[axis]]
        if stride[axis] == 1:
            assert window.outputs(*image)[axis] == length + span - 1


@EXAMPLES
@given(SIZES, st.one_of(st.none(), STEPS), PADDINGS, IMAGES)
def test_no_pool_sees_only_padding(size: Any, stride: Any, padding: Any, image: Any) -> None:
    try:
        window = pooling_window(size, stride, padding, *image)
    except ShapeError:
        assume(False)
        raise
    assert window.stride == (stride or size)
    x = -1 - np.arange(float(math.prod(image))).reshape(1, *image, 1)
    y = ops.max_pool(x, size, stride=stride, padding=padding)
    assert np.all(np.isfinite(y))
    assert np.all(np.isfinite(ops.average_pool(x, size, stride=stride, padding=padding)))


@pytest.mark.parametrize(("stride", "tiling"), [((2, 3), True), ((3, 3), True), ((1, 3), False), ((2, 2), False)])
def test_tiling_windows_share_no_pixel(stride: tuple[int, int], tiling: bool) -> None:
    assert Window((2, 3), stride).is_tiling == tiling


# Ten recorded losses


LOSSES = [
    1.1054927807673725,
    1.0960939199375952,
    1.0867858988456873,
    1.0852984859118564,
    1.0892564294447786,
    1.0918873120102643,
    1.0880598359704952,
    1.0796938541223187,
    1.0724211182715224,
    1.0695448964037608,
]


def recorded_run() -> list[float]:
    """Twelve images of 8x8 pixels and weights, both from whole numbers; SGD with momentum on the whole batch."""
    layers = (Conv2D(2, 3, flip=True), ReLU(), MaxPool2D(), Flatten(), Dense(5), Tanh(), Dense(3))
    network, rule, loss = Network((8, 8, 1), layers), SGD(momentum=0.9), SoftmaxCrossEntropy()
    layout = Layout(network.init((8, 8, 1), initializers.generator(0)))
    theta = (np.arange(layout.size) * 37 % 101 - 50) / 100
    params, state = layout.unpack(theta), rule.init(theta)
    x = (np.arange(12 * 64) * 53 % 97 / 96).reshape(12, 8, 8, 1)
    labels, losses = np.arange(12) % 3, []
    for step in range(1, 11):
        z, residuals = network.forward(params, x, Context())
        of_each, dz = loss(z, labels)
        losses.append(float(np.mean(of_each)))
        _, dparams = network.backward(params, residuals, dz / 12, Context(), need_dx=False)
        rule.update(theta, layout.pack(dparams, np.empty(layout.size)), state, 0.1, step)
    return losses


def test_ten_recorded_losses() -> None:
    np.testing.assert_allclose(recorded_run(), LOSSES, rtol=1e-9)


@pytest.mark.parametrize(
    ("shape", "layers", "sentence"),
    [
        ((28, 28, 1), Dense(10), "is one layer; a tuple of layers was expected"),
        (
            (28, 28, 1),
            (Flatten, Dense(10)),
            r"layer 0 is .*: an instance of a layer was expected; write Flatten\(...\)",
        ),
        ((28, 28, 1), (Flatten(), 10), "layer 1 is 10: an instance of a layer was expected$"),
        ((28, -28, 1), (Flatten(), Dense(10)), r"input_shape \(28, -28, 1\): .* each at least 1"),
        ((), (Dense(10),), r"input_shape \(\): "),
    ],
)
def test_what_is_no_network_is_refused(shape: Any, layers: Any, sentence: str) -> None:
    with pytest.raises(ShapeError, match=sentence):
        Network(shape, layers)


@pytest.mark.parametrize(
    ("name", "shape", "options", "advice"),
    [
        ("two-conv", (8, 8, 1), {}, "try padding='same', or a network for such images: softmax-regression, single-f"),
        ("two-conv", (1, 64, 1), {}, "take a network for such images: softmax-regression, resnet20, mobile-small"),
        ("two-conv", (1, 64, 1), {"padding": "same"}, "take a network for such images: softmax-regression, resnet20, "),
        ("vgg-small", (2, 2, 3), {}, "take a network for such images: softmax-regression, "),
    ],
)
def test_which_networks_take_images_that_one_does_not_is_said(name, shape, options, advice):
    with pytest.raises(ShapeError, match=re.escape(advice)) as raised:
        build(name, shape, 4, **options)
    for other in str(raised.value).partition("such images: ")[2].split(", "):
        assert build(other, shape, 4).shapes()[-1] == (4,)
    if "padding='same'" in advice:
        build(name, shape, 4, padding="same")


def test_what_no_network_takes_is_said_without_others():
    with pytest.raises(ShapeError, match=r"^Dense: units=0: a whole number of at least 1 was expected$"):
        build("vgg-small", (2, 2, 3), 0)
    with pytest.raises(ShapeError, match=r"two-conv: input_shape \(28, 28\): .* such as \(28, 28, 1\)$"):
        build("two-conv", (28, 28))
    with pytest.raises(ShapeError, match=r"vgg-small: input_shape \(784,\): .* such as \(32, 32, 3\)$"):
        build("vgg-small", (784,))
    assert build("softmax-regression", (784,)).input_shape == (784,)
