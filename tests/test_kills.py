"""A run that is killed at random moments, and resumed, ends with the same bits and leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import gpucnn

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by /proc")

# States are saved after every update, and helper processes share steps however small they are.
COMMAND = """
import sys
from gpucnn.command import main
from gpucnn.engine import sharded_step
from gpucnn.model import checkpoints
from gpucnn.training import pace
checkpoints.LEAST, pace.Pace.RATIO, sharded_step.WORTH_A_WORKER = 0.0, {ratio}, 1e-9
if __name__ == "__main__":
    sys.exit(main())
"""
NESTED = """
from gpucnn import Network
from gpucnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, Parallel, ReLU, Residual, Shared

def network(input_shape, classes):
    conv = Conv2D(8, 3, padding=1, bias=None)
    body = Shared("conv", conv), BatchNorm(), ReLU(), Dropout(0.2), Shared("conv", conv), BatchNorm()
    layers = conv, Residual(body), ReLU(), Parallel((MaxPool2D(), Conv2D(4, 2, 2))), Flatten(), Dense(classes)
    return Network(input_shape, layers)
"""
OPTIONS = ("--data", "tiny.npz", "--device", "cpu", "--threads", "3", "--batch-size", "32", "--epochs", "40")
OPTIONS += ("--validation", "0.2", "--patience", "30", "--watch", "accuracy")
FROZEN = {"two-conv": "3/bias", "nested:network": "0/kernel"}
MARK = "GPUCNN_TEST_OF_KILLS"
LONGEST = 180.0  # seconds until a process has ended


def environment(mark):
    path = str(Path(gpucnn.__file__).parents[1])
    return os.environ | {"PYTHONPATH": path, MARK: mark}


def start(mark, *arguments, ratio=0.0):
    Path("train.py").write_text(COMMAND.format(ratio=ratio))
    return subprocess.Popen(
        [sys.executable, "train.py", "train", *arguments],
        env=environment(mark),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes(mark):
    """Those that were started with the mark and still live."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def newest(folder):
    return max((path.name for path in Path(folder, "checkpoints").glob("step-*")), default="")


def killed(process, folder, rng):
    """Kill it at a random moment of its training, or before; False where it ended first."""
    before, started = newest(folder), time.monotonic()
    if rng.random() < 0.8:
        while process.poll() is None and newest(folder) == before and time.monotonic() - started < LONGEST:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.2))
    else:
        time.sleep(rng.uniform(0, 2))
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=LONGEST)
    return not ended


def metrics(folder):
    lines = map(json.loads, Path(folder, "metrics.jsonl").read_text().splitlines())
    return [line | {"seconds": 0} for line in lines]


@pytest.mark.parametrize(
    ("network", "kills"),
    [
        pytest.param("two-conv", 4, marks=pytest.mark.slow),
        pytest.param("two-conv", 100, marks=pytest.mark.slow),
        ("nested:network", 2),
    ],
)
def test_killed_runs_end_with_the_same_bits(tmp_path, monkeypatch, network, kills):
    monkeypatch.chdir(tmp_path)
    Path("nested.py").write_text(NESTED)
    train = network, *OPTIONS, "--freeze", FROZEN[network]
    draw, rng = np.random.default_rng(0), random.Random(kills)
    images, labels = draw.integers(0, 256, (200, 16, 16), dtype=np.uint8), np.arange(200) % 4
    np.savez("tiny.npz", train_images=images, train_labels=labels, test_images=images[:9], test_labels=labels[:9])
    shared = {*Path("/dev/shm").glob("*gpucnn*")}
    mark, done, runs = str(os.getpid()), 0, 0
    while done < kills:
        seed = ("--seed", str(runs), "--augment", "shift=1")
        whole = start(mark, *train, *seed, "--out", f"whole-{runs}", ratio=100.0)
        assert whole.wait(LONGEST) == 0
        folder = Path(f"cut-{runs}")
        process = start(mark, *train, *seed, "--out", str(folder))
        while done < kills and killed(process, folder, rng):
            done += 1
            # no state is saved before run.toml: a run without it begins anew
            anew = *train, *seed, "--out", str(folder)
            again = ("--resume", str(folder)) if (folder / "run.toml").exists() else anew
            process = start(mark, *again)
        out, err = process.communicate(timeout=LONGEST)
        if process.returncode:  # it ended while it was watched
            assert process.returncode == -signal.SIGKILL, err
            process = start(mark, "--resume", str(folder))
            out, err = process.communicate(timeout=LONGEST)
        assert process.returncode == 0, err
        assert "test accuracy" in out
        both = (gpucnn.load(each / "model.safetensors", device="cpu") for each in (folder, Path(f"whole-{runs}")))
        found, expected = (model.theta for model in both)
        np.testing.assert_array_equal(found, expected)
        assert metrics(folder) == metrics(f"whole-{runs}")
        assert sorted(path.name for path in folder.rglob(".*")) == []
        runs += 1
    deadline = time.monotonic() + LONGEST
    while processes(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(mark) == []
    assert {*Path("/dev/shm").glob("*gpucnn*")} <= shared  # others may be leaving things there
    print(f"{done} kills in {runs} runs, each resumed to the same bits")


def test_no_state_is_saved_before_the_settings_that_resume_it(tmp_path, monkeypatch):
    """A run that is killed between the two could neither be resumed nor begun anew."""
    from gpucnn import command
    from gpucnn.model import checkpoint, checkpoints
    from gpucnn.training import pace

    monkeypatch.chdir(tmp_path)
    np.savez("tiny.npz", images=np.zeros((40, 16, 16), np.uint8), labels=np.arange(40) % 4)
    monkeypatch.setattr(checkpoints, "LEAST", 0.0)
    monkeypatch.setattr(pace.Pace, "RATIO", 0.0)
    write, there = checkpoint.write, []

    def watched(path, *arguments):
        there.append((path.parent.name, Path("run/run.toml").exists()))
        return write(path, *arguments)

    monkeypatch.setattr(checkpoint, "write", watched)
    train = "train", "softmax-regression", "--data", "tiny.npz", "--device", "cpu", "--threads", "1", "--out", "run"
    monkeypatch.setattr(sys, "argv", ["gpucnn", *train, "--batch-size", "8", "--epochs", "2"])
    assert command.main() == 0
    assert [name for name, _ in there].count("checkpoints") > 2
    assert all(is_there for _, is_there in there)


def test_states_without_settings_are_told_of(tmp_path, monkeypatch, capsys):
    from gpucnn import command

    monkeypatch.chdir(tmp_path)
    Path("run/checkpoints").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["gpucnn", "train", "--out", "run", "--device", "cpu"])
    assert command.main() == 1
    said = capsys.readouterr().err
    assert "run: it holds states of a run, but no run.toml" in said
    assert "--resume" in said
    assert "say --force to begin anew" in said
