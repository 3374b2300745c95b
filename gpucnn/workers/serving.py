"""What a helper process does: keep tasks, run them, and bring its part to sums in the middle of one."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import socket
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..device import accelerate
from ..errors import ENDING
from . import exchange, shared
from .channel import Channel
from .packing import unpacked

BOX = 1 << 26  # bytes of memory, taken when they are first used, through which a helper gets its batches
LEFT = "left"  # what helpers are told where a sum will not come, because a worker has failed


class Partial(NamedTuple):
    """What a helper brings to a sum over the workers, in the middle of a task."""

    numbers: Any


def serve(file: int, box: int, parent: int) -> None:
    """Obey messages until the other end of the socket `file` closes. box: the file of memory for large arrays.

    parent: the process that started this one. When that ends, this one does, in whatever state it is: it sees its
    socket closed, or its parent changed where a fork of the parent still holds the socket.
    """
    for number in ENDING:  # who ends all processes at once means the one that started them
        signal.signal(number, signal.SIG_IGN)
    accelerate.stay_on_one_thread()
    np.seterr(all="ignore")
    idle = functools.partial(_end_without, parent)
    channel = Channel(socket.socket(fileno=file), inbox=shared.attach(box, BOX, np.uint8), idle=idle)
    os.close(box)
    tasks: dict[int, Callable[..., Any]] = {}
    answer: tuple[Any, Exception | None] = None, None
    while True:
        try:
            _answer(channel, *answer)
            with exchange.joined(functools.partial(_summed, channel)):
                answer = _obey(channel.receive(), channel, tasks), None
        except (EOFError, BrokenPipeError, ConnectionResetError):
            os._exit(0)  # at once: there is nothing to tidy up
        except Exception as error:
            error.add_note("".join(traceback.format_tb(error.__traceback__)))
            answer = None, error


def _end_without(parent: int) -> None:
    if os.getppid() != parent:
        os._exit(0)


def _summed(channel: Channel, own: Any) -> Any:
    """The sum over the workers of a step, of which this one brings `own`."""
    channel.send(Partial(own))
    found = channel.receive()
    if isinstance(found, str):
        raise exchange.Left
    return found


def _obey(message: tuple[Any, ...], channel: Channel, tasks: dict[int, Callable[..., Any]]) -> Any:
    match message:
        case ("keep", number, data, count):
            files = channel.receive_files(count)
            try:
                tasks[number] = unpacked(data, files)
            finally:
                for file in files:
                    os.close(file)
        case ("run", number, arguments, forgotten):
            for old in forgotten:
                del tasks[old]
            return tasks[number](*arguments)
    return None


def _answer(channel: Channel, result: Any, error: Exception | None) -> None:
    try:
        if error is not None:
            pickle.loads(pickle.dumps(error))  # some can be written and not read
        channel.send((result, error))
    except (pickle.PicklingError, AttributeError, TypeError):
        channel.send((None, RuntimeError(f"{type(error).__name__}: {error}")))
