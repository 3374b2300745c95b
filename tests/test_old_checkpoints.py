"""Models saved by earlier versions load for ever, and compute what they computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gpucnn
from gpucnn.layers import REGISTRY
from gpucnn.model.checkpoint import read

SAVED = sorted(Path(__file__).with_name("checkpoints").glob("*.safetensors"))
OF_VERSION_0_1 = {
    *("AvgPool2D", "Conv2D", "Dense", "Flatten", "MaxPool2D", "Network"),
    *("ReLU", "Reshape", "Sigmoid", "Softmax", "Tanh"),
}


def test_there_is_one_for_each_kind_of_layer() -> None:
    assert {path.stem for path in SAVED} >= OF_VERSION_0_1
    assert {*REGISTRY, "Network"} >= OF_VERSION_0_1


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_saved_models_load_and_compute_the_same(path: Path) -> None:
    description, tensors = read(path)
    model = gpucnn.load(path, device="cpu")
    assert model.name == path.stem
    assert model.class_names == ("zero", "one", "two")
    assert {*model.parameters, *(f"state/{name}" for name in model.state)} == set(tensors)
    logits = model.logits(np.array(description["images"], np.uint8))
    np.testing.assert_allclose(logits, description["logits"], rtol=1e-4, atol=1e-5)
