"""Pools as nodes. Windows of ceil_mode are padding that gpucnn has counted: ONNX's own ceil_mode is not used."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..layers import AvgPool2D, GlobalAvgPool2D, GlobalMaxPool2D, MaxPool2D
from ..ops.window import Window
from .convolutions import pads
from .geometry import padded
from .graph import Graph

Numbers = Mapping[str, np.ndarray]


def max_pool(graph: Graph, layer: MaxPool2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """MaxPool. Runtimes take no padding as large as the window, which dilated ones may have: then Pad makes it."""
    window = layer.window_of(shape)
    padding = pads(window.padding)
    if max(padding) >= min(window.size):
        x, padding = padded(graph, x, *window.padding, value=-np.inf), (0, 0, 0, 0)
    how = {"kernel_shape": window.size, "strides": window.stride, "dilations": window.dilation}
    return graph.add("MaxPool", x, pads=padding, **how)


def average_pool(graph: Graph, layer: AvgPool2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """AveragePool, or sums and what they are divided by, where operator set 14 has no such mean: of dilated windows,
    and where padding counts, but not what ceil_mode sees beyond.
    """
    window = layer.window_of(shape)
    if window.is_dilated or (layer.count_padding and any(window.beyond)):
        return _means(graph, window, x, shape, count_padding=layer.count_padding)
    how = {"kernel_shape": window.size, "strides": window.stride, "pads": pads(window.padding)}
    return graph.add("AveragePool", x, count_include_pad=int(layer.count_padding), **how)


def _means(graph: Graph, window: Window, x: str, shape: tuple[int, ...], *, count_padding: bool) -> str:
    how = {"kernel_shape": window.size, "strides": window.stride, "dilations": window.dilation}
    ones = graph.constant("ones", np.ones((shape[2], 1, *window.size)))
    sums = graph.add("Conv", x, ones, pads=pads(window.padding), group=shape[2], **how)
    rows, columns = (np.array(window.places_counted(axis, shape[axis], count_padding)) for axis in (0, 1))
    return graph.add("Div", sums, graph.constant("counts", rows[:, None] * columns))


def global_average_pool(graph: Graph, layer: GlobalAvgPool2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """GlobalAveragePool, as a vector."""
    return graph.add("Flatten", graph.add("GlobalAveragePool", x))


def global_max_pool(graph: Graph, layer: GlobalMaxPool2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """GlobalMaxPool, as a vector."""
    return graph.add("Flatten", graph.add("GlobalMaxPool", x))
