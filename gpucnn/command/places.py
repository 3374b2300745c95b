"""Where commands write: a mistyped path is said, and no folders are made for it."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import GpucnnError


def check_folder(path: str) -> None:
    """Raises GpucnnError for a folder to be made or written in that is a file, or that lies in none."""
    if os.path.lexists(path) and not os.path.isdir(path):
        raise GpucnnError(f"{path}: a file of that name is in the way; choose another folder")
    check_above(path)


def check_above(path: str) -> None:
    """Raises GpucnnError for a file or folder to be made where there is no folder for it."""
    above = Path(path).parent
    if not above.exists():
        raise GpucnnError(f"{path}: there is no folder {above}; make it first")
