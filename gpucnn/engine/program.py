"""A network with its vectors, ready to run; what helper processes get of it."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from typing import Any

from ..errors import TrainingError
from ..kernels import Context
from ..namespace import read_only
from ..network import Network
from ..network.layout import Layout
from ..workers import Task
from .scaling import Scaling

Array = Any


@dataclass(frozen=True, eq=False)
class Program(Task):
    """The network as its table runs it; theta and the layers' running state, with the places of what they hold.

    params and of_layers are the same vectors by name: writing a vector changes them. given: the parameters' places by
    the names that they have in the network as it was given, for optimisers. trained: where in theta the parameters
    begin that are trained; None: all are.
    """

    network: Network
    layout: Layout
    given: Layout
    theta: Array
    state_layout: Layout
    state: Array
    scaling: Scaling
    context: Context
    trained: frozenset[int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_made_by", os.getpid())

    def check_process(self) -> None:
        """Raises TrainingError in a forked process, which would write the vectors of its parent."""
        if self._made_by != os.getpid():  # type: ignore[attr-defined]
            raise TrainingError(
                "this step was made before the process was forked, and would write the parameters of its parent; make "
                "it in the process that trains"
            )

    @functools.cached_property
    def params(self) -> Any:
        return self.layout.unpack(self.theta)

    @functools.cached_property
    def moved(self) -> Layout:
        """The parameters that are trained, by their paths in `network`."""
        return self.layout if self.trained is None else self.layout.part(self.trained)

    @functools.cached_property
    def first(self) -> int:
        """The first layer that is trained, or one that holds it: what comes before needs no gradients."""
        return 0 if self.trained is None else min(int(slot.path[0]) for slot in self.moved.slots)

    @functools.cached_property
    def of_layers(self) -> Any:
        return self.state_layout.unpack(read_only(self.state))

    def told(self, update: Any, examples: Array) -> Context:
        """The context of an update by those examples; the plain one where no layer has a place of its own."""
        if not self.network.has_place:
            return self.context
        return replace(self.context, update=update, examples=examples, state=self.of_layers)
