"""Data sets in NumPy's .npz files, under any of three sets of keys."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .dataset import Dataset, Images, Labels, Part, check_range, checked_images, checked_labels
from .files import refuse_web_page

SCHEMES = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("images", "labels"),
)


def read_npz(path: Path) -> Dataset:
    """The data set of an .npz file with the arrays of one of SCHEMES and, if wanted, class_names.

    Images are uint8 or floats in 0..1, (N, H, W) or (N, H, W, C); labels are integers, (N,) or (N, 1).
    With images and labels alone, a stratified fifth becomes the test part. Nothing pickled is ever opened.
    DataError naming the file and the key for everything else.
    """
    arrays = read_arrays(path)
    keys = chosen_keys(path, set(arrays))
    parts = [
        Part(as_images(arrays[x], f"{path}: {x}"), as_labels(arrays[y], f"{path}: {y}"), f"{path}: {x}, {y}")
        for x, y in zip(keys[::2], keys[1::2])
    ]
    return Dataset.of_parts(str(path), parts, class_names(arrays.get("class_names"), path))


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of the file that belong to a data set; others are not read."""
    refuse_web_page(path)
    wanted = {key for scheme in SCHEMES for key in scheme} | {"class_names"}
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {key: file[key] if key in wanted else None for key in file.files}
    except (AttributeError, TypeError, ValueError, pickle.UnpicklingError) as error:
        problem = "holds Python objects, which are not opened" if "Object arrays" in str(error) else "is no .npz file"
    except (OSError, EOFError, KeyError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        problem = f"is truncated or damaged ({error})"
    raise DataError(f"{path}: {problem}; write it again with numpy.savez of plain arrays") from None


def chosen_keys(path: Path, present: set[str]) -> tuple[str, ...]:
    """The first of SCHEMES whose keys are all there."""
    for scheme in SCHEMES:
        if present.issuperset(scheme):
            return scheme
    nearest = max(SCHEMES, key=lambda scheme: len(present.intersection(scheme)))
    missing = [key for key in nearest if key not in present]
    accepted = " or ".join(f"({', '.join(scheme)})" for scheme in SCHEMES)
    raise DataError(
        f"{path}: found the keys {', '.join(sorted(present)) or 'none'}, expected {accepted}; add {', '.join(missing)}"
    )


def as_images(array: Any, where: str) -> Images:
    """(N, H, W) or (N, H, W, C), uint8 or floats in 0..1 -> uint8 (N, H, W, C), floats as round(255 x)."""
    if np.issubdtype(array.dtype, np.floating):
        check_range(array, where)
        array = np.rint(array.astype(np.float32, copy=False) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise DataError(
            f"{where}: dtype {array.dtype}, uint8 or floats in 0..1 were expected; values 0..255 become uint8 by "
            "astype(numpy.uint8), others floats by dividing them by the largest possible one"
        )
    return checked_images(array[..., None] if array.ndim == 3 else array, where)


def as_labels(array: Any, where: str) -> Labels:
    """(N,) or, as Keras stores CIFAR-10, (N, 1) integers -> int64 (N,)."""
    return checked_labels(array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array, where)


def class_names(array: Any, path: Path) -> list[str] | None:
    """The names in the file, None if there are none."""
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise DataError(f"{path}: class_names is {array.dtype} {array.shape}, a list of texts was expected")
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in array]
