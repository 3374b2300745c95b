"""Where each named parameter lives in theta, the flat vector of all of them."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from array_api_compat import device

from ..errors import ShapeError
from ..layers.nests import Common
from ..namespace import array_namespace

Array = Any


class Slot(NamedTuple):
    """A parameter: its path in the nested dict, its place in theta, its shape."""

    path: tuple[str, ...]
    place: slice
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """Such as "0/kernel"."""
        return "/".join(self.path)

    @property
    def is_matrix(self) -> bool:
        """Whether it is a matrix or a stack of such, as weights and kernels are, but biases are not."""
        return len(self.shape) in (2, 4)


class Layout:
    """Named tensors <-> one flat vector, without copies.

    params is a dict of arrays, or of such dicts: {"0": {"kernel": ..., "bias": ...}, "3": {...}}.
    slots stand in the order of that dict; size is the length of theta. What stands behind equal keys of the class
    `Common`, which `layers.Shared` makes, has one slot, at the first of its places; the parameters of other places are
    found by their order, because blocks of several layers change the numbers in paths.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.slots: list[Slot] = []
        self.shared: list[tuple[tuple[str, ...], Slot]] = []  # further places of parameters that stand in a slot
        common: dict[tuple[str, int], Slot] = {}
        self._empty = list(_empty(params, ()))  # dicts without parameters, which a layer of one's own may expect
        self.size = 0
        for path, array, key in _keyed(_leaves(params, ())):
            if key in common:
                self.shared.append((path, common[key]))
                continue
            end = self.size + math.prod(array.shape)
            self.slots.append(Slot(path, slice(self.size, end), tuple(array.shape)))
            self.size = end
            if key is not None:
                common[key] = self.slots[-1]

    def part(self, places: Collection[int]) -> Layout:
        """Only the slots that begin at these places, which they keep: the layout of some of theta."""
        part = copy.copy(self)
        part.slots = [slot for slot in self.slots if slot.place.start in places and slot.place.stop > slot.place.start]
        return part

    def unpack(self, theta: Array) -> dict[str, Any]:
        """The parameters as views of theta: writing theta changes them."""
        xp = array_namespace(theta)
        params: dict[str, Any] = {}
        everywhere = [(slot.path, slot) for slot in self.slots] + self.shared
        for path, (_, place, shape) in everywhere:
            inner = params
            for key in path[:-1]:
                inner = inner.setdefault(key, {})
            inner[path[-1]] = xp.reshape(theta[place], shape, copy=False)
        for path in self._empty:
            inner = params
            for key in path:
                inner = inner.setdefault(key, {})
        return params

    def views(self, vector: Array) -> list[Array]:
        """The pieces of a flat vector in the order of slots, in their shapes: writing them writes the vector."""
        xp = array_namespace(vector)
        return [xp.reshape(vector[place], shape, copy=False) for _, place, shape in self.slots]

    def pack(self, params: Mapping[str, Any], out: Array) -> Array:
        """Copy params into the flat vector out, and return it."""
        for slot, target in zip(self.slots, self.views(out)):
            target[...] = at(params, slot.path)
        return out


def _leaves(params: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, name))
        elif hasattr(value, "shape"):
            yield (*path, name), value
        else:
            raise ShapeError(f"{'/'.join((*path, name))} is {value!r}; an array was expected: write numpy.asarray(...)")


def _empty(params: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _empty(value, (*path, name)) if value else [(*path, name)]


def _shared_place(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path of the innermost `Shared` around a parameter, or ()."""
    return path[: max((k + 1 for k, key in enumerate(path) if isinstance(key, Common)), default=0)]


def _keyed(found: Iterable[tuple[tuple[str, ...], Any]]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Parameters with their paths, each with a key that is the same at all places of a shared one; None of others."""
    seen: Counter[tuple[str, ...]] = Counter()
    for path, of_parameter in found:
        place = _shared_place(path)
        yield path, of_parameter, (place[-1], seen[place]) if place else None
        seen[place] += 1


def first_places(found: Iterable[tuple[tuple[str, ...], Any]]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The parameters that have a slot, from all with their paths: shared ones only at the first of their places."""
    common: set[tuple[str, int]] = set()
    for path, of_parameter, key in _keyed(found):
        if key not in common:
            yield path, of_parameter
        if key is not None:
            common.add(key)


def add_shared(params: Mapping[str, Any], dparams: dict[str, Any]) -> None:
    """Add the gradients at all places of shared parameters into those at the first; they are not written themselves.

    At the other places is 0 then, for a network around this one adds up its own. What a layer of one's own holds is
    known by its parameters alone.
    """
    if not _has_common(params):
        return
    for path, slot in Layout(params).shared:
        here, there, name = at(dparams, slot.path[:-1]), at(dparams, path[:-1]), path[-1]
        here[slot.path[-1]] = here[slot.path[-1]] + there[name]
        xp, like = array_namespace(there[name]), there[name]
        zero = xp.zeros((1,) * like.ndim, dtype=like.dtype, device=device(like))
        there[name] = xp.broadcast_to(zero, like.shape)


def _has_common(params: Mapping[str, Any]) -> bool:
    return Common in map(type, params) or any(_has_common(each) for each in params.values() if type(each) is dict)


def at(params: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        params = params[key]
    return params
