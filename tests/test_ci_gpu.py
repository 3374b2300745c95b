"""`.ci/gpu`: what it says without a GPU, and its summary of what was found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import usable_gpu

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".ci" / "gpu"
pytestmark = pytest.mark.skipif(
    not SCRIPT.exists() or shutil.which("bash") is None, reason="there is no .ci/gpu, or no bash, here"
)


def run(*arguments, **environment):
    environment = os.environ | {"PYTHON": sys.executable} | environment
    return subprocess.run(["bash", SCRIPT, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def summary(part, folder):
    command = [sys.executable, ROOT / ".ci" / "gpu_summary.py", part, folder, "200"]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_asks_what_to_measure():
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ".ci/gpu: say what to measure on a CUDA device: .ci/gpu tests, or .ci/gpu speed\n"


@pytest.mark.skipif(usable_gpu(), reason="there is a GPU here")
@pytest.mark.parametrize("part", ["tests", "speed"])
def test_without_a_gpu_it_says_why_in_a_sentence(part, tmp_path):
    done = run(part, OUT=str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(".ci/gpu: there is nothing to measure on: device 'cuda': ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def target(dtype, found, met=True):
    return {
        "device": "cuda:0",
        "dtype": dtype,
        "what": "theta after 100 steps",
        "found": found,
        "limit": 1e-9,
        "met": met,
    }


@pytest.mark.parametrize("well", [True, False])
def test_the_summary_of_the_tests(well, tmp_path):
    end = (
        "40 passed, 2 skipped in 9.1s\nexit status 0\n"
        if well
        else "FAILED tests/a.py::b - no\n1 failed\nexit status 1\n"
    )
    head = "== gpu\n12 passed, 900 deselected in 3.0s\nexit status 0\n== not gpu\n"
    (tmp_path / "tests.txt").write_text(f"{head}SKIPPED [2] a.py:1: no CIFAR-10\n{end}")
    found = [{"network": "fast", "targets": [target("float32", 2e-7), target("float64", 6e-15, well)]}]
    found += [] if well else [{"network": "two-conv", "failed": True}]
    (tmp_path / "parity.jsonl").write_text("\n".join(map(json.dumps, found)))
    done = summary("tests", tmp_path)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert "  SKIPPED [2] a.py:1: no CIFAR-10" in lines
    assert "suite, gpu: 12 passed, 900 deselected in 3.0s" in lines
    assert f"suite, not gpu: {'40 passed, 2 skipped in 9.1s' if well else '1 failed'}" in lines
    assert "fast                 cuda:0       2.0e-07   1.0e-09   6.0e-15   1.0e-09" in lines
    if well:
        assert (done.returncode, lines[-1]) == (0, "fell short: nothing")
        return
    assert done.returncode == 1
    assert "fell short: 4" in lines  # a test, the suite, a target, a comparison


@pytest.mark.parametrize("end", ["", "...\nexit status 124\n"], ids=["killed", "cut"])
def test_a_part_of_the_suite_that_did_not_end_falls_short(end, tmp_path):
    (tmp_path / "tests.txt").write_text(f"== gpu\n3 passed in 1.0s\nexit status 0\n== not gpu\n{end}")
    done = summary("tests", tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "suite, not gpu: did not end" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["fell short: 1", "  suite, not gpu: it did not pass, or was cut"]


def test_where_no_time_is_left_nothing_goes_on(tmp_path):
    """Of `timeout`, 0 seconds are no limit, and fewer are refused."""
    done = run("tests", DEVICE="cpu", LIMIT="0", NETWORKS="single-filter", OUT=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "")
    assert "  single-filter: the comparison failed or was cut, see the end of tests.txt" in done.stdout.splitlines()
    text = (tmp_path / "tests.txt").read_text()
    assert text.count("left out, the time was over") == 3
    assert "timeout: " not in text


TUNED = {"network": "vgg-small", "convolution": "8x8x128, 128 filters of 3x3", "batch": 128, "chosen": "winograd"}
TUNED |= {"microseconds": {"columns": 31.42, "winograd": 20.0}}


def test_the_summary_of_the_speeds(tmp_path):
    warned = "gpucnn: products on this GPU's tensor cores are wrong; columns take their place\n"
    (tmp_path / "speed.txt").write_text(f"{warned}failed or cut: bench steps vgg-small\n{warned}")
    times = {"gpucnn": {"median": 0.2}, "JAX jit": {"median": 0.1}}
    head = {"network": "fast", "what": "training step", "batch": 128, "rounds": 3}
    rows = [head | {"milliseconds": times, "peer": "JAX jit", "ratio": {"median": 2.0}, "notes": ["A is left out"]}]
    seen = {"by": "torch.profiler", "kernels": [{"kernel": "sgd", "microseconds": 1.5}]}
    profile = {"network": "fast", "batch": 128, "kernels": "gpucnn", "step": 0.2, "on_the_device": seen}
    found = [{"mode": "steps", "rows": rows}, {"mode": "profile", "rows": [profile]}, {"mode": "tune", "rows": [TUNED]}]
    (tmp_path / "speed.jsonl").write_text("\n".join(map(json.dumps, found)))
    done = summary("speed", tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "a step 0.200 ms; 1 kernels by torch.profiler, 2 us, of which sgd 1.5" in done.stdout
    line = "vgg-small 128, 8x8x128, 128 filters of 3x3: columns 31.4, winograd 20.0 us; winograd"
    assert line in done.stdout.splitlines()
    assert done.stdout.splitlines()[-5:] == [
        "fell short: 4",
        "  failed or cut: bench steps vgg-small",
        f"  {warned.strip()}",
        "  fast training step 128: A is left out",
        "  fast training step 128: JAX jit is 2.00 times as fast",
    ]
