"""Layers in whole training steps: on CUDA, launched one by one and recorded, and shared among CPUs."""

from __future__ import annotations

import numpy as np
import pytest
from fake_cuda import fake_cuda  # noqa: F401
from test_graph import trained

from gpucnn import Model, layers
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D
from gpucnn.network import Network
from gpucnn.optimizers import Adam

NETWORKS = {
    "dropout": (Conv2D(4, 3), layers.SpatialDropout2D(0.3), layers.SiLU(), Flatten(), layers.Dropout(0.4), Dense(3)),
    "activations": (
        *(Conv2D(4, 3), layers.PReLU(), Conv2D(4, 2), layers.GELU(), layers.Hardswish(), layers.LeakyReLU()),
        *(layers.GlobalAvgPool2D(), Dense(5), layers.ELU(), Dense(3), layers.Softplus(), layers.PReLU(shared=True)),
    ),
    "pools": (
        *(Conv2D(4, 3, padding="same-lower"), MaxPool2D(3, 2, ceil_mode=True), layers.GELU(approximate=True)),
        *(layers.AvgPool2D(2, 1, dilation=2), layers.GlobalMaxPool2D(), Dense(3)),
    ),
    "moved pixels": (
        *(
            layers.ZeroPad2D(((1, 0), (2, 1))),
            Conv2D(3, 3),
            layers.PadChannels(3),
            layers.Upsample2D((2, 3), "bilinear"),
        ),
        *(
            Conv2D(4, 2),
            layers.Crop2D(((0, 1), (2, 1))),
            layers.Upsample2D(2),
            Conv2D(4, 2),
            layers.Subsample2D((3, 2)),
        ),
        *(layers.ReLU(), Flatten(), Dense(3)),
    ),
}


def network(name: str) -> Network:
    return Network((8, 8, 1), NETWORKS[name])


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("name", NETWORKS)
def test_ten_steps_on_cuda_are_those_of_the_cpu(name, graph, fake_cuda):  # noqa: F811
    expected = trained(network(name), Adam(), "cpu")
    found = trained(network(name), Adam(), "cuda", graph=graph)
    for a, b in zip(found[:2], expected[:2]):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_dropout_is_the_same_for_every_number_of_workers():
    """The bits of theta, and of what is predicted, where nothing is left out."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (96, 8, 8, 1), dtype=np.uint8), rng.integers(0, 3, 96)
    found = []
    for threads in (1, 2):
        model = Model(network("dropout"), device="cpu", threads=threads)
        model.fit(images, labels, epochs=2, batch_size=48, seed=3)
        found.append((model.theta.tobytes(), model.predict(images).tobytes()))
    assert found[0] == found[1]
    again = Model(network("dropout"), device="cpu", threads=1)
    again.fit(images, labels, epochs=2, batch_size=48, seed=4)
    assert again.theta.tobytes() != found[0][0]
