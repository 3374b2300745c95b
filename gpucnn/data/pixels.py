"""What numbers mean as pixels: bytes 0..255, floats in 0..1, and what is white in other whole numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .checks import Images, check_range, checked_images, spread

WHITE = 16  # the largest value of scikit-learn's digits
USUAL = 255  # what white is in other whole numbers
ROUNDING = 2.0**-23  # of white: by how much a float32 that was divided by 255 may be off
NARROW = 1 / 16  # of 0..1: images that lie in less are hard to learn from
SOME = 1024  # examples that are looked at together, since what is made of them is larger


def images_of_parts(given: Mapping[str, tuple[Any, str]], notes: list[str]) -> dict[str, Images]:
    """The images (N, H, W, C) of the parts of one data set, all as uint8, or all as float32 in 0..1.

    given: by part, an array and its place for messages. uint8 and whole numbers up to 255 are taken as they are;
    numbers in 0..1 are times 255, 0 and 1 alone too, and whole numbers up to 16 in all parts, as scikit-learn's digits
    have, times 255 / 16. Floats stay such where that would round more than float32 did. What was taken for what goes
    into notes. DataError.
    """
    arrays = {part: _placed(array, where, notes) for part, (array, where) in given.items()}
    if any(each.dtype.kind == "f" and each.size and each.max() > 1 and _is_whole(each) for each in arrays.values()):
        arrays = {part: _counted(each) for part, each in arrays.items()}
    white = white_of(arrays.values())
    whole = [each for each in arrays.values() if each.dtype.kind in "iu"]
    is_dim = white == USUAL and all(dim(each, "") for each in whole)
    made: dict[str, Any] = {}
    for part, array in arrays.items():
        where = given[part][1]
        if white == 1 and array.dtype.kind in "iu":
            notes.append(f"{where}: pixels are 0 and 1; 1 is taken as white")
            array = array.astype(bool)
        if is_dim and array.dtype == np.uint8:
            notes.append(dim(array, where))
        made[part] = pixels(array, where, notes, white)
    if finer := [given[part][1] for part, array in made.items() if array.dtype != np.uint8]:
        made = {part: as_floats(array) for part, array in made.items()}
        notes.append(_kept(finer, made.values()))
    return {part: checked_images(np.ascontiguousarray(array), given[part][1]) for part, array in made.items()}


def _counted(array: Any) -> Any:
    """Whole floats to 1, beside which others run to more, as the whole numbers that they are."""
    return array.astype(np.int16) if array.dtype.kind == "f" and _is_unit(array) and _is_whole(array) else array


def _is_unit(array: Any) -> bool:
    return bool(array.size) and array.min() >= 0 and array.max() <= 1


def as_floats(images: Any) -> NDArray[np.float32]:
    """Bytes 0..255, or floats in 0..1, as float32 in 0..1."""
    floats = images.astype(np.float32, copy=False)
    return floats / np.float32(USUAL) if images.dtype == np.uint8 else floats


def _kept(finer: Sequence[str], images: Iterable[Any]) -> str:
    """The note on floats that stay such, and, where they lie close together, what a network needs for them."""
    said = f"{', '.join(finer)}: floats that 8 bits would round are kept as they are, as float32"
    least, most = min(float(each.min()) for each in images), max(float(each.max()) for each in images)
    if most - least >= NARROW:
        return said
    return f"{said}; they lie in {least:g} to {most:g}: {spread(least, most)}, or begin the network with BatchNorm()"


def _placed(array: Any, where: str, notes: list[str]) -> Any:
    """The array with the axes (N, H, W, C), where it has those of pictures."""
    if array.ndim == 2:
        raise DataError(f"{where}: found {array.dtype} {array.shape}, one row for each picture{_unflattened(array)}")
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 2, 3, 4):
        notes.append(f"{where}: {array.shape} is channels first, and was turned to channels last")
        return np.moveaxis(array, 1, 3)
    return array[..., None] if array.ndim == 3 else array


def _unflattened(array: Any) -> str:
    for channels in (1, 3):
        side = round((array.shape[1] / channels) ** 0.5)
        if side > 1 and channels * side * side == array.shape[1]:
            shape = f"-1, {side}, {side}" + (f", {channels}" if channels > 1 else "")
            return f", pictures (N, H, W) were expected; if they are {side}x{side}, save array.reshape({shape})"
    return ", pictures (N, H, W) or (N, H, W, C) were expected; reshape them"


def white_of(arrays: Iterable[Any]) -> int:
    """What is white in whole numbers, in all arrays of one data set: 1, where none is larger; 16, where they run to
    2..16 and are no uint8, as in scikit-learn's digits; else 255.
    """
    whole = [array for array in arrays if array.dtype.kind in "iuf" and array.size and _is_whole(array)]
    least, most = min((array.min() for array in whole), default=0), max((array.max() for array in whole), default=0)
    if least < 0 or most > WHITE or most == 0:
        return USUAL
    are_bytes = any(array.dtype == np.uint8 for array in whole)
    return 1 if most == 1 else USUAL if are_bytes else WHITE


def is_two_valued(array: Any) -> bool:
    """Whether these are whole numbers to 1, of which 1 is hardly meant as the darkest grey but one."""
    return array.dtype.kind in "iu" and array.max(initial=0) == 1 and array.min(initial=0) == 0


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


def pixels(array: Any, where: str, notes: list[str], white: int) -> Any:
    """An array of any shape as uint8, by the rule of `images_of_parts`, or as it is where its floats are finer.

    white: what it is in whole numbers, 1, 16 or 255. What was assumed goes into notes. DataError.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array * np.uint8(USUAL)
    if array.dtype.kind not in "iuf":
        raise DataError(
            f"{where}: dtype {array.dtype}, uint8 or floats in 0..1 were expected; values 0..255 become uint8 by "
            "astype(numpy.uint8), others floats by dividing them by the largest possible one"
        )
    if not array.size:
        return array.astype(np.uint8)
    least, most = array.min(), array.max()
    if array.dtype.kind == "f" and not (1 < most <= USUAL and least >= 0 and _is_whole(array)):
        check_range(array, where)
        return _bytes(array)
    if least < 0 or most > USUAL:
        raise DataError(f"{where}: whole numbers from {least} to {most}, 0..255 was expected; {spread(least, most)}")
    if white == WHITE:
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


def _parts(array: Any) -> Iterator[Any]:
    return (array[begin : begin + SOME] for begin in range(0, len(array), SOME))


def _scaled(array: Any, factor: float) -> Images:
    """round(factor x)."""
    made = np.empty(array.shape, np.uint8)
    for begin, some in zip(range(0, len(array) if array.ndim else 0, SOME), _parts(array)):
        made[begin : begin + SOME] = np.rint(some.astype(np.float32, copy=False) * factor)
    return made


def _bytes(array: Any) -> Any:
    """Floats in 0..1 as the bytes that they were divided from; the array itself where it was made of others."""
    off = USUAL * max(ROUNDING, float(np.finfo(array.dtype).eps) / 4)
    for some in _parts(array):
        exact = some.astype(np.float64) * USUAL
        if (abs(exact - np.rint(exact)) > off).any():
            return array
    made = _scaled(array, USUAL)
    return array if array.any() and not made.any() else made
