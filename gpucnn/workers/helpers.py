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
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import warn
from . import exchange, shared
from .helper import MARK, Helper, Lost, Packed
from .packing import Unshareable, packed

DONE = "its part was computed here, which changes no bit"
WITHOUT = "threads share the work, with the same bits"
LOSSES = 3  # helpers that may be lost before no more are started: whoever ended these would end the others too
Task = Callable[..., Any]


class Team:
    """The helper processes of this one; all of its models share them."""

    def __init__(self) -> None:
        self.helpers: list[Helper] = []
        self._owner = os.getpid()
        self._busy = threading.Lock()
        self._tasks: weakref.WeakKeyDictionary[Task, Packed] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count()
        self._hopeless = False
        self._losses = 0

    def map(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any] | None:
        """[task(*a) for a in arguments], the last one here; None where nothing is done.

        That is while helpers are starting or at work for others, and where one was lost while the parts exchanged sums.
        Else the part of one that was lost is computed here. Raises Unshareable for a task that other processes cannot
        have, and what the task raises, after all are done.
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
        except Lost as error:
            self._tell(error)
            return None
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
        unbegun = []
        for helper in list(self.helpers):
            if helper.process.poll() is not None or (helper.started and helper.awaited):
                helper.close()
                self.helpers.remove(helper)
                if not helper.started:
                    unbegun.append(helper)
        if unbegun and (status := unbegun[0].process.returncode) < 0:
            self._tell(unbegun[0].lost(), begun=False)
        elif unbegun:  # another one would end, too
            self.give_up(f"one ended (status {status}) before it began")
        try:
            while len(self.helpers) < count and not self._hopeless:
                self.helpers.append(Helper())
        except OSError as error:  # no more processes, or no more open files
            self.give_up(error.strerror or str(error))
        if self._hopeless:
            raise Unshareable
        return self.helpers[:count]

    def give_up(self, why: str) -> None:
        """Start no helpers any more, and say once that there are none."""
        if self._hopeless:
            return
        self._hopeless = True
        warn(f"no processes can be had to compute beside this one ({why}), so {WITHOUT}")

    def _run(
        self, used: list[Helper], number: int, task: Task, arguments: Sequence[tuple[Any, ...]]
    ) -> list[Any] | None:
        asked: list[Helper] = []
        answers: list[Any] = []  # each a result, or the error instead
        own: Any = exchange.Left()
        sums = 0

        def summed(own: Any) -> Any:
            nonlocal sums
            sums += 1
            return _summed(asked, own)

        try:
            for helper, part in zip(used, arguments):
                helper.run(number, part)
                asked.append(helper)
            with exchange.joined(summed):
                own = task(*arguments[-1])
        except (exchange.Left, Lost) as error:  # one of the others says why
            own = error
        finally:  # after an error too: nobody writes behind the caller's back
            for helper in asked:
                try:
                    answers.append(helper.receive())
                except Exception as error:
                    answers.append(error)
        return self._finished(task, arguments, [*answers, own], alone=not sums)

    def _finished(
        self, task: Task, arguments: Sequence[tuple[Any, ...]], answers: list[Any], *, alone: bool
    ) -> list[Any] | None:
        """The results, of which those of lost helpers are computed here; None where all must begin anew.

        alone: no part needed a sum over all of them, so one may be computed by itself.
        """
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        lost = [error for error in errors if isinstance(error, Lost)]
        rest = [error for error in errors if not isinstance(error, Lost)]
        if lost:
            self._tell(lost[0])
        if rest and not (lost and all(isinstance(error, exchange.Left) for error in rest)):
            raise exchange.reason(rest)
        if rest or isinstance(answers[-1], Lost) or (lost and not alone):  # there were sums, or half of one
            return None
        return [task(*own) if isinstance(answer, Lost) else answer for own, answer in zip(arguments, answers)]

    def _tell(self, lost: Lost, begun: bool = True) -> None:
        """Say that a helper was lost; one too many, and there are none any more."""
        self._losses += 1
        self._hopeless |= self._losses >= LOSSES
        rest = WITHOUT if self._hopeless else "another one takes its place"
        if begun:
            warn(f"a process that computed beside this one {lost}; {DONE}, and {rest}")
        else:
            warn(f"a process that was to compute beside this one {lost} before it began; {rest}")

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
