"""Does a file compute what its model does? Asked where a layer or the loss is a user's own, of a few random images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..errors import SettingError, warn
from ..kernels import REFERENCE, Context
from ..layers.base import Around, is_own
from ..layers.chain import Place, inside, rebuilt
from ..layers.initializers import generator
from ..network import Network
from ..network.layout import Layout
from .graph import IR_VERSION, OPSET, Graph
from .network import layer

Array = Any

IMAGES = 3
TOLERANCE = 1e-3  # of the largest number


class _Seen(NamedTuple):
    """A user's own layer that went forward: where it stands, and what it was given and gave."""

    place: Place
    params: Any
    state: Any
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class _Watched(Around):
    place: Place
    seen: list[_Seen] = field(compare=False)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        y, residual = self.layer.forward(params, x, context)
        self.seen.append(_Seen(self.place, params, context.state or {}, np.array(x), np.array(y)))
        return y, residual


def check(
    made: onnx.ModelProto,
    models: Sequence[Any],
    loss: Any,
    answer: Callable[[Array], Array],
    layout: str,
    pixels: str,
) -> None:
    """Raises SettingError, naming the layer if one by itself differs, where the file gives other numbers than its
    models, or cannot be run. models: `document.Answering`; answer: what the file makes of logits. Nothing is looked at
    where all is gpucnn's own, and the layers alone where onnxruntime is not installed: onnx's own evaluator computes
    some of gpucnn's layers otherwise than ONNX says.
    """
    if is_own(loss) and all(is_own(part) for model in models for part in _parts(model.network)):
        return
    shape = models[0].network.input_shape
    images = _images(shape, models[0].scaling, pixels)
    seen: list[_Seen] = []
    with np.errstate(all="ignore"):
        try:
            expected = np.mean([_logits(model, images, seen) for model in models], axis=0)
        except Exception:  # a layer may refuse what is no real image
            return
        for each in seen:
            _check_layer(each)
        if off := _off(np.asarray(answer(expected)), np.asarray(loss.probabilities(expected))):
            raise SettingError(
                f"{type(loss).__name__}: what was written gives other probabilities than it, by {off:.2g}, on random "
                "images; gpucnn writes softmax, sigmoid and the logits themselves"
            )
        if not _is_installed():
            return
        given = images.transpose(0, 3, 1, 2) if len(shape) == 3 and layout == "NCHW" else images
        if off := _off(_ran(made, "images", given)[0], expected):
            raise SettingError(
                f"what was written gives other logits than the model, by {off:.2g}, on random images; look at to_onnx "
                "of the layers of your own, each of which by itself is right"
            )


def _parts(network: Network) -> Iterable[Any]:
    yield network
    yield from (place.layer for place in network.walk())


def _images(shape: tuple[int, ...], scaling: Any, pixels: str) -> np.ndarray:
    rng = generator(0)
    if pixels == "uint8":
        return rng.integers(0, 256, (IMAGES, *shape), np.uint8)
    if not scaling.floats:
        return rng.random((IMAGES, *shape), np.float32)
    return ((rng.standard_normal((IMAGES, *shape)) - scaling.shift) / (scaling.scale or 1.0)).astype(np.float32)


def _logits(model: Any, images: np.ndarray, seen: list[_Seen]) -> np.ndarray:
    """The model's, computed by the equations in float32 as the file does. seen: gets the layers that are not
    gpucnn's."""

    def change(place: Place) -> Any:
        is_other = not is_own(place.layer) and not inside(place.layer)
        return _Watched(place.layer, place, seen) if is_other else place.layer

    network = model.network
    if type(network) is Network:
        network = Network(network.input_shape, rebuilt(network.layers, network.input_shape, change))
    params, state = (_as_float32(each) for each in (model.params, model.state))
    x = model.scaling(images, np.float32, REFERENCE)
    y, _ = network.forward(params, x, Context(training=False, state=state))
    return y if model.units is None else np.asarray(model.units(y))


def _as_float32(values: Any) -> Any:
    layout = Layout(values)
    return layout.unpack(layout.pack(values, np.empty(layout.size, np.float32)))


def _check_layer(seen: _Seen) -> None:
    """The layer alone, as a file of one layer."""
    path, each, shape, _ = seen.place
    graph = Graph("x")
    with graph.inside("/".join(path)):
        y = layer(graph, each, seen.params, seen.state, "x", shape)
    graph.nodes.append(helper.make_node("Identity", [y], ["y"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    made = helper.make_graph(graph.nodes, "layer", ends[:1], ends[1:], graph.constants)
    opset = [helper.make_opsetid("", OPSET)]
    alone = helper.make_model(made, opset_imports=opset, ir_version=IR_VERSION)
    (found,) = _ran(alone, "x", _channels_first(seen.x), f"{seen.place.described}: ")
    if off := _off(found, _channels_first(seen.y)):
        said = (
            f"{seen.place.described}: to_onnx writes other numbers than forward gives in inference, by {off:.2g} where "
            f"the largest is {abs(seen.y).max():.2g}"
        )
        if _is_installed():
            raise SettingError(f"{said}; nothing was written")
        warn(f"{said}, as onnx's own evaluator computes it, which may be wrong itself; install onnxruntime to be sure")


def _channels_first(array: np.ndarray) -> np.ndarray:
    array = array.astype(np.float32)
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.ndim == 4 else array


def _is_installed() -> bool:
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return False
    return True


def _ran(made: onnx.ModelProto, name: str, given: np.ndarray, whose: str = "") -> list[np.ndarray]:
    """What the file gives: by onnxruntime, or else by onnx's own evaluator. Raises SettingError."""
    try:
        if not _is_installed():
            from onnx.reference import ReferenceEvaluator

            return [*ReferenceEvaluator(made).run(None, {name: given})]
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        how = {"sess_options": options, "providers": ["CPUExecutionProvider"]}
        return [*onnxruntime.InferenceSession(made.SerializeToString(), **how).run(None, {name: given})]
    except Exception as error:
        what = " ".join(str(error).split())
        raise SettingError(f"{whose}what was written cannot be run: {what}") from None


def _off(found: np.ndarray, expected: np.ndarray) -> float:
    """How far they differ, beyond rounding; 0 where they are alike. Where nothing finite is expected, all is right."""
    if found.shape != expected.shape:
        return float("inf")
    counts = np.isfinite(expected)
    if not counts.any():
        return 0.0
    difference = np.where(np.isfinite(found), abs(found - expected), np.inf)[counts].max()
    return float(difference) if difference > TOLERANCE * abs(expected[counts]).max() + 1e-30 else 0.0
