"""Data sets: what is read, what is split, and the sentence for everything that can be wrong with a file."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.data import catalogue, cifar, digits, download, files, idx, sources, split
from gpucnn.errors import DataError

REAL = os.environ.get("GPUCNN_DATA_DIR", "")
GREY = data.Preprocessing((4, 4), 1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """Every test starts without GPUCNN_DATA_DIR, with an empty cache, and with mirrors that refuse connections."""
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    for name, source in list(catalogue.SOURCES.items()):
        monkeypatch.setitem(catalogue.SOURCES, name, replace(source, mirrors=("http://127.0.0.1:1/",)))


def arrays(count=6, shape=(4, 5), classes=3, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
    return images, np.arange(count) % classes


def idx_bytes(array):
    array = np.asarray(array)
    return struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def idx_files(shape=(4, 5), counts=(6, 4), classes=3):
    """The contents of four IDX files by name, and the arrays in them."""
    parts = [arrays(count, shape, classes, seed) for seed, count in enumerate(counts)]
    contents = [idx_bytes(array) for part in parts for array in part]
    return dict(zip(idx.NAMES, contents, strict=True)), parts


def write_files(folder, contents, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / (f"{name}.gz" if compress else name)
        path.write_bytes(gzip.compress(content) if compress else content)
    return folder


def small_source(monkeypatch, name="mnist", contents=None, known=True, mirrors=("http://127.0.0.1:1/",)):
    """Puts a source of 6 + 4 pictures of 4x5 into the catalogue, with the digests of its contents."""
    contents = idx_files()[0] if contents is None else contents
    files = tuple(
        catalogue.RemoteFile(
            file,
            hashlib.md5(gzip.compress(content, mtime=0)).hexdigest(),
            hashlib.sha256(content).hexdigest() if known else None,
        )
        for file, content in contents.items()
    )
    source = replace(catalogue.SOURCES[name], files=files, mirrors=mirrors, counts=(6, 4), shape=(4, 5, 1))
    monkeypatch.setitem(catalogue.SOURCES, name, source)
    return contents


def zeros_in_gzip(size):
    """A gzip member of so many zeros."""
    packer = zlib.compressobj(wbits=31)
    parts = [packer.compress(bytes(1 << 24)) for _ in range(size >> 24)]
    return b"".join([*parts, packer.flush()])


@contextlib.contextmanager
def little_memory(most=150_000_000):
    """Fails where Python's allocator hands out more than this inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def save_picture(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path, **options)
    return path


def picture_folder(root, classes=("cat", "dog"), count=5, shape=(8, 8)):
    for index, name in enumerate(classes):
        for number in range(count):
            save_picture(root / name / f"{number}.png", np.full(shape, 40 * index + number))
    return root


def make(**changes):
    images, labels = arrays(6, (4, 5, 1))
    values = {
        "name": "toy",
        "train_images": images,
        "train_labels": labels,
        "test_images": images[:3],
        "test_labels": labels[:3],
    }
    return data.Dataset(**{**values, "class_names": ("a", "b", "c"), **changes})


def test_dataset_keeps_images_and_widens_labels():
    toy = make(train_labels=np.array([0, 1, 2, 0, 1, 2], np.uint8))
    assert toy.train_images.dtype == np.uint8
    assert toy.train_labels.dtype == np.int64
    assert toy.input_shape == (4, 5, 1)
    assert repr(toy) == "Dataset('toy': 6 training and 3 test pictures of 4x5x1, 3 classes)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_images": np.zeros((6, 4, 5), np.uint8)},
            r"toy: train_images: found uint8 \(6, 4, 5\), a uint8 array",
        ),
        ({"train_images": np.zeros((6, 4, 5, 1))}, r"toy: train_images: found float64 .* convert it first"),
        ({"test_images": [[1]]}, "toy: test_images: found list"),
        ({"test_images": np.zeros((0, 4, 5, 1), np.uint8)}, "holds no pictures; give at least one"),
        ({"test_images": np.zeros((3, 5, 5, 1), np.uint8)}, r"test_images have shape \(5, 5, 1\), train_images"),
        ({"train_labels": np.zeros(6)}, "train_labels: found float64 .* one integer per picture"),
        ({"train_labels": np.eye(6, dtype=int)}, r"found int64 \(6, 6\).*argmax"),
        ({"train_labels": np.array([0, 1])}, "toy: train: 6 pictures but 2 labels"),
        ({"train_labels": np.array([0, 1, 2, 3, 0, 1])}, r"labels run from 0 to 3, 0\.\.2 was expected"),
        ({"train_labels": np.array([0, -1, 2, 1, 0, 1])}, "labels run from -1 to 2"),
        ({"train_labels": np.ones(6, int)}, r"train_labels hold only one class \(b\)"),
        ({"class_names": ("a",)}, r"toy: only one class \(a\); a classifier needs at least two"),
    ],
)
def test_dataset_refuses(changes, message):
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_select_classes_relabels_in_the_order_given():
    toy = make()
    chosen = toy.select_classes([2, 0])
    assert chosen.class_names == ("c", "a")
    np.testing.assert_array_equal(chosen.train_labels, [1, 0, 1, 0])
    np.testing.assert_array_equal(chosen.train_images, toy.train_images[[0, 2, 3, 5]])
    np.testing.assert_array_equal(chosen.test_labels, [1, 0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], r"toy: there is no class 3; choose from 0 \(a\), 1 \(b\), 2 \(c\)"),
        ([0, -1], "no class -1"),
        ([0, "b"], "no class 'b'"),
        ([True, 2], "no class True"),
        ([1, 1], r"classes \[1, 1\] were asked for, two or more different ones .* choose from 0 \(a\)"),
        ([1], "two or more different ones"),
    ],
)
def test_select_classes_refuses(labels, message):
    with pytest.raises(DataError, match=message):
        make().select_classes(labels)


def test_split_validation_is_a_seeded_partition():
    toy = make()
    one, again, other = (toy.split_validation(0.34, seed) for seed in (1, 1, 2))
    assert [len(part) for part in one] == [4, 4, 2, 2]
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[2], other[2])
    rows = {image.tobytes() for image in (*one[0], *one[2])}
    assert rows == {image.tobytes() for image in toy.train_images}
    assert toy.split_validation(0, 1)[0] is toy.train_images
    assert len(toy.split_validation(0.999, 1)[0]) == 1


def test_a_class_keeps_pictures_to_train_on():
    """Of 200 classes of three pictures a plain draw holds all of some out."""
    labels = np.repeat(np.arange(200), 3)
    images = np.arange(600 * 4, dtype=np.uint32).view(np.uint8).reshape(600, 4, 4, 1)
    many = data.Dataset("many", images, labels, images[:200], labels[::3], tuple(map(str, range(200))))
    for seed in range(20):
        train_images, train, held_images, held = many.split_validation(0.3, seed)
        assert (len(train), len(held)) == (420, 180)
        assert np.bincount(held).max() == 1
        assert {each.tobytes() for each in (*train_images, *held_images)} == {each.tobytes() for each in images}
        assert (np.diff(train) >= 0).all()
    unequal = np.array([0] * 30 + [1] * 30 + [2, 3])
    few = data.Dataset("few", images[:62], unequal, images[:4], np.arange(4), tuple("abcd"))
    for seed in range(20):
        _, train, _, held = few.split_validation(0.4, seed)
        assert set(train) == {0, 1, 2, 3}
        assert set(held) == {0, 1}
        assert len(held) <= round(0.4 * 62)


def test_a_plain_draw_stays_where_each_class_keeps_pictures_to_train_on():
    digits = data.load("digits")
    for seed in range(3):
        labels, held = digits.train_labels, np.zeros(len(digits.train_labels), bool)
        held[split.permutation(len(labels), seed)[: round(0.1 * len(labels))]] = True
        found = digits.split_validation(0.1, seed)
        assert found[1].tobytes() == labels[~held].tobytes()
        assert found[2].tobytes() == digits.train_images[held].tobytes()


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_split_validation_refuses(fraction):
    with pytest.raises(DataError, match=r"toy: validation fraction .* a number in \[0, 1\)"):
        make().split_validation(fraction, 0)


def test_stratified_split_takes_a_fifth_of_every_class():
    labels = np.repeat([0, 1, 2], [50, 5, 2])
    train, test = split.stratified_split(labels, "toy")
    assert sorted([*train, *test]) == list(range(57))
    np.testing.assert_array_equal(np.bincount(labels[test]), [10, 1, 1])
    with pytest.raises(DataError, match="toy: class lone has 1 example, at least 2"):
        split.stratified_split(np.array([0, 0, 1]), "toy", ("many", "lone"))


def test_permutation_is_recorded():
    np.testing.assert_array_equal(split.permutation(8, 0), [3, 2, 1, 6, 0, 7, 4, 5])


def test_preprocessing_survives_json():
    wanted = data.Preprocessing((28, 20), 3, invert=True)
    assert data.Preprocessing.from_dict(json.loads(json.dumps(wanted.to_dict()))) == wanted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": [28, 28], "channels": 2}, r"channels 2: 1 \(grey\) or 3"),
        ({"size": [28, 0], "channels": 1}, r"size \(28, 0\): \(height, width\)"),
        ({"size": "28x28", "channels": 1}, "size '28x28': "),
        ({"size": [28, 28], "channels": 1, "invert": 1}, "invert 1: True or False"),
        ({"size": [28, 28]}, "a dictionary with size, channels"),
        ({"size": [28, 28], "channels": 1, "scale": 2}, "a dictionary with size, channels"),
        (None, "preprocessing None"),
    ],
)
def test_preprocessing_refuses(values, message):
    with pytest.raises(DataError, match=message):
        data.Preprocessing.from_dict(values)


def test_parse_size():
    assert data.parse_size("28x20") == (28, 20)
    assert data.parse_size(" 32 X 32 ") == data.parse_size("32,32") == data.parse_size("32") == (32, 32)


@pytest.mark.parametrize("text", ["28x", "28,", "28;28", "axb", "0x4", "-3x4", "1x2x3", "99999x9", ""])
def test_parse_size_refuses(text):
    with pytest.raises(DataError, match=r"size .* expected; (write|use) for example"):
        data.parse_size(text)


def test_digits_are_the_same_everywhere():
    loaded = data.load("digits")
    assert loaded.train_images.shape == (1438, 28, 28, 1)
    assert loaded.test_images.shape == (359, 28, 28, 1)
    assert (loaded.train_images.min(), loaded.train_images.max()) == (0, 255)
    np.testing.assert_array_equal(np.bincount(loaded.test_labels), [36, 36, 35, 37, 36, 36, 36, 36, 35, 36])
    names = ("train_images", "train_labels", "test_images", "test_labels")
    recorded = [hashlib.sha256(getattr(loaded, name).tobytes()).hexdigest()[:16] for name in names]
    assert recorded == ["ca37e0a1d1a599a1", "86f2d2d34c11f827", "09806eda55b5618e", "b954eee19a84c8f6"]
    assert loaded.class_names == tuple("0123456789")
    assert loaded.preprocessing == data.Preprocessing((28, 28), 1, strokes=data.Strokes(1.0, "box", 8))


def test_digits_are_bilinear():
    ramp = np.tile(np.arange(8.0) * 2, (8, 1))
    centres = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7) * 2
    expected = np.floor(centres * 255 / 16 + 0.5)
    np.testing.assert_array_equal(digits.enlarge(ramp[None])[0, 13, :, 0], expected)
    assert (digits.enlarge(np.full((1, 8, 8), 8.0)) == 128).all()


def test_digits_need_no_download(monkeypatch, tmp_path):
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path))
    assert data.fetch("digits") == data.where("digits")
    assert data.where("digits").is_file()
    assert data.verify("digits") == [(data.where("digits"), "bundled with scikit-learn: 1797 digits as expected")]


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="scikit-learn, which holds them, is not installed; run `pip install"):
        data.load("digits")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (None, "cannot be read"),
        (b"0,1,2\n", "cannot be read"),
        (gzip.compress(b"0,1,2\n" * 9, mtime=0), r"holds \(9, 3\) values, \(1797, 65\) were expected"),
        (gzip.compress(b"0,1,2\n0,one,2\n", mtime=0), "cannot be read"),
        (gzip.compress(b"\xff\xfe", mtime=0), "cannot be read"),
        (gzip.compress(b"0,1,2\n" * 99, mtime=0)[:-12], "cannot be read"),
    ],
)
def test_digits_whose_file_is_not_what_it_was(written, told, monkeypatch, tmp_path):
    if written is not None:
        (tmp_path / "digits.csv.gz").write_bytes(written)
    monkeypatch.setattr(digits, "path", lambda: tmp_path / "digits.csv.gz")
    with pytest.raises(DataError, match=rf"digits: .*digits\.csv\.gz {told}.*; install scikit-learn again"):
        data.load("digits")


@pytest.mark.parametrize("name", ["mnist", "MNIST", "fashion_mnist", "fashion-mnist", "Fashion-MNIST", "cifar-10"])
def test_names_are_forgiving(name):
    assert catalogue.known_name(name) in data.NAMES


def test_unknown_name(tmp_path):
    with pytest.raises(DataError, match=r"minst: no data set .* no such path .*digits, mnist, .*did you mean mnist\?"):
        data.load("minst")
    with pytest.raises(DataError, match=r"an \.npz, \.csv or \.parquet file, a folder with IDX files"):
        data.load(tmp_path / "nothing")
    for function in (data.fetch, data.verify, data.where):
        with pytest.raises(DataError, match=r"digitz: no data set has this name; .*did you mean digits\?"):
            function("digitz")


def test_unknown_kind_of_file(tmp_path):
    (tmp_path / "table.xlsx").write_text("1\t2")
    with pytest.raises(DataError, match=r"table\.xlsx: this kind of file cannot be read; a path must be an \.npz"):
        data.load(tmp_path / "table.xlsx")


@pytest.mark.parametrize("options", [{"size": (8, 8)}, {"channels": 1}, {"invert": True}, {"fit": "pad"}])
def test_picture_options_belong_to_picture_folders(options):
    with pytest.raises(
        DataError, match=r"digits: (size, channels, invert and fit are for pictures only|skip_broken is for folders)"
    ):
        data.load("digits", **options)


def test_importing_is_light():
    code = "import sys, gpucnn.data; print([m for m in ('sklearn', 'PIL', 'pooch', 'requests') if m in sys.modules])"
    root = Path(data.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("compress", [False, True])
def test_idx_folder(tmp_path, compress):
    contents, ((train_images, train_labels), (test_images, test_labels)) = idx_files()
    loaded = data.load(write_files(tmp_path / "own", contents, compress))
    np.testing.assert_array_equal(loaded.train_images[..., 0], train_images)
    np.testing.assert_array_equal(loaded.train_labels, train_labels)
    np.testing.assert_array_equal(loaded.test_images[..., 0], test_images)
    np.testing.assert_array_equal(loaded.test_labels, test_labels)
    assert (loaded.name, loaded.class_names) == ("own", ("0", "1", "2"))
    assert loaded.preprocessing == data.Preprocessing((4, 5), 1)


IMAGES, LABELS = idx.NAMES[:2]
PAGE = b"<!DOCTYPE html><html>Please log in</html>"


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (IMAGES, lambda c: c[:-1], r"train-images-idx3-ubyte: truncated, 135 bytes were found, 136 expected for 6x4x5"),
        (IMAGES, lambda c: c[:7], "truncated, 7 bytes are less than an IDX header of 16"),
        (IMAGES, lambda c: c + b"x", "too long, 137 bytes were found, 136 expected"),
        (IMAGES, lambda c: b"", "train-images-idx3-ubyte: is empty; delete this file and fetch it again"),
        (IMAGES, lambda c: PAGE, r"train-images-idx3-ubyte: is a web page \(HTML\), data was expected"),
        (IMAGES, lambda c: b"\0\0\x0d\3" + c[4:], r"magic number 3331, 2051 \(IDX images of unsigned bytes\)"),
        (LABELS, lambda c: b"\0\0\x08\3" + c[4:] + bytes(8), "labels-idx1-ubyte: magic number 2051, 2049 "),
        (LABELS, lambda c: idx_bytes([0, 1]), "labels-idx1-ubyte: 6 pictures but 2 labels"),
        (LABELS, lambda c: idx_bytes([0] * 6), "train_labels hold only one class"),
        (LABELS, lambda c: gzip.compress(c)[:-9], "the gzip file is truncated"),
        (LABELS, lambda c: gzip.compress(c)[:-8] + bytes(8), r"the gzip file is damaged \(CRC"),
    ],
)
def test_damaged_idx(tmp_path, name, damage, message):
    contents = idx_files()[0]
    contents[name] = damage(contents[name])
    with pytest.raises(DataError, match=message):
        data.load(write_files(tmp_path, contents))


def test_idx_sizes_are_compared_with_the_file_before_it_is_read(tmp_path):
    contents = idx_files()[0]
    huge = struct.pack(">4I", 0x0803, 4_000_000_000, 2_000, 2_000)
    write_files(tmp_path, contents)
    with open(tmp_path / IMAGES, "wb") as file:
        file.write(huge)
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="truncated, 1099511627776 bytes were found, 16000000000000016 expected"):
        data.load(tmp_path)
    (tmp_path / IMAGES).unlink()
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(huge))
    message = rf"{IMAGES}.gz: takes 16,000,000,000,000,016 bytes .*, 1,073,741,824 are allowed; .* set GPUCNN_MAX_BYTES"
    with pytest.raises(DataError, match=message):
        data.load(tmp_path)


def test_gzip_that_goes_on_for_ever(tmp_path, monkeypatch, no_download):
    contents = idx_files()[0]
    folder = write_files(tmp_path / "mnist", contents, compress=True)
    bomb = zeros_in_gzip(1 << 27)
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(contents[IMAGES]) + 80 * bomb)
    with little_memory(), pytest.raises(DataError, match=r"too long, [0-9]+ bytes were found, 136 expected"):
        data.load(folder)
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GPUCNN_MAX_BYTES", "40000000")
    with little_memory(), pytest.raises(DataError, match=rf"{IMAGES}.gz: takes 4.,...,... bytes.*set GPUCNN_MAX_BYTES"):
        data.load("mnist")


@pytest.mark.parametrize("value", ["many", "-1", "0", "1e9", "1" * 30, "٣"])
def test_a_limit_that_is_none(tmp_path, monkeypatch, value):
    monkeypatch.setenv("GPUCNN_MAX_BYTES", value)
    with pytest.raises(DataError, match=r"GPUCNN_MAX_BYTES=.*: a whole number of bytes was expected, such as 1073741"):
        data.load(write_files(tmp_path, idx_files()[0], compress=True))


@pytest.mark.parametrize("kind", ["idx", "npz"])
def test_a_test_label_that_training_lacks(tmp_path, kind):
    images, labels = arrays(9)
    if kind == "idx":
        contents = dict(zip(idx.NAMES, map(idx_bytes, (images, labels, images, labels + 1))))
        path = write_files(tmp_path / "own", contents)
    else:
        path = save_npz(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels + 1)
    with pytest.raises(
        DataError, match=r"labels run to 3, those of the training part to 2; a class that training lacks"
    ):
        data.load(path)


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\ud800", "a\nb", "a\u2028"])
def test_names_that_would_steer_a_terminal(name):
    with pytest.raises(
        DataError, match=r"toy: the class name a\\\S+ holds control characters or lone surrogates; give"
    ):
        make(class_names=("x", name, "y"))
    assert make(class_names=("東京", "a b", "né\u00a0e")).class_names[0] == "東京"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(DataError, match=r"pipe\.npz: cannot be read \(it is no regular file\)"):
        data.load(tmp_path / "pipe.npz")


def test_idx_folder_with_a_missing_or_false_file(tmp_path):
    contents = idx_files()[0]
    del contents[LABELS]
    write_files(tmp_path, contents)
    with pytest.raises(DataError, match=r"no file train-labels-idx1-ubyte or train-labels-idx1-ubyte\.gz; all of"):
        data.load(tmp_path)
    (tmp_path / f"{LABELS}.gz").write_bytes(b"plain")
    with pytest.raises(DataError, match=r"ubyte\.gz: begins with b'plai', a gzip file was expected"):
        data.load(tmp_path)


def test_unreadable_file(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read .*; check that it is a file"):
        sources.read_content(tmp_path)


@pytest.fixture
def no_download(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("downloaded although GPUCNN_DATA_DIR is set")

    monkeypatch.setattr(sources, "download", refuse)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("inner", ["mnist", "."])
def test_local_mnist(tmp_path, monkeypatch, no_download, inner, compress):
    folder = write_files(tmp_path / inner, small_source(monkeypatch), compress)
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path))
    loaded = data.load("mnist")
    assert (loaded.name, len(loaded.train_labels), loaded.input_shape) == ("mnist", 6, (4, 5, 1))
    assert loaded.class_names == tuple("0123456789")
    assert data.fetch("mnist") == data.where("mnist") == folder
    checked = data.verify("mnist")
    assert [path.name.removesuffix(".gz") for path, _ in checked] == list(idx.NAMES)
    assert {text for _, text in checked} == {"sha256 of the content is as published"}


def test_local_mnist_is_missing(tmp_path, monkeypatch, no_download):
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path))
    message = (
        rf"mnist: no file {IMAGES} or {IMAGES}\.gz; tried {tmp_path}/mnist, {tmp_path}; "
        "put the four IDX files there, or unset GPUCNN_DATA_DIR to download them"
    )
    for function in (data.load, data.fetch, data.verify):
        with pytest.raises(DataError, match=message):
            function("mnist")
    assert data.where("mnist") == tmp_path / "mnist"
    write_files(tmp_path, {IMAGES: b"x"})
    with pytest.raises(DataError, match=rf"mnist: no file {LABELS} or .*; tried {tmp_path}; put"):
        data.load("mnist")


def test_local_folder_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path / "no"))
    with pytest.raises(DataError, match=r"GPUCNN_DATA_DIR=.*/no: there is no such folder; correct it, or unset it"):
        data.load("mnist")


def test_local_mnist_with_another_content(tmp_path, monkeypatch, no_download):
    contents = small_source(monkeypatch)
    expected = hashlib.sha256(contents[LABELS]).hexdigest()
    contents[LABELS] = contents[LABELS][:-1] + b"\1"
    found = hashlib.sha256(contents[LABELS]).hexdigest()
    write_files(tmp_path, contents)
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path))
    message = rf"{LABELS}: the sha256 of the content is {found}, {expected} was expected for mnist; delete this file"
    with pytest.raises(DataError, match=message):
        data.verify("mnist")


def test_local_fashion_is_held_to_its_structure(tmp_path, monkeypatch, no_download):
    contents = small_source(monkeypatch, "fashion-mnist", known=False)
    write_files(tmp_path, contents)
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path))
    assert {text for _, text in data.verify("fashion_mnist")} == {sources.STRUCTURE_ONLY}
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(contents[IMAGES], mtime=0))
    (tmp_path / IMAGES).unlink()
    assert data.verify("fashion_mnist")[0][1] == "md5 of the compressed file is as published"
    (tmp_path / LABELS).write_bytes(idx_bytes([0, 1, 2, 3, 4, 10]))
    with pytest.raises(DataError, match=rf"{LABELS}: labels run from 0 to 10, 0\.\.9 was expected"):
        data.load("fashion-mnist")
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(idx_bytes(arrays(5)[0])))
    with pytest.raises(DataError, match=r"pictures of shape \(5, 4, 5, 1\), \(6, 4, 5, 1\) was expected for fashion"):
        data.load("fashion-mnist")


def test_mnist_is_not_taken_for_fashion(tmp_path, monkeypatch, no_download):
    contents = small_source(monkeypatch)
    small_source(monkeypatch, "fashion-mnist", known=False)
    write_files(tmp_path, contents)
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path))
    with pytest.raises(
        DataError, match="this is a file of mnist, one of fashion-mnist was expected; put each data set"
    ):
        data.load("fashion-mnist")


@pytest.mark.skipif(not (Path(REAL) / "mnist").is_dir() or not REAL, reason="no mnist folder in GPUCNN_DATA_DIR")
def test_real_mnist(monkeypatch):
    monkeypatch.setenv("GPUCNN_DATA_DIR", REAL)
    loaded = data.load("mnist")
    assert (loaded.train_images.shape, loaded.test_images.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    np.testing.assert_array_equal(loaded.train_labels[:5], [5, 0, 4, 1, 9])
    np.testing.assert_array_equal(np.bincount(loaded.test_labels)[:3], [980, 1135, 1032])


def cifar_contents(records=2):
    """Six batches by name; record n of batch b has label n and the bytes b, b + 10, b + 20 in its three planes."""
    planes = np.repeat(np.arange(3) * 10, 1024)
    return {
        name: b"".join(bytes([n]) + (planes + batch).astype(np.uint8).tobytes() for n in range(records))
        for batch, name in enumerate(cifar.NAMES)
    }


def cifar_archive(contents):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def cifar_dir(tmp_path, monkeypatch, no_download):
    source = replace(catalogue.SOURCES["cifar10"], counts=(10, 2))
    monkeypatch.setitem(catalogue.SOURCES, "cifar10", source)
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path))
    return tmp_path


def test_cifar_archive_and_folder_hold_the_same(cifar_dir):
    (cifar_dir / "cifar-10-binary.tar.gz").write_bytes(cifar_archive(cifar_contents()))
    packed = data.load("cifar10")
    assert data.verify("cifar10") == [(cifar_dir / "cifar-10-binary.tar.gz", sources.STRUCTURE_ONLY)]
    (cifar_dir / "cifar-10-binary.tar.gz").unlink()
    folder = write_files(cifar_dir / "cifar10" / cifar.FOLDER, cifar_contents())
    unpacked = data.load("cifar10")
    assert data.where("cifar10") == folder
    for loaded in (packed, unpacked):
        assert loaded.input_shape == (32, 32, 3)
        np.testing.assert_array_equal(
            loaded.train_images[:, 3, 4], [[b, b + 10, b + 20] for b in range(5) for _ in "ab"]
        )
        np.testing.assert_array_equal(loaded.train_labels, [0, 1] * 5)
        np.testing.assert_array_equal(loaded.test_images[0, 0, 0], [5, 15, 25])
    assert packed.class_names[:2] == ("airplane", "automobile")


def test_damaged_cifar(cifar_dir):
    path, contents = cifar_dir / "cifar-10-binary.tar.gz", cifar_contents()
    whole = cifar_archive(contents)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"tar\.gz: the archive is truncated or damaged"):
        data.load("cifar10")
    path.write_bytes(PAGE)
    with pytest.raises(DataError, match=r"tar\.gz: is a web page"):
        data.load("cifar10")
    path.write_bytes(cifar_archive({cifar.NAMES[0]: b""}))
    with pytest.raises(DataError, match=r"the archive has no data_batch_2\.bin, data_batch_3\.bin"):
        data.load("cifar10")
    path.write_bytes(cifar_archive({**contents, "test_batch.bin": contents["test_batch.bin"][:-1]}))
    with pytest.raises(DataError, match=r"test_batch\.bin: 6145 bytes, whole records of 3073 bytes"):
        data.load("cifar10")
    path.write_bytes(cifar_archive({**contents, "data_batch_2.bin": b"\x0a" + contents["data_batch_2.bin"][1:]}))
    with pytest.raises(DataError, match=r"data_batch_2\.bin: label 10, 0\.\.9 was expected"):
        data.load("cifar10")
    path.write_bytes(cifar_archive(cifar_contents(3)))
    with pytest.raises(DataError, match=r"data_batch_1\.bin: pictures of shape \(3, 32, 32, 3\), \(2, 32, 32, 3\)"):
        data.load("cifar10")


def test_a_tar_that_holds_more_than_is_allowed(cifar_dir):
    path = cifar_dir / "cifar-10-binary.tar.gz"
    entry = tarfile.TarInfo("notes.txt")
    entry.size = 3 << 30
    bomb = zeros_in_gzip(1 << 27)
    path.write_bytes(gzip.compress(entry.tobuf()) + 24 * bomb + cifar_archive(cifar_contents()))
    # Python 3.14 reads a pax header piece by piece
    message = r"tar.gz: takes (3,221,225,984|1,073,742,336) bytes of memory or more, .* set GPUCNN_MAX_BYTES"
    with little_memory(), pytest.raises(DataError, match=message):
        data.load("cifar10")
    entry.type = tarfile.XHDTYPE
    path.write_bytes(gzip.compress(entry.tobuf()) + 24 * bomb)
    with little_memory(), pytest.raises(DataError, match=message):
        data.load("cifar10")


def test_a_tar_of_names_upon_names(cifar_dir):
    entry = tarfile.TarInfo("long")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 1
    (cifar_dir / "cifar-10-binary.tar.gz").write_bytes(gzip.compress((entry.tobuf() + bytes(512)) * 5000))
    with pytest.raises(DataError, match=r"the archive is truncated or damaged \(maximum recursion"):
        data.load("cifar10")


def test_cifar_record_is_not_mistaken_for_a_page(tmp_path):
    path = tmp_path / "batch.bin"
    path.write_bytes(b"\t<<<<")
    files.refuse_web_page(path)


def test_cifar_is_missing(cifar_dir):
    with pytest.raises(
        DataError, match=r"cifar10: no file .*tried .*/cifar-10-batches-bin; put cifar-10-binary\.tar\.gz"
    ):
        data.load("cifar10")


@pytest.fixture
def server():
    """A web server on this machine; `pages` maps paths to bytes, everything else is answered with 404."""
    pages, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = pages.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}", pages, asked
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.mark.parametrize("terminal", [False, True])
def test_download_tries_the_next_mirror_and_keeps_the_files(server, monkeypatch, tmp_path, capsys, terminal):
    address, pages, asked = server
    contents = small_source(monkeypatch, mirrors=(f"{address}/bad/", f"{address}/good/"))
    for name, content in contents.items():
        pages[f"/good/{name}.gz"] = gzip.compress(content, mtime=0)
    pages[f"/bad/{IMAGES}.gz"] = PAGE
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert data.fetch("mnist") == data.where("mnist") == tmp_path / "cache" / "gpucnn" / "mnist"
    assert (f"mnist: {IMAGES}.gz" in capsys.readouterr().err) == terminal
    assert len(asked) == 8
    assert len(data.load("mnist").train_labels) == 6
    assert len(asked) == 8, "the cache was not used"


def test_a_damaged_cache_is_fetched_again(server, monkeypatch, tmp_path):
    address, pages, _ = server
    contents = small_source(monkeypatch, mirrors=(f"{address}/",))
    pages.update({f"/{name}.gz": gzip.compress(content, mtime=0) for name, content in contents.items()})
    folder = data.fetch("mnist")
    (folder / f"{IMAGES}.gz").write_bytes(PAGE)
    assert len(data.load("mnist").train_labels) == 6


def test_every_failing_mirror_is_told(server, monkeypatch):
    address, pages, _ = server
    mirrors = tuple(f"{address}/{name}/" for name in ("page", "none", "other"))
    small_source(monkeypatch, mirrors=(*mirrors, "http://127.0.0.1:1/"))
    pages[f"/page/{IMAGES}.gz"] = PAGE
    pages[f"/other/{IMAGES}.gz"] = gzip.compress(b"something else")
    message = (
        rf"mnist: {IMAGES}\.gz could not be downloaded to .*: {mirrors[0]} sent a web page \(HTML\).*; "
        rf"{mirrors[1]} failed \(404.*; {mirrors[2]} failed \(.*hash.*; http://127\.0\.0\.1:1/ failed .*"
        "put the four IDX files into a folder and set GPUCNN_DATA_DIR to it"
    )
    with pytest.raises(DataError, match=message):
        data.load("mnist")


def test_long_errors_are_shortened():
    assert download.shortened(ValueError("x" * 500 + "\nmore")) == "x" * 157 + "..."
    assert download.shortened(TimeoutError()) == "TimeoutError"


def save_npz(path, **values):
    np.savez(path, **values)
    return path


@pytest.fixture
def npz(tmp_path):
    return tmp_path / "own.npz"


@pytest.mark.parametrize(
    "keys", [("train_images", "train_labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test")]
)
def test_npz(npz, keys):
    images, labels = arrays()
    loaded = data.load(save_npz(npz, **dict(zip(keys, (images, labels[:, None], images[:3], labels[:3]), strict=True))))
    np.testing.assert_array_equal(loaded.train_images[..., 0], images)
    np.testing.assert_array_equal(loaded.train_labels, labels)
    assert (loaded.name, loaded.input_shape, loaded.class_names) == ("own", (4, 5, 1), ("0", "1", "2"))
    assert loaded.preprocessing == data.Preprocessing((4, 5), 1)


def test_npz_without_a_test_part_is_split(npz):
    images, labels = arrays(30, (4, 5, 2))
    floats = (images / 255).astype(np.float32)
    loaded = data.load(save_npz(npz, images=floats, labels=labels, class_names=["x", "y", "z"]))
    assert loaded.class_names == ("x", "y", "z")
    assert loaded.preprocessing is None
    np.testing.assert_array_equal(np.bincount(loaded.test_labels), [2, 2, 2])
    kept = {image.tobytes() for image in (*loaded.train_images, *loaded.test_images)}
    assert kept == {image.tobytes() for image in images}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.full((6, 4, 5), np.nan)}, r"own\.npz: images: holds NaN or infinite values"),
        (
            {"images": np.full((6, 4, 5), 25.5)},
            r"images: floats from 25\.5 to 25\.5, 0\.\.1 was expected; hand over",
        ),
        ({"images": np.full((6, 4, 5), 256)}, r"images: whole numbers from 256 to 256, 0\.\.255 was expected; bring"),
        ({"images": np.full((6, 4, 5), -1.0)}, r"images: floats from -1 to -1"),
        ({"images": np.full((6, 4, 5), 1j)}, "images: dtype complex128, uint8 or floats .* astype"),
        (
            {"images": np.zeros((6, 784), np.uint8)},
            r"found uint8 \(6, 784\), one row .* 28x28, save array\.reshape\(-1, 28, 28\)",
        ),
        ({"images": np.zeros((6, 3072), np.uint8)}, r"if they are 32x32, save array\.reshape\(-1, 32, 32, 3\)"),
        ({"images": np.zeros((6, 11), np.uint8)}, r"\(N, H, W, C\) were expected; reshape them"),
        ({"images": np.zeros((0, 4, 5), np.uint8)}, "holds no pictures"),
        ({"labels": np.arange(5)}, "own.npz: images, labels: 6 pictures but 5 labels"),
        ({"labels": np.array([0, 1, -1, 0, 1, 0])}, "labels run from -1 to 1"),
        ({"labels": np.eye(6)}, r"class 0 has 1 example"),
        ({"labels": np.full(6, np.nan)}, "labels: holds NaN"),
        (
            {"labels": np.array(["a", "b", "c", "c", "b", "a"]), "class_names": ["a", "b"]},
            "the label 'c', which is none of a, b",
        ),
        ({"labels": np.array([0, 1, 10**9, 0, 1, 0])}, "the largest label is 1000000000; number the classes"),
        ({"labels": np.zeros(6, int)}, "only one class"),
        ({"labels": np.array([0, 0, 0, 1, 1, 2])}, "class 2 has 1 example"),
        ({"class_names": ["x", "y"]}, r"labels run from 0 to 2, 0\.\.1 was expected for 2 classes"),
        ({"class_names": np.arange(3)}, "class_names is int64"),
        ({"labels": np.array([object()] * 6)}, "own.npz: holds Python objects, which are not opened"),
    ],
)
def test_npz_refuses(npz, changes, message):
    images, labels = arrays()
    with pytest.raises(DataError, match=message):
        data.load(save_npz(npz, **{"images": images, "labels": labels, **changes}))


def test_npz_names_the_missing_keys(npz):
    images, labels = arrays()
    with pytest.raises(DataError, match=r"found the keys x_train, expected .*; add the labels beside x_train"):
        data.load(save_npz(npz, x_train=images))
    with pytest.raises(DataError, match=r"found the keys x_test, x_val, y_test, .*; add a training part, such"):
        data.load(save_npz(npz, x_test=images, y_test=labels, x_val=images, y_val=labels))
    with pytest.raises(DataError, match=r"found the keys a, expected \(train_images, .* or \(images, labels\)"):
        data.load(save_npz(npz, a=images))
    with pytest.raises(DataError, match="images and x are both the images; leave one out"):
        data.load(save_npz(npz, images=images, x=images, labels=labels))


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("X", "y"), (24, 0, 6)),
        (("data", "target"), (24, 0, 6)),
        (("trainX", "trainY"), (24, 0, 6)),
        (("x_train", "y_train", "x_val", "y_val"), (30, 0, 30)),
        (("X_train", "y_train", "X_val", "y_val", "X_test", "y_test"), (30, 30, 30)),
        (("train_images", "train_labels", "valid_images", "valid_labels", "test_images", "test_labels"), (30, 30, 30)),
    ],
)
def test_npz_under_the_names_that_people_give(npz, names, parts):
    pair = arrays(30)
    loaded = data.load(save_npz(npz, **{name: pair[k % 2] for k, name in enumerate(names)}, ids=np.arange(30)))
    validation = 0 if loaded.validation is None else len(loaded.validation[1])
    assert (len(loaded.train_labels), validation, len(loaded.test_labels)) == parts
    assert "left out: ids, which are no images or labels of a part" in loaded.notes
    assert ("is taken as the test part" in "".join(loaded.notes)) == (len(names) == 4)


def test_a_test_part_alone_is_all_data(npz):
    images, labels = arrays(30)
    loaded = data.load(save_npz(npz, x_test=images, y_test=labels))
    assert (len(loaded.train_labels), len(loaded.test_labels)) == (24, 6)
    assert "there is no training part beside x_test and y_test: this test part is taken for all data" in loaded.notes


@pytest.mark.parametrize("others", [("x_train",), ("y_train",), ("images",), ("x_train", "ytrian"), ("ids",)])
def test_a_test_part_is_not_trained_on_where_a_training_part_may_be_meant(npz, others):
    images, labels = arrays(30)
    more = {name: labels if name.startswith("y") else images for name in others}
    with pytest.raises(DataError, match=r"found the keys .*; add (the|a training part)"):
        data.load(save_npz(npz, x_test=images, y_test=labels, **more))


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        (np.repeat([1, 2, 3], 10), ("1", "2", "3"), "labels count from 1; class 0 is label 1"),
        (np.repeat([0.0, 1.0, 2.0], 10), ("0", "1", "2"), "whole floats are taken as classes"),
        (np.repeat([1.0, 2.0, 3.0], 10)[:, None], None, None),
        (np.repeat([False, True, True], 10), ("False", "True"), None),
        (np.repeat(["cat", "ox", "yak"], 10), ("cat", "ox", "yak"), "labels are texts; the classes are cat, ox, yak"),
        (np.repeat([b"cat", b"ox", b"yak"], 10)[:, None], ("cat", "ox", "yak"), "labels are texts"),
        (np.repeat(np.eye(3), 10, axis=0), ("0", "1", "2"), "each row has one 1; it is taken as the class"),
        (np.repeat(np.eye(3, dtype=bool), 10, axis=0), ("0", "1", "2"), "each row has one 1"),
        (
            np.repeat([2, 3, 4], 10),
            ("0", "1", "2", "3", "4"),
            "labels run to 4, and training has no pictures of class 0, 1",
        ),
    ],
)
def test_npz_labels_in_the_forms_that_people_keep(npz, labels, classes, said):
    images = np.repeat(100 * np.arange(3, dtype=np.uint8), 10)[:, None, None] * np.ones((4, 5), np.uint8)
    loaded = data.load(save_npz(npz, images=images, labels=labels))
    if classes is None:
        assert loaded.train_labels.shape == (24, 1)
        return
    assert loaded.class_names == classes
    if said is None:
        assert loaded.notes == ()
    else:
        assert said in loaded.notes[0]
    kinds = loaded.train_images[:, 0, 0, 0].astype(int) // 100
    expected = {2: kinds > 0, 3: kinds, 5: kinds + 2}[len(classes)]
    np.testing.assert_array_equal(loaded.train_labels, expected)


@pytest.mark.parametrize(
    ("change", "pixel", "said"),
    [
        (lambda x: x.astype(float), 200, "whole numbers to 200 are taken as 0..255"),
        (lambda x: x.astype(np.int64), 200, ""),
        (lambda x: x / 255, 200, ""),
        (lambda x: (x // 200) * 16.0, 255, "16 is taken as white"),
        (lambda x: (x // 200).astype(int) * 8, 128, "16 is taken as white"),
        (lambda x: x > 0, 255, ""),
        (lambda x: (x > 0).astype(np.uint8), 255, "pixels are 0 and 1; 1 is taken as white"),
        (lambda x: (x > 0).astype(int), 255, "pixels are 0 and 1; 1 is taken as white"),
        (lambda x: (x > 0).astype(float), 255, ""),
        (lambda x: np.moveaxis(np.stack([x, x, x], 1), 1, 1), 200, "is channels first, and was turned"),
    ],
)
def test_npz_pixels_in_the_forms_that_people_keep(npz, change, pixel, said):
    images = np.zeros((30, 6, 5), np.uint8)
    images[:, 2, 3] = 200
    loaded = data.load(save_npz(npz, images=change(images), labels=np.repeat([0, 1, 2], 10)))
    assert said in "".join(loaded.notes)
    assert bool(said) == bool(loaded.notes)
    assert loaded.train_images.shape[1:3] == (6, 5)
    assert (loaded.train_images[:, 2, 3] == pixel).all()
    assert loaded.train_images.sum() == pixel * loaded.train_images.shape[0] * loaded.train_images.shape[3]


def test_npz_that_is_something_else(npz):
    whole = save_npz(npz, images=arrays()[0], labels=arrays()[1]).read_bytes()
    npy = io.BytesIO()
    np.save(npy, np.zeros(3))
    broken = whole.replace(arrays()[0].tobytes()[:40], bytes(40))
    for content, message in (
        (whole[: len(whole) // 2], r"own\.npz: is truncated or damaged"),
        (broken, r"is truncated or damaged \(Bad CRC"),
        (PAGE, "is a web page"),
        (whole.replace(b"PK\x01\x02-\x03-", b"PK\x01\x02-\x03\xff"), r"is truncated or damaged \(zip file version"),
        (b"nonsense", r"is no \.npz file; write it again with numpy\.savez"),
        (npy.getvalue(), r"is no \.npz file"),
        (b"", "is empty"),
    ):
        npz.write_bytes(content)
        with pytest.raises(DataError, match=message):
            data.load(npz)


def npy(descr, shape, content=b"", more="", version=1):
    """A member of an .npz file with this header."""
    head = repr({"descr": descr, "fortran_order": False, "shape": shape}) if isinstance(shape, tuple) else shape
    head = (head + more).encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(head))
    return b"\x93NUMPY" + bytes([version, 0]) + size + head + content


def zipped(path, members, compression=zipfile.ZIP_DEFLATED):
    """A whole zip with these members beside a data set's."""
    images, labels = arrays(9)
    whole = {"images": npy("|u1", images.shape, images.tobytes()), "labels": npy("<i8", (9,), labels.tobytes())}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in {**whole, **members}.items():
            archive.writestr(f"{name}.npy", content)
    return path


def utf32(*texts, width=4):
    return b"".join(np.array(text, f"<U{width}").tobytes() for text in texts)


FAULTS = {
    "beyond Unicode": ({"class_names": npy("<U1", (3,), struct.pack("<3I", 65, 0x110000, 66))}, "what is no text"),
    "a surrogate": ({"class_names": npy("<U1", (3,), struct.pack("<3I", 65, 0xD800, 66))}, "what is no text"),
    "no width": ({"class_names": npy("<U0", (10**11,))}, r"class_names: 0 bytes were found, 0 expected for <U0"),
    "no width, bytes": ({"class_names": npy("|S0", (10**11,))}, r"0 expected for \|S0"),
    "no width, images": ({"images": npy("|V0", (10**11, 4, 5))}, r"images: 0 bytes were found"),
    "2^70": ({"images": npy("|u1", (2**70,))}, r"images: 0 bytes were found, 1180591620717411303424 expected"),
    "2^70 nothings": ({"images": npy("|u1", (0, 2**70))}, "is truncated or damaged"),
    "4 GB of nothing": ({"images": npy("|u1", (4 << 30,))}, r"images: 0 bytes were found, 4294967296 expected"),
    "below zero": ({"images": npy("|u1", (-3, -3), bytes(9))}, "images: 9 bytes were found, 9 expected"),
    "too many": ({"images": npy("|u1", (9, 4, 5), bytes(181))}, "images: 181 bytes were found, 180 expected"),
    "no magic": ({"labels": b"ABC" * 30}, "labels: is no array of numbers or texts; write it again"),
    "empty": ({"labels": b""}, "labels: is no array"),
    "a bracket": ({"labels": npy("", "{'descr': '<i8', 'shape': (9,")}, "is truncated or damaged|labels: is no array"),
    "brackets": ({"labels": npy("", "(" * 5000)}, "is truncated or damaged|labels: is no array"),
    "version 3": ({"labels": npy("<i8", (9,), bytes(72), version=3)}, "labels: is no array"),
    "long header": ({"labels": npy("<i8", (9,), bytes(72), more=" " * 60000)}, "labels: is no array"),
    "times": ({"labels": npy("<m8[s]", (9,), bytes(72))}, r"labels: found timedelta64\[s\] \(9,\), one integer"),
    "escapes": (
        {"class_names": npy("<U4", (3,), utf32("a", "\x1b[1m", "c"))},
        r"the class name \\x1b\[1m holds control characters",
    ),
    "lists of lists": ({"class_names": npy("<U1", (3, 1), utf32(*"abc", width=1))}, "a list of texts was expected"),
    "too many names": ({"class_names": npy("<U1", (10**5 + 1,), bytes(4 * 10**5 + 4))}, "a list of texts was"),
}


@pytest.mark.parametrize(("members", "message"), FAULTS.values(), ids=FAULTS)
def test_npz_members_that_are_none(npz, members, message):
    with little_memory(20_000_000), pytest.raises(DataError, match=message) as caught:
        data.load(zipped(npz, members))
    assert str(caught.value).startswith(str(npz))


def test_npz_names_in_any_order_of_bytes(npz):
    for names in (np.array(["ä", "", "東京"]), np.array(["ä", "", "東京"]).astype(">U2"), np.array([b"a", b"b", b"c"])):
        loaded = data.load(save_npz(npz, images=arrays(9)[0], labels=arrays(9)[1], class_names=names))
        assert loaded.class_names == (("a", "b", "c") if names.dtype.kind == "S" else ("ä", "", "東京"))


def test_npz_in_columns_compressed_and_empty(npz):
    images, labels = arrays(9)
    np.savez_compressed(npz, x_train=np.asfortranarray(images), y_train=labels, x_test=images, y_test=labels)
    loaded = data.load(npz)
    np.testing.assert_array_equal(loaded.train_images, loaded.test_images)
    np.testing.assert_array_equal(loaded.train_images[..., 0], images)
    loaded.train_images[0] = 0  # they are the caller's


def test_npz_that_grows(npz, monkeypatch):
    bomb = npy("|u1", (1 << 25, 8, 8), bytes(1 << 26))
    monkeypatch.setenv("GPUCNN_MAX_BYTES", "60000000")
    with pytest.raises(DataError, match=r"own\.npz: images: takes 67,108,942 bytes .*, 60,000,000 are allowed"):
        data.load(zipped(npz, {"images": bomb}))
    with pytest.raises(DataError, match="67108864 bytes were found, 2147483648 expected"):
        data.load(zipped(npz, {"images": bomb}, zipfile.ZIP_STORED))


def test_npz_whose_directory_understates_a_member(npz):
    content = bytearray(zipped(npz, {}).read_bytes())
    place = content.index(b"PK\x01\x02") + 24
    for size in (0, 5, 100, 2**32 - 2):
        content[place : place + 4] = struct.pack("<I", size)
        npz.write_bytes(content)
        with pytest.raises(DataError, match=r"own\.npz: "):
            data.load(npz)


def test_read_pictures_crops_the_centre(tmp_path):
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    path = save_picture(tmp_path / "wide.png", wide)
    assert (data.read_pictures([path], GREY) == 200).all()
    assert (data.read_pictures(str(path), replace(GREY, invert=True)) == 55).all()
    assert data.read_pictures([path, path], data.Preprocessing((6, 3), 3)).shape == (2, 6, 3, 3)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_sizes_are_said_of_upright_pictures(tmp_path, kind):
    """Of some that lie, and some that do not, all of which are 6 high and 4 wide."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for k in range(8):
        (tmp_path / "ab"[k % 2]).mkdir(exist_ok=True)
        lying = Image.fromarray(np.full((4, 6), 200 + k, np.uint8))
        place = tmp_path / "ab"[k % 2] / f"{k}.{kind}"
        lying.save(place, exif=exif) if k < 4 else lying.rotate(90, expand=True).save(place)
    assert not [note for note in data.load(tmp_path, size=(6, 4)).notes if "scaled" in note]
    said = [note for note in data.load(tmp_path, size=(5, 4)).notes if "scaled" in note]
    assert said == ["the pictures are 6x4; they are scaled and cropped to 5x4, which size=(H, W) changes"]


def test_read_pictures_turns_by_exif(tmp_path):
    picture = Image.fromarray(np.repeat([[0, 255]], [8], axis=0).repeat(4, axis=1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    (image,) = data.read_pictures([tmp_path / "turned.png"], data.Preprocessing((8, 8), 1))
    assert image[0].max() == 0, "orientation 6: the left side of the stored picture is its top"
    assert image[-1].min() == 255


def test_read_pictures_modes(tmp_path):
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:2, :, 3] = 255
    save_picture(tmp_path / "clear.png", clear)
    (image,) = data.read_pictures([tmp_path / "clear.png"], GREY)
    assert (image[0].max(), image[-1].min()) == (0, 255)
    Image.fromarray(np.full((4, 4), 257 * 100, np.uint16)).save(tmp_path / "deep.png")
    assert (data.read_pictures([tmp_path / "deep.png"], GREY) == 100).all()
    Image.fromarray(np.eye(4, dtype=bool)).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(data.read_pictures([tmp_path / "bits.png"], GREY)[0, :, :, 0], 255 * np.eye(4))
    red = np.zeros((4, 4, 3), np.uint8) + np.array([200, 10, 30], np.uint8)
    save_picture(tmp_path / "red.bmp", red)
    assert (data.read_pictures([tmp_path / "red.bmp"], data.Preprocessing((4, 4), 3)) == [200, 10, 30]).all()


def test_read_pictures_refuses(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    whole = save_picture(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 256, (64, 64))).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 4), -1, np.int32)).save(tmp_path / "long.tif")
    for name, message in (
        ("text.png", r"text\.png: cannot be read as a picture .* save it again as PNG"),
        ("half.png", r"half\.png: cannot be read as a picture"),
        ("none.png", r"none\.png: there is no such file; check the path"),
        ("float.tif", "holds floating-point values"),
        ("long.tif", "holds 32-bit values"),
        (".", "a folder; name the picture files in it"),
    ):
        with pytest.raises(DataError, match=message):
            data.read_pictures([tmp_path / name], GREY)
    with pytest.raises(DataError, match="no picture files were given"):
        data.read_pictures([], GREY)


def test_other_formats_start_no_program(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    picture = Image.fromarray(np.full((4, 4), 9, np.uint8))
    for name, kind in (("b.png", "ICNS"), ("c.jpg", "PCX"), ("e.png", "JPEG2000"), ("f.png", "TGA")):
        with contextlib.suppress(OSError):  # of a Pillow without it
            picture.resize((64, 64)).save(tmp_path / name, kind)
    assert len(list(tmp_path.iterdir())) > 3
    for path in tmp_path.iterdir():
        with pytest.raises(
            DataError, match=r"cannot be read as a picture \(cannot identify .*\); leave it out, or save"
        ):
            data.read_pictures([path], GREY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "MPO"])
def test_formats_by_their_content(tmp_path, kind):
    Image.fromarray(np.full((4, 4), 100, np.uint8)).convert("RGB").save(tmp_path / "a.dat", kind)
    assert abs(data.read_pictures([tmp_path / "a.dat"], GREY).astype(int) - 100).max() <= 2


def test_sixteen_bits_are_scaled_and_thirty_two_refused(tmp_path):
    deep = Image.fromarray(np.full((4, 4), 257 * 100, np.uint16))
    for name in ("a.png", "a.tif", "a.pgm"):
        deep.save(tmp_path / name)
        assert (data.read_pictures([tmp_path / name], GREY) == 100).all()
    for value in (0, 255, 25700, 70000, -1):
        Image.fromarray(np.full((4, 4), value, np.int32)).save(tmp_path / "long.tif")
        with pytest.raises(DataError, match="holds 32-bit values, 8 or 16 bits were expected"):
            data.read_pictures([tmp_path / "long.tif"], GREY)


def test_a_picture_that_grows(tmp_path, monkeypatch):
    path = save_picture(tmp_path / "a.png", np.zeros((300, 400)))
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(tmp_path / "b.tif", compression="tiff_deflate")
    monkeypatch.setenv("GPUCNN_MAX_BYTES", "479999")
    with pytest.raises(DataError, match=r"a.png: takes 480,000 bytes of memory or more, .* set GPUCNN_MAX_BYTES"):
        data.read_pictures([path], GREY)
    monkeypatch.setenv("GPUCNN_MAX_BYTES", "1900000")
    data.read_pictures([path], GREY)
    with pytest.raises(DataError, match=r"b.tif: takes 1,920,000 bytes"):
        data.read_pictures([tmp_path / "b.tif"], GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data.read_pictures([path], GREY)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_tiff_of_terabytes(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    for tag in (256, 257):
        place = content.index(struct.pack("<H", tag) + struct.pack("<H", 4))
        content[place + 8 : place + 12] = struct.pack("<I", 10**6)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.tif: takes 4,000,000,000,000 bytes of memory or more, .* set GPUCNN_MAX"):
        data.read_pictures([path], GREY)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_picture_that_is_a_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png: no regular file; save the picture in one"):
        data.read_pictures([tmp_path / "pipe.png"], GREY)


def test_picture_folder_is_split(tmp_path):
    root = picture_folder(tmp_path / "pets")
    (root / "cat" / "notes.txt").write_text("other files are passed over")
    (root / "cat" / ".hidden.png").write_text("so are hidden ones")
    (root / ".cache").mkdir()
    loaded = data.load(str(root))
    assert (loaded.name, loaded.class_names) == ("pets", ("cat", "dog"))
    assert (len(loaded.train_labels), len(loaded.test_labels)) == (8, 2)
    assert loaded.preprocessing == data.Preprocessing((28, 28), 1)
    assert (loaded.train_images[:, 5, 5, 0] // 40 == loaded.train_labels).all()
    dark = data.load(root, size=(4, 6), channels=3, invert=True)
    assert dark.preprocessing == data.Preprocessing((4, 6), 3, invert=True)
    np.testing.assert_array_equal(dark.train_images[:, 0, 0, 2], 255 - loaded.train_images[:, 0, 0, 0])


def test_picture_folder_with_train_and_test(tmp_path):
    picture_folder(tmp_path / "train", count=3, shape=(8, 8, 3))
    picture_folder(tmp_path / "test", count=1)
    loaded = data.load(tmp_path, size=(8, 8))
    assert loaded.input_shape == (8, 8, 3), "one picture in colour makes all colour"
    np.testing.assert_array_equal(loaded.train_labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(loaded.test_labels, [0, 1])
    save_picture(tmp_path / "test" / "cow" / "1.png", np.zeros((8, 8)))
    with pytest.raises(DataError, match="train and test must have the same classes; cow is in test only"):
        data.load(tmp_path)


def test_picture_folder_refuses(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path}: no sub-folders; one sub-folder per class, at least two"):
        data.load(tmp_path)
    picture_folder(tmp_path, classes=("cat",))
    with pytest.raises(DataError, match=r"only one class \(cat\); one sub-folder per class"):
        data.load(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match=r"/dog: no pictures \(png, jpg, .* in this class folder; put some there"):
        data.load(tmp_path)
    save_picture(tmp_path / "dog" / "1.png", np.zeros((4, 4)))
    with pytest.raises(DataError, match="class dog has 1 example, at least 2 are needed"):
        data.load(tmp_path)
    (tmp_path / "dog" / "2.jpg").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"/dog/2\.jpg: cannot be read as a picture"):
        data.load(tmp_path)
    with pytest.raises(DataError, match=r"size \(0, 3\)"):
        data.load(tmp_path, size=(0, 3), channels=1)
    with pytest.raises(DataError, match="channels 4"):
        data.load(tmp_path, channels=4)


def test_a_test_part_may_lack_a_class_and_says_so(tmp_path):
    picture_folder(tmp_path / "train", classes=("cat", "cow", "dog"), count=3)
    picture_folder(tmp_path / "test", count=1)
    loaded = data.load(tmp_path)
    assert loaded.class_names == ("cat", "cow", "dog")
    np.testing.assert_array_equal(loaded.test_labels, [0, 2])
    assert "the test part has no pictures of cow" in loaded.notes
    assert "the pictures are 8x8; they are scaled and cropped to 28x28, which size=(H, W) changes" in loaded.notes


def test_pictures_deeper_than_their_class_count_to_it(tmp_path):
    root = picture_folder(tmp_path / "pets")
    save_picture(root / "cat" / "indoor" / "2024" / "1.png", np.zeros((4, 4)))
    save_picture(root / "cat" / "__MACOSX" / "1.png", np.zeros((4, 4)))
    save_picture(root / "loose.png", np.zeros((4, 4)))
    (root / "cat" / "notes.txt").write_text("no picture")
    (root / "dog" / "1.heic").write_bytes(b"no picture that can be read")
    (root / "__MACOSX").mkdir()
    (root / "dog" / "link").symlink_to(root / "cat")
    loaded = data.load(root)
    assert len(loaded.train_labels) + len(loaded.test_labels) == 11
    said = "\n".join(loaded.notes)
    assert f"left out: 1 picture in {root} itself" in said
    assert f"1 picture in {root} found in folders inside their class's" in said
    assert f"left out: 2 files in {root} that are no pictures by their ending (1 .heic, 1 .txt)" in said
    assert f"left out: {root / 'dog' / 'link'}, a link to a folder" in said
    assert said in loaded.summary()


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("Training", "Testing"), (6, 0, 2)),
        (("train", "valid", "test"), (6, 2, 2)),
        (("train", "val", "test"), (6, 2, 2)),
        (("training", "validation"), (6, 0, 2)),
    ],
)
def test_the_usual_names_of_parts(tmp_path, names, parts):
    for name in names:
        picture_folder(tmp_path / name, count=3 if name.lower().startswith("train") else 1)
    (tmp_path / "unlabelled").mkdir()
    loaded = data.load(tmp_path)
    found = 0 if loaded.validation is None else len(loaded.validation[1])
    assert (len(loaded.train_labels), found, len(loaded.test_labels)) == parts
    assert "unlabelled" in loaded.notes[0]
    assert ("validation is taken as the test part" in "".join(loaded.notes)) == (
        len(names) == 2 and "validation" in names
    )
    held = loaded.split_validation(0.3, 1)
    assert (len(held[1]), len(held[3])) == ((6, 2) if found else (4, 2))
    assert len(loaded.split_validation(0.0, 1)[3]) == 0
    assert len(loaded.select_classes([1, 0]).split_validation(0.5, 1)[3]) == (2 if found else 3)


def test_the_only_sub_folder_holds_the_data(tmp_path):
    picture_folder(tmp_path / "download" / "pets")
    loaded = data.load(tmp_path / "download")
    assert loaded.class_names == ("cat", "dog")
    assert "the data lie in pets, the only sub-folder" in loaded.notes


@pytest.mark.parametrize("channels", [None, 1])
def test_all_broken_pictures_are_named_at_once(tmp_path, channels):
    root = picture_folder(tmp_path)
    for k in range(7):
        (root / "dog" / f"broken{k}.png").write_bytes(b"junk")
    with pytest.raises(
        DataError, match=r"7 of 17 pictures cannot be read; .*skip_broken=True.*broken4\.png.*; and 2 more"
    ):
        data.load(root, channels=channels)
    loaded = data.load(root, channels=channels, skip_broken=True)
    assert len(loaded.train_labels) + len(loaded.test_labels) == 10
    assert (loaded.train_images[:, 5, 5, 0] // 40 == loaded.train_labels).all()
    assert any("left out: 7 pictures that cannot be read" in note for note in loaded.notes)


def test_a_summary_of_many_classes_is_short():
    labels = np.repeat(np.arange(30), 2)
    labels[0] = 1
    images = np.zeros((60, 2, 2, 3), np.uint8)
    made = data.Dataset("many", images, labels, images[:1], labels[:1], tuple(map(str, range(30))))
    assert made.summary() == (
        "many: 60 training, 1 test pictures of 2x2 (colour), 30 classes\ntraining pictures of a class: 1 (0) to 3 (1)"
    )


def test_a_summary_of_many_classes_of_equal_size_names_none():
    images, labels = np.zeros((60, 2, 2, 3), np.uint8), np.repeat(np.arange(30), 2)
    made = data.Dataset("many", images, labels, images[:1], labels[:1], tuple(map(str, range(30))))
    assert made.summary().endswith("\ntraining pictures of a class: 2")


@pytest.mark.parametrize("most", [19, 20])
def test_a_summary_says_where_classes_are_very_unequal(most):
    labels = np.repeat([0, 1], [2, most])
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    found = data.Dataset("animals", images, labels, images[:1], labels[:1], ("cat", "dog")).summary()
    assert ("training has 20 pictures of dog and 2 of cat: " in found) == (most == 20)
    assert ("--class-weights balanced" in found) == (most == 20)


def test_a_class_without_pictures_hides_no_rare_one():
    labels = np.repeat([0, 1], [2, 20])
    images = np.zeros((22, 2, 2, 1), np.uint8)
    found = data.Dataset("animals", images, labels, images[:1], labels[:1], ("cat", "dog", "owl")).summary()
    assert "training has 20 pictures of dog and 2 of cat: " in found


def test_a_summary_says_where_training_has_test_pictures():
    """An empty picture may come again without being the same."""
    images = np.arange(4 * 4, dtype=np.uint8).reshape(4, 2, 2, 1)
    images[3] = 7
    labels = np.array([0, 1, 0, 1])
    for chosen, said in (([1, 3], "1 of 2 test pictures is in training, too"), ([0, 2], "2 of 2 test pictures are in")):
        found = data.Dataset("twice", images, labels, images[chosen], labels[chosen], ("a", "b")).summary()
        assert said in found
    others = data.Dataset("once", images, labels, images[:2, ::-1], labels[:2], ("a", "b")).summary()
    assert "in training" not in others


def test_named_preprocessing_reads_pictures(tmp_path):
    path = save_picture(tmp_path / "seven.png", np.zeros((50, 40)))
    preprocessing = data.load("digits").preprocessing
    assert data.read_pictures([path], preprocessing).shape == (1, 28, 28, 1)


@pytest.fixture
def refused(monkeypatch):
    """The folders that may not be read, by their paths; root may read all."""
    paths, usual = set(), os.scandir

    def scandir(path="."):
        if os.fspath(path) in paths:
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return usual(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return paths


@pytest.mark.parametrize("whole", [False, True], ids=["a folder inside a class's", "a class's"])
def test_a_folder_that_cannot_be_read_is_said(tmp_path, refused, whole):
    root = picture_folder(tmp_path, ("cat", "dog", "owl"))
    save_picture(root / "cat" / "indoor" / "1.png", np.zeros((8, 8)))
    closed = root / "cat" if whole else root / "cat" / "indoor"
    refused.add(str(closed))
    with pytest.raises(DataError) as caught:
        data.load(root)
    assert str(caught.value) == (
        f"{closed}: the folder cannot be read (Permission denied); look at the permissions, or leave out what cannot "
        "be read with skip_broken=True"
    )
    loaded = data.load(root, skip_broken=True)
    assert f"left out: {closed}: the folder cannot be read (Permission denied)" in loaded.notes
    assert len(loaded.train_labels) + len(loaded.test_labels) == (10 if whole else 15)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("what", ["a link to a file that is not there", "no regular file"])
def test_what_is_named_as_a_picture_and_is_none(tmp_path, what):
    path = picture_folder(tmp_path) / "cat" / "x.png"
    if what == "no regular file":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    with pytest.raises(DataError, match=f"1 of 11 pictures cannot be read.*x.png: {what}"):
        data.load(tmp_path)
    loaded = data.load(tmp_path, skip_broken=True)
    assert len(loaded.train_labels) + len(loaded.test_labels) == 10


def test_the_picture_whose_label_is_no_number_is_named(npz):
    images, labels = arrays()
    for which in (labels + 0.5, (labels + 0.5)[:, None]):
        which[4] = np.inf
        with pytest.raises(DataError, match=r"labels: holds NaN or infinite values, in picture 5; replace"):
            data.load(save_npz(npz, images=images, labels=which))
    train, test = {"x_train": images, "y_train": labels + 0.5}, {"x_test": images, "y_test": labels + 0.5}
    test["y_test"][2] = np.nan
    with pytest.raises(DataError, match=r"y_train, test part: holds NaN or infinite values, in picture 3; replace"):
        data.load(save_npz(npz, **train, **test))


def test_a_class_whose_name_the_locale_cannot_read():
    with pytest.raises(DataError, match=r"\\udcc3\\udca9 holds bytes that are no .*; set LC_ALL=C.UTF-8 or PYTH"):
        make(class_names=("\udcc3\udca9", "b", "c"))
