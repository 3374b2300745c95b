"""Share out pieces of work among the CPUs: processes where Python's lock would make threads wait for one another."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from array_api_compat import device

from ..device import accelerate
from ..errors import SettingError, warn
from ..namespace import array_namespace
from ..training.signals import unbroken
from . import exchange, helpers, shared

Array = Any


class Task:
    """A base class for dataclasses that `Workers.map` can send to another process: only their fields travel."""

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]


class Workers:
    """`threads` CPUs that share out pieces of work; with one, everything runs in the caller.

    Who computes a piece never changes its result. Use it as a context, `with workers.limited()`: inside, BLAS is held
    to one thread for each piece, and NumPy does not warn of overflow, because training looks at the loss itself.
    """

    def __init__(self, threads: int = 1) -> None:
        if threads < 1:
            raise SettingError(f"threads={threads}: at least 1 was expected")
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._owner = 0
        self._kept_here: weakref.WeakSet[Any] = weakref.WeakSet()

    def __reduce__(self) -> tuple[Any, ...]:
        return Workers, (self.threads,)

    def map(
        self, task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], *, together: bool = False
    ) -> list[Any]:
        """[task(*a) for a in arguments]; the caller takes the last one itself.

        task: an object that keeps its arrays in vectors from `share`, so that helper processes see what it writes; it
        is sent to them once, and must not change what it reads: the part of a process that is lost is computed again.
        Any other callable runs on threads. together: at the same time, at most `threads` of them, so that they can
        exchange sums (`exchange.total`).
        """
        if len(arguments) == 1 or self.threads == 1:
            return _alone(task, arguments)
        if not helpers.possible() or task in self._kept_here:
            return self._on_threads(task, arguments, together)
        try:
            done = helpers.team.map(task, arguments)
        except helpers.Unshareable:
            self._kept_here.add(task)
            return self._on_threads(task, arguments, together)
        if done is not None:
            return done
        return self._on_threads(task, arguments, True) if together else _alone(task, arguments)

    def map_here(self, task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """`map` on threads of this process alone: for a task that changes what it reads, and cannot be done again."""
        alone = len(arguments) == 1 or self.threads == 1
        return _alone(task, arguments) if alone else self._on_threads(task, arguments)

    def share(self, vector: Array) -> Array:
        """vector, or a copy of it that helper processes can see, where there may be any."""
        if not self._helped(vector) or shared.place(vector) is not None:
            return vector
        copy = self.zeros(1, vector)
        copy[...] = vector
        return copy

    def zeros(self, count: int, like: Array) -> Array:
        """count times as many zeros as a vector has numbers; helper processes can see them, where there may be any."""
        size = count * like.shape[0]
        if self._helped(like):
            try:
                return shared.zeros(size, like.dtype)
            except OSError as error:  # threads do without
                helpers.team.give_up(error.strerror or str(error))
        return array_namespace(like).zeros(size, dtype=like.dtype, device=device(like))

    def _helped(self, vector: Array) -> bool:
        return self.threads > 1 and isinstance(vector, np.ndarray) and helpers.possible()

    def _on_threads(
        self, task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], together: bool = False
    ) -> list[Any]:
        if self._owner != os.getpid():  # a forked process has none of the threads
            self._pool, self._owner = _threads(self.threads - 1), os.getpid()
        if self._pool is None:
            return exchange.one_by_one(task, arguments) if together else _alone(task, arguments)
        if together:
            task, arguments = _meeting(task, len(arguments)), list(enumerate(arguments))
        others = [self._pool.submit(task, *own) for own in arguments[:-1]]
        try:
            last = task(*arguments[-1])
        except exchange.Left:
            unbroken(lambda: wait(others))
            raise exchange.reason([other.exception() for other in others]) from None
        finally:
            unbroken(lambda: wait(others))  # after an error too: nobody writes behind the caller's back
        errors = [error for other in others if (error := other.exception())]
        if errors:
            raise exchange.reason(errors)
        return [*(other.result() for other in others), last]

    @contextmanager
    def limited(self) -> Iterator[None]:
        with _one_thread, accelerate.one_thread(), np.errstate(all="ignore"):
            yield


class _OneThread:
    """BLAS at one thread, a setting of the whole process: from when the first thread enters until the last leaves."""

    def __init__(self) -> None:
        self._lock, self._inside, self._limits = threading.Lock(), 0, None
        self._libraries, self._modules = None, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._limits = self._found().limit(limits=1, user_api="blas")
            self._inside += 1

    def _found(self) -> Any:
        """The libraries of this process: to look for them takes longer than a small batch. Imports bring new ones."""
        from threadpoolctl import ThreadpoolController

        if self._libraries is None or self._modules != len(sys.modules):
            self._libraries, self._modules = ThreadpoolController(), len(sys.modules)
        return self._libraries

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._limits is not None:
                self._limits.restore_original_limits()


_one_thread = _OneThread()


def _alone(task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run the tasks one after the other in this thread, which shares no sums with the workers that it may be among."""
    if not exchange.is_joined():
        return [task(*own) for own in arguments]
    with exchange.joined(None):
        return [task(*own) for own in arguments]


def _meeting(task: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The task, able to exchange sums with `count` threads; it takes a thread's number beside the arguments."""
    place = exchange.Threads(count)

    def run(w: int, own: tuple[Any, ...]) -> Any:
        try:
            with exchange.joined(partial(place.total, w)):
                return task(*own)
        finally:
            place.leave()

    return run


def _threads(count: int) -> ThreadPoolExecutor | None:
    """So many threads that have started; None, with a warning, where the system grants no more of them."""
    pool, gate = ThreadPoolExecutor(count, initializer=_quiet), threading.Event()
    try:
        for _ in range(count):
            pool.submit(gate.wait)  # as long as these wait, each gets a thread of its own
    except RuntimeError as error:
        pool.shutdown(wait=False, cancel_futures=True)
        warn(f"no threads can be had here ({error}), so one CPU does all the work, with the same bits")
        return None
    finally:
        gate.set()
    return pool


def _quiet() -> None:
    accelerate.stay_on_one_thread()
    np.seterr(all="ignore")


LIMITS = ("LOKY_MAX_CPU_COUNT", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # joblib sets these in its processes


def default_threads() -> int:
    """How many CPUs this process may run on: by its affinity, a container's quota, and the variables in LIMITS."""
    allowed = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for name in LIMITS:
        first = os.environ.get(name, "").split(",")[0].strip()  # OpenMP takes a number for each level of nesting
        if first.isdecimal() and int(first) > 0:
            allowed.append(int(first))
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no quota
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        allowed.append(max(1, math.ceil(int(quota) / int(period))))
    return min(allowed)
