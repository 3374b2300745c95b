"""notebooks/semantics.md: it names every layer, what it tells to write can be written, and PyTorch does as it says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import Model, Network
from gpucnn.kernels import REFERENCE, Context
from gpucnn.layers import (
    ELU,
    REGISTRY,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    Hardswish,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    PReLU,
    ReLU,
)
from gpucnn.optimizers import SGD, Clip

PAGE = (Path(__file__).parent.parent / "notebooks" / "semantics.md").read_text(encoding="utf-8")
SPANS = re.findall(r"`([^`]+)`", PAGE)
WRITTEN = sorted({span for span in SPANS if re.match(rf"({'|'.join(REGISTRY)})\(", span)})
ELSEWHERE = {"LayerNorm((C, H, W))", "LayerNorm(C)"}  # PyTorch's
NESTS = {"Residual(layers)", 'Parallel(branches, "concat")', 'Parallel(branches, "add")'}
SCHEMATIC = {"PadChannels(n)", "PadChannels((0, n))", *NESTS}


@pytest.mark.parametrize("name", REGISTRY)
def test_every_layer_is_named(name: str) -> None:
    assert any(re.match(rf"{name}\b", span) for span in SPANS)


@pytest.mark.parametrize("line", WRITTEN)
def test_what_is_to_be_written_is_a_layer(line: str) -> None:
    if line in ELSEWHERE | SCHEMATIC:
        return
    assert isinstance(eval(line, dict(REGISTRY)), Layer)


def test_the_exceptions_are_on_the_page() -> None:
    assert set(WRITTEN) >= ELSEWHERE | SCHEMATIC
    assert len(WRITTEN) > 50


torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn, F = torch.nn, torch.nn.functional


def default(function: Any, name: str) -> Any:
    return inspect.signature(function).parameters[name].default


DEFAULTS = [
    (nn.BatchNorm2d, "eps", 1e-5),
    (nn.BatchNorm2d, "momentum", 0.1),
    (nn.LayerNorm, "eps", 1e-5),
    (nn.GroupNorm, "eps", 1e-5),
    (nn.InstanceNorm2d, "eps", 1e-5),
    (nn.InstanceNorm2d, "affine", False),
    (nn.LeakyReLU, "negative_slope", 0.01),
    (nn.PReLU, "num_parameters", 1),
    (nn.PReLU, "init", 0.25),
    (nn.ELU, "alpha", 1.0),
    (nn.GELU, "approximate", "none"),
    (nn.Softplus, "threshold", 20.0),
    (nn.Softplus, "beta", 1.0),
    (nn.Dropout, "p", 0.5),
    (nn.AvgPool2d, "count_include_pad", True),
    (nn.AvgPool2d, "ceil_mode", False),
    (nn.MaxPool2d, "ceil_mode", False),
    (nn.MaxPool2d, "stride", None),
    (nn.Conv2d, "padding_mode", "zeros"),
]


@pytest.mark.parametrize(("layer", "name", "value"), DEFAULTS, ids=lambda each: str(getattr(each, "__name__", each)))
def test_pytorchs_defaults(layer: Any, name: str, value: Any) -> None:
    assert default(layer, name) == value


def slope_at(function: Any, x: float) -> float:
    leaf = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    function(leaf).backward()
    return float(leaf.grad)


def test_pytorchs_slopes_at_kinks() -> None:
    assert slope_at(F.relu, 0) == 0
    assert slope_at(F.leaky_relu, 0) == 0.01
    assert slope_at(lambda x: F.elu(x, 0.7), 0) == 0.7
    assert slope_at(lambda x: F.prelu(x, torch.tensor([0.3], dtype=torch.float64)), 0) == 0.3
    assert [slope_at(F.hardswish, x) for x in (-3, 3)] == [0, 1]
    assert np.isnan(slope_at(lambda x: F.gelu(x, approximate="tanh"), -1e200))
    x = torch.tensor([19.0, 21.0], dtype=torch.float64)
    assert (F.softplus(x) == x).tolist() == [False, True]


def test_our_slopes_at_kinks() -> None:
    for layer, expected in ((ReLU(), 0.5), (ReLU(0.0), 0), (LeakyReLU(), 0.01), (ELU(0.7), 0.7), (Hardswish(), 0.5)):
        _, residual = layer.forward({}, np.zeros((1, 1)), Context(REFERENCE))
        dx, _ = layer.backward({}, residual, np.ones((1, 1)), Context(REFERENCE))
        assert dx[0, 0] == expected
    assert PReLU().init((2, 2, 3), None)["slope"].tolist() == [0.25] * 3


def test_pytorchs_max_pools() -> None:
    ties = torch.ones(1, 1, 2, 2, requires_grad=True)
    F.max_pool2d(ties, 2).backward()
    assert ties.grad.flatten().tolist() == [1, 0, 0, 0]
    shared = torch.ones(4, requires_grad=True)
    shared.amax().backward()
    assert shared.grad.tolist() == [0.25] * 4
    assert F.max_pool2d(torch.full((1, 1, 2, 2), -5.0), 2, 1, 1).max() == -5
    assert F.max_pool2d(torch.tensor([[[[1.0, np.nan], [2, 3]]]]), 2).isnan().all()
    with pytest.raises(RuntimeError, match="pad should be at most half of"):
        F.max_pool2d(ties, 2, 1, 2)
    assert not hasattr(nn.AvgPool2d(2), "dilation")


def test_pytorchs_convolutions() -> None:
    with pytest.raises(ValueError, match="not supported for strided"):
        nn.Conv2d(1, 1, 3, stride=2, padding="same")
    layer = nn.Conv2d(3, 7, 5)
    for parameter in layer.parameters():
        assert parameter.abs().max() <= 1 / np.sqrt(3 * 5 * 5)
    assert 0.9 / np.sqrt(3 * 5 * 5) < layer.weight.abs().max()
    assert tuple(layer.weight.shape) == (7, 3, 5, 5)
    assert tuple(nn.ConvTranspose2d(3, 7, 5).weight.shape) == (3, 7, 5, 5)
    ours = ConvTranspose2D(7, 3, 2, padding=1, output_padding=1).out_shape((5, 6, 3))
    theirs = nn.ConvTranspose2d(3, 7, 3, 2, padding=1, output_padding=1)(torch.zeros(1, 3, 5, 6))
    assert ours == (*theirs.shape[2:], 7)
    assert Conv2D(7, 3, 2, padding="same").out_shape((5, 6, 3)) == (3, 3, 7)


def test_pytorchs_running_statistics() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 2, 5))
    theirs = nn.BatchNorm2d(5, dtype=torch.float64)
    theirs(torch.tensor(x).permute(0, 3, 1, 2))
    layer = BatchNorm(momentum=0.9)
    state = layer.init_state((3, 2, 5))
    params = layer.init((3, 2, 5), None)
    _, residual = layer.forward(params, x, Context(REFERENCE, state=state))
    found = layer.next_state(state, residual)
    np.testing.assert_allclose(found["mean"], theirs.running_mean.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found["variance"], theirs.running_var.numpy(), rtol=1e-10)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm2d(5)(torch.zeros(1, 5, 1, 1))


def test_pytorchs_dropout() -> None:
    torch.manual_seed(0)
    y = F.dropout(torch.ones(1000), 0.2)
    assert set(y.tolist()) == {0.0, 1.25}
    assert F.dropout(torch.full((99,), np.nan), 0.5).isnan().all()
    assert F.dropout(torch.ones(9), 1.0).tolist() == [0] * 9
    channels = F.dropout2d(torch.ones(50, 4, 3, 3), 0.5)
    assert (channels == channels[:, :, :1, :1]).all()
    assert Dropout().rate == 0.5


def stepped(layers: tuple[Layer, ...], images: np.ndarray, kernels: str, rule: Any = "sgd", steps: int = 1) -> Any:
    """The parameters of a network before and after steps on all images, whose labels are 0, 1, 2, 0 and so on."""
    model = Model(Network(images.shape[1:], layers), device="cpu", dtype="float64", threads=1, kernels=kernels)
    before, batch = model.parameters, (images, np.arange(len(images)) % 3)
    model.fit_batches([batch] * steps, optimizer=rule, lr=0.5, progress=False)
    return before, model.parameters


def step_by_pytorch(parameters: dict[str, np.ndarray], images: np.ndarray, change: Any = None, steps: int = 1) -> Any:
    """The same of a network of `BLOCKS` and a dense layer, in PyTorch."""
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
    labels = torch.arange(len(images)) % 3
    for _ in range(steps):
        x = torch.tensor(images).permute(0, 3, 1, 2)
        for k in (0, 4):
            x = F.conv2d(x, leaves[f"{k}/kernel"].permute(3, 2, 0, 1), leaves[f"{k}/bias"], padding=1)
            scale, bias = leaves[f"{k + 1}/scale"], leaves[f"{k + 1}/bias"]
            x = F.layer_norm(x.permute(0, 2, 3, 1), scale.shape, scale, bias).permute(0, 3, 1, 2)
            x = F.max_pool2d(F.relu(x), 2)
        z = x.permute(0, 2, 3, 1).flatten(1) @ leaves["9/weights"] + leaves["9/bias"]
        gradients = torch.autograd.grad(F.cross_entropy(z, labels), list(leaves.values()))
        for leaf, gradient in zip(leaves.values(), gradients):
            leaf.grad = gradient
        if change is not None:
            change(leaves.values())
        with torch.no_grad():
            for leaf in leaves.values():
                leaf -= 0.5 * leaf.grad
    return {name: leaf.detach().numpy() for name, leaf in leaves.items()}


def block(filters: int) -> tuple[Layer, ...]:
    return Conv2D(filters, 3, padding=1), LayerNorm("channels"), ReLU(0.0), MaxPool2D(2)


BLOCKS = (*block(8), *block(16), Flatten(), Dense(3))


def test_blank_borders_behind_a_normalisation_of_channels() -> None:
    images = np.zeros((6, 16, 16, 1))
    images[:, 5:11, 5:11] = np.random.default_rng(0).uniform(0.1, 1, (6, 6, 6, 1))
    before, ours = stepped(BLOCKS, images, "reference")
    theirs = step_by_pytorch(before, images)
    for name in before:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-13, err_msg=name)


def test_pytorchs_clipping_adds_to_the_norm() -> None:
    images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1))
    before, ours = stepped(BLOCKS, images, "reference", Clip(SGD(), norm=0.1), 5)
    theirs = step_by_pytorch(before, images, lambda leaves: nn.utils.clip_grad_norm_(list(leaves), 0.1), 5)

    def exactly(leaves: Any) -> None:
        size = float(torch.sqrt(sum((leaf.grad**2).sum() for leaf in leaves)))
        for leaf in leaves:
            leaf.grad *= 0.1 / max(size, 0.1)

    without = step_by_pytorch(before, images, exactly, 5)
    for name in before:
        np.testing.assert_allclose(ours[name], without[name], rtol=0, atol=1e-12, err_msg=name)
    off = max(float(abs(ours[name] - theirs[name]).max()) for name in before)
    assert 1e-9 < off < 1e-5
