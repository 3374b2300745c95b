"""A device's out-of-memory errors as sentences that say what fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .device import Device
from .errors import DeviceError
from .network import Network

Array = Any


@contextmanager
def of_data(device: Device, images: Array) -> Iterator[None]:
    """For moving the images of a data set to the device. Raises DeviceError."""
    try:
        yield
    except device.out_of_memory_errors():
        free, _ = device.memory()
        raise DeviceError(
            f"{device}: the data set has {_megabytes(images.nbytes)} of images, and {_megabytes(free)} are free; train "
            "on fewer or smaller images, or with --device cpu"
        ) from None


@contextmanager
def of_training(device: Device, network: Network, batch_size: int) -> Iterator[None]:
    """For training steps. Raises DeviceError, with the batch size that should fit."""
    try:
        yield
    except device.out_of_memory_errors():
        free, _ = device.memory()
        smaller = batch_size // 2
        while smaller > 1 and network.memory(smaller) > 0.8 * free > 0:
            smaller //= 2
        raise DeviceError(
            f"{device}: out of memory with {batch_size} examples per batch (about "
            f"{_megabytes(network.memory(batch_size))} beside the data set, {_megabytes(free)} free); "
            f"--batch-size {max(1, smaller)} should fit"
        ) from None


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
