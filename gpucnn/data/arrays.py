"""A data set of named arrays, as .npz and .npy files, tables and other libraries give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from ..errors import DataError, listed
from . import folders
from .classes import as_targets, texts
from .dataset import MOST_CLASSES, Dataset, Part
from .pixels import images_of_parts
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
    arrays: Mapping[str, Any],
    where: str,
    more: Sequence[str],
    how: Preprocessing | None = None,
    places: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> Dataset:
    """The data set of arrays by name. more: notes of who read them; how: see `Dataset.of_parts`. places: by the name of
    images, where each of them stood, where some there were left out.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W); labels are what `classes.as_targets` takes. Where there is no
    test part, a fifth becomes it, stratified by class. Pickled objects are never opened. DataError naming the array for
    everything else.
    """
    pairs, notes = chosen(list(arrays), where)
    notes = [*more, *notes]
    images = images_of_parts({part: (arrays[x], f"{where}: {x}") for part, (x, _) in pairs.items()}, notes)
    wheres = {part: f"{where}: {x}, {y}" for part, (x, y) in pairs.items()}
    given = next((arrays[key] for key in NAMES if key in arrays), None)
    names = class_names(given, where)
    targets, found_names = as_targets(
        {part: (arrays[y], f"{where}: {y}") for part, (_, y) in pairs.items()}, names, notes
    )
    made = {part: Part(images[part], targets[part], wheres[part], places.get(x)) for part, (x, _) in pairs.items()}
    parts = [made[part] for part in ("train", "test") if part in made]
    return Dataset.of_parts(where, parts, found_names, how, validation=made.get("validation"), notes=notes)


def class_names(array: Any, where: str) -> list[str] | None:
    """The names in an array, None if there are none."""
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind not in "US" or len(array) > MOST_CLASSES:
        raise DataError(f"{where}: class_names is {array.dtype} {array.shape}, a list of texts was expected")
    return texts(array, f"{where}: class_names")
