"""Whatever lies at the door: thousands of files and command lines that are nearly right, each a result or a sentence.

FORMATS is the table of what is tried: another kind of input is one line in it. Inputs are valid ones, changed by their
structure (fields, members, entries, words) and by their bytes. `pytest -m slow tests/test_fuzz.py` tries 20,000.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import struct
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save
from typer.main import get_command

import gpucnn
from gpucnn import command as cli
from gpucnn import data
from gpucnn.data import Preprocessing, catalogue, idx
from gpucnn.errors import GpucnnError
from gpucnn.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Reshape, Sigmoid, Tanh
from gpucnn.losses import BinaryCrossEntropy
from gpucnn.model import checkpoint
from gpucnn.report import augmented
from gpucnn.training import curves

pytestmark = pytest.mark.usefixtures("blank_pictures")

SECONDS, BYTES = 10, 1 << 30  # what one input may take
ACCEPTED = 0.1  # of the inputs, at least
Files = dict[str, bytes]


@dataclass(frozen=True)
class Format:
    """inputs: files by their paths. use: what reads them in that folder. count: of inputs in the slow test."""

    inputs: st.SearchStrategy[Files]
    use: Callable[[Path], object]
    count: int


# --- damage by bytes

SPECIAL = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1)
EDITS = ("bit", "byte", "word", "cut", "drop", "double", "insert")
places = st.integers(0, 2**20)


@st.composite
def damaged(draw: Any, content: bytes, most: int = 2) -> bytes:
    """The bytes after up to `most` edits."""
    made = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        if not made:
            break
        place, kind = (
            draw(places) % len(made),
            draw(st.sampled_from(["bit", "byte", "word", "cut", "drop", "double", "insert"])),
        )
        if kind == "bit":
            made[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "byte":
            made[place] = draw(st.sampled_from((0, 1, 32, 48, 127, 128, 255)))
        elif kind == "word":
            order = draw(st.sampled_from("<>"))
            made[place : place + 4] = struct.pack(f"{order}I", draw(st.sampled_from(SPECIAL)))
        elif kind == "cut":
            del made[place:]
        elif kind == "drop":
            del made[place : place + draw(st.integers(1, 16))]
        elif kind == "double":
            made[place:place] = made[place : place + draw(st.integers(1, 64))]
        else:
            made[place:place] = draw(st.binary(min_size=1, max_size=8))
    return bytes(made)


def seldom(draw: Any, one_in: int = 4) -> bool:
    return draw(st.integers(0, one_in - 1)) == one_in - 1


# --- IDX


@st.composite
def idx_files(draw: Any) -> Files:
    height, width, classes = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    files: Files = {}
    for part in (0, 2):
        count = draw(st.integers(2, 8))
        pixels = (np.arange(count * height * width) % 251).astype(np.uint8).tobytes()
        labels = bytes(k % classes for k in range(count))
        for name, sizes, values in (
            (idx.NAMES[part], [count, height, width], pixels),
            (idx.NAMES[part + 1], [count], labels),
        ):
            magic = 0x0800 | len(sizes)
            if seldom(draw, 8):
                what = draw(st.sampled_from(["magic", "size", "size", "dimensions", "values", "labels"]))
                if what == "magic":
                    magic = draw(st.sampled_from((0x0801, 0x0803, 0x0D03, 0x0C01, *SPECIAL)))
                elif what == "size":
                    k = draw(places) % len(sizes)
                    sizes[k] = draw(st.sampled_from((*SPECIAL, sizes[k] + 1, max(0, sizes[k] - 1))))
                elif what == "dimensions":
                    sizes = draw(st.lists(st.sampled_from(SPECIAL), max_size=5))
                else:
                    values = draw(st.binary(max_size=len(values) + 2))
            content = struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + values
            if seldom(draw, 12):
                content = draw(damaged(content))
            if draw(st.booleans()):
                content, name = gzip.compress(content, 1), f"{name}.gz"
                if seldom(draw, 8):
                    content = draw(damaged(content))
            if seldom(draw, 20):
                content = draw(st.sampled_from((b"", b"<html>", b"\x1f\x8b", content * 2, gzip.compress(content, 1))))
            files[name] = content
    if seldom(draw, 10):
        names = sorted(files)
        one, other = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        files[one], files[other] = files[other], files[one]
    if seldom(draw, 20):
        del files[draw(st.sampled_from(sorted(files)))]
    return files


# --- npz

# fmt: off
DESCRIPTIONS = (
    "|u1", "<f4", "<f8", ">f4", "<f2", "<i8", ">i4", "|b1", "<u8", "<c8", "|O", "<U0", "|S0", "<U1", ">U3", "|S2",
    "|V0",
    "|V4", "<M8[s]", "<m8[D]", "<f16", "x", "", "<U99999999999", "u1,f4", [("a", "<i4")], [], None, 7, ("<i4", (2,)),
)
SIZES = (0, 1, 2, 3, 9, -1, 255, 10**5 + 1, 10**11, 2**31, 2**63, 2**70, 1.5, None, True)
WRONG = (
    "descr", "shape", "size", "content", "values", "head", "version", "columns", "both", "bytes", "name",
)
HEADS = (
    "", "{", "{'descr': '<i8', 'shape': (9,", "(" * 300, "[]", "7", "{'descr': '|u1'}", "'" * 99, "\\", "é",
    "lambda: 0",
)
# fmt: on


def array_member(
    descr: Any, shape: Any, content: bytes, *, head: Any = None, version: int = 1, columns: Any = False
) -> bytes:
    """A .npy file with that header, true or not."""
    text = repr({"descr": descr, "fortran_order": columns, "shape": shape}) if head is None else head
    text = text.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + content


@st.composite
def npz_files(draw: Any) -> Files:
    count, classes = draw(st.integers(4, 9)), draw(st.integers(2, 3))
    floats = draw(st.booleans())
    images = np.arange(count * 6).reshape(count, 2, 3, 1) % 251
    images = (images / 255).astype("<f4") if floats else images.astype("|u1")
    labels = (np.arange(count) % classes).astype(draw(st.sampled_from(("<i8", "<i4", "|u1", ">i2"))))
    names = np.array(["a", "bé", "東京"][:classes])
    arrays = draw(
        st.sampled_from(
            (
                {"images": images, "labels": labels},
                {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels},
                {"images": images, "labels": labels, "class_names": names},
                {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels},
            )
        )
    )
    members: list[tuple[str, bytes]] = []
    hurt = draw(st.sampled_from((None, *arrays)))
    for key, array in arrays.items():
        fields: dict[str, Any] = {"descr": array.dtype.str, "shape": array.shape, "content": array.tobytes()}
        if key == hurt:
            what = draw(st.sampled_from(WRONG))
            if what in ("descr", "both"):
                fields["descr"] = draw(st.sampled_from(DESCRIPTIONS))
            if what in ("size", "both"):
                shape = list(array.shape)
                shape[draw(places) % len(shape)] = draw(st.sampled_from(SIZES))
                fields["shape"] = tuple(shape)
            if what == "shape":
                fields["shape"] = draw(
                    st.sampled_from(((), (10**11,), [3], 5, None, (0, 2**70), array.shape[::-1], "(3,)"))
                )
            if what == "content":
                fields["content"] = draw(damaged(fields["content"]))
            if what == "values":
                whole = draw(st.sampled_from((b"\xff", b"\0", b"\x80\x7f", b"\0\xd8\0\0", b"\1\0\0\0", b"\x1b\0\0\0")))
                fields["content"] = (whole * len(fields["content"]))[: len(fields["content"])]
            if what == "head":
                fields["head"] = draw(st.sampled_from(HEADS))
            if what == "version":
                fields["version"] = draw(st.sampled_from((0, 2, 3, 255)))
            if what == "columns":
                fields["columns"] = draw(st.sampled_from((True, None, "yes", 2)))
            content = array_member(**fields)
            if what == "bytes":
                content = draw(damaged(content[:128])) + content[128:]
            if what == "name":
                key = draw(st.sampled_from(("", "labels", "images", "class_names", "../x", "é", "a" * 300)))
        else:
            content = array_member(**fields)
        members.append((key, content))
    return {"set.npz": zipped(draw, members)}


def zipped(draw: Any, members: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    kind = draw(
        st.sampled_from(
            (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        )
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two members of one name
        with zipfile.ZipFile(file, "w", kind) as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content, kind)
    return draw(damaged(file.getvalue())) if seldom(draw, 5) else file.getvalue()


# --- pictures


@cache
def picture_seeds() -> tuple[tuple[str, bytes], ...]:
    """(suffix, content) of small pictures of every format and mode."""
    colours = (np.arange(6 * 5 * 4) * 7 % 256).astype(np.uint8).reshape(6, 5, 4)
    rgba = Image.fromarray(colours)
    deep = Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
    found = []
    for kind, suffix, modes in (
        ("PNG", "png", ("1", "L", "LA", "P", "RGB", "RGBA")),
        ("JPEG", "jpg", ("L", "RGB", "CMYK")),
        ("GIF", "gif", ("L", "P", "RGB")),
        ("BMP", "bmp", ("1", "L", "P", "RGB", "RGBA")),
        ("WEBP", "webp", ("RGB", "RGBA")),
        ("TIFF", "tif", ("1", "L", "P", "RGB", "RGBA", "CMYK", "I", "F")),
        ("PPM", "png", ("1", "L", "RGB")),
    ):
        for mode in modes:
            for options in (
                ({}, {"compression": "tiff_deflate"}, {"compression": "tiff_lzw"}) if kind == "TIFF" else ({},)
            ):
                file = io.BytesIO()
                rgba.convert("RGB" if mode in "CMYK" and mode != "1" else "RGBA").convert(mode).save(
                    file, kind, **options
                )
                found.append((suffix, file.getvalue()))
    for kind, suffix in (("PNG", "png"), ("TIFF", "tif"), ("PPM", "jpg")):
        file = io.BytesIO()
        deep.save(file, kind)
        found.append((suffix, file.getvalue()))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif")):
        file = io.BytesIO()
        rgba.convert("RGB").save(file, kind, exif=exif)
        found.append((suffix, file.getvalue()))
    moving = io.BytesIO()
    rgba.convert("RGB").save(moving, "GIF", save_all=True, append_images=[rgba.convert("RGB").rotate(90)])
    return (*found, ("gif", moving.getvalue()))


@st.composite
def picture(draw: Any, hurt: bool) -> tuple[str, bytes]:
    suffix, content = draw(st.sampled_from(picture_seeds()))
    if not hurt:
        return suffix, content
    if content.startswith(b"\x89PNG") and draw(st.booleans()):
        return suffix, draw(png_chunks(content))
    if content.startswith(b"II*\0") and draw(st.booleans()):
        return suffix, draw(tiff_tags(content))
    if seldom(draw, 8):
        return suffix, draw(
            st.sampled_from((b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"GIF89a", b"BM", b""))
        )
    return suffix, draw(damaged(content[:200], 3)) + content[200:]


@st.composite
def png_chunks(draw: Any, content: bytes) -> bytes:
    """A PNG file with one chunk changed, and its checksum right."""
    chunks, place = [], 8
    while place < len(content):
        size = struct.unpack(">I", content[place : place + 4])[0]
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    k = draw(places) % len(chunks)
    kind, body = chunks[k]
    what = draw(st.sampled_from(("body", "size", "kind", "drop", "double", "text")))
    if what == "body":
        chunks[k] = kind, draw(damaged(body or b"\0"))
    elif what == "size":
        sides = draw(st.sampled_from(SPECIAL)), draw(st.sampled_from(SPECIAL))
        chunks[0] = chunks[0][0], struct.pack(">II", *sides) + chunks[0][1][8:]
    elif what == "kind":
        chunks[k] = (
            draw(
                st.sampled_from((b"tRNS", b"PLTE", b"zTXt", b"iCCP", b"gAMA", b"eXIf", b"acTL", b"fdAT", b"\0\0\0\0"))
            ),
            body,
        )
    elif what == "drop":
        del chunks[k]
    elif what == "double":
        chunks.insert(k, chunks[k])
    else:
        chunks.insert(1, (b"zTXt", b"a\0\0" + zlib.compress(bytes(3 << 20), 1)))
    made = [content[:8]]
    for kind, body in chunks:
        made.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(made)


@st.composite
def tiff_tags(draw: Any, content: bytes) -> bytes:
    """A TIFF file with entries of its directory changed."""
    made = bytearray(content)
    start = struct.unpack("<I", made[4:8])[0]
    count = struct.unpack("<H", made[start : start + 2])[0]
    for _ in range(draw(st.integers(1, 2))):
        place = start + 2 + 12 * (draw(places) % max(1, count))
        field, form = draw(st.sampled_from(((0, "<H"), (2, "<H"), (4, "<I"), (8, "<I"), (8, "<I"))))
        values = (256, 257, 258, 259, 273, 274, 277, 279, 339) if field == 0 else SPECIAL
        value = draw(st.sampled_from(values)) % (1 << (16 if form == "<H" else 32))
        made[place + field : place + field + struct.calcsize(form)] = struct.pack(form, value)
    return bytes(made)


@st.composite
def picture_folders(draw: Any) -> Files:
    files: Files = {}
    names = ["cat", draw(st.sampled_from(("dog", "dög", "a b", "fox", "\x1b[31m", "x\udcff")))]
    hurt = draw(st.booleans())
    for name in names:
        for k in range(2):
            suffix, content = draw(picture(hurt=hurt and draw(st.booleans())))
            files[f"{name}/{k}.{suffix}"] = content
    return files


# --- checkpoints


Seeds = tuple[tuple[dict[str, Any], dict[str, np.ndarray]], ...]
IMAGES, LABELS = np.arange(6 * 36).reshape(6, 6, 6, 1).astype(np.uint8), np.arange(6) % 3
SMALL = gpucnn.Network((6, 6, 1), (Flatten(), Dense(3)))
FIT: dict[str, Any] = {"epochs": 3, "batch_size": 4, "progress": False}


def small() -> gpucnn.Model:
    return gpucnn.Model(SMALL, device="cpu", threads=1)


@cache
def state_seeds() -> Seeds:
    """States of a run at the end of its first epoch, in the second, and at its end."""
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(KeyboardInterrupt):

            def stop(epoch: int, done: int, *_: Any) -> None:
                if (epoch, done) == (2, 4):
                    raise KeyboardInterrupt

            small().fit(IMAGES, LABELS, resume=folder, callbacks=[SimpleNamespace(batch=stop)], **FIT)
        early = max(Path(folder, "checkpoints").iterdir())
        found = [checkpoint.read(early)]
        small().fit(IMAGES, LABELS, resume=folder, **FIT)
        return (*found, *(checkpoint.read(each) for each in Path(folder, "checkpoints").iterdir() if each != early))


@cache
def checkpoint_seeds() -> Seeds:
    networks = (
        (Conv2D(2, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)),
        (Conv2D(2, 3, bias="untied", padding=1), Tanh(), AvgPool2D(2, padding=1), Flatten(), Dense(3, bias=False)),
        (gpucnn.Network((6, 6, 2), (Conv2D(4, (3, 2), groups=2, flip=True), Sigmoid())), Flatten(), Dense(3)),
        (Reshape((3, 3, 8)), Conv2D(2, 2, 1, dilation=2), MaxPool2D(1, ties="all"), Flatten(), Dense(3)),
    )
    shapes = (6, 6, 1), (6, 6, 1), (6, 6, 2), (72,)
    found = []
    for shape, layers in zip(shapes, networks):
        model = gpucnn.Model(
            gpucnn.Network(shape, layers),
            device="cpu",
            threads=1,
            loss=BinaryCrossEntropy() if len(shape) == 1 else None,
            class_names=("a", "b", "ü"),
            preprocessing=Preprocessing((6, 6), 1) if shape[-1] == 1 else None,
        )
        found.append(written(model))
    model = small()
    model.partial_fit(IMAGES, LABELS, batch_size=4, progress=False)
    return (*found, written(model))


def written(model: gpucnn.Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with tempfile.TemporaryDirectory() as folder:
        return checkpoint.read(model.save(Path(folder) / "m.safetensors"))


# fmt: off
ODD = (
    None, True, False, 0, 1, -1, 2, 3, 7, 255, 10**6, 10**9, 10**12, 2**63, 10**30, 0.5, -0.0, 1e308, float("inf"),
    float("nan"), "", "a", "same", "valid", "full", "untied", "first", "all", "float64", "float16", "orthogonal",
    "Dense",
    "Network", "own:Dense", "Sigmoid", "Flatten", "BinaryCrossEntropy", "\x1b[2J", "\ud800", "é" * 300, [], {},
    [1], [2, 2],
    [0, 10**9], [[1, 2], [3, 4]], {"type": "Flatten"}, {"type": "Dense", "units": 3}, {"type": "ReLU"},
    {"type": "Network", "input_shape": [3], "layers": []}, {"type": "Dense", "units": 10**6},
    {"type": "Conv2D", "filters": 1, "kernel": 1, "padding": 10**5}, {"type": "AvgPool2D", "window": 2, "stride": 1},
    {"type": "MaxPool2D", "window": 1, "stride": 10**9},
)
# fmt: on


def spots(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value in a tree of dicts and lists."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from spots(value)


@st.composite
def changed(draw: Any, tree: Any) -> Any:
    """A tree of JSON's values after one or two edits."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 2))):
        everywhere = list(spots(tree))
        if not everywhere:
            break
        container, key = everywhere[draw(places) % len(everywhere)]
        what = draw(st.sampled_from(("odd", "odd", "odd", "drop", "double", "swap", "many", "wrap", "key")))
        if what == "odd":
            container[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif what == "drop":
            del container[key]
        elif what == "double" and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif what == "many" and isinstance(container, list):
            container[key:key] = [copy.deepcopy(container[key]) for _ in range(draw(st.sampled_from((3, 50, 300))))]
        elif what == "swap":
            other, there = everywhere[draw(places) % len(everywhere)]
            container[key] = copy.deepcopy(other[there])
        elif what == "wrap":
            for _ in range(draw(st.sampled_from((1, 40, 400)))):
                container[key] = [container[key]]
        elif isinstance(container, dict):
            container[draw(st.sampled_from(("type", "more", "own:", "")))] = container[key]
    return tree


@st.composite
def checkpoints(draw: Any, seeds: Callable[[], Seeds], path: str) -> Files:
    description, tensors = draw(st.sampled_from(seeds()))
    description, tensors = {**description, checkpoint.SUM: checkpoint.NO_SUM}, dict(tensors)
    what = draw(
        st.sampled_from(("whole", "description", "description", "description", "tensors", "header", "bytes", "bare"))
    )
    if what == "description":
        description = draw(changed(description))
    if what == "tensors":
        name = draw(st.sampled_from(sorted(tensors)))
        how = draw(st.sampled_from(("dtype", "shape", "value", "drop", "more", "all")))
        if how == "dtype":
            tensors[name] = tensors[name].astype(draw(st.sampled_from(("f8", "f2", "i4", "u1", "?"))))
        elif how == "shape":
            tensors[name] = tensors[name].reshape(draw(st.sampled_from((-1, (1, -1), (-1, 1, 1)))))
        elif how == "value":
            tensors[name] = np.full_like(tensors[name], draw(st.sampled_from((np.nan, np.inf, 3e38, 1e-45, -0.0))))
        elif how == "drop":
            del tensors[name]
        elif how == "more":
            tensors[draw(st.sampled_from(("a", "9/kernel", "state/0/mean", "", "é/\x1b")))] = np.zeros(2)
        else:
            tensors = {name: each.astype("f8") for name, each in tensors.items()}
    if what == "bare":  # as version 0.1 wrote them, without a sum
        description = draw(changed(description)) if draw(st.booleans()) else dict(description)
        for key in ("checksum", "sha256"):
            description.pop(key, None) if isinstance(description, dict) else None
    content = save(tensors, {"gpucnn": json.dumps(description)})
    size = struct.unpack("<Q", content[:8])[0]
    head, rest = content[8 : 8 + size], content[8 + size :]
    if what == "header":
        tree = draw(changed(json.loads(head)))
        with contextlib.suppress(UnicodeEncodeError):
            head = json.dumps(tree).encode()
        content = struct.pack("<Q", len(head)) + head + rest
    total = hashlib.sha256(content).hexdigest()
    content = content.replace(checkpoint.NO_SUM.encode(), total.encode(), 1)
    if what == "bytes":
        content = draw(damaged(content))
    return {path: content}


def use_checkpoint(folder: Path) -> object:
    with contextlib.suppress(GpucnnError):
        checkpoint.read(folder / "m.safetensors")
    model = gpucnn.load(folder / "m.safetensors", device="cpu", threads=1)
    model.summary()
    shape = model.network.input_shape
    with np.errstate(all="ignore"):
        if np.prod(shape, dtype=float) <= 10**6:
            model.predict_proba(np.zeros((1, *shape), np.uint8))
        if model.trained is not None and shape == IMAGES.shape[1:]:
            model.partial_fit(IMAGES, LABELS % len(model.class_names), batch_size=4, progress=False)
    return model


def use_state(folder: Path) -> object:
    """A state that is damaged is passed over with a warning; where that is all, the run begins anew."""
    with warnings.catch_warnings(record=True) as told, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        small().fit(IMAGES, LABELS, resume=folder, **FIT)
    if told:
        raise GpucnnError(str(told[0].message))
    return None


# --- run.toml

TOML_KEYS = (
    "network",
    "data",
    "lr",
    "seed",
    "epochs",
    "set",
    "made",
    "classes",
    "hidden",
    "batch-size",
    "a.b",
    "",
    "é",
    "out",
    "help",
)
TOML_VALUES = (
    *(
        "1",
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "1e400",
        "true",
        "false",
        '""',
        '"adam"',
        '"cosine"',
        '"0,1"',
        '"8x8"',
        "[1, 2]",
        "[[1], [2]]",
    ),
    *(
        "{}",
        "{a = 1}",
        "1979-05-27",
        "07:32:00",
        "0x1f",
        "9" * 50,
        "9" * 5000,
        "'a'",
        '"\\u001b[2J"',
        '"\\ud800"',
        "[" * 300,
    ),
)


@st.composite
def configurations(draw: Any) -> Files:
    """A run.toml with some lines changed, beside what it names."""
    lines = [
        'network = "softmax-regression"',
        'data = "tiny.npz"',
        f"seed = {draw(st.integers(0, 2**40))}",
        f"lr = {draw(st.floats(1e-6, 0.1))}",
        f"batch_size = {draw(st.integers(1, 99))}",
    ]
    lines += draw(
        st.lists(
            st.sampled_from(('schedule = "cosine"', 'optimizer = "sgd"', "validation = 0.2", "graph = false")),
            unique=True,
        )
    )
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        key, value = draw(st.sampled_from(TOML_KEYS)), draw(st.sampled_from(TOML_VALUES))
        what, place = draw(st.sampled_from(("value", "line", "key", "drop", "table"))), draw(places) % len(lines)
        if what == "value":
            lines[place] = f"{lines[place].split(' =')[0]} = {value}"
        elif what == "key":
            lines[place] = f"{key} = {lines[place].split('= ')[-1]}"
        elif what == "line":
            lines.insert(place, f"{key} = {value}")
        elif what == "drop":
            del lines[place]
        else:
            lines.insert(place, f"[{draw(st.sampled_from(('set', 'made', 'other', '[set]')))}]")
    text = "\n".join([*lines, ""]).encode()
    line = ["train", "--config", "run.toml", "--data", "tiny.npz", "--device", "cpu", "--epochs", "1", "--threads", "1"]
    return {"run.toml": draw(damaged(text)) if seldom(draw, 5) else text, "line.json": json.dumps(line).encode()}


# --- the command line

# fmt: off
WORDS = (
    "", "-", "--", "-x", "--json", "--help", "0", "1", "-1", "7", "1e3", "nan", "inf", "10" * 20, "9" * 5000, "²",
    "a,b", "0,1", "1,",
    "none", "hidden=3", "filters=2", "hidden=", "=", "filters=1,2,3", "hidden=1000000000000000",
    "hidden=" + "9" * 5000, "f=relu",
    "auto", "cpu", "cuda", "cpu:1", "tpu", "digits", "nowhere", "two-conv", "softmax-regression", "no:thing",
    "os:system", ".", "..",
    "\udcff", "\x1b[2J", "8x8", "0x0", "4097x1", "shift=1", "shift=1e9,flip", "flip,flip", "default",
    "reflect,rotate=10,zoom=0.1", "elastic=1,cutout=3", "mixup=0.2,cutmix=1", "zoom=0.95", "flip=alternate",
    "adam", "sgd", "cosine",
    "0.1", "0.999",
    "m.safetensors", "tiny.npz", "seven.png", "shapes", "line.json", "1e-320", "1e308", "9223372036854775808",
    "a" * 300, "cuda:" + "9" * 5000,
)
OPTIONS = (
    "--threads", "--seed", "--lr", "--classes", "--set", "--size", "--channels", "--augment", "--tta", "--data",
    "--batch-size", "--validation", "--top", "--model", "--csv",
    "--optimizer", "--schedule", "--device", "--kernels", "--precision", "--layers", "--input", "--out",
)
LINES = {
    "train": ("train", "softmax-regression", "--data", "tiny.npz", "--device", "cpu", "--lr", "0.01", "--seed", "3"),
    "evaluate": ("evaluate", "m.safetensors", "--data", "tiny.npz", "--device", "cpu"),
    "predict": ("predict", "m.safetensors", "seven.png", "--device", "cpu"),
    "verify": ("verify", "m.safetensors"),
    "augment": ("augment", "tiny.npz", "--out", "sheet.png"),
    "networks": ("networks", "two-conv"),
    "data": ("data", "path", "digits"),
    "check": ("check", "softmax-regression"),
}
HARMLESS = {
    "train": (
        ("--seed", st.integers(0, 2**70)), ("--lr", st.floats(1e-9, 1.0)), ("--batch-size", st.integers(1, 10**9)),
        ("--validation", st.floats(0.0, 0.5)), ("--classes", st.permutations("012").map(",".join)), ("--json", None),
        ("--optimizer", st.sampled_from(("adam", "sgd", "momentum"))), ("--out", st.sampled_from(("o", "deep/er",
        "ö"))), ("--force", None),
        ("--augment", st.integers(0, 3).map("shift={},flip".format)), ("--schedule", st.sampled_from(("cosine",
        "one-cycle"))),
    ),
    "evaluate": (("--threads", st.integers(1, 2)), ("--json", None), ("--tta", st.sampled_from(("flip", "shift=1")))),
    "predict": (("--invert", None), ("--json", None), ("seven.png", None), ("./seven.png", None),
    ("shapes/a/0.png", None), ("shapes", None), ("shapes/?/*.png", None), ("--csv", None), ("--top", st.integers(1, 9)),
    ("--model", st.just("m.safetensors"))),
    "verify": (("--json", None),),
    "augment": (("--seed", st.integers(0, 2**70)), ("--augment", st.sampled_from(("flip", "mixup=1", "rotate=5")))),
    "networks": (("--json", None),),
    "data": (),
    "check": (("--seed", st.integers(0, 2**70)), ("--json", None)),
}
# fmt: on


@st.composite
def command_lines(draw: Any) -> Files:
    """A command line as a JSON list of words."""
    name = draw(st.sampled_from(("train", "train", "train", "evaluate", "predict", "predict", *LINES)))
    line = list(LINES[name])
    for option, values in draw(st.permutations(HARMLESS[name]))[: draw(st.integers(0, 4))]:
        line += [option] if values is None else [option, str(draw(values))]
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2)))):
        what, place = (
            draw(st.sampled_from(("pair", "pair", "put", "insert", "drop", "double"))),
            draw(places) % len(line),
        )
        if what == "pair":
            line += [draw(st.sampled_from(OPTIONS)), draw(st.sampled_from(WORDS))]
        elif what == "insert":
            line.insert(place, draw(st.sampled_from((*WORDS, *OPTIONS))))
        elif what == "put":
            line[place] = draw(st.sampled_from((*WORDS, *OPTIONS)))
        elif what == "drop" and len(line) > 1:
            del line[place]
        else:
            line.insert(place, line[place])
    if "train" in line:
        line += ["--epochs", "1", "--threads", "1"]
    return {"line.json": json.dumps(line).encode()}


@cache
def command_files() -> Files:
    """What the command lines name."""
    rng = np.random.default_rng(0)
    archive, seven, saved = io.BytesIO(), io.BytesIO(), Path("m.safetensors")
    labels = np.arange(12) % 3
    np.savez(archive, images=rng.integers(0, 256, (12, 8, 8), dtype=np.uint8), labels=labels)
    Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(seven, "PNG")
    network = gpucnn.Network((8, 8, 1), (Flatten(), Dense(3)))
    model = gpucnn.Model(network, device="cpu", threads=1, preprocessing=Preprocessing((8, 8), 1))
    pictures = {f"shapes/{name}/{k}.png": seven.getvalue() for name in "ab" for k in range(3)}
    return {
        "tiny.npz": archive.getvalue(),
        "seven.png": seven.getvalue(),
        "m.safetensors": model.save(saved).read_bytes(),
        **pictures,
    }


@cache
def built() -> Any:
    return get_command(cli.app)


def use_command_line(folder: Path) -> object:
    line = json.loads((folder / "line.json").read_text())
    for name, content in command_files().items():
        put(folder / name, content)
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["gpucnn", *line])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        patch.setattr(cli, "app", built())  # once, not for each line
        patch.setattr(curves, "learning_curves", lambda *_: None)  # which take longer than the rest
        patch.setattr(augmented, "draw", lambda *_: None)
        status = cli.main()
    assert status in (0, 1, 2)
    if status == 0:
        if "--json" in line and "--help" not in line:
            json.loads(out.getvalue().splitlines()[-1], parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        return out.getvalue()
    said = (err.getvalue() or out.getvalue()).split("\n")
    assert status == 2 or said[-2].startswith("gpucnn: ")
    raise GpucnnError(" ".join(said) if status == 2 else said[-2])


FORMATS = {
    "IDX": Format(idx_files(), data.load, 5500),
    "npz": Format(npz_files(), lambda folder: data.load(folder / "set.npz"), 5500),
    "pictures": Format(picture_folders(), lambda folder: data.load(folder, size=(8, 8)), 2000),
    "checkpoints": Format(checkpoints(checkpoint_seeds, "m.safetensors"), use_checkpoint, 4000),
    "a run's states": Format(checkpoints(state_seeds, "checkpoints/step-000000005.safetensors"), use_state, 1000),
    "run.toml": Format(configurations(), use_command_line, 1000),
    "command line": Format(command_lines(), use_command_line, 1000),
}


# --- the judge


class Overtime(BaseException):
    """Not an Exception, so that nothing on the way takes it for its own."""


@contextlib.contextmanager
def within_limits() -> Iterator[None]:
    """Fails where what is inside takes longer than SECONDS, or more than BYTES of memory above what there is."""

    def late(*_: Any) -> None:
        raise Overtime(f"more than {SECONDS} seconds")

    before = memory(reset=True)
    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
    assert memory() - before < BYTES


def memory(reset: bool = False) -> int:
    """The largest number of bytes in use since the last reset; 0 where the system does not say."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def tried(kind: Format, count: int, root: Path) -> Counter[str]:
    """How many of `count` inputs were accepted and refused. Whatever else happens is a failure, and its input shown."""
    tally: Counter[str] = Counter()
    folder = root / "case"

    @settings(
        max_examples=count,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(kind.inputs)
    def each(files: Files) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in files.items():
            put(folder / name, content)
        os.chdir(folder)
        try:
            with within_limits():
                kind.use(folder)
        except GpucnnError as error:
            sentence = str(error)
            assert sentence
            assert "\n" not in sentence
            tally["refused"] += 1
        else:
            tally["accepted"] += 1

    each()
    return tally


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data folder, no mirrors, no warnings of Pillow's, and a folder to come back to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, source in list(catalogue.SOURCES.items()):
        monkeypatch.setitem(catalogue.SOURCES, name, replace(source, mirrors=("http://127.0.0.1:1/",)))


needs_alarm = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no alarms")


@needs_alarm
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_some_inputs(name: str, tmp_path: Path) -> None:
    tally = tried(FORMATS[name], 60, tmp_path)
    assert tally["accepted"] >= ACCEPTED * tally.total()
    assert tally["refused"]


@pytest.mark.slow
@needs_alarm
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_twenty_thousand_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tallies = {name: tried(kind, kind.count, tmp_path) for name, kind in FORMATS.items()}
    with capsys.disabled():
        for name, tally in tallies.items():
            print(
                f"\n{name}: {tally.total():,} inputs, {tally['accepted']:,} accepted, {tally['refused']:,} refused",
                end="",
            )
    assert sum(tally.total() for tally in tallies.values()) >= 20_000
    for tally in tallies.values():
        assert tally["accepted"] >= ACCEPTED * tally.total()
