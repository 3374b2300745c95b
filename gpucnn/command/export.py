"""`gpucnn export`: a saved model as a file that other programs run."""

from __future__ import annotations

import os
from typing import Annotated

from typer import Argument

from ..errors import GpucnnError, printable
from ..model import checkpoint
from ..model.accepted import LAYOUTS, PIXELS
from . import arguments
from .arguments import JsonOption, LayersOption, ModelArgument
from .help import one_of
from .places import check_above
from .saved import to_check


def export(
    model: ModelArgument,
    out: Annotated[
        str | None,
        Argument(metavar="OUT.onnx", help="The file to write; by default beside the model, with its name."),
    ] = None,
    layout: Annotated[
        str,
        one_of(LAYOUTS, "NHWC by default, as `predict` takes images", "The axes of the images that the file takes."),
    ] = "NHWC",
    pixels: Annotated[
        str | None,
        one_of(
            PIXELS,
            "uint8 by default, float32 for a model that scales floats",
            "What a pixel is: a byte 0..255 (uint8), or a number in 0..1 (float32).",
        ),
    ] = None,
    layers: LayersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a saved model as ONNX, for onnxruntime and other programs, in browsers and on phones, too.

    The file takes "images" as they are, of any number, and scales their pixels itself; it gives "logits" and,
    of classes and labels, "probabilities". The names of the classes are in its metadata. Pictures must have the model's
    size. Needs onnx: pip install onnx.
    """
    from ..model import load
    from ..model.exporting import ENDING, usual_pixels

    if out is not None:
        check_above(out)
        ending = os.path.splitext(out)[1].lower()
        if ending not in (ENDING, *checkpoint.OTHERS, checkpoint.ENDING) and not os.path.isdir(out):
            what = f"{ending} is not" if ending else "it has not"
            raise GpucnnError(f"{out}: {what} the ending of what is written, which is ONNX: say {out}{ENDING}")
    with arguments.explained(model, to_check(layers)):
        loaded = load(model, device="cpu", layers=layers)
        stem, ending = os.path.splitext(model)
        usual = f"{stem if ending.lower() == checkpoint.ENDING else model}{ENDING}"
        place = usual if out is None else out
        pixels = pixels or usual_pixels(loaded)
        path = loaded.export(place, layout=layout, pixels=pixels)
    from ..onnx.document import input_shape  # whether onnx is there is known by now

    shape = input_shape(loaded.network.input_shape, layout)
    found = {"file": str(path), "images": ["N", *shape], "pixels": pixels, "class_names": [*loaded.class_names]}
    if as_json:
        print(arguments.json_text(found))
    else:
        print(printable(f"{path}: takes images (N, {', '.join(map(str, shape))}) of {pixels}"))
