"""Which pictures are wrong, by their files."""

from __future__ import annotations

import copy
import csv
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_fit import gpucnn_  # noqa: F401

import gpucnn
from gpucnn import data
from gpucnn.data.split import held_out
from gpucnn.errors import DataError, SettingError
from gpucnn.report import finished, mistakes

pytestmark = pytest.mark.usefixtures("blank_pictures")

SIDE = 8


def value_of(path) -> int:
    """The value that all pixels of a picture have: no two have the same."""
    with Image.open(path) as picture:
        return int(np.asarray(picture)[0, 0])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """120 pictures of three classes, each of its own grey, which is of no class."""
    monkeypatch.chdir(tmp_path)
    for k in range(120):
        path = Path("pictures", "abc"[k % 3], f"{k}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (SIDE, SIDE), 2 * k + 1).save(path)
    return "pictures"


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


def right(dataset, part):
    origin, (images, _) = dataset.origin(part), dataset.part(part)
    assert len(origin) == len(images) > 0
    assert [value_of(path) for path in origin] == images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("kind", ["folder", "parts", "table", "table of parts"])
def test_each_image_knows_its_file(folder, kind):
    where = Path(folder)
    if kind == "parts":
        for k, path in enumerate(sorted(where.glob("*/*.png"))):
            place = Path("parts", ("train", "val", "test")[k % 3], path.parent.name, path.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
        where = Path("parts")
    elif kind != "folder":
        named = [(k, path) for k, path in enumerate(sorted(where.glob("*/*.png")))]
        parts = [("", ",train", ",val", ",test")[0 if kind == "table" else 1 + k % 3] for k, _ in named]
        head = "file,label" + ",split" * (kind == "table of parts")
        lines = [f"{path},{path.parent.name}{part}" for (_, path), part in zip(named, parts)]
        where = Path("table.csv")
        where.write_text("\n".join([head, *lines]))
    (sorted(Path().glob("**/*.png"))[7]).write_bytes(b"no picture")
    found = data.load(where, skip_broken=True, size=SIDE)
    parts = ["train", "test", "all", *["validation"] * (found.validation is not None)]
    for part in parts:
        right(found, part)
    for part in parts:
        right(found.select_classes([2, 0]), part)


def test_an_image_that_is_no_file_knows_its_place(tmp_path):
    images = np.arange(100, dtype=np.uint8)[:, None, None] + np.zeros((1, SIDE, SIDE), np.uint8)
    labels = np.arange(100) % 4
    np.savez(tmp_path / "one.npz", images=images, labels=labels)
    drawn = data.load(tmp_path / "one.npz")
    np.savez(tmp_path / "two.npz", x_train=images[:60], y_train=labels[:60], x_test=images[60:], y_test=labels[60:])
    given = data.load(tmp_path / "two.npz")
    for part in ("train", "test", "all"):
        found = drawn.select_classes([3, 1]) if part == "test" else drawn
        np.testing.assert_array_equal(found.part(part)[0][:, 0, 0, 0], found.origin(part))
        np.testing.assert_array_equal(given.origin(part), np.arange(len(given.part(part)[1])))
    np.testing.assert_array_equal(given.select_classes([1, 2]).origin("test"), np.flatnonzero(labels[60:] % 3))


@pytest.mark.parametrize("part", [None, "train", "validation", "test", "all"])
def test_mistakes_name_their_files(folder, gpucnn_, part):  # noqa: F811
    """A run's own, and those that evaluate finds in each part: all that are wrong, and no others."""
    words = ("--data", folder, "--size", SIDE, "--epochs", 2, "--validation", 0.25)
    status, out, err = gpucnn_("train", "softmax-regression", *words, "--out", "run")
    assert status == 0, err
    assert out.splitlines()[-1].endswith("mistakes.png; every mistake is in mistakes.csv")
    path, where = "run/model.safetensors", "run"
    dataset = data.load(folder, size=SIDE)
    if part in ("train", "validation"):
        held = held_out(dataset.train_labels, 0.25, 0)
        chosen = held if part == "validation" else ~held
        files, labels = dataset.origin("train")[chosen], dataset.train_labels[chosen]
    else:
        files, labels = dataset.origin(part or "test"), dataset.part(part or "test")[1]
    if part is not None:
        where = "report"
        status, out, _ = gpucnn_("evaluate", path, "--data", folder, "--part", part, "--report", "--out", where)
        assert (status, out.splitlines()[-1][-13:]) == (0, " mistakes.csv")
    model = gpucnn.load(path)
    found = rows(f"{where}/mistakes.csv")
    assert [*found[0]] == ["file", "class", "taken_for", "probability"]
    own = [Path(each["file"]).parent.name for each in found]
    assert [each["class"] for each in found] == own
    given = model.predict([each["file"] for each in found])
    assert [each["taken_for"] for each in found] == [model.class_names[k] for k in given]
    sure = [float(each["probability"]) for each in found]
    assert sure == sorted(sure, reverse=True)
    np.testing.assert_allclose(sure, model.predict_proba([each["file"] for each in found]).max(axis=1), rtol=1e-4)
    wrong = model.predict([*files]) != labels
    assert sorted(each["file"] for each in found) == sorted(np.asarray(files)[wrong])
    in_python = mistakes.find(model, [*files], [model.class_names[k] for k in labels])
    mistakes.write(in_python, "own.csv")
    assert rows("own.csv") == found


def test_pictures_that_were_not_trained_on_name_theirs(folder, gpucnn_):  # noqa: F811
    gpucnn_("train", "softmax-regression", "--data", folder, "--size", SIDE, "--epochs", 1, "--out", "run")
    new = []
    for k in range(30):
        new.append(Path(folder, "abc"[k % 3], f"new{k}.png"))
        Image.new("L", (SIDE, SIDE), 2 * k).save(new[-1])
    status, out, err = gpucnn_("evaluate", "run/model.safetensors", "--data", folder, "--report", "--out", "r")
    assert (status, "54 of 150 images" in out) == (0, True), out + err
    before = data.load(folder, size=SIDE).part("all")[1]
    assert len(before) == 150
    found = rows("r/mistakes.csv")
    assert {each["file"] for each in found} & set(map(str, new))
    assert all(Path(each["file"]).parent.name == each["class"] != each["taken_for"] for each in found)


def test_mistakes_of_data_without_files_have_an_index(gpucnn_, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    gpucnn_("train", "softmax-regression", "--epochs", 1, "--out", "run")
    found, digits = rows("run/mistakes.csv"), data.load("digits")
    assert [*found[0]] == ["index", "class", "taken_for", "probability"]
    labels = dict(zip(digits.origin("all").tolist(), digits.part("all")[1]))
    assert [digits.class_names[labels[int(each["index"])]] for each in found] == [each["class"] for each in found]
    model = gpucnn.load("run/model.safetensors")
    alone = mistakes.find(model, digits.test_images, digits.test_labels)
    assert digits.origin("test")[[each.file for each in alone]].tolist() == [int(each["index"]) for each in found]
    assert mistakes.find(model, digits.test_images[:1], model.predict(digits.test_images[:1])) == []
    with pytest.raises(DataError, match="files: 2 names for 359 images; give one for each"):
        mistakes.find(model, digits.test_images, digits.test_labels, ["a", "b"])
    numbers = gpucnn.Model(gpucnn.networks.build("softmax-regression", (SIDE, SIDE, 1), 2), loss="mse", device="cpu")
    with pytest.raises(SettingError, match="mistakes: the model gives numbers"):
        mistakes.find(numbers, np.zeros((2, SIDE, SIDE, 1)), np.zeros((2, 2)))


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are any bytes on Linux alone")
def test_names_of_files_that_are_no_texts(gpucnn_, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    for k in range(24):
        folder = os.path.join(b"folder", b"ab"[k % 2 : k % 2 + 1])
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, b'\xff"\n,%d.png' % k), "wb") as file:
            Image.new("L", (SIDE, SIDE), 10 * k).save(file, "PNG")
    words = ("--data", "folder", "--size", SIDE, "--epochs", 1, "--augment", "none")
    status, _, err = gpucnn_("train", "softmax-regression", *words, "--out", "run")
    assert status == 0, err
    assert Path("run/mistakes.png").exists()
    with open("run/mistakes.csv", newline="", encoding="utf-8", errors="surrogateescape") as table:
        found = [*csv.DictReader(table)]
    assert found
    assert all(os.path.exists(each["file"]) for each in found)


def test_what_the_loss_ignores_is_no_mistake(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, SIDE, SIDE, 1), dtype=np.uint8)
    labels = rng.integers(0, 3, 200)
    loss = gpucnn.losses.SoftmaxCrossEntropy(ignore_index=-1)
    network = gpucnn.networks.build("softmax-regression", (SIDE, SIDE, 1), 3)
    model = gpucnn.Model(network, class_names=["a", "b", "c"], loss=loss, device="cpu", threads=1)
    masked = np.where(np.arange(200) % 4, labels, -1)
    found = mistakes.find(model, images, masked)
    wrong = (model.predict(images) != labels) & (masked >= 0)
    assert {each.file for each in found} == {*np.flatnonzero(wrong)}
    assert len(found) == 150 - np.trace(model.confusion_matrix(images, masked))
    named = mistakes.find(model, images, masked, [f"{k}.png" for k in range(200)])
    assert [each.file for each in named] == [f"{each.file}.png" for each in found]
    dataset = data.Dataset("d", images, labels, images, labels, ("a", "b", "c"))
    model.loss = gpucnn.losses.SoftmaxCrossEntropy(ignore_index=1)
    finished.draw(model, dataset, tmp_path)
    assert {int(each["index"]) for each in rows(tmp_path / "mistakes.csv")} == {
        *np.flatnonzero((model.predict(images) != labels) & (labels != 1))
    }


def test_other_images_have_no_files(folder):
    """What is said of a part's images is not said of those that are put in their place."""
    found = data.load(folder, size=SIDE)
    order = np.arange(len(found.test_labels))[::-1]
    other = replace(found, test_images=found.test_images[order], test_labels=found.test_labels[order])
    np.testing.assert_array_equal(other.origin("test"), np.arange(len(order)))
    np.testing.assert_array_equal(other.select_classes([2, 0]).origin("test"), np.flatnonzero(other.test_labels != 1))
    assert other.origin("all").dtype.kind == "i"
    for same in (copy.copy(other), copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        np.testing.assert_array_equal(same.origin("test"), np.arange(len(order)))
        right(same, "train")
    noted = replace(other, notes=("one",), train_labels=found.train_labels[::-1].copy())
    np.testing.assert_array_equal(noted.origin("test"), np.arange(len(order)))
    right(noted, "train")
    divided = replace(
        found, validation=found.part("test"), origins={**found.origins, "validation": found.origin("test")}
    )
    right(pickle.loads(pickle.dumps(replace(divided, validation=None))), "all")
    right(pickle.loads(pickle.dumps(divided)), "all")
    given = replace(other, origins={**other.origins, "test": found.origin("test")[order]})
    right(given, "test")


def test_copies_and_pickles_know_their_files(folder):
    found = data.load(folder, size=SIDE)
    for same in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found)), replace(found, notes=())):
        for part in ("train", "test", "all"):
            right(same, part)
            right(same.select_classes([2, 0]), part)


def test_a_pickle_of_before_has_places(folder):
    found = data.load(folder, size=SIDE)
    state = {name: value for name, value in vars(found).items() if name != "origins"}
    before = object.__new__(data.Dataset)
    before.__setstate__(state)
    for same in (before, replace(before, notes=("one",))):
        for part in ("train", "test", "all"):
            np.testing.assert_array_equal(same.origin(part), np.arange(len(same.part(part)[1])))
        assert len(same.select_classes([0, 1]).origin("test")) == (found.test_labels < 2).sum()
