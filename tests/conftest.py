"""The array libraries that every law is put to; and where processes that tests start find gpucnn."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn

try:
    from hypothesis import settings
except ImportError:  # the tests that ask for it fail, the others do not
    pass
else:
    settings.register_profile("the same examples each time", derandomize=True, deadline=None)
    settings.load_profile("the same examples each time")

# gpucnn may be on the path without being installed, and what else is there may not be installed either
_PLACES = str(Path(gpucnn.__file__).parents[1]), os.environ.get("PYTHONPATH")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _PLACES))


def pytest_runtest_call() -> None:
    """PyTorch's threads spin while they wait for each other, which takes the CPUs from pytest-xdist's other workers."""
    if "PYTEST_XDIST_WORKER" in os.environ and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@dataclass(frozen=True)
class Library:
    """put: a host array -> one of this library, on a device that is not its default where there is one."""

    name: str
    put: Callable[[np.ndarray], Any]
    fetch: Callable[[Any], np.ndarray]


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


@functools.cache
def usable_gpu() -> bool:
    from gpucnn.device import Device
    from gpucnn.errors import DeviceError

    try:
        Device.parse("cuda")
    except DeviceError:
        return False
    return True


def _strict() -> Library:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    device = strict.Device("device1")
    cpu = strict.Device("CPU_DEVICE")
    return Library(
        "strict", lambda a: strict.asarray(a, device=device), lambda a: np.asarray(strict.asarray(a, device=cpu))
    )


@pytest.fixture
def torch() -> Any:
    """PyTorch; a test that asks for it is skipped where it is not installed."""
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def _torch() -> Library:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    torch = importlib.import_module("array_api_compat.torch")
    return Library("torch", lambda a: torch.asarray(a, copy=True), lambda a: a.numpy())


def _cupy() -> Library:
    if not usable_gpu():
        pytest.skip("no CUDA device can be used here")
    import cupy

    return Library("cupy", cupy.asarray, cupy.asnumpy)


LIBRARIES = {
    "numpy": lambda: Library("numpy", np.array, np.asarray),
    "read-only": lambda: Library("read-only", read_only, np.asarray),
    "strict": _strict,
    "torch": _torch,
    "cupy": _cupy,
}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.gpu if name == "cupy" else ()) for name in LIBRARIES])
def library(request: pytest.FixtureRequest) -> Library:
    """Each array library at hand; the others are skipped with a reason."""
    return LIBRARIES[request.param]()


@pytest.fixture
def blank_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are written without being drawn, which takes longer than a short run; but not in tests marked `drawn`."""
    if request.node.get_closest_marker("drawn"):
        return
    from matplotlib.figure import Figure
    from PIL import Image

    def savefig(self: Any, file: Any, **how: Any) -> None:
        Image.new("L", (1, 1)).save(file, "PNG")

    monkeypatch.setattr(Figure, "savefig", savefig)
