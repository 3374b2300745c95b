"""The kernels on a device: compiled when they are asked for, or ahead, many side by side.

A compiler works on one source at a time, and a step asks for one kernel after the other. So a step is gone through
once, ahead, without launching anything, and what it asks for is compiled by as many threads as there are CPUs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ...device import reason_of
from ...errors import DeviceError, warn
from .compiling import announced
from .sizes import Sizes, options, source


class Source(NamedTuple):
    """What is compiled at a time. dtype: what REAL is; wide: 64-bit indices; sizes: the files, and a layer's sizes."""

    dtype: str
    wide: bool
    sizes: Sizes


class Compiled:
    """The kernels that are compiled and loaded on a device, by name and source. xp: CuPy."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self._modules: dict[Source, Any] = {}
        self._functions: dict[tuple[str, Source], Any] = {}
        self.missing: set[tuple[str, Source]] = set()
        self._here = threading.local()  # a thread that goes through a step leaves others' launches alone

    @property
    def is_rehearsal(self) -> bool:
        """Whether this thread only looks which kernels work needs: then none is launched."""
        return getattr(self._here, "wanted", None) is not None

    def kernel(self, name: str, of: Source) -> Any:
        """The kernel, compiled where it is not yet; None in a rehearsal. Raises DeviceError where it does not start."""
        if self.is_rehearsal:
            self._here.wanted[of] = None
            return None
        kernel = self._functions.get((name, of))
        if kernel is None:
            try:
                with announced():
                    if of not in self._modules:
                        self._modules[of] = self._module(of)
                    self._functions[name, of] = kernel = self._modules[of].get_function(name)
            except MemoryError:
                raise
            except Exception as error:  # whatever a compiler or a driver raises
                raise DeviceError(
                    f"the CUDA kernel {name} does not start ({reason_of(error)}); run `gpucnn doctor`, or use kernels "
                    "'reference'"
                ) from error
        return kernel

    def starts(self, name: str, of: Source) -> bool:
        """Whether that kernel can be compiled and loaded; a warning says once why not."""
        if (name, of) in self.missing:
            return False
        try:
            self.kernel(name, of)
        except DeviceError as error:
            self.missing.add((name, of))
            warn(f"{error}; products with columns of the image take its place")
            return False
        return True

    def ahead(self, work: Callable[[], Any]) -> None:
        """Compile side by side what the work will ask for. What fails here is met again, and said, by the work itself.

        The work is called once, in a rehearsal: its kernels and products are not launched, and memory holds zeros.
        """
        self._here.wanted = wanted = dict[Source, None]()
        try:
            with contextlib.suppress(Exception):
                work()
        finally:
            self._here.wanted = None
        sources = [each for each in wanted if each not in self._modules]
        threads = min(len(sources), os.cpu_count() or 1)
        if threads < 2:
            return
        device = self.xp.cuda.Device()

        def compile(of: Source) -> None:
            with contextlib.suppress(Exception), device:
                made = self._module(of)
                made.compile()
                self._modules[of] = made

        with announced(), ThreadPoolExecutor(threads) as pool:
            list(pool.map(compile, sources))

    def _module(self, of: Source) -> Any:
        return self.xp.RawModule(code=source(of.sizes), options=options(of.dtype, of.wide))
