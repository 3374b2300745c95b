"""A whole-batch step as one CUDA graph: a small network's step is mostly the cost of its launches, paid once so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from array_api_compat import device as device_of

from ..device import Device, Recording, reason_of
from ..errors import warn
from ..kernels import Moment
from ..namespace import array_namespace
from .converted import ONCE
from .whole_step import StepAround, WholeStep

Array = Any

TEN = 10  # updates that are launched at once where a step is so short that its launch would take as long
SHORT = 1 << 25  # bytes of memory that a recorded step of that kind takes at most
WARM = 2  # steps of a batch size before it is recorded: compiling and loading kernels cannot be


class _Recorded(NamedTuple):
    """A recording is of certain arrays and one batch size; it points to the arrays, so they are kept."""

    arrays: tuple[Array, ...]
    examples: int
    recording: Recording

    def is_of(self, arrays: tuple[Array, ...], examples: int) -> bool:
        return self.examples == examples and self.is_of_arrays(arrays)

    def is_of_arrays(self, arrays: tuple[Array, ...]) -> bool:
        return all(a is b for a, b in zip(self.arrays, arrays))


class RecordedStep(StepAround):
    """A WholeStep that is recorded when its batch size has come more than WARM times, and replayed from then on.

    Other sizes, such as an epoch's last batch, are launched kernel by kernel. obstacle: why nothing is recorded, or
    None. said: the obstacles that a warning has told of before; this step's is added.
    """

    def __init__(self, whole: WholeStep, device: Device, said: set[str] | None = None) -> None:
        super().__init__(whole)
        self.whole, self.device, self.state = whole, device, whole.state
        self._said = set() if said is None else said
        self.obstacle: str | None = None
        self._seen: dict[int, int] = {}
        self._recorded: _Recorded | None = None
        self._ten: _Recorded | None = None
        self._stays_single = False
        if whole.foreign is not None:
            self._stay_eager(f"{whole.foreign} {ONCE}")

    def __call__(self, images: Array, targets: Array, batch: Array, lr: float, weights: Array | None = None) -> Array:
        """Update theta by the examples `batch` (indices) of images and targets; their losses, on the device."""
        moment, arrays, examples = self.whole.begin(batch, lr), (images, targets, weights), batch.shape[0]
        if self.obstacle is None:
            self._record(moment, arrays, examples)
        recorded = self._recorded
        if recorded is None or not recorded.is_of(arrays, examples):
            return self.whole.run(moment, *arrays)
        recorded.recording.replay()
        return recorded.recording.result.copy()  # the next replay writes there again

    def together(self, images: Array, targets: Array, weights: Array | None, examples: int) -> int:
        """How many updates by batches of so many examples can be launched at once: TEN where each of them is recorded
        and short, else 1."""
        arrays, recorded = (images, targets, weights), self._recorded
        if self.obstacle is not None or self._stays_single or recorded is None:
            return 1
        return TEN if recorded.is_of(arrays, examples) and recorded.recording.size <= SHORT else 1

    def ten(
        self, images: Array, targets: Array, batches: Array, lrs: Sequence[float], weights: Array | None = None
    ) -> Array:
        """TEN updates by equal batches, one after the other; the sums of their losses (TEN,), on the device.

        They give the bits that they give one by one.
        """
        moments, arrays = self.whole.begin_ten(batches, lrs), (images, targets, weights)
        if self._ten is None or not self._ten.is_of(arrays, batches.shape[0]):
            try:
                self._load_sum()
                recording = self.device.record(lambda: self._sums(moments, arrays))
            except Exception as error:
                self._stays_single = True
                self._warn(f"recording {TEN} steps failed ({reason_of(error)})", "each step is launched by itself")
                return self._sums(moments, arrays)
            self._ten = _Recorded(arrays, batches.shape[0], recording)
        self._ten.recording.replay()
        return self._ten.recording.result.copy()

    def _load_sum(self) -> None:
        """Compile and load what sums losses, which cannot be recorded: whoever calls may never have summed any."""
        if self._recorded is not None:
            losses = self._recorded.recording.result
            array_namespace(self.theta).empty_like(losses)[0] = array_namespace(self.theta).sum(losses)

    def _sums(self, moments: Sequence[Moment], arrays: tuple[Array, ...]) -> Array:
        xp, sums = array_namespace(self.theta), None
        for k, moment in enumerate(moments):
            total = xp.sum(self.whole.run(moment, *arrays))
            if sums is None:
                sums = xp.empty((len(moments),), dtype=total.dtype, device=device_of(self.theta))
            sums[k] = total
        return sums

    def _record(self, moment: Moment, arrays: tuple[Array, ...], examples: int) -> None:
        """Count this batch size, and record its step when it has come often enough and nothing else is recorded."""
        if self._recorded is not None:
            if self._recorded.is_of_arrays(arrays):
                return
            self._recorded = self._ten = None
        self._seen[examples] = self._seen.get(examples, 0) + 1
        if self._seen[examples] <= WARM:
            return
        try:
            recording = self.device.record(lambda: self.whole.run(moment, *arrays))
        except Exception as error:
            self._stay_eager(f"recording the step failed ({reason_of(error)})")
        else:
            self._recorded = _Recorded(arrays, examples, recording)

    def _stay_eager(self, why: str) -> None:
        self.obstacle = why
        self._warn(why, "training goes on kernel by kernel")

    def _warn(self, why: str, instead: str) -> None:
        if why not in self._said:
            self._said.add(why)
            warn(f"no CUDA graph: {why}; {instead}")
