"""The same networks in PyTorch, to be timed against. Imported only where `others` found no obstacle."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import optim
from torch.nn import functional as F

from ...errors import SettingError
from ...layers.base import is_own
from ...losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from ...network import Network, describe
from ...optimizers import LAMB, SGD, Adam, AdamW, Optimizer, RMSprop
from ..timing import Candidate, seconds
from . import others
from .torch_layers import arrays, modules

FORMATS = (torch.contiguous_format, torch.channels_last)
INFERENCE_BATCHES = (256, 512, 1000)  # the fastest is taken
TRIAL = 2000  # images on which they are compared


def translate(network: Network) -> Any:
    """The equal torch.nn.Sequential, of (N, C, H, W). Ties in a max pool always go to one pixel there.

    Raises SettingError for a layer that has no equal.
    """
    return modules(network.layers, network.input_shape, {})


def put(images: np.ndarray, device: str, memory_format: Any) -> Any:
    """images (N, H, W, C) uint8 -> float32 (N, C, H, W) in 0..1 on that device."""
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).to(torch.float32).div_(255)
    return x.contiguous(memory_format=memory_format)


class Peer:
    """A network in PyTorch with its loss and its optimiser, ready to take steps.

    params: the initial ones. compiled: a mode of torch.compile, or None. fused: see `optimizer_of`.
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        params: Mapping[str, Any] | None = None,
        *,
        lr: float = 0.01,
        device: str = "cpu",
        channels_last: bool = False,
        compiled: str | None = None,
        fused: bool = False,
    ) -> None:
        self.loss, self.device, self.compiled = loss_of(loss), device, compiled
        self.format = FORMATS[channels_last]
        module = translate(network)
        if params is not None:
            with torch.no_grad():
                for into, array in zip(module.parameters(), arrays(network, params), strict=True):
                    into.copy_(torch.from_numpy(np.array(array)))
        module = module.to(device=device, memory_format=self.format)
        self.module: Any = torch.compile(module, mode=compiled) if compiled else module
        self.optimizer = optimizer_of(SGD(), module.parameters(), lr, fused=fused)

    def put(self, images: np.ndarray) -> Any:
        return put(images, self.device, self.format)

    def step(self, x: Any, labels: Any) -> None:
        self._set(training=True)
        self.optimizer.zero_grad()
        self.loss(self.module(x), labels).backward()
        self.optimizer.step()

    def logits(self, x: Any, batch: int) -> Any:
        self._set(training=False)
        with torch.inference_mode():
            # a compiled module replays a CUDA graph, which writes over its last output
            made = [self.module(part).clone() if self.compiled else self.module(part) for part in x.split(batch)]
            return torch.cat(made)

    def _set(self, *, training: bool) -> None:
        """What dropout and batch normalisation do; to say it again would go through all layers."""
        if self.module.training != training:
            self.module.train(training)


def _binary_cross_entropy(logits: Any, labels: Any) -> Any:
    return F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))


def loss_of(loss: Loss) -> Any:
    """The equal of one of gpucnn's losses. Raises SettingError where there is none."""
    if type(loss) is BinaryCrossEntropy and loss == BinaryCrossEntropy():
        return _binary_cross_entropy
    if type(loss) is SoftmaxCrossEntropy and loss == SoftmaxCrossEntropy(label_smoothing=loss.label_smoothing):
        return functools.partial(F.cross_entropy, label_smoothing=loss.label_smoothing)
    raise SettingError(f"{describe(loss)} has no equal in PyTorch here")


def optimizer_of(chosen: Optimizer, parameters: Any, lr: float, *, fused: bool = False) -> Any:
    """The equal of one of gpucnn's optimisers. Raises SettingError where there is none.

    fused: one kernel for all parameters, which a CUDA graph may hold.
    """
    exact = is_own(chosen) and getattr(chosen, "decay", "all") == "all"  # a derived one may move otherwise
    if exact and isinstance(chosen, SGD):
        how: Any = {"momentum": chosen.momentum, "weight_decay": chosen.weight_decay, "nesterov": chosen.nesterov}
        return optim.SGD(parameters, lr, **how, fused=fused or None)
    if exact and isinstance(chosen, Adam) and not isinstance(chosen, LAMB):
        kind = optim.AdamW if isinstance(chosen, AdamW) else optim.Adam
        betas, more = (chosen.beta1, chosen.beta2), {"fused": True, "capturable": True} if fused else {}
        return kind(parameters, lr, betas, chosen.epsilon, chosen.weight_decay, **more)
    if exact and isinstance(chosen, RMSprop) and not fused:
        how = {"momentum": chosen.momentum, "centered": chosen.centered, "weight_decay": chosen.weight_decay}
        return optim.RMSprop(parameters, lr, chosen.alpha, chosen.epsilon, **how)
    raise SettingError(f"{chosen} has no equal in PyTorch here")


class Captured:
    """A peer's whole step as one CUDA graph, captured by hand as PyTorch's documentation says; a call replays it.

    x, labels: the buffers that it reads its batch from.
    """

    WARM = 3  # steps before the capture, on a stream beside the current one

    def __init__(self, peer: Peer, x: Any, labels: Any) -> None:
        self.kept, self.graph = (peer, x, labels), torch.cuda.CUDAGraph()
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(self.WARM):
                peer.step(x, labels)
        torch.cuda.current_stream().wait_stream(beside)
        with torch.cuda.graph(self.graph):
            peer.step(x, labels)

    def __call__(self) -> None:
        self.graph.replay()


Makers = dict[str, Callable[[], Candidate]]


def _variants(network: Network, loss: Loss, device: str, autotune: bool) -> tuple[dict[str, Any], Any]:
    """Arguments of a Peer for each memory format and, on a GPU, for each compiler; and what waits for the device.

    In plain float32, as on gpucnn's side: TF32 keeps 10 bits of the mantissa only. Raises SettingError where PyTorch
    has no equal of the network or the loss.
    """
    translate(network), loss_of(loss)
    if device == "cpu":
        return others.FORMATS, None
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # its convolutions are chosen by measuring
    compiled = {name: how for name, how in others.COMPILED.items() if autotune or how["compiled"] != "max-autotune"}
    return others.FORMATS | compiled, functools.partial(torch.cuda.synchronize, device)


def training(
    network: Network,
    loss: Loss,
    images: np.ndarray,
    labels: np.ndarray,
    device: str,
    lr: float,
    *,
    autotune: bool = False,
) -> Makers:
    """By name, what makes a step on these images, which are float32 tensors on the device before it begins."""
    variants, wait = _variants(network, loss, device, autotune)

    def step(how: dict[str, Any]) -> Candidate:
        peer = Peer(network, loss, device=device, lr=lr, **how)
        return Candidate(functools.partial(peer.step, peer.put(images), torch.from_numpy(labels).to(device)), wait=wait)

    def captured() -> Candidate:
        peer = Peer(network, loss, device=device, lr=lr, fused=True)
        return Candidate(Captured(peer, peer.put(images), torch.from_numpy(labels).to(device)), wait=wait)

    makers: Makers = {name: functools.partial(step, how) for name, how in variants.items()}
    return makers if device == "cpu" else makers | {others.CAPTURED: captured}


def inference(network: Network, loss: Loss, images: np.ndarray, device: str, *, autotune: bool = False) -> Makers:
    """By name, what makes logits of these images, float32 tensors on the device beforehand.

    In the best of some batch sizes; a compiled network in the largest, for each would be compiled anew.
    """
    variants, wait = _variants(network, loss, device, autotune)

    def logits(how: dict[str, Any]) -> Candidate:
        peer = Peer(network, loss, device=device, **how)
        x, sizes = peer.put(images), INFERENCE_BATCHES[-1:] if peer.compiled else INFERENCE_BATCHES
        trials = {size: seconds(functools.partial(peer.logits, x[:TRIAL], size), wait) for size in sizes}
        best = min(sizes, key=lambda size: trials[size])
        return Candidate(functools.partial(peer.logits, x, best), wait=wait)

    return {name: functools.partial(logits, how) for name, how in variants.items()}
