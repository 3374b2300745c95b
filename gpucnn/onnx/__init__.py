"""A network as an ONNX graph, for inference elsewhere. `Model.export` is what a user calls; it needs the package onnx.

Operator set 14, of 2021, is the lowest that serves: from it on BatchNormalization says that it is of inference, and
there is HardSwish. GELU, SiLU and norms, for which later sets have operators, are written in terms of those of 14. A
layer of one's own writes its nodes in a method `to_onnx`: see `network.layer`.
"""

from __future__ import annotations

from .document import Answering, document

__all__ = ["Answering", "document"]
