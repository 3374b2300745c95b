"""The recipes reach their accuracies on test images: digits always; MNIST, five seeds each, with -m slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpucnn import data
from gpucnn.errors import DataError
from gpucnn.model import run_record, runs

FLOORS = {
    "softmax-regression": 0.920,
    "single-filter": 0.940,
    "avgpool-96": 0.980,
    "two-conv": 0.988,
    "layered": 0.988,
    "fast": 0.990,
    "tiny-99": 0.990,
    "record": 0.996,
    "binary-sigmoid": 0.998,
    "ten-sigmoid": 0.960,
}


@pytest.fixture(scope="module")
def mnist() -> Any:
    try:
        return data.load("mnist")
    except DataError as error:
        pytest.skip(f"MNIST is not at hand: {error}")


def accuracy(network: str, dataset: Any, seed: int, folder: Path) -> float:
    settings = runs.Settings(network, "cpu", seed=seed)
    model = runs.new_model(settings, dataset)
    history = runs.run(settings, dataset, model, folder)
    return run_record.result(model, dataset, history, folder)["test_accuracy"]


def test_the_default_network_learns_the_embedded_digits(tmp_path: Path) -> None:
    assert accuracy("two-conv", data.load("digits"), 0, tmp_path) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("network", FLOORS)
def test_recipes_reach_their_accuracy_on_mnist(network: str, seed: int, mnist: Any, tmp_path: Path) -> None:
    dataset = mnist.select_classes([0, 1]) if network == "binary-sigmoid" else mnist
    assert accuracy(network, dataset, seed, tmp_path) >= FLOORS[network]
