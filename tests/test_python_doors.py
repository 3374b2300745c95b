"""What fit, evaluate and predict take in Python: images, labels and settings in the forms that people keep them in."""

from __future__ import annotations

import contextlib
import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw

import gpucnn
from gpucnn import Device, Ensemble, Model, Network, callbacks, layers, losses, metrics, optimizers
from gpucnn.callbacks import Metric
from gpucnn.data import Preprocessing, Strokes
from gpucnn.engine.scaling import Scaling
from gpucnn.engine.tta import Views
from gpucnn.errors import CheckpointError, DataError, DeviceError, SettingError, counted
from gpucnn.layers import Dense, Flatten
from gpucnn.model import checkpoint, spelling
from gpucnn.report.inside import look
from gpucnn.training import History, Stop
from gpucnn.training.augmentation import Augmentation

NAMES = ("cat", "dog", "owl")
SMALL = Network((6, 5, 1), (Flatten(), Dense(3)))
COLOUR = Network((6, 5, 3), (Flatten(), Dense(3)))
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, 6, 5, 1), dtype=np.uint8)
IMAGES[0, 0, 0, 0] = 255
LABELS = np.arange(24) % 3
i, f = np.int64, np.float32


def model(network=SMALL, **options):
    return Model(network, **{"device": "cpu", "threads": 1, "class_names": NAMES, **options})


@pytest.fixture(autouse=True)
def silence():
    """A warning that no test expects is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- labels

SAME = {
    "column": LABELS[:, None],
    "list": LABELS.tolist(),
    "names": [NAMES[k] for k in LABELS],
    "array of names": np.array(NAMES)[LABELS],
    "column of names": np.array(NAMES)[LABELS][:, None],
    "objects": np.array([NAMES[k] for k in LABELS], object),
    "bytes": np.array(NAMES, "S")[LABELS],
    "whole floats": LABELS.astype(float),
    "column of floats": LABELS[:, None].astype(np.float32),
    "small integers": LABELS.astype(np.uint8),
    "one-hot": np.eye(3, dtype=int)[LABELS],
    "one-hot truth": np.eye(3, dtype=bool)[LABELS],
}


@pytest.mark.parametrize("labels", SAME.values(), ids=SAME)
@pytest.mark.parametrize("loss", ["softmax", "hinge", "binary"])
def test_labels_that_mean_the_same(labels, loss):
    expected, found = model(loss=loss), model(loss=loss)
    of_expected = expected.fit(IMAGES, LABELS, epochs=2, batch_size=8, validation=(IMAGES, LABELS))
    of_found = found.fit(IMAGES, labels, epochs=2, batch_size=8, validation=(IMAGES, labels))
    assert found.theta.tobytes() == expected.theta.tobytes()
    assert of_found.epochs[-1].validation_loss == of_expected.epochs[-1].validation_loss
    assert found.evaluate(IMAGES, labels) == expected.evaluate(IMAGES, LABELS)
    assert found.report(IMAGES, labels).overall == expected.report(IMAGES, LABELS).overall
    found.partial_fit(IMAGES, labels, batch_size=8)
    expected.partial_fit(IMAGES, LABELS, batch_size=8)
    assert found.theta.tobytes() == expected.theta.tobytes()


def test_one_hot_floats_are_labels_to_a_loss_that_takes_no_shares():
    expected, found = model(loss="hinge"), model(loss="hinge")
    expected.fit(IMAGES, LABELS, epochs=1)
    found.fit(IMAGES, np.eye(3)[LABELS], epochs=1)
    assert found.theta.tobytes() == expected.theta.tobytes()


def test_truth_values_and_columns_of_pandas_and_torch():
    two = Model(Network((6, 5, 1), (Flatten(), Dense(2))), device="cpu", threads=1)
    assert two.score(IMAGES, LABELS == 1) == two.score(IMAGES, (LABELS == 1).astype(int))
    assert two.score(IMAGES, (LABELS == 1)[:, None]) == two.score(IMAGES, LABELS == 1)
    pandas = pytest.importorskip("pandas")
    expected = model().score(IMAGES, LABELS)
    for series in (pandas.Series(SAME["names"]), pandas.Series(SAME["names"], dtype="category"), pandas.Series(LABELS)):
        assert model().score(IMAGES, series) == expected
    torch = pytest.importorskip("torch")
    assert model().score(torch.tensor(IMAGES), torch.tensor(LABELS)) == expected


def test_an_ignored_label_may_be_a_whole_float():
    ignoring = model(loss=losses.SoftmaxCrossEntropy(ignore_index=-1))
    given = np.where(LABELS == 2, -1, LABELS)
    assert ignoring.evaluate(IMAGES, given.astype(float)) == ignoring.evaluate(IMAGES, given)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([*SAME["names"][:-1], "cow"], "labels: there is the label 'cow', which is none of cat, dog, owl"),
        (LABELS + 2, "labels run from 2 to 4, 0..2 was expected for 3 classes; number the classes 0, 1, 2"),
        (
            np.array([3, 5, 8])[LABELS],
            r"different ones.*they are 3, 5, 8; number them: .*numpy.unique",
        ),
        (LABELS / 2, r"labels: found float64 \(24,\), one integer per picture.*numbers to be predicted are floats"),
        (np.where(LABELS == 1, np.nan, LABELS), "labels: holds NaN or infinite values, in picture 2, and in 7 more"),
        (np.eye(4, dtype=int)[LABELS], r"labels: found int64 \(24, 4\), one integer per picture"),
        (np.zeros((24, 3), int), r"labels: found int64 \(24, 3\)"),
        (np.stack([LABELS, LABELS], 1), r"labels: found int64 \(24, 2\)"),
        (LABELS[:5], "24 pictures but 5 labels; one label per picture was expected, check that both belong together$"),
        (LABELS[:5, None], "24 pictures but 5 labels"),
        ([None] * 24, r"labels: the label of picture 1 is missing"),
        ([[0], [1, 2]] * 12, "labels: a list that is no array of numbers"),
    ],
)
def test_labels_that_mean_nothing(labels, says):
    untouched = model()
    before = untouched.theta.copy()
    for call in (untouched.fit, untouched.partial_fit, untouched.evaluate, untouched.report, untouched.score):
        with pytest.raises(DataError, match=says):
            call(IMAGES, labels)
    with pytest.raises(DataError, match=says.replace("labels: ", "validation labels: ")):
        untouched.fit(IMAGES, LABELS, validation=(IMAGES, labels))
    np.testing.assert_array_equal(untouched.theta, before)


COUNTED = {
    "from 1": LABELS + 1,
    "column": (LABELS + 1)[:, None],
    "whole floats": LABELS + 1.0,
    "list": (LABELS + 1).tolist(),
}


@pytest.mark.parametrize("labels", COUNTED.values(), ids=COUNTED)
@pytest.mark.parametrize("names", [None, NAMES])
def test_labels_that_count_from_one(labels, names, tmp_path):
    expected, found = model(class_names=names), model(class_names=names)
    expected.fit(IMAGES, LABELS, epochs=2, validation=(IMAGES, LABELS))
    with pytest.warns(
        UserWarning, match="labels count from 1, to 3: label 1 is the first of model.class_names"
    ) as said:
        found.fit(IMAGES, labels, epochs=2, validation=(IMAGES, labels))
    assert [each.filename for each in said] == [__file__]
    assert found.theta.tobytes() == expected.theta.tobytes()
    assert found.class_names == (names or ("1", "2", "3"))
    for asked in (found, gpucnn.load(found.save(tmp_path / "m"), device="cpu", threads=1), Ensemble([found, found])):
        np.testing.assert_array_equal(asked.predict(IMAGES), expected.predict(IMAGES) + 1)
        assert asked.predict(IMAGES[0]) == asked.predict(IMAGES)[0]
        assert asked.evaluate(IMAGES, labels) == expected.evaluate(IMAGES, LABELS)
        first = LABELS < 2  # a part that lacks the last class counts as all do
        assert asked.score(IMAGES[first], np.ravel(labels)[first]) == expected.score(IMAGES[first], LABELS[first])
        assert asked.score(IMAGES, np.eye(3, dtype=int)[LABELS]) == expected.score(IMAGES, LABELS)
        assert asked.score(IMAGES, np.array(found.class_names)[LABELS]) == expected.score(IMAGES, LABELS)
        with pytest.raises(DataError, match=r"labels run from 0 to 2, 1..3 was expected: .* count from 1"):
            asked.evaluate(IMAGES, LABELS)
    found.partial_fit(IMAGES[first], np.ravel(labels)[first])
    expected.partial_fit(IMAGES[first], LABELS[first])
    assert found.theta.tobytes() == expected.theta.tobytes()
    found.fit(IMAGES[first], np.ravel(labels)[first], epochs=1)
    assert found.first_label == 1
    found.fit(IMAGES, np.eye(3, dtype=int)[LABELS], epochs=1)  # which say nothing of it
    assert found.first_label == 1
    with pytest.warns(UserWarning, match="labels count from 0") if names is None else contextlib.nullcontext():
        found.fit(IMAGES, LABELS, epochs=1)
    assert (found.first_label, found.class_names) == (0, names or ("0", "1", "2"))
    assert found.score(IMAGES, LABELS) >= 0


def test_numbers_that_are_names_in_another_order_do_not_count_from_one():
    with pytest.raises(DataError, match=r"1 to 3 are names of the model's classes .*labels.astype\(str\)"):
        model(class_names=["1", "3", "2"]).fit(IMAGES, LABELS + 1)
    named = model(class_names=["1", "2", "3"])
    with pytest.warns(UserWarning, match="labels count from 1"):
        named.fit(IMAGES, LABELS + 1, epochs=1)
    assert named.score(IMAGES, (LABELS + 1).astype(str)) == named.score(IMAGES, LABELS + 1)


def test_a_metric_and_a_look_count_as_the_model_does():
    found = model()
    top = Metric("top", lambda outputs, labels: float((outputs.argmax(1) == labels).mean()), IMAGES, LABELS + 1)
    with pytest.warns(UserWarning, match="labels count from 1"):
        history = found.fit(IMAGES, LABELS + 1, epochs=2, callbacks=[top])
    assert history.epochs[-1].metrics["top"] == found.score(IMAGES, LABELS + 1)
    np.testing.assert_array_equal(look(found, IMAGES, found.predict(IMAGES)).dx, look(found, IMAGES).dx)
    with pytest.raises(SettingError, match="one number of 1 to 3"):
        look(found, IMAGES, LABELS)


def test_labels_are_asked_for_and_class_names_differ():
    with pytest.raises(DataError, match="labels: None was given; give one for each image"):
        model().fit(IMAGES, None)
    with pytest.raises(DataError, match="the class name a stands there twice"):
        model(class_names=["a", "b", "a"])


def test_labels_from_one_of_which_one_is_missing_are_taken_as_they_are():
    with pytest.raises(DataError, match=r"labels run from 1 to 3, 0..2 was expected for 3 classes; they count"):
        model().fit(IMAGES, np.where(LABELS == 1, 1, 3))
    with pytest.raises(DataError, match=r"labels run from 1 to 3, 0..2 was expected for 3 classes; they count"):
        model().evaluate(IMAGES, LABELS + 1)
    two = model()
    with pytest.warns(UserWarning, match="are of 2 of the 3 classes, .* none is cat"):
        two.fit(IMAGES, np.minimum(LABELS + 1, 2), epochs=1)
    assert two.first_label == 0


def test_ignored_labels_do_not_count_from_one():
    expected = model(loss=losses.SoftmaxCrossEntropy(ignore_index=-1))
    found = model(loss=losses.SoftmaxCrossEntropy(ignore_index=-1))
    ignored = np.arange(24) < 6
    expected.fit(IMAGES, np.where(ignored, -1, LABELS), epochs=1)
    with pytest.warns(UserWarning, match="labels count from 1"):
        found.fit(IMAGES, np.where(ignored, -1, LABELS + 1), epochs=1)
    assert found.theta.tobytes() == expected.theta.tobytes()
    zero = model(loss=losses.SoftmaxCrossEntropy(ignore_index=0))  # which cannot be both
    with pytest.raises(DataError, match="labels run from 1 to 3"):
        zero.fit(IMAGES, LABELS + 1)


@pytest.mark.parametrize("labels", [np.array(NAMES)[LABELS], [NAMES[k] for k in LABELS], np.array(NAMES, "S")[LABELS]])
def test_texts_become_the_names_of_a_model_that_has_none(labels, tmp_path):
    unnamed, expected = model(class_names=None), model()
    expected.fit(IMAGES, LABELS, epochs=2)
    with pytest.warns(UserWarning, match="labels are texts; the classes are cat, dog, owl, in this order") as said:
        unnamed.fit(IMAGES, labels, epochs=2, validation=(IMAGES, labels))
    assert [each.filename for each in said] == [__file__]
    assert unnamed.class_names == NAMES
    assert unnamed.theta.tobytes() == expected.theta.tobytes()
    assert gpucnn.load(unnamed.save(tmp_path / "m"), device="cpu", threads=1).class_names == NAMES
    assert unnamed.score(IMAGES, labels) == expected.score(IMAGES, LABELS)
    np.testing.assert_array_equal(unnamed.predict(IMAGES), expected.predict(IMAGES))


def test_texts_that_do_not_say_all_classes():
    unnamed = model(class_names=None)
    with pytest.raises(
        DataError, match=r"2 different texts \(cat, dog\), and the network has 3 outputs; .*class_names"
    ):
        unnamed.fit(IMAGES, np.array(["cat", "dog"])[LABELS % 2])
    with pytest.raises(DataError, match=r"label 'cat', which is none of 0, 1, 2; give .*class_names="):
        unnamed.evaluate(IMAGES, np.array(NAMES)[LABELS])
    with pytest.raises(DataError, match="there is the label 'cat', which is none of 0, 1, 2"):
        unnamed.fit_batches([(IMAGES, np.array(NAMES)[LABELS])])
    assert unnamed.class_names == ("0", "1", "2")
    unnamed.fit(IMAGES, LABELS.astype(str), epochs=1)
    assert unnamed.class_names == ("0", "1", "2")
    with pytest.raises(SettingError):  # what else is wrong leaves the model as it was
        unnamed.fit(IMAGES, LABELS.astype(str), optimizer="newton")


@pytest.mark.parametrize("first", [2, "1", None, -1])
def test_a_checkpoint_that_counts_labels_otherwise(first, tmp_path):
    path = model().save(tmp_path / "model", first_label=first)
    with pytest.raises(CheckpointError, match="labels count from"):
        gpucnn.load(path, device="cpu")


def test_lengths_are_compared_first_and_validation_is_named():
    for loss, labels in (("softmax", np.eye(3)), ("multi-label", np.eye(3)), ("mse", np.eye(3))):
        with pytest.raises(DataError, match="examples: 24 pictures but 3 labels") as caught:
            model(loss=loss).fit(IMAGES, labels)
        assert "argmax" not in str(caught.value)
    with pytest.raises(DataError, match="validation: 24 pictures but 3 labels"):
        model().fit(IMAGES, LABELS, validation=(IMAGES, LABELS[:3]))
    with pytest.raises(DataError, match=r"validation images of shape \(24, 5, 5, 1\)"):
        model().fit(IMAGES, LABELS, validation=(IMAGES[:, 1:], LABELS))


def test_numbers_that_are_names_of_classes():
    named = model(class_names=["3", "5", "8"])
    numbers = np.array([3, 5, 8])[LABELS]
    with pytest.raises(DataError, match=r"3 to 8 are names of the model's classes \(3, 5, 8\).*labels.astype\(str\)"):
        named.fit(IMAGES, numbers)
    assert named.score(IMAGES, numbers.astype(str)) == named.score(IMAGES, LABELS)


def test_rows_and_numbers_of_one_output():
    one = Network((6, 5, 1), (Flatten(), Dense(1)))
    for loss in ("multi-label", "mse"):
        single = Model(one, loss=loss, device="cpu", threads=1)
        targets = (LABELS == 1).astype(float)
        assert single.evaluate(IMAGES, targets) == single.evaluate(IMAGES, targets[:, None])


def test_class_names_of_numpy():
    names, labels = np.unique(np.array(NAMES)[LABELS], return_inverse=True)
    assert model(class_names=names).class_names == NAMES
    assert model(class_names=np.array(NAMES, "S")).class_names == NAMES
    assert model(class_names=np.array([1, 2, 3])).class_names == ("1", "2", "3")
    assert model(class_names=names).score(IMAGES, labels) == model().score(IMAGES, LABELS)


# --- images


def test_images_that_are_the_same_without_a_word():
    expected = model().predict_proba(IMAGES)
    for images in (IMAGES[..., 0], list(IMAGES), IMAGES.tolist(), IMAGES.astype(int), IMAGES.astype(np.uint16)):
        np.testing.assert_array_equal(model().predict_proba(images), expected)
    np.testing.assert_allclose(model().predict_proba(IMAGES / 255), expected, rtol=1e-5)
    truth = IMAGES > 99
    np.testing.assert_array_equal(model().predict_proba(truth), model().predict_proba(truth * np.uint8(255)))


SIXTEEN = np.rint(IMAGES / 255 * 16)
ASSUMED = {
    "whole floats": (IMAGES.astype(float), IMAGES, "images: whole numbers to 255 are taken as 0..255"),
    "to 16": (SIXTEEN, np.rint(SIXTEEN * (255 / 16)), "images: values run to 16; 16 is taken as white"),
    "integers to 16": (SIXTEEN.astype(int), np.rint(SIXTEEN * (255 / 16)), "values run to 16; 16 is taken as white"),
    "channels first": (IMAGES.transpose(0, 3, 1, 2), IMAGES, r"images: \(24, 1, 6, 5\) is channels first"),
}


@pytest.mark.parametrize(("images", "same", "says"), ASSUMED.values(), ids=ASSUMED)
def test_images_of_which_something_is_assumed(images, same, says):
    same = same.astype(np.uint8)
    expected, found = model(), model()
    expected.fit(same, LABELS, epochs=1)
    with pytest.warns(UserWarning, match=says) as caught:
        found.fit(images, LABELS, epochs=1)
    assert [each.filename for each in caught] == [__file__]
    assert found.theta.tobytes() == expected.theta.tobytes()
    with pytest.warns(UserWarning, match=says) as caught:
        np.testing.assert_array_equal(found.predict_proba(images), expected.predict_proba(same))
    assert [each.filename for each in caught] == [__file__]


def test_an_image_means_the_same_whatever_is_beside_it(tmp_path):
    """What is white is decided by the images of `fit`, and never by those that a model is asked about."""
    dark = np.minimum(IMAGES, 12).astype(int)
    usual = model()
    usual.fit(IMAGES, LABELS, epochs=1)
    expected = usual.logits(np.concatenate([IMAGES[:1], dark]).astype(int))[1:]
    with pytest.warns(UserWarning, match=r"whole numbers to 12 are taken as 0\.\.255"):
        np.testing.assert_allclose(usual.logits(dark), expected, rtol=1e-6)
    sixteen = model()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "images: values run to")
        sixteen.fit(SIXTEEN.astype(int), LABELS, epochs=1)
        for asked in (sixteen, gpucnn.load(sixteen.save(tmp_path / "sixteen"), device="cpu", threads=1)):
            expected = asked.logits(SIXTEEN.astype(int) // 2)
            np.testing.assert_allclose(asked.logits(SIXTEEN[:1].astype(int) // 2)[0], expected[0], rtol=1e-6)
            np.testing.assert_allclose(asked.logits(SIXTEEN // 2 / 16), expected, atol=0.02)
            with pytest.raises(DataError, match=r"whole numbers to 255, and .* 16 was white"):
                asked.predict(IMAGES.astype(int))
    usual.partial_fit(IMAGES, LABELS)
    with pytest.warns(UserWarning, match=r"whole numbers to 12 are taken as 0\.\.255"):
        usual.partial_fit(dark, LABELS)
    assert usual.white == 255


@pytest.mark.parametrize("most", [2, 14, 16])
def test_bytes_that_are_nearly_black_are_warned_of(most):
    dim = IMAGES % (most + 1)
    with pytest.warns(
        UserWarning, match=rf"images: whole numbers to {most} are taken as 0\.\.255, nearly black; where"
    ):
        found = model().fit(dim, LABELS, epochs=1)
    assert len(found.epochs) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model().fit(np.zeros_like(IMAGES), LABELS, epochs=1)  # of black nothing can be said
        trained = model()
        trained.fit(IMAGES, LABELS, epochs=1)
        trained.predict(dim)  # and a picture that one asks about may be dark


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int8])
def test_whole_numbers_0_and_1_mean_two_things_in_a_set_and_are_refused(dtype, tmp_path):
    asked, truth = model(), IMAGES > 127
    two_valued = truth.astype(dtype)
    for ask in (
        lambda images: asked.fit(images, LABELS, epochs=1),
        lambda images: asked.partial_fit(images, LABELS),
        lambda images: asked.fit(IMAGES, LABELS, epochs=1, validation=(images, LABELS)),
        lambda images: asked.evaluate(images, LABELS),
        lambda images: asked.score(images, LABELS),
        lambda images: asked.report(images, LABELS),
        lambda images: asked.confusion_matrix(images, LABELS),
    ):
        with pytest.raises(DataError, match=r"images: whole numbers 0 and 1 may .* images\.astype\(bool\), .* / 255"):
            ask(two_valued)
        ask(truth)
        ask(two_valued / 255)
    with pytest.raises(DataError, match="whole numbers 0 and 1"):
        asked.score(two_valued.tolist(), LABELS)
    with pytest.warns(UserWarning, match="images: whole numbers to 1 are taken as 0"):
        asked.predict(two_valued)
    with pytest.warns(UserWarning, match="images: whole numbers to 1 are taken as 0"):
        asked.evaluate(two_valued[:1], LABELS[:1])  # one may be dark
    bright = model(scaling=Scaling(1.0))
    bright.fit(two_valued.astype(np.uint8), LABELS, epochs=1)
    np.savez(tmp_path / "truth.npz", images=truth, labels=LABELS)
    np.savez(tmp_path / "numbers.npz", images=two_valued, labels=LABELS)
    loaded = [gpucnn.data.load(tmp_path / f"{name}.npz") for name in ("truth", "numbers")]
    assert loaded[0].train_images.tobytes() == loaded[1].train_images.tobytes()
    assert loaded[0].notes == ()
    assert loaded[1].notes == (f"{tmp_path / 'numbers.npz'}: images: pixels are 0 and 1; 1 is taken as white",)
    assert set(np.unique(loaded[0].train_images)) == {0, 255}


def test_an_image_that_holds_nan_is_named():
    broken = IMAGES / 255
    broken[5, 2, 3] = np.nan
    for asked in (model(), model(scaling=Scaling(floats=True))):
        with pytest.raises(DataError, match="images: holds NaN or infinite values, in picture 6; replace"):
            asked.fit(broken, LABELS)
        broken[9, 1, 1] = np.inf
        with pytest.raises(DataError, match="in picture 6, and in 1 more; replace"):
            asked.predict(broken)
        broken[9, 1, 1] = 0


def test_a_batch_does_not_decide_what_is_white():
    dark, found = np.minimum(IMAGES, 12), [model(), model()]
    found[0].fit_batches([(IMAGES, LABELS), (dark, LABELS)])
    with pytest.warns(UserWarning, match=r"whole numbers to 12 are taken as 0\.\.255"):
        found[1].fit_batches([(IMAGES.astype(int), LABELS), (dark.astype(int), LABELS)])
    assert found[0].theta.tobytes() == found[1].theta.tobytes()


def test_a_table_whose_columns_were_sorted_as_texts():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(IMAGES.reshape(24, 30), columns=[f"pixel{k}" for k in range(30)])
    expected = model().predict_proba(IMAGES)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = model().predict_proba(frame[sorted(frame.columns)])
    assert any("taken in the order of the numbers in their names" in str(each.message) for each in caught)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("white", [17, "16", None])
def test_a_checkpoint_that_says_another_white(white, tmp_path):
    path = model().save(tmp_path / "model", white=white)
    with pytest.raises(CheckpointError, match="is white"):
        gpucnn.load(path, device="cpu")


def test_colour_channels_first():
    colour = RNG.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    asked = model(COLOUR)
    with pytest.warns(UserWarning, match="channels first"):
        np.testing.assert_array_equal(asked.logits(colour.transpose(0, 3, 1, 2)), asked.logits(colour))
    with pytest.warns(UserWarning, match="channels first"):
        np.testing.assert_array_equal(asked.logits(colour[0].transpose(2, 0, 1)), asked.logits(colour[0]))


@pytest.mark.parametrize("ask", ["predict", "predict_proba", "logits"])
def test_one_image_gives_one_answer(ask):
    for asked in (model(), Ensemble([model(), model(seed=1)])):
        call = getattr(asked, ask)
        for one in (IMAGES[0], IMAGES[0, ..., 0]):
            np.testing.assert_allclose(call(one), call(IMAGES)[0], rtol=1e-6)
        assert call(IMAGES[0]).shape == call(IMAGES).shape[1:]
        assert len(call(IMAGES[:1])) == 1
    vectors = Model(Network((4,), (Dense(3),)), device="cpu", threads=1)
    assert getattr(vectors, ask)(np.zeros(4)).shape == getattr(vectors, ask)(np.zeros((1, 4))).shape[1:]


def test_one_image_is_no_batch_to_train_on():
    for call in (model().fit, model().evaluate):
        with pytest.raises(DataError, match=r"one image: a batch of them was expected, such as images\[None\]"):
            call(IMAGES[0], LABELS[:1])


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (IMAGES.reshape(24, 30), r"shape \(24, 30\) .*each row is an image.*images.reshape\(-1, 6, 5, 1\)"),
        (IMAGES[:, :5, :, 0], r"images of shape \(24, 5, 5\) and type uint8: \(N, 6, 5, 1\) as uint8"),
        (IMAGES + 0.5, r"floats from 0.5 to 255.5, 0..1 was expected"),
        (IMAGES / 127.5 - 1, r"floats from -1 to 1, 0..1 was expected; where.* begin with BatchNorm\(\)"),
        (np.full((2, 6, 5, 1), -1), "images: whole numbers from -1 to -1, 0..255 was expected"),
        (None, r"images: None was given; give an array"),
        ([IMAGES[0], IMAGES[0, 1:]], "images: a list that is no array of numbers .* all of one shape"),
    ],
)
def test_images_that_are_none(images, says):
    for call in (model().predict, lambda given: model().fit(given, LABELS), lambda given: model().score(given, LABELS)):
        with pytest.raises(DataError, match=says):
            call(images)


def test_behind_a_batch_normalisation_the_scale_of_images_does_not_matter():
    """What the sentence for standardised images sends a user to."""
    made = [
        model(Network((6, 5, 1), (layers.BatchNorm(0.0, epsilon=1e-12), Flatten(), Dense(3))), dtype="float64")
        for _ in range(2)
    ]
    one, other = IMAGES / 255, 0.2 + IMAGES / 255 * 0.5
    for each, images in zip(made, (one, other), strict=True):
        each.fit(images, LABELS, epochs=30, batch_size=24)  # all images at once: running numbers are theirs
    np.testing.assert_allclose(made[1].predict_proba(other), made[0].predict_proba(one), rtol=1e-6)


TAKEN = r"images: each row of the table is taken as an image of 6x5, row by row"


def test_tables_and_columns_of_pandas_are_taken_where_arrays_are(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(IMAGES.reshape(24, 30), columns=[f"pixel{k}" for k in range(30)])
    column, names = pandas.Series(LABELS), pandas.Series(NAMES)
    by_name = pandas.get_dummies(names[LABELS])[["owl", "cat", "dog"]]
    by_hand, by_table = model(class_names=names), model(class_names=pandas.Index(NAMES))
    by_hand.fit(IMAGES, LABELS, epochs=1)
    with pytest.warns(UserWarning, match=TAKEN):
        by_table.fit(frame, column, epochs=1, sample_weight=pandas.Series(np.ones(24)), validation=(frame, column))
    np.testing.assert_array_equal(by_table.theta, by_hand.theta)
    for labels in (column.astype("Int64"), column.to_frame(), names[LABELS].astype("category"), by_name):
        with pytest.warns(UserWarning, match=TAKEN):
            assert by_table.evaluate(frame.astype("Int64"), labels) == by_hand.evaluate(IMAGES, LABELS)
    np.testing.assert_array_equal(by_table.logits(frame.iloc[3]), by_hand.logits(IMAGES[3]))
    Image.fromarray(IMAGES[3, :, :, 0]).save(tmp_path / "one.png")
    with pytest.warns(UserWarning, match="does not say how pictures"):
        assert by_table.predict(pandas.Series([str(tmp_path / "one.png")])).shape == (1,)


class WithoutDtype:
    """As tensors of some libraries: NumPy makes an array of it, which is all that it says of its numbers."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if self.array is None:
            raise RuntimeError("it lies elsewhere")
        return np.asarray(self.array, dtype)

    def to_numpy(self):
        return np.asarray(self)


def test_objects_with_to_numpy_and_no_dtype(tmp_path):
    by_hand, by_object = model(), model()
    by_hand.fit(IMAGES, LABELS, epochs=1)
    by_object.fit(WithoutDtype(IMAGES), WithoutDtype(LABELS), epochs=1)
    np.testing.assert_array_equal(by_object.theta, by_hand.theta)
    Image.fromarray(IMAGES[3, :, :, 0]).save(tmp_path / "one.png")
    with pytest.warns(UserWarning, match="does not say how pictures"):
        assert by_hand.predict(WithoutDtype(np.array([str(tmp_path / "one.png")], object))).shape == (1,)
    with pytest.raises(DataError, match=r"images: a WithoutDtype that is no array of numbers \(it lies elsewhere\)"):
        by_hand.predict(WithoutDtype(None))


def test_columns_of_pyarrow(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    Image.fromarray(IMAGES[3, :, :, 0]).save(tmp_path / "one.png")
    by_hand, column = model(class_names=NAMES), IMAGES[3].ravel()
    by_hand.fit(IMAGES, LABELS, epochs=1)
    for make in (pyarrow.array, lambda some: pyarrow.chunked_array([some])):
        by_table = model(class_names=NAMES)
        by_table.fit(IMAGES, make(LABELS), epochs=1)
        np.testing.assert_array_equal(by_table.logits(make(column)), by_hand.logits(IMAGES[3]))
        with pytest.warns(UserWarning, match="does not say how pictures"):
            assert by_table.predict(make([str(tmp_path / "one.png")])).shape == (1,)
        with pytest.raises(DataError, match=r"images of shape \(24, 30\).*give images\.to_numpy\(\)\.reshape"):
            by_table.predict(make(IMAGES.reshape(24, 30).tolist()))


def test_tables_that_are_no_images_are_refused_in_words_that_can_be_typed():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(IMAGES.reshape(24, 30))
    gaps = frame.astype("Int64")
    gaps.iloc[2, 7] = pandas.NA
    for images, says in (
        (frame.assign(label=LABELS), r"table of 31 columns.* 30 pixels.*images\.drop\(columns=\['label'\]\)"),
        (frame.assign(name="cat"), r"columns that are no numbers \(name\).*drop\(columns=\['name'\]\)"),
        (gaps, r"has missing values; fill them first, such as images\.fillna\(0\)"),
        (frame.iloc[:, :7], r"shape \(24, 7\)"),
    ):
        with pytest.raises(DataError, match=says):
            model().fit(images, LABELS)
    colours = pandas.DataFrame(np.zeros((24, 90)))
    with pytest.raises(DataError, match=r"give images\.to_numpy\(\)\.reshape\(-1, 6, 5, 3\)"):
        model(COLOUR).fit(colours, LABELS)


def test_what_newcomers_give_for_images(tmp_path):
    digits = gpucnn.data.load("digits")
    with pytest.raises(
        DataError, match=r"images: a Dataset was given, which has them as train_images, or .* test_images"
    ):
        model().predict(digits)
    with pytest.raises(DataError, match="labels: a Dataset was given, which has them as train_labels"):
        model().fit(IMAGES, digits)
    for images, own in ((IMAGES[:, :5], r"\(5, 5, 1\)"), (IMAGES[:, :, :4, 0], r"\(6, 4, 1\)")):
        with pytest.raises(
            DataError, match=rf"or build a network for them: gpucnn.networks.build\(NAME, {own}, classes\)"
        ):
            model().predict(images)
    np.savez(tmp_path / "x.npz", images=IMAGES)
    with pytest.raises(
        DataError, match=r"x\.npz: arrays, and no picture; give the arrays in it, which numpy\.load reads"
    ):
        model(preprocessing=Preprocessing((6, 5), 1)).predict(tmp_path / "x.npz")
    with pytest.raises(DataError, match=r"2 class names for a network of 3 outputs; .*build\(NAME, classes=2\)"):
        model(class_names=["a", "b"])


def test_images_for_vectors():
    vectors = Model(Network((30,), (Dense(3),)), device="cpu", threads=1)
    with pytest.raises(DataError, match=r"\(N, 30\) as uint8.*; give images.reshape\(-1, 30\)"):
        vectors.predict(IMAGES)
    with pytest.raises(DataError, match=r"the model takes \(30,\), and no picture file becomes such"):
        vectors.predict("one.png")


# --- pictures


def drawn(ink=0, paper=255):
    image = Image.new("L", (60, 60), paper)
    ImageDraw.Draw(image).line([(10, 10), (50, 10), (25, 52)], fill=ink, width=6)
    return image


def test_picture_files_and_pictures_of_pillow(tmp_path):
    how = Preprocessing((6, 5), 1)
    asked, paths = model(preprocessing=how), [tmp_path / "a.png", tmp_path / "b.png"]
    pictures = [Image.fromarray(image[..., 0]) for image in RNG.integers(0, 256, (2, 9, 9, 1), dtype=np.uint8)]
    for picture, path in zip(pictures, paths):
        picture.save(path)
    expected = asked.predict_proba(gpucnn.data.read_pictures(paths, how))
    for given in (
        paths,
        [*map(str, paths)],
        tuple(paths),
        np.array([*map(str, paths)]),
        pictures,
        [paths[0], pictures[1]],
    ):
        np.testing.assert_array_equal(asked.predict_proba(given), expected)
    for one in (paths[0], str(paths[0]), pictures[0]):
        np.testing.assert_array_equal(asked.predict_proba(one), expected[0])
    assert asked.score(paths, ["cat", "cat"]) == (expected.argmax(axis=1) == 0).mean()
    asked.fit(paths, ["cat", "dog"], epochs=1)
    with pytest.raises(DataError, match=r"c\.png: there is no such file"):
        asked.predict([paths[0], tmp_path / "c.png"])
    with pytest.raises(DataError, match="a folder; name the picture files in it"):
        asked.predict(tmp_path)
    with pytest.raises(DataError, match="preprocessing makes images of"):
        model(preprocessing=Preprocessing((9, 9), 1)).predict(paths)


def test_what_was_done_to_strokes_is_warned_of(tmp_path):
    asked = model(preprocessing=Preprocessing((6, 5), 1, strokes=Strokes(0.8)))
    drawn().save(tmp_path / "seven.png")
    says = "seven.png: it is dark on light, and was inverted; its strokes were cropped"
    with pytest.warns(UserWarning, match=says) as caught:
        answer = asked.predict(tmp_path / "seven.png")
    assert [each.filename for each in caught] == [__file__]
    with pytest.warns(UserWarning, match="each of 4 pictures .picture 0, picture 1, picture 2, ....: it is dark"):
        assert asked.predict([drawn()] * 4).tolist() == [answer] * 4
    with pytest.warns(UserWarning, match="^the picture: it is dark"):
        assert asked.predict(drawn()) == answer


def test_a_model_that_does_not_say_how_pictures_are_read():
    with pytest.warns(UserWarning, match=r"scaled and cropped to \(6, 5, 1\).*data=DATASET"):
        assert model().predict(drawn()) == model(preprocessing=Preprocessing((6, 5), 1)).predict(drawn())


def test_a_model_for_a_data_set(tmp_path):
    """Its network fits the images and classes, and it reads pictures as the data set does."""
    for k, name in enumerate(("cat", "dog", "emu") * 4):
        path = tmp_path / "pictures" / name / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 36, 3), 20 * k, np.uint8)).save(path)
    found = gpucnn.data.load(tmp_path / "pictures", size=(30, 32), invert=True)
    made = Model("two-conv", data=found, device="cpu")
    assert made.network == gpucnn.networks.build("two-conv", (30, 32, 3), 3)
    assert (made.class_names, made.preprocessing) == (("cat", "dog", "emu"), found.preprocessing)
    made.fit(found.train_images, found.train_labels, epochs=1, progress=False)
    loaded = gpucnn.load(made.save(tmp_path / "m.safetensors"), device="cpu")
    path = tmp_path / "pictures" / "emu" / "5.png"
    np.testing.assert_array_equal(
        loaded.logits([str(path)]), made.logits(gpucnn.data.read_pictures([path], found.preprocessing))
    )
    own = Model(Network((30, 32, 3), (layers.Flatten(), layers.Dense(3))), data=found, class_names=list("abc"))
    assert (own.class_names, own.preprocessing) == (("a", "b", "c"), found.preprocessing)
    for wrong in ("digits", (found.train_images, found.train_labels)):
        with pytest.raises(
            SettingError, match=rf"data is a {type(wrong).__name__}: a Dataset, such as gpucnn\.data\.load"
        ):
            Model("two-conv", data=wrong)
    with pytest.raises(
        SettingError, match=r"inputs \(28, 28, 1\) was given for pictures, whose images are \(30, 32, 3\)"
    ):
        Model(Network((28, 28, 1), (layers.Flatten(), layers.Dense(3))), data=found)
    for rows, advice in ((1 - np.eye(3, dtype=np.uint8), "multi-label"), (np.linspace(0, 9, 9).reshape(3, 3), "mse")):
        np.savez(tmp_path / "rows.npz", images=np.zeros((9, 28, 28), np.uint8), labels=np.tile(rows, (3, 1)))
        several = gpucnn.data.load(tmp_path / "rows.npz")
        assert Model("two-conv", data=several, loss=advice, device="cpu").network.shapes()[-1] == (3,)
        with pytest.raises(SettingError, match=f"and no classes; give Model\\(loss='{advice}'\\)"):
            Model("two-conv", data=several)
    with pytest.raises(DataError, match="3 class names for a network of 10 outputs"):
        Model(Network((30, 32, 3), (layers.Flatten(), layers.Dense(10))), data=found)


def test_places_do_not_move_with_the_picture():
    network = Network((6, 5, 1), (layers.Flatten(), layers.Dense(2)))
    made = Model(network, loss="mse", device="cpu")
    images, places = np.zeros((8, 6, 5, 1), np.uint8), np.ones((8, 2))
    for augmentation in ("shift=1", "flip", "rotate=5", "zoom=0.1"):
        with pytest.warns(
            UserWarning, match="the numbers that belong to them stay what they are: where these are places"
        ):
            made.fit(images, places, epochs=1, augmentation=augmentation, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.fit(images, places, epochs=1, augmentation="brightness=0.1,contrast=0.1", progress=False)


# --- NumPy's numbers


LAYERS = {
    "conv": lambda n: layers.Conv2D(n(4), n(3), n(2), n(1), n(1), n(2)),
    "pairs": lambda n: layers.Conv2D(4, (n(3), n(2)), padding=((n(1), n(0)), (n(2), n(1)))),
    "dense": lambda n: layers.Dense(n(10)),
    "pool": lambda n: layers.MaxPool2D(n(2), n(1), n(1), dilation=n(1)),
    "average": lambda n: layers.AvgPool2D((n(2), n(3))),
    "depthwise": lambda n: layers.DepthwiseConv2D(n(3), n(1), n(1), n(2)),
    "separable": lambda n: layers.SeparableConv2D(n(4), n(3)),
    "transposed": lambda n: layers.ConvTranspose2D(n(4), n(3), n(2), output_padding=n(1)),
    "pad": lambda n: layers.ZeroPad2D(n(1)),
    "crop": lambda n: layers.Crop2D((n(1), n(0))),
    "subsample": lambda n: layers.Subsample2D(n(2)),
    "channels": lambda n: layers.PadChannels(n(3)),
    "upsample": lambda n: layers.Upsample2D(n(2)),
    "groups": lambda n: layers.GroupNorm(n(2)),
    "reshape": lambda n: layers.Reshape((n(2), n(2), n(1))),
    "network": lambda n: Network((n(4), n(4), n(1)), (layers.Flatten(), layers.Dense(n(3)))),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layers_of_numpys_integers(make):
    found, expected = make(np.int64), make(int)
    assert (found, repr(found), hash(found)) == (expected, repr(expected), hash(expected))
    assert json.dumps(checkpoint.layer_to_dict(found)) == json.dumps(checkpoint.layer_to_dict(expected))
    assert make(np.uint8) == expected


def test_layers_of_arrays_and_of_numpys_floats():
    assert layers.Conv2D(4, np.array([3, 2])) == layers.Conv2D(4, (3, 2))
    assert layers.Reshape(np.array([2, 2, 1])) == layers.Reshape((2, 2, 1))
    half = np.float32(0.5)
    made = (
        *(layers.Dropout(half), layers.ELU(half), layers.LeakyReLU(half), layers.PReLU(start=half)),
        *(layers.ReLU(half), layers.BatchNorm(half), losses.Huber(half), losses.FocalLoss(half)),
        *(losses.SoftmaxCrossEntropy(label_smoothing=half, ignore_index=i(3)), optimizers.Adam(half, half)),
        *(optimizers.SGD(momentum=half), Scaling(half), Views(shift=i(1)), Augmentation(shift=i(1))),
        *(Preprocessing((i(8), i(8)), i(1)), Preprocessing(np.array([8, 8]), 1)),
    )
    for each in made:
        assert "np." not in repr(each)
        assert "array" not in repr(each)
        hash(each)
    y = Network((4,), (layers.LeakyReLU(np.float64(0.5)), layers.Dense(2)))
    assert Model(y, device="cpu").logits(np.ones((2, 4), np.float32)).dtype == np.float32


CONVOLUTIONS = (
    lambda bias: layers.Conv2D(4, 3, bias=bias),
    lambda bias: layers.DepthwiseConv2D(3, bias=bias),
    lambda bias: layers.SeparableConv2D(4, 3, bias=bias),
    lambda bias: layers.ConvTranspose2D(4, 3, bias=bias),
)
OTHERS = (
    lambda bias: layers.Dense(4, bias=bias),
    lambda bias: layers.BatchNorm(bias=bias),
    lambda bias: layers.LayerNorm(bias=bias),
    lambda bias: layers.GroupNorm(1, bias=bias),
    lambda bias: layers.InstanceNorm(bias=bias),
)


@pytest.mark.parametrize("make", [*CONVOLUTIONS, *OTHERS])
def test_no_bias_is_none_or_false_and_a_bias_is_true_everywhere(make):
    def has_bias(layer):
        return "bias" in layer.init((5, 5, 2) if not isinstance(layer, Dense) else (8,), np.random.default_rng(0))

    usual = type(make(None))
    for value in (None, False, np.False_):
        assert make(value) == make(None)
        assert repr(make(value)) == repr(make(None))
        assert not has_bias(make(value))
    for value in (True, np.True_):
        assert has_bias(make(value))
        assert make(value).bias == usual.__dataclass_fields__["bias"].default
        hash(make(value))
    for value in ("relu", 0, 1.0, ["tied"]):
        with pytest.raises(SettingError, match=f"bias={re.escape(repr(value))}: .* was expected"):
            make(value)


def test_a_kernel_may_be_a_list():
    assert layers.DepthwiseConv2D([3, 2]) == layers.DepthwiseConv2D((3, 2))
    assert layers.SeparableConv2D(4, [3, 2], [1, 1]) == layers.SeparableConv2D(4, (3, 2))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: layers.Conv2D(2, 3, flip="yes"), "Conv2D: flip='yes': True or False was expected"),
        (lambda: layers.MaxPool2D(2, ceil_mode=1), "MaxPool2D: ceil_mode=1: True"),
        (lambda: layers.AvgPool2D(2, count_padding="no"), "AvgPool2D: count_padding='no'"),
        (lambda: layers.PReLU("channels"), "PReLU: shared='channels'"),
        (lambda: layers.GELU("none"), "GELU: approximate='none'"),
        (lambda: losses.Hinge(2), "Hinge: squared=2"),
        (lambda: optimizers.SGD(0.9, 0.01), "SGD: nesterov=0.01"),
        (lambda: optimizers.RMSprop(centered="no"), "RMSprop: centered='no'"),
        (lambda: Augmentation(shift=1, reflect=2), "Augmentation: reflect=2"),
        (lambda: Views(flip="x"), "Views: flip='x'"),
    ],
)
def test_what_is_neither_true_nor_false_is_refused(make, says):
    with pytest.raises(SettingError, match=says):
        make()


def test_fit_with_numpys_numbers_is_the_same(tmp_path):
    def run(n, x, resume):
        made = model(Network((n(6), n(5), n(1)), (layers.Conv2D(n(2), n(3)), Flatten(), Dense(n(3)))), seed=n(1))
        stopping = callbacks.EarlyStopping(patience=n(2))
        made.fit(
            *(IMAGES, LABELS),
            **{"epochs": n(3), "batch_size": n(8), "lr": x(0.5), "seed": n(2), "accumulate": n(2)},
            **{"optimizer": optimizers.SGD(momentum=x(0.5)), "augmentation": Augmentation(shift=n(1))},
            **{"validation": (IMAGES, LABELS), "early_stopping": stopping, "resume": resume},
        )
        more = {"epochs": n(1), "total_epochs": n(4), "schedule": "cosine", "batch_size": n(8)}
        made.partial_fit(IMAGES, LABELS, optimizer=optimizers.SGD(momentum=x(0.5)), **more)
        made.fit_batches([(IMAGES, LABELS)], epochs=n(1), steps=n(1))
        return made

    expected, found = run(int, float, tmp_path / "a"), run(np.int64, np.float32, tmp_path / "b")
    assert found.theta.tobytes() == expected.theta.tobytes()
    assert run(int, float, tmp_path / "b").theta.tobytes() == expected.theta.tobytes()  # the same run, and resumed so
    again = gpucnn.load(found.save(tmp_path / "m.safetensors"), device="cpu", threads=i(1))
    assert again.network == expected.network
    assert model(threads=i(1)).threads == 1
    assert found.report(IMAGES, LABELS, top_k=i(2)).overall == expected.report(IMAGES, LABELS, top_k=2).overall
    assert found.training_memory(batch_size=i(8)) == expected.training_memory(batch_size=8)
    assert Device("cpu", i(0)) == Device("cpu")


# --- what else a model says


def test_score_is_what_scikit_learn_has():
    scikit = pytest.importorskip("sklearn.metrics")
    trained = model()
    trained.fit(IMAGES, LABELS, epochs=3)
    weights = RNG.random(24)
    answers = trained.predict(IMAGES)
    assert trained.score(IMAGES, LABELS) == scikit.accuracy_score(LABELS, answers)
    assert trained.score(IMAGES, LABELS, weights) == pytest.approx(
        scikit.accuracy_score(LABELS, answers, sample_weight=weights)
    )
    np.testing.assert_array_equal(trained.confusion_matrix(IMAGES, LABELS), scikit.confusion_matrix(LABELS, answers))
    numbers, flags = RNG.random((24, 3)), RNG.integers(0, 2, (24, 3))
    of_numbers, of_flags = model(loss="mse"), model(loss="multi-label")
    assert of_numbers.score(IMAGES, numbers) == pytest.approx(scikit.r2_score(numbers, of_numbers.predict(IMAGES)))
    assert of_flags.score(IMAGES, flags) == scikit.accuracy_score(flags, of_flags.predict(IMAGES))
    for without, targets in ((of_numbers, numbers), (of_flags, flags)):
        with pytest.raises(SettingError, match=r"is of (numbers|labels), and only classes are confused"):
            without.confusion_matrix(IMAGES, targets)


def test_a_confusion_matrix_takes_what_evaluate_takes():
    trained, weights = model(), np.arange(24)
    found = trained.confusion_matrix(IMAGES, SAME["names"], sample_weight=weights)
    np.testing.assert_array_equal(found, metrics.confusion_matrix(LABELS, trained.predict(IMAGES), 3, weights))
    assert Ensemble([trained, trained]).confusion_matrix(IMAGES, LABELS).sum() == 24


def test_a_history_draws_itself_and_becomes_a_frame(tmp_path):
    history = model().fit(IMAGES, LABELS, epochs=3, validation=(IMAGES, LABELS))
    history.plot(tmp_path / "curves.png", "three epochs")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
    pytest.importorskip("pandas")
    frame = history.to_frame()
    assert list(frame.index) == [1, 2, 3]
    assert frame["validation_accuracy"].tolist() == [epoch.validation_accuracy for epoch in history.epochs]


def test_a_history_is_rows_and_a_table(tmp_path):
    history = model().fit(IMAGES, LABELS, epochs=3, validation=(IMAGES, LABELS))
    assert list(history) == history.rows()
    assert [row["epoch"] for row in history] == [1, 2, 3]
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(history)
    assert frame.set_index("epoch").equals(history.to_frame())
    assert pandas.DataFrame(History()).empty


def test_one_thing_is_told_of_as_one():
    assert [counted(k, "image") for k in (0, 1, 2, 1438)] == ["0 images", "1 image", "2 images", "1,438 images"]
    assert [counted(k, "class", "classes") for k in (1, 2)] == ["1 class", "2 classes"]
    assert metrics.shown(model().evaluate(IMAGES[:1], LABELS[:1])).endswith(", 1 image")
    with pytest.raises(DataError, match="1 class name for a network of 3 outputs"):
        model(class_names=["a"])
    with pytest.raises(DataError, match="1 picture but 2 labels"):
        model().fit(IMAGES[:1], LABELS[:2])
    assert "train on 1 example" in SMALL.summary(1)
    assert SMALL.summary(1).count("1 examples") == 0


def test_a_history_is_a_sequence_of_epochs():
    history = model().fit(IMAGES, LABELS, epochs=3)
    rows = history.rows()
    assert len(history) == 3
    assert (history[0], history[-1], history[1:]) == (rows[0], rows[2], rows[1:])
    assert history["train_loss"] == [epoch.train_loss for epoch in history.epochs]
    assert history["validation_loss"] == [None, None, None]
    with pytest.raises(IndexError):
        history[3]
    with pytest.raises(KeyError, match="'trian_loss': did you mean train_loss"):
        history["trian_loss"]
    pandas = pytest.importorskip("pandas")
    for frame in (history.to_frame(), pandas.DataFrame(history).set_index("epoch")):
        assert frame["validation_loss"].isna().all()
        assert frame["train_loss"].dtype == float
    assert history.to_frame()["validation_loss"].dtype == float


def test_a_notebook_shows_models_networks_and_reports():
    made = model(class_names=["cat", "<dog>", "owl"])
    shown = made._repr_html_()
    assert "SoftmaxCrossEntropy(), classes cat, &lt;dog&gt;, owl</p><pre" in shown
    assert made.network._repr_html_() in shown
    assert "Dense(3)" in made.network._repr_html_()
    report = made.report(IMAGES, LABELS)
    words = [text for text in re.split(r"<[^>]*>", report._repr_html_()) if text]
    assert words[1:6] == ["class", "precision", "recall", "f1", "support"]
    assert words[0] == metrics.shown(report.overall)
    assert words[6:7] + words[11:12] == ["cat", "&lt;dog&gt;"]
    a, b, count = report.confusions()[0]
    assert words[-1].startswith(f"largest confusions: {a} taken for {b}: {count}".replace("<dog>", "&lt;dog&gt;"))
    numbers = Model(SMALL, loss="mse", device="cpu", threads=1).report(IMAGES, np.ones((24, 3)))
    assert "<th>mean absolute error</th>" in numbers._repr_html_()


@pytest.mark.parametrize("ignored", [2, -1])
def test_an_ignored_class_is_not_missing(ignored):
    some = model(loss=losses.SoftmaxCrossEntropy(ignore_index=ignored))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        some.fit(IMAGES, LABELS, epochs=1)
    alone = model(loss=losses.SoftmaxCrossEntropy(ignore_index=2))
    with pytest.warns(UserWarning, match="of 1 of the 2 classes, without the one that is ignored, and none is dog:"):
        alone.fit(IMAGES, np.where(LABELS == 1, 2, LABELS), epochs=1)


def test_outputs_that_no_label_uses_are_told_of_once():
    two = LABELS % 2 == 0
    trained = model()
    with pytest.warns(UserWarning, match=r"are of 2 of the 3 classes, .* none is owl: all that is learnt") as told:
        trained.fit(IMAGES, two, epochs=2, validation=(IMAGES, two))
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.partial_fit(IMAGES[:2], LABELS[:2], epochs=1)  # fewer examples than classes
        trained.partial_fit(IMAGES, LABELS, epochs=1)


@pytest.mark.parametrize(
    ("call", "word", "says"),
    [
        (
            "fit",
            "validation_split",
            r"fit has no argument 'validation_split'; write validation=\(images, labels\), such",
        ),
        ("fit", "augment", 'write augmentation="shift=2'),
        ("fit", "learning_rate", "write lr$"),
        ("fit", "epoch", "did you mean epochs"),
        ("fit", "verbose", "write progress=True or False"),
        ("fit", "x", "write images"),
        ("fit", "class_weight", "it belongs to the loss"),
        ("fit", "momentum", "it belongs to the optimiser, such as optimizer=SGD"),
        ("fit", "shuffle", "batches come in a random order"),
        ("fit", "loss", "Model takes loss"),
        ("fit", "device", "Model takes device"),
        ("fit", "nonsense", "it has accumulate, anyway, augmentation,"),
        ("partial_fit", "num_epochs", "write epochs"),
        ("partial_fit", "accumulte", "did you mean accumulate"),
        ("fit_batches", "steps_per_epoch", "write steps"),
        ("fit_batches", "batch_size", "each of the batches that you give is one update; leave it out"),
        ("evaluate", "batch_size", "as there is memory for; leave it out"),
        ("evaluate", "verbose", "fit takes progress"),
        ("predict", "batch_size", "as there is memory for; leave it out"),
        ("predict_proba", "ta", "did you mean tta"),
        ("report", "k", "write top_k"),
        ("score", "sample_weights", "write sample_weight"),
    ],
)
def test_arguments_of_other_libraries_are_told_gpucnns_own(call, word, says):
    made = model()
    with pytest.raises(SettingError, match=says) as told:
        getattr(made, call)(IMAGES, LABELS, **{word: 1}) if "y" not in word else getattr(made, call)(**{word: 1})
    assert isinstance(told.value, TypeError)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("lr", "fit takes lr"),
        ("num_classes", r"it belongs to the network: Model\(gpucnn.networks.build"),
        ("criterion", "write loss"),
        ("gpu", "write device"),
        ("random_state", "write seed"),
        ("classnames", "did you mean class_names"),
    ],
)
def test_a_models_arguments_too(word, says):
    with pytest.raises(SettingError, match=f"Model has no argument {word!r}; {says}"):
        Model(SMALL, **{word: 1})


def test_the_words_lead_to_arguments_that_there_are():
    known = set().union(*spelling._arguments.values())
    assert set(spelling.OTHERS.values()) <= known
    assert set(spelling.EXAMPLES) <= known
    assert not (set(spelling.OTHERS) | set(spelling.ELSEWHERE)) & known


def test_a_notebook_shows_a_history_as_a_table():
    def count(epoch):
        raise Stop("enough <of it>")

    history = model().fit(
        *(IMAGES, LABELS),
        epochs=3,
        validation=(IMAGES, LABELS),
        callbacks=[callbacks.Metric("top & 2", lambda outputs, labels: 0.5, IMAGES, LABELS), count],
        keep="best",
    )
    shown = history._repr_html_()
    words = [text for text in re.split(r"<[^>]*>", shown) if text]
    assert words[:4] == ["epoch", "train loss", "validation loss", "validation accuracy"]
    assert words[4:7] == ["lr", "seconds", "top &amp; 2"]
    epoch = history.epochs[0]
    assert words[7:11] == ["1", f"{epoch.train_loss:.4g}", f"{epoch.validation_loss:.4g}", words[10]]
    assert words[10] == f"{100 * epoch.validation_accuracy:.2f} %"
    assert words[14:] == ["enough &lt;of it&gt;", "the parameters are those of epoch 1"]
    bare = model().fit(IMAGES, LABELS, epochs=2)._repr_html_()
    assert "validation" not in bare
    assert bare.count("<tr>") == 3
    assert History()._repr_html_() == "<p>no epoch has ended</p>"


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_devices_are_spoken_of_as_in_python(device):
    with pytest.raises(DeviceError, match=f"^device '{device}': ") as caught:
        model(device=device)
    assert "--" not in str(caught.value)


def test_a_column_of_labels_teaches_all_classes():
    """Their argmax over columns would be zeros, and a model that learnt these would be right on them always."""
    trained = model()
    trained.fit(IMAGES, LABELS[:, None], epochs=30, batch_size=4, lr=0.05)
    assert len(set(trained.predict(IMAGES).tolist())) == 3


class NAType:
    """As pandas' NA: it compares with nothing."""

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __eq__ = __ne__ = lambda self, other: self
    __hash__ = object.__hash__


MISSING = {
    "None": lambda: np.array(["k0", "k1", None] * 8, object),
    "NaN": lambda: np.array(["k0", "k1", float("nan")] * 8, object),
    "NumPy's NaN": lambda: np.array(["k0", "k1", np.float32("nan")] * 8, object),
    "pandas' NA": lambda: np.array(["k0", "k1", NAType()] * 8, object),
    "a list": lambda: ["k0", "k1", float("nan")] * 8,
    "a list with None": lambda: ["k0", "k1", None] * 8,
    "numbers and None": lambda: np.array([0, 1, None] * 8, object),
    "a column": lambda: [["k0"], ["k1"], [None]] * 8,
    "a text of NaN": lambda: np.array(["k0", "k1", float("nan")] * 8),
    "an empty text": lambda: ["k0", "k1", ""] * 8,
    "a blank": lambda: ["k0", "k1", " "] * 8,
}


@pytest.mark.parametrize("labels", MISSING.values(), ids=MISSING)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_missing_label_is_no_class(labels, classes):
    asked = Model(Network((6, 5, 1), (Flatten(), Dense(classes))), device="cpu", threads=1)
    with pytest.raises(DataError, match="labels: the label of picture 3 is missing; give it one, or leave that pic"):
        asked.fit(IMAGES, labels(), epochs=1)
    assert asked.class_names == tuple(map(str, range(classes)))
    named = model()
    for call in (named.fit, named.evaluate, named.partial_fit, named.report):
        with pytest.raises(DataError, match="picture 3 is missing"):
            call(IMAGES, labels())


def test_a_class_of_that_name_is_one_where_it_is_named():
    flour = model(class_names=("nan", "", "rye"))
    flour.fit(IMAGES, ["nan", "", "rye"] * 8, epochs=1)
    assert flour.evaluate(IMAGES, ["nan", "", "rye"] * 8) == flour.evaluate(IMAGES, LABELS)


def test_blank_ends_of_texts_do_not_count():
    asked, same = (Model(SMALL, device="cpu", threads=1) for _ in range(2))
    with pytest.warns(UserWarning, match="the classes are k0, k1, k2, in this order"):
        asked.fit(IMAGES, ["k0", "k1 ", " k2", "k0 ", "k1", "k2"] * 4, epochs=1)
    assert asked.class_names == ("k0", "k1", "k2")
    same.fit(IMAGES, LABELS, epochs=1)
    assert asked.theta.tobytes() == same.theta.tobytes()
    assert asked.evaluate(IMAGES, ["k0 ", "k1", "k2 "] * 8) == same.evaluate(IMAGES, LABELS)


def test_hints_for_one_image():
    asked = Model("softmax-regression", device="cpu", threads=1)
    with pytest.raises(DataError, match=r"build\(NAME, \(28, 28, 3\), classes\)"):
        asked.predict(np.zeros((28, 28, 3), np.uint8))
    with pytest.raises(DataError, match=r"build\(NAME, \(30, 30, 1\), classes\)"):
        asked.predict(np.zeros((28, 30, 30), np.uint8))
    with pytest.raises(DataError, match=r"if it is one image, row by row, give images.reshape\(1, 28, 28, 1\)"):
        asked.predict(np.zeros(784, np.uint8))


def test_one_update_in_an_epoch_is_told_of():
    images, labels = np.zeros((600, 6, 5, 1), np.uint8), np.arange(600) % 3
    for options in ({"batch_size": 100_000}, {"batch_size": 10, "accumulate": 60}):
        with pytest.warns(UserWarning, match="600 images are one update per epoch, because an update may look at "):
            model().fit(images, labels, epochs=1, **options)
    model().fit(images, labels, epochs=1, batch_size=599)
    model().fit(IMAGES, LABELS, epochs=1, batch_size=100_000)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (None, r"images: None was given; give an array \(N, H, W, C\)"),
        ((each for each in IMAGES), "images: a generator was given; give an array, .* generator are for fit_batches"),
        ({"a": 1}, "images: a dict was given; give an array"),
        (len, "images: a builtin_function_or_method was given; give an array"),
        ([], "images: none were given; give at least one"),
        (["a.png", IMAGES[0]], "in one list stand a str and, at 1, a ndarray; give files or pictures alone, or arrays"),
        ([IMAGES[0], "a.png"], "in one list stand a ndarray and, at 1, a str"),
    ],
)
def test_what_are_no_images(images, says):
    for call in (lambda: model().predict(images), lambda: model().fit(images, LABELS)):
        with pytest.raises(DataError, match=says):
            call()


def test_what_are_no_labels():
    with pytest.raises(DataError, match="labels: a dict was given; give an array, one row for each image"):
        model().fit(IMAGES, {"a": 1})
    with pytest.raises(DataError, match="labels: None was given; give one for each image"):
        model().fit(IMAGES, None)


def test_an_argument_that_is_missing():
    digits = gpucnn.data.load("digits")
    with pytest.raises(
        SettingError, match=r"fit: labels is missing; give images and labels, such as data.train_images"
    ):
        model().fit(digits)
    with pytest.raises(SettingError, match=r"evaluate: labels is missing; .* data.test_images, data.test_labels of a"):
        model().evaluate(digits)
    with pytest.raises(SettingError, match=r"predict: images is missing; give images$"):
        model().predict()
    with pytest.raises(TypeError, match=r"Model: network is missing; give network$"):
        Model()
    for word, says in (
        ("validation_data", "write validation="),
        ("verbose", "write progress=True or False"),
        ("shuffle", "batches come in a random order"),
        ("loss", "Model takes loss"),
        ("class_weight", "it belongs to the loss"),
        ("patience", r"EarlyStopping\(patience=5\)"),
        ("callback", "did you mean callbacks"),
    ):
        with pytest.raises(SettingError, match=f"fit has no argument '{word}'; .*{says}"):
            model().fit(IMAGES, LABELS, **{word: 1})
