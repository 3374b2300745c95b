"""Pictures of any shape brought to a size: cropped, padded or stretched; and where that is kept and honoured."""

from __future__ import annotations

import io
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from test_pictures import ROTATED, decoded, photograph  # noqa: F401

import gpucnn
from gpucnn import command, data
from gpucnn.data import Preprocessing, pictures
from gpucnn.data.strokes import Strokes
from gpucnn.errors import DataError

pytestmark = pytest.mark.usefixtures("blank_pictures")

FITS = ("crop", "pad", "stretch")


def how(height: int, width: int, fit: str, channels: int = 3) -> data.Preprocessing:
    return data.Preprocessing((height, width), channels, fit=fit)


@pytest.fixture
def wide(tmp_path, monkeypatch):
    """A folder of wide pictures of two classes, which differ at their left ends alone."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for k in range(40):
        values = np.full((20, 80), 128) + rng.integers(0, 20, (20, 80))
        values[:, :20] += 90 * (k % 2) - 45
        path = tmp_path / "wide" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.astype(np.uint8)).save(path)
    return tmp_path / "wide"


@pytest.fixture
def gpucnn_(monkeypatch, capsys):
    """The command: of its words the exit status, standard output and standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["gpucnn", *map(str, words)])
        status = command.main()
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "YCbCr", "LAB"])
@pytest.mark.parametrize("shape", [(40, 40), (30, 90), (90, 30), (7, 5), (1, 200), (200, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_cropping_is_pillows_fit_and_stretching_its_resize(mode, shape, channels):
    picture = photograph(*shape)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    usual = pictures.brought(picture, "it", data.Preprocessing((16, 24), channels))
    cropped, padded, stretched = (pictures.brought(picture, "it", how(16, 24, fit, channels)) for fit in FITS)
    np.testing.assert_array_equal(usual, cropped)
    assert cropped.shape == padded.shape == stretched.shape == (16, 24, channels)
    if mode in ("RGB", "L", "1", "CMYK", "YCbCr"):
        plain = picture.convert("L" if channels == 1 else "RGB")
        for found, expected in (
            (cropped, ImageOps.fit(plain, (24, 16), method=Image.Resampling.BILINEAR)),
            (stretched, plain.resize((24, 16), Image.Resampling.BILINEAR)),
        ):
            np.testing.assert_array_equal(found, np.asarray(expected).reshape(found.shape))


@pytest.mark.parametrize(
    ("stored", "wanted", "scaled"),
    [
        ((30, 90), (28, 28), (9, 28)),
        ((90, 30), (28, 28), (28, 9)),
        ((30, 60), (16, 32), (16, 32)),
        ((1, 500), (28, 28), (1, 28)),
        ((500, 1), (28, 28), (28, 1)),
        ((3, 2), (24, 32), (24, 16)),
        ((45, 28), (28, 28), (28, 17)),
        ((56, 3), (28, 28), (28, 2)),
    ],
)
def test_a_padded_picture_is_whole_in_the_middle(stored, wanted, scaled):
    """With edges of the median, by channel, of the row or column beside them."""
    picture, way = photograph(*stored), how(*wanted, "pad")
    assert way.scaled(*stored) == scaled
    assert way.lost(*stored) == 0
    found = pictures.brought(picture, "it", way)
    whole = np.asarray(picture.resize(scaled[::-1], Image.Resampling.BILINEAR))
    (H, W), (h, w) = wanted, scaled
    top, left = (H - h) // 2, (W - w) // 2
    np.testing.assert_array_equal(found[top : top + h, left : left + w], whole)
    for edge, beside in (
        (found[:top], whole[0]),
        (found[top + h :], whole[-1]),
        (found[:, :left], whole[:, 0]),
        (found[:, left + w :], whole[:, -1]),
    ):
        np.testing.assert_array_equal(edge, np.broadcast_to(np.sort(beside, axis=0)[len(beside) // 2], edge.shape))


def test_paper_stays_white_and_black_ground_black():
    for ground, ink in ((255, 0), (0, 255)):
        values = np.full((20, 60), ground, np.uint8)
        values[5:15, 20:40] = ink
        found = pictures.brought(Image.fromarray(values), "it", how(28, 28, "pad", 1))[..., 0]
        assert (found[:9] == ground).all()
        assert (found[19:] == ground).all()
        inverted = data.Preprocessing((28, 28), 1, invert=True, fit="pad")
        np.testing.assert_array_equal(
            pictures.brought(Image.fromarray(values), "it", inverted)[..., 0], 255 - found.astype(int)
        )


@pytest.mark.parametrize(
    ("fit", "stored", "wanted", "left"),
    [
        ("pad", (480, 640), (32, 32), (80, 60)),
        ("pad", (480, 640), (60, 60), (160, 120)),
        ("pad", (480, 640), (161, 161), (640, 480)),
        ("pad", (100, 1600), (32, 32), (200, 13)),
        ("pad", (1600, 24), (32, 32), (3, 200)),
        ("stretch", (480, 640), (32, 32), (160, 120)),
        ("stretch", (100, 1600), (32, 32), (1600, 100)),
        ("stretch", (100, 1600), (12, 80), (400, 25)),
    ],
)
def test_a_large_jpeg_is_decoded_as_small_as_its_fit_allows(tmp_path, decoded, fit, stored, wanted, left):  # noqa: F811
    photograph(*stored).save(tmp_path / "p.jpg", quality=92)
    found = data.read_pictures([tmp_path / "p.jpg"], how(*wanted, fit))[0]
    assert decoded == [left]
    with Image.open(tmp_path / "p.jpg") as whole:
        same = pictures.brought(whole, "whole", how(*wanted, fit)).astype(float)
    differences = np.abs(found - same)
    if left == stored[::-1]:
        assert not differences.any()
    else:
        assert differences.mean() < 3  # of edges every pixel differs, or none


def test_a_jpeg_that_lies_is_padded_upright(tmp_path, decoded):  # noqa: F811
    upright = photograph(1601, 399)
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = ROTATED
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "p.jpg", exif=exif, quality=92)
    upright.save(tmp_path / "upright.jpg", quality=92)
    found, same = data.read_pictures([tmp_path / "p.jpg", tmp_path / "upright.jpg"], how(100, 100, "pad")).astype(float)
    assert sorted(decoded) == [(100, 401), (401, 100)]
    assert np.abs(found - same).mean() < 2


def test_what_cropping_cuts_off_is_said_once(wide, gpucnn_):
    says = (
        "by cropping, half of the pictures lose 75 % of their area or more: {} keeps them whole and adds "
        "edges, {} keeps them whole and distorts them"
    )
    assert data.load(wide).notes[-1] == says.format('fit="pad"', 'fit="stretch"')
    assert says.format("--fit pad", "--fit stretch") in gpucnn_("data", "show", wide)[1]
    for fit, done in (("pad", "scaled and padded to"), ("stretch", "stretched to")):
        assert data.load(wide, fit=fit).notes == (
            f"the pictures are 20x80; they are {done} 28x28, which size=(H, W) changes",
        )
    assert not [each for each in data.load(wide, size=(12, 40)).notes if "by cropping" in each]
    assert [each for each in data.load(wide, size=(8, 64)).notes if "by cropping" in each]


def test_parquet_says_sizes_and_takes_fit(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

    def content(k):
        stream = io.BytesIO()
        photograph(20, 80, seed=k).save(stream, "PNG")
        return stream.getvalue()

    table = pyarrow.table({"image": [content(k) for k in range(8)], "label": [k % 2 for k in range(8)]})
    parquet.write_table(table, tmp_path / "t.parquet")
    cropped, padded = (data.load(tmp_path / "t.parquet", fit=fit) for fit in ("crop", "pad"))
    assert padded.preprocessing.fit == "pad"
    assert [note[:46] for note in cropped.notes] == [
        "the pictures are 20x80; they are scaled and cr",
        "by cropping, half of the pictures lose 75 % of",
    ]
    assert (cropped.train_images != padded.train_images).any()


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_a_model_reads_pictures_as_its_data_were_read(wide, gpucnn_, fit):
    """At the left ends, which crop does not see, are the classes."""
    words = ("--data", wide, "--fit", fit, "--epochs", 30, "--lr", 0.01, "--augment", "none", "--seed", 1)
    status, out, err = gpucnn_("train", *words, "--out", "run")
    assert status == 0, err
    assert "test accuracy 100.00 %" in out
    assert tomllib.loads(Path("run/run.toml").read_text())["fit"] == fit
    path = "run/model.safetensors"
    model = gpucnn.load(path)
    assert model.preprocessing == data.Preprocessing((28, 28), 1, fit=fit)
    assert "accuracy 100.00 %" in gpucnn_("evaluate", path, "--data", wide)[1]
    files = sorted(map(str, wide.glob("*/*.png")))
    own = [Path(each).parent.name for each in files]
    assert ["ab"[k] for k in model.predict(files)] == own
    assert ["ab"[k] for k in model.predict([Image.open(each) for each in files])] == own
    status, out, _ = gpucnn_("predict", path, wide, "--csv")
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == own
    status, _, err = gpucnn_("train", "--resume", "run", "--epochs", 31)
    assert status == 0, err
    assert gpucnn.load(path).preprocessing.fit == fit
    status, _, err = gpucnn_("train", "--resume", "run", "--epochs", 32, "--fit", "crop")
    assert (status, err.partition(" is")[0]) == (1, "gpucnn: --resume run: --fit crop")
    begin = ("--init", path, "--epochs", 1, "--out")
    assert (
        f"trained on pictures that were read otherwise: by --fit {fit}"
        in gpucnn_("train", "--data", wide, *begin, "other")[2]
    )
    assert "otherwise" not in gpucnn_("train", "--data", wide, "--fit", fit, *begin, "same")[2]
    status, _, err = gpucnn_("predict", path, files[0], "--model", "other/model.safetensors")
    assert status == 1
    assert f"as 28x28 grey (fit {fit}); the two cannot be asked together" in err
    several = ("evaluate", path, "other/model.safetensors", "--data")
    status, _, err = gpucnn_(*several, wide)
    assert status == 1
    assert f"as 28x28 grey (fit {fit}); the two cannot be asked together" in err
    dataset = data.load(wide)
    np.savez("arrays.npz", images=dataset.train_images, labels=dataset.train_labels, class_names=["a", "b"])
    assert gpucnn_(*several, "arrays.npz")[0] == 0
    both = gpucnn.Ensemble([model, gpucnn.load("other/model.safetensors")])
    assert both.predict(dataset.test_images).shape == dataset.test_labels.shape
    with pytest.raises(
        DataError, match=rf"model 2 of the ensemble: .* \(fit {fit}\); the two cannot be asked together"
    ):
        both.evaluate(files, own)


def test_pictures_in_the_page_and_drawn_are_read_so(wide, gpucnn_):
    from gpucnn.web.answers import Answers

    dataset = data.load(wide, fit="pad")
    model = gpucnn.Model("two-conv", data=dataset, device="cpu")
    model.save("m.safetensors")
    file = next(wide.glob("a/*.png"))
    found = Answers(model, "m").look(file.read_bytes())
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(file), rtol=1e-5)
    status, out, _ = gpucnn_("show", "m.safetensors", file)
    assert (status, out.startswith(f"{file}: {'ab'[np.argmax(found['probabilities'])]} (")) == (0, True)


def test_a_model_of_usual_fit_is_saved_as_before():
    """So that versions that knew no other read it; and files of these are read."""
    usual = data.Preprocessing((28, 28), 1)
    assert "fit" not in usual.to_dict()
    assert data.Preprocessing.from_dict({"size": [28, 28], "channels": 1}) == usual
    padded = data.Preprocessing((28, 28), 1, fit="pad")
    assert data.Preprocessing.from_dict(padded.to_dict()) == padded


def test_a_fit_that_is_none_is_refused(wide, gpucnn_):
    for make in (lambda: data.load(wide, fit="fill"), lambda: how(2, 2, "fill"), lambda: how(2, 2, None)):
        with pytest.raises(DataError, match="one of crop, pad, stretch was expected"):
            make()
    with pytest.raises(DataError, match="strokes are brought to the place that they have"):
        data.Preprocessing((28, 28), 1, strokes=data.Strokes(0.7), fit="pad")
    assert (
        "size, channels, invert and fit are for pictures only" in gpucnn_("data", "show", "digits", "--fit", "pad")[2]
    )
    assert "choose one of crop, pad, stretch" in " ".join(gpucnn_("train", "--fit", "fill")[2].replace("│", "").split())
    assert "did you mean --fit pad?" in gpucnn_("train", "--letterbox")[2]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Preprocessing((8, 8), True),
        lambda: Preprocessing((True, 8), 1),
        lambda: Preprocessing(True, 1),
        lambda: Strokes(True),
        lambda: Strokes(0.5, grain=True),
    ],
)
def test_a_truth_value_is_no_number_of_a_way_to_read_pictures(make):
    with pytest.raises(DataError):
        make()
