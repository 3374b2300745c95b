"""run.toml and what takes it: train --config, train --resume."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import gpucnn
from gpucnn import command as cli
from gpucnn import networks
from gpucnn.command import network_settings
from gpucnn.errors import GpucnnError
from gpucnn.model import checkpoint, config
from gpucnn.training import pace

pytestmark = pytest.mark.usefixtures("blank_pictures")

FAST = ("--device", "cpu", "--threads", "1", "--epochs", "2", "--batch-size", "8")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 16, 16), dtype=np.uint8), np.arange(40) % 4
    np.savez("tiny.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)


@pytest.fixture
def train(monkeypatch, capsys):
    """train(...) -> exit status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["gpucnn", "train", *map(str, arguments)])
        status = cli.main()
        return status, *capsys.readouterr()

    return run


def theta(folder):
    return gpucnn.load(Path(folder, "model.safetensors"), device="cpu").theta


def settings(folder):
    return tomllib.loads(Path(folder, "run.toml").read_text())


PLAIN = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False)
TEXT = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = PLAIN | TEXT | st.lists(st.integers(0, 9) | TEXT)


@given(st.dictionaries(TEXT.filter(bool), VALUES), st.dictionaries(TEXT, PLAIN | TEXT))
def test_what_is_written_is_read(values, made):
    path = Path("run.toml")
    values.pop(config.MADE, None)
    made.pop(config.CHANGED, None)  # which write gives itself
    config.write(path, values, made)
    settings, ran_with = config.read(path)
    assert settings == {name: value for name, value in values.items() if value is not None}
    assert ran_with == {name: value for name, value in made.items() if value is not None}
    assert tomllib.loads(path.read_text(encoding="utf-8"))["made"] == {k: v for k, v in made.items() if v is not None}


def test_a_run_says_all_that_decided_it(train):
    options = ("--set", "hidden=6", "--lr", "0.01", "--augment", "shift=1", "--seed", 3)
    assert train("two-conv", "--data", "tiny.npz", *FAST, *options, "--out", "a", "--validation", 0)[0] == 0
    found = settings("a")
    made = found.pop("made")
    assert found == {
        "network": "two-conv",
        "data": str(Path("tiny.npz").resolve()),
        "invert": False,
        "fit": "crop",
        "skip_broken": False,
        "device": "cpu",
        "epochs": 2,
        "batch_size": 8,
        "lr": 0.01,
        "schedule": "one-cycle",
        "validation": 0.0,
        "augment": "shift=1",
        "threads": 1,
        "seed": 3,
        "kernels": "default",
        "precision": "float32",
        "set": {"hidden": 6},
    }
    assert made["gpucnn"] == gpucnn.__version__
    assert made["numpy"] == np.__version__
    assert " for " in made["blas"]
    assert len(made["data"]) == 64
    assert made["command"].startswith("gpucnn train two-conv --data tiny.npz")


def test_a_file_repeats_its_run_and_options_beside_it_count_more(train):
    options = ("--set", "hidden=6", "--augment", "shift=1,flip", "--classes", "0,1,2")
    assert train("softmax-regression", "--data", "tiny.npz", *FAST, *options[2:], "--out", "a")[0] == 0
    assert train("--config", "a/run.toml", "--out", "b")[0] == 0
    np.testing.assert_array_equal(theta("a"), theta("b"))
    assert settings("b") | {"made": 0} == settings("a") | {"made": 0}
    assert train("--config", "a/run.toml", "--out", "c", "--seed", 1, "--epochs", 1)[0] == 0
    assert (settings("c")["seed"], settings("c")["epochs"]) == (1, 1)


def test_a_recipe_changes_images_unless_it_is_told_otherwise(train):
    options = ("--data", "digits", "--epochs", 1, "--batch-size", 512)
    assert train("tiny-99", *options, "--out", "a")[0] == 0
    assert settings("a")["augment"] == "shift=1"
    assert train("--config", "a/run.toml", "--out", "b")[0] == 0
    np.testing.assert_array_equal(theta("a"), theta("b"))
    assert train("tiny-99", *options, "--augment", "none", "--out", "c")[0] == 0
    assert settings("c")["augment"] == "none"
    assert train("--config", "c/run.toml", "--out", "d")[0] == 0
    np.testing.assert_array_equal(theta("c"), theta("d"))
    assert not np.array_equal(theta("a"), theta("c"))


def test_a_file_of_ones_own(train):
    Path("mine.toml").write_text(
        'network = "two-conv"\ndata = "tiny.npz"\nbatch-size = 8\nepochs = 1\ndevice = "cpu"\n'
        "threads = 1\n[set]\nfilters = [2, 3]\n"
    )
    assert train("--config", "mine.toml", "--out", "a")[0] == 0
    assert settings("a")["set"] == {"filters": [2, 3]}
    assert train("--config", "a/run.toml", "--out", "b")[0] == 0
    np.testing.assert_array_equal(theta("a"), theta("b"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epoch = 3", "mine.toml: epoch is no setting of a run; did you mean epochs?"),
        ("out = 'x'", "mine.toml: out is no setting of a run"),
        ("epochs = [3]", "mine.toml: epochs = [3]: one value was expected, as --epochs takes it"),
        ("set = 3", "mine.toml: set = 3: a table was expected"),
        ("epochs = ", "mine.toml: it is not TOML"),
        ("epochs = " + "9" * 5000, "mine.toml: it is not TOML: Exceeds the limit"),
        ("\udcff", "mine.toml: it is no text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_meant(train, text, sentence):
    Path("mine.toml").write_text(text, errors="surrogateescape")
    status, _, err = train("--config", "mine.toml")
    assert status == 1
    assert err.startswith("gpucnn: ")
    assert sentence in err


@pytest.mark.parametrize(
    ("text", "option"), [("epochs = 0", "--epochs"), ("lr = 'x'", "--lr"), ("seed = 1.5", "--seed")]
)
def test_a_value_that_an_option_does_not_take(train, text, option):
    Path("mine.toml").write_text(text)
    status, _, err = train("--config", "mine.toml")
    assert status == 2
    assert option in err


def test_files_that_are_not_there(train):
    assert "nowhere.toml: there is no such file" in train("--config", "nowhere.toml")[2]
    assert "--resume nowhere: there is no such folder" in train("--resume", "nowhere")[2]
    os.mkdir("empty")
    assert "--resume empty: it holds no run to go on with" in train("--resume", "empty")[2]
    assert (
        "nope.toml: there is no such file; a run.toml of `gpucnn train` was expected"
        in train("--config", "nope.toml")[2]
    )
    with pytest.raises(GpucnnError, match="it is no regular file"):
        config.read(Path())


def test_a_run_that_is_over_is_resumed_to_the_same_and_to_more_epochs(train):
    arguments = ("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a", "--json")
    first = json.loads(train(*arguments)[1])
    before, lines = theta("a"), Path("a/metrics.jsonl").read_text()
    found = json.loads(train("--resume", "a", "--json")[1])
    assert found | {"seconds": 0, "images_per_second": 0} == first | {"seconds": 0, "images_per_second": 0}
    np.testing.assert_array_equal(theta("a"), before)
    assert Path("a/metrics.jsonl").read_text() == lines
    status, _, err = train("--resume", "a", "--epochs", 3)
    assert status == 0
    assert "epochs 3 in place of 2, to which the schedule is stretched" in err
    assert "another run" in err
    assert Path("a/metrics.jsonl").read_text().startswith(lines)
    assert settings("a")["epochs"] == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--lr", "0.5"), "--lr 0.5 is not what the run began with"),
        (("--threads", "2"), "--threads 2 is not what the run began with (the run began with 1)"),
        (("--data", "digits"), "--data digits is not what the run began with"),
        (("two-conv",), "two-conv is not what the run began with (the run began with softmax-regression)"),
        (("--out", "b"), "--out b is not what the run began with"),
    ],
)
def test_a_resumed_run_takes_no_other_options(train, options, sentence):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    status, _, err = train("--resume", "a", *options)
    assert status == 1
    assert sentence in err
    assert "--anyway" in err


def test_the_same_options_may_be_said_again(train):
    arguments = ("softmax-regression", "--data", "tiny.npz", *FAST, "--lr", "0.01", "--out", "a")
    assert train(*arguments)[0] == 0
    assert train("--resume", "a", *arguments)[0] == 0


def test_another_rate_goes_on_anyway(train):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    assert train("--resume", "a", "--lr", "0.5", "--epochs", "4", "--anyway")[0] == 0


def test_other_data_in_the_same_file_is_refused(train):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    images, labels = np.zeros((40, 16, 16), np.uint8), np.arange(40) % 4
    np.savez("tiny.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    status, _, err = train("--resume", "a")
    assert status == 1
    assert "another data" in err


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "kept", [["checkpoints"], ["model.safetensors", "run.toml", "checkpoints"], ["checkpoints", "run.toml"]]
)
def test_a_folder_that_is_refused_stays_as_it_is(train, kept):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    for path in Path("a").iterdir():
        if path.name not in kept:
            path.unlink()
    before = contents("a")
    assert train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")[0] == 1
    assert contents("a") == before


def test_a_resume_that_is_refused_changes_nothing(train):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    Path("a/metrics.jsonl").unlink()
    before = contents("a")
    images, labels = np.zeros((40, 16, 16), np.uint8), np.arange(40) % 4
    np.savez("tiny.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    assert "another data" in train("--resume", "a", "--epochs", 9)[2]
    assert contents("a") == before


def test_failed_replacements_never_mix_with_the_run_that_is_kept(train):
    arguments = ("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    train(*arguments)
    before = contents("a")
    for seed in (1, 2):
        assert train(*arguments, "--force", "--lr", "1e30", "--seed", seed)[0] == 1
        assert contents("a/replaced") == before
    assert train(*arguments, "--force", "--augment", "shift=99")[0] == 1
    assert contents("a") == before


def test_ctrl_c_while_the_old_run_is_set_aside_loses_nothing(train, monkeypatch):
    arguments = ("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    train(*arguments)
    before, replace, calls = contents("a"), Path.replace, []

    def cut(path, target):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", cut)
        assert train(*arguments, "--force")[0] == 130
    assert contents("a") == before


def test_set_beside_a_file_changes_one_setting(train):
    Path("mine.toml").write_text(
        'network = "two-conv"\ndata = "tiny.npz"\nepochs = 1\ndevice = "cpu"\n[set]\nhidden = 7\nfilters = [2, 3]\n'
    )
    assert train("--config", "mine.toml", "--set", "hidden=9", "--out", "a")[0] == 0
    assert settings("a")["set"] == {"hidden": 9, "filters": [2, 3]}
    assert train("--resume", "a", "--set", "hidden=9")[0] == 0
    assert train("--resume", "a", "--set", "hidden=8")[0] == 1


@pytest.mark.parametrize(("filters", "saved"), [("2", 2), ("2,3,4", [2, 3, 4])])
def test_a_run_of_fewer_or_more_convolutions_is_resumed_and_repeated(train, filters, saved):
    options = ("--set", f"filters={filters}", "--set", "padding=same", "--set", "hidden=5")
    assert train("two-conv", "--data", "tiny.npz", *FAST, *options, "--out", "a")[0] == 0
    assert settings("a")["set"] == {"filters": saved, "padding": "same", "hidden": 5}
    assert train("--config", "a/run.toml", "--out", "b")[0] == 0
    np.testing.assert_array_equal(theta("a"), theta("b"))
    assert train("--resume", "a", "--epochs", 3)[0] == 0


def test_a_setting_of_none_is_kept_with_the_run(train):
    options = ("--set", "bias=none", "--set", "hidden=5", "--set", "filters=2,3")
    assert train("two-conv", "--data", "tiny.npz", *FAST, *options, "--out", "a")[0] == 0
    assert settings("a")["set"]["bias"] == "none"
    assert train("--config", "a/run.toml", "--out", "b")[0] == 0
    np.testing.assert_array_equal(theta("a"), theta("b"))
    assert train("--resume", "a", "--epochs", 3)[0] == 0


NETS = """
from gpucnn import Network
from gpucnn.layers import BatchNorm, Conv2D, Dense, Flatten, LeakyReLU

def net(input_shape=(28, 28, 1), classes=10, *, norm=True, slope=0.1, filters=(2,), padding=None):
    assert type(norm) is bool and type(slope) is float, (norm, slope)
    layers = []
    for each in filters:
        layers += [Conv2D(each, 3, padding=padding or "valid"), *[BatchNorm()] * norm, LeakyReLU(slope)]
    return Network(input_shape, (*layers, Flatten(), Dense(classes)))
"""


@pytest.mark.parametrize("said", ["False", "false", "FALSE"])
def test_what_is_set_has_its_type(train, monkeypatch, said):
    """Truth values, small and negative numbers, and a tuple of one number; in the file of the run, too."""
    Path("nets_of_mine.py").write_text(NETS)
    monkeypatch.syspath_prepend(".")
    options = ("--set", f"norm={said}", "--set", "slope=-2.5e-1", "--set", "filters=3,", "--set", "padding=same")
    assert train("nets_of_mine:net", "--data", "tiny.npz", *FAST, *options, "--out", "a")[0] == 0
    assert settings("a")["set"] == {"norm": False, "slope": -0.25, "filters": [3], "padding": "same"}
    model = gpucnn.load("a/model.safetensors", device="cpu")
    assert [type(each).__name__ for each in model.layers] == ["Conv2D", "LeakyReLU", "Flatten", "Dense"]
    assert (model.layers[0].filters, model.layers[1].slope) == (3, -0.25)
    assert train("--config", "a/run.toml", "--out", "b")[0] == 0
    np.testing.assert_array_equal(theta("a"), theta("b"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("7", 7), ("-7", -7), ("+7", 7), ("007", 7), ("7.", 7.0), (".5", 0.5), ("1e-3", 0.001), ("-2E2", -200.0)],
        *[("true", True), ("True", True), ("false", False), ("none", None), ("None", None), ("yes", "yes")],
        *[("1,2", (1, 2)), ("1, 2.5", (1, 2.5)), ("1,", (1,)), (",", ()), ("-1,2", (-1, 2)), ("1,x", "1,x")],
        *[("", ""), ("nan", "nan"), ("inf", "inf"), ("1_000", "1_000"), ("0x10", "0x10"), ("1,,2", "1,,2"), ("²", "²")],
        ("9" * 5000, "9" * 5000),
    ],
)
def test_values_that_are_set(text, value):
    found = network_settings.value(text)
    assert (type(found), found) == (type(value), value)
    if not isinstance(value, str):
        assert network_settings.value(networks.as_text(value)) == value


@pytest.mark.parametrize("data", ["digits", "MNIST", "tiny.npz", "folder"])
def test_data_in_the_place_of_a_network_is_told_where_it_goes(train, data):
    Path("folder").mkdir()
    status, _, err = train(data)
    assert (status, f"gpucnn: {data}: data, and no network; say `gpucnn train --data {data}`" in err) == (1, True)


def test_a_file_of_another_network_or_version_is_told_of(train):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    text, repeat = Path("a/run.toml").read_text(), ("--config", "b.toml", "--out", "b", "--force")
    assert "parameters = 1028\n" in text
    for old, new, says in (
        ("", "", ""),
        (
            "parameters = 1028",
            "parameters = 7",
            "had 7 parameters then, and has 1,028 parameters here: this is another",
        ),
        (
            "parameters = 1028\n",
            "",
            "does not say how many parameters softmax-regression had then, and here it has 1,028",
        ),
        ('gpucnn = "', 'gpucnn = "0.0.', f"wrote it, and this is {gpucnn.__version__}\n"),
        (text[text.index("\n[made]") :], "", ""),
    ):
        Path("b.toml").write_text(text.replace(old, new))
        _, _, err = train(*repeat)
        assert says in err
        assert ("b.toml: " in err) == bool(says)
        assert "b.toml: " not in train(*repeat, "--data", "tiny.npz")[2]


def test_a_run_that_is_resumed_when_it_is_over_ends_its_log(train):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    before = Path("a/log.txt").read_text()
    train("--resume", "a")
    added = Path("a/log.txt").read_text().removeprefix(before)
    assert "is finished: softmax-regression" in added
    assert "end: test accuracy" in added


def test_resume_says_where_the_run_stands(train):
    """Finished; asked for more; without a state that can be read; ended by a callback; without a state."""
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    _, _, err = train("--resume", "a")
    assert "the run in a is finished (all is trained), and nothing is left to do; --epochs 4, or another" in err
    _, _, err = train("--resume", "a", "--epochs", 3)
    assert "the run in a goes on with epoch 3 of 3" in err
    for state in Path("a/checkpoints").iterdir():
        state.write_bytes(b"nothing")
    Path("a/model.safetensors").unlink()
    _, _, err = train("--resume", "a", "--patience", 1, "--epochs", 50, "--lr", 5, "--anyway")
    assert "the run in a begins anew: none of its states can be read: they are damaged\n" in err
    assert err.count("; the run begins anew\n") == 1
    log = Path("a/log.txt").read_text()
    assert "begins anew: softmax-regression" in log
    assert "; the run begins anew\n" in log
    _, _, err = train("--resume", "a")
    assert re.search(r"is finished \(\d+ of 50 epochs trained, loss has not improved in 1 epoch", err)
    shutil.rmtree("a/checkpoints")
    Path("a/model.safetensors").unlink()
    _, _, err = train("--resume", "a")
    assert "the run in a begins anew: no state was saved\n" in err


def damage(folder):
    for state in Path(folder, "checkpoints").iterdir():
        state.write_bytes(state.read_bytes()[:-9])


def test_a_run_whose_states_are_damaged_begins_anew_from_its_init(train):
    assert train("softmax-regression", "--data", "tiny.npz", *FAST, "--seed", 5, "--out", "a")[0] == 0
    options = (*SHORT, "--epochs", 2, "--init", "a/model.safetensors", "--out", "b")
    assert train(*options)[0] == 0
    expected = theta("b")
    damage("b")
    Path("b/model.safetensors").unlink()
    assert train("--resume", "b")[0] == 0
    np.testing.assert_array_equal(theta("b"), expected)
    damage("b")
    Path("b/model.safetensors").unlink()
    Path("a/model.safetensors").unlink()
    before = contents("b")
    status, _, err = train("--resume", "b")
    assert (status, "a/model.safetensors: no such file" in err) == (1, True)
    assert contents("b") == before


def test_a_trained_model_is_not_lost_where_its_run_would_begin_anew(train):
    assert train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")[0] == 0
    expected = theta("a")
    damage("a")
    before = contents("a")
    status, _, err = train("--resume", "a")
    assert status == 1
    assert "--resume a: it holds a trained model (model.safetensors), but none of its states can be read" in err
    assert "say `gpucnn train --config a/run.toml --out DIR` to train in another folder, or `--out a --force`" in err
    assert contents("a") == before
    shutil.rmtree("a/checkpoints")
    before = contents("a")
    status, _, err = train("--resume", "a", "--epochs", 1, "--anyway")
    assert (status, "(model.safetensors), but no state was saved, so the run would begin anew" in err) == (1, True)
    assert contents("a") == before
    for advised in ("b",), ("a", "--force"):
        assert train("--config", "a/run.toml", "--out", *advised)[0] == 0
        np.testing.assert_array_equal(theta(advised[0]), expected)
    assert train("--resume", "a")[0] == 0


def test_a_state_is_read_once(train, monkeypatch):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    paths, read = [], checkpoint.read
    monkeypatch.setattr(checkpoint, "read", lambda path: paths.append(Path(path).name) or read(path))
    assert train("--resume", "a", "--epochs", 3)[0] == 0
    assert paths == [max(paths)]
    assert paths[0].startswith("step-")


def test_fewer_epochs_than_are_trained_are_refused(train):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    before = contents("a")
    status, _, err = train("--resume", "a", "--epochs", 1)
    assert status == 1
    assert "2 epochs are trained already, and 1 are asked for; ask for more" in err
    assert "the run in a" not in err
    assert contents("a") == before


def test_a_seed_that_changes_what_is_held_out_is_what_differs(train):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    before = Path("a/run.toml").read_text()
    assert train("--resume", "a", "--seed", 3, "--anyway")[0] == 0
    assert Path("a/run.toml").read_text() == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_places_that_are_no_folders_and_no_files(train):
    Path("file").write_text("")
    os.mkfifo("pipe")
    assert "the folder of a run was expected" in train("--resume", "file")[2]
    assert "the folder of a run was expected" in train("--resume", "")[2]
    assert "an empty text was given" in train("softmax-regression", "--data", "tiny.npz", "--out", "")[2]
    assert "pipe: it is no regular file" in train("--config", "pipe")[2]
    Path("large.toml").write_text("#" * (1 << 21))
    assert "large.toml: it is larger than" in train("--config", "large.toml")[2]


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.2])
def test_ctrl_c_behind_the_last_epoch_saves_all(seconds):
    command = [sys.executable, "-m", "gpucnn", "train", "softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a"]
    path = {"PYTHONPATH": str(Path(gpucnn.__file__).parents[1])}
    process = subprocess.Popen(
        command, env=os.environ | path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while not process.stderr.readline().startswith("epoch 2/2"):
        assert process.poll() is None
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (0, 130, -signal.SIGINT)
    assert gpucnn.load("a/model.safetensors", device="cpu").parameters
    assert Path("a/checkpoints").exists()
    assert len(Path("a/metrics.jsonl").read_text().splitlines()) == 2


SHORT = ("softmax-regression", "--data", "tiny.npz", "--device", "cpu", "--threads", "1", "--batch-size", "8")


def test_early_stopping_and_the_best_epoch(train):
    options = ("--epochs", 40, "--lr", 0.3, "--patience", 2, "--watch", "accuracy", "--validation", 0.3, "--out", "a")
    status, out, err = train(*SHORT, *options, "--json")
    lines = [json.loads(line) for line in Path("a/metrics.jsonl").read_text().splitlines()]
    result = json.loads(out)
    assert status == 0
    assert result["epochs"] == len(lines) < 40
    assert [line["epoch"] for line in lines if line.get("kept")] == [result["kept_epoch"]]
    assert result["stopped"] == f"accuracy has not improved in 2 epochs; the best was epoch {result['kept_epoch']}"
    assert f"{result['stopped']}; the parameters are those of epoch {result['kept_epoch']}" in err
    assert result["stopped"] in Path("a/log.txt").read_text()
    found = settings("a")
    assert (found["patience"], found["watch"]) == (2, "accuracy")
    train("--config", "a/run.toml", "--out", "b")
    np.testing.assert_array_equal(theta("a"), theta("b"))
    again = json.loads(train("--resume", "a", "--json")[1])
    assert again | {"seconds": 0, "images_per_second": 0} == result | {"seconds": 0, "images_per_second": 0}
    np.testing.assert_array_equal(theta("a"), theta("b"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--watch", "accuracy"), "--watch accuracy: say what it is for, too: --patience N or --keep best"),
        (("--keep", "bets"), "did you mean best?"),
        (("--patience", "2", "--watch", "accurate"), "did you mean accuracy?"),
        (("--keep", "best", "--validation", "0"), "nothing is held out"),
    ],
)
def test_what_cannot_be_watched(train, options, sentence):
    status, _, err = train(*SHORT, "--epochs", 2, *options, "--out", "a")
    assert status != 0
    assert sentence in " ".join(err.replace("│", " ").split())


def test_anyway_needs_a_run_to_go_on_with(train):
    status, _, err = train(*SHORT, "--anyway", "--out", "a")
    assert status == 1
    assert "--anyway: there is no run to go on with; say --resume DIR" in err
    assert not Path("a").exists()


def test_data_that_has_moved(train):
    assert train(*SHORT, "--epochs", 2, "--out", "a")[0] == 0
    Path("tiny.npz").rename("moved.npz")
    status, _, err = train("--resume", "a")
    assert status == 1
    assert "if the run's data has moved, say --data NEW --anyway beside --resume" in err
    status, _, err = train("--resume", "a", "--data", "moved.npz")
    assert "say --anyway to go on with it, as where the data has moved" in err
    assert train("--resume", "a", "--data", "moved.npz", "--epochs", 3, "--anyway")[0] == 0
    assert train("--resume", "a")[0] == 0


def test_the_optimiser_of_the_recipe_may_be_said(train):
    assert train("softmax-regression", *SHORT[1:], "--epochs", 2, "--out", "a")[0] == 0
    rule = gpucnn.networks.entry("softmax-regression").recipe.optimizer
    names = [name for name, each in gpucnn.optimizers.OPTIMIZERS.items() if each == rule or name == rule]
    assert names
    assert train("--resume", "a", "--optimizer", names[0])[0] == 0
    other = next(name for name in gpucnn.optimizers.OPTIMIZERS if name not in names)
    assert f"--optimizer {other} is not what the run began with" in train("--resume", "a", "--optimizer", other)[2]


MOVED = (
    *("--optimizer", "adamw", "--weight-decay", "0.1", "--decay", "kernels", "--clip-norm", "0.5", "--clip-value", "1"),
    *("--ema", "0.9", "--accumulate", "2", "--schedule", "warmup=0.2,polynomial=2"),
)


def test_what_is_set_of_the_optimiser_is_in_the_file_and_decides_the_run(train):
    assert train("two-conv", "--data", "tiny.npz", *FAST, *MOVED, "--out", "a")[0] == 0
    found = settings("a")
    wanted = {"optimizer": "adamw", "weight_decay": 0.1, "decay": "kernels", "clip_norm": 0.5, "clip_value": 1.0}
    wanted |= {"ema": 0.9, "accumulate": 2, "schedule": "warmup=0.2,polynomial=2", "lr": 0.001, "batch_size": 8}
    assert {name: found.get(name) for name in wanted} == wanted
    assert "momentum" not in found
    assert train("--config", "a/run.toml", "--out", "b")[0] == 0
    np.testing.assert_array_equal(theta("a"), theta("b"))
    for name in wanted.keys() - {"optimizer", "batch_size", "lr", "clip_value", "weight_decay"}:
        other = {"decay": "all", "accumulate": "1", "schedule": "cosine"}.get(name, "0.01")
        assert train("--config", "a/run.toml", f"--{name.replace('_', '-')}", other, "--out", name)[0] == 0
        assert not np.array_equal(theta("a"), theta(name)), name


def test_a_run_with_averages_that_is_over_goes_on_from_what_training_moves(train):
    assert train("two-conv", "--data", "tiny.npz", *FAST, *MOVED, "--out", "a")[0] == 0
    before = theta("a")
    assert train("--resume", "a")[0] == 0
    np.testing.assert_array_equal(theta("a"), before)
    status, _, err = train("--resume", "a", "--ema", "0.5")
    assert status == 1
    assert "--ema 0.5 is not what the run began with (the run began with 0.9)" in err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--optimizer", "adam", "--momentum", "0.5"), "--momentum 0.5: Adam has no momentum; it has beta1, beta2"),
        (("--optimizer", "muon", "--decay", "kernels"), "--decay kernels: Muon has no decay; it has momentum"),
        (("--optimizer", "rmsprob"), "'rmsprob' is not known; did you mean rmsprop?"),
        (("--decay", "kernel"), "'kernel' is not known; did you mean kernels?"),
        (("--ema", "1"), "1.0: a part of 1, above 0, such as 0.999 was expected"),
        (("--ema", "0"), "0.0: a part of 1, above 0, such as 0.999 was expected"),
        (("--clip-norm", "0"), "0.0: a number above 0 was expected"),
        (("--weight-decay", "-1"), "-1.0: a number of at least 0 was expected"),
        (("--schedule", "cosin"), "'cosin' is not known; did you mean cosine?"),
        (("--schedule", "warmup=0.1"), "a warm-up comes before another schedule"),
    ],
)
def test_settings_that_an_optimiser_does_not_have(train, options, sentence):
    status, _, err = train("two-conv", "--data", "tiny.npz", *FAST, *options, "--out", "a")
    assert status
    assert sentence in " ".join(err.replace("│", "").split())
    assert not Path("a").exists()


def test_a_model_of_other_classes_is_tuned(train):
    two = ("two-conv", "--data", "tiny.npz", *FAST, "--set", "hidden=6")
    assert train(*two, "--classes", "0,1", "--out", "a")[0] == 0
    begun = gpucnn.load("a/model.safetensors", device="cpu").parameters
    options = ("--init", "a/model.safetensors", "--freeze", "0/*, 3/*")
    status, _, err = train(*two, *options, "--out", "b")
    assert status == 0
    assert "not in a/model.safetensors, or of another shape there, and newly drawn: 9/weights, 9/bias" in err
    tuned = gpucnn.load("b/model.safetensors", device="cpu").parameters
    for name, value in tuned.items():
        same = value.shape == begun[name].shape and np.array_equal(value, begun[name])
        assert same == name.startswith(("0/", "3/"))
    status, _, err = train(*two, "--init", "a/model.safetensors", "--freeze", "3/*,9/*", "--out", "c")
    assert (status, Path("c").exists()) == (1, False)
    assert "--freeze 3/*,9/*: 9/weights, 9/bias would stay at random, since " in err
    assert "leave these to be trained" in err
    found = settings("b")
    assert (found["init"], found["freeze"]) == (str(Path("a/model.safetensors").resolve()), "0/*, 3/*")
    assert train("--config", "b/run.toml", "--out", "c")[0] == 0
    np.testing.assert_array_equal(theta("b"), theta("c"))
    Path("a/model.safetensors").unlink()
    assert train("--resume", "b", "--epochs", 3)[0] == 0
    assert "no such file" in train("--config", "b/run.toml", "--out", "d")[2]
    assert not Path("d").exists()
    status, _, err = train("softmax-regression", *two[1:-2], "--init", "b/model.safetensors", "--out", "d")
    assert status == 1
    assert "no parameter has the name and shape of one here" in err
    assert "no parameter's name fits '5/*'" in train(*two, "--freeze", "5/*", "--out", "d")[2]
    assert not Path("d").exists()


def test_the_file_to_begin_from_is_read_once(train, monkeypatch):
    """It may be large, and may change while the data are read."""
    two = ("two-conv", "--data", "tiny.npz", *FAST)
    assert train(*two, "--out", "a")[0] == 0
    paths, read = [], checkpoint.read
    monkeypatch.setattr(checkpoint, "read", lambda path: paths.append(Path(path).name) or read(path))
    assert train(*two, "--init", "a/model.safetensors", "--out", "b")[0] == 0
    assert paths == ["model.safetensors"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--init", "nowhere.safetensors"), "nowhere.safetensors: no such file"),
        (("--init", "text.safetensors"), "text.safetensors: not a whole safetensors file"),
        (("--freeze", "99/*"), "freeze: no parameter's name fits '99/*'; there are"),
        (("--freeze", "*"), "freeze='*' leaves no parameter to train"),
        (("--set", "colour=red"), "network two-conv has no setting 'colour'"),
        (("--set", "filters=0"), "two-conv: filters=0: one or more whole numbers of at least 1 were expected"),
        (("--loss", "hinge", "--label-smoothing", "0.1"), "--label-smoothing belongs to the loss softmax, Hinge"),
        (("--loss", "binary", "--class-weights", "1,1"), "--class-weights belong to the losses softmax, focal and"),
        (
            ("--threshold", "0.5"),
            "--threshold 0.5: the loss SoftmaxCrossEntropy() is of classes, and thresholds are for",
        ),
        (
            ("--loss", "multi-label", "--threshold", "best"),
            "--threshold best: f1, a number between 0 and 1, or one for",
        ),
        (("--class-weights", "balance"), "--class-weights balance: did you mean balanced? balanced, or a number"),
        (("--class-weights", ",".join("0" * 10)), "nothing would be learnt; give at least one class a number above 0"),
        (("--momentum", "0.5"), "--momentum 0.5: Adam has no momentum"),
        (("--watch", "loss"), "--watch loss: say what it is for"),
        (("--kernels", "cudnn"), "kernels 'cudnn' (--kernels) needs a CUDA device"),
        (("--precision", "tf32"), "precision 'tf32' (--precision) needs a CUDA device"),
        (("--out", "text.safetensors"), "--out text.safetensors: a file of that name is in the way"),
        (("--out", "there"), "--out there: it holds a finished run"),
    ],
)
def test_mistakes_are_found_before_the_data_are_read(train, options, sentence):
    Path("there").mkdir()
    for name in ("text.safetensors", "there/model.safetensors"):
        Path(name).write_text("text")
    status, _, err = train("two-conv", "--data", "data that are not there", "--device", "cpu", *options)
    assert status == 1
    assert sentence in " ".join(err.replace("│", " ").split())
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("lr", "two-conv", "--set", "colour=red"), "network two-conv has no setting 'colour'"),
        (("lr", "two-conv", "--momentum", "0.5"), "--momentum 0.5: Adam has no momentum"),
        (("lr", "two-conv", "--from", "1", "--to", "0.1"), "rates from 1 to 0.1 in 200 updates"),
        (("evaluate", "nowhere.safetensors", "--tta", "flop"), "tta 'flop': 'flop' is not known; did you mean flip?"),
        (("evaluate", "nowhere.safetensors", "--report", "--out", "text"), "text: the report cannot be written there"),
        (("evaluate", "nowhere.safetensors", "--report", "--out", "text/in"), "text/in: the report cannot be written"),
        (("predict", "nowhere.safetensors", "nothing.png", "--tta", "flop"), "tta 'flop': 'flop' is not known"),
        (("compare", "two-conv", "--devices", "cpu,tpu"), "device 'tpu': no such device"),
        (("compare", "two-conv", "--devices", "cuda+eagre"), "--devices cuda+eagre: no such device"),
    ],
)
def test_so_do_other_commands(monkeypatch, capsys, arguments, sentence):
    Path("text").write_text("text")
    data_of = () if arguments[0] == "predict" else ("--data", "data that are not there")
    monkeypatch.setattr("sys.argv", ["gpucnn", *arguments, *data_of])
    assert cli.main() == 1
    err = capsys.readouterr().err
    assert sentence in " ".join(err.replace("│", " ").split())


def test_the_last_layer_of_other_classes_is_told_of_and_left_out(train):
    two = ("two-conv", "--data", "tiny.npz", *FAST, "--set", "hidden=6")
    assert train(*two, "--classes", "0,1", "--out", "a")[0] == 0
    begun, options = gpucnn.load("a/model.safetensors", device="cpu").parameters, ("--init", "a/model.safetensors")
    others = (*two, "--classes", "1,2", *options)
    status, _, err = train(*others, "--out", "b")
    assert status == 0
    assert (
        "the last layer, 9/weights, 9/bias, is taken from a/model.safetensors, whose classes were 0, 1, and here they "
        "are 1, 2; say --init-except head to begin with a new one\n" in err
    )
    assert "the last layer" not in train(*two, "--classes", "0,1", *options, "--out", "same")[2]
    assert "the last layer" in train(*two, "--classes", "1,0", *options, "--out", "turned")[2]
    made = {}
    for name, pattern in (("c", "head"), ("d", "7/weights, 9/*")):
        status, _, err = train(*others, "--init-except", pattern, "--lr", "1e-30", "--out", name)
        assert (status, "the last layer" in err) == (0, False)
        made[name] = gpucnn.load(f"{name}/model.safetensors", device="cpu").parameters
        assert "left out by --init-except, and newly drawn: " in err
        left = {each for each, value in made[name].items() if not np.allclose(value, begun[each], atol=1e-20)}
        assert left - {"9/bias"} == {"9/weights"} | ({"7/weights"} if name == "d" else set())
    assert settings("c")["init_except"] == "head"
    assert train("--config", "c/run.toml", "--out", "e")[0] == 0
    np.testing.assert_array_equal(theta("c"), theta("e"))
    assert train("--resume", "c", "--epochs", 3)[0] == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--init-except", "head"), "--init-except head: it is for --init MODEL; say that, too"),
        (("--init", "a/model.safetensors", "--init-except", "8/*"), "left out: no parameter's name fits '8/*'; there"),
        (
            ("--init", "a/model.safetensors", "--init-except", "head", "--freeze", "9/*"),
            "--freeze 9/*: 9/weights, 9/bias would stay at random, since --init-except leaves them out; leave these",
        ),
        (
            ("--init", "a/model.safetensors", "--init-except", "*"),
            "all that has the name and shape of one here, is left out",
        ),
    ],
)
def test_parameters_that_cannot_be_left_out(train, options, sentence):
    two = ("two-conv", "--data", "tiny.npz", *FAST, "--set", "hidden=6")
    assert train(*two, "--out", "a")[0] == 0
    status, _, err = train(*two, *options, "--out", "b")
    assert (status, Path("b").exists()) == (1, False)
    assert sentence in err


def test_a_run_that_went_on_with_others_does_not_claim_to_be_repeated(train):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--lr", "0.01", "--out", "a")
    assert "repeats it" in Path("a/run.toml").read_text()
    status, _, err = train("--resume", "a", "--lr", "0.5", "--epochs", "4", "--anyway", "-q")
    said = "from epoch 3, update 11, on: lr 0.5 in place of 0.01 and epochs 4 in place of 2"
    said += ", to which the schedule is stretched"
    assert status == 0
    assert f"{said}; this is another run than the one that was begun" in err
    assert said in Path("a/log.txt").read_text()
    text = Path("a/run.toml").read_text()
    assert "does not repeat it" in text
    assert "The same settings give the same bits" not in text
    assert settings("a")["made"]["changed"] == [said]
    assert said not in train("--resume", "a")[2]  # all is trained
    assert "anyway" not in train("--resume", "a", "--epochs", 5)[2]
    changed = settings("a")["made"]["changed"]
    assert [changed[0], changed[1].partition(":")[0]] == [said, "from epoch 5, update 21, on"]
    assert "the run that wrote it had other settings before" in train("--config", "a/run.toml", "--out", "b")[2]
    assert "changed" not in settings("b")["made"]


def test_a_constant_rate_may_be_trained_longer(train):
    constant = ("softmax-regression", "--data", "tiny.npz", *FAST, "--schedule", "constant")
    train(*constant, "--out", "a")
    assert "another run" not in train("--resume", "a", "--epochs", 4)[2]
    assert train("--config", "a/run.toml", "--out", "b")[0] == 0
    np.testing.assert_array_equal(theta("a"), theta("b"))


def test_a_network_is_not_set_otherwise_where_a_run_goes_on(train):
    train("two-conv", "--data", "tiny.npz", *FAST, "--set", "filters=2,3", "--out", "a")
    status, _, err = train("--resume", "a", "--set", "filters=4,8", "--set", "hidden=5")
    assert status == 1
    assert (
        "--set filters=4,8 --set hidden=5 is not what the run began with (the run began with --set filters=2,3); l"
        in err
    )
    train("two-conv", "--data", "tiny.npz", *FAST, "--out", "b")
    status, _, err = train("--resume", "b", "--set", "filters=4,8")
    assert "--set filters=4,8 is not what the run began with; leave it out" in err


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    for k in range(24):
        path = Path("pictures", "ab"[k % 2], f"{k}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 16), dtype=np.uint8)).save(path)
    return "pictures"


OF_PICTURES = ("two-conv", "--device", "cpu", "--threads", "1", "--batch-size", "8", "--augment", "none")


def test_a_run_of_pictures_says_their_size_and_channels(train, pictures):
    assert train(*OF_PICTURES, "--epochs", 1, "--data", pictures, "--out", "a")[0] == 0
    assert (settings("a")["size"], settings("a")["channels"]) == ("28x28", 1)
    assert train("--config", "a/run.toml", "--out", "b")[0] == 0
    assert (theta("a") == theta("b")).all()
    assert train("--resume", "a", "--size", "28", "--channels", 1)[0] == 0
    status, _, err = train("--resume", "a", "--size", "30")
    assert status == 1
    assert "--size 30 is not what the run began with (the run began with 28x28)" in err


def test_a_run_whose_file_does_not_say_the_size_of_its_pictures_goes_on_with_it(train, pictures, monkeypatch):
    monkeypatch.setattr(pace.Pace, "RATIO", 0.0)  # every epoch is saved
    usual = (*OF_PICTURES, "--data", pictures, "--size", "32x30")
    assert train(*usual, "--epochs", 2, "--out", "whole")[0] == 0
    assert train(*usual, "--epochs", 2, "--out", "cut")[0] == 0
    max(Path("cut", "checkpoints").iterdir()).unlink()
    text = Path("cut/run.toml").read_text()
    Path("cut/run.toml").write_text(text.replace('size = "32x30"\n', "").replace("channels = 1\n", ""))
    status, _, err = train("--resume", "cut")
    assert status == 1
    assert "--resume cut: its pictures were read as 32x30x1, and are read as 28x28x1 here" in err
    assert "say --size 32x30 beside --resume" in err
    status, _, err = train("--config", "cut/run.toml", "--out", "other")
    assert status == 0
    assert "its pictures were read as 32x30x1, and are read as 28x28x1 here; say --size 32x30\n" in err
    assert train("--resume", "cut", "--size", "32x30")[0] == 0
    assert (theta("cut") == theta("whole")).all()
    assert settings("cut")["size"] == "32x30"


def test_a_finished_run_is_called_so_only_where_its_settings_are_asked_for(train):
    train("softmax-regression", "--data", "tiny.npz", *FAST, "--out", "a")
    np.savez("tiny.npz", **{name: array[::-1] for name, array in np.load("tiny.npz").items()})
    status, _, err = train("--resume", "a")
    assert status == 1
    assert "pictures or labels are others than when it began" in err
    assert "is finished" not in err


def test_a_model_is_no_file_of_settings(train):
    Path("model.safetensors").write_bytes(b"\x10\xf0\xff\x00")
    status, _, err = train("--config", "model.safetensors")
    assert status == 1
    assert "model.safetensors: it is no text in UTF-8; a run.toml of `gpucnn train` was expected" in err
