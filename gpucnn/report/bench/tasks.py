"""What `gpucnn bench` measures in own processes: `python -m gpucnn.report.bench.tasks TASK ARGUMENTS`, as JSON.

With BOUND as a third argument, such a process ends when its standard input does.

Each task imports what it measures itself, so that both sides pay for their own imports.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = 3  # of which memory is the peak
LEAST = 1 << 20  # bytes
BOUND = "--until-stdin-ends"
ABANDONED = 3  # exit status


class _Reached(Exception):
    """Ends a training run early."""


class Goal:
    """A callback that ends training at an accuracy on the validation part, which is the test part here."""

    def __init__(self, accuracy: float) -> None:
        self.accuracy, self.best, self.epochs = accuracy, 0.0, 0

    def batch(self, epoch: int, done: int, examples: int, loss: float | None) -> None:
        pass

    def epoch(self, epoch: Any) -> None:
        self.seen(epoch.validation_accuracy)

    def seen(self, accuracy: float) -> None:
        self.epochs += 1
        self.best = max(self.best, accuracy)
        if accuracy >= self.accuracy:
            raise _Reached

    def pursue(self, cycle: Callable[[int, int], None], of_cycle: int, most: int) -> dict[str, Any]:
        """cycle(epochs, number): a run of the schedule. It begins again when it ends, up to `most` epochs in all."""
        try:
            for number, start in enumerate(range(0, most, of_cycle)):
                cycle(min(of_cycle, most - start), number)
        except _Reached:
            return {"reached": True, "epochs": self.epochs, "accuracy": self.best}
        return {"reached": False, "epochs": self.epochs, "accuracy": self.best}


def train_ours(
    network: str, data: str, accuracy: float, seed: int, device: str, threads: int | None, epochs: int
) -> dict[str, Any]:
    """Train the named network by its recipe with gpucnn until the test accuracy is reached."""
    from ... import runs
    from ...data import load

    settings = runs.Settings(network, device, threads=threads, seed=seed)
    runs.start_helpers(settings)
    dataset = load(data)
    model = runs.new_model(settings, dataset)
    recipe, optimizer = runs.recipe(settings, len(dataset.train_labels))
    goal = Goal(accuracy)

    def cycle(count: int, number: int) -> None:
        model.fit(
            dataset.train_images,
            dataset.train_labels,
            epochs=count,
            batch_size=recipe.batch_size,
            optimizer=optimizer,
            lr=recipe.lr,
            schedule=recipe.schedule,
            validation=(dataset.test_images, dataset.test_labels),
            seed=seed + 1000 * number,
            callbacks=(goal,),
        )

    return goal.pursue(cycle, min(recipe.epochs, epochs), epochs)


def train_torch(
    network: str,
    data: str,
    accuracy: float,
    seed: int,
    device: str,
    threads: int | None,
    epochs: int,
    channels_last: bool = False,
) -> dict[str, Any]:
    """The same in PyTorch: network, initial weights, optimiser, schedule, batch size; images float32 from the start."""
    import numpy as np
    import torch

    from ... import networks, runs
    from ...data import load
    from ...initializers import generator
    from ...schedules import schedule
    from .torch_peer import Peer, optimizer_of, set_threads

    set_threads(threads or torch.get_num_threads())
    torch.manual_seed(seed)
    dataset = load(data)
    entry = networks.entry(network)
    built = networks.build(network, dataset.input_shape, len(dataset.class_names))
    weights, _ = np.random.SeedSequence(seed).spawn(2)
    params = built.init(built.input_shape, generator(weights))
    recipe, _ = runs.recipe(runs.Settings(network), len(dataset.train_labels))
    peer = Peer(built, entry.loss, params, device=device, channels_last=channels_last)
    x, held = peer.put(dataset.train_images), peer.put(dataset.test_images)
    y, held_y = (torch.from_numpy(each).to(device) for each in (dataset.train_labels, dataset.test_labels))
    goal, factor = Goal(accuracy), schedule(recipe.schedule)

    def cycle(count: int, number: int) -> None:
        steps, step = count * math.ceil(len(y) / recipe.batch_size), 0
        peer.optimizer = optimizer_of(recipe.optimizer, peer.module.parameters(), recipe.lr)
        for _ in range(count):
            for batch in torch.randperm(len(y), device=device).split(recipe.batch_size):
                for group in peer.optimizer.param_groups:
                    group["lr"] = recipe.lr * factor(step, steps)
                peer.step(x[batch].contiguous(memory_format=peer.format), y[batch])
                step += 1
            right = (peer.logits(held, 1000).argmax(dim=1) == held_y).sum()
            goal.seen(float(right) / len(held_y))

    return goal.pursue(cycle, min(recipe.epochs, epochs), epochs)


def peak_resident(process: int | str = "self") -> int:
    """The largest number of bytes that this process, or a helper of it, has held in memory so far.

    Linux hands getrusage's figure down from the parent process, so there it is read from /proc.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # for a helper too: it holds less than its caller
    return peak if sys.platform == "darwin" else peak * 1024


def _growth(first: Callable[[], Any], work: Callable[[], Any]) -> dict[str, Any]:
    """Bytes by which the peak grows during work; first() is a small piece of it, for what is imported on the way."""
    first()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes what is held now
    before = peak_resident()
    work()
    return {"bytes": max(LEAST, peak_resident() - before), "before": before}


def _case(network: str, images: int) -> Any:
    from .steps import Case

    return Case.of(network, images)


def memory_ours(network: str, batch: int, threads: int | None) -> dict[str, Any]:
    """Growth of the peak over a model's making and a few steps, with the uint8 images there before; all of helpers."""
    from ...model import Model
    from ...workers import helpers

    case, small = _case(network, batch), _case("softmax-regression", 1)

    def work(case: Any, epochs: int) -> None:
        model = Model(case.network, loss=case.loss, device="cpu", threads=threads)
        if epochs > 1 and helpers.possible():
            helpers.team.start(model.threads - 1)
        model.fit(case.images, case.labels, batch_size=len(case.labels), epochs=epochs, optimizer="sgd", lr=0.01)

    found = _growth(lambda: work(small, 1), lambda: work(case, STEPS))
    found["bytes"] += sum(peak_resident(helper.process.pid) for helper in helpers.team.helpers)
    return found


def memory_torch(network: str, batch: int, threads: int | None, channels_last: bool = False) -> dict[str, Any]:
    """The same in PyTorch, with the float32 images there before."""
    import torch

    from .torch_peer import Peer, set_threads

    set_threads(threads or torch.get_num_threads())
    case, small = _case(network, batch), _case("softmax-regression", 1)

    def prepared(case: Any, steps: int) -> Callable[[], None]:
        shape = torch.channels_last if channels_last else torch.contiguous_format
        x = torch.from_numpy(case.images).permute(0, 3, 1, 2).to(torch.float32).div_(255)
        x, y = x.contiguous(memory_format=shape), torch.from_numpy(case.labels)

        def work() -> None:
            peer = Peer(case.network, case.loss, channels_last=channels_last)
            for _ in range(steps):
                peer.step(x, y)

        return work

    return _growth(prepared(small, 1), prepared(case, STEPS))


def steps(network: str, batch: int | None, settings: dict[str, Any]) -> dict[str, Any]:
    """A row of `steps.compare`, which shows nothing."""
    from .steps import Bench, Settings

    return Bench(Settings(**settings), lambda text: None).row(network, batch)


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    task.__name__: task for task in (steps, train_ours, train_torch, memory_ours, memory_torch)
}


def _end_with_caller() -> None:
    """Ends this process when standard input does: its caller is gone, and nobody waits for the answer."""
    while os.read(0, 1 << 10):
        pass
    os._exit(ABANDONED)


if __name__ == "__main__":
    if BOUND in sys.argv[3:]:
        threading.Thread(target=_end_with_caller, daemon=True).start()
    print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))
