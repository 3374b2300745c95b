"""Looking inside a model: what its layers make of an image, where pools look, which pixels and regions matter.

Everything is computed by the equations themselves, on the host, from the model's parameters and running state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import ops
from ..data.strokes import resized
from ..errors import SettingError
from ..kernels import REFERENCE, Context
from ..layers import Conv2D, DepthwiseConv2D, MaxPool2D, SeparableConv2D
from ..layers.base import Around, Gradients
from ..layers.chain import Place, rebuilt
from ..losses import CLASSIFICATION, REGRESSION, kind
from ..model import Model
from ..network import Network, describe

Array = np.ndarray

KERNELS: dict[type, tuple[str, ...]] = {  # the parameters that are such, by layer
    Conv2D: ("kernel",),
    DepthwiseConv2D: ("kernel",),
    SeparableConv2D: ("depthwise", "pointwise"),
}


@dataclass(frozen=True)
class Seen:
    """What a layer did with some images. name: such as "3/layers/0"; about: the layer as one writes it.

    x, y: its input and output, (N, H, W, C) or (N, features); dy: the gradient of a class's logit by y, where that was
    asked for.
    """

    name: str
    about: str
    layer: Any
    x: Array
    y: Array
    dy: Array | None = None


@dataclass(frozen=True)
class Look:
    """Some images through a model. pixels: the images as the network met them; logits, probabilities (N, K).

    classes (N,): whose logits were differentiated; dx (N, H, W, C): their gradient by the pixels. of: what outputs are,
    as `losses.kind` has it; of numbers, probabilities are the numbers themselves.
    """

    pixels: Array
    logits: Array
    probabilities: Array
    layers: list[Seen]
    classes: Array
    dx: Array
    of: str = CLASSIFICATION

    def value(self, k: int) -> str:
        """Output k of the first image in words: a probability, or the number."""
        found = float(self.probabilities[0, k])
        return f"{found:.6g}" if self.of == REGRESSION else f"{100 * found:.1f} %"

    def saliency(self) -> Array:
        """(N, H, W): the size of the gradient of the class's logit by a pixel, the largest over channels.

        Simonyan, Vedaldi and Zisserman, 2014, "3". Raises SettingError for vectors, which have no pixels.
        """
        if self.dx.ndim != 4:
            raise SettingError("saliency: the network takes vectors, which have no pixels; look.dx is the gradient")
        return np.abs(self.dx).max(axis=-1)

    def grad_cam(self, name: str | None = None) -> Array:
        """(N, H, W) in 0..1: how much the regions of a layer's output speak for the class.

        The maps A_k of the layer are weighted by the mean over pixels of the gradient by them, a_k; the sum's positive
        part is enlarged to the image, bilinear, and divided by its largest value. Selvaraju et al., 2017, eq. (1), (2).
        name: the layer's; by default the last one whose output is an image. Raises SettingError.
        """
        spatial = [
            seen for seen in self.layers if seen.y.ndim == 4 and seen.dy is not None and seen.y.shape[1:3] != (1, 1)
        ]
        found = spatial[-1:] if name is None else [seen for seen in spatial if seen.name == name]
        if not found:
            names = ", ".join(seen.name for seen in spatial) or "none"
            raise SettingError(f"grad_cam: {name!r} is no layer whose output is an image; those are {names}")
        maps, slopes = found[0].y, found[0].dy
        assert slopes is not None
        regions = np.maximum((maps * slopes.mean(axis=(1, 2), keepdims=True)).sum(axis=-1), 0)
        enlarged = np.stack([resized(each, self.dx.shape[1:3]) for each in regions])
        return enlarged / np.maximum(enlarged.max(axis=(1, 2), keepdims=True), np.finfo(enlarged.dtype).tiny)


@dataclass(frozen=True)
class _Watched(Around):
    """The layer, whose inputs and outputs, and what is differentiated by these, are written down."""

    place: Place
    notes: dict[str, dict[str, Array]] = field(compare=False)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        y, residual = self.layer.forward(params, x, context)
        self.notes[self.place.name] = {"x": np.array(x), "y": np.array(y)}
        return y, residual

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        self.notes[self.place.name]["dy"] = np.array(dy)
        return self.layer.backward(params, residual, dy, context, need_dx=need_dx)


def look(model: Model, images: Any, classes: Sequence[int] | None = None) -> Look:
    """Send images (N, H, W, C) through the model. classes: whose logits to differentiate, as `predict` numbers them; by
    default the most probable, or the largest number.

    Raises DataError, SettingError.
    """
    images = model._images(images)
    network, dtype = model.network, np.dtype(str(model.theta.dtype))
    notes: dict[str, dict[str, Array]] = {}
    places: list[Place] = []

    def watched(place: Place) -> Any:
        if type(place.layer) is Network:
            return place.layer
        places.append(place)
        return _Watched(place.layer, place, notes)

    seen = Network(network.input_shape, rebuilt(network.layers, network.input_shape, watched))
    state = model.state_layout.unpack(model.device.fetch(model.execution.state))
    context = Context(REFERENCE, training=False, state=state)
    params = model.layout.unpack(model.device.fetch(model.theta))
    pixels = model.scaling(images, dtype, REFERENCE)
    logits, residuals = seen.forward(params, pixels, context)
    answers = model._in_units(logits)
    chosen = answers.argmax(axis=1) if classes is None else _checked(classes, logits.shape, model.first_label)
    dy = np.zeros_like(logits)
    dy[np.arange(len(dy)), chosen] = 1
    dx, _ = seen.backward(params, residuals, dy, context)
    layers = [Seen(each.name, describe(each.layer), each.layer, **notes[each.name]) for each in places]
    probabilities = model._in_units(model.loss.probabilities(logits))
    return Look(pixels, answers, probabilities, layers, chosen, dx, kind(model.loss))


def _checked(classes: Sequence[int], shape: tuple[int, ...], first: int) -> Array:
    found = np.asarray(classes)
    fits = found.shape == shape[:1] and found.dtype.kind in "iu"
    if not fits or (found < first).any() or (found >= first + shape[1]).any():
        raise SettingError(
            f"classes={classes!r}: one number of {first} to {first + shape[1] - 1} for each of {shape[0]} images was "
            "expected"
        )
    return found - first


def winners(seen: Seen) -> Array:
    """Where each value of a max pool came from: (N, P, Q, C, 2) int64, row and column of the first largest pixel.

    (-1, -1) where that is NaN. single-filter, "Pooling - Indices". Raises SettingError for another layer.
    """
    pool = seen.layer
    if type(pool) is not MaxPool2D:
        raise SettingError(f"{seen.name} ({seen.about}): a max pool was expected, whose values come from single pixels")
    window = pool.window_of(seen.x.shape[1:])
    how: dict[str, Any] = {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}
    _, indices = ops.max_pool_with_indices(seen.x, window.size, **how)
    width = seen.x.shape[2]
    return np.where(indices[..., None] < 0, -1, np.stack([indices // width, indices % width], axis=-1))


def filters(model: Model) -> dict[str, Array]:
    """The kernels of the convolutions by their paths, such as "0/kernel", as (I, J, C / groups, K); of depthwise and
    separable ones, too.
    """
    found = model.parameters
    names = [
        f"{place.name}/{name}"
        for place in model.network.walk()
        for kind, kernels in KERNELS.items()
        if isinstance(place.layer, kind)
        for name in kernels
    ]
    return {name: found[name] for name in names if name in found}
