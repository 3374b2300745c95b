"""What units are taken from, when they are, and where they go with parameters and files."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gpucnn
from gpucnn import metrics
from gpucnn.engine.units import Units
from gpucnn.layers import Dense, Flatten, ReLU
from gpucnn.model import checkpoint
from gpucnn.report import inside

RNG = np.random.default_rng(0)
IMAGES = (200 * (RNG.random((120, 4, 4, 1)) < RNG.random((120, 1, 1, 1)))).astype(np.uint8)
COUNT = (IMAGES > 127).sum(axis=(1, 2, 3)).astype(float)[:, None]
TWO = np.concatenate([COUNT, -5 * COUNT + IMAGES[:, 0, 0] / 255], axis=1)
FAR = "in the units of those that it learnt first"


def model(outputs=2, **options):
    network = gpucnn.Network((4, 4, 1), (Flatten(), Dense(16), ReLU(), Dense(outputs)))
    return gpucnn.Model(network, **{"device": "cpu", "threads": 1, "loss": "mse", **options})


def fitted(targets, epochs=8, **options):
    made = model(targets.shape[1], **options)
    made.fit(IMAGES[: len(targets)], targets, epochs=epochs, batch_size=16, lr=0.01, progress=False)
    return made


# What units are


@pytest.mark.parametrize("value", [50011.3, 0.1, -3.3])
def test_of_numbers_that_do_not_differ_nothing_is_explained(value):
    found = fitted(1e4 * TWO[:, :1])
    alike = np.full((50, 1), value)
    assert found.evaluate(IMAGES[:50], alike)["r2"] == 0
    assert found.report(IMAGES[:50], alike).rows["0"]["r2"] == 0
    weights = np.r_[np.ones(50), 0]
    there = np.append(alike, [[7.0]], axis=0)
    assert found.evaluate(IMAGES[:51], there, sample_weight=weights)["r2"] == 0
    assert metrics.squared_deviations(there, weights).tolist() == [0]


# What they are taken from


# Losses


# Where they go


def test_older_code_refuses_a_file_with_units(tmp_path):
    def written(made):
        made.save(tmp_path / "m.safetensors")
        text = (tmp_path / "m.safetensors").read_bytes()
        return json.loads(json.loads(text[8 : 8 + int.from_bytes(text[:8], "little")])["__metadata__"]["gpucnn"])

    assert written(fitted(TWO, epochs=1))["format"] == 2
    assert gpucnn.load(tmp_path / "m.safetensors", device="cpu").units == Units.of(TWO)
    for made in (model(), fitted(TWO, epochs=1, standardize=False), model(loss="softmax")):
        assert written(made)["format"] == checkpoint.FORMAT == 1


def test_the_largest_number_is_the_largest_in_its_unit():
    y = TWO * [1, 1e-6] + [1000, 0]
    found = fitted(y)
    look = inside.look(found, IMAGES)
    np.testing.assert_array_equal(look.classes, np.zeros(120))
    np.testing.assert_array_equal(look.classes, found.predict(IMAGES).argmax(axis=1))


# The command
