"""Layers that move numbers as nodes. In the graph images are (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..layers import Crop2D, Dropout, Flatten, PadChannels, Reshape, Subsample2D, Upsample2D, ZeroPad2D
from .graph import Graph

Numbers = Mapping[str, np.ndarray]
NONE = 0, 0


def padded(
    graph: Graph,
    x: str,
    rows: tuple[int, int],
    columns: tuple[int, int],
    channels: tuple[int, int] = NONE,
    value: float = 0.0,
) -> str:
    """x with further rows, columns and channels, each (before, behind), of that value."""
    before, behind = zip(NONE, channels, rows, columns)
    return graph.add("Pad", x, graph.constant("pads", (*before, *behind), "int64"), graph.constant("value", value))


def zero_pad(graph: Graph, layer: ZeroPad2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Pad."""
    rows, columns = layer.padding  # type: ignore[misc]
    return padded(graph, x, rows, columns)  # type: ignore[arg-type]


def pad_channels(graph: Graph, layer: PadChannels, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Pad, along the channels."""
    return padded(graph, x, NONE, NONE, layer.channels)  # type: ignore[arg-type]


def part(graph: Graph, layer: Crop2D | Subsample2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Slice, along rows and columns."""
    rows, columns, _ = layer.places_of(shape)  # type: ignore[arg-type]
    places = zip(("starts", "ends", "steps"), zip(rows.indices(shape[0]), columns.indices(shape[1])))
    starts, ends, steps = (graph.constant(name, values, "int64") for name, values in places)
    return graph.add("Slice", x, starts, ends, graph.constant("axes", (2, 3), "int64"), steps)


def upsample(graph: Graph, layer: Upsample2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Resize, with pixels that fill the same area."""
    scales = graph.constant("scales", (1, 1, *layer.factor))  # type: ignore[misc]
    how = {"nearest": {"mode": "nearest", "nearest_mode": "round_prefer_floor"}, "bilinear": {"mode": "linear"}}
    more: Any = how[layer.kind]
    return graph.add("Resize", x, "", scales, coordinate_transformation_mode="half_pixel", **more)


def flatten(graph: Graph, layer: Flatten, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Flatten, in the order of (H, W, C)."""
    return x if len(shape) == 1 else graph.add("Flatten", _in_order(graph, x, shape))


def reshape(graph: Graph, layer: Reshape, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Reshape, in the order of (H, W, C)."""
    y = graph.reshaped(_in_order(graph, x, shape), *layer.shape)
    return graph.channels_first(y) if len(layer.shape) == 3 else y


def _in_order(graph: Graph, x: str, shape: tuple[int, ...]) -> str:
    """An image as (N, H, W, C), or in a shape with the same order of numbers; a vector as it is."""
    return x if len(shape) == 1 or shape[2] == 1 else graph.channels_last(x)


def nothing(graph: Graph, layer: Dropout, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """No node: in inference dropout hands its input on."""
    return x
