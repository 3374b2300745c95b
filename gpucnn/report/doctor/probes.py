"""What `gpucnn doctor` asks of the machine: small questions, each of which a test can answer differently."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...device import Device, accelerate, import_cupy

NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
SIZE = 512  # of the matrices multiplied on trial


class Driver(NamedTuple):
    """NVIDIA's driver: the newest CUDA that it supports, its release ("" if unknown), why it does not start ("")."""

    cuda: tuple[int, int]
    release: str = ""
    error: str = ""


class Gpu(NamedTuple):
    """One CUDA device; memory in bytes."""

    name: str
    capability: tuple[int, int]
    free: int
    total: int


def _distributions() -> dict[str, str]:
    """Name and version of the installed distributions."""
    pairs = ((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())
    return {name.lower().replace("_", "-"): version for name, version in pairs if name}


def _blas() -> list[dict[str, Any]]:
    import threadpoolctl

    found = [*accelerate.facts(), *threadpoolctl.threadpool_info()]
    return [each for each in found if each.get("user_api") == "blas"]


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _cpu_flags() -> frozenset[str]:
    match = re.search(r"^flags\s*:(.*)$", _read("/proc/cpuinfo"), re.M) if sys.platform == "linux" else None
    return frozenset(match[1].split()) if match else frozenset()


def _driver() -> Driver | None:
    """The driver's library, asked directly: this works without CuPy."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    number, reason, start = ctypes.c_int(), ctypes.c_char_p(), library.cuInit(0)
    library.cuDriverGetVersion(ctypes.byref(number))
    library.cuGetErrorString(start, ctypes.byref(reason))
    error = f"cuInit says {start}, {(reason.value or b'unknown error').decode()}"
    cuda = (number.value // 1000, number.value % 1000 // 10)
    return Driver(cuda, _driver_release(), "" if start in (0, NO_DEVICE) else error)


def _driver_release() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return answer.stdout.split()[0] if answer.returncode == 0 and answer.stdout.split() else ""
    return ""


def _in_container() -> bool:
    if any(Path(path).exists() for path in ("/.dockerenv", "/run/.containerenv")):
        return True
    with contextlib.suppress(OSError):
        return re.search("docker|kubepods|containerd|libpod", _read("/proc/1/cgroup")) is not None
    return False


def _device_files() -> bool:
    """Files through which Linux, or WSL, offers an NVIDIA device; other systems have none and need none."""
    return not sys.platform.startswith("linux") or any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg")))


def _nvrtc() -> tuple[int, int] | None:
    """The version of the NVRTC that CuPy will find: it looks through the same module."""
    from cuda import pathfinder

    try:
        library = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("nvrtc").abs_path)
    except pathfinder.DynamicLibNotFoundError:
        return None
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def _headers() -> str | None:
    """The folder of `cuda_fp16.h`, which nearly every kernel of CuPy includes."""
    from cuda import pathfinder

    roots = [os.environ.get(name) for name in ("CUDA_PATH", "CUDA_HOME")] + ["/usr/local/cuda"]
    folders = [pathfinder.find_nvidia_header_directory("cudart"), *(Path(root, "include") for root in roots if root)]
    return next((str(each) for each in folders if each and Path(each, "cuda_fp16.h").is_file()), None)


def _cupy() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two wheels are a check of their own
        return import_cupy().__version__


def _gpus() -> list[Gpu]:
    cuda = Device("cuda").xp.cuda
    found = []
    for index in range(cuda.runtime.getDeviceCount()):
        facts = cuda.runtime.getDeviceProperties(index)
        device = Device("cuda", index)
        found.append(Gpu(device.name, (facts["major"], facts["minor"]), *device.memory()))
    return found


def _product(device: Device) -> float:
    """Seconds for a product of two 512 x 512 matrices, whose small integers any arithmetic holds exactly."""
    host = (np.arange(SIZE * SIZE) % 7).astype(np.float32).reshape(SIZE, SIZE)
    matrix = device.put(host)
    with device.activate():
        first = device.xp.matmul(matrix, matrix)  # untimed: it loads and warms the library
        with device.timer() as timer:
            device.xp.matmul(matrix, matrix)
    exact = host[:2].astype(np.int64) @ host.astype(np.int64)
    if not np.array_equal(device.fetch(first)[:2], exact):
        raise ArithmeticError("a product of small integers came out wrong")
    return timer.seconds


def _kernel(device: Device) -> float:
    """Seconds to compile and run a kernel; its name is new each time, so no cache can answer for the compiler."""
    xp, start = device.xp, time.perf_counter()
    with device.activate():
        kernel = xp.ElementwiseKernel("float32 x", "float32 y", "y = 2 * x + 1", f"doctor_{time.time_ns()}")
        if device.fetch(kernel(xp.ones(8, dtype=xp.float32))).tolist() != [3.0] * 8:
            raise ArithmeticError("the kernel gave wrong numbers")
    return time.perf_counter() - start


def _own_kernels(device: Device) -> tuple[float, bool]:
    """Seconds until gpucnn's own kernels have been compiled, or found compiled, and run; whether cuBLAS is found."""
    from ...kernels.cuda import table

    start = time.perf_counter()
    with device.activate():
        made = table()
    device.synchronize()
    return time.perf_counter() - start, made.gpu.multiply.library is not None


def _tensor_cores(device: Device) -> str | None:
    """What gpucnn's products on tensor cores have wrong, or None."""
    from ...kernels.cuda import table

    with device.activate():
        return table().ways.tensor.trial()


@dataclass(frozen=True)
class Probes:
    """All that the checks ask of the machine; each may raise, which makes its check fail with the cause."""

    environment: Callable[[], Mapping[str, str]] = lambda: os.environ
    distributions: Callable[[], Mapping[str, str]] = _distributions
    blas: Callable[[], list[dict[str, Any]]] = _blas
    cpu_flags: Callable[[], frozenset[str]] = _cpu_flags
    in_container: Callable[[], bool] = _in_container
    device_files: Callable[[], bool] = _device_files
    driver: Callable[[], Driver | None] = _driver
    nvrtc: Callable[[], tuple[int, int] | None] = _nvrtc
    headers: Callable[[], str | None] = _headers
    cupy: Callable[[], str] = _cupy
    gpus: Callable[[], list[Gpu]] = _gpus
    product: Callable[[Device], float] = _product
    kernel: Callable[[Device], float] = _kernel
    own_kernels: Callable[[Device], tuple[float, bool]] = _own_kernels
    tensor_cores: Callable[[Device], str | None] = _tensor_cores
