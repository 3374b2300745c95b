"""`gpucnn doctor`: what of the machine keeps CPU or GPU from working, each cause with the one command that mends it.

Everything that depends on the machine is asked through `Probes`, so that tests can put any machine under the checks.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

import gpucnn
from gpucnn.device import Device, import_cupy, named, reason_of
from gpucnn.errors import DeviceError

Status = Literal["ok", "warning", "failure", "skipped"]
MARKS: Mapping[str, str] = {"ok": "ok", "warning": "warn", "failure": "FAIL", "skipped": "skip"}
WHEEL = re.compile(r"cupy(-cuda\d+x?|-rocm-[\d-]+)?")
CUDNN = "pip install 'nvidia-cudnn-frontend>=1.23,<1.29' nvidia-cudnn-cu{}"
RUN_WITH_GPU = "docker run --gpus all ... (on the host first, once: sudo apt-get install -y nvidia-container-toolkit)"
SHARE_LIBRARY = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."
INSTALL_DRIVER = "sudo ubuntu-drivers install (elsewhere: the installer from nvidia.com/drivers), then restart"
LOAD_DRIVER = "sudo nvidia-modprobe -u -c=0"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
SIZE = 512  # of the matrices multiplied on trial
LITTLE = 512 * 2**20  # bytes of free memory below which training on a device is in doubt
# what OpenBLAS calls its kernels, by the vector instructions they use: 2 AVX-512, 1 AVX2; all others are older
CORES = {"skylakex": 2, "cooperlake": 2, "sapphirerapids": 2, "haswell": 1, "zen": 1, "excavator": 1}


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

    return [each for each in threadpoolctl.threadpool_info() if each.get("user_api") == "blas"]


def _cpu_flags() -> frozenset[str]:
    match = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M) if sys.platform == "linux" else None
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
        return re.search("docker|kubepods|containerd|libpod", Path("/proc/1/cgroup").read_text()) is not None
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


class Finding(NamedTuple):
    """What one check says: `remedy` is the one command that mends it."""

    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """A finding under the name of its check."""

    name: str
    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """All checks in order. `device` is what was asked for, `tried` the CUDA device on which the trials ran, or ""."""

    device: str
    tried: str
    checks: tuple[Check, ...]

    def usable(self, device: str | None = None) -> bool:
        """Whether a device (the asked-for one if None) computed the trials correctly; `auto` needs the CPU alone."""
        try:
            wanted = named(self.device if device is None else device)
        except DeviceError:
            return False
        if wanted is None or wanted.kind == "cpu":
            return self._passed("NumPy", "CPU product")
        return str(wanted) == self.tried and self._passed("CUDA product", "CUDA kernel")

    def _passed(self, *names: str) -> bool:
        passed = {check.name for check in self.checks if check.status == "ok"}
        return passed.issuperset(names)

    @property
    def exit_status(self) -> int:
        """0 if the asked-for device can be used, 1 if not."""
        return 0 if self.usable() else 1

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"device": self.device, "usable": self.usable(), "checks": [asdict(check) for check in self.checks]}


def examine(device: str = "auto", probes: Probes | None = None) -> Report:
    """Run all checks for `auto | cpu | cuda | cuda:N`. Never raises: what breaks a check is its finding."""
    device = str(device)
    try:
        asked = named(device)
    except DeviceError as error:
        return Report(device, "", (Check("device", "failure", str(error), "gpucnn doctor --device auto"),))
    examination = _Examination(probes or Probes(), asked)
    checks = examination.cpu()
    if asked is not None and asked.kind == "cpu":
        return Report(device, "", (*checks, Check("CUDA", "skipped", "not asked for")))
    return Report(device, str(examination.device), (*checks, *examination.cuda()))


def render(report: Report) -> str:
    """Aligned plain text, a line per check, each remedy below its check, and the verdict."""
    width = max(len(check.name) for check in report.checks)
    lines = []
    for check in report.checks:
        lines.append(f"{MARKS[check.status]:<4}  {check.name:<{width}}  {check.found}".rstrip())
        if check.remedy:
            lines.append(f"{'':<4}  {'':<{width}}  -> {check.remedy}")
    verdict = "can be used" if report.usable() else "cannot be used"
    if verdict == "can be used" and report.device.strip().lower() == "auto":
        verdict = f"takes {report.tried if report.tried and report.usable(report.tried) else 'the CPU'}"
    return "\n".join([*lines, "", f"--device {report.device}: {verdict}"])


def _guarded(name: str, check: Callable[[], Finding], remedy: str = "") -> Check:
    try:
        return Check(name, *check())
    except Exception as error:
        return Check(name, "failure", _quietly(partial(reason_of, error), type(error).__name__), remedy)


def _quietly(probe: Callable[[], Any], otherwise: Any) -> Any:
    """A probe's answer where another check will report its failure."""
    try:
        return probe()
    except Exception:
        return otherwise


class _Examination:
    """The checks in their order; what one has found out, later ones read, so that one cause makes one failure."""

    def __init__(self, probes: Probes, asked: Device | None) -> None:
        self.probes = probes
        self.device = asked if asked is not None else Device("cuda")
        self.wheels: dict[str, str] = _quietly(self._cupy_wheels, {})
        self.closed: bool = _quietly(lambda: probes.in_container() and not probes.device_files(), False)
        self.absent: Status = "failure" if asked is not None or self.wheels else "skipped"
        self.needed: Status = "failure" if asked is not None else "warning"
        self.driver: Driver | None = None
        self.nvrtc: tuple[int, int] | None = None
        self.gpus: list[Gpu] = []
        self.why_not = ""  # what already keeps CUDA from working

    def cpu(self) -> list[Check]:
        return [
            _guarded("Python", self._python),
            _guarded("NumPy", lambda: Finding("ok", np.__version__)),
            _guarded("BLAS", self._blas, "pip install --upgrade threadpoolctl"),
            _guarded("CPU product", lambda: self._trial_product(Device()), "pip install --force-reinstall numpy"),
        ]

    def cuda(self) -> list[Check]:
        first = [
            _guarded("NVIDIA driver", self._nvidia_driver, "nvidia-smi"),
            _guarded("container", self._container, RUN_WITH_GPU),
            _guarded("CuPy wheel", self._wheel, "pip check"),
            _guarded("CUDA versions", self._versions, self._swap()),
            _guarded("NVRTC", self._nvrtc, self._install()),
            _guarded("CUDA headers", self._headers, self._install()),
            _guarded("CuPy import", self._import, self._swap()),
            _guarded("CUDA devices", self._devices, "nvidia-smi"),
        ]
        return [
            *first,
            *(_guarded(f"cuda:{index}", partial(self._gpu, index)) for index in range(len(self.gpus))),
            _guarded("CUDA product", self._cuda_product, self._install()),
            _guarded("CUDA kernel", self._cuda_kernel, self._compile_remedy()),
            _guarded("cuDNN", self._cudnn),
        ]

    def _python(self) -> Finding:
        return Finding("ok", f"{platform.python_version()}, gpucnn {gpucnn.__version__}, {Device().name}")

    def _blas(self) -> Finding:
        loaded = self.probes.blas()
        if not loaded:
            return Finding("ok", "not one that threadpoolctl knows")
        facts = loaded[0]
        core, threads = str(facts.get("architecture") or ""), facts.get("num_threads")
        said = " ".join(filter(None, (facts.get("internal_api"), facts.get("version"), core)))
        found = f"{said}, {threads} thread{'s' * (threads != 1)}"
        flags = self.probes.cpu_flags()
        best = 2 if flags >= {"avx512f", "avx512bw", "avx512vl"} else 1 if flags >= {"avx2", "fma"} else 0
        if facts.get("internal_api") != "openblas" or CORES.get(core.lower(), 0) >= best:
            return Finding("ok", found)
        fast, slow = ("AVX-512", "SkylakeX") if best == 2 else ("AVX2", "Haswell")
        pinned = self.probes.environment().get("OPENBLAS_CORETYPE")
        if pinned:
            reason = f"OPENBLAS_CORETYPE={pinned} pins it to slower kernels than the CPU's {fast}"
            return Finding("warning", f"{found}: {reason}", "unset OPENBLAS_CORETYPE")
        return Finding("warning", f"{found}: the CPU has {fast}, unused", f"export OPENBLAS_CORETYPE={slow}")

    def _trial_product(self, device: Device) -> Finding:
        seconds = self.probes.product(device)
        return Finding("ok", f"{SIZE} x {SIZE} float32 is right, {2 * SIZE**3 / max(seconds, 1e-9) / 1e9:.0f} GFLOP/s")

    def _nvidia_driver(self) -> Finding:
        self.driver = self.probes.driver()
        if self.driver is None:
            self.why_not = "no NVIDIA driver"
            if self.closed:
                return Finding("skipped", "none in this container")
            inside = _quietly(self.probes.in_container, False)
            mend = SHARE_LIBRARY if inside else INSTALL_DRIVER
            return Finding(self.absent, "no NVIDIA driver is found", mend if self.absent == "failure" else "")
        found = f"{self.driver.release} supports CUDA up to {_dotted(self.driver.cuda)}".strip()
        if self.driver.error:
            self.why_not = "the NVIDIA driver does not start"
            return Finding("failure", f"{found}, but does not start: {self.driver.error}", "sudo reboot")
        return Finding("ok", found)

    def _container(self) -> Finding:
        if not self.probes.in_container():
            return Finding("ok", "not inside one")
        if self.probes.device_files():
            return Finding("ok", "inside one, with NVIDIA device files")
        if self.driver is not None:
            return Finding("ok", "inside one, with NVIDIA's driver library")
        self.why_not = "this container was started without a GPU"
        mend = RUN_WITH_GPU if self.absent == "failure" else ""
        return Finding(self.absent, "inside one that was started without NVIDIA devices", mend)

    def _cupy_wheels(self) -> dict[str, str]:
        return {name: version for name, version in self.probes.distributions().items() if WHEEL.fullmatch(name)}

    def _wheel(self) -> Finding:
        self.wheels = self._cupy_wheels()
        found = ", ".join(f"{name} {version}" for name, version in self.wheels.items())
        if not self.wheels:
            status: Status = self.needed if self.driver is not None else self.absent
            return Finding(status, "CuPy is not installed", "" if status == "skipped" else self._install())
        if len(self.wheels) > 1:
            return Finding("failure", f"{found}: they overwrite each other's files", self._swap())
        if int(next(iter(self.wheels.values())).partition(".")[0]) < 14:
            return Finding("warning", f"{found}: gpucnn is made for CuPy 14", self._swap())
        return Finding("ok", found)

    def _versions(self) -> Finding:
        wheel = self._wheel_cuda()
        if wheel is None or self.driver is None:
            return Finding("skipped", self.why_not or "no single CuPy wheel that names its CUDA")
        if self.driver.cuda >= (wheel, 0):
            return Finding("ok", f"the wheel is for CUDA {wheel}, the driver supports {_dotted(self.driver.cuda)}")
        self.why_not = "the driver is too old for this CuPy wheel"
        found = f"the wheel needs CUDA {wheel}.0 or newer, the driver supports {_dotted(self.driver.cuda)}"
        return Finding("failure", found, self._swap() if self.driver.cuda >= (12, 0) else INSTALL_DRIVER)

    def _nvrtc(self) -> Finding:
        if not self.wheels:
            return Finding("skipped", "CuPy is not installed")
        self.nvrtc = version = self.probes.nvrtc()
        wheel = self._wheel_cuda()
        if version is None:
            return Finding("failure", "CUDA's run-time compiler (NVRTC) is not found", self._install())
        if wheel is not None and version[0] != wheel:
            return Finding("failure", f"{_dotted(version)} is found, the wheel needs {wheel}", self._install())
        return Finding("ok", _dotted(version))

    def _headers(self) -> Finding:
        if not self.wheels:
            return Finding("skipped", "CuPy is not installed")
        folder = self.probes.headers()
        if folder is None:
            return Finding("failure", "cuda_fp16.h, which CuPy's kernels include, is not found", self._install())
        return Finding("ok", folder)

    def _import(self) -> Finding:
        if not self.wheels:
            self.why_not = self.why_not or "CuPy is not installed"
            return Finding("skipped", "CuPy is not installed")
        before, self.why_not = self.why_not, "CuPy cannot be imported"
        version = self.probes.cupy()
        self.why_not = before
        return Finding("ok", f"CuPy {version}")

    def _devices(self) -> Finding:
        if self.why_not:
            return Finding("skipped", self.why_not)
        self.why_not = "no CUDA device is usable"
        try:
            self.gpus = self.probes.gpus()
        except Exception as error:
            if "cudaErrorNoDevice" not in str(error):
                raise
        count = len(self.gpus)
        if count == 0:
            hidden = self.probes.environment().get("CUDA_VISIBLE_DEVICES")
            if hidden is not None:
                return Finding("failure", f"CUDA_VISIBLE_DEVICES={hidden!r} hides all", "unset CUDA_VISIBLE_DEVICES")
            return Finding("failure", "the driver shows no device", RUN_WITH_GPU if self.closed else LOAD_DRIVER)
        if self.device.index >= count:
            return Finding("failure", f"{count} found, {self.device} is none of them", "gpucnn doctor --device cuda:0")
        self.why_not = ""
        return Finding("ok", str(count))

    def _gpu(self, index: int) -> Finding:
        gpu = self.gpus[index]
        memory = f"{gpu.free / 2**30:.1f} of {gpu.total / 2**30:.1f} GiB free"
        found = f"{gpu.name}, compute capability {_dotted(gpu.capability)}, {memory}"
        if gpu.capability < (7, 5) and self._wheel_cuda() == 13:
            if index == self.device.index:
                self.why_not = f"{self.device} is too old for CUDA 13"
            return Finding("failure", f"{found}: CUDA 13 supports 7.5 and newer", self._swap(12))
        if gpu.free < LITTLE:
            return Finding("warning", f"{found}: other programs hold the memory", "nvidia-smi")
        return Finding("ok", found)

    def _cuda_product(self) -> Finding:
        return Finding("skipped", self.why_not) if self.why_not else self._trial_product(self.device)

    def _cuda_kernel(self) -> Finding:
        if self.why_not:
            return Finding("skipped", self.why_not)
        return Finding("ok", f"compiled and run in {self.probes.kernel(self.device):.2f} s")

    def _cudnn(self) -> Finding:
        installed = self.probes.distributions()
        names = ("nvidia-cudnn-frontend", f"nvidia-cudnn-cu{self._fitting()}")
        missing = [name for name in names if name not in installed]
        if not missing:
            return Finding("ok", ", ".join(f"{name} {installed[name]}" for name in names))
        mend = CUDNN.format(self._fitting()) if self.wheels else ""
        status: Status = "warning" if len(missing) == 1 and names[0] in installed else "skipped"
        return Finding(status, f"optional; {' and '.join(missing)} not installed", mend)

    def _wheel_cuda(self) -> int | None:
        """CUDA's major version in the name of the one CuPy wheel: cupy-cuda13x is 13, cupy-cuda113 was 11."""
        match = re.search(r"cuda(\d\d)", next(iter(self.wheels))) if len(self.wheels) == 1 else None
        return int(match[1]) if match else None

    def _fitting(self) -> int:
        """The CUDA, 12 or 13, of the extra that fits the driver; without a driver, that of the installed wheel."""
        if self.driver is not None:
            return 13 if self.driver.cuda >= (13, 0) else 12
        return 12 if self._wheel_cuda() == 12 else 13

    def _compile_remedy(self) -> str:
        """A compiler newer than the driver can make code that the driver rejects; else suspect the kernels on disk."""
        if self.driver is not None and self.nvrtc is not None and self.nvrtc > self.driver.cuda:
            return f"{self._install()} 'cuda-toolkit=={_dotted(self.driver.cuda)}.*'"
        return f"CUPY_CACHE_DIR=$(mktemp -d) gpucnn doctor --device {self.device}"

    def _install(self, cuda: int | None = None) -> str:
        return f"pip install 'gpucnn[cuda{cuda or self._fitting()}]'"

    def _swap(self, cuda: int | None = None) -> str:
        """pip would leave the other wheel's files in the shared folder `cupy`, so all go before one comes back."""
        remove = f"pip uninstall -y {' '.join(self.wheels)} && " if self.wheels else ""
        return remove + self._install(cuda)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
