"""A data set in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import printable

if TYPE_CHECKING:
    from .dataset import Dataset

MOST = 20  # classes that are listed one by one


def summary(dataset: Dataset) -> str:
    """Size, classes with their pictures in each part, and what was left out or assumed."""
    height, width, channels = dataset.input_shape
    parts = {"training": dataset.train_labels, "test": dataset.test_labels}
    if dataset.validation is not None:
        parts = {"training": parts["training"], "validation": dataset.validation[1], "test": parts["test"]}
    counts = {part: np.bincount(labels, minlength=len(dataset.class_names)) for part, labels in parts.items()}
    total = ", ".join(f"{len(labels):,} {part}" for part, labels in parts.items())
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    lines = [f"{dataset.name}: {total} pictures of {height}x{width} ({kind}), {len(dataset.class_names)} classes"]
    names = [printable(name) for name in dataset.class_names]
    if len(names) <= MOST:
        wide = max(map(len, [*names, "class"]))
        lines.append("  ".join(["class".ljust(wide), *(part.rjust(10) for part in parts)]))
        for k, name in enumerate(names):
            lines.append("  ".join([name.ljust(wide), *(f"{counts[part][k]:>10,}" for part in parts)]))
    else:
        fewest, most = (pick(counts["training"]) for pick in (np.argmin, np.argmax))
        lines.append(
            f"training pictures of a class: {counts['training'][fewest]:,} ({names[fewest]}) to "
            f"{counts['training'][most]:,} ({names[most]})"
        )
    return "\n".join([*lines, *map(printable, dataset.notes)])
