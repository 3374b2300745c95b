"""A device's out-of-memory errors as sentences: contexts that raise DeviceError, and say what fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .device import Device
from .errors import DeviceError
from .network import Network


@contextmanager
def of_data(device: Device, size: int) -> Iterator[None]:
    """For moving a data set of so many bytes to the device."""
    try:
        yield
    except device.out_of_memory_errors():
        raise DeviceError(
            f"{device}: out of memory for the data set's {_megabytes(size)}, with {_free(device)}; train on fewer or "
            "smaller images, or with --device cpu"
        ) from None


@contextmanager
def of_training(device: Device, network: Network, batch_size: int) -> Iterator[None]:
    """For training steps; says which batch size should fit."""
    try:
        yield
    except device.out_of_memory_errors():
        free, _ = device.memory()
        smaller = batch_size // 2
        while smaller > 1 and network.memory(smaller) > 0.8 * free > 0:
            smaller //= 2
        mend = f"--batch-size {smaller} should fit" if smaller else "use a smaller network or smaller images"
        raise DeviceError(
            f"{device}: out of memory with {batch_size} examples per batch (about "
            f"{_megabytes(network.memory(batch_size))} beside the data set, {_free(device)}); {mend}"
        ) from None


@contextmanager
def of_inference(device: Device, network: Network, images: int) -> Iterator[None]:
    """For the logits of so many images at a time."""
    try:
        yield
    except device.out_of_memory_errors():
        raise DeviceError(
            f"{device}: out of memory with {images} images at a time (about "
            f"{_megabytes(4 * images * sum(network.output_sizes()))}, {_free(device)}); end other programs that use "
            "the device, or use --device cpu"
        ) from None


def _free(device: Device) -> str:
    return f"{_megabytes(device.memory()[0])} free"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
