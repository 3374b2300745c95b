"""What can go wrong in a user's hands. Every message says where, what was found, what was expected, and what to do."""

from __future__ import annotations


class GpucnnError(Exception):
    """The base of all errors that this library raises on purpose; the command prints the sentence and exits with 1."""


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
