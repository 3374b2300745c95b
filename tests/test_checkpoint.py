"""Checkpoints: what is written comes back bit for bit, and whatever is no checkpoint is refused with a sentence."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from layers_of_ones_own import Scale
from safetensors.numpy import save_file

import gpucnn
from gpucnn import Model, Network, networks
from gpucnn.data import Preprocessing
from gpucnn.engine.scaling import Scaling
from gpucnn.errors import CheckpointError, DataError, DeviceError, SettingError
from gpucnn.layers import (
    REGISTRY,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    ReLU,
    Reshape,
    Sigmoid,
    Tanh,
)
from gpucnn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from gpucnn.model import checkpoint
from gpucnn.ops.window import Window

SUMS = ("checksum", "sha256")
TINY = Network((8, 8, 1), (Conv2D(2, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)))
NESTED = Network(
    (8, 8, 1),
    (
        Network((8, 8, 1), (Conv2D(2, 3, bias="untied"), Tanh(), Network((6, 6, 2), (AvgPool2D(2, 1), Sigmoid())))),
        Flatten(),
        Reshape((5, 5, 2)),
        Conv2D(2, (3, 2), (1, 2), padding=((1, 0), (0, 2)), groups=2, bias=None, flip=True, initializer="he_normal"),
        MaxPool2D((2, 1), ties="all"),
        ReLU(0.0),
        Flatten(),
        Dense(3, bias=False),
    ),
)


def tiny(**options):
    return Model(TINY, **{"device": "cpu", "threads": 1, "class_names": ("a", "b", "ü"), **options})


@dataclass(frozen=True)
class Around:
    """A layer of a user's own that holds another one, and nothing else."""

    inner: Any

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.inner.out_shape(in_shape)

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return self.inner.init(in_shape, rng)

    def forward(self, params: Any, x: Any, context: Any) -> tuple[Any, Any]:
        return self.inner.forward(params, x, context)

    def backward(self, params: Any, residual: Any, dy: Any, context: Any, *, need_dx: bool = True) -> tuple[Any, Any]:
        return self.inner.backward(params, residual, dy, context, need_dx=need_dx)


class Careless:
    """A layer of a user's own that is no dataclass."""

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return in_shape

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Halved(SoftmaxCrossEntropy):
    """A loss of a user's own."""


def split(path):
    """The header of a safetensors file as a dict, and the bytes after it."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def join(path, header, rest):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + rest)
    return path


def rewritten(path, **changes):
    """The checkpoint with entries of its description changed, or removed where they are None."""
    header, rest = split(path)
    description = json.loads(header["__metadata__"]["gpucnn"]) | changes
    kept = {key: value for key, value in description.items() if value is not Ellipsis}
    header["__metadata__"]["gpucnn"] = json.dumps(kept | {"sha256": checkpoint.NO_SUM})
    join(path, header, rest)
    total = hashlib.sha256(path.read_bytes()).hexdigest()
    header["__metadata__"]["gpucnn"] = json.dumps(kept | {"sha256": total})
    return join(path, header, rest)


def unsummed(header):
    """A header as version 0.1 wrote it, without a checksum."""
    description = json.loads(header["__metadata__"]["gpucnn"])
    header["__metadata__"]["gpucnn"] = json.dumps({k: v for k, v in description.items() if k not in SUMS})
    return header


def with_tensors(path, **changes):
    """The checkpoint with tensors changed, added, or left out where they are None; names have _ for /."""
    description, tensors = checkpoint.read(path)
    tensors |= {name.replace("_", "/"): tensor for name, tensor in changes.items()}
    return checkpoint.write(path, description, {name: each for name, each in tensors.items() if each is not None})


@pytest.fixture
def saved(tmp_path):
    return tiny(preprocessing=Preprocessing((8, 8), 1, True)).save(tmp_path / "model.safetensors")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def refuse(path, message, **options):
    with pytest.raises(CheckpointError, match=message) as caught:
        gpucnn.load(path, device="cpu", **options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- what is written comes back


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_comes_back_bit_for_bit(tmp_path, dtype):
    model = tiny(
        dtype=dtype,
        loss=BinaryCrossEntropy(),
        scaling=Scaling(0.01, -1.5),
        preprocessing=Preprocessing((8, 8), 1, True),
    )
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    model.fit(images, np.arange(20) % 3, epochs=2)
    path = model.save(tmp_path / "deep" / "er" / "model.safetensors")
    back = gpucnn.load(path, device="cpu")
    assert back.theta.tobytes() == model.theta.tobytes()
    assert back.theta.dtype == dtype
    assert back.describe() == model.describe()
    assert back.network == model.network
    assert (back.loss, back.scaling, back.preprocessing) == (model.loss, model.scaling, model.preprocessing)
    assert back.class_names == ("a", "b", "ü")
    np.testing.assert_array_equal(back.predict_proba(images), model.predict_proba(images))


def test_nested_networks_and_every_hyperparameter_come_back(tmp_path):
    model = Model(NESTED, device="cpu", seed=3)
    back = gpucnn.load(model.save(tmp_path / "m.safetensors"), device="cpu")
    assert back.network == NESTED
    assert back.parameters.keys() == model.parameters.keys() == {"0/0/kernel", "0/0/bias", "3/kernel", "7/weights"}
    assert back.theta.tobytes() == model.theta.tobytes()


@pytest.mark.parametrize("name", ["softmax-regression", "single-filter", "two-conv", "layered", "avgpool-96"])
def test_named_networks_come_back(tmp_path, name):
    model = Model(name, device="cpu")
    back = gpucnn.load(model.save(tmp_path / "m.safetensors"), device="cpu")
    assert (back.name, back.network) == (name, networks.build(name))
    assert back.theta.tobytes() == model.theta.tobytes()


def test_every_layer_of_the_registry_can_be_described():
    arguments = {"Conv2D": (2, 3), "Dense": (3,), "GroupNorm": (2,), "PadChannels": (2,), "Reshape": ((5,),)}
    arguments |= {"DepthwiseConv2D": (3,), "SeparableConv2D": (2, 3), "ConvTranspose2D": (2, 3)}
    arguments |= {"Residual": (Dense(3), Sigmoid()), "Parallel": (((), Dense(3)), "add"), "Shared": ("one", Dense(3))}
    for name, layer in REGISTRY.items():
        made = layer(*arguments.get(name, ()))
        assert checkpoint.layer_from_dict(json.loads(json.dumps(checkpoint.layer_to_dict(made)))) == made


def test_layers_and_a_loss_of_ones_own(tmp_path):
    network = Network((8, 8, 1), (Around(Conv2D(1, 3)), Flatten(), Scale(0.5), Around(Network((36,), (Dense(2),)))))
    model = Model(network, device="cpu", loss=Halved())
    path = model.save(tmp_path / "m.safetensors")
    own = {"Scale": Scale, "Around": Around, "Halved": Halved}
    back = gpucnn.load(path, device="cpu", layers=own)
    assert back.network == network
    assert back.loss == Halved()
    assert back.theta.tobytes() == model.theta.tobytes()
    refuse(
        path,
        r"layer 'Around' is not .*: gpucnn.load\(path, layers=\[Around\]\) in Python, --layers module:Around on the",
    )
    message = (
        r"loss 'Halved' is not .*: gpucnn.load\(path, layers=\[Halved\]\) in Python, --layers module:Halved on the"
    )
    refuse(path, message, layers=[Scale, Around])


def test_numbers_of_numpy_in_a_layer(tmp_path):
    model = Model(Network((4,), (Dense(np.int64(3)), Scale(np.float32(0.5)))), device="cpu")
    back = gpucnn.load(model.save(tmp_path / "m.safetensors"), device="cpu", layers={"Scale": Scale})
    assert back.network == model.network


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (
            Careless(),
            r"a model with a Careless cannot be saved, because it is no dataclass; write @dataclass\(frozen=True\)",
        ),
        (Scale(1j), "cannot be saved: a complex is no number, text, tuple or dataclass, which hyperparameters must be"),
    ],
    ids=["no dataclass", "no JSON"],
)
def test_layers_that_cannot_be_saved(tmp_path, layer, says):
    model = Model(Network((4,), (Dense(3),)), device="cpu")
    model.network = Network((4,), (Dense(3), layer))
    with pytest.raises(CheckpointError, match=says):
        model.save(tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_more_entries_of_the_description(tmp_path):
    path = tiny().save(tmp_path / "m.safetensors", trained_on="digits", epochs=3)
    description, _ = checkpoint.read(path)
    assert (description["trained_on"], description["epochs"], description["format"]) == ("digits", 3, checkpoint.FORMAT)
    gpucnn.load(path, device="cpu")


def test_any_reader_of_safetensors_finds_the_tensors(saved):
    from safetensors.numpy import load_file

    tensors = load_file(saved)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in tiny().parameters.items()
    }


# --- writing


def test_writing_replaces_the_file_as_a_whole_and_leaves_nothing_else(saved):
    tiny(seed=9).save(saved)
    assert [entry.name for entry in saved.parent.iterdir()] == [saved.name]
    assert gpucnn.load(saved, device="cpu").theta.tobytes() == tiny(seed=9).theta.tobytes()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_keeps_the_old_file(saved, monkeypatch, error):
    before = saved.read_bytes()

    def fail(descriptor):
        raise error

    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    expected = CheckpointError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="cannot be saved: No space left" if expected is CheckpointError else None):
        tiny(seed=9).save(saved)
    assert saved.read_bytes() == before
    assert [entry.name for entry in saved.parent.iterdir()] == [saved.name]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder" / "m.safetensors").mkdir(parents=True)
    for path in (tmp_path / "file" / "m.safetensors", tmp_path / "folder" / "m.safetensors"):
        with pytest.raises(CheckpointError, match=r"the model cannot be saved: (File exists|.* directory)"):
            tiny().save(path)


@pytest.mark.parametrize("name", ["m.onnx", "m.h5", "m.PT", "run.1/m.keras", "m.txt", "m.png", "m.JPEG"])
def test_endings_of_other_formats(tmp_path, name):
    with pytest.raises(CheckpointError, match=f"{name}: .* is not the ending of what is written") as caught:
        tiny().save(tmp_path / name)
    assert f"say {(tmp_path / name).with_suffix('.safetensors')}; of another format there are" in str(caught.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["m", "m.v2", "m-0.5", "m.SAFETENSORS", "run.1/m", "m.best", "epoch.final", "m.ckpt"])
def test_names_that_are_no_other_format(tmp_path, name):
    np.testing.assert_array_equal(gpucnn.load(tiny().save(tmp_path / name), device="cpu").theta, tiny().theta)


def test_paths_of_bytes(tmp_path):
    path = os.fsencode(tmp_path / "größe.safetensors")
    assert tiny(seed=3).save(path) == tmp_path / "größe.safetensors"
    taken = tiny(seed=4)
    assert taken.load_parameters(path) == []
    for read in (taken, gpucnn.load(path, device="cpu")):
        np.testing.assert_array_equal(read.theta, tiny(seed=3).theta)
    with pytest.raises(CheckpointError, match=r"nowhere: no such file") as caught:
        gpucnn.load(os.fsencode(tmp_path / "nowhere"))
    assert "b'" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"), [("m" * 300, "too long; give another path"), ("-", "models are not read from and written to a")]
)
def test_names_that_no_file_has(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=said):
        tiny().save(name)
    assert not [*tmp_path.iterdir()]


def test_what_is_no_path(tmp_path):
    for path in (None, 3, "", b""):
        for call in (gpucnn.load, tiny().save, tiny().load_parameters):
            with pytest.raises(CheckpointError, match=f"path={path!r}: the path of a model's file was expected, such"):
                call(path)
    with pytest.raises(CheckpointError, match=f"that is a directory; say {tmp_path / 'model.safetensors'}"):
        tiny().save(tmp_path)


@pytest.mark.parametrize("name", ["x.png", "X.JPEG"])
def test_a_picture_where_the_model_belongs(tmp_path, name):
    refuse(tmp_path / name, r"a picture, and a saved model was expected; the model comes first, as in `gpucnn predict")
    (tmp_path / name).write_bytes(b"picture")
    refuse(tmp_path / name, rf"comes first, .* or gpucnn.load\(MODEL\).predict\('{tmp_path / name}'\)")
    with pytest.raises(
        CheckpointError, match="a picture, and a saved model was expected; give the file that"
    ) as caught:
        tiny().load_parameters(tmp_path / name)
    assert "predict" not in str(caught.value)


def test_the_folder_is_brought_to_the_disk_after_the_renaming(tmp_path, monkeypatch):
    told = []
    fsync, replace = os.fsync, checkpoint.Path.replace
    monkeypatch.setattr(checkpoint.os, "fsync", lambda it: (told.append(os.readlink(f"/proc/self/fd/{it}")), fsync(it)))
    monkeypatch.setattr(checkpoint.Path, "replace", lambda it, to: (told.append("renamed"), replace(it, to))[1])
    path = tiny().save(tmp_path / "m.safetensors")
    assert [told[0].startswith(f"{tmp_path}/.m.safetensors-"), *told[1:]] == [True, "renamed", str(tmp_path)]
    assert oct(path.stat().st_mode & 0o777) == oct(0o666 & ~_umask())


# --- files that are no checkpoint


def test_a_file_that_is_not_there(tmp_path):
    refuse(tmp_path / "none.safetensors", "no such file; a model saved by `gpucnn train`")
    refuse(tmp_path, "a folder; name the file in it, such as .*model.safetensors")


def test_truncated_at_any_length(saved):
    content = saved.read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for length in {0, 1, 7, 8, 9, header - 1, header, header + 1, *range(0, len(content), 37), len(content) - 1}:
        saved.write_bytes(content[:length])
        refuse(saved, "not a whole safetensors file .*; it may be truncated, copy or train it again")


def test_bytes_too_many(saved):
    saved.write_bytes(saved.read_bytes() + b"x")
    refuse(saved, "not a whole safetensors file")


def test_a_file_without_a_checksum_is_read(saved):
    header, rest = split(saved)
    join(saved, unsummed(header), rest)
    assert not {*SUMS} & checkpoint.read(saved)[0].keys()
    assert gpucnn.load(saved, device="cpu").theta.tobytes() == tiny().theta.tobytes()


def test_every_flipped_byte_is_noticed(saved):
    content = saved.read_bytes()
    begin = 8 + struct.unpack("<Q", content[:8])[0]
    rng = np.random.default_rng(0)
    for place in {*range(0, begin, 3), *range(begin, len(content), 11), len(content) - 1}:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        refuse(saved, "model")
        if place >= begin:
            refuse(saved, "damaged: its checksum is not that of its contents; copy or train it again")


@pytest.mark.parametrize("key", ["sha256", "checksum"])
def test_a_checksum_whose_name_is_damaged_is_missed(saved, key):
    content = saved.read_bytes()
    assert content.count(f'\\"{key}\\": '.encode()) == 1
    saved.write_bytes(content.replace(f'\\"{key}\\": '.encode(), f'\\"{key[:-1]}~\\": '.encode()))
    refuse(saved, "damaged: its checksum is not")


def test_a_space_of_the_header_that_became_a_tab_is_noticed(saved):
    content = saved.read_bytes()
    begin = 8 + struct.unpack("<Q", content[:8])[0]
    place = content.rindex(b" ", 0, begin)
    saved.write_bytes(content[:place] + b"\t" + content[place + 1 :])
    refuse(saved, "damaged: its checksum is not|not a whole safetensors file")


def test_the_checksum_is_the_sha256_of_the_file_with_zeros_in_its_place(saved):
    content, written = saved.read_bytes(), checkpoint.read(saved)[0]["sha256"]
    assert hashlib.sha256(content.replace(written.encode(), checkpoint.NO_SUM.encode())).hexdigest() == written


def test_the_same_model_gives_the_same_bytes(saved):
    before = saved.read_bytes()
    assert tiny(preprocessing=Preprocessing((8, 8), 1, True)).save(saved).read_bytes() == before


def test_any_tensors_and_any_description(tmp_path):
    tensors = {"theta": np.arange(5.0)[::-1], "step": np.array(7), "mask": np.array([True]), "none": np.empty((0, 3))}
    given = {"config": {"lr": 0.1, "best": None}, "epoch": np.int64(3), "seen": [1, 2], "sha256": "no", "format": 9}
    path = checkpoint.write(tmp_path / "run" / "state.safetensors", given, tensors)
    description, found = checkpoint.read(path)
    assert {key: value for key, value in description.items() if key not in SUMS} == {
        "config": {"lr": 0.1, "best": None},
        "epoch": 3,
        "seen": [1, 2],
        "format": checkpoint.FORMAT,
    }
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)
    again = checkpoint.write(tmp_path / "again.safetensors", description, found)
    assert again.read_bytes() == path.read_bytes()


FOREIGN = {
    "empty": b"",
    "text": b"once upon a time there was a model",
    "zip": b"PK\x03\x04" + bytes(100),
    "pickle": b"\x80\x04\x95" + bytes(100),
    "zeros": bytes(1000),
    "header longer than memory": struct.pack("<Q", 2**63) + b"{}",
    "header longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "header that is no JSON": struct.pack("<Q", 5) + b"{nope",
    "header that is a list": struct.pack("<Q", 2) + b"[]",
    "header that is no text": struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_files(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    refuse(tmp_path / "m.safetensors", "not a whole safetensors file")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_of_others(tmp_path, metadata):
    save_file({"weight": np.zeros((2, 3), np.float32)}, tmp_path / "m.safetensors", metadata)
    refuse(tmp_path / "m.safetensors", "not one of gpucnn: its header has no 'gpucnn' entry")


@pytest.mark.parametrize("extended", [False, True], ids=["plain", "with ml_dtypes"])
def test_a_type_that_numpy_does_not_have(saved, extended):
    """Also where a library that adds such types to NumPy has been imported."""
    if extended:
        pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    header, rest = split(saved)
    unsummed(header)
    name = next(name for name in header if name != "__metadata__")
    header[name]["dtype"] = "BF16"
    header[name]["shape"] = [2 * n for n in header[name]["shape"][:1]] + header[name]["shape"][1:]
    refuse(join(saved, header, rest), "not a whole safetensors file")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "null", '"text"', "{}", '{"format": null}', '{"format": "1"}', "[" * 100_000]
)
def test_an_entry_that_is_nonsense(saved, text):
    header, rest = split(saved)
    header["__metadata__"]["gpucnn"] = text
    refuse(join(saved, header, rest), "the 'gpucnn' entry of its header cannot be read")


def test_a_newer_format(saved):
    refuse(rewritten(saved, format=checkpoint.NEWEST + 1), r"written by a newer gpucnn \(format 3\); upgrade gpucnn")


DENSE = {"type": "Dense", "units": 3}
NONSENSE = {
    "no network": {"network": ...},
    "network of nothing": {"network": None},
    "a layer for a network": {"network": DENSE},
    "layers that are none": {"network": {"type": "Network", "input_shape": [8, 8, 1], "layers": 5}},
    "a number for a layer": {"network": {"type": "Network", "input_shape": [8, 8, 1], "layers": [5]}},
    "a layer without a type": {"network": {"type": "Network", "input_shape": [8, 8, 1], "layers": [{"units": 3}]}},
    "shapes that are none": {"network": {"type": "Network", "input_shape": ["a"], "layers": [DENSE]}},
    "shapes below zero": {"network": {"type": "Network", "input_shape": [-4], "layers": [DENSE]}},
    "layers that do not fit": {"network": {"type": "Network", "input_shape": [8, 8, 1], "layers": [DENSE]}},
    "unknown layer": {"network": {"type": "Network", "input_shape": [4], "layers": [{"type": "os.system"}]}},
    "unknown field": {"network": {"type": "Network", "input_shape": [4], "layers": [DENSE | {"colour": 1}]}},
    "wrong field": {"network": {"type": "Network", "input_shape": [4], "layers": [DENSE | {"units": "many"}]}},
    "too large": {
        "network": {"type": "Network", "input_shape": [10**9, 10**9], "layers": [{"type": "Flatten"}, DENSE]}
    },
    "unknown loss": {"loss": "Ranking"},
    "loss of nothing": {"loss": [1]},
    "no class names": {"class_names": ...},
    "too few class names": {"class_names": ["a"]},
    "class names that are none": {"class_names": 5},
    "no scaling": {"scaling": ...},
    "scaling that is none": {"scaling": {"scale": "large"}},
    "scaling without end": {"scaling": {"scale": 1e999, "shift": 0}},
    "strange scaling": {"scaling": {"gamma": 1}},
    "preprocessing that is none": {"preprocessing": {"size": 8}},
    "strange type": {"dtype": "int8"},
    "type that is none": {"dtype": {"a": 1}},
    "other type": {"network": {"type": "Network", "input_shape": [4], "layers": [DENSE]}},
}


@pytest.mark.parametrize("changes", NONSENSE.values(), ids=NONSENSE)
def test_descriptions_that_are_nonsense(saved, changes):
    refuse(rewritten(saved, **changes), "its description|layer|network|damaged")


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": [["a"], "b", "c"]},
        {"class_names": None},
        {"class_names": {"a": 1, "b": 2, "c": 3}},
        {"class_names": "abc"},
        {"name": {"a": 1}},
        {"name": None},
    ],
)
def test_names_that_are_no_texts(saved, changes):
    refuse(rewritten(saved, **changes), "its description has names that are no texts")


TRAINING = {
    "none": None,
    "no position": {"seed": 0, "optimizer": "Adam()"},
    "a position of another kind": {"position": [1], "seed": 0, "optimizer": "Adam()"},
    "no epoch": {"position": {"epoch": 0}, "seed": 0, "optimizer": "Adam()"},
    "half a batch": {"position": {"batches": 0.5}, "seed": 0, "optimizer": "Adam()"},
    "epochs without end": {"position": {"epoch": 10**30}, "seed": 0, "optimizer": "Adam()"},
    "a loss that is none": {"position": {"loss": "low"}, "seed": 0, "optimizer": "Adam()"},
    "an order that is none": {"position": {"order": {"bit_generator": "PCG64"}}, "seed": 0, "optimizer": "Adam()"},
    "a seed below zero": {"position": {}, "seed": -1, "optimizer": "Adam()"},
    "an optimizer that is no text": {"position": {}, "seed": 0, "optimizer": 5},
}


@pytest.mark.parametrize("training", TRAINING.values(), ids=TRAINING)
def test_a_training_that_never_was(saved, training):
    refuse(rewritten(saved, training=training), "its description of the training cannot be read; train it again")


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\ud800", "a\r\n"])
def test_class_names_that_would_steer_a_terminal(saved, name):
    refuse(rewritten(saved, class_names=["x", name, "y"]), r"the class name a\\\S+ holds control characters or lone")
    with pytest.raises(DataError, match=r"class_names: the class name a\\\S+ holds control characters"):
        tiny(class_names=("x", name, "y"))


@pytest.mark.parametrize(
    "layers",
    [
        [{"type": "Dense", "units": 250_000}, DENSE],
        [{"type": "Dense", "units": 10**12}, DENSE],
        [{"type": "Network", "input_shape": [4000], "layers": [{"type": "Dense", "units": 250_000}]}, DENSE],
        [{"type": "Dense", "units": 20_000, "initializer": "orthogonal"}, DENSE],
    ],
)
def test_weights_that_the_file_lacks_are_not_drawn(saved, layers):
    rewritten(saved, network={"type": "Network", "input_shape": [4000], "layers": layers})
    tracemalloc.start()
    refuse(saved, r"damaged: 0/(0/)?weights has shape none, \(4000, \d+\) was expected; train or copy it again")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (
            (Conv2D(1, 1, 20_000, padding=20_000), MaxPool2D(3)),
            "make 6,402,560,256 bytes of an image, 1,073,741,824 are",
        ),
        ((Network((8, 8, 1), (MaxPool2D(30_000, padding=29_999),)),), "make 14,402,880,144 bytes of an image"),
        ((AvgPool2D(30_000, padding=29_999),), "set GPUCNN_MAX_BYTES to a larger number"),
    ],
)
def test_layers_that_make_much_of_an_image(tmp_path, layers, says):
    model = tiny()
    network = Network((8, 8, 1), (*layers, Flatten(), Dense(3)))
    tensors = {name: np.zeros(shape, np.float32) for name, shape in network.parameter_shapes().items()}
    described = model.describe() | {"network": checkpoint.layer_to_dict(network)}
    refuse(checkpoint.write(tmp_path / "m.safetensors", described, tensors), says)


def test_windows_that_see_little_are_not_gone_through(tmp_path):
    network = Network((8, 8, 1), (MaxPool2D(3000, padding=2999), AvgPool2D(2), Flatten(), Dense(3)))
    with mock.patch.object(Window, "reach", autospec=True, side_effect=Window.reach) as looked:
        Model(network, device="cpu", kernels="reference", threads=1).predict(np.zeros((1, 8, 8, 1), np.uint8))
    assert looked.call_count < 20_000


def test_many_layers_are_looked_at_a_few_times_each(saved, monkeypatch):
    looked = []
    monkeypatch.setattr(Sigmoid, "out_shape", lambda layer, shape: (looked.append(1), shape)[1])
    layers = [*[{"type": "Sigmoid"}] * 3000, DENSE]
    Model(Network((2,), (Dense(3),)), device="cpu").save(saved)
    description, tensors = checkpoint.read(saved)
    description["network"] = {"type": "Network", "input_shape": [2], "layers": layers}
    checkpoint.write(saved, description, {name.replace("0/", "3000/"): each for name, each in tensors.items()})
    assert gpucnn.load(saved, device="cpu").layout.size == 9
    assert len(looked) < 60_000


def test_networks_nested_beyond_measure(saved):
    network = DENSE
    for _ in range(300):
        network = {"type": "Network", "input_shape": [3], "layers": [network]}
    with contextlib.suppress(CheckpointError):
        gpucnn.load(rewritten(saved, network=network), device="cpu")


def test_tensors_that_do_not_belong(saved):
    refuse(
        with_tensors(saved, **{"0_bias": None}), r"damaged: 0/bias has shape none, \(2,\) was expected; train or copy"
    )
    tiny().save(saved)
    refuse(with_tensors(saved, **{"9_bias": np.zeros(3, np.float32)}), r"9/bias has shape \(3,\), none was expected")
    tiny().save(saved)
    refuse(with_tensors(saved, **{"0_bias": np.zeros(3, np.float32)}), r"0/bias has shape \(3,\), \(2,\) was expected")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite(saved, value):
    broken = with_tensors(saved, **{"4_bias": np.array([0, value, 0], np.float32)})
    refuse(broken, "4/bias holds NaN or infinite values; train it again with a lower learning rate")


def test_parameters_too_large_for_their_type(saved):
    refuse(with_tensors(saved, **{"4_bias": np.full(3, 1e200)}), "4/bias holds NaN or infinite values")


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float16"])
def test_parameters_of_another_type(saved, dtype):
    refuse(with_tensors(saved, **{"4_bias": np.zeros(3, dtype)}), f"4/bias is {dtype}, float32 was expected")


# --- on the way in


def test_the_device_is_not_the_files_fault(saved):
    with pytest.raises(DeviceError, match="device 'tpu'"):
        gpucnn.load(saved, device="tpu")


def test_load_takes_threads(saved):
    assert gpucnn.load(saved, device="cpu", threads=2).threads == 2


def test_load_parameters(saved):
    model = tiny(seed=9)
    model.load_parameters(saved)
    assert model.theta.tobytes() == tiny().theta.tobytes()


def test_load_parameters_of_another_network(saved):
    other = Model(Network((8, 8, 1), (Conv2D(3, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3))), device="cpu")
    before = other.theta.copy()
    message = (
        r"belongs to another network: 0/kernel has shape \(3, 3, 1, 2\), \(3, 3, 1, 3\) was expected; "
        r"load it with gpucnn.load\(path\)"
    )
    with pytest.raises(CheckpointError, match=message):
        other.load_parameters(saved)
    np.testing.assert_array_equal(other.theta, before)


def normed():
    return Model(Network((6, 6, 1), (Conv2D(2, 3), BatchNorm(), Flatten(), Dense(3))), device="cpu", threads=1)


def test_some_parameters_are_set_by_their_names():
    model = normed()
    before = model.parameters
    mean, kernel = np.array([3.0, 4.0]), before["0/kernel"] + 1
    left = model.load_parameters({"0/kernel": kernel.astype(np.float64), "3/bias": [1, 2, 3], "state/1/mean": mean})
    assert left == ["0/bias", "1/scale", "1/bias", "3/weights", "state/1/variance"]
    expected = before | {"0/kernel": kernel, "3/bias": np.array([1, 2, 3])}
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, expected[name], strict=name != "3/bias")
    np.testing.assert_array_equal(model.state["1/mean"], mean)
    assert model.load_parameters(before) == ["state/1/mean", "state/1/variance"]
    left = model.load_parameters({"x": mean, "3/bias": mean, "0/bias": mean}, matching=True)
    assert left[:2] == ["0/kernel", "1/scale"]
    np.testing.assert_array_equal(model.parameters["0/bias"], mean)
    np.testing.assert_array_equal(model.parameters["3/bias"], before["3/bias"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"0/kernels": np.zeros(2)},
            r"the model has no '0/kernels'; did you mean 0/kernel\? it has 0/kernel, 0",
        ),
        ({3: np.zeros(2)}, "the model has no 3; it has 0/kernel, 0/bias"),
        ({"0/bias": np.zeros(3)}, r"0/bias has shape \(3,\), \(2,\) was expected"),
        ({"0/bias": np.array([1, np.nan])}, "0/bias holds NaN or infinite values"),
        ({"0/bias": np.array([1, 1e300])}, "0/bias holds NaN or infinite values"),
        ({"0/bias": ["1", "2"]}, "0/bias is a list; a NumPy array of numbers was expected"),
        ({"0/bias": [[1], [2, 3]]}, "0/bias is a list; a NumPy array of numbers was expected"),
        ({"0/bias": None}, "0/bias is a NoneType; a NumPy array"),
    ],
)
def test_parameters_that_cannot_be_set_leave_all_as_they_are(given, says):
    model = normed()
    with pytest.raises(SettingError, match=says):
        model.load_parameters({"0/kernel": model.parameters["0/kernel"] + 1, **given})
    assert model.theta.tobytes() == normed().theta.tobytes()


def test_load_parameters_into_another_type(saved):
    model = tiny(seed=9, dtype="float64")
    model.load_parameters(saved)
    np.testing.assert_array_equal(model.theta, tiny().theta.astype(np.float64))


# --- what users' own classes put into a file


@dataclass(frozen=True)
class ReLU(gpucnn.layers.Layer):
    """The absolute value, under the name of one of gpucnn's layers; with a number that has no axis, and is infinite."""

    def init(self, in_shape, rng):
        return {"factor": np.array(1.5)}

    def init_state(self, in_shape):
        return {"least": np.array(np.inf)}

    def next_state(self, state, residual):
        return state

    def forward(self, params, x, context):
        return abs(x) * params["factor"], x

    def backward(self, params, x, dy, context, *, need_dx=True):
        return dy * np.sign(x) * params["factor"], {"factor": np.asarray((dy * abs(x)).sum())}


@dataclass(frozen=True)
class Tempered(gpucnn.losses.SoftmaxCrossEntropy):
    """With a setting."""

    temperature: float = 1.0

    def probabilities(self, logits):
        return super().probabilities(logits / self.temperature)


def test_a_layer_with_the_name_of_one_of_gpucnns_is_asked_for(tmp_path):
    network = Network((6,), (ReLU(), gpucnn.layers.Dense(2)))
    model = Model(network, loss=Tempered(3.0), device="cpu")
    images = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    model.fit(images, np.array([0, 1, 0, 1, 0]), epochs=1)
    path = model.save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'ReLU' is not one of gpucnn's; hand its class over: .*layers=\[ReLU\]"):
        gpucnn.load(path, device="cpu")
    with pytest.raises(CheckpointError, match="loss 'Tempered' is not one of gpucnn's"):
        gpucnn.load(path, device="cpu", layers=[ReLU])
    again = gpucnn.load(path, device="cpu", layers=[ReLU, Tempered])
    assert again.network == network
    assert again.loss == Tempered(3.0)
    np.testing.assert_array_equal(again.predict_proba(images), model.predict_proba(images))
    assert again.parameters["0/factor"].shape == ()
    assert again.state["0/least"] == np.inf


def test_a_number_that_was_written_with_an_axis_is_read(tmp_path):
    model = Model(Network((6,), (ReLU(), gpucnn.layers.Dense(2))), device="cpu")
    path = model.save(tmp_path / "model.safetensors")
    description, tensors = checkpoint.read(path)
    tensors["0/factor"] = np.array([2.5], np.float32)
    checkpoint.write(path, description, tensors)
    assert gpucnn.load(path, device="cpu", layers=[ReLU]).parameters["0/factor"] == 2.5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_regular_file_stays_what_it_is(tmp_path):
    """As /dev/null must: the file is written into it, and does not take its place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        checkpoint.put(pipe, b"ab", b"c")
        assert read.result(60) == b"abc"
    assert pipe.is_fifo()
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.skipif(os.name == "nt", reason="a file that is read cannot be replaced there")
def test_a_file_that_is_replaced_while_it_is_read_is_one_of_both(tmp_path):
    for name in "ab":
        tiny(name=name).save(tmp_path / f"{name}.safetensors")
    path, ended = tmp_path / "model.safetensors", threading.Event()
    shutil.copy(tmp_path / "a.safetensors", path)

    def replace():
        while not ended.is_set():
            for name in "ab":
                shutil.copy(tmp_path / f"{name}.safetensors", tmp_path / "next")
                os.replace(tmp_path / "next", path)

    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(replace)
        try:
            assert {checkpoint.read(path)[0]["name"] for _ in range(200)} <= {"a", "b"}
        finally:
            ended.set()
        done.result()


def test_a_file_that_may_not_be_read(saved):
    with mock.patch.object(Path, "read_bytes", side_effect=PermissionError(13, "Permission denied")):
        refuse(saved, "model.safetensors: Permission denied; look at its permissions")
