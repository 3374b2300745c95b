"""Layers that hold layers: side by side, around a shortcut, or with parameters that stand once for several places."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import SettingError, ShapeError
from ..kernels import Context
from .base import Gradients, Layer
from .chain import Chain, checked, places

MERGES = ("concat", "add")


class Nest(Layer):
    """What nests have in common: chains of layers that all get the input, and whose outputs are merged.

    Parameters and states stand by the names of `nested`: {"shortcut": {"0": {"kernel": ...}}, ...}.
    """

    @functools.cached_property
    def _chains(self) -> dict[str, Chain]:
        return {name: Chain(layers) for name, layers in self.nested().items()}

    def _merged_shape(self, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
        """The output's shape, of the chains' output shapes. Raises ShapeError where they do not fit."""
        raise NotImplementedError

    def _merged(self, ys: list[Any], context: Context) -> tuple[Any, Any]:
        """The chains' outputs as one -> y, residual."""
        return functools.reduce(context.kernels.add, ys), None

    def _parted(self, residual: Any, dy: Any, context: Context) -> list[Any]:
        """dy for each of the chains. One array may stand for several of them: none is written."""
        return [dy] * len(self._chains)

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._merged_shape({name: self._asked(name, "out_shape", in_shape) for name in self._chains})

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        drawn = {name: self._asked(name, "init", in_shape, rng) for name in self._chains}
        return {name: params for name, params in drawn.items() if params}

    def init_state(self, in_shape: tuple[int, ...]) -> dict[str, Any]:
        first = {name: self._asked(name, "init_state", in_shape) for name in self._chains}
        return {str(name): state for name, state in first.items() if state}

    def _asked(self, name: str, method: str, *arguments: Any) -> Any:
        """What a chain answers; an error says which chain it is."""
        try:
            return getattr(self._chains[name], method)(*arguments)
        except ShapeError as error:
            raise ShapeError(f"{name}: {error}") from None

    def next_state(self, state: Any, residual: Any) -> dict[str, Any]:
        residuals = dict(zip(self._chains, residual))
        return {name: self._chains[name].next_state(of_chain, residuals[name]) for name, of_chain in state.items()}

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        return sum(chain.multiply_adds(in_shape) for chain in self._chains.values())

    @functools.cached_property
    def has_place(self) -> bool:  # type: ignore[override]
        return any(chain.has_place for chain in self._chains.values())

    @functools.cached_property
    def _places(self) -> dict[str, int | None]:
        return dict(zip(self._chains, places([chain.has_place for chain in self._chains.values()])))

    def _context_of(self, name: str, context: Context) -> Context:
        place = self._places[name]
        return context if place is None else context.inside(name, place)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, list[Any]]:
        """-> y, the chains' residuals and that of the merging, in a list which `backward` empties."""
        ys, residuals = [], []
        for name, chain in self._chains.items():
            y, residual = chain.forward(params.get(name, {}), x, self._context_of(name, context))
            ys.append(y)
            residuals.append(residual)
        y, merging = self._merged(ys, context)
        return y, [*residuals, merging]

    def outputs(self, params: Any, x: Any, context: Context) -> Any:
        ys = [
            chain.outputs(params.get(name, {}), x, self._context_of(name, context))
            for name, chain in self._chains.items()
        ]
        return self._merged(ys, context)[0]

    def backward(
        self, params: Any, residual: list[Any], dy: Any, context: Context, *, need_dx: bool = True
    ) -> Gradients:
        """The input reaches the output by every chain, so that its gradient is the sum of theirs."""
        parts = self._parted(residual.pop(), dy, context)
        dxs, found = [], {}
        for name, chain in reversed(self._chains.items()):
            of_chain, part, kept = params.get(name, {}), parts.pop(), residual.pop()
            if need_dx or name in params:
                inner = self._context_of(name, context)
                dx, found[name] = chain.backward(of_chain, kept, part, inner, need_dx=need_dx)
                dxs.append(dx)
        return (functools.reduce(context.kernels.add, dxs) if need_dx else None), {name: found[name] for name in params}


@dataclass(frozen=True)
class Residual(Nest):
    """y = f(x) + shortcut(x), f being the layers one behind the other. He et al., 2015.

    Shape: (N, ...) -> that of the layers and of the shortcut.

    shortcut: None for x itself, or a layer, or layers, such as a 1x1 convolution where the shape changes.
    Parameters: "layers/0/kernel", ..., and "shortcut/0/kernel", ...
    """

    layers: tuple[Any, ...]
    shortcut: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", _chain(self.layers, "Residual: layers: "))
        if self.shortcut is not None:
            object.__setattr__(self, "shortcut", _chain(self.shortcut, "Residual: shortcut: "))

    def nested(self) -> dict[str, tuple[Any, ...]]:
        return {"layers": self.layers, "shortcut": self.shortcut or ()}

    def renested(self, chains: dict[str, tuple[Any, ...]]) -> Residual:
        return replace(self, layers=chains["layers"], shortcut=chains["shortcut"] or None)

    def _merged_shape(self, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
        ours, theirs = shapes["layers"], shapes["shortcut"]
        if ours != theirs:
            hint = "" if self.shortcut else ", the input itself; give shortcut= layers, such as a 1x1 convolution"
            raise ShapeError(f"the layers give {ours} and the shortcut {theirs}{hint}; the same shape was expected")
        return ours


@dataclass(frozen=True)
class Parallel(Nest):
    """Branches of layers that all get the input.

    Shape: (N, ...) -> what the branches give, joined.

    merge: "concat", their outputs beside one another, the first branch's channels (of vectors: features) first, as in
    Szegedy et al., 2014; or "add". A branch is a layer or a tuple of layers; () hands the input on as it is.
    Parameters: "0/1/kernel" of layer 1 of branch 0, ...
    """

    branches: tuple[tuple[Any, ...], ...]
    merge: str = "concat"

    def __post_init__(self) -> None:
        if not isinstance(self.branches, Iterable) or not (branches := tuple(self.branches)):
            raise ShapeError(f"Parallel: branches={self.branches!r}: a tuple of at least one branch was expected")
        if self.merge not in MERGES:
            raise SettingError(f"Parallel: merge={self.merge!r}: one of {', '.join(MERGES)} was expected")
        made = tuple(_chain(branch, f"Parallel: branch {k}: ") for k, branch in enumerate(branches))
        object.__setattr__(self, "branches", made)

    def nested(self) -> dict[str, tuple[Any, ...]]:
        return {str(k): branch for k, branch in enumerate(self.branches)}

    def renested(self, chains: dict[str, tuple[Any, ...]]) -> Parallel:
        return replace(self, branches=tuple(chains.values()))

    def _merged_shape(self, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
        given = list(shapes.values())
        if len({shape[: len(shape) - (self.merge == "concat")] for shape in given}) > 1 or len({*map(len, given)}) > 1:
            differ = " but for the last length" if self.merge == "concat" else ""
            raise ShapeError(f"the branches give {', '.join(map(str, given))}; the same shape{differ} was expected")
        return (*given[0][:-1], sum(shape[-1] for shape in given)) if self.merge == "concat" else given[0]

    def _merged(self, ys: list[Any], context: Context) -> tuple[Any, Any]:
        return context.kernels.concatenate.forward(ys) if self.merge == "concat" else super()._merged(ys, context)

    def _parted(self, residual: Any, dy: Any, context: Context) -> list[Any]:
        if self.merge == "concat":
            return context.kernels.concatenate.backward(residual, dy)
        return super()._parted(residual, dy, context)


class Common(str):
    """The name of a `Shared`, as a key of parameters: what stands behind it is one with all that has the same name."""

    __slots__ = ()


@dataclass(frozen=True)
class Shared(Nest):
    """Layers with parameters that the network has once, wherever `Shared` of this name stands in it.

    Shape: (N, ...) -> that of its layers.

    The shapes of the parameters must be the same at all places, in order, and Network sees to it; what has no
    parameters, such as a stride, may differ. theta holds the parameters, "3/name/0/kernel", at the first place, with
    the values drawn there; their gradient is the sum of those of all places. A running state, as of BatchNorm, is not
    shared: inputs differ from place to place, so that each has its own, and random numbers are drawn for each.
    """

    name: str
    layers: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w.-]+", self.name):
            raise SettingError(f"Shared: name={self.name!r}: letters, digits, _, . and - were expected: 'encoder'")
        object.__setattr__(self, "layers", _chain(self.layers, f"Shared {self.name!r}: "))

    def nested(self) -> dict[str, tuple[Any, ...]]:
        return {Common(self.name): self.layers}

    def renested(self, chains: dict[str, tuple[Any, ...]]) -> Shared:
        return replace(self, layers=chains[self.name])

    def _merged_shape(self, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
        return shapes[self.name]

    def backward(
        self, params: Any, residual: list[Any], dy: Any, context: Context, *, need_dx: bool = True
    ) -> Gradients:
        """Gradients are whole arrays: those of several places are added."""
        return super().backward(params, residual, dy, context.unfactored, need_dx=need_dx)


def _chain(layers: Any, what: str) -> tuple[Any, ...]:
    return checked((layers,) if hasattr(layers, "out_shape") else layers, what)
