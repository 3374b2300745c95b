"""Layers one behind the other: what a network is, and what a nest of layers holds."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import ShapeError
from ..kernels import Context
from .base import Layer, cost, has_place, initial_state, is_own
from .methods import fault, misspelt


class Sequential(Layer):
    """Layers applied in order. Parameters and states stand by the layers' numbers: {"0": {"kernel": ...}, ...}."""

    layers: tuple[Any, ...]

    def shapes_from(self, in_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The input's shape, then each layer's output shape. Raises ShapeError, naming the layer that does not fit."""
        shapes = [tuple(in_shape)]
        for k, layer in enumerate(self.layers):
            try:
                shape = layer.out_shape(shapes[-1])
                if not isinstance(shape, Iterable) or not all(hasattr(n, "__index__") and n >= 1 for n in shape):
                    raise ShapeError(f"out_shape gives {shape!r}, a tuple of whole numbers of at least 1 was expected")
                shapes.append(tuple(shape))
            except ShapeError as error:
                raise ShapeError(f"layer {k} ({type(layer).__name__}): {error}") from None
        return shapes

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.shapes_from(in_shape)[-1]

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        """Initial parameters, {"0": {"kernel": ...}, ...}: host arrays in float64, drawn layer by layer."""
        pairs = zip(self.layers, self.shapes_from(in_shape))
        return self._of_layers("init", [layer.init(shape, rng) for layer, shape in pairs])

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, list[Any]]:
        """x and the output in the layout of context.kernels -> output, one residual per layer.

        A layer's input is what the one before made: two-conv eq. (16), layered eq. (1), single-filter, "Forward Pass".
        """
        residuals, places = [], self._places
        for k, layer in enumerate(self.layers):
            inner = context if places[k] is None else self.context_of(k, context)
            x, residual = layer.forward(params.get(str(k), {}), x, inner)
            residuals.append(residual)
        return x, residuals

    def outputs(self, params: Any, x: Any, context: Context) -> Any:
        """The output of `forward`, where nobody calls `backward`: what the layers keep for it is let go at once."""
        for k, layer in enumerate(self.layers):
            inner, of_layer = self.context_of(k, context), params.get(str(k), {})
            x = layer.outputs(of_layer, x, inner) if is_own(layer) else layer.forward(of_layer, x, inner)[0]
        return x

    def backward(
        self, params: Any, residuals: list[Any], dy: Any, context: Context, *, need_dx: bool = True
    ) -> tuple[Any, dict[str, Any]]:
        """The chain rule, last layer first: two-conv eq. (20), (21), layered eq. (3), (5), (7), without their -eta;
        single-filter, "Backward Pass".

        Layers before the first one with parameters are skipped unless need_dx. The list `residuals` is emptied on the
        way: what a layer kept is let go as soon as its gradient is known.
        """
        places = self._places
        dparams: dict[str, Any] = {}
        last = 0 if need_dx or not params else min(map(int, params))
        for k in range(len(self.layers) - 1, last - 1, -1):
            key, need = str(k), need_dx or k > last
            inner = context if places[k] is None else self.context_of(k, context)
            dy, of_layer = self.layers[k].backward(params.get(key, {}), residuals.pop(), dy, inner, need_dx=need)
            if key in params:
                dparams[key] = of_layer
        return (dy if need_dx else None), dparams

    def init_state(self, in_shape: tuple[int, ...]) -> dict[str, Any]:
        """The running states of the layers that have one, {"1": {"mean": ...}, ...}."""
        return self._of_layers("init_state", [*map(initial_state, self.layers, self.shapes_from(in_shape))])

    def _of_layers(self, method: str, given: list[Any]) -> dict[str, Any]:
        """What the layers gave, by their numbers; those without any are left out."""
        for k, of_layer in enumerate(given):
            if not isinstance(of_layer, Mapping):
                name = f"layer {k} ({type(self.layers[k]).__name__})"
                raise ShapeError(f"{name}: {method} gives {of_layer!r}, a dict of arrays, or {{}}, was expected")
        return {str(k): of_layer for k, of_layer in enumerate(given) if of_layer}

    def next_state(self, state: Any, residuals: list[Any]) -> dict[str, Any]:
        return {k: self.layers[int(k)].next_state(of_layer, residuals[int(k)]) for k, of_layer in state.items()}

    @functools.cached_property
    def has_place(self) -> bool:  # type: ignore[override]
        return any(place is not None for place in self._places)

    @functools.cached_property
    def _places(self) -> tuple[int | None, ...]:
        """For layers with a context of their own, how many such there are before: blocks of others do not change it."""
        return places([has_place(layer) for layer in self.layers])

    def context_of(self, k: int, context: Context) -> Context:
        """What layer k is told, of what the whole is told."""
        place = self._places[k]
        return context if place is None else context.inside(str(k), place)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        return sum(cost(layer, shape) for layer, shape in zip(self.layers, self.shapes_from(in_shape)))


@dataclass(frozen=True)
class Chain(Sequential):
    """Layers one behind the other, for inputs of any shape that fits. Without layers, its output is its input."""

    layers: tuple[Any, ...]


class Place(NamedTuple):
    """A layer in a network. path: such as ("3", "layers", "0"), under which its parameters stand; shape: of its input;
    output: of what it gives.
    """

    path: tuple[str, ...]
    layer: Any
    shape: tuple[int, ...]
    output: tuple[int, ...]

    @property
    def name(self) -> str:
        """Such as "3/layers/0"."""
        return "/".join(self.path)

    @property
    def described(self) -> str:
        """Such as "layer 3/layers/0 (Conv2D)"."""
        return f"layer {self.name} ({type(self.layer).__name__})"


def inside(layer: Any) -> dict[str, tuple[Any, ...]]:
    """The layers that one of gpucnn's own holds, by `Layer.nested`; what another class does with them is its affair."""
    return layer.nested() if is_own(layer) else {}


def walk(layers: Iterable[Any], in_shape: tuple[int, ...], path: tuple[str, ...] = ()) -> Iterator[Place]:
    """Every layer, followed by those inside it, in the order of their parameters."""
    for place in _along(layers, in_shape, path):
        yield place
        for name, held in inside(place.layer).items():
            yield from walk(held, place.shape, (*place.path, name) if name else place.path)


def _along(layers: Iterable[Any], in_shape: tuple[int, ...], path: tuple[str, ...]) -> Iterator[Place]:
    """The layers, those inside them left out."""
    layers = tuple(layers)
    shapes = Chain(layers).shapes_from(in_shape)
    for k, (layer, shape, output) in enumerate(zip(layers, shapes, shapes[1:])):
        yield Place((*path, str(k)), layer, shape, output)


def rebuilt(
    layers: Iterable[Any], in_shape: tuple[int, ...], change: Callable[[Place], Any], path: tuple[str, ...] = ()
) -> tuple[Any, ...]:
    """The layers with change(place) in the place of each: those inside a layer first."""
    made = []
    for place in _along(layers, in_shape, path):
        changed = {
            name: rebuilt(held, place.shape, change, (*place.path, name) if name else place.path)
            for name, held in inside(place.layer).items()
        }
        made.append(change(place._replace(layer=place.layer.renested(changed)) if changed else place))
    return tuple(made)


def places(wanted: list[bool]) -> tuple[int | None, ...]:
    """The numbers 0, 1, ... for those that want one."""
    before = itertools.accumulate(wanted, initial=0)
    return tuple(count if wants else None for count, wants in zip(before, wanted))


def checked(layers: Any, what: str = "") -> tuple[Any, ...]:
    """layers as a tuple of layers. what: before the sentence. Raises ShapeError for what is none."""
    if not isinstance(layers, Iterable):
        raise ShapeError(f"{what}layers: {layers!r} is one layer; a tuple of layers was expected")
    found = tuple(layers)
    for k, layer in enumerate(found):
        if isinstance(layer, type) or not hasattr(layer, "out_shape"):
            called = f"; write {layer.__name__}(...)" if isinstance(layer, type) else ""
            if not called and hasattr(layer, "forward"):
                meant = misspelt(layer, "out_shape")
                called = f"; its class has no method out_shape, which gpucnn.layers.Layer has{meant}"
            raise ShapeError(f"{what}layer {k} is {layer!r}: an instance of a layer was expected{called}")
        if not is_own(layer) and (said := fault(layer)):
            raise ShapeError(f"{what}layer {k} ({type(layer).__name__}): {said}")
    return found
