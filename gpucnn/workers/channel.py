"""Messages between two processes of one machine: Python values, and open files."""

from __future__ import annotations

import contextlib
import io
import pickle
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .shared import not_standard

LARGE = 1 << 13  # bytes from which on an array goes through the outbox: a socket copies it twice, in small pieces
LINE = 64
PATIENCE = 5e-4  # seconds to look for a message without pause: to be woken takes longer than a short step's work
LOOK = 1.0  # seconds between two looks whether the other end will still answer
HEAD = struct.Struct("=Q")


def _timeval(seconds: float) -> bytes:
    """A time in seconds as the struct timeval that socket options take."""
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))


def _array(kind: str, shape: tuple[int, ...], order: str, data: bytes) -> np.ndarray:
    return np.ndarray(shape, kind, data, order=order)  # type: ignore[arg-type]


def _as_bytes(array: np.ndarray) -> tuple[Any, ...]:
    """How pickle writes an array. Its memory order goes along, since NumPy adds along an axis in that order."""
    if array.dtype.hasobject:
        raise TypeError(f"an array of {array.dtype} holds addresses, which mean nothing to another process")
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return _array, (array.dtype.str, array.shape, order, array.tobytes(order))  # type: ignore[arg-type]


ARRAYS: dict[type, Any] = {np.ndarray: _as_bytes}  # NumPy's own way to pickle takes twice as long for small arrays


class _Pickler(pickle.Pickler):
    """Large arrays are written to the outbox, one after the other, while there is room."""

    def __init__(self, buffer: io.BytesIO, outbox: np.ndarray) -> None:
        super().__init__(buffer, 5)
        self.dispatch_table = ARRAYS
        self._outbox, self._used = outbox, 0

    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:
        if type(value) is not np.ndarray or not LARGE <= value.nbytes <= self._outbox.size - self._used:
            return None
        kind, start = value.dtype, self._used
        if not value.flags.c_contiguous or kind.hasobject:
            return None
        self._used = -(-(start + value.nbytes) // LINE) * LINE
        np.ndarray(value.shape, kind, self._outbox, start)[...] = value
        return start, kind.str, value.shape


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytearray, inbox: np.ndarray) -> None:
        super().__init__(io.BytesIO(data))
        self._inbox = inbox

    def persistent_load(self, saved: tuple[Any, ...]) -> np.ndarray:
        start, kind, shape = saved
        array = np.ndarray(shape, kind, self._inbox, start)
        array.flags.writeable = False
        return array


NO_BOX = np.zeros(0, np.uint8)


class Channel:
    """One end. Arrays arrive read-only; those of object type cannot be sent.

    outbox, inbox: bytes that both ends map. What is sent through an outbox stays there until the next message: by then
    the other end must have answered. idle: called whenever nothing has come for LOOK seconds; what it raises ends the
    waiting. stuck: seconds after which a message is given up of which the other end takes nothing; 0 for never.
    """

    def __init__(
        self,
        end: socket.socket,
        *,
        outbox: np.ndarray = NO_BOX,
        inbox: np.ndarray = NO_BOX,
        idle: Callable[[], None] | None = None,
        stuck: float = 0.0,
    ) -> None:
        self._end, self._outbox, self._inbox, self._idle = end, outbox, inbox, idle
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(LOOK))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(stuck))

    @classmethod
    def pair(cls, outbox: np.ndarray = NO_BOX, **options: Any) -> tuple[Channel, socket.socket]:
        """A channel, and the other end of it for another process to inherit."""
        ours, theirs = (socket.socket(fileno=not_standard(end.detach())) for end in socket.socketpair())
        return cls(ours, outbox=outbox, **options), theirs

    def send(self, message: Any, *, boxed: bool = True) -> None:
        """boxed=False leaves the outbox alone, for when the other end still reads from it.

        Raises OSError when the other end is gone, or stuck.
        """
        buffer = io.BytesIO()
        buffer.write(HEAD.pack(0))
        _Pickler(buffer, self._outbox if boxed else NO_BOX).dump(message)
        size = buffer.tell() - HEAD.size
        buffer.seek(0)
        buffer.write(HEAD.pack(size))
        self._end.sendall(buffer.getvalue())  # not getbuffer: Python 3.12.1 crashes where an error holds one

    def receive(self) -> Any:
        """The next message. Raises EOFError or OSError when the other end is gone."""
        size = HEAD.unpack(self._exactly(HEAD.size, self._first()))[0]
        return _Unpickler(self._exactly(size), self._inbox).load()

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
        """Hand over open files, given by descriptor; the system takes about a hundred in one call."""
        socket.send_fds(self._end, [b"f"], files)

    def receive_files(self, count: int) -> list[int]:
        """The descriptors, in this process, of `count` files that the other end handed over."""
        while True:
            with contextlib.suppress(BlockingIOError):
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
        """The next `size` bytes, of which `first` are here already; no more, since files come with a byte of theirs."""
        data, had = bytearray(size), len(first)
        data[:had] = first
        with memoryview(data) as rest:
            while had < size:
                try:
                    count = self._end.recv_into(rest[had:])
                except BlockingIOError:  # nothing for LOOK seconds
                    if self._idle is not None:
                        self._idle()
                    continue
                if not count:
                    raise EOFError
                had += count
        return data
