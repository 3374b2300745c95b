"""The verbs that layers are written in, and the tables that say who carries them out."""

from __future__ import annotations

from .context import Context, Factors
from .table import REFERENCE, Kernels, Moment, Pair

__all__ = ["CPU_TABLES", "REFERENCE", "Context", "Factors", "Kernels", "Moment", "Pair", "choose", "for_inference"]

CPU_TABLES = ("numpy", "numba")  # their steps are made of shards of the batch


def choose(kind: str, *, exact_ties: bool = False) -> Kernels:
    """The table that is there without CUDA's kernels, for a kind of device, "cpu" or "cuda".

    exact_ties: outputs of a convolution with equal surroundings must be equal to the last bit, because a pool sends
    the gradient to all that are (`MaxPool2D(ties="all")`). On the reference they always are.
    """
    if kind == "cpu":
        from .cpu import EXACT_TIES, NUMPY

        return EXACT_TIES if exact_ties else NUMPY
    return REFERENCE


def for_inference(table: Kernels) -> Kernels:
    """A table with the same outputs that may leave out residuals which cost time: inference needs no gradients."""
    if table.name == "numpy":
        from .cpu import without_winners

        return without_winners(table)
    return table
