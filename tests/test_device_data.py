"""Images on their way to a CUDA device: beside its work, in inference and, where they do not fit, in training."""

from __future__ import annotations

import copy
import gc
import sys
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import fake_cuda as fake
import numpy as np
import pytest
from conftest import usable_gpu
from fake_cuda import fake_cuda

from gpucnn import Model, Network
from gpucnn.device import Device, Staging
from gpucnn.engine import device_inference
from gpucnn.engine.recorded import WARM
from gpucnn.engine.streamed import StreamedStep
from gpucnn.errors import TrainingError
from gpucnn.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU
from gpucnn.losses import Loss
from gpucnn.training.augmentation import Augmentation

__all__ = ["fake_cuda"]

SMALL = Network((8, 8, 1), (Conv2D(2, 3, flip=True), ReLU(), MaxPool2D(), Flatten(), Dense(3)))
REFERENCE, FUSED, RECORDED = {"kernels": "reference"}, {"graph": False}, {}
needs_gpu = pytest.mark.skipif(not usable_gpu(), reason="no CUDA device can be used here")


@pytest.fixture
def sent(fake_cuda, monkeypatch):
    """The bytes of each copy beside the device's work."""
    monkeypatch.setattr(fake.Array, "sent", [])
    return fake.Array.sent


@pytest.fixture
def fetched(monkeypatch):
    """Shape and type of each array that comes to the host."""
    found, fetch = [], Device.fetch
    monkeypatch.setattr(Device, "fetch", lambda device, a: found.append((a.shape, a.dtype.name)) or fetch(device, a))
    return found


def examples(count, dtype="uint8", shape=(8, 8, 1)):
    rng = np.random.default_rng(3)
    if dtype == "uint8":
        images = rng.integers(0, 256, (count, *shape), np.uint8)
    else:
        images = rng.random((count, *shape)).astype(dtype)
    return images, rng.integers(0, 3, count)


def model_of(chunk=4, network=SMALL, device="cuda", **options):
    """chunk: images that inference takes at a time."""
    model = Model(network, device=device, **({"dtype": "float64", "threads": 1} | options))
    model.execution.chunk = chunk
    return model


# --- on the way


def test_bytes_arrive_in_order_however_far_the_host_is_ahead(fake_cuda):
    staging, here, there = Device("cuda").staging(5), [], []
    for number in range(7):
        room = staging.room()
        room[...] = number
        target = fake.empty((5,), np.uint8)
        staging.send(target)
        here.append(room.copy())
        there.append(target)
    np.testing.assert_array_equal(there, here)


def test_the_host_does_not_write_what_is_still_to_be_copied(fake_cuda):
    staging = Device("cuda").staging(2)
    rooms = [staging.room() for _ in range(3)]
    assert rooms[2] is rooms[0]
    stream = staging._stream
    targets = [fake.empty((2,), np.uint8) for _ in range(2)]
    for value, target in enumerate(targets):
        staging.room()[...] = value
        slot = staging._slot
        stream.has_waited = True
        slot.there.set(slot.host, stream=stream)  # given to the stream, and nobody has waited yet
        slot.copied.record(stream)
        target[...] = 9
    assert len(stream.waiting) == 2
    staging.room()
    assert len(stream.waiting) == 1


def test_a_way_to_the_device_that_nobody_needs_waits_for_its_copies(fake_cuda):
    staging = Device("cuda").staging(2)
    staging.room()
    stream, slot = staging._stream, staging._slot
    stream.has_waited = True
    slot.there.set(slot.host, stream=stream)
    del staging
    assert not stream.waiting


# --- inference


@pytest.mark.parametrize("options", [REFERENCE, FUSED, RECORDED], ids=["reference", "fused", "graph"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("count", [1, 4, 23])
def test_logits_classes_and_evaluation_are_the_cpus(count, dtype, options, fake_cuda):
    images, labels = examples(count, dtype)
    plain, ours = model_of(device="cpu"), model_of(**options)
    for _ in range(4):
        np.testing.assert_allclose(ours.logits(images), plain.logits(images), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.predict_proba(images), plain.predict_proba(images), rtol=1e-9)
    np.testing.assert_array_equal(ours.predict(images), plain.predict(images))
    assert ours.predict(images).dtype == np.int64
    found, expected = ours.evaluate(images, labels), plain.evaluate(images, labels)
    assert found == {**expected, "loss": pytest.approx(expected["loss"], rel=1e-9)}


def test_a_chunk_is_recorded_after_the_warm_ones(fake_cuda):
    model, (images, _) = model_of(**RECORDED), examples(23)
    model.logits(images)
    (chunk,) = model.execution._kept[1]._chunks.values()
    assert chunk.images.shape[0] == 4, "23 images are six chunks of 4"
    assert chunk._recording._graph.launches == 6 - WARM
    eager = model_of(**FUSED)
    for _ in range(3):
        np.testing.assert_array_equal(model.logits(images), eager.logits(images))


def test_a_recording_reads_the_parameters_as_they_are(fake_cuda):
    model, (images, _) = model_of(**RECORDED), examples(23)
    before = model.logits(images)
    model.theta *= 0.5
    expected = model_of(**FUSED)
    expected.theta[...] = model.theta
    found = model.logits(images)
    np.testing.assert_array_equal(found, expected.logits(images))
    assert not np.allclose(found, before)


def test_chunks_of_a_call_are_equal_and_few_sizes_are_kept(fake_cuda):
    model = model_of(chunk=10, **RECORDED)
    for count in (21, 25, 8, 21):
        model.logits(examples(count)[0])
        assert len(model.execution._kept[1]._chunks) <= device_inference.SIZES
    assert [size for size, _ in model.execution._kept[1]._chunks] == [8, 7]


def test_images_are_sent_once_and_results_come_home_once(sent, fetched):
    model, (images, labels) = model_of(chunk=6, **RECORDED), examples(23)
    for look, expected in (
        (model.logits, ((23, 3), "float64")),
        (model.predict, ((23,), "int64")),
        (lambda x: model.evaluate(x, labels), ((2,), "float64")),
    ):
        sent.clear(), fetched.clear()
        look(images)
        assert sent == [6 * 64] * 4
        assert fetched == [expected]


def test_a_model_that_nobody_needs_frees_its_recordings_at_once(fake_cuda):
    model, (images, _) = model_of(**RECORDED), examples(23)
    model.logits(images)
    (chunk,) = model.execution._kept[1]._chunks.values()
    gone = weakref.ref(chunk)
    gc.disable()
    try:
        del model, chunk
        assert gone() is None
    finally:
        gc.enable()


def test_threads_that_predict_together_get_their_own_images_answers(fake_cuda, monkeypatch):
    model, (images, _) = model_of(chunk=5, **FUSED), examples(20)
    expected, send = model_of(chunk=5, **FUSED).logits(images), Staging.send

    def slowly(staging, target):
        time.sleep(0.01)  # lets the other thread in
        send(staging, target)

    monkeypatch.setattr(Staging, "send", slowly)
    halves = images[:10], images[10:]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(model.logits, halves))
    np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("options", [REFERENCE, RECORDED], ids=["reference", "graph"])
def test_a_copy_of_a_model_is_independent(options, fake_cuda):
    model, (images, labels) = model_of(**options), examples(23)
    before = model.logits(images)
    other = copy.deepcopy(model)
    model.fit(images, labels, epochs=1)
    np.testing.assert_array_equal(other.logits(images), before)
    assert not np.allclose(model.logits(images), before)


def test_many_logits_come_home_in_pieces(fetched, fake_cuda, monkeypatch):
    monkeypatch.setattr(device_inference, "TOGETHER", 9 * 3 * 8)
    model, (images, labels) = model_of(chunk=4, **RECORDED), examples(22)
    assert model.logits(images).shape == (22, 3)
    assert [shape for shape, _ in fetched] == [(8, 3), (8, 3), (6, 3)]
    expected = model_of(device="cpu").evaluate(images, labels)
    assert model.evaluate(images, labels) == {**expected, "loss": pytest.approx(expected["loss"], rel=1e-9)}


def test_no_images_have_no_classes(fake_cuda):
    for device in ("cpu", "cuda"):
        model, nothing = model_of(device=device), np.zeros((0, 8, 8, 1), np.uint8)
        assert model.logits(nothing).shape == model.predict_proba(nothing).shape == (0, 3)
        assert model.predict(nothing).shape == (0,)


@dataclass(frozen=True)
class Centred(Layer):
    """Outputs depend on the other images of a chunk."""

    def forward(self, params, x, context):
        return x - x.mean(axis=0), None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy - dy.mean(axis=0), {}


def test_a_layer_of_ones_own_is_not_recorded_and_sees_no_stale_images(fake_cuda):
    network = Network((8, 8, 1), (Flatten(), Dense(3), Centred()))
    (images, _), plain = examples(7), model_of(network=network, device="cpu")
    model = model_of(network=network, **RECORDED)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = [model.logits(images) for _ in range(2)]
    told = [str(each.message) for each in said if "no CUDA graph" in str(each.message)]
    assert told == [
        "no CUDA graph: Centred is not gpucnn's own, and what it copies from the host would be recorded once; "
        "inference goes on kernel by kernel"
    ]
    with pytest.warns(UserWarning, match="depends on the images beside it"):
        expected = [plain.logits(images[part]) for part in (slice(0, 4), slice(4, 7))]
    np.testing.assert_allclose(found, [np.concatenate(expected)] * 2, rtol=1e-9, atol=1e-12)


def test_inference_that_waits_for_the_device_goes_on_eagerly(fake_cuda, monkeypatch):
    model, (images, _) = model_of(**RECORDED), examples(23)
    expected, forward = model_of(device="cpu").logits(images), Network.outputs

    def waits(network, params, x, context):
        fake.asnumpy(x)
        return forward(network, params, x, context)

    monkeypatch.setattr(Network, "outputs", waits)
    with pytest.warns(UserWarning, match=r"no CUDA graph: recording inference failed .*CaptureUnsupported") as said:
        found = [model.logits(images) for _ in range(2)]
    assert len(said) == 1
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-9)


def test_a_loss_of_numbers_is_evaluated_on_the_device(fake_cuda):
    class Squared(Loss):
        numbers = True

        def __call__(self, logits, targets):
            return ((logits - targets) ** 2).sum(axis=1), 2 * (logits - targets)

    images, targets = examples(9)[0], np.random.default_rng(0).random((9, 3))
    found, expected = (model_of(device=each, loss=Squared()).evaluate(images, targets) for each in ("cuda", "cpu"))
    assert found == pytest.approx(expected, rel=1e-9)
    assert {"loss", "r2", "examples"} < set(found)


def test_validation_stays_on_the_device_between_epochs(sent, fetched):
    model, (images, labels) = model_of(**RECORDED), examples(23)
    model.fit(images, labels, epochs=3, batch_size=8, validation=(images[:9], labels[:9]))
    assert not sent
    assert fetched == [((3,), "float64"), ((2,), "float64")] * 3


# --- training on more than fits


@pytest.fixture
def limited(fake_cuda, monkeypatch):
    """Lets CuPy's pool seem to have so many bytes, and none used."""

    def limit(size):
        monkeypatch.setattr(sys.modules["cupy"].get_default_memory_pool(), "get_limit", lambda: size)

    return limit


@dataclass(frozen=True)
class Noisy(Layer):
    """Adds random numbers in training."""

    has_place = True

    def forward(self, params, x, context):
        return (x + context.uniform(tuple(x.shape[1:]), x.dtype) if context.training else x), None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy, {}


NOISY = Network((8, 8, 1), (Conv2D(2, 3), ReLU(), Noisy(), MaxPool2D(), Flatten(), Dense(3)))


def fitted(limit, limited, network=SMALL, images=None, dtype="uint8", **options):
    """-> theta and what the epochs showed; limit: of the device's bytes."""
    limited(limit)
    given, labels = examples(29, dtype)
    held = examples(9)
    more = {name: options.pop(name) for name in ("augmentation", "sample_weight") if name in options}
    model = model_of(network=network, **options)
    history = model.fit(given if images is None else images, labels, epochs=4, batch_size=8, validation=held, **more)
    shown = [(each.train_loss, each.validation_loss, each.validation_accuracy) for each in history.epochs]
    return model.device.fetch(model.theta), shown


LITTLE, MUCH = 1 << 10, 1 << 30
NOT_RECORDED = "ignore:no CUDA graph"
WEIGHTS = np.random.default_rng(5).random(29)
SHIFT = Augmentation(shift=1, flip=True)


@pytest.mark.filterwarnings(NOT_RECORDED)
@pytest.mark.parametrize(
    ("more", "options"),
    [
        (more, options)
        for more in (
            {},
            {"augmentation": SHIFT},
            {"augmentation": "flip=alternate,rotate=9,mixup=1", "sample_weight": WEIGHTS},
            {"sample_weight": WEIGHTS},
            {"dtype": "float32"},
            {"network": NOISY},
        )
        for options in (REFERENCE, FUSED, RECORDED)
    ],
)
def test_a_data_set_larger_than_the_device_gives_the_same_bits(more, options, limited, sent):
    expected = fitted(MUCH, limited, **more, **options)
    assert not sent
    with pytest.warns(UserWarning, match=r"do not fit into the 0 MB free on cuda:0 beside training, so its batches"):
        found = fitted(LITTLE, limited, **more, **options)
    assert len(sent) == 4 * 4 + 4 * 3, "four batches and three chunks of the validation set in each epoch"
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


def test_a_streamed_step_is_recorded_once(limited, sent, monkeypatch):
    recorded, record = [], Device.record
    monkeypatch.setattr(Device, "record", lambda device, work: recorded.append(record(device, work)) or recorded[-1])
    with pytest.warns(UserWarning, match="one by one"):
        fitted(LITTLE, limited, **RECORDED)
    assert [each._graph.launches for each in recorded] == [4 * 3 - WARM, 4 * 3 - WARM], "training, validation"


def test_a_data_set_that_is_not_in_order_is_streamed_too(limited):
    images = np.asfortranarray(examples(29)[0])
    expected = fitted(MUCH, limited, images=images, **FUSED)
    with pytest.warns(UserWarning, match="one by one"):
        found = fitted(LITTLE, limited, images=images, **FUSED)
    np.testing.assert_array_equal(found[0], expected[0])


def test_where_the_copy_does_not_fit_after_all_it_is_streamed(limited, monkeypatch):
    expected, put = fitted(MUCH, limited, **FUSED), Device.put

    def too_little(device, array):
        if device.kind == "cuda" and array.shape[1:] == (8, 8, 1):
            raise MemoryError
        return put(device, array)

    monkeypatch.setattr(Device, "put", too_little)
    with pytest.warns(UserWarning, match="one by one"):
        found = fitted(MUCH, limited, **FUSED)
    np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.filterwarnings("ignore:.* one by one", "ignore:.* another run")
def test_a_streamed_run_goes_on_where_it_was_cut_off(limited, tmp_path):
    (images, labels), found = examples(29), []
    limited(LITTLE)
    for parts in ([4], [2, 4]):
        for epochs in parts:
            model = model_of(**RECORDED)
            model.fit(images, labels, epochs=epochs, batch_size=8, resume=tmp_path / str(len(parts)), anyway=True)
        found.append(model.device.fetch(model.theta))
    np.testing.assert_array_equal(*found)


@pytest.mark.filterwarnings("ignore:.* one by one")
def test_a_streamed_run_says_which_layer_is_not_finite(limited):
    said = []
    for limit in (MUCH, LITTLE):
        limited(limit)
        model = model_of(**FUSED)
        with pytest.raises(TrainingError, match=r"began in batch \d+ of epoch \d+") as error:
            model.fit(*examples(29), epochs=4, batch_size=8, lr=1e30, optimizer="sgd")
        said.append(str(error.value))
    assert said[0] == said[1]


def test_a_data_set_that_fits_says_nothing(limited):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(MUCH, limited, **RECORDED)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("augmentation", [None, "shift=2,flip"])
def test_streamed_training_on_a_gpu_gives_the_bits_of_resident_data(augmentation, monkeypatch):
    """With a limit of CuPy's pool below the images' 94 MB that leaves cuBLAS its 34 MB and training what it needs."""
    import cupy

    images, labels = examples(120_000, shape=(28, 28, 1))
    network, pool, found, streamed = Network((28, 28, 1), SMALL.layers), cupy.get_default_memory_pool(), [], []
    make = StreamedStep.__init__
    monkeypatch.setattr(StreamedStep, "__init__", lambda *arguments: streamed.append(1) or make(*arguments))
    for limited in (False, True):
        model = Model(network, device="cuda", graph=True)
        pool.free_all_blocks()
        pool.set_limit(size=pool.used_bytes() + (80 << 20) if limited else 0)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".* one by one")
                model.fit(images, labels, epochs=1, batch_size=128, augmentation=augmentation)
        finally:
            pool.set_limit(size=0)
        found.append(model.device.fetch(model.theta))
    assert len(streamed) == 1
    np.testing.assert_array_equal(*found)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("count", [1, 1000, 10_007])
def test_inference_on_a_gpu_is_the_cpus(count):
    images, labels = examples(count, shape=(28, 28, 1))
    plain, ours = Model("two-conv", device="cpu"), Model("two-conv", device="cuda", graph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [ours.logits(images) for _ in range(4)]
    np.testing.assert_allclose(found[0], plain.logits(images), rtol=1e-3, atol=1e-4)
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])
    np.testing.assert_array_equal(ours.predict(images), found[0].argmax(axis=1))
    assert ours.evaluate(images, labels)["loss"] == pytest.approx(plain.evaluate(images, labels)["loss"], rel=1e-4)


@pytest.mark.filterwarnings(NOT_RECORDED)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("options", [FUSED, RECORDED], ids=["fused", "graph"])
@pytest.mark.parametrize("how", [None, "shift=1,rotate=5,brightness=0.1", "flip,mixup=0.3", "mixup=1,cutmix=1"])
def test_training_on_bytes_and_floats_is_the_cpus(how, options, dtype, fake_cuda):
    images, labels = examples(23, dtype)
    plain, ours = model_of(device="cpu"), model_of(**options)
    for model in (plain, ours):
        model.fit(images, labels, epochs=4, batch_size=5, augmentation=how)
    np.testing.assert_allclose(ours.device.fetch(ours.theta), plain.theta, rtol=1e-9, atol=1e-12)
