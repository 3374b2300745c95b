"""What is a user's own, named as module:attribute, and what its code raises, as one sentence."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import GpucnnError, SettingError


@contextmanager
def explained(text: str) -> Iterator[None]:
    """What a user's own code raises, as one sentence with its place."""
    try:
        yield
    except GpucnnError:
        raise
    except Exception as error:
        raise GpucnnError(f"{text}: {type(error).__name__}: {error}{place(error)}") from error


def place(error: Exception) -> str:
    """Where in the user's own code it was raised."""
    others = os.path.dirname(__file__), "site-packages", "<frozen"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not any(o in each.filename for o in others)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def named(text: str) -> Any:
    """What module:attribute names, or the module; the working directory is on the import path. Raises GpucnnError."""
    name, colon, attribute = text.partition(":")
    if not name or (colon and not attribute):
        raise GpucnnError(f"{text}: module:factory was expected, such as my_layers:Swish")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with explained(text):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            where = f"the working directory, {os.getcwd()}, is on the import path"
            raise GpucnnError(f"{text}: {error}; {where}, and a module is named without .py") from None
    if colon and not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, vars(module), 1)
        hint = f"; did you mean {name}:{near[0]}?" if near else ""
        raise GpucnnError(f"{text}: module {name} has no {attribute!r}{hint}")
    return getattr(module, attribute) if colon else module


def parameters(factory: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(factory).parameters if callable(factory) else {}


def made(text: str, offered: Mapping[str, Any]) -> Any:
    """What module:factory gives, called with what it takes of `offered`; or the object itself if it is no function."""
    factory = named(text)
    if not callable(factory):
        return factory
    with explained(text):
        return factory(**{name: value for name, value in offered.items() if name in parameters(factory)})


def classes(given: Any) -> dict[str, type]:
    """By name, what is given as a mapping, as a list or alone: classes, or texts, module:Class or a whole module."""
    if isinstance(given, Mapping):
        return dict(given)
    found: dict[str, type] = {}
    for one in given if isinstance(given, Iterable) and not isinstance(given, str) else [given]:
        things = [named(one) if isinstance(one, str) else one]
        if isinstance(one, str) and ":" not in one:
            things = [each for each in vars(things[0]).values() if {"backward", "probabilities"} & {*dir(each)}]
        kinds = [each for each in things if isinstance(each, type)]
        if not kinds:
            raise SettingError(f"layers: {one!r}: a class of a layer or a loss, module:Class or a module was expected")
        found |= {kind.__name__: kind for kind in kinds}
    return found
