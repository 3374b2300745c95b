"""Which pictures `gpucnn evaluate` measures, and what it says of that."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import elsewhere, gpucnn_  # noqa: F401

import gpucnn
from gpucnn import data
from gpucnn.errors import DataError

pytestmark = pytest.mark.usefixtures("blank_pictures")

HOW = ("--device", "cpu", "--threads", "1")
TRAIN = ("train", "softmax-regression", *HOW, "--epochs", 1, "--quiet")
MODEL = "run/model.safetensors"


def folder(name, count=10, seed=0):
    """A folder of so many pictures of each of two classes."""
    rng = np.random.default_rng(seed)
    for kind in ("dark", "light"):
        path = Path(name, kind)
        path.mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 60, (28, 28), np.uint8) + (120 if kind == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(path / f"{k}.png")
    return name


@pytest.fixture
def asked(gpucnn_):  # noqa: F811
    """asked(DATA, ...) -> the JSON of evaluate, its line, and what it says on standard error."""

    def ask(source, *more, model=MODEL):
        words = ("evaluate", model, "--data", source, *HOW, *more)
        status, out, said = gpucnn_(*words, "--json")
        assert status == 0, said
        return json.loads(out), gpucnn_(*words)[1].strip(), said

    return ask


def test_pictures_that_a_model_never_saw_are_all_measured(gpucnn_, asked):  # noqa: F811
    gpucnn_(*TRAIN, "--data", folder("seen"), "--out", "run")
    found, line, said = asked(folder("other", seed=1))
    assert (found["examples"], found["part"], found["of"]) == (20, "all", 20)
    assert line.endswith(", 20 images")
    assert said == ""
    found, line, _ = asked("other", "--part", "test")
    assert (found["examples"], found["part"], found["of"]) == (4, "test", 20)
    assert line.endswith(", 4 of 20 images, the test part")
    assert asked("other", "--part", "train")[1].endswith(", 16 of 20 images, the train part")
    pictures = data.load("other").part("all")
    measured = gpucnn.load(MODEL, device="cpu").evaluate(*pictures)
    assert measured["loss"] == pytest.approx(asked("other")[0]["loss"], rel=1e-6)


def test_those_that_it_was_trained_on_are_not(gpucnn_, asked):  # noqa: F811
    gpucnn_(*TRAIN, "--data", folder("seen"), "--out", "run")
    for name in ("seen", "./seen", Path("seen").absolute()):
        found, line, said = asked(name)
        assert (found["examples"], found["part"], found["of"], said) == (4, "test", 20, "")
        assert line.endswith(", 4 of 20 images, the test part")
    shutil.copytree("seen", "copied")  # it has the same pixels
    assert asked("copied")[0]["examples"] == 4
    with Path("pictures.csv").open("w") as file:
        file.write("file,label\n")
        file.writelines(f"{path},{path.parent.name}\n" for path in sorted(Path("seen").rglob("*.png")))
    assert asked("pictures.csv")[0]["examples"] == 4
    words = (*TRAIN, "--data", folder("second", seed=2), "--init", MODEL, "--out", "fine")
    assert gpucnn_(*words)[0] == 0
    for name in ("seen", "second"):  # the run before it counts, too
        assert asked(name, model="fine/model.safetensors")[0]["examples"] == 4
    assert asked(folder("third", seed=3), model="fine/model.safetensors")[0]["examples"] == 20
    both = json.loads(gpucnn_("evaluate", "fine/model.safetensors", "--model", MODEL, "--data", "second", "--json")[1])
    assert both["examples"] == 4


def test_a_folder_with_a_test_part_alone_is_one(gpucnn_, asked):  # noqa: F811
    gpucnn_(*TRAIN, "--data", folder("seen"), "--out", "run")
    folder("parted/test", seed=1)
    found, _, said = asked("parted")
    assert (found["examples"], found["part"]) == (20, "all")
    assert "the only sub-folder; without a training part beside it, train takes four fifths of this test part" in said
    assert asked("parted/test")[0]["examples"] == 20
    assert len(data.load("parted").train_labels) == 16
    folder("parted/train", seed=4)
    gpucnn_(*TRAIN, "--data", "parted", "--out", "of_parts")
    of_parts = "of_parts/model.safetensors"
    assert asked("parted", model=of_parts)[1].endswith(", 20 of 40 images, the test part")
    assert asked("parted/test", model=of_parts)[0]["examples"] == 20
    found, _, said = asked("parted/train", model=of_parts)
    assert found["examples"] == 4
    assert f"{of_parts} was trained on all 20 pictures of parted/train: what is measured is a fifth" in said


def test_where_nothing_says_what_a_model_was_trained_on(gpucnn_, asked, monkeypatch):  # noqa: F811
    gpucnn_(*TRAIN, "--data", folder("seen"), "--out", "run")
    model = gpucnn.load(MODEL, device="cpu")
    model.save("bare.safetensors")
    found, _, said = asked("seen", model="bare.safetensors")
    assert found["examples"] == 20
    assert "nothing beside bare.safetensors says that it was trained on these pictures, so all are measured" in said
    assert "--part test measures the fifth" in said
    shutil.copy(MODEL, "alone.safetensors")
    read, whole = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda file: read.append(str(file)) or whole(file))
    found, _, said = asked("seen", model="alone.safetensors")
    assert (found["examples"], read.count("alone.safetensors")) == (4, 2)  # of two commands
    assert "alone.safetensors was trained on data of this name, seen" in said


def test_a_class_may_have_one_picture_where_all_are_measured(gpucnn_, asked):  # noqa: F811
    gpucnn_(*TRAIN, "--data", folder("seen"), "--out", "run")
    for path in Path(folder("few", count=4, seed=1), "dark").glob("[123].png"):
        path.unlink()
    assert asked("few")[0]["examples"] == 5
    with pytest.raises(DataError, match="class dark has 1 example"):
        data.load("few")


def test_parts_of_a_data_set():
    digits = data.load("digits")
    assert digits.drawn_test
    assert digits.select_classes([1, 2]).drawn_test
    images, labels = digits.part("all")
    assert images.shape == (1797, 28, 28, 1)
    assert len(labels) == 1797
    assert digits.part("test")[0] is digits.test_images
    with pytest.raises(DataError, match="there is no part 'validation'; choose one of train, test, all"):
        digits.part("validation")
    np.savez("parts.npz", **{f"{n}_{p}": v for p in ("train", "val", "test") for n, v in _arrays(p).items()})
    parts = data.load("parts.npz")
    assert not parts.drawn_test
    assert [len(parts.part(name)[1]) for name in ("train", "validation", "test", "all")] == [5, 3, 4, 12]


def _arrays(part):
    count = {"train": 5, "val": 3, "test": 4}[part]
    images = np.random.default_rng(count).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    return {"x": images, "y": np.arange(count) % 2}


def as_csv(source, name="pictures.csv", between=","):
    """A table that names the pictures of a folder."""
    lines = [f"{path}{between}{path.parent.name}\n" for path in sorted(Path(source).rglob("*.png"))]
    Path(name).write_text(f"file{between}label\n" + "".join(lines))
    return name


def as_parquet(source):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    files = sorted(Path(source).rglob("*.png"))
    rows = [{"image": {"bytes": file.read_bytes()}, "label": file.parent.name} for file in files]
    parquet.write_table(pyarrow.Table.from_pylist(rows), "pictures.parquet")
    return "pictures.parquet"


@pytest.mark.parametrize("how", [("--invert",), ("--size", "16x12"), ("--channels", "3"), ("--size", "9", "--invert")])
def test_pictures_are_read_as_those_of_the_model_wherever_they_are_named(gpucnn_, asked, how):  # noqa: F811
    forms = [as_csv(folder("seen")), as_csv("seen", "pictures.TSV", "\t"), "seen"]
    forms += [as_parquet("seen")] if find_spec("pyarrow") else []
    Path("inside").mkdir()
    shutil.copytree("seen", "inside/seen")
    as_csv("inside/seen", "inside/pictures.csv")
    text = Path("inside/pictures.csv").read_text()
    Path("inside/pictures.csv").write_text(text.replace("inside/", ""))
    words = (*TRAIN[:-1], "--data", forms[0], *how, "--out", "run", "--json", "--quiet")
    trained = json.loads(gpucnn_(*words)[1])
    for form in (*forms, "inside/pictures.csv"):
        found, _, _ = asked(form)
        assert (found["accuracy"], found["loss"]) == (trained["test_accuracy"], trained["test_loss"]), form


def test_pictures_of_strokes_are_brought_to_those_of_the_training(gpucnn_, asked):  # noqa: F811
    gpucnn_("train", "softmax-regression", *HOW, "--epochs", 5, "--quiet", "--out", "run")
    digits = data.load("digits")
    for k in range(60):
        for name, image in (("plain", digits.test_images[k]), ("paper", 255 - digits.test_images[k])):
            path = Path(name, str(digits.test_labels[k]), f"{k}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)
    measured = gpucnn.load(MODEL, device="cpu").evaluate(digits.test_images[:60], digits.test_labels[:60])
    assert asked("plain")[0]["loss"] == pytest.approx(measured["loss"], rel=1e-6)
    for form in ("paper", as_csv("paper")):
        found, _, said = asked(form)
        assert found["accuracy"] > 0.7  # 0.1 where they are read as they are
        assert "it is dark on light, and was inverted" in said


def test_arrays_are_taken_as_they_are_whatever_preprocessing_a_model_has(gpucnn_, asked):  # noqa: F811
    gpucnn_(*TRAIN, "--data", folder("seen"), "--invert", "--out", "run")
    images, labels = data.load(folder("other", seed=1), invert=True).part("all")
    Path("arrays").mkdir()
    np.save("arrays/images.npy", images)
    np.save("arrays/labels.npy", np.array(["dark", "light"])[labels])
    np.savez("arrays.npz", images=images, labels=np.array(["dark", "light"])[labels])
    losses = [asked(name)[0]["loss"] for name in ("arrays", "arrays.npz", "other")]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


@pytest.fixture
def changed(gpucnn_):  # noqa: F811
    """A model of a folder, of which a picture was then deleted and another one came; and the marks of the rest."""
    gpucnn_(*TRAIN, "--data", folder("seen", 20), "--out", "run")
    trained = {image.tobytes() for image in data.load("seen").train_images}
    file = next(
        each for each in sorted(Path("seen").rglob("*.png")) if np.asarray(Image.open(each)).tobytes() in trained
    )
    file.unlink()
    folder("new", 1, seed=5)
    shutil.copy("new/light/0.png", "seen/light/new.png")
    return trained


def test_no_picture_of_the_training_is_measured_after_the_data_changed(gpucnn_, asked, changed):  # noqa: F811
    shutil.copytree("seen", "copied")
    Path("copied/light/new.png").rename("copied/dark/00.png")
    unseen = [image for image in data.load("seen").part("all")[0] if image.tobytes() not in changed]
    assert len(unseen) == 9
    for name in ("seen", "copied", as_csv("seen")):
        found, line, said = asked(name)
        assert (found["examples"], found["part"], found["of"]) == (9, "unseen", 40), name
        assert line.endswith(", 9 of 40 images, the unseen part")
        assert said.endswith(f"gpucnn: left out: 31 of 40 pictures, which {MODEL} was trained on\n")
    found, _, said = asked("seen", "--part", "test")
    assert found["examples"] == 8
    assert f"{MODEL} was trained on " in said
    assert " of the 8 pictures that are measured: what is found says less of others" in said
    assert asked("seen", "--part", "all")[2] == ""


def test_data_that_changed_are_told_of_where_a_run_kept_no_marks(gpucnn_, asked, changed):  # noqa: F811
    text = Path("run/run.toml").read_text()
    Path("run/run.toml").write_text("".join(line for line in text.splitlines(True) if not line.startswith("pictures")))
    found, _, said = asked("seen")
    assert (found["examples"], found["part"]) == (8, "test")
    assert f"seen is not what it was when {MODEL} was trained on it: its test part was drawn anew" in said
    Path("run/run.toml").write_text(text.replace('pictures = "', 'pictures = "?'))  # no marks
    assert asked("seen")[0]["part"] == "test"


def test_a_test_part_that_was_trained_on_is_told_of(gpucnn_, asked):  # noqa: F811
    gpucnn_(*TRAIN, "--data", folder("seen"), "--out", "run")
    shutil.copytree(folder("other", seed=1), "parted/train")
    shutil.copytree("seen", "parted/test")
    found, _, said = asked("parted")
    assert (found["examples"], found["part"]) == (20, "test")
    assert "was trained on 16 of the 20 pictures that are measured" in said


def test_data_without_a_class_of_the_model_are_refused_as_such(gpucnn_):  # noqa: F811
    digits = data.load("digits")
    gpucnn_("train", "softmax-regression", *HOW, "--epochs", 1, "--quiet", "--classes", "0,1,2", "--out", "run")
    is_other = digits.train_labels > 7
    np.savez("others.npz", images=digits.train_images[is_other], labels=digits.train_labels[is_other])
    err = gpucnn_("evaluate", MODEL, "--data", "others.npz", *HOW)[2]
    assert "others: the pictures are of 8, 9, and this model knows 0, 1, 2; choose data of the model's classes" in err
    tested = digits.test_labels > 7
    arrays = {"x_train": digits.train_images, "y_train": digits.train_labels}
    np.savez("parts.npz", **arrays, x_test=digits.test_images[tested], y_test=digits.test_labels[tested])
    err = gpucnn_("evaluate", MODEL, "--data", "parts.npz", *HOW)[2]
    assert "parts: the test pictures are of 8, 9, and this model knows 0, 1, 2" in err


def test_a_resumed_run_says_that_its_test_pictures_have_changed(gpucnn_):  # noqa: F811
    shutil.copytree(folder("some"), "parted/train")
    shutil.copytree(folder("other", seed=1), "parted/test")
    gpucnn_(*TRAIN[:-1], "--data", "parted", "--out", "run")
    says = "the test pictures are not those that the run began with"
    assert says not in gpucnn_("train", "--resume", "run", "--epochs", 2, "--anyway")[2]
    next(Path("parted/test").rglob("*.png")).unlink()
    assert says in gpucnn_("train", "--resume", "run", "--epochs", 3, "--anyway")[2]
    assert says not in gpucnn_("train", "--resume", "run", "--epochs", 4, "--anyway")[2]
