"""What is said of settings and classes that gpucnn does not have: those of other libraries, and what is misspelt."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys

import pytest

import gpucnn
from gpucnn import Augmentation, Network, callbacks, layers, losses, names, optimizers, schedules
from gpucnn.data import Preprocessing
from gpucnn.errors import ArgumentError, GpucnnError
from gpucnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, LeakyReLU
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.optimizers import SGD


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Conv2D(8, 3, activation="relu"), "Conv2D has no setting 'activation'; an activation is a layer of"),
        (lambda: Conv2D(8, kernel_size=3), "'kernel_size'; write kernel$"),
        (lambda: layers.MaxPool2D(pool_size=3), "'pool_size'; write window$"),
        (lambda: Conv2D(in_channels=1, filters=8, kernel=3), "'in_channels'; it is known from what comes in: leave it"),
        (lambda: Dense(10, activation="relu"), "Dense has no setting 'activation'"),
        (lambda: Dense(10, use_bias=False), "'use_bias'; write bias"),
        (lambda: Dropout(p=0.5), "Dropout has no setting 'p'; write rate"),
        (lambda: LeakyReLU(negative_slope=0.1), "write slope"),
        (lambda: BatchNorm(eps=1e-3), "write epsilon"),
        (lambda: SGD(lr=0.1), r"'lr'; the learning rate is an argument of fit: model.fit\(..., lr=0.1"),
        (lambda: SGD(weight_dcay=0.1), "did you mean weight_decay\\?"),
        (lambda: optimizers.Clip(SGD(), max_norm=1), "write norm"),
        (lambda: SoftmaxCrossEntropy(0.1), "SoftmaxCrossEntropy: 1 setting without a name, none.*such as label_smooth"),
        (lambda: SoftmaxCrossEntropy(weight=(1, 2)), "write class_weights"),
        (lambda: losses.FocalLoss(class_weight=(1, 2)), "write alpha"),
        (lambda: losses.MeanSquaredError(reduction="sum"), "'reduction'; losses take logits and give one number per"),
        (lambda: Augmentation(rotation=10), "Augmentation has no setting 'rotation'; write rotate"),
        (lambda: Augmentation(hflip=True), "write flip"),
        (lambda: Augmentation(shfit=2), "did you mean shift\\?"),
        (lambda: callbacks.EarlyStopping(monitor="loss"), "write watch"),
        (lambda: callbacks.CSVLog(filename="a.csv"), "write path"),
        (lambda: callbacks.KeepBest("loss"), "KeepBest: 1 setting without a name, none at most.*such as watch="),
        (lambda: schedules.Steps(drop=0.1), "Steps has no setting 'drop'; it has milestones, factor"),
        (lambda: Flatten(1), "Flatten: 1 setting without a name, none at most was expected; it has none"),
        (
            lambda: Dense(1, True, "zeros", 4),
            "Dense: 4 settings without a name, 3 at most was expected; it has units, b",
        ),
        (lambda: Network((3,), (Dense(3),), name="x"), "Network has no setting 'name'; it has input_shape, layers"),
        (lambda: Preprocessing((8, 8), 1, inverted=True), "did you mean invert\\?"),
    ],
)
def test_a_setting_that_there_is_not_is_answered(make, says):
    with pytest.raises(ArgumentError, match=says) as caught:
        make()
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, GpucnnError)


def test_a_public_class_answers_for_what_it_has_not():
    """But for those whose methods do, those that say what a callback or an example is asked, and what is not made."""
    others = {"Model", "Callback", "Stop", "Report"}
    for module in (gpucnn, *(getattr(gpucnn, name) for name in gpucnn.__all__)):
        for name, held in vars(module).items() if inspect.ismodule(module) else ():
            is_public = inspect.isclass(held) and held.__module__.startswith(f"{module.__name__}") and name[0] != "_"
            if is_public and module not in (gpucnn.errors, gpucnn.ops) and name not in others:
                assert issubclass(held, names.Explained), held


def classes():
    return [each for each in {*names.Explained.__subclasses__()} for each in _derived(each)]


def _derived(cls):
    return [cls, *(each for inner in cls.__subclasses__() for each in _derived(inner))]


def test_the_words_lead_to_settings_and_classes_that_there_are():
    own = [each for each in classes() if each.__module__.startswith("gpucnn.")]
    assert {Conv2D, SoftmaxCrossEntropy, optimizers.EMA, Augmentation, callbacks.CSVLog, schedules.Warmup} <= {*own}
    settings = {name for each in own for name in names._settings(each)[0]}
    for word, meant in names.SETTINGS.items():
        assert {*meant} <= settings, word
    assert not {*names.SETTINGS} & {*names.ELSEWHERE}
    for word, meant in names.CLASSES.items():
        found = gpucnn
        for part in meant.split("."):
            found = getattr(found, part)
        assert not hasattr(gpucnn.layers, word)


def test_constructors_are_what_they_are_without_it(tmp_path):
    assert str(inspect.signature(Dropout)) == "(rate: 'float' = 0.5) -> None"
    for each in (Conv2D(3, 2), SGD(0.5), SoftmaxCrossEntropy(label_smoothing=0.5), Augmentation(shift=1)):
        assert pickle.loads(pickle.dumps(each)) == copy.deepcopy(each) == dataclasses.replace(each) == each
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'kernel'"):
        Conv2D(3)


def test_classes_of_ones_own_keep_pythons_words():
    @dataclasses.dataclass(frozen=True)
    class Mine(layers.Layer):
        factor: float = 1.0

    class Other(Dense):
        def __init__(self, several, *more, **rest):
            super().__init__(several)

    assert Other(3, 4, 5, six=6).units == 3
    with pytest.raises(TypeError, match="unexpected keyword argument 'lr'") as caught:
        Mine(lr=1)
    assert not isinstance(caught.value, GpucnnError)


@pytest.mark.parametrize(
    ("module", "name", "says"),
    [
        ("gpucnn.layers", "Linear", "gpucnn.layers has no Linear; write `from gpucnn.layers import Dense`"),
        ("gpucnn.layers", "Conv2d", "gpucnn.layers has no Conv2d; write `from gpucnn.layers import Conv2D`"),
        ("gpucnn.layers", "MaxPooling2D", "write `from gpucnn.layers import MaxPool2D`"),
        ("gpucnn.layers", "Adam", "write `from gpucnn.optimizers import Adam`"),
        ("gpucnn.losses", "CrossEntropyLoss", "write `from gpucnn.losses import SoftmaxCrossEntropy`"),
        ("gpucnn.callbacks", "ModelCheckpoint", "write `from gpucnn.callbacks import KeepBest`"),
        ("gpucnn.optimizers", "Adamw", "write `from gpucnn.optimizers import AdamW`"),
        ("gpucnn.schedules", "cosinus", "write `from gpucnn.schedules import cosine`"),
        ("gpucnn.data", "Datset", "write `from gpucnn.data import Dataset`"),
        ("gpucnn.metrics", "Repot", "write `from gpucnn.metrics import Report`"),
        ("gpucnn", "Conv2D", "gpucnn has no Conv2D; write `from gpucnn.layers import Conv2D`"),
        ("gpucnn", "Sequential", "gpucnn has no Sequential; write `from gpucnn import Network`"),
        ("gpucnn", "xyzzy", "gpucnn has no xyzzy; help(gpucnn) says what there is"),
    ],
)
def test_a_class_that_there_is_not_is_answered(module, name, says):
    with pytest.raises(ImportError) as caught:
        exec(f"from {module} import {name}", {})
    assert isinstance(caught.value, GpucnnError)
    assert str(caught.value).endswith(says)
    with pytest.raises(AttributeError) as caught:
        getattr(sys.modules[module], name)
    assert isinstance(caught.value, GpucnnError)
    assert str(caught.value).endswith(says)
    assert not hasattr(sys.modules[module], name)
    assert getattr(sys.modules[module], name, 3) == 3


def test_modules_behind_packages_are_imported_as_ever():
    program = """
import sys, gpucnn
print("gpucnn.names" in sys.modules)
from gpucnn.layers import nests
from gpucnn import networks
from gpucnn.data import idx
from gpucnn.losses import *
print(nests.__name__, idx.__name__, Huber)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    lines = ["False", "gpucnn.layers.nests gpucnn.data.idx <class 'gpucnn.losses.Huber'>"]
    assert (done.returncode, done.stdout.splitlines()) == (0, lines), done.stderr


@pytest.mark.parametrize("name", [name for name in gpucnn.__all__ if inspect.ismodule(getattr(gpucnn, name))])
def test_dir_shows_what_is_the_users(name):
    """Nothing that a module only imports, such as Any, nor what makes its messages."""
    module = getattr(gpucnn, name)
    for each in dir(module):
        held = getattr(module, each)
        of = held.__name__ if inspect.ismodule(held) else getattr(held, "__module__", f"gpucnn.{name}")
        assert each[0] != "_"
        assert of.startswith(f"gpucnn.{name}") or each.isupper() or each in module.__all__, each
    assert len(dir(module)) > 1
    assert {"Model", "data", "load"} <= {*dir(gpucnn)} <= {*gpucnn.__all__}
    with pytest.raises(AttributeError, match=f"gpucnn.{name}'? has no "):
        module.explain  # noqa: B018


def test_the_report_is_found_by_its_names():
    assert {"check", "find_lr", "wrong_layers", "drawings", "inside"} <= {*dir(gpucnn.report)}
    assert gpucnn.report.check is gpucnn.report.gradient_check.check
    with pytest.raises(ImportError, match=r"gpucnn\.report has no dravings"):
        exec("from gpucnn.report import dravings", {})
