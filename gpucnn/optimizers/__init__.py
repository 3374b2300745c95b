"""Optimisers: each updates theta, the flat vector of all parameters, by g, the mean gradient over the batch.

They are frozen dataclasses; what changes lives in `state`, vectors as long as theta, so that one optimiser can serve
several models. Weight decay acts on all parameters, or with decay="kernels" on matrices alone. One of your
own has a text, "my_module:Name", which the command takes, too. Wrappers go around any of them: Clip, EMA, SWA,
Lookahead; Groups gives parameters other settings by their names.
"""

from __future__ import annotations

from ..errors import SettingError, suggested
from ..names import explain
from ..network import own
from .base import Around, Optimizer, Part, State, described
from .groups import Groups, changed
from .matrices import LAMB, Muon
from .rules import SGD, Adam, AdamW, Lion, RMSprop
from .wrappers import EMA, SWA, Clip, Lookahead

__all__ = [
    "EMA",
    "LAMB",
    "OPTIMIZERS",
    "SGD",
    "SWA",
    "Adam",
    "AdamW",
    "Around",
    "Clip",
    "Groups",
    "Lion",
    "Lookahead",
    "Muon",
    "Optimizer",
    "Part",
    "RMSprop",
    "State",
    "changed",
    "described",
    "optimizer",
]

explain(__name__)

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(),
    "adamw": AdamW(),
    "rmsprop": RMSprop(),
    "lion": Lion(),
    "muon": Muon(),
    "lamb": LAMB(),
}


def optimizer(name: str) -> Optimizer:
    """The optimiser of that name, "adam" or "Adam", with its usual settings; "my_module:Name" is one of your own, an
    object, a class or a function that makes one. SettingError with the names there are.
    """
    if ":" in name:
        return own.thing(name, ("init", "update"), "an optimiser")
    found = OPTIMIZERS.get(name.lower())
    if found is None:
        hint = suggested(name.lower(), OPTIMIZERS)
        raise SettingError(f"optimizer {name!r} is not known; {hint}choose one of {', '.join(OPTIMIZERS)}")
    return found
