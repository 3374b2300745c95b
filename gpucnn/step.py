"""One update of theta: the gradient of a batch, whole or in shards on CPU threads, and the optimiser."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .errors import SettingError
from .kernels import Context
from .losses import Loss
from .network import Network
from .optimizers import Optimizer, State
from .parameters import Layout

Array = Any

CHUNK = 1 << 16  # numbers of theta updated at a time on a CPU: theta, gradients and state stay in the cache
CACHE = 1 << 22  # bytes of activations that a shard of examples may have
WORTH_A_THREAD = 2e7  # multiply-adds of a step below which a second thread costs more than it gains


@dataclass(frozen=True)
class Scaling:
    """How stored pixels become inputs: x = pixel * scale + shift for uint8; floats are taken as they are."""

    scale: float = 1 / 255
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and math.isfinite(self.shift)):
            raise SettingError(f"{self}: finite numbers were expected")

    def __call__(self, images: Array, dtype: Any, context: Context) -> Array:
        """images (N, H, W, C) -> the same in dtype, in the layout of context.kernels."""
        xp = array_namespace(images)
        if images.dtype == xp.uint8:
            return context.kernels.pixels(images, dtype, self.scale, self.shift)
        return context.kernels.enter(xp.astype(images, dtype))


def gradient(
    network: Network, loss: Loss, params: Any, x: Array, labels: Array, context: Context
) -> tuple[Array, dict[str, Any]]:
    """Losses (N,) and the gradient of their sum, shaped as params. Pure: any thread may call it on its own shard.

    x (N, ...) in the layout of context.kernels, labels (N,).
    """
    logits, residuals = network.forward(params, x, context)
    losses, d_logits = loss(context.kernels.leave(logits), labels)
    _, dparams = network.backward(params, residuals, context.kernels.enter(d_logits), context, need_dx=False)
    return losses, dparams


class Workers:
    """Threads that share out numbered pieces of work; with one, everything runs in the caller.

    Use it as a context, `with workers.limited()`: inside, each thread's BLAS is held to one thread of its own, and
    NumPy does not warn of overflow, because training looks at the loss itself.
    """

    def __init__(self, threads: int = 1) -> None:
        if threads < 1:
            raise SettingError(f"threads={threads}: at least 1 was expected")
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, initializer=_quiet) if threads > 1 else None

    def map(self, work: Callable[[int], Any], count: int) -> list[Any]:
        """[work(0), ..., work(count - 1)]; the caller takes the last one itself."""
        if count == 1 or self._pool is None:
            return [work(k) for k in range(count)]
        others = [self._pool.submit(work, k) for k in range(count - 1)]
        try:
            last = work(count - 1)
        finally:
            wait(others)  # after an error too: nobody writes behind the caller's back
        return [*(other.result() for other in others), last]

    @contextmanager
    def limited(self) -> Iterator[None]:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"), np.errstate(all="ignore"):
            yield


def _quiet() -> None:
    np.seterr(all="ignore")


def default_threads() -> int:
    """The CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Step:
    """The update of theta by one batch.

    theta is written in place. With several threads, thread w takes shards w, w + threads, ... in order and adds them
    into a vector of its own; these are added in the order of w: the same number of threads gives the same bits.
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        theta: Array,
        optimizer: Optimizer,
        *,
        layout: Layout,
        scaling: Scaling,
        context: Context,
        workers: Workers,
        shard: int | None = None,
    ) -> None:
        self.network, self.loss, self.theta, self.optimizer = network, loss, theta, optimizer
        self.layout, self.scaling, self.workers = layout, scaling, workers
        self.context = replace(context, training=True)
        self.params = layout.unpack(theta)
        self.state: State = optimizer.init(theta)
        self.steps = 0
        self._cost = 3 * network.multiply_adds()
        self._shard = shard or shard_size(network, theta.shape[0])
        self._xp = array_namespace(theta)
        self._parts: list[Array] = []
        self._views: list[list[Array]] = []

    def __call__(self, images: Array, labels: Array, batch: Array, lr: float) -> Array:
        """Update theta by the examples `batch` (indices) of images and labels; their losses, on the device."""
        shards = self._shards(batch)
        used = min(len(shards), self._threads_for(batch.shape[0]))
        while len(self._parts) < used:
            self._parts.append(self._xp.empty_like(self.theta))
            self._views.append(self.layout.views(self._parts[-1]))
        done = self.workers.map(lambda w: self._accumulate(images, labels, shards[w::used], w), used)
        self.steps += 1
        self._update(self._parts[:used], batch.shape[0], lr, used)
        if used == 1 and len(shards) == 1:
            return done[0][0]
        in_order = [done[k % used][k // used] for k in range(len(shards))]
        return self._xp.concat(in_order)

    def _shards(self, batch: Array) -> list[Array]:
        """The batch in equal parts on the CPU's own table; whole elsewhere."""
        count = batch.shape[0]
        if self.context.kernels.name != "numpy":
            return [batch]
        size = min(self._shard, -(-count // self._threads_for(count)))
        return [batch[start : start + size] for start in range(0, count, size)]

    def _threads_for(self, count: int) -> int:
        return self.workers.threads if self._cost * count >= WORTH_A_THREAD else 1

    def _accumulate(self, images: Array, labels: Array, shards: list[Array], w: int) -> list[Array]:
        """The summed gradient of some shards, written to the vector of thread w; their losses."""
        xp = self._xp
        losses: list[Array] = []
        for shard in shards:
            x = self.scaling(xp.take(images, shard, axis=0), self.theta.dtype, self.context)
            y = xp.take(labels, shard, axis=0)
            of_shard, dparams = gradient(self.network, self.loss, self.params, x, y, self.context)
            (self.layout.add if losses else self.layout.pack)(dparams, self._parts[w], self._views[w])
            losses.append(of_shard)
        return losses

    def _update(self, parts: list[Array], examples: int, lr: float, threads: int) -> None:
        """Add the parts, take the mean over the examples, and let the optimiser write theta: in chunks on a CPU."""
        size = self.theta.shape[0]
        chunk = CHUNK if self.context.kernels.name == "numpy" else size
        starts = range(0, size, chunk)

        def of_thread(w: int) -> None:
            for start in starts[w::threads]:
                here = slice(start, start + chunk)
                g = parts[0][here]
                for part in parts[1:]:
                    g += part[here]
                g *= 1 / examples
                state = {name: vector[here] for name, vector in self.state.items()}
                self.optimizer.update(self.theta[here], g, state, lr, self.steps)

        self.workers.map(of_thread, min(threads, len(starts)))


def shard_size(network: Network, parameters: int) -> int:
    """Examples per shard on a CPU: a power of two from 16 to 128 whose activations fit the cache.

    But as many as weigh more than the parameters, which every shard reads once.
    """
    numbers = sum(map(math.prod, network.shapes()))
    wanted = max(CACHE // 4, 1.5 * parameters) / numbers
    return min(128, max(16, 1 << round(math.log2(wanted))))


def forward_in_chunks(
    network: Network,
    params: Any,
    images: Array,
    scaling: Scaling,
    dtype: Any,
    context: Context,
    workers: Workers,
    chunk: int,
) -> Iterator[Array]:
    """Logits (n, K) of consecutive chunks of images, in order; CPU threads compute some of them side by side."""
    context = replace(context, training=False)
    starts = range(0, images.shape[0], chunk)

    def of_chunk(k: int) -> Array:
        x = scaling(images[starts[k] : starts[k] + chunk], dtype, context)
        logits, _ = network.forward(params, x, context)
        return context.kernels.leave(logits)

    for first in range(0, len(starts), workers.threads):
        count = min(workers.threads, len(starts) - first)
        yield from workers.map(functools.partial(_shifted, of_chunk, first), count)


def _shifted(work: Callable[[int], Any], first: int, k: int) -> Any:
    return work(first + k)
