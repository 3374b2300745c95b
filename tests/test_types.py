"""A user's own program, as a checker of types sees it: gpucnn says what it takes and gives."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import gpucnn

ROOT = Path(gpucnn.__file__).parent

HEAD = """
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gpucnn
from gpucnn import Augmentation, Device, Ensemble, Model, Network
from gpucnn.callbacks import Callback, EarlyStopping
from gpucnn.data import Dataset
from gpucnn.estimators import CNNClassifier
from gpucnn.layers import Conv2D, Dense, Flatten, Layer, ReLU
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.optimizers import SGD
from gpucnn.report import check, find_lr, wrong_layers
from gpucnn.report.gradient_check import Row
from gpucnn.training import Epoch


@dataclass(frozen=True)
class Mine(Layer):
    factor: float = 2.0

    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        return self.factor * x, None

    def backward(self, params: Any, residual: Any, dy: Any, context: Any, *, need_dx: bool = True) -> tuple[Any, Any]:
        return self.factor * dy, {}


class Told(Callback):
    def epoch(self, epoch: Epoch) -> None:
        print(epoch.train_loss)


digits: Dataset = gpucnn.data.load(Path("digits"))
network = Network((28, 28, 1), (Conv2D(4, 3), Mine(), ReLU(), Flatten(), Dense(10)))
"""
RIGHT = """
model = Model(network, loss="softmax", dtype=np.float64, device="cpu", class_names=digits.class_names)
Model("two-conv", loss=SoftmaxCrossEntropy(label_smoothing=0.1), device=Device(), preprocessing=digits.preprocessing)
history = model.fit(
    digits.train_images,
    digits.train_labels.tolist(),
    optimizer=SGD(momentum=0.9),
    augmentation=Augmentation(shift=2),
    schedule="cosine",
    validation=(digits.test_images, digits.test_labels),
    early_stopping=True,
    sample_weight=[1.0, 2.0],
    callbacks=[print, Told()],
    resume=Path("run"),
)
model.fit([[[0.5]]], ["cat"], early_stopping=EarlyStopping(patience=2))
model.fit_batches([(digits.train_images, digits.train_labels)], epochs=2, freeze="0/*")
model.partial_fit(digits.train_images, digits.train_labels, freeze="0/*")
loss: float | None = history.epochs[-1].validation_loss
last: dict[str, Any] = history[-1]
losses: list[float] = history["train_loss"]
answers: np.ndarray = model.predict(digits.test_images)
print(model.predict("seven.png"), model.predict([Path("a.png"), "b.png"]), model.predict(answers, tta="shift=1"))
score: float = model.score(digits.test_images, list(digits.test_labels))
found: dict[str, float] = model.evaluate(digits.test_images, digits.test_labels)
print(model.report(digits.test_images, digits.test_labels), model.dtype.upper(), model.input_shape[0], model.layers[0])
model.load_parameters({"0/kernel": model.parameters["0/kernel"] * 2})
arrays: dict[str, np.ndarray] = model.parameters.copy()
model.load_parameters(model.parameters | {"0/kernel": answers})
path: Path = model.save("a.safetensors")
back: Model = gpucnn.load(path, layers=[Mine])
Ensemble([model, back]).export("x.onnx")
rows: list[Row] = check("two-conv")
print(wrong_layers(network), find_lr(model, digits.train_images, digits.train_labels).suggestion)
CNNClassifier("two-conv", lr=0.1).fit(digits.train_images, digits.train_labels).predict(digits.test_images)
"""
WRONG = """
model.predit(digits.test_images)
model.parameters["0/kernel"] = answers
gpucnn.Modell("two-conv")
gpucnn.report.find_rate(model)
text: str = gpucnn.report.check("two-conv")
model.state.clear()
Dense(units="10")
Model(network, loss=3)
number: int = model.predict(digits.test_images)
"""


def test_the_package_says_that_it_has_types():
    assert (ROOT / "py.typed").exists()


def functions():
    """Every function, constructor and method that a user is shown, by name."""
    for of in (each for each in gpucnn.__all__ if each != "__version__"):
        thing = getattr(gpucnn, of)
        held = {name: getattr(thing, name) for name in dir(thing)} if inspect.ismodule(thing) else {of: thing}
        for name, each in held.items():
            if inspect.isfunction(each):
                yield f"{of}.{name}", each
            elif inspect.isclass(each):
                for method, found in inspect.getmembers(each):
                    found = found.fget if isinstance(found, property) else found
                    if (method[0] != "_" or method == "__init__") and inspect.isroutine(found):
                        yield f"{of}.{name}.{method}", found


def test_what_functions_take_and_give_can_be_asked_for():
    """As documentation and command lines are made of it."""
    asked = dict(functions())
    assert {"Model.Model.fit", "Model.Model.fit_batches", "Ensemble.Ensemble.score", "report.find_lr"} <= set(asked)
    for name, each in asked.items():
        if inspect.isfunction(inspect.unwrap(each)):
            assert isinstance(typing.get_type_hints(each), dict), name


@pytest.mark.slow  # a quarter of a minute, in which the checker reads NumPy and gpucnn
def test_a_program_that_is_right_passes_and_one_that_is_wrong_does_not(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(HEAD + RIGHT + WRONG)
    first = len((HEAD + RIGHT).splitlines()) + 1
    search = os.pathsep.join(filter(None, [str(ROOT.parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, str(path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
    )
    lines = {int(line) for line in re.findall(r"^program\.py:(\d+): error", done.stdout, re.MULTILINE)}
    assert lines == {*range(first + 1, first + len(WRONG.splitlines()))}, done.stdout + done.stderr
