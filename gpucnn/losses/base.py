"""The base of losses."""

from __future__ import annotations

import functools
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

from array_api_compat import device

from .. import ops
from ..names import Explained
from ..namespace import array_namespace

Array = Any


class Loss(Explained):
    """The base of losses. It holds defaults only, and deriving from it is optional: a class that does not derive needs
    `__call__` and `probabilities`.

    What targets are is one of three kinds; see `kind`. numbers: numbers (N, K), as logits are. multi_label: 0 or 1, for
    each output whether its label holds, (N, K). Else they are classes, whole numbers (N,) below K.
    soft: targets may also be floats (N, K) in 0..1, parts of an example that belong to each class or label; is_shared:
    they add up to 1. standardizes: numbers are handed over standardised where the model does so (`Model`), which must
    not change what is least, as it does not for differences; a class with another `__call__` has to say so again.
    """

    numbers: ClassVar[bool] = False
    standardizes: ClassVar[bool] = False
    multi_label: ClassVar[bool] = False
    soft: ClassVar[bool] = False
    is_shared: ClassVar[bool] = False

    def __call__(self, logits: Array, targets: Array) -> tuple[Array, Array]:
        """logits (N, K), targets (N,) or (N, K), not to be changed -> losses (N,), d_logits (N, K) of their sum.

        N is the batch, or a part of it where the loss of an example depends on that example alone. One that depends on
        others gets whole batches in training, and as many examples as come together where it is measured.
        """
        raise NotImplementedError

    def probabilities(self, logits: Array) -> Array:
        """logits (N, K) -> (N, K): their softmax or, where several labels may hold, sigmoid; numbers as they are."""
        if self.numbers:
            return logits
        return ops.sigmoid(logits) if self.multi_label else ops.softmax(logits)

    def check(self, outputs: int) -> None:
        """Raises SettingError where a setting does not fit a network of that many outputs."""

    @functools.cached_property
    def is_usual(self) -> bool:
        """Whether all settings are the usual ones."""
        return is_dataclass(self) and all(getattr(self, each.name) == each.default for each in fields(self))

    @functools.cached_property
    def _placed(self) -> dict[Any, Array]:
        return {}

    def beside(self, logits: Array, values: tuple[float, ...], put: Any = None) -> Array:
        """The loss's numbers as an array of the type of logits, and where they are; by `put`, where it is given.

        It is made once: a step that is recorded as a CUDA graph may copy nothing from the host.
        """
        xp, there = array_namespace(logits), device(logits)
        key = xp.__name__, str(logits.dtype), str(there), put is None
        if key not in self._placed:
            made = xp.asarray(values, dtype=logits.dtype, device=there) if put is None else put(values, logits.dtype)
            self._placed[key] = made
        return self._placed[key]

    def __getstate__(self) -> dict[str, Any]:
        """A copy makes its own arrays."""
        return {name: value for name, value in self.__dict__.items() if name != "_placed"}
