"""A data set of named arrays, as .npz and .npy files, tables and other libraries give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DataError, listed
from . import folders
from .checking import Images, check_range, checked_images
from .classes import as_targets, texts
from .dataset import MOST_CLASSES, Dataset, Part
from .preprocessing import Preprocessing

PARTS = folders.PARTS | {
    "validation": (*folders.PARTS["validation"], "dev"),
    "test": (*folders.PARTS["test"], "t10k"),
}
KINDS = {
    "images": ("images", "image", "x", "data", "pixels", "features"),
    "labels": ("labels", "label", "y", "target", "targets", "class", "classes"),
}
NAMES = ("class_names", "target_names", "label_names", "names")
EXPECTED = (
    "(train_images, train_labels, test_images, test_labels) or (x_train, y_train, x_test, y_test) or (images, labels) "
    "or (X, y)"
)
OTHER = {"images": "labels", "labels": "images"}
WHITE = 16  # the largest value of scikit-learn's digits
USUAL = 255  # what white is in other whole numbers


def role(key: str) -> tuple[str, str] | None:
    """The part and the kind that an array's name says, such as ("train", "images") of x_train; part "" where none is.

    None where it says no kind.
    """
    if key in NAMES:
        return None
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower())
    parts = [part for word in words for part, names in PARTS.items() if word in names]
    kinds = [kind for word in words for kind, names in KINDS.items() if word in names]
    return (parts[0] if parts else "", kinds[0]) if len(kinds) == 1 and len(parts) <= 1 and len(words) <= 2 else None


def is_wanted(key: str) -> bool:
    """Whether an array of that name belongs to a data set."""
    return key in NAMES or role(key) is not None


def chosen(keys: Sequence[str], where: str) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """The names of the images and labels of each part, and sentences about what that leaves out. DataError.

    Parts are "train", "validation" and "test"; "" becomes "train".
    """
    found: dict[tuple[str, str], str] = {}
    for key in keys:
        of_key = role(key)
        if of_key is None:
            continue
        if of_key in found:
            raise DataError(
                f"{where}: {found[of_key]} and {key} are both the {' '.join(filter(None, of_key))}; leave one out"
            )
        found[of_key] = key
    pairs = {
        part or "train": (found[part, "images"], found[part, "labels"])
        for part in ("", *PARTS)
        if (part, "images") in found and (part, "labels") in found
    }
    notes = []
    if len(pairs) == 1 and "train" not in pairs and {*keys} <= {*next(iter(pairs.values())), *NAMES}:
        ((part, pair),) = pairs.items()
        pairs = {"train": pair}
        notes.append(f"there is no training part beside {' and '.join(pair)}: this {part} part is taken for all data")
    if "train" not in pairs:
        raise DataError(
            f"{where}: found the keys {listed(sorted(keys)) or 'none'}, expected {EXPECTED}; add {_missing(found)}"
        )
    used = {key for pair in pairs.values() for key in pair} | set(NAMES)
    unused = [key for key in keys if key not in used]
    alone = [
        f"{key}, because there are no {OTHER[kind]} of that part" for (_, kind), key in found.items() if key in unused
    ]
    others = [key for key in unused if key not in found.values()]
    notes += [f"left out: {', '.join(others)}, which are no images or labels of a part"] if others else []
    notes += [f"left out: {each}" for each in alone]
    if "validation" in pairs and "test" not in pairs:
        pairs["test"] = pairs.pop("validation")
        notes.append(
            f"{pairs['test'][0]} is taken as the test part; the validation images come from {pairs['train'][0]}"
        )
    return pairs, notes


def _missing(found: Mapping[tuple[str, str], str]) -> str:
    if not found:
        return "images and labels"
    alone = [(key, OTHER[kind]) for (part, kind), key in found.items() if (part, OTHER[kind]) not in found]
    return f"the {alone[0][1]} beside {alone[0][0]}" if alone else "a training part, such as x_train and y_train"


def dataset_of_arrays(
    arrays: Mapping[str, Any], where: str, more: Sequence[str] = (), how: Preprocessing | None = None
) -> Dataset:
    """The data set of arrays by name. more: notes of who read them; how: see `Dataset.of_parts`.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W); labels are what `classes.as_targets` takes. Where there is no
    test part, a fifth becomes it, stratified by class. Pickled objects are never opened. DataError naming the array for
    everything else.
    """
    pairs, notes = chosen(list(arrays), where)
    notes = [*more, *notes]
    images = {part: as_images(arrays[x], f"{where}: {x}", notes) for part, (x, _) in pairs.items()}
    wheres = {part: f"{where}: {x}, {y}" for part, (x, y) in pairs.items()}
    given = next((arrays[key] for key in NAMES if key in arrays), None)
    names = class_names(given, where)
    targets, found_names = as_targets(
        {part: (arrays[y], f"{where}: {y}") for part, (_, y) in pairs.items()}, names, notes
    )
    parts = [Part(images[part], targets[part], wheres[part]) for part in ("train", "test") if part in pairs]
    validation = (images["validation"], targets["validation"]) if "validation" in pairs else None
    return Dataset.of_parts(where, parts, found_names, how, validation=validation, notes=notes)


def as_images(array: Any, where: str, notes: list[str]) -> Images:
    """Pixels as uint8 (N, H, W, C). What was taken for what goes into notes.

    uint8 and whole numbers up to 255 are taken as they are; numbers in 0..1 are times 255, 0 and 1 alone too, and whole
    numbers up to 16, as scikit-learn's digits have, times 255 / 16.
    """
    if array.ndim == 2:
        raise DataError(f"{where}: found {array.dtype} {array.shape}, one row for each picture{_unflattened(array)}")
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 2, 3, 4):
        notes.append(f"{where}: {array.shape} is channels first, and was turned to channels last")
        array = np.moveaxis(array, 1, 3)
    if array.dtype.kind in "iu" and array.size and (array.min(), array.max()) == (0, 1):
        notes.append(f"{where}: pixels are 0 and 1; 1 is taken as white")
        array = array.astype(bool)
    if array.dtype == np.uint8 and (said := dim(array, where)):
        notes.append(said)
    array = pixels(array, where, notes)
    return checked_images(np.ascontiguousarray(array[..., None] if array.ndim == 3 else array), where)


def _unflattened(array: Any) -> str:
    for channels in (1, 3):
        side = round((array.shape[1] / channels) ** 0.5)
        if side > 1 and channels * side * side == array.shape[1]:
            shape = f"-1, {side}, {side}" + (f", {channels}" if channels > 1 else "")
            return f", pictures (N, H, W) were expected; if they are {side}x{side}, save array.reshape({shape})"
    return ", pictures (N, H, W) or (N, H, W, C) were expected; reshape them"


def white_of(array: Any) -> int:
    """What is white in images of a data set: 16 in whole numbers that run to 2..16, as in scikit-learn's digits."""
    if array.dtype == np.uint8 or array.dtype.kind not in "iuf" or not array.size:
        return USUAL
    return WHITE if array.min() >= 0 and 1 < array.max() <= WHITE and _is_whole(array) else USUAL


def dim(array: Any, where: str) -> str:
    """A sentence on whole numbers that are taken as 0..255 and are hardly so; "" for others."""
    if array.dtype.kind not in "iu" or not array.size or not array.ndim:
        return ""
    if any(some.max() > WHITE for some in _parts(array)):  # mostly the first ones' tell
        return ""
    most = array.max()
    if most <= 0 or array.min() < 0:
        return ""
    return (
        f"{where}: whole numbers to {most} are taken as 0..255, nearly black; where {most} is white, divide them by "
        f"{most}, so that they are floats in 0..1"
    )


def _is_whole(array: Any) -> bool:
    return array.dtype.kind != "f" or all((some == np.rint(some)).all() for some in _parts(array))


def pixels(array: Any, where: str, notes: list[str], white: int | None = None) -> Any:
    """An array of any shape as uint8, by the rule of `as_images`. What was assumed goes into notes. DataError.

    white: what it is in whole numbers, 16 or 255, where the array alone does not decide it.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array * np.uint8(255)
    if array.dtype.kind not in "iuf" or not array.size:
        if array.dtype.kind in "iuf":
            return array.astype(np.uint8)
        raise DataError(
            f"{where}: dtype {array.dtype}, uint8 or floats in 0..1 were expected; values 0..255 become uint8 by "
            "astype(numpy.uint8), others floats by dividing them by the largest possible one"
        )
    least, most = array.min(), array.max()
    if array.dtype.kind == "f" and not (1 < most <= USUAL and least >= 0 and _is_whole(array)):
        check_range(array, where)
        return _scaled(array, 255.0)
    if least < 0 or most > USUAL:
        raise DataError(
            f"{where}: whole numbers from {least} to {most}, 0..255 was expected; divide them by the largest possible "
            "one, so that they are floats in 0..1"
        )
    if (white_of(array) if white is None else white) == WHITE:
        if most > WHITE:
            raise DataError(
                f"{where}: whole numbers to {most:g}, and in the images that the model was trained on {WHITE} was "
                "white; divide them by the largest possible one, so that they are floats in 0..1"
            )
        notes.append(f"{where}: values run to {most:g}; {WHITE} is taken as white, as in scikit-learn's digits")
        return _scaled(array, USUAL / WHITE)
    if array.dtype.kind == "f" or 1 < most <= WHITE:
        notes.append(f"{where}: whole numbers to {most:g} are taken as 0..255")
    return array.astype(np.uint8)


def _parts(array: Any) -> Any:
    """Some examples at a time, since what is made of them is larger."""
    return (array[begin : begin + 1024] for begin in range(0, len(array), 1024))


def _scaled(array: Any, factor: float) -> Images:
    """round(factor x)."""
    made = np.empty(array.shape, np.uint8)
    for begin, some in zip(range(0, len(array) if array.ndim else 0, 1024), _parts(array)):
        made[begin : begin + 1024] = np.rint(some.astype(np.float32, copy=False) * factor)
    return made


def class_names(array: Any, where: str) -> list[str] | None:
    """The names in an array, None if there are none."""
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind not in "US" or len(array) > MOST_CLASSES:
        raise DataError(f"{where}: class_names is {array.dtype} {array.shape}, a list of texts was expected")
    return texts(array, f"{where}: class_names")
