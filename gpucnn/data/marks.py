"""Marks of pictures, by which they are known again: four bytes of each one's digest, whatever file it lies in."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTES = 4  # of 10,000 pictures that are looked for among 10,000 others, 0.02 are taken for one of these


def marks(images: Any) -> NDArray[np.uint32]:
    """The marks (N,) of images (N, H, W, C): of their pixels and shape."""
    shape = f"{images.shape[1:]};".encode()
    digests = (hashlib.blake2b(shape + image.tobytes(), digest_size=BYTES).digest() for image in images)
    return np.frombuffer(b"".join(digests), ">u4").astype(np.uint32)


def written(images: Any) -> str:
    """The marks of images as a text, sorted."""
    return base64.b64encode(np.unique(marks(images)).astype(">u4").tobytes()).decode()


def read(text: Any) -> NDArray[np.uint32]:
    """What `written` wrote; empty for anything else."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), ">u4").astype(np.uint32)
    except (TypeError, ValueError, binascii.Error):
        return np.zeros(0, np.uint32)
