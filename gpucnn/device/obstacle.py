"""What keeps CUDA from working here: CuPy is missing, or a driver, or a device; and how to get it."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any, NamedTuple

from ..errors import DeviceError

INSTALL = 'install it with `pip install ".[cuda13]"` in gpucnn\'s folder (with a driver older than 580: ".[cuda12]")'
DOCTOR = "run `gpucnn doctor`"


class Obstacle(NamedTuple):
    """Why CUDA cannot be used, what to do about it, and the error that said so."""

    reason: str
    remedy: str = DOCTOR
    cause: Exception | None = None


def import_cupy() -> Any:
    """CuPy's module; DeviceError if it is not installed or cannot be imported.

    All of gpucnn gets CuPy here, except the CUDA table, which is only made after this has worked.
    """
    found = _load_cupy()
    if isinstance(found, Obstacle):
        raise DeviceError(f"cuda: {found.reason}; {found.remedy}, or use the CPU") from found.cause
    return found


def reason_of(error: BaseException) -> str:
    """The first cause of an error on one line, without the banner that CuPy draws around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" =-\t")]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _load_cupy() -> Any:
    """CuPy's module, or the obstacle."""
    if sys.modules.get("cupy") is None and importlib.util.find_spec("cupy") is None:
        return Obstacle("CuPy is not installed", INSTALL)
    try:
        import cupy

        # pip leaves an empty folder behind when one of two CuPy wheels is removed; it imports as a namespace package
        if not hasattr(cupy, "ndarray"):
            raise ImportError(f"the folder {next(iter(cupy.__path__))} holds no CuPy")
    except Exception as error:
        return Obstacle(f"CuPy is installed but cannot be imported ({reason_of(error)})", cause=error)
    return cupy


def _cuda_obstacle(index: int) -> Obstacle | None:
    """Why CUDA device `index` cannot be used, or None if it can."""
    cupy = _load_cupy()
    if isinstance(cupy, Obstacle):
        return cupy
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return _driver_obstacle(cupy, error)
    if count == 0:
        return _no_device()
    if index >= count:
        there = "there is 1, cuda:0" if count == 1 else f"there are {count}, cuda:0 to cuda:{count - 1}"
        return Obstacle(f"no such CUDA device: {there}", "give one of these")
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:
        return Obstacle(f"CuPy cannot load CUDA's run-time compiler NVRTC ({reason_of(error)})")
    return None


def _driver_obstacle(cupy: Any, error: Exception) -> Obstacle:
    """Put the refusal of `getDeviceCount` into words."""
    if "cudaErrorNoDevice" in str(error):
        return _no_device()
    if "cudaErrorInsufficientDriver" not in str(error):
        return Obstacle(f"the CUDA driver refuses ({reason_of(error)})")
    driver, built = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    if driver == 0:  # the CUDA run time calls a missing driver insufficient too
        return Obstacle("no NVIDIA driver is found")
    # within one major version, CUDA runs on the driver of the first minor one
    return Obstacle(
        f"the NVIDIA driver is too old: it supports CUDA {version_text(driver)}, "
        f"and this CuPy was built for CUDA {version_text(built)} and needs {built // 1000}.0 or newer"
    )


def _no_device() -> Obstacle:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Obstacle("no CUDA device is visible" + ("" if hidden is None else f" (CUDA_VISIBLE_DEVICES is {hidden!r})"))


def version_text(number: int) -> str:
    """CUDA's version number as text: 12040 is "12.4"."""
    return f"{number // 1000}.{number % 1000 // 10}"
