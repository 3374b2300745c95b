"""`gpucnn bench time-to`: wall time of whole processes that train until a test accuracy is reached."""

from __future__ import annotations

import math
from typing import Any

from ... import networks
from ...data import load
from ...errors import SettingError, counted
from ...model import runs
from ...optimizers import described
from ..timing import rounds
from . import process
from .candidates import OURS
from .rows import line, row
from .session import BenchOptions, Session, Show

EPOCHS = 5  # at most, to reach an accuracy
SEEDS = 5


def time_to(
    accuracy: float = 0.99,
    data: str = "mnist",
    network: str = "fast",
    options: BenchOptions | None = None,
    show: Show = print,
) -> dict[str, Any]:
    """Train until a test accuracy is reached, over seeds 0, 1, ...; as many as the options have rounds.

    From the start of Python, imports and data loading included, to the end of the process. The test part is looked at
    after every epoch; the recipe's schedule begins again when it ends. A run that misses the accuracy counts as never.
    """
    if not 0 < accuracy <= 1:
        raise SettingError(f"--accuracy {accuracy:g}: a part of 1 was expected, such as 0.99 for 99 %")
    entry = networks.entry(network)
    session = Session(options, show)
    seeds = session.options.rounds or SEEDS
    dataset = load(data)  # also downloads what is missing, before a clock runs
    recipe, _ = runs.recipe(runs.Settings(network), len(dataset.train_labels))
    built = networks.build(network, dataset.input_shape, len(dataset.class_names))
    session.leave_torch_out(built, entry.loss, [recipe.optimizer], recipe.augmentation)
    about = (
        f"time to {accuracy:.2%} on the test images of {data}: {network}, {described(recipe.optimizer)}, learning rate "
        f"{recipe.lr:g}, {recipe.schedule} over {min(recipe.epochs, EPOCHS)} epoch(s), batches of {recipe.batch_size}; "
        f"whole processes, at most {EPOCHS} epochs, seeds 0 to {seeds - 1}"
    )
    session.begin(about, session.torch_obstacle)
    common: dict[str, Any] = {
        "network": network,
        "data": data,
        "accuracy": accuracy,
        "device": str(session.device),
        "epochs": EPOCHS,
    }
    common["threads"] = session.cpu_threads
    tasks: dict[str, dict[str, Any]] = {OURS: {"task": "until:ours"}}
    tasks |= {name: {"task": "until:torch", **how} for name, how in session.formats.items()}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}

    def measure(seed: int) -> dict[str, float]:
        for name, task in tasks.items():
            answer, seconds = process.run(**task, **common, seed=seed)
            answers[name][seed:] = [{"seconds": seconds, **answer}]  # in place of a discarded round's with this seed
            verb = "reached" if answer["reached"] else "MISSED, best"
            outcome = f"{verb} {answer['accuracy']:.2%} in {answer['epochs']} epoch(s)"
            show(f"  seed {seed}  {name:<22} {seconds:6.2f} s  {outcome}")
        of_seed = {name: of[seed] for name, of in answers.items()}
        return {name: each["seconds"] if each["reached"] else math.inf for name, each in of_seed.items()}

    timed = rounds(measure, seeds, threads=session.threads, needed=session.options.needed)
    head = {"network": network, "what": f"to {accuracy:.2%}", "batch": recipe.batch_size, "data": data}
    found = row(head, timed, list(answers), "seconds")
    found["runs"] = {name: of[: found["rounds"]] for name, of in answers.items()}
    found["misses"] = {name: sum(not each["reached"] for each in of) for name, of in found["runs"].items()}
    show(line(found))
    for name, misses in found["misses"].items():
        if misses:
            show(f"{name} missed {accuracy:.2%} in {misses} of {counted(found['rounds'], 'run')}")
    return session.result("time-to", [found])
