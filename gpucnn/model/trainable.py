"""The part of a model that training changes: its parameters, on the device, by their names, and from a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import warn
from ..layers import Layer
from ..network.layout import Layout
from . import accepted, checkpoint, numbers
from .holding import Turn
from .labels import are_usual
from .measuring import Measuring
from .tensors import Copies, Trained, left_out, named, of_others, take, take_matching, take_named, units_taken


class Trainable(Measuring):
    """The part of `Model` that training changes: its parameters, and the running state of its layers.

    trained: what training left beside them, or None. kept: the epoch whose parameters the model has, where training
    went on beyond it, or None.
    """

    layout: Layout
    state_layout: Layout
    trained: Trained | None
    kept: int | None
    has_default_threads: bool
    turn: Turn
    drawn: frozenset[str] = frozenset()  # parameters that a like model lacked when its own were taken

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
    def dtype(self) -> str:
        """The type of its parameters, "float32" or "float64"."""
        return str(self.theta.dtype)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of an image that the network takes, (H, W, C), without the batch; or (features,)."""
        return self.network.input_shape

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The network's layers, which hold no parameters: model.layers[0] has those that begin with "0/"."""
        return self.network.layers

    @property
    def parameters(self) -> Copies:
        """Every parameter by its path, such as "0/kernel", as NumPy arrays that share nothing with the model and
        cannot be written: change a copy, and `load_parameters({"0/kernel": changed})` sets it."""
        copies = self._named(self.layout, self.execution.theta)
        copies.about = {"loss": type(self.loss).__name__, **numbers.described(self)}
        return copies

    @property
    def state(self) -> Copies:
        """The layers' running state by its path, such as "1/mean", as `parameters` are."""
        return self._named(self.state_layout, self.execution.state)

    def _named(self, layout: Layout, vector: Any) -> Copies:
        vector = self.device.fetch(vector)
        copies = {slot.name: vector[slot.place].reshape(slot.shape).copy() for slot in layout.slots}
        for array in copies.values():
            array.flags.writeable = False
        return Copies(copies)

    def describe(self) -> dict[str, Any]:
        """All of the model but its parameters and device, as JSON-able values."""
        return checkpoint.description_of(self)

    def load_parameters(
        self,
        path: str | bytes | os.PathLike[str] | Mapping[str, Any],
        *,
        matching: bool = False,
        without: str | Iterable[str] = (),
    ) -> list[str]:
        """Take the parameters, and the running state, of a checkpoint of the same network; or, where a dict is given,
        some by their names, such as load_parameters({"0/bias": numpy.zeros(8), "state/1/mean": mean}).

        matching: take those whose name and shape are the same, of another network, too. without: leave those whose
        names fit a pattern as they are, such as "9/*", or "head" for the last layer with parameters, which is of no use
        where the file's model was trained for other classes; that is warned of. -> the names of those that stay as they
        are. The units of a model of numbers come with its last layer, from its file and from its `parameters`.
        Raises CheckpointError for another network's, with matching=True for one that fits nowhere; for a dict
        SettingError, before anything is taken, where the model has no such name, shape or numbers.
        """
        stay: list[str] = []
        patterns = accepted.patterns(without, "without")
        if isinstance(path, Mapping):
            given, about = left_out(self, path, patterns), getattr(path, "about", None)
            decided, said = units_taken(self, about, given, "the model that these are of")
            stay = take_named(self, given, matching=matching)
        else:
            path = checkpoint.path_of(path)
            description, tensors = checkpoint.read(path)
            whole, tensors = tensors, left_out(self, tensors, patterns)
            decided, said = units_taken(self, description, tensors, str(path))
            if matching:
                stay = take_matching(self, tensors, str(path), whole)
            else:
                own, advice = named(self), "load it with gpucnn.load(path), or take what fits with matching=True"
                stay = [name for name in own if name not in left_out(self, own, patterns)]
                take(self, {name: own[name] for name in stay} | tensors, f"{path}: belongs to another network", advice)
            if not are_usual(self.class_names) and (others := of_others(self, description, tensors, str(path))):
                warn(others)
        self.units, self.standardize = decided
        if said:
            warn(said)
        drawn = frozenset(stay) & {slot.name for slot in self.layout.slots}
        self.drawn = drawn if matching or patterns else self.drawn & drawn
        return stay


def standing(model: Trainable) -> Trained | None:
    """What further training of the model goes on from; warns where that is lost with the epochs after the one kept."""
    if model.kept is not None:
        warn(
            f"the model has the parameters of epoch {model.kept}, which was kept, and the optimiser went on beyond it: "
            "partial_fit begins anew from them, with its first epoch; keep the last one where training is to go on"
        )
    return model.trained
