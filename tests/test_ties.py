"""`MaxPool2D(ties="all")`: outputs of a convolution with equal surroundings have equal bits, on every BLAS."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import LIBRARIES, Library
from fake_cuda import asarray, fake_cuda
from threadpoolctl import threadpool_info
from ties import drawn, placed, wrong

from gpucnn import Model
from gpucnn.kernels import EXACT_REFERENCE, Context, choose, cuda
from gpucnn.kernels.cpu import EXACT_TIES
from gpucnn.layers import Conv2D, MaxPool2D
from gpucnn.network import Network

__all__ = ["fake_cuda"]

EVERY = pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])


@EVERY
def test_ties_hold_on_every_table(count: int) -> None:
    found = {table.name: wrong(table, drawn(count)) for table in (EXACT_REFERENCE, EXACT_TIES)}
    print(f"wrong networks of {count}: {found}")
    assert not any(found.values())


@EVERY
@pytest.mark.parametrize("kernels", ["Haswell", "Sandybridge", "Prescott"])
def test_ties_hold_with_other_kernels_of_openblas(count: int, kernels: str) -> None:
    of_numpy = [each for each in threadpool_info() if "numpy" in each["filepath"]]
    if platform.machine() not in ("x86_64", "AMD64") or [each["internal_api"] for each in of_numpy] != ["openblas"]:
        pytest.skip("NumPy's products are not OpenBLAS's on an x86 CPU here")
    script = Path(__file__).with_name("ties.py")
    environment = os.environ | {"OPENBLAS_CORETYPE": kernels, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, script, str(count)], env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    found = json.loads(done.stdout)
    print(f"wrong networks of {count}, {kernels}: {found}")
    assert (found["reference"], found["numpy"]) == (0, 0)


def test_ties_hold_on_every_array_library(library: Library) -> None:
    assert wrong(EXACT_REFERENCE, drawn(20, seed=1), library.put, library.fetch) == 0


@pytest.mark.gpu
@pytest.mark.slow
def test_ties_hold_on_cupy() -> None:
    cupy = LIBRARIES["cupy"]()
    assert wrong(EXACT_REFERENCE, drawn(1000), cupy.put, cupy.fetch) == 0


# Every window of equal pixels sends dy = 1 to all its pixels: batch times the pixels that windows see.
BY_HAND = {
    "3 filters": (Conv2D(3, 2), (5, 5, 8), 6, [6 * 4 * 4] * 3),
    "1 filter": (Conv2D(1, 2), (12, 7, 2), 5, [5 * 10 * 6]),
}


@pytest.mark.parametrize("case", BY_HAND)
@pytest.mark.parametrize("table", ["default", "reference", "numpy"])
def test_every_tie_gets_the_gradient(case: str, table: str) -> None:
    convolution, shape, batch, expected = BY_HAND[case]
    network = Network(shape, (convolution, MaxPool2D(2, ties="all")))
    kind = {"reference": "cuda", "numpy": "cpu"}.get(table)
    kernels = choose(kind, exact_ties=True) if kind else Context().kernels
    for seed in range(20):
        rng = np.random.default_rng(seed)
        params: Any = placed(network.init(shape, rng), "float32", np.array)
        x = np.broadcast_to(rng.standard_normal(shape[2]), (batch, *shape)).astype("float32")
        y, residuals = network.forward(params, kernels.enter(x), Context(kernels))
        _, dparams = network.backward(params, residuals, np.ones_like(y), Context(kernels))
        assert dparams["0"]["bias"].tolist() == expected


@pytest.mark.parametrize("kernels", ["default", "reference"])
def test_networks_that_share_ties_get_a_table_that_has_them(kernels: str) -> None:
    for name, exact in (("layered", True), ("two-conv", False)):
        assert Model(name, device="cpu", kernels=kernels).execution.context.kernels.exact_ties is exact


@EVERY
def test_ties_hold_in_cudas_kernels_compiled_for_the_cpu(count: int, fake_cuda: Any) -> None:
    for dtype in ("float32", "float64"):
        networks = (each for each in drawn(count) if each[2] == dtype)
        assert wrong(cuda.table(dtype=dtype, exact_ties=True), networks, asarray) == 0


@pytest.mark.gpu
@EVERY
def test_ties_hold_in_cudas_kernels(count: int) -> None:
    on_cupy = LIBRARIES["cupy"]()
    for dtype in ("float32", "float64"):
        networks = (each for each in drawn(count) if each[2] == dtype)
        assert wrong(cuda.table(dtype=dtype, exact_ties=True), networks, on_cupy.put, on_cupy.fetch) == 0
