"""What `gpucnn compare` sets side by side: devices, or other array libraries where there is no second device."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...device import Device, _cuda_obstacle, named
from ...engine.acceleration import Acceleration
from ...engine.execution import Execution, Step
from ...engine.scaling import Scaling
from ...errors import DeviceError
from ...layers.initializers import generator
from ...losses import Loss
from ...network import Network
from ...network.layout import Layout
from ...optimizers import Optimizer

Array = Any


@dataclass(frozen=True)
class Backend:
    """One way to compute the same numbers; `about` says in words what it is.

    put, fetch: functions that make one of the library's arrays of a host array, and back; None is the device's own.
    reversed: the examples of a batch are taken in the opposite order, in shards of another size.
    timed: False where speed says nothing.
    """

    name: str
    about: str
    device: Device = Device("cpu")
    put: Callable[[np.ndarray], Array] | None = None
    fetch: Callable[[Array], np.ndarray] | None = None
    reversed: bool = False
    timed: bool = True
    acceleration: Acceleration = Acceleration()


ACCELERATED = {
    "": ("", Acceleration()),
    "eager": (", each step kernel by kernel", Acceleration(graph=False)),
    "cudnn": (", cuDNN's convolutions", Acceleration(kernels="cudnn")),
    "reference": (", the equations on CuPy's arrays", Acceleration(kernels="reference")),
}
REFERENCE = Acceleration(kernels="reference")

CPU = Backend("cpu", "NumPy's own kernel table")
# The first changes the sums over a batch, the gradient's; the second those inside every layer.
YARDSTICKS = (
    Backend("reversed", "the same with reversed batches in other shards", reversed=True, timed=False),
    Backend("reference", "the reference table on NumPy", acceleration=REFERENCE),
)


@dataclass(frozen=True)
class Problem:
    """What all backends compute. images (N, H, W, C) and labels (N,) on the host; threads: on the CPU."""

    network: Network
    loss: Loss
    images: np.ndarray
    labels: np.ndarray
    seed: int = 0
    threads: int | None = None

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Indices of examples, epoch after epoch in the order of Model.fit; an epoch's last ones are fewer."""
        rng = generator(np.random.SeedSequence(self.seed).spawn(2)[1])
        while True:
            order = rng.permutation(len(self.labels))
            yield from (order[first : first + size] for first in range(0, len(order), size))


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
        self.pixels = problem.images.dtype  # as they lie on the host
        self.network, self.scaling, how = problem.network, Scaling(), backend.acceleration
        weights = np.random.SeedSequence(problem.seed).spawn(2)[0]  # those of a Model with this seed
        self.execution = Execution(
            self.network, self.device, seed=weights, dtype=dtype, threads=problem.threads, acceleration=how
        )
        self.layout = Layout(self.network.init(self.network.input_shape, generator(0)))
        self._start = [self.device.fetch(vector) for vector in (self.execution.theta, self.execution.state)]
        with self.device.activate():
            self.images, self.labels = self.put(problem.images), self.put(problem.labels)

    def start(self) -> tuple[Array, Array]:
        """The initial theta and running state, new vectors on the device."""
        theta, state = (self.execution.workers.share(self.put(vector.copy())) for vector in self._start)
        return theta, state

    def step(self, optimizer: Optimizer, batch_size: int) -> Step:
        """The update that training does, from the start. batch_size: what a reversed backend cuts into other shards."""
        shard = max(1, min(self.execution.shard, batch_size) // 3) if self.backend.reversed else None
        theta, state = self.start()
        return self.execution.step(self.loss, optimizer, scaling=self.scaling, theta=theta, state=state, shard=shard)

    def batch(self, indices: np.ndarray) -> Array:
        """Indices of examples, on the device, in this backend's order."""
        return self.put(np.ascontiguousarray(indices[::-1] if self.backend.reversed else indices))


def asked(text: str) -> Device:
    """The device that a text such as "cpu" or "cuda+eager" names. Raises DeviceError for one that names none."""
    place, plus, how = text.partition("+")
    device = named(place) or Device("cuda")
    if plus and (not how or how not in ACCELERATED or device.kind == "cpu"):
        raise DeviceError(f"--devices {text}: no such device; {_ways()} was expected")
    return device


def selected(
    texts: Sequence[str], obstacle_of: Callable[[Backend], str | None] = lambda backend: None
) -> tuple[list[Backend], str | None]:
    """What to compare the CPU with, for device names such as ("cpu", "cuda"), and a sentence if no GPU is among it.

    "cuda+eager", "cuda+cudnn" and "cuda+reference" are a CUDA device whose steps are not recorded as a graph, with
    cuDNN's convolutions, and with the equations on CuPy's arrays. obstacle_of: says why what is compared cannot be
    computed with an array library, which is then left out, and the sentence says so. Raises DeviceError for a name that
    is none, and for a CUDA device that is not there beside one that is.
    """
    found: dict[str, Backend] = {}
    obstacle = "No GPU was asked for"
    for text in texts:
        place, plus, how = text.partition("+")
        device = asked(text)
        why = None if device.kind == "cpu" else _cuda_obstacle(device.index)
        if why is not None:
            if _cuda_obstacle(0) is None:
                Device.parse(place)  # which says what is wrong with this one
            obstacle = f"There is no GPU to compare with ({why.reason})"
        elif device.kind == "cuda":
            about, acceleration = ACCELERATED[how]
            name = f"{device}{plus}{how}"
            found[name] = Backend(name, device.name + about, device, acceleration=acceleration)
    if found:
        return list(found.values()), None
    made = {name: make() for name, module, make in LIBRARIES if find_spec(module)}
    whys = {name: lack for name, backend in made.items() if (lack := obstacle_of(backend))}
    there = [backend for name, backend in made.items() if name not in whys]
    left = "".join(f" {name} is left out: {lack}." for name, lack in whys.items())
    missing = [name for name, module, _ in LIBRARIES if not find_spec(module)]
    names = ", ".join(["NumPy's arrays", *(each.about for each in there)])
    without = f" (not installed: {', '.join(missing)})" if missing else ""
    return there, (
        f"{obstacle}, so NumPy's own kernel table is compared with the reference table on {names}{without}, "
        f"all on the CPU.{left}"
    )


def _ways() -> str:
    *some, last = (f"cuda+{how}" for how in ACCELERATED if how)
    return f"{', '.join(some)} or {last}"


def _strict() -> Backend:
    strict = importlib.import_module("array_api_strict")
    elsewhere, host = strict.Device("device1"), strict.Device("CPU_DEVICE")
    return Backend(
        "strict",
        "array-api-strict's arrays",
        put=lambda array: strict.asarray(array, device=elsewhere),
        fetch=lambda array: np.asarray(strict.asarray(array, device=host)),
        timed=False,
        acceleration=REFERENCE,
    )


def _torch() -> Backend:
    torch = importlib.import_module("array_api_compat.torch")
    return Backend(
        "PyTorch",
        "PyTorch's tensors (1 thread)",
        put=lambda array: torch.asarray(array, copy=True),
        fetch=lambda array: array.numpy(),
        acceleration=REFERENCE,
    )


# the array libraries other than NumPy: a name, its module, and how its backend is made
LIBRARIES = (("array-api-strict", "array_api_strict", _strict), ("PyTorch", "torch", _torch))
