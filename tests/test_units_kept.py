"""What units are taken from, when they are, and where they go with parameters and files."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest

import gpucnn
from gpucnn import command as cli
from gpucnn import metrics
from gpucnn.callbacks import Metric
from gpucnn.engine.units import Units
from gpucnn.errors import DataError, SettingError
from gpucnn.layers import Dense, Flatten, ReLU
from gpucnn.losses import FocalLoss, Huber, Loss, MeanSquaredError, SoftmaxCrossEntropy
from gpucnn.model import checkpoint
from gpucnn.report import inside

pytestmark = pytest.mark.usefixtures("blank_pictures")

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


@dataclasses.dataclass(frozen=True)
class Own(Loss):
    numbers = True
    standardizes = True

    def __call__(self, logits, targets):
        return MeanSquaredError()(logits, targets)


# What units are


@pytest.mark.parametrize("examples", [3, 1000, 3001])
@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_that_are_all_alike_are_known_however_many_they_are(examples, weighted):
    weights = RNG.random(examples) if weighted else None
    for value in (0.1, 25.3, 98.6, -7e8):
        rows = np.stack([RNG.standard_normal(examples), np.full(examples, value)], axis=1)
        if weighted:
            weights[0], rows[0, 1] = 0, 5.0  # which does not count
        assert Units.of(rows, weights).mean[1] == value
        assert Units.of(rows, weights).deviation[1] == abs(value)


def test_one_number_that_differs_among_alike_ones_is_learnt():
    rows = np.stack([RNG.standard_normal(3000), np.full(3000, 25.3)], axis=1)
    rows[7, 1] = 25.4
    assert Units.of(rows).deviation[1] == pytest.approx(rows[:, 1].std(), rel=1e-9)


@pytest.mark.parametrize("size", [1e160, 1e-170, 1.7e308])
def test_numbers_whose_squares_nothing_holds_are_refused(size):
    with pytest.raises(DataError, match=r"float64 does not hold the squares of such; give them in another unit"):
        model().fit(IMAGES, size * (TWO / abs(TWO).max()), progress=False)


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


def test_onnx_refuses_units_that_float32_does_not_hold(tmp_path):
    pytest.importorskip("onnx")
    for size in (1e60, 1e-60):
        with pytest.raises(SettingError, match="ONNX computes in float32, which does not hold such"):
            fitted(size * TWO, epochs=1).export(tmp_path / "m.onnx")


@pytest.mark.parametrize(("mean", "is_told"), [(0.0, False), (1e4, False), (1.7e9, True)])
def test_onnx_says_where_float32_is_too_coarse_for_numbers(mean, is_told, tmp_path):
    pytest.importorskip("onnx")
    model = fitted(mean + 100 * TWO, epochs=1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.export(tmp_path / "m.onnx")
    assert [re.findall("in steps of 128, those of float32", str(each.message)) for each in told] == (
        [["in steps of 128, those of float32"]] * 2 if is_told else []
    )


# What they are taken from


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(59), r"sample_weight of shape \(59,\)"),
        (np.full(60, np.nan), "sample_weight: holds NaN"),
        (-np.ones(60), "sample_weight holds -1"),
        (None, ""),
        ([1.0] * 60, ""),
        (np.ones((60, 1)), ""),
    ],
)
def test_weights_of_batches(weights, message):
    made = model()
    batches = [(IMAGES[:60], TWO[:60], weights), (IMAGES[60:], TWO[60:], weights)]
    if message:
        with pytest.raises(DataError, match=message):
            made.fit_batches(batches, progress=False)
        assert made.units is None
        return
    made.fit_batches(batches, progress=False)
    assert made.units == Units.of(TWO[:60])


def test_batches_that_are_refused_leave_no_units():
    made = model()
    with pytest.raises(DataError, match="images of shape"):
        made.fit_batches([(IMAGES[:60, :3], 1e6 * TWO[:60])], progress=False)
    with pytest.raises(SettingError, match="callback"):
        made.fit_batches([(IMAGES[:60], 1e6 * TWO[:60])], callbacks=[7], progress=False)
    assert made.units is None
    made.fit(IMAGES, TWO, progress=False)
    assert made.units == Units.of(TWO)


@pytest.mark.parametrize("before", [False, True])
def test_what_is_held_out_of_batches_is_as_exact_as_what_is_measured(before):
    dates = 1.7e9 + 60 * TWO
    made = fitted(dates, epochs=1) if before else model()
    error = Metric("error", lambda y, t: float(abs(t - dates[60:]).max()), IMAGES[60:], dates[60:])
    held = IMAGES[60:], dates[60:]
    history = made.fit_batches([(IMAGES[:60], dates[:60])], validation=held, callbacks=[error], progress=False)
    assert history.epochs[-1].validation_loss == pytest.approx(made.evaluate(*held)["loss"], rel=1e-6)
    assert history.epochs[-1].metrics["error"] == 0


def test_labels_are_judged_before_weights():
    for made in (model(), model(loss="softmax")):
        with pytest.raises(DataError, match="120 pictures but 119 labels"):
            made.fit(IMAGES, np.arange(119) % 2, sample_weight=np.ones(120), progress=False)
        with pytest.raises(DataError, match="one label"):
            made.fit(IMAGES, 1, sample_weight=np.ones(120), progress=False)


@pytest.mark.parametrize("some", [slice(1), slice(9)])
def test_numbers_that_are_all_alike_are_far_by_their_mean_alone(some):
    found = fitted(1e4 * TWO + 3e5, epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        near = np.tile(found.units.mean, (9, 1))[some]
        found.fit(IMAGES[some], near, progress=False)
    with pytest.warns(UserWarning, match="the mean .* and the deviation 0, and"):
        found.fit(IMAGES[some], 1000 * near, progress=False)


def test_what_goes_on_with_other_numbers_says_so_by_every_method():
    found = model()
    found.partial_fit(IMAGES, TWO, progress=False)
    for again in (
        lambda y: found.partial_fit(IMAGES, y, progress=False),
        lambda y: found.fit_batches([(IMAGES, y)], progress=False),
    ):
        with pytest.warns(UserWarning, match=FAR):
            again(1e6 * TWO)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again(2 * TWO + 3)
            again(0.01 * TWO + TWO.mean(axis=0))  # a part may be more alike


# Losses


def test_a_loss_that_derives_says_so_itself():
    class Relative(MeanSquaredError):
        def __call__(self, logits, targets):
            seen.append(np.array(targets))
            return super().__call__(logits, targets)

    class Saying(Relative):
        standardizes = True

    class Named(Huber):
        pass

    seen = []
    made = model(loss=Relative())
    made.fit(IMAGES, TWO, epochs=1, batch_size=120, progress=False)
    assert made.units is None
    assert max(abs(each).max() for each in seen) == pytest.approx(abs(TWO).max())
    said = Relative()
    object.__setattr__(said, "standardizes", True)
    for loss in (Saying(), Named(), said):
        assert fitted(TWO, epochs=1, loss=loss).units == Units.of(TWO)


@pytest.mark.parametrize("name", ["alpha", "class_weights"])
@pytest.mark.parametrize("value", [0.25, np.array([0.5, 2.0]), {3: 2.0}, None])
def test_settings_of_a_loss_of_ones_own_are_its_own(name, value):
    class Weighted(Loss):
        def __call__(self, logits, targets):
            return SoftmaxCrossEntropy()(logits, targets)

    loss = Weighted()
    setattr(loss, name, value)
    made = model(loss=loss)
    made.fit(IMAGES, np.arange(120) % 2, progress=False)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(class_weights=(0, 1, 1)), FocalLoss(alpha=(0, 1, 1))])
def test_nothing_to_learn_is_seen_by_weights_of_examples_and_in_rows(loss):
    message = "the weight of every class that there are examples of is 0"
    labels = np.arange(120) % 3
    with pytest.raises(DataError, match=message):
        model(3, loss=loss).fit(IMAGES, labels, sample_weight=(labels == 0) * 1.0, progress=False)
    model(3, loss=loss).fit(IMAGES, labels, sample_weight=(labels == 1) * 1.0, progress=False)
    if isinstance(loss, SoftmaxCrossEntropy):
        with pytest.raises(DataError, match=message):
            model(3, loss=loss).fit(IMAGES, np.eye(3)[np.zeros(120, int)], progress=False)
        model(3, loss=loss).fit(IMAGES, np.eye(3)[labels], progress=False)
        ignoring = dataclasses.replace(loss, ignore_index=255)
        with pytest.raises(DataError, match=message):
            model(3, loss=ignoring).fit(IMAGES, np.where(labels == 1, 255, 0), progress=False)
        smooth = dataclasses.replace(loss, label_smoothing=0.1)
        model(3, loss=smooth).fit(IMAGES, 0 * labels, progress=False)


# Where they go


def test_parameters_have_their_units():
    found, plain = fitted(1e5 * TWO), fitted(TWO, standardize=False)
    other = model()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.load_parameters(found.parameters)
        other.load_parameters({"1/bias": np.zeros(16)}, matching=True)  # which is not of the last layer
        model(loss="softmax").load_parameters(found.parameters)
        other.load_parameters({"3/bias": np.zeros(2)})  # it has units
        assert other.units == found.units
        other.load_parameters(found.parameters)
    np.testing.assert_array_equal(other.predict(IMAGES), found.predict(IMAGES))
    fresh = model()
    fresh.load_parameters(model(seed=1).parameters)  # has decided nothing
    assert (fresh.units, fresh.standardize) == (None, True)
    with pytest.warns(UserWarning, match="the last layer of the model that these are of gives numbers as they are"):
        fresh.load_parameters(plain.parameters)
    assert (fresh.units, fresh.standardize) == (None, False)
    np.testing.assert_array_equal(fresh.predict(IMAGES), plain.predict(IMAGES))


def test_a_last_layer_by_its_name_alone_is_warned_of():
    found, other = fitted(1e5 * TWO), model()
    with pytest.warns(UserWarning, match="the last layer is given by its name, and not in which units"):
        other.load_parameters({**found.parameters})
    assert other.units is None
    other.units = found.units
    np.testing.assert_array_equal(other.predict(IMAGES), found.predict(IMAGES))


def test_units_are_taken_from_the_file_of_a_loss_of_ones_own(tmp_path):
    found = fitted(1e5 * TWO, loss=Own())
    found.save(tmp_path / "m.safetensors")
    for other in (model(loss=Own()), model()):
        other.load_parameters(tmp_path / "m.safetensors")
        np.testing.assert_array_equal(other.predict(IMAGES), found.predict(IMAGES))
    fitted(TWO, loss=Own(), standardize=False).save(tmp_path / "m.safetensors")
    other = model(loss=Own())
    with pytest.warns(UserWarning, match="gives numbers as they are"):
        other.load_parameters(tmp_path / "m.safetensors")
    assert (other.units, other.standardize) == (None, False)


def test_a_model_that_takes_numbers_as_they_are_refuses_a_last_layer_that_does_not(tmp_path):
    path, other = tmp_path / "m.safetensors", model(standardize=False)
    fitted(1e5 * TWO).save(path)
    before = other.theta.copy()
    with pytest.raises(
        SettingError, match=r'standardize=False: the last layer of .*; leave .*, or say without="head" to'
    ):
        other.load_parameters(path)
    np.testing.assert_array_equal(other.theta, before)
    assert (other.units, other.standardize) == (None, False)
    other.load_parameters(path, matching=True, without="head")
    assert (other.units, other.standardize) == (None, False)


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


@pytest.fixture
def train(monkeypatch, capsys, tmp_path):
    """train(...) -> exit status, what was said; of own.npz, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    images = RNG.integers(0, 200, (60, 8, 8), dtype=np.uint8)
    np.savez("own.npz", images=images, labels=(1e4 * images[:, :1, 0] / 255), class_names=["price"])
    options = ("softmax-regression", "--data", "own.npz", "--loss", "mse", "--device", "cpu", "--threads", 1)
    options = (*options, "--epochs", 2, "--batch-size", 8, "--validation", 0.2)

    def run(*arguments, plain=False):
        monkeypatch.setattr("sys.argv", ["gpucnn", "train", *map(str, (*(() if plain else options), *arguments))])
        return cli.main(), capsys.readouterr().err

    return run


def test_init_and_numbers_as_they_are(train):
    train("--out", "units")
    train("--out", "plain", "--no-standardize")
    status, said = train("--init", "units/model.safetensors", "--no-standardize", "--out", "a")
    assert status == 1
    assert re.search(
        r"--no-standardize: the last layer of .* takes numbers as they are; leave --no-standardize out$", said, re.M
    )
    assert not Path("a/model.safetensors").exists()
    status, said = train("--init", "plain/model.safetensors", "--out", "b")
    assert status == 0
    assert "gives numbers as they are, so here they are not standardised either" in said
    assert "the numbers are learnt standardised" not in said
    assert gpucnn.load("b/model.safetensors", device="cpu").units is None


def test_the_settings_of_an_older_run_repeat_it(train):
    train("--out", "plain", "--no-standardize")
    text = Path("plain/run.toml").read_text()
    assert tomllib.loads(text)["made"]["numbers"] == "as they are"
    older = text.replace("no_standardize = true\n", "").replace('numbers = "as they are"\n', "")
    Path("older.toml").write_text(older)
    status, said = train("--config", "older.toml", "--out", "again", plain=True)
    assert status == 0
    assert "took numbers as they are, and so does this one; write no_standardize = false there" in said
    assert Path("again/model.safetensors").read_bytes() == Path("plain/model.safetensors").read_bytes()
    train("--out", "units")
    assert tomllib.loads(Path("units/run.toml").read_text())["made"]["numbers"] == "standardised"
    Path("older.toml").write_text("no_standardize = false\n" + older)
    said = train("--config", "older.toml", "--out", "other", plain=True)[1]
    assert "took numbers" not in said
    for name, source in (("other", "other"), ("more", "units/run.toml")):
        if name == "more":
            said = train("--config", source, "--out", name, plain=True)[1]
            assert "took numbers" not in said
        assert Path(name, "model.safetensors").read_bytes() == Path("units/model.safetensors").read_bytes()
    Path("own.toml").write_text(older.partition("[made]")[0])  # of nobody's run
    train("--config", "own.toml", "--out", "mine", plain=True)
    assert gpucnn.load("mine/model.safetensors", device="cpu").units is not None


def test_an_older_run_of_classes_stays_as_it_is(train):
    images = RNG.integers(0, 200, (60, 8, 8), dtype=np.uint8)
    np.savez("classes.npz", images=images, labels=np.arange(60) % 3)
    options = ("softmax-regression", "--data", "classes.npz", "--device", "cpu", "--threads", 1, "--epochs", 1)
    train(*options, "--out", "a", plain=True)
    train("--config", "a/run.toml", "--out", "b", plain=True)
    for name in ("a", "b"):
        found = tomllib.loads(Path(name, "run.toml").read_text())
        assert "no_standardize" not in found
        assert "numbers" not in found["made"]
