"""What a user may hand over, as what checks types sees it; what it means is in `inputs` and `labels`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image
else:
    Image = Any  # Pillow is imported where there are pictures

PictureLike: TypeAlias = str | os.PathLike[str] | Image
ImagesLike: TypeAlias = npt.ArrayLike | PictureLike | Sequence[Any]
LabelsLike: TypeAlias = npt.ArrayLike | Sequence[Any]
WeightsLike: TypeAlias = npt.ArrayLike
ThresholdLike: TypeAlias = float | Sequence[float] | npt.NDArray[np.floating]
Pair: TypeAlias = tuple[ImagesLike, LabelsLike]
DType: TypeAlias = str | type[np.floating] | np.dtype[np.floating]
