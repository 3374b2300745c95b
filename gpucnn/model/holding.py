"""The parameters that a model holds: theta on the device, by their names, and from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..network.layout import Layout
from . import checkpoint
from .predicting import Predicting
from .tensors import Trained, take, take_matching, take_named


class Holding(Predicting):
    """The part of `Model` that has parameters, which training changes.

    trained: what training left beside them, or None. kept: the epoch of the parameters, where training went on beyond.
    """

    layout: Layout
    state_layout: Layout
    trained: Trained | None
    kept: int | None
    has_default_threads: bool

    @property
    def theta(self) -> Any:
        """theta, the vector of all parameters, on the device; what is written there changes the model."""
        return self.execution.theta

    @theta.setter
    def theta(self, vector: Any) -> None:
        with self.device.activate():
            self.execution.theta[...] = vector

    @property
    def threads(self) -> int:
        """CPU threads that training may use."""
        return self.execution.workers.threads

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Every parameter by its path, such as "0/kernel", as NumPy arrays that share nothing with the model; what is
        changed there is set by `load_parameters`."""
        return self._named(self.layout, self.execution.theta)

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The layers' running state by its path, such as "1/mean", as `parameters` are."""
        return self._named(self.state_layout, self.execution.state)

    def _named(self, layout: Layout, vector: Any) -> dict[str, np.ndarray]:
        vector = self.device.fetch(vector)
        return {slot.name: vector[slot.place].reshape(slot.shape).copy() for slot in layout.slots}

    def describe(self) -> dict[str, Any]:
        """All of the model but its parameters and device, as JSON-able values."""
        return checkpoint.description_of(self)

    def load_parameters(
        self, path: str | bytes | os.PathLike[str] | Mapping[str, Any], *, matching: bool = False
    ) -> list[str]:
        """Take the parameters, and the running state, of a checkpoint of the same network; or, where a dict is given,
        some by their names, such as load_parameters({"0/bias": numpy.zeros(8), "state/1/mean": mean}).

        matching: take those whose name and shape are the same, of another network, too. -> the names of those that
        stay as they are. Raises CheckpointError for another network's, with matching=True for one that fits nowhere;
        for a dict SettingError, before anything is taken, where the model has no such name, shape or numbers.
        """
        if isinstance(path, Mapping):
            return take_named(self, path, matching=matching)
        path = checkpoint.path_of(path)
        _, tensors = checkpoint.read(path)
        if matching:
            return take_matching(self, tensors, str(path))
        advice = "load it with gpucnn.load(path), or take what fits with matching=True"
        take(self, tensors, f"{path}: belongs to another network", advice)
        return []
