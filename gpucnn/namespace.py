"""Which array library an array belongs to."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np


def array_namespace(*arrays: Any) -> Any:
    """The array API's functions for these arrays: `array_api_compat.array_namespace`, but NumPy stands for itself.

    NumPy follows the standard from 2.1 on. The wrapper for older ones imports every sub-package of NumPy, which takes a
    process a tenth of a second.
    """
    return np if all(type(each) is np.ndarray for each in arrays) else array_api_compat.array_namespace(*arrays)


def read_only(array: Any) -> Any:
    """The same array as one that cannot be written, where its library has such: only NumPy has."""
    if isinstance(array, np.ndarray):
        array = array.view()
        array.flags.writeable = False
    return array
