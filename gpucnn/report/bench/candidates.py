"""Who is timed: gpucnn with its kernels, and the same network in other libraries, on the same random images.

On gpucnn's side a step is the whole step: the batch is taken from uint8 images and scaled inside the timed part. The
others are given float32 tensors that are ready before, which favours them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ... import networks
from ...device import reason_of
from ...engine.acceleration import Acceleration
from ...engine.recorded import WARM, RecordedStep
from ...errors import SettingError
from ...losses import CLASSIFICATION, REGRESSION, Loss, kind
from ...model import Model
from ...network import Network, shares_ties
from ...optimizers import SGD
from ..timing import Candidate
from .session import Session

OURS = "gpucnn"
RESIDENT = "gpucnn, images on the GPU"
MORE = {
    "gpucnn numba": Acceleration(kernels="numba"),
    "gpucnn, no graph": Acceleration(graph=False),
    "gpucnn TF32": Acceleration(precision="tf32"),
    "gpucnn Winograd": Acceleration(kernels="winograd"),
    "gpucnn columns": Acceleration(kernels="columns"),
    "gpucnn cuDNN": Acceleration(kernels="cudnn"),
    "gpucnn reference": Acceleration(kernels="reference"),
}
LR = 0.01
HOW = (
    "gpucnn takes its batch from uint8 images and scales it inside the timed step; the others get float32 tensors "
    "that are ready before, which favours them. Same float32, SGD, threads; they run in turn, figures are medians "
    "[least..most] over rounds."
)


@dataclass(frozen=True)
class Case:
    """What is timed: a network, its loss, and random images and labels for it."""

    name: str
    network: Network
    loss: Loss
    images: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, name: str, images: int, network: Network | None = None) -> Case:
        """The named network, or another one under its name, with as many images as `images` says."""
        entry = networks.entry(name)
        network = network or networks.build(name)
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (images, *network.input_shape), dtype=np.uint8)
        outputs, of_kind = network.shapes()[-1][0], kind(entry.loss)
        if of_kind == CLASSIFICATION:
            labels = rng.integers(0, outputs, images)
        else:
            rows = images, outputs
            numbers = rng.standard_normal(rows) if of_kind == REGRESSION else rng.integers(0, 2, rows)
            labels = numbers.astype("float32")
        return cls(name, network, entry.loss, pixels, labels)


def models(session: Session, case: Case) -> dict[str, Model]:
    """gpucnn with its default kernels, and with the others where they are asked for and possible."""
    ties = shares_ties(case.network)
    more = MORE if session.options.all_kernels else {}
    possible = {name: how for name, how in more.items() if how.is_possible(session.device, exact_ties=ties)}
    hows = {OURS: Acceleration()} | possible
    return {name: model_of(session, case, how) for name, how in hows.items()}


def model_of(session: Session, case: Case, how: Acceleration) -> Model:
    """The case's network as gpucnn computes it here."""
    options = asdict(how)
    return Model(case.network, loss=case.loss, device=session.device, threads=session.options.threads, **options)


def our_step(model: Model, case: Case, batch: int) -> Candidate:
    """gpucnn's training step, on another batch of the case's images each time; many at once where training does so."""
    device, execution, update = model.device, model.execution, model.execution.step(model.loss, SGD())
    images, labels = device.put(case.images), device.put(case.labels)
    order = np.random.default_rng(1).permutation(len(case.images))
    batches = itertools.cycle([device.put(order[k : k + batch]) for k in range(0, len(order) - batch + 1, batch)])

    def step() -> None:
        update(images, labels, next(batches), LR)

    with execution.active():
        for _ in range(WARM + 1 if execution.is_recorded else 0):
            step()  # until it is recorded
    wait = device.synchronize if device.kind == "cuda" else None
    some: Any = update
    count = some.together(images, labels, None, batch) if isinstance(update, RecordedStep) else 1
    if count == 1 or count * batch > len(order):
        return Candidate(step, execution.active, wait)
    spans = range(0, len(order) - count * batch + 1, count * batch)
    tens = itertools.cycle([device.put(order[k : k + count * batch]) for k in spans])
    return Candidate(lambda: some.ten(images, labels, next(tens), [LR] * count), execution.active, wait, count)


def training(session: Session, case: Case, batch: int) -> tuple[dict[str, Candidate], list[str]]:
    """Everyone's training step; and of each that has no equal of the case's layers and loss, why it is left out."""
    found = {name: our_step(model, case, batch) for name, model in models(session, case).items()}
    notes: list[str] = []
    shape = (case.network, case.loss, case.images[:batch], case.labels[:batch], str(session.device), LR)
    if session.torch_obstacle is None:
        from . import torch_peer

        of_torch = functools.partial(torch_peer.training, autotune=session.options.autotune)
        found |= _made("PyTorch", of_torch, shape, notes)
    if session.jax_obstacle is None:
        from . import jax_peer

        found |= _made("JAX", jax_peer.training, shape, notes)
    return found, notes


def inference(session: Session, case: Case) -> tuple[dict[str, Candidate], list[str]]:
    """Everyone's logits of all the case's images, and who is left out, as in training."""
    ours = models(session, case)
    found = {name: Candidate(functools.partial(model.logits, case.images)) for name, model in ours.items()}
    if session.device.kind == "cuda":
        found[RESIDENT] = _resident(ours[OURS], case.images)
    notes: list[str] = []
    if session.torch_obstacle is None:
        from . import torch_peer

        of_torch = functools.partial(torch_peer.inference, autotune=session.options.autotune)
        found |= _made("PyTorch", of_torch, (case.network, case.loss, case.images, str(session.device)), notes)
    return found, notes


def _resident(model: Model, images: np.ndarray) -> Candidate:
    """Inference of images that lie on the device; the logits come to the host."""
    there, fetch, execution = model.device.put(images), model.device.fetch, model.execution
    return Candidate(lambda: [fetch(each) for each in execution.logits(there, model.scaling)], execution.active)


def _made(
    who: str, makers_of: Callable[..., dict[str, Callable[[], Candidate]]], shape: tuple[Any, ...], notes: list[str]
) -> dict[str, Candidate]:
    """Another library's candidates, each called once, for much is compiled then.

    None where the library has no equal; and without those that fail: a note says why.
    """
    try:
        makers = makers_of(*shape)
    except SettingError as error:
        notes.append(f"{who} is left out: {error}")
        return {}
    found = {}
    for name, make in makers.items():
        try:
            candidate = make()
            candidate.once()
        except Exception as error:  # whatever another library raises
            notes.append(f"{name} is left out: {reason_of(error)}")
        else:
            found[name] = candidate
    return found
