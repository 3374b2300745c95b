"""Which pictures of a data set `gpucnn evaluate` measures."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from ..errors import GpucnnError
from .help import one_of

PARTS = ("train", "validation", "test", "all")
PartOption = Annotated[
    str | None,
    one_of(
        PARTS,
        "by default test; all where the data have no test part of their own and the model was trained on others",
        "Which pictures to measure.",
    ),
]


class Trained(NamedTuple):
    """What a run trained on. data: a name, or a path from anywhere; digest: of its training pictures and labels."""

    data: str
    digest: str


def measured(models: list[str], data: str, dataset: Any, part: str | None) -> tuple[Any, dict[str, Any], str]:
    """The data set whose test part is what is measured; "part" and "of" how many pictures that is; and a note, or "".

    data: its name or path; part: as --part says, or None. Raises GpucnnError.
    """
    from .held_out import divided

    dataset = divided(models, dataset, part)
    note = ""
    if part is None:
        part, note = _usual(models, data, dataset)
    images, labels = dataset.part(part)
    held = 0 if dataset.validation is None else len(dataset.validation[1])
    total = len(dataset.train_labels) + held + len(dataset.test_labels)
    return replace(dataset, test_images=images, test_labels=labels), {"part": part, "of": total}, note


def _usual(models: list[str], data: str, dataset: Any) -> tuple[str, str]:
    """The part to measure where none is asked for: without pictures that a model was trained on. And a note, or ""."""
    from ..data.catalogue import resolve
    from ..model.fitting import digest

    if not dataset.drawn_test or resolve(data) is not None:
        return "test", ""
    own = digest(dataset.train_images, dataset.train_labels)
    path, note = os.path.realpath(data), ""
    for model in models:
        runs = _trained(model)
        for each in runs:
            if each.digest == own or os.path.realpath(each.data) == path:
                return "test", ""
            if resolve(each.data) is None and _share(os.path.realpath(each.data), path):
                return "test", (
                    f"{model} was trained on {each.data}, and one of this and {data} lies in the other: what is "
                    "measured is a fifth; --part all measures all"
                )
        if not runs:
            name = _name(model)
            if name == dataset.name:
                return "test", (
                    f"{model} was trained on data of this name, {name}: what is measured is the fifth that training "
                    "leaves out; --part all measures all"
                )
            note = note or (
                f"nothing beside {model} says that it was trained on these pictures, so all are measured; where it "
                "was, --part test measures the fifth that training leaves out"
            )
    return "all", note


def _trained(model: str) -> list[Trained]:
    """What the run of a model trained on, by the run.toml beside it, and the runs before that one began from; empty
    where there is none.
    """
    from ..model import checkpoints, config

    found: list[Trained] = []
    seen: set[Path] = set()
    place: Path | None = Path(model)
    while place is not None and place not in seen:
        seen.add(place)
        folder = place.absolute().parent
        folder = folder.parent if folder.name == checkpoints.FOLDER else folder
        settings: dict[str, Any] = {}
        with contextlib.suppress(GpucnnError):
            settings, made = config.read(folder / config.NAME)
            if isinstance(settings.get("data"), str):
                found.append(Trained(settings["data"], str(made.get("data"))))
        init = settings.get("init")
        place = Path(init) if isinstance(init, str) else None
    return found


def _name(model: str) -> Any:
    from ..model import checkpoint

    return checkpoint.read(model)[0].get("trained_on")


def _share(trained: str, asked: str) -> bool:
    """Whether one path lies in the other, but for a part that training leaves out."""
    from ..data.folders import PARTS as NAMES

    if Path(trained).is_relative_to(asked):
        return True
    if not Path(asked).is_relative_to(trained):
        return False
    first = Path(asked).relative_to(trained).parts[0].lower()
    return first not in (*NAMES["validation"], *NAMES["test"])
