"""The command `gpucnn`, from its arguments to what it prints, writes and returns."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpucnn
from gpucnn import Model, data, networks
from gpucnn import command as cli
from gpucnn.command import data_options
from gpucnn.command.arguments import json_text
from gpucnn.data import Preprocessing
from gpucnn.engine.acceleration import TABLES
from gpucnn.errors import CheckpointError, GpucnnError
from gpucnn.kernels.cuda.cublas import PRECISIONS
from gpucnn.model import checkpoint, checkpoints, runs
from gpucnn.model.folder import _new, claimed
from gpucnn.optimizers import OPTIMIZERS, SGD
from gpucnn.schedules import SCHEDULES
from gpucnn.training import Epoch, progress

pytestmark = pytest.mark.usefixtures("blank_pictures")

FAST = ("--device", "cpu", "--threads", "1", "--epochs", "1")
ENVIRONMENT = os.environ | {"COLUMNS": "100"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test runs in a folder of its own, without data sets, at a terminal of 100 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def gpucnn_(monkeypatch, capsys):
    """gpucnn_("train", ...) -> exit status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpucnn", *map(str, arguments)])
        status = cli.main()
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def refused(gpucnn_):
    """refused("train", ..., says=...): status 1, nothing on standard output, and one sentence as the last line."""

    def run(*arguments, says):
        status, out, err = gpucnn_(*arguments)
        assert status == 1
        assert out == ""
        assert "Traceback" not in err
        last = err.splitlines()[-1]
        assert last.startswith("gpucnn: ")
        assert says in last

    return run


@pytest.fixture
def misused(gpucnn_):
    """misused("train", ..., says=...): status 2 and the usage."""

    def run(*arguments, says):
        status, out, err = gpucnn_(*arguments)
        assert status == 2
        assert out == ""
        assert "Usage: " in err
        assert says in " ".join(err.replace("│", " ").split())

    return run


def halves(count=12, shape=(8, 8, 1), classes=3, seed=0):
    """Noisy pictures: class 0 is bright on the left, 1 on the right, 2 above."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.integers(0, 60, (count, *shape), dtype=np.uint8)
    H, W, _ = shape
    parts = [np.s_[:, : W // 2], np.s_[:, W // 2 :], np.s_[: H // 2]]
    for image, label in zip(images, labels):
        image[parts[label]] += 180
    return images, labels


def npz(path="tiny.npz", classes=3, **options):
    images, labels = halves(30, classes=classes, **options)
    np.savez(path, images=images, labels=labels)
    return path


def pictures(root, count=8, dark=False, names=("left", "right"), size=(16, 12), seed=0):
    """A folder of PNG files in one sub-folder per class."""
    images, labels = halves(count * len(names), (*size, 1), len(names), seed)
    for k, (image, label) in enumerate(zip(images[..., 0], labels)):
        folder = Path(root) / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - image if dark else image).save(folder / f"{k:03}.png")
    return root


def idx(folder, count=30, classes=3):
    Path(folder).mkdir()
    for part, seed in (("train", 0), ("t10k", 1)):
        images, labels = halves(count, classes=classes, seed=seed)
        for kind, array in (("images-idx3", images[..., 0]), ("labels-idx1", labels)):
            head = struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape)
            (Path(folder) / f"{part}-{kind}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())
    return folder


def last_json(text):
    return json.loads(text.splitlines()[-1])


def metrics(folder):
    return [json.loads(line) for line in (Path(folder) / runs.METRICS).read_text().splitlines()]


# --- start-up and help


def run_python(*arguments, **options):
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, **options)


@pytest.mark.parametrize("module", ["gpucnn", "gpucnn.command"])
def test_importing_leaves_the_heavy_libraries_alone(module):
    heavy = ("cupy", "matplotlib", "sklearn", "scipy", "torch", "onnx", "PIL", "pooch", "safetensors", "threadpoolctl")
    done = run_python("-c", f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout == "[]\n"


def test_help_of_every_command(gpucnn_):
    for command in (
        (),
        ("train",),
        ("evaluate",),
        ("predict",),
        ("verify",),
        ("networks",),
        ("check",),
        ("bench",),
        ("data",),
        ("data", "fetch"),
    ):
        for flag in ("--help", "-h"):
            status, out, err = gpucnn_(*command, flag)
            assert (status, err) == (0, "")
            assert "Usage: gpucnn" in out


def test_help_of_train_says_everything(gpucnn_):
    _, out, _ = gpucnn_("train", "--help")
    for option in (
        *("--data", "--device", "--epochs", "--batch-size", "--optimizer", "--lr", "--schedule", "--validation"),
        *("--classes", "--set", "--seed", "--out", "--force", "--json", "--threads"),
        *("NAME|PATH", "auto|cpu|cuda|cuda:N", "A,B,...", "two-conv", "digits"),
        *("theta, the vector of all parameters", *OPTIMIZERS, *SCHEDULES, *TABLES, *PRECISIONS),
    ):
        assert option in " ".join(out.replace("│", " ").split())


def test_version(gpucnn_):
    assert gpucnn_("--version") == (0, f"gpucnn {gpucnn.__version__}\n", "")


@pytest.mark.parametrize("arguments", [(), ("data",)])
def test_no_command_shows_the_help(gpucnn_, arguments):
    status, out, err = gpucnn_(*arguments)
    assert status == 2
    assert "Usage: gpucnn" in out + err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("frobnicate",), "No such command 'frobnicate'"),
        (("train", "--frobnicate"), "No such option: --frobnicate"),
        (("train", "--epochs", "0"), "--epochs"),
        (("train", "--epochs", "many"), "--epochs"),
        (("train", "--batch-size", "0"), "--batch-size"),
        (("train", "--threads", "0"), "--threads"),
        (("train", "--seed", "-1"), "--seed"),
        (("train", "--optimizer", "newton"), "'--optimizer': 'newton' is not known; choose one of sgd, momentum, n"),
        (("train", "--optimizer", "adma"), "'adma' is not known; did you mean adam? choose one of sgd, momentum, n"),
        (("train", "--schedule", "slow"), "'--schedule': 'slow' is not known; choose one of constant, step, cosine, o"),
        (("train", "--kernels", "fast"), "'--kernels': 'fast' is not known; choose one of default, reference, numba,"),
        (("train", "--precision", "half"), "'--precision': 'half' is not known; choose one of float32, tf32, bfloat16"),
        (("train", "--epochs", "two"), "two: a whole number of at least 1 was expected"),
        (("train", "--epochs=0"), "'--epochs': 0: a whole number of at least 1 was expected"),
        (("train", "--seed", "-1"), "-1: a whole number of at least 0 was expected"),
        (("train", "--batch-size", "1.5"), "1.5: a whole number of at least 1 was expected"),
        (("train", "--channels", "two"), "two: a whole number was expected"),
        (("train", "--lr", "x"), "x: a number above 0 was expected"),
        (("train", "two-conv", "mnist"), "Got unexpected extra argument(s) (mnist); data are said by --data mnist"),
        (("lr", "two-conv", "own.csv"), "extra argument(s) (own.csv); data are said by --data own.csv"),
        (("predict", "m", "p", "--tpo", "3"), "No such option: --tpo; did you mean --top?"),
        (("train", "--momentum", "x"), "x: 0, or a part of 1 such as 0.1, was expected"),
        (("serve", "m", "--port", "70000"), "70000: a whole number from 0 to 65535 was expected"),
        (("train", "--lr", "0"), "0.0: a number above 0 was expected"),
        (("train", "--lr", "-1"), "-1.0: a number above 0 was expected"),
        (("train", "--lr", "nan"), "nan: a number above 0 was expected"),
        (("train", "--lr", "inf"), "inf: a number above 0 was expected"),
        (("train", "--validation", "1"), "1.0: 0, or a part of 1 such as 0.1, was expected"),
        (("train", "--validation", "-0.1"), "-0.1: 0, or a part of 1"),
        (("train", "--validation", "nan"), "nan: 0, or a part of 1"),
        (("train", "--set", "f"), "'f': NAME=VALUE was expected, such as filters=8,16"),
        (("train", "avgpool-96", "--set", "hidden"), "'hidden': NAME=VALUE was expected, such as f=tanh"),
        (("train", "fast", "--set", "hiden"), "'hiden': NAME=VALUE was expected, such as hidden=128"),
        (("train", "softmax-regression", "--set", "f"), "and softmax-regression has nothing to set"),
        (("train", "--set", "=3"), "'=3': NAME=VALUE was expected"),
        (("check", "two-conv", "--input", "28,x,1"), "'28,x,1': HxWxC, such as 28x28x1, or a number of features"),
        (("evaluate",), "Missing argument 'MODEL'"),
        (("predict", "model.safetensors"), "Missing argument 'IMAGE'"),
        *((("data", word), "`gpucnn data list` lists both") for word in ("show", "fetch", "verify", "path")),
        *(
            (words, "an empty text was given; a variable of the shell that is not set is one")
            for words in (
                *(("train", "--data", ""), ("train", "--data="), ("train", "--out", "")),
                *(
                    ("data", "show", ""),
                    ("augment", ""),
                    ("demo", ""),
                    ("verify", ""),
                    ("predict", "m.safetensors", ""),
                ),
                ("evaluate", "m.safetensors", "--report", "--out", ""),
            )
        ),
    ],
)
def test_wrong_usage(misused, arguments, says):
    misused(*arguments, says=says)


def test_help_of_what_is_no_command_is_refused(gpucnn_, refused):
    assert gpucnn_("help", "data", "show")[0] == 0
    refused("help", "train", "lr", says="lr is no command of `gpucnn train`; `gpucnn train --help` says all of it")
    refused("help", "data", "show", "x", says="help: x is no command of `gpucnn data show`")


# --- train


@pytest.mark.drawn
def test_train_digits(gpucnn_):
    status, out, err = gpucnn_("train", "softmax-regression", *FAST, "--epochs", 3, "--json")
    assert status == 0
    found = last_json(out)
    assert list(found) == [
        *("network", "data", "device", "parameters", "epochs", "interrupted", "train_loss", "test_loss"),
        *("test_accuracy", "seconds", "images_per_second", "model", "stopped", "kept_epoch"),
    ]
    assert (found["network"], found["data"], found["device"]) == ("softmax-regression", "digits", "cpu")
    assert (found["parameters"], found["epochs"]) == (7850, 3)
    assert found["test_accuracy"] > 0.7
    assert found["images_per_second"] == pytest.approx(3 * 1294 / found["seconds"], rel=1e-6)
    assert "softmax-regression, 7,850 parameters, on digits (1,438 images)" in err
    assert "on cpu: " in err
    assert ", 1 thread" in err

    folder = Path("runs/softmax-regression-digits")
    assert found["model"] == str(folder / "model.safetensors")
    files = sorted(entry.name for entry in folder.iterdir())
    pictures = ["confusion.png", "curves.png", "mistakes.csv", "mistakes.png"]
    assert files == sorted(["checkpoints", "log.txt", "metrics.jsonl", "model.safetensors", "run.toml", *pictures])
    lines = metrics(folder)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(
        list(line) == ["epoch", "train_loss", "validation_loss", "validation_accuracy", "lr", "seconds"]
        for line in lines
    )
    assert found["train_loss"] == lines[-1]["train_loss"]
    with Image.open(folder / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10

    model = gpucnn.load(found["model"], device="cpu")
    digits = data.load("digits")
    assert model.evaluate(digits.test_images, digits.test_labels)["accuracy"] == found["test_accuracy"]
    assert model.preprocessing == digits.preprocessing


def test_two_conv_and_digits_are_the_defaults(gpucnn_):
    status, out, _ = gpucnn_("train", *FAST)
    assert status == 0
    assert "test accuracy " in out
    assert "saved in runs/two-conv-digits" in out
    assert gpucnn.load("runs/two-conv-digits/model.safetensors").network == networks.build("two-conv")


def test_one_line_per_epoch_where_the_output_is_no_terminal(gpucnn_):
    _, out, err = gpucnn_("train", "softmax-regression", "--data", npz(), *FAST, "--epochs", 2)
    lines = [line for line in err.splitlines() if line.startswith("epoch ")]
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("validation loss" in line and line.endswith(" s") for line in lines)
    assert "\x1b" not in err + out
    assert [line.split()[0] for line in out.splitlines()] == ["test", "trained", "pictures"]


def test_json_is_the_only_line_of_standard_output(gpucnn_):
    _, out, _ = gpucnn_("train", "softmax-regression", "--data", npz(), *FAST, "--json")
    assert len(out.splitlines()) == 1


def test_runs_are_numbered(gpucnn_):
    found = [last_json(gpucnn_("train", "softmax-regression", "--data", npz(), *FAST, "--json")[1]) for _ in range(3)]
    base = "runs/softmax-regression-tiny"
    assert [each["model"] for each in found] == [f"{base}{end}/model.safetensors" for end in ("", "-2", "-3")]


def test_an_explicit_folder_with_a_finished_run_needs_force(gpucnn_, refused):
    train = ("train", "softmax-regression", "--data", npz(), "--out", "deep/er", *FAST)
    assert gpucnn_(*train)[0] == 0
    before = Path("deep/er/model.safetensors").read_bytes()
    refused(
        *train, says="--out deep/er: it holds a finished run (model.safetensors); choose another folder, or say --force"
    )
    assert Path("deep/er/model.safetensors").read_bytes() == before
    assert gpucnn_(*train, "--force", "--seed", 1)[0] == 0
    assert Path("deep/er/model.safetensors").read_bytes() != before
    assert len(metrics("deep/er")) == 1


def test_a_run_that_ends_in_nan_is_no_success(refused):
    train = ("train", "two-conv", "--batch-size", 10**5, "--epochs", 1, "--device", "cpu")
    refused(*train, "--lr", 1e17, "--validation", 0, says="the loss of the test images is nan: training diverged")
    refused(*train, "--lr", 1e15, says="epoch 1: the validation loss is nan, so training stopped; a lower learning")


def test_a_refused_setting_leaves_no_folder_of_its_own(gpucnn_, refused):
    train = ("train", "softmax-regression", "--data", npz(), *FAST, "--augment", "shift=99")
    Path("mine").mkdir()
    Path("notes").mkdir()
    Path("notes/keep.txt").write_text("mine")
    for out in ([], ["--out", "mine"], ["--out", "notes"]):
        refused(*train, *out, says="choose a smaller shift")
    assert not Path("runs").exists()
    assert list(Path("mine").iterdir()) == []
    assert list(Path("notes").iterdir()) == [Path("notes/keep.txt")]


def test_an_explicit_folder_without_a_finished_run_is_used(gpucnn_):
    Path("mine").mkdir()
    Path("mine/metrics.jsonl").write_text("left behind\n")
    assert gpucnn_("train", "softmax-regression", "--data", npz(), "--out", "mine", *FAST)[0] == 0
    assert len(metrics("mine")) == 1


def test_the_same_command_gives_the_same_bits(gpucnn_):
    for out in ("a", "b"):
        assert gpucnn_("train", "two-conv", "--set", "filters=2,3", *FAST, "--threads", 2, "--out", out)[0] == 0
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()


def test_options_override_the_recipe(gpucnn_):
    train = ("train", "softmax-regression", "--data", npz(), *FAST)
    assert gpucnn_(*train, "--lr", 0.02, "--schedule", "constant", "--epochs", 2, "--out", "a")[0] == 0
    assert [line["lr"] for line in metrics("a")] == [0.02, 0.02]
    assert gpucnn_(*train, "--optimizer", "sgd", "--schedule", "constant", "--out", "b")[0] == 0
    assert metrics("b")[0]["lr"] == SGD().usual_lr == 0.1
    assert gpucnn_(*train, "--optimizer", "sgd", "--schedule", "constant", "--batch-size", 3, "--out", "c")[0] == 0
    assert metrics("c")[0]["train_loss"] != metrics("b")[0]["train_loss"]


class Signs:
    """theta -= lr sign(g). It derives from nothing."""

    usual_lr = 0.25

    def init(self, theta):
        return {}

    def update(self, theta, g, state, lr, step):
        theta -= lr * np.sign(g)


def test_an_optimizer_in_the_table_is_one_of_the_commands(gpucnn_, misused, monkeypatch):
    train = ("train", "softmax-regression", "--data", npz(), *FAST, "--schedule", "constant", "--optimizer", "signs")
    misused(*train, says="'signs' is not known")
    monkeypatch.setitem(OPTIMIZERS, "signs", Signs())
    assert gpucnn_(*train, "--out", "a")[0] == 0
    assert metrics("a")[0]["lr"] == 0.25
    theta = gpucnn.load("a/model.safetensors", device="cpu").parameters["1/bias"]
    np.testing.assert_array_equal(theta, np.round(theta / 0.25) * 0.25)


def test_the_reference_kernels_give_nearly_the_same(gpucnn_):
    train = ("train", "two-conv", *FAST, "--batch-size", 256, "--json")
    found = [last_json(gpucnn_(*train, "--kernels", kernels)[1]) for kernels in ("default", "reference")]
    assert found[0]["train_loss"] == pytest.approx(found[1]["train_loss"], rel=1e-3)


def test_the_recipe_makes_more_epochs_of_a_small_data_set():
    usual = networks.entry("two-conv").recipe
    recipe, optimizer = runs.recipe(runs.Settings("two-conv", validation=0.5), 1280)
    assert (recipe.epochs, optimizer) == (usual.epochs_for(640), usual.optimizer)
    assert recipe.epochs > usual.epochs
    assert runs.recipe(runs.Settings("two-conv", validation=0.999), 10)[0].epochs == usual.updates
    assert runs.recipe(runs.Settings("two-conv"), 60000)[0].epochs == usual.epochs
    assert runs.recipe(runs.Settings("two-conv", epochs=2), 640)[0].epochs == 2


@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_validation(gpucnn_, part):
    arguments = ("train", "softmax-regression", "--data", npz(), *FAST, "--validation", part, "--out", "v")
    assert gpucnn_(*arguments)[0] == 0
    assert (metrics("v")[0]["validation_loss"] is None) == (part == 0)
    assert Path("v/curves.png").exists()


def test_classes_by_number_and_by_name(gpucnn_, refused, misused):
    train = ("train", "binary-sigmoid", *FAST, "--classes")
    status, out, err = gpucnn_(*train, "3,8", "--json")
    assert status == 0
    assert "on digits (2" in err
    model = gpucnn.load(last_json(out)["model"], device="cpu")
    assert model.class_names == ("3", "8")

    folder = pictures("shapes", names=("left", "right", "top"))
    train = ("train", "softmax-regression", "--data", folder, *FAST, "--classes")
    status, out, _ = gpucnn_(*train, "top, left", "--json")
    assert gpucnn.load(last_json(out)["model"], device="cpu").class_names == ("top", "left")
    refused(*train, "top,bottom", says="--classes top,bottom: there is no class 'bottom'; choose from left, right, top")
    refused(*train, "0,3", says="there is no class 3; choose from 0 (left), 1 (right), 2 (top)")
    refused(*train, "1,1", says="two or more different ones were expected")
    misused(*train, "", says="Invalid value for '--classes': an empty text was given")


@pytest.mark.parametrize(
    ("network", "options", "expected"),
    [
        ("avgpool-96", ("f=sigmoid",), {"f": "sigmoid"}),
        ("two-conv", ("filters=4,8", "hidden=9"), {"filters": (4, 8), "hidden": 9}),
        ("two-conv", ("filters=4,8,6", "padding=same"), {"filters": (4, 8, 6), "padding": "same"}),
        ("two-conv", ("filters=4",), {"filters": (4,)}),
        ("two-conv", ("bias=untied", "padding=same"), {"bias": "untied", "padding": "same"}),
        ("two-conv", ("bias=none", "ties=all", "padding=1"), {"bias": None, "ties": "all", "padding": 1}),
        ("layered", ("bias=untied",), {"bias": "untied"}),
    ],
)
def test_set(gpucnn_, network, options, expected):
    given = [part for option in options for part in ("--set", option)]
    status, out, _ = gpucnn_("train", network, *FAST, "--batch-size", 256, *given, "--json")
    assert status == 0
    model = gpucnn.load(last_json(out)["model"], device="cpu")
    assert model.network == networks.build(network, (28, 28, 1), 10, **expected)


@pytest.mark.parametrize(
    ("network", "option", "says"),
    [
        (
            "two-conv",
            "colour=red",
            "network two-conv has no setting 'colour'; it has filters=8,16, hidden=128, bias=tied",
        ),
        ("two-conv", "classes=3", "network two-conv has no setting 'classes'"),
        ("softmax-regression", "hidden=3", "network softmax-regression has no setting 'hidden'; it has none"),
        (
            "two-conv",
            "filters=4,0",
            "two-conv: filters=(4, 0): one or more whole numbers of at least 1 were expected, such as filters=8,16",
        ),
        ("two-conv", "hidden=many", "two-conv: hidden='many': a whole number of at least 1 was expected"),
        ("two-conv", "hidden=²", "two-conv: hidden='²': a whole number of at least 1 was expected"),
        ("two-conv", "hidden=0", "two-conv: hidden=0: a whole number of at least 1 was expected"),
        ("two-conv", "bias=maybe", "bias='maybe'"),
        ("avgpool-96", "f=cosine", "avgpool-96: f='cosine' is not known; choose one of relu, sigmoid, tanh"),
        ("two-conv", "hidden=1000000000000000", "Unable to allocate"),
    ],
)
def test_set_what_cannot_be_set(refused, network, option, says):
    refused("train", network, *FAST, "--set", option, says=says)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tow-conv",), "network 'tow-conv' is not known; did you mean two-conv? choose one of softmax-regression"),
        (("two-conv", "--device", "tpu"), "device 'tpu': no such device; give auto, cpu, cuda or cuda:N"),
        (("two-conv", "--device", "cuda:99"), "device 'cuda:99': "),
        (("two-conv", "--data", "nowhere"), "nowhere: no data set has this name and no such path exists"),
        (("two-conv", "--size", "28;28"), "size '28;28': two whole numbers, HEIGHTxWIDTH, were expected"),
        (("two-conv", "--invert"), "size, channels, invert and fit are for pictures only"),
        (("vgg-small", "--data", "tiny.npz", "--set", "a=1"), "network vgg-small has no setting 'a'"),
        (("two-conv", "--data", "tiny.npz"), "layer 3 (Conv2D): a kernel that spans 5 x 5 pixels does not fit"),
    ],
)
def test_train_what_cannot_be_trained(refused, arguments, says):
    npz()
    refused("train", *arguments, says=says)
    assert not Path("runs").exists()


def test_places_that_cannot_be_written(refused):
    Path("file").write_text("in the way")
    train = ("train", "softmax-regression", "--data", npz(), *FAST, "--out")
    refused(*train, "file", says="--out file: a file of that name is in the way; choose another folder")
    refused(*train, "file/run", says="file/run: the run cannot be written there: Not a directory")
    for name in ("metrics.jsonl", "model.safetensors", "curves.png", "run.toml"):
        Path(f"taken-{name}/{name}").mkdir(parents=True)
        refused(*train, f"taken-{name}", "--force", says=f"{name}: what is there is in the way of the run's own; move")
    Path("states").mkdir()
    Path("states/checkpoints").write_text("mine")
    refused(*train, "states", "--force", says="states/checkpoints: what is there is in the way of the run's own; move")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize("name", ["metrics.jsonl", "curves.png", "run.toml"])
def test_a_pipe_is_not_waited_for(refused, name):
    Path("out").mkdir()
    os.mkfifo(f"out/{name}")
    train = ("train", "softmax-regression", "--data", npz(), *FAST, "--out", "out", "--force")
    refused(*train, says=f"out/{name}: what is there is in the way of the run's own; move it away")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(refused):
    Path("closed").mkdir(mode=0o500)
    train = ("train", "softmax-regression", "--data", npz(), *FAST, "--out")
    refused(*train, "closed", says="closed: the run cannot be written there: Permission denied")


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_for_metrics_and_curves_keeps_the_model(gpucnn_, monkeypatch):
    monkeypatch.setattr("gpucnn.training.curves.learning_curves", full)
    monkeypatch.setattr(runs, "METRICS", "gone/metrics.jsonl")
    status, _, err = gpucnn_("train", "softmax-regression", "--data", npz(), *FAST, "--out", "out")
    assert status == 0
    assert "gpucnn: out/curves.png: the picture cannot be written: No space left on device; the run goes on" in err
    assert "gpucnn: out/gone/metrics.jsonl: the metrics cannot be written: No such file or directory; the run" in err
    assert gpucnn.load("out/model.safetensors", device="cpu").parameters


def test_a_model_that_its_folder_does_not_take_is_saved_elsewhere(refused, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    save = Model.save

    def unless_there(model, path, **more):
        if path == Path("out/model.safetensors"):
            raise CheckpointError(f"{path}: the model cannot be saved: Read-only file system")
        return save(model, path, **more)

    monkeypatch.setattr(Model, "save", unless_there)
    refused("train", "softmax-regression", "--data", npz(), *FAST, "--out", "out", says="the trained model is in")
    (rescued,) = tmp_path.glob("gpucnn-*/model.safetensors")
    assert gpucnn.load(rescued, device="cpu").parameters


def test_a_model_that_no_place_takes(refused, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def unwritable(model, path, **more):
        raise CheckpointError(f"{path}: the model cannot be saved: File too large")

    monkeypatch.setattr(Model, "save", unwritable)
    train = ("train", "softmax-regression", "--data", npz(), *FAST, "--out", "out")
    says = "out/model.safetensors: the model cannot be saved: File too large; nor can it be in a temporary folder ("
    refused(*train, says=says)
    monkeypatch.setattr(checkpoints.Checkpoints, "is_due", lambda *_, **__: True)
    refused(*train, "--force", says="but the run's last state is; make room, and --resume out goes on from it")
    assert not any((tmp_path / "temporary").iterdir())
    shutil.rmtree("out")
    monkeypatch.setattr(checkpoints.Checkpoints, "save", lambda *_: None)
    refused(*train, says="and nothing is left of what was learnt; make room, or choose another place, and train again")
    shutil.rmtree("temporary")
    refused(*train, "--force", says="nor is there a place among temporary files (")


def test_a_folder_that_is_removed_in_the_middle_is_made_again(gpucnn_, monkeypatch):
    monkeypatch.setattr(progress.Lines, "epoch", lambda self, epoch: shutil.rmtree("out", ignore_errors=True))
    assert gpucnn_("train", "softmax-regression", "--data", npz(), *FAST, "--out", "out")[0] == 0
    assert gpucnn.load("out/model.safetensors", device="cpu").parameters


def test_a_run_that_fails_leaves_the_one_that_it_was_to_replace(gpucnn_, refused):
    train = ("train", "softmax-regression", "--data", npz(), *FAST, "--out", "out")
    assert gpucnn_(*train)[0] == 0
    before = {name: Path("out", name).read_bytes() for name in ("model.safetensors", "metrics.jsonl")}
    refused(*train, "--force", "--augment", "shift=99", says="choose a smaller shift")
    assert {name: Path("out", name).read_bytes() for name in before} == before
    refused(*train, "--force", "--lr", "1e30", says="the run that was there before is in out/replaced")
    assert {name: Path("out/replaced", name).read_bytes() for name in before} == before
    assert gpucnn_(*train, "--force")[0] == 0
    assert not Path("out/replaced").exists()


def test_two_runs_into_one_folder(gpucnn_, refused):
    train = ("train", "softmax-regression", "--data", npz(), *FAST)
    with claimed("out", "n", "d"):
        refused(*train, "--out", "out", says="out: another run is writing there; wait until it ends, or choose another")
    assert gpucnn_(*train, "--out", "out")[0] == 0


def test_runs_that_start_at_once_have_folders_of_their_own():
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: _new("net", "data"), range(40)))
    assert len({*paths}) == 40


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_loss_that_is_not_finite(refused, optimizer):
    arguments = ("train", "two-conv", *FAST, "--lr", "1e9", "--optimizer", optimizer, "--out", "out")
    refused(*arguments, says="so training stopped; a lower learning rate than 1e+09, such as 1e+08 (--lr), usually")
    assert not Path("out/model.safetensors").exists()
    assert metrics("out") == []


def test_train_from_npz_and_idx(gpucnn_):
    for source in (npz(), idx("mnist-like")):
        status, out, _ = gpucnn_("train", "softmax-regression", "--data", source, *FAST, "--epochs", 30, "--json")
        found = last_json(out)
        assert (status, found["data"]) == (0, Path(source).stem)
        assert found["test_accuracy"] == 1
        assert gpucnn_("evaluate", found["model"], "--data", source)[0] == 0


def test_named_data_from_a_folder_of_files(refused, monkeypatch):
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(Path("data").absolute()))
    Path("data").mkdir()
    idx("data/mnist")
    refused("train", *FAST, "--data", "mnist", says="the sha256 of the content is")
    refused("data", "verify", "mnist", says="the sha256 of the content is")
    refused("data", "fetch", "mnist", says="the sha256 of the content is")
    refused("train", *FAST, "--data", "fashion-mnist", says="fashion-mnist: no file train-images-idx3-ubyte")


# --- pictures: train, evaluate, predict


def some_pictures(root="shapes", **options):
    """The folder, and one picture of each class that is not in it."""
    pictures(root, **options)
    pictures("other", count=1, seed=7, **options)
    return root, [str(next(Path("other", name).iterdir())) for name in ("left", "right")]


def test_pictures_from_training_to_prediction(gpucnn_):
    folder, files = some_pictures()
    train = ("train", "softmax-regression", "--data", folder, "--size", "8x8", *FAST, "--epochs", 40)
    status, out, _ = gpucnn_(*train, "--batch-size", 4, "--json")
    assert status == 0
    path = last_json(out)["model"]
    assert last_json(out)["test_accuracy"] == 1

    status, out, err = gpucnn_("predict", path, *files, "--json")
    assert (status, err) == (0, "")
    rows = last_json(out)
    assert [list(row) for row in rows] == [["file", "label", "probability"]] * 2
    assert [(row["file"], row["label"]) for row in rows] == [(files[0], "left"), (files[1], "right")]

    model = gpucnn.load(path, device="cpu")
    assert model.preprocessing == Preprocessing((8, 8), 1)
    chances = model.predict_proba(data.read_pictures(files, Preprocessing((8, 8), 1)))
    assert [row["probability"] for row in rows] == chances.max(axis=1).tolist()

    status, out, _ = gpucnn_("predict", path, *files)
    assert out.splitlines() == [
        f"{file}: {label} ({100 * chance:.1f} %)"
        for file, label, chance in zip(files, ("left", "right"), chances.max(axis=1))
    ]
    status, out, _ = gpucnn_("evaluate", path, "--data", folder, "--json")
    assert (status, last_json(out)["accuracy"]) == (0, 1)


def test_inverted_pictures(gpucnn_):
    folder, files = some_pictures(dark=True)
    train = ("train", "softmax-regression", "--data", folder, "--size", "8x8", *FAST, "--epochs", 40)
    path = last_json(gpucnn_(*train, "--batch-size", 4, "--invert", "--json")[1])["model"]
    assert gpucnn.load(path, device="cpu").preprocessing == Preprocessing((8, 8), 1, invert=True)
    assert [row["label"] for row in last_json(gpucnn_("predict", path, *files, "--json")[1])] == ["left", "right"]
    assert last_json(gpucnn_("evaluate", path, "--data", folder, "--json")[1])["accuracy"] == 1

    pictures("bright", count=1)
    files = [str(next(Path("bright", name).iterdir())) for name in ("left", "right")]
    assert [row["label"] for row in last_json(gpucnn_("predict", path, *files, "--json")[1])] != ["left", "right"]
    rows = last_json(gpucnn_("predict", path, *files, "--invert", "--json")[1])
    assert [row["label"] for row in rows] == ["left", "right"]


def test_a_folder_with_train_and_test_in_colour(gpucnn_):
    pictures("split/train", count=8)
    pictures("split/test", count=3, seed=1)
    train = ("train", "softmax-regression", "--data", "split", "--size", "8x6", "--channels", 3, *FAST, "--epochs", 40)
    status, out, err = gpucnn_(*train, "--batch-size", 4)
    assert status == 0
    assert "on 6 images" in out
    assert "on split (16 images)" in err
    model = gpucnn.load("runs/softmax-regression-split/model.safetensors", device="cpu")
    assert model.network.input_shape == (8, 6, 3)


def test_predict_what_cannot_be_predicted(gpucnn_, refused):
    gpucnn_("train", "softmax-regression", "--data", npz(), *FAST, "--out", "run")
    model = "run/model.safetensors"
    Path("no.png").write_text("no picture")
    refused("predict", model, "nowhere.png", says="nowhere.png: there is no such file; check the path")
    refused("predict", model, "no.png", says="no.png: cannot be read as a picture")
    refused("predict", "nowhere", "no.png", says="nowhere: no such file; a model saved by `gpucnn train`")
    refused(
        "predict", "no.png", "no.png", says="no.png: a picture, and a saved model was expected; the model comes first"
    )
    refused("predict", "run", "no.png", says="run: a folder; name the file in it, such as run/model.safetensors")
    refused("predict", model, "no.png", "--device", "tpu", says="device 'tpu': no such device")
    bare = gpucnn.load(model, device="cpu")
    bare.preprocessing = None
    bare.save("bare.safetensors")
    Image.new("L", (20, 20), 90).save("a.png")
    status, out, err = gpucnn_("predict", "bare.safetensors", "a.png")
    assert (status, out.startswith("a.png: ")) == (0, True)
    assert "bare.safetensors does not say how pictures become its images: they are scaled and cropped to (" in err


# --- evaluate


def test_evaluate(gpucnn_):
    trained = last_json(gpucnn_("train", "softmax-regression", *FAST, "--json")[1])
    status, out, err = gpucnn_("evaluate", trained["model"], "--json")
    assert (status, err) == (0, "")
    found = last_json(out)
    assert list(found) == ["data", "loss", "accuracy", "examples", "part", "of"]
    assert [found[name] for name in ("data", "examples", "part", "of")] == ["digits", 359, "test", 1797]
    assert found["accuracy"] == trained["test_accuracy"]
    assert found["loss"] == pytest.approx(trained["test_loss"], rel=1e-6)
    status, out, _ = gpucnn_("evaluate", trained["model"], "--data", "digits")
    shown = f"accuracy {100 * found['accuracy']:.2f} %, loss {found['loss']:.4f}"
    assert out == f"digits: {shown}, 359 of 1,797 images, the test part\n"


def test_evaluate_a_model_of_some_classes(gpucnn_):
    train = ("train", "softmax-regression", *FAST, "--epochs", 5, "--classes", "8,3", "--json")
    trained = last_json(gpucnn_(*train)[1])
    found = last_json(gpucnn_("evaluate", trained["model"], "--data", "digits", "--json")[1])
    digits = data.load("digits")
    assert found["examples"] == np.isin(digits.test_labels, (3, 8)).sum()
    assert found["accuracy"] == trained["test_accuracy"] > 0.7


def test_evaluate_on_data_that_lack_a_class(gpucnn_):
    pictures("three", names=("ant", "bee", "cow"))
    how = "--device", "cpu", "--threads", 1
    gpucnn_("train", "softmax-regression", "--data", "three", "--epochs", 20, *how, "--out", "run")
    pictures("some", names=("cow", "bee"))
    status, out, err = gpucnn_("evaluate", "run/model.safetensors", "--data", "some", *how, "--report")
    assert (status, "gpucnn: there are no pictures of ant, which the model knows, too" in err) == (0, True)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(("ant", "bee", "cow"))}
    assert rows["ant"][-1] == "0"
    assert min(int(rows["bee"][-1]), int(rows["cow"][-1])) > 0  # of those that it was not trained on
    pictures("some", names=("cow", "dog"))
    status, _, err = gpucnn_("evaluate", "run/model.safetensors", "--data", "some", *how)
    assert (status, "some has the class dog, which the model does not know, and lacks ant" in err) == (
        1,
        True,
    )


def test_evaluate_on_data_that_do_not_fit(gpucnn_, refused):
    gpucnn_("train", "softmax-regression", "--data", npz(), *FAST, "--out", "run")
    model = "run/model.safetensors"
    names = np.array(["0", "1", "x"])
    np.savez("other.npz", **np.load(npz("two.npz")), class_names=names)
    says = "other has the class x, which the model does not know, and lacks 2, which it knows; choose data"
    refused("evaluate", model, "--data", "other.npz", says=says)
    refused("evaluate", model, says="it was trained on tiny, and no data set has this name; say --data PATH")
    says = "digits has images of shape (28, 28, 1), this model takes (8, 8, 1)"
    refused("evaluate", model, "--data", "digits", says=says)
    refused("evaluate", model, "--data", "nowhere", says="nowhere: no data set has this name")
    refused("evaluate", "nowhere", says="nowhere: no such file")


# --- networks, data, check


def test_networks(gpucnn_):
    status, out, _ = gpucnn_("networks")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines() if line[0] != " "] == list(networks.NETWORKS)
    assert max(map(len, out.splitlines())) <= 100  # as wide as the terminal
    words = " ".join(out.split())
    assert all(entry.about in words for entry in networks.NETWORKS.values())
    rows = last_json(gpucnn_("networks", "--json")[1])
    assert [row["name"] for row in rows] == list(networks.NETWORKS)
    assert all(row["parameters"] == networks.build(row["name"]).parameters for row in rows)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_one_network(gpucnn_, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "500")
    status, out, _ = gpucnn_("networks", name)
    assert status == 0
    assert out.startswith(f"{name}: ")
    assert networks.build(name).summary(networks.entry(name).recipe.batch_size) in out


@pytest.mark.parametrize("name", ["resnet20", "two-conv"])
def test_one_network_fits_into_a_terminal(gpucnn_, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = gpucnn_("networks", name)
    assert max(map(len, out.splitlines())) <= 80
    for line in (
        networks.build(name).summary(networks.entry(name).recipe.batch_size).splitlines()
    ):  # what is cut is the layers' settings alone
        assert line.split("  ")[-1] in out
    monkeypatch.setenv("COLUMNS", "20")
    assert "Conv2D(16, 3, pad..." in gpucnn_("networks", "resnet20")[1]


def test_one_network_says_what_can_be_set(gpucnn_, refused, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    _, out, _ = gpucnn_("networks", "two-conv")
    assert "--set: filters=8,16, hidden=128, bias=tied, padding=valid, ties=first\n" in out
    assert (
        "recipe: Adam(0.9), learning rate 0.003, one-cycle, batches of 64, 5 epochs of a data set as large as MNIST\n"
        in out
    )
    assert last_json(gpucnn_("networks", "two-conv", "--json")[1])["parameters"] == 37610
    found = last_json(gpucnn_("networks", "two-conv", "--json")[1])
    assert found["recipe"]["schedule"] == networks.entry("two-conv").recipe.schedule
    assert found["settings"]["filters"] == [8, 16]
    assert sum(each["parameters"] for each in found["layers"]) == 37610
    refused("networks", "tree", says="network 'tree' is not known; choose one of")


def test_data_commands(gpucnn_, refused):
    for command in ("path", "fetch"):
        status, out, _ = gpucnn_("data", command, "digits")
        assert (status, out) == (0, f"{data.where('digits')}\n")
    status, out, _ = gpucnn_("data", "verify", "digits")
    assert (status, out.startswith(str(data.where("digits")))) == (0, True)
    for command in ("path", "fetch", "verify"):
        refused("data", command, "minst", says="minst: no data set has this name; the names are digits, mnist")


def test_check_a_network(gpucnn_):
    status, out, err = gpucnn_("check", "avgpool-96", "--device", "cpu")
    assert (status, err) == (0, "")
    *lines, last = out.splitlines()
    assert last == "the numpy kernels of cpu give the same numbers as the equations"
    assert [line.split()[0] for line in lines] == ["input", *networks.build("avgpool-96").parameter_shapes(), "loss"]
    assert lines[-1].split()[1:4] == ["5", "x", "10"]
    assert all(line.endswith("right") and "kinks avoided" in line for line in lines)


OWN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Twice:
    factor: float = 2.0

    def out_shape(self, in_shape): return in_shape
    def init(self, in_shape, rng): return {}
    def forward(self, params, x, context): return 2 * x, None
    def backward(self, params, residual, dy, context, *, need_dx=True): return self.factor * dy, {}

def wrong(): return Twice(3.0)

class Averaged(Twice):
    def init(self, in_shape, rng): return {"a": rng.normal(size=in_shape)}
    def forward(self, params, x, context): return params["a"] * x, x
    def backward(self, params, x, dy, context, *, need_dx=True): return params["a"] * dy, {"a": (x * dy).mean(axis=0)}

class Raises(Twice):
    def forward(self, params, x, context): raise IndexError("out of range")
"""


@pytest.fixture
def own_layers(tmp_path, monkeypatch):
    (tmp_path / "own_twice.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("own_twice", None)


def test_check_a_layer_of_ones_own(gpucnn_, refused, own_layers):
    status, out, _ = gpucnn_("check", "own_twice:Twice", "--input", "5,5,2")
    assert status == 0
    assert out.split()[:8] == ["input", "5", "x", "5", "x", "5", "x", "2"]
    assert out.splitlines()[0].endswith("right")
    status, out, _ = gpucnn_("check", "own_twice:Twice", "--input", "4", "--json")
    assert [(row["name"], row["shape"], row["right"]) for row in last_json(out)] == [("input", [5, 4], True)]
    refused("check", "own_twice:Twice", says="own_twice:Twice is a layer: say the shape of its input")
    refused("check", "own_twice:Thrice", "--input", "4", says="module own_twice has no 'Thrice'")
    refused("check", "own_twice:Raises", "--input", "4", says="own_twice:Raises: IndexError: out of range (")
    refused("check", "tree", says="network 'tree' is not known")


def test_check_a_wrong_layer(gpucnn_, own_layers):
    status, out, err = gpucnn_("check", "own_twice:wrong", "--input", "4")
    assert status == 1
    first, second = out.splitlines()
    assert first.endswith("WRONG")
    assert second == "layer 0 (Twice): backward gives a wrong dx (it must be 0.6667 times that)"
    differs = "the gradient of input differs from the central difference; look at layer 0 (Twice)"
    assert err == f"gpucnn: own_twice:wrong: {differs}\n"
    status, out, _ = gpucnn_("check", "own_twice:wrong", "--input", "4", "--json")
    assert (status, last_json(out)[0]["right"]) == (1, False)
    status, out, _ = gpucnn_("check", "own_twice:Averaged", "--input", "4")
    assert status == 1
    assert "5 times too small, and the batch has 5 examples: is it divided by their number?" in out
    assert "other examples of a batch" not in out  # which a wrong sum over the batch looks like


# --- what main makes of what is raised


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (GpucnnError("a sentence"), 1, "gpucnn: a sentence\n"),
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device"), 1, "gpucnn: No space left on device; make room there, or choose"),
        (
            PermissionError(13, "Permission denied", "x/y"),
            1,
            "gpucnn: x/y: Permission denied; look at its permissions, or",
        ),
        (
            OSError(24, "Too many open files", "x"),
            1,
            "gpucnn: x: Too many open files; let a process open more files (ul",
        ),
        (OSError("cannot be read"), 1, "gpucnn: cannot be read\n"),
        (MemoryError(), 1, "gpucnn: out of memory\n"),
    ],
)
def test_exit_status(gpucnn_, monkeypatch, error, status, says):
    def fail(name):
        raise error

    monkeypatch.setattr(data, "where", fail)
    found, _, err = gpucnn_("data", "path", "digits")
    assert found == status
    assert says in err
    assert "Traceback" not in err


def test_a_mistake_of_the_library_keeps_its_traceback(gpucnn_, monkeypatch):
    monkeypatch.setattr(data, "where", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gpucnn_("data", "path", "digits")


# --- progress


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress.reporter(2) as shown:
        assert isinstance(shown, progress.Bars)
        shown.batch(1, 5, 10, None)
        shown.batch(2, 5, 10, 0.25)
        task = shown.progress.tasks[0]
        assert (task.completed, task.total, task.description) == (15, 20, "epoch 2/2")
        assert task.fields["loss"] == "loss 0.2500"
        shown.epoch(Epoch(2, 0.25, 0.5, 0.875, 0.1, 1.25))
    assert "epoch 2/2  loss 0.2500  validation loss 0.5000  accuracy 87.50 %  1.2 s" in capsys.readouterr().err


def test_a_line_without_validation():
    assert progress.line(Epoch(1, 0.25, None, None, 0.1, 1.0), 3) == "epoch 1/3  loss 0.2500  1.0 s"


# --- a real process


def test_a_real_process_from_end_to_end():
    npz()
    train = ("-m", "gpucnn", "train", "softmax-regression", "--data", "tiny.npz", *FAST, "--json")
    done = run_python(*train)
    assert (done.returncode, last_json(done.stdout)["epochs"]) == (0, 1)
    done = run_python(*train, "--out", "runs/softmax-regression-tiny")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("gpucnn: --out runs/softmax-regression-tiny: it holds a finished run")


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_ctrl_c_in_the_middle_of_training_saves_what_was_learnt():
    command = [sys.executable, "-m", "gpucnn", "train", "softmax-regression", "--data", npz(), *FAST]
    process = subprocess.Popen(
        [*command, "--epochs", "1000000", "--json", "--out", "run"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if Path("run/metrics.jsonl").exists() and Path("run/metrics.jsonl").stat().st_size > 200:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    found = last_json(out)
    assert found["interrupted"] is True
    assert f"interrupted in epoch {found['epochs'] + 1}; what was learnt until then is in run" in err
    lines = metrics("run")
    assert [line["epoch"] for line in lines] == list(range(1, found["epochs"] + 1))
    assert Path("run/curves.png").exists()
    assert gpucnn.load("run/model.safetensors", device="cpu").parameters


# --- verify


def test_verify(gpucnn_, refused):
    model = Path(last_json(gpucnn_("train", "softmax-regression", "--data", npz(), *FAST, "--json")[1])["model"])
    status, out, _ = gpucnn_("verify", model)
    total = checkpoint.read(model)[0]["sha256"]
    numbers = gpucnn.load(model, device="cpu").layout.size
    assert status == 0
    assert out == (
        f"{model}: softmax-regression trained on tiny, 3 classes, {numbers} numbers in 2 tensors; "
        f"its checksum is right (sha256 {total})\n"
    )
    found = last_json(gpucnn_("verify", model, "--json")[1])
    assert (found["sha256"], found["numbers"], found["class_names"]) == (total, numbers, ["0", "1", "2"])
    content = bytearray(model.read_bytes())
    content[-5] ^= 4
    model.write_bytes(content)
    refused("verify", model, says=f"{model}: damaged: its checksum is not that of its contents; copy or train it again")
    refused("evaluate", model, "--data", "tiny.npz", says="damaged: its checksum is not")


def test_verify_a_model_of_version_0_1(gpucnn_):
    path = Path(__file__).with_name("checkpoints") / "Dense.safetensors"
    status, out, _ = gpucnn_("verify", path)
    assert status == 0
    assert "Dense, 3 classes, " in out
    assert out.endswith("it has no checksum (version 0.1 wrote none), so damage to its numbers cannot be seen\n")
    assert last_json(gpucnn_("verify", path, "--json")[1])["sha256"] is None


def test_verify_needs_no_layers_and_no_network(gpucnn_):
    given = {"name": "state\x1b[31m of \ud800", "class_names": 5}
    checkpoint.write("state.safetensors", given, {"step": np.array(3)})
    status, out, _ = gpucnn_("verify", "state.safetensors")
    assert status == 0
    assert out.startswith("state.safetensors: state\\x1b[31m of \\ud800, 1 number in 1 tensor; its checksum is right")


def test_a_sentence_is_one_line_that_leaves_the_terminal_alone(gpucnn_):
    status, out, err = gpucnn_("verify", "no\x1b[2J\n\udcfffile\u2028 Zürich 東京")
    assert (status, out) == (1, "")
    assert err.startswith("gpucnn: no\\x1b[2J\\n\\udcfffile\\u2028 Zürich 東京: no such file")


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_weights_too_large_to_compute_with(refused, gpucnn_, command):
    pictures("shapes")
    model = gpucnn.Model(
        gpucnn.Network((8, 8, 1), (gpucnn.layers.Flatten(), gpucnn.layers.Dense(2))),
        device="cpu",
        class_names=("left", "right"),
        preprocessing=Preprocessing((8, 8), 1),
    )
    model.theta[...] = 3e38
    model.save("m.safetensors")
    given = ("--data", "shapes") if command == "evaluate" else ("shapes/left/000.png",)
    for flags in ((), ("--json",)):
        refused(command, "m.safetensors", *given, *flags, says="is nan: the model's weights are too large to compute")


def test_names_too_long_for_the_system(refused):
    name = "a" * 300
    refused("evaluate", name, says=f"{name}: no such file; a model saved by")
    refused("train", *FAST, "--data", name, says=f"{name}: no data set has this name and no such path exists")
    gpucnn.Model("softmax-regression", device="cpu", preprocessing=Preprocessing((28, 28), 1)).save("m.safetensors")
    refused("predict", "m.safetensors", name, says=f"{name}: there is no such file; check the path")


@pytest.mark.parametrize("option", [("--set", "hidden=" + "9" * 5000), ("--classes", "9" * 5000)])
def test_numbers_longer_than_python_reads(refused, option):
    refused("train", "two-conv", "--data", npz(shape=(28, 28, 1)), *FAST, *option, says="9" * 5000)


def test_json_has_no_nan():
    value = {"a": float("nan"), "b": [1.5, float("inf"), (np.float64("-inf"), "x")], "c": {"d": None, "e": True}}
    assert json_text(value) == '{"a": null, "b": [1.5, null, [null, "x"]], "c": {"d": null, "e": true}}'


@pytest.mark.parametrize("words", [("m.safetensors", "mnist"), ("MNIST",), ("m.safetensors", "nowhere.npz")])
def test_data_are_no_model(monkeypatch, capsys, words):
    monkeypatch.setattr("sys.argv", ["gpucnn", "evaluate", *words])
    assert cli.main() == 1
    said = f"{words[-1]}: data, and no model; say `gpucnn evaluate MODEL --data {words[-1]}`"
    assert said in capsys.readouterr().err


def test_classes_whose_names_hold_commas():
    names = ("x, y", "a", "b,c", "1,2", "e", "a,e")
    assert data_options.labels("x, y,a", names) == [0, 1]
    assert data_options.labels("a, x, y, b,c", names) == [1, 0, 2]
    assert data_options.labels("1,2", names) == [3]
    assert data_options.labels("0,1,2", names) == [0, 3]
    assert data_options.labels("4,0", names) == [4, 0]
    with pytest.raises(GpucnnError, match=r"no class 'x'; .*choose from 'x, y', a, 'b,c'"):
        data_options.labels("x,e", names)
    with pytest.raises(GpucnnError, match=r"a,e is a class, and so is each .*; give their numbers, 5 for a,e"):
        data_options.labels("x, y,a,e", names)


def test_what_is_warned_of_is_told_where_python_makes_it_an_error(gpucnn_, tmp_path):
    options = ("--device", "cpu", "--epochs", 1, "--batch-size", 100_000_000, "--out", tmp_path / "run", "-q")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status, _, err = gpucnn_("train", "softmax-regression", *options)
    assert status == 0
    assert "gpucnn: " in err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cosine,cosine", "'cosine,cosine': of several, each ends in @PART, as in constant@0.6,cosine@0.4"),
        ("restarts=0", "'restarts=0': cycles >= 1, longer > 0 was expected"),
        ("step=2", "'step=2': milestones in 0..1, in order was expected"),
        ("linear@2", "'linear@2': parts that are 1 together was expected"),
        ("warmup=1.5,linear", "'warmup=1.5': a part of all updates, or a whole number of them, was expected"),
        ("constant@0.5,restarts=0@0.5", "'restarts=0': cycles >= 1, longer > 0 was expected"),
    ],
)
def test_what_is_wrong_in_a_schedule_is_said_in_its_own_words(gpucnn_, text, says):
    status, _, err = gpucnn_("train", "--schedule", text)
    words = " ".join(err.replace("│", " ").split())
    assert status == 2
    assert says in words


@pytest.mark.parametrize("value", ["0", "1"])
def test_an_average_is_asked_for_in_one_way(gpucnn_, value):
    status, _, err = gpucnn_("train", "--ema", value)
    assert status == 2
    assert "a part of 1, above 0, such as 0.999 was" in err


def test_weights_that_are_too_large_are_among_the_causes(refused):
    weights = ",".join(["1e300", *["1"] * 9])
    train = ("train", "softmax-regression", *FAST, "--class-weights", weights, "--out", "run", "-q")
    refused(*train, says="look at the images, the weights of classes and examples")


def test_nobody_advises_a_new_last_layer_where_nothing_else_would_be_taken(gpucnn_, refused):
    train = ("train", "softmax-regression", *FAST, "-q", "--init", "old.safetensors")
    Model("softmax-regression", device="cpu", class_names=[*"abcdefghij"]).save("old.safetensors")
    status, _, err = gpucnn_(*train, "--out", "a")
    assert status == 0
    assert "--init-except" not in err
    refused(
        *train, "--out", "b", "--init-except", "head", says="all that has the name and shape of one here, is left out"
    )


def test_options_without_an_effect_are_refused_or_told_of(gpucnn_, refused):
    none = "--no-standardize is for numbers, as with the losses mse and huber, and"
    decay = "there is no weight decay that it would be for; say --weight-decay NUMBER, too, or leave it out"
    for command in ("train", "softmax-regression", "--out", "a"), ("lr", "softmax-regression", "--out", "a.png"):
        refused(*command, "--no-standardize", says=none)
        refused(*command, "--decay", "kernels", says=f"--decay kernels: {decay}")
    status, _, err = gpucnn_("train", "--set", "filters=2,2", "--set", "filters=3,3")
    assert status == 2
    assert "filters is set twice" in err
    status, _, err = gpucnn_("train", "softmax-regression", *FAST, "--schedule", "warmup=1000,cosine", "--out", "a")
    assert status == 0
    assert "the warm-up is of 1,000 updates, and this run has 11 updates" in err
    refused("show", "a/model.safetensors", "--class", "7", says="--class 7: none is explained without a picture")
    assert gpucnn_("train", "--config", "a/run.toml", "--out", "b", "-q")[0] == 0


def test_no_command_makes_folders_for_a_path_that_is_mistyped(refused):
    Model("two-conv", device="cpu", class_names=[*"0123456789"]).save("m.safetensors")
    for words in (
        ("export", "m.safetensors", "nosuch/m.onnx"),
        ("show", "m.safetensors", "--out", "nosuch/shown"),
        ("demo", "nosuch/demo"),
        ("evaluate", "m.safetensors", "--data", "digits", "--report", "--out", "nosuch/report"),
    ):
        refused(*words, says="there is no folder nosuch; make it first")
    assert not Path("nosuch").exists()
    refused(
        "export",
        "m.safetensors",
        "m.foo",
        says="m.foo: .foo is not the ending of what is written, which is ONNX: say m.foo.onnx",
    )
    Path("file").touch()
    for words in ("show", "m.safetensors", "--out", "file"), ("demo", "file"):
        refused(*words, says="file: a file of that name is in the way; choose another folder")


def test_what_lies_in_a_folder_is_not_mixed_with_other_things(gpucnn_, refused):
    train = ("train", "softmax-regression", *FAST, "-q")
    assert gpucnn_("demo", "demo")[0] == 0
    refused(*train, "--out", "demo", says="--out demo: it holds pictures (eight.png, five.png, ")
    assert not Path("demo/run.toml").exists()
    assert gpucnn_(*train, "--out", "run")[0] == 0
    before = Path("run/mistakes.csv").read_bytes()
    evaluate = ("evaluate", "run/model.safetensors", "--data", "digits", "--report", "--out")
    refused(*evaluate, "run", says="it holds a run, whose own confusion.png, mistakes.png and mistakes.csv would be")
    assert Path("run/mistakes.csv").read_bytes() == before
    assert gpucnn_(*evaluate, "run/report")[0] == 0


def test_a_signal_that_comes_since_no_thread_can_be_started_is_no_interruption(gpucnn_, monkeypatch):
    def end():
        raise KeyboardInterrupt

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(cli, "_run", end)
    assert gpucnn_("networks")[0] == 130
    monkeypatch.setattr("threading.Thread.start", start)
    status, _, err = gpucnn_("networks")
    assert (status, err) == (1, "gpucnn: no thread can be started; let this user start more processes (ulimit -u)\n")
