"""The methods of a layer of a user's own, looked at where it is put among others."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from .base import Layer

NEED_DX = "*, need_dx=True"
TAKE = {  # what each method is called with
    "out_shape": ("in_shape",),
    "init": ("in_shape", "rng"),
    "init_state": ("in_shape",),
    "forward": ("params", "x", "context"),
    "backward": ("params", "residual", "dy", "context", NEED_DX),
    "next_state": ("state", "residual"),
    "to_onnx": ("graph", "numbers", "x", "in_shape"),
}
NEEDED, PAIR = ("out_shape", "forward", "backward"), ("init_state", "next_state")
OTHERS = {  # other libraries' words
    **dict.fromkeys(("output_shape", "compute_output_shape", "get_output_shape"), "out_shape"),
    "call": "forward",
}
ALIKE = 0.88  # part of 1, from which on a name is another one's misspelling


def fault(layer: Any) -> str:
    """What is wrong with a layer's methods, as a clause that says what to write; "" where nothing is."""
    for name in dir(type(layer)):
        meant = _meant(name)
        if meant and _is_for(layer, name, meant) and callable(getattr(layer, name, None)):
            return f"its class has a method {name}, which nothing calls, and no {meant} of its own; call it {meant}"
    if _has(layer, "init_state") and not _has(layer, "next_state"):
        return (
            f"its class has init_state and no next_state, so that its state would stay as it is; write "
            f"{_written('next_state')}, with `return state` in it where it is to stay"
        )
    for name in TAKE:
        if _has(layer, name) and (said := _wrong_call(name, getattr(layer, name))):
            return said
    return ""


def misspelt(thing: Any, method: str) -> str:
    """Which of its methods is probably meant to be that one, as a clause; "" where none is."""
    found = [name for name in dir(type(thing)) if _meant(name) == method]
    return f", unless {found[0]} is meant to be it" if found else ""


def _meant(name: str) -> str | None:
    """The method that a name is a misspelling of."""
    if name in TAKE or name.startswith("_") or hasattr(Layer, name):
        return None
    return OTHERS.get(name) or next(iter(difflib.get_close_matches(name.lower(), TAKE, 1, ALIKE)), None)


def _has(layer: Any, name: str) -> bool:
    """Whether the layer has a method of its own of that name, and not `Layer`'s default."""
    found = getattr(layer, name, None)
    return found is not None and getattr(found, "__func__", found) is not getattr(Layer, name, None)


def _is_for(layer: Any, name: str, meant: str) -> bool:
    """Whether a method stands for one that the layer lacks: that one is needed, or their names differ by underscores
    alone, or by what is left out of to_onnx. Others are helpers of its own, whatever their names."""
    is_needed = meant in NEEDED or (meant in PAIR and all(_has(layer, each) for each in PAIR if each != meant))
    is_same = name.lower().replace("_", "") == meant.replace("_", "")
    is_export = meant == "to_onnx" and not name.startswith(meant)
    return not _has(layer, meant) and (is_needed or is_same or is_export)


def _wrong_call(name: str, method: Any) -> str:
    takes = TAKE[name]
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # of what is not written in Python nothing is known
        return ""
    given = [each for each in takes if each != NEED_DX]
    try:
        signature.bind(*given)
    except TypeError:
        return (
            f"its {name} takes ({', '.join(signature.parameters)}), and ({', '.join(takes)}) is what it is given; "
            + (f"write {_written(name)}")
        )
    if NEED_DX in takes:
        try:
            signature.bind(*given, need_dx=True)
        except TypeError:
            return f"its {name} is told by need_dx whether dx is needed; add `{NEED_DX}`, as in {_written(name)}"
    return ""


def _written(name: str) -> str:
    return f"`def {name}(self, {', '.join(TAKE[name])})`"
