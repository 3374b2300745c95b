"""What a model takes as images, and the sentence for what it does not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..data.checks import check_range
from ..data.pictures import is_picture_or_path, read_pictures
from ..data.pixels import USUAL, WHITE, dim, is_two_valued, pixels, white_of
from ..data.preprocessing import Preprocessing, reading
from ..data.summary import summed_up
from ..data.targets import check_finite
from ..errors import DataError, warn
from .frames import as_numpy, held, rows_of_pixels
from .labels import as_array

MANY = 500  # images that are seldom meant to be one batch
TWO_MEANINGS = (
    "{}: whole numbers 0 and 1 may be black and white, or 0 and 1 of 255; where 1 is white, give images.astype(bool), "
    "and where 255 is, images / 255"
)


def given_images(
    images: Any,
    shape: tuple[int, ...],
    how: Preprocessing | None,
    what: str,
    white: int | None,
    zero_one: str,
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
    """The array as uint8, or as floats in 0..1 where it holds such; where white is None, as floats of any range."""
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
