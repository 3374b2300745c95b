"""What `--precision` costs in accuracy, on the CPU: products that a CUDA device rounds have rounded factors here, too,
and are added in float32. `python tests/rounded.py two-conv-wide --seeds 3` trains on MNIST, with GPUCNN_DATA_DIR set.
"""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from typing import Any

import numpy as np

from gpucnn import Model, data
from gpucnn.engine import acceleration
from gpucnn.kernels import Kernels, Pair, choose
from gpucnn.kernels.cpu.rows import whole
from gpucnn.kernels.cuda import layers, ways

LOST = {"tf32": 13, "bfloat16": 16}  # bits of a float32 number that are rounded away


def rounded(a: Any, precision: str) -> Any:
    """To the nearest; of halves away from zero, TF32's, or to even, bfloat16's. The same memory order."""
    lost, bits = LOST[precision], a.view(np.uint32)
    half = (1 << (lost - 1)) - (precision == "bfloat16")
    more = half + (bits >> lost & 1) if precision == "bfloat16" else half
    return (bits + np.uint32(1) * more & np.uint32(0xFFFFFFFF << lost & 0xFFFFFFFF)).astype(np.uint32).view(np.float32)


def table(precision: str) -> Kernels:
    """The CPU's, with factors rounded where CUDA's are: of wide convolutions and of all but small products."""
    plain = choose("cpu", exact_ties=False)
    if precision == "float32":
        return plain

    def is_rounded(x: Any, w: Any, window: Any, groups: int) -> bool:
        shape = ways.Shape(plain.image_shape(x), w.shape[3], window, None)
        return groups == 1 and ways.usual(shape, 4, precision, wide=ways.TENSOR) != ways.DIRECT

    def forward(x: Any, w: Any, window: Any, groups: int, *more: Any, **options: Any) -> Any:
        is_wide, settings = is_rounded(x, w, window, groups), (window, groups, *more)
        if is_wide:
            x, w = plain.enter(rounded(plain.leave(whole(x)), precision)), rounded(w, precision)
        y, residual = (plain.correlation_for_pool if more else plain.correlation.forward)(x, w, *settings, **options)
        return y, (is_wide, residual)

    def backward(residual: Any, w: Any, dy: Any, need_dx: bool) -> Any:
        is_wide, residual = residual
        if not is_wide:
            return plain.correlation.backward(residual, w, dy, need_dx)
        dy = plain.enter(rounded(plain.leave(whole(dy)), precision))
        return plain.correlation.backward(residual, rounded(w, precision), dy, need_dx)

    def matmul(a: Any, b: Any, out: Any = None) -> Any:
        (M, K), N = a.shape, b.shape[1]
        if K > layers.DEPTH or M * K * N > layers.SMALL:
            a, b = rounded(np.ascontiguousarray(a), precision), rounded(np.ascontiguousarray(b), precision)
        return plain.matmul(a, b) if out is None else plain.matmul(a, b, out)

    pair = Pair(forward, backward)
    return dataclasses.replace(plain, correlation=pair, correlation_for_pool=forward, matmul=matmul)


def chosen(precision: str, device: str, *, exact_ties: bool) -> Kernels:
    """In the place of kernels.choose."""
    return table(precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    images = data.load("mnist")
    for precision in ("float32", *LOST):
        found = []
        for seed in range(given.seeds):
            acceleration.choose = partial(chosen, precision)
            model = Model(given.network, device="cpu", seed=seed, threads=1)
            model.fit(images.train_images, images.train_labels, epochs=given.epochs, seed=seed, progress=False)
            found.append(100 * model.evaluate(images.test_images, images.test_labels)["accuracy"])
        print(
            f"{given.network} {precision}: mean {np.mean(found):.3f} %, each {[f'{a:.2f}' for a in found]}", flush=True
        )


if __name__ == "__main__":
    main()
