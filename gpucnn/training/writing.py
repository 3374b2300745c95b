"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import time
from pathlib import Path
from typing import Any

PAUSES = (0.01, 0.05, 0.2, 0.5)  # seconds, in which who looks at a file on Windows is through with it


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file of these parts beside its place, as .NAME-*.part, bring it to the disk, and put it there.

    What is no regular file, such as /dev/null, is written into. Raises OSError, which names the file.
    """
    try:
        _write(path, *parts)
    except OSError as error:  # of the other name, or of a write, which knows none
        error.filename, error.filename2 = os.fspath(path), None
        raise


def write_figure(figure: Any, path: Any, **how: Any) -> None:
    """Write a figure of matplotlib as `figure.savefig(path, **how)` does, but whole or not at all.

    path: a file's, or a stream. A link is followed. A "$" in the figure's texts, such as names of classes, begins no
    formula. Raises OSError, which names the file, and ValueError for an ending
    that is no kind of picture.
    """
    _plain(figure)
    if hasattr(path, "write"):
        figure.savefig(path, **how)
        return
    place, picture = os.fspath(path), io.BytesIO()
    ending = os.path.splitext(place)[1][1:]
    if not ending:
        ending = figure.canvas.get_default_filetype()
        place = f"{place.rstrip('.')}.{ending}"
    figure.savefig(picture, format=ending, **how)
    write_whole(_followed(place), picture.getvalue())


def _plain(figure: Any) -> None:
    """Let the texts of a figure be shown as they are written, but for numbers at its axes."""
    from matplotlib.text import Text
    from matplotlib.ticker import FixedLocator

    numbers: set[Any] = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if not isinstance(axis.get_major_locator(), FixedLocator):  # which names have
            numbers.update(axis.get_majorticklabels(), axis.get_minorticklabels())
    for text in figure.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)
            text.set_text(text.get_text().encode("utf-8", "backslashreplace").decode())  # of names that are no texts


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file of a text in UTF-8, in which names of files keep bytes that are none. A link is followed. Raises
    OSError, which names the file.
    """
    write_whole(_followed(path), text.encode("utf-8", "surrogateescape"))


def put(source: Path, place: str | os.PathLike[str]) -> None:
    """Give a file or folder another place, and that of a file which is there. Raises OSError.

    Windows refuses that while a program has the one or the other open, as one that looks for viruses does for a moment.
    """
    for pause in PAUSES if os.name == "nt" else ():
        try:
            source.replace(place)
            return
        except PermissionError:
            time.sleep(pause)
    source.replace(place)


def _followed(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.realpath(path) if os.path.islink(path) else path)


def _write(path: Path, *parts: bytes | memoryview) -> None:
    if path.exists() and not path.is_file():  # it must stay what it is
        with open(path, "wb") as file:
            file.writelines(parts)
        return
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        put(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # where a folder cannot be opened, as on Windows, its entry is safe without
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
