"""A graph of ONNX while it is written: its nodes and its constants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

Array = Any

OPSET = 14
IR_VERSION = 7  # that of the version of ONNX which brought this operator set: later ones ask for newer runtimes


class Graph:
    """What layers write into. Arrays are float32: images (N, C, H, W), whatever comes in, and vectors (N, features).

    at: the place of the layer that writes, such as "3/layers/0", with which the names of its nodes and constants begin.
    """

    def __init__(self, *names: str) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.at = ""
        self.names = set(names)  # of all that has been computed or stands there
        self._known: dict[tuple[Any, ...], str] = {}

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """What is written meanwhile belongs to a layer of that name, in the one that writes."""
        at, self.at = self.at, f"{self.at}/{name}".strip("/")
        try:
            yield
        finally:
            self.at = at

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """One node of ONNX's operator -> the name of its output. inputs: names of arrays, "" for one left out."""
        name = self._free(operator)
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: Array, dtype: str = "float32") -> str:
        """Numbers that stand in the file -> their name. Equal ones stand there once, as those of `Shared` do."""
        array = np.array(values, dtype, order="C")
        key = dtype, array.shape, array.tobytes()
        if key not in self._known:
            self._known[key] = self._free(name)
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def reshaped(self, x: str, *shape: int) -> str:
        """x (N, ...) as (N, *shape)."""
        return self.add("Reshape", x, self.constant("shape", (0, *shape), "int64"))  # 0: the length that there is

    def channels_last(self, x: str) -> str:
        """(N, C, H, W) -> (N, H, W, C)."""
        return self.add("Transpose", x, perm=(0, 2, 3, 1))

    def channels_first(self, x: str) -> str:
        """(N, H, W, C) -> (N, C, H, W)."""
        return self.add("Transpose", x, perm=(0, 3, 1, 2))

    def per_channel(self, name: str, values: Array, shape: tuple[int, ...]) -> str:
        """A constant (C,) that broadcasts against arrays of an (H, W, C), or (C,), that there are N of."""
        return self.constant(name, np.reshape(values, (-1,) + (1,) * (len(shape) - 1)))

    def _free(self, name: str) -> str:
        whole = first = f"{self.at}/{name}".strip("/")
        count = 1
        while whole in self.names:
            whole, count = f"{first}_{count}", count + 1
        self.names.add(whole)
        return whole
