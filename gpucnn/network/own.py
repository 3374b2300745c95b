"""What is a user's own, named as module:attribute, and what its code raises, as one sentence."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import GpucnnError, SettingError, nearest
from ..names import is_function

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# where code lies that is nobody's own; a user's module that is installed beside these libraries counts as theirs
OTHERS = PACKAGE + os.sep, sysconfig.get_path("stdlib") + os.sep, f"{os.sep}site-packages{os.sep}", "<"
LONGEST = 80  # characters of a value in a message
IN = "in "  # how the note begins that says which layer raised an error


@contextmanager
def explained(text: str, hint: str = "") -> Iterator[None]:
    """What a user's own code raises, as one sentence with its place. hint: what to do, at the end of the sentence.

    What says enough where it is not the user's code passes as it is: a GpucnnError, a full disk, too small a memory.
    """
    try:
        yield
    except GpucnnError:
        raise
    except Exception as error:
        where = place(error)
        if not where and isinstance(error, (OSError, MemoryError)):
            raise
        notes = dict.fromkeys(each for each in getattr(error, "__notes__", ()) if each.startswith(IN))
        raise GpucnnError(f"{text}: {said(error)}{where}{''.join(f', {each}' for each in notes)}{hint}") from error


def said(error: Exception) -> str:
    """An exception's class and what it says, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def shown(value: Any) -> str:
    """A value's repr on one line, cut where it is long: a whole array says nothing more than its beginning."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def of_writing(what: str, error: Exception) -> str:
    """The sentence where that wrote into an array that is read-only; "" for any other error."""
    if not isinstance(error, ValueError) or "read-only" not in str(error):
        return ""
    given = "writes into an array that it was given, which others read"
    return f"{what} {given} ({error}); write into a copy{place(error)}"


def place(error: Exception) -> str:
    """Where in the user's own code it was raised: the last line there, also where a helper process ran it."""
    frames: list[tuple[str, Any]] = [
        each for note in getattr(error, "__notes__", ()) for each in re.findall(r'File "(.+?)", line (\d+)', note)
    ]
    frames += [(each.filename, each.lineno) for each in traceback.extract_tb(error.__traceback__)]
    lines = [f" ({file}, line {line})" for file, line in frames if not any(other in file for other in OTHERS)]
    return lines[-1] if lines else ""


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
        near = nearest(attribute, vars(module))
        hint = f"; did you mean {name}:{near}?" if near else ""
        raise GpucnnError(f"{text}: module {name} has no {attribute!r}{hint}")
    return getattr(module, attribute) if colon else module


def function(text: str, arguments: str) -> Any:
    """What module:attribute names, a function of these arguments or an object that is called so. Raises GpucnnError."""
    found = named(text)
    if not is_function(found) or isinstance(found, type):
        raise SettingError(f"{text} is {shown(found)}, and a function of {arguments} was expected")
    return found


def thing(text: str, methods: Iterable[str], expected: str) -> Any:
    """The object with these methods that module:attribute names, or its class or a function makes without arguments.
    Raises GpucnnError."""
    found = named(text)
    found = made(text, {}) if isinstance(found, type) or inspect.isroutine(found) else found
    if missing := [name for name in methods if not hasattr(found, name)]:
        raise SettingError(f"{text}: {expected} was expected, and {shown(found)} has no method {missing[0]}")
    return found


def parameters(factory: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(factory).parameters if callable(factory) else {}


def made(text: str, offered: Mapping[str, Any]) -> Any:
    """What module:factory gives, called with what it takes of `offered`; or the object itself if it is no function."""
    factory = named(text)
    if not callable(factory):
        return factory
    takes = {name: each for name, each in parameters(factory).items() if isinstance(factory, type)}
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needs = [n for n, each in takes.items() if each.default is each.empty and each.kind not in many]
    if missing := [name for name in needs if name not in offered]:
        kind, module = factory.__name__, text.partition(":")[0]
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
        name = f"my_{name}" if name == kind else name
        values = ", ".join(f"{each}=..." for each in missing)
        raise GpucnnError(
            f"{text} needs {', '.join(missing)}: name a function that makes it, such as "
            f"`def {name}(): return {kind}({values})`, and take {module}:{name}"
        )
    with explained(text):
        return factory(**{name: value for name, value in offered.items() if name in parameters(factory)})


def classes(given: Any) -> dict[str, type]:
    """Classes by name, from a mapping, a list or one alone: classes, or texts, module:Class or a whole module."""
    if isinstance(given, Mapping):
        return dict(given)
    found: dict[str, type] = {}
    for one in given if isinstance(given, Iterable) and not isinstance(given, str) else [given]:
        things = [named(one) if isinstance(one, str) else one]
        if isinstance(one, str) and ":" not in one:
            things = [each for each in vars(things[0]).values() if {"backward", "probabilities"} & {*dir(each)}]
        kinds = [each for each in things if isinstance(each, type)]
        if not kinds:
            is_of_module = isinstance(one, str) and callable(things[0] if things else None)
            meant = f"; say {one.partition(':')[0]} for the classes of that module" if is_of_module else ""
            raise SettingError(
                f"layers: {shown(one)}: a class of a layer or a loss, module:Class or a module was expected{meant}"
            )
        found |= {kind.__name__: kind for kind in kinds}
    return found
