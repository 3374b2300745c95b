"""How many random networks break a tie: outputs of convolutions with equal surroundings whose last bits differ.

`python tests/ties.py COUNT` prints it for each table, with this process's BLAS: OPENBLAS_CORETYPE chooses another one's
kernels. The tables without exact ties are counted too, to show what they cost.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpucnn.kernels import EXACT_REFERENCE, REFERENCE, Context, Kernels
from gpucnn.kernels.cpu import EXACT_TIES, NUMPY
from gpucnn.layers import AvgPool2D, Conv2D, LeakyReLU, MaxPool2D, ReLU, Sigmoid, Tanh
from gpucnn.network import Network

BEHIND = (Tanh(), Sigmoid(), LeakyReLU(), AvgPool2D(2, 1), MaxPool2D(2), Conv2D(3, 2), Conv2D(8, 1))


def drawn(count: int, seed: int = 0) -> Iterator[tuple[Network, int, str]]:
    """Random convolutional networks without padding, a number of examples for each, and a type."""
    rng = np.random.default_rng(seed)
    while count:
        I, J = (int(n) for n in rng.integers(1, 6, 2))
        H, W = I + int(rng.integers(1, 13)), J + int(rng.integers(1, 13))
        groups = int(rng.choice([1, 1, 1, 2, 3]))
        C, K = groups * int(rng.integers(1, 9)), groups * int(rng.integers(1, 13))
        stride, dilation = (int(rng.choice([1, 1, 1, 2])) for _ in range(2))
        behind = [BEHIND[k] for k in rng.integers(0, len(BEHIND), int(rng.choice([0, 1, 2])))]
        convolution = Conv2D(
            K, (I, J), stride, dilation=dilation if min(H - 2 * I, W - 2 * J) > 0 else 1, groups=groups
        )
        try:
            network = Network((H, W, C), (convolution, ReLU(), *behind))
        except ValueError:  # too small for what is behind
            continue
        count -= 1
        yield network, int(rng.choice([1, 2, 3, 5, 8, 16, 31, 40])), str(rng.choice(["float32", "float32", "float64"]))


def wrong(
    table: Kernels,
    networks: Iterator[tuple[Network, int, str]],
    put: Callable = np.asarray,
    fetch: Callable = np.asarray,
) -> int:
    """How many of the networks give an image of equal pixels an output whose pixels differ."""
    return sum(not is_even(table, *each, put, fetch) for each in networks)


def is_even(table: Kernels, network: Network, batch: int, dtype: str, put: Callable, fetch: Callable) -> bool:
    rng = np.random.default_rng(batch)
    params = placed(network.init(network.input_shape, rng), dtype, put)
    H, W, C = network.input_shape
    x = np.broadcast_to(rng.standard_normal((batch, 1, 1, C)), (batch, H, W, C)).astype(dtype)
    y, _ = network.forward(params, table.enter(put(x)), Context(table))
    y = fetch(table.leave(y))
    return bool((y == y[:, :1, :1, :]).all())


def placed(params: Any, dtype: str, put: Callable) -> Any:
    if isinstance(params, dict):
        return {name: placed(each, dtype, put) for name, each in params.items()}
    return put(params.astype(dtype))


if __name__ == "__main__":
    tables = {"reference": EXACT_REFERENCE, "numpy": EXACT_TIES, "reference, not exact": REFERENCE, "not exact": NUMPY}
    print(json.dumps({name: wrong(table, drawn(int(sys.argv[1]))) for name, table in tables.items()}))
