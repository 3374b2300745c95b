"""What the modes of `gpucnn bench` share: settings, the device and who is there to be timed, what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...device import Device
from ...errors import SettingError
from ...workers import default_threads, helpers
from ..environment import described, environment
from ..timing import BUDGET, NEEDED, Candidate, Rounds, interleave
from . import others

Show = Callable[[str], None]

ROUNDS = 7  # of candidates that are timed in turn


@dataclass(frozen=True)
class Settings:
    """threads: None is all the process may use. rounds: how often each candidate has its turn; None: as the mode does.

    images: of the random data set, and of inference. needed, budget: see `timing`. fused: time gpucnn's
    other kernels too: numba's on the CPU; on a CUDA device the fused ones, these as one graph, and cuDNN's.
    """

    device: str = "cpu"
    threads: int | None = None
    rounds: int | None = None
    images: int = 10_000
    needed: float = NEEDED
    budget: float = BUDGET
    fused: bool = False

    def __post_init__(self) -> None:
        if self.images < 1 or (self.rounds is not None and self.rounds < 1):
            raise SettingError(f"bench: {self.rounds} rounds, {self.images} images: at least 1 of each was expected")

    @property
    def cpu_threads(self) -> int:
        return self.threads or default_threads()


class Session:
    """One run of a mode. Other libraries that cannot be timed beside gpucnn have an obstacle, a sentence that says why.

    threads: that must be there at once while something is timed; a GPU needs the one that starts its work.
    """

    def __init__(self, settings: Settings, show: Show = print) -> None:
        self.settings, self.show = settings, show
        self.device = Device.parse(settings.device)
        self.threads = settings.cpu_threads if self.device.kind == "cpu" else 1
        self.torch_obstacle = others.torch_obstacle(str(self.device))
        self.jax_obstacle = others.jax_obstacle() if self.device.kind == "cuda" else ""
        self.notes: list[str] = []

    @property
    def formats(self) -> dict[str, dict[str, Any]]:
        """The variants of PyTorch that can be started."""
        return others.FORMATS if self.torch_obstacle is None else {}

    def begin(self, *notes: str | None) -> None:
        """Show the environment and what is to be known of the figures."""
        self.notes = [each for each in notes if each]
        for text in (described(self._environment()), *self.notes):
            self.show(text)

    def result(self, mode: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """What `--json` prints."""
        return {"mode": mode, "environment": self._environment(), "notes": self.notes, "rows": rows} | more

    def time_here(self) -> None:
        """Give both sides their threads, before anything is timed in this process."""
        if self.torch_obstacle is None:
            import torch

            torch.set_num_threads(self.settings.cpu_threads)
        if self.device.kind == "cpu" and helpers.possible():
            helpers.team.start(self.threads - 1)

    def interleaved(self, candidates: dict[str, Candidate]) -> Rounds:
        """Time all candidates in turn."""
        how = self.settings
        rounds = how.rounds or ROUNDS
        return interleave(candidates, rounds, threads=self.threads, needed=how.needed, budget=how.budget)

    def _environment(self) -> dict[str, Any]:
        return environment(self.device, self.settings.cpu_threads)


def check_batches(batches: Sequence[int]) -> None:
    """Raise SettingError for batch sizes that are none."""
    if not batches or min(batches) < 1:
        raise SettingError(f"--batch {','.join(map(str, batches))}: whole numbers of at least 1 were expected")
