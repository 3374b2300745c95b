"""The CUDA table: fused kernels of our own (the .cu files) and cuBLAS products, on images stored (N, H, W, C).

Where cuDNN's module is given, cuDNN computes the convolutions.

Outputs of a convolution with equal surroundings are equal to the last bit, which MaxPool2D(ties="all") needs, in the
table with exact ties: neither cuBLAS nor cuDNN promises that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from ...optimizers import SGD, Adam, AdamW, Lion, RMSprop
from .. import Pair
from . import cublas, step, ways
from .columns import Columns
from .cudnn import Convolutions
from .depthwise import Depthwise
from .direct import Direct
from .dropout import Dropout
from .in_order import InOrder
from .layers import Layers
from .modules import Compiled, Source
from .normalization import Norms
from .pools import Pools
from .sizes import BLOCK, Sizes, without
from .step import CudaKernels

Array = Any

MOST = (1 << 31) - 1024  # elements that 32-bit indices reach, the last block's idle threads included


def table(
    precision: str = "float32",
    dtype: str = "float32",
    *,
    cudnn: Any = None,
    wide: str | None = None,
    candidate: Any = None,
    exact_ties: bool = False,
) -> CudaKernels:
    """The fused table for one device. precision: of float32 products, one of cublas.PRECISIONS; dtype: of theta.

    cudnn: the module that computes the convolutions, from cudnn.load, in one of cudnn.PRECISIONS; None: our own.
    wide: how wide convolutions are computed, see `ways.Ways`. candidate: the module cudnn, where it may be chosen for a
    convolution. exact_ties: see `Kernels`; then our own, by columns.

    A kernel is compiled and launched, so that what keeps kernels from running is raised here.
    """
    gpu = Gpu(precision)
    layers, columns, by_adam = Layers(gpu), Columns(gpu), partial(step.adam, gpu)
    pools, dropout, norms = Pools(gpu, layers.sum), Dropout(gpu), Norms(layers)
    forward = InOrder(gpu, columns.residual).correlate if exact_ties else columns.correlate
    convolutions: Any = Convolutions(cudnn, gpu, precision, columns)
    choosing = None
    if cudnn is None or exact_ties:
        by_cudnn = None if candidate is None else Convolutions(candidate, gpu, precision, columns)
        choosing = ways.Ways(gpu, columns, Direct(gpu, columns, pools, layers), forward, wide, by_cudnn)
        convolutions = Depthwise(gpu, choosing, layers.sum)
    made = CudaKernels(
        name="cuda+cudnn" if cudnn is not None else f"cuda+{wide}" if wide else "cuda",
        pixels=layers.pixels,
        channel_sums=layers.channel_sums,
        centred=norms.centred,
        scaled=norms.scaled,
        scaled_sums=norms.scaled_sums,
        scaled_backward=norms.scaled_backward,
        batch_norm=Pair(norms.batch_norm, norms.batch_norm_backward),
        exact_ties=exact_ties,
        correlation=Pair(convolutions.correlate, convolutions.correlate_backward),
        correlation_for_pool=convolutions.correlate,
        transposed=Pair(columns.transposed, columns.transposed_backward),
        bias=Pair(layers.add_bias, layers.add_bias_backward),
        relu=Pair(layers.relu, layers.relu_backward),
        sigmoid=Pair(layers.sigmoid, layers.sigmoid_backward),
        tanh=Pair(layers.tanh, layers.tanh_backward),
        curve=Pair(layers.curve, layers.curve_backward),
        max_pool=Pair(pools.max_pool, pools.max_pool_backward),
        average_pool=Pair(pools.average_pool, pools.average_pool_backward),
        bias_relu_max_pool=Pair(pools.bias_relu_max_pool, pools.bias_relu_max_pool_backward),
        dropout=Pair(dropout.forward, dropout.backward),
        matmul=layers.matmul,
        losses={
            SoftmaxCrossEntropy: partial(step.loss, gpu, "softmax_cross_entropy"),
            BinaryCrossEntropy: partial(step.loss, gpu, "sigmoid_cross_entropy"),
        },
        updates={
            SGD: partial(step.sgd, gpu),
            Adam: by_adam,
            AdamW: by_adam,
            RMSprop: partial(step.rmsprop, gpu),
            Lion: partial(step.lion, gpu),
        },
        gpu=gpu,
        dtype=dtype,
        ways=choosing,
        layers=layers,
        joins_bias_and_relu=True,
        takes_factors=True,
    )
    made.begin(gpu.empty((1,), "int64"), lr=0.0, step=1, optimizer=None)
    return made


class Gpu:
    """Memory, launches and products on the current device and the current stream of CuPy."""

    def __init__(self, precision: str = "float32") -> None:
        import cupy

        self.xp = cupy
        self.compiled = Compiled(cupy)
        self.precision = precision
        self.multiply = cublas.Products(cublas.load(), precision, self)
        self.multiply_each = self.multiply.each

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has compiled kernels and a cuBLAS handle of its own."""
        return type(self), (self.precision,)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        made = self.xp.empty(shape, dtype)
        if self.compiled.is_rehearsal:
            made.fill(0)  # nobody writes what it should hold
        return made

    def memory(self) -> int:
        """The device's bytes, or the limit that CuPy is held to; not what is free, which changes from run to run."""
        limit = self.xp.get_default_memory_pool().get_limit()
        return limit or self.xp.cuda.runtime.memGetInfo()[1]

    def device(self) -> int:
        """The current device's number."""
        return int(self.xp.cuda.Device().id)

    @property
    def capability(self) -> int:
        """The device's compute capability: 90 is 9.0."""
        return int(self.xp.cuda.Device().compute_capability)

    def put(self, values: Any, dtype: Any) -> Array:
        """Numbers of the host as an array."""
        return self.xp.asarray(np.asarray(values, dtype))

    def get(self, array: Array) -> Any:
        """An array as NumPy's, on the host."""
        return self.xp.asnumpy(array)

    def dense(self, x: Array, dtype: Any = None) -> Array:
        """x itself, or a copy that is of dtype and has its elements in order without gaps: kernels see no strides."""
        return self.xp.ascontiguousarray(x, dtype=dtype)

    def address(self, array: Array) -> int:
        """Where its first element lies in device memory."""
        return array.data.ptr

    def stream(self) -> int:
        """The current stream's address."""
        return self.xp.cuda.get_current_stream().ptr

    def is_recording(self) -> bool:
        """Whether what is launched now becomes part of a CUDA graph."""
        return self.xp.cuda.get_current_stream().is_capturing()

    def launch(self, name: str, dtype: Any, count: int, *args: Any, sizes: Sizes | None = None) -> None:
        """Run a kernel with count threads. Arrays must be dense; Python's numbers become the kernel's INDEX and REAL.

        dtype: what REAL is; sizes: the kernel's file and its constants, where it is one that is compiled for a layer.
        """
        grid = -(-count // BLOCK)
        self._run(name, dtype, (grid, BLOCK), count, (count, *args), sizes)

    def launch_blocks(
        self, name: str, dtype: Any, blocks: int, threads: int, *args: Any, sizes: Sizes | None = None
    ) -> None:
        """Run a kernel whose threads work together in blocks of that many, as `launch` does."""
        self._run(name, dtype, (blocks, threads), blocks * threads, args, sizes)

    def starts(self, name: str, dtype: Any, sizes: Sizes) -> bool:
        """Whether that kernel can be compiled and loaded; a warning says once why not."""
        return self.compiled.starts(name, Source(np.dtype(dtype).name, False, sizes))

    def _run(self, name: str, dtype: Any, shape: tuple[int, int], count: int, args: Any, sizes: Sizes | None) -> None:
        """shape: blocks, and threads of each; count: the most that the kernel counts to, beside its arrays' sizes."""
        if not shape[0]:
            return
        wide = max(count, *(a.size for a in args if hasattr(a, "flags"))) > MOST
        kernel = self.compiled.kernel(name, Source(np.dtype(dtype).name, wide, sizes or without(name)))
        if kernel is None:
            return
        index, real = np.int64 if wide else np.int32, np.dtype(dtype).type
        kernel(shape[:1], shape[1:], tuple(_ready(name, a, index, real) for a in args))


def _ready(name: str, argument: Any, index: Callable[[int], Any], real: Callable[[float], Any]) -> Any:
    """An argument as the kernel takes it."""
    if isinstance(argument, np.generic):
        return argument
    if isinstance(argument, int):
        return index(argument)
    if isinstance(argument, float):
        return real(argument)
    assert argument.flags.c_contiguous, f"{name} was given an array with gaps"
    return argument
