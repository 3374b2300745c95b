"""The pictures that a run held out of its training part, to be measured after each epoch."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import GpucnnError


def divided(models: list[str], dataset: Any, part: str | None) -> Any:
    """The data set with the validation part that the runs of the models held out of its training part, where that is
    asked for, and they were trained on this training part and held out the same.
    """
    from ..data.split import held_out
    from ..model.digests import digest

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


def _split(model: str) -> tuple[Any, float, int]:
    """The digest of what a model's run was given to train on, which part of it was held out, and by which seed; as the
    run.toml beside it says, a part of 0 where there is none.
    """
    from ..model import checkpoints, config

    folder = Path(model).absolute().parent
    folder = folder.parent if folder.name == checkpoints.FOLDER else folder
    with contextlib.suppress(GpucnnError):
        settings, made = config.read(folder / config.NAME)
        fraction, seed = settings.get("validation"), settings.get("seed")
        if isinstance(fraction, float) and isinstance(seed, int):
            return made.get("data"), fraction, seed
    return None, 0.0, 0
