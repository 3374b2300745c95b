"""How much memory the host has for this process: the machine's, and what its control groups leave of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# By the version of control groups: the folder of their files below /sys/fs/cgroup; files of the limit and of what is
# in use; which line of memory.stat tells the caches that the system gives up on demand.
VERSIONS = {
    1: ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("", "memory.max", "memory.current", "inactive_file"),
}


def memory() -> tuple[int, int]:
    """(available, total) bytes; available includes caches that the system gives up on demand. (0, 0): not known."""
    free, total = _of_the_machine()
    for room, limit in _of_groups(Path("/")):
        free, total = min(free, room), min(total, limit)
    return free, total


def _of_the_machine() -> tuple[int, int]:
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo", encoding="ascii") as file:
        kib = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in file)}
        if "MemAvailable" in kib and "MemTotal" in kib:
            return kib["MemAvailable"] * 1024, kib["MemTotal"] * 1024
    try:
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else pages
    except (AttributeError, OSError, ValueError):
        return 0, 0
    return free * page, pages * page


def _of_groups(root: Path) -> Iterator[tuple[int, int]]:
    """(available, limit) in each control group of this process that has a limit; root: of the file system."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                yield from _of_group(root / "sys/fs/cgroup", path, 1 if controllers else 2)


def _of_group(root: Path, path: str, version: int) -> Iterator[tuple[int, int]]:
    """(available, limit) of a group and of those that it is in, where they have a limit. A container sees its own group
    at the place of the outermost one.
    """
    below, limit, used, cache = VERSIONS[version]
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for depth in range(len(parts) + 1):
        group = root / below / "/".join(parts[:depth])
        with contextlib.suppress(OSError, ValueError):
            most = int((group / limit).read_text(encoding="ascii"))
            held = int((group / used).read_text(encoding="ascii"))
            lines = (line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
            yield max(0, most - held + next((int(line[1]) for line in lines if line[0] == cache), 0)), most
