"""Checkpoints: safetensors, with a description as JSON in the header. Reading one never runs code.

`write` and `read` are for named tensors and any description that JSON can hold. The description of a file holds its
sha256, over every byte of the file, with zeros where the sum itself stands.

Layer names resolve in the registry, or in the layers that the caller names; nothing is imported.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.folders import SUFFIXES, is_picture_name
from ..data.pixels import USUAL
from ..errors import CheckpointError, GpucnnError, listed, of_system
from ..layers import REGISTRY
from ..layers.base import is_own
from ..network import Network
from ..training.writing import write_whole
from . import numbers
from .numbers import OWN

FORMAT, NEWEST = 1, 2  # the second one of models of numbers in units, which code of before would not see
ENDING = ".safetensors"
OTHERS = (  # endings of other formats; all else behind a point, such as .v2 and .best, is of a name
    *(".h5", ".hdf5", ".onnx", ".pt", ".pth", ".pkl", ".pickle", ".npz", ".npy", ".keras", ".pb", ".tflite"),
    *(".joblib", ".mat", ".json", ".txt", ".svg", ".pdf", *SUFFIXES),
)
KEY = "gpucnn"
SUM, KIND = (
    "sha256",
    "checksum",
)  # entries of a description: the sum, and that there is one, should a byte of its name flip
NO_SUM = "0" * 64
HAND_OVER = "hand its class over: gpucnn.load(path, layers=[{0}]) in Python, --layers module:{0} on the command line"


def place(path: Any, usual: str = ENDING, kind: str = "safetensors") -> Path:
    """The path for a model's file. Raises CheckpointError for a folder, and for the ending of another kind of file.

    usual: the ending of what is to be written; kind: what that is.
    """
    path = path_of(path, usual)
    ending = path.suffix.lower()
    try:
        is_folder = path.is_dir()
    except OSError as error:  # such as a name that is too long
        raise CheckpointError(
            f"{path}: the model cannot be saved: {error.strerror or error}; give another path"
        ) from None
    if is_folder:
        raise CheckpointError(f"{path}: the model cannot be saved: that is a directory; say {path / f'model{usual}'}")
    if ending in (*OTHERS, ENDING) and ending != usual:
        raise CheckpointError(
            f"{path}: {ending} is not the ending of what is written, which is {kind}: say {path.with_suffix(usual)}; "
            f"of another format there are {_others(usual)}"
        )
    return path


def _others(usual: str) -> str:
    """What there is beside a kind of file, for a message."""
    if usual != ENDING:
        return "model.save(path), which writes safetensors, and the arrays of model.parameters and model.state"
    return (
        "the arrays of model.parameters and model.state, which numpy.savez and others write, and ONNX, which "
        "model.export(path) and `gpucnn export` write"
    )


def path_of(path: Any, ending: str = ENDING) -> Path:
    """A path as text, as bytes or as an object. Raises CheckpointError for what is none."""
    given = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    if not given or "\0" in given:
        raise CheckpointError(f"path={path!r}: the path of a model's file was expected, such as 'model{ending}'")
    if given == "-":
        raise CheckpointError(
            f"-: models are not read from and written to a terminal or a pipe; name a file, such as model{ending}"
        )
    return Path(given)


def write(path: str | os.PathLike[str], description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Path:
    """Save tensors with the description, and a checksum of both.

    The file appears whole or not at all: it is written beside its place under a temporary name, .NAME-*.part,
    brought to the disk, and renamed. Raises CheckpointError.
    """
    from safetensors.numpy import save

    path = Path(path)
    ordered = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    contents = save(ordered, metadata={KEY: header(path, description)})
    begin = 8 + int.from_bytes(contents[:8], "little")
    head, rest = contents[:begin], memoryview(contents)[begin:]
    total = hashlib.sha256(head)
    total.update(rest)
    head = head.replace(NO_SUM.encode(), total.hexdigest().encode(), 1)
    return put(path, head, rest)


def put(path: Path, *parts: bytes | memoryview) -> Path:
    """Write a file of these parts, whole or not at all. Raises CheckpointError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, *parts)
    except OSError as error:
        raise CheckpointError(f"{path}: the model cannot be saved: {error.strerror or error}") from None
    return path


def header(path: Path, description: Mapping[str, Any]) -> str:
    """The description as text. Raises CheckpointError where it holds what a file cannot."""
    ours = {"format": NEWEST if numbers.KEY in description else FORMAT, KIND: SUM, SUM: NO_SUM}
    try:
        return json.dumps(ours | {key: value for key, value in description.items() if key not in ours}, default=_number)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the model cannot be saved: {error}") from None


def read(path: str | bytes | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the tensors of a checkpoint whose checksum is right.

    The description has an entry "checksum" unless the file was written by version 0.1, which wrote none.
    Raises CheckpointError for a file that is missing, truncated, damaged, not safetensors, or not gpucnn's.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = path_of(path)
    if is_picture_name(path):
        raise CheckpointError(
            f"{path}: a picture, and a saved model was expected; give the file that `gpucnn train` or Model.save "
            f"wrote, such as model{ENDING}"
        )
    if os.path.isdir(path):  # where Path's own methods raise, as for a name that is too long, these say no
        inside = sorted(map(str, path.glob("*.safetensors")))
        such = listed(inside) or f"such as {path / 'model.safetensors'}; none in it ends in .safetensors"
        raise CheckpointError(f"{path}: a folder; name the file in it, {'such as ' * (len(inside) == 1)}{such}")
    if not os.path.isfile(path):
        what = "no regular file" if os.path.exists(path) else "no such file"
        raise CheckpointError(f"{path}: {what}; a model saved by `gpucnn train` (model.safetensors) was expected")
    try:
        contents = path.read_bytes()  # once: what lies there may be replaced meanwhile
    except OSError as error:
        raise CheckpointError(f"{of_system(error, path)}") from None
    try:
        try:
            tensors = load(contents)
        except KeyError:  # a type that NumPy does not have, as in other programs' files
            _description(path, contents)
            raise
        description = _description(path, contents)
        for name, tensor in tensors.items():
            if tensor.dtype.isbuiltin != 1:  # another library may have added it to NumPy's
                raise TypeError(f"{name} is of type {tensor.dtype}, which NumPy does not have")
    except CheckpointError:
        raise
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); it may be truncated, copy or train it again"
        ) from None
    return description, tensors


def _description(path: Path, contents: bytes) -> dict[str, Any]:
    begin = 8 + int.from_bytes(contents[:8], "little")
    head, rest = contents[:begin], memoryview(contents)[begin:]
    metadata = json.loads(head[8:]).get("__metadata__") or {}
    if KEY not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not one of gpucnn: its header has no {KEY!r} entry")
    try:
        description = json.loads(metadata[KEY])
        newer = description["format"] > NEWEST
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CheckpointError(
            f"{path}: the {KEY!r} entry of its header cannot be read; train or export it again"
        ) from None
    if (KIND in description or SUM in description) and description.get(SUM) != _sum(head, rest, description.get(SUM)):
        raise CheckpointError(f"{path}: damaged: its checksum is not that of its contents; copy or train it again")
    if newer:
        raise CheckpointError(f"{path}: written by a newer gpucnn (format {description['format']}); upgrade gpucnn")
    return description


def _sum(head: bytes, rest: memoryview, written: Any) -> str:
    """The sha256 of a file with zeros for the sum that is written in its header."""
    total = hashlib.sha256(head.replace(str(written).encode(), NO_SUM.encode(), 1))
    total.update(rest)
    return total.hexdigest()


def description_of(model: Any) -> dict[str, Any]:
    """All of a model but its parameters and device, as JSON-able values."""
    return {
        "name": model.name,
        "network": layer_to_dict(model.network),
        "loss": loss_to_dict(model.loss),
        "scaling": model.scaling.described(),
        "class_names": list(model.class_names),
        "preprocessing": None if model.preprocessing is None else model.preprocessing.to_dict(),
        "dtype": str(model.theta.dtype),
        **({} if model.white in (USUAL, None) else {"white": model.white}),
        **({"first_label": model.first_label} if model.first_label else {}),
        **numbers.described(model),
        **({} if model.thresholds is None else {"thresholds": [*model.thresholds]}),
    }


def layer_to_dict(layer: Any) -> dict[str, Any]:
    """{"type": class name, hyperparameter: value, ...}; networks, and other layers that hold layers, nest."""
    if not dataclasses.is_dataclass(layer):
        raise CheckpointError(
            f"a model with a {type(layer).__name__} cannot be saved, because it is no dataclass; write @dataclass"
            "(frozen=True) above the class, and its hyperparameters as fields"
        )
    values = {field.name: _plain(getattr(layer, field.name)) for field in dataclasses.fields(layer) if field.init}
    kind = type(layer).__name__
    return {"type": kind if is_own(layer) else OWN + kind, **values}


def loss_to_dict(loss: Any) -> Any:
    """As `layer_to_dict`; the name alone where it has no settings, or is one of gpucnn's with its usual ones."""
    is_usual = is_own(loss) and loss.is_usual
    if dataclasses.is_dataclass(loss) and dataclasses.fields(loss) and not is_usual:
        return layer_to_dict(loss)
    return type(loss).__name__ if is_own(loss) else OWN + type(loss).__name__


def layer_from_dict(fields: Mapping[str, Any], layers: Mapping[str, type] | None = None, *, what: str = "layer") -> Any:
    """The inverse of `layer_to_dict`. layers: classes by name, beside the registry's. Raises CheckpointError."""
    known = {**REGISTRY, **(layers or {}), "Network": Network}
    kind = fields.get("type") if isinstance(fields, Mapping) else None
    if isinstance(kind, str) and kind.startswith(OWN):
        known, kind = {**(layers or {})}, kind.removeprefix(OWN)
    if not isinstance(kind, str):
        raise CheckpointError(f"its description holds a {what} without the name of a class")
    if kind not in known:
        raise CheckpointError(f"{what} {kind!r} is not one of gpucnn's; {HAND_OVER.format(kind)}")
    values = {name: _value(value, layers) for name, value in fields.items() if name != "type"}
    try:
        return known[kind](**values)
    except (TypeError, ValueError, GpucnnError) as error:
        raise CheckpointError(f"{what} {kind} with {str(values)[:200]}: {error}") from None


def _plain(value: Any) -> Any:
    """A hyperparameter for JSON."""
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return layer_to_dict(value) if dataclasses.is_dataclass(value) or hasattr(value, "out_shape") else value


def _value(plain: Any, layers: Mapping[str, type] | None) -> Any:
    """The inverse of `_plain`; JSON's lists were tuples."""
    if isinstance(plain, list):
        return tuple(_value(inner, layers) for inner in plain)
    return layer_from_dict(plain, layers) if isinstance(plain, dict) and "type" in plain else plain


def _number(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is no number, text, tuple or dataclass, which hyperparameters must be")
