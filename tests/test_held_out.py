"""What a run held out of its training part is measured by `gpucnn evaluate --part validation`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import elsewhere, gpucnn_  # noqa: F401

pytestmark = pytest.mark.usefixtures("blank_pictures")

HOW = ("--device", "cpu", "--threads", "1")
TRAIN = ("train", "softmax-regression", *HOW, "--data", "tiny.npz", "--epochs", 2, "--quiet", "--seed", 3)


@pytest.fixture
def asked(gpucnn_):  # noqa: F811
    """asked(MODEL, ...) -> the JSON of evaluate, or what it says where it is refused."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 16, 16), dtype=np.uint8), np.arange(40) % 4
    np.savez("tiny.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)

    def ask(*words, source="tiny.npz"):
        status, out, said = gpucnn_("evaluate", *words, "--data", source, *HOW, "--json")
        return said if status else json.loads(out)

    return ask


def test_the_pictures_that_a_run_held_out_are_its_validation_part(gpucnn_, asked):  # noqa: F811
    gpucnn_(*TRAIN, "--validation", 0.2, "--out", "a")
    last = json.loads(Path("a/metrics.jsonl").read_text().splitlines()[-1])
    found = asked("a/model.safetensors", "--part", "validation")
    assert (found["examples"], found["of"], found["part"]) == (8, 80, "validation")
    assert found["loss"] == pytest.approx(last["validation_loss"], rel=1e-5)
    assert asked("a/model.safetensors", "--part", "train")["examples"] == 32
    assert asked("a/model.safetensors", "--part", "all")["examples"] == 80


def test_what_was_not_held_out_of_these_pictures_is_no_validation_part(gpucnn_, asked):  # noqa: F811
    gpucnn_(*TRAIN, "--validation", 0.2, "--out", "a")
    gpucnn_(*TRAIN[:-1], 4, "--validation", 0.2, "--out", "b")
    gpucnn_(*TRAIN, "--validation", 0, "--out", "c")
    models = "a/model.safetensors", "b/model.safetensors"
    assert "there is no part 'validation'" in asked(*models, "--part", "validation")
    assert "there is no part 'validation'" in asked("c/model.safetensors", "--part", "validation")
    held = dict(np.load("tiny.npz"))
    np.savez("other.npz", **held | {"train_images": held["train_images"] + 1})
    assert "there is no part 'validation'" in asked(models[0], "--part", "validation", source="other.npz")
    assert asked(models[0], "--part", "train", source="other.npz")["examples"] == 40
