"""A model: what a user trains, asks, saves and loads."""

from __future__ import annotations

from .ensemble import Ensemble
from .load import load
from .model import Model

__all__ = ["Ensemble", "Model", "load"]
