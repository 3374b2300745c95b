"""A model: what a user trains, asks, saves and loads."""

from __future__ import annotations

from .load import load
from .model import Model

__all__ = ["Model", "load"]
