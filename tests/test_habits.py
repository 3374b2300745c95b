"""What people who know other libraries try with a model: setting what was given, other words, two trainings at once."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import re
import threading

import numpy as np
import pytest

import gpucnn
from gpucnn import Ensemble, Model, Network, names
from gpucnn.errors import ArgumentError, GpucnnError, SettingError, TrainingError
from gpucnn.layers import BatchNorm, Conv2D, Dense, Flatten

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (24, 6, 6, 1), np.uint8), RNG.integers(0, 3, 24)


def tiny(**options):
    return Model(Network((6, 6, 1), (Conv2D(2, 3), BatchNorm(), Flatten(), Dense(3))), device="cpu", **options)


@pytest.mark.parametrize("which", ["parameters", "state"])
def test_what_a_model_gives_of_its_numbers_cannot_be_set_there(which):
    model = tiny()
    found = getattr(model, which)
    name, array = next(iter(found.items()))
    before = model.logits(IMAGES)
    for change in (
        lambda: found.__setitem__(name, array + 1),
        lambda: found.__delitem__(name),
        lambda: found.__ior__({name: array}),
        lambda: found.update({name: array}),
        lambda: found.setdefault("x", array),
        lambda: found.pop(name),
        found.popitem,
        found.clear,
    ):
        with pytest.raises(SettingError, match=re.escape('write model.load_parameters({"0/bias": array})')):
            change()
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0
    with pytest.raises(ArgumentError, match=r"leave the \(\) out"):
        found()
    np.testing.assert_array_equal(model.logits(IMAGES), before)


def test_a_copy_of_the_parameters_is_a_plain_dict_that_can_be_changed_and_loaded():
    model = tiny()
    found, file = model.parameters, io.BytesIO()
    np.savez(file, **found)
    file.seek(0)
    assert {*np.load(file)} == {*found} == {"0/kernel", "0/bias", "1/scale", "1/bias", "3/weights", "3/bias"}
    for copied in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found)), found.copy(), found | {}):
        assert type(copied) is dict
        np.testing.assert_equal(copied, dict(found))
    for copied in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        copied["0/kernel"][..., 0] = 0
        model.load_parameters(copied)
        assert not model.parameters["0/kernel"][..., 0].any()
    model.load_parameters(found)
    np.testing.assert_array_equal(model.parameters["0/kernel"], found["0/kernel"])


def test_a_model_says_what_it_is():
    model = tiny(dtype="float64")
    assert (model.dtype, model.input_shape, model.layers) == ("float64", (6, 6, 1), model.network.layers)
    assert tiny().dtype == "float32"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("state_dict", r"Model has no state_dict; model\.parameters and model\.state"),
        ("to", r'Model\(\.\.\., device="cuda"\)'),
        ("train", "leave it out: fit trains, and predict and evaluate do not"),
        ("set_weights", "write model.load_parameters"),
        ("count_params", "write model.network.parameters"),
        ("history", "fit gives it"),
        ("predit", r"did you mean predict\?"),
        ("clas_names", r"did you mean class_names\?"),
        ("xyzzy", r"Model has no xyzzy; help\(Model\) says what there is"),
    ],
)
def test_what_a_model_has_not_is_answered(word, says):
    with pytest.raises(AttributeError, match=says) as caught:
        getattr(tiny(), word)
    assert isinstance(caught.value, GpucnnError)
    assert not hasattr(tiny(), word)


def test_what_python_asks_of_a_model_is_answered_as_python_expects():
    with pytest.raises(AttributeError, match="object has no attribute '__array__'") as caught:
        tiny().__array__  # noqa: B018
    assert not isinstance(caught.value, GpucnnError)
    for made in (copy.copy(tiny()), copy.deepcopy(tiny()), pickle.loads(pickle.dumps(tiny()))):
        assert made.predict(IMAGES).shape == (24,)


def test_a_model_is_not_called():
    with pytest.raises(TypeError, match=r"write model\.predict\(images\)"):
        tiny()(IMAGES)


def test_an_ensemble_names_what_each_of_its_models_has():
    both = Ensemble([tiny(), tiny(seed=1)])
    for word in ("save", "fit", "parameters", "theta"):
        with pytest.raises(AttributeError, match=rf"Ensemble has no {word}; each of .*ensemble\.models\[0\]\.{word}"):
            getattr(both, word)
    with pytest.raises(AttributeError, match="Ensemble has no eval; leave it out"):
        both.eval()
    assert pickle.loads(pickle.dumps(both)).predict(IMAGES).shape == (24,)


def test_the_words_of_models_are_none_of_gpucnns_own_and_lead_to_what_there_is():
    model, history = tiny(), tiny().fit(IMAGES, LABELS, epochs=1)
    for thing, words in ((model, names.OF_MODELS), (history, names.OF_HISTORIES)):
        assert not {*words} & {*dir(thing)}
        for said in words.values():
            for path in re.findall(r"\b(?:model|history|gpucnn)(?:\.\w+)+", said):
                of, *parts = path.split(".")
                found = {"model": model, "history": history, "gpucnn": gpucnn}[of]
                for part in parts:
                    found = getattr(found, part)


@pytest.mark.parametrize(
    ("word", "says"),
    [("load_model", "from gpucnn import load`"), ("nn", "import layers`"), ("optim", "import optimizers`")],
)
def test_what_the_package_has_not_is_answered(word, says):
    with pytest.raises(AttributeError, match=says):
        getattr(gpucnn, word)


def test_a_history_prints_as_a_table():
    model = tiny()
    history = model.fit(IMAGES, LABELS, epochs=2, validation=(IMAGES, LABELS), keep="best")
    head, *rows, kept = str(history).splitlines()
    assert re.split("  +", head.strip()) == [
        *("epoch", "train loss", "validation loss", "validation accuracy", "lr", "seconds")
    ]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert {*map(len, rows)} == {len(head)}
    assert kept == f"the parameters are those of epoch {history.kept}"
    assert repr(history) == str(history)
    assert repr(gpucnn.training.History()) == "no epoch has ended"
    with pytest.raises(AttributeError, match=re.escape('History has no history; write history["train_loss"]')):
        history.history  # noqa: B018
    assert copy.deepcopy(history) == pickle.loads(pickle.dumps(history)) == history


def of_batches(model):
    return model.fit_batches([(IMAGES, LABELS)])


@pytest.mark.parametrize(
    "train",
    [lambda model: model.fit(IMAGES, LABELS, epochs=1), lambda model: model.partial_fit(IMAGES, LABELS), of_batches],
)
def test_a_model_is_trained_by_one_call_at_a_time(train):
    model, within, go_on = tiny(), threading.Event(), threading.Event()

    def hold(_):
        within.set()
        assert go_on.wait(60)

    first = threading.Thread(target=lambda: model.fit(IMAGES, LABELS, epochs=1, callbacks=[hold]))
    first.start()
    assert within.wait(60)
    try:
        with pytest.raises(TrainingError, match="being trained already, by another thread"):
            train(model)
        assert model.predict(IMAGES).shape == (24,)  # which others may ask meanwhile
        train(copy.deepcopy(model))
    finally:
        go_on.set()
        first.join()
    train(model)


def test_a_model_whose_training_failed_can_be_trained():
    model = tiny()

    def fail(_):
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        model.fit(IMAGES, LABELS, epochs=1, callbacks=[fail])
    model.fit(IMAGES, LABELS, epochs=1)
    assert inspect.signature(Model.fit).parameters["epochs"].default == 5
