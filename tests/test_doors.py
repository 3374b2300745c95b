"""Every argument of Model and fit: what is taken, and the sentence for a value of another kind."""

from __future__ import annotations

import dataclasses
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import gpucnn
from gpucnn import Device, Model, Network
from gpucnn.errors import DataError, SettingError, ShapeError
from gpucnn.layers import Dense, Flatten, Sigmoid, Softmax
from gpucnn.losses import BinaryCrossEntropy, FocalLoss, SoftmaxCrossEntropy
from gpucnn.optimizers import Adam
from gpucnn.report import finished
from gpucnn.schedules import cosine
from gpucnn.training import Epoch
from gpucnn.training.progress import Lines

TINY = Network((2, 2, 1), (Flatten(), Dense(3)))
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 2, 2, 1), dtype=np.uint8)
LABELS = np.arange(12) % 3


def tiny(**options):
    return Model(TINY, **{"device": "cpu", "threads": 1, **options})


def fit(model=None, **options):
    return (model or tiny()).fit(IMAGES, LABELS, **{"epochs": 2, "batch_size": 4, **options})


# --- Settings

SETTINGS = {
    f"{name}.{field.name}": (kind, field)
    for module in (gpucnn.layers, gpucnn.losses, gpucnn.optimizers, gpucnn.schedules, gpucnn.callbacks)
    for name, kind in vars(module).items()
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and hasattr(kind, "__post_init__")
    for field in dataclasses.fields(kind)
    if field.init and ("int" in field.type or "float" in field.type)
}


@pytest.mark.parametrize("name", SETTINGS)
def test_truth_values_are_no_numbers(name):
    """None of them is taken for 1 or 0: nobody means that, and a decay of 1 would leave nothing of theta."""
    kind, field = SETTINGS[name]
    others = [each for each in dataclasses.fields(kind) if each is not field and each.default is dataclasses.MISSING]
    given = {each.name: Adam() if each.name == "optimizer" else 2 for each in others if each.init and not each.kw_only}
    for value in (True, np.False_, (True, 1), np.array([True])):
        with pytest.raises((SettingError, ShapeError), match=r"a truth value is none|parts that are 1"):
            kind(**given, **{field.name: ((True, cosine),) if name == "Joined.pieces" else value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", gpucnn.optimizers.OPTIMIZERS.values())
def test_decays_are_finite(kind, value):
    with pytest.raises(SettingError, match="weight decay"):
        dataclasses.replace(kind if dataclasses.is_dataclass(kind) else kind(), weight_decay=value)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(class_weights=(0, 0, 1)), FocalLoss(alpha=(0, 0, 1))])
def test_weights_that_leave_nothing_to_learn(loss):
    with pytest.raises(DataError, match="the weight of every class that there are examples of is 0"):
        tiny(loss=loss).fit(IMAGES, LABELS % 2, progress=False)
    assert tiny(loss=loss).evaluate(IMAGES, LABELS % 2)["loss"] == 0
    with pytest.raises(SettingError, match="nothing would be learnt"):
        dataclasses.replace(loss, **{"class_weights" if hasattr(loss, "class_weights") else "alpha": (0, 0, 0)})


# --- Model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"loss": "squares"},
            "loss 'squares' is not known; choose one of softmax, binary, multi-label, focal, hinge, mse, huber",
        ),
        ({"loss": SoftmaxCrossEntropy}, r"loss=<class .*: SoftmaxCrossEntropy.*; write SoftmaxCrossEntropy\(\)"),
        ({"loss": 0}, "loss=0: SoftmaxCrossEntropy"),
        ({"loss": print}, "loss=<built-in function print>: SoftmaxCrossEntropy"),
        ({"seed": -1}, "seed=-1: a whole number of at least 0 was expected"),
        ({"seed": 1.5}, "seed=1.5: a whole number of at least 0"),
        ({"seed": None}, "seed=None: a whole number"),
        ({"seed": "1"}, "seed='1': a whole number"),
        ({"threads": 1.5}, "threads=1.5: a whole number of at least 1 was expected"),
        ({"threads": "2"}, "threads='2': a whole number of at least 1"),
        ({"threads": True}, "threads=True: a whole number of at least 1"),
        ({"dtype": "float16"}, "dtype='float16': one of float32, float64 was expected"),
        ({"dtype": np.int8}, "dtype='int8': one of"),
        ({"dtype": float}, "dtype='float': one of"),
        ({"dtype": ["float32"]}, "dtype=.*float32.*: one of"),
        ({"device": 0}, "device=0: 'auto', 'cpu', 'cuda', 'cuda:N' or a Device was expected"),
        ({"device": None}, "device=None: 'auto'"),
        ({"class_names": "abc"}, r"class_names='abc': a list of names, such as \['cat', 'dog'\], was expected"),
        ({"class_names": 3}, "class_names=3: a list of names"),
        ({"scaling": 255}, "scaling=255: a Scaling was expected"),
        ({"preprocessing": (28, 28)}, r"preprocessing=\(28, 28\): a Preprocessing was expected"),
        ({"kernels": 3}, "kernels 3: one of default, reference, numba"),
        ({"precision": None}, "precision None: one of float32"),
        ({"graph": "no"}, "graph='no': True, False or None was expected"),
    ],
)
def test_a_model_of_the_wrong_kind(options, message):
    with pytest.raises(SettingError, match=message):
        tiny(**options)


def test_what_a_model_takes():
    assert tiny(dtype=np.float64).theta.dtype == tiny(dtype=np.dtype("float64")).theta.dtype == np.float64
    assert tiny(seed=np.int64(5)).theta.tobytes() == tiny(seed=5).theta.tobytes()
    assert tiny(device=Device("cpu")).device == Device("cpu")
    assert tiny(class_names=np.array(["cat", "dog", "owl"])).class_names == ("cat", "dog", "owl")
    assert tiny(class_names=range(1, 4)).class_names == ("1", "2", "3")
    with pytest.raises(DataError, match="0 class names for a network of 3 outputs"):
        tiny(class_names=[])


@pytest.mark.parametrize(
    ("input_shape", "layers", "message"),
    [
        (28, (), r"input_shape 28: \(H, W, C\) or \(features,\), each at least 1, was expected"),
        ("28x28x1", (), r"input_shape '28x28x1': \(H, W, C\)"),
        ((28.0, 28, 1), (), r"input_shape \(28.0, 28, 1\): "),
        (None, (), "input_shape None: "),
        (
            (4,),
            (SimpleNamespace(out_shape=lambda shape: 4),),
            r"layer 0 .*: out_shape gives 4, a tuple of",
        ),
        ((4,), (SimpleNamespace(out_shape=lambda shape: None),), r"layer 0 .*: out_shape gives None, a tuple"),
    ],
)
def test_a_network_of_the_wrong_kind(input_shape, layers, message):
    with pytest.raises(ShapeError, match=message):
        Network(input_shape, layers)


def test_shapes_of_numpys_numbers_are_numbers():
    assert all(type(n) is int for n in Network(np.array([2, 2, 1]), (Flatten(),)).input_shape)


# --- fit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1.5}, "epochs=1.5: a whole number of at least 1"),
        ({"epochs": None}, "epochs=None: a whole number"),
        ({"batch_size": "8"}, "batch_size='8': a whole number of at least 1"),
        ({"optimizer": Adam}, r"optimizer=<class .*: sgd, .*; write Adam\(\)"),
        ({"optimizer": None}, r"optimizer=None: sgd, momentum, .* or an object like Adam\(\) was"),
        ({"optimizer": "newton"}, "optimizer 'newton' is not known; choose one of sgd"),
        ({"optimizer": 0.1}, "or an object like"),
        ({"schedule": None}, r"schedule=None: one of constant, .*, or a function of \(step, steps\), was expected"),
        ({"schedule": ["cosine"]}, "schedule=.*or a function of"),
        ({"schedule": "zigzag"}, "schedule 'zigzag' is not known; choose one of constant"),
        ({"seed": None}, "seed=None: a whole number"),
        ({"callbacks": print}, r"callbacks=.*print.*: a list, such as \[print\], was expected"),
        ({"callbacks": [Epoch]}, r"callback=<class .*: a function of an Epoch, .* was expected; write Epoch\(\)"),
        ({"callbacks": [Lines]}, r"callback=<class .* was expected; write Lines\(\)"),
        ({"callbacks": [3]}, "callback=3: a function of an Epoch, or an object with a method batch or epoch, was"),
        ({"callbacks": "log"}, "callback='l': a function of an Epoch"),
        ({"callbacks": [SimpleNamespace(epoch=3)]}, "an object with a method batch or epoch, was expected"),
        ({"validation": 0.1}, r"validation: a pair \(images, labels\) was expected"),
        ({"augmentation": 2}, "augmentation=2: an Augmentation, or a text"),
        ({"lr": "0.1"}, "lr='0.1': a learning rate above 0"),
        ({"progress": "yes"}, "progress='yes': True, False or None was expected"),
    ],
)
def test_fit_with_the_wrong_kind(options, message):
    model = tiny()
    before = model.theta.copy()
    with pytest.raises(SettingError, match=message):
        fit(model, **options)
    np.testing.assert_array_equal(model.theta, before)


def test_a_schedule_of_ones_own():
    assert fit(schedule=cosine).epochs[-1].train_loss == fit(schedule="cosine").epochs[-1].train_loss
    assert fit(schedule=lambda step, steps: 0.5, lr=0.5).epochs[-1].lr == 0.25


def test_a_function_is_called_with_each_epoch():
    seen = []
    history = fit(callbacks=[seen.append, lambda epoch: seen.append(epoch.epoch)])
    assert seen == [history.epochs[0], 1, history.epochs[1], 2]


def test_a_callback_may_have_one_method():
    batches, epochs = [], []
    of_batches = SimpleNamespace(batch=lambda *told: batches.append(told[:3]))
    fit(callbacks=(of_batches, SimpleNamespace(epoch=lambda epoch: epochs.append(epoch.epoch))))
    assert batches == [(epoch, done, 12) for epoch in (1, 2) for done in (4, 8, 12)]
    assert epochs == [1, 2]


# --- an output function too many


@pytest.mark.parametrize("last", [Softmax(), Sigmoid()])
@pytest.mark.parametrize(
    ("loss", "function"), [(SoftmaxCrossEntropy(), "softmax"), (BinaryCrossEntropy(), "the sigmoid")]
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_last_layer_that_the_loss_owns(last, loss, function, nested):
    layers = (Flatten(), Dense(3), last)
    network = Network((2, 2, 1), (Network((2, 2, 1), layers),) if nested else layers)
    kind = type(loss).__name__
    message = rf"ends in {type(last).__name__}\(\), but {kind} applies {function} itself; leave that layer out"
    with pytest.warns(UserWarning, match=message) as caught:
        Model(network, loss=loss, device="cpu")
    assert [each.filename for each in caught] == [__file__]


def test_other_networks_and_losses_of_ones_own_are_not_warned_of():
    own = type("Own", (), {"__call__": lambda self, *_: None, "probabilities": lambda self, logits: logits})()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny()
        Model(Network((4,), (Dense(3), Softmax(), Dense(2))), device="cpu")
        Model(Network((4,), (Dense(3), Softmax())), loss=own, device="cpu")


# --- what they look like


def test_repr_of_a_network():
    assert repr(TINY) == "Network((2, 2, 1) -> (3,), 2 layers: Flatten() -> Dense(3))"
    nested = Network((2, 2, 1), (TINY,))
    assert repr(nested) == "Network((2, 2, 1) -> (3,), 1 layer: Network of 2 layers)"
    deep = repr(Network((4,), (*(Dense(5) for _ in range(20)), Dense(2))))
    assert deep.startswith("Network((4,) -> (2,), 21 layers: Dense(5) -> Dense(5) -> ")
    assert deep.endswith("-> ... -> Dense(2))")
    assert len(deep) < 130
    assert Network((2, 2, 1), (Flatten(), Dense(3))) == TINY


def test_repr_of_a_model():
    expected = (
        "Model('network', 15 parameters on cpu, SoftmaxCrossEntropy(), classes 0, 1, 2,\n      " + repr(TINY) + ")"
    )
    assert repr(tiny()) == expected
    many = repr(Model(Network((4,), (Dense(300),)), device="cpu", name="mine", loss=BinaryCrossEntropy()))
    assert many.startswith(
        "Model('mine', 1,500 parameters on cpu, BinaryCrossEntropy(), classes 0, 1, 2, 3, 4, ..., 299,"
    )


def test_a_warning_out_of_a_context_manager_is_shown_where_gpucnn_was_called(tmp_path):
    digits = gpucnn.data.load("digits")
    model = gpucnn.Model("softmax-regression", device="cpu")
    (tmp_path / "confusion.png").mkdir()
    with pytest.warns(UserWarning, match=r"confusion\.png: the picture cannot be written") as caught:
        finished.draw(model, digits, tmp_path)
    assert [each.filename for each in caught] == [__file__]


def test_names_that_the_font_lacks_are_told_of_once(tmp_path):
    digits = gpucnn.data.load("digits").select_classes([0, 1, 2])
    names = ("猫", "いぬ", "owl")
    data = dataclasses.replace(digits, class_names=names)
    model = gpucnn.Model(gpucnn.networks.build("softmax-regression", classes=3), device="cpu", class_names=names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert finished.draw(model, data, tmp_path) == ["confusion.png", "mistakes.png", "mistakes.csv"]
    (one,) = caught
    assert "the font of the pictures has no characters for 猫, いぬ, which are boxes there; install" in str(one.message)
    model.class_names = ("a", "b", "c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finished.draw(model, data, tmp_path)
