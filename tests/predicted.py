"""The kernels of one training step on a CUDA device, in order, with the bytes and the operations of each and a time
that is predicted from them, without a GPU: `python tests/predicted.py two-conv 128`, or with wide convolutions
by Winograd's tiles or by columns, and in another precision, `python tests/predicted.py vgg-small 128 columns tf32`.

limit: the least time that an H200 needs for those bytes (4.3 TB/s) and operations (67 TFLOP/s of float32). predicted:
with the shares of these that kernels of the kind reached where they were measured (cuBLAS, passes over memory), or, for
the direct convolutions, that their instructions per shared-memory access suggest. A prediction is no measurement.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any, NamedTuple

import numpy as np
from cases import told
from fake_cuda import Array, as_cuda, asarray

from gpucnn.engine.rewrite import rewritten
from gpucnn.engine.scaling import Scaling
from gpucnn.kernels import cuda
from gpucnn.kernels.cuda import cublas, estimate, tensor_problem
from gpucnn.network.layout import Layout
from gpucnn.networks import build, entry
from gpucnn.optimizers import SGD

BANDWIDTH, OPERATIONS = 4.3e12, 67e12  # of an H200, a second
MEMORY = 139 << 30  # bytes
PROCESSORS, CLOCK = 132, 1.755e9
LAUNCH, PRODUCT, DIRECT = 1.2e-6, 5e-6, 3e-6  # seconds that the smallest kernel of each kind takes
TENSOR, OLDER = 494e12, 0.62  # operations of TF32 numbers a second, and the share that older GPUs' instructions reach
SCHEDULERS, ISSUE_SHARE = 4, 0.7  # of a processor; the second a guess: instructions that each starts in a cycle
# Of a warp and a chunk, as compiled for compute capability 9.0: by factors, of the convolution and of the kernel's
# gradient, where a block has 64 filters, and where it has 32.
INSTRUCTIONS = {64: {2: (281, 306), 1: (176, 194), 0: (136, 156)}, 32: {2: (304, 322), 1: (212, 222), 0: (160, 171)}}
MEMORY_SHARE, PRODUCT_SHARE, SHARED_SHARE = 0.6, 0.57, 0.6  # of the limits


class Kernel(NamedTuple):
    """Bytes and floating-point operations, and how many of these a second are the limit; seconds: predicted."""

    name: str
    bytes: float
    operations: float
    seconds: float
    rate: float = OPERATIONS

    @property
    def limit(self) -> float:
        return max(self.bytes / BANDWIDTH, self.operations / self.rate)


def run_step(table: Any, name: str, batch: int) -> None:
    """A training step of the named network, its batch first, its optimiser last."""
    network, loss, rng = build(name), entry(name).loss, np.random.default_rng(0)
    fused = rewritten(network, table)
    layout = Layout(fused.init(network.input_shape, rng))
    vector = layout.pack(fused.init(network.input_shape, rng), np.empty(layout.size, np.float32))
    theta, g, optimizer = asarray(vector), asarray(vector), SGD()
    images = asarray(rng.integers(0, 256, (batch, *network.input_shape), dtype=np.uint8))
    labels = asarray(rng.integers(0, 2, batch))
    moment = table.begin(labels, 0.1, 1, optimizer)
    x = table.gather(images, moment, np.float32, Scaling(), None)
    params, context = layout.unpack(theta), told(fused, table, range(batch), asarray, "float32")
    context = dataclasses.replace(context, factored=0)
    logits, residuals = fused.forward(params, x, context)
    _, d_logits = table.losses[type(loss)](logits, table.take(labels, moment))
    _, dparams = fused.backward(params, residuals, d_logits, context, need_dx=False)
    table.collect(layout, dparams, g)
    table.updates[SGD](optimizer, theta, g, {}, 1 / batch, moment)


def kernels_of(name: str, batch: int, *, wide: str | None = None, precision: str = "float32") -> list[Kernel]:
    """What a training step of the named network launches, wide convolutions by that way (see `ways`). Nothing is
    computed."""
    found: list[Kernel] = []
    rate = estimate.OPERATIONS[precision]

    def multiply(a: Any, b: Any, out: Any, *, add: bool = False) -> Any:
        (M, K), N = a.shape, b.shape[1]
        size, operations = 4.0 * (M * K + K * N + M * N), 2.0 * M * K * N
        seconds = PRODUCT + max(operations / rate / PRODUCT_SHARE, size / BANDWIDTH / MEMORY_SHARE)
        found.append(Kernel(f"product {M} x {K} x {N}", size, operations, seconds, rate))
        return out

    def multiply_each(a: Any, b: Any, out: Any, *, add: bool = False) -> Any:
        (B, M, K), N = a.shape, b.shape[2]
        size, operations = 4.0 * (a.size + b.size + out.size), 2.0 * B * M * K * N
        seconds = PRODUCT + max(operations / OPERATIONS / PRODUCT_SHARE, size / BANDWIDTH / MEMORY_SHARE)
        found.append(Kernel(f"{B} products {M} x {K} x {N}", size, operations, seconds))
        return out

    def launched(name: str, dtype: Any, shape: tuple[int, int], count: int, args: Any, sizes: Any) -> None:
        found.append(_kernel(name, [a for a in args if isinstance(a, np.ndarray)], sizes))

    with as_cuda():
        sys.modules["cupy"].cuda.runtime.memGetInfo = lambda: (MEMORY, MEMORY)
        table = cuda.table(precision, wide=wide)
        gpu = table.gpu
        table.ways.tensor._is_right = lambda problem: True  # not tried
        gpu.empty = lambda shape, dtype: np.empty(shape, dtype).view(Array)  # not touched: it may be large
        gpu._run, gpu.multiply_each = launched, multiply_each
        gpu.multiply = multiply
        gpu.starts = lambda name, dtype, sizes: True
        run_step(table, name, batch)
    return found


def _kernel(name: str, arrays: list[np.ndarray], sizes: Any) -> Kernel:
    """Each array is read or written once; what a direct kernel reads again comes from caches."""
    size = float(sum({id(a): a.nbytes for a in arrays}.values()))
    if name == "small_product":
        a, b, *_, out = arrays
        rounds = math.ceil(out.size / 256 / PROCESSORS)
        depth = math.isqrt(a.size * b.size // max(1, out.size))
        seconds = LAUNCH + rounds * math.ceil(depth / 64) * 1000 / CLOCK  # to fetch and add up 64 numbers of each sum
        return Kernel(f"small product, depth {depth}", size, 2.0 * out.size * depth, seconds)
    if name == "pack":  # the vector's other numbers stay as they are
        size = 2.0 * sum({id(a): a.nbytes for a in arrays[1:]}.values())
    of = dict(sizes.constants) if sizes else {}
    if "K" not in of or name.startswith("winograd"):
        return Kernel(name, size, 0.0, LAUNCH + size / BANDWIDTH / MEMORY_SHARE)
    if "factors" in of:
        return _on_tensor_cores(name, size, arrays, of)
    N, taps = arrays[0].shape[0] if name != "image_gradient" else arrays[1].shape[0], of["I"] * of["J"] * of["C"]
    cells, K = of["cell_rows"] * of["cell_columns"], of["K"]
    if name == "correlate_direct":  # products, beside reads of shared memory of a window and of filters
        window = of["pool_rows"] * of["pool_columns"]
        operations = 2.0 * N * cells * window * K * taps
        warps = operations / 2 / 32
        reads = warps / of["F"] * (1 + of["F"] / 4 / window)
        cycles = max(warps / 4, reads)
    elif name == "kernel_gradient":
        operations, of_lane = 2.0 * N * cells * K * (taps + 1), taps // 32 + 1
        cycles = N * cells * K * (1 + of_lane)
    else:
        seen = math.prod(
            -(-(-(-(of[d] * (of[I] - 1) + 1) // of[s]) + of[f"pool_{axis}s"] - 1) // of[f"pool_{step}"])
            for d, I, s, axis, step in (("d", "I", "s", "row", "down"), ("e", "J", "t", "column", "right"))
        )
        pixels = N * of["H"] * of["W"] * of["C"]
        operations = 2.0 * pixels * seen * K
        cycles = pixels / of["D"] * seen * K * (8 + 2 * of["D"]) / 32 / 4
    rounds = max(1.0, math.ceil(N / PROCESSORS) * PROCESSORS / N)  # a block for each image: the last round is not full
    seconds = DIRECT + cycles * rounds / PROCESSORS / CLOCK / SHARED_SHARE
    return Kernel(name, size, operations, max(seconds, LAUNCH + size / BANDWIDTH / MEMORY_SHARE))


def _on_tensor_cores(name: str, size: float, arrays: list[np.ndarray], of: dict[str, int]) -> Kernel:
    """What a block's rows and columns hold is computed, used or not, and three products are one of float32 numbers."""
    taps, filters = of["I"] * of["J"] * of["C"], -(-of["K"] // of["columns"]) * of["columns"]
    count = arrays[-1].size // of["K"] if name == "correlate_tensor" else arrays[1].size // of["K"]
    count *= 4 if of.get("with_pool") else 1  # pixels of a cell
    whole, part = (count, taps) if name == "correlate_tensor" else (taps, count)
    computed = 2.0 * -(-whole // tensor_problem.ROWS) * tensor_problem.ROWS * filters * part
    products, of_gradient = 3 if of["factors"] == 2 else 1, name != "correlate_tensor"
    blocks = -(-whole // tensor_problem.ROWS) * filters // of["columns"]
    chunks = -(-part // tensor_problem.DEPTH)
    if of_gradient:  # each part of the sum is computed by blocks of its own
        parts = arrays[-1].shape[0]
        blocks, chunks = blocks * parts, -(-chunks // parts)
    turns = math.ceil(blocks / PROCESSORS) * of["threads"] / 32 / SCHEDULERS * chunks
    instructions = INSTRUCTIONS[of["columns"]][of["factors"]][of_gradient]
    issued = turns * instructions / CLOCK / ISSUE_SHARE
    multiplied = products * computed / TENSOR / OLDER
    seconds = max(DIRECT + max(multiplied, issued), LAUNCH + size / BANDWIDTH / MEMORY_SHARE)
    return Kernel(name, size, 2.0 * count * taps * of["K"], seconds, TENSOR / products)


def main(name: str, batch: int, *words: str) -> None:
    """words: a way of wide convolutions, a precision, or both."""
    precision = next((word for word in words if word in cublas.PRECISIONS), "float32")
    kernels = kernels_of(name, batch, wide=next((w for w in words if w != precision), None), precision=precision)
    print(f"{name} {batch}: {len(kernels)} kernels (cuBLAS may add one to a product)")
    print("       MB     MFLOP  limit us  predicted us")
    for kernel in (*kernels, total(kernels)):
        figures = kernel.bytes / 1e6, kernel.operations / 1e6, 1e6 * kernel.limit, 1e6 * kernel.seconds
        print("{:9.2f} {:9.1f} {:9.2f} {:13.1f}  ".format(*figures) + kernel.name)


def total(kernels: list[Kernel]) -> Kernel:
    """limit: of the whole step, all bytes beside all operations."""
    bytes_, operations, seconds = (sum(getattr(k, name) for k in kernels) for name in Kernel._fields[1:4])
    rate = operations / sum(k.operations / k.rate for k in kernels)
    return Kernel("the step", bytes_, operations, seconds, rate)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
