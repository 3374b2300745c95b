"""Networks, layers and losses of a user's own: module:attribute in every command, and in `load`."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpucnn
from gpucnn import Model, Network, networks
from gpucnn import command as cli
from gpucnn.data import Preprocessing
from gpucnn.errors import CheckpointError, GpucnnError, SettingError
from gpucnn.losses import BinaryCrossEntropy
from gpucnn.model import runs
from gpucnn.network import own
from gpucnn.optimizers import SGD
from gpucnn.schedules import schedule

MODULE = '''
from dataclasses import dataclass
import numpy as np
from gpucnn import Network, networks
from gpucnn.layers import Conv2D, Dense, Flatten
from gpucnn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from gpucnn.optimizers import SGD

@dataclass(frozen=True)
class Cubic:
    b: float = 1.0

    def out_shape(self, in_shape): return in_shape
    def init(self, in_shape, rng): return {}
    def forward(self, params, x, context): return self.b * x * x * x, x
    def backward(self, params, x, dy, context, *, need_dx=True): return 3 * self.b * x * x * dy, {}

@dataclass(frozen=True)
class Halved(SoftmaxCrossEntropy):
    pass

class Zigzag(Cubic):
    def forward(self, params, x, context): return abs(x % 2e-9 - 1e-9), np.where(x % 2e-9 < 1e-9, -1.0, 1.0)
    def backward(self, params, slope, dy, context, *, need_dx=True): return slope * dy, {}

def tiny(input_shape, classes, *, hidden=16):
    """Dense, cubic, dense."""
    return Network(input_shape, (Flatten(), Dense(hidden), Cubic(), Dense(classes)))

class Centred(Cubic):
    def forward(self, params, x, context): return x - x.mean(axis=1, keepdims=True), None
    def backward(self, params, _, dy, context, *, need_dx=True): return dy - dy.mean(axis=1, keepdims=True), {}

def methods(input_shape, classes): return Network(input_shape, (Flatten(), Dense(8), Centred(), Dense(classes)))
def sized(input_shape=(28, 28, 1), classes=3, *, filters=2, size=3):
    return Network(input_shape, (Conv2D(filters, size), Flatten(), Dense(classes)))
def large(input_shape=(28, 28, 1), classes=3, *, filters=2): return sized(input_shape, classes, filters=filters, size=9)
def fixed(): return Network((8, 8, 1), (Flatten(), Dense(3)))
def five(classes=5): return Network((6, 6, 1), (Flatten(), Dense(classes)))
def raises(input_shape, classes): raise LookupError("no such thing")
def only_large(input_shape, classes):
    if input_shape[0] < 30: raise ValueError("too small")
    return tiny(input_shape, classes)

instance = fixed()
entry = networks.Entry(tiny, "mine", networks.Recipe(SGD(), 0.25, epochs=7), BinaryCrossEntropy(), (8, 8, 1), 3)
class Twice(SoftmaxCrossEntropy):
    def __call__(self, logits, labels):
        losses, d_logits = super().__call__(logits, labels)
        return losses, 2 * d_logits

wrong_loss = networks.Entry(tiny, "mine", networks.Recipe(SGD(), 0.25), Twice(), (8, 8, 1), 3)
number = 5
'''


FAST = ("--device", "cpu", "--threads", "1", "--epochs", "1")


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A working directory with a module that no other test has imported, and a data set of 8 x 8 images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_nets.py").write_text(MODULE)
    (tmp_path / "empty_nets.py").write_text("from math import pi\n")
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)
    np.savez("eight.npz", images=images, labels=np.arange(30) % 3)
    yield
    for name in ("my_nets", "empty_nets"):
        sys.modules.pop(name, None)


@pytest.fixture
def gpucnn_(monkeypatch, capsys):
    """gpucnn_("train", ...) -> exit status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpucnn", *map(str, arguments)])
        status = cli.main()
        return status, *capsys.readouterr()

    return run


# --- in Python


def test_a_setting_may_have_the_name_of_an_argument_of_build():
    Path("of_names.py").write_text(
        "from gpucnn import Network\nfrom gpucnn.layers import Dense, Flatten\n"
        "def net(*, input_shape=(8, 8, 1), classes=3, name=4):\n"
        "    return Network(input_shape, (Flatten(), Dense(name), Dense(classes)))\n"
    )
    assert networks.settings_of("of_names:net") == {"name": 4}
    assert networks.build("of_names:net", name=5).layers[1].units == 5
    with pytest.raises(SettingError, match="network of_names:net has no setting 'classes'; it has name=4"):
        networks.check_settings("of_names:net", {"classes": 5})


@pytest.mark.parametrize(
    ("network", "setting", "remedy"),
    [
        (
            "sized",
            "filters=four",
            r"filters='four': a whole number .*; set filters otherwise: without --set it is filters=2",
        ),
        ("sized", "size=9", "; set size otherwise: without --set it is size=3"),
        ("large", "filters=3", r"; take another network"),
    ],
)
def test_what_is_set_is_to_blame_where_the_network_can_be_built_without(gpucnn_, network, setting, remedy):
    status, _, err = gpucnn_("train", f"my_nets:{network}", "--data", "eight.npz", "--set", setting, "--out", "q")
    assert (status, Path("q").exists()) == (1, False)
    assert re.search(remedy, err)


def test_a_network_of_ones_own_by_name():
    model = Model("my_nets:tiny", device="cpu")
    assert (model.name, model.network.input_shape, len(model.class_names)) == ("my_nets:tiny", (28, 28, 1), 10)
    assert networks.build("my_nets:tiny", (8, 8, 1), 3, hidden=4).shapes() == [(8, 8, 1), (64,), (4,), (4,), (3,)]
    assert gpucnn.networks.settings_of("my_nets:tiny") == {"hidden": 16}
    assert networks.entry("my_nets:tiny").about == "Dense, cubic, dense."


@pytest.mark.parametrize(
    ("name", "input_shape", "classes"),
    [("fixed", (8, 8, 1), 3), ("instance", (8, 8, 1), 3), ("five", (6, 6, 1), 5), ("entry", (8, 8, 1), 3)],
)
def test_what_a_factory_does_not_take_is_the_networks(name, input_shape, classes):
    entry = networks.entry(f"my_nets:{name}")
    assert (entry.input_shape, entry.classes) == (input_shape, classes)
    network = networks.build(f"my_nets:{name}")
    assert isinstance(network, Network)
    assert (network.input_shape, network.shapes()[-1]) == (input_shape, (classes,))


def test_an_entry_brings_its_recipe_and_its_loss():
    entry = networks.entry("my_nets:entry")
    assert (entry.recipe.lr, entry.recipe.epochs) == (0.25, 7)
    assert isinstance(Model("my_nets:entry", device="cpu").loss, BinaryCrossEntropy)


def test_a_network_without_arguments_must_fit():
    assert networks.build("my_nets:five", (6, 6, 1), 4).shapes()[-1] == (4,)
    message = r"my_nets:fixed is \(8, 8, 1\) -> \(3,\), \(28, 28, 1\) -> \(3,\) was asked for; choose other data"
    with pytest.raises(SettingError, match=message):
        networks.build("my_nets:fixed", (28, 28, 1))
    with pytest.raises(SettingError, match=r"\(8, 8, 1\) -> \(4,\) was asked for"):
        networks.build("my_nets:instance", (8, 8, 1), 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_nets.tiny", "network 'my_nets.tiny' is not known; did you mean my_nets:tiny"),
        ("package.my_nets.tiny", "did you mean package.my_nets:tiny"),
        ("my_nets.py", "is not known; choose one of .*, or module:factory of your own"),
        ("tow-conv", r"did you mean two-conv\?"),
        ("my_nets.py:tiny", "No module named 'my_nets.py'.*, and a module is named without .py"),
        ("nets/my_nets.py:tiny", "and a module is named without .py"),
        ("my_nets:tinny", r"module my_nets has no 'tinny'; did you mean my_nets:tiny\?"),
        ("my_nets:raises", r"my_nets:raises: LookupError: no such thing \(.*my_nets.py, line \d+\)"),
        ("my_nets:number", "my_nets:number gave 5; a Network was expected"),
        (
            "my_nets:Cubic",
            r"gave Cubic\(b=1.0\); a Network was expected \(`gpucnn check` takes a",
        ),
    ],
)
def test_what_is_no_network(name, message):
    with pytest.raises(GpucnnError, match=message) as caught:
        networks.build(name)
    assert "\n" not in str(caught.value)


def test_the_place_is_the_users_and_not_a_librarys():
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    elsewhere = strict.asarray([1.0], device=strict.Device("device1"))
    with (
        pytest.raises(GpucnnError, match=r"mine: RuntimeError: .*test_own_networks.py, line \d+\)"),
        own.explained("mine"),
    ):
        np.asarray(elsewhere)


BROKEN = """
from dataclasses import dataclass
from gpucnn import Network, networks
from gpucnn.layers import Dense, Flatten, Layer, ReLU
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.optimizers import SGD

class Raises(Layer):
    def forward(self, params, x, context): raise LookupError("no such\\nthing")

@dataclass(frozen=True)
class Trained(Layer):
    def forward(self, params, x, context):
        if not context.training: open("/no/such/file")
        return x * 1, None
    def backward(self, params, residual, dy, context, *, need_dx=True): return dy * 1, {}

class Nothing(Trained):
    def forward(self, params, x, context): pass

class Narrow(Trained):
    def forward(self, params, x, context): return x[:, :3], None

class NarrowBack(Trained):
    def backward(self, params, residual, dy, context, *, need_dx=True): return dy[:, :3], {}

class NoState(Trained):
    def init_state(self, in_shape): return {"seen": __import__("numpy").zeros(1)}
    def next_state(self, state, residual): return None

class NoLoss(SoftmaxCrossEntropy):
    def __call__(self, logits, labels): return None

Raises = __import__("dataclasses").dataclass(Raises)

def network_of(kind):
    def build(input_shape, classes):
        return Network(input_shape, (Flatten(), Dense(6), ReLU(), kind(), ReLU(), Dense(classes)))
    return build

raises, trained, nothing, narrow, narrow_back, no_state = map(
    network_of, (Raises, Trained, Nothing, Narrow, NarrowBack, NoState)
)
no_loss = networks.Entry(network_of(ReLU), "mine", networks.Recipe(SGD(), 0.1), NoLoss())
"""


@pytest.fixture
def broken(tmp_path):
    (tmp_path / "broken_nets.py").write_text(BROKEN)
    yield tmp_path / "broken_nets.py"
    sys.modules.pop("broken_nets", None)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("raises", r"LookupError: no such thing \(PLACE, line 9\), in layer 3 \(Raises\): forward"),
        ("trained", r"FileNotFoundError: .* '/no/such/file' \(PLACE, line 14\), in layer 3 \(Trained\): forward"),
        ("nothing", r"layer 3 \(Nothing\): forward gives None; write `return y, residual`"),
        (
            "narrow",
            r"layer 3 \(Narrow\): forward: y is a ndarray of shape \(\d+, 3\) .*; .* \(\d+, 6\) was expected",
        ),
        (
            "narrow_back",
            r"layer 3 \(NarrowBack\): backward: dx is a ndarray of shape \(\d+, 3\) .* shape \(\d+, 6\) was expected",
        ),
        ("no_state", r"layer 3 \(NoState\): next_state has None, a dict with \['seen'\] was expected"),
        ("no_loss", r"NoLoss gives no pair; losses of shape .* were expected"),
    ],
)
def test_train_says_in_a_sentence_what_ones_own_code_raises(gpucnn_, broken, name, says):
    status, _, err = gpucnn_("train", f"broken_nets:{name}", "--data", "eight.npz", *FAST, "--out", name)
    assert status == 1
    own = f"broken_nets:{name}: {says}; try `gpucnn check broken_nets:{name}`"
    expected = f"gpucnn: {own if 'PLACE' in says else says}"
    assert re.fullmatch(expected.replace("PLACE", re.escape(str(broken))), err.splitlines()[-1])
    assert "Traceback" not in err


def test_evaluate_and_predict_say_in_a_sentence_what_ones_own_code_raises(gpucnn_, broken):
    nets = __import__("broken_nets")
    how = {"preprocessing": Preprocessing((8, 8), 1)}
    path = Model(nets.trained((8, 8, 1), 3), device="cpu", class_names=("0", "1", "2"), **how).save("m.safetensors")
    Image.new("L", (8, 8)).save("one.png")
    for words in (("evaluate", path, "--data", "eight.npz"), ("predict", path, "one.png")):
        status, _, err = gpucnn_(*words, "--layers", "broken_nets", "--device", "cpu")
        assert status == 1
        assert err.startswith(f"gpucnn: {path}: FileNotFoundError: ")
        assert err.endswith(
            f"({broken}, line 14), in layer 3 (Trained): forward; try `gpucnn check broken_nets:CLASS --input HxWxC`\n"
        )


def test_an_error_of_gpucnn_passes_as_it_is(gpucnn_):
    status, _, err = gpucnn_("train", "my_nets:tiny", "--data", "eight.npz", *FAST, "--set", "width=3")
    assert (status, err) == (1, "gpucnn: network my_nets:tiny has no setting 'width'; it has hidden=16\n")


def test_a_mistake_with_a_named_network_keeps_its_traceback(gpucnn_, monkeypatch):
    monkeypatch.setattr(runs, "new_model", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gpucnn_("train", "single-filter", "--data", "eight.npz", *FAST)


def test_the_place_is_found_in_what_a_helper_process_says(broken):
    error = LookupError("oh")
    error.add_note(f'  File "{own.PACKAGE}/network/__init__.py", line 7, in f\n  File "{broken}", line 9, in forward\n')
    assert own.place(error) == f" ({broken}, line 9)"


# --- load


@pytest.fixture
def saved(tmp_path):
    nets = __import__("my_nets")
    return Model(networks.build("my_nets:tiny"), device="cpu", loss=nets.Halved()).save(tmp_path / "m.safetensors")


def test_load_takes_classes_in_any_form(saved):
    nets = __import__("my_nets")
    for layers in (
        [nets.Cubic, nets.Halved],
        {"Cubic": nets.Cubic, "Halved": nets.Halved},
        iter((nets.Halved, nets.Cubic)),
    ):
        assert gpucnn.load(saved, device="cpu", layers=layers).loss == nets.Halved()
    path = Model(networks.build("my_nets:tiny"), device="cpu").save(saved)
    assert isinstance(gpucnn.load(path, device="cpu", layers=nets.Cubic).network.layers[2], nets.Cubic)


def test_load_says_what_to_type(saved):
    nets = __import__("my_nets")
    message = r"layer 'Cubic' is not .*: gpucnn.load\(path, layers=\[Cubic\]\) in Python, --layers module:Cubic on the"
    with pytest.raises(CheckpointError, match=message):
        gpucnn.load(saved, device="cpu")
    with pytest.raises(
        CheckpointError, match=r"loss 'Halved' is not .* layers=\[Halved\]\) .* --layers module:Halved on"
    ):
        gpucnn.load(saved, device="cpu", layers=[nets.Cubic])
    for wrong in ([nets.Cubic()], 5):
        with pytest.raises(SettingError, match=r"layers: .*: a class of a layer or a loss, module:Class or a m"):
            gpucnn.load(saved, device="cpu", layers=wrong)


# --- the command


def test_from_training_to_prediction(gpucnn_):
    status, out, err = gpucnn_("train", "my_nets:tiny", "--data", "eight.npz", "--set", "hidden=4", *FAST)
    assert (status, "my_nets:tiny, 275 parameters" in err) == (0, True)
    assert out.splitlines()[1].endswith("; saved in runs/my_nets-tiny-eight")
    path = Path("runs/my_nets-tiny-eight/model.safetensors")
    for layers in (["my_nets:Cubic"], ["my_nets"], ["empty_nets:pi", "my_nets"][1:]):
        options = [option for each in layers for option in ("--layers", each)]
        status, out, _ = gpucnn_("evaluate", path, "--data", "eight.npz", "--device", "cpu", *options)
        assert (status, out.startswith("eight: accuracy")) == (0, True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("one.png")
    status, out, _ = gpucnn_("predict", path, "one.png", "--layers", "my_nets:Cubic", "--device", "cpu")
    assert (status, out.startswith("one.png: ")) == (0, True)
    for arguments in (("evaluate", path, "--data", "eight.npz"), ("predict", path, "one.png")):
        status, out, err = gpucnn_(*arguments, "--device", "cpu")
        assert (status, out) == (1, "")
        assert "--layers module:Cubic" in err


def test_several_modules_may_be_named(gpucnn_, saved):
    Path("my_losses.py").write_text("from my_nets import Halved\n")
    options = ("--layers", "my_nets:Cubic", "--layers", "my_losses:Halved")
    status, out, _ = gpucnn_("evaluate", saved, "--device", "cpu", *options, "--json")
    assert (status, json.loads(out)["examples"]) == (0, 359)


@pytest.mark.parametrize("text", ["empty_nets", "empty_nets:pi", "my_nets:tiny"])
def test_modules_without_layers(text):
    with pytest.raises(
        GpucnnError, match=f"layers: '{text}': a class of a layer or a loss, module:Class or a module was expected"
    ):
        own.classes([text])


def test_a_network_that_does_not_fit_the_data(gpucnn_):
    status, _, err = gpucnn_("train", "my_nets:fixed", *FAST)
    assert (status, "(28, 28, 1) -> (10,) was asked for" in err) == (1, True)
    assert gpucnn_("train", "my_nets:fixed", "--data", "eight.npz", *FAST)[0] == 0
    status, _, err = gpucnn_("train", "my_nets:tiny", "--set", "hiden=4", *FAST)
    assert (status, "has no setting 'hiden'; it has hidden=16" in err) == (1, True)


def test_a_network_for_the_datas_images_only(gpucnn_):
    np.savez("large.npz", images=np.zeros((30, 32, 32, 3), np.uint8), labels=np.arange(30) % 3)
    assert gpucnn_("train", "my_nets:only_large", "--data", "large.npz", "--device", "cpu", "--epochs", "1")[0] == 0


def test_networks_shows_it(gpucnn_):
    status, out, _ = gpucnn_("networks", "my_nets:tiny")
    assert status == 0
    assert out.startswith("my_nets:tiny: Dense, cubic, dense.\n")
    assert "--set: hidden=16\n" in out
    assert "Cubic()" in out
    assert gpucnn_("networks", "my_nets:instance")[1].startswith("my_nets:instance: A network of your own.\n")
    assert json.loads(gpucnn_("networks", "my_nets:fixed", "--json")[1])["parameters"] == 195


def test_compare_takes_it(gpucnn_):
    options = ("--steps", "2", "--batches", "8", "--data", "eight.npz", "--threads", "1")
    status, out, _ = gpucnn_("compare", "my_nets:tiny", *options)
    assert (status, "my_nets:tiny, " in out) == (0, True)
    status, _, err = gpucnn_("compare", "my_nets:raises", *options)
    assert (status, "my_nets:raises: LookupError: no such thing (" in err) == (1, True)


def test_compare_leaves_out_what_a_layer_cannot_be_computed_with(gpucnn_):
    """array-api-strict's arrays have no methods, as PyTorch's and NumPy's do."""
    options = ("--steps", "2", "--batches", "8", "--data", "eight.npz", "--threads", "1", "--devices", "cpu")
    status, out, _ = gpucnn_("compare", "my_nets:methods", *options, "--json")
    found = json.loads(out)
    assert status == 0
    names = {"cpu", "reversed", "reference"} | ({"PyTorch"} if find_spec("torch") else set())
    assert set(found["devices"]) == names
    assert all(set(row["differences"]) == names - {"cpu"} for row in found["precisions"]["float32"]["layers"])
    assert "array-api-strict's arrays, " not in found["sentence"]
    left = "array-api-strict is left out: Centred cannot be computed with array-api-strict's arrays (AttributeError: "
    assert left in found["sentence"]
    assert f"({Path.cwd() / 'my_nets.py'}, line " in found["sentence"]
    assert found["sentence"].endswith(").")


@pytest.mark.parametrize("shape", ["5x5x2", "5,5,2", "5X5X2", "5 x 5 x 2"])
def test_check_takes_a_shape_in_any_form(gpucnn_, shape):
    status, out, _ = gpucnn_("check", "my_nets:Cubic", "--input", shape)
    assert (status, "5 x 5 x 5 x 2" in out) == (0, True)


@pytest.mark.parametrize(
    ("shape", "status", "says"),
    [
        ("5;5", 2, "HxWxC, such as 28x28x1"),
        ("axb", 2, "HxWxC, such as 28x28x1"),
        ("5x", 2, "HxWxC, such as 28x28x1"),
        ("0x5", 2, "HxWxC, such as 28x28x1"),
        ("", 2, "an empty text was given"),
    ],
)
def test_check_refuses_what_is_no_shape(gpucnn_, shape, status, says):
    found, _, err = gpucnn_("check", "my_nets:Cubic", "--input", shape)
    assert (found, says in err) == (status, True)


def test_check_looks_at_the_loss_of_an_entry(gpucnn_):
    status, out, _ = gpucnn_("check", "my_nets:entry", "--json")
    assert (status, json.loads(out)[-1]["name"], json.loads(out)[-1]["shape"]) == (0, "loss", [5, 3])
    status, out, err = gpucnn_("check", "my_nets:wrong_loss")
    assert (status, out.splitlines()[-1].endswith("WRONG: it must be 0.5 times that")) == (1, True)
    assert err == "gpucnn: my_nets:wrong_loss: the gradient of loss differs from the central difference\n"


def test_check_says_when_nothing_was_decided(gpucnn_):
    status, out, err = gpucnn_("check", "my_nets:Zigzag", "--input", "4")
    assert (status, "UNDECIDED: every direction crosses a kink" in out) == (1, True)
    assert err == "gpucnn: my_nets:Zigzag: the gradient of input meets a kink in every direction; try another --seed\n"


def test_bench_says_in_a_sentence_what_ones_own_code_raises(gpucnn_, broken):
    status, _, err = gpucnn_("bench", "profile", "broken_nets:raises", "--batch", 4)
    assert status == 1
    assert "Traceback" not in err
    assert err.endswith(f"({broken}, line 9), in layer 3 (Raises): forward; try `gpucnn check broken_nets:raises`\n")


def test_what_a_recipe_cannot_hold_is_refused_where_it_is_written(gpucnn_, tmp_path):
    for given, says in (
        (("adam", 0.1), "^Recipe: optimizer='adam': an optimiser with its settings was expected, such as Adam"),
        ((SGD, 0.1), "^Recipe: optimizer=SGD: an optimiser with its settings was expected"),
        ((SGD(), 0.1, "cosin"), "schedule 'cosin' is not known; did you mean cosine"),
        ((SGD(), 0.1, None), "^Recipe: schedule=None: a text was expected, as --schedule takes it, such as 'cosine'"),
    ):
        with pytest.raises(SettingError, match=says):
            networks.Recipe(*given)
    assert networks.Recipe(SGD(), 0.1, "warmup=0.1,cosine").schedule == "warmup=0.1,cosine"
    with (tmp_path / "my_nets.py").open("a") as file:
        file.write(
            "def half(step, steps): return 0.5\nentry = networks.Entry(tiny, '', networks.Recipe(SGD(), 1, half))\n"
        )
    for words in (("train", "--data", "eight.npz"), ("networks",)):
        status, out, err = gpucnn_(words[0], "my_nets:entry", *words[1:])
        assert (status, out) == (1, "")
        assert err.startswith("gpucnn: Recipe: schedule=half: a text was expected, as --schedule takes it, such as")
        assert err.endswith("for a function of your own, its place: 'my_nets:name'\n")
    assert not (tmp_path / "runs").exists()


TWO_EPOCHS = ("--data", "eight.npz", "--device", "cpu", "--threads", 1, "--augment", "none", "--epochs", 2)


def repeated(gpucnn_):
    """The model of the run in the folder `whole`, whose run.toml repeats it, and which is over."""
    assert gpucnn_("train", "--config", "whole/run.toml", "--out", "again")[0] == 0
    whole, again = (gpucnn.load(f"{name}/model.safetensors", layers="my_nets") for name in ("whole", "again"))
    np.testing.assert_array_equal(whole.theta, again.theta)
    assert gpucnn_("train", "--resume", "whole")[2].count("is finished") == 1
    return whole


def test_an_optimiser_and_a_loss_of_ones_own_go_by_their_names(gpucnn_, tmp_path):
    with (tmp_path / "my_nets.py").open("a") as file:
        file.write(
            "from gpucnn.optimizers import Optimizer\n"
            "class Sign(Optimizer):\n"
            "    usual_lr = 0.002\n"
            "    def update(self, theta, g, state, lr, step): theta -= lr * np.sign(g)\n"
            "def slow(): return SGD(momentum=0.5)\n"
            "twice = Twice()\n"
        )
    how = ("--optimizer", "my_nets:Sign", "--loss", "my_nets:twice")
    assert gpucnn_("train", "my_nets:tiny", *TWO_EPOCHS, *how, "--out", "whole")[0] == 0
    said = (tmp_path / "whole" / "run.toml").read_text()
    assert all(line in said for line in ('optimizer = "my_nets:Sign"', 'loss = "my_nets:twice"', "lr = 0.002"))
    whole = repeated(gpucnn_)
    assert type(whole.loss).__name__ == "Twice"
    assert gpucnn_("train", "--resume", "whole", "--epochs", 3)[0] == 0
    assert gpucnn_("lr", "my_nets:tiny", "--data", "eight.npz", *how, "--out", "lr.png")[0] == 0
    model = Model(whole.network, loss="my_nets:Twice", device="cpu")
    assert type(model.loss).__name__ == "Twice"
    for optimizer in ("my_nets:slow", "my_nets:Sign"):
        model.fit(np.zeros((6, 8, 8, 1), np.uint8) + 99, np.arange(6) % 3, optimizer=optimizer, epochs=1)
    for option, given, says in (
        ("--optimizer", "my_nets:Sing", "module my_nets has no 'Sing'; did you mean my_nets:Sign"),
        ("--optimizer", "my_nets:number", "my_nets:number: an optimiser was expected, and 5 has no method init"),
        ("--loss", "my_nets:slow", "my_nets:slow: a loss was expected, and SGD("),
        ("--loss", "other:loss", "No module named 'other'"),
    ):
        status, out, err = gpucnn_("train", "my_nets:tiny", *TWO_EPOCHS, option, given, "--out", "no")
        assert (status, out) == (1, "")
        assert says in err
    assert not (tmp_path / "no").exists()


def test_a_schedule_of_ones_own_goes_by_its_name(gpucnn_, tmp_path):
    with (tmp_path / "my_nets.py").open("a") as file:
        file.write(
            "entry = networks.Entry(tiny, '', networks.Recipe(SGD(), 0.01, 'warmup=0.1,my_nets:falling'))\n"
            "def falling(step, steps): return 1 - step / steps\n"
            "class Half:\n    def __call__(self, step, steps): return 0.5\n"
            "half, RATE = Half(), 0.1\n"
        )
    for name, network, *more in (("whole", "my_nets:entry"), ("other", "my_nets:tiny", "--schedule", "my_nets:half")):
        assert gpucnn_("train", network, *TWO_EPOCHS, *more, "--out", name)[0] == 0
    said = (tmp_path / "whole" / "run.toml").read_text()
    assert 'schedule = "warmup=0.1,my_nets:falling"' in said
    whole, other = repeated(gpucnn_), gpucnn.load("other/model.safetensors", layers="my_nets")
    assert (whole.theta != other.theta).any()
    given = schedule("my_nets:half@0.5,my_nets:falling@0.5")
    assert [given(step, 4) for step in range(4)] == [0.5, 0.5, 1.0, 0.5]
    for text, says in (
        ("my_nets:Half", "^schedule 'my_nets:Half': my_nets:Half is <class .*, and a function of .* was expected"),
        ("my_nets:RATE", "my_nets:RATE is 0.1, and a function of"),
        ("my_nets:haff", "^my_nets:haff: module my_nets has no 'haff'; did you mean my_nets:half"),
    ):
        with pytest.raises(GpucnnError, match=says):
            schedule(text)
    status, _, err = gpucnn_("train", "my_nets:tiny", "--data", "nowhere", "--schedule", "my_nets:haff")
    assert (status, "did you mean my_nets:half?" in err) == (1, True)


def test_a_function_in_the_place_of_its_module_is_told_so(saved):
    with pytest.raises(SettingError, match=r"'my_nets:tiny': a class .* was expected; say my_nets for the classes of"):
        gpucnn.load(saved, layers="my_nets:tiny")
