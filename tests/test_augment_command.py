"""`gpucnn augment`, and what --augment means to `train`: texts, what suits a data set, the run's file."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpucnn
from gpucnn import command as cli
from gpucnn.data import Dataset
from gpucnn.report import augmented
from gpucnn.training.augmentation import Augmentation

pytestmark = pytest.mark.usefixtures("blank_pictures")

TRAIN = ("train", "softmax-regression", "--device", "cpu", "--threads", "1", "--epochs", "1", "--out")


@pytest.fixture
def gpucnn_(monkeypatch, capsys, tmp_path):
    """gpucnn_("augment", ...) -> exit status, standard output, standard error; in a folder with tiny.npz."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 28, 28, 1), dtype=np.uint8), np.arange(60) % 3
    np.savez("tiny.npz", x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpucnn", *map(str, arguments)])
        status = cli.main()
        return status, *capsys.readouterr()

    return run


def pixels(path) -> np.ndarray:
    with Image.open(path) as sheet:
        return np.asarray(sheet.convert("L"))


@pytest.mark.drawn
def test_a_sheet_shows_a_row_for_each_class(gpucnn_):
    status, out, _ = gpucnn_("augment", "digits")
    assert (status, out) == (0, "digits, shift=2,rotate=10,zoom=0.1: drawn in augmented.png\n")
    sheet = pixels("augmented.png")
    assert (sheet[[0, -1]] == 255).all()  # nothing is cut off at an edge
    assert (sheet[:, [0, -1]] == 255).all()
    assert (sheet < 50).mean() > 0.2
    assert gpucnn_("augment", "digits", "--out", "again.png")[0] == 0
    np.testing.assert_array_equal(pixels("again.png"), sheet)
    assert gpucnn_("augment", "digits", "--seed", "1")[0] == 0
    assert not np.array_equal(pixels("augmented.png"), sheet)


@pytest.mark.drawn
def test_a_sheet_shows_what_training_makes(monkeypatch, tmp_path):
    """Each column is another epoch; a mixture's title has both labels."""
    images = np.random.default_rng(0).integers(0, 256, (8, 9, 9, 3), dtype=np.uint8)
    labels = np.asarray([0, 1, 0, 1, 0, 1, 0, 1])
    dataset = Dataset("two", images, labels, images, labels, ("cat", "a rather long name of a dog"))
    shown, titles = [], []
    monkeypatch.setattr(augmented, "picture", lambda axis, image: shown.append((axis, np.array(image))))
    monkeypatch.setattr(Augmentation, "text", lambda how: "$")
    how = Augmentation(flip="alternate", mixup=1.0, key=3)
    assert augmented.draw(dataset, how, tmp_path / "sheet.png", versions=2) == 4
    chosen = [0, 2, 1, 3]
    for image, k in zip([image for _, image in shown][:4], chosen):
        np.testing.assert_array_equal(image, images[k])
    how = how.of_run(3, 1, 1)
    for step in (1, 2):
        made, mixture = how(images[chosen], np.asarray(chosen), step), how.mixture(np.asarray(chosen), step, 9, 9)
        expected = mixture(made, made[mixture.partners])
        for (axis, image), theirs in zip(shown[4 * step : 4 * step + 4], expected):
            np.testing.assert_array_equal(image, theirs)
            titles.append(axis.get_title())
    assert all(title.count(" %") == 2 for title in titles)
    assert {title.split(":")[0] for title in titles} == {"cat", "a rathe…of a dog"}


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("augment", "digits", "--augment", "rotat=3"), 1, "'rotat=3' is not known; did you mean rotate=DEGREES?"),
        (("augment", "digits", "--augment", "cutout=28"), 1, "choose a smaller cutout, below 28"),
        (("augment", "digits", "--out", "sheet.doc"), 2, "sheet.doc: .png, .svg or .pdf was expected"),
        (("augment", "nothing"), 1, "nothing"),
        ((*TRAIN, "run", "--data", "tiny.npz", "--augment", "mix=1"), 1, "did you mean mixup=ALPHA?"),
        ((*TRAIN, "run", "--data", "tiny.npz", "--augment", "flip=never"), 1, "flip or flip=alternate was expected"),
    ],
)
def test_what_cannot_be_is_said(gpucnn_, arguments, status, sentence):
    found, _, err = gpucnn_(*arguments)
    assert found == status
    assert sentence in err


def test_the_help_of_augment_says_its_own_default(gpucnn_):
    _, out, _ = gpucnn_("augment", "--help")
    said = " ".join(out.replace("│", "").split())
    assert "How to change them" in said
    assert "draws it" not in said
    assert "recipe" not in said
    assert "default for few pictures of your own. `gpucnn augment DATA` draws it" in " ".join(
        gpucnn_("train", "--help")[1].replace("│", "").split()
    )


def test_a_run_is_trained_with_what_suits_its_data_and_its_file_says_what_that_was(gpucnn_):
    assert gpucnn_(*TRAIN, "a", "--data", "tiny.npz", "--augment", "default")[0] == 0
    with open("a/run.toml", "rb") as file:
        text = tomllib.load(file)["augment"]
    assert text == "shift=2,rotate=10,zoom=0.1,brightness=0.1,contrast=0.1"
    assert gpucnn_(*TRAIN, "b", "--data", "tiny.npz", "--augment", text)[0] == 0
    assert gpucnn_("train", "--config", "a/run.toml", "--out", "c")[0] == 0
    assert gpucnn_(*TRAIN, "d", "--data", "tiny.npz")[0] == 0  # so few pictures are changed without being asked
    assert gpucnn_(*TRAIN, "e", "--data", "tiny.npz", "--augment", "none")[0] == 0
    models = [(Path(name) / "model.safetensors").read_bytes() for name in "abcde"]
    assert models[0] == models[1] == models[2] == models[3] != models[4]


def test_every_kind_is_an_option_and_goes_on(gpucnn_):
    text = "shift=1,reflect,flip=alternate,rotate=5,zoom=0.1,elastic=1,cutout=4,brightness=0.2,contrast=0.2,mixup=0.4"
    assert gpucnn_(*TRAIN, "a", "--data", "tiny.npz", "--augment", f"{text},cutmix=1")[0] == 0
    with open("a/run.toml", "rb") as file:
        assert tomllib.load(file)["augment"] == f"{text},cutmix=1"
    assert gpucnn_("train", "--resume", "a", "--epochs", "2")[0] == 0
    status, _, err = gpucnn_("train", "--resume", "a", "--augment", "shift=1")
    assert status == 1
    assert "augment" in err


def test_a_model_is_evaluated_and_asked_by_views(gpucnn_):
    assert gpucnn_(*TRAIN, "a", "--data", "tiny.npz")[0] == 0
    model, loaded = "a/model.safetensors", gpucnn.load("a/model.safetensors", device="cpu")
    with np.load("tiny.npz") as arrays:
        expected = loaded.evaluate(arrays["x_test"], arrays["y_test"], tta="shift=1,flip")
        Image.fromarray(arrays["x_test"][0, :, :, 0]).save("one.png")
        chance = loaded.predict_proba(arrays["x_test"][:1], tta="flip")[0].max()
    for more in ((), ("--report",)):
        status, out, _ = gpucnn_("evaluate", model, "--data", "tiny.npz", "--tta", "shift=1,flip", "--json", *more)
        found = json.loads(out)
        assert status == 0
        assert (found.get("overall") or found)["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    status, out, _ = gpucnn_("predict", model, "one.png", "--tta", "flip", "--json")
    assert json.loads(out)[0]["probability"] == pytest.approx(chance, rel=1e-5)
    status, _, err = gpucnn_("evaluate", model, "--data", "tiny.npz", "--tta", "flop")
    assert status == 1
    assert "did you mean flip" in err


def test_several_models_are_evaluated_as_one(gpucnn_):
    for seed in (0, 1):
        assert gpucnn_(*TRAIN, f"m{seed}", "--data", "tiny.npz", "--seed", seed)[0] == 0
    models = [f"m{seed}/model.safetensors" for seed in (0, 1)]
    with np.load("tiny.npz") as arrays:
        both = gpucnn.Ensemble([gpucnn.load(model, device="cpu") for model in models])
        expected = both.evaluate(arrays["x_test"], arrays["y_test"])
    status, out, _ = gpucnn_("evaluate", *models, "--data", "tiny.npz", "--json")
    assert status == 0
    assert json.loads(out)["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    status, out, _ = gpucnn_("evaluate", *models, "--data", "tiny.npz", "--report", "--out", "report")
    assert status == 0
    assert Path("report/confusion.png").exists()
    assert gpucnn_("evaluate", models[0], "nothing", "--data", "tiny.npz")[0] == 1
