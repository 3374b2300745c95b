"""What can go wrong in a user's hands. Every message says where, what was found, what was expected, and what to do."""

from __future__ import annotations

import errno
import signal
import sys
import unicodedata
import warnings

TYPE_CHECKING = False  # typing takes longer to import than the rest that the command needs before it answers Ctrl-C
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, NoReturn

AN_ARRAY = "an array was expected; write numpy.asarray(...)"
NAMED = 10  # names in a message, beyond which "..." stands for the rest
OURS = ("gpucnn", "contextlib")  # modules that a warning is not shown in
UNSEEN = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of control characters, surrogates and ends of lines


def printable(text: str) -> str:
    """The text for one line of a terminal: what would steer it, or cannot be encoded, as Python's escapes."""
    if text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode("ascii") if unicodedata.category(each) in UNSEEN else each for each in text
    )


def nearest(word: str, known: Iterable[str], alike: float = 0.6) -> str | None:
    """The known word that an unknown one was probably meant to be: the only one that begins so, or the one that is most
    alike; None where none is alike by that part of 1."""
    from difflib import get_close_matches

    words = list(known)
    begun = [each for each in words if len(word) > 2 and each.startswith(word)]
    return begun[0] if len(begun) == 1 else next(iter(get_close_matches(word, words, 1, alike)), None)


def suggested(word: str, known: Iterable[str]) -> str:
    """What to say of an unknown word before what there is, such as "did you mean adam? "; "" where none is alike."""
    near = nearest(word, known)
    return f"did you mean {near}? " if near else ""


def listed(names: Sequence[str]) -> str:
    """Names for a message, of which there may be many."""
    return ", ".join(names[:NAMED]) + ", ..." * (len(names) > NAMED)


def counted(number: Any, what: str, several: str = "") -> str:
    """A number of things, such as "1 image" or "1,200 classes"; several: the word's plural, if it is not by s."""
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"


def in_digits(number: float, least: int = 6) -> str:
    """A number with so many digits at least, and a large one with two behind the point."""
    before = len(str(int(abs(number)))) if abs(number) < 1e12 else 0  # NaN and infinities are neither
    return f"{number:.{max(least, before + 2)}g}"


def check_shape(what: str, array: Any, shape: Sequence[int], hint: str = "") -> None:
    """Raises ShapeError where an array has another shape than that, ArgumentError for a list. hint: what to do."""
    if not hasattr(array, "shape"):
        raise ArgumentError(f"{what} is a {type(array).__name__}, and {AN_ARRAY}")
    if tuple(array.shape) != tuple(shape):
        raise ShapeError(f"{what} has shape {tuple(array.shape)}, {tuple(shape)} was expected{hint and f'; {hint}'}")


def check_answer(number: float, what: str) -> None:
    """Raises GpucnnError where what a model gives is NaN or infinite."""
    if number - number != 0:
        raise GpucnnError(
            f"{what} is {number:g}: the model's weights are too large to compute with; train it again with a lower "
            "learning rate (lr)"
        )


class GpucnnError(Exception):
    """The base of all errors that this library raises on purpose; the command prints the sentence and exits with 1."""

    def __str__(self) -> str:
        return printable(super().__str__())  # names of files and classes are in it


class SettingError(GpucnnError, ValueError):
    """A setting has a name or a value that does not exist or makes no sense."""


class ArgumentError(SettingError, TypeError):
    """A method has no argument, or a class no setting, of that name."""


class ShapeError(GpucnnError, ValueError):
    """An array or a layer does not fit where it was put."""


class DeviceError(GpucnnError, RuntimeError):
    """The device that was asked for cannot be used."""


class DataError(GpucnnError, ValueError):
    """A data set or an image cannot be read, or does not hold what it should."""


class CheckpointError(GpucnnError, ValueError):
    """A saved model cannot be read, or belongs to another network."""


class TrainingError(GpucnnError, RuntimeError):
    """Training cannot go on."""


# Ctrl-C, the end of a session, and a terminal that is closed: SIGHUP, and on Windows SIGBREAK, as of Ctrl-Break.
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


class Interrupted(KeyboardInterrupt):
    """One of the signals in ENDING. signal: its number; latest: that of the latest one of this process, or 0."""

    latest: int = 0

    def __init__(self, number: int) -> None:
        super().__init__("interrupted")
        self.signal = number
        Interrupted.latest = number


def interrupt(number: int, frame: Any) -> NoReturn:
    """A signal's handler: raises Interrupted."""
    raise Interrupted(number)


REMEDIES = {
    "EAGAIN": "let this user start more processes (ulimit -u)",
    "EACCES": "look at its permissions, or choose another place",
    "EDQUOT": "make room there, or choose another place",
    "EISDIR": "a folder is in the way; choose another name",
    "EMFILE": "let a process open more files (ulimit -n)",
    "ENOENT": "look at its name, and whether its folder is there",
    "ENOSPC": "make room there, or choose another place",
    "ENOTDIR": "a file is in the way; choose another name",
    "EPERM": "look at its permissions, or choose another place",
    "EROFS": "nothing can be written there; choose another place",
}


def of_system(error: OSError, where: object = None) -> str:
    """The path that an error of the operating system is about, what is wrong, and what to do about it.

    where: the path, if the error does not know it.
    """
    place = where if error.filename is None else error.filename
    why = str(error) if error.strerror is None else error.strerror
    remedy = REMEDIES.get(errno.errorcode.get(error.errno or 0, ""))
    return "".join([f"{place}: " if place is not None else "", why, f"; {remedy}" if remedy else ""])


def without_threads() -> str:
    """A sentence where no thread can be started, for which OpenBLAS ends what imports it as Ctrl-C would; else ""."""
    import threading

    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        return f"no thread can be started; {REMEDIES['EAGAIN']}"
    return ""


def warn(text: str) -> None:
    """Warn at the line that called gpucnn, also out of a context manager of its own."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


def __dir__() -> list[str]:
    """The errors: what else is here is for gpucnn itself."""
    return [name for name, held in globals().items() if isinstance(held, type) and issubclass(held, BaseException)]
