"""How many pictures are read at once, and how much of a large JPEG is decoded."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from gpucnn import data
from gpucnn.data import pictures
from gpucnn.errors import DataError

ROTATED = 6  # EXIF's value of a picture that is to be turned by 90 degrees clockwise


def photograph(height: int, width: int, seed: int = 0) -> Image.Image:
    """Coarse shapes, finer ones on them, and noise."""
    rng, made = np.random.default_rng(seed), np.zeros((height, width, 3))
    for cells, strength in ((5, 90), (40, 40)):
        values = rng.uniform(-1, 1, (cells, cells, 3)) * strength
        coarse = Image.fromarray((values + 128).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        made += np.asarray(coarse, float) - 128
    return Image.fromarray(np.clip(made + 128 + rng.normal(0, 10, made.shape), 0, 255).astype(np.uint8))


@pytest.fixture
def decoded(monkeypatch):
    """The sizes (width, height) at which JPEG files are decoded."""
    sizes, load = [], JpegImagePlugin.JpegImageFile.load

    def noted(self):
        if self.fp is not None and sizes[-1:] != [self.size]:
            sizes.append(self.size)
        return load(self)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", noted)
    return sizes


@pytest.mark.parametrize(
    ("stored", "wanted", "left"),
    [
        ((480, 640), (32, 32), (160, 120)),
        ((480, 640), (24, 32), (80, 60)),
        ((480, 640), (120, 160), (320, 240)),
        ((480, 640), (121, 160), (640, 480)),
        ((480, 640), (200, 300), (640, 480)),
        ((60, 1600), (32, 32), (1600, 60)),
        ((1200, 1600), (8, 8), (200, 150)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_jpeg_is_decoded_smaller(tmp_path, decoded, stored, wanted, left, channels):
    """At least twice as large as it is wanted; what comes out is what all pixels give, but for a few steps of 255."""
    photograph(*stored).save(tmp_path / "p.jpg", quality=92)
    found = data.read_pictures([tmp_path / "p.jpg"], data.Preprocessing(wanted, channels))[0]
    assert decoded == [left]
    with Image.open(tmp_path / "p.jpg") as whole:
        same = pictures.brought(whole, "whole", data.Preprocessing(wanted, channels)).astype(float)
    differences = np.abs(found - same)
    if left == stored[::-1]:
        assert not differences.any()
    else:
        assert differences.mean() < 1
        assert differences.max() <= 8


def test_a_large_jpeg_that_lies_is_decoded_smaller(tmp_path, decoded):
    """What counts is its size once it is turned."""
    upright = photograph(1600, 400)
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = ROTATED
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "p.jpg", exif=exif, quality=92)
    upright.save(tmp_path / "upright.jpg", quality=92)
    how = data.Preprocessing((200, 50), 3)
    found, same = data.read_pictures([tmp_path / "p.jpg", tmp_path / "upright.jpg"], how).astype(float)
    assert sorted(decoded) == [(100, 400), (400, 100)]
    assert np.abs(found - same).mean() < 1


def test_cmyk_and_grey_jpegs_are_decoded_smaller(tmp_path, decoded):
    picture = photograph(400, 400)
    for mode in ("CMYK", "L"):
        picture.convert(mode).save(tmp_path / f"{mode}.jpg", quality=92)
        found = data.read_pictures([tmp_path / f"{mode}.jpg"], data.Preprocessing((20, 20), 3))[0].astype(float)
        with Image.open(tmp_path / f"{mode}.jpg") as whole:
            same = pictures.brought(whole, mode, data.Preprocessing((20, 20), 3))
        assert np.abs(found - same).mean() < 1, mode
    assert decoded[0] == (50, 50)


@pytest.mark.parametrize(("form", "rotated"), [("JPEG", False), ("JPEG", True), ("MPO", False)])
def test_a_jpeg_that_pillow_opened_is_read_as_its_file(tmp_path, decoded, form, rotated):
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = ROTATED if rotated else 1
    photograph(600, 800).save(tmp_path / "p.jpg", form, exif=exif, quality=92)
    how = data.Preprocessing((31, 20), 3, fit="pad")
    expected = data.read_pictures([tmp_path / "p.jpg"], how)
    smaller = decoded.copy()
    with Image.open(tmp_path / "p.jpg") as picture, Image.open(tmp_path / "p.jpg") as asked:
        for _ in range(2):
            np.testing.assert_array_equal(data.read_pictures([picture], how), expected)
        assert decoded == smaller
        assert picture.size == (800, 600)
        np.testing.assert_array_equal(picture, Image.open(tmp_path / "p.jpg"))
        found = data.read_pictures([picture], how)
        asked.getexif()[pictures.ORIENTATION] = 3
        turned = data.read_pictures([asked], how)
        asked.load()
        np.testing.assert_array_equal(turned, data.read_pictures([asked], how))
        np.testing.assert_array_equal(found, data.read_pictures([picture.copy()], how))
        assert (found != expected).any()
        asked.draft(None, (400, 300))  # who did so may have had a reason
        assert (data.read_pictures([asked], how) != expected).any()


def test_pictures_of_strokes_are_decoded_whole(tmp_path, decoded):
    photograph(400, 400).save(tmp_path / "p.jpg")
    data.read_pictures([tmp_path / "p.jpg"], data.Preprocessing((28, 28), 1, strokes=data.Strokes(20 / 28)))
    assert decoded == [(400, 400)]


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_pictures_are_read_side_by_side_in_their_order(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(pictures, "default_threads", lambda: threads)
    monkeypatch.setattr(pictures, "BLOCK", 7)
    for k in range(20):
        Image.new("L", (4, 4), 100 + k).save(tmp_path / f"{k:02d}.png")
    paths = sorted(tmp_path.iterdir())
    found = data.read_pictures(paths, data.Preprocessing((4, 4), 1))
    np.testing.assert_array_equal(found[:, 0, 0, 0], 100 + np.arange(20))
    for name in ("05.png", "11.png", "19.png"):
        tmp_path.joinpath(name).write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"05\.png: cannot be read as a picture"):
        data.read_pictures(paths, data.Preprocessing((4, 4), 1))


def test_what_is_read_side_by_side_ends_with_who_asked(monkeypatch):
    """An error, such as Ctrl-C, does not wait for all that was to come."""
    monkeypatch.setattr(pictures, "default_threads", lambda: 2)
    began: list[int] = []

    def work(k: int) -> int:
        began.append(k)
        time.sleep(0.01)
        return k

    def ask() -> None:
        for k in pictures.side_by_side(work, range(200)):
            if k == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask()
    assert len(began) < 50
    assert not [each for each in threading.enumerate() if "ThreadPool" in each.name]


def test_a_folder_is_the_same_for_any_number_of_threads(tmp_path: Path, monkeypatch) -> None:
    for name in "ab":
        tmp_path.joinpath(name).mkdir()
        for k in range(12):
            photograph(60, 80, k).save(tmp_path / name / f"{k}.jpg")
    for broken in ("a/3.jpg", "b/7.jpg", "b/1.jpg"):
        tmp_path.joinpath(broken).write_bytes(b"no picture")
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(pictures, "default_threads", lambda threads=threads: threads)
        with pytest.raises(DataError, match="3 of 24 pictures cannot be read") as caught:
            data.load(tmp_path, size=(12, 16))
        read = data.load(tmp_path, size=(12, 16), skip_broken=True)
        found.append((str(caught.value), read.train_images.tobytes(), read.test_labels.tobytes(), read.notes))
    assert found[0] == found[1]


@pytest.mark.parametrize("size", [32, np.int64(32), "32", "32x32", (32, 32), [32, 32]], ids=repr)
def test_a_size_is_a_pair_a_number_or_a_text(tmp_path: Path, size) -> None:
    for k in range(4):
        path = tmp_path / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        photograph(40, 50, seed=k).save(path)
    assert data.load(tmp_path, size=size).input_shape == (32, 32, 3)
    for wrong in (True, 1.5, 0, "wide", (32,), (32, 32, 3)):
        with pytest.raises(DataError, match="size "):
            data.load(tmp_path, size=wrong)
