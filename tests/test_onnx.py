"""Exported models beside the models themselves: onnxruntime, or ONNX's own evaluator, runs what is written."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cases import CASES

import gpucnn
from gpucnn import command, losses
from gpucnn.errors import ArgumentError, CheckpointError, GpucnnError, SettingError
from gpucnn.kernels import REFERENCE, Context
from gpucnn.layers import REGISTRY, BatchNorm, Conv2D, Dense, Flatten, Layer, ReLU, Shared
from gpucnn.network import Network

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnx.reference")

NOT_BY_REFERENCE = {"transposed groups", "transposed depthwise", "shared in nests"}  # groups; a pool padded at its ends


def ran(path, images):
    """What the file gives, by name."""
    try:
        import onnxruntime
    except ImportError:
        session = onnx.reference.ReferenceEvaluator(str(path))
        names = session.output_names
    else:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images})))


def vectors(network):
    """The network, ending in a vector, as models do."""
    return network if len(network.shapes()[-1]) == 1 else Network(network.input_shape, (*network.layers, Flatten()))


def random_model(network, seed=0, **how):
    """A model in float64 whose parameters and running state are random numbers, variances among them above 0."""
    rng = np.random.default_rng(seed)
    model = gpucnn.Model(network, device="cpu", dtype="float64", threads=1, **how)
    model.theta = rng.normal(0, 0.4, model.layout.size)
    model.execution.state[...] = rng.uniform(0.3, 2, model.state_layout.size)
    return model


def outputs(model, x):
    """The equations in float64, where the numbers may be any."""
    params, state = model.layout.unpack(model.theta), model.state_layout.unpack(model.execution.state)
    return model.network.outputs(params, x, Context(REFERENCE, training=False, state=state))


@pytest.mark.parametrize("name", CASES)
def test_every_layer(name, tmp_path):
    if name in NOT_BY_REFERENCE:
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed, and onnx's evaluator cannot run this")
    layers, shape = CASES[name]
    model = random_model(vectors(Network(shape, layers)), loss="mse")
    path = model.export(tmp_path / "m.onnx", pixels="float32")
    for images in (1, 3):
        x = np.random.default_rng(images).normal(0, 1, (images, *shape)).astype("float32")
        expected = outputs(model, x.astype("float64"))
        found = ran(path, x)["logits"]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * max(1, abs(expected).max()))


def test_the_cases_have_every_layer():
    """So that one that is added is exported, or refused, on purpose."""
    from gpucnn.layers.chain import walk
    from gpucnn.onnx.network import WRITERS

    there = {type(place.layer) for layers, shape in CASES.values() for place in walk(layers, shape)}
    nests = {REGISTRY[name] for name in ("Parallel", "Residual", "Shared")}
    assert set(REGISTRY.values()) <= there
    assert set(WRITERS) | nests == set(REGISTRY.values())


@pytest.mark.parametrize("name", gpucnn.networks.NETWORKS)
def test_every_network_by_name(name, tmp_path):
    model = gpucnn.Model(name, device="cpu")
    images = np.random.default_rng(1).integers(0, 256, (8, *model.network.input_shape), "uint8")
    for _ in range(3):
        model.recompute_state(images)
    path = model.export(tmp_path / "m.onnx")
    images = images[:3]
    found, logits = ran(path, images), model.logits(images)
    assert abs(logits).max() > 0.01
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-4 * abs(logits).max())
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(images), rtol=1e-3, atol=1e-5)
    assert len(ran(path, images[:1])["logits"]) == 1


@pytest.fixture(scope="module")
def digits():
    return gpucnn.data.load("digits")


@pytest.fixture(scope="module")
def trained(digits):
    """two-conv on the digits, with the mean of its updates, as a user has it."""
    model = gpucnn.Model("two-conv", device="cpu", class_names=digits.class_names, preprocessing=digits.preprocessing)
    optimizer = gpucnn.optimizers.EMA(gpucnn.optimizers.Adam(), 0.9)
    model.fit(digits.train_images, digits.train_labels, epochs=4, lr=0.003, optimizer=optimizer, progress=False)
    return model


def test_a_trained_model_answers_alike(trained, digits, tmp_path):
    path = trained.export(tmp_path / "deep" / "er" / "two-conv.onnx")
    assert path == tmp_path / "deep" / "er" / "two-conv.onnx"
    assert [each.name for each in path.parent.iterdir()] == ["two-conv.onnx"]
    found = ran(path, digits.test_images)
    assert [*found] == ["logits", "probabilities"]
    np.testing.assert_allclose(found["probabilities"], trained.predict_proba(digits.test_images), rtol=1e-4, atol=1e-6)
    classes = trained.predict(digits.test_images)
    np.testing.assert_array_equal(found["logits"].argmax(axis=1), classes)
    assert (classes == digits.test_labels).mean() > 0.9
    assert path.read_bytes() == trained.export(tmp_path / "again.onnx").read_bytes()


def test_other_inputs(trained, digits, tmp_path):
    images = digits.test_images[:7]
    expected = trained.predict_proba(images)
    first = trained.export(tmp_path / "first.onnx", layout="NCHW")
    floats = trained.export(tmp_path / "floats.onnx", pixels="float32")
    both = trained.export(tmp_path / "both.onnx", pixels="float32", layout="NCHW")
    scaled = (images / 255).astype("float32")
    for path, given in (
        (first, images.transpose(0, 3, 1, 2)),
        (floats, scaled),
        (both, scaled.transpose(0, 3, 1, 2)),
    ):
        np.testing.assert_allclose(ran(path, given)["probabilities"], expected, rtol=1e-4, atol=1e-6)
    colours = random_model(Network((5, 4, 3), (Conv2D(2, 3), Flatten())))
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), "uint8")
    for layout, given in (("NHWC", images), ("NCHW", images.transpose(0, 3, 1, 2))):
        found = ran(colours.export(tmp_path / "colours.onnx", layout=layout), given)
        np.testing.assert_allclose(found["logits"], colours.logits(images), rtol=1e-5, atol=1e-6)


def test_scaling_and_vectors(tmp_path):
    scaling = gpucnn.engine.scaling.Scaling(scale=1 / 64, shift=-0.5)
    for network in (Network((6,), (Dense(3),)), Network((2, 3, 1), (Flatten(), Dense(3)))):
        model = random_model(network, scaling=scaling)
        images = np.random.default_rng(0).integers(0, 256, (4, *network.input_shape), "uint8")
        found = ran(model.export(tmp_path / "m.onnx"), images)["logits"]
        np.testing.assert_allclose(found, model.logits(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("pixels", "scale"), [("uint8", 1 / 128), ("float32", 1 / 255)])
def test_an_ensemble_answers_alike(trained, digits, tmp_path, pixels, scale):
    """Of models whose networks and scaling differ."""
    scaling = gpucnn.engine.scaling.Scaling(scale=scale)
    more = gpucnn.Model("softmax-regression", device="cpu", class_names=digits.class_names, scaling=scaling)
    more.theta = np.random.default_rng(0).normal(0, 0.1, more.layout.size)
    ensemble = gpucnn.Ensemble([trained, more, trained])
    images = digits.test_images[:50]
    images = images if pixels == "uint8" else (images / 255).astype("float32")
    found = ran(ensemble.export(tmp_path / "m.onnx", pixels=pixels), images)
    np.testing.assert_allclose(found["logits"], ensemble.logits(images), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["probabilities"], ensemble.predict_proba(images), rtol=1e-3, atol=1e-5)
    told = {each.key: each.value for each in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert (told["name"], json.loads(told["class_names"])) == ("3 models", [*digits.class_names])


def test_an_ensemble_is_of_models_that_take_the_same_numbers():
    how = [gpucnn.engine.scaling.Scaling(floats=floats) for floats in (True, False)]
    models = [gpucnn.Model("softmax-regression", device="cpu", scaling=each) for each in how]
    with pytest.raises(SettingError, match="model 2 takes floats of any range: False, the first True"):
        gpucnn.Ensemble(models)


def test_what_the_file_tells(trained, tmp_path):
    model = onnx.load(trained.export(tmp_path / "m.onnx"))
    told = {each.key: each.value for each in model.metadata_props}
    assert json.loads(told["class_names"]) == [str(k) for k in range(10)]
    assert json.loads(told["preprocessing"])["size"] == [28, 28]
    assert told | {"class_names": "", "preprocessing": ""} == {
        "name": "two-conv",
        "input": "images: bytes 0..255 (N, H, W, C)",
        "outputs": "classes",
        "class_names": "",
        "first_label": "0",
        "gpucnn_version": gpucnn.__version__,
        "preprocessing": "",
    }
    assert (model.ir_version, [(each.domain, each.version) for each in model.opset_import]) == (7, [("", 14)])
    assert (model.producer_name, model.producer_version) == ("gpucnn", gpucnn.__version__)
    (given,) = model.graph.input
    dims = given.type.tensor_type.shape.dim
    assert (given.name, given.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    assert [each.dim_param or each.dim_value for each in dims] == ["N", 28, 28, 1]
    other = onnx.load(trained.export(tmp_path / "m.onnx", layout="NCHW", pixels="float32"))
    assert "images: floats in 0..1 (N, C, H, W)" in [each.value for each in other.metadata_props]


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def test_batch_norm_is_folded_and_shared_parameters_stand_once(tmp_path):
    network = Network((6, 5, 1), (Conv2D(2, 3, bias=None), BatchNorm(), ReLU(), Flatten(), Dense(2)))
    path = random_model(network).export(tmp_path / "m.onnx")
    assert operators(path) == [
        *("Transpose", "Cast", "Mul", "Conv", "Relu", "Transpose", "Flatten", "Gemm", "Identity", "Softmax")
    ]
    twice = Network((4,), (Dense(4), Shared("a", Dense(4)), ReLU(), Shared("a", Dense(4)), Dense(2)))
    names = [each.name for each in onnx.load(random_model(twice).export(tmp_path / "m.onnx")).graph.initializer]
    assert names == [*("images/scale", "0/weights", "0/bias", "1/a/0/weights", "1/a/0/bias", "4/weights", "4/bias")]


@pytest.mark.parametrize(
    ("loss", "last"),
    [
        *(("softmax", "Softmax"), ("focal", "Softmax"), ("hinge", "Softmax")),
        *(("binary", "Sigmoid"), ("multi-label", "Sigmoid"), ("mse", "Identity"), ("huber", "Identity")),
    ],
)
def test_probabilities_are_those_of_the_loss(loss, last, tmp_path):
    model = random_model(Network((6,), (Dense(3),)), loss=loss)
    path = model.export(tmp_path / "m.onnx")
    images = np.random.default_rng(0).integers(0, 256, (4, 6), "uint8")
    found = ran(path, images)
    assert operators(path)[-1] == last
    assert ("probabilities" in found) == (last != "Identity")
    np.testing.assert_allclose([*found.values()][-1], model.predict_proba(images), rtol=1e-5, atol=1e-6)


class Doubled(losses.SoftmaxCrossEntropy):
    def probabilities(self, logits):
        return super().probabilities(2 * logits)


class Renamed(losses.SoftmaxCrossEntropy):
    pass


def test_losses_of_ones_own(tmp_path):
    network = Network((6,), (Dense(3),))
    assert operators(gpucnn.Model(network, loss=Renamed(), device="cpu").export(tmp_path / "m.onnx"))[-1] == "Softmax"
    with pytest.raises(SettingError, match="Doubled: its probabilities are neither softmax nor sigmoid nor the logits"):
        gpucnn.Model(network, loss=Doubled(), device="cpu").export(tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


@dataclass(frozen=True)
class Scaled(Layer):
    """y = factor x, the factor being learnt, plus what has been counted."""

    def init(self, in_shape, rng):
        return {"factor": np.full(in_shape[-1], 2.0)}

    def init_state(self, in_shape):
        return {"seen": np.zeros(in_shape[-1])}

    def next_state(self, state, residual):
        return state

    def forward(self, params, x, context):
        return x * params["factor"] + context.state["seen"], x

    def backward(self, params, residual, dy, context, *, need_dx=True):
        axes = tuple(range(dy.ndim - 1))
        return dy * params["factor"], {"factor": (dy * residual).sum(axis=axes)}


class Written(Scaled):
    def to_onnx(self, graph, numbers, x, in_shape):
        factor, seen = (graph.per_channel(name, numbers[name], in_shape) for name in ("factor", "seen"))
        return graph.add("Add", graph.add("Mul", x, factor), seen)


class Wrong(Scaled):
    def to_onnx(self, graph, numbers, x, in_shape):
        return None


@dataclass(frozen=True)
class Listing(Wrong):
    def to_onnx(self, graph, numbers, x, in_shape):
        return [x]


class Failing(Scaled):
    def to_onnx(self, graph, numbers, x, in_shape):
        return graph.add("Mul", x, numbers["none"])


class Invalid(Scaled):
    def to_onnx(self, graph, numbers, x, in_shape):
        return graph.add("Mull", x)


class OfNumbers(gpucnn.losses.MeanSquaredError):
    """Of numbers that have units."""

    standardizes = True


class Derived(Dense):
    """One of gpucnn's with other equations, perhaps."""


def test_a_layer_of_ones_own_writes_its_nodes(tmp_path):
    layers = Conv2D(2, 3), Written(), gpucnn.layers.Residual((Written(),)), Flatten(), Dense(3), Written()
    model = random_model(Network((5, 4, 1), layers))
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 4, 1), "uint8")
    found = ran(model.export(tmp_path / "m.onnx"), images)["logits"]
    np.testing.assert_allclose(found, model.logits(images), rtol=1e-5, atol=1e-5)
    numbers = gpucnn.Model(Network((5, 4, 1), layers), loss=OfNumbers(), device="cpu", dtype="float64")
    numbers.fit(images, np.arange(12.0).reshape(4, 3) + 500, epochs=2)
    for each in (numbers, gpucnn.Ensemble([numbers, numbers])):
        for how in ({}, {"layout": "NCHW"}, {"pixels": "float32"}):
            assert each.export(tmp_path / "numbers.onnx", **how).exists()


class Twice(Scaled):
    """Writes half of what it gives."""

    def to_onnx(self, graph, numbers, x, in_shape):
        return graph.add("Mul", x, graph.per_channel("half", numbers["factor"] / 2, in_shape))


class Unfit(Scaled):
    """Writes what is valid and cannot be run."""

    def to_onnx(self, graph, numbers, x, in_shape):
        return graph.add("Gather", x, graph.constant("far", [99] * 6, "int64"), axis=1)


class Turned(Network):
    """A network that gives the opposite of what its layers do, and is written as they are."""

    def forward(self, params, x, context):
        y, residuals = super().forward(params, x, context)
        return -y, residuals


class Uneven(losses.SoftmaxCrossEntropy):
    """Softmax for two examples, for others not."""

    def probabilities(self, logits):
        return super().probabilities(logits if len(logits) == 2 else 2 * logits)


IN_A_NEST = Conv2D(2, 3), Written(), gpucnn.layers.Residual((ReLU(), Twice())), Flatten(), Dense(3)


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize(
    ("network", "loss", "says"),
    [
        (
            Network((5, 4, 1), IN_A_NEST),
            None,
            r"^layer 2/layers/1 \(Twice\): to_onnx writes other numbers than forward gives in inference, by",
        ),
        (Network((6,), (Unfit(), Dense(3))), None, r"^layer 0 \(Unfit\): what was written cannot be run: "),
        (
            Turned((6,), (Dense(3),)),
            None,
            "^what was written gives other logits than the model, by .*, on random images;",
        ),
        (Network((6,), (Dense(3),)), Uneven(), "^Uneven: what was written gives other probabilities than it, by "),
    ],
)
def test_what_is_ones_own_and_written_wrong_is_refused(network, loss, says, installed, tmp_path, monkeypatch):
    if not installed:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = gpucnn.Model(network, loss=loss, device="cpu")
    if not installed and "other logits" in says:  # onnx's evaluator is not asked for layers of gpucnn
        assert model.export(tmp_path / "m.onnx").exists()
        return
    if not installed and "other numbers" in says:  # by an evaluator that may be wrong itself
        with pytest.warns(UserWarning, match=f"{says}.*; install onnxruntime to be sure"):
            assert model.export(tmp_path / "m.onnx").exists()
        return
    for how in ({}, {"layout": "NCHW", "pixels": "float32"}):
        with pytest.raises(SettingError, match=says):
            model.export(tmp_path / "m.onnx", **how)
    with pytest.raises(SettingError, match=says):
        gpucnn.Ensemble([gpucnn.Model(network, loss=loss, device="cpu", seed=1), model]).export(tmp_path / "m.onnx")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (
            Scaled(),
            r"layer 0/layers/0 \(Scaled\) is none that gpucnn knows how to write as ONNX; give its class a method",
        ),
        (Derived(6), r"layer 0/layers/0 \(Derived\) is none that gpucnn knows"),
        (Wrong(), r"layer 0/layers/0 \(Wrong\): to_onnx gives None; the name of an array was expected"),
        (Listing(), r"layer 0/layers/0 \(Listing\): to_onnx gives \['.*'\]; the name of an array was expected"),
        (Failing(), r"layer 0/layers/0 \(Failing\): to_onnx: KeyError: 'none' \(.*test_onnx.py, line \d+\)"),
        (Invalid(), r"no valid ONNX, look at the layers of your own: .*Mull"),
    ],
)
def test_layers_that_are_refused(layer, says, tmp_path):
    model = gpucnn.Model(Network((6,), (gpucnn.layers.Residual((layer,)), Dense(3))), device="cpu")
    with pytest.raises(GpucnnError, match=says):
        model.export(tmp_path / "m.onnx")
    assert not any(tmp_path.iterdir())


def test_arguments_that_are_refused(tmp_path):
    model = gpucnn.Model(Network((6,), (Dense(3),)), device="cpu")
    for name in ("m.safetensors", "m.pt", "m.png"):
        with pytest.raises(CheckpointError, match=f"{name}: .* which is ONNX: say {tmp_path / 'm.onnx'}; of another"):
            model.export(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"that is a directory; say .*model\.onnx"):
        model.export(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"path=3: the path of a model's file was expected, such as 'model\.onnx'"
    ):
        model.export(3)
    with pytest.raises(SettingError, match="layout='CHW': one of NHWC, NCHW was expected"):
        model.export(tmp_path / "m.onnx", layout="CHW")
    with pytest.raises(SettingError, match="pixels='float16': one of uint8, float32 was expected"):
        model.export(tmp_path / "m.onnx", pixels="float16")
    with pytest.raises(ArgumentError, match="export has no argument 'opset'"):
        model.export(tmp_path / "m.onnx", opset=13)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"the model cannot be saved: (File exists|.* directory)"):
        model.export(tmp_path / "file" / "m.onnx")
    with pytest.raises(CheckpointError, match=r"and ONNX, which model\.export\(path\) and `gpucnn export` write"):
        model.save(tmp_path / "m.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_without_the_package(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gpucnn.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    model = gpucnn.Model(Network((6,), (Dense(3),)), device="cpu")
    with pytest.raises(SettingError, match=r"onnx, which writes .* is not installed; run `pip install onnx`"):
        model.export(tmp_path / "m.onnx")


def test_an_estimator_takes_numbers_as_they_are(tmp_path):
    from gpucnn.estimators import CNNClassifier

    rng = np.random.default_rng(0)
    images, labels = rng.normal(500, 90, (40, 6, 5, 1)).astype("float32"), np.arange(40) % 2
    estimator = CNNClassifier(Network((6, 5, 1), (Flatten(), Dense(2))), epochs=2, random_state=0)
    model = estimator.fit(images, labels).model_
    path = model.export(tmp_path / "m.onnx")
    np.testing.assert_allclose(
        ran(path, images)["probabilities"], estimator.predict_proba(images), rtol=1e-4, atol=1e-5
    )
    assert "images: floats of any range (N, H, W, C)" in [each.value for each in onnx.load(path).metadata_props]
    pixels = rng.integers(0, 256, (4, 6, 5, 1), "uint8")
    found = ran(model.export(tmp_path / "bytes.onnx", pixels="uint8"), pixels)
    np.testing.assert_allclose(found["logits"], model.logits(pixels), rtol=1e-4, atol=1e-5)


@pytest.fixture
def gpucnn_(monkeypatch, capsys, tmp_path):
    """gpucnn_("export", ...) -> exit status, standard output, standard error, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpucnn", *arguments])
        status = command.main()
        return status, *capsys.readouterr()

    return run


def test_the_command(gpucnn_, trained, digits):
    trained.save("runs/mine/model.safetensors")
    made = "runs/mine/model.onnx"
    assert gpucnn_("export", "runs/mine/model.safetensors") == (
        0,
        f"{made}: takes images (N, 28, 28, 1) of uint8\n",
        "",
    )
    images = digits.test_images[:3]
    np.testing.assert_allclose(ran(made, images)["logits"], trained.logits(images), rtol=1e-4, atol=1e-4)
    for name in ("v1.1", "v1.2"):  # whose points are of their names
        trained.save(name)
        assert gpucnn_("export", name)[1].startswith(f"{name}.onnx: takes images")
    Path("runs/mine/model.safetensors").rename("runs/mine/LARGE.SAFETENSORS")
    assert gpucnn_("export", "runs/mine/LARGE.SAFETENSORS")[1].startswith("runs/mine/LARGE.onnx: takes images")
    Path("runs/mine/LARGE.SAFETENSORS").rename("runs/mine/model.safetensors")
    Path("sub").mkdir()
    status, out, _ = gpucnn_(
        *("export", "runs/mine/model.safetensors", "sub/x.onnx", "--layout", "NCHW", "--pixels", "float32", "--json")
    )
    assert (status, json.loads(out)) == (
        0,
        {"file": "sub/x.onnx", "images": ["N", 1, 28, 28], "pixels": "float32", "class_names": [*"0123456789"]},
    )
    first = (images / 255).astype("float32").transpose(0, 3, 1, 2)
    np.testing.assert_allclose(ran("sub/x.onnx", first)["logits"], trained.logits(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("nowhere.safetensors",), 1, "gpucnn: nowhere.safetensors: no such file"),
        (
            ("m.safetensors", "m.pt"),
            1,
            "gpucnn: m.pt: .pt is not the ending of what is written, which is ONNX: say m.onnx",
        ),
        (("m.safetensors", "--layout", "nchw"), 2, "NCHW"),
        (("m.safetensors", "--pixels", "int8"), 2, "uint8"),
    ],
)
def test_what_the_command_refuses(gpucnn_, trained, words, status, says):
    trained.save("m.safetensors")
    found, out, err = gpucnn_("export", *words)
    assert (found, out) == (status, "")
    assert says in err
