"""What can go wrong in a user's hands. Every message says where, what was found, what was expected, and what to do."""

from __future__ import annotations

import unicodedata

UNSEEN = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of control characters, surrogates and ends of lines


def printable(text: str) -> str:
    """The text for one line of a terminal: what would steer it, or cannot be encoded, as Python's escapes."""
    if text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode("ascii") if unicodedata.category(each) in UNSEEN else each for each in text
    )


class GpucnnError(Exception):
    """The base of all errors that this library raises on purpose; the command prints the sentence and exits with 1."""

    def __str__(self) -> str:
        return printable(super().__str__())  # names of files and classes are in it


class SettingError(GpucnnError, ValueError):
    """A setting has a name or a value that does not exist or makes no sense."""


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
