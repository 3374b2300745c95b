"""Frozen parameters do not move by a bit, and all others as if nothing were frozen."""

from __future__ import annotations

import numpy as np
import pytest
from fake_cuda import fake_cuda

from gpucnn import Model, Network
from gpucnn.engine import factors, sharded_step
from gpucnn.engine.freezing import thawed
from gpucnn.errors import SettingError
from gpucnn.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Residual, Shared
from gpucnn.model import checkpoints
from gpucnn.optimizers import EMA, OPTIMIZERS, SGD, Adam, AdamW, Clip, Groups, Lookahead
from gpucnn.training import pace
from tests.test_resume import Cut, CutAt
from tests.test_steps import model_on

__all__ = ["fake_cuda"]

NETWORK = Network(
    (8, 8, 1),
    (
        *(Conv2D(2, 3, bias=None), BatchNorm(), ReLU(), MaxPool2D(2)),
        *(Residual((Conv2D(2, 3, padding="same"), ReLU())), Flatten(), Dense(600), ReLU(), Dense(3)),
    ),
)
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8), RNG.integers(0, 3, 30)
PATTERNS = ["0/*", ("0/*", "1/*"), "*/bias", "4/*", ("[0-7]/*",), ("0/kernel", "6/weights", "8/bias")]
WRAPPED = [
    Clip(Adam(), value=0.01),
    EMA(AdamW(weight_decay=0.1)),
    Lookahead(SGD(momentum=0.9, weight_decay=0.1), every=2),
    Groups(Adam(), {"*/kernel": {"rate": 0.5, "l2": 0.1}, "*/bias": {"weight_decay": 0.1}}),
]


def model(network=NETWORK, **options):
    return Model(network, **{"device": "cpu", "threads": 1, **options})


def frozen(made, freeze):
    patterns = (freeze,) if isinstance(freeze, str) else freeze
    moved = np.zeros(made.layout.size, bool)
    for slot in thawed(made.layout, patterns).slots:
        moved[slot.place] = True
    return ~moved


def steps(made, optimizer, freeze=(), hold=None, count=4):
    """theta after some updates; hold: what stays is written back after each."""
    step, start = made.execution.step(made.loss, optimizer, scaling=made.scaling, freeze=freeze), made.theta.copy()
    with made.execution.active():
        for k in range(count):
            step(IMAGES, LABELS, np.arange(7 * k, 7 * k + 7), 0.05)
            if hold is not None:
                made.theta[hold] = start[hold]
    return start, made.theta.copy()


@pytest.mark.parametrize("kernels", ["default", "reference"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("freeze", PATTERNS)
@pytest.mark.parametrize("optimizer", [*OPTIMIZERS.values(), *WRAPPED], ids=str)
def test_what_is_frozen_stays_and_all_else_moves_as_ever(monkeypatch, kernels, threads, freeze, optimizer):
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    if threads > 1 and kernels == "reference":
        pytest.skip("the reference computes a batch as a whole")
    patterns = (freeze,) if isinstance(freeze, str) else freeze
    made, other = (model(kernels=kernels, threads=threads) for _ in range(2))
    hold = frozen(made, freeze)
    start, found = steps(made, optimizer, patterns)
    np.testing.assert_array_equal(found[hold], start[hold])
    assert not np.array_equal(found[~hold], start[~hold])
    if not isinstance(optimizer, Lookahead):  # which writes its slow weights back
        _, expected = steps(other, optimizer, hold=hold)
        np.testing.assert_array_equal(found, expected)


def test_the_norm_that_is_clipped_is_of_what_is_trained():
    made, plain = model(dtype="float64"), model(dtype="float64")
    start, clipped = steps(made, Clip(SGD(), norm=1e-3), ("[0-7]/*",), count=1)
    _, moved = steps(plain, SGD(), ("[0-7]/*",), count=1)
    assert np.linalg.norm(moved - start) > 0.05 * 1e-3
    np.testing.assert_allclose(
        clipped - start, (moved - start) * (0.05 * 1e-3 / np.linalg.norm(moved - start)), rtol=1e-2
    )


def test_layers_before_the_first_trained_one_compute_no_gradient(monkeypatch):
    asked = []

    class Watched(Conv2D):
        def backward(self, params, residual, dy, context, *, need_dx=True):
            asked.append(need_dx)
            return super().backward(params, residual, dy, context, need_dx=need_dx)

    network = Network((8, 8, 1), (Watched(2, 3), ReLU(), Watched(2, 3), Flatten(), Dense(3)))
    for freeze, expected in [("0/*", [False]), ("2/*", [True, False]), (("0/*", "2/*"), []), ((), [True, False])]:
        made = model(network)
        assert made.execution.reach(made.loss) is not None  # it is found out by trying the layers
        asked.clear()
        steps(made, SGD(), (freeze,) if isinstance(freeze, str) else freeze, count=1)
        assert asked == expected


def test_shared_parameters_are_frozen_at_all_places():
    shared = Shared("both", (Conv2D(1, 3, padding="same"),))
    network = Network((8, 8, 1), (shared, ReLU(), shared, Flatten(), Dense(3)))
    made = model(network)
    before = made.parameters
    made.fit(IMAGES, LABELS, epochs=2, batch_size=7, freeze="*both*")
    after = made.parameters
    assert [np.array_equal(before[name], after[name]) for name in before] == [True, True, False, False]
    thawed = model(network)
    thawed.fit(IMAGES, LABELS, epochs=2, batch_size=7, freeze="4/*")
    after = thawed.parameters
    assert [np.array_equal(before[name], after[name]) for name in before] == [False, False, True, True]


def test_running_statistics_of_frozen_layers_follow_the_data():
    made, other = model(), model()
    made.fit(IMAGES, LABELS, epochs=1, batch_size=30, freeze=("0/*", "1/*"))
    other.fit(IMAGES, LABELS, epochs=1, batch_size=30)
    for name, value in other.state.items():
        np.testing.assert_array_equal(made.state[name], value)
        assert value.any()


@pytest.mark.parametrize("cut", [1, 6, 11])
def test_a_run_with_frozen_parameters_goes_on(tmp_path, monkeypatch, cut):
    monkeypatch.setattr(pace.Pace, "RATIO", 0.0)
    monkeypatch.setattr(checkpoints, "LEAST", 0.0)
    options = {"epochs": 3, "batch_size": 7, "optimizer": AdamW(), "freeze": ("0/*", "6/bias")}
    whole, made = model(), model()
    whole.fit(IMAGES, LABELS, **options)
    with pytest.raises(Cut):
        model().fit(IMAGES, LABELS, **options, callbacks=[CutAt(cut)], resume=tmp_path)
    with pytest.raises(SettingError, match="another freeze 6/bias then and 8/bias now"):
        model().fit(IMAGES, LABELS, **options | {"freeze": ("0/*", "8/bias")}, resume=tmp_path)
    made.fit(IMAGES, LABELS, **options, resume=tmp_path)
    np.testing.assert_array_equal(made.theta, whole.theta)


def test_partial_fit_may_freeze_and_thaw():
    made = model()
    made.partial_fit(IMAGES, LABELS, freeze="0/*")
    before = made.theta.copy()
    made.partial_fit(IMAGES, LABELS)
    assert not np.array_equal(before[:18], made.theta[:18])


@pytest.mark.parametrize(
    ("freeze", "sentence"),
    [
        ("9/*", r"no parameter's name fits '9/\*'; there are .*/"),
        (("0/*", "0/kernels"), "no parameter's name fits '0/kernels'; there are 0/kernel, "),
        ("*", r"freeze='\*' leaves no parameter to train"),
        (3, "freeze=3: patterns of parameters' names were expected"),
        ([0], r"freeze=\[0\]: patterns"),
    ],
)
def test_what_cannot_be_frozen(freeze, sentence):
    with pytest.raises(SettingError, match=sentence):
        model().fit(IMAGES, LABELS, freeze=freeze)


@pytest.mark.parametrize("freeze", ["0/*", ("0/kernel", "6/weights", "8/bias"), ("[0-7]/*",)])
@pytest.mark.parametrize(
    "optimizer", [SGD(momentum=0.9, weight_decay=0.1), AdamW(weight_decay=0.1), WRAPPED[1]], ids=str
)
@pytest.mark.parametrize("where", ["cuda", "cuda eager", "cuda reference"])
def test_frozen_parameters_on_cuda(fake_cuda, where, optimizer, freeze):
    """Launched one by one and recorded, as on the CPU, and nothing frozen moves."""
    patterns = (freeze,) if isinstance(freeze, str) else freeze
    expected, made = model(kernels="reference", dtype="float64"), model_on(where, NETWORK)
    start, hold = made.device.fetch(made.theta).copy(), frozen(made, freeze)
    theta, made_steps = {}, {}
    for name, each in (("expected", expected), ("found", made)):
        step = made_steps[name] = each.execution.step(each.loss, optimizer, scaling=each.scaling, freeze=patterns)
        images, labels = each.device.put(IMAGES), each.device.put(LABELS)
        with each.execution.active():
            for k in range(6):
                step(images, labels, each.device.put(np.arange(k, k + 7)), 0.05)
        theta[name] = each.device.fetch(each.theta)
    if where == "cuda":
        assert made_steps["found"]._recorded is not None
    np.testing.assert_array_equal(theta["found"][hold], start[hold])
    np.testing.assert_allclose(theta["found"], theta["expected"], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("freeze", ["0/*", "6/weights", "8/*"])
def test_large_gradients_stay_factors(monkeypatch, freeze):
    monkeypatch.setattr(factors, "LARGE", 1)
    monkeypatch.setattr(factors, "ROOM", 1e9)
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    made, other = model(threads=2), model(threads=2)
    hold = frozen(made, freeze)
    start, found = steps(made, Adam(), (freeze,))
    _, expected = steps(other, Adam(), hold=hold)
    np.testing.assert_array_equal(found[hold], start[hold])
    np.testing.assert_array_equal(found, expected)


def test_parameters_of_a_like_network_are_taken(tmp_path):
    wider = Network(NETWORK.input_shape, (*NETWORK.layers[:-1], Dense(4)))
    source, made = model(seed=3), model(wider)
    source.fit(IMAGES, LABELS, epochs=1, batch_size=30)
    source.save(tmp_path / "model")
    drawn = made.parameters
    assert made.load_parameters(tmp_path / "model", matching=True) == ["8/weights", "8/bias"]
    for name, value in made.parameters.items():
        np.testing.assert_array_equal(value, drawn[name] if name.startswith("8/") else source.parameters[name])
    for name, value in made.state.items():
        np.testing.assert_array_equal(value, source.state[name])
    assert model().load_parameters(tmp_path / "model") == []


def test_the_last_layer_of_other_classes_is_warned_of_and_left_out(tmp_path):
    source = model(seed=3)
    source.load_parameters({"state/1/mean": source.state["1/mean"] + 1.0})
    source.save(tmp_path / "model")
    for given, matching in (("head", True), (["8/*"], False), ("8/weights,8/bias", False)):
        made = Model(NETWORK, class_names=["cat", "dog", "cow"], device="cpu", threads=1)
        drawn = made.parameters
        assert made.load_parameters(tmp_path / "model", matching=matching, without=given) == ["8/weights", "8/bias"]
        for name, value in made.parameters.items():
            np.testing.assert_array_equal(value, (drawn if name.startswith("8/") else source.parameters)[name])
    for matching in (True, False):
        with pytest.warns(UserWarning, match="the last layer, 8/weights, 8/bias, is taken from .*, whose cl"):
            assert made.load_parameters(tmp_path / "model", matching=matching) == []
    assert "1/mean" not in "".join(made.load_parameters(tmp_path / "model", without="8/*"))
    assert "state/1/mean" in model().load_parameters(tmp_path / "model", without="1/*")
    assert made.load_parameters({"8/bias": np.zeros(3)}, without="0/*")[0] == "0/kernel"
    assert "8/bias" in made.load_parameters({"8/bias": np.zeros(3)}, without="head")
    with pytest.raises(SettingError, match="left out: no parameter's name fits '7/"):
        made.load_parameters(tmp_path / "model", without="7/*")
    with pytest.raises(SettingError, match="without=3: patterns of parameters' names were expected"):
        made.load_parameters(tmp_path / "model", without=3)


def test_what_is_newly_drawn_is_not_frozen_without_a_word():
    other = Network((8, 8, 1), (*NETWORK.layers[:-1], Dense(4)))
    start, options = model(other).parameters, {"epochs": 1, "batch_size": 8, "progress": False}
    made = model()
    assert made.load_parameters(start, matching=True)[:2] == ["8/weights", "8/bias"]
    with pytest.warns(UserWarning, match="freeze: 8/bias, 8/weights stay as they were drawn at random"):
        made.fit(IMAGES, LABELS, freeze=["8/*"], **options)
    made.fit(IMAGES, LABELS, freeze=["0/*"], **options)
    made.fit(IMAGES, LABELS, freeze=["8/*"], **options)  # they have been trained
    made = model()
    made.load_parameters(start, matching=True)
    made.load_parameters({name: made.parameters[name] for name in ("8/weights", "8/bias")})
    made.fit(IMAGES, LABELS, freeze=["8/*"], **options)


def test_all_parameters_are_named_without_dots():
    small = Model(Network((4,), (Dense(3),)), device="cpu", threads=1)
    with pytest.raises(SettingError, match=r"no parameter's name fits 'x'; there are [^.]*$"):
        small.fit(np.eye(4), [0, 1, 2, 0], freeze="x")
