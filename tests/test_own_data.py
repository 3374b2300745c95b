"""What `gpucnn train` chooses for pictures of one's own, and the pictures that it leaves in a run's folder."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import elsewhere, gpucnn_, halves, metrics, pictures  # noqa: F401

import gpucnn
from gpucnn.model import own_data, runs
from gpucnn.model.own_data import lasting, suited
from gpucnn.report import confusion, finished, mistakes
from gpucnn.training import Epoch, curves

pytestmark = pytest.mark.usefixtures("blank_pictures")

FAST = ("--device", "cpu", "--threads", "1")
OWN = "training images of your own: "


def dataset(count=40, shape=(12, 12, 1)):
    images, labels = halves(count, shape)
    return gpucnn.data.Dataset("mine", images, labels, images[:6], labels[:6], ("a", "b", "c"))


def settings(**given):
    return runs.Settings("softmax-regression", "cpu", **given)


def test_few_pictures_are_changed_and_the_last_epoch_is_kept():
    found, why = suited(settings(), dataset(), epochs=40, augment=None)
    assert found.augmentation == "rotate=10,zoom=0.1,brightness=0.1,contrast=0.1"
    assert (found.patience, found.keep) == (None, "last")
    assert found.keeping() == []
    assert why == (
        f"40 {OWN}they are changed at random (--augment rotate=10,zoom=0.1,brightness=0.1,contrast=0.1), because they "
        "are few; the last epoch is kept, because 4 held-out images cannot tell which is best"
    )


@pytest.mark.parametrize(("epochs", "patience"), [(27, 10), (80, 20)])
def test_enough_held_out_images_end_the_run(monkeypatch, epochs, patience):
    monkeypatch.setattr(own_data, "TELLING", 4)
    found, why = suited(settings(), dataset(), epochs=epochs, augment=None)
    assert (found.patience, found.keep) == (patience, "best")
    assert f"training ends when {patience} epochs bring no smaller loss on 4 held-out images" in why


def test_with_a_number_of_epochs_they_are_all_trained(monkeypatch):
    monkeypatch.setattr(own_data, "TELLING", 4)
    found, why = suited(settings(epochs=9), dataset(), epochs=9, augment=None)
    assert (found.patience, found.keep) == (None, "best")
    assert "the epoch with the least loss on 4 held-out images is kept" in why


@pytest.mark.parametrize("given", [{"keep": "last"}, {"keep": "best"}, {"patience": 3}, {"validation": 0.0}])
def test_what_is_given_stays(given):
    before = settings(**given)
    assert suited(before, dataset(), epochs=9, augment="none") == (before, "")


def test_many_pictures_and_tiny_ones_stay_as_they_are(monkeypatch):
    assert suited(settings(keep="last"), dataset(shape=(6, 12, 1)), epochs=9, augment=None)[0].augmentation is None
    monkeypatch.setattr(own_data, "FEW", 39)
    assert suited(settings(keep="last"), dataset(), epochs=9, augment=None)[1] == ""


def test_numbers_keep_their_recipe():
    images, _ = halves(20)
    numbers = gpucnn.data.Dataset("n", images, np.ones((20, 2)), images[:2], np.ones((2, 2)), ("x", "y"))
    assert suited(settings(), numbers, epochs=9, augment=None) == (settings(), "")


def test_the_number_of_epochs_on_few_pictures_is_explained(gpucnn_):  # noqa: F811
    mine = pictures("mine")
    _, _, err = gpucnn_("train", "softmax-regression", *FAST, "--data", mine, "--patience", 1, "--out", "a")
    says = (
        "at most 400 epochs: an epoch is 1 update here, and the recipe asks for 400 updates at least; --epochs N says"
    )
    assert says in err
    _, _, err = gpucnn_("train", "softmax-regression", *FAST, "--data", mine, "--epochs", 2, "--out", "b")
    assert "the recipe asks for" not in err
    _, _, err = gpucnn_("train", "softmax-regression", *FAST, "--batch-size", 50, "--out", "c")
    assert "16 epochs: an epoch is 26 updates here, and the recipe asks for 400 updates at least" in err


@pytest.mark.parametrize(("held", "epochs", "updates"), [(True, 134, 3), (False, 200, 2)])
def test_a_validation_part_of_their_own_costs_no_training_pictures(held, epochs, updates):
    """135 pictures are 3 batches of 64, and without a tenth of them 2."""
    images, labels = halves(135, (28, 28, 1))
    own = (images[:20], labels[:20]) if held else None
    data = gpucnn.data.Dataset("d", images, labels, images[:4], labels[:4], ("a", "b", "c"), validation=own)
    chosen, _ = runs.recipe_for(runs.Settings("two-conv"), data)
    assert chosen.epochs == epochs
    said = lasting(runs.Settings("two-conv"), chosen, data)
    assert said.startswith(f"{epochs} epochs: an epoch is {updates} updates here")


def same(*folders):
    first, second = (Path(folder, "model.safetensors").read_bytes() for folder in folders)
    return first == second


def test_a_run_says_what_was_chosen_and_its_file_repeats_it(gpucnn_):  # noqa: F811
    command = ("train", "softmax-regression", *FAST, "--epochs", 2)
    _, _, err = gpucnn_(*command, "--data", pictures("mine"), "--out", "a")
    assert f"12 {OWN}they are changed at random (--augment shift=2,rotate=10," in err
    told = tomllib.loads(Path("a/run.toml").read_text())
    assert (told["augment"], told["keep"]) == ("shift=2,rotate=10,zoom=0.1,brightness=0.1,contrast=0.1", "last")
    assert gpucnn_("train", "--config", "a/run.toml", "--out", "b")[0] == 0
    assert same("a", "b")
    _, _, err = gpucnn_(*command, "--data", "mine", "--augment", "none", "--keep", "last", "--out", "c")
    assert OWN not in err
    assert not same("a", "c")
    assert tomllib.loads(Path("c/run.toml").read_text())["augment"] == "none"
    _, _, err = gpucnn_("train", "--config", "c/run.toml", "--out", "d")
    assert OWN not in err
    assert same("c", "d")


def test_a_run_that_goes_on_keeps_what_was_chosen(gpucnn_):  # noqa: F811
    command = ("train", "softmax-regression", *FAST, "--data", pictures("mine"))
    gpucnn_(*command, "--epochs", 4, "--schedule", "constant", "--out", "whole")
    gpucnn_(*command, "--epochs", 2, "--schedule", "constant", "--out", "part")
    status, _, err = gpucnn_("train", "--resume", "part", "--epochs", 4)
    assert status == 0
    assert OWN not in err
    strip = [{k: v for k, v in line.items() if k != "seconds"} for line in metrics("part")]
    assert strip == [{k: v for k, v in line.items() if k != "seconds"} for line in metrics("whole")]


def test_data_with_a_name_keeps_its_recipe(gpucnn_):  # noqa: F811
    _, _, err = gpucnn_("train", "softmax-regression", *FAST, "--epochs", 1, "--out", "a")
    assert OWN not in err
    assert not {"augment", "keep", "patience"} & tomllib.loads(Path("a/run.toml").read_text()).keys()


# --- pictures


PICTURES = "pictures in a: curves.png, confusion.png, mistakes.png; every mistake is in mistakes.csv"


def opened(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.drawn
def test_a_run_leaves_its_pictures_and_names_them(gpucnn_):  # noqa: F811
    status, out, _ = gpucnn_("train", "softmax-regression", *FAST, "--epochs", 1, "--out", "a")
    assert status == 0
    assert out.splitlines()[-1] == PICTURES
    for name in ("curves.png", "confusion.png", "mistakes.png"):
        assert opened(Path("a", name)).std() > 10


def test_a_report_leaves_its_pictures(gpucnn_):  # noqa: F811
    gpucnn_("train", "softmax-regression", *FAST, "--epochs", 1, "--out", "a")
    _, out, _ = gpucnn_("evaluate", "a/model.safetensors", "--report", "--out", "r", "--device", "cpu")
    assert out.splitlines()[-1] == "written to r: report.json, confusion.png, mistakes.png, mistakes.csv"
    found = sorted(each.name for each in Path("r").iterdir())
    assert found == ["confusion.png", "mistakes.csv", "mistakes.png", "report.json"]


def test_a_picture_that_cannot_be_written_costs_nothing_else(gpucnn_, monkeypatch):  # noqa: F811
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mistakes, "draw", full)
    status, out, err = gpucnn_("train", "softmax-regression", *FAST, "--epochs", 1, "--out", "a")
    assert status == 0
    assert "a/mistakes.png: the picture cannot be written: No space left on device; the run goes on" in err
    assert out.splitlines()[-1] == "pictures in a: curves.png, confusion.png; every mistake is in mistakes.csv"


def test_the_worst_mistakes_come_first():
    chances = np.asarray([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.99, 0.01], [0.3, 0.7]])
    labels = np.asarray([0, 0, 0, 1, 1])
    assert mistakes.worst(chances, labels).tolist() == [3, 1, 2]
    assert mistakes.worst(chances, labels, 1).tolist() == [3]


def test_mistakes_stand_in_the_order_of_the_figure_that_is_written_beside_them():
    chances = np.asarray([[0.05, 0.5, 0.45], [0.1, 0.9, 0.0], [0.3, 0.6, 0.1], [0.2, 0.6, 0.2]])
    assert mistakes.worst(chances, np.asarray([0, 0, 0, 0])).tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize(("classes", "shape"), [(2, (8, 8, 1)), (2, (30, 9, 3)), (100, (8, 20, 1))])
@pytest.mark.drawn
def test_mistakes_of_few_and_many_classes(tmp_path, classes, shape):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, *shape), dtype=np.uint8)
    chances, labels = rng.dirichlet(np.ones(classes), 200), rng.integers(0, classes, 200)
    names = [f"a class with a rather long name {k}" for k in range(classes)]
    count = mistakes.draw(images, labels, chances, names, tmp_path / "m.png", "net on mine")
    assert count == (chances.argmax(axis=1) != labels).sum()
    confusion.draw(gpucnn.metrics.confusion_matrix(labels, chances.argmax(axis=1), classes), names, tmp_path / "c.png")
    for name in ("m.png", "c.png"):
        picture = opened(tmp_path / name)
        edges = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
        assert all((edge == 255).all() for edge in edges), f"{name}: something touches its edge"


def test_names_are_no_formulas(tmp_path, monkeypatch, gpucnn_):  # noqa: F811
    """Neither of classes, of files, nor of the folder: this one would stop a run after its training."""
    monkeypatch.chdir(tmp_path)
    for k in range(24):
        path = Path(r"a $\frac$", (r"$\frac$", "$5$ or $6$", "$")[k % 3], rf"$\q${k}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    words = (r"a $\frac$", "--size", 8)
    status, out, err = gpucnn_("train", "softmax-regression", "--data", *words, "--epochs", 1, "--out", "a")
    assert (status, out.splitlines()[-1]) == (0, PICTURES), err
    assert gpucnn_("data", "show", *words, "--out", "sheet.png")[0] == 0
    assert gpucnn_("augment", *words, "--augment", "shift=1", "--out", "changed.png")[0] == 0
    assert gpucnn_("show", "a/model.safetensors", path)[0] == 0


def test_a_logarithmic_axis_keeps_its_powers(tmp_path):
    from gpucnn.training.curves import blank
    from gpucnn.training.writing import write_figure

    figure = blank((3, 2))
    axis = figure.subplots()
    axis.plot([1e-6, 1e6], [1, 2])
    axis.set_xscale("log")
    write_figure(figure, tmp_path / "p.png")
    assert all(label.get_parse_math() for label in axis.get_xticklabels())


def test_without_a_mistake_there_is_no_picture(tmp_path):
    images, labels = halves(6)
    assert mistakes.draw(images, labels, np.eye(3)[labels], ("a", "b", "c"), tmp_path / "m.png") == 0
    assert not (tmp_path / "m.png").exists()


def test_an_old_picture_of_mistakes_goes_where_there_are_none(tmp_path):
    images, labels = halves(6)
    data = gpucnn.data.Dataset("mine", images, labels, images, labels, ("a", "b", "c"))
    model = gpucnn.Model(gpucnn.networks.build("softmax-regression", (8, 8, 1), 3), device="cpu", threads=1)
    model.fit(images, labels, epochs=200, lr=0.05)
    for name in ("mistakes.png", "mistakes.csv"):
        (tmp_path / name).write_bytes(b"old")
    assert finished.draw(model, data, tmp_path) == ["confusion.png"]
    assert [each.name for each in tmp_path.iterdir()] == ["confusion.png"]


@pytest.mark.parametrize(
    ("accuracies", "axis"),
    [((0.0, 0.0), (0, 5)), ((0.5, 0.5), (45, 55)), ((1.0, 1.0), (95, 100)), ((0.0, 1.0), (0, 100)), ((0.8, 0.9), None)],
)
def test_the_axis_of_accuracies_holds_percentages_alone(accuracies, axis):
    epochs = [Epoch(k, 0.0, 0.0, accuracy, 0.1, 1.0) for k, accuracy in enumerate(accuracies, 1)]
    losses, right = curves.learning_curves(epochs, None).axes
    assert right.get_ylim() == pytest.approx((79.5, 90.5) if axis is None else axis)
    assert losses.get_ylim() == (0, 1)
    negative = [Epoch(k, -1.0, -2.0 - k, None, 0.1, 1.0) for k in (1, 2)]
    assert curves.learning_curves(negative, None).axes[0].get_ylim()[0] < -4


@pytest.mark.parametrize("losses", [(np.nan, np.nan), (np.inf, np.inf), (np.nan, -np.inf), (np.nan,)])
@pytest.mark.parametrize("held_out", [None, np.nan, np.inf])
@pytest.mark.drawn
def test_losses_that_are_no_numbers_make_an_empty_picture(tmp_path, losses, held_out):
    accuracy = None if held_out is None else 0.5
    epochs = [Epoch(k, loss, held_out, accuracy, 0.1, 1.0) for k, loss in enumerate(losses, 1)]
    assert curves.learning_curves(epochs, tmp_path / "a.png").axes[0].get_ylim() == (0, 1)
    opened(tmp_path / "a.png")
    epochs.append(Epoch(len(epochs) + 1, 2.0, held_out, accuracy, 0.1, 1.0))
    assert curves.learning_curves(epochs, None).axes[0].get_ylim() == pytest.approx((0, 2.16))


@pytest.mark.drawn
def test_one_epoch_is_drawn_update_by_update(tmp_path):
    steps = curves.Steps()
    for k in range(1, 101):
        steps.batch(1, 8 * k, 800, 2.3 * 0.97**k)
        steps.batch(1, 8 * k, 800, 2.3 * 0.97**k)  # as a GPU tells between two fetches
    steps.batch(curves.FEW + 1, 8, 800, 0.1)
    assert len(steps.losses) == 100
    assert (steps.places[0], steps.places[-1]) == (0.01, 1.0)
    epoch = Epoch(1, 0.9, 0.1, 0.97, 0.1, 1.0)
    curves.learning_curves([epoch], tmp_path / "dot.png", "net")
    curves.learning_curves([epoch], tmp_path / "steps.png", "net", steps)
    blue = [
        ((np.abs(opened(tmp_path / f"{name}.png") - (31, 119, 180)) < 40).all(axis=2)).sum()
        for name in ("dot", "steps")
    ]
    assert blue[1] > 4 * blue[0]


@pytest.mark.parametrize("shape", [(4, 4, 1), (1, 40, 1), (40, 7, 3)])
def test_why_few_small_pictures_are_not_changed_is_said(shape):
    found, said = suited(settings(), dataset(shape=shape), epochs=20, augment=None)
    assert found.augmentation is None
    assert f"they are few, and of {shape[0]}x{shape[1]} too small to be changed at random by default" in said
    assert "too small" not in suited(settings(), dataset(shape=shape), epochs=20, augment="none")[1]
