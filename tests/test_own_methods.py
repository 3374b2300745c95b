"""A layer of a user's own with methods that cannot be called, or are never called, is refused where it stands."""

from __future__ import annotations

import re

import numpy as np
import pytest

from gpucnn import Network
from gpucnn.errors import ShapeError
from gpucnn.layers import BatchNorm, Dense, Layer, Parallel, Residual, Tanh


class Same(Layer):
    def forward(self, params, x, context):
        return x, None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy, {}


def of(base=Same, **methods):
    """A class with these methods more."""
    return type("Mine", (base,), methods)


class Plain:
    """Not derived from Layer."""

    forward, backward = Same.forward, Same.backward

    def out_shape(self, in_shape):
        return in_shape

    def init(self, in_shape, rng):
        return {}


def with_state(self, in_shape):
    return {"mean": np.zeros(1)}


WRONG = {
    "no need_dx": (
        of(backward=lambda self, params, residual, dy, context: (dy, {})),
        "its backward is told by need_dx whether dx is needed; add `*, need_dx=True`, as in `def backward(self, "
        "params, residual, dy, context, *, need_dx=True)`",
    ),
    "no context": (
        of(forward=lambda self, params, x: (x, None)),
        "its forward takes (params, x), and (params, x, context) is what it is given; write `def forward(self, params, "
        "x, context)`",
    ),
    "no rng": (
        of(init=lambda self, in_shape: {}),
        "its init takes (in_shape), and (in_shape, rng) is what it is given",
    ),
    "no residual": (
        of(init_state=with_state, next_state=lambda self, state: state),
        "its next_state takes (state), and (state, residual) is",
    ),
    "outshape": (
        of(outshape=lambda self, in_shape: in_shape),
        "its class has a method outshape, which nothing calls, and no out_shape of its own; call it out_shape",
    ),
    "output_shape": (of(compute_output_shape=lambda self, in_shape: in_shape), "call it out_shape"),
    "next_sate": (
        of(init_state=with_state, next_sate=lambda self, state, residual: state),
        "its class has a method next_sate, which nothing calls, and no next_state of its own; call it next_state",
    ),
    "initstate": (of(initstate=with_state), "call it init_state"),
    "foward": (of(Layer, foward=Same.forward, backward=Same.backward), "call it forward"),
    "call": (of(Layer, call=Same.forward, backward=Same.backward), "call it forward"),
    "to_onx": (of(to_onx=lambda self, graph, numbers, x, in_shape: x), "call it to_onnx"),
    "no next_state": (
        of(init_state=with_state),
        "its class has init_state and no next_state, so that its state would stay as it is; write `def next_state("
        "self, state, residual)`, with `return state` in it where it is to stay",
    ),
    "no next_state, plain": (of(Plain, init_state=with_state), "its class has init_state and no next_state"),
    "Plain without context": (of(Plain, forward=lambda self, params, x: (x, None)), "its forward takes (params, x)"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_called_is_refused_with_its_place(what):
    kind, says = WRONG[what]
    for make, place in (
        (lambda: Network((4,), (Tanh(), kind(), Dense(2))), "layer 1 (Mine): "),
        (lambda: Residual((Tanh(), kind())), "Residual: layers: layer 1 (Mine): "),
        (lambda: Parallel(((), (kind(),))), "Parallel: branch 1: layer 0 (Mine): "),
    ):
        with pytest.raises(ShapeError, match=f"^{re.escape(place)}.*{re.escape(says)}"):
            make()


def test_a_plain_class_with_a_misspelt_method_is_told_which():
    class Mine:
        forward, backward = Same.forward, Same.backward

        def outshape(self, in_shape):
            return in_shape

    with pytest.raises(
        ShapeError, match=r"^layer 0 is .*, which gpucnn.layers.Layer has, unless outshape is meant to be"
    ):
        Network((4,), (Mine(),))


@pytest.mark.parametrize(
    "kind",
    [
        Same,
        Plain,
        of(backward=lambda self, params, residual, dy, context, need_dx=True: (dy, {})),
        of(backward=lambda self, *arguments, **options: (arguments[2], {})),
        of(forward=lambda self, params, x, context, more=None: (x, None)),
        of(output=lambda self: 0, out=lambda self: 0, in_shape=lambda self: 0, get_state=lambda self: 0),
        of(out_shape=lambda self, in_shape: in_shape, out_shapes=lambda self: 0),
        of(outshape=(4,)),
        of(init_state=with_state, next_state=lambda self, state, residual: state),
        of(BatchNorm),
    ],
)
def test_what_can_be_called_passes(kind):
    assert Network((4,), (kind(),)).shapes()[-1] == (4,)
