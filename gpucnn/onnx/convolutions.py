"""Convolutions and dense layers as nodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..layers import Conv2D, ConvTranspose2D, Dense, DepthwiseConv2D, SeparableConv2D
from .graph import Graph

Numbers = Mapping[str, np.ndarray]
Sides = tuple[tuple[int, int], tuple[int, int]]


def pads(padding: Sides) -> tuple[int, ...]:
    """((top, bottom), (left, right)) as ONNX has it: top, left, bottom, right."""
    (top, bottom), (left, right) = padding
    return top, left, bottom, right


def convolution(graph: Graph, layer: Conv2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Conv, with the kernel (K, C / groups, I, J), turned where the layer turns it; an untied bias is added behind."""
    window = layer.window_of(shape)
    kernel = graph.constant("kernel", layer.oriented(numbers["kernel"]).transpose(3, 2, 0, 1))
    tied = [graph.constant("bias", numbers["bias"])] if layer.bias == "tied" else []
    how = {"kernel_shape": window.size, "strides": window.stride, "dilations": window.dilation}
    y = graph.add("Conv", x, kernel, *tied, pads=pads(window.padding), group=layer.groups, **how)
    if layer.bias != "untied":
        return y
    return graph.add("Add", y, graph.constant("bias", numbers["bias"].transpose(2, 0, 1)))


def depthwise(graph: Graph, layer: DepthwiseConv2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Conv with a group for each channel."""
    return convolution(graph, layer.convolution(shape), numbers, x, shape)


def separable(graph: Graph, layer: SeparableConv2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Its two parts, one behind the other."""
    x = depthwise(graph, layer.depthwise, {"kernel": numbers["depthwise"]}, x, shape)
    of_pointwise = {"kernel": numbers["pointwise"], **numbers}
    return convolution(graph, layer.pointwise, of_pointwise, x, layer.depthwise.out_shape(shape))


def transposed(graph: Graph, layer: ConvTranspose2D, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """ConvTranspose, with the kernel (C, K / groups, I, J). What it cuts off at the ends follows from the size that the
    output has; where that is more than the kernels put down, it is output_padding.
    """
    window, size = layer.place(shape)
    before = [sides[0] for sides in window.padding]
    more = [size[axis] + before[axis] - (shape[axis] - 1) * window.stride[axis] - window.span(axis) for axis in (0, 1)]
    kernel = graph.constant("kernel", layer.oriented(numbers["kernel"]).transpose(3, 2, 0, 1))
    bias = [graph.constant("bias", numbers["bias"])] if layer.bias else []
    return graph.add(
        "ConvTranspose",
        *(x, kernel, *bias),
        kernel_shape=window.size,
        strides=window.stride,
        dilations=window.dilation,
        group=layer.groups,
        pads=(*before, *(max(0, -each) for each in more)),
        output_padding=[max(0, each) for each in more],
    )


def dense(graph: Graph, layer: Dense, numbers: Numbers, x: str, shape: tuple[int, ...]) -> str:
    """Gemm: x W + b."""
    weights = graph.constant("weights", numbers["weights"])
    return graph.add("Gemm", x, weights, *([graph.constant("bias", numbers["bias"])] if layer.bias else []))
