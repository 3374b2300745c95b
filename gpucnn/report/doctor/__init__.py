"""`gpucnn doctor`: what of the machine keeps CPU or GPU from working, each cause with the one command that mends it.

Everything that depends on the machine is asked through `Probes`, so that tests can put any machine under the checks.
"""

from __future__ import annotations

from ...device import named
from ...errors import DeviceError
from .cpu import cpu_checks
from .cuda import Cuda
from .probes import Probes
from .report import Check, Report, render

__all__ = ["examine", "render"]


def examine(device: str = "auto", probes: Probes | None = None) -> Report:
    """Run all checks for `auto | cpu | cuda | cuda:N`. Never raises: what breaks a check is its finding."""
    device, probes = str(device), probes or Probes()
    try:
        asked = named(device)
    except DeviceError as error:
        return Report(device, "", (Check("device", "failure", str(error), "gpucnn doctor --device auto"),))
    checks = cpu_checks(probes)
    if asked is not None and asked.kind == "cpu":
        return Report(device, "", (*checks, Check("CUDA", "skipped", "not asked for")))
    cuda = Cuda(probes, asked)
    return Report(device, str(cuda.device), (*checks, *cuda.checks()))
