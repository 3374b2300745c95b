"""One helper process, seen from the process that started it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from . import exchange, shared
from .channel import Channel
from .serving import BOX, LEFT, Partial

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
START = "import sys; sys.path[:] = {path!r}; from gpucnn.workers.serving import serve; serve({file}, {box}, {parent})"
MARK = "GPUCNN_HELPER"  # in a helper's environment: it has no helpers of its own
PATH = [os.path.abspath(place) for place in sys.path]  # as it was before anybody changed the directory
STUCK = 10.0  # seconds in which a helper takes nothing of a message that it waits for: it never will


class Packed(NamedTuple):
    """A task as it is sent: its number, its pickle, and the open files of its arrays."""

    number: int
    data: bytes
    files: list[int]


class Lost(Exception):
    """A helper ended, or was stopped, before it answered. It is dead when this is raised: it writes nothing more."""


class Helper:
    """One process. It starts in the background; `ready` says when it can be used."""

    def __init__(self) -> None:
        box = shared.zeros(BOX, np.uint8)
        place = shared.place(box)
        assert place is not None  # zeros has just made it
        box_file, _ = place  # large vectors begin with their file
        self.channel, theirs = Channel.pair(box, idle=self._look, stuck=STUCK)
        with theirs:
            path = list(dict.fromkeys([*PATH, *sys.path]))
            start = START.format(path=path, file=theirs.fileno(), box=box_file, parent=os.getpid())
            self.process = subprocess.Popen(
                [sys.executable, "-c", start],
                pass_fds=[theirs.fileno(), box_file],
                env=os.environ | dict.fromkeys((*ONE_THREAD, MARK), "1"),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C interrupts this process alone
            )
        self.tasks: set[int] = set()
        self.forgotten: list[int] = []
        self.started = False
        self.awaited = 1  # answers; the first says that it has started
        self._early: tuple[Any, Exception | None] | None = None  # an answer that came instead of a partial sum
        self._waits = False  # for a sum
        self._broken = False  # a message was cut in two, by Ctrl-C for one: nothing that comes can be understood
        self._stopped = False

    def ready(self) -> bool:
        """Whether it has started. Never waits."""
        if not self.started:
            with contextlib.suppress(Lost):  # its end is seen when the next work is given out
                self._look()
                if self.channel.arrived():
                    self.receive()
                    self.started = True
        return self.started

    def send(self, *message: Any) -> None:
        self.awaited += 1  # before sending: half a message is one that is still awaited, so the helper is replaced
        with self._unbroken():
            try:
                self.channel.send(message)
            except OSError:
                raise self.lost() from None

    def receive(self) -> Any:
        """The answer to the oldest message that has none yet; the error of its task, or Lost, is raised here."""
        if self._broken:
            raise self.lost()
        if self._waits:
            self.tell(LEFT)
        with self._unbroken():
            message, self._early = self._early or self._received(), None
        while isinstance(message, Partial):  # nobody adds it up any more
            self.tell(LEFT)
            with self._unbroken():
                message = self._received()
        answer, error = message
        self.awaited -= 1
        if error is not None:
            raise error
        return answer

    @contextlib.contextmanager
    def _unbroken(self) -> Iterator[None]:
        """Around reading or writing a message, and noting that it was: what interrupts that breaks the channel."""
        self._broken = True
        yield
        self._broken = False

    def _received(self) -> Any:
        try:
            return self.channel.receive()
        except (EOFError, OSError):
            raise self.lost() from None

    def partial(self) -> Any:
        """What its task brings to the next sum. Raises Left where the task has ended instead; `receive` says how."""
        if self._broken:
            raise self.lost()
        with self._unbroken():
            message = self._received()
            self._waits = isinstance(message, Partial)
            self._early = None if self._waits else message
        if not self._waits:
            raise exchange.Left
        return message.numbers

    def tell(self, message: Any) -> None:
        """Send a sum, or LEFT; neither is answered. The outbox stays as it is, because the task still reads from it."""
        with self._unbroken():
            try:
                self.channel.send(message, boxed=False)
            except OSError:
                raise self.lost() from None
            self._waits = False

    def keep(self, task: Packed) -> None:
        """Send it a task, which it keeps. Raises Unshareable if it cannot read the task."""
        if task.number not in self.tasks:
            self.send("keep", task.number, task.data, len(task.files))
            with self._unbroken():
                try:
                    self.channel.send_files(task.files)
                except OSError:
                    raise self.lost() from None
            self.receive()
            self.tasks.add(task.number)

    def run(self, number: int, arguments: tuple[Any, ...]) -> None:
        """Start a task that it keeps, by number; `receive` waits for the result, and says if the helper is lost."""
        forgotten = [self.forgotten.pop() for _ in range(len(self.forgotten))]
        self.tasks.difference_update(forgotten)
        with contextlib.suppress(Lost):
            self.send("run", number, arguments, forgotten)

    def close(self) -> None:
        self.channel.close()
        if self.started:  # else it may take long to look at its channel
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        self._kill()

    def _kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _look(self) -> None:
        """Asked while it lets itself be waited for. Raises Lost where it has been stopped: nobody may continue it."""
        if hasattr(os, "waitid"):  # macOS has had it since Python 3.13
            stopped = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self.process.pid, stopped) is not None:
                self._stopped = True
                raise self.lost()

    def lost(self) -> Lost:
        """What became of it; it is dead afterwards."""
        if not self._stopped:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        self._kill()
        if self._stopped:
            return Lost("was stopped")
        status = self.process.returncode
        killed = f"was killed (signal {-status}{'; most often a lack of memory' if status == -9 else ''})"
        return Lost(killed if status < 0 else f"ended (status {status})")
