"""Several labels: above which probabilities they are predicted, how these are chosen, and what is measured of each."""

from __future__ import annotations

import copy
import json
import tomllib
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_cuda import fake_cuda
from PIL import Image

import gpucnn
from gpucnn import command as cli
from gpucnn import metrics
from gpucnn.callbacks import CSVLog
from gpucnn.errors import CheckpointError, DataError, GpucnnError, SettingError
from gpucnn.layers import Dense, Flatten
from gpucnn.losses import MultiLabelCrossEntropy
from gpucnn.model import checkpoint, thresholds
from gpucnn.report import answers

pytestmark = pytest.mark.usefixtures("blank_pictures")

__all__ = ["fake_cuda"]
RNG = np.random.default_rng(5)
ROWS = (RNG.random((200, 3)) < [0.5, 0.15, 0.8]).astype(np.uint8)
IMAGES = RNG.integers(0, 100, (200, 4, 4, 1), dtype=np.uint8)
for column in range(3):
    IMAGES[:, column] += (60 * ROWS[:, column])[:, None, None]
NETWORK = gpucnn.Network((4, 4, 1), (Flatten(), Dense(3)))


def model(**options):
    how = {"device": "cpu", "threads": 1, "loss": "multi-label", "class_names": ["left", "right", "above"]}
    return gpucnn.Model(NETWORK, **{**how, **options})


@pytest.fixture(scope="module")
def trained():
    made = model()
    made.fit(IMAGES, ROWS, epochs=6, batch_size=16, lr=0.01, progress=False)
    return made


@pytest.mark.parametrize("threshold", [0.3, (0.2, 0.5, 0.9), np.array([0.2, 0.5, 0.9]), 1 / 2])
def test_labels_are_predicted_above_thresholds(trained, threshold):
    probabilities = trained.predict_proba(IMAGES)
    expected = (probabilities.astype(float) > threshold).astype(int)
    np.testing.assert_array_equal(trained.predict(IMAGES, threshold=threshold), expected)
    found = trained.evaluate(IMAGES, ROWS, threshold=threshold)
    assert found["label_accuracy"] == pytest.approx((expected == ROWS).mean())
    assert found["accuracy"] == pytest.approx((expected == ROWS).all(axis=1).mean())
    assert found["loss"] == trained.evaluate(IMAGES, ROWS)["loss"]
    report = trained.report(IMAGES, ROWS, threshold=threshold)
    assert report.overall == pytest.approx(found)
    kept = copy.deepcopy(trained)
    kept.thresholds = threshold
    np.testing.assert_array_equal(kept.predict(IMAGES), expected)
    assert kept.evaluate(IMAGES, ROWS) == found
    assert str(kept.report(IMAGES, ROWS)) == str(report)
    assert kept.loss_and_accuracy(IMAGES, ROWS) == (found["loss"], pytest.approx(found["accuracy"]))
    np.testing.assert_array_equal(kept.predict(IMAGES, threshold=0.5), (probabilities > 0.5).astype(int))
    said = answers.of(kept, probabilities[0])["labels"]
    assert said == [name for name, holds in zip(kept.class_names, expected[0]) if holds]


def test_what_is_measured_of_each_label_is_scikit_learns(trained):
    theirs = pytest.importorskip("sklearn.metrics")
    weights = RNG.integers(0, 4, 200).astype(float)
    p = trained.predict_proba(IMAGES)
    for w in (None, weights):
        report = trained.report(IMAGES, ROWS, sample_weight=w, threshold=0.35)
        names = ("precision", "recall", "f1")
        expected = theirs.precision_recall_fscore_support(ROWS, p > 0.35, sample_weight=w, zero_division=0)[:3]
        ranked = theirs.average_precision_score(ROWS, p, average=None, sample_weight=w)
        for k, row in enumerate(report.rows.values()):
            assert [row[name] for name in names] == pytest.approx([each[k] for each in expected])
            assert row["average_precision"] == pytest.approx(ranked[k])
        for average in ("micro", "macro", "weighted"):
            of_all = theirs.average_precision_score(ROWS, p, average=average, sample_weight=w)
            assert report.averages[f"{average} average"]["average_precision"] == pytest.approx(of_all)
    assert "average precision" in str(report)


@pytest.mark.parametrize(
    ("scores", "there", "expected"),
    [([3, 2, 1], [1, 0, 1], 5 / 6), ([1, 1, 1, 1], [1, 0, 0, 0], 0.25), ([1, 2], [0, 0], 0.0)],
)
def test_average_precision_by_hand(scores, there, expected):
    assert metrics.average_precision(scores, there) == pytest.approx(expected)


def test_thresholds_that_are_chosen_have_the_largest_f1(trained):
    kept = copy.deepcopy(trained)
    chosen = kept.choose_thresholds(IMAGES, ROWS)
    assert kept.thresholds == chosen
    best = [row["f1"] for row in kept.report(IMAGES, ROWS).rows.values()]
    for some in np.linspace(0.001, 0.999, 200):
        for k, row in enumerate(kept.report(IMAGES[:], ROWS, threshold=float(some)).rows.values()):
            assert row["f1"] <= best[k] + 1e-12


@pytest.mark.parametrize(
    ("probabilities", "there", "expected"),
    [
        ([0.9, 0.8, 0.2], [1, 1, 0], 0.5),
        ([0.3, 0.2, 0.1], [1, 1, 1], 0.05),
        ([0.3, 0.3, 0.1], [1, 0, 0], 0.2),
        ([0.0, 0.0, 0.0], [1, 0, 0], 0.5),  # which no threshold can tell
        ([1.0, 1.0, 0.0], [1, 0, 1], 0.5),
    ],
)
def test_thresholds_by_hand(probabilities, there, expected):
    found = thresholds.best(np.array(probabilities)[:, None], np.array(there)[:, None])
    assert found == (pytest.approx(expected),)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("upper", [1.0, 0.75, 0.3])
def test_thresholds_between_neighbours_tell_them_apart(dtype, upper):
    """Of the probabilities that a model has, the command and Python say the same."""
    kind = np.dtype(dtype).type
    high = kind(upper)
    low = np.nextafter(high, kind(0))
    probabilities = np.array([high, low, high, low])[:, None] * np.ones((1, 3), dtype)
    rows = np.array([1, 0, 1, 0])[:, None] * np.ones((1, 3))
    made = model(dtype=dtype)
    made.thresholds = thresholds.best(probabilities, rows)
    above = made._above(None)
    made.loss = Given()
    np.testing.assert_array_equal(above(probabilities) > 0, rows > 0)
    for row, holds in zip(probabilities, rows):
        assert len(answers.of(made, row)["labels"]) == holds.sum()


class Given(MultiLabelCrossEntropy):
    """Its logits are probabilities."""

    def probabilities(self, logits):
        return logits


def test_a_threshold_that_is_a_probability_is_one_thing_everywhere(trained):
    kept = copy.deepcopy(trained)
    for row, image in zip(trained.predict_proba(IMAGES), IMAGES):
        kept.thresholds = row.round(6).tolist()
        said = answers.of(kept, row)["labels"]
        assert said == [name for name, holds in zip(kept.class_names, kept.predict(image)) if holds]


def test_a_label_that_no_example_has_leaves_nothing_to_choose_by():
    with pytest.raises(DataError, match="no example has the label right; give some, or set thresholds yourself"):
        model().choose_thresholds(IMAGES, ROWS * [1, 0, 1])


@pytest.mark.parametrize(
    ("threshold", "says"),
    [
        (0, "a number between 0 and 1, or one for each label, was expected"),
        (1.0, "a number between 0 and 1"),
        (True, "threshold=True: a number between 0 and 1"),
        ("high", "threshold='high': a number between 0 and 1"),
        (float("nan"), "a number between 0 and 1"),
        ((0.5, 0.5), "2 numbers for 3 labels; give one for each, or one for all"),
        ([[0.5] * 3], "a number between 0 and 1"),
    ],
)
def test_thresholds_that_there_cannot_be(threshold, says):
    made = model()
    for ask in (
        lambda: made.predict(IMAGES, threshold=threshold),
        lambda: made.evaluate(IMAGES, ROWS, threshold=threshold),
        lambda: made.report(IMAGES, ROWS, threshold=threshold),
        lambda: setattr(made, "thresholds", threshold),
    ):
        with pytest.raises(SettingError, match=says):
            ask()
    assert made.thresholds is None


@pytest.mark.parametrize("loss", ["softmax", "mse"])
def test_thresholds_are_for_several_labels(loss):
    made = model(loss=loss)
    targets = ROWS.argmax(axis=1) if loss == "softmax" else ROWS.astype(float)
    made.fit(IMAGES, targets, epochs=1, progress=False)
    for ask in (
        lambda: made.predict(IMAGES, threshold=0.4),
        lambda: made.evaluate(IMAGES, targets, threshold=0.4),
        lambda: made.report(IMAGES, targets, threshold=0.4),
        lambda: made.choose_thresholds(IMAGES, targets),
        lambda: setattr(made, "thresholds", 0.4),
    ):
        with pytest.raises(SettingError, match="thresholds are for several labels; leave it out"):
            ask()


def test_a_file_and_several_models_have_thresholds(trained, tmp_path):
    kept = copy.deepcopy(trained)
    kept.thresholds = (0.2, 0.4, 0.6)
    path = kept.save(tmp_path / "m.safetensors")
    again = gpucnn.load(path, device="cpu", threads=1)
    assert again.thresholds == kept.thresholds
    together = gpucnn.Ensemble([kept, again])
    assert together.thresholds == kept.thresholds
    np.testing.assert_array_equal(together.predict(IMAGES), kept.predict(IMAGES))
    with pytest.warns(UserWarning, match="different thresholds, and together they take 1/2"):
        assert gpucnn.Ensemble([kept, trained]).thresholds is None
    assert "thresholds" not in checkpoint.read(trained.save(tmp_path / "plain.safetensors"))[0]
    checkpoint.write(path, kept.describe() | {"thresholds": [0.5]}, dict(kept.parameters))
    with pytest.raises(CheckpointError, match="1 number for 3 labels"):
        gpucnn.load(path, device="cpu")


def test_one_half_is_what_a_model_without_thresholds_has(trained):
    kept = copy.deepcopy(trained)
    kept.thresholds = 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = gpucnn.Ensemble([trained, kept]), gpucnn.Ensemble([kept, trained])
    for each in together:
        np.testing.assert_array_equal(each.predict(IMAGES), trained.predict(IMAGES))


def test_training_anew_drops_what_belongs_to_the_training_before(trained, tmp_path):
    kept = copy.deepcopy(trained)
    chosen = kept.choose_thresholds(IMAGES, ROWS)
    again = gpucnn.load(kept.save(tmp_path / "m.safetensors"), device="cpu", threads=1)
    kept.partial_fit(IMAGES, ROWS)
    with pytest.raises(SettingError):
        kept.fit(IMAGES, ROWS, lr=-1)
    with pytest.raises(SettingError, match="nowhere"):
        kept.fit(IMAGES, ROWS, callbacks=[CSVLog("/nowhere/log.csv")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="are dropped"):
            kept.fit(IMAGES, ROWS)
    assert kept.thresholds == again.thresholds == chosen
    for each in (kept, again):
        with pytest.warns(UserWarning, match="chosen before this training, or loaded with the model, and are dropped"):
            each.fit(IMAGES, 1 - ROWS, epochs=1)
        assert each.thresholds is None
        each.thresholds = 0.4
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            each.fit(IMAGES, ROWS, epochs=1)
        assert each.thresholds == (0.4, 0.4, 0.4)


def test_onnx_tells_thresholds(trained, tmp_path):
    onnx = pytest.importorskip("onnx")
    kept = copy.deepcopy(trained)
    kept.thresholds = (0.2, 0.4, 0.6)
    told = {each.key: each.value for each in onnx.load(kept.export(tmp_path / "m.onnx")).metadata_props}
    assert json.loads(told["thresholds"]) == [0.2, 0.4, 0.6]


def test_the_same_on_a_gpu(trained, fake_cuda):
    there = model(device="cuda")
    there.load_parameters(dict(trained.parameters))
    there.thresholds = (0.2, 0.4, 0.6)
    np.testing.assert_array_equal(there.predict(IMAGES), trained.predict(IMAGES, threshold=there.thresholds))
    assert there.evaluate(IMAGES, ROWS) == pytest.approx(
        trained.evaluate(IMAGES, ROWS, threshold=there.thresholds), rel=1e-5
    )
    assert there.choose_thresholds(IMAGES, ROWS) == pytest.approx(
        copy.deepcopy(trained).choose_thresholds(IMAGES, ROWS), abs=1e-5
    )


# The command


@pytest.fixture
def gpucnn_(monkeypatch, capsys, tmp_path):
    """gpucnn_(...) -> exit status, standard output, standard error; in a folder with own.npz and one.png."""
    monkeypatch.chdir(tmp_path)
    large = IMAGES.repeat(2, axis=1).repeat(2, axis=2)[..., 0]
    np.savez("own.npz", images=large, labels=ROWS, class_names=["left", "right", "above"])
    Image.fromarray(large[0]).save("one.png")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["gpucnn", *map(str, arguments)])
        status = cli.main()
        out, said = capsys.readouterr()
        return status, out, " ".join(said.replace("│", " ").split())

    return run


def test_a_run_keeps_one_half_for_a_label_that_nothing_held_out_has(gpucnn_):
    data = gpucnn.data.load("own.npz")
    contents = dict(np.load("own.npz"))
    *_, held_images, _ = data.split_validation(0.3, 0)
    held = {image.tobytes() for image in held_images}
    contents["labels"][[image.tobytes() in held for image in contents["images"][..., None]], 1] = 0
    np.savez("own.npz", **contents)
    status, _, said = gpucnn_(*TRAIN, "--validation", 0.3, "--threshold", "f1", "--out", "run")
    assert status == 0
    first, second, _ = gpucnn.load("run/model.safetensors", device="cpu").thresholds
    assert first != second == 0.5
    assert (
        "--threshold f1: no picture that is held out has right, which keeps 1/2; a larger --validation may hold out "
        "some" in said
    )


@pytest.mark.parametrize("count", [4, 5])
def test_a_run_says_of_which_labels_few_are_held_out(count, monkeypatch):
    rows = np.zeros((9, 3), np.uint8)
    rows[:count, 0], rows[:, 1] = 1, 1
    model = SimpleNamespace(loss=gpucnn.losses.MultiLabelCrossEntropy(), class_names=("a", "b", "c"))
    said: list[str] = []
    monkeypatch.setattr(thresholds, "warn", said.append)
    assert thresholds.asked("f1", model, rows)
    assert ["has c, which keeps 1/2" in said[0], *("fewer than 5 have a:" in each for each in said[1:])] == (
        [True, True] if count == 4 else [True]
    )


def test_a_run_whose_thresholds_cannot_be_chosen_keeps_its_model(gpucnn_, monkeypatch):
    def fails(*_):
        raise GpucnnError("no more memory")

    monkeypatch.setattr(thresholds, "best", fails)
    status, _, said = gpucnn_(*TRAIN, "--validation", 0.3, "--threshold", "f1", "--out", "run")
    assert (status, "no more memory" in said) == (1, True)
    assert gpucnn.load("run/model.safetensors", device="cpu").thresholds is None


TRAIN = ("train", "softmax-regression", "--data", "own.npz", "--loss", "multi-label", "--device", "cpu", "--threads", 1)
TRAIN = (*TRAIN, "--epochs", 3, "--batch-size", 16)


def test_a_run_keeps_thresholds(gpucnn_):
    status, _, said = gpucnn_(*TRAIN, "--validation", 0.3, "--threshold", "f1", "--out", "run")
    assert status == 0
    found = gpucnn.load("run/model.safetensors", device="cpu", threads=1)
    data = gpucnn.data.load("own.npz")
    _, _, images, rows = data.split_validation(0.3, 0)
    kept = found.thresholds
    assert kept == found.choose_thresholds(images, rows)
    assert f"labels are predicted above these probabilities: left {kept[0]:.4g}, right {kept[1]:.4g}, above" in said
    assert tomllib.loads(Path("run/run.toml").read_text())["threshold"] == "f1"
    assert gpucnn_("train", "--config", "run/run.toml", "--out", "again")[0] == 0
    assert gpucnn.load("again/model.safetensors", device="cpu").thresholds == kept
    assert gpucnn_(*TRAIN, "--threshold", "0.3,0.4,0.5", "--out", "given")[0] == 0
    assert gpucnn.load("given/model.safetensors", device="cpu").thresholds == (0.3, 0.4, 0.5)


def test_predict_and_evaluate_take_thresholds(gpucnn_):
    assert gpucnn_(*TRAIN, "--out", "run")[0] == 0
    asked = ("predict", "run/model.safetensors", "one.png", "--json")
    chances = json.loads(gpucnn_(*asked)[1])[0]["probabilities"]
    least = sorted(chances.values())[1] - 1e-4
    labels = json.loads(gpucnn_(*asked, "--threshold", least)[1])[0]["labels"]
    assert labels == [name for name, chance in chances.items() if chance > least]
    assert json.loads(gpucnn_(*asked, "--threshold", "0.0001,0.9999,0.0001")[1])[0]["labels"] == ["left", "above"]
    found = [
        json.loads(gpucnn_("evaluate", "run/model.safetensors", "--data", "own.npz", "--json", *more)[1])
        for more in ((), ("--threshold", 0.99), ("--threshold", 0.99, "--report"))
    ]
    assert found[0]["label_accuracy"] != found[1]["label_accuracy"] == found[2]["label_accuracy"]
    assert found[0]["loss"] == found[1]["loss"]
    assert set(found[2]["rows"]["left"]) == {"precision", "recall", "f1", "average_precision", "support"}


def test_a_threshold_of_several_models_is_theirs_together(gpucnn_):
    for name, own in (("one", "0.3"), ("other", "0.2,0.4,0.6")):
        assert gpucnn_(*TRAIN, "--threshold", own, "--out", name)[0] == 0
    models = "one/model.safetensors", "--model", "other/model.safetensors"
    for words in (("predict", *models, "one.png"), ("evaluate", *models, "--data", "own.npz")):
        assert "together they take 1/2" in gpucnn_(*words)[2]
        assert "together" not in gpucnn_(*words, "--threshold", 0.4)[2]


def test_evaluate_tells_which_thresholds_it_used(gpucnn_):
    assert gpucnn_(*TRAIN, "--out", "run")[0] == 0
    asked = ("evaluate", "run/model.safetensors", "--data", "own.npz")
    for words, expected in (((), [0.5] * 3), (("--threshold", 0.4), [0.4] * 3), (("--threshold", "0.2,0.4,0.6"), None)):
        assert json.loads(gpucnn_(*asked, "--json", *words)[1])["thresholds"] == (expected or [0.2, 0.4, 0.6])
    assert gpucnn_(*asked, "--report", "--out", "report", "--threshold", 0.3)[0] == 0
    assert json.loads(Path("report/report.json").read_text())["thresholds"] == [0.3] * 3


def test_a_table_of_probabilities_has_no_threshold(gpucnn_):
    status, out, said = gpucnn_("predict", "no.safetensors", "one.png", "--csv", "--threshold", 0.4)
    assert (status, out) == (1, "")
    assert "--threshold 0.4: the table of --csv has the probability of each label, which no threshold changes" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--threshold", "f1", "--validation", 0), "chooses by what is held out, and nothing is; say --validation 0.1"),
        (("--threshold", "high"), "--threshold high: f1, a number between 0 and 1, or one for each label, with commas"),
        (("--threshold", "1.5"), "--threshold 1.5: f1, a number between 0 and 1, or one for each label, with commas"),
        (("--threshold", "nan"), "--threshold nan: f1, a number between 0 and 1"),
        (("--threshold", "0.5,0,1", "--data", "nowhere"), "--threshold 0.5,0,1: f1, a number between 0 and 1"),
        (("--threshold", "0.5,0.5"), "2 numbers for 3 labels"),
    ],
)
def test_thresholds_that_a_run_refuses(gpucnn_, arguments, says):
    status, _, said = gpucnn_(*TRAIN, *arguments, "--out", "run")
    assert status == 1
    assert says in said


def test_thresholds_of_classes_are_refused(gpucnn_):
    contents = dict(np.load("own.npz"))
    contents["labels"] = contents["labels"].argmax(axis=1)
    np.savez("classes.npz", **contents)
    train = [each if each != "own.npz" else "classes.npz" for each in TRAIN if each not in ("--loss", "multi-label")]
    for word in ("f1", 0.3):
        status, _, said = gpucnn_(*train, "--threshold", word, "--out", "run")
        assert (status, "thresholds are for several labels; leave it out" in said) == (1, True)
    assert gpucnn_(*train, "--out", "run")[0] == 0
    for command in (("predict", "run/model.safetensors", "one.png"), ("evaluate", "run/model.safetensors")):
        more = ("--data", "classes.npz") if command[0] == "evaluate" else ()
        status, _, said = gpucnn_(*command, *more, "--threshold", 0.3)
        assert (status, "thresholds are for several labels; leave it out" in said) == (1, True)
