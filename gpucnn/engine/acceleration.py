"""How a device computes: which kernels, in which precision, and whether a step is recorded as a CUDA graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..device import Device, reason_of
from ..errors import DeviceError, GpucnnError, SettingError, warn
from ..kernels import EXACT_REFERENCE, REFERENCE, Kernels, choose
from ..kernels.cuda import cudnn
from ..kernels.cuda.cublas import PRECISIONS
from ..namespace import as_python

TABLES = ("default", "reference", "numba", "cudnn", "winograd", "columns")
WIDE = ("winograd", "columns")  # how a CUDA device computes wide convolutions, where that is asked for
OF_CUDA = ("cudnn", *WIDE)


@dataclass(frozen=True)
class Acceleration:
    """Which kernels a device computes with.

    kernels: "default", on the CPU NumPy's, on a CUDA device kernels of our own and cuBLAS products; "reference", the
    equations as they are written, on every device; "numba", of the CPU, some passes compiled; "cudnn", of a CUDA
    device, the default with cuDNN's convolutions, "winograd" and "columns", with Winograd's, and with cuBLAS's products
    of columns, where they are wide, but cuDNN's and Winograd's not for networks that share gradients among ties: these
    need equal bits for equal surroundings.

    precision: of a CUDA device, how float32 numbers are multiplied: "float32", or with factors rounded to 10 bits
    after the point ("tf32") or 7 ("bfloat16"). graph: whether a training step is recorded as one CUDA graph; None is
    wherever it can be. True and other precisions are refused on the CPU and with the reference.

    tune: whether training begins with measuring, on the CUDA device, each convolution by every way that takes it, of
    which the fastest is chosen (see `engine.tuning`); or the path of a file of choices that were made so, beside which
    what it lacks is measured.
    """

    kernels: str = "default"
    precision: str = "float32"
    graph: bool | None = None
    tune: bool | str = False

    def __post_init__(self) -> None:
        as_python(self)
        for name, known in (("kernels", TABLES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise SettingError(f"{name} {getattr(self, name)!r}: one of {', '.join(known)} was expected")
        if not (self.graph is None or isinstance(self.graph, bool)):
            raise SettingError(f"graph={self.graph!r}: True, False or None was expected")
        if not isinstance(self.tune, (bool, str)) or self.tune == "":
            raise SettingError(f"tune={self.tune!r}: True, False or the path of a file of choices was expected")
        if self.tune and self.kernels != "default":
            raise SettingError(
                f"kernels {self.kernels!r} and --tune (tune): tuning chooses among all kernels; leave kernels out"
            )

    def is_possible(self, device: Device, *, exact_ties: bool) -> bool:
        """Whether these kernels are of the device's kind and, cuDNN's, installed and used (see `table`)."""
        if (self.kernels == "numba") != (device.kind == "cpu"):
            return False
        if self.kernels == "winograd":
            return not exact_ties
        if self.kernels != "cudnn":
            return True
        try:
            self._cudnn()
        except SettingError:
            return False
        return not exact_ties

    def table(self, device: Device, dtype: str, *, exact_ties: bool) -> Kernels:
        """The kernel table for a model of dtype. Raises SettingError for what the device or the type cannot do.

        exact_ties: see `kernels.choose`; then "cudnn" and "winograd" are the default ones, and a warning says so.
        Where the default ones do not start on a CUDA device, a warning says why, and the reference computes; what was
        asked for by name is a DeviceError then.
        """
        if self.kernels == "numba":
            return self._numba(device, exact_ties)
        if device.kind == "cpu" or self.kernels == "reference":
            self._refuse_what_needs_kernels_of_cuda(device)
            if self.kernels == "reference":
                return EXACT_REFERENCE if exact_ties else REFERENCE
            return choose(device.kind, exact_ties=exact_ties)
        if dtype != "float32" and self.precision != "float32":
            raise SettingError(
                f"precision {self.precision!r} is a way to multiply float32 numbers, and the model is {dtype}; leave "
                "it out, or use dtype float32"
            )
        library = self._cudnn() if self.kernels == "cudnn" else None
        if exact_ties and self.kernels in ("cudnn", "winograd"):
            library, who = None, "cuDNN does" if self.kernels == "cudnn" else "Winograd's sums do"
            warn(
                f"a pool of this network shares gradients among ties, and {who} not promise equal bits for equal "
                "surroundings; gpucnn's own convolutions are used"
            )
        return self._of_cuda(device, dtype, library, exact_ties)

    def _of_cuda(self, device: Device, dtype: str, library: Any, exact_ties: bool) -> Kernels:
        from ..kernels.cuda import table

        wide = self.kernels if self.kernels in WIDE and not exact_ties else None
        try:
            with device.activate():
                how = {"cudnn": library, "wide": wide, "candidate": self._candidate(), "exact_ties": exact_ties}
                return table(self.precision, dtype, **how)
        except MemoryError:
            raise
        except Exception as error:  # whatever a compiler, a driver or a missing library raises
            if self._asked and isinstance(error, GpucnnError) and error.__cause__ is None:
                raise  # it says what is missing for what was asked for
            why = f"gpucnn's CUDA kernels do not start on {device} ({reason_of(error)})"
            if self._asked:
                raise DeviceError(f"{why}, and {self._asked} needs them; run `gpucnn doctor`") from error
            warn(f"{why}; the equations are computed on CuPy's arrays, which is slower; run `gpucnn doctor`")
            return choose(device.kind, exact_ties=exact_ties)

    def _refuse_what_needs_kernels_of_cuda(self, device: Device) -> None:
        if self._asked and device.kind == "cpu":
            raise SettingError(f"{self._asked} needs a CUDA device, and this is the CPU; leave it out, or use a GPU")
        if self._asked:
            raise SettingError(f"{self._asked} needs gpucnn's own kernels; leave it out, or kernels 'reference'")

    def _candidate(self) -> Any:
        """cuDNN, where tuning may choose it; None where it is not installed, or has not this precision."""
        if not self.tune or self.precision not in cudnn.PRECISIONS:
            return None
        try:
            return cudnn.load()
        except ImportError:
            return None

    def _cudnn(self) -> Any:
        if self.precision not in cudnn.PRECISIONS:
            raise SettingError(
                f"precision {self.precision!r}: cuDNN's convolutions (--kernels cudnn) have only "
                f"{' and '.join(cudnn.PRECISIONS)}; choose one of these, or kernels 'default'"
            )
        try:
            return cudnn.load()
        except ImportError as error:
            raise SettingError(
                f"kernels 'cudnn' need cuDNN ({error}); install it with `pip install \".[cudnn]\"` in gpucnn's folder "
                '(for CUDA 12: ".[cudnn12]")'
            ) from None

    def _numba(self, device: Device, exact_ties: bool) -> Kernels:
        if device.kind != "cpu" or self._asked:
            raise SettingError(
                "kernels 'numba' are the CPU's, without --graph and --precision; leave them out, or use the device cpu"
            )
        try:
            from ..kernels.cpu.compiled import compiled_from
        except ImportError as error:
            raise SettingError(f"kernels 'numba' need numba ({error}); install it with `pip install numba`") from None
        return compiled_from(choose("cpu", exact_ties=exact_ties))

    @property
    def _asked(self) -> str:
        """What of these settings only CUDA's own kernels can do, in words, or ""."""
        if self.graph:
            return "a CUDA graph (--graph, graph=True)"
        if self.precision != "float32":
            return f"precision {self.precision!r} (--precision)"
        if self.tune:
            return "tuning (--tune, --tuning, tune=True)"
        return f"kernels {self.kernels!r} (--kernels)" if self.kernels in OF_CUDA else ""
