"""The verbs that layers are written in, and the tables that say who carries them out."""

from __future__ import annotations

from .context import Context, Factors
from .table import EXACT_REFERENCE, REFERENCE, Kernels, Moment, Pair

__all__ = [
    "CPU_TABLES",
    "EXACT_REFERENCE",
    "REFERENCE",
    "Context",
    "Factors",
    "Kernels",
    "Moment",
    "Pair",
    "choose",
    "for_inference",
]

CPU_TABLES = ("numpy", "numba")  # their steps are made of shards of the batch


def choose(kind: str, *, exact_ties: bool = False) -> Kernels:
    """The table that is there without CUDA's kernels, for a kind of device, "cpu" or "cuda".

    exact_ties: one that has them, see `Kernels`.
    """
    if kind == "cpu":
        from .cpu import EXACT_TIES, NUMPY

        return EXACT_TIES if exact_ties else NUMPY
    return EXACT_REFERENCE if exact_ties else REFERENCE


def for_inference(table: Kernels) -> Kernels:
    """A table with the same outputs that may leave out residuals which cost time: inference needs no gradients."""
    if table.name == "numpy":
        from .cpu import without_winners

        return without_winners(table)
    if table.name == "numba":
        from .cpu import without_zeros

        return without_zeros(table)
    return table
