"""Layers as users write them: they look at axes, have parameters, draw, keep a running state, mix the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpucnn.layers import Layer
from gpucnn.namespace import array_namespace


@dataclass(frozen=True)
class Centred(Layer):
    """x minus its mean over axes of (N, H, W, C)."""

    axes: tuple[int, ...]

    def forward(self, params, x, context):
        return x - array_namespace(x).mean(x, axis=self.axes, keepdims=True), None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy - array_namespace(dy).mean(dy, axis=self.axes, keepdims=True), {}


@dataclass(frozen=True)
class Scale:
    """y = a x with a factor for each number; not derived from Layer."""

    start: float = 1.0

    def out_shape(self, in_shape):
        return in_shape

    def init(self, in_shape, rng):
        return {"a": np.full(in_shape, self.start)}

    def forward(self, params, x, context):
        return params["a"] * x, x

    def backward(self, params, x, dy, context, *, need_dx=True):
        return params["a"] * dy, {"a": (dy * x).sum(axis=0)}


class PerChannel:
    """A factor per channel; not derived from Layer, and no dataclass."""

    def out_shape(self, in_shape):
        return in_shape

    def init(self, in_shape, rng):
        return {"factor": rng.uniform(0.5, 1.5, in_shape[-1])}

    def forward(self, params, x, context):
        return x * params["factor"], x

    def backward(self, params, x, dy, context, *, need_dx=True):
        axes = tuple(range(dy.ndim - 1))
        return dy * params["factor"], {"factor": array_namespace(x).sum(x * dy, axis=axes)}


@dataclass(frozen=True)
class Cropped(Layer):
    """Without the first row and the last two columns."""

    def out_shape(self, in_shape):
        H, W, C = in_shape
        return H - 1, W - 2, C

    def forward(self, params, x, context):
        return x[:, 1:, :-2, :], x.shape

    def backward(self, params, shape, dy, context, *, need_dx=True):
        dx = array_namespace(dy).zeros(shape, dtype=dy.dtype, device=dy.device)
        dx[:, 1:, :-2, :] = dy
        return dx, {}


@dataclass(frozen=True)
class GlobalMean(Layer):
    """(H, W, C) -> (C,)."""

    def out_shape(self, in_shape):
        return in_shape[2:]

    def forward(self, params, x, context):
        return array_namespace(x).mean(x, axis=(1, 2)), x.shape

    def backward(self, params, shape, dy, context, *, need_dx=True):
        xp = array_namespace(dy)
        return xp.broadcast_to(dy[:, None, None, :] / (shape[1] * shape[2]), shape), {}


@dataclass(frozen=True)
class GlobalMax(Layer):
    """(H, W, C) -> (C,); all ties get the gradient."""

    def out_shape(self, in_shape):
        return in_shape[2:]

    def forward(self, params, x, context):
        xp = array_namespace(x)
        y = xp.max(x, axis=(1, 2))
        return y, xp.astype(x == y[:, None, None, :], x.dtype)

    def backward(self, params, won, dy, context, *, need_dx=True):
        return won * dy[:, None, None, :], {}


@dataclass(frozen=True)
class Dropped(Layer):
    """Each number is 0 with probability 1/2 in training, else twice as large."""

    def forward(self, params, x, context):
        if not context.training or context.examples is None:
            return x, None
        mask = array_namespace(x).astype(context.bits(tuple(x.shape[1:])) >> 31, x.dtype) * 2
        return x * mask, mask

    def backward(self, params, mask, dy, context, *, need_dx=True):
        return (dy if mask is None else dy * mask), {}


@dataclass(frozen=True)
class Normalised(Layer):
    """Batch normalisation without affine parameters: the whole batch's mean and variance, in inference running ones."""

    momentum: float = 0.9

    def init_state(self, in_shape):
        return {"mean": np.zeros(in_shape[-1:]), "variance": np.ones(in_shape[-1:])}

    def forward(self, params, x, context):
        xp, axes = array_namespace(x), tuple(range(x.ndim - 1))
        if not context.training:
            mean, variance = context.state["mean"], context.state["variance"]
            return (x - mean) / xp.sqrt(variance + 1e-5), None
        count = context.total(xp.sum(xp.ones_like(x), axis=axes))
        mean = context.total(xp.sum(x, axis=axes)) / count
        centred = x - mean
        variance = context.total(xp.sum(centred * centred, axis=axes)) / count
        scale = 1 / xp.sqrt(variance + 1e-5)
        return centred * scale, (centred * scale, scale, count, mean, variance)

    def backward(self, params, residual, dy, context, *, need_dx=True):
        y, scale, count, *_ = residual
        xp, axes = array_namespace(dy), tuple(range(dy.ndim - 1))
        of_dy = context.total(xp.sum(dy, axis=axes)) / count
        of_product = context.total(xp.sum(dy * y, axis=axes)) / count
        return scale * (dy - of_dy - y * of_product), {}

    def next_state(self, state, residual):
        *_, mean, variance = residual
        m = self.momentum
        return {"mean": m * state["mean"] + (1 - m) * mean, "variance": m * state["variance"] + (1 - m) * variance}


@dataclass(frozen=True)
class Ranked(Layer):
    """x minus the batch's largest, in its own way: no sum over the batch tells it."""

    def forward(self, params, x, context):
        xp = array_namespace(x)
        largest = xp.max(x, axis=0, keepdims=True)
        return x - largest, xp.astype(x == largest, x.dtype)

    def backward(self, params, won, dy, context, *, need_dx=True):
        return dy - won * array_namespace(dy).sum(dy, axis=0, keepdims=True), {}


@dataclass(frozen=True)
class Wide(Layer):
    """Computes in float64, as a constant of NumPy's makes it."""

    def forward(self, params, x, context):
        return x * np.float64(0.5) + np.zeros(1), None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy * np.float64(0.5) + np.zeros(1), {}


# By name; whether outputs depend on other examples is found out, so it is not said here.
OWN = {
    "each row centred": Centred((1,)),
    "each column centred": Centred((2,)),
    "each channel centred": Centred((1, 2)),
    "each pixel centred": Centred((3,)),
    "each example centred": Centred((1, 2, 3)),
    "a factor per channel": PerChannel(),
    "cropped": Cropped(),
    "global mean": GlobalMean(),
    "global maximum": GlobalMax(),
    "the batch centred": Centred((0,)),
    "the batch's largest": Ranked(),
    "batch normalisation": Normalised(),
    "dropout": Dropped(),
}


class Uneven(GlobalMean):
    """Asks for a sum in some parts of a batch only."""

    def forward(self, params, x, context):
        if x.max() > 0.9:
            context.total(x.sum(axis=0))
        return super().forward(params, x, context)


class Broken(Normalised):
    """Fails in the part of a batch that has a number above 1/2."""

    def forward(self, params, x, context):
        if context.training and context.examples.shape[0] > 2 and x.max() > 0.5:
            raise ZeroDivisionError("here")
        return super().forward(params, x, context)
