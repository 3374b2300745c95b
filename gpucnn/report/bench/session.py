"""What the modes of `gpucnn bench` share: options, the device and who is there to be timed, what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...device import Device
from ...device.environment import described, environment
from ...errors import SettingError
from ...workers import default_threads, helpers
from ..timing import BUDGET, NEEDED, Candidate, Rounds, interleave
from . import others

Show = Callable[[str], None]

ROUNDS = 7  # of candidates that are timed in turn


@dataclass(frozen=True)
class BenchOptions:
    """How a mode measures. threads: None is all the process may use. rounds: None is what each mode finds enough.

    images: of the random data set, and of inference. needed, budget: see `timing`. all_kernels: time gpucnn's other
    kernels too: numba's on the CPU; on a CUDA device the default without a graph, in TF32, with Winograd's and with
    cuDNN's convolutions, and the reference. autotune: time PyTorch's slowest compiler mode on a CUDA device.
    """

    device: str = "cpu"
    threads: int | None = None
    rounds: int | None = None
    images: int = 10_000
    needed: float = NEEDED
    budget: float = BUDGET
    all_kernels: bool = False
    autotune: bool = True

    def __post_init__(self) -> None:
        if self.images < 1 or (self.rounds is not None and self.rounds < 1):
            raise SettingError(f"bench: {self.rounds} rounds, {self.images} images: at least 1 of each was expected")


class Session:
    """One run of a mode. Other libraries that cannot be timed beside gpucnn have an obstacle, a sentence that says why.

    cpu_threads: of gpucnn and PyTorch. threads: how many must be there at once while something is timed; a GPU
    needs the one that starts its work. formats: the variants of PyTorch that can be started.
    """

    def __init__(self, options: BenchOptions | None, show: Show = print) -> None:
        self.options, self.show = options or BenchOptions(), show
        self.device = Device.parse(self.options.device)
        self.cpu_threads = self.options.threads or default_threads()
        self.threads = self.cpu_threads if self.device.kind == "cpu" else 1
        self.torch_obstacle = others.torch_obstacle(str(self.device))
        self.jax_obstacle = others.jax_obstacle() if self.device.kind == "cuda" else ""
        self.formats = others.FORMATS if self.torch_obstacle is None else {}
        self.notes: list[str] = []

    @property
    def environment(self) -> dict[str, Any]:
        """What the figures depend on, as it is now: a library's BLAS is there once the library is imported."""
        return environment(self.device, self.cpu_threads)

    def begin(self, *notes: str | None) -> None:
        """Show the environment, and the notes, which say how the figures are to be read."""
        self.notes = [each for each in notes if each]
        for text in (described(self.environment), *self.notes):
            self.show(text)

    def leave_torch_out(self, network: Any, loss: Any, optimizers: Sequence[Any] = (), augmentation: str = "") -> None:
        """Give PyTorch an obstacle where it has no equal of what is measured, such as a layer of one's own."""
        if self.torch_obstacle is None:
            self.torch_obstacle = others.torch_lacks(network, loss, optimizers, augmentation)
            self.formats = others.FORMATS if self.torch_obstacle is None else {}

    def result(self, mode: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """What `--json` prints."""
        return {"mode": mode, "environment": self.environment, "notes": self.notes, "rows": rows} | more

    def time_here(self) -> None:
        """Give both sides their threads, before anything is timed in this process."""
        if self.torch_obstacle is None:
            import torch

            torch.set_num_threads(self.cpu_threads)
        if self.device.kind == "cpu" and helpers.possible():
            helpers.team.start(self.threads - 1)

    def interleaved(self, candidates: dict[str, Candidate]) -> Rounds:
        """Time all candidates in turn."""
        how = self.options
        return interleave(candidates, how.rounds or ROUNDS, threads=self.threads, needed=how.needed, budget=how.budget)


def check_batches(batches: Sequence[int]) -> None:
    """Raise SettingError unless there are batch sizes, each of at least 1."""
    if not batches or min(batches) < 1:
        raise SettingError(f"--batch {','.join(map(str, batches))}: whole numbers of at least 1 were expected")
