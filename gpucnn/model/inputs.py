"""What a model takes as images and targets, and the sentence for what it does not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..data.checks import check_counts, check_range
from ..data.pictures import is_picture_or_path, read_pictures
from ..data.pixels import USUAL, WHITE, dim, is_two_valued, pixels, white_of
from ..data.preprocessing import Preprocessing, reading
from ..data.summary import summed_up
from ..data.targets import check_finite
from ..engine.evaluation import counting
from ..errors import DataError, SettingError, counted, warn
from ..losses import CLASSIFICATION, REGRESSION, kind
from .frames import as_numpy, held, in_order, rows_of_pixels
from .labels import Meaning, as_array, fitting_labels, learnt
from .numbers import units_of

CLASSES_INSTEAD = "; for a class for each image use a loss of classes, such as softmax"
MANY = 500  # images that are seldom meant to be one batch
TWO_MEANINGS = (
    "{}: whole numbers 0 and 1 may be black and white, or 0 and 1 of 255; where 1 is white, give images.astype(bool), "
    "and where 255 is, images / 255"
)
SUM = 1e-3  # how far from 1 shares of classes may add up


def given_images(
    images: Any,
    shape: tuple[int, ...],
    how: Preprocessing | None = None,
    what: str = "images",
    white: int | None = USUAL,
    zero_one: str = "warned of",
) -> tuple[np.ndarray, bool]:
    """Images (N, H, W, C) of shape (H, W, C), uint8 or floats in 0..1, and whether they are one image alone.

    They may come as (N, H, W) where C is 1, or as a table with a row of pixels for each, channels first, as files or
    pictures of Pillow, which are read by `how`, and without the axis of the batch where there is one. Whole numbers of
    any type are 0..white, but for floats of which none is above 1; see `data.pixels.pixels`. Where white is None, the
    numbers are of any range and stay what they are. What is assumed is warned of; zero_one: whether whole numbers
    0 and 1, of which 1 may be white or nearly black, are "warned of", "refused" in a set, or "taken". Raises DataError.
    """
    notes: list[str] = []
    pictures, is_one = _pictures(images)
    if pictures is not None:
        batch = _read(pictures, shape, how, notes)
    else:
        array = rows_of_pixels(images, as_array(images, what), shape, what, notes)
        batch, is_one = _placed(array, shape, what, notes, f"{what.split()[-1]}{as_numpy(images)}")
        if white == USUAL and zero_one != "taken" and is_two_valued(batch):
            if zero_one == "refused" and len(batch) > 1:
                raise DataError(TWO_MEANINGS.format(what))
            notes.append(dim(batch, what))
        batch = _scaled(batch, what, notes, white)
    for note in notes:
        warn(note)
    return batch, is_one


def white_in(images: Any, notes: list[str]) -> int:
    """What is white in a model's training images, 255 or 16; see `data.pixels.white_of`. notes: what is assumed.

    Raises DataError.
    """
    if are_pictures(images):
        return USUAL
    array = as_array(images, "images")
    if white_of([array]) == WHITE:
        return WHITE
    if not is_two_valued(array) and (said := dim(array, "images")):
        notes.append(said)
    return USUAL


def learning(model: Any, images: Any, labels: Any, weights: Any = None) -> Meaning:
    """What stands for what in images and labels that a model is to learn. What is found is warned of. DataError.

    weights: the examples', or None, by which they count in the units of numbers.
    """
    names, first = model.class_names, 0
    notes: list[str] = []
    given = as_array(in_order(labels, names), "labels")
    if kind(model.loss) == CLASSIFICATION and not _are_shares(given, model.loss):
        ignored = getattr(model.loss, "ignore_index", None)
        names, first = learnt(given, names, model.first_label, ignored, notes)
    white = None if model.white is None else white_in(images, notes if model.scaling.is_usual else [])
    for note in notes:
        warn(note)
    counts = None if weights is None else fitting_weights(weights, len(given), np.float64)
    return Meaning(white, names, first, units_of(model, given, counts))


def _are_shares(labels: np.ndarray, loss: Any) -> bool:
    """Whether labels are shares of the classes, which the loss takes."""
    is_soft = getattr(loss, "soft", False)
    return is_soft and labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind == "f"


def are_pictures(images: Any) -> bool:
    """Whether they are files or pictures of Pillow. Raises DataError where only some are."""
    return _pictures(images)[0] is not None


def _pictures(images: Any) -> tuple[list[Any] | None, bool]:
    """The files or pictures in a list, if these are such, and whether it is one alone."""
    images = held(images)
    if is_picture_or_path(images):
        return [images], True
    if isinstance(images, np.ndarray) and images.ndim == 1 and images.dtype.kind == "U":
        return images.tolist(), False
    if isinstance(images, (list, tuple)) and not len(images):
        raise DataError("images: none were given; give at least one")
    found = [is_picture_or_path(each) for each in images] if isinstance(images, (list, tuple)) else [False]
    is_listed = all(found)
    if any(found) and not is_listed:
        k = found.index(not found[0])
        raise DataError(
            f"images: in one list stand a {type(images[0]).__name__} and, at {k}, a {type(images[k]).__name__}; give "
            "files or pictures alone, or arrays alone"
        )
    return (list(images) if is_listed else None), False


def _read(pictures: list[Any], shape: tuple[int, ...], how: Preprocessing | None, notes: list[str]) -> np.ndarray:
    how = reading(how, shape, "the model")
    done: dict[str, list[str]] = {}
    images = read_pictures(pictures, how, done)
    if images.shape[1:] != shape:
        raise DataError(f"the model's preprocessing makes images of {images.shape[1:]}, and its network takes {shape}")
    notes += summed_up(done)
    return images


def _placed(
    array: np.ndarray, shape: tuple[int, ...], what: str, notes: list[str], as_given: str
) -> tuple[np.ndarray, bool]:
    """The array with the axes (N, *shape), and whether there was no N. as_given: it in a user's words, as Python."""
    is_grey = len(shape) == 3 and shape[2] == 1
    first = shape[2:] + shape[:2]  # channels first
    if array.shape[1:] == shape:
        return array, False
    if is_grey and array.shape[1:] == shape[:2]:
        return array[..., None], False
    if array.shape == shape or (is_grey and array.shape == shape[:2]):
        return array.reshape(1, *shape), True
    if len(shape) == 3 and first in (array.shape, array.shape[1:]):
        notes.append(f"{what}: {array.shape} is channels first, and was turned to channels last")
        return np.moveaxis(array.reshape(-1, *first), 1, 3), array.shape == first
    hint = ""
    if array.ndim == 1 and len(shape) == 3 and array.shape[0] == math.prod(shape):
        hint = f"; if it is one image, row by row, give {what.split()[-1]}.reshape(1, {_listed(shape)})"
    elif array.ndim == 2 and len(shape) == 3 and array.shape[1] == math.prod(shape):
        hint = f"; if each row is an image, row by row, give {as_given}.reshape(-1, {_listed(shape)})"
    elif len(shape) == 1 and math.prod(array.shape[1:]) == shape[0]:
        hint = f"; give {as_given}.reshape(-1, {shape[0]})"
    elif len(shape) == 3 and array.ndim in (3, 4) and array.dtype.kind in "biuf":
        is_one = array.ndim == 3 and array.shape[2] == 3  # an image in colour, and no greys of three columns
        own = array.shape if is_one else (*array.shape[1:], 1)[:3]
        hint = f"; scale them, or build a network for them: gpucnn.networks.build(NAME, {own}, classes)"
    raise DataError(f"{what} of shape {array.shape} and type {array.dtype}: {_expected(shape)}, was expected{hint}")


def _expected(shape: tuple[int, ...]) -> str:
    return f"(N, {_listed(shape)}) as uint8, or as floats in 0..1"


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _scaled(array: np.ndarray, what: str, notes: list[str], white: int | None) -> np.ndarray:
    """The same as uint8, or as floats in 0..1 where it is such; where white is None, as floats of any range."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{what} of shape {array.shape} and type {array.dtype}: {_expected(array.shape[1:])}, was expected"
        )
    if white is None:
        array = array if array.dtype.kind == "f" else array.astype(np.float32)
        check_finite(array, what)
        return array
    if array.dtype.kind == "f" and (not array.size or not array.max() > 1):
        check_range(array, what)
        return array
    return pixels(array, what, notes, white)


def all_dark(images: Any, what: str) -> str:
    """A sentence where the images of a set are bytes that are all nearly black, and of others "", as of 0 and 1."""
    is_of_bytes = isinstance(images, np.ndarray) and images.dtype == np.uint8
    return dim(images, what) if is_of_bytes and not is_two_valued(images) else ""


def one_update(images: int, at_once: int) -> str:
    """A sentence where an update looks at all of many images; else ""."""
    if not MANY <= images <= at_once:
        return ""
    return (
        f"{images:,} images are one update per epoch, because an update may look at {at_once:,} (batch_size times "
        "accumulate); smaller ones learn more in an epoch"
    )


def fitting_examples(
    images: Any,
    labels: Any,
    shape: tuple[int, ...],
    meaning: Meaning,
    loss: Any,
    dtype: Any,
    how: Preprocessing | None = None,
    part: str = "",
    zero_one: str = "warned of",
) -> tuple[np.ndarray, np.ndarray]:
    """At least one image, and for each what the loss takes. Raises DataError.

    A label below the number of names, or the loss's ignore_index, as int64, given as `labels.fitting_labels` says; or a
    number of dtype for each name: any finite one, where the loss is of numbers, standardised where these have units;
    0 or 1, where several labels may hold; with a soft loss also parts in 0..1, which are floats where they stand for
    labels. Numbers for one output may be (N,). part: which examples these are, for messages, such as "validation".
    zero_one: see `given_images`.
    """
    said, names = f"{part} " if part else "", meaning.names
    of_kind = kind(loss)
    if of_kind == CLASSIFICATION and len(names) == 1:
        raise SettingError(
            f"{type(loss).__name__} is of classes, and a network of one output tells no two classes apart; give it two "
            'outputs, such as Dense(2), or, for yes or no, loss="multi-label", and for a number, loss="mse"'
        )
    images, is_one = given_images(images, shape, how, f"{said}images", meaning.white, zero_one)
    if labels is None:
        raise DataError(f"{said}labels: None was given; give one for each image")
    labels = as_array(in_order(labels, names), f"{said}labels")
    if is_one or labels.ndim == 0:
        found = "one image" if is_one else f"{counted(len(images), 'image')} and one label"
        raise DataError(f"{found}: a batch of them was expected, such as images[None] with a list of one label")
    if not len(images):
        raise DataError(f"there are no {said}images; give at least one")
    check_counts(images, labels, part or "examples")
    wanted = len(images), len(names)
    if of_kind != CLASSIFICATION and labels.ndim == 1 and len(names) == 1:
        labels = labels[:, None]
    if of_kind == REGRESSION:
        wide = dtype if meaning.units is None else np.float64
        numbers = _numbers(labels, wanted, wide, f"{said}targets", "outputs", CLASSES_INSTEAD)
        return images, numbers if meaning.units is None else meaning.units.standardised(numbers).astype(dtype)
    if of_kind == CLASSIFICATION and not _are_shares(labels, loss):
        ignored = getattr(loss, "ignore_index", None)
        return images, fitting_labels(labels, names, ignored, f"{said}labels", part or "examples", meaning.first)
    labels = labels.astype(np.uint8) if labels.dtype == bool else labels
    rows = _numbers(labels, wanted, dtype, f"{said}targets", "outputs", CLASSES_INSTEAD)
    if rows.min() < 0 or rows.max() > 1:
        raise DataError(
            f"{said}targets run from {rows.min():g} to {rows.max():g}: parts in 0..1 were expected; for numbers to be "
            'predicted use the loss "mse" or "huber"'
        )
    if getattr(loss, "is_shared", False) and (worst := abs(rows.sum(axis=1, dtype=np.float64) - 1)).max() > SUM:
        k = int(worst.argmax())
        raise DataError(
            f"{said}targets: those of example {k} add up to {rows[k].sum():g}, 1 was expected, as shares of classes "
            'do; where several labels may hold, use the loss "multi-label"'
        )
    return images, rows


def check_counting(loss: Any, labels: np.ndarray, weights: np.ndarray | None = None) -> None:
    """Raises DataError where none of the examples counts, so that there is no mean."""
    if not np.any(counting(loss, labels, np.ones(len(labels)))):
        raise DataError(f"all labels are {loss.ignore_index}, which the loss ignores; give some that it does not")
    if weights is not None and not np.any(counting(loss, labels, weights)):
        raise DataError("sample_weight is 0 for all examples that count, so there is no mean; give some")


def check_learning(loss: Any, labels: np.ndarray) -> None:
    """Raises DataError where the loss has weights of classes, and that of each class in the labels (N,) is 0."""
    factors = getattr(loss, "class_weights", None) or getattr(loss, "alpha", None)
    if factors and labels.ndim == 1 and not any(factors[label] for label in np.unique(labels[labels >= 0])):
        raise DataError(
            "the weight of every class that there are examples of is 0, so nothing would be learnt; give one of them a "
            "number above 0"
        )


def fitting_weights(weights: Any, examples: int, dtype: Any) -> np.ndarray:
    """A finite factor of at least 0 for each example's loss, (N,), given so or as a column (N, 1). Raises DataError."""
    given = as_array(weights, "sample_weight")
    given = given[:, 0] if given.shape == (examples, 1) else given
    weights = _numbers(given, (examples,), dtype, "sample_weight", "one for each image")
    if weights.min() < 0:
        raise DataError(f"sample_weight holds {weights.min():g}: numbers of at least 0 were expected")
    return weights


def _numbers(
    given: np.ndarray, shape: tuple[int, ...], dtype: Any, name: str, what: str, of_classes: str = ""
) -> np.ndarray:
    """of_classes: what to do where there is one whole number for each example."""
    if given.shape != shape or given.dtype.kind not in "iuf":
        advice = of_classes if given.ndim == 1 and given.dtype.kind in "iub" else ""
        raise DataError(
            f"{name} of shape {given.shape} and type {given.dtype}: numbers {shape} ({what}) were expected{advice}"
        )
    check_finite(given, name)
    return given.astype(dtype, copy=False)
