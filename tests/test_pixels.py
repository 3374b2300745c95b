"""Floats, whole numbers and truth values as pixels: the same by every door, and as fine as they were given."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import gpucnn
from gpucnn import command as cli
from gpucnn import data
from gpucnn.data import Dataset
from gpucnn.errors import DataError
from gpucnn.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU

pytestmark = pytest.mark.usefixtures("blank_pictures")

RNG = np.random.default_rng(0)
LABELS = np.arange(120) % 3
BYTES = RNG.integers(0, 256, (120, 8, 8), dtype=np.uint8)
BYTES[0, 0, :2] = 0, 255
NARROW = 0.5 + RNG.uniform(0, 0.0003, (120, 8, 8))
for k in range(3):
    NARROW[k == LABELS, :, 2 * k : 2 * k + 3] += 0.001


def in_npz(folder, images):
    np.savez(folder / "t.npz", images=images, labels=LABELS)
    return folder / "t.npz"


def in_npy(folder, images):
    (folder / "t").mkdir()
    np.save(folder / "t" / "images.npy", images)
    np.save(folder / "t" / "labels.npy", LABELS)
    return folder / "t"


def in_csv(folder, images):
    with open(folder / "t.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["label", *(f"pixel{k}" for k in range(64))])
        rows.writerows([label, *image.ravel().tolist()] for label, image in zip(LABELS, images))
    return folder / "t.csv"


def in_parquet(folder, images):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    columns = {f"pixel{k}": images.reshape(120, 64)[:, k] for k in range(64)}
    parquet.write_table(pyarrow.table({"label": LABELS, **columns}), folder / "t.parquet")
    return folder / "t.parquet"


DOORS = [in_npz, in_npy, in_csv, in_parquet]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_stay_as_fine_as_they_are(door, dtype, tmp_path):
    loaded = data.load(door(tmp_path, NARROW.astype(dtype)))
    expected = {image.tobytes() for image in NARROW.astype(np.float32)}
    assert loaded.train_images.dtype == loaded.test_images.dtype == np.float32
    assert {image.tobytes() for image in loaded.part("all")[0]} == expected
    said = [note for note in loaded.notes if "kept as they are, as float32" in note]
    assert len(said) == 1
    assert "they lie in 0.5 to 0.501" in said[0]
    assert "BatchNorm()" in said[0]


DIVIDED = {
    "float32": (lambda x: x.astype(np.float32) / np.float32(255), ()),
    "times": (lambda x: x.astype(np.float32) * np.float32(1 / 255), ()),
    "float64": (lambda x: x / 255, ()),
    "standardised and back": (lambda x: ((x / 255).astype(np.float32) - np.float32(0.5)) / 2 * 2 + np.float32(0.5), ()),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("change", [change for change, _ in DIVIDED.values()], ids=DIVIDED)
def test_bytes_that_were_divided_by_255_are_bytes_again(door, change, tmp_path):
    loaded = data.load(door(tmp_path, change(BYTES)))
    assert {image.tobytes() for image in loaded.part("all")[0]} == {image.tobytes() for image in BYTES}
    assert not any("float32" in note for note in loaded.notes)


def test_floats_of_16_bits_that_were_divided_by_255_are_bytes_again(tmp_path):
    loaded = data.load(in_npz(tmp_path, (BYTES / 255).astype(np.float16)))
    assert {image.tobytes() for image in loaded.part("all")[0]} == {image.tobytes() for image in BYTES}
    faint = data.load(in_npy(tmp_path, BYTES / 2.0**31))
    assert faint.train_images.dtype == np.float32  # and not black
    assert faint.train_images.any()


def test_parts_of_which_one_is_finer_are_all_floats(tmp_path):
    fine = RNG.uniform(0, 1, (30, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "t.npz", x_train=BYTES, y_train=LABELS, x_test=fine, y_test=LABELS[:30])
    loaded = data.load(tmp_path / "t.npz")
    np.testing.assert_array_equal(loaded.test_images[..., 0], fine)
    np.testing.assert_allclose(loaded.train_images[..., 0], BYTES / 255, rtol=1e-6)
    assert any("x_test: floats that 8 bits would round" in note for note in loaded.notes)
    assert not any("x_train" in note for note in loaded.notes)


def test_a_data_set_of_floats_by_hand():
    floats = (BYTES / 255).astype(np.float32)[..., None]
    made = Dataset("toy", floats[:60], LABELS[:60], floats[60:], LABELS[60:], ("a", "b", "c"))
    assert made.select_classes([0, 1]).train_images.dtype == np.float32
    for change, says in (
        (lambda x: x * 2, r"toy: train_images: floats from 0 to 2, 0\.\.1 was expected"),
        (lambda x: np.where(x == 0, np.nan, x).astype(np.float32), r"train_images: holds NaN .* in picture 1"),
        (lambda x: BYTES[:60, ..., None], "images are uint8 in one part, and float32 in another"),
        (lambda x: x.astype(np.float64), "found float64 .* a uint8 array .* float32 in 0..1, was expected"),
    ):
        with pytest.raises(DataError, match=says):
            Dataset("toy", change(floats[:60]), LABELS[:60], floats[60:], LABELS[60:], ("a", "b", "c"))


@pytest.fixture
def gpucnn_(monkeypatch, capsys, tmp_path):
    """gpucnn_("data", "show", ...) -> standard output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["gpucnn", *map(str, arguments)])
        status, (out, err) = cli.main(), capsys.readouterr()
        assert status == 0, err
        return out

    return run


def test_all_commands_take_floats(tmp_path, gpucnn_):
    wide = ((NARROW - NARROW.min()) / (NARROW.max() - NARROW.min())).astype(np.float32)
    found, softmax = in_npz(tmp_path, wide), "softmax-regression"
    own = ("--data", found, "--device", "cpu", "--threads", "1")
    gpucnn_("data", "show", found, "--out", "sheet.png")
    gpucnn_("augment", found, "--augment", "shift=1,rotate=9,brightness=0.1,mixup=0.2", "--out", "changed.png")
    gpucnn_("lr", softmax, *own, "--updates", "20", "--out", "lr.png")
    gpucnn_("compare", softmax, "--data", found, "--devices", "cpu", "--steps", "2")
    gpucnn_("train", softmax, *own, "--epochs", "5", "--augment", "shift=1,mixup=0.2", "--out", "run")
    gpucnn_("train", "--resume", "run", "--epochs", "6")
    said = gpucnn_("evaluate", "run/model.safetensors", "--data", found, "--report", "--out", "report")
    assert "24 of 120" in said
    loaded = data.load(found)
    fitted = gpucnn.Model(softmax, data=loaded, device="cpu", threads=1)
    fitted.fit(loaded.train_images, loaded.train_labels, epochs=1)
    fitted.save("python.safetensors")
    whole = gpucnn_("evaluate", "python.safetensors", "--data", found, "--part", "all", "--json")
    expected = fitted.evaluate(wide[..., None], LABELS)
    assert json.loads(whole)["accuracy"] == pytest.approx(expected["accuracy"], abs=1e-9)


def test_what_refused_counts_are_advised_leads_to_a_good_model(tmp_path):
    """Counts of a camera, of 16 bits or with a dark level below 0, that differ by a few hundred."""
    for lowest, dtype in ((1000, np.uint16), (-100, np.int16)):
        counts = (lowest + 120 * (NARROW - NARROW.min()) / (NARROW.max() - NARROW.min())).astype(dtype)
        folder = tmp_path / str(lowest)
        folder.mkdir()
        if lowest < 0:
            with pytest.raises(
                DataError, match=r"bring them into 0\.\.1, \(x - a\) / \(b - a\) .* a <= -100 and b >= 20"
            ):
                data.load(in_npz(folder, counts))
        else:
            with pytest.raises(DataError, match=r"whole numbers from 1000 to 1120, .* a <= 1000 and b >= 1120 for all"):
                data.load(in_npz(folder, counts))
        loaded = data.load(in_npz(folder, (counts - float(lowest)) / 120))
        assert len(np.unique(loaded.part("all")[0])) == len(np.unique(counts)) > 50
        block = Conv2D(4, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)
        model = gpucnn.Model(gpucnn.Network((8, 8, 1), block), device="cpu", threads=1)
        model.fit(loaded.train_images, loaded.train_labels, epochs=30, lr=0.01, batch_size=16)
        assert model.score(loaded.test_images, loaded.test_labels) == 1


def test_narrow_floats_are_learnt_behind_a_batch_norm(tmp_path):
    loaded = data.load(in_npz(tmp_path, NARROW))
    network = gpucnn.Network((8, 8, 1), (BatchNorm(), Flatten(), Dense(3)))
    model = gpucnn.Model(network, device="cpu", threads=1)
    model.fit(loaded.train_images, loaded.train_labels, epochs=60, lr=0.01, batch_size=16)
    assert model.score(loaded.test_images, loaded.test_labels) == 1


@pytest.mark.parametrize(
    ("train", "test", "expected", "says"),
    [
        (lambda x: x.astype(int), lambda x: x.astype(int) % 15, 1, "x_test: whole numbers to 14 are taken as 0..255"),
        (lambda x: x.astype(int), lambda x: x.astype(int) % 2, 1, ""),
        (lambda x: x, lambda x: x % 2, 1, ""),
        (lambda x: x.astype(float), lambda x: x % 2.0, 1, "x_train: whole numbers to 255 are taken as 0..255"),
        (lambda x: x, lambda x: x.astype(int) % 15, 1, "x_test: whole numbers to 14 are taken as 0..255"),
        (lambda x: x % 17.0, lambda x: x % 15.0, 255 / 16, "x_test: values run to 14; 16 is taken as white"),
        (lambda x: x % 17, lambda x: x.astype(int) % 15, 1, "x_train: whole numbers to 16 are taken as 0..255, nearly"),
        (lambda x: x % 2, lambda x: x.astype(int) % 2, 255, "x_test: pixels are 0 and 1; 1 is taken as white"),
        (lambda x: x, lambda x: x % 2.0, 255, ""),
        (lambda x: x, lambda x: x % 2 == 1, 255, ""),
    ],
)
def test_what_is_white_is_one_thing_in_all_parts(train, test, expected, says, tmp_path):
    first, second = train(BYTES), test(BYTES[:30])
    np.savez(tmp_path / "t.npz", x_train=first, y_train=LABELS, x_test=second, y_test=LABELS[:30])
    loaded = data.load(tmp_path / "t.npz")
    np.testing.assert_array_equal(loaded.test_images[..., 0], np.rint(expected * second.astype(float)))
    assert says in " ".join(loaded.notes)
    assert bool(says) == bool(loaded.notes)
