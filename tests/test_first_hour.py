"""A new user's hour: the commands of README's first sections, in order, as they stand there, and what they show.

The digits stand in for MNIST, so that nothing is downloaded, and the CPU for a GPU. NOT_RUN says what is not run, and
why; of Docker's commands, a stand-in sees what the shell makes of them.
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
NOT_RUN = {
    "python3 -m venv": ".ci/run runs it, in a fresh clone",
    "pip install": "it installs packages from an index; test_readme.py looks whether there are such extras",
    "gpucnn compare two-conv": "it compares the CPU with a GPU; test_compare.py has two stand-ins",
}
ELSEWHERE = ("python3 -m venv", "pip install", "for seed in", "docker")  # blocks that have tests of their own
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


def block_of(start):
    return next(block for block in BLOCKS if block.startswith(start))


@pytest.mark.slow  # five processes
def test_five_seeds(shell):
    """The loop of README's table, for one epoch."""
    loop = block_of("for seed in").replace("--data mnist", "--data mnist --epochs 1 --device cpu")
    accuracies = re.findall(r"test accuracy ([0-9.]+) %", shell(loop))
    assert len(accuracies) == 5
    assert len(set(accuracies)) > 1
    seeds = [f"seed = {seed}\n" for seed in range(5)]
    configs = [path.read_text() for path in (shell.folder / "runs").glob("two-conv-digits*/run.toml")]
    assert all(any(seed in config for config in configs) for seed in seeds)


def test_commands_for_a_gpu(shell):
    """Each, on the CPU; `gpucnn doctor` says what keeps a GPU from working, and that is no error of its own."""
    run = []
    for line in block_of('pip install ".[cuda13]"').splitlines():
        if not any(line.startswith(each) for each in NOT_RUN):
            run.append(
                shell(line.replace("--device cuda", "--device cpu").replace("gpucnn doctor", "gpucnn doctor || :"))
            )
    assert len(run) == 2
    assert "cuda" in run[0].lower()
    assert "test accuracy" in run[1]


def test_dockers_commands_as_the_shell_reads_them(shell, tmp_path):
    """Docker itself is not there; test_docker.py reads the files that it would."""
    stand_in = tmp_path / "docker"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$#" "$@"\n')
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    words = shell(f"PATH={shlex.quote(str(tmp_path))}:$PATH\n" + block_of("mkdir -p runs")).splitlines()
    calls = []
    while words:
        count = int(words.pop(0))
        calls.append([words.pop(0) for _ in range(count)])
    assert [call[:2] for call in calls] == [["build", "-t"], ["run", "--rm"]] * 2 + [["compose", "run"]] * 2
    for call in (calls[1], calls[3]):
        assert re.fullmatch(r"\d+:\d+", call[call.index("--user") + 1])
        assert call[call.index("-v") + 1] == f"{shell.folder}/runs:/home/gpucnn/runs"
    assert (shell.folder / "runs").is_dir()


def test_asking_a_model_in_python(shell):
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    asking = next(block for block in blocks if "model.predict(" in block)
    shell("gpucnn demo && gpucnn train --device cpu --force --quiet")  # another process may have run the first hour
    done = subprocess.run(
        [sys.executable, "-c", asking], cwd=shell.folder, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.startswith("7 [[")
