"""A new user's hour: the commands of README's first sections, in order, as they stand there, and what they show.

The digits stand in for MNIST, so that nothing is downloaded; the two commands that set up an environment are run by
.ci/run, and what needs a GPU or Docker is parsed by test_readme.py.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import gpucnn

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
ELSEWHERE = ("python3 -m venv", "pip install", "for seed in", "docker")  # tested by .ci/run, or not without a GPU
TESTED = "gpucnn check my_nets"  # by test_readme.py


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """shell(commands) -> what they print, in one folder; `gpucnn` is this one, and MNIST the digits."""
    folder, tools = tmp_path_factory.mktemp("hour"), tmp_path_factory.mktemp("bin")
    command = tools / "gpucnn"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gpucnn "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    environment.pop("GPUCNN_DATA_DIR", None)
    digits = gpucnn.data.load("digits")
    for k, (image, label) in enumerate(zip(digits.train_images[:90, :, :, 0], digits.train_labels)):
        (folder / "pictures" / f"digit {label % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "pictures" / f"digit {label % 3}" / f"{k}.png")

    def run(commands):
        done = subprocess.run(
            ["bash", "-euc", re.sub(r"\bmnist\b", "digits", commands)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


def test_the_first_hour(shell):
    """In README's order: what one block leaves the next one needs."""
    trained = shell("gpucnn train --device cpu")
    assert float(re.findall(r"test accuracy ([0-9.]+) %", trained)[0]) > 97
    run = [block for block in BLOCKS if TESTED not in block and not any(each in block for each in ELSEWHERE)]
    assert len(run) >= 3
    out = "\n".join(map(shell, run))
    assert "demo/seven.png: 7 (" in out
    assert "macro average" in out
    assert "3 classes" in out
    for name in ("sheet.png", "runs/two-conv-digits/curves.png", "runs/two-conv-digits/mistakes.png"):
        with Image.open(shell.folder / name) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 50, name
    assert (shell.folder / "runs" / "own" / "model.safetensors").exists()


def test_asking_a_model_in_python(shell):
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    asking = next(block for block in blocks if "model.predict(" in block)
    done = subprocess.run(
        [sys.executable, "-c", asking], cwd=shell.folder, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.startswith("7 [[")
