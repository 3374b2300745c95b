"""`gpucnn predict`: folders, patterns, standard input, broken pictures, several models, and the ways to print."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

import gpucnn
from gpucnn import Ensemble, Model, Network, data
from gpucnn import command as cli
from gpucnn.data import Preprocessing, Strokes
from gpucnn.layers import Dense, Flatten
from gpucnn.report import answers

NETWORK = Network((8, 8, 1), (Flatten(), Dense(3)))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def gpucnn_(monkeypatch, capsys):
    """gpucnn_("predict", ...) -> exit status, standard output, standard error. content: of standard input."""

    def run(*arguments, content=b""):
        monkeypatch.setattr(sys, "argv", ["gpucnn", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        status = cli.main()
        return status, *capsys.readouterr()

    return run


def model(path="m.safetensors", seed=0, **options):
    how = {"class_names": ["left", "right", "above"], "preprocessing": Preprocessing((8, 8), 1)} | options
    made = Model(NETWORK, device="cpu", seed=seed, threads=1, **how)
    made.save(path)
    return path


def picture(path, seed=0):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def expected(paths, *models):
    """The probabilities of those files, (N, 3)."""
    loaded = [gpucnn.load(path, device="cpu") for path in models or ("m.safetensors",)]
    asked = loaded[0] if len(loaded) == 1 else Ensemble(loaded)
    return asked.predict_proba(data.read_pictures(paths, loaded[0].preprocessing))


def names_of(out):
    return [line.split(": ")[0] for line in out.splitlines()]


def test_a_folder_stands_for_its_pictures(gpucnn_):
    model()
    for k, path in enumerate(("p/b.png", "p/a.png", "p/deep/c.png", "p/.hidden.png", "p/__MACOSX/d.png")):
        picture(path, k)
    Path("p/notes.txt").write_text("no picture")
    status, out, err = gpucnn_("predict", "m.safetensors", "p", picture("one.png"))
    assert (status, err) == (0, "gpucnn: left out: 1 file that is no picture by its ending (1 .txt)\n")
    assert names_of(out) == ["p/a.png", "p/b.png", "p/deep/c.png", "one.png"]
    Path("empty").mkdir()
    assert gpucnn_("predict", "m.safetensors", "empty")[::2] == (
        1,
        "gpucnn: empty: no pictures (png, jpg, jpeg, jpe, jfif, bmp, gif, webp, tif, tiff, ppm, pgm) in this folder\n",
    )


def test_a_quoted_pattern(gpucnn_):
    model()
    for k, path in enumerate(("p/b.png", "p/a.png", "p/deep/c.png", "p/[1].png", "p/1.jpg")):
        picture(path, k)
    assert names_of(gpucnn_("predict", "m.safetensors", "p/*.png")[1]) == ["p/[1].png", "p/a.png", "p/b.png"]
    assert names_of(gpucnn_("predict", "m.safetensors", "p/**/c.png")[1]) == ["p/deep/c.png"]
    assert names_of(gpucnn_("predict", "m.safetensors", "p/[1].png")[1]) == ["p/[1].png"]  # there is such a file
    status, out, err = gpucnn_("predict", "m.safetensors", "q/*.png")
    assert (status, out, err) == (1, "", "gpucnn: q/*.png: no file has such a name; look at the pattern\n")


def test_what_is_not_there_does_not_stop_the_rest(gpucnn_):
    """Patterns that match nothing, empty folders, and models that a shell's pattern has put among the pictures."""
    model()
    model("second.safetensors")
    Path("empty").mkdir()
    Path("p").mkdir()
    Path("p/notes.txt").write_text("no picture")
    Path("p/read me").write_text("no picture")
    asked = "q/*.png", "empty", picture("a.png"), "p", "second.safetensors", picture("b.png", 1)
    status, out, err = gpucnn_("predict", "m.safetensors", *asked)
    assert (status, names_of(out)) == (1, ["a.png", "b.png"])
    first, second = err.splitlines()
    assert first == "gpucnn: left out: 2 files that are no pictures by their ending (1 .txt, 1 no ending)"
    assert second.startswith("gpucnn: 4 of 6 pictures cannot be read: q/*.png: no file has such a name")
    assert "; empty: no pictures (png" in second
    assert "; p: no pictures (png" in second
    assert second.endswith(
        "second.safetensors: a model, and no picture; give further ones as --model second.safetensors"
    )
    rows = json.loads(gpucnn_("predict", "m.safetensors", *asked, "--json")[1])
    assert [row["file"] for row in rows] == list(asked)
    assert ["error" in row for row in rows] == [True, True, False, True, True, False]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("m.safetensors", "Name the pictures after the model, as in `gpucnn predict m.safetensors picture.png`"),
        ("runs/x", "Name the pictures after the model, as in `gpucnn predict runs/x/model.safetensors picture.png`"),
        (
            "a.png",
            "as in `gpucnn predict m.safetensors a.png`; the models here are m.safetensors, runs/x/model.safetensors",
        ),
    ],
)
def test_one_word_alone(gpucnn_, word, says):
    model()
    Path("runs/x").mkdir(parents=True)
    model("runs/x/model.safetensors")
    picture("a.png")
    status, _, err = gpucnn_("predict", word)
    assert status == 2
    assert says.replace(" ", "") in "".join(err.replace("│", "").split())


def test_one_word_where_there_is_no_model(gpucnn_):
    status, _, err = gpucnn_("predict", picture("a.png"))
    assert status == 2
    assert "there is none here, and `gpucnn train` makes one" in " ".join(err.replace("│", " ").split())


def test_a_folder_of_models_is_no_model(gpucnn_):
    model("second.safetensors")
    picture("a.png")
    asked = "predict", ".", "a.png"
    assert gpucnn_(*asked)[2] == "gpucnn: .: a folder; name the file in it, such as second.safetensors\n"
    model()
    assert gpucnn_(*asked)[2] == "gpucnn: .: a folder; name the file in it, m.safetensors, second.safetensors\n"


def test_standard_input(gpucnn_):
    model()
    picture("one.png")
    status, out, _ = gpucnn_("predict", "m.safetensors", "-", content=Path("one.png").read_bytes())
    assert status == 0
    assert out.partition(": ")[2] == gpucnn_("predict", "m.safetensors", "one.png")[1].partition(": ")[2]
    status, out, err = gpucnn_("predict", "m.safetensors", "-")
    assert (status, out) == (1, "")
    assert err.startswith("gpucnn: standard input: is empty; send a picture there")
    assert "standard input: cannot be read as a picture" in gpucnn_("predict", "m.safetensors", "-", content=b"x")[2]


def test_standard_input_has_a_limit(gpucnn_, monkeypatch):
    model()
    monkeypatch.setenv("GPUCNN_MAX_BYTES", "1000")
    assert "standard input: takes 1,001 bytes" in gpucnn_("predict", "m.safetensors", "-", content=b"x" * 5000)[2]


def test_a_broken_picture_does_not_stop_the_rest(gpucnn_):
    model()
    files = [picture("a.png"), "broken.png", picture("b.png", 1), "nowhere.png"]
    Path("broken.png").write_text("no picture")
    status, out, err = gpucnn_("predict", "m.safetensors", *files)
    assert (status, names_of(out)) == (1, ["a.png", "b.png"])
    assert err.startswith("gpucnn: 2 of 4 pictures cannot be read: broken.png: cannot be read as a picture")
    assert "; nowhere.png: there is no such file" in err
    status, out, _ = gpucnn_("predict", "m.safetensors", *files, "--json")
    rows = json.loads(out)
    assert status == 1
    assert [row["file"] for row in rows] == files
    assert [list(row)[1] for row in rows] == ["label", "error", "label", "error"]
    status, out, _ = gpucnn_("predict", "m.safetensors", *files, "--csv")
    assert (status, len(out.splitlines())) == (1, 3)
    np.testing.assert_allclose([row["probability"] for row in rows[::2]], expected(files[::2]).max(axis=1), rtol=1e-6)


def test_many_broken_pictures_are_counted(gpucnn_):
    model()
    err = gpucnn_("predict", "m.safetensors", *(f"no{k}.png" for k in range(9)))[2]
    assert err.startswith("gpucnn: 9 of 9 pictures cannot be read: no0.png: there is no such file")
    assert err.endswith("; and 4 more\n")


def test_more_pictures_than_are_read_at_once(gpucnn_, monkeypatch):
    model()
    files = [picture(f"{k}.png", k) for k in range(5)]
    whole = gpucnn_("predict", "m.safetensors", *files)[1]
    monkeypatch.setattr(importlib.import_module("gpucnn.command.predict"), "AT_ONCE", 2)
    assert gpucnn_("predict", "m.safetensors", *files)[1] == whole


def test_top(gpucnn_):
    model()
    files = [picture("a.png"), picture("b.png", 1)]
    chances, names = expected(files), ["left", "right", "above"]
    out = gpucnn_("predict", "m.safetensors", *files, "--top", 2)[1]
    orders = (-chances).argsort(axis=1)
    texts = [[f"{names[k]} ({100 * row[k]:.1f} %)" for k in order[:2]] for row, order in zip(chances, orders)]
    assert out.splitlines() == [f"{file}: {', '.join(text)}" for file, text in zip(files, texts)]
    first = json.loads(gpucnn_("predict", "m.safetensors", *files, "--top", 9, "--json")[1])[0]
    assert [each["label"] for each in first["top"]] == [names[k] for k in orders[0]]
    assert first["label"] == first["top"][0]["label"]
    assert gpucnn_("predict", "m.safetensors", *files, "--top", 0)[0] == 2


def test_a_table(gpucnn_):
    model()
    files = [picture('odd, "name".png'), picture("b.png", 1)]
    rows = list(csv.reader(io.StringIO(gpucnn_("predict", "m.safetensors", *files, "--csv", "--top", 2)[1])))
    assert rows[0] == ["file", "label", "probability", "label_2", "probability_2"]
    assert [row[0] for row in rows[1:]] == files
    found = -np.sort(-expected(files), axis=1)
    np.testing.assert_allclose(np.array([[row[2], row[4]] for row in rows[1:]], float), found[:, :2], rtol=1e-6)
    status, out, err = gpucnn_("predict", "m.safetensors", *files, "--csv", "--json")
    assert (status, out, err) == (1, "", "gpucnn: --csv and --json are two ways to print the same; give one\n")


@pytest.mark.parametrize("loss", ["multi-label", "mse"])
def test_a_table_of_labels_or_numbers(gpucnn_, loss):
    model(loss=loss)
    rows = list(csv.reader(io.StringIO(gpucnn_("predict", "m.safetensors", picture("a.png"), "--csv")[1])))
    assert rows[0] == ["file", "left", "right", "above"]
    np.testing.assert_allclose(np.array(rows[1][1:], float), expected(["a.png"])[0], rtol=1e-6)
    status, out, err = gpucnn_("predict", "m.safetensors", "a.png", "--top", 2)
    assert (status, out) == (1, "")
    assert "--top 2: m.safetensors gives no classes" in err


def test_several_models(gpucnn_):
    paths = model(), model("second.safetensors", seed=1), model("third.safetensors", seed=2)
    more = [word for path in paths[1:] for word in ("--model", path)]
    status, out, _ = gpucnn_("predict", paths[0], picture("a.png"), *more, "--json")
    assert status == 0
    assert json.loads(out)[0]["probability"] == pytest.approx(expected(["a.png"], *paths).max(), rel=1e-6)
    assert json.loads(out)[0]["probability"] != pytest.approx(expected(["a.png"]).max(), rel=1e-6)
    model("other.safetensors", class_names=["a", "b", "c"])
    assert "model 2 has the classes" in gpucnn_("predict", paths[0], "a.png", "--model", "other.safetensors")[2]
    model("dark.safetensors", preprocessing=Preprocessing((8, 8), 1, invert=True))
    assert (
        "dark.safetensors: it reads pictures as"
        in gpucnn_("predict", paths[0], "a.png", "--model", "dark.safetensors")[2]
    )
    assert "nowhere: no such file" in gpucnn_("predict", paths[0], "a.png", "--model", "nowhere")[2]


@pytest.mark.parametrize("order", [("m.safetensors", "plain.safetensors"), ("plain.safetensors", "m.safetensors")])
def test_a_model_that_does_not_say_how_it_reads_pictures_is_asked_beside_one_that_does(gpucnn_, order):
    """It reads them as the other one does; in Python, too."""
    model(preprocessing=Preprocessing((8, 8), 1, invert=True))
    model("plain.safetensors", seed=1, preprocessing=None)
    status, out, err = gpucnn_("predict", order[0], picture("a.png"), "--model", order[1], "--json")
    assert (status, "does not say how" in err) == (0, False)
    found = Ensemble([gpucnn.load(path, device="cpu") for path in order]).predict_proba(["a.png"])
    assert json.loads(out)[0]["probability"] == pytest.approx(found.max(), rel=1e-6)


def drawn(path, ink=0, paper=255):
    image = Image.new("L", (60, 60), paper)
    ImageDraw.Draw(image).line([(10, 10), (50, 10), (25, 52)], fill=ink, width=6)
    image.save(path)
    return path


def test_what_was_done_to_strokes_is_said_once_for_all_alike(gpucnn_):
    model(preprocessing=Preprocessing((8, 8), 1, strokes=Strokes(0.8)))
    dark = [drawn(f"dark{k}.png") for k in range(4)]
    light = drawn("light.png", 255, 0)
    status, out, err = gpucnn_("predict", "m.safetensors", *dark, light)
    assert (status, names_of(out)) == (0, [*dark, light])
    first, second = err.splitlines()
    assert first.startswith(
        "gpucnn: each of 4 pictures (dark0.png, dark1.png, dark2.png, ...): it is dark on light, and was inverted; "
    )
    assert second.startswith("gpucnn: light.png: its strokes were cropped")
    row = json.loads(gpucnn_("predict", "m.safetensors", dark[0], "--json")[1])[0]
    assert row["notes"][0] == "it is dark on light, and was inverted"
    assert gpucnn_("predict", "m.safetensors", "-", content=Path(light).read_bytes())[2].startswith(
        "gpucnn: standard input: its strokes"
    )


def test_what_cannot_be_read_in_a_folder_is_named(gpucnn_, monkeypatch):
    model()
    picture("p/a.png")
    picture("p/deep/b.png")
    Path("p/gone.png").symlink_to("nowhere")
    usual = os.scandir

    def scandir(path="."):
        if os.fspath(path) == "p/deep":
            raise PermissionError(13, "Permission denied", "p/deep")
        return usual(path)

    monkeypatch.setattr(os, "scandir", scandir)
    status, out, err = gpucnn_("predict", "m.safetensors", "p")
    assert (status, names_of(out)) == (1, ["p/a.png"])
    assert "2 of 3 pictures cannot be read" in err
    assert "p/gone.png: a link to a file that is not there" in err
    assert "p/deep: the folder cannot be read (Permission denied)" in err


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1_700_000_043.27, "1700000043.27"),
        (-2_460_000.53, "-2460000.53"),
        (465_992.126, "465992.13"),
        (3.14159265, "3.14159"),
        (0.00123456789, "0.00123457"),
        (1e30, "1e+30"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_of_a_number_all_before_the_point_is_shown(number, text):
    assert answers.in_words({"numbers": {"price": number}}) == f"price {text}"
