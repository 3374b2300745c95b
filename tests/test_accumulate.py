"""Gradients of several batches in one update: the update by one batch as large as all of them."""

from __future__ import annotations

import numpy as np
import pytest
from fake_cuda import fake_cuda
from layers_of_ones_own import Normalised
from test_resume import Cut, CutAt, every_step_is_saved
from test_steps import NETWORK, WAYS, data, many_shards, model_on

from gpucnn import Model, Network
from gpucnn.errors import SettingError
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.layers.initializers import generator

__all__ = ["every_step_is_saved", "fake_cuda", "many_shards"]

MIXING = Network((8, 7, 2), (Conv2D(3, 2, flip=True), Normalised(), ReLU(), MaxPool2D(), Flatten(), Dense(4)))


def trained(where, network=NETWORK, images=None, **options):
    model = model_on(where, network, threads=options.pop("threads", 1))
    images, labels = data(38, network) if images is None else images
    history = model.fit(images, labels, epochs=2, lr=0.05, **options)
    return [model.device.fetch(model.theta), model.device.fetch(model.execution.state)], history


@pytest.mark.parametrize("where", WAYS)
def test_four_batches_are_one_that_is_four_times_as_large(where, fake_cuda):
    """The last update of an epoch has 6 examples: a batch of 4 and one of 2."""
    (theta, _), history = trained(where, batch_size=4, accumulate=4)
    (expected, _), whole = trained(where, batch_size=16)
    np.testing.assert_allclose(theta, expected, rtol=1e-9, atol=1e-11)
    losses = [[epoch.train_loss for epoch in each.epochs] for each in (history, whole)]
    np.testing.assert_allclose(*losses, rtol=1e-10)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("where", ["default", "reference", "cuda", "cuda eager"])
@pytest.mark.filterwarnings("ignore:no CUDA graph")
def test_layers_that_look_at_a_batch_see_each_alone(where, threads, fake_cuda):
    """One update by 12 examples, 4 at a time, is three gradients at the same theta; so is the running state."""
    images, labels = data(12, MIXING)
    order = generator(np.random.SeedSequence(0).spawn(4)[1]).permutation(12)
    model = model_on(where, MIXING, threads=threads)
    start = model.device.fetch(model.theta).copy()
    model.fit(images, labels, epochs=1, batch_size=4, accumulate=3, optimizer="sgd", lr=0.1)
    moved, state = np.zeros_like(start), None
    for k in range(3):
        part = order[4 * k : 4 * k + 4]
        alone = Model(MIXING, device="cpu", dtype="float64", kernels="reference")
        if state is not None:
            alone.execution.state[...] = state
        alone.fit(images[part], labels[part], epochs=1, batch_size=4, optimizer="sgd", lr=0.1)
        moved, state = moved + (alone.theta - start) / 3, alone.execution.state.copy()
    np.testing.assert_allclose(model.device.fetch(model.theta), start + moved, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(model.device.fetch(model.execution.state), state, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("network", [NETWORK, MIXING])
def test_a_run_that_is_cut_goes_on_with_the_same_bits(network, tmp_path):
    options = {"network": network, "batch_size": 3, "accumulate": 4, "optimizer": "momentum"}
    with pytest.raises(Cut):
        trained("default", resume=tmp_path, callbacks=[CutAt(5)], **options)
    found, expected = trained("default", resume=tmp_path, **options), trained("default", **options)
    for one, other in zip(found[0], expected[0]):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(SettingError, match="accumulate 4 then and None now"):
        trained("default", resume=tmp_path, **options | {"batch_size": 12, "accumulate": 1})


def test_what_is_no_number_of_batches_is_refused():
    with pytest.raises(SettingError, match="accumulate=0: a whole number of at least 1 was expected"):
        trained("default", accumulate=0)


@pytest.mark.filterwarnings("error:no CUDA graph")
def test_a_step_of_several_batches_is_recorded(fake_cuda):
    (theta, _), _ = trained("cuda", batch_size=4, accumulate=2)
    eager, _ = trained("cuda eager", batch_size=4, accumulate=2)
    np.testing.assert_array_equal(theta, eager[0])


def test_batches_that_are_given_are_an_update_each():
    with pytest.raises(SettingError, match="fit_batches takes no accumulate; give larger batches"):
        model_on("default").fit_batches([data(8)], accumulate=2)


@pytest.mark.parametrize("threads", [2, 3])
def test_a_shorter_part_may_be_shared_by_more_workers(threads):
    """Three workers for the last three examples of a batch, and two for each four before them."""
    layers = (Conv2D(64, 5, padding="same"), Normalised(), ReLU(), Conv2D(64, 5, padding="same"), Flatten(), Dense(3))
    network = Network((14, 14, 1), layers)
    images, labels = np.random.default_rng(0).random((11, 14, 14, 1)), np.arange(11) % 3

    def losses(threads):
        model = Model(network, device="cpu", threads=threads, dtype="float64")
        how = {"epochs": 3, "batch_size": 4, "accumulate": 3, "optimizer": "sgd", "lr": 0.01}
        return [epoch.train_loss for epoch in model.fit(images, labels, progress=False, **how).epochs]

    np.testing.assert_allclose(losses(threads), losses(1), rtol=1e-9)
