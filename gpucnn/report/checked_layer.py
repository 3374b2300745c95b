"""A layer whose calls are checked: its arrays are read-only, its answers must fit, and errors name the layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import GpucnnError, ShapeError
from ..kernels import Context
from ..layers.base import Around, initial_state
from ..layers.chain import Place, inside, rebuilt
from ..network import Network, own

WIDER = (
    "NumPy's own numbers, such as numpy.float64(2.0) or numpy.sqrt(2), widen float32: write float(...), "
    "and dtype=x.dtype where an array is made"
)


@dataclass(frozen=True)
class Seen:
    """A layer that went back in a network, by its name: what it was given, and what it gave."""

    name: str
    layer: Any
    params: Any
    x: np.ndarray
    dy: np.ndarray
    context: Context
    dx: np.ndarray
    dparams: dict[str, Any]


def watched(network: Network, seen: list[Seen] | None = None) -> Network:
    """The network with each of its layers watched, and those inside layers of gpucnn's own.

    seen: gets each of them as it goes back.
    """

    def change(place: Place) -> Any:
        return place.layer if inside(place.layer) else _Watched(place.layer, place.described, seen)

    return Network(network.input_shape, rebuilt(network.layers, network.input_shape, change))


def read_only(array: np.ndarray) -> np.ndarray:
    return np.broadcast_to(array, array.shape)


def expect(what: str, array: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Raise ShapeError unless this is an array of that shape and type."""
    if (getattr(array, "shape", None), getattr(array, "dtype", None)) == (shape, dtype):
        return
    typed = hasattr(array, "dtype") and hasattr(array, "shape")
    found = f"has shape {array.shape} and type {array.dtype}" if typed else f"is {own.shown(array)}"
    wider = typed and array.shape == shape and (str(array.dtype), str(dtype)) == ("float64", "float32")
    why = f"; {WIDER}" if wider else ""
    raise ShapeError(f"{what} {found}, shape {shape} and type {dtype} were expected{why}")


def pair(what: str, wanted: str, answer: Any) -> Any:
    """The answer. Raises GpucnnError unless it is a pair, with what to write: wanted, behind `return`."""
    if isinstance(answer, tuple) and len(answer) == 2:
        return answer
    found = "one array" if hasattr(answer, "shape") else own.shown(answer)
    raise GpucnnError(f"{what} gives {found}; write `return {wanted}`")


@dataclass(frozen=True)
class _Watched(Around):
    name: str
    seen: list[Seen] | None = field(compare=False)

    has_place = True

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return self._arrays("init", self.layer.init(in_shape, rng))

    def init_state(self, in_shape: tuple[int, ...]) -> dict[str, Any]:
        return self._arrays("init_state", initial_state(self.layer, in_shape))

    def _arrays(self, method: str, found: Any) -> dict[str, Any]:
        if not isinstance(found, Mapping):
            raise GpucnnError(f"{self.name}: {method} gives {own.shown(found)}, a dict of arrays by name was expected")
        for key, value in found.items():
            if not hasattr(value, "shape") and not isinstance(value, Mapping):
                raise GpucnnError(f"{self.name}: {method}: {key} is {own.shown(value)}, an array was expected")
        return dict(found)

    def next_state(self, state: Any, residual: Any) -> dict[str, Any]:
        found = self._called("next_state", state, residual[0])
        if not isinstance(found, Mapping) or found.keys() != state.keys():
            keys = sorted(found) if isinstance(found, Mapping) else own.shown(found)
            raise ShapeError(f"{self.name}: next_state gives {keys}, a dict with {sorted(state)} was expected")
        for key, value in state.items():
            if np.shape(found[key]) != np.shape(value):
                shapes = f"has shape {np.shape(found[key])}, {np.shape(value)} was expected, as init_state gives it"
                raise ShapeError(f"{self.name}: next_state: {key} {shapes}")
        return dict(found)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        method = "forward" if context.training else "forward in inference"
        y, residual = self._pair(method, "y, residual", params, read_only(x), context)
        expect(f"{self.name}: {method}: y", y, (len(x), *self.layer.out_shape(x.shape[1:])), x.dtype)
        return y, (residual, x)

    def backward(
        self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True
    ) -> tuple[Any, Any]:
        inner, x = residual
        arguments = params, inner, read_only(dy), context
        dx, dparams = self._pair("backward", "dx, dparams", *arguments, need_dx=need_dx)
        if not isinstance(dparams, dict) or dparams.keys() != params.keys():
            found = sorted(dparams) if isinstance(dparams, dict) else own.shown(dparams)
            raise ShapeError(f"{self.name}: backward: dparams has {found}, a dict with {sorted(params)} was expected")
        expect(f"{self.name}: backward: dx", dx, x.shape, x.dtype)
        if self.seen is not None:
            # what is shared by several places is added up in these arrays later
            made = copy.deepcopy((dx, dparams))
            self.seen.append(Seen(self.name, self.layer, params, x, dy, context, *made))
        return dx, dparams

    def _pair(self, method: str, wanted: str, *arguments: Any, **options: Any) -> Any:
        return pair(f"{self.name}: {method}", wanted, self._called(method, *arguments, **options))

    def _called(self, method: str, *arguments: Any, **options: Any) -> Any:
        """method: its name, and in what it is called."""
        try:
            return getattr(self.layer, method.split()[0])(*arguments, **options)
        except GpucnnError as error:
            raise GpucnnError(f"{self.name}: {method}: {error}") from error
        except Exception as error:
            if said := own.of_writing(f"{self.name}: {method}", error):
                raise GpucnnError(said) from None
            if method in ("forward", "backward"):
                error.add_note(f"{own.IN}{self.name}: {method}")
                raise
            why = "; there, context.training is False and context.examples is None" if "inference" in method else ""
            raise GpucnnError(f"{self.name}: {method}: {own.said(error)}{own.place(error)}{why}") from error
