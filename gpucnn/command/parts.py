"""Which part of a data set `gpucnn evaluate` measures: as --part says, or by what the models were trained on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from ..errors import GpucnnError, listed
from .help import one_of

PARTS = ("train", "validation", "test", "all")
UNSEEN = "unseen"  # the pictures that no model was trained on
PartOption = Annotated[
    str | None,
    one_of(
        PARTS,
        "by default test; where the data have no test part of their own and are not what the model was trained on, all "
        "that it was not trained on",
        "Which pictures to measure.",
    ),
]


class Trained(NamedTuple):
    """What a run trained on. data: a name, or a path from anywhere; digest: of its training pictures and labels; marks:
    of these pictures, where they were kept.
    """

    data: str
    digest: str
    marks: Any


def measured(models: Mapping[str, Any], data: str, dataset: Any, part: str | None) -> tuple[Any, dict[str, Any], str]:
    """The data set whose test part is what is measured; "part" and "of" how many pictures that is; and a note, or "".

    models: by path, what each file says it was trained on; data: its name or path; part: as --part says, or None.
    Raises GpucnnError.
    """
    dataset = _divided([*models], dataset, part)
    note = ""
    if part is None:
        part, note = _usual(models, data, dataset)
    name = "all" if part == UNSEEN else part
    (images, labels), origin = dataset.part(name), dataset.origin(name)
    total = len(dataset.part("all")[1])
    if part in (UNSEEN, "test"):
        seen = _seen(models, images)
        if part == UNSEEN:
            images, labels, origin = images[~seen], labels[~seen], origin[~seen]
        elif not note and seen.any():
            note = (
                f"{_of(models)} trained on {seen.sum():,} of the {len(seen):,} pictures that are measured: what is "
                "found says less of others"
            )
    origins = {**dataset.origins, "test": origin}
    return replace(dataset, test_images=images, test_labels=labels, origins=origins), {"part": part, "of": total}, note


def _divided(models: list[str], dataset: Any, part: str | None) -> Any:
    """The data set with the validation part that the runs of the models held out of its training part, where that is
    asked for, and they were trained on this training part and held out the same.
    """
    from ..data.fingerprints import digest
    from ..data.split import held_out

    if part not in ("train", "validation") or dataset.validation is not None:
        return dataset
    found = {_split(model) for model in models}
    trained, fraction, seed = next(iter(found))
    if len(found) > 1 or not fraction or trained != digest(dataset.train_images, dataset.train_labels):
        return dataset
    *rest, held_images, held_labels = dataset.split_validation(fraction, seed)
    if not len(held_labels):
        return dataset
    chosen, origin = held_out(dataset.train_labels, fraction, seed), dataset.origin("train")
    return replace(
        dataset,
        train_images=rest[0],
        train_labels=rest[1],
        validation=(held_images, held_labels),
        origins={**dataset.origins, "train": origin[~chosen], "validation": origin[chosen]},
    )


def _usual(models: Mapping[str, Any], data: str, dataset: Any) -> tuple[str, str]:
    """The part to measure where none is asked for: without pictures that a model was trained on. And a note, or ""."""
    from ..data.catalogue import resolve
    from ..data.fingerprints import digest

    if not dataset.drawn_test or resolve(data) is not None:
        return "test", ""
    own = digest(dataset.train_images, dataset.train_labels)
    runs = {model: _trained(model) for model in models}
    if any(each.digest == own for of_model in runs.values() for each in of_model):
        return "test", ""
    seen = _seen(models, dataset.part("all")[0])
    if seen.all():
        return "test", (
            f"{_of(models)} trained on all {len(seen):,} pictures of {data}: what is measured is a fifth, and says "
            "little of others; choose data that are new to it"
        )
    if seen.any():
        return UNSEEN, f"left out: {seen.sum():,} of {len(seen):,} pictures, which {_of(models)} trained on"
    path, note = os.path.realpath(data), ""
    for model in models:
        for each in runs[model]:
            if os.path.realpath(each.data) == path:
                return "test", (
                    f"{data} is not what it was when {model} was trained on it: its test part was drawn anew, and "
                    "pictures of the training may be in it; to be sure, measure pictures in a folder of their own"
                )
            if resolve(each.data) is None and _share(os.path.realpath(each.data), path):
                return "test", (
                    f"{model} was trained on {each.data}, and one of this and {data} lies in the other: what is "
                    "measured is a fifth; --part all measures all"
                )
        if not runs[model]:
            if models[model] == dataset.name:
                return "test", (
                    f"{model} was trained on data of this name, {dataset.name}: what is measured is the fifth that "
                    "training leaves out, if the pictures are the same; --part all measures all"
                )
            note = note or (
                f"nothing beside {model} says that it was trained on these pictures, so all are measured; where it "
                "was, --part test measures the fifth that training leaves out"
            )
    return "all", note


def _seen(models: Mapping[str, Any], images: Any) -> Any:
    """Which of the images a model was trained on, as far as its run kept their marks."""
    import numpy as np

    from ..data.fingerprints import marks

    kept = [each.marks for model in models for each in _trained(model)]
    return np.isin(marks(images), np.concatenate(kept)) if any(map(len, kept)) else np.zeros(len(images), bool)


def _of(models: Mapping[str, Any]) -> str:
    return f"{listed([*models])} {'was' if len(models) == 1 else 'were'}"


def _trained(model: str) -> list[Trained]:
    """What the run of a model trained on, by the run.toml beside it, and the runs before that one began from; empty
    where there is none.
    """
    from ..data.fingerprints import decoded

    found: list[Trained] = []
    seen: set[Path] = set()
    place: Path | None = Path(model)
    while place is not None and place not in seen:
        seen.add(place)
        settings, made = _run_of(place)
        if isinstance(settings.get("data"), str):
            found.append(Trained(settings["data"], str(made.get("data")), decoded(made.get("pictures"))))
        init = settings.get("init")
        place = Path(init) if isinstance(init, str) else None
    return found


def _split(model: str) -> tuple[Any, float, int]:
    """The digest of what a model's run was given to train on, which part of it was held out, and by which seed; as the
    run.toml beside it says, a part of 0 where there is none.
    """
    settings, made = _run_of(Path(model))
    fraction, seed = settings.get("validation"), settings.get("seed")
    if isinstance(fraction, float) and isinstance(seed, int):
        return made.get("data"), fraction, seed
    return None, 0.0, 0


def _run_of(model: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the run that left a model, or a state of one, and what it was made with; empty where no run.toml
    beside it says them.
    """
    from ..model import checkpoints, config

    folder = model.absolute().parent
    folder = folder.parent if folder.name == checkpoints.FOLDER else folder
    with contextlib.suppress(GpucnnError):
        return config.read(folder / config.NAME)
    return {}, {}


def _share(trained: str, asked: str) -> bool:
    """Whether one path lies in the other, but for a part that training leaves out."""
    from ..data.folders import PARTS as NAMES

    if Path(trained).is_relative_to(asked):
        return True
    if not Path(asked).is_relative_to(trained):
        return False
    first = Path(asked).relative_to(trained).parts[0].lower()
    return first not in (*NAMES["validation"], *NAMES["test"])
