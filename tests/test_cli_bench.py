"""The command `gpucnn bench`: its first word is a mode or a network, and each mode takes its own options."""

from __future__ import annotations

import importlib
import json

import pytest
from test_cli import gpucnn_, misused, refused  # noqa: F401

from gpucnn.command import bench as cli_bench
from gpucnn.report.bench import others


@pytest.fixture
def called(monkeypatch):
    """What a mode's function was called with, by name; none of them runs."""
    found = {}
    for mode in cli_bench.MODES:
        name = mode.replace("-", "_")
        module = importlib.import_module(f"gpucnn.report.bench.{name}")
        monkeypatch.setattr(module, name, lambda mode=mode, **more: found.update({mode: more}) or {"mode": mode})
    return found


@pytest.mark.parametrize(
    ("words", "mode", "expected"),
    [
        ((), "steps", {}),
        (("two-conv",), "steps", {"names": ["two-conv"]}),
        (("two-conv", "two-conv-wide"), "steps", {"names": ["two-conv", "two-conv-wide"]}),
        (("steps", "fast", "--batch", "3,4"), "steps", {"names": ["fast"], "batches": [3, 4]}),
        (("time-to", "fast", "--accuracy", "0.9"), "time-to", {"network": "fast", "accuracy": 0.9, "data": "mnist"}),
        (("time-to", "--data", "digits"), "time-to", {"accuracy": 0.99, "data": "digits"}),
        (("scaling", "two-conv", "--batch", "8,16"), "scaling", {"network": "two-conv", "batches": [8, 16]}),
        (("memory", "two-conv-wide", "--batch", "64"), "memory", {"network": "two-conv-wide", "batch": 64}),
        (("profile", "single-filter", "--all-kernels"), "profile", {"network": "single-filter"}),
        (("scaling", "own:scaling"), "scaling", {"network": "own:scaling"}),
    ],
)
def test_the_first_word_is_a_mode_or_a_network(gpucnn_, called, words, mode, expected):  # noqa: F811
    status, out, _ = gpucnn_("bench", *words, "--rounds", 2, "--json")
    assert (status, json.loads(out)) == (0, {"mode": mode})
    assert called[mode].pop("options").rounds == 2
    assert called[mode].pop("show")
    assert called == {mode: expected}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("scalling",), "'scalling' is neither a mode nor a network; did you mean bench scaling?"),
        (("timeto", "fast"), "'timeto' is neither a mode nor a network; did you mean bench time-to?"),
        (("--accuracy", "0.9"), "--accuracy: bench steps does not use it; use it with time-to"),
        (("time-to", "--batch", "3"), "--batch: bench time-to does not use it; use it with steps or scaling or memory"),
        (("memory", "--data", "digits"), "--data: bench memory does not use it; use it with time-to"),
        (("profile", "--threads", "2"), "--threads: bench profile does not use it; use it with steps or time-to or"),
        (
            ("memory", "--all-kernels"),
            "--all-kernels: bench memory does not use it; use it with steps or scaling",
        ),
        (("profile", "--no-autotune"), "--autotune: bench profile does not use it; use it with steps or scaling"),
        (("scaling", "fast", "two-conv"), "bench scaling measures one network, 2 were named: fast, two-conv"),
        (("memory", "--batch", "3,4"), "--batch: bench memory takes one number, 2 were given"),
        (("--batch", "x"), "'x': whole numbers with commas between were expected"),
    ],
)
def test_what_a_mode_does_not_take(misused, called, words, says):  # noqa: F811
    misused("bench", *words, says=says)
    assert not called


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tow-conv",), "network 'tow-conv' is not known; did you mean two-conv?"),
        (("profile", "tow-conv"), "network 'tow-conv' is not known; did you mean two-conv?"),
        (("profile", "--batch", "0"), "--batch 0: whole numbers of at least 1 were expected"),
        (("time-to", "--accuracy", "1.5"), "--accuracy 1.5: a part of 1 was expected"),
    ],
)
def test_what_cannot_be_measured(refused, words, says):  # noqa: F811
    refused("bench", *words, says=says)


def test_a_profile_from_the_command(gpucnn_, monkeypatch):  # noqa: F811
    monkeypatch.setattr(others, "installed", lambda name: False)
    status, out, err = gpucnn_("bench", "profile", "softmax-regression", "--batch", 4, "--rounds", 2, "--json")
    (row,) = json.loads(out)["rows"]
    assert (status, row["network"], row["batch"], row["rounds"]) == (0, "softmax-regression", 4, 2)
    assert "1 Dense(10)" in err
    assert len(out.splitlines()) == 1


def test_help_names_every_mode(gpucnn_):  # noqa: F811
    _, out, _ = gpucnn_("bench", "--help")
    assert all(f"{mode}: " in out for mode in cli_bench.MODES)
