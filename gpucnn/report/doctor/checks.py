"""`gpucnn doctor`: what of the machine keeps CPU or GPU from working, each cause with the one command that mends it.

Everything that depends on the machine is asked through `Probes`, so that tests can put any machine under the checks.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

import gpucnn
from gpucnn.device import Device, named, reason_of
from gpucnn.errors import DeviceError

from .probes import SIZE, Driver, Gpu, Probes

Status = Literal["ok", "warning", "failure", "skipped"]
MARKS: Mapping[str, str] = {"ok": "ok", "warning": "warn", "failure": "FAIL", "skipped": "skip"}
WHEEL = re.compile(r"cupy(-cuda\d+x?|-rocm-[\d-]+)?")
CUDNN = {13: "pip install 'gpucnn[cudnn]'", 12: "pip install 'gpucnn[cudnn12]'"}
FRONT_ENDS, CUDNN_FROM = ((1, 23), (1, 29)), (9, 18)  # as pyproject.toml has them
RUN_WITH_GPU = "docker run --gpus all ... (on the host first, once: sudo apt-get install -y nvidia-container-toolkit)"
SHARE_LIBRARY = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."
INSTALL_DRIVER = "sudo ubuntu-drivers install (elsewhere: the installer from nvidia.com/drivers), then restart"
LOAD_DRIVER = "sudo nvidia-modprobe -u -c=0"
LITTLE = 512 * 2**20  # bytes of free memory below which training on a device is in doubt
# what OpenBLAS calls its kernels, by the vector instructions they use: 2 AVX-512, 1 AVX2; all others are older
CORES = {"skylakex": 2, "cooperlake": 2, "sapphirerapids": 2, "haswell": 1, "zen": 1, "excavator": 1}


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


def _release(version: str) -> tuple[int, ...]:
    """(9, 18) of "9.18.1.3"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


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
        mend = CUDNN[self._fitting()] if self.wheels else ""
        if not missing:
            versions = ", ".join(f"{name} {installed[name]}" for name in names)
            front, library = (_release(installed[name]) for name in names)
            if not (FRONT_ENDS[0] <= front < FRONT_ENDS[1] and library >= CUDNN_FROM):
                return Finding("warning", f"{versions}: not the versions that --kernels cudnn is made for", mend)
            return Finding("ok", f"{versions}; used by --kernels cudnn only")
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
