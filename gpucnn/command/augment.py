"""`gpucnn augment`, and the options --augment and --tta."""

from __future__ import annotations

from typing import Annotated

from typer import BadParameter, Option

from ..data.preprocessing import CROP
from . import completion
from .arguments import DataArgument, check_format
from .messages import tell_notes
from .options import ChannelsOption, FitOption, InvertOption, SizeOption, SkipBrokenOption

USUAL = "default"

CHANGES = (
    "One or more of shift=PIXELS, rotate=DEGREES, zoom=PART, elastic=PIXELS (with reflect, their edges show the image "
    "mirrored, not 0), flip or flip=alternate, brightness=PART, contrast=PART, cutout=PIXELS, mixup=ALPHA, "
    "cutmix=ALPHA; or default, what suits the data set"
)
AugmentOption = Annotated[
    str | None,
    Option(
        metavar="CHANGES",
        autocompletion=completion.changes,
        help="Change training images at random whenever they are used, so that the network meets more of them. "
        f"{CHANGES}; or none. By default what the network's recipe says, mostly none, and default for few pictures of "
        "your own. `gpucnn augment DATA` draws it.",
    ),
]


def viewed(text: str | None) -> str | None:
    """A text that says views."""
    from ..engine.tta import Views

    if text is not None:
        Views.parse(text)
    return text


TtaOption = Annotated[
    str | None,
    Option(
        metavar="VIEWS",
        callback=viewed,
        help="Average what the model gives over views of each picture: shift=N is it and it moved by N pixels to its "
        "sides and corners, flip the mirror images of these; shift=1,flip is both.",
    ),
]


def augmentation_of(text: str | None, data: str, input_shape: tuple[int, int, int]) -> str | None:
    """--augment as a run's settings hold it: None where it is not given, "" for none; default is what suits the data.

    data: a name or a path. Raises SettingError.
    """
    from ..data.catalogue import resolve
    from ..model.runs import UNCHANGED
    from ..training.augmentation import Augmentation, usual

    asked = None if text is None else text.strip()
    if asked in (None, UNCHANGED):
        return None if asked is None else ""
    if asked == USUAL:
        return usual(resolve(data) or "", input_shape)
    return Augmentation.parse(asked).text()


def augment(
    data: DataArgument,
    augment: Annotated[
        str,
        Option(
            metavar="CHANGES",
            autocompletion=completion.changes,
            help=f"How to change them, as `gpucnn train` takes it. {CHANGES}.",
        ),
    ] = USUAL,
    out: Annotated[str, Option(metavar="FILE", help="The .png, .svg or .pdf file to draw.")] = "augmented.png",
    seed: Annotated[
        int, Option(metavar="N", min=0, help="The number that decides the changes; another one shows others.")
    ] = 0,
    size: SizeOption = None,
    channels: ChannelsOption = None,
    invert: InvertOption = False,
    fit: FitOption = CROP,
    skip_broken: SkipBrokenOption = False,
) -> None:
    """Draw what --augment makes of training pictures: each beside eight changed ones."""
    from dataclasses import replace

    from ..data.loading import load_readable
    from ..report import augmented
    from ..report.glyphs import told_once
    from ..training.augmentation import Augmentation

    check_format(out, "--out")
    augmentation_of(augment, "", (0, 0, 0))
    look = {"size": size, "channels": channels, "invert": invert, "fit": fit}
    dataset, refused = load_readable(data, skip_broken=skip_broken, **look)
    tell_notes(replace(dataset, notes=(*dataset.notes, *filter(None, [refused]))))
    asked = augmentation_of(augment, data, dataset.input_shape)
    if not asked:
        raise BadParameter(
            f"{augment} changes nothing here, so there is nothing to draw; give one, such as shift=2",
            param_hint="--augment",
        )
    how = Augmentation.parse(asked)
    how.check(dataset.input_shape)
    with told_once(dataset.class_names):
        augmented.draw(dataset, replace(how, key=seed), out)
    print(f"{dataset.name}, {how.text()}: drawn in {out}")
