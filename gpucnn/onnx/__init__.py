"""A network as an ONNX graph, for inference elsewhere. `Model.export` is what a user calls; it needs the package onnx.

Operator set 13, of 2020, is the lowest that serves: from it on Resize may leave its regions out, and Softmax works
along one axis. GELU, SiLU, hardswish and norms, for which later sets have operators, are written in terms of those of
13. A layer of one's own writes its nodes in a method `to_onnx`: see `network.layer`.
"""

from __future__ import annotations

from .document import document

__all__ = ["document"]
