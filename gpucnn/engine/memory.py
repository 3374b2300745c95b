"""A device's out-of-memory errors as sentences: contexts that raise DeviceError, and say what fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ..device import Device
from ..errors import DeviceError, counted
from ..network import Network


def of_data(device: Device, size: int) -> AbstractContextManager[None]:
    """While a data set of `size` bytes is moved to the device."""
    return _said(
        device,
        lambda free: (
            f"for the data set's {megabytes(size)}, with {megabytes(free)} free; train on fewer or smaller images, "
            "or with the device cpu"
        ),
    )


def of_training(device: Device, network: Network, batch_size: int) -> AbstractContextManager[None]:
    """While training; the sentence says which batch size should fit."""

    def sentence(free: int) -> str:
        smaller = batch_size // 2
        while smaller > 1 and network.memory(smaller) > 0.8 * free > 0:
            smaller //= 2
        mend = f"a batch size of {smaller} should fit" if smaller else "use a smaller network or smaller images"
        return (
            f"with {counted(batch_size, 'example')} per batch (about {megabytes(network.memory(batch_size))} beside "
            f"the data set, {megabytes(free)} free); {mend}"
        )

    return _said(device, sentence)


def of_inference(device: Device, network: Network, images: int) -> AbstractContextManager[None]:
    """While the logits of `images` images at a time are computed."""
    return _said(
        device,
        lambda free: (
            f"with {images} images at a time (about {megabytes(4 * images * sum(network.output_sizes()))}, "
            f"{megabytes(free)} free); end other programs that use the device, or use the device cpu"
        ),
    )


@contextmanager
def _said(device: Device, sentence: Callable[[int], str]) -> Iterator[None]:
    """sentence: takes the number of free bytes."""
    try:
        yield
    except device.out_of_memory_errors():
        raise DeviceError(f"{device}: out of memory {sentence(device.memory()[0])}") from None


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
