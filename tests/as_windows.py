"""A stand-in for Windows: `python tests/as_windows.py train ...` runs gpucnn where the system has what Windows has.

POSIX modules, calls and signals are missing, `os.name` is "nt", and a file that this process has open, or maps, is
neither deleted nor replaced nor moved: PermissionError, as Windows says. The files are looked for in /proc.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.abc
import os
import pathlib
import shutil
import signal
import socket
import sys
import types
from typing import Any

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "readline", "syslog", "crypt", "spwd"}
CALLS = (
    *("fork", "forkpty", "memfd_create", "sched_getaffinity", "sched_setaffinity", "sysconf", "sysconf_names"),
    *("waitid", "register_at_fork", "getuid", "geteuid", "getgid", "getegid", "mkfifo", "uname", "setsid", "killpg"),
    *("getpgid", "O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW", "statvfs", "confstr", "getloadavg", "sendfile", "chroot"),
    *("nice", "openpty"),
)
SIGNALS = {"SIGINT", "SIGTERM", "SIGABRT", "SIGFPE", "SIGILL", "SIGSEGV"}
BREAK = signal.SIGUSR1  # stands for SIGBREAK, which Ctrl-Break sends, and a console that is closed
WORDS = ("AF_UNIX", "socketpair", "send_fds", "recv_fds", "MSG_DONTWAIT", "SO_REUSEPORT")


class _Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def in_use() -> set[str]:
    """The real paths of the files that this process has open, or maps."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    with open("/proc/self/maps") as file:
        return found | {line.split(None, 5)[5].strip() for line in file if len(line.split(None, 5)) > 5}


def _refusing(call: Any) -> Any:
    """The call, which refuses a path of a file, or of a folder with one in it, that is in use."""

    def refused(*paths: Any, **how: Any) -> Any:
        used = in_use()
        for path in paths:
            place = os.path.realpath(os.fsdecode(path)) if not os.path.islink(path) else os.path.abspath(path)
            if any(each == place or each.startswith(place + os.sep) for each in used):
                raise PermissionError(errno.EACCES, "The process cannot access the file because it is in use", path)
        return call(*paths, **how)

    return refused


def begin() -> None:
    """From here on this process is on Windows, as far as Python's own modules do not have to know."""
    import fcntl

    locks = types.ModuleType("msvcrt")
    locks.LK_NBLCK = 2  # type: ignore[attr-defined]
    locks.locking = lambda file, how, size: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, size)  # type: ignore[attr-defined]
    sys.modules["msvcrt"] = locks
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Missing())
    for name in ("replace", "rename", "unlink", "remove", "rmdir"):
        setattr(os, name, _refusing(getattr(os, name)))
    shutil._use_fd_functions = False
    for holder, names in ((os, CALLS), (socket, WORDS)):
        for name in names:
            if hasattr(holder, name):
                delattr(holder, name)
    for name in [each for each in vars(signal) if each.startswith("SIG") and "_" not in each]:
        if name not in SIGNALS and isinstance(getattr(signal, name), int):
            delattr(signal, name)
    signal.SIGBREAK = BREAK  # type: ignore[attr-defined]
    ctypes._os = types.SimpleNamespace(**vars(os))  # type: ignore[attr-defined]  # it looks for what no stand-in has
    for module in {"pathlib", pathlib.Path.__module__, "pathlib._local"} & {*sys.modules}:
        sys.modules[module].WindowsPath = pathlib.PosixPath  # type: ignore[attr-defined]
    os.name = "nt"


if __name__ == "__main__":
    import asyncio  # noqa: F401
    import multiprocessing.connection  # noqa: F401
    import subprocess  # noqa: F401

    import matplotlib.figure  # noqa: F401
    import numpy  # noqa: F401
    import PIL.Image  # noqa: F401
    import rich.console  # noqa: F401
    import threadpoolctl  # noqa: F401
    import typer.core  # noqa: F401

    sys.argv[0] = "gpucnn"
    begin()
    from gpucnn.__main__ import main

    main()
