"""Every loss, update rule and layer can be part of a recorded CUDA graph: nothing in a step waits for the device."""

from __future__ import annotations

import numpy as np
import pytest
from fake_cuda import any_cuda, fake_cuda
from test_losses import CASES, LOGITS

from gpucnn import Model, layers, losses, optimizers
from gpucnn.layers import Conv2D, Dense, Flatten, Parallel
from gpucnn.namespace import clipped, joined, sign
from gpucnn.network import Network

__all__ = ["any_cuda", "fake_cuda"]

pytestmark = pytest.mark.filterwarnings("error:no CUDA graph")
RULES = {
    "Adam": optimizers.Adam(),
    "AdamW": optimizers.AdamW(),
    "LAMB": optimizers.LAMB(),
    "Lion": optimizers.Lion(),
    "Muon": optimizers.Muon(),
    "Nesterov": optimizers.SGD(momentum=0.9, nesterov=True),
    "RMSprop": optimizers.RMSprop(momentum=0.5, centered=True),
    "l1 and l2": optimizers.Groups(optimizers.SGD(), {"*/kernel": {"l1": 0.01, "l2": 0.02}}),
    "Lion in groups": optimizers.Groups(optimizers.Lion(), {"*/bias": {"rate": 0.5}}),
    "clipped": optimizers.Clip(optimizers.SGD(), norm=0.1),
    "EMA": optimizers.EMA(optimizers.SGD(), 0.9),
    "SWA": optimizers.SWA(optimizers.SGD(), 1),
    "Lookahead": optimizers.Lookahead(optimizers.SGD(), 2),
}
KINDS = [
    *(layers.ELU(), layers.GELU(), layers.GELU(approximate=True), layers.SiLU(), layers.Softplus(), layers.Hardswish()),
    *(layers.PReLU(), layers.LeakyReLU(), layers.Tanh(), layers.Sigmoid(), layers.ReLU(), layers.Dropout(0.2)),
    *(layers.BatchNorm(), layers.LayerNorm(), layers.GroupNorm(2), layers.InstanceNorm()),
    *(layers.AvgPool2D(3, padding=1), layers.MaxPool2D(3, 2, padding=1), layers.SpatialDropout2D(0.2)),
    *(layers.DepthwiseConv2D(3), layers.SeparableConv2D(4, 3)),
    *(layers.ConvTranspose2D(2, 3, stride=2), layers.AvgPool2D(2, count_padding=False, padding="same")),
    Parallel(tuple((Conv2D(1, 1),) for _ in range(10))),
]  # fmt: skip


def of(*middle: layers.Layer, outputs: int = 3) -> Network:
    return Network((6, 6, 2), (Conv2D(4, 3, padding="same"), *middle, Flatten(), Dense(outputs)))


def agree(network: Network, targets: np.ndarray, loss: losses.Loss | None = None, **options) -> None:
    """The step on CUDA, recorded, does what it does launched one by one, and about what the CPU does."""
    images = np.random.default_rng(1).integers(0, 256, (len(targets), 6, 6, 2), dtype=np.uint8)
    found = {}
    for graph, device in ((True, "cuda"), (False, "cuda"), (None, "cpu")):
        model = Model(network, loss=loss, device=device, dtype="float64", threads=1, seed=3, graph=graph)
        model.fit(images, targets, epochs=6, batch_size=len(targets), lr=0.01, progress=False, **options)
        found[graph] = model.device.fetch(model.theta)
    np.testing.assert_allclose(found[True], found[False], rtol=1e-9, atol=1e-13)  # NumPy may add in another order
    np.testing.assert_allclose(found[True], found[None], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_losses(case, any_cuda):
    loss, targets = CASES[case]
    agree(of(outputs=LOGITS.shape[1]), targets, loss)


@pytest.mark.parametrize("rule", RULES)
def test_rules(rule, any_cuda):
    agree(of(layers.Tanh()), np.arange(7) % 3, optimizer=RULES[rule])


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: type(each).__name__)
def test_layers(kind, any_cuda):
    agree(of(kind), np.arange(7) % 3)


def test_an_update_of_ten_batches(fake_cuda):
    images = np.random.default_rng(1).integers(0, 256, (80, 6, 6, 2), dtype=np.uint8)
    for graph in (True, False):
        model = Model(of(), device="cuda", threads=1, graph=graph)
        model.fit(images, np.arange(80) % 3, epochs=4, batch_size=2, accumulate=10, progress=False)


def test_clipped_and_sign_and_joined(library):
    x = np.array([-2.0, -0.5, 0.0, 0.5, 3.0, np.inf, -np.inf, np.nan])
    given = library.put(x)
    for low, high in ((-1.0, 1.0), (None, 1.0), (0.0, None)):
        np.testing.assert_array_equal(library.fetch(clipped(given, low, high)), np.clip(x, low, high))
    np.testing.assert_array_equal(library.fetch(sign(given)), np.sign(x))
    for count in (1, 8, 9, 65):
        made = library.fetch(joined([given] * count))
        np.testing.assert_array_equal(made, np.concatenate([x] * count))
