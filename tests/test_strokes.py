"""Pictures of strokes, brought to the form of the training's: dark on light, in a corner, wide, thin, faint."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image, ImageDraw

from gpucnn import Model, data
from gpucnn.data import read_pictures
from gpucnn.data.preprocessing import Preprocessing, check_alike
from gpucnn.data.strokes import Strokes
from gpucnn.errors import DataError

MNIST = Strokes(20 / 28)


def drawn(size=(280, 280), *, at=(60, 40), scale=180, ink=0, paper=255, width=18):
    """A seven."""
    picture = Image.new("L", size, paper)
    x, y = at
    ImageDraw.Draw(picture).line(
        [(x, y), (x + 0.6 * scale, y), (x + 0.2 * scale, y + scale)], fill=ink, width=width, joint="curve"
    )
    return picture


def box(image):
    rows, columns = (np.flatnonzero((image > 64).any(axis)) for axis in (1, 0))
    return np.ptp(rows) + 1, np.ptp(columns) + 1


def mass(image):
    image = image.astype(float)
    return [(image.sum(axis) @ np.arange(28)) / image.sum() for axis in (1, 0)]


@pytest.mark.parametrize(
    "picture",
    [
        drawn(),
        drawn(ink=255, paper=0),
        drawn(at=(5, 5), scale=60, width=7),
        drawn((700, 200), at=(500, 20), scale=150),
        drawn((100, 300), at=(15, 150), scale=100, ink=120, paper=180),
        drawn(ink=40, paper=10),
        drawn((28, 28), at=(2, 2), scale=14, width=2),
    ],
)
def test_strokes_lie_as_in_the_training(picture):
    image, _ = MNIST.brought(np.asarray(picture), (28, 28))
    assert (image.shape, image.dtype, image.max(), image[0].max()) == ((28, 28), np.uint8, 255, 0)
    assert 19 <= max(box(image)) <= 21
    np.testing.assert_allclose(mass(image), 14, atol=0.7)
    found = image.astype(float)
    wanted = MNIST.brought(np.asarray(drawn()), (28, 28))[0].astype(float)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.7


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_pictures_of_the_data_set_itself_stay_as_they_are(name):
    """Light on dark or dark on light, all but for rounding: what lies as the training's do is not moved."""
    if name == "mnist" and not os.environ.get("GPUCNN_DATA_DIR"):
        pytest.skip("GPUCNN_DATA_DIR is not set")
    found = data.load(name)
    for image in found.test_images[:300, :, :, 0]:
        assert found.preprocessing.strokes.brought(image, (28, 28))[1] == []
        turned, said = found.preprocessing.strokes.brought(255 - image, (28, 28))
        assert said == ["it is dark on light, and was inverted"]
        np.testing.assert_allclose(turned, image * (255 / image.max()), atol=1)


def test_what_was_done_is_said():
    _, said = MNIST.brought(np.asarray(drawn()), (28, 28))
    assert said == [
        "it is dark on light, and was inverted",
        "its strokes were cropped, scaled and centred as those of the training",
    ]
    _, said = MNIST.brought(np.asarray(drawn(ink=255, paper=0)), (28, 28))
    assert said == ["its strokes were cropped, scaled and centred as those of the training"]


def test_what_is_right_already_is_left_as_it_is(monkeypatch):
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)
    image = MNIST.brought(np.asarray(drawn()), (28, 28))[0]
    again, said = MNIST.brought(image, (28, 28))
    np.testing.assert_array_equal(again, image)
    assert said == []
    digits = data.load("digits")
    for image in digits.test_images[:50, :, :, 0]:
        np.testing.assert_array_equal(digits.preprocessing.strokes.brought(image, (28, 28))[0], image)


@pytest.mark.parametrize("value", [0, 255, 130])
def test_an_empty_picture_stays_empty(value):
    image, said = MNIST.brought(np.full((90, 60), value, np.uint8), (28, 28))
    assert (image.min(), image.max(), said) == (value, value, ["no strokes are to be seen in it"])


def test_a_point_and_a_line():
    for picture in (
        np.pad(np.full((1, 1), 255), 20),
        np.pad(np.full((1, 30), 255), 20),
        np.pad(np.full((30, 1), 255), 20),
    ):
        image, _ = MNIST.brought(picture, (28, 28))
        assert image.max() == 255


def test_grain_makes_a_picture_as_coarse_as_those_of_the_training():
    fine = Strokes(1.0, "box").brought(np.asarray(drawn()), (28, 28))[0].astype(float)
    coarse = Strokes(1.0, "box", 8).brought(np.asarray(drawn()), (28, 28))[0].astype(float)
    assert np.abs(np.diff(coarse, axis=0)).max() < np.abs(np.diff(fine, axis=0)).max()
    assert box(coarse)[0] >= 26


@pytest.mark.parametrize(
    "values", [{"box": 0}, {"box": 1.1}, {"box": "x"}, {"box": 1, "by": "x"}, {"box": 1, "grain": 0}]
)
def test_senseless_values(values):
    with pytest.raises(DataError, match=r"box in \(0, 1\]"):
        Strokes(**values)
    with pytest.raises(DataError):
        Preprocessing.from_dict({"size": [28, 28], "channels": 1, "strokes": values})


def test_a_saved_model_knows_how_strokes_lie(tmp_path):
    how = Preprocessing((28, 28), 1, strokes=Strokes(20 / 28, grain=8))
    assert Preprocessing.from_dict(json.loads(json.dumps(how.to_dict()))) == how
    assert Preprocessing.from_dict({"size": [28, 28], "channels": 1}).strokes is None
    path = tmp_path / "seven.png"
    drawn().save(path)
    notes = {}
    images = data.read_pictures([path], how, notes)
    assert images.shape == (1, 28, 28, 1)
    assert list(notes) == [str(path)]
    assert data.read_pictures([path], Preprocessing((28, 28), 3, strokes=MNIST)).shape == (1, 28, 28, 3)


def test_a_drawn_seven_is_a_seven_to_a_model_of_digits(tmp_path, monkeypatch):
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)
    digits = data.load("digits")
    model = Model("two-conv", device="cpu", threads=1, preprocessing=digits.preprocessing)
    model.fit(
        digits.train_images, digits.train_labels, epochs=10, optimizer="adam", lr=0.003, batch_size=64, progress=False
    )
    pictures = [
        drawn(),
        drawn(ink=255, paper=0),
        drawn(at=(5, 5), scale=60, width=7),
        drawn((700, 200), at=(500, 20), scale=150),
    ]
    for k, picture in enumerate(pictures):
        picture.save(tmp_path / f"{k}.png")
    images = data.read_pictures([tmp_path / f"{k}.png" for k in range(len(pictures))], digits.preprocessing)
    assert model.predict(images).tolist() == [7] * len(pictures)


def test_what_transparent_parts_are_laid_on(tmp_path):
    how = Preprocessing((28, 28), 1, strokes=Strokes(20 / 28))
    seven = np.asarray(drawn().convert("L").resize((56, 56)))
    ink = 255 - seven if np.median(seven) > 127 else seven
    for colour, paper in ((255, "black"), (0, "white")):
        rgba = np.full((56, 56, 4), colour, np.uint8)
        rgba[..., 3] = ink
        Image.fromarray(rgba).save(tmp_path / f"{paper}.png")
    notes = {}
    black, white = read_pictures([tmp_path / "black.png", tmp_path / "white.png"], how, notes)
    assert (abs(black.astype(int) - white) <= 1).all()
    assert black.max() > 200
    for paper in ("black", "white"):
        assert f"its transparent parts were laid on {paper}" in notes[str(tmp_path / f"{paper}.png")]


def test_the_first_of_several_frames_is_said(tmp_path):
    frames = [Image.new("L", (8, 8), grey) for grey in (0, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "b.gif")
    notes = {}
    read_pictures([tmp_path / "a.gif", tmp_path / "b.gif"], Preprocessing((8, 8), 1), notes)
    assert notes == {str(tmp_path / "a.gif"): ["of its frames the first one was taken"]}


def test_models_whose_strokes_lie_otherwise_are_told_what_differs():
    ways = [Preprocessing((28, 28), 1, strokes=each) for each in (Strokes(0.71), Strokes(1.0, "box", 8))]
    with pytest.raises(DataError, match=r"b: .* 1 of a side long, their box .* 8 pixels wide, and a as .* their mass"):
        check_alike(ways, ["a", "b"])
