"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file of these parts beside its place, as .NAME-*.part, bring it to the disk, and put it there.

    What is no regular file, such as /dev/null, is written into. Raises OSError.
    """
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
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # where a folder cannot be opened, as on Windows, its entry is safe without
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
