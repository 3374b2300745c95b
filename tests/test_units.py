"""Numbers of any unit: they are learnt standardised, and whatever leaves a model is in their own units."""

from __future__ import annotations

import copy
import json
import pickle
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest

import gpucnn
from gpucnn import command as cli
from gpucnn.callbacks import KeepBest, Metric
from gpucnn.engine.units import Units
from gpucnn.errors import CheckpointError, SettingError, TrainingError
from gpucnn.layers import Dense, Flatten, ReLU
from gpucnn.losses import Huber, Loss, MeanSquaredError
from gpucnn.model import checkpoint, checkpoints
from gpucnn.optimizers import EMA, Adam
from gpucnn.report import find_lr
from gpucnn.training import pace

pytestmark = pytest.mark.usefixtures("blank_pictures")

RNG = np.random.default_rng(0)
IMAGES = (200 * (RNG.random((120, 4, 4, 1)) < RNG.random((120, 1, 1, 1)))).astype(np.uint8)
COUNT = (IMAGES > 127).sum(axis=(1, 2, 3)).astype(float)[:, None]
TWO = np.concatenate([COUNT, -5 * COUNT + IMAGES[:, 0, 0] / 255], axis=1)
NETWORK = gpucnn.Network((4, 4, 1), (Flatten(), Dense(16), ReLU(), Dense(2)))
ONE = gpucnn.Network((4, 4, 1), (Flatten(), Dense(16), ReLU(), Dense(1)))
UNITS = {"thousands": (1000, 0), "thousandths": (0.001, 0), "far from 0": (1, 1e4), "of a date": (1e5, 1.7e9)}


def model(network=NETWORK, **options):
    return gpucnn.Model(network, **{"device": "cpu", "threads": 1, "loss": "mse", **options})


def fitted(targets, network=NETWORK, epochs=8, **options):
    made = model(network, **options)
    made.fit(IMAGES, targets, epochs=epochs, batch_size=16, lr=0.01, progress=False)
    return made


@pytest.mark.parametrize("loss", ["mse", "huber"])
@pytest.mark.parametrize(("scale", "offset"), UNITS.values(), ids=UNITS)
def test_units_change_nothing_but_the_units(scale, offset, loss):
    plain, other = fitted(TWO, loss=loss), fitted(scale * TWO + offset, loss=loss)
    one, two = plain.evaluate(IMAGES, TWO), other.evaluate(IMAGES, scale * TWO + offset)
    assert one["r2"] > 0.9
    assert two["r2"] == pytest.approx(one["r2"], abs=1e-4)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
    assert two["mean_absolute_error"] == pytest.approx(scale * one["mean_absolute_error"], rel=1e-3)
    assert two["mean_squared_error"] == pytest.approx(scale**2 * one["mean_squared_error"], rel=1e-3)
    predicted = other.predict(IMAGES)
    np.testing.assert_allclose((predicted - offset) / scale, plain.predict(IMAGES), atol=0.01)
    assert abs(predicted - scale * TWO - offset).mean() == pytest.approx(two["mean_absolute_error"], rel=1e-4)
    for same in (other.logits(IMAGES), other.predict_proba(IMAGES)):
        np.testing.assert_array_equal(same, predicted)


def test_what_is_measured_of_each_output_is_in_its_unit():
    found = fitted(TWO * [1, 1e-3] + [0, 7])
    report, overall = found.report(IMAGES, TWO * [1, 1e-3] + [0, 7]), found.evaluate(IMAGES, TWO * [1, 1e-3] + [0, 7])
    assert {name: report.overall[name] for name in overall} == pytest.approx(overall)
    difference = abs(found.predict(IMAGES) - TWO * [1, 1e-3] - [0, 7]).mean(axis=0)
    assert [row["mean_absolute_error"] for row in report.rows.values()] == pytest.approx(list(difference), rel=1e-4)
    assert f"{difference[1]:.4g}" in str(report)


def test_units_are_those_of_the_examples_by_their_weights():
    targets, weights = np.concatenate([TWO[:60], np.full((60, 2), -9999.0)]), np.repeat([1.0, 0.0], 60)
    found = model()
    found.fit(IMAGES, targets, epochs=1, sample_weight=weights, progress=False)
    assert found.units.mean == pytest.approx(tuple(TWO[:60].mean(axis=0)))
    assert found.units.deviation == pytest.approx(tuple(TWO[:60].std(axis=0)))


@pytest.mark.parametrize(("value", "size"), [(7000.1, 7000.1), (0.0, 1.0), (-1e-3, 1e-3)])
def test_targets_that_are_all_alike(value, size):
    found = fitted(np.full((120, 1), value), ONE)
    assert found.units.deviation == pytest.approx((size,))
    np.testing.assert_allclose(found.predict(IMAGES), value, atol=0.2 * size)


def test_switched_off_or_of_ones_own_loss_numbers_are_taken_as_they_are():
    class Own(Loss):
        numbers = True

        def __call__(self, logits, targets):
            return MeanSquaredError()(logits, targets)

    plain = fitted(TWO, standardize=False)
    assert plain.units is None
    own = fitted(TWO, loss=Own())
    assert own.units is None
    np.testing.assert_array_equal(own.theta, plain.theta)
    assert plain.predict(IMAGES).dtype == np.float32
    with pytest.raises(SettingError, match="standardize=1: True or False was expected"):
        model(standardize=1)


# Files and further training


@pytest.mark.parametrize("targets", [1e3 * TWO, TWO + 1e3, 0.01 * TWO])
def test_numbers_that_are_far_from_the_first_ones_are_warned_of(targets):
    found = fitted(TWO, epochs=1)
    with pytest.warns(
        UserWarning, match=r"the numbers of output 0 have the mean .* in the units of those that .* without=.head.\)"
    ):
        found.fit(IMAGES, targets, epochs=1, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.fit(IMAGES, 2 * TWO + 3, epochs=1, progress=False)


@pytest.mark.filterwarnings("ignore:the numbers of output 0:UserWarning")
def test_a_file_has_the_units(tmp_path):
    found = fitted(1e5 * TWO)
    found.save(tmp_path / "m.safetensors")
    again = gpucnn.load(tmp_path / "m.safetensors", device="cpu", threads=1)
    assert again.units == found.units
    for each in (again, copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        np.testing.assert_array_equal(each.predict(IMAGES), found.predict(IMAGES))
    before = again.units
    again.fit(IMAGES, TWO, epochs=1, progress=False)  # its last layer is of these units
    assert again.units == before


def test_a_model_that_was_not_trained_decides_when_it_is(tmp_path):
    model().save(tmp_path / "m.safetensors")
    fresh = gpucnn.load(tmp_path / "m.safetensors", device="cpu", threads=1)
    assert fresh.units is None
    fresh.fit(IMAGES, TWO, epochs=1, progress=False)
    assert fresh.units == Units.of(TWO)


def test_a_file_of_another_time_stays_as_it_is(tmp_path):
    old = fitted(TWO, standardize=False)
    old.save(tmp_path / "m.safetensors")
    description, _ = checkpoint.read(tmp_path / "m.safetensors")
    assert not {"units", "standardize"} & {*description}
    again = gpucnn.load(tmp_path / "m.safetensors", device="cpu", threads=1)
    for each in (old, again):
        each.fit(IMAGES, TWO, epochs=2, seed=1, progress=False)
    assert again.units is None
    np.testing.assert_array_equal(again.theta, old.theta)


@pytest.mark.parametrize(
    "units", [{"mean": [0.0]}, {"mean": [0.0], "deviation": [1.0]}, {"mean": [0, 0], "deviation": [1, 0]}, 7, {}]
)
def test_units_that_cannot_be_read(tmp_path, units):
    found = fitted(TWO, epochs=1)
    checkpoint.write(tmp_path / "m.safetensors", found.describe() | {"units": units}, dict(found.parameters))
    with pytest.raises(CheckpointError, match="units"):
        gpucnn.load(tmp_path / "m.safetensors", device="cpu")


@pytest.mark.filterwarnings("ignore:the (numbers of output 0|last layer of):UserWarning")
def test_units_go_with_the_last_layer(tmp_path):
    path = tmp_path / "m.safetensors"
    found = fitted(1e5 * TWO)
    found.save(path)
    whole, head = model(), model()
    whole.load_parameters(path)
    np.testing.assert_array_equal(whole.predict(IMAGES), found.predict(IMAGES))
    whole.fit(IMAGES, TWO, epochs=1, progress=False)
    assert whole.units == found.units
    head.load_parameters(path, matching=True, without="head")
    head.fit(IMAGES, TWO, epochs=1, progress=False)
    assert head.units == Units.of(TWO)
    fitted(TWO, standardize=False).save(path)
    old = model()
    old.load_parameters(path)
    old.fit(IMAGES, TWO, epochs=1, progress=False)
    assert old.units is None


@pytest.fixture
def every_step_is_saved(monkeypatch):
    monkeypatch.setattr(pace.Pace, "RATIO", 0.0)
    monkeypatch.setattr(checkpoints, "LEAST", 0.0)


class Cut(Exception):
    pass


def cut(epoch):
    raise Cut


@pytest.mark.usefixtures("every_step_is_saved")
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("by_batches", [True, False])
def test_a_run_goes_on_in_its_units(tmp_path, standardize, by_batches):
    """Without: a run of another time."""

    def run(made, folder, *callbacks):
        how = {"resume": folder, "validation": (IMAGES[:40], 1e5 * TWO[:40]), "callbacks": callbacks, "progress": False}
        how |= {"epochs": 3, "optimizer": EMA(Adam(), 0.9)}
        if by_batches:
            return made.fit_batches(lambda epoch: [(IMAGES[:40], 1e5 * TWO[:40]), (IMAGES[40:80], TWO[40:80])], **how)
        return made.fit(IMAGES, 1e5 * TWO, **how)

    whole, first, second = model(standardize=standardize), model(standardize=standardize), model()
    run(whole, tmp_path / "whole")
    with pytest.raises(Cut):
        run(first, tmp_path / "cut", cut)
    run(second, tmp_path / "cut")
    assert second.units == whole.units == first.units
    assert (whole.units is not None) == standardize
    np.testing.assert_array_equal(second.theta, whole.theta)
    if standardize:
        third = model(standardize=False)
        with pytest.raises(SettingError, match="standardize=False: the run that is saved there learns its numbers"):
            run(third, tmp_path / "cut")
        assert (third.units, third.standardize) == (None, False)


def test_partial_fit_and_batches_keep_the_first_units():
    found = model()
    for scale in (1, 2):
        found.partial_fit(IMAGES[:60], scale * TWO[:60], progress=False)
    assert found.units == Units.of(TWO[:60])
    found = model()
    found.fit_batches([(IMAGES[:60], TWO[:60]), (IMAGES[60:], TWO[60:])], epochs=2, progress=False)
    assert found.units == Units.of(TWO[:60])


# What looks at a model


def test_metrics_of_ones_own_see_numbers_in_their_units():
    made, seen = model(), []
    error = Metric("mae", lambda y, t: seen.append((y, t)) or float(abs(y - t).mean()), IMAGES, 1e5 * TWO)
    best = KeepBest(watch="mae")
    history = made.fit(IMAGES, 1e5 * TWO, epochs=3, callbacks=[error, best], progress=False)
    np.testing.assert_allclose(seen[-1][1], 1e5 * TWO, rtol=1e-6)
    assert made.evaluate(IMAGES, 1e5 * TWO)["mean_absolute_error"] == pytest.approx(
        min(epoch.metrics["mae"] for epoch in history.epochs), rel=1e-4
    )


def test_several_models_each_have_their_units():
    models = [fitted(TWO), fitted(TWO * 3 + 8, epochs=2), fitted(TWO, standardize=False)]
    for some in (models, models[::-1]):
        mean = np.mean([each.predict(IMAGES) for each in some], axis=0)
        together = gpucnn.Ensemble(some)
        np.testing.assert_allclose(together.predict(IMAGES), mean, rtol=1e-5, atol=1e-4)
        error = together.evaluate(IMAGES, TWO)["mean_absolute_error"]
        assert error == pytest.approx(abs(mean - TWO).mean(), rel=1e-4)


def test_onnx_gives_numbers_in_their_units(tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    models = [fitted(1e4 * TWO + 77), fitted(TWO, epochs=1)]
    for answering in (models[0], gpucnn.Ensemble(models)):
        session = onnxruntime.InferenceSession(str(answering.export(tmp_path / "m.onnx")))
        (found,) = session.run(None, {"images": IMAGES})
        np.testing.assert_allclose(found, answering.predict(IMAGES), rtol=1e-5, atol=0.1)


def test_a_look_inside_tells_the_number():
    from gpucnn.report import inside

    found = fitted(1e5 * TWO)
    look = inside.look(found, IMAGES[:3])
    np.testing.assert_allclose(look.probabilities, found.predict(IMAGES[:3]), rtol=1e-4)
    assert look.value(0) == f"{look.probabilities[0, 0]:.6g}"


def test_a_search_for_a_rate_finds_the_same_one():
    found = [find_lr(model(), IMAGES, scale * TWO, batch_size=16) for scale in (1, 1e5)]
    assert found[1].losses == pytest.approx(found[0].losses, rel=1e-3)


def test_views_of_an_image():
    found = fitted(1e4 * TWO + 1e5)
    mean = (found.predict(IMAGES) + found.predict(IMAGES[:, :, ::-1])) / 2
    for ask in (found, gpucnn.Ensemble([found])):
        with pytest.warns(UserWarning, match="tta moves, .* where these are places, angles or sizes, leave tta out"):
            views = ask.predict(IMAGES, tta="flip")
        np.testing.assert_allclose(views, mean, rtol=1e-5, atol=1)
    with pytest.warns(UserWarning, match="leave tta out"):
        found.evaluate(IMAGES, 1e4 * TWO + 1e5, tta="shift=1")


def test_the_estimator_takes_numbers_of_any_unit():
    pytest.importorskip("sklearn")
    from gpucnn.estimators import CNNRegressor

    how = {"network": [Flatten(), Dense(16), ReLU(), Dense(1)], "epochs": 30, "device": "cpu", "threads": 1}
    scores = [
        CNNRegressor(**how, random_state=0).fit(IMAGES, y).score(IMAGES, y) for y in (COUNT[:, 0], 1e6 * COUNT[:, 0])
    ]
    assert min(scores) > 0.8
    assert scores[1] == pytest.approx(scores[0], abs=1e-3)
    for no in (False, *np.array([False])):  # as a grid over an array gives it
        assert CNNRegressor(**how, standardize=no, random_state=0).fit(IMAGES, COUNT).model_.units is None


# The command


@pytest.fixture
def gpucnn_(monkeypatch, capsys, tmp_path):
    """gpucnn_(...) -> exit status, standard output, standard error; in a folder with own.npz."""
    monkeypatch.chdir(tmp_path)
    images = RNG.integers(0, 40, (120, 8, 8), dtype=np.uint8)
    bright = RNG.integers(0, 5, 120)
    for k, rows in enumerate(bright):
        images[k, :rows] += 150
    np.savez("own.npz", images=images, labels=(10_000.0 * bright + 30_000)[:, None], class_names=["price"])

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["gpucnn", *map(str, arguments)])
        status = cli.main()
        return status, *capsys.readouterr()

    return run


def test_the_command(gpucnn_):
    train = ("train", "softmax-regression", "--data", "own.npz", "--loss", "mse", "--device", "cpu", "--threads", 1)
    train = (*train, "--epochs", 60, "--batch-size", 8, "--lr", 0.01, "--validation", 0.2)
    status, text, said = gpucnn_(*train, "--out", "run", "--json")
    assert status == 0
    assert "the numbers are learnt standardised, whatever their units" in said
    assert json.loads(text)["test_mean_absolute_error"] < 2500
    assert "no_standardize" not in tomllib.loads(Path("run/run.toml").read_text())
    text = gpucnn_("evaluate", "run/model.safetensors", "--data", "own.npz", "--report")[1]
    assert "price" in text
    assert "e+0" not in text  # such as 1.2e+05
    status, text, _ = gpucnn_(*train, "--out", "off", "--no-standardize", "--json")
    assert gpucnn.load("off/model.safetensors", device="cpu").units is None
    assert json.loads(text)["test_mean_absolute_error"] > 10_000
    assert tomllib.loads(Path("off/run.toml").read_text())["no_standardize"] is True
    assert gpucnn_("train", "--config", "off/run.toml", "--out", "again")[0] == 0
    assert Path("again/model.safetensors").read_bytes() == Path("off/model.safetensors").read_bytes()
    assert "learnt standardised" not in gpucnn_("train", "--resume", "run", "--epochs", 61)[2]
    gpucnn_(*train, "--init", "run/model.safetensors", "--out", "more", "--epochs", 1)
    assert gpucnn.load("more/model.safetensors", device="cpu").units == gpucnn.load("run/model.safetensors").units


def test_huber_counts_delta_in_deviations():
    one, two = (fitted(scale * TWO, loss=Huber(delta=0.5)) for scale in (1, 1000))
    np.testing.assert_allclose(two.predict(IMAGES) / 1000, one.predict(IMAGES), atol=0.01)


class LogCosh(Loss):
    """Infinite for distances of thousands."""

    numbers = True

    def __call__(self, logits, targets):
        return np.log(np.cosh(logits - targets)).mean(axis=1), np.tanh(logits - targets) / logits.shape[1]


class Standardising(LogCosh):
    standardizes = True


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_loss_that_large_numbers_make_infinite_is_told_of_them():
    images, targets = np.random.default_rng(0).random((40, 4, 4, 1), np.float32), np.linspace(0, 5000, 40)[:, None]
    network = gpucnn.Network((4, 4, 1), (Flatten(), Dense(1)))
    says = (
        r"the loss reaches inf; the loss LogCosh gets numbers to 5e\+03, and if it is of differences, `standardizes = "
        r"True` in its class gives it standardised ones.*, so training stopped; no update came before it, so look at "
        "the images, the weights of classes and examples, the initial parameters, and layers or a loss of your own$"
    )
    with pytest.raises(TrainingError, match=says):
        gpucnn.Model(network, loss=LogCosh(), device="cpu").fit(images, targets, epochs=1, batch_size=40)
    found = gpucnn.Model(network, loss=Standardising(), device="cpu").fit(images, targets, epochs=1, batch_size=40)
    assert np.isfinite(found.epochs[-1].train_loss)
    broken = gpucnn.Model(network, loss=LogCosh(), device="cpu")
    broken.theta = np.nan
    with pytest.raises(TrainingError, match=r"reaches nan\), so training"):
        broken.fit(images, targets / 5000, epochs=1, batch_size=40)
