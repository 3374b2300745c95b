"""`gpucnn evaluate`, `predict` and `verify`: what is asked of a saved model."""

from __future__ import annotations

import math
from typing import Annotated, Any

from typer import Argument, Option

from ..errors import GpucnnError, printable
from . import arguments
from .arguments import DataOption, DeviceOption, JsonOption, LayersOption, ModelArgument, ThreadsOption


def evaluate(
    model: ModelArgument,
    data: DataOption = "digits",
    layers: LayersOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a saved model's accuracy and loss on the test images of a data set."""
    import numpy as np

    from ..model import load, runs

    quiet = np.errstate(over="ignore", invalid="ignore")  # what is not finite is said below
    with arguments.explained(model, _to_check(layers)), quiet:
        loaded = load(model, device=device, layers=layers, threads=threads)
        dataset = runs.fitting(loaded, _load_as(data, loaded.preprocessing))
        found = loaded.evaluate(dataset.test_images, dataset.test_labels)
        _finite(found["loss"], f"{model}: the loss of the images of {dataset.name}")
    if as_json:
        print(arguments.json_text({"data": dataset.name, **found}))
    else:
        accuracy, loss = 100 * found["accuracy"], found["loss"]
        print(f"{dataset.name}: accuracy {accuracy:.2f} %, loss {loss:.4f}, {found['examples']:,} images")


def predict(
    model: ModelArgument,
    images: Annotated[list[str], Argument(metavar="IMAGE", help="The files of the pictures, one or more.")],
    invert: Annotated[
        bool,
        Option(
            "--invert",
            help="Swap dark and light, for pictures dark on light where those of the training were not.",
        ),
    ] = False,
    layers: LayersOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Say which class each picture shows, and how probable that is.

    Pictures are read as those of the training were: the model's file says how.
    """
    from dataclasses import replace

    import numpy as np

    from ..data import read_pictures
    from ..model import load

    with arguments.explained(model, _to_check(layers)):
        loaded = load(model, device=device, layers=layers)
    how = loaded.preprocessing
    if how is None:
        raise GpucnnError(
            f"{model}: it was not saved with a way to read pictures (its input is {loaded.network.input_shape})"
        )
    pictures = read_pictures(images, replace(how, invert=how.invert != invert))
    quiet = np.errstate(over="ignore", invalid="ignore")
    with arguments.explained(model, _to_check(layers)), quiet:
        chances = loaded.predict_proba(pictures)
        _finite(chances.sum(), f"{model}: a probability")
    rows = [
        {"file": file, "label": loaded.class_names[k], "probability": float(p[k])}
        for file, p, k in zip(images, chances, chances.argmax(axis=1))
    ]
    if as_json:
        print(arguments.json_text(rows))
    else:
        for row in rows:
            print(f"{printable(str(row['file']))}: {row['label']} ({100 * row['probability']:.1f} %)")


def verify(model: ModelArgument, as_json: JsonOption = False) -> None:
    """Say what a saved model holds, and whether it is as it was written: its checksum is computed again.

    Nothing but the file is needed, no layers of your own either. The exit status is 1 where the file is damaged.
    """
    from ..model import checkpoint

    description, tensors = checkpoint.read(model)
    total = description.get(checkpoint.SUM)
    found = {
        "file": model,
        "name": description.get("name"),
        "tensors": len(tensors),
        "numbers": sum(tensor.size for tensor in tensors.values()),
        "class_names": description.get("class_names"),
        "trained_on": description.get("trained_on"),
        "sha256": total,
    }
    if as_json:
        print(arguments.json_text(found))
        return
    data = f" trained on {found['trained_on']}" if found["trained_on"] else ""
    names = found["class_names"]
    classes = f", {len(names)} classes" if isinstance(names, list) else ""
    proof = (
        "it has no checksum (version 0.1 wrote none), so damage to its numbers cannot be seen"
        if total is None
        else f"its checksum is right (sha256 {total})"
    )
    what = f"{found['name']}{data}{classes}, {found['numbers']:,} numbers in {found['tensors']} tensors"
    print(printable(f"{model}: {what}; {proof}"))


def _finite(number: float, what: str) -> None:
    if not math.isfinite(number):
        raise GpucnnError(
            f"{what} is {number:g}: the model's weights are too large to compute with; train it again with a lower "
            "learning rate (--lr)"
        )


def _to_check(layers: list[str] | None) -> str | None:
    """What `gpucnn check` is given to try a layer that --layers names; None where it names none."""
    if not layers:
        return None
    name = layers[0] if ":" in layers[0] else f"{layers[0]}:CLASS"
    return f"{name} --input HxWxC"


def _load_as(data: str, how: Any) -> Any:
    """A data set, and a folder of pictures in it read as the model's own pictures were."""
    import os

    from ..data import load

    if how is not None and os.path.isdir(data):
        try:
            return load(data, size=how.size, channels=how.channels, invert=how.invert)
        except GpucnnError:  # of a folder of arrays, for which these are refused
            if how.invert:
                raise
    return load(data)
