"""Splits that are the same in every run, on every machine, with every NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, listed

SPLIT_SEED = 20240229
TEST_FRACTION = 0.2
_undivided: ContextVar[bool] = ContextVar("_undivided", default=False)


@contextmanager
def undivided() -> Iterator[None]:
    """While data are read to be measured, of which each part will do: a class may have a single example."""
    before = _undivided.set(True)
    try:
        yield
    finally:
        _undivided.reset(before)


def permutation(count: int, seed: int) -> NDArray[np.int64]:
    """A permutation of 0..count-1 that depends on `seed` only.

    NumPy promises the raw stream of a bit generator for ever, but not that of Generator.permutation.
    """
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable").astype(np.int64)


def plain_split(count: int, where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (train, test): a fifth of `count` examples for the test; as `stratified_split` without classes."""
    if count < 2:
        raise DataError(f"{where}: {count} example, at least 2 are needed to split it into train and test; add some")
    order, tested = permutation(count, SPLIT_SEED), max(1, round(TEST_FRACTION * count))
    return order[tested:], order[:tested]


def held_out(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which of the examples (N,), with a class or a row each, are held out: round(fraction * N), drawn by `seed`.

    Where that would leave a class without an example to train on, of each class no more than its part, rounded up, and
    not its last one, where so few are asked for that this can be; then there may be fewer.
    """
    total = len(labels)
    count, order = min(round(fraction * total), total - 1), permutation(total, seed)
    held = np.zeros(total, bool)
    held[order[:count]] = True
    if labels.ndim > 1:
        return held
    _, places, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    if len(np.unique(labels[~held])) == len(counts) or len(counts) > total - count:
        return held
    most = np.minimum(np.ceil(fraction * counts), counts - 1)
    by_class = np.argsort(places, kind="stable")  # in each class in the order that was drawn
    rank = np.empty(total, np.int64)
    rank[by_class] = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    held[:] = False
    held[order[rank < most[places]][:count]] = True
    return held


def stratified_split(
    labels: NDArray[np.int64], where: str, class_names: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (train, test): a fifth of every class, and at least one example of it, for the test; both mixed.

    The seed is the constant SPLIT_SEED, so the split belongs to the data and not to a run.
    DataError if a class has a single example, but for `undivided` data, where it is the training part's.
    """
    order = permutation(len(labels), SPLIT_SEED)
    test = np.zeros(len(labels), bool)
    present, counts = np.unique(labels, return_counts=True)
    alone = [str(class_names[label] if class_names else label) for label in present[counts < 2]]
    if alone and not _undivided.get():
        others = f", and so ha{'ve' if alone[2:] else 's'} {listed(alone[1:])}" if alone[1:] else ""
        raise DataError(
            f"{where}: class {alone[0]} has 1 example{others}, at least 2 are needed to split it into train and test; "
            "add examples, or give a train and a test part yourself"
        )
    for label in present[counts > 1] if (counts > 1).any() else present[-1:]:
        members = order[labels[order] == label]
        test[members[: max(1, round(TEST_FRACTION * len(members)))]] = True
    return order[~test[order]], order[test[order]]
