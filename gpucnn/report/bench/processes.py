"""What is measured in new processes: steps, the time from a start to a test accuracy, and the memory of a step."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ... import networks, runs
from ...data import load
from ...device import Device
from ...errors import GpucnnError, SettingError
from ..environment import described, environment
from ..timing import rounds
from . import steps, tasks, torch_peer
from .steps import OURS, Settings, Show, line, summary

EPOCHS = 5  # at most, to reach an accuracy
SEEDS = 5
REPEATS = 3  # processes whose memory is read


OWN = (
    "Each row has a process of its own: what a process did before decides whether the C library hands large blocks of "
    "memory back after each step, which can double another library's time."
)


def compare(
    names: Sequence[str] = steps.NETWORKS,
    batches: Sequence[int] = steps.BATCHES,
    settings: Settings | None = None,
    show: Show = print,
) -> dict[str, Any]:
    """`steps.compare`, on the CPU with each row in a process of its own."""
    settings, wanted = settings or Settings(), steps.rows_of(names, batches)
    if Device.parse(settings.device).kind != "cpu":
        return steps.compare(names, batches, settings, show)
    device, _, obstacles = _begun(settings, show)
    notes = [steps.HOW, OWN]
    for note in notes:
        show(note)
    rows = []
    for name, batch in wanted:
        rows.append(run("steps", network=name, batch=batch, settings=asdict(settings))[0])
        show(line(rows[-1], "milliseconds", "ms"))
    return _result("steps", settings, device, [*notes, *obstacles], rows)


def time_to(
    accuracy: float,
    data: str = "mnist",
    network: str = "fast",
    settings: Settings | None = None,
    show: Show = print,
    *,
    seeds: int = SEEDS,
    epochs: int = EPOCHS,
) -> dict[str, Any]:
    """Wall time of whole processes that train until a test accuracy is reached, over seeds 0, 1, ...

    From the start of Python, imports and data loading included, to the end of the process. The test part is looked at
    after every epoch; the recipe's schedule begins again when it ends. A run that misses the accuracy counts as never.
    """
    settings = settings or Settings()
    if not 0 < accuracy <= 1:
        raise SettingError(f"--time-to {accuracy:g}: a test accuracy above 0 and at most 1 was expected, such as 0.99")
    networks.entry(network)
    device, peers, notes = _begun(settings, show)
    examples = len(load(data).train_labels)  # also downloads what is missing, before a clock runs
    recipe, _ = runs.recipe(runs.Settings(network), examples)
    about = (
        f"time to {accuracy:.2%} on the test images of {data}: {network}, {recipe.optimizer}, learning rate "
        f"{recipe.lr:g}, {recipe.schedule} over {min(recipe.epochs, epochs)} epoch(s), batches of {recipe.batch_size}; "
        f"whole processes, at most {epochs} epochs, seeds 0 to {seeds - 1}"
    )
    show(about)
    common = {"network": network, "data": data, "accuracy": accuracy, "device": str(device), "epochs": epochs}
    common["threads"] = settings.cpu_threads
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in (OURS, *peers)}

    def measure(seed: int) -> dict[str, float]:
        for name, of in answers.items():
            task, options = ("train_ours", {}) if name == OURS else ("train_torch", peers[name])
            answer, seconds = run(task, **common, seed=seed, **options)
            of[seed:] = [{"seconds": seconds, **answer}]  # in place of a discarded round's with this seed
            show(f"  seed {seed}  {name:<22} {seconds:6.2f} s  {_outcome(answer)}")
        return {name: of[seed]["seconds"] if of[seed]["reached"] else math.inf for name, of in answers.items()}

    threads = settings.cpu_threads if device.kind == "cpu" else 1
    found = rounds(measure, seeds, threads=threads, needed=settings.needed)
    row: dict[str, Any] = {"network": network, "what": f"to {accuracy:.2%}", "batch": recipe.batch_size, "data": data}
    row |= summary(found, list(answers), 1.0, "seconds")
    row["runs"] = {name: of[: len(found.figures)] for name, of in answers.items()}
    row["misses"] = {name: sum(not each["reached"] for each in of) for name, of in row["runs"].items()}
    show(line(row, "seconds", "s"))
    for name, misses in row["misses"].items():
        if misses:
            show(f"{name} missed {accuracy:.2%} in {misses} of {len(found.figures)} runs")
    return _result("time-to", settings, device, [about, *notes], [row])


def memory(
    network: str = "two-conv-wide",
    batch: int = 512,
    settings: Settings | None = None,
    show: Show = print,
    *,
    repeats: int = REPEATS,
) -> dict[str, Any]:
    """Peak resident memory of training steps on the CPU, less what was held after imports and data; own processes."""
    settings = settings or Settings()
    networks.entry(network)
    if batch < 1:
        raise SettingError(f"--batch {batch}: at least 1 was expected")
    if Device.parse(settings.device).kind != "cpu":
        raise SettingError(f"--memory with --device {settings.device}: resident memory is the CPU's; use --device cpu")
    device, peers, notes = _begun(settings, show)
    about = "peak resident memory of a training step, parameters included, less that after imports and data"
    show(about)
    common = {"network": network, "batch": batch, "threads": settings.cpu_threads}

    def measure(_: int) -> dict[str, float]:
        found = {OURS: run("memory_ours", **common)[0]["bytes"]}
        return found | {name: run("memory_torch", **common, **options)[0]["bytes"] for name, options in peers.items()}

    row: dict[str, Any] = {"network": network, "what": "memory", "batch": batch}
    row |= summary(rounds(measure, repeats), [OURS, *peers], 1e6, "megabytes")
    show(line(row, "megabytes", "MB"))
    return _result("memory", settings, device, [about, *notes], [row])


def run(task: str, **arguments: Any) -> tuple[dict[str, Any], float]:
    """What a task of `tasks` answers, and the seconds that its process lived. Raises GpucnnError where it fails.

    The process ends when this one does, however that ends: a pipe between them then closes. On Windows, where a thread
    that reads may keep libraries from loading, it would go on.
    """
    command = [sys.executable, "-m", "gpucnn.report.bench.tasks", task, json.dumps(arguments)]
    if os.name == "posix":
        command.append(tasks.BOUND)
    theirs, ours = os.pipe()
    try:
        start = time.perf_counter()
        done = subprocess.run(command, stdin=theirs, capture_output=True, text=True)
        elapsed = time.perf_counter() - start
    finally:
        os.close(theirs)
        os.close(ours)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise GpucnnError(f"bench: the process {task} for {arguments.get('network')} failed: {reason}")
    return json.loads(done.stdout.strip().splitlines()[-1]), elapsed


def _outcome(answer: dict[str, Any]) -> str:
    verb = "reached" if answer["reached"] else "MISSED, best"
    return f"{verb} {answer['accuracy']:.2%} in {answer['epochs']} epoch(s)"


def _begun(settings: Settings, show: Show) -> tuple[Device, dict[str, dict[str, Any]], list[str]]:
    """The device, the variants of PyTorch that can be started, and what to say."""
    device = Device.parse(settings.device)
    obstacle = torch_peer.obstacle(str(device))
    notes = [obstacle] if obstacle else []
    show(described(environment(device, settings.cpu_threads)))
    for note in notes:
        show(note)
    return device, {} if obstacle else torch_peer.VARIANTS, notes


def _result(mode: str, settings: Settings, device: Device, notes: list[str], rows: list[Any]) -> dict[str, Any]:
    return {"mode": mode, "environment": environment(device, settings.cpu_threads), "notes": notes, "rows": rows}
