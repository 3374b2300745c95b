"""A trained model whose folder takes it no more."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, GpucnnError
from .checkpoints import FOLDER
from .folder import MODEL
from .model import Model


def save(model: Model, path: Path, **more: Any) -> None:
    """Save the trained model; where its folder takes it no more, in a new folder among the temporary files. Raises
    GpucnnError, which says where it is, or what is left.
    """
    try:
        model.save(path / MODEL, **more)
    except CheckpointError as error:
        try:
            rescued = Path(tempfile.mkdtemp(prefix="gpucnn-")) / MODEL
        except OSError as other:
            raise GpucnnError(f"{error}; nor is there a place among temporary files ({other}), {_left(path)}") from None
        try:
            model.save(rescued, **more)
        except CheckpointError as other:
            with contextlib.suppress(OSError):
                rescued.parent.rmdir()
            raise GpucnnError(f"{error}; nor can it be in a temporary folder ({other}), {_left(path)}") from None
        raise GpucnnError(f"{error}; the trained model is in {rescued}") from None


def _left(path: Path) -> str:
    """What is left of a run whose model is not saved."""
    if any((path / FOLDER).glob("step-*")):
        return f"but the run's last state is; make room, and --resume {path} goes on from it"
    return "and nothing is left of what was learnt; make room, or choose another place, and train again"
