"""Data sets: by name (digits, mnist, fashion-mnist, cifar10), from IDX and .npz files, and from folders of pictures."""

from __future__ import annotations

from ..names import explain
from .catalogue import NAMES
from .dataset import Dataset
from .loading import ACCEPTED, load
from .named import fetch, verify, where
from .pictures import read_pictures
from .preprocessing import Preprocessing, parse_size
from .strokes import Strokes

__all__ = [
    "ACCEPTED",
    "NAMES",
    "Dataset",
    "Preprocessing",
    "Strokes",
    "fetch",
    "load",
    "parse_size",
    "read_pictures",
    "verify",
    "where",
]

explain(__name__)
