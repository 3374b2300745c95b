"""Where arrays live: the CPU with NumPy, or one CUDA device with CuPy, which is imported only when it is asked for."""

from __future__ import annotations

import contextlib
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DeviceError, nearest
from ..names import Explained
from . import host
from .obstacle import _cuda_obstacle, import_cupy, reason_of, version_text
from .recording import Recording
from .staging import Staging

__all__ = ["Device", "Recording", "Staging", "Timer", "_cuda_obstacle", "device_of", "import_cupy", "named"]
__all__ += ["reason_of", "select", "version_text"]


@dataclass(frozen=True)
class Device(Explained):
    """One place to compute: `Device("cpu")`, or `Device("cuda", 1)` for the second CUDA device that is visible.

    Making one checks the values only; `Device.parse` also checks that the device can be used.
    """

    kind: str = "cpu"
    index: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("cpu", "cuda"):
            raise DeviceError(f"Device: kind is {self.kind!r}, 'cpu' or 'cuda' was expected; use Device.parse for text")
        if self.index < 0 or (self.kind == "cpu" and self.index != 0):
            raise DeviceError(f"Device: {self.kind} has no index {self.index}; the CPU is 0, CUDA devices count from 0")

    @classmethod
    def parse(cls, text: str) -> Device:
        """The device that `auto`, `cpu`, `cuda` or `cuda:N` names; DeviceError says why if it cannot be used."""
        return select(text)[0]

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"

    @property
    def xp(self) -> Any:
        """The array namespace, `numpy` or `cupy`; DeviceError if CuPy cannot be imported."""
        return np if self.kind == "cpu" else import_cupy()

    @property
    def name(self) -> str:
        """What the maker calls it, for example "NVIDIA H200"."""
        if self.kind == "cpu":
            return _cpu_name()
        name = self.xp.cuda.runtime.getDeviceProperties(self.index)["name"]
        return name.decode() if isinstance(name, bytes) else str(name)

    @property
    def driver(self) -> str | None:
        """The version of CUDA that a GPU's driver knows, such as "13.0"; None for the CPU."""
        if self.kind == "cpu":
            return None
        version = self.xp.cuda.runtime.driverGetVersion()
        return f"{version // 1000}.{version % 1000 // 10}"

    def activate(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which CuPy allocates and launches on this device; on the CPU it does nothing."""
        return contextlib.nullcontext() if self.kind == "cpu" else self.xp.cuda.Device(self.index)

    def put(self, array: Any) -> Any:
        """A host array on this device. NumPy arrays stay the same object on the CPU; a CUDA copy is asynchronous."""
        with self.activate():
            return self.xp.asarray(array)

    def fetch(self, array: Any) -> np.ndarray:
        """A device array as a NumPy array; on CUDA this waits for the work that makes it."""
        if self.kind == "cpu":
            return np.asarray(array)
        with self.activate():
            return self.xp.asnumpy(array)

    def synchronize(self) -> None:
        """Wait until all work given to the device is done."""
        if self.kind == "cuda":
            self.xp.cuda.Device(self.index).synchronize()

    def memory(self) -> tuple[int, int]:
        """(free, total) in bytes; (0, 0) where the operating system does not tell.

        On CUDA, blocks that CuPy's pool holds but does not use count as free: the next array gets them. A limit of the
        pool (CUPY_GPU_MEMORY_LIMIT) counts as the device's size.
        """
        if self.kind == "cpu":
            return host.memory()
        with self.activate():
            pool = self.xp.get_default_memory_pool()
            free, total = self.xp.cuda.runtime.memGetInfo()
            free, limit = free + pool.free_bytes(), pool.get_limit()
            if limit:
                free, total = min(free, max(0, limit - pool.used_bytes())), min(total, limit)
            return free, total

    def timer(self) -> Timer:
        """`with device.timer() as timer: ...`, then `timer.seconds`."""
        return Timer(self)

    def record(self, work: Callable[[], Any]) -> Recording:
        """What `work` asks of this CUDA device, as one CUDA graph. Any error of work, or of recording it, is raised."""
        return Recording(self, work)

    def staging(self, size: int) -> Staging:
        """A way for copies of `size` bytes from the host to this CUDA device, beside its work."""
        return Staging(self, size)

    def out_of_memory_errors(self) -> tuple[type[BaseException], ...]:
        """The exceptions to catch where an array may not fit."""
        return (MemoryError,) if self.kind == "cpu" else (MemoryError, self.xp.cuda.memory.OutOfMemoryError)


class Timer:
    """Elapsed time of a block in seconds: CUDA events on the current stream, or the CPU's performance counter.

    CUDA works while Python goes on: a clock of Python's would time the launches alone. `seconds` is NaN until the block
    has ended, and stays NaN when it raised: waiting for a failed device would hide the first error behind a second one.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.seconds = float("nan")
        self._start: Any = None

    def __enter__(self) -> Timer:
        self.seconds = float("nan")
        self._start = self._mark()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.seconds = self._since_start(self._mark())

    def _mark(self) -> Any:
        if self.device.kind == "cpu":
            return time.perf_counter()
        with self.device.activate():
            event = self.device.xp.cuda.Event()
            event.record()
            return event

    def _since_start(self, end: Any) -> float:
        if self.device.kind == "cpu":
            return end - self._start
        end.synchronize()
        return self.device.xp.cuda.get_elapsed_time(self._start, end) / 1e3


def select(text: str) -> tuple[Device, str]:
    """The device for `auto | cpu | cuda | cuda:N`, and a sentence that says why it is this one.

    `auto` takes the first CUDA device that can be used and the CPU otherwise; it imports CuPy only if it is installed.
    Any other text that names no usable device is a DeviceError.
    """
    device = named(text)
    if device is None:
        obstacle = _cuda_obstacle(0)
        if obstacle is not None:
            return Device("cpu"), f"auto: {obstacle.reason}, so the CPU is used"
        return Device("cuda"), f"auto: {Device('cuda').name} is usable, so cuda:0 is used"
    if device.kind == "cpu":
        return device, "cpu: the CPU is used, as asked"
    obstacle = _cuda_obstacle(device.index)
    if obstacle is not None:
        raise DeviceError(f"device {text!r}: {obstacle.reason}; {obstacle.remedy}, or use the device cpu")
    return device, f"{device}: {device.name} is used, as asked"


def named(text: str) -> Device | None:
    """The device that `cpu | cuda | cuda:N` names, whether or not it can be used; None for `auto`."""
    match = re.fullmatch(r"(auto|cpu|cuda)|cuda:([0-9]{1,4})", text.strip().lower())
    if match is None:
        meant = "cuda" if "gpu" in text.lower() else nearest(text.lower(), ("cuda", "cpu", "auto"), 0.7)
        hint = f"; did you mean {meant}?" if meant else ""
        raise DeviceError(
            f"device {text!r}: no such device; give auto, cpu, cuda or cuda:N with N counted from 0{hint}"
        )
    if match[1] == "auto":
        return None
    return Device(match[1] or "cuda", int(match[2] or 0))


def device_of(array: Any) -> Device:
    """The device that holds `array`, of any library that speaks DLPack; DeviceError if it is no such array."""
    if isinstance(array, (np.ndarray, np.generic)):
        return Device("cpu")
    if not hasattr(array, "__dlpack_device__"):
        raise DeviceError(f"device_of: {type(array).__name__} is not an array; an array of NumPy or CuPy was expected")
    kind, index = (int(value) for value in array.__dlpack_device__())
    # DLPack's numbers: 1 CPU, 2 CUDA, 3 pinned host memory, 13 CUDA managed memory
    if kind in (1, 3):
        return Device("cpu")
    if kind in (2, 13):
        return Device("cuda", index)
    raise DeviceError(f"device_of: {type(array).__name__} lies on DLPack device kind {kind}; CPU or CUDA was expected")


def _cpu_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "CPU"
