"""Numbers of any range, as estimators are given them: whether a type can tell them apart, and how they are scaled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engine.scaling import Scaling
from ..errors import DataError

Array = Any
PART = 1024  # images whose mean is taken together, in float64


def check_range(rows: Array, dtype: Any) -> None:
    """Raises DataError for numbers that the type cannot tell apart, or whose squares are none of it."""
    least, most, of = float(rows.min()), float(rows.max()), np.finfo(dtype)
    largest, spread = max(abs(least), abs(most)), most - least
    fits = largest < math.sqrt(of.max) and spread > math.sqrt(of.tiny) and spread > 100 * float(of.eps) * largest
    if spread and not fits:
        other = ', or give it dtype="float64"' if dtype == np.float32 else ""
        raise DataError(
            f"X has numbers from {least:g} to {most:g}, which {dtype} cannot tell well apart; put a StandardScaler "
            f"before the estimator{other}"
        )


def standardising(images: Array) -> Scaling:
    """What gives these numbers the mean 0 and, unless all are alike, the standard deviation 1."""
    parts = [images[begin : begin + PART] for begin in range(0, len(images), PART)]
    mean = sum(float(part.sum(dtype=np.float64)) for part in parts) / images.size
    squares = sum(float(np.square(np.subtract(part, mean, dtype=np.float64)).sum()) for part in parts)
    deviation = math.sqrt(squares / images.size) or 1.0
    return Scaling(1 / deviation, -mean / deviation, floats=True)
