"""A whole model of ONNX: what comes in and goes out, the scaling between them and the network, and what is told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from .. import __version__, ops
from ..errors import SettingError
from ..network import Network
from ..network.folding import folded
from . import compared
from .graph import IR_VERSION, OPSET, Graph
from .network import chain

INPUT, LOGITS, PROBABILITIES = "images", "logits", "probabilities"
TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
FUNCTIONS = {"Softmax": ops.softmax, "Sigmoid": ops.sigmoid, "": lambda logits: logits}


class Answering(NamedTuple):
    """A network that answers, its parameters and running state, as it has them, as NumPy arrays, its scaling, and the
    units of its numbers or None.
    """

    network: Network
    params: Any
    state: Any
    scaling: Any
    units: Any = None


def document(
    models: Sequence[Answering], loss: Any, *, layout: str = "NHWC", pixels: str = "uint8", told: Mapping[str, Any]
) -> bytes:
    """The file's contents, checked by onnx's own checker. Of several models, the logits are the mean of theirs.

    layout, pixels: of the input, see `Model.export`. told: what stands in the file beside the graph, by name, as JSON
    where it is no text. Raises SettingError for what ONNX cannot say, and where a layer of a user's own writes other
    numbers than it gives.
    """
    network = models[0].network
    graph = Graph(INPUT, LOGITS, PROBABILITIES)
    outputs = _written(graph, models, loss, layout, pixels)
    given = helper.make_tensor_value_info(INPUT, TYPES[pixels], ["N", *input_shape(network.input_shape, layout)])
    made = [helper.make_tensor_value_info(each, TensorProto.FLOAT, ["N", *network.shapes()[-1]]) for each in outputs]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "network", [given], made, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="gpucnn",
        producer_version=__version__,
    )
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()}
    helper.set_model_props(model, texts)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        what = " ".join(str(error).split())
        raise SettingError(f"what was written is no valid ONNX, look at the layers of your own: {what}") from None
    answer = FUNCTIONS[output_function(loss, network.shapes()[-1][0])]
    compared.check(model, models, loss, answer, layout, pixels)
    return model.SerializeToString(deterministic=True)


def _written(graph: Graph, models: Sequence[Answering], loss: Any, layout: str, pixels: str) -> list[str]:
    """All nodes, from the input to the outputs -> the names of these."""
    found = []
    for k, (network, params, state, scaling, units) in enumerate(models, 1):
        network, params, state = folded(network, params, state)
        with graph.inside(f"model{k}" if len(models) > 1 else ""):
            x = _scaled(graph, network.input_shape, scaling, layout, pixels)
            y = chain(graph, network.layers, params, state, x, network.input_shape)
            if units is not None:
                y = graph.add("Mul", y, graph.constant("deviation", units.deviation))
                y = graph.add("Add", y, graph.constant("mean", units.mean))
            found.append(y)
    y = found[0] if len(found) == 1 else graph.add("Mean", *found)
    graph.nodes.append(helper.make_node("Identity", [y], [LOGITS], name=LOGITS))
    function = output_function(loss, models[0].network.shapes()[-1][0])
    if not function:
        return [LOGITS]
    how: Any = {"axis": 1} if function == "Softmax" else {}
    graph.nodes.append(helper.make_node(function, [LOGITS], [PROBABILITIES], name=PROBABILITIES, **how))
    return [LOGITS, PROBABILITIES]


def input_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """(H, W, C), or (features,), as the file's input has it."""
    return (shape[2], *shape[:2]) if len(shape) == 3 and layout == "NCHW" else shape


def output_function(loss: Any, outputs: int) -> str:
    """The operator that makes the loss's probabilities of logits; "" where the logits are the answer.

    It is found by what the loss makes of some, so that one of a user's own has one, too. Raises SettingError.
    """
    some = np.linspace(-2, 3, 2 * outputs).reshape(2, outputs)
    made = np.asarray(loss.probabilities(some))
    for operator, function in FUNCTIONS.items():
        if made.shape == some.shape and np.allclose(made, function(some), rtol=1e-6, atol=0):
            return operator
    raise SettingError(
        f"{type(loss).__name__}: its probabilities are neither softmax nor sigmoid nor the logits themselves, and of "
        "others gpucnn writes no ONNX; export a model with another loss, and compute them from its logits"
    )


def _scaled(graph: Graph, shape: tuple[int, ...], scaling: Any, layout: str, pixels: str) -> str:
    """What comes in as the network's layers take it, by `engine.scaling.Scaling`: bytes are scaled, and floats where it
    says so.
    """
    x = INPUT
    with graph.inside(INPUT):
        if len(shape) == 3 and layout == "NHWC":
            x = graph.channels_first(x)
        if pixels == "uint8":
            x = graph.add("Cast", x, to=TensorProto.FLOAT)
        if pixels == "uint8" or scaling.floats:
            x = graph.add("Mul", x, graph.constant("scale", scaling.scale))
            x = graph.add("Add", x, graph.constant("shift", scaling.shift)) if scaling.shift else x
    return x
