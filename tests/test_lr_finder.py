"""The search for a learning rate: in Python, by the command, and that it changes nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import fake_cuda
from PIL import Image

import gpucnn
from gpucnn import Model, Network
from gpucnn.command import main
from gpucnn.errors import SettingError
from gpucnn.layers import Dense, Flatten
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.optimizers import SGD
from gpucnn.report import lr_finder
from gpucnn.report.lr_finder import find_lr, picture

__all__ = ["fake_cuda"]

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 300)
IMAGES = np.clip(
    RNG.normal(90, 40, (300, 5, 5, 1)) + 60 * LABELS[:, None, None, None] * (np.arange(5) % 2)[:, None], 0, 255
)
IMAGES = IMAGES.astype(np.uint8)
NETWORK = Network((5, 5, 1), (Flatten(), Dense(3)))


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_rates_rise_evenly_and_nothing_of_the_model_changes(where, fake_cuda):
    model = Model(NETWORK, device=where)
    before = model.device.fetch(model.theta).copy()
    found = find_lr(model, IMAGES, LABELS, optimizer=SGD(), lowest=1e-4, highest=100.0, updates=61)
    np.testing.assert_array_equal(model.device.fetch(model.theta), before)
    steps = np.diff(np.log10(found.rates))
    np.testing.assert_allclose(steps, 0.1, rtol=1e-9)
    assert len(found.rates) == len(found.losses) == len(found.means)
    assert found.suggestion == pytest.approx(found.best / 10)
    assert found.best == found.rates[int(np.argmin(found.means))]
    assert all(map(math.isfinite, found.losses))


def test_it_stops_where_the_loss_explodes():
    found = find_lr(Model(NETWORK, device="cpu"), IMAGES, LABELS, optimizer=SGD(), highest=1e6)
    assert found.exploded
    assert found.rates[-1] < 1e6
    assert f"it exploded at {found.rates[-1]:.2g}" in found.reason


class Below(SoftmaxCrossEntropy):
    """A loss below 0, as that of a density may be."""

    def __call__(self, logits, targets):
        losses, d_logits = super().__call__(logits, targets)
        return losses - 3, d_logits


def test_a_loss_may_be_below_0(tmp_path, monkeypatch):
    how = {"optimizer": SGD(), "highest": 1e6}
    found, usual = (find_lr(Model(NETWORK, device="cpu", loss=loss), IMAGES, LABELS, **how) for loss in (Below(), None))
    assert found.exploded
    assert found.best == pytest.approx(usual.best, rel=1e-6)
    assert found.suggestion == pytest.approx(usual.suggestion, rel=1e-6)
    drawn = []
    monkeypatch.setattr(lr_finder, "write_figure", lambda figure, path, **_: drawn.append(figure))
    picture(found, tmp_path / "lr.png")
    bottom, top = drawn[0].axes[0].get_ylim()
    assert bottom < min(found.means) < found.means[0] < top


def test_the_suggestion_trains():
    model = Model(NETWORK, device="cpu")
    found = find_lr(model, IMAGES, LABELS, batch_size=32)
    assert found.suggestion is not None
    model.fit(IMAGES, LABELS, epochs=10, batch_size=32, lr=found.suggestion)
    assert model.evaluate(IMAGES, LABELS)["loss"] < min(found.means) < found.means[0]


def test_the_same_seed_gives_the_same():
    one, other = (find_lr(Model(NETWORK, device="cpu"), IMAGES, LABELS, updates=30) for _ in range(2))
    assert one == other


def test_images_are_changed_as_in_training():
    plain, changed, again = (
        find_lr(Model(NETWORK, device="cpu"), IMAGES, LABELS, updates=30, augmentation=how)
        for how in (None, "shift=1,flip=alternate", "shift=1,flip=alternate")
    )
    assert plain.losses != changed.losses
    assert changed == again
    with pytest.raises(SettingError, match="shift=9"):
        find_lr(Model(NETWORK, device="cpu"), IMAGES, LABELS, augmentation="shift=9")


def test_where_the_loss_does_not_fall_nothing_is_suggested():
    found = find_lr(Model(NETWORK, device="cpu"), IMAGES, LABELS, lowest=1e-12, highest=1e-10, updates=20)
    assert found.suggestion is None
    assert "the mean loss hardly fell" in found.reason
    assert "had not exploded at 1e-10, where it ended" in found.reason


def test_where_the_loss_grows_from_the_first_update_on_nothing_is_suggested():
    """The first loss is of before any update."""
    found = find_lr(Model(NETWORK, device="cpu"), IMAGES, LABELS, lowest=50, highest=5000, updates=30, optimizer="sgd")
    assert min(found.losses) == found.losses[0]
    assert found.suggestion is None
    assert f"from {found.losses[0]:.3g} at the beginning" in found.reason


@pytest.mark.parametrize("limits", [{"lowest": 0.0}, {"lowest": 2.0, "highest": 1.0}, {"updates": 5}])
def test_limits_that_make_no_sense(limits):
    with pytest.raises(SettingError, match="the first must be above 0 and below the second, and at least 20 updates"):
        find_lr(Model(NETWORK, device="cpu"), IMAGES, LABELS, **limits)


def test_a_picture_without_a_suggestion(tmp_path):
    found = find_lr(Model(NETWORK, device="cpu"), IMAGES, LABELS, lowest=1e-12, highest=1e-10, updates=20)
    picture(found, tmp_path / "lr.svg")
    assert "learning rate" not in found.reason
    assert (tmp_path / "lr.svg").stat().st_size > 1000


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["gpucnn", "lr", *arguments])
        return main(), *capsys.readouterr()

    return run


def test_the_command(command):
    options = ("softmax-regression", "--device", "cpu", "--optimizer", "sgd", "--momentum", "0.5", "--out", "a.png")
    status, out, _ = command(*options)
    assert status == 0
    assert out.startswith("suggestion: --lr 0.")
    assert "the mean loss was least at" in out
    assert "the picture is a.png" in out
    with Image.open("a.png") as image:
        assert image.size == (840, 504)
    status, out, _ = command(*options, "--json", "--updates", "40", "--from", "0.001")
    found = json.loads(out)
    assert found["rates"][0] == 0.001
    assert f"{found['suggestion']:.2g}"


def test_the_command_changes_images_as_train_does(command):
    """As the recipe, as what suits pictures of one's own, or as it is told."""
    np.savez("mine.npz", images=IMAGES.repeat(2, axis=1).repeat(2, axis=2), labels=LABELS)
    short = ("--device", "cpu", "--updates", "20")
    status, out, _ = command("tiny-99", *short)
    assert (status, ", images changed by shift=1; the picture is lr.png" in out) == (0, True)
    for options, changes in (
        (("tiny-99", "--augment", "none"), None),
        (("softmax-regression", "--data", "mine.npz"), "rotate=10,zoom=0.1,brightness=0.1,contrast=0.1"),
        (("softmax-regression", "--augment", "shift=2"), "shift=2"),
        (("softmax-regression",), None),
    ):
        assert json.loads(command(*options, *short, "--json")[1])["augment"] == changes
    assert "augmentation 'nonsense=1'" in command("softmax-regression", "--augment", "nonsense=1")[2]


def test_the_command_says_what_is_wrong(command):
    assert "digits: data, and no network; say `gpucnn lr --data digits`" in command("digits")[2]
    assert "a.doc: .png, .svg or .pdf was expected" in command("fast", "--out", "a.doc")[2]
    assert "--momentum 0.5: Adam has no momentum" in command("fast", "--momentum", "0.5")[2]
    assert "below the second" in command("softmax-regression", "--from", "3", "--to", "2")[2]


def test_the_command_searches_the_network_and_the_data_that_train_would_train(monkeypatch, tmp_path):
    """Every option of `train` that decides them, each with another value than its default."""
    from gpucnn.report import lr_finder

    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["gpucnn", *map(str, arguments)])
        return main()

    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    for name in ("ant", "bee", "cow"):
        Path(name).mkdir()
        for k in range(10):
            Image.fromarray(RNG.integers(0, 256, (9, 8, 3), np.uint8)).save(f"{name}/{k}.png")
    asked = []

    def noted(model, images, labels, **how):
        asked.append((model, images, labels, how))
        return find_lr(model, images, labels, **how)

    monkeypatch.setattr(lr_finder, "find_lr", noted)
    of_data = ("--data", ".", "--size", "11x12", "--channels", 1, "--invert", "--classes", "cow,ant")
    of_network = ("--set", "hidden=5", "--set", "padding=same", "--device", "cpu", "--seed", 3)
    of_loss = ("--label-smoothing", 0.1, "--class-weights", "1,2", "--batch-size", 4)
    of_update = ("--clip-norm", 1, "--clip-value", 0.5, "--momentum", 0.8, "--optimizer", "momentum")
    both = (*of_data, *of_network, *of_loss, *of_update, "--augment", "none")
    assert command("train", "two-conv", *both, "--epochs", 1, "--out", "../run", "--quiet") == 0
    assert command("lr", "two-conv", *both, "--updates", 20, "--out", "../lr.png") == 0
    (model, images, labels, how) = asked.pop()
    trained = gpucnn.load("../run/model.safetensors", device="cpu")
    assert model.describe() == trained.describe() | {"name": "two-conv"}
    same = gpucnn.data.load(".", size=(11, 12), channels=1, invert=True).select_classes([2, 0])
    np.testing.assert_array_equal(images, same.train_images)
    np.testing.assert_array_equal(labels, same.train_labels)
    assert (how["batch_size"], how["freeze"], how["optimizer"].value) == (4, [], 0.5)
    start = ("--init", "../run/model.safetensors", "--freeze", "0/*")
    assert command("lr", "two-conv", *both, *start, "--updates", 20, "--out", "../lr.png") == 0
    np.testing.assert_array_equal(asked[0][0].theta, trained.theta)
    assert asked[0][3]["freeze"] == ["0/*"]


def test_frozen_parameters_stay_in_the_search():
    network = Network((5, 5, 1), (Flatten(), Dense(8), Dense(3)))
    made = [find_lr(Model(network, device="cpu"), IMAGES, LABELS, updates=20, freeze=some) for some in ((), "1/*")]
    assert made[0].losses[0] == made[1].losses[0]
    assert made[0].losses != made[1].losses
    with pytest.raises(SettingError, match="no parameter's name fits '7/x'"):
        find_lr(Model(network, device="cpu"), IMAGES, LABELS, freeze="7/x")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [({"updates": 30.5}, "updates=30.5: a whole number"), ({"lowest": "1e-5"}, "lowest='1e-5': a number")],
)
def test_rates_and_updates_are_numbers(wrong, sentence):
    with pytest.raises(SettingError, match=f"{sentence} was expected"):
        find_lr(Model(NETWORK, device="cpu"), IMAGES, LABELS, **wrong)
