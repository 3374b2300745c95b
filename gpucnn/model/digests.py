"""What tells whether arrays are the same ones."""

from __future__ import annotations

import hashlib

import numpy as np


def digest(*arrays: np.ndarray | None) -> str:
    """The SHA-256 of arrays, of their shapes and types too."""
    found = hashlib.sha256()
    for array in arrays:
        if array is not None:
            found.update(f"{array.shape} {array.dtype.str};".encode())
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
