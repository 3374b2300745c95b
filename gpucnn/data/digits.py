"""The handwritten digits that come with scikit-learn: the default data set, without a network.

Their file is read without scikit-learn, whose import takes longer than the first epochs.
"""

from __future__ import annotations

import gzip
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .checks import Images
from .dataset import Dataset, Part
from .preprocessing import Preprocessing
from .strokes import Strokes

NAME = "digits"
WRITTEN = 8  # pixels of a side in the file: a row of them for each digit, and its class
SIZE = 28
COUNT = 1797
# Bilinear weights from 8 to 28 pixels are multiples of 1/14 on each axis, so every value is a multiple of 1/196.
UNITS = 14 * 14


def path() -> Path:
    """The file inside scikit-learn that holds the digits; DataError if scikit-learn is not installed."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("digits: scikit-learn, which holds them, is not installed; run `pip install scikit-learn`")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def load() -> Dataset:
    """1797 digits, 8x8 with values 0..16, made 28x28x1 with values 0..255; a stratified fifth is the test part.

    The split is the constant permutation of split.py, whatever the seed of a run. DataError if scikit-learn's file
    is missing or holds something else.
    """
    file = path()
    try:
        with gzip.open(file, "rt", encoding="ascii") as lines:
            rows = np.loadtxt(lines, delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"digits: {file} cannot be read ({error}); install scikit-learn again") from None
    if rows.shape != (COUNT, WRITTEN * WRITTEN + 1):
        raise DataError(
            f"digits: {file} holds {rows.shape} values, {(COUNT, WRITTEN * WRITTEN + 1)} were expected; "
            "install scikit-learn again"
        )
    part = Part(enlarge(rows[:, :-1].reshape(-1, WRITTEN, WRITTEN)), rows[:, -1].astype(np.int64), NAME)
    how = Preprocessing((SIZE, SIZE), 1, strokes=Strokes(1.0, "box", WRITTEN))
    return Dataset.of_parts(NAME, [part], how=how)


def enlarge(images: NDArray[np.float64]) -> Images:
    """(N, 8, 8) with whole values 0..16 -> (N, 28, 28, 1) uint8, bilinear.

    The last step is exact in integers, because a value of 8 lies on the border between 127 and 128 and the rounding
    of floats there differs between processors.
    """
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    floats = [Image.fromarray(image.astype(np.float32)).resize((SIZE, SIZE), bilinear) for image in images]
    units = np.rint(np.stack([np.asarray(image) for image in floats]).astype(np.float64) * UNITS).astype(np.int64)
    full = 16 * UNITS
    return ((2 * 255 * units + full) // (2 * full)).astype(np.uint8)[..., None]
