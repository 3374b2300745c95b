"""The logits of many images on a CUDA device: in chunks of one size, whose computation is recorded as a CUDA graph."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..device import Device, Recording, Staging, reason_of
from ..errors import warn
from .converted import ONCE, foreign
from .inference import Forward
from .recorded import WARM

Array = Any

SIZES = 2  # of chunks whose memory and recordings are kept: such as a validation set's and a test set's
TOGETHER = 1 << 28  # bytes of logits that are gathered on the device before they are handed over


class DeviceForward:
    """What a Forward computes, on a CUDA device.

    Images on the host are copied chunk by chunk beside the computation. All chunks of a call have the same number of
    images; the last one is filled up, unless a layer that is not gpucnn's own might look at what it is filled with.
    recorded: whether a chunk is recorded when its size has come more than WARM times; said: the obstacles to it that a
    warning has told of before; this one's is added.
    """

    def __init__(self, forward: Forward, device: Device, *, recorded: bool, said: set[str]) -> None:
        self.forward, self.device, self._said = forward, device, said
        found = next(foreign(forward.program.network.layers), None)
        self.is_filled_up, self.is_recorded = found is None, recorded
        self._chunks: dict[tuple[int, Any], _Chunk] = {}
        self._lock = threading.Lock()  # threads that predict share the room for a chunk
        if recorded and found is not None:
            self.stay_eager(f"{found} {ONCE}")

    def __call__(self, images: Array) -> Iterator[Array]:
        """images (N, H, W, C), on the host or on the device -> logits (n, K) on the device, many at a time."""
        count, theta = images.shape[0], self.forward.program.theta
        if not count:
            return
        size = -(-count // -(-count // self.forward.chunk))
        classes = self.forward.program.network.shapes()[-1][0]
        span = size * max(1, TOGETHER // (size * classes * theta.itemsize))
        for start in range(0, count, span):
            stop = min(start + span, count)
            logits = self.device.xp.empty((stop - start, classes), theta.dtype)
            with self._lock:
                chunk = self._chunk(size, images)
                for k in range(start, stop, size):
                    part = slice(k, min(k + size, stop))
                    logits[part.start - start : part.stop - start] = chunk.logits(self, images[part])
            yield logits

    def _chunk(self, size: int, images: Array) -> _Chunk:
        """The memory and the recording for that many such images; the sizes asked for last are kept."""
        dtype = images.dtype if images.dtype == np.uint8 else self.forward.program.theta.dtype
        kept = self._chunks.pop((size, dtype), None)
        if kept is None:
            kept = _Chunk(self.device.xp.empty((size, *images.shape[1:]), dtype))
            if self.is_filled_up:
                some, forward = kept.images, self.forward
                forward.program.context.kernels.ahead(lambda: forward.logits(some))
        self._chunks[size, dtype] = kept
        for key in list(self._chunks)[:-SIZES]:
            del self._chunks[key]
        return kept

    def stay_eager(self, why: str) -> None:
        self.is_recorded = False
        if why not in self._said:
            self._said.add(why)
            warn(f"no CUDA graph: {why}; inference goes on kernel by kernel")


class _Chunk:
    """Room for one chunk. images: where it lies while it is computed, so that a recording finds it."""

    def __init__(self, images: Array) -> None:
        self.images, self._bytes = images, images.reshape(-1).view(np.uint8)
        self._staging: Staging | None = None
        self._recording: Recording | None = None
        self._seen = 0

    def logits(self, owner: DeviceForward, images: Array) -> Array:
        """images (n, H, W, C), at most as many as there is room for -> (n, K), until the next call."""
        count = images.shape[0]
        self._bring(owner.device, images)
        if not owner.is_filled_up:
            return owner.forward.logits(self.images[:count])
        if self._recording is None and owner.is_recorded:
            self._record(owner)
        if self._recording is None:
            return owner.forward.logits(self.images)[:count]
        self._recording.replay()
        return self._recording.result[:count]

    def _bring(self, device: Device, images: Array) -> None:
        if type(images) is not np.ndarray:  # it lies on the device
            self.images[: images.shape[0]] = images
            return
        if self._staging is None:
            self._staging = device.staging(self._bytes.size)
        room = self._staging.room().view(self.images.dtype).reshape(self.images.shape)
        room[: images.shape[0]] = images
        self._staging.send(self._bytes)

    def _record(self, owner: DeviceForward) -> None:
        """Count this chunk, and record it when it has come often enough."""
        self._seen += 1
        if self._seen <= WARM:
            return
        try:
            self._recording = owner.device.record(lambda: owner.forward.logits(self.images))
        except Exception as error:
            owner.stay_eager(f"recording inference failed ({reason_of(error)})")
