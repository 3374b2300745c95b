"""The lock that a call holds while it trains a model: one call at a time."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ..errors import TrainingError

P = ParamSpec("P")
R = TypeVar("R")


class Turn:
    """The lock by which one call at a time trains a model. A copy of the model has its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Turn, ()


def alone(method: Callable[P, R]) -> Callable[P, R]:
    """A method of a model that trains it, and raises TrainingError at once where the model is being trained."""

    @functools.wraps(method)
    def called(*args: P.args, **options: P.kwargs) -> R:
        model: Any = args[0]
        turn: Turn = vars(model).setdefault("turn", Turn())  # one of an old pickle has none
        if not turn.lock.acquire(blocking=False):
            raise TrainingError(
                "this model is being trained already, by another thread or by the call that a callback belongs to; "
                "wait until that has ended, or train a copy: copy.deepcopy(model) made before"
            )
        try:
            return method(*args, **options)
        finally:
            turn.lock.release()

    return called
