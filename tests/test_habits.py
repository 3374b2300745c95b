"""What people who know other libraries try with a model: setting what was given, other words, two trainings at once."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import re
import threading
import warnings

import numpy as np
import pytest

import gpucnn
from gpucnn import Ensemble, Model, Network, names, ops
from gpucnn.engine.scaling import Scaling
from gpucnn.errors import ArgumentError, DataError, GpucnnError, SettingError, TrainingError, nearest
from gpucnn.layers import BatchNorm, Conv2D, Dense, Flatten
from gpucnn.training import History

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
    pickled = [pickle.loads(pickle.dumps(found, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for copied in (copy.copy(found), copy.deepcopy(found), *pickled):
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
    with pytest.raises(AttributeError, match=r"Ensemble has no state_dict; ensemble\.models\[0\]\.parameters and "):
        both.state_dict()
    with pytest.raises(AttributeError, match=r"Ensemble has no predict_classes; write model\.predict\(images\)"):
        both.predict_classes(IMAGES)
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


def test_a_model_of_an_old_pickle_can_be_trained():
    model = tiny()
    del model.turn
    pickle.loads(pickle.dumps(model)).fit(IMAGES, LABELS, epochs=1)


def test_a_model_whose_training_failed_can_be_trained():
    model = tiny()

    def fail(_):
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        model.fit(IMAGES, LABELS, epochs=1, callbacks=[fail])
    model.fit(IMAGES, LABELS, epochs=1)
    assert inspect.signature(Model.fit).parameters["epochs"].default == 5


@pytest.mark.parametrize("name", ["Adam", "adam", "ADAM"])
def test_an_optimizer_may_be_named_as_its_class(name):
    model = tiny()
    model.fit(IMAGES, LABELS, epochs=1, optimizer=name)
    expected = tiny()
    expected.fit(IMAGES, LABELS, epochs=1)
    np.testing.assert_array_equal(model.theta, expected.theta)
    with pytest.raises(SettingError, match=r"optimizer 'adm' is not known; did you mean adam\?"):
        model.fit(IMAGES, LABELS, optimizer="adm")


@pytest.mark.parametrize(
    ("name", "found"), [("MSE", "MeanSquaredError"), ("Huber", "Huber"), ("SoftmaxCrossEntropy", "SoftmaxCrossEntropy")]
)
def test_a_loss_may_be_named_as_its_class(name, found):
    assert type(gpucnn.losses.named(name)).__name__ == found


def test_other_libraries_names_of_losses_are_answered():
    for word, meant in {**gpucnn.losses.OTHERS, "BCE": "multi-label", "sotfmax": "softmax"}.items():
        with pytest.raises(SettingError, match=f"did you mean {meant}"):
            tiny(loss=word)
    assert not {*gpucnn.losses.OTHERS} & {*gpucnn.losses.NAMED}


def test_early_stopping_may_be_true():
    def told(**options):
        model = tiny()
        model.fit(IMAGES, LABELS, epochs=30, lr=0.1, validation=(IMAGES, LABELS[::-1]), **options)
        return model.theta

    expected = told(early_stopping=gpucnn.callbacks.EarlyStopping())
    np.testing.assert_array_equal(told(early_stopping=True), expected)
    assert (told(early_stopping=False) != expected).any()


def test_the_kernels_of_the_cpu_may_be_named_as_the_check_names_them():
    assert tiny(kernels="numpy").execution.context.kernels is tiny().execution.context.kernels
    with pytest.raises(SettingError, match="kernels 'cuda': one of"):
        tiny(kernels="cuda")


@pytest.mark.parametrize(
    "images", [np.array([None] * 3, object), [None, None], np.array([0, np.nan], object), np.array([[None]], object)]
)
def test_of_images_that_are_missing_no_label_is_spoken(images):
    with pytest.raises(DataError, match=r"images: picture \d is missing; leave it out") as caught:
        tiny().predict(images)
    assert "label" not in str(caught.value)


def test_masked_numbers_are_refused():
    masked = np.ma.masked_less(IMAGES, 100)
    for ask in (lambda: tiny().predict(masked), lambda: tiny().fit(masked, LABELS)):
        with pytest.raises(DataError, match=r"images: some numbers are masked; .*array\.filled\(0\)"):
            ask()
    np.testing.assert_array_equal(tiny().predict(np.ma.masked_less(IMAGES, 0)), tiny().predict(IMAGES))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_a_set_of_dark_images_is_warned_of_in_every_type(dtype):
    """A picture alone may be dark, and so may a batch of many: `predict` says nothing of bytes."""
    dark, model = (IMAGES // 17).astype(dtype), tiny()
    for ask in (model.evaluate, model.score, model.report):
        with pytest.warns(UserWarning, match="images: whole numbers to 15 are taken as 0..255") as found:
            ask(dark, LABELS)
        assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.evaluate(np.zeros_like(dark), LABELS)


def test_bytes_that_the_scaling_makes_bright_are_not_called_dark_and_neither_is_one_image():
    """What the sentence advises would make the answers wrong."""
    dark, bright = IMAGES // 17, Scaling(1 / 15)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny(scaling=bright).evaluate(dark, LABELS)
        tiny(scaling=bright).fit(dark, LABELS, epochs=1, validation=(dark, LABELS))
        tiny().evaluate(dark[:1], LABELS[:1])
    assert Scaling().is_usual
    assert not bright.is_usual


def test_dark_bytes_are_warned_of_once_in_training():
    with pytest.warns(UserWarning, match="^images.*nearly black") as found:
        tiny().fit(IMAGES // 17, LABELS, epochs=1)
    assert len(found) == 1
    with pytest.warns(UserWarning, match="^validation images.*nearly black") as found:
        tiny().fit(IMAGES, LABELS, epochs=1, validation=(IMAGES // 17, LABELS))
    assert len(found) == 1


def test_an_equation_asks_for_arrays():
    x, w = np.ones((1, 3, 3, 1)), np.ones((2, 2, 1, 1))
    for ask in (
        lambda: ops.correlate(x.tolist(), w),
        lambda: ops.convolve(x, w.tolist()),
        lambda: ops.dense([[1.0]], [[2.0]]),
        lambda: ops.flatten([[1.0]]),
        lambda: ops.relu([1.0]),
        lambda: ops.tanh_backward([1.0], [1.0]),
        lambda: ops.softmax_cross_entropy([[1.0]], [[1.0]]),
        lambda: ops.one_hot([1, 0], 2),
        lambda: ops.correlate_backward(x, w, [1.0]),
    ):
        with pytest.raises(TypeError, match=r"a list.*, and an array was expected; write numpy\.asarray"):
            ask()


def test_rows_of_classes_are_floats_unless_a_type_is_given():
    rows = ops.one_hot(np.array([2, 0]), 3)
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert rows.dtype == np.float64
    assert ops.one_hot(np.array([2, 0]), 3, np.float32).dtype == np.float32
    losses, _ = ops.softmax_cross_entropy(np.zeros((2, 3)), rows)
    np.testing.assert_allclose(losses, np.log(3))


def test_a_model_says_what_each_of_its_arguments_is():
    text = inspect.getdoc(Model)
    for name in list(inspect.signature(Model).parameters):
        assert f"{name}:" in text, name


@pytest.mark.parametrize("name", ["area", "_area"])
def test_an_error_inside_a_property_of_ones_own_is_not_hidden(name):
    def area(self):
        return np.float64(1).surface

    parts = {name: property(area)}
    model = tiny()
    own = type("Own", (Model,), parts)(model.network, device="cpu")
    of_ensembles, of_histories = type("Own", (Ensemble,), parts)([model]), type("Own", (History,), parts)()
    for thing in (own, of_ensembles, of_histories):
        with pytest.raises(AttributeError, match=r"'numpy\.float64' object has no attribute 'surface'"):
            getattr(thing, name)
        with pytest.raises(AttributeError, match="Own has no mro; "):
            _ = thing.mro


def test_a_model_is_no_function():
    model = tiny()
    with pytest.raises(SettingError, match=r"^schedule=Model(.|\n)* or a function of \(step, steps\), was expected"):
        model.fit(IMAGES, LABELS, schedule=tiny())
    with pytest.raises(SettingError, match=r"^batches=Model(.|\n)* or a function of the epoch, was expected"):
        model.fit_batches(tiny())


@pytest.mark.parametrize("name", [each for each in ops.__all__ if inspect.isfunction(getattr(ops, each))])
def test_every_equation_asks_for_arrays(name):
    equation, one = getattr(ops, name), [[1.0]]
    takes = [each for each in inspect.signature(equation).parameters.values() if each.default is each.empty]
    forms = {"Sequence[Array]": [one, one], "tuple[Array, Array]": (one, one), "tuple[Array, Array, Array]": (one,) * 3}
    given = [forms.get(each.annotation, one if each.annotation.startswith("Array") else 1) for each in takes]
    if not any(each.annotation.startswith("Array") or each.annotation in forms for each in takes):
        pytest.skip("it takes none")
    with pytest.raises(ArgumentError, match=r"a list.*, and an array was expected; write numpy\.asarray"):
        equation(*given)


@pytest.mark.parametrize(
    ("word", "meant"), [("val", "validation"), ("trian", "train"), ("tes", "test"), ("al", "all"), ("xyz", None)]
)
def test_the_beginning_of_a_word_is_what_was_meant(word, meant):
    assert nearest(word, ("train", "validation", "test", "all")) == meant
