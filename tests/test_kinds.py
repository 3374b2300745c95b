"""The command on classes, several labels and numbers: train --loss, evaluate --report, predict."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpucnn
from gpucnn import command as cli
from gpucnn import data
from gpucnn.errors import DataError
from gpucnn.losses import (
    FocalLoss,
    Huber,
    MeanSquaredError,
    MultiLabelCrossEntropy,
    SoftmaxCrossEntropy,
    balanced,
    balanced_labels,
)

pytestmark = pytest.mark.usefixtures("blank_pictures")

FAST = ("--device", "cpu", "--threads", "1", "--batch-size", "8", "--lr", "0.01")
NET = "softmax-regression"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Three data sets of the same pictures, bright on the left, on the right, or above by chance."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    flags = rng.integers(0, 2, (120, 3), dtype=np.uint8)
    images = rng.integers(0, 40, (120, 8, 8), dtype=np.uint8)
    for k, part in enumerate((np.s_[:, :, :4], np.s_[:, :, 4:], np.s_[:, :4])):
        images[part] += (100 * flags[:, k]).astype(np.uint8)[:, None, None]
    labels, numbers = np.argmax([*flags.T[:2], flags[:, 0] < 2], axis=0), flags @ [[1.0, 0], [0, 2], [3, -1]] + 5
    np.savez("classes.npz", images=images, labels=labels, class_names=["a", "b", "c"])
    np.savez("flags.npz", images=images, labels=flags, class_names=["left", "right", "above"])
    np.savez("numbers.npz", images=images, labels=numbers.astype("float32"), class_names=["x", "y"])


@pytest.fixture
def gpucnn_(monkeypatch, capsys):
    """gpucnn_(...) -> exit status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["gpucnn", *map(str, arguments)])
        status = cli.main()
        return status, *capsys.readouterr()

    return run


def trained(gpucnn_, *arguments, epochs=3, out="run"):
    status, text, said = gpucnn_("train", NET, *FAST, "--epochs", epochs, "--out", out, "--json", *arguments)
    assert status == 0, said
    return json.loads(text), gpucnn.load(Path(out, "model.safetensors"), device="cpu", threads=1)


def picture(name):
    Image.fromarray(np.where(np.arange(8) < 4, 120, 20).astype(np.uint8) * np.ones((8, 1), np.uint8)).save(name)
    return name


# Data sets


def test_rows_of_a_file_are_labels_or_numbers():
    flags, numbers = data.load("flags.npz"), data.load("numbers.npz")
    assert (flags.train_labels.dtype, flags.train_labels.shape) == (np.uint8, (96, 3))
    assert (numbers.train_labels.dtype, numbers.test_labels.shape) == (np.float32, (24, 2))
    assert repr(flags).endswith("96 training and 24 test pictures of 8x8x1, 3 labels)")
    assert repr(numbers).endswith("2 numbers)")
    assert not flags.is_classified
    assert "left: in " in flags.summary()
    assert "x: " in numbers.summary()
    images = np.concatenate([flags.train_images, flags.test_images])
    assert len(np.unique(images, axis=0)) == len(np.unique(np.load("flags.npz")["images"], axis=0))
    chosen = flags.select_classes([2, 0])
    assert chosen.class_names == ("above", "left")
    np.testing.assert_array_equal(chosen.train_labels, flags.train_labels[:, [2, 0]])


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.full((120, 3), 2), r"found int64 \(120, 3\), one integer per picture"),
        (np.full((120, 3), np.nan), "holds NaN or infinite values"),
        (np.full((120, 2), 0.5), "2 labels or numbers for each picture, and 3 names for them"),
        (np.full((119, 3), 0.5), "120 pictures but 119 labels"),
        (np.zeros((120, 3, 1)), r"found float64 \(120, 3, 1\)"),
    ],
)
def test_rows_that_mean_nothing(labels, says):
    np.savez("own.npz", images=np.zeros((120, 8, 8), np.uint8), labels=labels, class_names=["a", "b", "c"])
    with pytest.raises(DataError, match=says):
        data.load("own.npz")


def test_parts_of_two_kinds():
    images = np.zeros((4, 8, 8), np.uint8)
    np.savez("own.npz", x_train=images, y_train=np.array([0, 1, 0, 1]), x_test=images, y_test=np.full((4, 2), 0.5))
    with pytest.raises(DataError, match="one part has a label for each picture, another one rows"):
        data.load("own.npz")


# Several labels


def test_several_labels(gpucnn_):
    found, model = trained(gpucnn_, "--data", "flags.npz", "--loss", "multi-label", epochs=60)
    assert model.loss == MultiLabelCrossEntropy()
    assert {"test_loss", "test_accuracy", "test_label_accuracy"} < set(found)
    assert found["test_label_accuracy"] > 0.9
    status, text, _ = gpucnn_("evaluate", "run/model.safetensors", "--data", "flags.npz")
    assert (status, text.split(":")[0]) == (0, "flags")
    assert f"label accuracy {100 * found['test_label_accuracy']:.2f} %, loss {found['test_loss']:.4f}, 24" in text
    status, text, _ = gpucnn_("predict", "run/model.safetensors", picture("left.png"), "--json")
    (row,) = json.loads(text)
    assert row["labels"] == ["left"]
    assert set(row["probabilities"]) == {"left", "right", "above"}
    status, text, _ = gpucnn_("predict", "run/model.safetensors", "left.png")
    assert text == f"left.png: left ({100 * row['probabilities']['left']:.1f} %)\n"
    Image.fromarray(np.full((8, 8), 20, np.uint8)).save("dark.png")
    assert gpucnn_("predict", "run/model.safetensors", "dark.png")[1] == "dark.png: no label\n"


def test_labels_that_are_rare_count_more_where_they_hold(gpucnn_):
    flags = dict(np.load("flags.npz"))
    flags["labels"][3:, 0] = 0
    flags["labels"][::7, 0] = 1
    np.savez("rare.npz", **flags)
    _, model = trained(gpucnn_, "--data", "rare.npz", "--loss", "multi-label", "--class-weights", "balanced")
    rows = data.load("rare.npz").train_labels
    assert model.loss == MultiLabelCrossEntropy(positive_weights=balanced_labels(rows))
    assert model.loss.positive_weights[0] > 4
    _, plain = trained(gpucnn_, "--data", "rare.npz", "--loss", "multi-label", out="plain")
    mean = [each.predict_proba(data.load("rare.npz").train_images)[:, 0].mean() for each in (model, plain)]
    assert mean[0] > mean[1] + 0.1
    assert trained(gpucnn_, "--data", "rare.npz", "--loss", "multi-label", "--class-weights", "9,1,1", out="w")[1].loss


# Numbers


@pytest.mark.parametrize(("name", "loss"), [("mse", MeanSquaredError()), ("huber", Huber())])
def test_numbers(gpucnn_, name, loss):
    found, model = trained(gpucnn_, "--data", "numbers.npz", "--loss", name, "--validation", 0.2, epochs=150)
    assert model.loss == loss
    assert found["test_r2"] > 0.8
    assert {name for name in found if name.startswith("test_")} == {
        "test_loss",
        "test_mean_absolute_error",
        "test_mean_squared_error",
        "test_r2",
    }
    assert Path("run/curves.png").exists()
    status, text, _ = gpucnn_("evaluate", "run/model.safetensors", "--data", "numbers.npz")
    assert status == 0
    assert text.startswith("numbers: mean absolute error ")
    assert f"R^2 {found['test_r2']:.4g}, loss {found['test_loss']:.4f}, 24 of 120 images, the test part" in text
    assert text.endswith("; the errors are means over 2 numbers, --report has each\n")
    whole = gpucnn_("evaluate", "run/model.safetensors", "--data", "numbers.npz", "--report")[1]
    assert "means over 2 numbers" not in whole
    assert json.loads(gpucnn_("predict", "run/model.safetensors", picture("left.png"), "--json")[1])[0].keys() == {
        "file",
        "numbers",
    }
    assert gpucnn_("predict", "run/model.safetensors", "left.png")[1].startswith("left.png: x ")


def test_the_last_line_of_a_training_says_errors(gpucnn_):
    status, text, said = gpucnn_("train", NET, *FAST, "--epochs", 1, "--data", "numbers.npz", "--loss", "mse")
    assert status == 0
    assert text.startswith("test mean absolute error ")
    told = ", on 24 images; the errors are means over 2 numbers, `gpucnn evaluate MODEL --report` has each"
    assert text.splitlines()[0].endswith(told)
    assert "2 numbers" in said


# Classes


def test_label_smoothing_and_class_weights_are_in_the_file_and_the_settings(gpucnn_):
    options = ("--data", "classes.npz", "--label-smoothing", "0.1", "--class-weights", "balanced")
    _, model = trained(gpucnn_, *options)
    weights = balanced(data.load("classes.npz").train_labels, 3)
    assert model.loss == SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=weights)
    settings = tomllib.loads(Path("run/run.toml").read_text())
    assert settings["label_smoothing"] == 0.1
    assert settings["class_weights"] == "balanced"
    assert "loss" not in settings
    _, again = trained(gpucnn_, "--config", "run/run.toml", out="again")
    np.testing.assert_array_equal(again.theta, model.theta)
    _, plain = trained(gpucnn_, "--data", "classes.npz", out="plain")
    assert plain.loss == SoftmaxCrossEntropy()
    assert not np.array_equal(plain.theta, model.theta)


def test_a_run_goes_on_with_its_loss(gpucnn_):
    _, model = trained(gpucnn_, "--data", "classes.npz", "--label-smoothing", "0.1", "--class-weights", "balanced")
    status, _, said = gpucnn_("train", "--resume", "run", "--label-smoothing", "0.2")
    assert status == 1
    assert "--label-smoothing 0.2 is not what the run began with" in said
    status, _, said = gpucnn_("train", "--resume", "run", "--epochs", 4)
    assert status == 0, said
    again = gpucnn.load("run/model.safetensors", device="cpu")
    assert again.loss == model.loss
    assert not np.array_equal(again.theta, model.theta)


def test_losses_by_name(gpucnn_):
    _, model = trained(gpucnn_, "--data", "classes.npz", "--loss", "focal", "--class-weights", "1,2,0.5")
    assert model.loss == FocalLoss(alpha=(1, 2, 0.5))
    for name in ("binary", "hinge"):
        found, _ = trained(gpucnn_, "--data", "classes.npz", "--loss", name, out=name)
        assert found["test_accuracy"] > 0.3
        assert tomllib.loads(Path(name, "run.toml").read_text())["loss"] == name


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("--loss", "softmx"), 2, "did you mean softmax? choose one of softmax, binary, multi-label, focal, hinge"),
        (
            ("--loss", "mse"),
            1,
            "--loss mse takes rows of labels or numbers, and classes has a class for each picture",
        ),
        (("--data", "flags.npz"), 1, "flags has labels for each picture, and no classes; say --loss multi-label"),
        (("--data", "numbers.npz"), 1, "numbers has numbers for each picture, and no classes; say --loss mse or huber"),
        (("--data", "numbers.npz", "--loss", "multi-label"), 1, "parts in 0..1 were expected"),
        (("--data", "flags.npz", "--loss", "softmax"), 1, "flags has labels for each picture, and no classes; say"),
        (("--label-smoothing", "1"), 2, "0, or a part of 1 such as 0.1, was expected"),
        (
            ("--loss", "hinge", "--label-smoothing", "0.1"),
            1,
            "--label-smoothing belongs to the loss softmax, Hinge",
        ),
        (("--loss", "binary", "--class-weights", "1,1,1"), 1, "--class-weights belong to the losses softmax, focal"),
        (
            ("--data", "flags.npz", "--loss", "multi-label", "--class-weights", "1,0,1"),
            1,
            "a number above 0 for each label",
        ),
        (
            ("--class-weights", "1,2"),
            1,
            "balanced, or 3 numbers of at least 0 with commas between, one for each of a",
        ),
        (("--class-weights", "1,2,heavy"), 1, "--class-weights 1,2,heavy: balanced, or a number of"),
        (("--class-weights", "1,2,-3"), 1, "--class-weights 1,2,-3"),
    ],
)
def test_what_does_not_belong_together(gpucnn_, arguments, status, says):
    data_of = () if "--data" in arguments else ("--data", "classes.npz")
    found, out, said = gpucnn_("train", NET, *FAST, "--epochs", 1, *data_of, *arguments)
    assert (found, out) == (status, "")
    assert says in " ".join(said.replace("│", " ").split())


def test_soft_targets_from_a_file(gpucnn_):
    contents = dict(np.load("classes.npz"))
    contents["labels"] = (0.8 * np.eye(3)[contents["labels"]] + 0.2 / 3).astype("float32")
    np.savez("soft.npz", **contents)
    found, model = trained(gpucnn_, "--data", "soft.npz", "--loss", "softmax", epochs=20)
    assert model.loss == SoftmaxCrossEntropy()
    assert found["test_accuracy"] > 0.5


# Reports


@pytest.mark.drawn
def test_a_report_of_classes(gpucnn_):
    trained(gpucnn_, "--data", "classes.npz")
    arguments = ("evaluate", "run/model.safetensors", "--data", "classes.npz", "--report")
    status, text, _ = gpucnn_(*arguments)
    assert status == 0
    assert text.startswith("classes: accuracy ")
    for part in ("precision", "recall", "f1", "support", "macro average", "weighted average"):
        assert part in text
    status, text, _ = gpucnn_(*arguments, "--json", "--out", "report")
    found = json.loads(text)
    assert np.sum(found["confusion"]) == found["examples"]
    assert set(found["rows"]) == {"a", "b", "c"}
    assert json.loads(Path("report/report.json").read_text()) == found
    assert Image.open("report/confusion.png").size[0] > 300
    assert json.loads(gpucnn_(*arguments[:-1], "--json")[1]) == {
        name: found[name] for name in ("data", "loss", "accuracy", "examples", "part", "of")
    }


@pytest.mark.parametrize(("source", "loss"), [("flags", "multi-label"), ("numbers", "mse")])
def test_a_report_of_rows(gpucnn_, source, loss):
    trained(gpucnn_, "--data", f"{source}.npz", "--loss", loss)
    report = ("evaluate", "run/model.safetensors", "--data", f"{source}.npz", "--report", "--out", "report")
    status, text, _ = gpucnn_(*report)
    assert status == 0
    assert ("micro average" if source == "flags" else "mean absolute error") in text
    assert Path("report/report.json").exists()
    assert not Path("report/confusion.png").exists()


def test_a_report_where_nothing_can_be_written(gpucnn_):
    trained(gpucnn_, "--data", "classes.npz")
    Path("file").write_text("")
    model = ("evaluate", "run/model.safetensors", "--data", "classes.npz")
    status, _, said = gpucnn_(*model, "--report", "--out", "file")
    assert status == 1
    assert "file: the report cannot be written there: " in said
    status, _, said = gpucnn_(*model, "--out", "elsewhere")
    assert status == 1
    assert "--out is for what --report shows; give both" in said


@pytest.mark.drawn
def test_a_confusion_matrix_of_many_classes(tmp_path):
    from gpucnn.report.confusion import draw

    rng = np.random.default_rng(0)
    for count in (2, 25, 26, 100, 300):
        draw(rng.integers(0, 9, (count, count)), [f"class {k}" for k in range(count)], tmp_path / f"{count}.png")
        assert max(Image.open(tmp_path / f"{count}.png").size) < 6000


@pytest.mark.parametrize("source", ["classes", "flags", "numbers"])
@pytest.mark.drawn
def test_pictures_of_each_label_or_number(source, tmp_path):
    from gpucnn.report import sheet

    found = data.load(f"{source}.npz")
    assert sheet.draw(found, tmp_path / "sheet.png") == len(found.class_names)
    for k in range(len(found.class_names)):
        first = sheet.of_class(found, k)[0]
        value = found.train_labels[first] if source == "classes" else found.train_labels[first, k]
        assert value == {"classes": k, "flags": 1, "numbers": found.train_labels[..., -1 if k else 0].max()}[source]


# Whole numbers that are to be predicted


def picture_table(images, values):
    for k, image in enumerate(images):
        Image.fromarray(image).save(f"{k}.png")
    lines = [f"{k}.png,{value}" for k, value in enumerate(values)]
    Path("ages.csv").write_text("\n".join(["file,label", *lines]))


def pixel_table(images, values):
    rows = [",".join(map(str, [value, *image.ravel()])) for value, image in zip(values, images)]
    Path("ages.csv").write_text("\n".join([",".join(["label", *(f"p{k}" for k in range(64))]), *rows]))


def parquet(images, values):
    pyarrow, parquet_files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pixels = {f"p{k}": column for k, column in enumerate(images.reshape(len(images), -1).T)}
    parquet_files.write_table(pyarrow.table({"label": values, **pixels}), "ages.parquet")


def arrays(images, values):
    np.save("images.npy", images)
    np.save("labels.npy", values[:, None])


WHOLE = {
    "ages.csv": picture_table,
    "./ages.csv": pixel_table,
    "ages.parquet": parquet,
    "images.npy": arrays,
    "ages.npz": lambda images, values: np.savez("ages.npz", images=images, labels=values),
    "./ages.npz": lambda images, values: np.savez("ages.npz", images=images, labels=values.astype(float)),
}


@pytest.mark.parametrize("low", [-60, 0])
@pytest.mark.parametrize("name", [*WHOLE])
def test_a_loss_of_numbers_decides_that_whole_ones_are_such(gpucnn_, low, name):
    rng = np.random.default_rng(0)
    values = low + np.arange(120)
    WHOLE[name](rng.integers(0, 256, (120, 8, 8)).astype(np.uint8), values)
    found, model = trained(gpucnn_, "--data", name, "--loss", "huber")
    assert model.class_names in (("label",), ("0",))
    assert 45 < model.units.mean[0] - low < 75
    assert found["test_mean_absolute_error"] < 60
    status, text, error = gpucnn_("evaluate", "run/model.safetensors", "--data", name)
    assert (status, "mean absolute error" in text, "classes" in error) == (0, True, False)
    loaded = data.load(name, numbers=True)
    assert (loaded.what, loaded.train_labels.shape) == ("numbers", (96, 1))
    assert sorted([*loaded.train_labels[:, 0], *loaded.test_labels[:, 0]]) == values.tolist()
    assert gpucnn_("lr", NET, "--data", name, "--loss", "mse", "--out", "lr.png")[0] == 0


def test_floats_that_are_numbers_anyway_are_the_same_ones():
    pictures, ages = np.zeros((20, 8, 8), np.uint8), np.linspace(0, 1, 20, dtype=np.float32)
    for labels in (ages, ages[:, None]):
        np.savez("ages.npz", images=pictures, labels=labels)
        found, same = (data.load("ages.npz", numbers=asked).train_labels for asked in (False, True))
        assert (found.dtype, found.tolist()) == (same.dtype, same.tolist())


def test_names_of_classes_stay_classes(gpucnn_):
    np.savez("named.npz", images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 2, class_names=["a", "b"])
    assert data.load("named.npz", numbers=True).is_classified


# Models of one kind and data of another


@pytest.fixture
def models(gpucnn_):
    """A model of each kind, in a folder with the name of its data; further data with the names of others' outputs."""
    for source, loss in (("classes", "softmax"), ("flags", "multi-label"), ("numbers", "mse")):
        trained(gpucnn_, "--data", f"{source}.npz", "--loss", loss, out=source)
    contents = {name: dict(np.load(f"{name}.npz")) for name in ("classes", "flags", "numbers")}
    for name, labels, names in (
        ("named", contents["classes"]["labels"], ["left", "right", "above"]),
        ("halves", contents["flags"]["labels"] * np.float32(0.5), ["left", "right", "above"]),
        ("two flags", contents["flags"]["labels"][:, :2], ["x", "y"]),
        ("other", contents["classes"]["labels"], ["a", "c", "d"]),
    ):
        np.savez(f"{name}.npz", images=contents["classes"]["images"], labels=labels, class_names=names)
    return gpucnn_


def test_evaluate_says_which_data_a_model_is_for(models):
    def said(model, source):
        status, text, error = models("evaluate", f"{model}/model.safetensors", "--data", f"{source}.npz")
        return text if status == 0 else " ".join(error.split())

    for source in ("flags", "two flags"):
        assert (
            f"{source} has labels, a row of 0 and 1, for each picture, and this model was trained for classes (a, b, c)"
            in said("classes", source)
        )
    assert "numbers has numbers for each picture, and this model was trained for classes" in said("classes", "numbers")
    assert "other has the class d, which the model does not know, and lacks b" in said("classes", "other")
    for source in ("classes", "named"):
        found = said("flags", source)
        assert (
            f"{source} has a class for each picture, and this model was trained for labels (left, right, above); "
            "choose data that have labels, a row of 0 and 1, for each, with --data" in found
        )
        assert f"{source} has a class for each picture, and this model was trained for numbers (x, y)" in said(
            "numbers", source
        )
    assert said("flags", "halves").startswith("halves: accuracy ")
    assert "two flags has the labels x, y, which the model does not know, and lacks left" in said("flags", "two flags")
    assert said("numbers", "two flags").startswith("two flags: mean absolute error ")


@pytest.mark.drawn
def test_what_a_model_shows_is_of_its_kind(models):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    picture("left.png")
    for kind in ("classes", "flags", "numbers"):
        model = f"{kind}/model.safetensors"
        predicted = models("predict", model, "left.png")[1].strip()
        status, text, said = models("show", model, "left.png", "--out", "shown")
        assert status == 0, said
        first = text.splitlines()[0]
        assert first.startswith(predicted)
        assert ("; the reasons are those for " in first) == (kind != "classes")
        status, _, said = models("show", model, "left.png", "--class", "dog")
        assert (status, f"--class dog: the {kind.replace('flags', 'labels')} are " in said) == (1, True)


def test_what_the_page_says_is_of_a_models_kind(models):
    import io

    from gpucnn.web.answers import Answers

    stream = io.BytesIO()
    Image.open(picture("left.png")).save(stream, "PNG")
    for source, kind in (("classes", "classification"), ("flags", "multi-label"), ("numbers", "regression")):
        model = f"{source}/model.safetensors"
        answers = Answers(gpucnn.load(model, device="cpu"), "it")
        assert answers.about()["kind"] == kind
        assert answers.about()["outputs"] == source.replace("flags", "labels")
        predicted = models("predict", model, "left.png")[1].strip()
        assert f"left.png: {answers.look(stream.getvalue())['answer']}" == predicted


def test_a_search_for_a_rate_and_a_comparison_of_each_kind(gpucnn_):
    search = ("lr", NET, "--device", "cpu", "--threads", "1", "--updates", "20", "--batch-size", "8")
    for source, loss in (("flags", "multi-label"), ("numbers", "mse"), ("classes", "focal")):
        status, text, said = gpucnn_(*search, "--data", f"{source}.npz", "--loss", loss)
        assert (status, "the picture is lr.png" in text) == (0, True), said
        if source != "classes":
            status, _, said = gpucnn_(*search, "--data", f"{source}.npz")
            assert (status, f"say --loss {loss}" in said) == (1, True)
            status, _, said = gpucnn_("compare", NET, "--data", f"{source}.npz")
            assert status == 1
            assert f"compare: {source} has {source.replace('flags', 'labels')} for each picture" in said


@pytest.mark.parametrize(
    ("source", "loss", "says"),
    [
        ("numbers", "softmax", 'use the loss "mse" or "huber"'),
        ("numbers", "binary", 'use the loss "mse" or "huber"'),
        ("numbers", "multi-label", 'use the loss "mse" or "huber"'),
        ("numbers", "focal", "numbers has numbers for each picture, and no classes; say --loss mse or huber"),
        ("numbers", "hinge", "numbers has numbers for each picture, and no classes; say --loss mse or huber"),
        ("flags", "hinge", "flags has labels for each picture, and no classes; say --loss multi-label"),
    ],
)
def test_a_loss_of_another_kind_than_the_data(gpucnn_, source, loss, says):
    status, _, said = gpucnn_("train", NET, *FAST, "--epochs", 1, "--data", f"{source}.npz", "--loss", loss)
    assert (status, says in " ".join(said.split())) == (1, True)


@pytest.mark.parametrize("loss", ["multi-label", "mse"])
def test_classes_for_a_loss_of_rows(loss):
    model = gpucnn.Model("softmax-regression", loss=loss, device="cpu")
    with pytest.raises(DataError, match="for a class for each image use a loss of classes, such as softmax"):
        model.evaluate(np.zeros((4, 28, 28), np.uint8), np.arange(4))
