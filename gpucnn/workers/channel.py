"""Messages between two processes of one machine: Python values, and open files."""

from __future__ import annotations

import io
import pickle
import socket
import struct
import time
from typing import Any

import numpy as np

PATIENCE = 5e-4  # seconds to look for a message without pause: to be woken takes longer than a short step's work
HEAD = struct.Struct("=Q")


def _array(kind: str, shape: tuple[int, ...], order: str, data: bytes) -> np.ndarray:
    return np.ndarray(shape, kind, data, order=order)  # type: ignore[arg-type]


def _as_bytes(array: np.ndarray) -> tuple[Any, ...]:
    """With its memory order: sums over an axis are made in that order."""
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return _array, (array.dtype.str, array.shape, order, array.tobytes(order))  # type: ignore[arg-type]


ARRAYS: dict[type, Any] = {np.ndarray: _as_bytes}  # NumPy's own way to pickle takes twice as long for small arrays


class Channel:
    """One end. Arrays arrive as copies, read-only; those of object type cannot be sent."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel, and the other end of it for another process to inherit."""
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    def send(self, message: Any) -> None:
        """Raises OSError when the other end is gone."""
        buffer = io.BytesIO()
        buffer.write(HEAD.pack(0))
        pickler = pickle.Pickler(buffer, 5)
        pickler.dispatch_table = ARRAYS
        pickler.dump(message)
        data = buffer.getbuffer()
        HEAD.pack_into(data, 0, len(data) - HEAD.size)
        self._end.sendall(data)

    def receive(self) -> Any:
        """The next message. Raises EOFError or OSError when the other end is gone."""
        size = HEAD.unpack(self._exactly(HEAD.size, self._first()))[0]
        return pickle.loads(self._exactly(size))

    def arrived(self) -> bool:
        """Whether there is something to receive, or the other end is gone."""
        try:
            self._end.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def send_files(self, files: list[int]) -> None:
        """Open files, by descriptor; at most some hundred."""
        socket.send_fds(self._end, [b"f"], files)

    def receive_files(self, count: int) -> list[int]:
        return socket.recv_fds(self._end, 1, count)[1]

    def close(self) -> None:
        self._end.close()

    def _first(self) -> bytes:
        """Some of the next message's head, or nothing when patience ends."""
        until = time.perf_counter() + PATIENCE
        while time.perf_counter() < until:
            try:
                first = self._end.recv(HEAD.size, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            if not first:
                raise EOFError
            return first
        return b""

    def _exactly(self, size: int, first: bytes = b"") -> bytearray:
        """size bytes, that begin with `first`. Never more: open files travel with a byte of their own."""
        data, had = bytearray(size), len(first)
        data[:had] = first
        with memoryview(data) as rest:
            while had < size:
                count = self._end.recv_into(rest[had:])
                if not count:
                    raise EOFError
                had += count
        return data
