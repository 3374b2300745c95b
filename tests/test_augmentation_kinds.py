"""Every kind of change of an image: what becomes of it, and that all devices and shares of a batch see the same."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import Library
from fake_cuda import any_cuda, fake_cuda

from gpucnn import Model
from gpucnn.engine import sharded_step
from gpucnn.engine.recorded import WARM
from gpucnn.errors import SettingError
from gpucnn.kernels import cuda
from gpucnn.kernels.random import bits
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.losses import BinaryCrossEntropy, MeanSquaredError, MultiLabelCrossEntropy, SoftmaxCrossEntropy
from gpucnn.network import Network
from gpucnn.optimizers import SGD
from gpucnn.training import augmentation
from gpucnn.training.augmentation import Augmentation, colour, geometry, mixtures, on_numpy, settings

__all__ = ["any_cuda", "fake_cuda"]

SMALL = Network((9, 8, 2), (Conv2D(2, 3), ReLU(), MaxPool2D(), Flatten(), Dense(3)))
TEXTS = [
    "shift=2,reflect",
    "flip=alternate",
    "rotate=20",
    "reflect,rotate=180",
    "shift=3,zoom=0.5",
    "elastic=0.9",
    "shift=2,reflect,flip,rotate=10,zoom=0.1,elastic=0.7",
    "cutout=4",
    "brightness=0.5",
    "contrast=1",
    "shift=2,flip=alternate,rotate=10,zoom=0.1,elastic=0.5,cutout=3,brightness=0.2,contrast=0.2",
]
CLASSES = np.arange(30) % 3
MIXED = ["mixup=0.2", "cutmix=1", "mixup=1,cutmix=0.5", "shift=1,rotate=5,cutout=2,mixup=0.4,cutmix=1"]


def how(text: str) -> Augmentation:
    return Augmentation.parse(text).of_run(7, 50, 20)


def pictures(count: int, shape: tuple[int, ...] = (9, 8, 2)) -> np.ndarray:
    return np.random.default_rng(5).integers(1, 256, (count, *shape), dtype=np.uint8)


def smooth(count: int, size: int) -> np.ndarray:
    """Images without sharp edges, so that interpolations differ little."""
    h, w = np.mgrid[:size, :size] / size
    phase = np.random.default_rng(0).uniform(0, 2, (count, 2, 1, 1))
    waves = np.sin(3 * h + phase[:, 0]) * np.cos(4 * w + phase[:, 1])
    return np.uint8(127 + 120 * waves)[..., None]


def ints(*values) -> np.ndarray:
    return np.asarray(values, np.int64)


@pytest.mark.parametrize("shape", [(9, 8, 2), (7, 11, 1), (8, 8, 3)], ids=str)
@pytest.mark.parametrize("text", TEXTS)
def test_every_library_makes_the_same_bytes(text, shape, library: Library):
    images, indices, change = pictures(30, shape), ints(*range(30)) * 11, how(text)
    change.check((9, 8, 2))
    expected = change(images.copy(), indices, 4)
    found = library.fetch(change(library.put(images), library.put(indices), 4))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, images)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", [*TEXTS, *MIXED])
def test_floats_are_changed_as_bytes_are(text, dtype, library: Library):
    images, indices, change = pictures(12), ints(*range(12)), how(text)
    floats, places = library.put((images / 255).astype(dtype)), library.put(indices)
    found, expected = change(floats, places, 4), change(images, indices, 4)
    if change.mixes:
        ours, theirs = change.mixture(places, 4, 9, 8), change.mixture(indices, 4, 9, 8)
        found = ours(found, library.put(library.fetch(found)[library.fetch(ours.partners)]))
        expected = theirs(expected, expected[theirs.partners])
    found = library.fetch(found)
    assert found.dtype == dtype
    assert abs(np.clip(found, 0, 1) * 255 - expected).max() < 1.6  # bytes are rounded up to three times


@pytest.mark.parametrize("text", MIXED)
def test_runs_of_two_tables_differ_by_rounding_alone(text):
    """Other draws would be seen in float64, too."""
    network = Network((9, 8, 2), (Conv2D(4, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)))
    one, other = (Model(network, device="cpu", threads=1, kernels=k, dtype="float64") for k in ("default", "reference"))
    for each in (one, other):
        each.fit(pictures(30), CLASSES, epochs=4, batch_size=8, augmentation=text)
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-9, atol=1e-9)
    unlike = Model(network, device="cpu", threads=1, dtype="float64")
    unlike.fit(pictures(30), CLASSES, epochs=4, batch_size=8, augmentation=text, seed=1)
    assert abs(unlike.theta - one.theta).max() > 1e-4


@pytest.mark.parametrize("text", MIXED)
def test_every_library_mixes_the_same(text, library: Library):
    images, indices, change = pictures(30), ints(*range(30)) * 11, how(text)
    expected = change.mixture(indices, 4, 9, 8)
    found = change.mixture(library.put(indices), 4, 9, 8)
    for ours, theirs in zip(found, expected):
        np.testing.assert_array_equal(library.fetch(ours), theirs)
    mixed = found(library.put(images), library.put(images[expected.partners]))
    np.testing.assert_array_equal(library.fetch(mixed), expected(images, images[expected.partners]))
    kept = expected.kept / 256
    np.testing.assert_array_equal(
        library.fetch(mixed), np.floor(images * kept + images[expected.partners] * (1 - kept) + 0.5)
    )
    np.testing.assert_allclose(np.broadcast_to(kept, (30, 9, 8, 1)).mean(axis=(1, 2, 3)), expected.share, rtol=1e-15)
    assert 0 <= expected.share.min() < expected.share.max() <= 1


@pytest.mark.parametrize("text", TEXTS)
def test_parts_of_a_batch_and_of_what_numpy_takes_at_a_time_are_changed_alike(text, monkeypatch):
    images, indices, change = pictures(20), ints(*range(20)) * 3, how(text)
    whole = change(images, indices, 3)
    np.testing.assert_array_equal(
        whole, np.concatenate([change(images[k : k + 6], indices[k : k + 6], 3) for k in range(0, 20, 6)])
    )
    monkeypatch.setattr(augmentation, "IN_CACHE", 3 * 9 * 8 * 2)
    np.testing.assert_array_equal(whole, change(images, indices, 3))
    assert change(images[:0], indices[:0], 3).shape == (0, 9, 8, 2)
    later = {change(images, indices, step).tobytes() for step in range(1, 30)}
    assert len(later) == (2 if text == "flip=alternate" else 29) or change.updates


def changed(images, angle=0.0, size=1.0, down=0, right=0, mirrored=0, reflect=False):
    n, H, W, _ = images.shape
    places = geometry.inverse_map(*(np.full(n, each) for each in (angle, size, down, right, mirrored)))
    return geometry.warped(images, *geometry.sources(places, H, W), reflect)


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("shape", [(9, 8, 2), (2, 3, 1), (28, 28, 3)], ids=str)
def test_no_turn_and_no_zoom_change_nothing_and_moves_are_exact(shape, reflect):
    images = pictures(5, shape)
    np.testing.assert_array_equal(changed(images, reflect=reflect), images)
    for down, right, mirrored in ((1, 0, 0), (0, -1, 1), (-1, 1, 1)):
        moves = (np.full(5, each) for each in (down, right, mirrored))
        expected = geometry.moved(images, *moves, 1, reflect)
        found = changed(images, down=down, right=right, mirrored=mirrored, reflect=reflect)
        np.testing.assert_array_equal(found, expected)


def test_quarter_turns_are_exact():
    images = pictures(4, (9, 9, 2))
    for quarters in range(-2, 4):
        np.testing.assert_array_equal(changed(images, quarters * math.pi / 2), np.rot90(images, quarters, (1, 2)))


@pytest.mark.parametrize(("mode", "reflect"), [("constant", False), ("mirror", True)])
@pytest.mark.parametrize("degrees", [-170, -33, 8, 90])
@pytest.mark.parametrize("size", [0.6, 1.0, 1.4])
def test_turned_images_are_scipys(degrees, size, mode, reflect):
    ndimage = pytest.importorskip("scipy.ndimage")
    images, angle = smooth(3, 24), math.radians(degrees)
    found = changed(images, angle, size, down=3, right=-2, reflect=reflect)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / size
    middle = np.full(2, 11.5)
    start = middle - turn @ (middle + np.array([3, -2]))
    for image, ours in zip(images[..., 0].astype(float), found[..., 0]):
        # scipy's constant mode knows no pixel halfway into what is outside; a border of zeros gives it some
        border = 40 if mode == "constant" else 0
        padded = np.pad(image, border)
        offset = start + border - turn @ np.full(2, border)
        inner = slice(border or None, -border or None)
        theirs = ndimage.affine_transform(padded, turn, offset, order=1, mode=mode)[inner, inner]
        assert abs(theirs - ours).max() < 2.0


def test_turned_images_are_pytorchs():
    torch = pytest.importorskip("torch")
    images, angle, size = smooth(2, 24), 0.4, 1.2
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]) / size
    grid = torch.nn.functional.affine_grid(torch.tensor(np.stack([turn, turn])), (2, 1, 24, 24), align_corners=False)
    theirs = torch.nn.functional.grid_sample(
        torch.tensor(images.astype(float)).permute(0, 3, 1, 2), grid, align_corners=False, padding_mode="zeros"
    )
    assert abs(theirs.permute(0, 2, 3, 1).numpy() - changed(images, angle, size)).max() < 2.0


def test_angles_and_sizes_are_drawn_evenly_within_their_bounds(monkeypatch):
    seen = []
    monkeypatch.setattr(geometry, "inverse_map", lambda angle, size, *moves: seen.append((angle, size)) or stop())
    with pytest.raises(ZeroDivisionError):
        Augmentation(rotate=10, zoom=0.2)(pictures(4000, (2, 2, 1)), np.arange(4000), 1)
    angle, size = np.degrees(seen[0][0]), seen[0][1]
    for found, middle, most in ((angle, 0, 10), (size, 1, 0.2)):
        assert abs(found - middle).max() <= most
        assert abs(np.histogram(found, 8, (middle - most, middle + most))[0] / 500 - 1).max() < 0.2


def stop():
    return 1 // 0


def test_an_elastic_displacement_is_smooth_and_bounded():
    field = geometry.displacement(
        bits(3, np.arange(50)[:, None, None], np.arange(25).reshape(5, 5)), 28, 20, 2 * geometry.PIXEL
    )
    assert field.shape == (50, 28, 20)
    assert 1.5 * geometry.PIXEL < abs(field).max() <= 2 * geometry.PIXEL
    for axis, spacing in ((1, 27 / 4), (2, 19 / 4)):
        assert abs(np.diff(field, axis=axis)).max() < 1.6 * 4 * geometry.PIXEL / spacing
    assert abs(field.mean()) < 0.1 * geometry.PIXEL
    wide = geometry.displacement(bits(3, np.arange(25).reshape(1, 5, 5)), 8, 8, 100 * geometry.PIXEL)
    narrow = geometry.displacement(bits(3, np.arange(25).reshape(1, 5, 5)), 8, 8, 10 * geometry.PIXEL)
    np.testing.assert_allclose(wide, 10 * narrow, atol=100)


def test_large_images_have_the_coordinates_of_small_ones():
    """Above SMALL they are 64-bit numbers."""
    places = geometry.inverse_map(*(np.full(1, each) for each in (0.3, 0.1, 5, -7, 1)))
    for H, W in ((1000, 599), (1000, 600)):
        y, _ = geometry.sources(places, H, W)
        u, v = np.array([1 - H, 1 - W]) / 2 - [5, -7]
        assert y.dtype == (np.int32 if H + W < geometry.SMALL else np.int64)
        expected = (math.cos(0.3) * u + math.sin(0.3) * v) * 10 + (H - 1) / 2
        assert abs(y[0, 0, 0] / geometry.PIXEL - expected) < 0.03


def test_light_changes_as_written_and_stays_in_the_range():
    images = pictures(6)
    ones = np.ones(6)
    np.testing.assert_array_equal(colour.relit(images, ones, ones), images)
    brightness, contrast = np.linspace(0.3, 2, 6), np.linspace(2, 0, 6)
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    exact = (mean + (images - mean) * contrast.reshape(-1, 1, 1, 1)) * brightness.reshape(-1, 1, 1, 1)
    assert abs(colour.relit(images, brightness, contrast) - np.clip(exact, 0, 255)).max() < 1.1
    assert colour.relit(np.full((1, 2, 2, 1), 200, np.uint8), np.array([2.0]), np.array([1.0])).max() == 255
    np.testing.assert_allclose(colour.relit(images / 255, brightness, contrast), exact / 255, rtol=1e-12, atol=1e-14)


def test_a_square_is_cut_out_and_its_middle_is_anywhere():
    images = pictures(500, (9, 8, 2))
    gone = Augmentation(cutout=4, key=1)(images, np.arange(500), 1) == 0
    assert (gone[..., 0] == gone[..., 1]).all()
    assert gone.any(axis=0).all()
    areas = gone[..., 0].sum(axis=(1, 2))
    assert areas.max() == 16
    assert areas.min() == 4  # the middle in the last row and column
    np.testing.assert_array_equal(Augmentation(cutout=4, key=1)(images, np.arange(500), 1), np.where(gone, 0, images))


def test_alternating_flips_show_each_image_both_ways_in_two_epochs():
    images, change = pictures(50), how("flip=alternate")
    assert change.updates == 3
    drawn = [np.asarray(change.draw(np.arange(50), step)[2]) for step in range(1, 10)]
    for first in (0, 3, 6):
        np.testing.assert_array_equal(drawn[first], drawn[first + 2])
    np.testing.assert_array_equal(drawn[0] + drawn[3], 1)
    np.testing.assert_array_equal(drawn[0], drawn[6])
    assert 10 < drawn[0].sum() < 40
    mirrored = np.where(drawn[0].reshape(-1, 1, 1, 1) == 1, images[:, :, ::-1], images)
    np.testing.assert_array_equal(change(images, np.arange(50), 2), mirrored)
    with pytest.raises(SettingError, match="updates of an epoch"):
        Augmentation(flip="alternate")(images, np.arange(50), 1)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 2.0, 10.0])
def test_shares_are_of_the_beta_distribution(alpha):
    stats = pytest.importorskip("scipy.stats")
    places = (np.arange(mixtures.QUANTILES) + 0.5) / mixtures.QUANTILES
    found = mixtures.beta_quantiles(alpha)
    assert abs(found / 256 - stats.beta.ppf(places, alpha, alpha)).max() < 0.5 / 256 + 1e-4
    drawn = mixtures.blend(bits(5, np.arange(100_000)), alpha) / 256
    assert abs(drawn.mean() - 0.5) < 0.005
    assert abs(drawn.var() - 0.25 / (2 * alpha + 1)) < 0.002


def test_partners_are_others_of_the_batch_and_every_pair_comes_up():
    batch = ints(5, 8, 1, 40, 3)
    pairs = {pair for step in range(60) for pair in zip(batch.tolist(), how("mixup=1").partners(batch, step).tolist())}
    assert pairs == {(a, b) for a in batch.tolist() for b in batch.tolist() if a != b}
    np.testing.assert_array_equal(how("mixup=1").partners(batch[:1], 3), batch[:1])
    found = how("mixup=1").mixture(batch, 9, 4, 4).partners
    np.testing.assert_array_equal(batch[found], how("mixup=1").partners(batch, 9))


@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 2, 30)])
@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (SoftmaxCrossEntropy(), CLASSES),
        (SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5)), CLASSES),
        (SoftmaxCrossEntropy(), np.eye(3)[CLASSES] * 0.7 + 0.1),
        (BinaryCrossEntropy(), CLASSES),
        (MultiLabelCrossEntropy(), np.eye(3)[CLASSES]),
        (MeanSquaredError(), np.random.default_rng(4).normal(size=(30, 3))),
    ],
    ids=str,
)
def test_the_loss_of_a_mixture_is_that_of_both_targets(loss, labels, weights):
    images, change = pictures(30), how("mixup=1,cutmix=1")
    model = Model(SMALL, device="cpu", threads=1, dtype="float64", loss=loss)
    order = np.random.default_rng(0).permutation(30)[:12]
    mixture = change.mixture(order, 1, 9, 8)
    mixed = mixture(images[order], images[order[mixture.partners]])
    logits, factors = model.logits(mixed), np.ones(30) if weights is None else weights
    own, _ = loss(logits, labels[order])
    other, _ = loss(logits, labels[order[mixture.partners]])
    own, other = own * factors[order], other * factors[order[mixture.partners]]
    step = model.execution.step(loss, SGD(), augmentation=change)
    before = model.theta.copy()
    losses = step(images, labels, order, 0.1, weights)
    np.testing.assert_allclose(losses, mixture.share * own + (1 - mixture.share) * other, rtol=1e-12)
    found, model.theta = (before - model.theta) / 0.1, before
    direction = np.random.default_rng(1).normal(size=before.size)
    totals = []
    for sign in (1, -1):
        model.theta = before + sign * 1e-6 * direction
        again = model.execution.step(loss, SGD(), augmentation=change)
        totals.append(np.mean(again(images, labels, order, 1e-12, weights)))
    assert abs((totals[0] - totals[1]) / 2e-6 - direction @ found) < 1e-6


@pytest.mark.parametrize("text", MIXED)
def test_workers_and_shards_see_the_same_mixtures(text, monkeypatch):
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1)
    images, labels, found = pictures(50), np.arange(50) % 3, []
    for threads, shard in ((1, 64), (1, 4), (2, 64), (3, 2)):
        model = Model(SMALL, seed=2, dtype="float64", device="cpu", threads=threads)
        step = model.execution.step(model.loss, SGD(), augmentation=how(text), shard=shard)
        order = np.random.default_rng(0).permutation(50)
        losses = [step(images, labels, order[k : k + 20], 0.1) for k in (0, 20, 40)]
        found.append(np.concatenate([*losses, model.theta]))
    for each in found[1:]:
        np.testing.assert_allclose(each, found[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", [{"kernels": "reference"}, {"graph": False}, {"graph": True}], ids=str)
@pytest.mark.parametrize("text", [*TEXTS[-5:], *MIXED])
def test_steps_on_a_gpu_train_on_the_same_images(text, options, fake_cuda):
    images, labels, losses = pictures(50), np.arange(50) % 3, []
    for given in ({"device": "cpu", "threads": 1}, {"device": "cuda", **options}):
        model = Model(SMALL, dtype="float64", **given)
        step, put = model.execution.step(model.loss, SGD(), augmentation=how(text)), model.device.put
        stored, targets, order = put(images), put(labels), put(np.arange(20))
        losses.append([model.device.fetch(step(stored, targets, order, 0.1)) for _ in range(WARM + 3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)
    if options.get("graph"):
        assert step._recorded.recording._graph.launches == 3


@pytest.mark.parametrize("wide", [False, True], ids=["int", "long long"])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("shape", [(9, 8, 2), (1, 12, 1), (28, 17, 3)], ids=str)
def test_the_kernel_makes_the_same_bytes(text, shape, wide, any_cuda, monkeypatch):
    if wide:
        monkeypatch.setattr(cuda, "MOST", 10)
    change = how(text)
    if shape[0] == 1:
        change = replace(change, reflect=False, shift=0) if change.rotate or change.zoom or change.elastic else None
    if change is None:
        pytest.skip("an image of one row cannot be moved or reflected")
    table, images, order = (
        cuda.table("float32", "float64"),
        pictures(40, shape),
        np.random.default_rng(0).permutation(40),
    )
    for step in (1, 2, 123_456):
        moment = table.begin(any_cuda.put(order[:13]), 0.1, step, SGD())
        found = any_cuda.fetch(table.changed(any_cuda.put(images), moment, change))
        np.testing.assert_array_equal(found, change(images[order[:13]], order[:13], step))


@pytest.mark.parametrize("text", [*TEXTS, *MIXED])
def test_texts_mean_what_they_say(text):
    assert Augmentation.parse(text).text() == text
    assert Augmentation.parse(f" {text.replace(',', ' , ')} ") == Augmentation.parse(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rotat=3", r"'rotat=3' is not known; did you mean rotate=DEGREES\? give one or more of shift=PIXELS"),
        ("rotate=", "rotate= cannot be read, rotate=DEGREES was expected"),
        ("rotate=-3", "rotate=-3 cannot be read"),
        ("rotate=1e2", "rotate=1e2 cannot be read"),
        ("rotate=nan", "rotate=nan cannot be read"),
        ("rotate=181", "rotate=181.0, a number from 0 to 180 was expected"),
        ("zoom=1", "a number from 0 to 0.9 was expected"),
        ("mixup=20", "a number from 0 to 10 was expected"),
        ("cutout=2.5", "cutout=2.5 cannot be read, cutout=PIXELS"),
        ("flip=always", "flip or flip=alternate was expected"),
        ("reflect=1", "reflect=1 cannot be read, reflect was expected"),
        ("reflect", "give shift, rotate, zoom or elastic with it|nothing is changed"),
        ("flip,reflect", "give shift, rotate, zoom or elastic with it"),
        ("elastic=1.2", "choose a smaller elastic, below 1"),
        ("cutout=8", "choose a smaller cutout, below 8"),
    ],
)
def test_what_cannot_be_is_refused(text, sentence):
    with pytest.raises(SettingError, match=sentence):
        Augmentation.parse(text).check((9, 8, 2))


@pytest.mark.parametrize(
    "wrong",
    [{"rotate": "3"}, {"zoom": math.nan}, {"mixup": True}, {"flip": "sometimes"}, {"reflect": 1}, {"updates": -1}],
    ids=str,
)
def test_values_that_cannot_be_are_refused(wrong):
    with pytest.raises(SettingError, match="expected"):
        Augmentation(**({"shift": 1} | wrong))


@pytest.mark.parametrize("text", ["mixup=0.2", "shift=1,cutmix=1"])
def test_a_batch_of_one_has_none_to_mix_with(text):
    model = Model(Network((9, 8, 2), (Flatten(), Dense(3))), device="cpu")
    for batch_size, count, more in ((1, 6, {}), (1, 6, {"accumulate": 3}), (8, 1, {})):
        with pytest.raises(SettingError, match="a batch of 1 has none to mix with; take a larger batch_size"):
            model.fit(pictures(count), np.arange(count) % 3, batch_size=batch_size, augmentation=text, **more)
    model.fit(pictures(6), np.arange(6) % 3, epochs=1, batch_size=2, augmentation=text)


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist", "cifar10", "pictures"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (224, 200, 3), (8, 8, 1)], ids=str)
def test_what_suits_a_data_set_can_be_parsed_and_mirrors_no_digits(name, shape):
    found = Augmentation.parse(settings.usual(name, shape))
    found.check(shape)
    assert bool(found.flip) == (name in ("fashion-mnist", "cifar10"))


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 70, 3), (1, 5, 2), (0, 9, 1)], ids=str)
def test_what_numpy_computes_in_place_is_the_same(shape, dtype, reflect):
    count, rng = 40 if shape[0] else 0, np.random.default_rng(2)
    shape = (max(1 + reflect, shape[0]), *shape[1:])
    images = pictures(count, shape).astype(dtype)
    y, x = (rng.integers(-3 * size << 16, 4 * size << 16, (count, *shape[:2]), np.int32) for size in shape[:2])
    expected = geometry.warped(images, y, x, reflect)
    found = on_numpy.warped(images, y.copy(), x.copy(), reflect)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
