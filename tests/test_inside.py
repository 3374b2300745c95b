"""What is inside a model: outputs and gradients of layers, winners of pools, saliency, Grad-CAM, and their pictures."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from gpucnn import Model, Network
from gpucnn import command as cli
from gpucnn.data import Dataset, Preprocessing
from gpucnn.errors import SettingError
from gpucnn.layers import (
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    SeparableConv2D,
)
from gpucnn.report import drawings, inside, sheet

LAYERS = (Conv2D(3, 3), BatchNorm(), ReLU(0.0), MaxPool2D(2), Residual((Conv2D(3, 1), ReLU(0.0))), Flatten(), Dense(4))


class Doubled(Layer):
    """A layer of one's own."""

    def forward(self, params, x, context):
        return 2 * x, None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return 2 * dy, {}


@pytest.fixture(params=[LAYERS, (Doubled(), *LAYERS), (Network((8, 8, 1), LAYERS[:3]), *LAYERS[3:])])
def model(request):
    made = Model(Network((8, 8, 1), request.param), device="cpu", dtype="float64", seed=3, threads=1)
    rng = np.random.default_rng(1)
    made.fit(rng.random((30, 8, 8, 1)), rng.integers(0, 4, 30), epochs=1, progress=False)
    return made


IMAGES = np.random.default_rng(2).random((3, 8, 8, 1))


def test_the_outputs_are_the_models(model):
    look = inside.look(model, IMAGES)
    np.testing.assert_allclose(look.logits, model.logits(IMAGES), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(look.probabilities, model.predict_proba(IMAGES), rtol=1e-9)
    np.testing.assert_array_equal(look.classes, model.predict(IMAGES))
    assert look.layers[-1].about == "Dense(4)"
    np.testing.assert_array_equal(look.layers[-1].y, look.logits)
    names = [seen.name for seen in look.layers]
    assert len(set(names)) == len(names)
    assert any("layers/0" in name or name.count("/") for name in names), "layers inside others are there"


def test_the_gradient_is_the_central_difference(model):
    classes = [1, 3, 0]
    look = inside.look(model, IMAGES, classes)
    rng = np.random.default_rng(3)
    for _ in range(3):
        v = rng.standard_normal(IMAGES.shape) * 1e-6
        ahead, behind = (model.logits(np.clip(IMAGES + sign * v, 0, 1))[range(3), classes] for sign in (1, -1))
        np.testing.assert_allclose((ahead - behind) / 2, (look.dx * v).sum((1, 2, 3)), rtol=1e-4, atol=1e-12)
    np.testing.assert_array_equal(look.saliency(), abs(look.dx[..., 0]))


def test_the_class_that_is_asked_for(model):
    with pytest.raises(SettingError, match="one number of 0 to 3 for each of 3 images"):
        inside.look(model, IMAGES, [0, 1, 4])
    with pytest.raises(SettingError, match="one number of 0 to 3 for each of 3 images"):
        inside.look(model, IMAGES, [0, 1])


def test_grad_cam_is_its_formula(model):
    look = inside.look(model, IMAGES)
    found = look.grad_cam()
    assert found.shape == (3, 8, 8)
    assert (found.min(), found.max()) >= (0, 0)
    last = [seen for seen in look.layers if seen.y.ndim == 4][-1]
    raw = np.einsum("nhwc,nc->nhw", last.y, last.dy.mean((1, 2)))
    np.testing.assert_array_equal(found.max((1, 2)) > 0, raw.max((1, 2)) > 0)
    np.testing.assert_array_equal(look.grad_cam(last.name), found)
    with pytest.raises(SettingError, match="'nothing' is no layer whose output is an image; those are"):
        look.grad_cam("nothing")


def test_winners_are_where_the_maxima_stand(model):
    look = inside.look(model, IMAGES)
    pool = next(seen for seen in look.layers if isinstance(seen.layer, MaxPool2D))
    where = inside.winners(pool)
    for n, p, q, k in np.ndindex(*pool.y.shape):
        row, column = where[n, p, q, k]
        assert pool.x[n, row, column, k] == pool.y[n, p, q, k]
        assert (row // 2, column // 2) == (p, q)
    with pytest.raises(SettingError, match="a max pool was expected"):
        inside.winners(look.layers[0])


@pytest.mark.parametrize(
    "pool",
    [
        MaxPool2D(2, 1, dilation=(2, 3)),
        MaxPool2D((3, 2), 2, "same", dilation=2),
        MaxPool2D(3, 2, 1, dilation=(1, 2), ceil_mode=True),
        MaxPool2D(2, padding="full", dilation=3),
    ],
)
def test_winners_of_windows_whose_pixels_lie_apart(pool):
    made = Model(Network((8, 8, 1), (pool, Flatten(), Dense(2))), device="cpu", dtype="float64")
    seen = inside.look(made, IMAGES).layers[0]
    rows, columns = np.moveaxis(inside.winners(seen)[..., 0, :], -1, 0)
    np.testing.assert_array_equal(IMAGES[np.arange(3)[:, None, None], rows, columns, 0], seen.y[..., 0])


def test_filters_are_the_kernels(model):
    found = inside.filters(model)
    assert sorted(array.shape for array in found.values()) == [(1, 1, 3, 3), (3, 3, 1, 3)]
    for name, array in found.items():
        np.testing.assert_array_equal(array, model.parameters[name])


def test_filters_of_depthwise_and_separable_convolutions():
    layers = DepthwiseConv2D(3, multiplier=2), SeparableConv2D(4, (2, 3)), ConvTranspose2D(2, 2), Flatten(), Dense(2)
    found = inside.filters(Model(Network((7, 8, 3), layers), device="cpu"))
    shapes = {"0/kernel": (3, 3, 1, 6), "1/depthwise": (2, 3, 1, 6), "1/pointwise": (1, 1, 6, 4)}
    assert {name: array.shape for name, array in found.items()} == shapes


def test_vectors_have_no_pixels(tmp_path):
    look = inside.look(Model(Network((5,), (Dense(2),)), device="cpu", class_names=["a", "b"]), np.ones((1, 5)))
    for made in (look.saliency, lambda: drawings.draw_reasons(look, tmp_path / "r.png", ("a", "b"))):
        with pytest.raises(SettingError, match=r"takes vectors, which have no pixels; look.dx is the gradient"):
            made()


def test_every_picture_is_drawn(model, tmp_path):
    look = inside.look(model, IMAGES[:1])
    assert drawings.draw_filters(inside.filters(model), tmp_path / "filters.png") == 3
    assert drawings.draw_maps(look, tmp_path / "maps.png") == sum(seen.y.ndim == 4 for seen in look.layers)
    assert drawings.draw_pools(look, tmp_path / "pools.png") == 1
    assert drawings.draw_reasons(look, tmp_path / "reasons.png", model.class_names) == 3
    for name in ("filters", "maps", "pools", "reasons"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20, name


def test_networks_without_images_inside(tmp_path):
    model = Model(Network((6, 6, 1), (Flatten(), Dense(3))), device="cpu", threads=1)
    look = inside.look(model, IMAGES[:1, :6, :6])
    for draw in (
        lambda path: drawings.draw_filters(inside.filters(model), path),
        lambda path: drawings.draw_maps(look, path),
    ):
        with pytest.raises(SettingError, match="to draw"):
            draw(tmp_path / "none.png")
    drawings.draw_reasons(look, tmp_path / "reasons.png", model.class_names)


@pytest.fixture
def gpucnn_(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpucnn", *map(str, arguments)])
        return cli.main(), *capsys.readouterr()

    return run


def test_the_command(gpucnn_, tmp_path):
    names = ("ant", "bee", "cow")
    network = Network((8, 8, 1), (Conv2D(2, 3), MaxPool2D(2), Flatten(), Dense(3)))
    Model(network, device="cpu", class_names=names, preprocessing=Preprocessing((8, 8), 1)).save("model.safetensors")
    Image.fromarray((255 * IMAGES[0, :, :, 0]).astype(np.uint8)).save("one.png")
    status, out, _ = gpucnn_("show", "model.safetensors")
    assert (status, [path.name for path in (tmp_path / "show").iterdir()]) == (0, ["filters.png"])
    status, out, _ = gpucnn_("show", "model.safetensors", "one.png", "--class", "bee", "--out", "seen")
    assert status == 0
    assert out.startswith("one.png: bee (")
    assert {path.name for path in (tmp_path / "seen").iterdir()} == {
        "filters.png",
        "maps.png",
        "pools.png",
        "reasons.png",
    }
    status, _, err = gpucnn_("show", "model.safetensors", "one.png", "--class", "dog")
    assert status == 1
    assert "--class dog: the classes are ant, bee, cow" in err
    status, _, err = gpucnn_("show", "model.safetensors", "none.png")
    assert status == 1
    assert "none.png: there is no such file" in err
    Model(Network((8, 8, 1), (Flatten(), Dense(3))), device="cpu", preprocessing=Preprocessing((8, 8), 1)).save(
        "flat.safetensors"
    )
    status, out, _ = gpucnn_("show", "flat.safetensors", "one.png", "--out", "flat")
    assert status == 0
    assert "no maps.png: no layer of the network gives an image" in out


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn."""
    found = []

    def write(figure, path, **how):
        figure.draw_without_rendering()
        found.append(figure)

    monkeypatch.setattr(drawings, "write_figure", write)
    monkeypatch.setattr(sheet, "write_figure", write)
    return found


@pytest.fixture
def texts(figures):
    """What is said in the figure that was drawn last."""
    return lambda: [each.get_text() for each in figures[-1].findobj(lambda each: hasattr(each, "get_text"))]


def scales(figure):
    """The numbers beside the scales of a figure."""
    found = [[label.get_text() for label in axis.get_yticklabels()] for axis in figure.axes]
    return [each for each in found if each]


def test_filters_have_a_scale(figures, texts):
    kernel = np.array([0.25, -0.5, 0.125, 0.0]).reshape(2, 2, 1, 1)
    drawings.draw_filters({"0/kernel": kernel, "2/kernel": np.full((3, 5, 1, 40), 0.03)}, "filters.png", "a title")
    assert {"0/kernel\n1 filter, 2x2", "2/kernel\n16 of 40 filters, 3x5"} <= {*texts()}
    assert scales(figures[-1]) == [["-0.5", "0", "0.5"], ["-0.03", "0", "0.03"]]


def test_maps_have_a_scale_and_the_picture_above_them(figures, texts):
    layers = (Conv2D(2, 1), ReLU(), Conv2D(1, 1), Flatten(), Dense(2))
    made = Model(Network((8, 8, 1), layers), device="cpu", threads=1)
    kernels = {"0/kernel": np.array([[[[4.0, -2.0]]]]), "2/kernel": np.zeros((1, 1, 2, 1))}
    made.load_parameters({**made.parameters, **kernels})
    picture = np.linspace(0, 1, 64).reshape(1, 8, 8, 1)
    drawings.draw_maps(inside.look(made, picture), "maps.png")
    np.testing.assert_allclose(figures[-1].axes[1].images[0].get_array(), picture[0, :, :, 0], atol=1e-6)
    assert {"the picture\n8x8", "1  ReLU()\n2 maps, 8x8", "2  Conv2D(1, 1)\n1 map, 8x8"} <= {*texts()}
    assert scales(figures[-1]) == [
        ["-2", "0", "4"],
        ["0", "4"],
        ["0", "1"],
    ]  # the last has zeros alone, which are black


def test_titles_stand_apart_and_fit_in(figures):
    made = Model(Network((8, 8, 1), (Conv2D(1, 3), MaxPool2D(2), Flatten(), Dense(2))), device="cpu", threads=1)
    look = inside.look(made, IMAGES[:1])
    drawings.draw_filters(inside.filters(made), "filters.png")
    drawings.draw_maps(look, "maps.png")
    drawings.draw_pools(look, "pools.png")
    drawings.draw_reasons(look, "reasons.png", made.class_names)
    for figure in figures:
        whole = figure._suptitle.get_window_extent()
        assert 0 < whole.x0 < whole.x1 < figure.bbox.width
    for axis in figures[-1].axes:
        assert axis.title.get_window_extent().y1 + whole.height / 2 < whole.y0


@pytest.mark.parametrize(
    ("loss", "title", "regions"),
    [
        ("softmax", "which pixels and regions speak for b", "regions that speak for it (Grad-CAM)"),
        ("multi-label", "which pixels and regions speak for b", "regions that speak for it (Grad-CAM)"),
        ("mse", "which pixels and regions raise the number b", "regions that raise it (Grad-CAM)"),
    ],
)
@pytest.mark.filterwarnings("ignore:load_parameters. the last layer:UserWarning")
def test_reasons_are_for_what_the_model_gives(texts, loss, title, regions):
    network = Network((8, 8, 1), (Conv2D(2, 3), ReLU(0.0), Flatten(), Dense(2)))
    made = Model(network, device="cpu", threads=1, loss=loss, class_names=("a", "b"), seed=1)
    for sign, expected in ((1, regions), (-1, f"no {regions.replace('that ', '')}")):
        made.load_parameters({"0/kernel": np.ones((3, 3, 1, 2)), "3/weights": np.full((72, 2), sign)})
        drawings.draw_reasons(inside.look(made, IMAGES[:1], [1]), "reasons.png", made.class_names)
        assert {title, expected} <= {*texts()}


def test_a_sheet_says_what_its_rows_are(texts):
    images, rng = np.zeros((20, 8, 8, 1), np.uint8), np.random.default_rng(0)
    for labels, said in (
        (np.arange(20) % 2, "x: training pictures of each class"),
        (rng.integers(0, 2, (20, 2)), "x: training pictures with each label"),
        (rng.random((20, 2)), "x: training pictures with the largest of each number"),
    ):
        sheet.draw(Dataset("x", images, labels, images, labels, ("a", "b")), "sheet.png")
        assert said in texts()
