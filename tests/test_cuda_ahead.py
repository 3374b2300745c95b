"""Kernels compiled ahead of a step, side by side: on the stand-in for CuPy."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
from fake_cuda import fake_cuda, nothing_is_computed
from test_graph import SMALL, data

from gpucnn import Model, networks
from gpucnn.kernels.cuda.modules import Compiled, Source
from gpucnn.layers import BatchNorm, Conv2D, Dense, DepthwiseConv2D, Dropout, Flatten, ReLU
from gpucnn.network import Network
from gpucnn.optimizers import SGD

__all__ = ["fake_cuda", "nothing_is_computed"]

NORMED = Network(
    (8, 8, 2),
    (Conv2D(4, 3), BatchNorm(), ReLU(), DepthwiseConv2D(3), Dropout(0.5), Flatten(), Dense(3)),
)


def step_of(network, batch=4, **options):
    """A function that does one step, and the model."""
    model = Model(network, device="cuda", threads=1, **options)
    pixels, labels = data(model.network)
    step, put = model.execution.step(model.loss, SGD()), model.device.put
    images, targets, order = put(pixels), put(labels), put(np.arange(batch))
    return lambda: step(images, targets, order, 0.1), model


@pytest.fixture
def made(monkeypatch):
    """The sources of which modules were made, with the threads that made them."""
    found: list[tuple[Source, threading.Thread]] = []
    make = Compiled._module

    def module(self, of):
        found.append((of, threading.current_thread()))
        return make(self, of)

    monkeypatch.setattr(Compiled, "_module", module)
    return found


LIKE_OTHERS = ("layered", "ten-sigmoid", "record-long", "resnet20", "mobile-small")  # in what they ask for


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in LIKE_OTHERS else ())
        for name in (*networks.NETWORKS, "normed")
    ],
)
def test_a_step_asks_for_nothing_that_was_not_compiled_ahead(name, fake_cuda, nothing_is_computed, made):
    step, _ = step_of(NORMED if name == "normed" else networks.build(name))
    before = len(made)
    step()
    alone = sum(of.sizes is not None for of, _ in made[before:]) == 1  # what is one source needs no thread beside it
    here = [of.sizes.files for of, thread in made[before:] if thread is threading.current_thread()]
    assert alone or not here


def test_inference_asks_for_nothing_that_was_not_compiled_ahead(fake_cuda, made):
    _, model = step_of(networks.build("two-conv"))
    before = len(made)
    model.logits(data(model.network)[0])
    assert len(made) > before
    assert threading.current_thread() not in [thread for _, thread in made[before:]]


def test_sources_are_compiled_side_by_side(fake_cuda, monkeypatch):
    """Each of two threads waits for the other one."""
    both, met = threading.Barrier(2, timeout=20), []

    class Waiting(sys.modules["cupy"].RawModule):
        def compile(self):
            met.append(both.wait())

    monkeypatch.setattr("os.cpu_count", lambda: 2)
    step, _ = step_of(networks.build("single-filter"))
    monkeypatch.setattr(sys.modules["cupy"], "RawModule", Waiting)
    step()
    assert sorted(met) == [0, 1]


def test_one_cpu_compiles_when_it_is_asked(fake_cuda, monkeypatch, made):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    step, _ = step_of(networks.build("single-filter"))
    step()
    assert {thread for _, thread in made} == {threading.current_thread()}


def test_what_fails_in_a_thread_is_said_by_the_step(fake_cuda, monkeypatch):
    step, _ = step_of(networks.build("two-conv"))

    class Broken(sys.modules["cupy"].RawModule):
        def __init__(self, code, options):
            if "KERNEL image_gradient(" in code:
                raise RuntimeError("no such instruction")
            super().__init__(code, options)

    monkeypatch.setattr(sys.modules["cupy"], "RawModule", Broken)
    with pytest.warns(UserWarning, match=r"image_gradient does not start .*columns of the image take") as told:
        step()
    assert len(told) == 1


def test_a_rehearsal_launches_nothing_and_changes_nothing(fake_cuda, monkeypatch):
    """The step is stopped when it really begins."""
    step, model = step_of(NORMED)
    before = [np.array(each) for each in (model.execution.theta, model.execution.state)]
    ahead, seen = Compiled.ahead, []

    def only(self, work):
        launched = []
        monkeypatch.setattr("fake_cuda.do", lambda work: launched.append(work))
        ahead(self, work)
        seen.append(len(launched))
        raise KeyboardInterrupt

    monkeypatch.setattr(Compiled, "ahead", only)
    with pytest.raises(KeyboardInterrupt):
        step()
    assert seen == [0]
    for a, b in zip((model.execution.theta, model.execution.state), before):
        np.testing.assert_array_equal(a, b)


def test_other_threads_launch_during_a_rehearsal(fake_cuda):
    _, model = step_of(SMALL)
    gpu = model.execution.context.kernels.gpu
    found = []

    def other():
        found.append(gpu.compiled.is_rehearsal)

    def work():
        found.append(gpu.compiled.is_rehearsal)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    gpu.compiled.ahead(work)
    assert found == [True, False]
    assert not gpu.compiled.is_rehearsal


def test_layers_of_ones_own_are_not_called_once_more(fake_cuda):
    class Counting(ReLU):
        calls = 0

        def forward(self, params, x, context):
            Counting.calls += 1
            return super().forward(params, x, context)

    step, _ = step_of(Network((8, 8, 1), (Conv2D(2, 3), Counting(), Flatten(), Dense(3))), graph=False)
    step()
    assert Counting.calls == 1
