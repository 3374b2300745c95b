"""Processes that compute beside this one.

Python's lock lets one thread at a time run Python; NumPy gives it up during a call, but a step of a small network is
hundreds of calls of a few microseconds, and threads that wake each other up for each gain nothing. A process has a lock
of its own. Parameters, gradients and batches lie in memory that both map (`shared`); the rest travels through a socket.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..errors import DeviceError
from . import exchange, shared
from .channel import Channel
from .packing import Unshareable, packed
from .serving import BOX, LEFT, Partial

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
START = "import sys; sys.path[:] = {path!r}; from gpucnn.workers.serving import serve; serve({file}, {box})"
MARK = "GPUCNN_HELPER"  # in a helper's environment: it has no helpers of its own
PATH = [os.path.abspath(place) for place in sys.path]  # as it was before anybody changed the directory
Task = Callable[..., Any]


class Packed(NamedTuple):
    """A task as it is sent: its number, its pickle, and the open files of its arrays."""

    number: int
    data: bytes
    files: list[int]


class Helper:
    """One process. It starts in the background; `ready` says when it can be used."""

    def __init__(self) -> None:
        box = shared.zeros(BOX, np.uint8)
        box_file = shared.descriptor(box)
        assert box_file is not None  # zeros has just made it
        self.channel, theirs = Channel.pair(box)
        with theirs:
            path = list(dict.fromkeys([*PATH, *sys.path]))
            self.process = subprocess.Popen(
                [sys.executable, "-c", START.format(path=path, file=theirs.fileno(), box=box_file)],
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

    def ready(self) -> bool:
        """Whether it has started. Never waits."""
        if not self.started and self.channel.arrived():
            with contextlib.suppress(DeviceError):  # its end is seen when the next work is given out
                self.receive()
                self.started = True
        return self.started

    def send(self, *message: Any) -> None:
        self.awaited += 1  # before sending: half a message is one that is still awaited, so the helper is replaced
        try:
            self.channel.send(message)
        except OSError:
            raise self._lost() from None

    def receive(self) -> Any:
        """The answer to the oldest message that has none yet; the error of its task is raised here."""
        if self._broken:
            self.process.kill()
            raise self._lost()
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
            raise self._lost() from None

    def partial(self) -> Any:
        """What its task brings to the next sum. Raises Left where the task has ended instead; `receive` says how."""
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
                raise self._lost() from None
            self._waits = False

    def keep(self, task: Packed) -> None:
        """Send it a task, which it keeps. Raises Unshareable if it cannot read the task."""
        if task.number not in self.tasks:
            self.send("keep", task.number, task.data, len(task.files))
            self.channel.send_files(task.files)
            self.receive()
            self.tasks.add(task.number)

    def run(self, number: int, arguments: tuple[Any, ...]) -> None:
        """Start a task that it keeps, by number; `receive` waits for the result."""
        forgotten = [self.forgotten.pop() for _ in range(len(self.forgotten))]
        self.tasks.difference_update(forgotten)
        self.send("run", number, arguments, forgotten)

    def close(self) -> None:
        self.channel.close()
        if self.started:  # else it may take long to look at its channel
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _lost(self) -> DeviceError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        return DeviceError(
            f"a process that computed beside this one ended (status {self.process.returncode}; -9 is most often a lack "
            "of memory); try fewer --threads, or a smaller --batch-size"
        )


class Team:
    """The helper processes of this one; all of its models share them."""

    def __init__(self) -> None:
        self.helpers: list[Helper] = []
        self._owner = os.getpid()
        self._busy = threading.Lock()
        self._tasks: weakref.WeakKeyDictionary[Task, Packed] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count()
        self._hopeless = False

    def map(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any] | None:
        """[task(*a) for a in arguments], the last one here; None while helpers are starting, or at work for others.

        Raises Unshareable for a task that other processes cannot have, DeviceError when one ends, and what the task
        raises, after all are done.
        """
        if os.getpid() != self._owner or not self._busy.acquire(blocking=False):
            return None
        try:
            sent = self._packed(task)
            used = self._staffed(len(arguments) - 1)
            if not all(helper.ready() for helper in used):
                return None
            for helper in used:
                helper.keep(sent)
            return self._run(used, sent.number, task, arguments)
        finally:
            self._busy.release()

    def start(self, count: int, patience: float = 10.0) -> None:
        """Start `count` helpers, and wait for them for up to `patience` seconds; `map` itself never waits for a start.

        Nothing happens while they are at work, or after a fork.
        """
        if os.getpid() != self._owner or not self._busy.acquire(blocking=False):
            return
        until = time.monotonic() + patience
        try:
            with contextlib.suppress(Unshareable):
                while not all(helper.ready() for helper in self._staffed(count)) and time.monotonic() < until:
                    time.sleep(0.01)
        finally:
            self._busy.release()

    def _packed(self, task: Task) -> Packed:
        if task not in self._tasks:
            self._tasks[task] = Packed(next(self._numbers), *packed(task))
            weakref.finalize(task, self._forget, self._tasks[task].number)
        return self._tasks[task]

    def _forget(self, number: int) -> None:
        for helper in self.helpers:
            if number in helper.tasks:
                helper.forgotten.append(number)

    def _staffed(self, count: int) -> list[Helper]:
        """The first `count` helpers. One that died, or still works on what was interrupted, is replaced."""
        for helper in list(self.helpers):
            if helper.process.poll() is not None or (helper.started and helper.awaited):
                self._hopeless |= not helper.started  # here they cannot even start
                helper.close()
                self.helpers.remove(helper)
        if self._hopeless:
            raise Unshareable
        try:
            while len(self.helpers) < count:
                self.helpers.append(Helper())
        except OSError:  # no more processes, or no more open files
            self._hopeless = True
            raise Unshareable from None
        return self.helpers[:count]

    def _run(self, used: list[Helper], number: int, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        asked: list[Helper] = []
        results: list[Any] = []
        errors: list[Exception] = []
        try:
            for helper, own in zip(used, arguments):
                helper.run(number, own)
                asked.append(helper)
            with exchange.joined(partial(_summed, asked)):
                results.append(task(*arguments[-1]))
        except exchange.Left:
            pass  # one of the others says why
        finally:  # after an error too: nobody writes behind the caller's back
            for helper in asked:
                try:
                    results.append(helper.receive())
                except Exception as error:
                    errors.append(error)
        if errors or len(results) <= len(used):
            raise exchange.reason(errors)
        return [*results[1:], results[0]]

    def close(self) -> None:
        """End the helpers; the next `map` starts new ones."""
        if os.getpid() == self._owner:
            for helper in self.helpers:
                helper.close()
        self.helpers.clear()


team = Team()
atexit.register(team.close)


def possible() -> bool:
    """Whether helpers can be had here, and are of use: without a global lock threads are simpler and as fast."""
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    runs_python = bool(sys.executable) and not getattr(sys, "frozen", False) and MARK not in os.environ
    return locked and shared.possible() and runs_python


def _summed(others: list[Helper], own: Any) -> Any:
    """The sum over the workers of a step, of which the caller brings `own`; its helpers get it too."""
    found = exchange.added([*(helper.partial() for helper in others), own])
    for helper in others:
        helper.tell(found)
    return found
