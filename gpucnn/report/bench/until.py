"""Training until a test accuracy is reached, in gpucnn and in PyTorch; each runs in a process of its own.

Each function imports what it measures itself, so that both sides pay for their own imports.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


class _Reached(Exception):
    """Ends a training run early."""


class Goal:
    """An accuracy to reach, with what was seen so far: the best one, and after how many epochs.

    seen(accuracy), after each epoch, ends the training once the goal is reached.
    """

    def __init__(self, accuracy: float) -> None:
        self.accuracy, self.best, self.epochs = accuracy, 0.0, 0

    def seen(self, accuracy: float) -> None:
        self.epochs += 1
        self.best = max(self.best, accuracy)
        if accuracy >= self.accuracy:
            raise _Reached

    def pursue(self, cycle: Callable[[int, int], None], of_cycle: int, most: int) -> dict[str, Any]:
        """cycle(epochs, number): a run of the schedule. It begins again when it ends, up to `most` epochs in all."""
        reached = False
        try:
            for number, start in enumerate(range(0, most, of_cycle)):
                cycle(min(of_cycle, most - start), number)
        except _Reached:
            reached = True
        return {"reached": reached, "epochs": self.epochs, "accuracy": self.best}


def ours(network: str, data: str, accuracy: float, seed: int, device: str, threads: int, epochs: int) -> dict[str, Any]:
    """Train the named network by its recipe with gpucnn until the test accuracy is reached."""
    from ...data import load
    from ...model import runs

    settings = runs.Settings(network, device, threads=threads, seed=seed)
    runs.start_helpers(settings)
    dataset = load(data)
    model = runs.new_model(settings, dataset)
    recipe, optimizer = runs.recipe(settings, len(dataset.train_labels))
    goal = Goal(accuracy)
    how: dict[str, Any] = {"batch_size": recipe.batch_size, "optimizer": optimizer, "lr": recipe.lr}
    how |= {"schedule": recipe.schedule, "augmentation": recipe.augmentation or None}
    how["validation"] = dataset.test_images, dataset.test_labels
    how["callbacks"] = (lambda epoch: goal.seen(epoch.validation_accuracy),)

    def cycle(count: int, number: int) -> None:
        model.fit(dataset.train_images, dataset.train_labels, epochs=count, seed=seed + 1000 * number, **how)

    return goal.pursue(cycle, min(recipe.epochs, epochs), epochs)


def torch(
    network: str,
    data: str,
    accuracy: float,
    seed: int,
    device: str,
    threads: int,
    epochs: int,
    channels_last: bool = False,
) -> dict[str, Any]:
    """The same in PyTorch: network, initial weights, optimiser, schedule, batch size; images float32 from the start."""
    import numpy as np
    import torch

    from ... import networks
    from ...data import load
    from ...layers.initializers import generator
    from ...model import runs
    from ...schedules import schedule
    from .torch_peer import Peer, optimizer_of

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    dataset = load(data)
    recipe, _ = runs.recipe(runs.Settings(network), len(dataset.train_labels))
    built = networks.build(network, dataset.input_shape, len(dataset.class_names))
    weights = np.random.SeedSequence(seed).spawn(2)[0]  # those of a Model with this seed
    params = built.init(built.input_shape, generator(weights))
    peer = Peer(built, networks.entry(network).loss, params, device=device, channels_last=channels_last)
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
