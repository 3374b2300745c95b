"""`gpucnn.load`: a saved model, from its file to a Model."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..data.files import LIMIT, limit
from ..data.fingerprints import digest
from ..data.folders import is_picture_name
from ..data.pixels import USUAL, WHITE
from ..data.preprocessing import Preprocessing
from ..device import Device
from ..engine.scaling import Scaling
from ..errors import CheckpointError
from ..layers import AvgPool2D, Conv2D, MaxPool2D
from ..losses import LOSSES
from ..network import Network
from ..network.own import classes
from . import accepted, checkpoint, numbers
from .model import Model
from .tensors import fitting, shapes, take, trained

AGAIN = "train or copy it again"
BYTES = 4  # of a number in float32


def load(
    path: str | bytes | os.PathLike[str],
    *,
    device: str | Device = "auto",
    layers: Mapping[str, type] | Iterable[type | str] | type | str | None = None,
    threads: int | None = None,
) -> Model:
    """The model saved at path, on that device. layers: the classes of layers, or of a loss, of your own: [Swish],
    {"Swish": Swish} by the names in the file, or where they are, "my_layers" or "my_layers:Swish".

    Raises CheckpointError, with a sentence, for everything that is not a whole checkpoint of gpucnn.
    """
    return described(path, device, layers, threads)[0]


def described(path: Any, device: str | Device, layers: Any, threads: int | None) -> tuple[Model, dict[str, Any]]:
    """The same, and all that the file says of the model."""
    own = classes(() if layers is None else layers)
    path = checkpoint.path_of(path)
    if is_picture_name(path):
        raise CheckpointError(
            f"{path}: a picture, and a saved model was expected; the model comes first, as in `gpucnn predict MODEL "
            f"{path}`, or gpucnn.load(MODEL).predict({str(path)!r})"
        )
    description, tensors = checkpoint.read(path)
    device = accepted.argument("device", device)
    try:
        preprocessing = description["preprocessing"]
        network = checkpoint.layer_from_dict(description["network"], own)
        if not isinstance(network, Network):
            raise CheckpointError(f"its description holds a {type(network).__name__}, a Network was expected")
        # Before weights are drawn, which the file may describe any number of.
        fitting(shapes(network), tensors, "damaged", AGAIN)
        if (most := BYTES * _largest(network)) > limit():
            raise CheckpointError(
                f"its layers make {most:,} bytes of an image, {limit():,} are allowed; if you trust the file, set "
                f"{LIMIT} to a larger number"
            )
        names = description["class_names"]
        if not isinstance(names, list) or not all(isinstance(each, str) for each in [description["name"], *names]):
            raise CheckpointError("its description has names that are no texts")
        loss = description["loss"]  # a name alone in files of version 0.1, and where the class is no dataclass
        loss = checkpoint.layer_from_dict({"type": loss} if isinstance(loss, str) else loss, LOSSES | own, what="loss")
        model = Model(
            network,
            loss=loss,
            device=device,
            class_names=names,
            preprocessing=None if preprocessing is None else Preprocessing.from_dict(preprocessing),
            scaling=Scaling(**description["scaling"]),
            dtype=description["dtype"],
            threads=threads,
            name=description["name"],
        )
        if (white := description.get("white", model.white)) not in (model.white, USUAL, WHITE):
            raise CheckpointError(f"its description says that {white!r} is white; train it again")
        if (first := description.get("first_label", 0)) not in (0, 1):
            raise CheckpointError(f"its description says that labels count from {first!r}; train it again")
        model.white, model.first_label = white, int(first)
        model.units, model.standardize = numbers.of_file(model, description)
        model.thresholds, model.of_training = description.get("thresholds"), True
        if "training" in description:
            model.trained = trained(description, tensors, is_partial=True)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, MemoryError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{path}: its description cannot be read ({reason}); train it again") from None
    take(model, tensors, f"{path}: damaged", AGAIN)
    if model.trained is not None:
        model.trained = replace(model.trained, left=digest(model.device.fetch(model.theta)))
    return model, description


def _largest(network: Network) -> int:
    """How many numbers there are in the largest array that the layers make of an image, padding counted."""
    most = max(network.output_sizes())
    for _, layer, shape, _ in network.walk():
        if isinstance(layer, (AvgPool2D, Conv2D, MaxPool2D)):
            sides = zip(shape, layer.window_of(shape).padding)
            most = max(most, shape[2] * math.prod(length + sum(padding) for length, padding in sides))
    return most
