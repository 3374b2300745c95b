"""Where a data set lies while a CUDA device trains: there, or, where it is too large, on the host, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..device import Device
from ..errors import warn
from ..network import Network
from . import memory
from .recorded import RecordedStep
from .whole_step import StepAround, WholeStep

Array = Any
Data = Sequence[Array]  # images, targets, and weights or None

RESERVE = 6  # times what a batch is estimated to take: what is left to training beside a data set on the device
ALIGNED = 256  # bytes: where each array of a batch begins


class StreamedStep(StepAround):
    """A step for examples that lie on the host.

    Each batch is gathered in pinned memory and copied to the device while the device computes the one before; the step
    finds all batches in the same place, so it can be recorded. It gives the bits that it gives with the whole data set
    on the device.
    """

    def __init__(self, step: WholeStep | RecordedStep, device: Device, data: Data, batch_size: int) -> None:
        """data: dense arrays."""
        super().__init__(step)
        self._parts: list[tuple[slice, Any, tuple[int, ...]] | None] = []
        size = self._add(0, np.dtype(np.int64), (batch_size,))
        for each in data:
            if each is None:
                self._parts.append(None)
            else:
                size = self._add(size, each.dtype, (batch_size, *each.shape[1:]))
        self._staging, self._there = device.staging(size), device.xp.empty((size,), np.uint8)
        examples, *self._arrays = self._views(self._there)
        whole = step.whole if isinstance(step, RecordedStep) else step
        whole.examples, self._rows = examples, device.put(np.arange(batch_size))

    def _add(self, start: int, dtype: Any, shape: tuple[int, ...]) -> int:
        stop = start + dtype.itemsize * math.prod(shape)
        self._parts.append((slice(start, stop), dtype, shape))
        return -(-stop // ALIGNED) * ALIGNED

    def _views(self, block: Array) -> list[Array]:
        """The batch's indices in the data set, images, targets and weights in a block of bytes, as arrays."""
        return [None if part is None else block[part[0]].view(part[1]).reshape(part[2]) for part in self._parts]

    def __call__(
        self, images: np.ndarray, targets: np.ndarray, batch: np.ndarray, lr: float, weights: np.ndarray | None = None
    ) -> Array:
        """Update theta by the examples `batch` (indices) of arrays on the host; their losses, on the device."""
        examples, *rooms = self._views(self._staging.room())
        count = batch.shape[0]
        examples[:count] = batch
        for source, room in zip((images, targets, weights), rooms):
            if source is not None:
                np.take(source, batch, axis=0, out=room[:count], mode="clip")  # with "raise" NumPy copies once more
        self._staging.send(self._there)
        rows = self._rows if count == self._rows.shape[0] else self._rows[:count]
        there, wanted, factors = self._arrays
        return self.inner(there, wanted, rows, lr, factors)


def placed(step: Any, data: Data, device: Device, network: Network, batch_size: int) -> tuple[Any, Data]:
    """A step and the data set on the host -> both, as they train on the device.

    The data set is copied there if that leaves room for training. If not, a CUDA device is sent its batches one by one,
    and a warning says so. Raises DeviceError where memory is missing on a CPU.
    """
    size = sum(each.nbytes for each in data if each is not None)
    with memory.of_data(device, size):
        there = resident(data, device, network, batch_size)
        if there is not None:
            return step, there
        size, free = size / 1e6, device.memory()[0] / 1e6
        warn(
            f"the data set's {size:,.0f} MB do not fit into the {free:,.0f} MB free on {device} beside training, so "
            "its batches are sent there one by one"
        )
        dense = tuple(None if each is None else np.ascontiguousarray(each) for each in data)
        return StreamedStep(step, device, dense, batch_size), dense


def fed(step: Any, batch: Data, device: Device) -> Any:
    """A step for batches that come to the host one by one, as large as this one at most."""
    if device.kind == "cpu":
        return step
    return StreamedStep(step, device, [None if each is None else np.asarray(each) for each in batch], len(batch[0]))


def resident(data: Data, device: Device, network: Network, batch_size: int) -> Any:
    """The arrays on the device, or None where a CUDA device has no room for them beside training."""
    size = sum(each.nbytes for each in data if each is not None)
    needed = RESERVE * network.memory(batch_size)
    if device.kind == "cuda" and size + needed > device.memory()[0]:
        return None
    try:
        return tuple(None if each is None else device.put(each) for each in data)
    except device.out_of_memory_errors():
        if device.kind == "cuda":
            return None
        raise
