"""Checkpoints: safetensors, with the description of the model as JSON in the header. Reading one never runs code.

Layer names resolve in the registry, or in the layers that the caller names; nothing is imported.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, GpucnnError
from ..layers import REGISTRY
from ..layers.base import is_own
from ..network import Network

FORMAT = 1
KEY = "gpucnn"
OWN = "own:"  # before the class names of a user's own layers, which may be those of gpucnn's
HAND_OVER = "hand its class over: gpucnn.load(path, layers=[{0}]) in Python, --layers module:{0} on the command line"


def write(path: str | os.PathLike[str], description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Path:
    """Save tensors with the description. The file appears whole or not at all. Raises CheckpointError."""
    from safetensors.numpy import save

    path = Path(path)
    ordered = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    contents = save(ordered, metadata={KEY: header(path, description)})
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = Path(file.name)
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: the model cannot be saved: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def header(path: Path, description: Mapping[str, Any]) -> str:
    """The description as text. Raises CheckpointError where it holds what a file cannot."""
    try:
        return json.dumps({"format": FORMAT, **description}, default=_number)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the model cannot be saved: {error}") from None


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the tensors of a checkpoint.

    Raises CheckpointError for a file that is missing, truncated, not safetensors, or not gpucnn's.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: a folder; name the file in it, such as {path / 'model.safetensors'}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a model saved by `gpucnn train` (model.safetensors) was expected")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, tensor in tensors.items():
            if tensor.dtype.isbuiltin != 1:  # another library may have added it to NumPy's
                raise TypeError(f"{name} is of type {tensor.dtype}, which NumPy does not have")
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); it may be truncated, copy or train it again"
        ) from None
    if KEY not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not one of gpucnn: its header has no {KEY!r} entry")
    try:
        description = json.loads(metadata[KEY])
        newer = description["format"] > FORMAT
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CheckpointError(
            f"{path}: the {KEY!r} entry of its header cannot be read; train or export it again"
        ) from None
    if newer:
        raise CheckpointError(f"{path}: written by a newer gpucnn (format {description['format']}); upgrade gpucnn")
    return description, tensors


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
    """As `layer_to_dict`; the name alone where it has no settings."""
    if dataclasses.is_dataclass(loss) and dataclasses.fields(loss):
        return layer_to_dict(loss)
    return type(loss).__name__ if is_own(loss) else OWN + type(loss).__name__


def layer_from_dict(fields: Mapping[str, Any], layers: Mapping[str, type] | None = None, *, what: str = "layer") -> Any:
    """The inverse of `layer_to_dict`. layers: classes by name, beside the registry's. Raises CheckpointError."""
    known = {**REGISTRY, **(layers or {}), "Network": Network}
    kind = fields.get("type") if isinstance(fields, Mapping) else None
    if isinstance(kind, str) and kind.startswith(OWN):
        known, kind = {**(layers or {})}, kind.removeprefix(OWN)
    if not isinstance(kind, str) or kind not in known:
        raise CheckpointError(f"{what} {kind!r} is not one of gpucnn's; {HAND_OVER.format(kind)}")
    values = {name: _value(value, layers) for name, value in fields.items() if name != "type"}
    try:
        return known[kind](**values)
    except (TypeError, ValueError, GpucnnError) as error:
        raise CheckpointError(f"{what} {kind} with {values}: {error}") from None


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
