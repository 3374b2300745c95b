"""Augmentation: what is drawn, what becomes of images, and that every device and every split does the same."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from conftest import Library
from fake_cuda import asarray, fake_cuda

from gpucnn import Model
from gpucnn.command import main
from gpucnn.engine.recorded import WARM
from gpucnn.engine.scaling import Scaling
from gpucnn.errors import SettingError
from gpucnn.kernels import cuda
from gpucnn.kernels.random import below, bits
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.model.fitting import Fitting
from gpucnn.network import Network
from gpucnn.optimizers import SGD
from gpucnn.schedules import constant
from gpucnn.training import Plan
from gpucnn.training.augmentation import Augmentation

pytestmark = pytest.mark.usefixtures("blank_pictures")

__all__ = ["fake_cuda"]

SMALL = Network((9, 8, 2), (Conv2D(2, 3), ReLU(), MaxPool2D(), Flatten(), Dense(3)))
HOW = Augmentation(shift=3, flip=True, key=7)


def pictures(count: int, shape: tuple[int, ...] = (9, 8, 2)) -> np.ndarray:
    return np.random.default_rng(5).integers(1, 256, (count, *shape), dtype=np.uint8)


def lowbias32(x: int) -> int:
    """The hash as published."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


def changed(image: np.ndarray, down: int, right: int, mirrored: int) -> np.ndarray:
    """One image, pixel by pixel."""
    H, W, _ = image.shape
    out = np.zeros_like(image)
    for h, w in itertools.product(range(H), range(W)):
        row, column = h - down, w - right
        if 0 <= row < H and 0 <= column < W:
            out[h, w] = image[row, W - 1 - column if mirrored else column]
    return out


@pytest.mark.parametrize("counters", [(), (0,), (3, 2**32 + 5, 1), (2**32 - 1, 2**40)])
def test_bits_are_the_published_hash(counters, library: Library):
    state = lowbias32(9)
    for counter in counters:
        state = lowbias32(state ^ counter % 2**32)
    assert bits(9, *counters) == state
    arrays = [library.put(np.asarray([counter, counter], np.int64)) for counter in counters]
    np.testing.assert_array_equal(library.fetch(bits(9, *arrays)) if arrays else state, state)


def test_bits_are_spread_evenly():
    drawn = bits(1, 17, np.arange(70_000), 2)
    for n in (2, 5, 7):
        counts = np.bincount(below(n, drawn), minlength=n)
        assert len(counts) == n
        assert abs(counts / 70_000 * n - 1).max() < 0.03
    for shift in range(32):
        assert abs((drawn >> shift & 1).mean() - 0.5) < 0.01
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(drawn, bits(1, 18, np.arange(70_000), 2))[0, 1]) < 0.02


@pytest.mark.parametrize("how", [HOW, Augmentation(shift=2), Augmentation(flip=True, key=3)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_move_and_turn_as_drawn(how, dtype, library: Library):
    images, indices = pictures(30).astype(dtype), np.arange(30, dtype=np.int64) * 11
    found = library.fetch(how(library.put(images), library.put(indices), 4))
    assert found.dtype == dtype
    drawn = list(zip(*how.draw(indices, 4)))
    np.testing.assert_array_equal(found, [changed(image, *each) for image, each in zip(images, drawn)])


def test_every_change_comes_up():
    down, right, mirrored = HOW.draw(np.arange(3000), 1)
    assert set(zip(down, right, mirrored)) == set(itertools.product(range(-3, 4), range(-3, 4), (0, 1)))
    assert not any(map(np.any, Augmentation(flip=True).draw(np.arange(50), 1)[:2]))
    assert not np.any(Augmentation(shift=1).draw(np.arange(50), 1)[2])


def test_an_image_changes_from_update_to_update_but_not_with_its_place_in_the_batch():
    images, indices = pictures(6), np.asarray([4, 9, 2, 2, 70, 1])
    whole = HOW(images, indices, 3)
    parts = [HOW(images[k : k + 2], indices[k : k + 2], 3) for k in (0, 2, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(whole[::-1], HOW(images[::-1], indices[::-1], 3))
    later = [HOW(images, indices, step) for step in range(4, 30)]
    assert len({each.tobytes() for each in later}) == len(later)
    assert HOW(images[:0], indices[:0], 3).shape == (0, 9, 8, 2)


def fitted(augmentation, seed=0, **options) -> Model:
    model = Model(SMALL, seed=2, dtype="float64", **{"device": "cpu", "threads": 1, **options})
    model.fit(pictures(50), np.arange(50) % 3, epochs=2, batch_size=20, augmentation=augmentation, lr=0.01, seed=seed)
    return model


def test_training_sees_the_changed_images():
    """One update of one epoch without shuffling to speak of: the gradient of the images that were drawn."""
    images, labels = pictures(12), np.arange(12) % 3
    found, expected = (Model(SMALL, device="cpu", threads=1, dtype="float64") for _ in range(2))
    step = found.execution.step(found.loss, SGD(), augmentation=HOW)
    plain = expected.execution.step(expected.loss, SGD())
    order = np.random.default_rng(0).permutation(12)
    for number in (1, 2):
        losses = step(images, labels, order, 0.1)
        same = plain(HOW(images[order], order, number), labels[order], np.arange(12), 0.1)
        np.testing.assert_array_equal(losses, same)
    np.testing.assert_array_equal(found.theta, expected.theta)


def test_threads_see_the_same_images(monkeypatch):
    monkeypatch.setattr("gpucnn.engine.sharded_step.WORTH_A_WORKER", 1)
    one, two = fitted(HOW), fitted(HOW, threads=2)
    np.testing.assert_allclose(one.theta, two.theta, rtol=1e-10, atol=1e-12)


def test_seeds_draw_differently_and_texts_mean_the_same():
    assert np.array_equal(fitted("shift=3, flip").theta, fitted(Augmentation(3, True)).theta)
    assert not np.array_equal(fitted("shift=3").theta, fitted(None).theta)
    models = [Model(SMALL, device="cpu", threads=1) for _ in range(2)]
    assert not np.array_equal(fitted("shift=3", seed=0).theta, fitted("shift=3", seed=1).theta)
    plan, images, labels = Plan(1, 8, 0.1, constant), pictures(8), np.zeros(8, int)
    keys = {
        Fitting(model, images, labels, plan, SGD(), None, augmentation=HOW, seed=seed).augmentation.key
        for seed in range(50)
        for model in models
    }
    assert len(keys) == 50


@pytest.mark.parametrize("wide", [False, True], ids=["int", "long long"])
@pytest.mark.parametrize("how", [HOW, Augmentation(shift=2), Augmentation(flip=True, key=2**32 - 1)], ids=str)
def test_the_kernel_gathers_the_changed_images(how, wide, fake_cuda, monkeypatch):
    if wide:
        monkeypatch.setattr(cuda, "MOST", 10)
    table = cuda.table("float32", "float64")
    images, order = pictures(40), np.random.default_rng(0).permutation(40)[:13]
    moment = table.begin(asarray(order), 0.1, 123_456, SGD())
    x = table.gather(asarray(images), moment, np.float64, Scaling(1 / 255, -0.5), how)
    expected = how(images[order], order, 123_456) * (1 / 255) - 0.5
    np.testing.assert_allclose(x, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("floats", [False, True], ids=["uint8", "floats"])
def test_fused_steps_train_on_the_same_images(graph, floats, fake_cuda):
    if graph and floats:
        pytest.skip("the stand-in for CuPy does not see what is written into arrays that it has not made")
    images, labels = pictures(50), np.arange(50) % 3
    images = images / 255 if floats else images
    losses = []
    for options in ({"device": "cpu", "threads": 1}, {"device": "cuda", "graph": graph}):
        model = Model(SMALL, dtype="float64", **options)
        step, put = model.execution.step(model.loss, SGD(), augmentation=HOW), model.device.put
        stored, targets, order = put(images), put(labels), put(np.arange(20))
        losses.append([model.device.fetch(step(stored, targets, order, 0.1)) for _ in range(WARM + 3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)
    if graph:
        assert step._recorded.recording._graph.launches == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "shift=PIXELS, rotate=DEGREES.*, reflect, with commas between"),
        ("shift", "shift=PIXELS"),
        ("shift=-1", "shift=PIXELS"),
        ("shift=1.5", "shift=PIXELS"),
        ("flip=1", "flip=1 cannot be read, flip or flip=alternate was"),
        ("rotat=3", "'rotat=3' is not known; did you mean rotate=DEGREES"),
        ("shift=0", "nothing is changed"),
        ("shift=8", "choose a smaller shift"),
        ("shift=2,shift=3", "shift stands there twice"),
        (2, "an Augmentation, or a text"),
    ],
)
def test_senseless_settings_are_refused(text, sentence):
    with pytest.raises(SettingError, match=sentence):
        fitted(text)
    for wrong in ({"shift": 1.0}, {"shift": 2**20}, {"flip": "no"}, {"shift": 1, "key": None}):
        with pytest.raises(SettingError, match="expected"):
            Augmentation(**wrong)
    with pytest.raises(SettingError, match=r"no rows and columns.*Flatten"):
        Augmentation(flip=True).check((16,))


def test_the_command_augments(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = []
    for k, more in enumerate((["--augment", "shift=1"], ["--augment", "shift=1"], [])):
        arguments = ["train", "single-filter", "--epochs", "1", "--device", "cpu", "--json", "--out", f"run{k}", *more]
        monkeypatch.setattr("sys.argv", ["gpucnn", *arguments])
        assert main() == 0
        found.append(json.loads(capsys.readouterr().out)["train_loss"])
    assert found[0] == found[1] != found[2]
    metrics = (tmp_path / "run0" / "metrics.jsonl").read_text()
    for text, sentence in (("turn", "augmentation 'turn'"), ("shift=99", "choose a smaller shift")):
        monkeypatch.setattr(
            "sys.argv", ["gpucnn", "train", "single-filter", "--augment", text, "--out", "run0", "--force"]
        )
        assert main() == 1
        assert sentence in capsys.readouterr().err
        assert (tmp_path / "run0" / "metrics.jsonl").read_text() == metrics
