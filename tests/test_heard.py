"""What Pillow warns of names the file that it is about; and what is said of what is no single picture."""

from __future__ import annotations

import io
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_fit import gpucnn_  # noqa: F401

import gpucnn
from gpucnn import data
from gpucnn.data import heard, pictures
from gpucnn.errors import DataError

DAMAGED = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + bytes(6)  # of two entries the half of one
SAYS = "Pillow warns of it: Corrupt EXIF data. Expecting to read 12 bytes but only got 6"
HOW = data.Preprocessing((8, 8), 3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve pictures, of which a/0, b/1 and a/2 have damaged EXIF data."""
    monkeypatch.chdir(tmp_path)
    for k in range(12):
        path = Path("pictures", "ab"[k % 2], f"{k}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(values).save(path, **({"exif": DAMAGED} if k < 3 else {}))
    return Path("pictures")


@pytest.fixture(autouse=True)
def no_other_warning():
    usual = warnings.warn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("default", module="PIL")
        yield
    assert warnings.warn is usual


@pytest.mark.parametrize("threads", [1, 4])
def test_a_data_set_names_them_once(folder, monkeypatch, threads):
    monkeypatch.setattr(pictures, "default_threads", lambda: threads)
    for _ in range(2):
        said = [note for note in data.load(folder, size=8).notes if "Pillow" in note]
        assert said == [f"{folder}/a/0.jpg, {folder}/a/2.jpg, {folder}/b/1.jpg: {SAYS}"]


def test_commands_and_python_name_them(folder, gpucnn_):  # noqa: F811
    path = "run/model.safetensors"
    status, _, err = gpucnn_(
        "train", "softmax-regression", "--data", folder, "--size", 8, "--epochs", 1, "--out", "run"
    )
    assert (status, err.count("Pillow"), err.count(SAYS)) == (0, 1, 1)
    first, second, whole = folder / "a" / "0.jpg", folder / "b" / "1.jpg", folder / "a" / "4.jpg"
    for words, line in (
        (("predict", path, first, whole, second), f"gpucnn: {first}, {second}: {SAYS}"),
        (("show", path, first), f"gpucnn: {first}: {SAYS}"),
        (("evaluate", path, "--data", folder), f"gpucnn: {first}, {folder / 'a' / '2.jpg'}, {second}: {SAYS}"),
    ):
        status, _, err = gpucnn_(*words)
        assert (status, [each for each in err.splitlines() if "EXIF" in each]) == (0, [line])
    model = gpucnn.load(path)
    with pytest.warns(UserWarning, match="Corrupt") as caught:
        model.predict([first, whole, second])
    assert [str(each.message) for each in caught] == [f"{first}, {second}: {SAYS}"]
    assert [each.filename for each in caught] == [__file__]
    with pytest.warns(UserWarning, match="Corrupt") as caught:
        data.read_pictures([first, whole, second], HOW)
    assert [str(each.message) for each in caught] == [f"{each}: {SAYS}" for each in (first, second)]


def test_the_page_is_told(folder):
    from gpucnn.web.answers import Answers

    model = gpucnn.Model("softmax-regression", data=data.load(folder, size=8), device="cpu")
    assert Answers(model, "m").look((folder / "a" / "0.jpg").read_bytes())["said"] == [SAYS]


def test_other_warnings_go_their_way(folder):
    """Those of other libraries, and of Pillow in other threads."""
    said: list[str] = []
    caught = []

    def elsewhere():
        with warnings.catch_warnings(record=True) as there:
            warnings.simplefilter("default")
            Image.open(io.BytesIO(content)).close()
        caught.extend(there)

    content = (folder / "a" / "0.jpg").read_bytes()
    with heard.heard(said), Image.open(io.BytesIO(content)) as picture:
        picture.getexif()
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with pytest.warns(UserWarning, match="mine") as mine:
            warnings.warn("mine", stacklevel=1)
    assert (said, len(caught)) == ([SAYS], 1)
    assert [each.filename for each in mine] == [__file__]


@pytest.mark.parametrize("of_class", [UserWarning, Warning])
def test_pythons_filters_are_kept(folder, of_class):
    first = folder / "a" / "0.jpg"
    with warnings.catch_warnings():
        warnings.simplefilter("error", of_class)
        with pytest.raises(DataError, match=r"0.jpg: cannot be read as a picture .Corrupt EXIF data"):
            data.read_pictures([first], HOW)
        with pytest.raises(DataError, match=r"3 of 12 pictures cannot be read; .* .Corrupt EXIF data"):
            data.load(folder, size=8)
    notes: dict[str, list[str]] = {}
    for how in ({"message": "corrupt exif"}, {"module": r"PIL\.Tiff"}, {"category": of_class}):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", **how)
            data.read_pictures([first], HOW, notes)
    assert not notes
    for how in ({"message": "exif"}, {"module": "gpucnn"}, {"lineno": 1}, {"category": DeprecationWarning}):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", **how)
            data.read_pictures([first], HOW, notes)
    assert notes == {str(first): [SAYS]}


def test_pillows_limit_is_kept_where_a_filter_makes_it_an_error(monkeypatch, tmp_path):
    Image.new("L", (64, 64), 3).save(tmp_path / "one.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    assert data.read_pictures([tmp_path / "one.png"], HOW, {}).shape == (1, 8, 8, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with pytest.raises(DataError, match=r"one.png: cannot be read as a picture .Image size .4096 pixels. exceeds"):
            data.read_pictures([tmp_path / "one.png"], HOW)


@pytest.mark.parametrize("calls_on", [False, True])
def test_another_may_take_the_place_of_warn_meanwhile(folder, monkeypatch, calls_on):
    """And give back what it found there, which it may call, too."""
    usual, first = warnings.warn, folder / "a" / "0.jpg"
    theirs: list[str] = []
    with heard.heard([]):
        before = warnings.warn

        def other(message, *more, **named):
            theirs.append(str(message))
            if calls_on:
                before(message, *more, **named)

        warnings.warn = other
    try:
        for there in (other, before, other, before):
            warnings.warn = there
            notes: dict[str, list[str]] = {}
            data.read_pictures([first], HOW, notes)
            assert notes == {str(first): [SAYS]}
            with heard.heard([]), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                warnings.warn("mine", UserWarning, 1)
            assert len(caught) == (calls_on or there is before)
    finally:
        warnings.warn = usual
    assert set(theirs) <= {"mine"}


def test_one_picture_is_drawn_at_a_time(folder, gpucnn_, monkeypatch):  # noqa: F811
    gpucnn.Model("softmax-regression", data=data.load(folder, size=8), device="cpu").save("m.safetensors")
    Path("empty").mkdir()
    ask = "says what the model makes of all in it"
    for image, sentence in (
        (
            folder,
            f"{folder}: a folder, and one picture is drawn at a time; give one, such as {folder}/a/0.jpg; `gpucnn "
            f"predict m.safetensors {folder}` {ask}",
        ),
        (
            f"{folder}/*/*.jpg",
            f"{folder}/*/*.jpg: a pattern of 12 pictures, and one picture is drawn at a time; give one, such as "
            f"{folder}/a/0.jpg; `gpucnn predict m.safetensors '{folder}/*/*.jpg'` {ask}",
        ),
        ("m.safetensors", "m.safetensors: a model, and no picture; `gpucnn show m.safetensors` draws its filters"),
        (
            "https://example.org/cat.png",
            "https://example.org/cat.png: an address in the web, and no file; download the picture first, and give its "
            "file",
        ),
    ):
        assert gpucnn_("show", "m.safetensors", image) == (1, "", f"gpucnn: {sentence}\n")
    assert "empty: no pictures (png, " in gpucnn_("show", "m.safetensors", "empty")[2]
    content = (folder / "b" / "3.jpg").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    status, out, err = gpucnn_("show", "m.safetensors", "-")
    assert (status, out[:3], err) == (0, "-: ", "")
