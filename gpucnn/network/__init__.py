"""A network is a tuple of layers and an input shape. It holds no parameters, and is itself a layer: networks nest."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from typing import Any

from ..errors import ShapeError
from ..kernels import EXACT_REFERENCE, REFERENCE, Context
from ..layers import Layer, MaxPool2D
from ..layers.base import cost, has_place, initial_state, is_own
from ..layers.initializers import generator
from .layout import Layout


@dataclass(frozen=True)
class Network(Layer):
    """layers, applied in order to inputs of input_shape: (H, W, C) for images, (features,) for vectors.

    Raises ShapeError, naming the layer, when one does not fit the output of the one before it.
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.layers, Iterable):
            raise ShapeError(f"layers: {self.layers!r} is one layer; a tuple of layers was expected")
        given = self.input_shape
        shape = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
        if not shape or not all(hasattr(n, "__index__") and n >= 1 for n in shape):
            raise ShapeError(f"input_shape {given!r}: (H, W, C) or (features,), each at least 1, was expected")
        object.__setattr__(self, "input_shape", tuple(map(int, shape)))
        object.__setattr__(self, "layers", tuple(self.layers))
        for k, layer in enumerate(self.layers):
            if isinstance(layer, type) or not hasattr(layer, "out_shape"):
                called = f"; write {layer.__name__}(...)" if isinstance(layer, type) else ""
                if not called and hasattr(layer, "forward"):
                    called = "; its class has no method out_shape, which gpucnn.layers.Layer has"
                raise ShapeError(f"layer {k} is {layer!r}: an instance of a layer was expected{called}")
        self.shapes()

    def __repr__(self) -> str:
        layers = " -> ".join(shortened([describe(layer) for layer in self.layers]))
        count = f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}"
        return f"Network({self.input_shape} -> {self.shapes()[-1]}, {count}: {layers})"

    def shapes(self) -> list[tuple[int, ...]]:
        """The input's shape, then each layer's output shape, without the batch."""
        shapes = [self.input_shape]
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
        if tuple(in_shape) != self.input_shape:
            raise ShapeError(f"input has shape {tuple(in_shape)}, {self.input_shape} was expected")
        return self.shapes()[-1]

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        """Initial parameters, {"0": {"kernel": ...}, ...}: host arrays in float64, drawn layer by layer."""
        self.out_shape(in_shape)
        return self._of_layers("init", [layer.init(shape, rng) for layer, shape in zip(self.layers, self.shapes())])

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, list[Any]]:
        """x and the output in the layout of context.kernels -> output, one residual per layer.

        A layer's input is what the one before made: two-conv eq. (16), layered eq. (1), single-filter, "Forward Pass".
        """
        if self._shares_ties and context.kernels is REFERENCE:
            context = replace(context, kernels=EXACT_REFERENCE)
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
            if type(layer) is Network:  # a class derived from it may compute something else
                x = layer.outputs(of_layer, x, inner)
            else:
                x = layer.forward(of_layer, x, inner)[0]
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
        return self._of_layers("init_state", [*map(initial_state, self.layers, self.shapes())])

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
    def _shares_ties(self) -> bool:
        return shares_ties(self)

    @functools.cached_property
    def has_place(self) -> bool:  # type: ignore[override]
        return any(place is not None for place in self._places)

    @functools.cached_property
    def _places(self) -> tuple[int | None, ...]:
        """For layers with a context of their own, how many such there are before: blocks of others do not change it."""
        wanted = [has_place(layer) for layer in self.layers]
        before = itertools.accumulate(wanted, initial=0)
        return tuple(count if wants else None for count, wants in zip(before, wanted))

    def context_of(self, k: int, context: Context) -> Context:
        """What layer k is told, of what the network is told."""
        place = self._places[k]
        return context if place is None else context.inside(str(k), place)

    def parameter_shapes(self, in_shape: tuple[int, ...] | None = None) -> dict[str, tuple[int, ...]]:
        """Every parameter's shape by its path, such as {"0/kernel": (5, 5, 1, 8)}. Layers that say theirs draw none."""
        found: dict[str, tuple[int, ...]] = {}
        rng = generator(0)
        for k, (layer, shape) in enumerate(zip(self.layers, self.shapes())):
            said = getattr(layer, "parameter_shapes", None) if is_own(layer) else None
            drawn = [] if said else Layout(layer.init(shape, rng)).slots
            of_layer = said(shape) if said else {slot.name: slot.shape for slot in drawn}
            found |= {f"{k}/{name}": of_parameter for name, of_parameter in of_layer.items()}
        return found

    @property
    def parameters(self) -> int:
        """How many numbers there are to learn."""
        return sum(map(math.prod, self.parameter_shapes().values()))

    def multiply_adds(self, in_shape: tuple[int, ...] | None = None) -> int:
        """Multiplications, each with its addition, of one forward pass of one example."""
        return sum(cost(layer, shape) for layer, shape in zip(self.layers, self.shapes()))

    def output_sizes(self) -> list[int]:
        """Numbers of one example in the input and in each layer's output, networks that are layers looked into."""
        sizes = [math.prod(self.input_shape)]
        for layer, shape in zip(self.layers, self.shapes()[1:]):
            sizes += layer.output_sizes()[1:] if isinstance(layer, Network) else [math.prod(shape)]
        return sizes

    def memory(self, batch: int, itemsize: int = 4) -> int:
        """Estimated bytes that training on a batch holds at once, beside the data set.

        Every layer's output and two gradients as large as the largest, for the whole batch; theta, its gradient and two
        vectors of optimiser state. CPU threads that work on parts of the batch need less.
        """
        sizes = self.output_sizes()
        return itemsize * (batch * (sum(sizes) + 2 * max(sizes)) + 4 * self.parameters)

    def summary(self, batch: int = 128) -> str:
        """A table of the layers: output shape, parameters, multiply-adds; and the totals."""
        counts = [0] * len(self.layers)
        for name, shape in self.parameter_shapes().items():
            counts[int(name.split("/")[0])] += math.prod(shape)
        shapes = self.shapes()
        rows = [("", "layer", "output", "parameters", "multiply-adds"), ("", "input", _by(shapes[0]), "", "")]
        for k, layer in enumerate(self.layers):
            row = (str(k), describe(layer), _by(shapes[k + 1]), f"{counts[k]:,}", f"{cost(layer, shapes[k]):,}")
            rows.append(row)
        rows.append(("", "total", "", f"{sum(counts):,}", f"{self.multiply_adds():,}"))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            "  ".join(_aligned(cell, width, k) for k, (cell, width) in enumerate(zip(row, widths))) for row in rows
        ]
        megabytes = self.memory(batch) / 1e6
        return "\n".join(
            [*(line.rstrip() for line in lines), f"about {megabytes:,.1f} MB to train on {batch} examples"]
        )


def describe(layer: Any) -> str:
    """A layer with its first argument and whatever differs from its defaults, as one would write it."""
    if isinstance(layer, Network):
        return f"Network of {len(layer.layers)} layers"
    shown = []
    for k, (name, field) in enumerate(getattr(layer, "__dataclass_fields__", {}).items()):
        value = getattr(layer, name)
        short = value[0] if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1] else value
        if field.default is MISSING or (k == 0 and len(layer.__dataclass_fields__) > 1 and not field.kw_only):
            shown.append(repr(short))
        elif field.default not in (value, short):
            shown.append(f"{name}={short!r}")
    return f"{type(layer).__name__}({', '.join(shown)})"


def shortened(texts: Sequence[str]) -> list[str]:
    """All of them or, of more than eight, the first five and the last."""
    return [*texts] if len(texts) <= 8 else [*texts[:5], "...", texts[-1]]


def shares_ties(layer: Any) -> bool:
    """Whether a max pool in the network sends the gradient to all ties."""
    if isinstance(layer, Network):
        return any(map(shares_ties, layer.layers))
    return isinstance(layer, MaxPool2D) and layer.ties == "all"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column in (0, 3, 4) else cell.ljust(width)
