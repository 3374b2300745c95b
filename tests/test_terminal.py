"""What the terminal shows: help that fits, what may have been meant, completion, and results with a sentence first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import elsewhere, gpucnn_, misused, refused, run_python  # noqa: F401
from typer.main import get_command

from gpucnn import command as cli
from gpucnn.command import help as texts
from gpucnn.report.bench.summary import summary
from gpucnn.report.compare import CompareOptions, text
from gpucnn.report.compare.result import Agreement, Comparison, Row
from gpucnn.report.compare.speed import Speed

APP = get_command(cli.app)
COMMANDS = {name: each for name, each in APP.commands.items() if not hasattr(each, "commands")}
COMMANDS |= {f"data {name}": each for name, each in APP.commands["data"].commands.items()}


# --- help


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_and_leaves_room_for_its_texts(gpucnn_, monkeypatch, name, columns):  # noqa: F811
    monkeypatch.setenv("COLUMNS", str(columns))
    status, out, _ = gpucnn_(*name.split(), "--help")
    lines = out.splitlines()
    assert status == 0
    assert max(map(len, lines)) <= columns
    assert "…" not in out
    assert not re.search(r"<\w+", out), "a kind of value stands where a name for it should"
    texts_of_options = [line for line in lines if line.startswith("│ ") and "--" not in line]
    starts = [len(line) - len(line[1:].lstrip()) for line in texts_of_options if line.strip("│ ")]
    if name and starts:
        assert columns - max(starts) > (20 if columns == 60 else 36), "the texts are squeezed"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_parse(name):
    command = COMMANDS[name]
    if name.startswith("data ") or name == "help":
        return
    lines = command.epilog.splitlines()
    assert lines[0] == "Examples:"
    for line in lines[1:]:
        words = line.split()
        assert words[:2] == ["gpucnn", name]
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known


def test_every_option_of_a_long_command_has_a_group():
    for name, command in COMMANDS.items():
        if len(command.params) + 1 >= texts.MANY:
            options = {each.name for each in command.params if each.param_type_name == "option"}
            assert options <= set(texts.PLACES), f"{name}: {options - set(texts.PLACES)} in no group of command/help.py"


def test_every_sentence_of_the_help_ends():
    for name, command in COMMANDS.items():
        for each in command.params:
            assert each.help, f"{name} {each.name}"
            assert each.help.rstrip().endswith("."), f"{name}: {each.help}"
            assert each.help[0].isupper(), f"{name}: {each.help}"


@pytest.mark.parametrize("words", [("train",), ("data", "show"), ()])
def test_help_of_a_command_by_its_name(gpucnn_, words):  # noqa: F811
    assert gpucnn_("help", *words) == gpucnn_(*words, "--help")


def test_brackets_in_help_are_shown(gpucnn_):  # noqa: F811
    assert "pip install starlette uvicorn" in " ".join(gpucnn_("serve", "--help")[1].split())


def test_help_of_what_there_is_not(misused):  # noqa: F811
    misused("help", "trian", says="No such command 'trian'. Did you mean 'train'?")


# --- what may have been meant


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--epoch", "No such option: --epoch; did you mean --epochs?"),
        ("--batchsize", "; did you mean --batch-size?"),
        ("--batch_size", "; did you mean --batch-size?"),
        ("--learning-rate", "; did you mean --lr?"),
        ("--gpu", "; did you mean --device cuda?"),
        ("--no-grahp", "; did you mean --no-graph?"),
        ("--dropout", "(layers, such as Dropout(0.5), are written in a network of your own"),
        ("--batch-norm", "(layers, such as Dropout(0.5), are written"),
        ("--hidden", "(a network's own settings are given by --set, as in --set hidden=64"),
        ("--network", "(the network is a word of its own, as in `gpucnn train fast`)"),
        ("--val-split", "; did you mean --validation?"),
        ("--mixup", "; did you mean --augment mixup=0.2?"),
    ],
)
def test_an_option_that_was_meant_or_where_it_is_said(misused, option, says):  # noqa: F811
    misused("train", option, "3", says=says)


def test_words_of_other_programs_are_options_and_values():
    """What a hint tells to write is taken."""
    train = get_command(cli.app).commands["train"]
    known = {name for each in train.params for name in (*each.opts, *each.secondary_opts)}
    assert not known & {f"--{word}" for word in (*texts.MEANT, *texts.MADE_OF)}
    for hint in texts.MEANT.values():
        option, *value = hint.split()
        assert option in known
        if value:
            train.make_context("train", [option, *value])


@pytest.mark.parametrize("option", ["--dropout", "--frobnicate", "--shape"])
def test_nothing_misleads(gpucnn_, option):  # noqa: F811
    status, _, err = gpucnn_("train", option, "3")
    assert status == 2
    assert f"No such option: {option} " in err
    assert "did you mean" not in err
    assert "ossible options" not in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ("--device", "cdua"),
            "no such device; give auto, cpu, cuda or cuda:N with N counted from 0; did you",
        ),
        (("--device", "gpu"), "did you mean cuda?"),
        (("--set", "hiden=3"), "ties=first; did you mean hidden?"),
        (("--class-weights", "balansed"), "did you mean balanced?"),
        (("--data", "minst"), "did you mean mnist?"),
    ],
)
def test_a_value_that_was_meant(refused, options, says):  # noqa: F811
    refused("train", *options, says=says)


# --- completion


def asking(words):
    """The environment in which the shell asks for what may stand for the last of the words."""
    return {"_GPUCNN_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("gpucnn", "tr"), ["train"]),
        (("gpucnn", "train", "two"), ["two-conv", "two-conv-wide"]),
        (("gpucnn", "train", "--optimizer", "ad"), ["adam", "adamw"]),
        (("gpucnn", "train", "--opt"), ["--optimizer"]),
        (("gpucnn", "networks", "tiny"), ["tiny-99"]),
        (("gpucnn", "check", "tiny"), ["tiny-99"]),
        (("gpucnn", "help", "ev"), ["evaluate"]),
        (("gpucnn", "bench", "pr"), ["profile"]),
        (("gpucnn", "data", "show", "d"), ["digits"]),
        (("gpucnn", "data", "verify", "m"), ["mnist"]),
        (("gpucnn", "augment", "d"), ["digits"]),
        (("gpucnn", "train", "--data", "d"), ["digits"]),
        (("gpucnn", "train", "--device", "c"), ["cpu", "cuda"]),
        (("gpucnn", "train", "--schedule", "warmup=0.1,c"), ["warmup=0.1,constant", "warmup=0.1,cosine"]),
        (("gpucnn", "train", "--augment", "f"), ["flip"]),
        (("gpucnn", "train", "--set", "f"), ["filters=8,16"]),
    ],
)
def test_the_shell_completes(gpucnn_, monkeypatch, words, offered):  # noqa: F811
    for name, value in asking(words).items():
        monkeypatch.setenv(name, value)
    assert gpucnn_()[1].split() == offered


def test_a_process_completes():
    run, environment = [sys.executable, "-m", "gpucnn"], os.environ | asking(("gpucnn", "tr"))
    done = subprocess.run(run, capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.split() == ["train"]


def test_completion_is_offered_and_installs_itself(gpucnn_, tmp_path):  # noqa: F811
    assert "--install-completion" in gpucnn_("--help")[1]
    environment = os.environ | {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    run = [sys.executable, "-m", "gpucnn", "--install-completion", "bash"]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    (script,) = Path(tmp_path, ".bash_completions").iterdir()
    assert "_GPUCNN_COMPLETE=complete_bash" in script.read_text()


# --- a sentence first


def comparison(float32=1.3e-7, float64=2e-13, speeds=(), devices=("cpu", "reversed", "cuda:0")):
    def agreement(dtype, worst, theta):
        small = dict.fromkeys(("reversed", "reference"), 1e-07 if dtype == "float32" else 1e-15)
        rows = [Row("0 Conv2D", "output", (3, 3, 1), {**small, "cuda:0": worst})]
        return Agreement(
            dtype, rows, {**{name: [value] * 2 for name, value in small.items()}, "cuda:0": [theta] * 2}, {}
        )

    both = [agreement("float32", float32, 1e-7), agreement("float64", 1e-15, float64)]
    how = CompareOptions("two-conv", ("cpu", "cuda"), steps=2)
    about = dict.fromkeys(devices, "")
    return Comparison("mnist", 10, how, 64, 2, "Adam(0.9)", None, about, both, list(speeds))


def speeds(*rates):
    """rates: for batches of 32, 128, ..., how many times as fast the GPU is."""
    for k, times in enumerate(rates):
        batch = 32 * 4**k
        yield Speed("cpu", batch, 1.0, 0.0, 0.01)
        yield Speed("cuda:0", batch, 1.0, 0.001, 0.01 / times)


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ((0.5, 4, 12), "and is faster from batches of 128 on, 12 times as fast with batches of 512."),
        ((0.5, 0.25), "and the CPU is 4 times as fast with batches of 128."),
        ((3,), "and is 3 times as fast with batches of 32."),
    ],
)
def test_a_comparison_begins_with_a_sentence(rates, says):
    found = comparison(speeds=speeds(*rates))
    first = text.brief(found).splitlines()[0]
    agrees = "cuda:0 agrees with the CPU to 6 digits in float32, and to 12 in float64 after 2 steps, "
    agrees = f"two-conv, 10 parameters, on mnist: {agrees}"
    assert first == agrees + says
    assert text.render(found).splitlines()[0] == first
    assert "output 0 Conv2D" in text.render(found)
    assert "output 0 Conv2D" not in text.brief(found)


def test_what_disagrees_is_said_first():
    first = text.brief(comparison(float32=1e-3, speeds=speeds(2))).splitlines()[0]
    assert (
        "cuda:0 DISAGREES with the CPU: worst of one pass in float32 by 1.0e-03, at most 1.0e-05 was expected" in first
    )


def row(ours, theirs, ratio, peer="PyTorch", **more):
    figure = {name: value and {"median": value} for name, value in (("gpucnn", ours), (peer, theirs))}
    common = {"network": "two-conv", "what": "training step", "batch": 128, "rounds": 7, "peer": peer}
    return common | {"milliseconds": figure, "ratio": ratio and {"median": ratio}} | more


def test_a_bench_begins_with_a_sentence():
    found = summary({"mode": "steps", "rows": [row(1.2, 3.0, 0.4), row(1.0, 2.0, 0.5)]})
    assert found.splitlines()[0] == "gpucnn takes 0.40 to 0.50 times as long as PyTorch."
    assert re.search(r"^two-conv +training step +128 +1.2 +3 +PyTorch +0.40$", found, re.MULTILINE)
    found = summary({"mode": "steps", "rows": [row(1.2, 3.0, 0.4), row(1.0, 2.0, 0.5, "JAX")]})
    assert found.splitlines()[0] == "gpucnn takes 0.40 to 0.50 times as long as the better of PyTorch and JAX."
    memory = row(1.0, 2.0, 0.5) | {"what": "memory"}
    memory["megabytes"] = memory.pop("milliseconds")
    assert summary({"mode": "memory", "rows": [memory]}).startswith(
        "gpucnn holds 0.50 times as much memory as PyTorch."
    )


def test_a_bench_that_measured_little_says_so():
    alone = row(1.2, None, None) | {"peer": None}
    found = summary({"mode": "steps", "rows": [alone, row(1.0, 1.0, 1.0, rounds=0)]})
    assert found.startswith(
        "No other library was measured beside gpucnn; --verbose says why.\n1 of 2 rows have no figures"
    )
    found = summary({"mode": "steps", "rows": [row(1.0, 1.0, 1.0, rounds=0)]})
    assert found == "1 of 1 rows have no figures, because other programs used the CPUs."


def test_scaling_says_how_even_it_is():
    evenness = [{"farthest_from_mean": 0.12}, {"farthest_from_mean": None}]
    found = summary({"mode": "scaling", "rows": [row(1.2, 3.0, 0.4)], "evenness": evenness})
    assert found.splitlines()[1] == "Its time per image is at most 12% from the mean over all sizes."


def test_details_are_for_those_who_ask(gpucnn_):  # noqa: F811
    command = ("bench", "profile", "softmax-regression", "--batch", 4, "--rounds", 2)
    status, out, err = gpucnn_(*command)
    assert (status, err) == (0, "")
    assert out.startswith("A training step of softmax-regression on 4 images takes ")
    assert "multiply-adds as the equations count them" not in out
    assert "1 Dense(10)" in out
    assert "multiply-adds as the equations count them" in gpucnn_(*command, "--verbose")[1]
