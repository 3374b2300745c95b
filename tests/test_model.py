"""Model: what a user holds. What it takes, what it gives, and the sentence for everything that does not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from layers_of_ones_own import Scale

import gpucnn
from gpucnn import Device, Model, Network, networks
from gpucnn.data import Preprocessing
from gpucnn.device import select
from gpucnn.engine.scaling import Scaling
from gpucnn.errors import DataError, DeviceError, SettingError
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy

NO_GPU = select("auto")[1] if select("auto")[0].kind == "cpu" else ""
needs_gpu = pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU)

TINY = Network((8, 8, 1), (Conv2D(2, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)))


def tiny(**options):
    return Model(TINY, **{"device": "cpu", "threads": 1, **options})


def quadrants(count=60, seed=0):
    """Noisy pictures whose bright quarter is the class: 0, 1 or 2."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 120, (count, 8, 8, 1), dtype=np.uint8)
    for image, label in zip(images, labels):
        row, column = divmod(int(label), 2)
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 130
    return images, labels


# --- making one


def test_a_network_by_name_brings_its_loss_and_name():
    model = Model("binary-sigmoid", device="cpu")
    assert isinstance(model.loss, BinaryCrossEntropy)
    assert (model.name, model.class_names) == ("binary-sigmoid", ("0", "1"))
    assert model.network == networks.build("binary-sigmoid")
    assert isinstance(tiny().loss, SoftmaxCrossEntropy)
    assert tiny().name == "network"
    assert Model("softmax-regression", device="cpu", name="mine", loss=BinaryCrossEntropy()).name == "mine"


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(SettingError, match="network 'tow-conv' is not known; did you mean two-conv"):
        Model("tow-conv")


def test_the_network_must_end_in_logits():
    with pytest.raises(DataError, match=r"ends in \(6, 6, 2\), one vector of logits was expected; end it with Flatten"):
        Model(Network((8, 8, 1), (Conv2D(2, 3),)), device="cpu")


def test_class_names_must_be_as_many_as_outputs():
    assert tiny(class_names=["cat", "dog", "owl"]).class_names == ("cat", "dog", "owl")
    with pytest.raises(DataError, match="2 class names for a network of 3 outputs"):
        tiny(class_names=["cat", "dog"])


@pytest.mark.parametrize("dtype", ["int8", "float16", "double trouble"])
def test_a_type_that_cannot_be_trained(dtype):
    with pytest.raises(SettingError, match=f"dtype='{dtype}': one of float32, float64 was expected"):
        tiny(dtype=dtype)


def test_devices_that_do_not_exist():
    with pytest.raises(DeviceError, match="device 'tpu': no such device"):
        tiny(device="tpu")
    with pytest.raises(DeviceError, match="device 'cuda:77': "):
        tiny(device="cuda:77")


def test_threads():
    assert tiny(threads=3).threads == 3
    assert tiny(threads=None).threads >= 1
    with pytest.raises(SettingError, match="threads=-1: a whole number of at least 1"):
        tiny(threads=-1)
    with pytest.raises(SettingError, match="threads=0: a whole number of at least 1"):
        tiny(threads=0)
    with pytest.raises(SettingError, match=r"network=\(Flatten.*: a Network, such as"):
        Model((Flatten(), Dense(10)))


def test_weights_depend_on_the_seed_and_not_on_device_or_threads():
    expected = tiny(seed=5).theta.tobytes()
    assert tiny(seed=5, device=Device("cpu")).theta.tobytes() == expected
    assert tiny(seed=5, threads=2).theta.tobytes() == expected
    auto = tiny(seed=5, device="auto")
    assert auto.device.fetch(auto.theta).tobytes() == expected
    assert tiny(seed=6).theta.tobytes() != expected


@pytest.mark.gpu
@needs_gpu
def test_weights_and_predictions_are_the_same_on_a_gpu():
    images, labels = quadrants()
    on_cpu, on_gpu = tiny(seed=5), tiny(seed=5, device="cuda")
    for name, tensor in on_gpu.parameters.items():
        np.testing.assert_array_equal(tensor, on_cpu.parameters[name])
    for model in (on_cpu, on_gpu):
        model.fit(images, labels, epochs=2, batch_size=16)
    np.testing.assert_allclose(on_gpu.predict_proba(images), on_cpu.predict_proba(images), atol=1e-4)


def test_parameters_are_copies_by_path():
    model = tiny()
    found = model.parameters
    assert {name: tensor.shape for name, tensor in found.items()} == {
        "0/kernel": (3, 3, 1, 2),
        "0/bias": (2,),
        "4/weights": (18, 3),
        "4/bias": (3,),
    }
    assert all(tensor.dtype == np.float32 for tensor in found.values())
    assert tiny(dtype="float64").parameters["4/bias"].dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        found["4/weights"][...] = 0
    assert model.parameters["4/weights"].any()


def test_the_description_is_json():
    model = tiny(class_names=list("abc"), preprocessing=Preprocessing((8, 8), 1, True))
    found = json.loads(json.dumps(model.describe()))
    assert found["class_names"] == ["a", "b", "c"]
    assert found["preprocessing"] == {"size": [8, 8], "channels": 1, "invert": True, "strokes": None}
    assert found["loss"] == "SoftmaxCrossEntropy"
    assert found["scaling"] == {"scale": 1 / 255, "shift": 0.0}
    assert [layer["type"] for layer in found["network"]["layers"]] == [
        "Conv2D",
        "ReLU",
        "MaxPool2D",
        "Flatten",
        "Dense",
    ]


def test_summary():
    assert "total" in tiny().summary()
    assert "to train on 7 examples" in tiny().summary(7)


# --- predictions


@pytest.mark.parametrize("name", ["softmax-regression", "avgpool-96"])
def test_softmax_probabilities_sum_to_one(name):
    model = Model(name, device="cpu")
    chances = model.predict_proba(np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8))
    assert chances.shape == (5, 10)
    assert (chances >= 0).all()
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-6)


def test_sigmoid_probabilities_stand_alone():
    chances = Model("binary-sigmoid", device="cpu").predict_proba(np.zeros((3, 28, 28, 1), np.uint8))
    assert ((chances > 0) & (chances < 1)).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_logits_probabilities_classes_and_evaluation_agree(monkeypatch, threads):
    monkeypatch.setattr("gpucnn.engine.execution.shard_size", lambda network, parameters: 7)
    images, labels = quadrants()
    model = tiny(dtype="float64", threads=threads)
    logits, chances = model.logits(images), model.predict_proba(images)
    np.testing.assert_allclose(chances, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-9)
    assert model.predict(images).tolist() == logits.argmax(axis=1).tolist()
    found = model.evaluate(images, labels)
    assert found["examples"] == 60
    assert found["accuracy"] == np.mean(model.predict(images) == labels)
    assert found["loss"] == pytest.approx(-np.log(chances[np.arange(60), labels]).mean())


def test_a_prediction_does_not_depend_on_its_neighbours():
    images, _ = quadrants()
    model = tiny(dtype="float64")
    np.testing.assert_allclose(
        np.concatenate([model.logits(images[k : k + 1]) for k in range(5)]), model.logits(images[:5])
    )


def test_no_images_give_no_predictions():
    nothing = np.empty((0, 8, 8, 1), np.uint8)
    assert tiny().predict_proba(nothing).shape == (0, 3)
    assert tiny().predict(nothing).shape == (0,)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_from_0_to_1_are_the_same_as_bytes(dtype):
    images, _ = quadrants()
    tolerance = 1e-2 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(tiny().logits((images / 255).astype(dtype)), tiny().logits(images), atol=tolerance)


def test_grey_pictures_need_no_channel_axis():
    images, labels = quadrants()
    np.testing.assert_array_equal(tiny().logits(images[..., 0]), tiny().logits(images))
    tiny().fit(images[..., 0], labels, epochs=1)


def test_memory_orders_of_the_images_do_not_matter():
    images, _ = quadrants()
    other = np.asfortranarray(np.concatenate([images, images]))[::2]
    np.testing.assert_allclose(tiny().logits(other), tiny().logits(np.ascontiguousarray(other)), rtol=1e-5)


def test_fit_learns():
    images, labels = quadrants(120)
    model = tiny()
    history = model.fit(images, labels, epochs=12, batch_size=12, lr=0.01)
    assert model.evaluate(*quadrants(60, seed=1))["accuracy"] > 0.95
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss


def test_labels_of_any_integer_type():
    images, labels = quadrants()
    expected = tiny().evaluate(images, labels)
    for dtype in ("uint8", "int8", "uint64"):
        assert tiny().evaluate(images, labels.astype(dtype)) == expected
    assert tiny().evaluate(images, labels.tolist()) == expected


def test_vectors_as_input():
    model = Model(Network((4,), (Dense(5), ReLU(), Dense(2))), device="cpu")
    x = np.random.default_rng(0).random((30, 4))
    model.fit(x, (x[:, 0] > 0.5).astype(int), epochs=60, batch_size=10, lr=0.05)
    assert model.evaluate(x, (x[:, 0] > 0.5).astype(int))["accuracy"] > 0.9


def test_a_layer_of_ones_own_is_trained():
    images, labels = quadrants()
    model = Model(Network((8, 8, 1), (Flatten(), Scale(0.5), Dense(3))), device="cpu")
    model.fit(images, labels, epochs=3)
    assert (model.parameters["1/a"] != 0.5).any()


def test_the_example_of_the_package():
    digits = gpucnn.data.load("digits")
    model = Model("softmax-regression", device="cpu")
    model.fit(digits.train_images, digits.train_labels, epochs=3)
    assert model.evaluate(digits.test_images, digits.test_labels)["accuracy"] > 0.75


# --- what does not fit


BAD_IMAGES = {
    "other size": (
        np.zeros((6, 9, 8, 1), np.uint8),
        r"images of shape \(6, 9, 8, 1\) and type uint8: \(N, 8, 8, 1\) as",
    ),
    "other channels": (np.zeros((6, 8, 8, 3), np.uint8), r"images of shape \(6, 8, 8, 3\)"),
    "no image": (np.zeros((8, 7), np.uint8), r"images of shape \(8, 7\)"),
    "floats above 1": (np.full((6, 8, 8, 1), 254.5), r"floats from 254\.5 to 254\.5, 0..1 was expected; hand over the"),
    "floats below 0": (np.full((6, 8, 8, 1), -1.0), "floats from -1 to -1, 0..1 was expected"),
    "whole numbers": (np.full((6, 8, 8, 1), 256), r"images: whole numbers from 256 to 256, 0\.\.255 was expected"),
    "complex": (np.zeros((6, 8, 8, 1), complex), "type complex128: .* or as floats in 0..1, was expected"),
    "texts": (["cat.png"] * 6, "cat.png: there is no such file"),
    "other sizes": ([np.zeros((8, 8)), np.zeros((8, 9))], "images: a list that is no array of numbers .* of one shape"),
    "nothing": (None, "images: None was given; give an array"),
    "nan": (
        np.full((6, 8, 8, 1), np.nan),
        "images: holds NaN or infinite values, in picture 1, and in 5 more; repl",
    ),
    "infinite": (np.full((6, 8, 8, 1), np.inf, np.float32), "NaN or infinite"),
}


@pytest.mark.parametrize(("images", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES)
@pytest.mark.filterwarnings("ignore:the model does not say how pictures become:UserWarning")
def test_images_that_do_not_fit(images, message):
    model, labels = tiny(), np.zeros(6, int)
    for call in (
        lambda: model.predict(images),
        lambda: model.predict_proba(images),
        lambda: model.logits(images),
        lambda: model.evaluate(images, labels),
        lambda: model.fit(images, labels),
        lambda: model.fit(*quadrants(), validation=(images, labels)),
    ):
        with pytest.raises(DataError, match=message):
            call()


BAD_LABELS = {
    "too few": (np.zeros(5, int), "(examples|validation): 6 pictures but 5 labels; one label per picture was expected"),
    "one-hot": (np.eye(6, 4, dtype=int), r"labels: found int64 \(6, 4\), one integer per picture"),
    "floats": (
        np.full(6, 0.5),
        r"labels: found float64 \(6,\), one integer per picture.* floats \(N, 1\), with a loss of",
    ),
    "one label": (1, "6 images and one label: a batch of them was expected"),
    "too large": (
        np.array([0, 1, 2, 3, 0, 1]),
        r"(examples|validation): labels run from 0 to 3, 0\.\.2 was expected for 3 classes",
    ),
    "negative": (np.array([0, 1, 2, -1, 0, 1]), r"labels run from -1 to 2, 0\.\.2 was expected"),
}


@pytest.mark.parametrize(("labels", "message"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_that_do_not_fit(labels, message):
    model, images = tiny(), np.zeros((6, 8, 8, 1), np.uint8)
    before = model.theta.copy()
    for call in (
        lambda: model.evaluate(images, labels),
        lambda: model.fit(images, labels),
        lambda: model.fit(*quadrants(), validation=(images, labels)),
    ):
        with pytest.raises(DataError, match=message):
            call()
    np.testing.assert_array_equal(model.theta, before)


def test_no_images_cannot_be_trained_on_or_evaluated():
    nothing = np.empty((0, 8, 8, 1), np.uint8), np.empty(0, int)
    for call in (
        lambda: tiny().fit(*nothing),
        lambda: tiny().evaluate(*nothing),
        lambda: tiny().fit(*quadrants(), validation=nothing),
    ):
        with pytest.raises(DataError, match=r"there are no (validation )?images; give at least one"):
            call()


class TestScalingOfFloats:
    """Scaling(floats=True): numbers are numbers, whatever their type and range."""

    IMAGES = np.random.default_rng(3).integers(0, 256, (40, 6, 6, 1), np.uint8)
    LABELS = np.arange(40) % 3

    def model(self, **how):
        network = Network((6, 6, 1), (Conv2D(2, 3), ReLU(), Flatten(), Dense(3)))
        scaling = Scaling(1 / 64, -2.0, floats=True)
        return gpucnn.Model(network, scaling=scaling, device="cpu", threads=1, **how)

    @pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.float64])
    def test_the_same_numbers_are_the_same_image_in_every_type(self, kind):
        first, other = self.model(dtype="float64"), self.model(dtype="float64")
        first.fit(self.IMAGES, self.LABELS, epochs=2, batch_size=16)
        other.fit(self.IMAGES.astype(kind), self.LABELS, epochs=2, batch_size=16)
        np.testing.assert_allclose(other.theta, first.theta, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(other.logits(self.IMAGES.astype(kind)), first.logits(self.IMAGES), rtol=1e-10)

    def test_the_network_sees_them_scaled(self):
        plain = gpucnn.Model(self.model().network, device="cpu", threads=1)
        halves = self.IMAGES / np.float32(255)
        scaled = gpucnn.Model(plain.network, scaling=Scaling(2.0, -0.5, floats=True), device="cpu", threads=1)
        inside = np.clip(halves * 2 - 0.5, 0, 1)
        np.testing.assert_allclose(scaled.logits((inside + 0.5) / 2), plain.logits(inside), rtol=1e-4, atol=1e-5)

    def test_any_range_is_taken_and_only_finite_numbers(self, tmp_path):
        model = self.model()
        images = self.IMAGES * np.float32(10) - 700
        model.fit(images, self.LABELS, epochs=1)
        loaded = gpucnn.load(model.save(tmp_path / "model"), device="cpu")
        assert loaded.scaling == model.scaling
        np.testing.assert_array_equal(loaded.logits(images), model.logits(images))
        images[3, 2, 2] = np.nan
        with pytest.raises(DataError, match="NaN or infinite"):
            model.predict(images)

    def test_what_is_neither_true_nor_false_is_refused(self):
        with pytest.raises(SettingError, match="True or False"):
            Scaling(floats=1)  # type: ignore[arg-type]
