"""Test-time augmentation and ensembles: means of logits over views of an image, and over models."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Library
from fake_cuda import fake_cuda

import gpucnn
from gpucnn import Ensemble, Model, Network
from gpucnn.engine import tta
from gpucnn.engine.tta import Views
from gpucnn.errors import SettingError
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.losses import BinaryCrossEntropy, FocalLoss, SoftmaxCrossEntropy

__all__ = ["fake_cuda"]

SMALL = Network((9, 8, 2), (Conv2D(2, 3), ReLU(), MaxPool2D(), Flatten(), Dense(3)))
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(1, 256, (30, 9, 8, 2), dtype=np.uint8), RNG.integers(0, 3, 30)
TEXTS = ["flip", "shift=1", "shift=2,flip"]


def model(**options) -> Model:
    return Model(SMALL, **{"device": "cpu", "threads": 1, "dtype": "float64", **options})


def moved(images, down, right):
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)))
    return padded[:, 3 - down : 12 - down, 3 - right : 11 - right]


def by_hand(images, shift, flip):
    sides = (images, images[:, :, ::-1]) if flip else (images,)
    moves = (0, -shift, shift) if shift else (0,)
    return [moved(side, down, right) for side in sides for down in moves for right in moves]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("text", TEXTS)
def test_the_views_are_all_moves_and_their_mirror_images(text, dtype, library: Library):
    how, images = Views.parse(text), IMAGES.astype(dtype)
    found = [library.fetch(each) for each in how.of(library.put(images))]
    expected = by_hand(images, how.shift, how.flip)
    assert len(found) == len(expected) == how.count
    for ours, theirs in zip(found, expected):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("text", TEXTS)
def test_what_is_predicted_comes_of_the_mean_logits(text, device, fake_cuda, monkeypatch):
    monkeypatch.setattr(tta, "SPAN", 7)
    made, how = model(device=device), Views.parse(text)
    expected = np.mean([made.logits(each) for each in by_hand(IMAGES, how.shift, how.flip)], axis=0)
    np.testing.assert_allclose(made.logits(IMAGES, tta=text), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(made.predict(IMAGES, tta=how), expected.argmax(axis=1))
    np.testing.assert_allclose(made.predict_proba(IMAGES, tta=how), made.loss.probabilities(expected), rtol=1e-12)
    found = made.evaluate(IMAGES, LABELS, tta=text)
    assert found["accuracy"] == (expected.argmax(axis=1) == LABELS).mean()
    assert found["loss"] == pytest.approx(made.loss(expected, LABELS)[0].mean(), rel=1e-12)
    assert made.report(IMAGES, LABELS, tta=text).overall["loss"] == pytest.approx(found["loss"], rel=1e-12)
    assert made.logits(IMAGES[:0], tta=text).shape == (0, 3)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_mean_what_they_say(text):
    assert Views.parse(text).text() == text
    assert Views.parse("shift, flip") == Views(1, True)


@pytest.mark.parametrize(
    ("tta", "sentence"),
    [
        ("flop", "'flop' is not known; did you mean flip"),
        ("", "give shift=PIXELS or flip, or both"),
        ("shift=-1", "'shift=-1' is not known; give shift=PIXELS"),
        ("flip,flip", "flip stands there twice"),
        ("shift=0", "one view only"),
        ("shift=8", "choose other views"),
        (3, "tta=3: a text such as shift=1,flip"),
    ],
)
def test_what_cannot_be_is_refused(tta, sentence):
    with pytest.raises(SettingError, match=sentence):
        model().evaluate(IMAGES, LABELS, tta=tta)
    for wrong in ({"shift": 1.0}, {"flip": 1}, {"shift": True}):
        with pytest.raises(SettingError, match="expected"):
            Views(**wrong)


def test_an_ensemble_is_the_mean_of_its_models():
    models = [model(seed=seed) for seed in range(3)]
    both = Ensemble(models)
    expected = np.mean([each.logits(IMAGES, tta="flip") for each in models], axis=0)
    np.testing.assert_allclose(both.logits(IMAGES, tta="flip"), expected, rtol=1e-12)
    np.testing.assert_array_equal(both.predict(IMAGES, tta="flip"), expected.argmax(axis=1))
    found = both.evaluate(IMAGES, LABELS, tta="flip")
    assert found["loss"] == pytest.approx(both.loss(expected, LABELS)[0].mean(), rel=1e-12)
    assert found["examples"] == 30
    assert both.report(IMAGES, LABELS).overall["accuracy"] == both.evaluate(IMAGES, LABELS)["accuracy"]
    np.testing.assert_array_equal(Ensemble(models[:1]).logits(IMAGES), models[0].logits(IMAGES))
    assert gpucnn.Ensemble is Ensemble
    assert repr(both).startswith("Ensemble of 3 models")


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ([], "one or more models"),
        (["model.safetensors"], "gpucnn.load"),
        ([model(), model(class_names=["a", "b", "c"])], r"model 2 has the classes \('a', 'b', 'c'\)"),
        ([model(), model(loss=BinaryCrossEntropy())], "model 2 has the loss BinaryCrossEntropy"),
        ([model(), Model(Network((9, 9, 2), SMALL.layers), device="cpu")], "model 2 takes images of"),
    ],
)
def test_models_that_do_not_go_together_are_refused(others, sentence):
    with pytest.raises(SettingError, match=sentence):
        Ensemble(others)


class Cold(SoftmaxCrossEntropy):
    """Probabilities by half of the logits."""

    def probabilities(self, logits):
        return super().probabilities(logits / 2)


@pytest.mark.parametrize(
    "loss", [SoftmaxCrossEntropy(label_smoothing=0.1), SoftmaxCrossEntropy(class_weights=(1, 2, 3)), FocalLoss()]
)
def test_what_only_training_sees_of_a_loss_may_differ(loss):
    models = [model(), model(seed=1, loss=loss)]
    both = Ensemble(models)
    logits = np.mean([each.logits(IMAGES) for each in models], axis=0)
    np.testing.assert_array_equal(both.predict_proba(IMAGES), models[0].loss.probabilities(logits))
    assert both.evaluate(IMAGES, LABELS)["loss"] == pytest.approx(models[0].loss(logits, LABELS)[0].mean())
    with pytest.raises(SettingError, match=r"model 2 has the loss Cold.*they do not make the same of logits"):
        Ensemble([models[1], model(loss=Cold())])


def test_numbers_and_classes_do_not_answer_together():
    with pytest.raises(SettingError, match=r"model 2 has the loss Multi.* the first Binary.*give models of one kind"):
        Ensemble([model(loss="binary"), model(loss="multi-label")])
    assert Ensemble([model(loss="mse"), model(loss="huber")]).predict(IMAGES).shape == (30, 3)
