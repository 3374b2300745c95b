"""From the host to a CUDA device beside its work: pinned memory, a stream of its own, and events on both sides."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import numpy as np

Array = Any

SLOTS = 2  # one is on its way while the host fills the other


class Staging:
    """Copies of `size` bytes each, from the host to a CUDA device, while the device computes.

    `room` is where the next bytes are written, `send` hands them over. The host waits only when it is SLOTS copies
    ahead. Copies take no part in a recording: what is recorded reads what they were sent to.
    """

    def __init__(self, device: Any, size: int) -> None:
        self._cuda = device.xp.cuda
        with device.activate():
            self._stream = self._cuda.Stream(non_blocking=True)
            self._slots = itertools.cycle([_Slot(device, size) for _ in range(SLOTS)])
        self._slot = next(self._slots)
        # pinned memory is lent again as soon as nobody holds it, even while a copy reads it
        weakref.finalize(self, self._stream.synchronize).atexit = False

    def room(self) -> np.ndarray:
        """(size,) bytes of pinned memory, zeros at first, for the next `send`. Waits until they have been copied."""
        self._slot = next(self._slots)
        self._slot.copied.synchronize()
        return self._slot.host

    def send(self, target: Array) -> None:
        """Bring the bytes of the last `room` to target, (size,) uint8 on the device, for what comes next there."""
        slot, here = self._slot, self._cuda.get_current_stream()
        self._stream.wait_event(slot.read)
        slot.there.set(slot.host, stream=self._stream)
        slot.copied.record(self._stream)
        here.wait_event(slot.copied)
        target[...] = slot.there
        slot.read.record(here)


class _Slot:
    """host: pinned memory; there: as much on the device. copied: from host to there; read: from there."""

    def __init__(self, device: Any, size: int) -> None:
        cuda = device.xp.cuda
        self.host = np.frombuffer(cuda.alloc_pinned_memory(size), np.uint8, size)
        self.host[...] = 0
        self.there = device.xp.empty((size,), np.uint8)
        self.copied, self.read = (cuda.Event(disable_timing=True) for _ in range(2))
        # work given to this stream before may still use the memory that `there` was given
        self.read.record()
