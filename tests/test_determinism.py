"""The same command gives the same bits: in new processes, whatever seed Python hashes texts with, whoever allocates
memory, and however many threads BLAS would take.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpucnn
from gpucnn import networks

STEPS = 5
ELSEWHERE = {"4242": {"PYTHONMALLOC": "malloc", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LANG": "C"}}
WORK = """
import hashlib, sys
import numpy as np
from gpucnn import Model, networks
from gpucnn.workers import helpers

name, path, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
entry = networks.entry(name)
recipe, rng = entry.recipe, np.random.default_rng(0)
images = rng.integers(0, 256, ({steps} * recipe.batch_size - 3, *entry.input_shape), np.uint8)
labels = rng.integers(0, entry.classes, len(images))
model = Model(name, device="cpu", threads=threads, seed=3)
if threads > 1:
    helpers.team.start(threads - 1)
history = model.fit(
    images, labels, epochs=1, batch_size=recipe.batch_size, optimizer=recipe.optimizer, lr=recipe.lr,
    schedule=recipe.schedule, augmentation="shift=2", seed=4, validation=(images[:50], labels[:50]),
)
model.save(path)
found = history.epochs[0]
outputs = model.predict_proba(images[:50])
print(hashlib.sha256(model.theta.tobytes()).hexdigest(), hashlib.sha256(outputs.tobytes()).hexdigest())
print(found.train_loss.hex(), found.validation_loss.hex(), found.validation_accuracy)
""".replace("{steps}", str(STEPS))


def digests(arguments: list[str], hash_seed: str, files: list[Path], cwd: Path) -> list[str]:
    """What a new process prints, and the SHA-256 of the files that it leaves."""
    place = str(Path(gpucnn.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": place, "PYTHONHASHSEED": hash_seed} | ELSEWHERE.get(hash_seed, {})
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=300, check=True
    )
    return [*done.stdout.split(), *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)]


def trained(name: str, threads: int, hash_seed: str, folder: Path) -> list[str]:
    path = folder / f"{hash_seed}.safetensors"
    return digests(["-c", WORK, name, str(path), str(threads)], hash_seed, [path], folder)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_every_named_network_repeats_its_bits(name: str, threads: int, tmp_path: Path) -> None:
    """theta, probabilities, losses, and every byte of the saved file."""
    first, second = (trained(name, threads, hash_seed, tmp_path) for hash_seed in ("1", "4242"))
    assert len(first) == 6
    assert first == second


def test_a_run_repeats_its_bits(tmp_path: Path) -> None:
    """The command's model, metrics but their seconds, and the network as it is described."""
    found = []
    for hash_seed in ("1", "4242"):
        folder = tmp_path / hash_seed
        arguments = ["-m", "gpucnn", "train", "two-conv", "--device", "cpu", "--threads", "2", "--epochs", "2"]
        told = digests([*arguments, "--augment", "shift=1", "--out", str(folder), "--quiet"], hash_seed, [], tmp_path)
        assert told == []
        lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        metrics = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
        found.append((hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(), metrics))
    assert found[0] == found[1]
    assert len(found[0][1]) == 2
