"""What suits pictures of one's own, where a network's recipe was chosen for a data set that is known."""

from __future__ import annotations

import dataclasses
import math

from ..data import Dataset
from ..errors import counted
from ..networks import Recipe, entry
from ..training.augmentation import usual
from .runs import Settings

FEW = 10_000  # training images up to which they are changed at random
TELLING = 100  # held-out images from which on the epoch that is best on them is likely to be a good one
SMALLEST = 8  # pixels of a side, below which what is moved is hardly a picture
PATIENCE = 10  # epochs, at least


def suited(settings: Settings, dataset: Dataset, *, epochs: int, augment: str | None) -> tuple[Settings, str]:
    """The settings with what is not given chosen for these pictures, and a sentence that says what and why.

    epochs: as the recipe says for so many; augment: the option, or None where it is not given.
    """
    if not dataset.is_classified:
        return settings, ""
    count, told = len(dataset.train_labels), []
    height, width, _ = dataset.input_shape
    if augment is None and count <= FEW and min(height, width) < SMALLEST:
        told.append(
            f"they are few, and of {height}x{width} too small to be changed at random by default (--augment says what "
            "is to be done)"
        )
    elif augment is None and count <= FEW:
        chosen = usual("", dataset.input_shape)
        settings = dataclasses.replace(settings, augmentation=chosen)
        told.append(f"they are changed at random (--augment {chosen}), because they are few")
    part = entry(settings.network).recipe.validation if settings.validation is None else settings.validation
    held = len(dataset.split_validation(part, 0)[3])
    if held and settings.keep is None and settings.patience is None:
        if held < TELLING:
            settings = dataclasses.replace(settings, keep="last")
            told.append(f"the last epoch is kept, because {counted(held, 'held-out image')} cannot tell which is best")
        elif settings.epochs is not None:
            settings = dataclasses.replace(settings, keep="best")
            told.append(f"the epoch with the least loss on {held:,} held-out images is kept")
        else:
            patience = max(PATIENCE, epochs // 4)
            settings = dataclasses.replace(settings, patience=patience, keep="best")
            told.append(
                f"training ends when {patience} epochs bring no smaller loss on {held:,} held-out images, and the best "
                "epoch is kept"
            )
    if not held and (settings.validation, settings.keep, settings.patience) == (None, None, None):
        told.append("none is held out, as the recipe says (--validation 0.1 would), and the last epoch is kept")
    if not told:
        return settings, ""
    return settings, f"{count:,} training images of your own: {'; '.join(told)}"


def lasting(settings: Settings, chosen: Recipe, dataset: Dataset) -> str:
    """A sentence about the number of epochs, where the recipe gives more to few images than to many; else "".

    settings: with what is not given chosen; chosen: its recipe for the data set.
    """
    recipe = entry(settings.network).recipe
    if settings.epochs is not None or chosen.epochs == recipe.epochs:
        return ""
    trained = len(dataset.split_validation(chosen.validation, settings.seed)[1])
    an_epoch = math.ceil(trained / (chosen.batch_size * settings.update.batches))
    return (
        f"{'at most ' if settings.patience else ''}{counted(chosen.epochs, 'epoch')}: an epoch is "
        f"{counted(an_epoch, 'update')} here, and the recipe asks for {recipe.updates:,} updates at least; --epochs N "
        "says another number"
    )
