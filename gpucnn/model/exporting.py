"""`Model.export` and `Ensemble.export`: what answers as a file that other programs run."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import SettingError
from ..losses import OUTPUTS, kind
from . import accepted, checkpoint
from .predicting import Predicting
from .trainable import Trainable

ENDING = ".onnx"


def export(
    self: Predicting, path: str | bytes | os.PathLike[str], *, layout: str = "NHWC", pixels: str | None = None
) -> Path:
    """Write the model as ONNX, which onnxruntime and others run, with the scaling of pixels inside. -> the path.

    The file takes what `predict` takes: an input "images", bytes 0..255 of shape (N, H, W, C), or with layout="NCHW"
    (N, C, H, W); with pixels="float32" floats in 0..1 instead, and of a model that scales floats, as the estimators'
    models do, floats of any range, which is its default. N is free. It gives "logits", of an Ensemble the mean of its
    models', and, unless the loss is of numbers, "probabilities", (N, classes), as `logits` and `predict_proba` do, in
    float32. Its metadata are class_names, first_label, thresholds of labels that have some, what the outputs are of,
    how pictures become images (preprocessing), and the version.

    float32 is also what the units of numbers are added in there: far from 0, as seconds since 1970 are, it rounds what
    `predict` does not.

    Needs the package onnx. Raises SettingError for layers that cannot be written, and units that float32 does not hold,
    and CheckpointError for a path.
    """
    pixels = accepted.argument("pixels", usual_pixels(self) if pixels is None else pixels)
    layout = accepted.argument("layout", layout)
    place = checkpoint.place(path, ENDING, "ONNX")
    try:
        from ..onnx import Answering, document
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "onnx":
            raise
        raise SettingError("onnx, which writes these files, is not installed; run `pip install onnx`") from None
    members = [_answering(each, Answering) for each in getattr(self, "models", [self])]
    how = {"layout": layout, "pixels": pixels}
    return checkpoint.put(place, document(members, self.loss, **how, told=_told(self, **how)))


def _answering(model: Trainable, kind: Any) -> Any:
    """What is written of one model, in float64."""
    wide = (model.device.fetch(vector).astype(np.float64) for vector in (model.theta, model.execution.state))
    params, state = (each.unpack(vector) for each, vector in zip((model.layout, model.state_layout), wide))
    if model.units is not None:
        model.units.check_float32()
    return kind(model.network, params, state, model.scaling, model.units)


def usual_pixels(model: Predicting) -> str:
    """What a pixel is in an exported model unless it is said."""
    return "float32" if model.scaling.floats else "uint8"


def _told(model: Predicting, layout: str, pixels: str) -> dict[str, Any]:
    """What stands in the file beside the graph."""
    axes = f"(N, {', '.join(layout[1:])})" if len(model.network.input_shape) == 3 else "(N, features)"
    floats = "floats of any range" if model.scaling.floats else "floats in 0..1"
    numbers = "bytes 0..255" if pixels == "uint8" else floats
    how = {} if model.preprocessing is None else {"preprocessing": asdict(model.preprocessing)}
    return {
        "name": model.name,
        "input": f"images: {numbers} {axes}",
        "outputs": OUTPUTS[kind(model.loss)],
        "class_names": [*model.class_names],
        "first_label": model.first_label,
        **({} if model.thresholds is None else {"thresholds": [*model.thresholds]}),
        "gpucnn_version": __version__,
        **how,
    }
