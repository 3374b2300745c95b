"""What the doctor finds: checks with their remedies, as a report that says whether a device can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from ...device import named, reason_of
from ...errors import DeviceError

Status = Literal["ok", "warning", "failure", "skipped"]
MARKS: Mapping[str, str] = {"ok": "ok", "warning": "warn", "failure": "FAIL", "skipped": "skip"}


# what one check says; the last text, where there is one, is the command that mends it
Finding = tuple[Status, str] | tuple[Status, str, str]


@dataclass(frozen=True)
class Check:
    """A finding under the name of its check. remedy: the one command that mends it, or ""."""

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
        on_cpu = wanted is None or wanted.kind == "cpu"
        needed = {"NumPy", "CPU product"} if on_cpu else {"CUDA product", "CUDA kernel"}
        passed = {check.name for check in self.checks if check.status == "ok"}
        return needed <= passed and (on_cpu or str(wanted) == self.tried)

    @property
    def exit_status(self) -> int:
        """0 if the asked-for device can be used, 1 if not."""
        return 0 if self.usable() else 1

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"device": self.device, "usable": self.usable(), "checks": [asdict(check) for check in self.checks]}


def render(report: Report) -> str:
    """Aligned plain text, a line per check, each remedy below its check, and the verdict."""
    width = max(len(check.name) for check in report.checks)
    lines = []
    for check in report.checks:
        lines.append(f"{MARKS[check.status]:<4}  {check.name:<{width}}  {check.found}".rstrip())
        if check.remedy:
            lines.append(f"{'':<4}  {'':<{width}}  -> {check.remedy}")
    verdict = "can be used" if report.usable() else "cannot be used"
    if report.usable() and report.device.strip().lower() == "auto":
        verdict = f"takes {report.tried if report.tried and report.usable(report.tried) else 'the CPU'}"
    if any('".[' in check.remedy for check in report.checks):
        lines.append('(where ".[...]" is said, type it in the folder of gpucnn\'s source;')
        lines.append(" an image has what it was built with: docker build --build-arg EXTRAS=...)")
    return "\n".join([*lines, "", f"--device {report.device}: {verdict}"])


def guarded(name: str, check: Callable[[], Finding], remedy: str = "") -> Check:
    """What a check finds; where it raises, that is the finding, and `remedy` what mends it."""
    try:
        return Check(name, *check())
    except Exception as error:
        return Check(name, "failure", quietly(partial(reason_of, error), type(error).__name__), remedy)


def quietly(probe: Callable[[], Any], otherwise: Any) -> Any:
    """A probe's answer where another check will report its failure."""
    try:
        return probe()
    except Exception:
        return otherwise
