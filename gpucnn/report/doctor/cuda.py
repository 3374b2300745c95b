"""Checks of CUDA, from the driver to a kernel that runs."""

from __future__ import annotations

import re
from functools import partial

from ...device import Device
from .cpu import trial_product
from .probes import Driver, Gpu, Probes
from .report import Check, Finding, Status, guarded, quietly

WHEEL = re.compile(r"cupy(-cuda\d+x?|-rocm-[\d-]+)?")
CUDNN = {13: 'pip install ".[cudnn]"', 12: 'pip install ".[cudnn12]"'}
FRONT_ENDS, CUDNN_FROM = ((1, 23), (1, 29)), (9, 18)  # as pyproject.toml has them
RUN_WITH_GPU = (
    "docker run --gpus all ... or docker compose run --rm gpu; where Docker refuses that, on the host first, once: "
    "sudo apt-get install -y nvidia-container-toolkit, sudo nvidia-ctk runtime configure --runtime=docker, and restart "
    "Docker"
)
SHARE_LIBRARY = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."
INSTALL_DRIVER = "sudo ubuntu-drivers install (elsewhere: the installer from nvidia.com/drivers), then restart"
LOAD_DRIVER = "sudo nvidia-modprobe -u -c=0"
LITTLE = 512 * 2**20  # bytes of free memory below which training on a device is in doubt
NO_CUPY: Finding = ("skipped", "CuPy is not installed")


class Cuda:
    """The checks in their order; what one has found out, later ones read, so that one cause makes one failure.

    why_not: what already keeps CUDA from working.
    """

    def __init__(self, probes: Probes, asked: Device | None) -> None:
        self.probes, self.device = probes, asked or Device("cuda")
        self.wheels: dict[str, str] = quietly(self._cupy_wheels, {})
        self.closed: bool = quietly(lambda: probes.in_container() and not probes.device_files(), False)
        self.absent: Status = "failure" if asked or self.wheels else "skipped"
        self.needed: Status = "failure" if asked else "warning"
        self.driver: Driver | None = None
        self.nvrtc: tuple[int, int] | None = None
        self.gpus: list[Gpu] = []
        self.why_not = ""

    def checks(self) -> list[Check]:
        found = [
            guarded("NVIDIA driver", self._nvidia_driver, "nvidia-smi"),
            guarded("container", self._container, RUN_WITH_GPU),
            guarded("CuPy wheel", self._wheel, "pip check"),
            guarded("CUDA versions", self._versions, self._swap()),
            guarded("NVRTC", self._nvrtc, self._install()),
            guarded("CUDA headers", self._headers, self._install()),
            guarded("CuPy import", self._import, self._swap()),
            guarded("CUDA devices", self._devices, "nvidia-smi"),
        ]
        found += [guarded(f"cuda:{index}", partial(self._gpu, index)) for index in range(len(self.gpus))]
        return [
            *found,
            guarded("CUDA product", self._product, self._install()),
            guarded("CUDA kernel", self._kernel, self._compile_remedy()),
            guarded("gpucnn's kernels", self._own_kernels, self._compile_remedy()),
            guarded("tensor cores", self._tensor_cores, self._compile_remedy()),
            guarded("cuDNN", self._cudnn),
        ]

    def _nvidia_driver(self) -> Finding:
        self.driver = self.probes.driver()
        if self.driver is None:
            self.why_not = "no NVIDIA driver"
            if self.closed:
                return "skipped", "none in this container"
            mend = SHARE_LIBRARY if quietly(self.probes.in_container, False) else INSTALL_DRIVER
            return self._absent("no NVIDIA driver is found", mend)
        found = f"{self.driver.release} supports CUDA up to {_dotted(self.driver.cuda)}".strip()
        if self.driver.error:
            self.why_not = "the NVIDIA driver does not start"
            return "failure", f"{found}, but does not start: {self.driver.error}", "sudo reboot"
        return "ok", found

    def _absent(self, found: str, mend: str) -> Finding:
        """A failure with its remedy where a GPU is wanted, else nothing to mend."""
        return self.absent, found, mend if self.absent == "failure" else ""

    def _container(self) -> Finding:
        if not self.probes.in_container():
            return "ok", "not inside one"
        if self.probes.device_files():
            return "ok", "inside one, with NVIDIA device files"
        if self.driver is not None:
            return "ok", "inside one, with NVIDIA's driver library"
        self.why_not = "this container was started without a GPU"
        return self._absent("inside one that was started without NVIDIA devices", RUN_WITH_GPU)

    def _cupy_wheels(self) -> dict[str, str]:
        return {name: version for name, version in self.probes.distributions().items() if WHEEL.fullmatch(name)}

    def _wheel(self) -> Finding:
        self.wheels = self._cupy_wheels()
        found = ", ".join(f"{name} {version}" for name, version in self.wheels.items())
        if not self.wheels:
            status = self.absent if self.driver is None else self.needed
            return status, "CuPy is not installed", "" if status == "skipped" else self._install()
        if len(self.wheels) > 1:
            return "failure", f"{found}: they overwrite each other's files", self._swap()
        if int(next(iter(self.wheels.values())).partition(".")[0]) < 14:
            return "warning", f"{found}: gpucnn is made for CuPy 14", self._swap()
        return "ok", found

    def _versions(self) -> Finding:
        wheel = self._wheel_cuda()
        if wheel is None or self.driver is None:
            return "skipped", self.why_not or "no single CuPy wheel that names its CUDA"
        supports = f"the driver supports {_dotted(self.driver.cuda)}"
        if self.driver.cuda >= (wheel, 0):
            return "ok", f"the wheel is for CUDA {wheel}, {supports}"
        self.why_not = "the driver is too old for this CuPy wheel"
        mend = self._swap() if self.driver.cuda >= (12, 0) else INSTALL_DRIVER
        return "failure", f"the wheel needs CUDA {wheel}.0 or newer, {supports}", mend

    def _nvrtc(self) -> Finding:
        if not self.wheels:
            return NO_CUPY
        self.nvrtc, wheel = self.probes.nvrtc(), self._wheel_cuda()
        if self.nvrtc is None:
            return "failure", "CUDA's run-time compiler (NVRTC) is not found", self._install()
        if wheel not in (None, self.nvrtc[0]):
            return "failure", f"{_dotted(self.nvrtc)} is found, the wheel needs {wheel}", self._install()
        return "ok", _dotted(self.nvrtc)

    def _headers(self) -> Finding:
        folder = self.probes.headers() if self.wheels else ""
        if folder is None:
            return "failure", "cuda_fp16.h, which CuPy's kernels include, is not found", self._install()
        return ("ok", folder) if self.wheels else NO_CUPY

    def _import(self) -> Finding:
        if not self.wheels:
            self.why_not = self.why_not or NO_CUPY[1]
            return NO_CUPY
        before, self.why_not = self.why_not, "CuPy cannot be imported"
        version = self.probes.cupy()
        self.why_not = before
        return "ok", f"CuPy {version}"

    def _devices(self) -> Finding:
        if self.why_not:
            return "skipped", self.why_not
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
                return "failure", f"CUDA_VISIBLE_DEVICES={hidden!r} hides all", "unset CUDA_VISIBLE_DEVICES"
            return "failure", "the driver shows no device", RUN_WITH_GPU if self.closed else LOAD_DRIVER
        if self.device.index >= count:
            return "failure", f"{count} found, {self.device} is none of them", "gpucnn doctor --device cuda:0"
        self.why_not = ""
        return "ok", str(count)

    def _gpu(self, index: int) -> Finding:
        gpu = self.gpus[index]
        memory = f"{gpu.free / 2**30:.1f} of {gpu.total / 2**30:.1f} GiB free"
        found = f"{gpu.name}, compute capability {_dotted(gpu.capability)}, {memory}"
        if gpu.capability < (7, 5) and self._wheel_cuda() == 13:
            if index == self.device.index:
                self.why_not = f"{self.device} is too old for CUDA 13"
            return "failure", f"{found}: CUDA 13 supports 7.5 and newer", self._swap(12)
        if gpu.free < LITTLE:
            return "warning", f"{found}: other programs hold the memory", "nvidia-smi"
        return "ok", found

    def _product(self) -> Finding:
        return ("skipped", self.why_not) if self.why_not else trial_product(self.probes, self.device)

    def _kernel(self) -> Finding:
        if self.why_not:
            return "skipped", self.why_not
        return "ok", f"compiled and run in {self.probes.kernel(self.device):.2f} s"

    def _own_kernels(self) -> Finding:
        """Where these fail, training computes the equations on CuPy's arrays."""
        if self.why_not:
            return "skipped", self.why_not
        seconds, has_cublas = self.probes.own_kernels(self.device)
        if not has_cublas:
            return "warning", "cuBLAS is not found, so a step is not recorded as a CUDA graph", self._install()
        return "ok", f"ready in {seconds:.2f} s"

    def _tensor_cores(self) -> Finding:
        """Where these fail, wide convolutions are products with columns of the image."""
        if self.why_not:
            return "skipped", self.why_not
        if self.gpus[self.device.index].capability < (8, 0):
            return "skipped", f"{self.device} is older than compute capability 8.0, from which on they are used"
        wrong = self.probes.tensor_cores(self.device)
        if wrong is not None:
            return "warning", f"not what they should be ({wrong}): convolutions do without them; please report it"
        return "ok", "a convolution and its gradients are right in float32"

    def _cudnn(self) -> Finding:
        installed, mend = self.probes.distributions(), CUDNN[self._fitting()] if self.wheels else ""
        names = ("nvidia-cudnn-frontend", f"nvidia-cudnn-cu{self._fitting()}")
        missing = [name for name in names if name not in installed]
        if missing:
            status: Status = "warning" if missing == [names[1]] else "skipped"
            return status, f"optional; {' and '.join(missing)} not installed", mend
        versions = ", ".join(f"{name} {installed[name]}" for name in names)
        front, library = (tuple(map(int, re.findall(r"\d+", installed[name])[:2])) for name in names)
        if FRONT_ENDS[0] <= front < FRONT_ENDS[1] and library >= CUDNN_FROM:
            return "ok", f"{versions}; used by --kernels cudnn only"
        return "warning", f"{versions}: not the versions that --kernels cudnn is made for", mend

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
        """What mends a kernel that fails: an older compiler, if the driver may reject its code, else an empty cache."""
        if self.driver is not None and self.nvrtc is not None and self.nvrtc > self.driver.cuda:
            return f'{self._install()} "cuda-toolkit=={_dotted(self.driver.cuda)}.*"'
        return f"CUPY_CACHE_DIR=$(mktemp -d) gpucnn doctor --device {self.device}"

    def _install(self, cuda: int | None = None) -> str:
        """The command that installs CuPy for that CUDA, by default the one that fits."""
        return f'pip install ".[cuda{cuda or self._fitting()}]"'

    def _swap(self, cuda: int | None = None) -> str:
        """The command that replaces the CuPy wheels. All go first: they share the folder `cupy`, and pip mixes them."""
        remove = f"pip uninstall -y {' '.join(self.wheels)} && " if self.wheels else ""
        return remove + self._install(cuda)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
