"""Which array library an array belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import array_api_compat
import numpy as np

from .errors import AN_ARRAY, ArgumentError, GpucnnError, SettingError

OF_NUMBERS = re.compile(r"(int|float|tuple|None|\.\.\.|[\[\], |])+")  # types of fields


def array_namespace(*arrays: Any) -> Any:
    """The array API's functions for these arrays: `array_api_compat.array_namespace`, but NumPy stands for itself.

    NumPy follows the standard from 2.1 on. The wrapper for older ones imports every sub-package of NumPy, which takes a
    process a tenth of a second. Raises ArgumentError for what is no array, such as a list.
    """
    if all(type(each) is np.ndarray for each in arrays):
        return np
    try:
        return array_api_compat.array_namespace(*arrays)
    except TypeError:
        strange = [type(each).__name__ for each in arrays if not array_api_compat.is_array_api_obj(each)]
        if not strange:
            raise
        raise ArgumentError(f"a {strange[0]} was given, and {AN_ARRAY}") from None


def real_arrays(*arrays: Any) -> tuple[Any, ...]:
    """What `array_namespace` gives, and the arrays as floating point numbers.

    Whole numbers and truth values, such as the bytes of an image, take the type of the first floating array beside
    them, or else the library's default one. The equations are of real numbers: 200 + 100 is not 44.
    """
    xp = array_namespace(*arrays)
    real = [not is_whole(xp, each.dtype) for each in arrays]
    if all(real):
        return xp, *arrays
    first = arrays[real.index(True)].dtype if any(real) else None
    return xp, *(each if is_real else as_real(xp, each, first) for each, is_real in zip(arrays, real))


def summed(x: Any, axes: tuple[int, ...]) -> Any:
    """The sum of floating point numbers over those axes, added in float64, in the type of x.

    Where the last axis stays, NumPy adds one number after the other, and in float32 the rounding of so many additions
    grows with their number: after 100,000 of them, the last two digits of a mean.
    """
    xp = array_namespace(x)
    return xp.astype(xp.sum(x, axis=axes, dtype=xp.float64), x.dtype, copy=False)


def clipped(x: Any, low: float | None, high: float | None) -> Any:
    """x, but low below that and high above; None: without that end. NaN stays.

    What array-api-compat has for it on CuPy waits for the device, and so cannot be part of a recorded step.
    """
    if type(x) is np.ndarray:
        return np.clip(x, low, high)
    xp, where = array_namespace(x), array_api_compat.device(x)
    if low is not None:
        x = xp.maximum(x, xp.full((), low, dtype=x.dtype, device=where))
    return x if high is None else xp.minimum(x, xp.full((), high, dtype=x.dtype, device=where))


def sign(x: Any) -> Any:
    """-1, 0 or 1 in the type of x, and NaN for NaN. Of comparisons, for the reason that `clipped` has."""
    if type(x) is np.ndarray:
        return np.sign(x)
    xp = array_namespace(x)
    return xp.where(x == x, xp.astype(x > 0, x.dtype) - xp.astype(x < 0, x.dtype), x)


AT_ONCE = 8  # arrays: CuPy copies a table of more from the host, which a recorded step cannot


def joined(arrays: Sequence[Any], axis: int = 0) -> Any:
    """The arrays one after the other along an axis, `concat`, of any number of them in a recorded step too."""
    if len(arrays) == 1:
        return arrays[0]
    if len(arrays) > AT_ONCE:
        groups = [arrays[k : k + AT_ONCE] for k in range(0, len(arrays), AT_ONCE)]
        return joined([joined(group, axis) for group in groups], axis)
    return array_namespace(*arrays).concat(list(arrays), axis=axis)


def is_whole(xp: Any, dtype: Any) -> bool:
    """Whether numbers of that type are whole numbers or truth values."""
    if isinstance(dtype, np.dtype):  # of NumPy and of CuPy, where `isdtype` takes longer than adding a thousand numbers
        return dtype.kind in "biu"
    return xp.isdtype(dtype, ("bool", "integral"))


def as_real(xp: Any, array: Any, dtype: Any) -> Any:
    """The array in that type, or in the library's default floating type where it is None."""
    return xp.astype(array, dtype or xp.__array_namespace_info__().default_dtypes(device=array.device)["real floating"])


def read_only(array: Any) -> Any:
    """The same array as one that cannot be written, where its library has such: only NumPy has."""
    if isinstance(array, np.ndarray):
        array = array.view()
        array.flags.writeable = False
    return array


def as_python(thing: Any, error: type[GpucnnError] = SettingError) -> None:
    """Give the fields of a dataclass that hold NumPy's numbers, also in tuples, Python's; and arrays of whole numbers.

    So equal settings are equal and print alike, can be written as JSON, and do not decide the type of results. Where a
    field is of type bool, None is False. Raises the error for what is neither, whose truth nobody meant, and for a
    truth value where the field is of numbers: True would be 1.
    """
    for field in fields(thing):
        given = getattr(thing, field.name)
        made = _plain(given)
        if field.type == "bool":
            made = False if made is None else made
            if not isinstance(made, bool):
                raise error(f"{type(thing).__name__}: {field.name}={given!r}: True or False was expected")
        if OF_NUMBERS.fullmatch(str(field.type)) and has_truth(made):
            raise error(
                f"{type(thing).__name__}: {field.name}={given!r}: a number was expected, and a truth value is none"
            )
        if made is not given:
            object.__setattr__(thing, field.name, made)


def as_numbers(thing: Any) -> None:
    """`as_python`, and SettingError where a field of type int or float holds no number, or no whole one."""
    as_python(thing)
    for field in fields(thing):
        given, (of, *others) = getattr(thing, field.name), str(field.type).split(" | ")
        fits = isinstance(given, int) or (isinstance(given, float) and (of == "float" or given.is_integer()))
        if of in ("int", "float") and not fits and not (given is None and "None" in others):
            what = "a whole number" if of == "int" else "a number"
            raise SettingError(f"{type(thing).__name__}: {field.name}={given!r}: {what} was expected")


def has_truth(value: Any) -> bool:
    """Whether it is a truth value, or holds one."""
    if isinstance(value, (tuple, list)):
        return any(map(has_truth, value))
    return isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.dtype.kind in "iu"):
        return _plain(value.tolist())
    return type(value)(map(_plain, value)) if type(value) in (tuple, list) else value
