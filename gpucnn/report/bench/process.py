"""Work in a process of its own: `python -m gpucnn.report.bench.process MODULE:FUNCTION ARGUMENTS`, answered as JSON.

Little is imported here, so that who is timed from the start of a process pays for its own imports.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

from ...errors import GpucnnError

BOUND = "--until-stdin-ends"  # a third argument: end when standard input does
ABANDONED = 3  # exit status


def run(task: str, **arguments: Any) -> tuple[dict[str, Any], float]:
    """Call a function of this package, "module:name", in a new process -> its answer, and that process's seconds.

    The process ends when this one does, however that ends: a pipe between them then closes. On Windows, where a thread
    that reads may keep libraries from loading, it would go on. Raises GpucnnError where the process fails.
    """
    command = [sys.executable, "-m", __name__, task, json.dumps(arguments)]
    if os.name == "posix":
        command.append(BOUND)
    theirs, ours = os.pipe()
    try:
        start = time.perf_counter()
        done = subprocess.run(command, stdin=theirs, capture_output=True, encoding="utf-8", errors="replace")
        elapsed = time.perf_counter() - start
    finally:
        os.close(theirs)
        os.close(ours)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise GpucnnError(f"bench: the process {task} for {arguments.get('network')} failed: {reason}")
    return json.loads(done.stdout.strip().splitlines()[-1]), elapsed


def _end_with_caller() -> None:
    """Ends this process when standard input does: its caller is gone, and nobody waits for the answer."""
    while os.read(0, 1 << 10):
        pass
    os._exit(ABANDONED)


if __name__ == "__main__":
    if BOUND in sys.argv[3:]:
        threading.Thread(target=_end_with_caller, daemon=True).start()
    module, _, function = sys.argv[1].partition(":")
    print(json.dumps(getattr(importlib.import_module(f".{module}", __package__), function)(**json.loads(sys.argv[2]))))
