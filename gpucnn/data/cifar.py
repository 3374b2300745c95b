"""The binary form of CIFAR-10: records of one label byte and 32x32 red, then green, then blue bytes."""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from .checks import Images
from .dataset import Labels
from .files import AGAIN

ARCHIVE = "cifar-10-binary.tar"
FOLDER = "cifar-10-batches-bin"
NAMES = (*(f"data_batch_{batch}.bin" for batch in range(1, 6)), "test_batch.bin")
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORD = 1 + 3 * 32 * 32


def parse(content: bytes | bytearray, where: object) -> tuple[Images, Labels]:
    """Pictures (N, 32, 32, 3) and labels (N,) of one batch; DataError for a broken record or a label above 9."""
    if len(content) % RECORD or not content:
        raise DataError(f"{where}: {len(content)} bytes, whole records of {RECORD} bytes were expected; {AGAIN}")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(CLASS_NAMES):
        raise DataError(f"{where}: label {labels.max()}, 0..9 was expected; {AGAIN}")
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels
