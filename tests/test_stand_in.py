"""What CuPy refuses the stand-in refuses, too, and what is an array there is one here; see fake_cuda.py."""

from __future__ import annotations

import numpy as np
import pytest
from fake_cuda import any_cuda, fake_cuda

from gpucnn.device import Device
from gpucnn.namespace import array_namespace

__all__ = ["any_cuda", "fake_cuda"]

HOST = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "work",
    [
        lambda xp, a: a + HOST,
        lambda xp, a: HOST * a,
        lambda xp, a: a == HOST,
        lambda xp, a: xp.maximum(a, HOST),
        lambda xp, a: xp.where(a > 1, a, HOST),
        lambda xp, a: xp.concat([a, HOST]),
        lambda xp, a: xp.stack([a, HOST]),
        lambda xp, a: a @ HOST,
    ],
    ids=["sum", "product", "comparison", "maximum", "where", "concat", "stack", "matmul"],
)
def test_arrays_of_the_host_are_refused_beside_the_devices(work, any_cuda):
    a = any_cuda.put(HOST)
    with pytest.raises(TypeError):
        work(array_namespace(a), a)


@pytest.mark.parametrize("given", [HOST, [1.0, 2.0, 3.0]], ids=["array", "list"])
def test_what_lies_on_the_host_is_not_assigned(given, any_cuda):
    a = any_cuda.put(HOST)
    with pytest.raises(ValueError, match="cannot be used for fill"):
        a[...] = given


def test_a_number_of_an_array_is_an_array_of_no_axes(any_cuda):
    a = any_cuda.put(HOST)
    xp = array_namespace(a)
    for found in (a[0], xp.sum(a), xp.max(a) + 1, a[0] * 2.0, xp.ones_like(xp.sum(a)), -a[1]):
        assert isinstance(found, type(a))
        assert found.shape == ()
    a[1:][0][...] = 9.0
    assert float(a[1]) == 9.0


@pytest.mark.parametrize(
    "look", [lambda a: bool(a[0] > 0), lambda a: float(a[0]), lambda a: int(a[0]), lambda a: a.tolist()]
)
def test_a_recorded_step_cannot_look_at_numbers(look, fake_cuda):
    a = Device("cuda").put(HOST)
    with pytest.raises(RuntimeError, match="while a graph is recorded"):
        Device("cuda").record(lambda: look(a))
