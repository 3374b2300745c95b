"""`gpucnn data show` and `list`, and what `train` says of data of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpucnn
from gpucnn import command as cli
from gpucnn import data
from gpucnn.callbacks import EarlyStopping
from gpucnn.data import load, loading
from gpucnn.errors import DataError, SettingError
from gpucnn.report import confusion, sheet
from gpucnn.report.lr_finder import Search, picture

pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.fixture
def gpucnn_(monkeypatch, capsys, tmp_path):
    """gpucnn_("data", "show", ...) -> exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpucnn", *map(str, arguments)])
        return cli.main(), *capsys.readouterr()

    return run


@pytest.fixture
def pets(tmp_path):
    rng = np.random.default_rng(1)
    for name in ("a cat with a very long name", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for k in range(12):
            Image.fromarray(rng.integers(0, 255, (9, 9), np.uint8)).save(tmp_path / "pets" / name / f"{k}.png")
    (tmp_path / "pets" / "dog" / "read me.txt").write_text("no picture")
    (tmp_path / "pets" / "dog" / "broken.png").write_bytes(b"junk")
    return tmp_path / "pets"


def test_list_tells_what_load_gives(gpucnn_):
    status, out, _ = gpucnn_("data", "list", "--json")
    rows = json.loads(out)
    assert status == 0
    assert tuple(row["name"] for row in rows) == data.NAMES
    digits = data.load("digits")
    assert (rows[0]["training"], rows[0]["test"]) == (len(digits.train_labels), len(digits.test_labels))
    assert "or a folder with one sub-folder of pictures per class" in gpucnn_("data", "list")[1]


@pytest.mark.drawn
def test_show_counts_says_what_is_left_out_and_draws(gpucnn_, pets):
    status, out, _ = gpucnn_("data", "show", pets, "--size", "9", "--out", "sheet.png")
    assert status == 0
    assert "pets: 20 training, 4 test pictures of 9x9 (grey), 2 classes" in out
    assert "(1 .txt)" in out
    assert "left out: 1 picture that cannot be read" in out
    with Image.open("sheet.png") as sheet:
        colours = np.asarray(sheet.convert("L"))
    assert len(np.unique(colours)) > 100, "random pictures are drawn"


def test_show_writes_large_numbers_in_full(gpucnn_):
    images = np.zeros((40, 8, 8), np.uint8)
    prices = np.stack([np.repeat([431000.25, 731000.25], 20), np.repeat([0.001, 0.003], 20)], axis=1)
    np.savez("homes.npz", train_images=images, train_labels=prices, test_images=images, test_labels=prices)
    out = gpucnn_("data", "show", "homes.npz")[1]
    assert "0: 581000.25 +- 150000 in training\n1: 0.002 +- 0.001 in training\n" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "sheet.doc"), "sheet.doc: .png, .svg or .pdf was expected"),
        (("--out", "nowhere/sheet.png"), "there is no folder nowhere"),
    ],
)
def test_show_refuses(gpucnn_, pets, options, message):
    status, _, err = gpucnn_("data", "show", pets, *options)
    assert status != 0
    assert message in " ".join(err.replace("│", " ").split())


def test_train_says_what_its_folder_holds(gpucnn_, pets):
    how = "--device", "cpu", "--threads", "1", "--epochs", "1", "--out", "run"
    status, _, err = gpucnn_("train", "softmax-regression", "--data", pets, "--skip-broken", *how)
    assert status == 0
    assert "dog" in err
    assert "left out: 1 picture that cannot be read" in err
    assert "skip_broken = true" in Path("run/run.toml").read_text()
    status, _, err = gpucnn_("train", "softmax-regression", "--config", "run/run.toml", "--out", "again")
    assert status == 0, err


def test_empty_class_folders(gpucnn_, pets):
    """`show` counts them and goes on; `train` names them all, and leaves them out where that is asked for."""
    for name in ("cow", "eel"):
        (pets / name).mkdir()
    (pets / "eel" / "a.heic").write_bytes(b"")
    (pets / "loose.txt").write_text("beside the class folders")
    status, out, _ = gpucnn_("data", "show", pets)
    assert status == 0
    assert "2 classes" in out
    assert f"left out: 2 class folders (cow, eel) in {pets}, without a picture" in out
    assert "(1 .heic, 2 .txt)" in out
    how = "softmax-regression", "--data", pets, "--device", "cpu", "--threads", "1", "--epochs", "1", "--out", "run"
    status, _, err = gpucnn_("train", *how)
    assert status == 1
    assert f"{pets}/cow, {pets}/eel: no pictures (png, jpg" in err
    assert "in these class folders; put some there, delete them, or leave them out with --skip-broken" in err
    status, _, err = gpucnn_("train", *how, "--skip-broken")
    assert status == 0
    assert f"left out: 2 class folders (cow, eel) in {pets}, without a picture" in err
    for name in ("cow", "eel"):
        Image.new("L", (9, 9)).save(pets / name / "1.png")
    status, _, err = gpucnn_("data", "show", pets)
    assert status == 1
    assert "class cow has 1 example, and so has eel, at least 2 are needed" in err
    (pets / "cow" / "1.png").unlink()
    (pets / "eel" / "1.png").unlink()
    for path in (pets / "dog").iterdir():
        path.unlink()
    status, _, err = gpucnn_("data", "show", pets)  # one class is left
    assert status == 1
    assert f"{pets}/cow, {pets}/dog, {pets}/eel: no pictures" in err


def test_the_command_says_options_and_python_its_own_words(gpucnn_, pets):
    with pytest.raises(DataError) as error:
        load(pets)
    assert "leave them out with skip_broken=True:" in str(error.value)
    how = "train", "softmax-regression", "--data", pets, "--device", "cpu", "--threads", "1", "--epochs", "1"
    assert "leave them out with --skip-broken:" in gpucnn_(*how)[2]
    for said in (
        gpucnn_(*how, "--skip-broken")[2],
        gpucnn_("data", "show", pets)[1],
        gpucnn_("lr", *how[1:-2], "--skip-broken")[2],
    ):
        assert "scaled and cropped to 28x28, which --size changes" in said
    assert "cropped to 28x28, which size=(H, W) changes" in " ".join(load(pets, skip_broken=True).notes)
    held_out = gpucnn_(*how, "--skip-broken", "--patience", "2", "--validation", "0")[2]
    assert "and nothing is held out; say --validation 0.1" in held_out
    with pytest.raises(SettingError, match=r"and nothing is held out; give fit validation=.images, labels.$"):
        EarlyStopping().check(held_out=False, has_accuracy=True)


def test_evaluate_says_what_was_left_out(gpucnn_, pets):
    how = "--device", "cpu", "--threads", "1"
    assert gpucnn_("train", "softmax-regression", "--data", pets, "--skip-broken", "--epochs", "1", *how)[0] == 0
    model = "runs/softmax-regression-pets/model.safetensors"
    (pets / "eel").mkdir()
    status, _, err = gpucnn_("evaluate", model, "--data", pets, *how)
    assert status == 1
    assert "leave it out with --skip-broken" in err
    for k in range(5):
        Image.new("L", (9, 9)).save(pets / "eel" / f"{k}.png")
    status, out, err = gpucnn_("evaluate", model, "--data", pets, "--skip-broken", *how)
    assert status == 0
    assert out.startswith("pets: ")
    assert "gpucnn: left out: 1 picture that cannot be read" in err
    assert "gpucnn: left out: the classes eel, which the model does not know" in err
    assert "it was trained on pets, and no data set has this name; say --data PATH" in gpucnn_("evaluate", model)[2]
    status, _, err = gpucnn_("evaluate")
    assert status == 2
    assert f"themodelshereare{model}" in "".join(err.replace("│", "").split())
    np.save("x.npy", np.zeros((2, 28, 28)))
    err = gpucnn_("predict", model, "x.npy")[2]
    assert err == f"gpucnn: x.npy: arrays, and no picture; `gpucnn evaluate {model} --data x.npy` measures on them\n"


def test_names_that_are_long_stay_different():
    plants = [
        "Pepper,_bell___Bacterial_spot",
        "Pepper,_bell___healthy",
        "Tomato___Tomato_mosaic_virus",
        "Tomato___Tomato_Yellow_Leaf_Curl_Virus",
    ]
    short = sheet.all_shortened([*plants, "cat"])
    assert short == ["Pepper,…ial_spot", "Pepper,…_healthy", "Tomato_…ic_virus", "Tomato_…rl_Virus", "cat"]
    alike = [f"a class of number {k} among many that are alike" for k in range(60)]
    assert len(set(sheet.all_shortened(alike))) == 60


@pytest.mark.parametrize("count", [6, 60])
@pytest.mark.drawn
def test_no_label_of_a_confusion_matrix_is_cut(tmp_path, count):
    names = [f"WWWWWWWWWWWWWWWWWW number {k} WWWWWWWWWWW" for k in range(count)]
    confusion.draw(np.ones((count, count)), names, tmp_path / "c.png", "a model on data")
    edge = np.asarray(Image.open(tmp_path / "c.png").convert("L"))
    assert min(edge[:, :3].min(), edge[:, -3:].min(), edge[:3].min(), edge[-3:].min()) == 255


@pytest.mark.parametrize(
    ("counts", "shown"), [([12345, 0, 3, 9], {"12,345", "3", "9"}), ([12345.67, 0.5, 0, 0], {"12,350", "0.5"})]
)
@pytest.mark.drawn
def test_a_confusion_matrix_shows_all_digits_of_a_count(tmp_path, monkeypatch, counts, shown):
    drawn = []
    monkeypatch.setattr(confusion, "write_figure", lambda figure, path, **_: drawn.append(figure))
    confusion.draw(np.reshape(counts, (2, 2)), ["a", "b"], tmp_path / "c.png")
    assert {each.get_text() for each in drawn[0].axes[0].texts} == shown


@pytest.mark.drawn
def test_the_title_of_a_search_is_not_cut(tmp_path):
    title = "two-conv on pictures, batches of 64, images changed by shift=2, rotate=10, zoom=0.1, brightness=0.2, flip"
    picture(Search([1e-5, 1e-3], [2.0, 1.0], [2.0, 1.0], 1e-3, None, "", False), tmp_path / "lr.png", title)
    drawn = np.asarray(Image.open(tmp_path / "lr.png").convert("L"))
    assert drawn[:, :3].min() == drawn[:, -3:].min() == 255


def test_a_part_for_validation_that_is_no_image_is_said(gpucnn_, pets):
    how = "--data", pets, "--skip-broken", "--device", "cpu", "--threads", "1", "--epochs", "1", "--out", "run"
    assert "no validation" not in gpucnn_("train", "softmax-regression", *how, "--validation", "0.1")[2]
    err = gpucnn_("train", "softmax-regression", *how, "--force", "--validation", "0.0001")[2]
    assert "no validation: 0.0001 of 20 training images is no image; --validation 0.1 is a tenth" in err


def test_arrays_that_a_network_is_too_large_for(gpucnn_):
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8), np.uint8)
    np.savez("small.npz", images=images, labels=np.arange(20) % 2)
    err = gpucnn_("train", "--data", "small.npz", "--device", "cpu", "--epochs", "1")[2]
    assert "two-conv on images of 8x8: layer 3 (Conv2D)" in err
    assert "try --set padding=same, or a network for such images: softmax-regression, single-filter, two-conv-w" in err
    how = "--set", "padding=same", "--device", "cpu", "--threads", "1", "--epochs", "1"
    assert gpucnn_("train", "--data", "small.npz", *how)[0] == 0


def test_evaluate_takes_the_data_that_the_model_was_trained_on(gpucnn_, monkeypatch):
    how = "softmax-regression", "--device", "cpu", "--threads", "1", "--epochs", "1", "--out", "run"
    assert gpucnn_("train", *how)[0] == 0
    path = Path("run/model.safetensors")
    gpucnn.load(path, device="cpu").save(path, trained_on="fashion-mnist")
    asked = []
    monkeypatch.setattr(loading, "load_for", lambda model, name, **how: asked.append(name) or loaded)
    loaded, read = load("digits"), []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda file: read.append(file) or whole(file))
    assert gpucnn_("evaluate", path, "--device", "cpu")[0] == 0
    assert (asked, read) == (["fashion-mnist"], [path])


@pytest.mark.parametrize("command", ["verify", "path", "fetch"])
def test_a_path_has_no_name(gpucnn_, pets, command):
    err = gpucnn_("data", command, pets)[2]
    assert f"{pets}: a path, and only data sets that have a name are downloaded and checked" in err
    assert "gpucnn data show" in err


REFUSED = "`gpucnn train` refuses these data as they are; --skip-broken leaves out what cannot be read"


def test_what_is_looked_at_says_what_training_refuses(gpucnn_, pets):
    for words in (("data", "show", pets), ("augment", pets, "--augment", "flip")):
        status, out, err = gpucnn_(*words)
        assert status == 0
        assert "left out: 1 picture that cannot be read" in out + err
        assert REFUSED in out + err
        status, out, err = gpucnn_(*words, "--skip-broken")
        assert status == 0
        assert "left out: 1 picture that cannot be read" in out + err
        assert REFUSED not in out + err
    assert REFUSED not in gpucnn_("data", "show", "digits")[1]


@pytest.mark.drawn
def test_pictures_of_which_none_can_be_read_are_named(gpucnn_, pets):
    files = sorted(Path("pets", "dog").glob("[0-9]*.png"))
    Path("upper.csv").write_text("file,label\n" + "".join(f"{file},{'ab'[k % 2]}\n" for k, file in enumerate(files)))
    Path("upper.csv").write_text(Path("upper.csv").read_text().replace(".png", ".PNG"))
    count = len(files)
    for words in (("data", "show"), ("train", "--data"), ("train", "--skip-broken", "--data")):
        err = gpucnn_(*words, "upper.csv")[2]
        assert f"upper.csv: {count} of {count} pictures cannot be read; mend or delete them; without them a part" in err
        assert "there is no such file" in err
    table = Path("upper.csv")
    rows = [f"{file},{'ab'[k % 2]},train\n" for k, file in enumerate(files)]
    table.write_text("file,label,split\n" + "".join(rows) + "none.png,a,test\n")
    assert f"1 of {count + 1} pictures cannot be read" in gpucnn_("data", "show", "upper.csv")[2]
