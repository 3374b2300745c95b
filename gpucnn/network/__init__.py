"""A network is a tuple of layers and an input shape. It holds no parameters, and is itself a layer: networks nest."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, replace
from typing import Any

from ..errors import ShapeError, counted
from ..kernels import EXACT_REFERENCE, REFERENCE, Context
from ..layers import GlobalMaxPool2D, Layer, MaxPool2D, Shared
from ..layers.base import cost, is_own
from ..layers.chain import Place, Sequential, checked, inside, walk
from ..layers.initializers import generator
from ..layers.nests import Nest
from .layout import Layout, add_shared, first_places
from .notebook import as_it_is


def shape_of(given: Any) -> tuple[int, ...]:
    """An input_shape as whole numbers. Raises ShapeError for what is none."""
    shape = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
    if not shape or not all(hasattr(n, "__index__") and n >= 1 for n in shape):
        raise ShapeError(f"input_shape {given!r}: (H, W, C) or (features,), each at least 1, was expected")
    return tuple(map(int, shape))


@dataclass(frozen=True)
class Network(Sequential):
    """layers, applied in order to inputs of input_shape: (H, W, C) for images, (features,) for vectors.

    Raises ShapeError, naming the layer, when one does not fit the output of the one before it.
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        layers = checked(self.layers)
        object.__setattr__(self, "input_shape", shape_of(self.input_shape))
        object.__setattr__(self, "layers", layers)
        self.shapes()
        self._check_shared()

    def __repr__(self) -> str:
        layers = " -> ".join(shortened([describe(layer) for layer in self.layers]))
        count = counted(len(self.layers), "layer")
        return f"Network({self.input_shape} -> {self.shapes()[-1]}, {count}: {layers})"

    def shapes(self) -> list[tuple[int, ...]]:
        """The input's shape, then each layer's output shape, without the batch."""
        return super().shapes_from(self.input_shape)

    def shapes_from(self, in_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        if tuple(in_shape) != self.input_shape:
            raise ShapeError(f"input has shape {tuple(in_shape)}, {self.input_shape} was expected")
        return self.shapes()

    def nested(self) -> dict[str, tuple[Any, ...]]:
        return {"": self.layers}

    def renested(self, chains: dict[str, tuple[Any, ...]]) -> Network:
        return replace(self, layers=chains[""])

    def walk(self) -> Iterator[Place]:
        """Every layer with its place, layers that hold others before these."""
        return walk(self.layers, self.input_shape)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, list[Any]]:
        if self._shares_ties and context.kernels is REFERENCE:
            context = replace(context, kernels=EXACT_REFERENCE)
        return super().forward(params, x, context)

    def backward(
        self, params: Any, residuals: list[Any], dy: Any, context: Context, *, need_dx: bool = True
    ) -> tuple[Any, dict[str, Any]]:
        dx, dparams = super().backward(params, residuals, dy, context, need_dx=need_dx)
        add_shared(params, dparams)
        return dx, dparams

    @functools.cached_property
    def _shares_ties(self) -> bool:
        return shares_ties(self)

    @functools.cached_property
    def _shared(self) -> dict[str, list[Place]]:
        """The places of each `Shared`, by its name."""
        if not _has_shared(self.layers):
            return {}
        found: dict[str, list[Place]] = {}
        for place in self.walk():
            if type(place.layer) is Shared:
                found.setdefault(place.layer.name, []).append(place)
        return found

    def _check_shared(self) -> None:
        """Raises ShapeError where the parameters' shapes differ at places that share them."""
        for name, (first, *others) in self._shared.items():
            expected = [*_parameter_shapes(first.layer.layers, first.shape).values()]
            for other in others:
                found = [*_parameter_shapes(other.layer.layers, other.shape).values()]
                if found != expected:
                    raise ShapeError(
                        f"Shared {name!r}: layer {other.name}, whose input is {other.shape}, has parameters of shapes "
                        f"{_listed(found)}, and layer {first.name}, whose input is {first.shape}, {_listed(expected)}; "
                        "the same shapes were expected, or another name"
                    )

    def parameter_shapes(self, in_shape: tuple[int, ...] | None = None) -> dict[str, tuple[int, ...]]:
        """Every parameter's shape by its path, such as {"0/kernel": (5, 5, 1, 8)}. Layers that say theirs draw none.

        Shared parameters stand at the first of their places.
        """
        found = _parameters(self.layers, self.input_shape)
        return {"/".join(path): shape for path, shape in first_places(found)}

    @property
    def parameters(self) -> int:
        """How many numbers there are to learn."""
        return sum(map(math.prod, self.parameter_shapes().values()))

    @property
    def running_numbers(self) -> int:
        """How many numbers the layers' running state has, such as BatchNorm's means and variances."""
        return Layout(self.init_state(self.input_shape)).size

    def multiply_adds(self, in_shape: tuple[int, ...] | None = None) -> int:
        """Multiplications, each with its addition, of one forward pass of one example."""
        return super().multiply_adds(self.input_shape)

    def output_sizes(self) -> list[int]:
        """Numbers of one example in the input and in each layer's output, those of layers inside layers, too."""
        made = [each.output for each in self.walk() if not isinstance(each.layer, (Network, Shared))]
        return [math.prod(self.input_shape), *map(math.prod, made)]

    def memory(self, batch: int, itemsize: int = 4) -> int:
        """Estimated bytes that training on a batch holds at once, beside the data set.

        Every layer's output and two gradients as large as the largest, for the whole batch; theta, its gradient and two
        vectors of optimiser state. CPU threads that work on parts of the batch need less.
        """
        sizes = self.output_sizes()
        return itemsize * (batch * (sum(sizes) + 2 * max(sizes)) + 4 * self.parameters)

    def _repr_html_(self) -> str:
        """The summary, for notebooks."""
        return as_it_is(self.summary())

    def summary(self, batch: int = 128, width: int | None = None) -> str:
        """A table of the layers: output shape, parameters, multiply-adds; and the totals.

        Layers inside layers stand below these, which have the sums. width: characters of a line, into which the layers'
        settings are cut to fit where there is room for 20 characters of them; None cuts nothing.
        """
        sizes = {name: math.prod(shape) for name, shape in self.parameter_shapes().items()}
        rows = [("", "layer", "output", "parameters", "multiply-adds"), ("", "input", _by(self.input_shape), "", "")]
        for path, layer, shape, output in self.walk():
            count = sum(size for name, size in sizes.items() if name.startswith("/".join(path) + "/"))
            name = describe(layer) if len(path) == 1 else f"  {'/'.join(path[1:])} {describe(layer)}"
            figures = _by(output), f"{count:,}", f"{cost(layer, shape):,}"
            rows.append((path[0] if len(path) == 1 else "", name, *figures))
        rows.append(("", "total", "", f"{sum(sizes.values()):,}", f"{self.multiply_adds():,}"))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        if width is not None:
            others = sum(widths) - widths[1] + 4 * len("  ")
            widths[1] = min(widths[1], max(20, width - others))
            rows = [(row[0], _cut(row[1], widths[1]), *row[2:]) for row in rows]
        lines = [
            "  ".join(_aligned(cell, width, k) for k, (cell, width) in enumerate(zip(row, widths))) for row in rows
        ]
        if self.running_numbers:
            lines.append(f"and {self.running_numbers:,} running numbers, which are not learnt")
        lines.append(f"about {self.memory(batch) / 1e6:,.1f} MB to train on {counted(batch, 'example')}")
        return "\n".join(line.rstrip() for line in lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _parameter_shapes(layers: Iterable[Any], in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shapes of these layers' parameters, by their paths."""
    return {"/".join(path): shape for path, shape in _parameters(layers, in_shape)}


def _parameters(layers: Iterable[Any], in_shape: tuple[int, ...]) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Their paths and shapes, at all places of those that are shared."""
    rng = generator(0)
    for path, layer, shape, _ in walk(layers, in_shape):
        if inside(layer):
            continue  # what it holds comes next
        said = getattr(layer, "parameter_shapes", None) if is_own(layer) else None
        if said:
            yield from (((*path, name), of_parameter) for name, of_parameter in said(shape).items())
        else:
            yield from (((*path, *slot.path), slot.shape) for slot in Layout(layer.init(shape, rng)).slots)


def describe(layer: Any) -> str:
    """A layer with its first argument and whatever differs from its defaults, as one would write it.

    Of the layers that it holds, only their number.
    """
    chains = _held(layer)
    held = sum(map(len, chains)) if chains else None
    shown = []
    for k, (name, field) in enumerate(getattr(layer, "__dataclass_fields__", {}).items()):
        value = getattr(layer, name)
        if held is not None and not isinstance(value, (str, int, float)):
            continue
        short = value[0] if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1] else value
        if field.default is MISSING or (k == 0 and len(layer.__dataclass_fields__) > 1 and not field.kw_only):
            shown.append(repr(short))
        elif field.default not in (value, short):
            shown.append(f"{name}={short!r}")
    text = f"{type(layer).__name__}({', '.join(shown)})"
    return text if held is None else f"{text.removesuffix('()')} of {held} layers"


def _held(layer: Any) -> list[tuple[Any, ...]]:
    """The chains that a layer holds, one of a derived class, too."""
    return [*layer.nested().values()] if isinstance(layer, (Nest, Network)) else []


def shortened(texts: Sequence[str]) -> list[str]:
    """The texts for a message: all or, of more than eight, the first five and the last."""
    return [*texts] if len(texts) <= 8 else [*texts[:5], "...", texts[-1]]


def shares_ties(layer: Any) -> bool:
    """Whether a max pool in the network sends the gradient to all ties."""
    if chains := _held(layer):
        return any(shares_ties(each) for layers in chains for each in layers)
    return isinstance(layer, MaxPool2D | GlobalMaxPool2D) and layer.ties == "all"


def _has_shared(layers: tuple[Any, ...]) -> bool:
    return any(type(each) is Shared or any(map(_has_shared, inside(each).values())) for each in layers)


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes)) or "none"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column in (0, 3, 4) else cell.ljust(width)
