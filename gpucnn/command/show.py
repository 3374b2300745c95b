"""`gpucnn show`: pictures of what is inside a model."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import Annotated, Any

from typer import Argument, Option

from ..errors import GpucnnError, SettingError, check_answer, printable
from . import arguments
from .arguments import LayersOption, ModelArgument
from .messages import quoted
from .missing import ENDING
from .places import check_folder
from .predict import STDIN, files_of, read


def show(
    model: ModelArgument,
    image: Annotated[
        str | None,
        Argument(
            metavar="IMAGE",
            help="A picture to send through the model, or - for one that comes on standard input; without, its filters "
            "alone.",
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        Option("--class", metavar="NAME", help="The class, label or number to explain; by default the largest."),
    ] = None,
    invert: Annotated[
        bool, Option("--invert", help="Swap dark and light, for a picture dark on light where training's were not.")
    ] = False,
    out: Annotated[
        str | None, Option(metavar="DIR", help="The folder for the pictures; by default show, beside the model.")
    ] = None,
    layers: LayersOption = None,
) -> None:
    """Draw what is inside a model: its filters and, for a picture, what each layer makes of it, where pools look, and
    which pixels and regions speak for the class.
    """
    import numpy as np

    from ..losses import CLASSIFICATION, OUTPUTS, kind
    from ..model import load
    from ..report import answers, drawings, inside
    from ..report.glyphs import told_once

    with arguments.explained(model, None):
        loaded = load(model, device="cpu", layers=layers)
    if class_name is not None and image is None:
        raise GpucnnError(f"--class {class_name}: none is explained without a picture; name one, or leave --class out")
    folder = out or os.path.join(os.path.dirname(os.path.abspath(model)), "show")
    look = None
    if image is not None:
        pixels = _picture(loaded, image, model, invert=invert)
        names = loaded.class_names
        if class_name is not None and class_name not in names:
            what = OUTPUTS[kind(loaded.loss)]
            raise GpucnnError(f"--class {class_name}: the {what} are {', '.join(names)}")
        with arguments.explained(model, None), np.errstate(over="ignore", invalid="ignore"):
            look = inside.look(loaded, pixels, None if class_name is None else [names.index(class_name)])
            check_answer(float(look.probabilities.sum()), f"{model}: a probability or number")
    check_folder(folder)
    os.makedirs(folder, exist_ok=True)
    drawn = [("filters.png", lambda path: drawings.draw_filters(inside.filters(loaded), path))]
    if look is not None:
        found = look
        drawn += [
            ("maps.png", lambda path: drawings.draw_maps(found, path)),
            ("pools.png", lambda path: drawings.draw_pools(found, path)),
            ("reasons.png", lambda path: drawings.draw_reasons(found, path, loaded.class_names)),
        ]
        k = int(found.classes[0])
        if found.of == CLASSIFICATION:
            print(printable(f"{image}: {loaded.class_names[k]} ({found.value(k)})"))
        else:
            said = answers.in_words(answers.of(loaded, found.probabilities[0]))
            print(printable(f"{image}: {said}; the reasons are those for {loaded.class_names[k]}"))
    for name, draw in drawn:
        path = os.path.join(folder, name)
        try:
            with told_once(loaded.class_names):
                draw(path)
            print(path)
        except SettingError as error:
            print(f"no {name}: {error}")


def _picture(loaded: Any, image: str, model: str, *, invert: bool) -> Any:
    """The picture as the model's images (1, H, W, C). What was done to it is said. Raises GpucnnError."""
    from dataclasses import replace

    from ..data.preprocessing import reading

    if image.endswith(ENDING):
        raise GpucnnError(f"{image}: a model, and no picture; `{quoted('gpucnn', 'show', image)}` draws its filters")
    found = [*files_of([image], model, Counter())]
    first, wrong = found[0]
    if not wrong and (len(found) > 1 or os.path.isdir(image)):
        what = "a folder" if os.path.isdir(image) else f"a pattern of {len(found):,} pictures"
        raise GpucnnError(
            f"{image}: {what}, and one picture is drawn at a time; give one, such as {quoted(first)}; "
            f"`{quoted('gpucnn', 'predict', model, image)}` says what the model makes of all in it"
        )
    if wrong:
        raise GpucnnError(wrong)
    how = reading(loaded.preprocessing, loaded.network.input_shape, model)
    said: list[str] = []
    pixels = read(first, replace(how, invert=how.invert != invert), said)
    for text in said:
        print(printable(f"gpucnn: {STDIN if first == '-' else first}: {text}"), file=sys.stderr)
    return pixels[None]
