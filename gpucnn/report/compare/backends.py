"""What `gpucnn compare` sets side by side: devices, or other array libraries where there is no second device."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...device import Device, _cuda_obstacle, named
from ...engine.acceleration import Acceleration
from ...engine.execution import Step
from ...errors import DeviceError
from ...losses import Loss
from ...model import Model
from ...network import Network
from ...optimizers import Optimizer

Array = Any


@dataclass(frozen=True)
class Backend:
    """One way to compute the same numbers.

    put, fetch: a host array -> one of the library's, and back; None is the device's own. reference: the reference
    table instead of the device's own. reversed: the examples of a batch in the opposite order, in shards of another
    size. timed: False where speed says nothing. acceleration: of a CUDA device.
    """

    name: str
    about: str
    device: Device = Device("cpu")
    put: Callable[[np.ndarray], Array] | None = None
    fetch: Callable[[Array], np.ndarray] | None = None
    reference: bool = False
    reversed: bool = False
    timed: bool = True
    acceleration: Acceleration = Acceleration()


ACCELERATED = {
    "fused": ("fused kernels", Acceleration(kernels="fused")),
    "graph": ("fused kernels, each step as one graph", Acceleration(graph=True)),
    "cudnn": ("fused kernels, cuDNN's convolutions", Acceleration(kernels="cudnn")),
}

CPU = Backend("cpu", "NumPy's own kernel table")
# The first changes the sums over a batch, the gradient's; the second those inside every layer.
YARDSTICKS = (
    Backend("reversed", "the same with reversed batches in other shards", reversed=True, timed=False),
    Backend("reference", "the reference table on NumPy", reference=True),
)


@dataclass(frozen=True)
class Problem:
    """What all backends compute. images (N, H, W, C) uint8 and labels (N,) on the host; threads: on the CPU."""

    network: Network
    loss: Loss
    images: np.ndarray
    labels: np.ndarray
    seed: int = 0
    threads: int | None = None


@contextmanager
def held_to_one_thread() -> Iterator[None]:
    """Around everything that runs: libraries use one thread each; those that gpucnn shares work among are its own."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), np.errstate(all="ignore"):
        yield


class Runner:
    """A problem on a backend, in "float32" or "float64": parameters that start the same everywhere, and the data."""

    def __init__(self, problem: Problem, backend: Backend, dtype: str) -> None:
        self.backend, self.device, self.loss = backend, backend.device, problem.loss
        self.put, self.fetch = backend.put or backend.device.put, backend.fetch or backend.device.fetch
        acceleration = Acceleration(kernels="reference") if backend.reference else backend.acceleration
        model = Model(
            problem.network,
            loss=problem.loss,
            device=backend.device,
            seed=problem.seed,
            dtype=dtype,
            threads=problem.threads,
            **asdict(acceleration),
        )
        self.scaling, self.execution = model.scaling, model.execution
        self.network, self.layout = model.network, model.layout
        self._start = [model.device.fetch(vector) for vector in (self.execution.theta, self.execution.state)]
        with self.device.activate():
            self.images, self.labels = self.put(problem.images), self.put(problem.labels)

    def start(self) -> tuple[Array, Array]:
        """The initial theta and running state, new vectors on the device."""
        theta, state = (self.execution.workers.share(self.put(vector.copy())) for vector in self._start)
        return theta, state

    def step(self, optimizer: Optimizer, batch_size: int) -> Step:
        """The update that training does here, from the start. batch_size: what another shard size must suit."""
        shard = max(1, min(self.execution.shard, batch_size) // 3) if self.backend.reversed else None
        theta, state = self.start()
        return self.execution.step(self.loss, optimizer, scaling=self.scaling, theta=theta, state=state, shard=shard)

    def batch(self, indices: np.ndarray) -> Array:
        """Indices of examples, on the device, in this backend's order."""
        return self.put(np.ascontiguousarray(indices[::-1] if self.backend.reversed else indices))


def selected(texts: Sequence[str]) -> tuple[list[Backend], str | None]:
    """What to compare the CPU with, for device names such as ("cpu", "cuda"), and a sentence if no GPU is among it.

    "cuda+fused", "cuda+graph" and "cuda+cudnn" are a CUDA device with fused kernels, with a step as one graph, and with
    cuDNN's convolutions. Raises DeviceError for a name that is none, and for a CUDA device that is not there beside one
    that is.
    """
    found: list[Backend] = []
    obstacle = None
    for text in texts:
        place, plus, how = text.partition("+")
        device = named(place) or Device("cuda")
        why = None if device.kind == "cpu" else _cuda_obstacle(device.index)
        if plus and (how not in ACCELERATED or device.kind == "cpu"):
            raise DeviceError(f"--devices {text}: no such device; cuda+fused, cuda+graph or cuda+cudnn was expected")
        if why is not None:
            if _cuda_obstacle(0) is None:
                Device.parse(place)
            obstacle = f"There is no GPU to compare with ({why.reason})"
        elif device.kind == "cuda" and all(f"{device}{plus}{how}" != each.name for each in found):
            found.append(_on_cuda(device, how))
    if found:
        return found, None
    there, missing = libraries()
    names = ", ".join(["NumPy's arrays", *(each.about for each in there)])
    without = f" (not installed: {', '.join(missing)})" if missing else ""
    return there, (
        f"{obstacle or 'No GPU was asked for'}, so NumPy's own kernel table is compared with the reference table on "
        f"{names}{without}, all on the CPU."
    )


def _on_cuda(device: Device, how: str) -> Backend:
    if not how:
        return Backend(str(device), device.name, device)
    about, acceleration = ACCELERATED[how]
    return Backend(f"{device}+{how}", f"{device.name}, {about}", device, acceleration=acceleration)


def libraries() -> tuple[list[Backend], list[str]]:
    """The array libraries other than NumPy that are here, with the reference table; the names of those that are not."""
    found, missing = [], []
    for name, module, make in (("array-api-strict", "array_api_strict", _strict), ("PyTorch", "torch", _torch)):
        if find_spec(module) is None:
            missing.append(name)
        else:
            found.append(make(name))
    return found, missing


def _strict(name: str) -> Backend:
    strict = importlib.import_module("array_api_strict")
    elsewhere, host = strict.Device("device1"), strict.Device("CPU_DEVICE")
    return Backend(
        "strict",
        f"{name}'s arrays",
        put=lambda array: strict.asarray(array, device=elsewhere),
        fetch=lambda array: np.asarray(strict.asarray(array, device=host)),
        reference=True,
        timed=False,
    )


def _torch(name: str) -> Backend:
    torch = importlib.import_module("array_api_compat.torch")
    return Backend(
        name,
        f"{name}'s tensors (1 thread)",
        put=lambda array: torch.asarray(array, copy=True),
        fetch=lambda array: array.numpy(),
        reference=True,
    )
