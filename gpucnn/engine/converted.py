"""Foreign layers, those of a user's own, among gpucnn's: they get the arrays that they expect, and what they give is
looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import DataError, SettingError, ShapeError
from ..kernels import EXACT_REFERENCE, REFERENCE, Context
from ..layers.base import Around, Gradients, is_own
from ..layers.chain import inside
from ..namespace import array_namespace
from ..network.own import IN, shown

Array = Any

TOLD = (SettingError, ShapeError, DataError)  # errors that are a sentence, and take no other
ONCE = "is not gpucnn's own, and what it copies from the host would be recorded once"  # behind the name of a class


@dataclass(frozen=True)
class Converted(Around):
    """The layer meets (N, H, W, C) and the reference table, whatever the layers around it use.

    path: where it stands, such as ("3", "layers", "0"). Raises ShapeError, naming the layer and its place, where it
    gives what does not fit; `gpucnn check` says more. What the layer itself raises is told of the place, too.
    """

    path: tuple[str, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        kind = type(self.layer).__name__
        return f"layer {'/'.join(self.path)} ({kind})" if self.path else kind

    def _called(self, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self.layer, method)(*arguments, **options)
        except Exception as error:
            if type(error) in TOLD:
                raise type(error)(f"{self.name}: {method}: {error}") from error
            error.add_note(f"{IN}{self.name}: {method}")
            raise

    def next_state(self, state: Any, residual: Any) -> dict[str, Any]:
        made = self._called("next_state", state, residual[0])
        _check_named(f"{self.name}: next_state", state, made)
        return made

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        kernels = context.kernels
        x = kernels.leave(x)
        y, residual = _two(f"{self.name}: forward", "y, residual", self._called("forward", params, x, _plain(context)))
        y = _fitting(f"{self.name}: forward: y", y, (x.shape[0], *self.layer.out_shape(tuple(x.shape[1:]))), x)
        if y.ndim == 2 and context.factored < math.inf:
            y = y.copy()  # a layer behind may keep it longer than until this one's backward, which may write into it
        return kernels.enter(y), (residual, tuple(x.shape))

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        kernels, (inner, shape) = context.kernels, residual
        dy = kernels.leave(dy)
        given = self._called("backward", params, inner, dy, _plain(context), need_dx=need_dx)
        dx, dparams = _two(f"{self.name}: backward", "dx, dparams", given)
        _check_named(f"{self.name}: backward: dparams", params, dparams)
        return (kernels.enter(_fitting(f"{self.name}: backward: dx", dx, shape, dy)) if need_dx else None), dparams


def as_given(layer: Any) -> Any:
    """The layer as it was given: a `Converted` one is what it converts for."""
    return layer.layer if isinstance(layer, Converted) else layer


def foreign(layers: Iterable[Any]) -> Iterator[str]:
    """The names of the classes of layers, and of those inside them, that are not gpucnn's own.

    Nobody knows what such a class does beside its results: what it copies from the host would be the same bytes in each
    replay of a recording, and one that is called once more, to see what it does, may count its calls.
    """
    for layer in map(as_given, layers):
        for held in inside(layer).values():
            yield from foreign(held)
        if not is_own(layer):
            yield type(layer).__name__


def _plain(context: Context) -> Context:
    return replace(context, kernels=EXACT_REFERENCE if context.kernels.exact_ties else REFERENCE, factored=math.inf)


def _two(what: str, wanted: str, given: Any) -> Any:
    if not isinstance(given, tuple) or len(given) != 2:
        raise ShapeError(f"{what} gives {_shown(given)}; write `return {wanted}`")
    return given


def _fitting(what: str, given: Any, shape: tuple[int, ...], like: Array) -> Array:
    """given in the type of `like`: a constant may have made float64 of float32."""
    alike = isinstance(given, type(like)) or isinstance(like, type(given))
    if not alike or tuple(given.shape) != shape:
        raise ShapeError(f"{what} is {_shown(given)}; a {type(like).__name__} of shape {shape} was expected")
    if given.dtype == like.dtype:
        return given
    xp = array_namespace(like)
    if not xp.isdtype(given.dtype, ("real floating", "integral", "bool")):
        raise ShapeError(f"{what} is {_shown(given)}; real numbers were expected")
    return xp.astype(given, like.dtype)


def _check_named(what: str, expected: Any, given: Any) -> None:
    """Raises ShapeError where a dict has not an array of the same shape for each of the expected names."""
    if not isinstance(given, Mapping) or given.keys() != expected.keys():
        found = sorted(given) if isinstance(given, Mapping) else _shown(given)
        raise ShapeError(f"{what} has {found}, a dict with {sorted(expected)} was expected")
    for name, value in expected.items():
        if isinstance(value, Mapping):
            _check_named(f"{what}: {name}", value, given[name])
        elif getattr(given[name], "shape", None) != value.shape:
            raise ShapeError(f"{what}: {name} is {_shown(given[name])}, an array of shape {value.shape} was expected")


def _shown(value: Any) -> str:
    """A value in a message: an array by its shape and type."""
    if hasattr(value, "shape"):
        return f"a {type(value).__name__} of shape {tuple(value.shape)} and type {getattr(value, 'dtype', '?')}"
    return shown(value)
